"""
The checksum that the object store sends with an object: CRC-64/XZ.

Only a compiled one is fast enough to be worth its time; where there is none, nothing is checked.
"""

from __future__ import annotations

from collections.abc import Callable


class Crc64:
    """A checksum that grows with the bytes; *value* is what the store would send, as a number."""

    def __init__(self, function: Callable[[bytes | bytearray, int], int]) -> None:
        self._function = function
        self.value = 0

    def update(self, piece: bytes | bytearray) -> None:
        self.value = self._function(piece, self.value)


def make_crc64() -> Crc64 | None:
    """An empty checksum, or nothing if `fastcrc` is not there. The first call may block."""
    try:
        from fastcrc import crc64  # noqa: PLC0415  an extra
    except ImportError:
        return None
    return Crc64(crc64.xz)
