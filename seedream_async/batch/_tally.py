"""
How many rows are where, and how fast: kept as rows change, told as `BatchProgress`. Nothing waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from seedream_async._limits import Stats

from ._results import BatchProgress
from ._states import State

_PATIENCE = 5.0  # seconds before a rate is worth telling


class Tally:
    """The figures of one run, which began with rows as *counts* has them."""

    def __init__(
        self,
        counts: Mapping[State, int],
        *,
        images: int,
        cost: float,
        currency: str | None,
        now: Callable[[], float],
    ) -> None:
        self.counts = dict(counts)
        self.images = images
        self.cost = cost
        self.currency = currency
        self._now = now
        self._start = now()
        self._images_before = images
        self._cost_before = cost
        self._done = 0

    def move(self, before: State, after: State) -> None:
        """One row that was *before* is now *after*."""
        self.counts[before] -= 1
        self.counts[after] += 1
        self._done += after in ("saved", "failed", "unknown")

    def recount(self, counts: Mapping[State, int], *, images: int, cost: float) -> None:
        """Take the figures of whoever has kept them meanwhile."""
        done = sum(counts.values()) - _left(counts)
        self._done += done - (sum(self.counts.values()) - self.left)
        self.counts, self.images, self.cost = dict(counts), images, cost

    @property
    def left(self) -> int:
        return _left(self.counts)

    def told(self, stats: Stats, why: object) -> BatchProgress:
        """All of it, with what the client's *stats* say of now; *why* the batch is left, if so."""
        elapsed = self._now() - self._start
        seconds_left = self.left * elapsed / self._done if self._done else None
        return BatchProgress(
            total=sum(self.counts.values()),
            saved=self.counts["saved"],
            failed=self.counts["failed"],
            unknown=self.counts["unknown"],
            left=self.left,
            images=self.images,
            elapsed=elapsed,
            images_per_minute=60 * (self.images - self._images_before) / max(elapsed, 1.0),
            in_flight=self.counts["sent"],
            cost=self.cost if self.currency else None,
            projected=self._projected(),
            currency=self.currency,
            seconds_left=seconds_left if elapsed >= _PATIENCE else None,
            waiting=waiting_for(stats, why),
        )

    def _projected(self) -> float | None:
        answered = self.counts["saved"] + self.counts["paid"]
        if not (self.currency and answered):
            return None
        return self.cost + (self.counts["planned"] + self.counts["sent"]) * self.cost / answered


def _left(counts: Mapping[State, int]) -> int:
    return sum(counts[state] for state in ("planned", "sent", "paid"))


def waiting_for(stats: Stats, why: object) -> str | None:
    """Why nothing more is sent at the moment, in a few words; nothing if it is."""
    if why is not None:
        return "leaving: what is in flight is waited for"
    if stats.waiting_for_pause and not stats.paused_for:
        return "waiting to try again"
    if stats.waiting_for_pause:
        return f"the service asked for a pause: {stats.paused_for:.0f} s"
    if stats.waiting_for_rate:
        limit = f" ({stats.found_limit:.0f} a minute)" if stats.found_limit else ""
        return f"the rate of images is reached{limit}"
    if stats.waiting_for_slot:
        return f"the service is busy: {stats.concurrency} at once"
    return None
