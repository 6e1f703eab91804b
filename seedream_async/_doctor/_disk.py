"""Whether images can be written to a folder, which is not made."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from ._findings import Finding, failed, ok, warning

_IMAGE = 1_000_000  # bytes of a 2K JPEG, as measured; a PNG has several times that
_LITTLE = 1000 * _IMAGE


def look(folder: str) -> Finding:
    """Whether *folder*, or where it would be made, takes a file, and has room. Blocking."""
    path = Path(folder)
    there = next(each for each in (path, *path.absolute().parents) if os.path.lexists(each))
    try:
        if not there.is_dir():
            return failed("disk", f"{there} is not a folder", "choose another --out")
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"seedream")
        return judge(folder, shutil.disk_usage(there).free, exists=there == path)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        return failed("disk", f"{there} takes no file: {reason}", "choose another --out")


def judge(folder: str, free: int, *, exists: bool) -> Finding:
    """What *free* bytes in *folder* are worth."""
    about = f"{folder} {'is' if exists else 'can be made, and is'} writable"
    room = f"{free / 1e9:.1f} GB free, about {free // _IMAGE} images of 2K"
    if free < _LITTLE:
        return warning(
            "disk", f"{about}, but with only {room}", "make room, or choose another --out"
        )
    return ok("disk", f"{about}, with {room}")
