"""
Leaving early: when to, and that nothing is sent from then on, nor waited for any longer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from attrs import define

from seedream_async._errors import APIConnectionError, SeedreamError, StorageError


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


@define(kw_only=True)
class Signs:
    """
    What becomes of rows, read as signs of what others would meet: *leave* is told of an error that
    they would, *met* of one that concerns its row. *width* rows are in flight. *unsent* is why the
    last row that could not be sent was not: fewer of them than that say nothing of the others.
    """

    width: int
    leave: Callable[[Exception], None]
    met: Callable[[Exception], None]
    unsent: Exception | None = None
    _unreachable: int = 0  # rows in a row that could not be sent

    def read(self, error: Exception | None) -> None:
        """Learn from a row that has ended, with an *error* or without."""
        before, self._unreachable = self._unreachable, 0
        if error is None:
            return
        if not isinstance(error, SeedreamError) or isinstance(error, StorageError):
            self.leave(error)
        elif not isinstance(error, APIConnectionError):
            self.met(error)
        elif error.__cause__ is None or not isinstance(error.__cause__, SeedreamError):
            self.unsent = error
            self._unreachable = before + 1
            if self._unreachable >= self.width:
                self.leave(error)
