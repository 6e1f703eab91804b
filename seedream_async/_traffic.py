"""How much of the API a client uses at once, and how fast. One object for all its calls."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable
from typing import Self

from ._errors import APIStatusError, RateLimitError
from ._events import Fate
from ._gate import Gate
from ._limits import Limits, Stats
from ._line import Slots
from ._pace import Width, signal_of
from ._retry import RetryPolicy
from ._sharing import Shared


class Traffic:
    """The slots, the rates and the figures of one client."""

    def __init__(self, limits: Limits, jitter: Callable[[], float] = random.random) -> None:
        self.limits = limits
        self.gate = Gate(limits, jitter)
        self.shared = Shared(limits.limiter)
        self.slots = Slots(lambda: self._width.value)
        self.images = self.requests = self.retries = self.unknown_outcomes = 0
        self.resting = 0  # calls between two attempts
        self._width = Width(limits.concurrency)

    def turn(self, images: int) -> Turn:
        """The turn of one call that may make so many *images*: `async with` waits for a slot."""
        return Turn(self, images)

    def stats(self) -> Stats:
        """What goes on now, and what has been."""
        now = asyncio.get_running_loop().time()
        waiting, shared = self.gate.waiting, self.shared.waiting
        paused = max(0.0, self.gate.paused_until - now)
        return Stats(
            in_flight=self.slots.taken - waiting - shared - self.resting,
            waiting_for_slot=self.slots.waiting,
            waiting_for_rate=shared + (0 if paused else waiting),
            waiting_for_pause=self.resting + (waiting if paused else 0),
            paused_for=paused,
            concurrency=self._width.value,
            images_per_minute=self.gate.passed.total(now),
            found_limit=self.gate.found.per_minute,
            images=self.images,
            requests=self.requests,
            retries=self.retries,
            unknown_outcomes=self.unknown_outcomes,
        )

    def answered(self, granted_at: float) -> None:
        """What was *granted_at* a time was not refused."""
        self.gate.succeeded(granted_at)
        self._width.grow()
        self.slots.fill()

    def learn(
        self, error: BaseException, images: int, granted_at: float, policy: RetryPolicy
    ) -> None:
        """Slow down, if *error* says that it was too much for the service."""
        signal = signal_of(error)
        if signal and isinstance(error, APIStatusError) and _is_for_all(error):
            self.shared.pause(self.gate.pause(error, granted_at, policy))
        if signal == "rate" and self.limits.adaptive:
            self.gate.learn(images, granted_at)
        elif signal == "overload" and self.limits.adaptive:
            self._width.shrink(granted_at, asyncio.get_running_loop().time())


def _is_for_all(error: APIStatusError) -> bool:
    return isinstance(error, RateLimitError) or error.retry_after is not None


class Turn:
    """
    One call in the traffic: a slot for as long as it lasts, and a way through for each attempt.

    After `admitted` comes `answered` or `failed`, and after the last of these `made`.
    """

    __slots__ = ("_error", "_granted_at", "_images", "_rests", "_traffic")

    def __init__(self, traffic: Traffic, images: int) -> None:
        self._traffic = traffic
        self._images = images
        self._granted_at = -math.inf
        self._error: Exception | None = None
        self._rests = False

    async def __aenter__(self) -> Self:
        await self._traffic.slots.take()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._error = None
        self._rest(False)
        self._traffic.slots.give()

    def _rest(self, rests: bool) -> None:
        self._traffic.resting += rests - self._rests
        self._rests = rests

    async def admitted(self, left: float) -> None:
        """
        Wait until an attempt may be sent.

        The first may wait for any time. If *left* seconds are not enough for a later one, what the
        last one failed with is raised again.
        """
        if self._error is None:
            await self._enter()
        else:
            try:
                async with asyncio.timeout(None if left == math.inf else left):
                    await self._enter()
            except TimeoutError:
                raise self._error from None
            self._traffic.retries += 1
        self._traffic.requests += 1

    async def _enter(self) -> None:
        self._rest(False)
        try:
            await self._traffic.shared.acquire(self._images)
            await self._enter_gate()
        except BaseException:
            self._rest(True)
            raise

    async def _enter_gate(self) -> None:
        try:
            self._granted_at = await self._traffic.gate.enter(self._images)
        except BaseException:
            self._traffic.shared.settle(self._images, 0)
            raise

    def answered(self) -> None:
        """Note that the attempt was answered."""
        self._traffic.answered(self._granted_at)

    def failed(self, error: BaseException, fate: Fate, policy: RetryPolicy) -> None:
        """Note what became of the attempt, and learn from it."""
        if isinstance(error, Exception):
            self._error = error
        self._rest(True)
        if fate == "never sent":
            self._traffic.requests -= 1
            self._traffic.gate.unused(self._images, self._granted_at)
            self._traffic.shared.settle(self._images, 0)
        elif fate == "refused":
            self._used(0)
        elif fate == "unknown":
            self._traffic.unknown_outcomes += 1
        self._traffic.learn(error, self._images, self._granted_at, policy)

    def made(self, images: int, *, complete: bool = True) -> None:
        """Note what has come of the call: *images*, and no more if *complete*."""
        self._traffic.images += images
        if complete:
            self._used(images)
        else:
            self._traffic.unknown_outcomes += 1

    def _used(self, images: int) -> None:
        self._traffic.gate.used(self._images, images, self._granted_at)
        self._traffic.shared.settle(self._images, images)
