"""
Small pictures beside the large ones, made off the loop where Pillow is installed.

A picture that cannot be read, or is so large that reading it is a risk, costs no more than its
preview. What is there and newer than its picture is not made again.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from seedream_async import _sniff
from seedream_async._names import safe_name
from seedream_async._partfile import PartFile, make_folder
from seedream_async._threads import in_thread

from ._report_entries import Picture, Preview

FOLDER = "thumbnails"
LARGEST = 40_000_000  # pixels of a picture that is still read: 120 MB; the API makes 17 million
_EDGE = 320  # pixels
_QUALITY = 78
_BEHIND = (232, 230, 226)  # what shows through where a picture is transparent
_WIDTH = min(4, os.cpu_count() or 1)  # at a time: the threads are those that save images, too


async def make_previews(folder: Path, pictures: Sequence[Picture]) -> list[Preview | None]:
    """
    What stands for each of *pictures*, which lie in *folder*: none if there is nothing to show.

    Without Pillow, or where no thumbnail can be written, a picture stands for itself.
    """
    gate = asyncio.Semaphore(_WIDTH)

    async def make(picture: Picture) -> Preview | None:
        async with gate:
            return await in_thread(_preview_of, folder, picture)

    # Not gather: when cancelled, it leaves while some are still at work.
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(make(picture)) for picture in pictures]
    return [task.result() for task in tasks]


def _preview_of(folder: Path, picture: Picture) -> Preview | None:
    path = thumbnail_path(picture.path)
    source, target = folder / picture.path, folder / path
    try:
        if not _is_fresh(target, source):
            thumbnail = _thumbnail_of(source)
            if thumbnail is None:
                return None
            _write(target, thumbnail)
    except (ImportError, OSError):
        return _itself(picture)
    return Preview(path, *fitted(picture.width, picture.height))


def thumbnail_path(path: str) -> str:
    """Where the thumbnail of the picture at *path* is, relative to the report."""
    digest = hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:10]
    return f"{FOLDER}/{safe_name(PurePosixPath(path).stem)[:60]}-{digest}.jpg"


def fitted(width: int, height: int) -> tuple[int, int]:
    """The size of a thumbnail; of one that is not told, the square it is shown in."""
    if width <= 0 or height <= 0:
        return _EDGE, _EDGE
    scale = min(1.0, _EDGE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _itself(picture: Picture) -> Preview | None:
    if not 0 < picture.width * picture.height <= LARGEST:
        return None
    return Preview(picture.path, picture.width, picture.height)


def _is_fresh(target: Path, source: Path) -> bool:
    made = source.stat()
    try:
        there = target.stat()
    except FileNotFoundError:
        return False
    return there.st_size > 0 and there.st_mtime_ns >= made.st_mtime_ns


def _thumbnail_of(source: Path) -> bytes | None:
    """The file at *source*, small, as a JPEG; nothing if it is no picture that can be read."""
    from PIL import Image as Pillow  # noqa: PLC0415  an extra, and slow to import

    with source.open("rb") as file:
        sniffed = _sniff.sniff(file.read(_sniff.HEAD))
        file.seek(0)
        if sniffed is None or not 0 < sniffed.width * sniffed.height <= LARGEST:
            return None
        # Decoders fail with whatever they like, and nothing that they say is about us.
        try:
            with Pillow.open(file, formats=_formats(sniffed.kind)) as picture:
                return _shrunk(picture, (sniffed.width, sniffed.height))
        except Exception:  # noqa: BLE001
            return None


def _formats(kind: _sniff.Kind) -> tuple[str, ...]:
    """No decoder but that of the bytes' own kind: the others are doors that nobody needs."""
    return (kind.content_type.partition("/")[2].upper(),)


def _shrunk(picture: Any, told: tuple[int, int]) -> bytes | None:
    from PIL import Image as Pillow  # noqa: PLC0415  an extra, and slow to import
    from PIL import ImageOps  # noqa: PLC0415  an extra, and slow to import

    if picture.size != told:
        return None
    picture.draft("RGB", (_EDGE, _EDGE))
    picture = ImageOps.exif_transpose(picture)
    mode = "RGBA" if picture.has_transparency_data else "RGB"
    picture = picture if picture.mode == mode else picture.convert(mode)
    picture.thumbnail((_EDGE, _EDGE))
    if mode == "RGBA":
        picture = Pillow.alpha_composite(Pillow.new(mode, picture.size, _BEHIND), picture)
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()


def _write(target: Path, content: bytes) -> None:
    target.parent.parent.stat()  # a folder that was removed is not to come back half empty
    make_folder(target.parent)
    part = PartFile(target.parent, target.stem)
    try:
        part.write(content)
        part.finish()
        part.publish(target, overwrite=True)
    except BaseException:
        part.discard()
        raise
