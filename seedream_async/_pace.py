"""
How fast to go, as decisions that are told the time: nothing here waits or reads a clock.

Times are in seconds of any clock that only goes forward.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from ._errors import APIError, InternalServerError, OutcomeUnknownError, RateLimitError

Signal: TypeAlias = Literal["rate", "overload"] | None

MINUTE = 60
_SAVED = 2.0  # seconds of a rate that may be saved up, so that little is lost to unsteady demand
_SPELL = 10.0  # seconds without a refusal after which more is tried
_STEP = 0.015  # of a rate that was cut, tried more after each quiet spell
_CUT, _DEEPEST, _SLIGHT = 0.95, 0.8, 0.97
_FLOOR = 10.0  # images per minute: below it, pauses serve better than a rate
_NO_LIMIT = 1e6
_EVIDENCE = 20  # images: fewer say nothing of a rate
_SHRINK = 0.7
_OVERLOADED = {"ServerOverloaded", "ModelLoadingError", "InflightBatchsizeExceeded"}
_GATEWAYS = {503, 504, 524, 529}  # statuses of gateways whose service is too slow, or gone


def signal_of(error: BaseException) -> Signal:
    """Tell what *error* says of our traffic: too many per minute, too many at once, or nothing."""
    match error:
        case RateLimitError(code=code):
            return "overload" if (code or "").partition(".")[0] in _OVERLOADED else "rate"
        case InternalServerError(retryable=True) | OutcomeUnknownError(status_code=int()):
            return "overload" if _is_overload(error) else None
    return None


def _is_overload(error: APIError) -> bool:
    return isinstance(error, InternalServerError) or getattr(error, "status_code", 0) in _GATEWAYS


class Bucket:
    """
    Tokens that come at a rate *per_minute*, of which those of a moment are saved up.

    Who takes more than can be saved waits for a full bucket only, and leaves a debt to those who
    come after; so heavy takers need not wait until light ones leave something. Nobody is charged
    more than the tokens of a minute. In any time, no more is granted, less what came back, than
    the tokens of that time and those that are saved, or the heaviest grant if that is more.
    """

    __slots__ = ("_burst", "_full_at", "_most", "_rate")

    def __init__(self, per_minute: float) -> None:
        self._full_at = -math.inf
        self._tune(per_minute)

    def _tune(self, per_minute: float) -> None:
        self._rate = per_minute / MINUTE
        self._burst = max(1.0, self._rate * _SAVED)
        self._most = max(1.0, per_minute)

    def retune(self, per_minute: float, now: float) -> None:
        """Go on at another rate, with what is saved or owed now."""
        level = self._burst - max(0.0, self._full_at - now) * self._rate
        self._tune(per_minute)
        self._full_at = now + (self._burst - level) / self._rate

    def drain(self, until: float) -> None:
        """Have one token *until* then, and none saved."""
        self._full_at = until + (self._burst - 1.0) / self._rate

    def ready_at(self, weight: int) -> float:
        """When so much may be taken, as far as is known now."""
        return self._full_at - (self._burst - min(weight, self._burst)) / self._rate

    def take(self, weight: float, now: float) -> None:
        """Take so much, of what there is or will be."""
        self._full_at = max(self._full_at, now) + min(weight, self._most) / self._rate

    def settle(self, taken: int, used: int, now: float) -> None:
        """Of what was *taken*, so much was *used*."""
        excess = (used - min(taken, self._most)) / self._rate
        self._full_at = (max(self._full_at, now) if excess > 0 else self._full_at) + excess


class Window:
    """What was counted in the last minute, to the second."""

    __slots__ = ("_counts", "_second", "_total")

    def __init__(self) -> None:
        self._counts = [0] * MINUTE
        self._second = 0
        self._total = 0

    def add(self, count: int, at: float, now: float) -> None:
        """Count something that happened *at* a time; what is over a minute old is left out."""
        self._advance(now)
        second = int(at)
        if self._second - second < MINUTE:
            self._counts[second % MINUTE] += count
            self._total += count

    def total(self, now: float) -> int:
        """What the last minute has."""
        self._advance(now)
        return self._total

    def _advance(self, now: float) -> None:
        second = int(now)
        if second > self._second:
            for passed in range(max(self._second, second - MINUTE) + 1, second + 1):
                self._total -= self._counts[passed % MINUTE]
                self._counts[passed % MINUTE] = 0
            self._second = second


class Found:
    """
    The images per minute that an account seems to take: nothing until it refuses some.

    The first guess is what passed in the minute before the first refusal. Who asks for a long wait
    counts minutes and takes just that; who does not may only be averse to bursts and take more, so
    from then on each quiet spell adds twice as much as the one before. What proves too high is
    cut, and then what is added stays the same until the rate is above what was refused.
    """

    __slots__ = ("_cut_at", "_mark", "_quiet_since", "_refused", "_step", "per_minute")

    def __init__(self) -> None:
        self.per_minute: float | None = None
        self._quiet_since = self._cut_at = -math.inf
        self._mark = self._step = 0.0
        self._refused = 0

    def succeeded(self) -> None:
        """Note that something was not refused."""
        self._refused = 0

    def refused(
        self, images: int, granted_at: float, *, passed: int, now: float, until: float
    ) -> bool:
        """
        Learn from the refusal of what was *granted_at* a time; tell whether the rate is cut.

        *passed* is what passed in the last minute without it. Nothing goes on before *until*.
        """
        self._refused += images
        if self.per_minute is not None and granted_at <= self._cut_at:
            # It was under way when the first of its kind came back, and is in that one's guess.
            self.per_minute = max(_FLOOR, self.per_minute - images)
            return False
        if self.per_minute is None and passed + self._refused < _EVIDENCE:
            return False
        self._cut(passed, counts_minutes=until - now >= _SPELL)
        self._cut_at, self._quiet_since = now, until
        return True

    def _cut(self, passed: int, *, counts_minutes: bool) -> None:
        self._mark = self.per_minute or (passed if counts_minutes else 0.0)
        if self.per_minute is None:
            cut = _CUT * passed
        elif passed > self.per_minute:
            # The last minute still holds more than the rate: that may be all that is wrong.
            cut = _SLIGHT * self.per_minute
        else:
            cut = max(_CUT * passed, _DEEPEST * self.per_minute)
        self.per_minute = max(_FLOOR, cut)
        self._step = max(1.0, _STEP * self.per_minute)

    def probe(self, now: float) -> bool:
        """Try more if it was quiet for long enough; tell whether it was."""
        if self.per_minute is None or now - self._quiet_since < _SPELL:
            return False
        self._quiet_since = now
        self.per_minute += self._step
        if self.per_minute > self._mark:
            self._step *= 2
        if self.per_minute > _NO_LIMIT:
            self.per_minute = None
        return True


class Width:
    """How many may be in flight: fewer after an overload, one more for each round of success."""

    __slots__ = ("_cut_at", "_most", "_value")

    def __init__(self, most: int) -> None:
        self._value = float(most)
        self._most = most
        self._cut_at = -math.inf

    @property
    def value(self) -> int:
        return int(self._value)

    def shrink(self, granted_at: float, now: float) -> None:
        """Learn from an overload that met what was *granted_at* a time; once for all of these."""
        if granted_at > self._cut_at:
            self._cut_at = now
            self._value = max(1.0, self._value * _SHRINK)

    def grow(self) -> None:
        """Learn from a success."""
        if self._value < self._most:
            self._value = min(self._most, self._value + 1 / self._value)
