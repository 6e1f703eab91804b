"""Run many requests, a few at a time, lazily. No task outlives the block that drives it."""

from __future__ import annotations

import asyncio
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Sized,
)
from types import TracebackType
from typing import Self, TypeAlias

from ._errors import (
    APIConnectionError,
    AuthenticationError,
    InsufficientQuotaError,
    InvalidRequestError,
    StorageError,
)
from ._models import ImagesResponse
from ._request import GenerateRequest
from ._results import Failure, Result, Success

Source: TypeAlias = Iterable[str | GenerateRequest] | AsyncIterable[str | GenerateRequest]
# How many answered requests may be saved at once beside those in flight.
SAVING_WIDTH = 8
# Errors that every other request would meet too.
_SHARED = (AuthenticationError, InsufficientQuotaError, StorageError)


# Answers a request and saves its images; the last argument is called when saving begins.
Generate: TypeAlias = Callable[
    [int, GenerateRequest, Callable[[], None]], Awaitable[ImagesResponse]
]


class FanOut:
    """
    The results of many requests: `async for` gives them as they finish, `await` as a list in
    input order. Either can be used once. Leaving an `async with` block cancels the rest.

    The source is pulled one by one, as slots free up. If it raises, that is a `Failure` too, and
    what is in flight is still delivered. So is what is in flight when an error comes that all
    others would share (a wrong key, an empty balance, a full disk): then nothing more is sent, and
    the rest of a source of known length fails with `APIConnectionError`, as not sent.
    """

    def __init__(
        self,
        source: Source,
        generate: Generate,
        *,
        prepare: Callable[[], Awaitable[None]],
        width: int,
    ) -> None:
        if isinstance(source, str | bytes) or not isinstance(source, Iterable | AsyncIterable):
            raise InvalidRequestError(
                f"requests must be an iterable of prompts, not {type(source).__name__}",
                field="requests",
            )
        if width < 1:
            raise InvalidRequestError(
                f"concurrency must be at least 1, not {width}", field="concurrency"
            )
        self._sized = isinstance(source, Sized)
        self._pointless: Exception | None = None
        self._items = source.__aiter__() if isinstance(source, AsyncIterable) else iter(source)
        self._generate = generate
        self._prepare = prepare
        self._pulled = 0
        self._exhausted = False
        self._used = False
        self._pulling = asyncio.Lock()
        self._slots = asyncio.Semaphore(width)
        self._working = 0
        self._workers: set[asyncio.Task[None]] = set()
        self._most_workers = width + SAVING_WIDTH
        self._finished: asyncio.Queue[Result | None] = asyncio.Queue(maxsize=width)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __await__(self) -> Generator[None, None, list[Result]]:
        return self._collect().__await__()

    async def __aiter__(self) -> AsyncIterator[Result]:
        if self._used:
            raise RuntimeError("the results of a fan-out can be taken once")
        self._used = True
        await self._prepare()
        self._hire()
        try:
            while (result := await self._finished.get()) is not None:
                yield result
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Cancel what is in flight, and wait until it is gone."""
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _collect(self) -> list[Result]:
        return sorted([result async for result in self], key=lambda result: result.index)

    def _hire(self) -> None:
        """Start one more worker. Each that finds work starts the next, so few requests need few."""
        if self._working < self._most_workers:
            self._working += 1
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        while (result := await self._next_result()) is not None:
            await self._finished.put(result)
        self._working -= 1
        if not self._working:
            await self._finished.put(None)

    async def _next_result(self) -> Result | None:
        """Take the next request and have it answered; nothing if there is none."""
        async with _Slot(self._slots) as slot:
            try:
                item = await self._pull()
            except Exception as error:  # noqa: BLE001  the source's own, reported where it happened
                return Failure(self._pulled, None, error)
            if item is None:
                return None
            index, self._pulled = self._pulled, self._pulled + 1
            if self._pointless:
                return Failure(index, item, _not_sent(self._pointless))
            self._hire()
            return await self._answer(index, item, slot.give_back)

    async def _pull(self) -> str | GenerateRequest | None:
        async with self._pulling:
            if self._exhausted or (self._pointless and not self._sized):
                return None
            self._exhausted = True  # unless an item comes
            try:
                if isinstance(self._items, AsyncIterator):
                    item = await anext(self._items)
                else:
                    item = next(self._items)
            except (StopIteration, StopAsyncIteration):
                return None
            self._exhausted = False
            return item

    async def _answer(
        self, index: int, item: str | GenerateRequest, answered: Callable[[], None]
    ) -> Result:
        try:
            item = GenerateRequest.of(item)
            return Success(index, item, await self._generate(index, item, answered))
        except Exception as error:  # noqa: BLE001  one failed request never costs the others
            if isinstance(error, _SHARED):
                self._pointless = self._pointless or error
            return Failure(index, item, error)


class _Slot:
    """One of *slots* for the time of a block, or until it is given back before."""

    def __init__(self, slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._held = False

    async def __aenter__(self) -> Self:
        self._held = await self._slots.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.give_back()

    def give_back(self) -> None:
        if self._held:
            self._held = False
            self._slots.release()


def _not_sent(cause: Exception) -> APIConnectionError:
    error = APIConnectionError(f"not sent, since another request met this: {cause}")
    error.__cause__ = cause
    return error
