"""Who waits, first come, first served. No step takes longer because many wait."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable


class Line:
    """Waiters, each with a weight. Whoever is cancelled leaves at once."""

    def __init__(self) -> None:
        # A plain dict would search for its first entry among those that have left.
        self._waiting: OrderedDict[asyncio.Future[float], int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, weight: int, on_leave: Callable[[float | None], None]) -> Awaitable[float]:
        """
        Stand at the end; what is returned waits until called, for the time of `call_next`.

        *on_leave* is told if the waiter goes away: that time if it had been called already.
        """
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = weight
        return self._wait(future, on_leave)

    async def _wait(
        self, future: asyncio.Future[float], on_leave: Callable[[float | None], None]
    ) -> float:
        try:
            return await future
        except BaseException:
            self._waiting.pop(future, None)
            called = future.done() and not future.cancelled()
            on_leave(future.result() if called else None)
            raise

    def head(self) -> int | None:
        """The weight of the first who still waits."""
        while self._waiting:
            future, weight = next(iter(self._waiting.items()))
            if not future.done():
                return weight
            del self._waiting[future]
        return None

    def call_next(self, at: float) -> bool:
        """Let the first go on; false if there is none."""
        if self.head() is None:
            return False
        future, _ = self._waiting.popitem(last=False)
        future.set_result(at)
        return True


class Slots:
    """Room for as many as *room* tells; the others wait in line."""

    def __init__(self, room: Callable[[], int]) -> None:
        self.taken = 0
        self._room = room
        self._line = Line()

    @property
    def waiting(self) -> int:
        """How many wait for a slot."""
        return len(self._line)

    async def take(self) -> None:
        """Wait for a slot, behind all who wait already."""
        if self.taken < self._room() and not self._line:
            self.taken += 1
        else:
            turn = self._line.join(1, self._left)
            self.fill()
            await turn

    def give(self) -> None:
        """Leave a slot to who waits."""
        self.taken -= 1
        self.fill()

    def fill(self) -> None:
        """Let on as many as there is room for."""
        while self._line and self.taken < self._room() and self._line.call_next(0.0):
            self.taken += 1

    def _left(self, called_at: float | None) -> None:
        if called_at is not None:
            self.taken -= 1
        self.fill()
