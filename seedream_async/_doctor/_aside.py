"""Blocking work that may never end: in a thread that neither the loop nor the exit waits for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_T = TypeVar("_T")


async def aside(function: Callable[[], _T], timeout: float) -> _T:
    """
    What *function* gives; raises `TimeoutError` after *timeout* seconds, and lets it be.

    For what only looks: resolvers and dead network disks block for minutes, and so would an
    executor at the end of its loop.
    """
    done: Future[_T] = Future()
    done.set_running_or_notify_cancel()  # a thread cannot be cancelled

    def work() -> None:
        try:
            done.set_result(function())
        except BaseException as exc:  # noqa: BLE001  it is raised where it is awaited
            done.set_exception(exc)

    threading.Thread(target=work, daemon=True, name="seedream-doctor").start()
    async with asyncio.timeout(timeout):
        return await asyncio.wrap_future(done)
