"""The caller's limiter, held at arm's length: its errors become ours, and cost no image."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from ._errors import APIConnectionError
from ._limits import RateLimiter

_logger = logging.getLogger("seedream_async")


class Shared:
    """A limit that others share, or none."""

    def __init__(self, limiter: RateLimiter | None) -> None:
        self.waiting = 0
        self._limiter = limiter

    async def acquire(self, images: int) -> None:
        """Wait for the limiter, if there is one; raises `APIConnectionError` if it fails."""
        if self._limiter is None:
            return
        self.waiting += 1
        try:
            await self._limiter.acquire(images)
        except Exception as exc:
            name = type(exc).__name__
            raise APIConnectionError(
                f"the limiter of Limits failed ({name}): nothing was sent", retryable=True
            ) from exc
        finally:
            self.waiting -= 1

    def settle(self, asked: int, made: int) -> None:
        """Tell what has come of one `acquire`."""
        if self._limiter is not None:
            _logged(partial(self._limiter.settle, asked, made))

    def pause(self, seconds: float) -> None:
        """Tell of a refusal."""
        if self._limiter is not None and seconds > 0:
            _logged(partial(self._limiter.pause, seconds))


def _logged(tell: Callable[[], None]) -> None:
    """A limiter that cannot be told is no reason to lose what was paid for."""
    try:
        tell()
    except Exception:
        _logger.exception("the limiter of Limits raised")
