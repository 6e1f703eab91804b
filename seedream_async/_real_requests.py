"""
Blocks what clients would send to real hosts, for the tests of an application.

It is done above aiohttp, so that no traceback holds a key, and nothing else that uses aiohttp is
concerned.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

from . import _link_transport
from ._errors import APIConnectionError, DownloadError
from ._links import host_of
from ._transport import ApiTransport


def block(replace: Callable[[object, str, object], object], note: Callable[[str], object]) -> None:
    """
    Let requests to real hosts raise, and *note* the hosts.

    *replace* sets an attribute for as long as that is to last.
    """
    open_api, exact_url = ApiTransport.open, _link_transport.exact_url

    def guarded_open(api: ApiTransport, *args: Any, **options: Any) -> Any:
        if host := _real_host(api._base_url):  # noqa: SLF001
            note(host)
            raise APIConnectionError(_told(host))
        return open_api(api, *args, **options)

    def guarded_url(link: str) -> Any:
        if host := _real_host(link):
            note(host)
            raise DownloadError(_told(host), host=host)
        return exact_url(link)

    replace(ApiTransport, "open", guarded_open)
    replace(_link_transport, "exact_url", guarded_url)


def _real_host(url: str) -> str | None:
    """The host of *url*, if a request would leave this machine."""
    host = host_of(url)
    return None if host is None or _is_loopback(host) else host


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _told(host: str) -> str:
    return (
        f"{host} is a real host, and block_real_requests is on: nothing was sent. Use the fixture "
        "seedream_client, or let the code under test use COMETAPI_BASE_URL and COMETAPI_KEY beside "
        "the fixture seedream_emulator; or mark the test as seedream_real_requests if it is "
        "to send, and maybe to pay"
    )
