"""Ways to keep a contender busy."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


async def spread(call: Callable[[], Awaitable[object]], count: int, width: int) -> None:
    """Make *count* calls from a pool of *width* workers."""
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            await call()

    await asyncio.gather(*(work() for _ in range(min(width, count))))
