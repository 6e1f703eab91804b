"""
A byte stream onto the disk, whole or not at all; and safe names.

Everything that touches the disk runs in a thread. A part file stands beside its target, so that
publishing it is one link or one rename.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
import re
import secrets
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

from attrs import evolve, frozen

from . import _sniff
from ._errors import IncompleteDownloadError, InvalidRequestError, NotAnImageError, StorageError
from ._models import SavedImage

_P = ParamSpec("_P")
_T = TypeVar("_T")
PIECE = 256 * 1024  # bytes: a trip to a thread costs as much as writing 64 KiB
_NAME_LENGTH = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
# Names that Windows gives to devices, whatever follows the first dot.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
# What file systems without hard links say to os.link.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


@frozen
class Place:
    """
    Where one image goes.

    Without a *stem*, the image decides its name. Without a *suffix*, the extension follows the
    bytes, and a name that is taken gets a number.
    """

    folder: Path
    stem: str = ""
    suffix: str | None = None
    overwrite: bool = False

    def named(self, name: str) -> Place:
        """The same place, with *name* for an image that has none yet."""
        return self if self.stem else evolve(self, stem=safe_name(name))

    def nth(self, number: int, count: int) -> Place:
        """The place of image *number* (from 0) of *count*."""
        return self if count == 1 else evolve(self, stem=f"{self.stem}-{number + 1}")


def safe_name(text: str) -> str:
    """*text* as a file name for any system: at most 80 of the characters `A-Za-z0-9._-`."""
    name = _UNSAFE.sub("-", text)[:_NAME_LENGTH].strip(".-")
    return f"image-{name}" if not name or _DEVICE.fullmatch(name) else name


def open_place(path: str | os.PathLike[str], *, field: str, overwrite: bool = False) -> Place:
    """
    Turn what the caller gave as *path* into a place, and make its folder. Blocking.

    An existing folder, or a path that has no suffix or ends in a slash, is a folder.
    Raises before anything is sent if the place cannot be written to.
    """
    try:
        place = _parse(os.fspath(path), overwrite)
    except (TypeError, ValueError) as exc:
        raise InvalidRequestError(f"{field} is no path: {exc}", field=field) from None
    if place.folder.exists() and not place.folder.is_dir():
        raise InvalidRequestError(
            f"{field}: {place.folder} is a file, not a folder; choose another", field=field
        )
    target = place.folder / (place.stem + (place.suffix or ""))
    if place.stem and not overwrite and os.path.lexists(target):
        raise InvalidRequestError(f"{field}: {target} exists already; choose another", field=field)
    with _storage_errors(place.folder):
        place.folder.mkdir(parents=True, exist_ok=True)
        if not os.access(place.folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, "Permission denied")
    return place


def _parse(path: str, overwrite: bool) -> Place:
    os.fsencode(path)
    if "\0" in path:
        raise ValueError("it contains a null character")
    target = Path(path)
    if path.endswith(("/", os.sep)) or not target.suffix or target.is_dir():
        return Place(target, overwrite=overwrite)
    return Place(target.parent, target.stem, target.suffix, overwrite)


@contextlib.contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise StorageError(f"could not write to {path}: {exc.strerror or exc}") from exc


async def save(chunks: AsyncGenerator[bytes, None], place: Place) -> SavedImage:
    """
    Write *chunks* to *place* and check that they are one whole image.

    Cancelled or failed at any point, it leaves nothing behind.
    """
    part = _PartFile(place)
    buffer = bytearray()
    try:
        async with contextlib.aclosing(chunks):
            async for chunk in chunks:
                buffer += chunk
                if len(buffer) >= PIECE:
                    await _on_disk(place, part.write, bytes(buffer))
                    buffer.clear()
        await _on_disk(place, part.write, bytes(buffer))
        return await _on_disk(place, part.publish)
    finally:
        await in_thread(part.discard)


async def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """
    Run a blocking *function* in a thread; when cancelled, wait for it before leaving.

    A thread cannot be stopped: leaving at once would let its file appear after the clean-up.
    """
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as exc:
            cancelled = exc
    if cancelled is not None:
        work.exception()  # seen, so that nobody complains that it was not
        raise cancelled
    return work.result()


async def _on_disk(
    place: Place, function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
) -> _T:
    with _storage_errors(place.folder):
        return await in_thread(function, *args, **kwargs)


class _PartFile:
    """A file that is not there yet. Every method blocks; the file is made by the first write."""

    def __init__(self, place: Place) -> None:
        # Process and chance in the name: no two writers ever share a part file.
        unique = f".{place.stem[:40]}.{os.getpid()}-{secrets.token_hex(4)}.part"
        self._path = place.folder / unique
        self._place = place
        self._file: BinaryIO | None = None
        self._head = self._tail = b""
        self._size = 0

    def write(self, piece: bytes) -> None:
        if self._file is None:
            self._file = self._path.open("xb", buffering=0)
            self._head = piece[: _sniff.HEAD]
        rest = memoryview(piece)
        while rest:  # a disk that fills up takes a part without complaint
            rest = rest[self._file.write(rest) :]
        self._size += len(piece)
        self._tail = (self._tail + piece)[-_sniff.TAIL :]

    def publish(self) -> SavedImage:
        sniffed = _sniff.sniff(self._head)
        if sniffed is None:
            raise NotAnImageError(f"the {self._size} bytes that arrived are no image")
        if not _sniff.is_whole(sniffed.kind, self._head, self._tail, self._size):
            raise IncompleteDownloadError(f"the image breaks off after {self._size} bytes")
        assert self._file is not None  # noqa: S101  something was written, or there is no image
        os.fsync(self._file.fileno())
        return SavedImage(
            path=self._publish_as(sniffed.kind.extension),
            bytes=self._size,
            content_type=sniffed.kind.content_type,
            width=sniffed.width,
            height=sniffed.height,
        )

    def discard(self) -> None:
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)

    def _publish_as(self, extension: str) -> Path:
        place = self._place
        for number in itertools.count():
            stem = f"{place.stem}_{number}" if number else place.stem
            target = place.folder / f"{stem}{place.suffix or extension}"
            try:
                _publish(self._path, target, overwrite=place.overwrite)
            except FileExistsError:
                if place.suffix is not None:
                    raise
            else:
                return target
        raise AssertionError("unreachable")


def _publish(part: Path, target: Path, *, overwrite: bool) -> None:
    """Let *target* appear, whole; raise `FileExistsError` if it is there and must stay."""
    if overwrite:
        part.replace(target)
        return
    try:
        target.hardlink_to(part)
    except OSError as exc:
        if exc.errno not in _NO_LINKS:
            raise
        # Reserve the name, so that no other writer can take it, then fill it in one step.
        target.open("xb").close()
        part.replace(target)
