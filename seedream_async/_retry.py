"""
Whether to try again and when, as plain functions; and the one loop that obeys them.

A paid request is sent again only if it never left, or if the service refused it. That is what
`APIError.retryable` says; nothing here looks further.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from attrs import field, frozen, validators
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from ._errors import APIError, DownloadError, SeedreamError

_T = TypeVar("_T")
# Not float(): it also takes "nan", "1_0" and Arabic digits.
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@frozen(kw_only=True)
class RetryPolicy:
    """
    How hard to try. Times are in seconds.

    At most *attempts* in all. The wait before attempt n + 1 is random, up to
    `wait_initial * 2 ** (n - 1)`, and never above *wait_max*. A service that asks for more than
    *max_retry_after* is not waited for: its error is raised at once.
    """

    attempts: int = field(default=5, validator=validators.ge(1))
    wait_initial: float = field(default=1.0, validator=validators.ge(0))
    wait_max: float = field(default=30.0, validator=validators.ge(0))
    max_retry_after: float = field(default=120.0, validator=validators.ge(0))


def _limit(default: float | None) -> Any:
    return field(default=default, validator=validators.optional(validators.gt(0)))


@frozen
class Timeout:
    """
    Limits in seconds; `None` is no limit.

    *total* bounds a whole call with its retries and waits; its clock starts when the call gets
    its slot. *connect* bounds making one connection, *read* the silence between two reads: an
    image takes 20 to 120 s, in silence.
    """

    total: float | None = _limit(600.0)
    connect: float | None = _limit(15.0)
    read: float | None = _limit(300.0)

    @classmethod
    def of(cls, value: Timeout | float) -> Timeout:
        """A plain number is the total."""
        return value if isinstance(value, Timeout) else cls(total=value)


def should_retry(error: BaseException) -> bool:
    """Tell whether another attempt is free, and could end differently."""
    return isinstance(error, APIError | DownloadError) and error.retryable


def compute_wait(policy: RetryPolicy, error: BaseException, attempt: int, jitter: float) -> float:
    """
    Seconds to wait after the failed *attempt* (from 1); *jitter* is from 0 to 1.

    A time that the service asked for is a floor: coming back earlier only earns a new refusal.
    """
    exponent = min(attempt - 1, 60)
    backoff = jitter * min(policy.wait_max, policy.wait_initial * 2.0**exponent)
    return max(backoff, getattr(error, "retry_after", None) or 0.0)


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """
    Seconds until the service wants to see us again, or nothing if it does not say.

    A date is measured against the answer's own `Date`, so that a wrong clock here does no harm.
    """
    value = headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(value):
        return float(value)
    if (at := _parse_date(value)) is None:
        return None
    return max(0.0, (at - (_parse_date(headers.get("date", "")) or now)).total_seconds())


def _parse_date(value: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


async def run(
    attempt: Callable[[], Awaitable[_T]],
    policy: RetryPolicy,
    *,
    remaining: Callable[[], float] = lambda: math.inf,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    jitter: Callable[[], float] = random.random,
) -> _T:
    """
    Call *attempt* until it succeeds or *policy* ends; the last error is let through.

    *remaining* tells how many seconds are left: a longer wait is not begun.
    """

    def wait(state: RetryCallState) -> float:
        return compute_wait(policy, _error_of(state), state.attempt_number, jitter())

    def stop(state: RetryCallState) -> bool:
        asked = getattr(_error_of(state), "retry_after", None) or 0.0
        return (
            state.attempt_number >= policy.attempts
            or asked > policy.max_retry_after
            or state.upcoming_sleep >= remaining()
        )

    # An AsyncRetrying carries the state of one call: never share it.
    retrying = AsyncRetrying(
        retry=retry_if_exception(should_retry), wait=wait, stop=stop, sleep=sleep, reraise=True
    )
    try:
        async for turn in retrying:
            with turn:
                return await attempt()
    except SeedreamError as error:
        if (attempts := retrying.statistics["attempt_number"]) > 1:
            error.add_note(f"gave up after attempt {attempts}")
        raise
    raise AssertionError("a turn either returns or raises")


def _error_of(state: RetryCallState) -> BaseException:
    """The error of the attempt that *state* is asked about: there always is one."""
    outcome = state.outcome
    assert outcome is not None  # noqa: S101  tenacity asks only after an attempt
    error = outcome.exception()
    assert error is not None  # noqa: S101  and only about failed ones
    return error
