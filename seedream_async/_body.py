"""The body of a paid request, which knows how far it got on its way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from weakref import WeakSet

import aiohttp
from aiohttp import payload
from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_writer import StreamWriter

from ._errors import SeedreamError
from ._http import Encoded, Piece
from ._sockets import can_tell_news, has_news
from ._threads import in_thread, surely_in_thread

# Connections that carried a request before; in a new one, TLS has things to say of its own.
_USED: WeakSet[ResponseHandler] = WeakSet()
_PIECE = 64 * 1024  # bytes of a request written at once


class RequestBody(payload.Payload):
    """
    A JSON body that knows whether it was handed to a connection.

    aiohttp holds the headers back until the body's first write, so until then nothing has left.
    That works on a lent session too, which a trace configuration would alter. If a piece cannot
    be made, *broken* says why: then nothing whole has left, and the service cannot act on it.
    Nothing leaves, either, if *check* raises when it is about to.
    """

    _autoclose = True

    def __init__(
        self,
        pieces: Sequence[Piece],
        on_sent: Callable[[], object],
        check: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(pieces, content_type="application/json")
        self._size = sum(
            len(piece) if isinstance(piece, bytes) else piece.length for piece in pieces
        )
        self._on_sent = on_sent
        self._check = check
        self.sent: bool = False
        self.whole: bool = False
        self.mocked: bool = False
        self.broken: SeedreamError | None = None
        self._transport: asyncio.Transport | None = None

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._check()
        _check_unasked(writer)
        self._transport = writer.transport if isinstance(writer, StreamWriter) else None
        if not _is_closing(writer):
            self.sent = True
            self._on_sent()
        await self._write_all(writer)
        self.whole = True

    async def _write_all(self, writer: AbstractStreamWriter) -> None:
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
            await surely_in_thread(slices.close)

    def let_go(self) -> None:
        """
        Put the connection away at once, if it is closed.

        To close one waits until the far side has taken what was written: one that is silent never
        does, and holds the socket and the memory for as long as it likes.
        """
        # One that is not closed may serve another request already.
        if self._transport is not None and self._transport.is_closing():
            self._transport.abort()

    def __deepcopy__(self, _: object) -> RequestBody:
        self.mocked = True  # aioresponses, which users have, copies what it is given
        return self

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:  # noqa: ARG002
        raise TypeError("a request body is sent, not shown")


def _is_closing(writer: AbstractStreamWriter) -> bool:
    """Whether the connection is known to be closed, so that a write would only raise."""
    if not isinstance(writer, StreamWriter):
        return False
    return writer.transport is None or writer.transport.is_closing()


def _check_unasked(writer: AbstractStreamWriter) -> None:
    """Raise if the far side has spoken already: that would be taken for the answer."""
    protocol = writer.protocol if isinstance(writer, StreamWriter) else None
    if not isinstance(protocol, ResponseHandler):
        return
    if protocol.should_close or (protocol in _USED and _has_news(protocol)):
        raise aiohttp.ClientConnectionError("the far side spoke unasked")
    _USED.add(protocol)


def _has_news(protocol: ResponseHandler) -> bool:
    """Whether something has come that a loop which had other things to do has yet to see."""
    transport = protocol.transport
    connected = None if transport is None else transport.get_extra_info("socket")
    return can_tell_news() and connected is not None and has_news(connected)
