"""
Leaving early: from then on nothing is sent, and what waits to be sent waits no longer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from seedream_async._errors import APIConnectionError


class Leaving:
    """Whether the batch is left, and *why*: in words, or as the error that is the cause."""

    def __init__(self) -> None:
        self.why: str | Exception | None = None
        self._waiting: set[asyncio.Timeout] = set()

    def leave(self, why: str | Exception) -> None:
        """Send nothing more, because of *why*; the first reason counts."""
        if self.why is None:
            self.why = why
            for scope in self._waiting:
                scope.reschedule(0)
            self._waiting.clear()

    def refuse(self) -> None:
        """Raise if nothing may be sent any more."""
        if self.why is not None:
            cause = self.why if isinstance(self.why, Exception) else None
            raise APIConnectionError(f"not sent: {self.why}") from cause

    @contextlib.asynccontextmanager
    async def waiting(self) -> AsyncIterator[asyncio.Timeout]:
        """What is done here may be cut short, as `APIConnectionError`, while it is not `busy`."""
        self.refuse()
        try:
            async with asyncio.timeout(None) as scope:
                self.resume(scope)
                yield scope
        except TimeoutError:
            self.refuse()
            raise
        finally:
            self._waiting.discard(scope)

    def busy(self, scope: asyncio.Timeout) -> None:
        """What *scope* is around may not be cut short from now on."""
        self._waiting.discard(scope)

    def resume(self, scope: asyncio.Timeout) -> None:
        """What *scope* is around may be cut short again."""
        if self.why is not None:
            scope.reschedule(0)
        else:
            self._waiting.add(scope)
