"""
Room that is kept beside the ledger, so that what is paid for can be noted when the disk is full.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Protocol

from seedream_async._threads import in_thread, surely_in_thread

SIZE = 1024 * 1024  # bytes: some pages for each of a hundred rows that are in flight


class Room(Protocol):
    """What makes room where the ledger is."""

    async def drop(self) -> None: ...


class Ballast:
    """A file beside *ledger* that takes room while it is loaded, if there is any."""

    def __init__(self, ledger: Path) -> None:
        self.path = Path(f"{ledger}.ballast")

    async def load(self) -> None:
        """Take the room."""
        with contextlib.suppress(OSError):  # then there is none to give
            await in_thread(self._write)

    async def drop(self) -> None:
        """Give the room back."""
        with contextlib.suppress(OSError):
            await surely_in_thread(self.path.unlink)

    def _write(self) -> None:
        # Not zeros, of which some file systems keep nothing.
        self.path.write_bytes(os.urandom(SIZE))
