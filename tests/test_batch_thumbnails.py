"""Thumbnails: made where Pillow can, and never the end of a report."""

import asyncio
import errno
import os
import struct
import sys
import zlib
from pathlib import Path

import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async.batch import _thumbnails
from seedream_async.batch._report_entries import Preview
from seedream_async.batch._thumbnails import fitted, make_previews, thumbnail_path

from .batch_values import draw, picture


async def preview(folder, picture):
    (made,) = await make_previews(folder, [picture])
    return made


def opened(folder, preview):
    with PIL.Image.open(folder / preview.path) as image:
        image.load()
        return image


def png(width, height, *chunks):
    """A PNG that says it is so large, with *chunks* after its header."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


@pytest.mark.parametrize("kind", ["jpeg", "png"])
async def test_a_thumbnail_is_made(tmp_path, kind):
    """A picture gets a small JPEG of its shape, in a folder beside."""
    large = draw(tmp_path, f"images/1.{kind}", 1280, 640, kind)

    small = await preview(tmp_path, large)

    assert small == Preview(thumbnail_path(large.path), 320, 160)
    assert (opened(tmp_path, small).format, opened(tmp_path, small).size) == ("JPEG", (320, 160))
    assert [path.name for path in tmp_path.rglob("*") if path.suffix == ".part"] == []


async def test_transparent_pictures_lie_on_something_light(tmp_path):
    """Where a picture is transparent its thumbnail is light, not black."""
    large = draw(tmp_path, "1.png", 640, 640, "png", window=(160, 160, 480, 480))

    small = await preview(tmp_path, large)

    assert min(opened(tmp_path, small).getpixel((5, 5))) > 200


async def test_palettes(tmp_path):
    """A picture with a palette, as other tools leave them, has a thumbnail as well."""
    PIL.Image.new("P", (64, 32), 3).save(tmp_path / "1.png")

    small = await preview(tmp_path, picture("1.png", width=64, height=32))

    assert opened(tmp_path, small).size == (64, 32)


async def test_a_thumbnail_is_made_once(tmp_path):
    """What is there is not made again, until its picture is newer; an empty file is not there."""
    large = draw(tmp_path)
    small = tmp_path / (await preview(tmp_path, large)).path
    ages = (tmp_path / large.path).stat().st_mtime_ns

    kept = []
    for content, age in ((b"mine", ages + 1), (b"mine", ages - 1), (b"", ages + 1)):
        small.write_bytes(content)
        os.utime(small, ns=(age, age))
        await preview(tmp_path, large)
        kept.append(small.read_bytes() == content)

    assert kept == [True, False, False]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>", id="no image"),
        pytest.param(b"\xff\xd8\xff\xe0" + bytes(100), id="no size"),
        pytest.param(png(60_000, 60_000), id="bomb"),
        pytest.param(png(64, 64), id="no pixels"),
        pytest.param(png(64, 64, (b"IDAT", b"x" * 100)), id="broken pixels"),
        pytest.param(b"BM" + bytes(16) + struct.pack("<ii", 4, 4) + bytes(90), id="bad header"),
    ],
)
async def test_broken_pictures_have_no_preview(tmp_path, content):
    """What cannot be read, or should not be, has no preview and disturbs no other picture."""
    (tmp_path / "broken.png").write_bytes(content)
    whole = draw(tmp_path)

    previews = await make_previews(tmp_path, [picture("broken.png"), whole])

    assert previews == [None, Preview(thumbnail_path(whole.path), 320, 160)]


async def test_pictures_that_are_too_large(tmp_path, monkeypatch):
    """A picture with more pixels than the limit is not decoded, by us or by the page."""
    large = draw(tmp_path, width=640, height=320)
    monkeypatch.setattr(_thumbnails, "LARGEST", 640 * 320 - 1)

    assert await preview(tmp_path, large) is None
    assert _thumbnails._itself(large) is None


async def test_a_size_that_pillow_sees_otherwise(tmp_path, monkeypatch):
    """A picture whose decoder tells another size than its header is not decoded."""
    large = draw(tmp_path)
    told = _thumbnails._sniff.Sniffed(_thumbnails._sniff.JPEG, 10, 10)
    monkeypatch.setattr(_thumbnails._sniff, "sniff", lambda _: told)

    assert await preview(tmp_path, large) is None


async def test_without_pillow_pictures_stand_for_themselves(tmp_path, monkeypatch):
    """Without Pillow the page shows the picture itself, unless that would be too much to ask."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    large = draw(tmp_path)
    unknown = draw(tmp_path, "2.jpeg")
    pictures = [large, picture(unknown.path, width=0), picture(unknown.path, width=1_000_000)]

    previews = await make_previews(tmp_path, pictures)

    assert previews == [Preview(large.path, 640, 320), None, None]


async def test_a_thumbnail_that_cannot_be_written(tmp_path):
    """Where no thumbnail can be written the picture stands for itself."""
    large = draw(tmp_path)
    (tmp_path / "thumbnails").write_bytes(b"in the way")

    assert await preview(tmp_path, large) == Preview(large.path, 640, 320)


async def test_a_disk_that_fills_up(tmp_path, monkeypatch):
    """A thumbnail that did not get onto the disk leaves nothing there."""
    large = draw(tmp_path)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)

    assert await preview(tmp_path, large) == Preview(large.path, 640, 320)
    assert [*(tmp_path / "thumbnails").iterdir()] == []


async def test_cancelled_midway(tmp_path):
    """Cancelled, it leaves whole thumbnails or none."""
    pictures = [draw(tmp_path, f"{number}.png", 800, 800, "png") for number in range(12)]
    making = asyncio.ensure_future(make_previews(tmp_path, pictures))
    while not (tmp_path / "thumbnails").exists():
        await asyncio.sleep(0)

    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making

    left = [*(tmp_path / "thumbnails").iterdir()]
    assert len(left) < len(pictures)
    for path in left:
        opened(tmp_path, Preview(path.relative_to(tmp_path).as_posix(), 1, 1))


@given(width=st.integers(-5, 10**9), height=st.integers(-5, 10**9))
def test_fitted(width, height):
    """A thumbnail is within its bounds, never larger than its picture, and never nothing."""
    small = fitted(width, height)

    assert all(1 <= edge <= 320 for edge in small)
    if min(width, height) > 0:
        assert small[0] <= width
        assert small[1] <= height


@given(paths=st.sets(st.text(min_size=1), min_size=2, max_size=5))
def test_every_path_has_a_thumbnail_of_its_own(paths):
    """Pictures of different paths never share a thumbnail, and its name is safe everywhere."""
    made = {thumbnail_path(path) for path in paths}

    assert len(made) == len(paths)
    assert all(Path(path).parent.name == "thumbnails" and path.isascii() for path in made)
