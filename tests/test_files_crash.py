"""Files that are whole or absent, whatever system call fails, kills or is cancelled."""

import asyncio
import concurrent.futures
import contextlib
import errno
import itertools
import os
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from seedream_async import StorageError, _files, _partfile, _threads, _writing
from seedream_async.emulator._pictures import render

JPEG = render(640, 480, "jpeg", b"a test")
OLD = b"the old file"
PART = re.compile(r"\.cat\.[0-9]+-[0-9a-f]{8}\.part")
# What a save asks of the system, in order, after which of them the file is there.
KINDS = {
    "new": "open fstat writev writev fsync close link open fsync close unlink",
    "overwrite": "open fstat writev writev fsync close replace open fsync close unlink",
    "no links": "open fstat writev writev fsync close link open close replace open fsync close unlink",
}
STEPS = [
    pytest.param(kind, step, id=f"{kind}: {step}, {name}")
    for kind, names in KINDS.items()
    for step, name in enumerate(names.split())
    if (kind, name) != ("no links", "link")
]


class System:
    """
    Stands in for `os`: calls *hook* with the number and name of each call, before it is made.

    A close comes before its hook, as the descriptor is gone even if closing it fails.
    """

    watched = frozenset(("open", "fstat", "writev", "fsync", "close", "link", "replace", "unlink"))

    def __init__(self, kind, hook=lambda *_: None):
        self.kind, self.hook = kind, hook
        self.calls = []

    def __getattr__(self, name):
        real = getattr(os, name)
        if name not in self.watched:
            return real
        if name == "link" and self.kind == "no links":
            real = self.refuse
        return lambda *args: self.call(name, real, *args)

    def call(self, name, real, *args):
        step = len(self.calls)
        self.calls.append(name)
        if name == "close":
            real(*args)
            return self.hook(step, name)
        self.hook(step, name)
        return real(*args)

    @staticmethod
    def refuse(*_):
        raise OSError(errno.EPERM, "Operation not permitted")


def place_of(folder, kind):
    return _files.Place(Path(folder), "cat", ".jpeg", overwrite=kind == "overwrite")


async def source():
    """An image of two pieces, with pauses."""
    await asyncio.sleep(0)
    yield JPEG[:2] + (b"\xff\xfe\xff\xff" + bytes(0xFFFD)) * 17
    await asyncio.sleep(0)
    yield JPEG[2:]


WHOLE = len(JPEG) + 17 * (4 + 0xFFFD)


def is_whole(path):
    content = path.read_bytes()
    return len(content) == WHOLE and content.endswith(JPEG[2:])


def descriptors():
    """The numbers of all open files, on any system."""

    def is_open(number):
        with contextlib.suppress(OSError):
            return bool(os.fstat(number))
        return False

    return [number for number in range(512) if is_open(number)]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def prepare(folder, kind):
    """What is in the folder before."""
    if kind == "overwrite":
        (folder / "cat.jpeg").write_bytes(OLD)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def assert_untouched(folder, kind):
    if kind == "overwrite":
        assert (folder / "cat.jpeg").read_bytes() == OLD
    assert names(folder) == (["cat.jpeg"] if kind == "overwrite" else [])


async def test_the_steps_of_a_save(tmp_path, monkeypatch, kind):
    """These are all the calls that can fail, so the tests below leave none out."""
    prepare(tmp_path, kind)
    system = System(kind)
    monkeypatch.setattr(_partfile, "os", system)

    await _writing.save(source(), place_of(tmp_path, kind))

    assert " ".join(system.calls) == KINDS[kind]
    assert is_whole(tmp_path / "cat.jpeg")


# Failing


def is_harmless(kind, step):
    """Whether the image is saved all the same: only a folder is to be closed, or a part to go."""
    return step >= len(KINDS[kind].split()) - 2


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
@pytest.mark.parametrize(("kind", "step"), STEPS)
async def test_a_failing_step(tmp_path, monkeypatch, kind, step, number):
    """Whatever fails, the error is ours, nothing is left that was not there, and nothing open."""
    prepare(tmp_path, kind)

    def fail(at, name):
        if at == step:
            raise OSError(number, os.strerror(number))

    system = System(kind, fail)
    monkeypatch.setattr(_partfile, "os", system)
    before = descriptors()
    outcome = None

    try:
        await _writing.save(source(), place_of(tmp_path, kind))
    except StorageError as error:
        outcome = error

    assert descriptors() == before
    if is_harmless(kind, step):
        assert outcome is None
        assert is_whole(tmp_path / "cat.jpeg")
        return
    assert outcome.errno == number
    if kind == "overwrite" and "replace" in system.calls[:step]:
        assert is_whole(tmp_path / "cat.jpeg")
        assert names(tmp_path) == ["cat.jpeg"]
    else:
        assert_untouched(tmp_path, kind)


@pytest.mark.parametrize(("kind", "step"), STEPS)
async def test_a_failing_step_of_many(tmp_path, monkeypatch, kind, step):
    """If all fails from some step on, the first trouble is told, and the target is whole or absent."""
    prepare(tmp_path, kind)

    def fail(at, name):
        if at >= step:
            raise OSError(errno.EIO if at == step else errno.ENOENT, "trouble")

    monkeypatch.setattr(_partfile, "os", System(kind, fail))
    outcome = None

    try:
        await _writing.save(source(), place_of(tmp_path, kind))
    except StorageError as error:
        outcome = error

    assert (outcome is None) == is_harmless(kind, step)
    assert outcome is None or outcome.errno == errno.EIO
    for path in tmp_path.iterdir():
        assert PART.fullmatch(path.name) or path.read_bytes() in (b"", OLD) or is_whole(path)


async def test_somebody_elses_file_is_not_undone(tmp_path, monkeypatch):
    """If the name was taken over before the save failed, it is not removed."""

    def fail(folder):
        (tmp_path / "theirs").write_text("theirs")
        (tmp_path / "theirs").replace(tmp_path / "cat.jpeg")
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(_partfile, "sync_folder", fail)

    with pytest.raises(StorageError, match="Input/output error"):
        await _writing.save(source(), place_of(tmp_path, "new"))

    assert names(tmp_path) == ["cat.jpeg"]
    assert (tmp_path / "cat.jpeg").read_text() == "theirs"


# Cancelling


@pytest.mark.parametrize("again", [False, True], ids=["once", "and at each step of the clean-up"])
@pytest.mark.parametrize(("kind", "step"), STEPS)
async def test_cancelled_in_a_step(tmp_path, monkeypatch, kind, step, again):
    """A cancellation while a thread is at work leaves nothing: no file, no thread, nothing open."""
    prepare(tmp_path, kind)
    loop, pool = asyncio.get_running_loop(), ThreadPoolExecutor(2)
    monkeypatch.setattr(_threads, "_pool", lambda _: pool)
    before = descriptors()

    def cancel(at, name):
        if at == step or (again and at > step):
            cancelled = threading.Event()
            loop.call_soon_threadsafe(task.cancel)
            loop.call_soon_threadsafe(cancelled.set)
            assert cancelled.wait(30)

    system = System(kind, cancel)
    monkeypatch.setattr(_partfile, "os", system)
    task = asyncio.create_task(_writing.save(source(), place_of(tmp_path, kind)))

    with pytest.raises(asyncio.CancelledError):
        await task

    calls = len(system.calls)
    assert descriptors() == before
    pool.shutdown()
    assert len(system.calls) == calls
    if kind == "overwrite" and "replace" in system.calls:
        assert is_whole(tmp_path / "cat.jpeg")
        assert names(tmp_path) == ["cat.jpeg"]
    else:
        assert_untouched(tmp_path, kind)


class Recorder(ThreadPoolExecutor):
    """Threads that can be waited for."""

    def submit(self, *args, **kwargs):
        self.last = super().submit(*args, **kwargs)
        return self.last

    last = None


async def cancelled_after(steps, pool, work):
    """Whether *work* still ran after so many turns of the loop, and was cancelled."""
    task = asyncio.create_task(work)
    for _ in range(steps):
        await asyncio.sleep(0)
        # So that a turn is the same each time, however fast the threads.
        concurrent.futures.wait([pool.last] if pool.last else [])
    task.cancel()
    await asyncio.wait([task])
    return task.cancelled()


async def test_cancelled_at_every_await(tmp_path, monkeypatch, kind):
    """However many turns of the loop a save has had, a cancellation leaves nothing."""
    before, steps = descriptors(), 0
    for steps in itertools.count():
        folder = tmp_path / str(steps)
        folder.mkdir()
        prepare(folder, kind)
        with Recorder(2) as pool:
            monkeypatch.setattr(_threads, "_pool", lambda _, pool=pool: pool)
            cancelled = await cancelled_after(
                steps, pool, _writing.save(source(), place_of(folder, kind))
            )
        if not cancelled:
            break
        if kind == "overwrite" and is_whole(folder / "cat.jpeg"):
            assert names(folder) == ["cat.jpeg"]
        else:
            assert_untouched(folder, kind)

    assert steps > 10
    assert is_whole(folder / "cat.jpeg")
    assert len(descriptors()) == len(before)


# Killing


def start(*arguments):
    """Run one of the functions at the end of this file in a process of its own."""
    return subprocess.Popen(  # noqa: S603
        [sys.executable, __file__, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("kind", "step"),
    [case for case in STEPS if case.values[0] == "new" or case.values[1] > 5],  # or it is the same
)
def test_killed_before_a_step(tmp_path, kind, step):
    """A process killed at any point leaves the target whole or absent, beside at most a part."""
    prepare(tmp_path, kind)

    with start("die", tmp_path, kind, step) as process:
        code = process.wait(120)

    target = tmp_path / "cat.jpeg"
    parts = [path for path in tmp_path.iterdir() if path != target]
    done = KINDS[kind].split()[:step]
    published = "replace" in done or (kind == "new" and "link" in done)
    assert code == -signal.SIGKILL
    assert all(PART.fullmatch(path.name) for path in parts)
    assert len(parts) == (0 if "replace" in done else min(step, 1))
    if published:
        assert is_whole(target)
    elif kind == "overwrite":
        assert target.read_bytes() == OLD
    elif kind == "no links" and done.count("open") == 2:
        # Only here, between two calls, a name without a link to give it is reserved.
        assert target.read_bytes() == b""
    else:
        assert not target.exists()


def test_killed_in_the_middle_of_many(tmp_path):
    """A process killed while it saves several files leaves whole files and parts, nothing else."""
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()

        with start("loop", folder) as process:
            told = [process.stdout.readline().strip() for _ in range(1 + 3 * number)]
            process.kill()

        whole = [path for path in folder.iterdir() if not PART.fullmatch(path.name)]
        assert set(told) <= {str(path) for path in whole}
        assert all(is_whole(path) for path in whole)


def test_processes_share_a_folder(tmp_path):
    """Of 200 files of one name, saved by four processes at once, none overwrites another."""
    processes = [start("share", tmp_path, number) for number in range(4)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"

    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()

    saved = [line for process in processes for line in process.communicate(timeout=120)[0].split()]
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(set(saved)) == 200
    assert sorted(saved) == sorted(str(path) for path in tmp_path.iterdir())
    assert contents == {own_image(process, number) for process in range(4) for number in range(50)}


def own_image(process, number):
    """An image that no other is equal to."""
    return JPEG[:2] + b"\xff\xfe\x00\x04" + bytes((process, number)) + JPEG[2:]


# What runs in those processes


def die(folder, kind, step):
    def kill(at, name):
        if at == int(step):
            os.kill(os.getpid(), signal.SIGKILL)

    _partfile.os = System(kind, kill)
    asyncio.run(_writing.save(source(), place_of(folder, kind)))


def loop(folder):
    async def save_ever():
        while True:
            saved = await _writing.save(source(), _files.Place(Path(folder), "cat"))
            print(saved.path, flush=True)  # noqa: T201

    async def main():
        await asyncio.gather(*(save_ever() for _ in range(4)))

    asyncio.run(main())


def share(folder, process):
    async def content(number):
        yield own_image(int(process), number)

    async def main():
        place = _files.Place(Path(folder), "cat")
        return await asyncio.gather(*(_writing.save(content(n), place) for n in range(50)))

    print("ready", flush=True)  # noqa: T201
    sys.stdin.readline()
    for saved in asyncio.run(main()):
        print(saved.path)  # noqa: T201


if __name__ == "__main__":
    {"die": die, "loop": loop, "share": share}[sys.argv[1]](*sys.argv[2:])
