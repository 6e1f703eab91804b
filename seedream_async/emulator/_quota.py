"""How many images per minute the account may make: those of the minute before each request."""

from __future__ import annotations

import asyncio
import math
from collections import deque

from ._plan import Plan
from ._refusals import Refusal

LAYERS = 17  # images that a request for layers takes of the account's rate (Ark's API reference)
_CODE = "ModelAccountIpmRateLimitExceeded"


class Quota:
    """A limit on the images that are begun within *minute* seconds; `None` is no limit."""

    def __init__(self, limit: int | None, minute: float) -> None:
        self._limit = limit
        self._minute = minute
        self._begun: deque[tuple[float, int]] = deque()
        self._total = 0

    def charge(self, plan: Plan) -> None:
        """Count what *plan* makes; raises `Refusal`, and counts nothing, if that is too much."""
        if self._limit is None:
            return
        now = asyncio.get_running_loop().time()
        self._forget(now)
        images = min(LAYERS if plan.layers else plan.count, self._limit)
        if self._total + images > self._limit:
            raise self._too_many(self._wait(images, now))
        self._begun.append((now, images))
        self._total += images

    def _forget(self, now: float) -> None:
        while self._begun and self._begun[0][0] <= now - self._minute:
            self._total -= self._begun.popleft()[1]

    def _wait(self, images: int, now: float) -> float:
        """Seconds until there is room for *images*."""
        excess = self._total + images - (self._limit or 0)
        for at, begun in self._begun:
            excess -= begun
            if excess <= 0:
                return at + self._minute - now
        raise AssertionError("no request is larger than the limit")

    def _too_many(self, wait: float) -> Refusal:
        second = self._minute / 60
        return Refusal(
            429,
            _CODE,
            f"The request failed because it exceeds the limit of {self._limit} images per minute",
            retry_after=f"{math.ceil(wait / second) * second:g}",
        )
