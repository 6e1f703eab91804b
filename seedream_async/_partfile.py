"""
A file that is not there yet: written under a name of its own, then published in one step.

Everything here blocks, and raises nothing but `OSError`. What a killed process leaves behind has
a name that tells whose it is, and is swept when it is old.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

DAY = 24 * 3600  # seconds
_NAME = re.compile(r"\.[A-Za-z0-9._-]*\.[0-9]+-[0-9a-f]{8}\.part")
_LABEL_LENGTH = 40
_MOST_AT_ONCE = 1024  # pieces that one call of the system takes
_SWEEPING_TIME = 0.2  # seconds: a local disk lists some 300,000 names in it
# Exclusive creation follows no symbolic link. Without O_BINARY, Windows translates line ends.
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_NOT_HERE = {errno.EPERM, errno.EACCES, errno.EINVAL}
_NOT_HERE |= {errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
# What file systems without hard links say to os.link: Windows EINVAL, Android EACCES.
_NO_LINKS = _NOT_HERE | {errno.EMLINK}
# What a folder says that nobody can open or sync (Windows, some network folders), or not we.
_NO_SYNC = _NOT_HERE | {errno.EBADF, errno.EISDIR}


class PartFile:
    """
    A file in *folder* that gets its name last; *label*, of safe characters, tells people whose.

    The steps are `write`, `finish`, `publish`, `settle`; `discard` undoes those that were taken.
    """

    def __init__(self, folder: Path, label: str) -> None:
        self._folder = folder
        self._label = label
        self._path = folder  # until it has one
        self._descriptor: int | None = None
        self._status: os.stat_result | None = None
        self._created: Path | None = None
        self.begun = False  # whether there is anything to discard

    def write(self, *pieces: bytes | bytearray) -> None:
        """Add *pieces*; the first make the file, with the rights that the umask leaves."""
        descriptor = self._opened() if self._descriptor is None else self._descriptor
        left, written = [memoryview(piece) for piece in pieces], 0
        try:
            while left:  # a disk that fills up takes a part without complaint
                count = _write_some(descriptor, left)
                written += count
                left = _without(left, count)
        except OSError:
            os.lseek(descriptor, -written, os.SEEK_CUR)  # the pieces may be tried again
            raise

    def _opened(self) -> int:
        self._path = _unique_path(self._folder, self._label)
        self._descriptor = os.open(self._path, _NEW, 0o666)
        self.begun = True
        self._status = os.fstat(self._descriptor)
        return self._descriptor

    def read(self, size: int) -> bytes:
        """The first *size* bytes of the content, published or not."""
        if not size:
            return b""
        if self._descriptor is None:
            return (self._created or self._path).read_bytes()[:size]
        # Somebody may have removed the name.
        with open(self._descriptor, "rb", closefd=False) as file:
            file.seek(0)
            content = file.read(size)
        os.lseek(self._descriptor, size, os.SEEK_SET)  # where the next piece goes
        return content

    def finish(self) -> None:
        """Put the content on the disk for good. Network folders may refuse it as late as here."""
        assert self._descriptor is not None  # noqa: S101  written to before
        os.fsync(self._descriptor)
        os.stat(self._path)  # noqa: PTH116  with its name gone, the descriptor is all there is
        self._close()

    def publish(self, target: Path, *, overwrite: bool) -> None:
        """Let *target* appear, whole; raise `FileExistsError` if it is there and must stay."""
        if overwrite:
            os.replace(self._path, target)  # noqa: PTH105
            return
        try:
            _appear(self._path, target)
        except OSError:
            # A network folder that misses its own answer asks again, and finds our file.
            if not self._is_at(target):
                raise
        self._created = target

    def settle(self) -> None:
        """Make the new name survive a power cut, then drop that of the part."""
        sync_folder((self._created or self._path).parent)
        _remove(self._path)

    def discard(self) -> None:
        """Leave nothing, neither part nor target; only what was replaced cannot come back."""
        with contextlib.suppress(OSError):
            self._close()
        if self._created and self._is_at(self._created):
            _remove(self._created)
        _remove(self._path)

    def _is_at(self, target: Path) -> bool:
        assert self._status is not None  # noqa: S101  written to before
        try:
            return os.path.samestat(os.lstat(target), self._status)
        except OSError:
            return False

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _unique_path(folder: Path, label: str) -> Path:
    # Process and chance in the name: no two writers ever share a part file.
    chance = secrets.token_hex(4)
    return folder / f".{label[:_LABEL_LENGTH]}.{os.getpid()}-{chance}.part"


def _write_some(descriptor: int, views: Sequence[memoryview]) -> int:
    """Write the first of *views*, and others if that is one step; returns how many bytes."""
    if hasattr(os, "writev"):
        return os.writev(descriptor, views[:_MOST_AT_ONCE])
    return os.write(descriptor, views[0])  # Windows


def _without(views: Sequence[memoryview], count: int) -> list[memoryview]:
    """*views* without their first *count* bytes."""
    for number, view in enumerate(views):
        if count < len(view):
            return [view[count:], *views[number + 1 :]]
        count -= len(view)
    return []


def _remove(path: Path) -> None:
    # What cannot be removed is swept some day; it is no reason to fail.
    with contextlib.suppress(OSError):
        os.unlink(path)  # noqa: PTH108


def _appear(part: Path, target: Path) -> None:
    try:
        os.link(part, target)
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        _reserve_and_fill(part, target)


def _reserve_and_fill(part: Path, target: Path) -> None:
    """Take the name, so that no other writer can, then fill it in one step."""
    descriptor = os.open(target, _NEW, 0o666)
    try:
        os.close(descriptor)
        os.replace(part, target)  # noqa: PTH105
    except OSError:
        _remove(target)
        raise


def make_folder(folder: Path) -> None:
    """Make *folder* and those above it, each with a name that survives a power cut."""
    if folder.is_dir():
        return
    missing = [above for above in (folder, *folder.parents) if not os.path.lexists(above)]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        # A disk that is broken says so again when there is a file to lose.
        with contextlib.suppress(OSError):
            sync_folder(made.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in *folder* survive a power cut, where that can be asked for."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            with contextlib.suppress(OSError):  # nothing was written through it
                os.close(descriptor)
    except OSError as exc:
        if exc.errno not in _NO_SYNC:
            raise


def try_out(folder: Path) -> float:
    """Write to *folder* and take it back; returns the time there, in seconds since 1970."""
    path = _unique_path(folder, "try")
    descriptor = os.open(path, _NEW, 0o666)
    try:
        os.write(descriptor, b"\0")
        return os.fstat(descriptor).st_mtime
    finally:
        try:
            os.close(descriptor)
        finally:
            _remove(path)


@lru_cache(maxsize=1024)  # folders; a long-lived process comes back to each once a day
def sweep(folder: str, today: int, seconds: float = _SWEEPING_TIME) -> None:
    """
    Remove the part files in *folder* that nobody wrote to yesterday or *today* (days since 1970).

    Only age tells: on a network folder the process is another machine's, and numbers of processes
    are given again. No save pauses for a day. Gives up after *seconds*, and never fails.
    """
    deadline = time.monotonic() + seconds
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if time.monotonic() >= deadline:
                return
            if entry.name.endswith(".part") and _NAME.fullmatch(entry.name):
                _remove_older(entry, (today - 1) * DAY)


def _remove_older(entry: os.DirEntry[str], limit: float) -> None:
    # Another process may sweep the same folder, or own the file.
    with contextlib.suppress(OSError):
        if entry.is_file(follow_symlinks=False) and entry.stat().st_mtime < limit:
            os.unlink(entry.path)  # noqa: PTH108
