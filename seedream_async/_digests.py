"""
What references hold, told in few bytes. The functions that block say so; the others use threads.
"""

from __future__ import annotations

import binascii
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

from ._encoding import DataText, PathFile, refused
from ._request import Reference
from ._sources import Source, source_of
from ._threads import in_thread

SIZE = 16  # bytes of a digest, as those of `b2sum -l 128`
_PIECE = 1024 * 1024


async def reference_names(references: Sequence[Reference]) -> tuple[str, ...]:
    """
    Each of *references* by what it holds: a link by itself, a file or a data URI by its bytes.

    Raises `InvalidRequestError` for one that cannot be read, and for what can be read only once,
    as it is to be sent too. A file is read once while it stays the same.
    """
    return await in_thread(names, references) if references else ()


def names(references: Sequence[Reference]) -> tuple[str, ...]:
    """As `reference_names`, but blocking."""
    return tuple(_name(_source(reference)) for reference in references)


def _source(reference: Reference) -> Source:
    seekable = getattr(reference, "seekable", None)
    if seekable is not None and not seekable():
        raise refused("a pipe or the like can be read once: read it, and pass the bytes")
    return source_of(reference)


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
