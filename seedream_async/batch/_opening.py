"""
Opening a ledger: where it may be, whether it is whole, and what the last run left open.

Everything here blocks, and nothing was sent when it raises.
"""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from seedream_async import _files
from seedream_async._errors import InvalidRequestError

from . import _mounts, _schema, _transitions
from ._entries import Recovery
from ._lock import Lock
from ._store import Store

_MOUNTS = Path("/proc/self/mountinfo")  # of Linux; elsewhere, what is far away is not told
_SUFFIXES = ("", "-wal")  # of the files that hold what a ledger knows


def open_store(path: Path, now: float, *, readonly: bool = False, goes_on: bool = False) -> Store:
    """
    The ledger at *path*, made if there is none; *now* is in seconds since 1970.

    If the run *goes_on* that had it open, what was sent may still be answered.
    """
    return _for_reading(path) if readonly else _for_writing(path, now, goes_on=goes_on)


def copy_store(path: Path, copy: Path) -> None:
    """Copy the ledger at *path*, if there is one, as of one moment, whoever writes to it."""
    if not _is_open(path):
        _copy_files(path, copy)
    if _is_open(path):  # and may have been written to while it was copied
        for suffix in _SUFFIXES:
            Path(f"{copy}{suffix}").unlink(missing_ok=True)
        with _schema.translated(path):
            _schema.back_up(path, copy)


def _is_open(path: Path) -> bool:
    """Whether a process uses the ledger at *path*, or did so when it died."""
    return all(Path(f"{path}{suffix}").exists() for suffix in ("", "-wal", "-shm"))


def _copy_files(path: Path, copy: Path) -> None:
    for suffix in _SUFFIXES:
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")


def _for_reading(path: Path) -> Store:
    if not path.is_file():
        raise InvalidRequestError(f"ledger: there is none at {path}", field="ledger")
    with _schema.translated(path), contextlib.ExitStack() as stack:
        connection = _schema.connect(path, readonly=True)
        stack.callback(connection.close)
        _schema.prepare(connection, path, readonly=True)
        store = Store(path, connection, None)
        stack.pop_all()
    return store


def _for_writing(path: Path, now: float, *, goes_on: bool) -> Store:
    with contextlib.ExitStack() as stack:
        with _files.storage_errors(path):
            existed = path.exists()
            journal = _size(Path(f"{path}-wal"))
            _schema.make_file(path)
            _refuse_network(path)
            lock = Lock(path)
            stack.callback(lock.release)
        with _schema.translated(path):
            connection = _schema.connect(path, readonly=False)
            stack.callback(connection.close)
            _schema.prepare(connection, path, readonly=False)
            store = Store(path, connection, lock)
            lost = _lost(store, lock) if existed else 0
            if lost or journal:
                _schema.check(connection, path)
        if lost or not goes_on:
            _recover(store, now, lost)
        stack.pop_all()
    return store


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _refuse_network(path: Path) -> None:
    if not _MOUNTS.exists():
        return
    mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape")
    kind = _mounts.kind_at(str(path.resolve()), mounts)
    if kind and _mounts.is_network(kind):
        raise InvalidRequestError(
            f"ledger: {path} is on a network file system ({kind}), where locks and syncs cannot "
            "be relied on; put the ledger on a disk of this machine, the images may stay there",
            field="ledger",
        )


def _lost(store: Store, lock: Lock) -> int:
    """How many changes the witness has seen that the ledger has not."""
    name, changes = lock.witness()
    # A ledger that was cut down to nothing has a new name.
    return max(0, changes - store.changes) if name == store.name or not store.changes else 0


def _recover(store: Store, now: float, lost: int) -> None:
    """Settle what was under way when the last run ended, before anything else is done."""
    store.recovery = Recovery(lost=lost)
    ((interrupted, doubted),) = store.commit(
        [lambda connection: _transitions.recover(connection, now, lost=lost)]
    )
    store.recovery = Recovery(interrupted, lost, doubted)
