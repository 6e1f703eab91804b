"""
What files hold, told in few bytes. The functions that block say so; the others use threads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from seedream_async._digests import SIZE
from seedream_async._errors import InvalidRequestError
from seedream_async._threads import in_thread

from ._entries import File

_PIECE = 1024 * 1024


async def input_digest(path: Path) -> str:
    """The digest of the input at *path*, by which another input is noticed."""
    try:
        return (await in_thread(digest_of, path)).hex()
    except OSError as exc:
        raise InvalidRequestError(
            f"input: {path} cannot be read: {exc.strerror or exc}", field="input"
        ) from None


def digest_of(path: Path) -> bytes:
    """The digest of the file at *path*, for `File.digest` and for `missing`. Blocking."""
    digest = hashlib.blake2b(digest_size=SIZE)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.digest()


async def missing(
    files: Sequence[File], folder: Path, *, digests: bool = False
) -> tuple[File, ...]:
    """
    Those of *files* that are not in *folder* as they were saved: of that size, at least.

    With *digests*, what they hold is compared too.
    """
    return await in_thread(_missing, files, folder, digests=digests)


def _missing(files: Sequence[File], folder: Path, *, digests: bool) -> tuple[File, ...]:
    return tuple(file for file in files if not _is_there(file, folder / file.path, digests=digests))


def _is_there(file: File, path: Path, *, digests: bool) -> bool:
    try:
        if not path.is_file() or path.stat().st_size != file.bytes:
            return False
        return not digests or file.digest is None or digest_of(path) == file.digest
    except OSError:
        return False
