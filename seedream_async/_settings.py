"""What a client is told at its construction: from arguments, or from the environment."""

from __future__ import annotations

import os

from ._addresses import is_public
from ._errors import InvalidRequestError
from ._links import host_of, parse_target

BASE_URL = "https://api.cometapi.com/v1"
_PRIVATE_DOMAINS = (".localhost", ".local", ".internal")
_BLANKS = " \t\r\n\ufeff"


def _setting(value: str | None, variable: str) -> str:
    """*value*, or else what the environment has; blank means missing."""
    return (value or "").strip(_BLANKS) or os.environ.get(variable, "").strip(_BLANKS)


def checked_key(argument: str | None) -> str:
    """The API key; raises `InvalidRequestError` if there is none that a header can hold."""
    key = _setting(argument, "COMETAPI_KEY")
    if not key:
        raise InvalidRequestError(
            "there is no API key: set COMETAPI_KEY or pass api_key", field="api_key"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InvalidRequestError(
            "the API key holds characters that no key has: check COMETAPI_KEY or api_key",
            field="api_key",
        )
    return key


def checked_base_url(argument: str | None) -> str:
    """The base URL without a slash at its end; raises `InvalidRequestError` if it cannot work."""
    url = _setting(argument, "COMETAPI_BASE_URL") or BASE_URL
    try:
        target = parse_target(url)
    except ValueError as exc:
        raise InvalidRequestError(
            f"base_url is not usable: {exc}".replace("the link", "it"), field="base_url"
        ) from None
    if "?" in target.path or "#" in url:
        raise InvalidRequestError(
            "base_url is not usable: it has a query or a fragment", field="base_url"
        )
    return url.rstrip("/")


def is_public_host(url: str) -> bool:
    """Whether *url* looks as if it leads to the public internet, judged by its host alone."""
    host = (host_of(url) or "").rstrip(".")
    if ":" in host or host.rpartition(".")[2].isdigit():
        return is_public(host)
    return "." in host and not host.endswith(_PRIVATE_DOMAINS)
