"""
One exchange with an object store over aiohttp: a link, byte for byte, from a session with nothing
to leak.

No aiohttp exception gets out: those print links.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import Any, TypeVar

import aiohttp
import yarl

from . import _links
from ._errors import DownloadError, IncompleteDownloadError, SeedreamError
from ._sessions import OwnSession
from ._timeout import Bounds
from ._trouble import HEADERS, TROUBLE, client_timeout, describe

_T = TypeVar("_T")
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_MAX_REDIRECTS = 5
_ERROR_BODY = 16 * 1024  # bytes of a store's refusal that are read


class LinkTransport:
    """The store's side: a session with nothing to leak, which sends links byte for byte."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._own = OwnSession(self._make_session)
        self.aclose = self._own.aclose
        self.abandon = self._own.abandon

    @contextlib.asynccontextmanager
    async def open(self, link: str) -> AsyncIterator[LinkStream]:
        """GET *link*, following redirects by hand. Raises `DownloadError`."""
        response = await _guarded(self._follow(link), link, self._bounds)
        try:
            yield LinkStream(link, response, self._bounds)
        finally:
            response.close()

    async def _follow(self, link: str) -> aiohttp.ClientResponse:
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                response = await self._own.get().get(exact_url(link), allow_redirects=False)
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or not location:
                    return response
                response.close()
                link = _links.follow(link, location)
            except ValueError as exc:
                raise DownloadError(f"the link cannot be fetched: {exc}") from None
        raise DownloadError(f"the link redirects more than {_MAX_REDIRECTS} times")

    def _make_session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=client_timeout(self._bounds),
            auto_decompress=False,
            headers={**HEADERS, "Accept": "*/*", "Accept-Encoding": "identity"},
        )


class LinkStream:
    """What a store answered to the GET of a link."""

    def __init__(self, link: str, response: aiohttp.ClientResponse, bounds: Bounds) -> None:
        self._link = link
        self._bounds = bounds
        self._response = response
        self.status = response.status

    async def iter_any(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the body, as they arrive. Raises `IncompleteDownloadError`."""
        while chunk := await _guarded(self._response.content.readany(), self._link, self._bounds):
            yield chunk

    async def read_error(self) -> bytes:
        """The first 16 KiB of the body of a refusal."""
        return await _guarded(self._response.content.read(_ERROR_BODY), self._link, self._bounds)


def exact_url(link: str) -> yarl.URL:
    """
    The URL that makes aiohttp send the target of *link* byte for byte.

    Raises `ValueError` if no request line can hold it.
    """
    target = _links.parse_target(link)
    # As a "path", even the query stays untouched; a parsed URL would lose a bare trailing "?".
    url = yarl.URL.build(
        scheme=target.scheme, authority=target.authority, path=target.path, encoded=True
    )
    if url.raw_path_qs != target.path:
        raise ValueError("the link cannot be sent unchanged")
    return url


async def _guarded(exchange: Awaitable[_T], link: str, bounds: Bounds) -> _T:
    """Await one exchange with a store; its troubles become download errors that may be retried."""
    try:
        return await exchange
    except SeedreamError:
        raise
    except TROUBLE as exc:
        what = describe(exc, bounds, "fetching the image")
        cut = isinstance(exc, aiohttp.ClientPayloadError)
    host = _links.host_of(link)
    facts: dict[str, Any] = {"host": host, "retryable": True}
    if cut:
        raise IncompleteDownloadError(f"the image from {host} broke off: {what}", **facts)
    raise DownloadError(f"the image could not be fetched from {host}: {what}", **facts)
