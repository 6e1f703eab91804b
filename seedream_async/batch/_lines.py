"""
Lines of text out of bytes, whatever their length, and what is no text at all.

Only `pieces` waits, and it stops when told to.
"""

from __future__ import annotations

import os
import select
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

Line: TypeAlias = tuple[int, bytes | None]

LONGEST = 128 * 1024 * 1024  # bytes of a line: references of 120 MB are the most that is sent
_PIECE = 256 * 1024
_PAUSE = 0.1  # seconds between two looks at whether to stop
_BOM = b"\xef\xbb\xbf"
_SIGNATURES = {
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"PK\x03\x04": "a spreadsheet or an archive; save it as CSV, or unpack it",
    b"\x1f\x8b": "compressed; unpack it",
    b"BZh": "compressed; unpack it",
    b"\xfd7zXZ": "compressed; unpack it",
    b"\x28\xb5\x2f\xfd": "compressed; unpack it",
    b"PAR1": "Parquet; save it as JSONL",
}


def pieces(descriptor: int, stopped: Callable[[], bool]) -> Iterator[bytes]:
    """What can be read from *descriptor*, until its end or until *stopped*. Blocking."""
    waits = sys.platform != "win32" and not stat.S_ISREG(os.fstat(descriptor).st_mode)
    while not stopped():
        if waits and not select.select([descriptor], [], [], _PAUSE)[0]:
            continue
        piece = os.read(descriptor, _PIECE)
        if not piece:
            return
        yield piece


def lines(found: Iterable[bytes], longest: int = LONGEST) -> Iterator[Line]:
    """Each line with its number, without its end; nothing in place of one that is too long."""
    number, held, size = 1, list[bytes](), 0
    for piece in found:
        first, *rest = piece.split(b"\n")
        for following in rest:
            yield number, _whole(held, first, size + len(first) <= longest)
            number, held, size, first = number + 1, [], 0, following
        size += len(first)
        if size <= longest:
            held.append(first)
        else:
            held.clear()
    if size:
        yield number, _whole(held, b"", size <= longest)


def _whole(held: list[bytes], last: bytes, fits: bool) -> bytes | None:
    return b"".join((*held, last)).removesuffix(b"\r") if fits else None


def no_text(head: bytes) -> str | None:
    """What a file that begins with *head* is, if it is not UTF-8 text."""
    for signature, kind in _SIGNATURES.items():
        if head.startswith(signature):
            return kind
    if b"\0" in head:
        return "no text: it has null characters (UTF-16 must be saved as UTF-8)"
    return None


def without_mark(head: bytes) -> bytes:
    """*head* without the mark that some editors put before UTF-8."""
    return head.removeprefix(_BOM)


def decoded(line: bytes | None) -> tuple[str, str | None]:
    """The text of *line*, as far as it can be read, and why no further."""
    if line is None:
        return "", f"the line is longer than {LONGEST >> 20} MiB"
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as exc:
        return line.decode("utf-8", "replace"), f"the line is not UTF-8 from byte {exc.start + 1}"
    if "\0" in text:
        return text.replace("\0", "\ufffd"), "the line has a null character"
    return text, None
