"""
A ledger's file while it is open: locked, committed to in groups, and still where it was.

Everything here blocks.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from seedream_async import _files
from seedream_async._errors import StorageError

from . import _schema
from ._entries import Recovery
from ._lock import Lock

Work: TypeAlias = Callable[[sqlite3.Connection], Any]


class Store:
    """What is open, from `_opening.open_store`; without a *lock*, for reading only."""

    def __init__(self, path: Path, connection: sqlite3.Connection, lock: Lock | None) -> None:
        self.path = path
        self.recovery: Recovery = Recovery()
        self._connection = connection
        self._lock = lock
        self._identity = _identity(path)
        meta = dict(connection.execute("SELECT name, value FROM meta"))
        self.name: str = meta["name"]
        self.changes: int = meta["changes"]

    def commit(self, works: Sequence[Work]) -> list[Any]:
        """
        Do *works* as one transaction; what one of them raises is its outcome and nobody else's.

        When this returns, all of it is on the disk. Raises `StorageError` if that is not sure.
        """
        with _schema.translated(self.path):
            try:
                outcomes = self._done(works)
            except BaseException:
                self._roll_back()
                raise
        self._refuse_moved()
        self._note()
        return outcomes

    def close(self) -> None:
        """Let go of the file. What was lost has been told, and is not told again."""
        try:
            with _schema.translated(self.path):
                self._connection.close()
        finally:
            self.recovery = Recovery()
            self._note()
            if self._lock is not None:
                self._lock.release()

    def _done(self, works: Sequence[Work]) -> list[Any]:
        before = self._connection.total_changes
        self._connection.execute("BEGIN")
        outcomes = [self._outcome(work) for work in works]
        # Not counted while there is a loss to settle: the count must not catch up with the witness.
        counts = self._connection.total_changes != before and not self.recovery.lost
        changes = self.changes + counts
        if changes != self.changes:
            self._connection.execute("UPDATE meta SET value = ? WHERE name = 'changes'", (changes,))
        self._connection.execute("COMMIT")
        self.changes = changes
        return outcomes

    def _outcome(self, work: Work) -> Any:
        self._connection.execute("SAVEPOINT work")
        try:
            outcome = work(self._connection)
        except Exception as exc:
            if _schema.is_of_the_disk(exc):
                raise
            self._connection.execute("ROLLBACK TO work")
            outcome = exc
        self._connection.execute("RELEASE work")
        return outcome

    def _roll_back(self) -> None:
        # After some errors, SQLite has done so itself.
        if self._connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def _refuse_moved(self) -> None:
        # What is written to a file without a name is lost, and no system says so.
        with _files.storage_errors(self.path):
            identity = _identity(self.path)
        if identity != self._identity:
            raise StorageError(
                f"the ledger {self.path} was replaced while it was in use: what was being noted "
                "is lost, and may have been billed. Put the ledger back"
            )

    def _note(self) -> None:
        if self._lock is not None and not self.recovery.lost:
            with contextlib.suppress(OSError):  # a witness, no more
                self._lock.note(self.name, self.changes)


def _identity(path: Path) -> tuple[int, int]:
    found = os.stat(path)  # noqa: PTH116  at every commit
    return found.st_dev, found.st_ino
