"""A byte stream onto the disk, whole or not at all."""

import asyncio
import errno
import os
import string
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import (
    IncompleteDownloadError,
    InvalidRequestError,
    NotAnImageError,
    StorageError,
    _files,
)
from seedream_async.emulator._pictures import render

JPEG = render(640, 480, "jpeg", b"a test")


async def chunks_of(content, size=1000):
    for at in range(0, len(content), size):
        yield content[at : at + size]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


async def test_saves_a_whole_image(tmp_path):
    """The file holds what arrived, and is described by its bytes."""
    saved = await _files.save(chunks_of(JPEG), _files.Place(tmp_path, "cat"))

    assert saved.path == tmp_path / "cat.jpeg"
    assert (saved.bytes, saved.content_type) == (len(JPEG), "image/jpeg")
    assert (saved.width, saved.height) == (640, 480)
    assert saved.path.read_bytes() == JPEG
    assert names(tmp_path) == ["cat.jpeg"]


async def test_large_images_are_written_in_pieces(tmp_path):
    """An image of several pieces arrives as one file."""
    padded = JPEG[:2] + b"\xff\xfe\xff\xff" + bytes(0xFFFD)
    content = padded + b"\xff\xfe\xff\xff".join([b""] + [bytes(0xFFFD)] * 12) + JPEG[2:]

    saved = await _files.save(chunks_of(content, 100_000), _files.Place(tmp_path, "cat"))

    assert saved.path.read_bytes() == content
    assert len(content) > 3 * _files.PIECE


@pytest.mark.parametrize(
    ("content", "error"),
    [
        pytest.param(b"", NotAnImageError, id="nothing"),
        pytest.param(b"<html>", NotAnImageError, id="a page"),
        pytest.param(JPEG[:-10], IncompleteDownloadError, id="cut"),
    ],
)
async def test_anything_else_leaves_nothing(tmp_path, content, error):
    """What is no whole image never gets a name."""
    with pytest.raises(error):
        await _files.save(chunks_of(content), _files.Place(tmp_path, "cat", ".jpeg"))

    assert names(tmp_path) == []


async def test_a_failing_source_leaves_nothing(tmp_path):
    """An error of the source passes, and the part file goes."""

    async def broken():
        yield JPEG[:500]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await _files.save(broken(), _files.Place(tmp_path, "cat"))

    assert names(tmp_path) == []


@pytest.mark.parametrize("place", [("cat", None), ("cat", ".jpeg")], ids=["folder", "file"])
async def test_cancelled_anywhere_leaves_nothing(tmp_path, place):
    """After a cancellation there is neither a part nor a file."""
    waiting = asyncio.Event()

    async def stalled():
        yield JPEG[: _files.PIECE // 2] * 100
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(_files.save(stalled(), _files.Place(tmp_path, *place)))
    await waiting.wait()
    assert len(names(tmp_path)) == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert names(tmp_path) == []


async def test_existing_file_is_not_overwritten(tmp_path):
    """Somebody else's file stays, also if it appeared meanwhile."""
    (tmp_path / "cat.jpeg").write_text("mine")

    with pytest.raises(StorageError, match="File exists"):
        await _files.save(chunks_of(JPEG), _files.Place(tmp_path, "cat", ".jpeg"))

    assert (tmp_path / "cat.jpeg").read_text() == "mine"
    assert names(tmp_path) == ["cat.jpeg"]


async def test_overwrite_replaces(tmp_path):
    """On request the old file gives way in one step."""
    (tmp_path / "cat.jpeg").write_text("old")

    await _files.save(chunks_of(JPEG), _files.Place(tmp_path, "cat", ".jpeg", overwrite=True))

    assert (tmp_path / "cat.jpeg").read_bytes() == JPEG


async def test_taken_names_are_numbered(tmp_path):
    """In a folder, equal names get numbers."""
    place = _files.Place(tmp_path, "cat")

    await asyncio.gather(*(_files.save(chunks_of(JPEG), place) for _ in range(3)))

    assert names(tmp_path) == ["cat.jpeg", "cat_1.jpeg", "cat_2.jpeg"]


def save_many(folder):
    async def main():
        place = _files.Place(Path(folder), "cat")
        await asyncio.gather(*(_files.save(chunks_of(JPEG), place) for _ in range(20)))

    asyncio.run(main())


def test_two_processes_share_a_folder(tmp_path):
    """No process overwrites what another has saved."""
    with ProcessPoolExecutor(2) as pool:
        list(pool.map(save_many, [str(tmp_path)] * 2))

    assert len(names(tmp_path)) == 40
    assert all(path.read_bytes() == JPEG for path in tmp_path.iterdir())


async def test_file_systems_without_links(tmp_path, monkeypatch):
    """Where there are no hard links, the name is reserved and then filled."""

    def refuse(self, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    (tmp_path / "cat.jpeg").write_text("mine")

    saved = await _files.save(chunks_of(JPEG), _files.Place(tmp_path, "cat"))

    assert saved.path == tmp_path / "cat_1.jpeg"
    assert names(tmp_path) == ["cat.jpeg", "cat_1.jpeg"]


@pytest.mark.parametrize("step", ["write", "fsync", "link"])
async def test_trouble_with_the_disk(tmp_path, monkeypatch, step):
    """Whatever step fails, the error is ours, and nothing is left."""

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    target = {
        "write": (_files._PartFile, "write"),
        "fsync": (os, "fsync"),
        "link": (Path, "hardlink_to"),
    }[step]
    monkeypatch.setattr(*target, full)

    with pytest.raises(StorageError, match="No space left on device") as excinfo:
        await _files.save(chunks_of(JPEG), _files.Place(tmp_path, "cat"))

    assert str(tmp_path) in str(excinfo.value)
    assert names(tmp_path) == []


async def test_cancelled_thread_is_awaited():
    """Nothing that a thread does happens after the cancellation was raised."""
    started, go, done = threading.Event(), threading.Event(), []

    def work():
        started.set()
        go.wait(10)
        done.append(True)

    task = asyncio.create_task(_files.in_thread(work))
    await asyncio.to_thread(started.wait, 10)
    task.cancel()
    asyncio.get_running_loop().call_soon(go.set)
    with pytest.raises(asyncio.CancelledError):
        await task

    assert done == [True]


async def test_a_thread_is_awaited_however_often_it_is_cancelled():
    """A second cancellation does not leave the thread behind either."""
    started, go, done = threading.Event(), threading.Event(), []

    def work():
        started.set()
        go.wait(10)
        done.append(True)
        raise LookupError

    task = asyncio.create_task(_files.in_thread(work))
    await asyncio.to_thread(started.wait, 10)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert done == [True]


async def test_a_disk_that_takes_a_part_is_written_to_again(tmp_path, monkeypatch):
    """A short write is no whole one: the rest follows."""
    opened = Path.open

    class Miser:
        def __init__(self, file):
            self.file = file

        def write(self, piece):
            return self.file.write(piece[:1000])

        def __getattr__(self, name):
            return getattr(self.file, name)

    monkeypatch.setattr(Path, "open", lambda *args, **kwargs: Miser(opened(*args, **kwargs)))

    saved = await _files.save(chunks_of(JPEG), _files.Place(tmp_path, "cat"))

    monkeypatch.undo()
    assert saved.path.read_bytes() == JPEG


@pytest.mark.parametrize(
    ("path", "stem", "suffix"),
    [
        pytest.param("out/cat.jpeg", "cat", ".jpeg", id="file"),
        pytest.param("out/cat.tar/", "", None, id="slash"),
        pytest.param("out/cats", "", None, id="no suffix"),
        pytest.param("v1.2", "", None, id="existing folder"),
    ],
)
def test_files_and_folders_are_told_apart(tmp_path, monkeypatch, path, stem, suffix):
    """A path with a suffix is a file, unless it is a folder already; folders are made."""
    monkeypatch.chdir(tmp_path)
    Path("v1.2").mkdir()

    place = _files.open_place(path, field="path")

    assert (place.stem, place.suffix) == (stem, suffix)
    assert place.folder.is_dir()


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        pytest.param("taken.jpeg/", "is a file, not a folder", id="file as folder"),
        pytest.param("taken.jpeg/x.png", "is a file, not a folder", id="file as parent"),
        pytest.param("taken.jpeg", "exists already", id="taken"),
        pytest.param("a\0b.png", "null", id="null"),
        pytest.param("\ud83d.png", "path is no path", id="surrogate"),
        pytest.param(7, "path is no path", id="number"),
    ],
)
def test_bad_places_are_refused(tmp_path, monkeypatch, path, problem):
    """Before anything is sent, a place that cannot be is refused."""
    monkeypatch.chdir(tmp_path)
    Path("taken.jpeg").touch()

    with pytest.raises(InvalidRequestError, match=problem) as excinfo:
        _files.open_place(path, field="path")

    assert excinfo.value.field == "path"


def test_unwritable_folder(tmp_path, monkeypatch):
    """A folder that may not be written to is an error of the disk."""
    monkeypatch.setattr(os, "access", lambda *_: False)

    with pytest.raises(StorageError, match="Permission denied"):
        _files.open_place(tmp_path, field="path")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cat", "cat"),
        ("a b/c", "a-b-c"),
        ("../../etc/passwd", "etc-passwd"),
        ("con", "image-con"),
        ("COM1.x", "image-COM1.x"),
        ("", "image-"),
        ("猫", "image-"),
    ],
)
def test_names_are_safe(text, name):
    """Neither separators nor device names nor anything exotic."""
    assert _files.safe_name(text) == name


@given(st.text())
def test_any_name_is_safe(text):
    """Whatever the text, the name is short, plain and never hidden."""
    name = _files.safe_name(text)

    assert 0 < len(name) <= 90
    assert not set(name) - set(string.ascii_letters + string.digits + "._-")
    assert not name.startswith(".")


def test_images_of_a_group_are_numbered():
    """One image has the name alone; several share it with numbers from 1."""
    place = _files.Place(Path(), "cat")

    assert place.nth(0, 1) is place
    assert [place.nth(number, 2).stem for number in range(2)] == ["cat-1", "cat-2"]
    assert place.named("dog") is place
    assert _files.Place(Path()).named("a dog").stem == "a-dog"
