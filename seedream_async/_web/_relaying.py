"""Results, or the events of a stream, to a browser as they come; none is asked for twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Generic, TypeAlias, TypeVar

from attrs import field, frozen, validators

from seedream_async._client import AsyncSeedream
from seedream_async._errors import OutcomeUnknownError, SeedreamError
from seedream_async._reporting import logger

from . import _events
from ._leaving import Browser, Head, WhenLeft

_T = TypeVar("_T")
Source: TypeAlias = AbstractAsyncContextManager[AsyncIterable[_T]]
Public: TypeAlias = Callable[[_T], Mapping[str, Any] | None]
_WAITING = 16  # events that wait for a slow browser before the source has to
_CANCELLED = OutcomeUnknownError("what a browser waited for was cancelled")


@frozen(kw_only=True)
class Pace:
    """After how many seconds of silence there is a *heartbeat*, and when to *retry*."""

    heartbeat: float = field(default=15.0, validator=validators.gt(0))
    retry: float = field(default=3.0, validator=validators.ge(0))


class _Pipe:
    """Events on their way; once nobody reads them, they are dropped."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Semaphore(_WAITING)
        self._is_read = True

    async def put(self, event: bytes | None) -> None:
        await self._room.acquire()
        if self._is_read:
            self._queue.put_nowait(event)
        else:
            self._room.release()

    async def get(self, heartbeat: float) -> bytes | None:
        try:
            async with asyncio.timeout(heartbeat):
                event = await self._queue.get()
        except TimeoutError:
            return _events.HEARTBEAT
        self._room.release()
        return event

    def end(self, event: bytes) -> None:
        """Let *event* be the last, if there was none, whether there is room or not."""
        self._queue.put_nowait(event)
        self._queue.put_nowait(None)

    def leave(self) -> None:
        self._is_read = False
        self._room.release()  # lets on who waits for room


class Relay(Generic[_T]):
    """One *source* of events, and what to tell of them."""

    def __init__(
        self,
        client: AsyncSeedream,
        source: Source[_T],
        public: Public[_T],
        when_left: WhenLeft,
        pace: Pace,
    ) -> None:
        self._client = client
        self._source = source
        self._public = public
        self._stays = when_left == "finish_and_store"
        self._pace = pace
        self._number = 0

    async def run(self, head: Head, browser: Browser) -> None:
        """
        Send *browser* all there is.

        If its *head* says that it is here again, it lost the connection: what it asked for is
        paid for, and is not asked for a second time. Nor is it for a HEAD, which sees none of it.
        """
        if head.method == "HEAD":
            await browser.start(200, _events.HEADERS)
            await browser.end()
            return
        if head.headers.get("last-event-id"):
            await browser.start(204, {"Cache-Control": "no-store"})
            await browser.end()
            return
        pipe = _Pipe()
        pump = self._pump(pipe)
        task = self._client.keep(pump) if self._stays else asyncio.create_task(pump)
        task.add_done_callback(lambda _: pipe.end(self._end(_CANCELLED)))
        try:
            await self._send(pipe, browser)
        finally:
            pipe.leave()
            if not self._stays:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _send(self, pipe: _Pipe, browser: Browser) -> None:
        await browser.start(200, _events.HEADERS)
        await browser.write(_events.beginning(self._pace.retry))
        while (event := await pipe.get(self._pace.heartbeat)) is not None:
            await browser.write(event)
        await browser.end()

    async def _pump(self, pipe: _Pipe) -> None:
        """Take all that comes, also when nobody reads it any more."""
        trouble: Exception | None = None
        try:
            async with self._source as items:
                async for item in items:
                    if event := self._event(item):
                        await pipe.put(event)
        except Exception as error:  # noqa: BLE001  the browser is to know that there was one
            _log(error)
            trouble = error
        await pipe.put(self._end(trouble))
        await pipe.put(None)

    def _end(self, trouble: Exception | None) -> bytes:
        data = {} if trouble is None else _events.broken(trouble)
        return _events.event("end", self._next(), data)

    def _event(self, item: _T) -> bytes | None:
        """The event for *item*; nothing that is wrong with it costs the others."""
        try:
            told = self._public(item)
            if told is None:
                return None
            return _events.event(_events.name_of(item), self._next(), told)
        except Exception as error:  # noqa: BLE001  as there are others, and they are paid for
            logger.exception("what a browser may know of a result could not be told")
            return _events.event("failed", self._next(), _events.broken(error))

    def _next(self) -> int:
        self._number += 1
        return self._number


def _log(error: Exception) -> None:
    if isinstance(error, SeedreamError):
        logger.info("a stream to a browser broke off: %s", error)
    else:
        logger.error("a stream to a browser broke off", exc_info=error)
