"""Answers that are sent bit by bit, whether or not anybody listens to the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from aiohttp import web
from attrs import field, frozen

_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}


def frame(data: Mapping[str, Any] | str, line_end: str = "\n", name: str = "") -> bytes:
    """One server-sent event. What is not ASCII stays as it is, in UTF-8."""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    lines = [f"event: {name}"] * bool(name) + [f"data: {text}", "", ""]
    return line_end.join(lines).encode()


@frozen(kw_only=True)
class Stream:
    """*frames* to send in pieces of *chunk* bytes, until a cut after *cut_after* of them."""

    frames: AsyncIterator[bytes]
    status: int = 200
    headers: Mapping[str, str] = field(default=_HEADERS)
    chunk: int | None = None
    cut_after: int | None = None

    @classmethod
    def of(cls, response: web.Response) -> Stream:
        """*response* as a stream of one frame."""
        body: Any = response.body
        return cls(frames=_one(bytes(body)), status=response.status, headers=response.headers)

    async def send(self, request: web.Request, line: Line) -> web.StreamResponse:
        """Send the frames down the *line*; what is left when it breaks is made all the same."""
        await line.open(request, web.StreamResponse(status=self.status, headers=self.headers))
        sent = 0
        if self.cut_after == 0:
            line.cut()
        async for each in self.frames:
            for piece in _pieces(each, self.chunk):
                await line.write(piece)
            sent += 1
            if sent == self.cut_after:
                line.cut()
        return await line.close()


class Line:
    """
    A connection to whoever listens.

    It carries *most* bytes of a body, then it is cut, or silent if it *stalls*; with a negative
    number not even the head. `None` is: no limit.
    """

    def __init__(self, most: int | None = None, *, stalls: bool = False) -> None:
        self._left = most
        self._stalls = stalls
        self._works = True

    async def open(self, request: web.Request, response: web.StreamResponse) -> None:
        self._request, self._response = request, response
        if self._left is None or self._left >= 0:
            await response.prepare(request)
        if self._left is not None and self._left <= 0:
            self._break()

    async def write(self, data: bytes) -> None:
        if not self._works:
            return
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        try:
            await self._response.write(data)
            await asyncio.sleep(0)  # so that small pieces do not become a large one
        except ConnectionError:  # nobody listens
            self._works = False
        if self._left == 0:
            self._break()

    def cut(self) -> None:
        self._works = False
        self._request.protocol.force_close()

    async def close(self) -> web.StreamResponse:
        if self._left is not None and self._works:
            self._break()
        if self._left is not None and self._stalls:
            await asyncio.Event().wait()  # until the server is stopped
        return self._response

    def _break(self) -> None:
        self._works = False
        if not self._stalls:
            self.cut()


async def _one(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _pieces(data: bytes, length: int | None) -> Iterator[bytes]:
    step = length or len(data) or 1
    return (data[start : start + step] for start in range(0, len(data), step))
