"""Blocking work off the event loop, and none of it after its caller is gone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import lru_cache, partial
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_T = TypeVar("_T")
_WIDTH = 8


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:  # noqa: ARG001  a fork has none of its parent's
    return ThreadPoolExecutor(_WIDTH, thread_name_prefix="seedream")


async def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """
    Run a blocking *function* in a thread; when cancelled, wait for it before leaving.

    A thread cannot be stopped: leaving at once would let its file appear after the clean-up.
    But what still waits for a thread is never begun.
    """
    return await _in_thread(Future(), partial(function, *args, **kwargs))


async def surely_in_thread(function: Callable[[], _T]) -> _T:
    """As `in_thread`, for what is to be done even if the caller is cancelled before it begins."""
    ticket: Future[None] = Future()
    ticket.set_running_or_notify_cancel()
    return await _in_thread(ticket, function)


async def _in_thread(ticket: Future[None], function: Callable[[], _T]) -> _T:
    """Run *function* unless *ticket* is cancelled first."""

    def run() -> _T:
        if not (ticket.running() or ticket.set_running_or_notify_cancel()):
            raise asyncio.CancelledError
        return function()

    # No task, as that of asyncio.to_thread: a loop that ends cancels every task it can find.
    # And no thread of the application's pool, which resolves its host names.
    loop = asyncio.get_running_loop()
    work = loop.run_in_executor(_pool(os.getpid()), copy_context().run, run)
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as exc:
            cancelled = exc
            if ticket.cancel():
                work.cancel()
    if cancelled is None:
        return work.result()
    if not work.cancelled():
        work.exception()  # seen, so that nobody complains that it was not
    raise cancelled
