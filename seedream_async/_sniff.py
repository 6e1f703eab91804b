"""
What kind of image some bytes are, judged by the bytes alone.

Nothing here raises on any input, or looks past what it was given.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

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
HEIC = Kind("image/heic", ".heic")
HEIF = Kind("image/heif", ".heif")


def sniff(head: bytes) -> Sniffed | None:
    """Tell what image starts with *head*, or nothing if none that is known does."""
    for signature, kind, measure in _SIGNATURES:
        if head.startswith(signature) and (kind is not WEBP or head[8:12] == b"WEBP"):
            return Sniffed(kind, *_measured(measure, head))
    if brand := _heif_of(head):
        return Sniffed(brand, *_measured(_measure_heif, head))
    return None


def _measured(measure: Callable[[bytes], tuple[int, int]], head: bytes) -> tuple[int, int]:
    try:
        return measure(head)
    except (struct.error, IndexError):
        return 0, 0


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


def _heif_of(head: bytes) -> Kind | None:
    """Which of its kinds, if *head* starts an ISO base media file with an HEVC or other image."""
    if head[4:8] != b"ftyp":
        return None
    brand = head[8:12]
    # After the brand stand its version and the brands that the file is compatible with.
    others = head[16 : int.from_bytes(head[:4], "big")]
    compatible = {others[at : at + 4] for at in range(0, len(others), 4)}
    if brand in _HEIC_BRANDS or (brand in _HEIF_BRANDS and compatible & _HEIC_BRANDS):
        return HEIC
    return HEIF if brand in _HEIF_BRANDS and b"avif" not in compatible else None


def _measure_heif(head: bytes) -> tuple[int, int]:
    # ISO/IEC 23008-12: "ispe" has the size of one item; the largest is the whole, others are its
    # tiles and thumbnails.
    start, end = 0, len(head)
    for name, fixed in ((b"meta", 4), (b"iprp", 0), (b"ipco", 0)):
        start, end = next(
            ((at + fixed, stop) for kind, at, stop in _boxes(head, start, end) if kind == name),
            (0, 0),
        )
    if end > len(head):  # the largest may be missing
        return 0, 0
    sizes = [
        struct.unpack_from(">II", head, at + 4)
        for kind, at, _ in _boxes(head, start, end)
        if kind == b"ispe"
    ]
    width, height = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    return width, height


def _boxes(head: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes between *start* and *end*: type, start of the content, end."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", head, start)
        content = start + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", head, content)
            content += 8
        stop = start + size if size else end  # without a size, it is the last
        if stop < content:
            return
        yield kind, content, stop
        start = stop


_HEIC_BRANDS = {b"heic", b"heix", b"hevc"}
_HEIF_BRANDS = {b"mif1", b"msf1", b"heif"}
_SIGNATURES: tuple[tuple[bytes, Kind, Callable[[bytes], tuple[int, int]]], ...] = (
    (b"\xff\xd8\xff", JPEG, _measure_jpeg),
    (b"\x89PNG\r\n\x1a\n", PNG, _measure_png),
    (b"RIFF", WEBP, _measure_webp),
    (b"GIF8", GIF, _measure_gif),
    (b"BM", BMP, _measure_bmp),
    (b"II*\x00", TIFF, _measure_tiff),
    (b"MM\x00*", TIFF, _measure_tiff),
)
