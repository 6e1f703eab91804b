"""The emulator's pictures, opened by Pillow, which knows nothing of them."""

import io
import math
import re
import zlib
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops

from seedream_async import _sniff
from seedream_async.emulator import _pictures

SIZES = [(2048, 2048), (1441, 2561), (1, 1), (8, 8), (9, 17), (1000, 63), (8, 4099), (1400, 8)]
FORMATS = ["jpeg", "png"]
BLUE, YELLOW = (0, 0, 255), (255, 255, 0)
ONES = [(0, 255, 128), (255, 0, 0), (0, 255, 255)]  # make a byte of ones in a JPEG


def draw(width, height, output_format, seed=b"a cat"):
    """A picture that no cache has seen."""
    return _pictures.render.__wrapped__(width, height, output_format, seed)


def opened(content):
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "{}x{}".format(*size))
@pytest.mark.parametrize("output_format", FORMATS)
def test_opens(output_format, size):
    """A picture is a valid file of the format and the size asked for, odd sizes included."""
    content = draw(*size, output_format)

    picture = opened(content)

    assert picture.format == output_format.upper()
    assert picture.size == size
    assert picture.mode == "RGB"


@given(width=st.integers(1, 200), height=st.integers(1, 200), seed=st.binary(max_size=8))
@settings(deadline=None, max_examples=50)
@pytest.mark.parametrize("output_format", FORMATS)
def test_opens_at_any_size(output_format, width, height, seed):
    """There is no size that makes a broken file."""
    content = draw(width, height, output_format, seed)

    picture = opened(content)

    assert picture.size == (width, height)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "{}x{}".format(*size))
def test_formats_show_the_same(size):
    """The JPEG and the PNG of a seed are the same picture, but for the rounding of colours."""
    jpeg, png = opened(draw(*size, "jpeg")), opened(draw(*size, "png"))

    difference = ImageChops.difference(jpeg, png)

    assert max(high for _, high in difference.getextrema()) <= 3


@pytest.mark.parametrize("output_format", FORMATS)
def test_is_a_landscape(output_format):
    """A picture shows something: a graded sky, a sun and two ranges of hills."""
    picture = opened(draw(512, 512, output_format))

    colours = picture.getcolors(maxcolors=512 * 512)

    assert len(colours) > 20


@pytest.mark.parametrize("output_format", FORMATS)
def test_is_the_same_for_the_same_seed(output_format):
    """Equal seeds give equal files, byte for byte."""
    first = draw(320, 200, output_format, b"a cat")

    second = draw(320, 200, output_format, b"a cat")

    assert first == second


@given(seeds=st.lists(st.binary(max_size=40), min_size=2, max_size=6, unique=True))
@settings(deadline=None)
@pytest.mark.parametrize("output_format", FORMATS)
def test_differs_for_each_seed(output_format, seeds):
    """No two seeds give the same file, be the picture as small as a pixel."""
    files = {draw(1, 1, output_format, seed) for seed in seeds}

    assert len(files) == len(seeds)


def test_pictures_differ_to_the_eye():
    """Different seeds differ in what is seen, not only in a comment."""
    seeds = [b"a cat", b"a dog", b"a bird", b"a fish"]

    pixels = {opened(draw(64, 64, "png", seed)).tobytes() for seed in seeds}

    assert len(pixels) == len(seeds)


@pytest.mark.parametrize("output_format", FORMATS)
def test_passes_for_whole(output_format):
    """The library's own inspection takes a picture for a whole one of its size."""
    content = draw(1441, 2561, output_format)

    sniffed = _sniff.sniff(content[: _sniff.HEAD])

    assert sniffed is not None
    assert (sniffed.kind.content_type, sniffed.width, sniffed.height) == (
        f"image/{output_format}",
        1441,
        2561,
    )
    assert _sniff.is_whole(sniffed.kind, content[:32], content[-_sniff.TAIL :], len(content))


@given(width=st.integers(1, 4000), height=st.integers(1, 4000))
@settings(deadline=None, max_examples=50)
def test_rows_cover_the_picture(width, height):
    """The rows of cells are as many, and as long, as the picture needs, and no more."""
    bands = list(_pictures._bands(width, height, b"a cat"))

    assert sum(repeat for repeat, _ in bands) == math.ceil(height / 8)
    assert {len(row) for _, row in bands} == {math.ceil(width / 8)}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "{}x{}".format(*size))
def test_png_holds_no_more_than_its_pixels(size):
    """The data of a PNG are its scan lines, to the byte."""
    width, height = size
    content = draw(*size, "png")
    start = content.index(b"IDAT")
    length = int.from_bytes(content[start - 4 : start])

    scanlines = zlib.decompress(content[start + 4 : start + 4 + length])

    assert len(scanlines) == height * (1 + 3 * width)


@given(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1))
@example(ONES)
@example([BLUE, YELLOW, BLUE])  # as far apart as levels can be
def test_jpeg_data_hold_no_marker(row):
    """In the data of a JPEG, a byte of ones is followed by a zero, or it would be a marker."""
    data = _pictures._entropy_coded(row)

    assert re.search(rb"\xff[^\x00]|\xff$", data) is None


def test_codes_are_unambiguous():
    """Every difference of two levels has a code, and no code starts another."""
    codes = sorted(_pictures._CODE_OF)

    clashes = [(code, longer) for code, longer in pairwise(codes) if longer.startswith(code)]

    assert len(codes) == 513
    assert clashes == []


@pytest.mark.parametrize("size", SIZES[:6], ids=lambda size: "{}x{}".format(*size))
def test_window_shows_the_same(size):
    """Through a window the same picture is seen, and around it nothing."""
    width, height = size
    window = (width // 4, height // 3, width - width // 4, height - height // 5)
    whole = opened(draw(*size, "png"))

    framed = opened(_pictures.render.__wrapped__(*size, "png", b"a cat", window))

    assert framed.mode == "RGBA"
    assert framed.getchannel("A").getbbox() == window
    assert set(framed.getchannel("A").crop(window).tobytes()) == {255}
    assert framed.crop(window).convert("RGB").tobytes() == whole.crop(window).tobytes()


@given(edges=st.lists(st.integers(0, 200), min_size=4, max_size=4))
@settings(deadline=None, max_examples=50)
def test_any_window_will_do(edges):
    """A window may lie anywhere in the picture, and be empty."""
    left, right, top, bottom = *sorted(edges[:2]), *sorted(edges[2:])

    framed = opened(
        _pictures.render.__wrapped__(200, 200, "png", b"a cat", (left, top, right, bottom))
    )

    empty = left == right or top == bottom
    assert framed.getchannel("A").getbbox() == (None if empty else (left, top, right, bottom))
