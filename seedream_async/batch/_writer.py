"""
Group commit: whatever waits while the disk is busy is written together, by one thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from ._store import Store, Work

_T = TypeVar("_T")


class Writer:
    """The only one who touches a store, until `aclose`. Belongs to the event loop it is made in."""

    store: Store

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="seedream-ledger")
        self._waiting: list[tuple[Work, asyncio.Future[Any]]] = []
        self._busy = False
        self._open = False

    async def open(self, opening: Callable[[], Store]) -> None:
        """Raises what *opening* does, and leaves nothing open then."""

        def work() -> None:
            self.store = opening()
            self._open = True

        try:
            await unhurried(self._loop.run_in_executor(self._thread, work))
        except BaseException:
            await self.aclose()
            raise

    def ask(self, work: Work) -> asyncio.Future[Any]:
        """
        What *work* will have returned or raised once it is on the disk, to be awaited `unhurried`.

        Works are done in the order in which they were asked for.
        """
        if not self._open:
            raise RuntimeError("the ledger is closed")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("the ledger belongs to the event loop that opened it")
        return self._ask(work)

    async def aclose(self) -> None:
        """Write what waits, then close the store."""
        was_open, self._open = self._open, False
        try:
            if was_open:
                with contextlib.suppress(Exception):  # told to whoever waits for it
                    await unhurried(self._ask(_nothing))
                await unhurried(self._loop.run_in_executor(self._thread, self.store.close))
        finally:
            self._thread.shutdown(wait=False)

    def _ask(self, work: Work) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.append((work, future))
        if not self._busy:
            self._write()
        return future

    def _write(self) -> None:
        group, self._waiting = self._waiting, []
        self._busy = bool(group)
        if group:
            works, futures = zip(*group, strict=True)
            job = self._loop.run_in_executor(self._thread, self.store.commit, works)
            job.add_done_callback(partial(self._settle, futures))

    def _settle(
        self, futures: tuple[asyncio.Future[Any], ...], job: asyncio.Future[list[Any]]
    ) -> None:
        error = job.exception()
        outcomes = job.result() if error is None else [_another(error) for _ in futures]
        for future, outcome in zip(futures, outcomes, strict=True):
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._write()


async def unhurried(future: asyncio.Future[_T]) -> _T:
    """Await *future*; when cancelled, wait for it all the same before leaving."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is None:
        return future.result()
    future.exception()  # seen, so that nobody complains that it was not
    raise cancelled


def _another(error: BaseException) -> BaseException:
    """One for each who waits: a traceback grows wherever an error is raised."""
    another = copy.copy(error)
    another.__cause__ = error.__cause__
    return another


def _nothing(_: object) -> None:
    pass
