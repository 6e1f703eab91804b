"""What kind of image some bytes are."""

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seedream_async import _sniff


def encoded(form, size=(300, 200), **options):
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, form, **options)
    return buffer.getvalue()


def box(name, *contents):
    body = b"".join(contents)
    return struct.pack(">I4s", len(body) + 8, name) + body


def heif(brand, *compatible, sizes=((64, 48), (300, 200), (64, 64)), rest=b""):
    """The start of an HEIF file: *sizes* are those of its tiles, thumbnails and the whole."""
    items = [box(b"ispe", struct.pack(">III", 0, *size)) for size in sizes]
    properties = box(b"iprp", box(b"ipco", box(b"hvcC", bytes(30)), *items), box(b"ipma"))
    meta = box(b"meta", bytes(4), box(b"hdlr", bytes(20)), properties)
    return box(b"ftyp", brand, bytes(4), *compatible) + rest + meta + box(b"mdat", bytes(50))


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        pytest.param(encoded("JPEG"), "image/jpeg", id="jpeg"),
        pytest.param(encoded("JPEG", progressive=True), "image/jpeg", id="progressive jpeg"),
        pytest.param(encoded("JPEG", exif=b"Exif\0\0" + bytes(30000)), "image/jpeg", id="exif"),
        pytest.param(encoded("PNG"), "image/png", id="png"),
        pytest.param(encoded("WEBP"), "image/webp", id="webp, lossy"),
        pytest.param(encoded("WEBP", lossless=True), "image/webp", id="webp, lossless"),
        pytest.param(
            encoded("WEBP", exif=b"Exif\0\0" + bytes(8)), "image/webp", id="webp, extended"
        ),
        pytest.param(encoded("GIF"), "image/gif", id="gif"),
        pytest.param(encoded("BMP"), "image/bmp", id="bmp"),
        pytest.param(encoded("TIFF"), "image/tiff", id="tiff, little-endian"),
        pytest.param(
            b"MM\0*\0\0\0\x08\0\x02\x01\0\0\x03\0\0\0\x01\x01\x2c\0\0\x01\x01\0\x04\0\0\0\x01\0\0\0\xc8",
            "image/tiff",
            id="tiff, big-endian",
        ),
        *(
            pytest.param(heif(brand), "image/heic", id=brand.decode())
            for brand in (b"heic", b"heix", b"hevc")
        ),
        *(
            pytest.param(heif(brand, b"mif1"), "image/heif", id=brand.decode())
            for brand in (b"mif1", b"msf1", b"heif")
        ),
        pytest.param(heif(b"mif1", b"miaf", b"heic"), "image/heic", id="mif1 that is heic"),
        pytest.param(
            heif(b"heic", rest=struct.pack(">I4sQ", 1, b"free", 20) + bytes(4)),
            "image/heic",
            id="heic, long box first",
        ),
    ],
)
def test_kind_and_size_come_from_the_bytes(content, media_type):
    """Each kind that the API takes or makes is told with its size."""
    sniffed = _sniff.sniff(content)

    assert sniffed is not None
    assert (sniffed.kind.content_type, sniffed.width, sniffed.height) == (media_type, 300, 200)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>", id="page"),
        pytest.param(b"RIFF\0\0\0\0WAVE", id="other RIFF"),
        pytest.param(b'{"Code": "AccessDenied"}', id="JSON"),
        pytest.param(heif(b"avif", b"mif1"), id="AVIF"),
        pytest.param(heif(b"mif1", b"avif"), id="mif1 that is AVIF"),
        pytest.param(heif(b"isom", b"mp41"), id="film"),
    ],
)
def test_other_bytes_are_no_image(content):
    """What starts like no image is none."""
    assert _sniff.sniff(content) is None


def test_jpeg_with_fill_bytes_and_bare_markers():
    """Fill bytes and markers without payload before the frame are legal."""
    frame = b"\xff\xc0\x00\x11\x08\x00\x10\x00\x20\x03"

    sniffed = _sniff.sniff(b"\xff\xd8\xff\xff\x01\xff\xd0" + frame)

    assert sniffed is not None
    assert (sniffed.width, sniffed.height) == (32, 16)


def test_size_may_be_untold():
    """A kind without a readable size is still that kind."""
    assert _sniff.sniff(b"\xff\xd8\xff\xe0\x00\x04ab\x00") == _sniff.Sniffed(_sniff.JPEG, 0, 0)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(heif(b"heic").partition(b"ipma")[0][:-10], id="cut"),
        pytest.param(heif(b"heic").partition(b"ipma")[0][:-24], id="cut between boxes"),
        pytest.param(heif(b"heic", sizes=()), id="no sizes"),
        pytest.param(box(b"ftyp", b"heic", bytes(4)), id="no boxes"),
        pytest.param(box(b"ftyp", b"heic", bytes(4)) + b"\0\0\0\5meta", id="impossible box"),
        pytest.param(box(b"ftyp", b"heic", bytes(4)) + bytes(8), id="box to the end"),
    ],
)
def test_size_of_heif_may_be_untold(content):
    """A HEIF file of which the sizes are not all there has none, rather than one of a part."""
    assert _sniff.sniff(content) == _sniff.Sniffed(_sniff.HEIC, 0, 0)


@given(st.data())
def test_no_heif_raises(data):
    """Neither a cut nor an overwritten byte makes it raise."""
    content = bytearray(heif(b"heic"))
    for at, byte in data.draw(
        st.lists(st.tuples(st.integers(12, len(content) - 1), st.integers(0, 255)), max_size=5)
    ):
        content[at] = byte

    sniffed = _sniff.sniff(bytes(content[: data.draw(st.integers(12, len(content)))]))

    assert sniffed is not None
    assert sniffed.kind is _sniff.HEIC


@given(
    st.sampled_from([signature for signature, _, _ in _sniff._SIGNATURES]),
    st.binary(max_size=200),
)
def test_never_raises(signature, rest):
    """No bytes whatsoever make it raise."""
    sniffed = _sniff.sniff(signature + rest)

    assert sniffed is None or sniffed.width >= 0 or sniffed.kind is _sniff.BMP


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_end_of_image_is_known(form):
    """A whole image is told from one that lost its end."""
    content = encoded(form)
    sniffed = _sniff.sniff(content)

    def whole(body):
        return _sniff.is_whole(sniffed.kind, body[:100], body[-_sniff.TAIL :], len(body))

    assert whole(content)
    assert not whole(content[:-4])


def test_kinds_without_an_end_count_as_whole():
    """For kinds that the models do not make, the length must do."""
    assert _sniff.is_whole(_sniff.GIF, b"", b"", 10)
