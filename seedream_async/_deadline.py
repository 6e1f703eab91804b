"""A time limit that does not count against the far side what the application held the loop for."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")
_LATEST = 1.0  # second that a loop gets to see what came while it was held


class Deadline:
    """
    Ends, with `TimeoutError`, whichever step is awaited *seconds* from now, and all that follow.

    A timer of a loop that was held does not know what has arrived meanwhile, and that may be paid
    for. So it looks twice, and in between is as much time as the first look came too late.
    """

    __slots__ = ("_due", "_ended", "_loop", "_passed", "_step", "_timer")

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + seconds
        self._passed = False
        self._ended = False  # a step: those that follow do not even wait for what is on its way
        self._step: asyncio.Timeout | None = None
        self._timer: asyncio.TimerHandle | None = None
        if seconds < math.inf:
            self._timer = self._loop.call_at(self._due, self._look)

    def check(self) -> None:
        """Raise `TimeoutError` if the time is over, whoever held the loop: nothing begins then."""
        if self._loop.time() >= self._due:
            raise TimeoutError

    async def within(self, step: Coroutine[Any, Any, _T]) -> _T:
        """What *step* gives, if it does in time, or without waiting for anything."""
        if self._ended:
            step.close()
            raise TimeoutError
        try:
            async with asyncio.timeout(0 if self._passed else None) as self._step:
                return await step
        except TimeoutError:
            self._ended = self._passed
            raise
        finally:
            self._step = None

    def close(self) -> None:
        """End nothing any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        late = self._loop.time() - self._due
        self._timer = self._loop.call_later(min(late, _LATEST), self._pass)

    def _pass(self) -> None:
        self._passed = True
        if self._step is not None:
            self._step.reschedule(self._due)
