"""
One exchange with an object store over aiohttp: a link, byte for byte, from a session with nothing
to leak.

No aiohttp exception gets out: those print links.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import aiohttp
import yarl
from aiohttp import ClientHandlerType, ClientRequest, ClientResponse

from . import _links
from ._errors import DownloadError, IncompleteDownloadError, SeedreamError
from ._later import Later
from ._sessions import Lifetime, OwnSession, SilentConnector, notice_closed_connections
from ._sockets import AddrInfo, InwardError, outward_socket
from ._timeout import Bounds
from ._trouble import HEADERS, TROUBLE, client_timeout, describe, next_chunk

if TYPE_CHECKING:
    from . import _diagnosis
else:
    _diagnosis = Later("_diagnosis")

_T = TypeVar("_T")
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_MAX_REDIRECTS = 5
_ERROR_BODY = 16 * 1024  # bytes of a store's refusal that are read
_MAX_LOCATION = 64 * 1024  # bytes of a header; aiohttp's own limit of 8190 cuts long links off


class LinkTransport:
    """The store's side: sessions with nothing to leak, which send links byte for byte."""

    def __init__(self, bounds: Bounds, lifetime: Lifetime) -> None:
        self._bounds = bounds
        self._lifetime = lifetime
        self._anywhere = OwnSession(partial(_make_session, bounds, None))
        self._outward = OwnSession(partial(_make_session, bounds, outward_socket))

    @contextlib.asynccontextmanager
    async def open(
        self, link: str, *, headers: Mapping[str, str] | None = None, outward: bool = False
    ) -> AsyncIterator[LinkStream]:
        """
        GET *link*, following redirects by hand; only to public addresses if *outward*.

        Raises `DownloadError`, and `RuntimeError` after the end of the client.
        """
        self._lifetime.check()
        session = (self._outward if outward else self._anywhere).get()
        with _untraced():
            response, link = await _guarded(
                _follow(session, link, headers or {}), link, self._bounds
            )
        try:
            yield LinkStream(link, response, self._bounds)
        finally:
            response.close()

    async def aclose(self) -> None:
        """Close the sessions."""
        async with contextlib.AsyncExitStack() as both:  # also if one is cancelled
            both.push_async_callback(self._anywhere.aclose)
            both.push_async_callback(self._outward.aclose)

    def abandon(self) -> None:
        """Let go of sessions that nobody closed."""
        self._anywhere.abandon()
        self._outward.abandon()


def _make_session(
    bounds: Bounds, make_socket: Callable[[AddrInfo], socket.socket] | None
) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=SilentConnector(limit=0, socket_factory=make_socket),
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=client_timeout(bounds),
        auto_decompress=False,
        headers={**HEADERS, "Accept": "*/*", "Accept-Encoding": "identity"},
        max_field_size=_MAX_LOCATION,
        middlewares=(_once,),
    )


class _BrokenError(aiohttp.ClientError):
    """A connection broke, as the cause tells."""


async def _once(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    """Send a GET once. aiohttp repeats one that breaks by itself, unless it meets this error."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as exc:
        raise _BrokenError from exc


async def _follow(
    session: aiohttp.ClientSession, link: str, headers: Mapping[str, str]
) -> tuple[ClientResponse, str]:
    """What is answered at the end of all redirects, and the link that leads there."""
    for _ in range(_MAX_REDIRECTS + 1):
        try:
            url = exact_url(link)
        except ValueError as exc:
            raise _diagnosis.unsendable(link, exc) from None
        await notice_closed_connections()
        response = await session.get(url, headers=headers, allow_redirects=False)
        location = response.headers.get("Location")
        if response.status not in _REDIRECTS or not location:
            return response, link
        response.close()
        try:
            link = _links.follow(link, location)
        except ValueError as exc:
            host = _links.host_of(link)
            raise DownloadError(f"the link cannot be fetched: {exc}", host=host) from None
    host = _links.host_of(link)
    raise DownloadError(f"the link redirects more than {_MAX_REDIRECTS} times", host=host)


def _untraced() -> AbstractContextManager[object]:
    """
    Hide a request from OpenTelemetry's instrumentation, if it is there.

    It would export the link with its signature, and add headers that the store logs. Some releases
    heed this alone, and not `suppress_http_instrumentation`.
    """
    utils = sys.modules.get("opentelemetry.instrumentation.utils")
    suppress = getattr(utils, "suppress_instrumentation", contextlib.nullcontext)
    context: AbstractContextManager[object] = suppress()
    return context


class LinkStream:
    """What a store answered to the GET of *link*. *headers* have lower-case names."""

    def __init__(self, link: str, response: ClientResponse, bounds: Bounds) -> None:
        self.link = link
        self._bounds = bounds
        self._response = response
        self.status: int = response.status
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in response.headers.items()
        }

    async def iter_any(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the body, as they arrive. Raises `IncompleteDownloadError`."""
        while chunk := await self._guarded(next_chunk(self._response)):
            yield chunk

    async def read_error(self) -> bytes:
        """The first 16 KiB of the body of a refusal."""
        body = b""
        async for chunk in self.iter_any():
            body += chunk
            if len(body) >= _ERROR_BODY:
                break
        return body[:_ERROR_BODY]

    async def _guarded(self, step: Awaitable[_T]) -> _T:
        return await _guarded(step, self.link, self._bounds)


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


async def _guarded(step: Awaitable[_T], link: str, bounds: Bounds) -> _T:
    """Await one *step* with a store; its troubles become download errors that may be retried."""
    try:
        return await step
    except SeedreamError:
        raise
    except TROUBLE as exc:
        trouble = exc.__cause__ if isinstance(exc, _BrokenError) and exc.__cause__ else exc
    # Raised out here, so that no context drags the link along.
    raise _download_error(trouble, link, bounds)


def _download_error(trouble: BaseException, link: str, bounds: Bounds) -> DownloadError:
    host = _links.host_of(link)
    if isinstance(trouble, aiohttp.ClientConnectorError) and isinstance(
        trouble.os_error, InwardError
    ):
        return DownloadError(
            f"{trouble.host} leads to an address that is not public, and the link came from "
            "outside: if that is meant, use AsyncSeedream(private_links=True)",
            host=trouble.host,
        )
    what = describe(trouble, bounds, "fetching the image")
    if isinstance(trouble, aiohttp.ClientPayloadError):
        return IncompleteDownloadError(
            f"the image from {host} broke off: {what}", host=host, retryable=True
        )
    return DownloadError(
        f"the image could not be fetched from {host}: {what}", host=host, retryable=True
    )
