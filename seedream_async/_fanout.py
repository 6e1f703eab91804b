"""Run many requests, a few at a time, lazily. No task outlives the block that drives it."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator
from types import TracebackType
from typing import Any, Self, cast

from ._answering import Answering, Generate
from ._errand import Errand
from ._errors import InvalidRequestError
from ._pulling import Pulled, Source
from ._results import Result
from ._spending import Purse

# How many answered requests may be saved at once beside those in flight.
SAVING_WIDTH = 8


class FanOut:
    """
    The results of many requests: `async for` gives them as they finish, or in input order if they
    are *ordered*; `await` gives a list in input order. Either can be used once.

    The source is pulled one by one, as slots free up, on the event loop. At most *width* requests
    are in flight, and 2 x *width* + 8 pulled and not yet delivered: a slow consumer, and with
    *ordered* a slow request, holds back the pulling. If the source raises, that is a `Failure` too,
    and what is in flight is still delivered. So is what is in flight when an error comes that all
    others would share (a wrong key, an empty balance, a budget that is reached, a full disk, a
    closed client, a pause of more than *patience* seconds; an unknown model for those that name
    it): then nothing more is sent. What is left of a source of known length fails with
    `APIConnectionError`, as not sent; any other source is pulled no further.

    Leaving an `async with` block cancels and awaits the rest; `undelivered` then tells what became
    of it. A plain `async for` that is left does the same soon, in a task that the event loop makes.
    An asynchronous generator as source is closed then; any other source is let go of as by `for`.
    """

    def __init__(
        self,
        source: Source,
        generate: Generate,
        *,
        prepare: Callable[[], Awaitable[None]],
        width: int,
        model: str,
        saves: bool,
        patience: float = math.inf,
        ordered: bool = False,
        purse: Purse | None = None,
    ) -> None:
        if type(width) is not int or width < 1:
            raise InvalidRequestError(
                f"concurrency must be a whole number from 1 on, not {width!r}", field="concurrency"
            )
        self._source = Pulled(source)
        self._prepare = prepare
        self._answering = Answering(
            generate,
            purse,
            self._make_way if saves else _go_on,
            model=model,
            patience=patience,
        )
        self._stop = self._answering.stop
        self._width = width
        self._window = 2 * width + SAVING_WIDTH
        self._workers: set[asyncio.Task[None]] = set()
        self._savers: set[asyncio.Task[None]] = set()
        self._newcomer: asyncio.Task[None] | None = None  # a worker that has not begun
        self._pulling = False
        self._puller: asyncio.Task[None] | None = None  # the worker that waits for the source
        self._open: dict[int, Errand] = {}  # pulled and not delivered, in the order of the source
        self._finished: deque[Errand] | None = None if ordered else deque()
        self._delivery: Any = None  # the generator of the results, while a block holds on to it
        self._collected: list[Result] = []
        self._news = asyncio.Event()
        self._in_block = self._used = self._closed = False

    async def __aenter__(self) -> Self:
        self._in_block = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self.aclose()
        finally:
            if self._delivery is not None and not self._delivery.ag_running:
                await self._delivery.aclose()

    def __await__(self) -> Generator[None, None, list[Result]]:
        return self._collect().__await__()

    def __aiter__(self) -> AsyncIterator[Result]:
        if self._used or self._closed:
            raise RuntimeError("the results of a fan-out can be taken once, until it is left")
        self._used = True
        delivery = self._deliver()
        if self._in_block:  # else it ends as soon as nobody holds on to it
            self._delivery = delivery
        return delivery

    @property
    def undelivered(self) -> tuple[Result, ...]:
        """
        After the fan-out was left early: the result of each request that was pulled and whose
        result was not handed over, in input order. Their errors tell what may have been billed.
        """
        # Not whether there are any: a task that is done is dismissed a moment later.
        if not (self._closed and all(task.done() for task in self._workers | self._savers)):
            return ()
        results = [errand.result for errand in self._open.values() if errand.result is not None]
        return tuple(sorted(self._collected + results, key=lambda result: result.index))

    @property
    def stopped_by(self) -> Exception | None:
        """The error that all others would meet, if one came: nothing more is sent."""
        return self._stop.total

    async def aclose(self) -> None:
        """Cancel what is in flight, and wait until it is gone."""
        tasks = (*self._workers, *self._savers)
        if asyncio.current_task() in tasks:  # it would wait for itself
            raise RuntimeError("the source of a fan-out cannot close it: let it end")
        self._closed = True
        self._news.set()
        for task in tasks:
            task.cancel()
        try:
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            await self._source.aclose()

    async def _collect(self) -> list[Result]:
        async for result in self:
            self._collected.append(result)  # undelivered, until all are there
        results, self._collected = self._collected, []
        return sorted(results, key=lambda result: result.index)

    async def _deliver(self) -> AsyncGenerator[Result, None]:
        try:
            await self._prepare()
            self._hire()
            while not self._closed:
                if (result := self._take_result()) is not None:
                    self._hire()
                    yield result
                elif self._workers or self._savers:
                    self._news.clear()
                    await self._news.wait()
                else:
                    break
        finally:
            await self.aclose()

    def _take_result(self) -> Result | None:
        """The result to deliver next, if it is there."""
        if self._finished is not None:
            errand = self._finished.popleft() if self._finished else None
        else:
            errand = next(iter(self._open.values()), None)
        if errand is None or errand.result is None:
            return None
        del self._open[errand.index]
        return errand.result

    def _hire(self) -> None:
        """
        Start one more worker if there is work. Each that finds some starts the next, and so does
        each result that is delivered: few requests need few workers.
        """
        if self._newcomer is None and len(self._workers) < self._width and self._may_pull():
            self._newcomer = worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._dismiss)

    def _dismiss(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        self._savers.discard(worker)
        if worker is self._newcomer:
            self._newcomer = None
        cause = asyncio.CancelledError() if worker.cancelled() else worker.exception()
        if cause is not None:
            self._source.interrupt(cause)
        self._hire()
        self._news.set()

    def _may_pull(self) -> bool:
        """Whether there is room for one more request, and nobody else is at the source."""
        if self._pulling or self._closed or len(self._open) >= self._window:
            return False
        return not self._source.has_ended and (self._source.is_sized or not self._stop.is_total)

    async def _work(self) -> None:
        self._newcomer = None
        worker = asyncio.current_task()
        while self._may_pull() and (errand := await self._next(worker)) is not None:
            if errand.result is None:
                self._hire()
                await self._step(errand, self._answering.answer)
            if worker in self._savers:
                return

    def _make_way(self) -> None:
        """Let another worker have the slot of this one, which has only to save."""
        worker = cast("asyncio.Task[None]", asyncio.current_task())
        self._workers.discard(worker)
        self._savers.add(worker)
        self._hire()

    async def _next(self, worker: asyncio.Task[None] | None) -> Errand | None:
        """The next request, when it may be sent or has failed; nothing if there is none."""
        self._pulling = True
        try:
            self._puller = worker
            errand = await self._source.pull()
            self._puller = None
            if errand is not None:
                self._open[errand.index] = errand
                await self._step(errand, self._answering.admit)
            return errand
        finally:
            self._puller = None
            self._pulling = False

    def _stop_pulling(self) -> None:
        """Wait no longer for a source that nothing more is to be sent of."""
        if self._puller is not None and self._stop.is_total and not self._source.is_sized:
            self._puller.cancel()

    async def _step(self, errand: Errand, step: Callable[[Errand], Awaitable[None]]) -> None:
        """Take one *step* of *errand*. If it is the last, the result is there to be delivered."""
        try:
            await step(errand)
        except Exception as error:  # noqa: BLE001  one failed request never costs the others
            self._stop.learn(errand, error)
            self._stop_pulling()
            errand.fail(error)
        except BaseException:
            errand.leave()
            raise
        finally:
            if errand.result is not None:
                self._report(errand)

    def _report(self, errand: Errand) -> None:
        if self._finished is not None:
            self._finished.append(errand)
        self._news.set()


def _go_on() -> None:
    """Whoever has nothing to save keeps its slot."""
