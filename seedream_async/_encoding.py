"""
A reference's content as the JSON string of a data URI: in pieces, made while they are taken.

Everything here blocks, so it runs in a thread. No message holds content; it may name a path.
"""

from __future__ import annotations

import binascii
import contextlib
import os
import threading
from collections.abc import Generator, Iterator
from itertools import islice
from typing import BinaryIO, Protocol

from attrs import field, frozen

from . import _sniff
from ._base64 import encode
from ._errors import InvalidRequestError

PIECE = 192 * 1024  # bytes, which become 256 KiB of base64 without padding in between
_TEXT = PIECE // 3 * 4
_CHANGED = "it changed after it was checked; leave it alone while it is sent"


class Content(Protocol):
    """The bytes of a reference, which can be had more than once."""

    @property
    def size(self) -> int: ...

    def pieces(self) -> Generator[bytes, None, None]:
        """All *size* bytes, in pieces. Raises `InvalidRequestError` if they are not there."""
        ...


@frozen
class PathFile:
    """A regular file, as it was when it was looked at. *modified* is in nanoseconds."""

    path: str
    size: int
    modified: int

    def pieces(self) -> Generator[bytes, None, None]:
        try:
            with open(self.path, "rb") as file:  # noqa: PTH123  a plain name, read by everybody
                self._check(file)
                for at in range(0, self.size, PIECE):
                    piece = _exactly(file, min(PIECE, self.size - at))
                    if at + PIECE >= self.size:  # without the last, no request is whole
                        self._check(file)
                    yield piece
        except OSError as exc:
            raise unreadable(self.path, exc) from None

    def _check(self, file: BinaryIO) -> None:
        found = os.fstat(file.fileno())
        if (found.st_size, found.st_mtime_ns) != (self.size, self.modified):
            raise refused(f"{shown(self.path)}: {_CHANGED}")


@frozen(eq=False)
class OpenFile:
    """
    An open file that can be read from any place.

    It has one position, so only who holds the *lock* moves it.
    """

    file: BinaryIO = field(repr=False)
    size: int
    lock: threading.Lock = field(factory=threading.Lock, repr=False)

    def pieces(self) -> Generator[bytes, None, None]:
        for at in range(0, self.size, PIECE):
            yield self._piece(at)

    def _piece(self, at: int) -> bytes:
        with callers_errors(), self.lock:
            self.file.seek(at)
            return _exactly(self.file, min(PIECE, self.size - at))


@frozen(eq=False)
class DataUri:
    """*content*, which is an image, as a JSON string."""

    content: Content
    sniffed: _sniff.Sniffed

    @classmethod
    def of(cls, content: Content) -> DataUri:
        """Raises `InvalidRequestError` if *content* is no image: no media type could be named."""
        with contextlib.closing(content.pieces()) as pieces:
            return cls(content, identified(b"".join(islice(pieces, 2))))

    @property
    def size(self) -> int:
        return self.content.size

    @property
    def length(self) -> int:
        return encoded_length(self.size, self.sniffed.kind)

    def slices(self) -> Generator[bytes, None, None]:
        start = _opening(self.sniffed.kind)
        with contextlib.closing(self.content.pieces()) as pieces:
            for piece in pieces:
                yield start + encode(piece)
                start = b""
        yield start + b'"'


@frozen(eq=False)
class DataText:
    """Base64 that the caller has already, as a JSON string. *text* holds it from *start* on."""

    text: str = field(repr=False)
    start: int
    size: int
    sniffed: _sniff.Sniffed

    @classmethod
    def of(cls, text: str, start: int = 0) -> DataText:
        """Raises `InvalidRequestError` if *text* is not base64 of an image."""
        head, size = b"", 0
        for piece in _decoded(text, start):
            head += piece if len(head) < _sniff.HEAD else b""
            size += len(piece)
        return cls(text, start, size, identified(head))

    @property
    def length(self) -> int:
        return len(_opening(self.sniffed.kind)) + len(self.text) - self.start + 1

    def slices(self) -> Generator[bytes, None, None]:
        opening = _opening(self.sniffed.kind)
        for at in range(self.start, len(self.text), _TEXT):
            yield opening + self.text[at : at + _TEXT].encode("ascii")
            opening = b""
        yield b'"'


def encoded_length(size: int, kind: _sniff.Kind = _sniff.JPEG) -> int:
    """How long *size* bytes become; no kind has a longer media type than JPEG."""
    return len(_opening(kind)) + (size + 2) // 3 * 4 + 1


def identified(head: bytes) -> _sniff.Sniffed:
    """What image starts with *head*."""
    sniffed = _sniff.sniff(head[: _sniff.HEAD])
    if sniffed is None:
        raise refused("it is no JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or HEIF image")
    return sniffed


def refused(problem: str) -> InvalidRequestError:
    """The error that says what is wrong with a reference."""
    return InvalidRequestError(f"image: {problem}", field="image")


@contextlib.contextmanager
def callers_errors() -> Iterator[None]:
    """Translate what an object of the caller's raises, which may be anything."""
    try:
        yield
    except InvalidRequestError:
        raise
    except Exception as exc:  # noqa: BLE001
        raise refused(f"the open file cannot be read ({type(exc).__name__})") from None


def unreadable(path: str, exc: Exception) -> InvalidRequestError:
    """The error for a *path* that leads to nothing."""
    reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else "not a path"
    return refused(
        f"{shown(path)} cannot be read: {reason}. "
        "A reference is a file, an http(s) link, a data URI, or bytes"
    )


def shown(path: str) -> str:
    """*path* for a message."""
    return repr(path[:200])


def _opening(kind: _sniff.Kind) -> bytes:
    return b'"data:%s;base64,' % kind.content_type.encode()


def _decoded(text: str, start: int) -> Iterator[bytes]:
    """The bytes that *text* stands for, in pieces."""
    for at in range(start, len(text), _TEXT):
        try:
            piece = binascii.a2b_base64(text[at : at + _TEXT], strict_mode=True)
            if len(piece) % 3 and at + _TEXT < len(text):
                raise ValueError("padding before the end")
        except ValueError:
            raise refused("its base64 is broken, or holds something else") from None
        yield piece


def _exactly(file: BinaryIO, length: int) -> bytes:
    """The next *length* bytes; a raw file may give fewer at once."""
    piece = file.read(length)
    while len(piece) < length and (more := file.read(length - len(piece))):
        piece += more
    if len(piece) != length:
        raise refused(_CHANGED)
    return piece
