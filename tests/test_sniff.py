"""What kind of image some bytes are."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from seedream_async import _sniff


def encoded(form, size=(300, 200), **options):
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, form, **options)
    return buffer.getvalue()


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
    ],
)
def test_kind_and_size_come_from_the_bytes(content, media_type):
    """Each kind that the API takes or makes is told with its size."""
    sniffed = _sniff.sniff(content)

    assert sniffed is not None
    assert (sniffed.kind.content_type, sniffed.width, sniffed.height) == (media_type, 300, 200)


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b"RIFF\0\0\0\0WAVE", b'{"Code": "AccessDenied"}'],
    ids=["empty", "page", "other RIFF", "JSON"],
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
