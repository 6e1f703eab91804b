"""
One exchange with the API over aiohttp: with the key, sent once, and known to have left or not.

No aiohttp exception gets out: those print keys and links.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping, Sequence
from typing import TypeVar

import aiohttp
import yarl
from aiohttp import payload
from aiohttp.abc import AbstractStreamWriter

from ._errors import (
    APIConnectionError,
    APIError,
    APITimeoutError,
    OutcomeUnknownError,
    SeedreamError,
)
from ._files import in_thread
from ._http import Answer, Encoded, Piece
from ._retry import Timeout
from ._trouble import HEADERS, TROUBLE, client_timeout, describe

_T = TypeVar("_T")
_PIECE = 64 * 1024  # bytes of a request written at once


class _Body(payload.Payload):
    """
    A JSON body that knows whether it was handed to a connection.

    aiohttp holds the headers back until the body's first write, so until then nothing has left.
    That works on a lent session too, which a trace configuration would alter. If a piece cannot
    be made, *broken* says why: then nothing whole has left, and the service cannot act on it.
    """

    _autoclose = True

    def __init__(self, pieces: Sequence[Piece]) -> None:
        super().__init__(pieces, content_type="application/json")
        self._size = sum(
            len(piece) if isinstance(piece, bytes) else piece.length for piece in pieces
        )
        self.sent: bool = False
        self.broken: SeedreamError | None = None

    async def write(self, writer: AbstractStreamWriter) -> None:
        self.sent = True
        for piece in self._value:
            if isinstance(piece, bytes):
                for at in range(0, len(piece), _PIECE):
                    await writer.write(piece[at : at + _PIECE])
            else:
                await self._write_encoded(piece, writer)

    async def _write_encoded(self, piece: Encoded, writer: AbstractStreamWriter) -> None:
        slices = piece.slices()
        try:
            while part := await in_thread(next, slices, b""):
                await writer.write(part)
        except SeedreamError as exc:
            self.broken = exc
            raise
        finally:
            await in_thread(slices.close)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002
        raise TypeError("a request body is sent, not shown")


class ApiTransport:
    """The API's side: every request carries the key, follows no redirect, and is sent once."""

    def __init__(self, base_url: str, key: str, session: aiohttp.ClientSession | None) -> None:
        self._base_url = base_url
        self._key = key
        self._lent = session
        self._own: aiohttp.ClientSession | None = None

    @contextlib.asynccontextmanager
    async def open(
        self,
        method: str,
        path: str,
        pieces: Sequence[Piece] = (),
        *,
        timeout: Timeout,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[ApiStream]:
        """
        Send one request, and give access to whatever is answered.

        Raises `APIConnectionError` if nothing left, and `OutcomeUnknownError` if the request
        left and no whole answer came back.
        """
        exchange = _Exchange(_Body(pieces) if pieces else None)
        response = await exchange.guard(
            self._session().request(
                method,
                yarl.URL(self._base_url + path, encoded=True),
                data=exchange.body,
                headers={**HEADERS, **(headers or {}), "Authorization": f"Bearer {self._key}"},
                timeout=client_timeout(timeout),
                allow_redirects=False,
                raise_for_status=False,
            )
        )
        try:
            yield ApiStream(response, exchange)
        finally:
            response.close()

    async def send(
        self,
        method: str,
        path: str,
        pieces: Sequence[Piece] = (),
        *,
        timeout: Timeout,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """As `open`, for an answer that is wanted whole."""
        async with self.open(method, path, pieces, timeout=timeout, headers=headers) as stream:
            return await stream.read()

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


class ApiStream:
    """An answer of the API that is still arriving."""

    def __init__(self, response: aiohttp.ClientResponse, exchange: _Exchange) -> None:
        self._response = response
        self._exchange = exchange
        self.status: int = response.status
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in response.headers.items()
        }

    @property
    def is_event_stream(self) -> bool:
        """Whether events come, rather than one answer."""
        kind = self.headers.get("content-type", "")
        return self.status == 200 and kind.startswith("text/event-stream")

    async def read(self) -> Answer:
        """The whole answer."""
        body = await self._exchange.guard(self._response.read())
        return Answer(self.status, self.headers, body)

    async def iter_any(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the body, as they arrive."""
        while chunk := await self._exchange.guard(self._response.content.readany()):
            yield chunk


class _Exchange:
    """One request on its way, and what its troubles mean."""

    def __init__(self, body: _Body | None) -> None:
        self.body = body
        self._now = asyncio.get_running_loop().time
        self._start = self._now()

    async def guard(self, step: Awaitable[_T]) -> _T:
        """Await one *step*; its troubles become errors that say whether the request left."""
        try:
            return await step
        except TROUBLE as exc:
            trouble: Exception = exc
        # Raised out here, so that no context drags the key along.
        raise self._error(trouble)

    def _error(self, trouble: Exception) -> SeedreamError:
        if self.body is None:  # nothing that could be billed
            return APIConnectionError(f"{describe(trouble)}; try again", retryable=True)
        if self.body.broken:
            # Its frames hold the headers, and so the key.
            return self.body.broken.with_traceback(None)
        return _api_error(trouble, sent=self.body.sent, elapsed=self._now() - self._start)


def _api_error(trouble: Exception, *, sent: bool, elapsed: float) -> APIError:
    what = describe(trouble)
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
