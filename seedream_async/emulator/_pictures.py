"""
Small landscapes, different for each seed, as real JPEG and PNG files, with no library.

A picture is a grid of cells of 8 by 8 pixels, each of one colour. In a JPEG that is a file with
nothing but DC coefficients; restart markers make every row of cells a unit of its own, so that
equal rows are encoded once.
"""

from __future__ import annotations

import colorsys
import hashlib
import math
import struct
import zlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]  # red, green, blue, or Y, Cb, Cr; 0 to 255
Window: TypeAlias = tuple[int, int, int, int]  # left, top, right, bottom, in pixels
_CELL = 8  # pixels
_BANDS = 96  # rows of cells that differ, at most
_COLUMNS = 160  # columns of cells that differ, at most

# Code lengths of the ten DC categories (ITU-T T.81, table K.3) and of the one AC symbol used,
# the end of a block.
_DC_LENGTHS = bytes((0, 1, 5, 1, 1, 1, 1, *(9 * [0])))
_AC_LENGTHS = bytes((1, *(15 * [0])))
_DC_CODES = ("00", "010", "011", "100", "101", "110", "1110", "11110", "111110", "1111110")
_END_OF_BLOCK = "0"


@lru_cache(maxsize=64)
def render(
    width: int, height: int, output_format: str, seed: bytes, window: Window | None = None
) -> bytes:
    """
    A picture of *width* by *height* pixels as a file of *output_format*: `jpeg` or `png`.

    A PNG with a *window* is transparent outside of it.
    """
    if output_format == "png":
        return _png(width, height, seed, window)
    return _jpeg(width, height, seed)


def _bands(width: int, height: int, seed: bytes) -> Iterator[tuple[int, list[Colour]]]:
    """The rows of cells, from the top: how often each is repeated, and its colours."""
    across, down = -(-width // _CELL), -(-height // _CELL)
    repeat = -(-down // _BANDS)
    scene = _Scene(seed, min(across, _COLUMNS), width / height)
    columns = [column * scene.columns // across for column in range(across)]
    for top in range(0, down, repeat):
        row = scene.row(top / down)
        yield min(repeat, down - top), [row[column] for column in columns]


class _Scene:
    """A sky, a sun and two ranges of hills."""

    def __init__(self, seed: bytes, columns: int, aspect: float) -> None:
        dice = hashlib.blake2b(seed, digest_size=16).digest()
        hue, near = dice[0] / 256, dice[1] / 512 - 0.25
        self.columns = columns
        self._aspect = aspect
        self._sky = (hue, 0.55, 0.45 + dice[2] / 600), (hue + near, 0.45, 1.0)
        self._hills = _rgb(hue + 0.45, 0.45, 0.45), _rgb(hue + 0.5, 0.55, 0.22)
        self._sun = _rgb(hue + near / 2, 0.18, 1.0)
        self._sun_at = 0.15 + dice[3] / 365, 0.2 + dice[4] / 1000, 0.07 + dice[5] / 3600
        self._ridges = [
            (
                0.55 + 0.05 * _wave(column / columns, dice[6:8]),
                0.75 + 0.07 * _wave(column / columns, dice[8:10]),
            )
            for column in range(columns)
        ]

    def row(self, y: float) -> list[Colour]:
        start, end = self._sky
        hue, saturation, value = (
            a + (b - a) * min(1.0, y / 0.6) for a, b in zip(start, end, strict=True)
        )
        sky = _rgb(hue, saturation, value)
        sun_x, sun_y, radius = self._sun_at
        reach = math.sqrt(max(0.0, radius**2 - (y - sun_y) ** 2)) / self._aspect
        row = []
        for column, (far, close) in enumerate(self._ridges):
            if y > close:
                row.append(self._hills[1])
            elif y > far:
                row.append(self._hills[0])
            else:
                row.append(self._sun if abs(column / self.columns - sun_x) < reach else sky)
        return row


def _rgb(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, min(value, 1.0))
    return round(red * 255), round(green * 255), round(blue * 255)


def _wave(x: float, dice: bytes) -> float:
    return math.sin(x * (4 + dice[0] / 32) + dice[1]) + 0.4 * math.sin(x * 17 + dice[0])


def _label(seed: bytes) -> bytes:
    """What makes files of different seeds differ even where their pictures do not."""
    return b"seedream-async emulator " + hashlib.blake2b(seed, digest_size=8).hexdigest().encode()


def _png(width: int, height: int, seed: bytes, window: Window | None) -> bytes:
    compressor = zlib.compressobj(1)
    pixels = [
        compressor.compress(line + (b"\x02" + bytes(len(line) - 1)) * (repeat - 1))
        for repeat, line in _scanlines(width, height, seed, window)
    ]
    header = struct.pack(">IIBBBBB", width, height, 8, 6 if window else 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        _chunk(kind, data)
        for kind, data in (
            (b"IHDR", header),
            (b"tEXt", b"Comment\x00" + _label(seed)),
            (b"IDAT", b"".join(pixels) + compressor.flush()),
            (b"IEND", b""),
        )
    )


def _scanlines(
    width: int, height: int, seed: bytes, window: Window | None
) -> Iterator[tuple[int, bytes]]:
    """The scan lines of a PNG, from the top: how many are the same, and the first of them."""
    opaque, size = (b"\xff", 4) if window else (b"", 3)
    left, top, right, bottom = window or (0, 0, width, height)
    below = 0
    for repeat, row in _bands(width, height, seed):
        start, below = below, min(height, below + repeat * _CELL)
        line = b"".join((bytes(colour) + opaque) * _CELL for colour in row)
        shown = (
            bytes(size * left) + line[size * left : size * right] + bytes(size * (width - right))
        )
        edges = sorted({start, below, *(edge for edge in (top, bottom) if start < edge < below)})
        for first, last in pairwise(edges):
            yield last - first, b"\x00" + (shown if top <= first < bottom else bytes(size * width))


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def _jpeg(width: int, height: int, seed: bytes) -> bytes:
    rows: list[bytes] = []
    for repeat, row in _bands(width, height, seed):
        rows += [_entropy_coded(row)] * repeat
    scan = b"".join(row + bytes((0xFF, 0xD0 + number % 8)) for number, row in enumerate(rows[:-1]))
    components = b"".join(bytes((number, 0x11, 0)) for number in (1, 2, 3))
    return b"\xff\xd8" + b"".join(
        (
            _segment(0xE0, b"JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"),
            _segment(0xFE, _label(seed)),
            # Divisors of 8: the DC coefficient of an even block is 8 times its level.
            _segment(0xDB, b"\x00" + bytes([8]) * 64),
            _segment(0xC0, struct.pack(">BHHB", 8, height, width, 3) + components),
            _segment(0xC4, b"\x00" + _DC_LENGTHS + bytes(range(10))),
            _segment(0xC4, b"\x10" + _AC_LENGTHS + b"\x00"),
            _segment(0xDD, struct.pack(">H", -(-width // _CELL))),
            _segment(0xDA, b"\x03" + b"\x01\x00\x02\x00\x03\x00" + b"\x00\x3f\x00"),
            scan,
            rows[-1],
            b"\xff\xd9",
        )
    )


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _entropy_coded(row: list[Colour]) -> bytes:
    """One row of cells; each coefficient is told as its difference from the one before."""
    codes, previous = [], (0, 0, 0)
    for colour in row:
        levels = _ycbcr(colour)
        for level, before in zip(levels, previous, strict=True):
            codes.append(_CODE_OF[level - before + 256])
        previous = levels
    bits = "".join(codes)
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")


@lru_cache(maxsize=4096)
def _ycbcr(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = colour
    return (
        round(0.299 * red + 0.587 * green + 0.114 * blue) - 128,
        round(-0.1687 * red - 0.3313 * green + 0.5 * blue),
        round(0.5 * red - 0.4187 * green - 0.0813 * blue),
    )


def _code(difference: int) -> str:
    category = abs(difference).bit_length()
    if not category:
        return _DC_CODES[0] + _END_OF_BLOCK
    offset = difference if difference > 0 else difference + (1 << category) - 1
    return f"{_DC_CODES[category]}{offset:0{category}b}{_END_OF_BLOCK}"


_CODE_OF = [_code(difference) for difference in range(-256, 257)]
