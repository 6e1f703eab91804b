"""
A limit that processes share through Redis: pyrate-limiter counts, and a key holds the pause.

Needs the extra `redis`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from pyrate_limiter import Duration, Limiter, Rate, RedisBucket
from pyrate_limiter.limiter import SingleBucketFactory

from seedream_async import InvalidRequestError, RateLimiter

__all__ = ["RedisLimiter"]

_logger = logging.getLogger("seedream_async")
# In one step: between a look and a change, another client might begin a longer pause.
_LENGTHEN = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then
    redis.call('SET', KEYS[1], 1, 'PX', ARGV[1])
end
"""


class RedisLimiter(RateLimiter):
    """
    At most *images_per_minute* of all who use the same *name* in the same Redis.

    *client* is a `redis.asyncio.Redis`, which is lent: neither changed nor closed. Images count as
    asked for, whatever is made of them. Time is that of each machine, so clocks should agree.

        async with Redis.from_url("redis://localhost") as redis:
            limiter = RedisLimiter(redis, images_per_minute=500)
            async with AsyncSeedream(limits=Limits(limiter=limiter)) as client: ...
    """

    def __init__(self, client: Any, *, images_per_minute: int, name: str = "seedream") -> None:
        whole = isinstance(images_per_minute, int) and not isinstance(images_per_minute, bool)
        if not whole or images_per_minute < 1:
            problem = "images_per_minute must be a whole number from 1"
            raise InvalidRequestError(problem, field="images_per_minute")
        self._client = client
        self._most = images_per_minute
        self._name = name
        self._limiter: Limiter | None = None
        self._telling: set[asyncio.Task[None]] = set()

    async def acquire(self, images: int) -> None:
        """Wait until nobody pauses and there is room for *images*."""
        if self._limiter is None:
            self._limiter = await self._connect()
        await self._paused()
        await self._forget()
        await self._limiter.try_acquire_async(self._name, min(images, self._most))
        await self._paused()

    def pause(self, seconds: float) -> None:
        """Let nobody go for so many *seconds*, unless a longer pause is on."""
        if seconds > 0:
            task = asyncio.ensure_future(self._pause(seconds))
            self._telling.add(task)
            task.add_done_callback(self._told)

    async def _connect(self) -> Limiter:
        rate = Rate(self._most, Duration.MINUTE)
        bucket = await RedisBucket.init([rate], self._client, f"{self._name}:images")
        return Limiter(SingleBucketFactory(bucket, schedule_leak=False))

    async def _forget(self) -> None:
        """What is long over need not be kept; done here, as no task would own it elsewhere."""
        stale = time.time_ns() // 1_000_000 - 2 * Duration.MINUTE
        await self._client.zremrangebyscore(f"{self._name}:images", 0, stale)

    async def _paused(self) -> None:
        while (left := await self._client.pttl(f"{self._name}:pause")) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left / 1000)

    async def _pause(self, seconds: float) -> None:
        wait = max(1, int(seconds * 1000))
        await self._client.eval(_LENGTHEN, 1, f"{self._name}:pause", wait)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        if not task.cancelled() and (error := task.exception()):
            _logger.error("the pause was not shared", exc_info=error)
