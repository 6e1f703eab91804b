"""
What files hold, told in few bytes. The functions that block say so; the others use threads.
"""

from __future__ import annotations

import binascii
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from seedream_async._encoding import DataText, PathFile
from seedream_async._errors import InvalidRequestError
from seedream_async._request import Reference
from seedream_async._sources import Source, source_of
from seedream_async._threads import in_thread

from ._entries import File

SIZE = 16  # bytes of a digest, as those of `b2sum -l 128`
_PIECE = 1024 * 1024


async def reference_names(references: Sequence[Reference]) -> tuple[str, ...]:
    """
    Each of *references* by what it holds: a link by itself, a file or a data URI by its bytes.

    Raises `InvalidRequestError` for one that cannot be read. A file is read once while it stays
    the same.
    """
    return await in_thread(names, references) if references else ()


def names(references: Sequence[Reference]) -> tuple[str, ...]:
    """As `reference_names`, but blocking."""
    return tuple(_name(source_of(reference)) for reference in references)


def _name(source: Source) -> str:
    match source:
        case bytes():
            return str(json.loads(source))
        case PathFile():
            return _digest_of_path(source)
        case DataText():
            return _digest(_decoded(source))
        case _:
            return _digest(source.content.pieces())


@lru_cache(maxsize=4096)  # files of this size and age: a batch has few styles, each in many rows
def _digest_of_path(file: PathFile) -> str:
    return _digest(file.pieces())


def _digest(pieces: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=SIZE)
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _decoded(text: DataText) -> Iterator[bytes]:
    """The bytes that *text* stands for, which was found to be base64; so a file has its name."""
    for at in range(text.start, len(text.text), _PIECE):
        yield binascii.a2b_base64(text.text[at : at + _PIECE])


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
