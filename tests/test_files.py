"""A byte stream onto the disk, whole or not at all; what steps can fail is in test_files_crash."""

import asyncio
import contextlib
import errno
import itertools
import math
import os
import stat
import string
import sys
import threading
from concurrent.futures import Executor, Future
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seedream_async import (
    IncompleteDownloadError,
    InvalidRequestError,
    NotAnImageError,
    StorageError,
    _files,
    _partfile,
    _threads,
    _writing,
)
from seedream_async._names import numbers, safe_name
from seedream_async.emulator._pictures import render

JPEG = render(640, 480, "jpeg", b"a test")
DAY = 24 * 3600
# What Windows makes of the first part of a name: a device. The last are superscript digits.
DEVICES = {"CON", "PRN", "AUX", "NUL"} | {
    f"{name}{digit}"
    for name in ("COM", "LPT")
    for digit in "0123456789\N{SUPERSCRIPT ONE}\N{SUPERSCRIPT TWO}\N{SUPERSCRIPT THREE}"
}


async def chunks_of(content, size=1000):
    for at in range(0, len(content), size):
        yield content[at : at + size]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


async def test_saves_a_whole_image(tmp_path):
    """The file holds what arrived, and is described by its bytes."""
    saved = await _writing.save(chunks_of(JPEG), _files.Place(tmp_path, "cat"))

    assert saved.path == tmp_path / "cat.jpeg"
    assert (saved.bytes, saved.content_type) == (len(JPEG), "image/jpeg")
    assert (saved.width, saved.height) == (640, 480)
    assert saved.path.read_bytes() == JPEG
    assert names(tmp_path) == ["cat.jpeg"]


async def test_large_images_are_written_in_pieces(tmp_path):
    """An image of several pieces arrives as one file."""
    padded = JPEG[:2] + b"\xff\xfe\xff\xff" + bytes(0xFFFD)
    content = padded + b"\xff\xfe\xff\xff".join([b""] + [bytes(0xFFFD)] * 50) + JPEG[2:]

    saved = await _writing.save(chunks_of(content, 100_000), _files.Place(tmp_path, "cat"))

    assert saved.path.read_bytes() == content
    assert len(content) > 3 * _writing.PIECE


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
        await _writing.save(chunks_of(content), _files.Place(tmp_path, "cat", ".jpeg"))

    assert names(tmp_path) == []


async def test_a_failing_source_leaves_nothing(tmp_path):
    """An error of the source passes, and the part file goes."""

    async def broken():
        yield JPEG[:500]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await _writing.save(broken(), _files.Place(tmp_path, "cat"))

    assert names(tmp_path) == []


@pytest.mark.parametrize("place", [("cat", None), ("cat", ".jpeg")], ids=["folder", "file"])
async def test_cancelled_anywhere_leaves_nothing(tmp_path, place):
    """After a cancellation there is neither a part nor a file."""
    waiting = asyncio.Event()

    async def stalled():
        yield JPEG.ljust(_writing.PIECE, b"x")
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(_writing.save(stalled(), _files.Place(tmp_path, *place)))
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
        await _writing.save(chunks_of(JPEG), _files.Place(tmp_path, "cat", ".jpeg"))

    assert (tmp_path / "cat.jpeg").read_text() == "mine"
    assert names(tmp_path) == ["cat.jpeg"]


async def test_overwrite_replaces(tmp_path):
    """On request the old file gives way in one step."""
    (tmp_path / "cat.jpeg").write_text("old")

    await _writing.save(chunks_of(JPEG), _files.Place(tmp_path, "cat", ".jpeg", overwrite=True))

    assert (tmp_path / "cat.jpeg").read_bytes() == JPEG


async def test_taken_names_are_numbered(tmp_path):
    """In a folder, equal names get numbers."""
    place = _files.Place(tmp_path, "cat")

    await asyncio.gather(*(_writing.save(chunks_of(JPEG), place) for _ in range(3)))

    assert names(tmp_path) == ["cat.jpeg", "cat_1.jpeg", "cat_2.jpeg"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EINVAL, errno.EMLINK])
async def test_file_systems_without_links(tmp_path, monkeypatch, number):
    """Where there are no hard links, the name is reserved and then filled."""

    def refuse(source, target):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "cat.jpeg").write_text("mine")

    saved = await _writing.save(chunks_of(JPEG), _files.Place(tmp_path, "cat"))

    assert saved.path == tmp_path / "cat_1.jpeg"
    assert names(tmp_path) == ["cat.jpeg", "cat_1.jpeg"]
    assert saved.path.read_bytes() == JPEG


async def test_a_link_whose_answer_was_lost(tmp_path, monkeypatch):
    """A network folder that repeats a link finds that it exists; the image is saved, once."""
    link = os.link

    def link_twice(source, target):
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", link_twice)

    saved = await _writing.save(chunks_of(JPEG), _files.Place(tmp_path, "cat"))

    assert saved.path == tmp_path / "cat.jpeg"
    assert names(tmp_path) == ["cat.jpeg"]


@pytest.mark.parametrize(
    "number",
    [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EACCES, errno.EISDIR],
    ids=errno.errorcode.get,
)
@pytest.mark.parametrize("step", ["open", "fsync"])
async def test_folders_that_cannot_be_synced(tmp_path, monkeypatch, step, number):
    """Where a folder cannot be opened or synced, as on Windows, that is no error."""
    real, folders = getattr(os, step), []

    def refuse(what, *args):
        if what == tmp_path or (step == "fsync" and stat.S_ISDIR(os.fstat(what).st_mode)):
            folders.append(what)
            raise OSError(number, os.strerror(number))
        return real(what, *args)

    monkeypatch.setattr(os, step, refuse)

    saved = await _writing.save(chunks_of(JPEG), _files.Place(tmp_path, "cat"))

    assert saved.path.read_bytes() == JPEG
    assert len(folders) == 1
    assert names(tmp_path) == ["cat.jpeg"]


async def test_trouble_with_the_disk_is_told(tmp_path, monkeypatch):
    """The error names the place, tells that the image is not lost, and is an `OSError` to test."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "writev", full)

    with pytest.raises(StorageError) as excinfo:
        await _writing.save(chunks_of(JPEG), _files.Place(tmp_path, "cat"))

    assert str(excinfo.value) == f"could not write to {tmp_path}: No space left on device"
    assert excinfo.value.errno == errno.ENOSPC
    assert excinfo.value.__notes__ == [
        "the image is not lost: its link or base64 is good, and saving it again costs nothing"
    ]


def test_reading_is_in_nobodys_way(tmp_path):
    """The next piece goes behind what was read, and not behind what a full disk left there."""
    part = _partfile.PartFile(tmp_path, "cat")
    part.write(b"abcdef")

    content = part.read(4)
    part.write(b"EF")

    assert content == b"abcd"
    assert part.read(6) == b"abcdEF"
    part.discard()


async def test_a_taken_name_is_told(tmp_path):
    """When the name was taken meanwhile, the error says which."""
    (tmp_path / "cat.jpeg").touch()

    with pytest.raises(StorageError) as excinfo:
        await _writing.save(chunks_of(JPEG), _files.Place(tmp_path, "cat", ".jpeg"))

    assert str(excinfo.value) == f"could not write to {tmp_path / 'cat.jpeg'}: File exists"


async def test_the_disk_is_the_news(tmp_path, monkeypatch):
    """If the disk fails while bytes arrive, the source is closed, and its trouble is none."""
    closed = []

    async def endless():
        try:
            while True:
                yield JPEG + bytes(_writing.PIECE)
        finally:
            closed.append(True)
            raise ConnectionResetError

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "writev", full)

    with pytest.raises(StorageError, match="No space left"):
        await _writing.save(endless(), _files.Place(tmp_path, "cat"))

    assert closed == [True]
    assert names(tmp_path) == []


async def test_a_disk_that_takes_a_part_is_written_to_again(tmp_path, monkeypatch):
    """A short write is no whole one: the rest follows, from the middle of a chunk or not."""
    write = os.write
    monkeypatch.setattr(os, "writev", lambda file, views: write(file, b"".join(views)[:1500]))

    saved = await _writing.save(chunks_of(JPEG), _files.Place(tmp_path, "cat"))

    assert saved.path.read_bytes() == JPEG


async def test_systems_that_write_one_chunk_at_once(tmp_path, monkeypatch):
    """Windows has no call for several."""
    monkeypatch.delattr(os, "writev")

    saved = await _writing.save(chunks_of(JPEG), _files.Place(tmp_path, "cat"))

    assert saved.path.read_bytes() == JPEG


async def test_an_image_in_very_small_chunks(tmp_path):
    """More chunks than the system takes at once make one file."""
    content = JPEG[:2] + b"\xff\xfe\x10\x00" + bytes(0x0FFE) + JPEG[2:]

    saved = await _writing.save(chunks_of(content, 1), _files.Place(tmp_path, "cat"))

    assert saved.path.read_bytes() == content
    assert len(content) > 3 * _writing._MOST_CHUNKS


@pytest.mark.parametrize(
    ("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)], ids=oct
)
@pytest.mark.parametrize("overwrite", [False, True], ids=["new", "overwrite"])
async def test_the_umask_decides_who_may_read(tmp_path, mask, mode, overwrite):
    """A published file has the rights of any new file, not those of a temporary one."""
    before = os.umask(mask)

    saved = await _writing.save(
        chunks_of(JPEG), _files.Place(tmp_path, "cat", ".jpeg", overwrite=overwrite)
    )

    os.umask(before)
    assert saved.path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("target", ["elsewhere.jpeg", "nowhere.jpeg"], ids=["whole", "dangling"])
async def test_no_link_is_written_through(tmp_path, target):
    """A symbolic link with the name counts as a file with the name, wherever it leads."""
    (tmp_path / "elsewhere.jpeg").write_text("mine")
    (tmp_path / "cat.jpeg").symlink_to(target)

    with pytest.raises(StorageError, match="File exists"):
        await _writing.save(chunks_of(JPEG), _files.Place(tmp_path, "cat", ".jpeg"))
    saved = await _writing.save(chunks_of(JPEG), _files.Place(tmp_path, "cat"))

    assert saved.path.name == "cat_1.jpeg"
    assert (tmp_path / "cat.jpeg").is_symlink()
    assert (tmp_path / "elsewhere.jpeg").read_text() == "mine"
    assert names(tmp_path) == ["cat.jpeg", "cat_1.jpeg", "elsewhere.jpeg"]


@pytest.mark.parametrize("target", ["elsewhere.jpeg", "nowhere.jpeg"], ids=["whole", "dangling"])
async def test_overwriting_replaces_a_link_itself(tmp_path, target):
    """What a symbolic link leads to stays as it is when the link is overwritten."""
    (tmp_path / "elsewhere.jpeg").write_text("mine")
    (tmp_path / "cat.jpeg").symlink_to(target)

    await _writing.save(chunks_of(JPEG), _files.Place(tmp_path, "cat", ".jpeg", overwrite=True))

    assert not (tmp_path / "cat.jpeg").is_symlink()
    assert (tmp_path / "cat.jpeg").read_bytes() == JPEG
    assert (tmp_path / "elsewhere.jpeg").read_text() == "mine"
    assert names(tmp_path) == ["cat.jpeg", "elsewhere.jpeg"]


# Checksums

CRC64 = 0x701601B776C85529  # of JPEG


async def save_announced(content, crc64, folder):
    """Save *content*, of which the store announced *crc64*."""
    async with _writing.writing(_files.Place(folder, "cat")) as file:
        await file.restart(crc64)
        async for chunk in chunks_of(content):
            await file.write(chunk)
        await file.check()
        return await file.publish()


@pytest.mark.parametrize(
    "announced", [pytest.param(CRC64, id="right"), pytest.param(None, id="none")]
)
async def test_a_right_checksum(tmp_path, announced):
    """An image with the checksum that the store announced is kept, as is one without."""
    saved = await save_announced(JPEG, announced, tmp_path)

    assert saved.path.read_bytes() == JPEG


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(JPEG[:300] + b"?" + JPEG[301:], id="image"),
        pytest.param(b"?" + JPEG[1:], id="no image"),
    ],
)
async def test_a_wrong_checksum(tmp_path, content):
    """Bytes that changed on their way are not kept, and worth another attempt."""
    with pytest.raises(IncompleteDownloadError, match="checksums differ") as excinfo:
        await save_announced(content, CRC64, tmp_path)

    assert excinfo.value.retryable
    assert str(CRC64) not in str(excinfo.value)
    assert names(tmp_path) == []


async def test_a_checksum_nobody_announced(tmp_path, monkeypatch):
    """Where there is nothing to compare it with, none is computed."""
    monkeypatch.setattr(_writing, "make_crc64", None)

    saved = await save_announced(JPEG, None, tmp_path)

    assert saved.path.read_bytes() == JPEG


async def test_a_checksum_nobody_can_compute(tmp_path, monkeypatch):
    """Without the library for it, nothing is checked."""
    monkeypatch.setitem(sys.modules, "fastcrc", None)

    saved = await save_announced(JPEG, 7, tmp_path)

    assert saved.path.read_bytes() == JPEG


async def test_a_cut_image_is_worth_another_attempt(tmp_path):
    """A transfer without a length that breaks off looks whole to HTTP: trying again is free."""
    with pytest.raises(IncompleteDownloadError) as excinfo:
        await _writing.save(chunks_of(JPEG[:-10]), _files.Place(tmp_path, "cat"))

    assert excinfo.value.retryable


# Threads


async def test_cancelled_thread_is_awaited():
    """Nothing that a thread does happens after the cancellation was raised."""
    started, go, done = threading.Event(), threading.Event(), []

    def work():
        started.set()
        go.wait(30)
        done.append(True)

    task = asyncio.create_task(_threads.in_thread(work))
    await asyncio.to_thread(started.wait, 30)
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
        go.wait(30)
        done.append(True)
        raise LookupError

    task = asyncio.create_task(_threads.in_thread(work))
    await asyncio.to_thread(started.wait, 30)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert done == [True]


async def test_a_loop_that_ends_waits_for_its_threads():
    """Nothing goes on in a thread when every task that there is was cancelled at once."""
    started, go, done = threading.Event(), threading.Event(), []

    def work():
        started.set()
        go.wait(30)
        done.append(True)

    task = asyncio.create_task(_threads.in_thread(work))
    await asyncio.to_thread(started.wait, 30)
    for other in asyncio.all_tasks() - {asyncio.current_task()}:
        other.cancel()
    asyncio.get_running_loop().call_soon(go.set)
    with pytest.raises(asyncio.CancelledError):
        await task

    assert done == [True]


class Queue(Executor):
    """A pool whose threads are all busy."""

    def __init__(self):
        self.waiting = []

    def submit(self, function, /, *args, **kwargs):
        future = Future()
        self.waiting.append((future, lambda: function(*args, **kwargs)))
        return future


@pytest.mark.parametrize("cancellations", [1, 2])
async def test_what_waits_for_a_thread_is_never_begun(monkeypatch, cancellations):
    """With all threads busy, a cancellation is not held up, and nothing happens later."""
    queue, done = Queue(), []
    monkeypatch.setattr(_threads, "_pool", lambda _: queue)
    task = asyncio.create_task(_threads.in_thread(done.append, True))
    await asyncio.sleep(0)

    for _ in range(cancellations):
        task.cancel()
    await asyncio.wait([task], timeout=30)
    left_at_once = task.cancelled()
    ((future, waiting),) = queue.waiting
    with contextlib.suppress(asyncio.CancelledError):
        waiting()
    future.cancel()  # or a failure of this test would never end

    assert left_at_once
    assert done == []


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


def test_a_folder_that_another_makes_meanwhile(tmp_path, monkeypatch):
    """Downloads that begin together may all make the folder that they are for."""
    folder, look = tmp_path / "new", Path.stat

    def look_as_it_is_made(path, **options):
        try:
            return look(path, **options)
        finally:
            if path == folder:
                os.makedirs(folder, exist_ok=True)  # noqa: PTH103  looks at nothing

    monkeypatch.setattr(Path, "stat", look_as_it_is_made)

    assert _files.open_place(folder / "x.jpeg", field="path").folder == folder


def test_unwritable_folder(tmp_path, monkeypatch):
    """A folder that may not be written to is an error of the disk."""
    monkeypatch.setattr(os, "access", lambda *_: False)

    with pytest.raises(StorageError, match="Permission denied"):
        _files.open_place(tmp_path, field="path")


def test_a_full_disk_is_found_out_first(tmp_path, monkeypatch):
    """A folder that takes no byte is an error before anything is sent, and keeps nothing."""

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)

    with pytest.raises(StorageError, match="No space left on device") as excinfo:
        _files.open_place(tmp_path, field="path")

    assert not hasattr(excinfo.value, "__notes__")
    assert names(tmp_path) == []


def test_a_folder_is_tried_out_once_a_moment(tmp_path, monkeypatch):
    """Many files that go to one folder at once do not try it out each; a moment later one does."""
    times = iter([10.0, 10.9, 11.0])
    trials, try_out = [], _partfile.try_out
    monkeypatch.setattr(_files, "time", SimpleNamespace(monotonic=lambda: next(times)))
    monkeypatch.setattr(
        _partfile, "try_out", lambda folder: trials.append(folder) or try_out(folder)
    )

    counts = []
    for _ in range(3):
        _files.open_place(tmp_path, field="path")
        counts.append(len(trials))

    assert counts == [1, 1, 2]


@pytest.mark.parametrize(
    "path", [f"{'x' * 300}.png", f"new/{'x' * 300}.png", "x" * 300], ids=["file", "new", "folder"]
)
def test_names_that_are_too_long_are_found_out_first(tmp_path, monkeypatch, path):
    """A name that no file can have is an error before anything is sent."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(StorageError, match="File name too long"):
        _files.open_place(path, field="path")


def test_a_folder_behind_a_closed_door(tmp_path, monkeypatch):
    """That one may not even look is an error of the disk like any other."""

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "stat", refuse)

    with pytest.raises(StorageError, match="Permission denied"):
        _files.open_place(tmp_path / "cat.png", field="path")


def test_trying_a_folder_out_leaves_nothing(tmp_path):
    """A folder is as empty after it was opened as before."""
    _files.open_place(tmp_path, field="path")

    assert names(tmp_path) == []


@pytest.mark.parametrize("trouble", [None, errno.EIO], ids=["well", "failing"])
def test_new_folders_survive_a_power_cut(tmp_path, monkeypatch, trouble):
    """Each folder that was made is put on the disk for good, as far as that can be."""
    synced = []

    def sync(folder):
        synced.append(folder)
        if trouble:
            raise OSError(trouble, "Input/output error")

    monkeypatch.setattr(_partfile, "sync_folder", sync)

    _files.open_place(tmp_path / "a" / "b", field="path")
    _files.open_place(tmp_path / "a" / "b", field="path")

    assert sorted(synced) == [tmp_path, tmp_path / "a"]
    assert (tmp_path / "a" / "b").is_dir()


# Sweeping


def leave(path, days):
    """A file that was written to *days* ago."""
    path.write_bytes(b"half")
    at = path.stat().st_mtime - days * DAY
    os.utime(path, (at, at))
    return path


def abandoned_part(folder, stem, monkeypatch):
    """What a process that is killed in mid-save leaves."""
    with monkeypatch.context() as patch:
        patch.setattr(_partfile.PartFile, "discard", _partfile.PartFile._close)
        with pytest.raises(IncompleteDownloadError):
            asyncio.run(_writing.save(chunks_of(JPEG[:-10]), _files.Place(folder, stem)))
    (part,) = folder.iterdir()
    return part


@pytest.mark.parametrize(
    "stem",
    [
        pytest.param("cat", id="plain"),
        pytest.param("a cat's \n 猫", id="exotic"),
        pytest.param("", id="none"),
        pytest.param("." * 60, id="dots"),
        pytest.param("x" * 200, id="long"),
    ],
)
def test_parts_of_the_dead_are_swept(tmp_path, monkeypatch, stem):
    """What a killed process left, whatever it was to be called, is removed two days later."""
    part = leave(abandoned_part(tmp_path, stem, monkeypatch), days=2.1)

    _files.open_place(tmp_path, field="path")

    assert not part.exists()


def test_parts_of_the_living_stay(tmp_path, monkeypatch):
    """A part that was written to within a day may be somebody's: on another machine, say."""
    part = leave(abandoned_part(tmp_path, "cat", monkeypatch), days=0.99)

    _files.open_place(tmp_path, field="path")

    assert part.exists()


@pytest.mark.parametrize(
    "name",
    [
        "cat.jpeg",
        "cat.4711-0a1b2c3d.part",
        ".cat.part",
        ".cat.4711-0a1b2c3d.part~",
        ".cat.4711-0A1B2C3D.part",
        ".cat.4711-0a1b2c3d4e.part",
        ".cat.x-0a1b2c3d.part",
        ".a cat.4711-0a1b2c3d.part",
        ".cat.4711-0a1b2c3d.part.part",
    ],
)
def test_nothing_else_is_swept(tmp_path, name):
    """However old, what does not have the very name that we give stays."""
    file = leave(tmp_path / name, days=4000)

    _files.open_place(tmp_path, field="path")

    assert file.read_bytes() == b"half"


def test_only_files_are_swept(tmp_path):
    """Neither a folder nor a symbolic link is ours, whatever it is called."""
    file = leave(tmp_path / "old.txt", days=4000)
    (tmp_path / ".link.4711-0a1b2c3d.part").symlink_to(file)
    (tmp_path / ".folder.4711-0a1b2c3d.part").mkdir()
    os.utime(tmp_path / ".folder.4711-0a1b2c3d.part", (0, 0))

    _files.open_place(tmp_path, field="path")

    assert len(names(tmp_path)) == 3
    assert file.exists()


def test_a_folder_is_swept_once_a_day(tmp_path, monkeypatch):
    """A folder that is opened for every request is listed for the first only."""
    monkeypatch.setattr(_partfile, "try_out", lambda _: 99_998.0 * DAY)
    scandir, listed = os.scandir, []

    def scan(folder):
        listed.append(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scan)

    monkeypatch.chdir(tmp_path)
    for path in (tmp_path, ".", tmp_path / "cat.png"):
        _files.open_place(path, field="path")
    _partfile.sweep(str(tmp_path), 99_999)

    assert listed == [str(tmp_path)] * 2


def test_sweeping_is_bounded(tmp_path):
    """In a folder that takes too long to list, the rest stays."""
    part = leave(tmp_path / ".cat.4711-0a1b2c3d.part", days=3)

    _partfile.sweep(str(tmp_path), 99_999, 0.0)

    assert part.exists()


def test_sweeping_goes_on(tmp_path, monkeypatch):
    """A part that cannot be removed keeps none of the others."""
    for number in range(3):
        leave(tmp_path / f".cat.4711-0a1b2c3{number}.part", days=3)
    unlink = os.unlink

    def refuse(path):
        if str(path).endswith("0a1b2c31.part"):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        unlink(path)

    monkeypatch.setattr(os, "unlink", refuse)

    _files.open_place(tmp_path, field="path")

    assert names(tmp_path) == [".cat.4711-0a1b2c31.part"]


@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError, OSError])
def test_a_folder_that_cannot_be_listed(tmp_path, monkeypatch, error):
    """A folder that may be written to but not read is good enough."""

    def refuse(_):
        raise error

    monkeypatch.setattr(os, "scandir", refuse)

    assert _files.open_place(tmp_path, field="path").folder == tmp_path


# Names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cat", "cat"),
        ("a b/c", "a-b-c"),
        ("../../etc/passwd", "etc-passwd"),
        ("con", "image-con"),
        ("COM1.x", "image-COM1.x"),
        ("com1²", "image-com1"),
        ("COM²", "COM"),
        ("nul. . ", "image-nul"),
        ("cat...", "cat"),
        ("", "image"),
        ("猫", "image"),
    ],
)
def test_names_are_safe(text, name):
    """Neither separators nor device names nor anything exotic."""
    assert safe_name(text) == name


DEVICE_NAMES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", ".", " ", "x" * 77]),
        st.sampled_from(sorted(DEVICES)).flatmap(
            lambda name: st.sampled_from([name, name.lower()])
        ),
        st.sampled_from(["", ".", " ", ":", ". .", ".png", " .png", ".tar.gz", "$", "-1", "²"]),
    ),
)


@given(text=st.text() | DEVICE_NAMES | st.text('/\\:*?"<>|.-_ aCON\0\n', min_size=1))
@example("x" * 79 + ".." + "y")
def test_any_name_is_safe(text):
    """Whatever the text, every name made of it is one that all systems take, and not hidden."""
    place = _files.Place(Path("folder")).named(text)

    made = [place.stem, place.nth(14, 15).stem]
    made += [path.name for path in itertools.islice(place.targets(".jpeg"), 3)]

    for name in made:
        assert not set(name) - set(string.ascii_letters + string.digits + "._-")
        assert name[0] not in ".-"
        assert name[-1] != "."
        assert name.split(".")[0].upper() not in DEVICES
        assert 0 < len(name.encode()) <= 100


async def test_taken_numbers_are_skipped(tmp_path, monkeypatch):
    """After many equal names, the next takes two attempts, whatever their number."""
    for number in ("", *(f"_{number}" for number in range(1, 40))):
        (tmp_path / f"cat{number}.jpeg").touch()
    link, tried = os.link, []
    monkeypatch.setattr(os, "link", lambda part, to: tried.append(to.name) or link(part, to))

    await _writing.save(chunks_of(JPEG), _files.Place(tmp_path, "cat"))

    assert tried == ["cat.jpeg", "cat_40.jpeg"]


def test_many_equal_names_are_numbered_quickly():
    """The last of many equal names asks for a few numbers only."""
    asked = []

    def taken(number):
        asked.append(number)
        return number <= 100_000

    tried = list(itertools.islice(numbers(taken), 3))

    assert tried == [0, 100_001, 100_002]
    assert len(asked) < 40


@given(st.sets(st.integers(1, 300)))
def test_a_free_number_is_found(taken):
    """Whatever numbers are taken, the first to try after none is free, and its neighbour is not."""
    plain, first = itertools.islice(numbers(taken.__contains__), 2)

    assert plain == 0
    assert first not in taken
    assert first == 1 or first - 1 in taken
    assert first <= 2 ** math.ceil(math.log2(max(taken, default=0) + 1))


def test_images_of_a_group_are_numbered():
    """One image has the name alone; several share it with numbers from 1."""
    place = _files.Place(Path(), "cat")

    assert place.nth(0, 1) is place
    assert [place.nth(number, 2).stem for number in range(2)] == ["cat-1", "cat-2"]
    assert place.named("dog") is place
    assert _files.Place(Path()).named("a dog").stem == "a-dog"
