"""
What kind of image some bytes are, judged by the bytes alone.

Nothing here raises on any input, or looks past what it was given.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from attrs import frozen

HEAD = 256 * 1024  # bytes within which the size of any image seen so far is told
TAIL = 1024  # bytes within which its end is
# Markers that carry a frame header: SOF0 to SOF15 without DHT, JPG and DAC (ITU-T T.81, table B.1).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset({0x01, *range(0xD0, 0xDA)})


@frozen
class Kind:
    """A kind of image: its media type and the extension that its files get."""

    content_type: str
    extension: str


@frozen
class Sniffed:
    """What the first bytes tell: *width* and *height* in pixels, 0 if they are not told there."""

    kind: Kind
    width: int
    height: int


JPEG = Kind("image/jpeg", ".jpeg")
PNG = Kind("image/png", ".png")
WEBP = Kind("image/webp", ".webp")
GIF = Kind("image/gif", ".gif")
BMP = Kind("image/bmp", ".bmp")
TIFF = Kind("image/tiff", ".tiff")


def sniff(head: bytes) -> Sniffed | None:
    """Tell what image starts with *head*, or nothing if none that is known does."""
    for signature, kind, measure in _SIGNATURES:
        if head.startswith(signature) and (kind is not WEBP or head[8:12] == b"WEBP"):
            try:
                width, height = measure(head)
            except (struct.error, IndexError):
                width, height = 0, 0
            return Sniffed(kind, width, height)
    return None


def is_whole(kind: Kind, head: bytes, tail: bytes, size: int) -> bool:
    """Tell whether an image of *size* bytes has the end that its kind prescribes."""
    if kind is JPEG:
        return b"\xff\xd9" in tail
    if kind is PNG:
        return b"IEND\xaeB`\x82" in tail
    if kind is WEBP:
        return size >= int.from_bytes(head[4:8], "little") + 8
    return True


def _measure_jpeg(head: bytes) -> tuple[int, int]:
    at = 2
    while head[at] == 0xFF:
        marker = head[at + 1]
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        if marker == 0xFF or marker in _BARE:
            at += 1 if marker == 0xFF else 2
        else:
            at += 2 + max(2, struct.unpack_from(">H", head, at + 2)[0])
    return 0, 0


def _measure_png(head: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", head, 16)
    return width, height


def _measure_webp(head: bytes) -> tuple[int, int]:
    chunk = head[12:16]
    if chunk == b"VP8X":
        low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", head, 24)
        return (high_width << 16 | low_width) + 1, (high_height << 16 | low_height) + 1
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", head, 26)
    return width & 0x3FFF, height & 0x3FFF


def _measure_gif(head: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", head, 6)
    return width, height


def _measure_bmp(head: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<ii", head, 18)
    return width, abs(height)


def _measure_tiff(head: bytes) -> tuple[int, int]:
    order = "<" if head.startswith(b"II") else ">"
    (at,) = struct.unpack_from(order + "I", head, 4)
    (count,) = struct.unpack_from(order + "H", head, at)
    found = {}
    for number in range(count):
        tag, form = struct.unpack_from(order + "HH", head, at + 2 + 12 * number)
        # Type 3 is SHORT, anything else that is legal here is LONG (TIFF 6.0, section 2).
        value = struct.unpack_from(order + ("H" if form == 3 else "I"), head, at + 10 + 12 * number)
        found[tag] = value[0]
    return found.get(256, 0), found.get(257, 0)


_SIGNATURES: tuple[tuple[bytes, Kind, Callable[[bytes], tuple[int, int]]], ...] = (
    (b"\xff\xd8\xff", JPEG, _measure_jpeg),
    (b"\x89PNG\r\n\x1a\n", PNG, _measure_png),
    (b"RIFF", WEBP, _measure_webp),
    (b"GIF8", GIF, _measure_gif),
    (b"BM", BMP, _measure_bmp),
    (b"II*\x00", TIFF, _measure_tiff),
    (b"MM\x00*", TIFF, _measure_tiff),
)
