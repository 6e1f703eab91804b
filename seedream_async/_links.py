"""
Links as text, with no I/O: what to put on the wire for one, and what one says about itself.

A signed link is a secret until it expires, so whatever is printed goes through `redacted`.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urljoin, urlsplit

# What a query needs for its signature to be checked, by signing scheme, in lower case.
# The schemes are described by their vendors: TOS4 by Volcengine, SigV4 by AWS, OSS4 by Aliyun.
SIGNATURE_PARAMETERS = {
    scheme: tuple(f"{scheme}-{name}" for name in names.split())
    for scheme, names in {
        "x-tos": "algorithm credential date expires signature signedheaders",
        "x-amz": "algorithm credential date expires signature signedheaders",
        "x-goog": "algorithm credential date expires signature signedheaders",
        "x-oss": "signature-version credential date expires signature",
    }.items()
}
_UNSENDABLE = re.compile(r"[\x00-\x1f\x7f]")
_QUERY = re.compile(r"(https?://[^\s\"'<>?]*)\?[^\s\"'<>]*")


class Target(NamedTuple):
    """Where a link leads: *path* is the request target, with its query, exactly as to be sent."""

    scheme: str
    authority: str
    path: str


def parse_target(link: str) -> Target:
    """
    Split *link* without changing a byte of its path and query.

    Only bytes that no request line can hold (blanks, non-ASCII) are percent-encoded, and the
    fragment, which is never sent, is cut. Raises `ValueError`, without the link in its text.
    """
    if _UNSENDABLE.search(link):
        raise ValueError("the link contains control characters")
    scheme, found, rest = link.partition("://")
    if not found or scheme.lower() not in ("http", "https"):
        raise ValueError("the link must start with https:// or http://")
    rest = rest.partition("#")[0]
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    if "@" in authority:
        raise ValueError("the link contains a user name or password")
    if not authority:
        raise ValueError("the link names no host")
    path = rest[len(authority) :]
    if not path.startswith("/"):
        path = "/" + path
    # Every ASCII character is "safe" here: the link is sent as it was signed.
    path = quote(path, safe="".join(map(chr, range(0x21, 0x7F))))
    return Target(scheme.lower(), authority, path)


def follow(link: str, location: str) -> str:
    """Where a redirect of *link* to *location* leads. Raises `ValueError` if that is less safe."""
    followed = _resolve(link, location)
    if link.startswith("https:") and not followed.startswith("https:"):
        raise ValueError("it redirects from https to an unprotected place")
    return followed


def _resolve(link: str, location: str) -> str:
    # urljoin drops a bare trailing "?" and resolves dot segments that are meant as they are.
    if "://" in location.partition("?")[0] or location.startswith((".", "?", "//")):
        return urljoin(link, location) if location[0] in ".?/" else location
    scheme, authority, path = parse_target(link)
    folder = "" if location.startswith("/") else path.partition("?")[0].rpartition("/")[0] + "/"
    return f"{scheme}://{authority}{folder}{location}"


def host_of(link: str) -> str | None:
    """The host of *link*, or nothing if it has none."""
    try:
        return urlsplit(link).hostname
    except ValueError:
        return None


def name_of(link: str) -> str:
    """The last part of the path of *link*, without its extension."""
    return unquote(urlsplit(link).path.rpartition("/")[2]).rpartition(".")[0]


def redacted(text: str) -> str:
    """*text* with the query of every link in it replaced by an ellipsis."""
    return _QUERY.sub(r"\1?…", text)


def missing_parameters(link: str) -> tuple[str, ...]:
    """The signature parameters that *link* lacks, judged by those of the same scheme it has."""
    names = {name.lower() for name, _ in parse_qsl(urlsplit(link).query, keep_blank_values=True)}
    for parameters in SIGNATURE_PARAMETERS.values():
        if any(name in parameters for name in names):
            return tuple(name for name in parameters if name not in names)
    return ()


def expires_at(link: str) -> datetime | None:
    """The time at which *link* says it expires, or nothing if it does not say."""
    try:
        query = {name.lower(): value for name, value in parse_qsl(urlsplit(link).query)}
        for scheme in SIGNATURE_PARAMETERS:
            if issued := query.get(f"{scheme}-date"):
                start = datetime.strptime(issued, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
                return start + timedelta(seconds=int(query[f"{scheme}-expires"]))
        return datetime.fromtimestamp(int(query["expires"]), UTC)
    except (KeyError, ValueError, OverflowError, OSError):
        return None
