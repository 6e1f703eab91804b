"""When the next request may be sent: one line for all, held up by rates and by pauses."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from functools import partial

from ._errors import APIStatusError
from ._limits import Limits
from ._line import Line
from ._pace import MINUTE, Bucket, Found, Window
from ._retry import RetryPolicy, compute_wait

_TICK = 1e-6  # seconds: a timer fires too early by as much as its clock is coarse


class Gate:
    """
    Lets requests through, each weighted by the images that it may make.

    After a pause they go one by one: at the rate that is known, or spread over up to a second.
    """

    def __init__(self, limits: Limits, jitter: Callable[[], float]) -> None:
        self.passed = Window()
        self.paused_until = -math.inf
        self.found = Found()
        self._limits = limits
        self._jitter = jitter
        self._line = Line()
        self._timer: asyncio.TimerHandle | None = None
        self._paused_at = -math.inf
        self._pauses = 0  # in a row
        images, requests = limits.images_per_minute, limits.requests_per_minute
        self._by_image = {"set": Bucket(images)} if images else {}
        self._by_request = {"set": Bucket(requests)} if requests else {}

    @property
    def waiting(self) -> int:
        """How many wait to be let through."""
        return len(self._line)

    async def enter(self, images: int) -> float:
        """Wait until a request for *images* may be sent; return the time when it might."""
        now = asyncio.get_running_loop().time()
        if not self._line and self._opens_at(images) <= now:
            self._take(images, now)
            return now
        turn = self._line.join(images, partial(self._left, images))
        self._move()
        return await turn

    def used(self, asked: int, images: int, granted_at: float) -> None:
        """Of the images *asked* for by what was *granted_at* a time, so many were made."""
        if images == asked and not self._by_image:
            return  # as was expected, and nobody waits for it
        now = asyncio.get_running_loop().time()
        for bucket in self._by_image.values():
            bucket.settle(asked, images, now)
        self.passed.add(images - asked, granted_at, now)
        self._move()

    def succeeded(self, granted_at: float) -> None:
        """What was *granted_at* a time was not refused."""
        if granted_at > self._paused_at:
            self._pauses = 0
            self.found.succeeded()

    def unused(self, asked: int, granted_at: float) -> None:
        """What was *granted_at* a time was never sent."""
        now = asyncio.get_running_loop().time()
        for bucket in self._by_request.values():
            bucket.settle(1, 0, now)
        self.used(asked, 0, granted_at)

    def pause(self, error: APIStatusError, granted_at: float, policy: RetryPolicy) -> float:
        """
        Let nobody through for as long as *error* asks, or a backoff; return the seconds.

        What was sent before the last pause began adds nothing but what it asks for. More than the
        policy allows is not waited for: then every call is told by the service itself.
        """
        now = asyncio.get_running_loop().time()
        wait = error.retry_after or 0.0
        if wait > policy.max_retry_after:
            return 0.0
        if granted_at > self._paused_at:
            self._paused_at, self._pauses = now, self._pauses + 1
            wait = compute_wait(policy, error, self._pauses, 0.5 + self._jitter() / 2)
        self.paused_until = max(self.paused_until, now + wait)
        if wait and not self._by_image:
            self._spread_out(min(wait, 1.0))
        return wait

    def drain(self) -> None:
        """Let nobody have what is saved up: it may have been granted by another before."""
        now = asyncio.get_running_loop().time()
        for bucket in (*self._by_image.values(), *self._by_request.values()):
            bucket.drain(now)

    def hold(self, seconds: float) -> None:
        """Let nobody through for so many *seconds*, as another who shares the account was told."""
        now = asyncio.get_running_loop().time()
        self.paused_until = max(self.paused_until, now + seconds)
        if not self._by_image:
            self._spread_out(min(seconds, 1.0))

    def learn(self, asked: int, granted_at: float) -> None:
        """Take the refusal of what was *granted_at* a time as a sign of the account's rate."""
        now = asyncio.get_running_loop().time()
        passed, until = self.passed.total(now), max(now, self.paused_until)
        self.found.refused(asked, granted_at, passed=passed, now=now, until=until)
        self._retune(now)
        if "found" in self._by_image:
            self._by_image["found"].drain(until)

    def _spread_out(self, seconds: float) -> None:
        bucket = Bucket(self._limits.concurrency * MINUTE / seconds)
        bucket.drain(self.paused_until)
        self._by_request["spread"] = bucket

    def _retune(self, now: float) -> None:
        if self.found.per_minute is None:
            self._by_image.pop("found", None)
        elif bucket := self._by_image.get("found"):
            bucket.retune(self.found.per_minute, now)
        else:
            self._by_image["found"] = Bucket(self.found.per_minute)

    def _charged(self, images: int) -> Iterator[tuple[Bucket, int]]:
        for bucket in self._by_image.values():
            yield bucket, images
        for bucket in self._by_request.values():
            yield bucket, 1

    def _opens_at(self, images: int) -> float:
        at = self.paused_until
        if self._by_image or self._by_request:
            at = max(at, *(bucket.ready_at(weight) for bucket, weight in self._charged(images)))
        return at

    def _take(self, images: int, now: float) -> None:
        if self._by_image or self._by_request:
            for bucket, weight in self._charged(images):
                bucket.take(weight, now)
        self.passed.add(images, now, now)

    def _left(self, images: int, called_at: float | None) -> None:
        if called_at is not None:
            self.unused(images, called_at)
        self._move()

    def _move(self) -> None:
        """Let through whoever may go on, and come back when the next one may."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._line:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self.found.probe(now):
            self._retune(now)
        while (images := self._line.head()) is not None:
            if (at := self._opens_at(images)) > now + _TICK:
                self._timer = loop.call_at(at, self._move)
                return
            self._take(images, now)
            self._line.call_next(now)
        self._by_request.pop("spread", None)
