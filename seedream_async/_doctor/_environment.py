"""
What the environment tells the client: the key, the base URL, proxies. Pure, and with the standard
library alone.

The key and what is in a proxy's address are never part of the words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # it is there

from seedream_async import _links
from seedream_async._errors import InvalidRequestError
from seedream_async._settings import BASE_URL, checked_base_url, checked_key, is_public_host

from ._findings import Finding, failed, ok, warning

KEY, URL = "COMETAPI_KEY", "COMETAPI_BASE_URL"
_QUOTES = "\"'`“”‘’"  # noqa: RUF001
_PLACEHOLDER = re.compile(r"<.*>|.*(?:\.\.\.|…).*|(?:sk-)?(?:x*|\*+|your.*)|sk", re.IGNORECASE)
_SCHEMES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")


class Endpoint(NamedTuple):
    """Where the API is."""

    url: str
    scheme: str
    host: str
    port: int


def judge_key(value: str) -> Finding:
    """Whether *value* can be a key. Its words hold nothing of it, not even its length."""
    key = value.strip(" \t\r\n\ufeff")
    again = f"set {KEY} to the key alone"
    if not key:
        state = f"{KEY} is blank" if value else f"{KEY} is not set"
        return failed("key", state, f"export {KEY}=…")
    if re.match(rf"(?:export\s+)?{KEY}\s*=", key):
        return failed("key", f"{KEY} holds its own name and an equals sign", again)
    if re.match(r"(?:authorization:\s*)?bearer\b", key, re.IGNORECASE):
        return failed("key", f"{KEY} begins with Bearer, which the client adds", again)
    if key[0] in _QUOTES or key[-1] in _QUOTES:
        return failed("key", f"{KEY} holds quotation marks, which would be sent", again)
    if _PLACEHOLDER.fullmatch(key):
        return failed("key", f"{KEY} looks like the placeholder of an example", "set the real one")
    if odd := _odd(key):
        return failed("key", f"{KEY} holds {odd}, which no key has", f"copy it again, and {again}")
    if key != value:
        return warning(
            "key",
            f"{KEY} has blanks or a newline around it; this client ignores them",
            f"{again}, since other programs send them",
        )
    return ok("key", f"{KEY} is set and looks like a key; it is not shown")


def _odd(key: str) -> str | None:
    if not key.isascii():
        return "characters beyond ASCII"
    if "\n" in key or "\r" in key:
        return "a newline"
    if not key.isprintable() or " " in key:
        return "blanks or control characters"
    return None


def usable_key(environ: Mapping[str, str]) -> str | None:
    """The key, if the client would send it."""
    try:
        return checked_key(environ[KEY]) if environ.get(KEY, "").strip() else None
    except InvalidRequestError:
        return None


def judge_base_url(value: str) -> tuple[Finding, Endpoint | None]:
    """Whether *value* can be the base URL, and where it leads."""
    try:
        url = checked_base_url(value if value.strip() else BASE_URL)
    except InvalidRequestError as error:
        words = str(error).replace("base_url", URL, 1)
        return failed("base URL", words, f"unset {URL}, or set it like {BASE_URL}"), None
    end = _endpoint(url)
    shown = end.url + ("" if value.strip() else f" (the default; {URL} is not set)")
    if not _links.parse_target(url).path.rstrip("/").endswith("/v1"):
        return warning(
            "base URL", f"{shown} does not end in /v1, so it is hardly the API", _like()
        ), end
    if end.scheme == "http" and is_public_host(url):
        return warning(
            "base URL", f"{shown} is not https: the key travels in the clear", _like()
        ), end
    return ok("base URL", shown), end


def _like() -> str:
    return f"set {URL} like {BASE_URL}"


def _endpoint(url: str) -> Endpoint:
    scheme, authority, path = _links.parse_target(url)
    parts = urlsplit(f"//{authority}")
    port = parts.port or (443 if scheme == "https" else 80)
    return Endpoint(f"{scheme}://{authority}{path}".rstrip("/"), scheme, parts.hostname or "", port)


def judge_proxies(environ: Mapping[str, str], end: Endpoint | None) -> Finding:
    """What becomes of proxies: the client's own sessions connect directly, whatever is set."""
    given = [name for name in _SCHEMES if _setting(environ, name)]
    named = ", ".join(given)
    if not given:
        return ok("proxy", "none is set, and the client connects directly")
    if end is None:
        return ok("proxy", f"{named} set; the client connects directly")
    own = f"{end.scheme.upper()}_PROXY"
    if own not in given and "ALL_PROXY" not in given:
        return ok(
            "proxy", f"{named} set, which is not for {end.scheme}; the client connects directly"
        )
    if not is_public_host(end.url) or _exempt(environ, end.host):
        return ok("proxy", f"{named} set, but not needed for {end.host}")
    lent = "trust_env=True" if own in given else 'proxy="http://…"'
    return warning(
        "proxy",
        f"{named} set, but the client connects directly",
        "if only the proxy leads out, give AsyncSeedream a "
        f"session=aiohttp.ClientSession({lent}); downloads and this command pass it by",
    )


def _setting(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name.lower()) or environ.get(name, "")


def _exempt(environ: Mapping[str, str], host: str) -> bool:
    return bool(proxy_bypass_environment(host, {"no": _setting(environ, "NO_PROXY")}))
