"""
Links as text, with no I/O: what to put on the wire for one, and what one says about itself.

A signed link is a secret until it expires, so whatever is printed goes through `redacted`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import IPv6Address
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlsplit

# What a query needs for its signature to be checked, in lower case, with "|" between alternatives.
# The schemes are described by their vendors: TOS4 by Volcengine, SigV4 by AWS, V4 by Google, OSS4
# by Aliyun. They prefix every name, so any of their names tells the scheme.
_DATED = {
    scheme: tuple(f"{scheme}-{name}" for name in names.split())
    for scheme, names in {
        "x-tos": "algorithm credential date expires signature signedheaders",
        "x-amz": "algorithm credential date expires signature signedheaders",
        "x-goog": "algorithm credential date expires signature signedheaders",
        "x-oss": "signature-version credential date expires signature",
    }.items()
}
# SigV2 of AWS, V2 of Google, V1 of OSS, and CloudFront: only the name of the key tells the scheme.
_KEYED = {
    "awsaccesskeyid": ("awsaccesskeyid", "signature", "expires"),
    "googleaccessid": ("googleaccessid", "signature", "expires"),
    "ossaccesskeyid": ("ossaccesskeyid", "signature", "expires"),
    "key-pair-id": ("key-pair-id", "signature", "expires|policy"),
}
_SCHEMES = (
    *((frozenset(needs), needs) for needs in _DATED.values()),
    *((frozenset([mark]), needs) for mark, needs in _KEYED.items()),
)
# Hexadecimal or base64, in which a plus that is not escaped reads as a blank; and a number.
_SHAPES = {
    "signature": re.compile(r"[A-Za-z0-9+/ _~-]*[=_]*", re.ASCII),
    "expires": re.compile(r"[0-9]+", re.ASCII),
}
_LONGEST_LIFE = 7 * 86400  # seconds; no vendor of a dated scheme allows more
_CLOUDFRONT_BASE64 = str.maketrans("-_~", "+=/")
_POLICY_END = re.compile(rb'"DateLessThan"\s*:\s*\{\s*"AWS:EpochTime"\s*:\s*([0-9]+)')

_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f]")
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{0,5}))?")
_HOST = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?")
_ABSOLUTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_DOTS = re.compile(r"(\.\.?)(?:/|(?=[?#])|\Z)")

_WORD = re.compile(r"[^\s\"<>]+")
_LINK = re.compile(r"https?:(?:\\?/){2}", re.IGNORECASE)
_QUERY = re.compile(r"\?|\\u003f", re.IGNORECASE)
_INLINE = re.compile(
    r"(data:[\w.+-]{1,40}/[\w.+-]{1,40}(?:;[\w=-]{1,40}){0,3},)[^\s\"<>…]+", re.IGNORECASE
)
_SECRET = re.compile(
    r"((?:signature|credential|security-token)(?:=|%(?:25)*3d|\\u003d))[^\s&\"<>\\…]+",
    re.IGNORECASE,
)


class Target(NamedTuple):
    """Where a link leads: *path* is the request target, with its query, exactly as to be sent."""

    scheme: str
    authority: str
    path: str


def parse_target(link: str) -> Target:
    """
    Split *link* without changing a byte of its path and query.

    Only bytes that no request line can hold (blanks, non-ASCII) are percent-encoded, and the
    fragment, which is never sent, is cut. The host is written in lower case and ASCII, as browsers
    do. Raises `ValueError`, without the link in its text.
    """
    if _UNSENDABLE.search(link):
        raise ValueError("the link contains control characters")
    scheme, found, rest = link.partition("://")
    if not found or scheme.lower() not in ("http", "https"):
        raise ValueError("the link must start with https:// or http://")
    rest = rest.partition("#")[0]
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    if not path.startswith("/"):
        path = "/" + path
    return Target(scheme.lower(), _plain_authority(authority), _plain_path(path))


def _plain_path(path: str) -> str:
    # Every ASCII character is "safe" here: the link is sent as it was signed. Surrogates are bytes
    # of a Location header that are not UTF-8.
    safe = "".join(map(chr, range(0x21, 0x7F)))
    try:
        return quote(path, safe=safe, errors="surrogateescape")
    except UnicodeEncodeError:
        raise ValueError("the link contains half a character") from None


def _plain_authority(authority: str) -> str:
    if "@" in authority:
        raise ValueError("the link contains a user name or password")
    match = _AUTHORITY.fullmatch(authority)
    host, port = match.groups("") if match else ("", "")
    if not match or (port and not 0 < int(port) < 2**16):
        raise ValueError("the link's host or port is not valid")
    if not host:
        raise ValueError("the link names no host")
    return _plain_host(host) + (port and f":{port}")


def _plain_host(host: str) -> str:
    try:
        if host.startswith("["):
            if IPv6Address(host[1:-1]).scope_id is None:
                return host.lower()
        elif _HOST.fullmatch(plain := _in_ascii(host.lower())) and len(plain) <= 254:
            return plain
    except ValueError:
        pass  # its text would quote the host, which may hold anything
    raise ValueError("the link's host or port is not valid")


def _in_ascii(host: str) -> str:
    if host.isascii():
        return host
    plain = host.encode("idna")
    # IDNA has two editions. Where they disagree (ß is ss in one), a link would go astray.
    return plain.decode("ascii") if plain.decode("idna") == host else ""


def follow(link: str, location: str) -> str:
    """Where a redirect of *link* to *location* leads. Raises `ValueError` if that is less safe."""
    followed = _resolve(link, location)
    if _is_https(link) and not _is_https(followed):
        raise ValueError("it redirects from https to an unprotected place")
    return followed


def _is_https(link: str) -> bool:
    return link[:8].lower() == "https://"


def _resolve(link: str, location: str) -> str:
    # Not urljoin: it drops a bare trailing "?" and resolves dot segments that are meant.
    if _ABSOLUTE.match(location):
        return location
    scheme, authority, path = parse_target(link)
    if location.startswith("//"):
        return f"{scheme}:{location}"
    if not location.startswith("/"):
        location = _below(path, location)
    return f"{scheme}://{authority}{location}"


def _below(path: str, reference: str) -> str:
    """*reference* as seen from *path*; the dot segments at its start are no part of a name."""
    if reference.startswith("#"):
        return path
    path = path.partition("?")[0]
    if reference.startswith("?"):
        return path + reference
    folder = path.rpartition("/")[0] + "/"
    while dots := _DOTS.match(reference):
        if dots[1] == "..":
            folder = folder[:-1].rpartition("/")[0] + "/"
        reference = reference[dots.end() :]
    return folder + reference


def host_of(link: str) -> str | None:
    """The host of *link*, or nothing if it has none."""
    try:
        return urlsplit(link).hostname
    except ValueError:
        return None


def name_of(link: str) -> str:
    """The last part of the path of *link*, without its extension."""
    path = re.split(r"[?#]", link.partition("://")[2], maxsplit=1)[0].partition("/")[2]
    name = unquote(path.rpartition("/")[2])
    return name.rpartition(".")[0] or name


def redacted(text: str) -> str:
    """
    *text* with an ellipsis for the query of every link in it, stray signatures, and inline data.
    """
    return _SECRET.sub(r"\1…", _WORD.sub(_without_query, _INLINE.sub(r"\1…", text)))


def _without_query(word: re.Match[str]) -> str:
    link = _LINK.search(word[0])
    query = link and _QUERY.search(word[0], link.end())
    return f"{word[0][: query.start()]}?…" if query else word[0]


def signature_of(link: str) -> dict[str, str]:
    """The parameters of *link* that its signing scheme, if known here, gives it, decoded."""
    query = _query(link)
    return {
        name: query[name] for need in _needed(query) for name in need.split("|") if name in query
    }


def missing_parameters(link: str) -> tuple[str, ...]:
    """The signature parameters that *link* lacks, judged by those of the same scheme it has."""
    query = _query(link)
    return tuple(
        need.replace("|", " or ")
        for need in _needed(query)
        if not any(name in query for name in need.split("|"))
    )


def garbled_parameters(link: str) -> tuple[str, ...]:
    """The signature parameters of *link* that cannot be what was issued: something was added."""
    return tuple(
        name
        for name, value in signature_of(link).items()
        if (shape := _SHAPES.get(name.rpartition("-")[2])) and not shape.fullmatch(value)
    )


def _query(link: str) -> dict[str, str]:
    """The parameters of *link* that are not empty, by their names in lower case."""
    query = link.partition("#")[0].partition("?")[2]
    return {name.lower(): value for name, value in parse_qsl(query)}


def _needed(names: Iterable[str]) -> tuple[str, ...]:
    for marks, needed in _SCHEMES:
        if not marks.isdisjoint(names):
            return needed
    return ()


def expires_at(link: str) -> datetime | None:
    """The time at which *link* says it expires, or nothing if it does not say so sensibly."""
    query = _query(link)
    for scheme in _DATED:
        if issued := query.get(f"{scheme}-date"):
            return _after(issued, query.get(f"{scheme}-expires", ""))
    return _at(query.get("expires") or _policy_end(query.get("policy", "")))


def _after(issued: str, lifetime: str) -> datetime | None:
    sensible = re.fullmatch(r"[0-9]{8}T[0-9]{6}Z [1-9][0-9]{0,5}", f"{issued} {lifetime}")
    if not sensible or int(lifetime) > _LONGEST_LIFE:
        return None
    try:
        return datetime.fromisoformat(issued) + timedelta(seconds=int(lifetime))
    except (ValueError, OverflowError):
        return None


def _at(seconds: str) -> datetime | None:
    # Ten digits: from 2001 to 2286. What has fewer is a lifetime, what has more is milliseconds.
    sensible = re.fullmatch(r"[1-9][0-9]{9}", seconds)
    return datetime.fromtimestamp(int(seconds), UTC) if sensible else None


def _policy_end(policy: str) -> str:
    try:
        text = base64.b64decode(policy.translate(_CLOUDFRONT_BASE64))
    except ValueError:
        return ""
    found = _POLICY_END.search(text)
    return found[1].decode() if found else ""
