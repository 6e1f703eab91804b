"""
One process per ledger: a lock that ends with its holder, and a witness of how far it had come.

Everything here blocks.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

from seedream_async._errors import InvalidRequestError

_AT = 1 << 30  # the byte that is locked: far from what is written, which others may read
_LENGTH = 256
# One process may take a lock of its own again, and loses it with any descriptor it closes.
_held: set[tuple[int, str]] = set()
_guard = threading.Lock()

if sys.platform == "win32":
    import msvcrt

    def _take(descriptor: int) -> None:
        os.lseek(descriptor, _AT, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _take(descriptor: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _AT)


class Lock:
    """
    The lock of the ledger at *ledger*, held from birth until `release`.

    Beside the ledger lies its file, which also keeps what `note` was told last.
    """

    def __init__(self, ledger: Path) -> None:
        self._path = Path(f"{ledger}.lock")
        self._owner = os.getpid(), str(self._path.resolve())
        with _guard:
            if self._owner in _held:
                raise _in_use(ledger, f"this process ({os.getpid()})")
            self._descriptor = _locked(self._path, ledger)
            _held.add(self._owner)

    def witness(self) -> tuple[str, int]:
        """The name of a ledger, and the number of changes that it had made."""
        words = _read(self._descriptor).split()
        return (words[1], int(words[2])) if len(words) == 3 and words[2].isdigit() else ("", 0)

    def note(self, name: str, changes: int) -> None:
        """
        Keep that ledger *name* has made so many *changes*.

        Not synced: it may be behind after a power cut, but it is never ahead.
        """
        text = f"{os.getpid()} {name} {changes}".ljust(_LENGTH - 1) + "\n"
        _write(self._descriptor, text.encode("ascii"))

    def release(self) -> None:
        with _guard:
            _held.discard(self._owner)
            with contextlib.suppress(OSError):
                os.close(self._descriptor)


def _locked(path: Path, ledger: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
    try:
        _take(descriptor)
    except OSError:
        holder = _read(descriptor).split()[:1]
        os.close(descriptor)
        raise _in_use(ledger, f"process {holder[0]}" if holder else "another process") from None
    return descriptor


def _read(descriptor: int) -> str:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, _LENGTH).decode("ascii", "replace")


def _write(descriptor: int, content: bytes) -> None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, content)


def _in_use(ledger: Path, holder: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"ledger: {ledger} is in use by {holder}; wait until it ends, or choose another",
        field="ledger",
    )
