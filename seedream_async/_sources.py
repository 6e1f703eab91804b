"""
What the caller calls a reference, told apart: a link, a file, or content.

Everything here blocks, so it runs in a thread.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import threading
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from ._encoding import (
    PIECE,
    DataText,
    DataUri,
    OpenFile,
    PathFile,
    callers_errors,
    refused,
    shown,
    unreadable,
)
from ._models import Image
from ._request import Reference

# A link as its JSON string, a file that is not opened yet, or content that is an image.
Source: TypeAlias = bytes | PathFile | DataUri | DataText

# Bytes of base64 in one request. No page of the API has a limit; YFan945/Seedream-Imagegen keeps
# its references below as many bytes.
LARGEST = 120_000_000
_LONGEST_PATH = 4096  # PATH_MAX of Linux, more than that of the others
_LINK = re.compile(r"https?://", re.IGNORECASE)
_DATA = re.compile(r"data:", re.IGNORECASE)
_PREFIX = re.compile(r"data:image/[a-z0-9.+-]+;base64,")
# Many requests may share one open file, or one picture that Pillow has not loaded yet.
_reading = threading.Lock()
_drawing = threading.Lock()


def source_of(reference: Reference) -> Source:
    """Tell what *reference* is; raises `InvalidRequestError` if it is nothing that can be sent."""
    match reference:
        case Image():
            return _of_image(reference)
        case str():
            return _of_text(reference)
        case bytes() | bytearray():
            return _of_bytes(reference)
        case os.PathLike():
            return _of_path(reference)
        case _ if hasattr(reference, "read"):
            return _of_file(cast("BinaryIO", reference))
        case _:
            return _of_bytes(_png(reference))


def _of_image(image: Image) -> Source:
    if image.url:
        return _of_link(image.url)
    if image.b64_json:
        return DataText.of(image.b64_json)
    raise refused(
        "the image has neither a link nor base64: if save_to has saved it, pass its file's path"
    )


def _of_text(text: str) -> Source:
    if _LINK.match(text):
        return _of_link(text)
    if not _DATA.match(text):
        return _of_path(text)
    prefix = _PREFIX.match(text)
    if prefix is None:
        raise refused("a data URI must begin with data:image/<format in lower case>;base64,")
    return DataText.of(text, prefix.end())


def _of_link(link: str) -> bytes:
    return json.dumps(link).encode("ascii")


def _of_bytes(content: bytes | bytearray) -> DataUri:
    return DataUri.of(OpenFile(io.BytesIO(content), len(content)))


def _of_path(path: str | os.PathLike[str]) -> PathFile:
    name = os.fsdecode(path)
    if len(name) > _LONGEST_PATH:
        raise refused(
            f"a text of {len(name)} characters is no path; "
            "before base64 there must be data:image/<format in lower case>;base64,"
        )
    try:
        target = Path(name).resolve()
        found = target.stat()
    except (OSError, ValueError, RuntimeError) as exc:  # RuntimeError: links in a circle, to 3.12
        raise unreadable(name, exc) from None
    if not stat.S_ISREG(found.st_mode):
        raise refused(f"{shown(name)} is no regular file; if it can be read, pass it opened")
    return PathFile(str(target), found.st_size, found.st_mtime_ns)


def _of_file(file: BinaryIO) -> DataUri:
    with callers_errors():
        if not isinstance(file.read(0), bytes):
            raise refused("the open file gives no bytes; open it in binary mode")
        if not file.seekable():
            return _of_bytes(_drained(file))
        with _reading:
            size = file.seek(0, os.SEEK_END)
    return DataUri.of(OpenFile(file, size, _reading))


def _drained(file: BinaryIO) -> bytes:
    """Everything that comes out of a pipe or the like."""
    content = io.BytesIO()
    while piece := file.read(PIECE):
        content.write(piece)
        if content.tell() > LARGEST:
            raise refused(f"the open file holds more than {LARGEST} bytes")
    return content.getvalue()


def _png(picture: Any) -> bytes:
    """A Pillow image, in its own mode, or an array, as a PNG."""
    try:
        from PIL import Image as Pillow  # noqa: PLC0415  an extra, and slow to import
    except ImportError:
        raise refused(
            "pictures and arrays need Pillow: pip install 'seedream-async[images]'"
        ) from None
    buffer = io.BytesIO()
    try:
        # Pillow loads a picture late, and keeps its options in it while it saves.
        with _drawing:
            drawn = picture if isinstance(picture, Pillow.Image) else Pillow.fromarray(picture)
            drawn.save(buffer, "PNG")
    except Exception as exc:  # noqa: BLE001  the readers of Pillow raise anything
        raise refused(
            f"no PNG can be made of it ({str(exc)[:200]}); convert a picture to RGB, an array "
            "to bytes of height x width x 3"
        ) from None
    return buffer.getvalue()
