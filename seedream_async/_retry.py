"""
Whether to try again and when, as plain functions.

A paid request is sent again only if it never left, or if the service refused it. That is what
`APIError.retryable` says; only who opts in to being billed twice has an unknown outcome repeated.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from attrs import field, frozen

from ._errors import (
    APIError,
    DownloadError,
    InvalidRequestError,
    OutcomeUnknownError,
)

# Not float(): it also takes "nan", "1_0" and Arabic digits.
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_LONGEST = 86_400.0  # seconds: nobody waits for longer
_FOREVER = 1e9  # seconds, which no policy means


def _check_attempts(_: Any, __: Any, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidRequestError(
            f"attempts must be a whole number from 1, not {value!r:.40}", field="attempts"
        )


def _check_wait(_: Any, attribute: Any, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and 0 <= value <= _FOREVER):
        raise InvalidRequestError(
            f"{attribute.name} must be a number of seconds from 0, not {value!r:.40}",
            field=attribute.name,
        )


def _check_flag(_: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, bool):  # "no" would be yes
        raise InvalidRequestError(
            f"{attribute.name} must be True or False, not {value!r:.40}", field=attribute.name
        )


@frozen(kw_only=True)
class RetryPolicy:
    """
    How hard to try. Times are in seconds.

    At most *attempts* in all. The wait before attempt n + 1 is random, up to
    `wait_initial * 2 ** (n - 1)`, and never above *wait_max*. A service that asks for more than
    *max_retry_after* is not waited for: its error is raised at once.

    With *resend_unknown*, a request whose outcome is unknown is sent again too, **and may be paid
    for twice**; `attempts` of the response tells. Raises `InvalidRequestError` for nonsense.
    """

    attempts: int = field(default=5, validator=_check_attempts)
    wait_initial: float = field(default=1.0, validator=_check_wait)
    wait_max: float = field(default=30.0, validator=_check_wait)
    max_retry_after: float = field(default=120.0, validator=_check_wait)
    resend_unknown: bool = field(default=False, validator=_check_flag)


class Budget:
    """
    The retries that a client may still spend, so that an outage is not answered with a storm.

    Each takes one of at most *size*; each success gives one back.
    """

    def __init__(self, size: int) -> None:
        self._size = self._left = size

    def take(self) -> bool:
        """Spend one retry; false if there is none."""
        if not self._left:
            return False
        self._left -= 1
        return True

    def give(self) -> None:
        """Note a success."""
        self._left = min(self._size, self._left + 1)


def should_retry(error: BaseException, policy: RetryPolicy) -> bool:
    """Tell whether another attempt is free, or wanted all the same, and could end differently."""
    if isinstance(error, OutcomeUnknownError):
        return policy.resend_unknown and not error.final
    return isinstance(error, APIError | DownloadError) and error.retryable


def compute_wait(policy: RetryPolicy, error: BaseException, attempt: int, jitter: float) -> float:
    """
    Seconds to wait after the failed *attempt* (from 1); *jitter* is from 0 to 1.

    A time that the service asked for is a floor: coming back earlier only earns a new refusal.
    """
    exponent = min(attempt - 1, 60)
    backoff = jitter * min(policy.wait_max, policy.wait_initial * 2.0**exponent)
    return max(backoff, _asked_by(error))


def why_stop(
    policy: RetryPolicy, error: BaseException, attempt: int, wait: float, most: float
) -> str | None:
    """
    Why there is no attempt after the failed *attempt*: empty if it was the last one allowed.

    There are *most* seconds to wait.
    """
    if attempt >= policy.attempts:
        return ""
    if (asked := _asked_by(error)) > policy.max_retry_after:
        return f"the service asks for {asked:g} s, more than max_retry_after"
    if wait >= most:
        return f"a wait of {wait:.1f} s would leave too little of the total time-out"
    return None


def _asked_by(error: BaseException) -> float:
    """The seconds that the service asked for, 0 if it did not."""
    return getattr(error, "retry_after", None) or 0.0


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """
    Seconds until the service wants to see us again, at most a day; nothing if it does not say.

    A date is measured against the answer's own `Date`, so that a wrong clock here does no harm.
    `retry-after-ms`, which OpenAI's clients know, is the more exact and goes first.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        number = headers.get(name, "").strip()
        if _NUMBER.fullmatch(number):
            return min(float(number) * unit, _LONGEST)
    if (at := _parse_date(headers.get("retry-after", ""))) is None:
        return None
    seconds = (at - (_parse_date(headers.get("date", "")) or now)).total_seconds()
    return min(max(0.0, seconds), _LONGEST)


def _parse_date(value: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
