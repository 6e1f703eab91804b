"""
The first attempt, and others after it if it fails.

The loop that makes them is loaded and asked only then: most calls need no second attempt.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from ._errors import SeedreamError
from ._later import Later
from ._retry import Budget, RetryPolicy

if TYPE_CHECKING:
    from . import _course
else:
    _course = Later("_course")  # with tenacity

_T = TypeVar("_T")


async def run(
    attempt: Callable[[], Awaitable[_T]],
    policy: RetryPolicy,
    budget: Budget,
    *,
    remaining: Callable[[], float] = lambda: math.inf,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    jitter: Callable[[], float] = random.random,
    on_retry: Callable[[int, SeedreamError, float], None] = lambda *_: None,
    why_not: Callable[[SeedreamError], str | None] = lambda _: None,
) -> _T:
    """
    Call *attempt* until it succeeds or *policy* ends; the last error is let through, with a note.

    *remaining* tells how many seconds there are to wait: a longer wait is not begun. *on_retry* is
    told the number of the failed attempt, its error, and the wait that follows. *why_not* has the
    last word on an attempt that nothing else forbids: what it gives is why there is none.
    """
    failed: list[SeedreamError] = []
    try:
        result = await attempt()
    except SeedreamError as error:
        failed.append(error)
    else:
        budget.give()
        return result
    result = await _course.go_on(
        failed,
        attempt,
        _course.Course(
            policy, budget, remaining=remaining, jitter=jitter, on_retry=on_retry, why_not=why_not
        ),
        sleep,
    )
    budget.give()
    return result
