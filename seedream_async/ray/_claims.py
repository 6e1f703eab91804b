"""
Which worker is at work on which row. Nothing here waits: *now* is in seconds of one clock.
"""

from __future__ import annotations

NOBODY = ""  # whose rows were in flight when the coordinator was started again


class Claims:
    """Rows by their worker. One that was not heard of for *lease* seconds has none."""

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._owners: dict[int, str] = {}
        self._heard: dict[str, float] = {}

    def hear(self, owner: str, now: float) -> None:
        """Note that *owner* is alive."""
        self._heard[owner] = now

    def take(self, owner: str, number: int) -> bool:
        """Let *owner* have row *number*; tell whether it has it."""
        return self._owners.setdefault(number, owner) == owner

    def is_taken(self, number: int) -> bool:
        """Whether any worker has row *number*."""
        return number in self._owners

    def adopt(self, owner: str, number: int) -> bool:
        """As `take`, for a row that *owner* has had all the time."""
        if self._owners.get(number) == NOBODY:
            self._owners[number] = owner
        return self.take(owner, number)

    def drop(self, owner: str, number: int) -> bool:
        """Let go of row *number*; tell whether *owner* had it."""
        had = self._owners.get(number) == owner
        if had:
            del self._owners[number]
        return had

    @property
    def count(self) -> int:
        """How many rows are at a worker."""
        return len(self._owners)

    def lapsed(self, now: float) -> list[int]:
        """The rows of workers that are silent, which have them no more."""
        silent = {owner for owner, heard in self._heard.items() if now - heard > self._lease}
        if not silent:
            return []
        for owner in silent:
            del self._heard[owner]
        numbers = [number for number, owner in self._owners.items() if owner in silent]
        for number in numbers:
            del self._owners[number]
        return numbers
