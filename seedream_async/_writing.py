"""
A byte stream onto the disk, whole or not at all.

Everything that touches the disk runs in a thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import TypeVar

from . import _sniff
from ._crc64 import Crc64, make_crc64
from ._errors import IncompleteDownloadError, NotAnImageError, StorageError
from ._files import Place, storage_errors
from ._models import SavedImage
from ._names import safe_name
from ._partfile import PartFile
from ._threads import in_thread, surely_in_thread

_T = TypeVar("_T")
PIECE = 1024 * 1024  # bytes: a trip to a thread costs as much as writing 128 KiB
_MOST_CHUNKS = 1024  # in one piece: each takes memory besides its bytes
_LOST = "the image is lost: what had arrived of it cannot be read back"
_NOT_LOST = "the image is not lost: its link or base64 is good, and saving it again costs nothing"


@contextlib.asynccontextmanager
async def writing(place: Place) -> AsyncIterator[FileWriter]:
    """
    A file that is to be at *place*. Unless it is published, nothing of it is left.

    Only where it was to overwrite, and the old file has given way, the new one stays.
    """
    file = FileWriter(place)
    try:
        yield file
    except BaseException:
        await file.discard()
        raise


class FileWriter:
    """One image on its way to its place, in large pieces. Raises `StorageError`."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.saved: SavedImage | None = None
        self._begin()

    def _begin(self, crc64: int | None = None) -> None:
        self._part = PartFile(self._place.folder, safe_name(self._place.stem))
        self._arrived = _Arrived(crc64)
        self._chunks: list[bytes] = []  # not joined: that would cost as much as receiving them
        self._waiting = 0  # bytes in them

    @property
    def size(self) -> int:
        """Bytes that have arrived."""
        return self._arrived.size + self._waiting

    async def write(self, chunk: bytes) -> None:
        """Add *chunk*."""
        self.keep(chunk)
        if self._waiting >= PIECE or len(self._chunks) >= _MOST_CHUNKS:
            await self._flush()

    def keep(self, chunk: bytes) -> None:
        """Add *chunk* in memory only."""
        self._chunks.append(chunk)
        self._waiting += len(chunk)

    def put_down(self) -> None:
        """Write what is in memory only. Blocking."""
        if not self._chunks:
            return
        with storage_errors(self._place.folder, _NOT_LOST):
            self._take()

    async def take_back(self) -> bytes:
        """All that has arrived, for want of a file. It must not be discarded yet."""
        with storage_errors(self._place.folder, _LOST):
            written = await in_thread(self._part.read, self._arrived.size)
        return b"".join([written, *self._chunks])

    async def withdraw(self) -> None:
        """Hold in memory what has arrived, and leave nothing of it on the disk."""
        content, part = await self.take_back(), self._part
        self._begin()
        self.keep(content)
        await surely_in_thread(part.discard)

    async def restart(self, crc64: int | None = None) -> None:
        """Forget what has arrived; *crc64* is the checksum that is announced for what comes."""
        await self.discard()
        self._begin(crc64)

    async def check(self) -> None:
        """
        Raise unless all of one image is there.

        `NotAnImageError` if it is none, `IncompleteDownloadError` if it is not all, or another.
        """
        await in_thread(self._judge)

    async def publish(self, place: Place | None = None) -> SavedImage:
        """Let the file appear, at *place* if that was not known before."""
        await self._flush()
        if place is not None:
            self._place = place
            await self._on_disk(place.make_folder)
        self.saved = await self._on_disk(self._keep)
        return self.saved

    async def discard(self) -> None:
        """Leave nothing, unless it is published."""
        if self._part.begun and not self.saved:
            await surely_in_thread(self._part.discard)

    async def _flush(self) -> None:
        if self._chunks:
            await in_thread(self.put_down)

    async def _on_disk(self, function: Callable[[], _T]) -> _T:
        with storage_errors(self._place.folder, _NOT_LOST):
            return await in_thread(function)

    def _judge(self) -> None:
        self.put_down()
        self._arrived.judge()

    def _take(self) -> None:
        if not self._part.begun:
            self._place.make_folder()
        self._part.write(*self._chunks)
        self._arrived.add(self._chunks)
        # Here, as a flush that is cancelled ends all the same: no byte may count twice.
        self._chunks, self._waiting = [], 0

    def _keep(self) -> SavedImage:
        sniffed = self._arrived.judge()
        self._part.finish()
        path = self._publish(sniffed.kind.extension)
        self._part.settle()
        return SavedImage(
            path=path,
            bytes=self._arrived.size,
            content_type=sniffed.kind.content_type,
            width=sniffed.width,
            height=sniffed.height,
        )

    def _publish(self, extension: str) -> Path:
        for target in self._place.targets(extension):
            try:
                self._part.publish(target, overwrite=self._place.overwrite)
            except FileExistsError:
                if not self._place.numbered:
                    raise
            else:
                return target
        raise AssertionError("the numbers do not end")


async def save(chunks: AsyncGenerator[bytes, None], place: Place) -> SavedImage:
    """
    Write *chunks* to *place* and check that they are one whole image.

    Cancelled or failed at any point, it leaves nothing behind.
    """
    async with writing(place) as file:
        async with _closing(chunks):
            async for chunk in chunks:
                await file.write(chunk)
        await file.check()
        return await file.publish()


@contextlib.asynccontextmanager
async def _closing(chunks: AsyncGenerator[bytes, None]) -> AsyncIterator[None]:
    async with contextlib.aclosing(chunks):
        try:
            yield
        except StorageError:
            # The disk is the news: that hanging up on the source failed as well is none.
            with contextlib.suppress(Exception):
                await chunks.aclose()
            raise


class _Arrived:
    """What arrived, as far as one must know it to judge it; the store announced *crc64* of it."""

    def __init__(self, crc64: int | None) -> None:
        self._head, self._tail = bytearray(), b""
        self._announced = crc64
        self._crc64: Crc64 | None = None
        self.size = 0

    def add(self, chunks: Sequence[bytes]) -> None:
        if not self.size and self._announced is not None:
            self._crc64 = make_crc64()
        for chunk in chunks:
            self._add(chunk)

    def _add(self, chunk: bytes) -> None:
        if len(self._head) < _sniff.HEAD:
            self._head += chunk[: _sniff.HEAD - len(self._head)]
        self._tail = (self._tail + chunk[-_sniff.TAIL :])[-_sniff.TAIL :]
        self.size += len(chunk)
        if self._crc64:
            self._crc64.update(chunk)

    def judge(self) -> _sniff.Sniffed:
        """Tell what image it is; raises if it is none, or not all of it, or another."""
        if self._crc64 and self._announced != self._crc64.value:
            raise IncompleteDownloadError(
                f"the {self.size} bytes that arrived are not those that the store sent: "
                "the checksums differ",
                retryable=True,
            )
        head = bytes(self._head)
        sniffed = _sniff.sniff(head)
        if sniffed is None:
            raise NotAnImageError(f"the {self.size} bytes that arrived are no image")
        if not _sniff.is_whole(sniffed.kind, head, self._tail, self.size):
            raise IncompleteDownloadError(
                f"the image breaks off after {self.size} bytes", retryable=True
            )
        return sniffed
