"""
One HTTP exchange over aiohttp, for the API and for links; the only place that knows aiohttp.

It tells whether a request left, and lets no aiohttp exception out: those print keys and links.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from typing import Any, TypeVar

import aiohttp
import yarl
from aiohttp import payload
from aiohttp.abc import AbstractStreamWriter

from . import _links
from ._errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    DownloadError,
    IncompleteDownloadError,
    OutcomeUnknownError,
    SeedreamError,
)
from ._retry import Timeout
from ._version import __version__
from ._wire import Answer

_T = TypeVar("_T")
_PIECE = 64 * 1024  # bytes of a request written at once
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_MAX_REDIRECTS = 5
_ERROR_BODY = 16 * 1024  # bytes of a store's refusal that are read
# What aiohttp and asyncio raise for trouble on the way; cancellation passes.
_TROUBLE = (aiohttp.ClientError, OSError, EOFError, ValueError, asyncio.InvalidStateError)
_HEADERS = {"User-Agent": f"seedream-async/{__version__}"}


class _Body(payload.Payload):
    """
    A JSON body that knows whether it was handed to a connection.

    aiohttp holds the headers back until the body's first write, so until then nothing has left.
    That works on a lent session too, which a trace configuration would alter.
    """

    _autoclose = True

    def __init__(self, body: bytes) -> None:
        super().__init__(body, content_type="application/json")
        self._size = len(body)
        self.sent = False

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.sent = True
        for at in range(0, len(self._value), _PIECE):
            await writer.write(self._value[at : at + _PIECE])

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002
        raise TypeError("a request body is sent, not shown")


class ApiTransport:
    """The API's side: every request carries the key, follows no redirect, and is sent once."""

    def __init__(self, base_url: str, key: str, session: aiohttp.ClientSession | None) -> None:
        self._base_url = base_url
        self._key = key
        self._lent = session
        self._own: aiohttp.ClientSession | None = None

    async def post(self, path: str, body: bytes, timeout: Timeout) -> Answer:
        """
        POST *body* and return whatever was answered.

        Raises `APIConnectionError` if nothing left, and `OutcomeUnknownError` if the request
        left and no whole answer came back.
        """
        sent = _Body(body)
        loop = asyncio.get_running_loop()
        start = loop.time()
        try:
            return await self._exchange("POST", path, sent, timeout)
        except _TROUBLE as exc:
            trouble: Exception = exc
        # Raised out here, so that no context drags the key along.
        raise _api_error(trouble, sent=sent.sent, elapsed=loop.time() - start)

    async def _exchange(
        self, method: str, path: str, body: _Body | None, timeout: Timeout
    ) -> Answer:
        async with self._session().request(
            method,
            yarl.URL(self._base_url + path, encoded=True),
            data=body,
            headers={**_HEADERS, "Authorization": f"Bearer {self._key}"},
            timeout=_client_timeout(timeout),
            allow_redirects=False,
            raise_for_status=False,
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, headers, await response.read())

    def _session(self) -> aiohttp.ClientSession:
        if self._lent is not None:
            return self._lent
        if self._own is None:
            # A paid request never rides a connection that the far side may have closed meanwhile.
            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            self._own = aiohttp.ClientSession(
                connector=connector, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._own

    async def aclose(self) -> None:
        """Close the session, unless it is lent."""
        if self._own is not None:
            await self._own.close()


class LinkTransport:
    """The store's side: a session with nothing to leak, which sends links byte for byte."""

    def __init__(self, timeout: Timeout) -> None:
        self._timeout = _client_timeout(timeout)
        self._own: aiohttp.ClientSession | None = None

    @contextlib.asynccontextmanager
    async def open(self, link: str) -> AsyncIterator[LinkStream]:
        """GET *link*, following redirects by hand. Raises `DownloadError`."""
        response = await _guarded(self._follow(link), link)
        try:
            yield LinkStream(link, response)
        finally:
            response.close()

    async def _follow(self, link: str) -> aiohttp.ClientResponse:
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                response = await self._session().get(exact_url(link), allow_redirects=False)
                location = response.headers.get("Location")
                if response.status not in _REDIRECTS or not location:
                    return response
                response.close()
                link = _links.follow(link, location)
            except ValueError as exc:
                raise DownloadError(f"the link cannot be fetched: {exc}") from None
        raise DownloadError(f"the link redirects more than {_MAX_REDIRECTS} times")

    def _session(self) -> aiohttp.ClientSession:
        if self._own is None:
            self._own = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=self._timeout,
                auto_decompress=False,
                headers={**_HEADERS, "Accept": "*/*", "Accept-Encoding": "identity"},
            )
        return self._own

    async def aclose(self) -> None:
        """Close the session."""
        if self._own is not None:
            await self._own.close()


class LinkStream:
    """What a store answered to the GET of a link."""

    def __init__(self, link: str, response: aiohttp.ClientResponse) -> None:
        self._link = link
        self._response = response
        self.status = response.status

    async def iter_any(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the body, as they arrive. Raises `IncompleteDownloadError`."""
        while chunk := await _guarded(self._response.content.readany(), self._link):
            yield chunk

    async def read_error(self) -> bytes:
        """The first 16 KiB of the body of a refusal."""
        return await _guarded(self._response.content.read(_ERROR_BODY), self._link)


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


def _client_timeout(timeout: Timeout) -> aiohttp.ClientTimeout:
    total = None if timeout.total == math.inf else timeout.total
    return aiohttp.ClientTimeout(total=total, sock_connect=timeout.connect, sock_read=timeout.read)


def _api_error(trouble: Exception, *, sent: bool, elapsed: float) -> APIError:
    what = _describe(trouble)
    if sent:
        return OutcomeUnknownError(
            f"no answer after {elapsed:.1f} s: {what}. The request had been sent, so the image "
            "may have been made and billed: check the account before sending it again",
            elapsed=elapsed,
        )
    if isinstance(trouble, aiohttp.ClientConnectorCertificateError):
        return APIConnectionError(f"{what}; nothing was sent. Check base_url and the clock")
    if isinstance(trouble, TimeoutError):
        return APITimeoutError(
            f"no connection after {elapsed:.1f} s; nothing was sent", retryable=True
        )
    return APIConnectionError(
        f"{what}; nothing was sent. Check base_url and the network", retryable=True
    )


def _describe(trouble: BaseException) -> str:
    """What happened, without the texts of aiohttp, which quote headers and links."""
    match trouble:
        case TimeoutError():
            return "timed out"
        case aiohttp.ClientConnectorCertificateError():
            return f"the certificate of {trouble.host} is not valid"
        case aiohttp.ClientConnectorDNSError():
            return f"the host name {trouble.host} does not resolve"
        case aiohttp.ClientConnectorError():
            return f"cannot connect to {trouble.host}:{trouble.port} ({_reason(trouble.os_error)})"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return "the connection was closed early"
        case OSError():
            return f"the connection failed ({_reason(trouble)})"
        case _:
            return f"the exchange failed ({type(trouble).__name__})"


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else type(error).__name__


async def _guarded(exchange: Awaitable[_T], link: str) -> _T:
    """Await one exchange with a store; its troubles become download errors that may be retried."""
    try:
        return await exchange
    except SeedreamError:
        raise
    except _TROUBLE as exc:
        what = _describe(exc)
        cut = isinstance(exc, aiohttp.ClientPayloadError)
    host = _links.host_of(link)
    facts: dict[str, Any] = {"host": host, "retryable": True}
    if cut:
        raise IncompleteDownloadError(f"the image from {host} broke off: {what}", **facts)
    raise DownloadError(f"the image could not be fetched from {host}: {what}", **facts)
