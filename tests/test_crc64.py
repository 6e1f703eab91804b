"""The checksum of the object store."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async._crc64 import make_crc64


def test_the_check_value():
    """It is CRC-64/XZ, as the catalogues of checksums and the store's own SDK have it."""
    crc64 = make_crc64()

    crc64.update(b"123456789")

    assert crc64.value == 11051210869376104954


def test_of_nothing_it_is_zero():
    """Before the first byte there is a value already."""
    assert make_crc64().value == 0


@given(pieces=st.lists(st.binary()))
def test_pieces_make_no_difference(pieces):
    """However the bytes come, also in a buffer that can change, the value is that of the whole."""
    whole, growing = make_crc64(), make_crc64()
    whole.update(b"".join(pieces))

    for piece in pieces:
        growing.update(bytearray(piece))

    assert growing.value == whole.value


@pytest.mark.parametrize("missing", ["fastcrc", "fastcrc.crc64"])
def test_without_the_library_there_is_none(monkeypatch, missing):
    """Where nothing fast is installed, nothing is computed."""
    monkeypatch.setitem(sys.modules, missing, None)
    if missing == "fastcrc.crc64":
        monkeypatch.delattr("fastcrc.crc64")

    assert make_crc64() is None
