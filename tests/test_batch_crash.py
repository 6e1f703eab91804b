"""Ledgers after kills, torn journals, lying disks and full ones: nothing noted is lost unsaid."""

import os
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys

import pytest

from seedream_async import InvalidRequestError, StorageError
from seedream_async.batch import Ledger
from seedream_async.batch._entries import File, Link, Plan, Recovery

ROWS = 40
# What a row may be of which a mark was the last that was acknowledged.
AT_LEAST = {
    "sent": {"unknown", "paid", "saved"},
    "paid": {"paid", "saved"},
    "saved": {"saved"},
}
# Prints each mark once its await has returned; ends only when it is killed, or at the end.
CHILD = """
import asyncio, os, sys
from seedream_async.batch import Ledger
from seedream_async.batch._entries import File, Link, Plan

def tell(*words):
    os.write(1, (" ".join(map(str, words)) + "\\n").encode())

async def work(ledger, rows):
    for number in rows:
        await ledger.sent(number)
        tell(number, "sent")
        await ledger.paid(number, [Link(url=f"https://store.example.test/{number}")])
        tell(number, "paid")
        await ledger.saved(number, [File(path=f"{number}.jpeg", bytes=number)])
        tell(number, "saved")

async def main():
    async with Ledger.open(sys.argv[1]) as ledger:
        await ledger.begin({}, "a")
        known = await ledger.plan([Plan(b"%d" % n, n) for n in range(1, int(sys.argv[2]) + 1)])
        tell("planned")
        rows = iter([row.number for row in known if row.state == "planned"])
        await asyncio.gather(*(work(ledger, rows) for _ in range(8)))

asyncio.run(main())
"""


def start(path, rows=ROWS, limit=None):
    """A process that works on the ledger at *path*; *limit* is of bytes in a file."""
    preface = ""
    if limit:
        preface = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit},) * 2)\n"
    command = [sys.executable, "-c", preface + CHILD, str(path), str(rows)]
    return subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def kill_after(process, count):
    """Kill *process* once it has told *count* things; returns the last mark told of each row."""
    told = b""
    while told.count(b"\n") < count:
        assert select.select([process.stdout], [], [], 30)[0]
        piece = os.read(process.stdout.fileno(), 4096)
        if not piece:
            break
        told += piece
    process.send_signal(signal.SIGKILL)
    rest, _ = process.communicate(timeout=30)
    lines = (told.decode() + rest).splitlines()
    return dict(line.split() for line in lines if " " in line)


def journal_of(path):
    return path.with_name(f"{path.name}-wal")


def length_of(path):
    return path.stat().st_size


def intact(path):
    with sqlite3.connect(path) as connection:
        (answer,) = connection.execute("PRAGMA integrity_check").fetchone()
    connection.close()
    return answer == "ok"


async def states_of(path):
    async with Ledger.open(path) as ledger:
        return {e.number: e.state async for e in ledger.entries()}, ledger.recovery


async def test_kills_at_random_moments(tmp_path):
    """After any kill, each row is at least as far as the last mark that was acknowledged."""
    path = tmp_path / "ledger.db"
    chance = random.Random(7)
    rows, all_done = 0, False
    for _ in range(10):
        rows += ROWS
        marks = kill_after(start(path, rows), chance.randrange(1, 3 * ROWS))
        states, recovery = await states_of(path)

        assert recovery.lost == 0
        assert recovery.interrupted <= 8
        for number, mark in marks.items():
            assert states[int(number)] in AT_LEAST[mark]
        all_done = all_done or "saved" in states.values()

    assert all_done
    assert intact(path)
    assert list(states) == list(range(1, len(states) + 1))


async def test_the_lock_ends_with_its_holder(tmp_path):
    """A killed process leaves no lock; a living one is named."""
    path = tmp_path / "ledger.db"
    process = start(path, rows=3000)
    assert process.stdout.readline() == "planned\n"

    with pytest.raises(InvalidRequestError, match=f"in use by process {process.pid}; wait until"):
        async with Ledger.open(path):
            pass
    process.kill()
    process.communicate(timeout=30)

    states, _ = await states_of(path)
    assert len(states) == 3000


# A power cut


async def leave_open(path, folder, marks=30):
    """
    Copy the ledger to *folder* after each of some commits, as a power cut would leave it.

    Returns what each row was after each commit.
    """
    folder.mkdir()
    history = []
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, "a")
        await ledger.plan([Plan(b"%d" % n, n, f"id-{n}") for n in range(1, 11)])
        for step in range(marks):
            number = step // 3 + 1
            match step % 3:
                case 0:
                    await ledger.sent(number)
                case 1:
                    await ledger.paid(number, [Link(url="https://store.example.test/x")])
                case 2:
                    await ledger.saved(number, [File(path=f"{number}.jpeg", bytes=number)])
            history.append({e.number: e.state async for e in ledger.entries()})
        for name in ("ledger.db", "ledger.db-wal", "ledger.db.lock"):
            shutil.copy(path.parent / name, folder / name)
    return history


def possible(states, history):
    """Whether *states* are those after some commit, but for what is told as unknown."""
    return any(
        all(
            state == before[number]
            or (state == "unknown" and before[number] in ("sent", "planned"))
            for number, state in states.items()
        )
        for before in [dict.fromkeys(range(1, 11), "planned"), *history]
    )


async def test_a_torn_journal(tmp_path):
    """Cut anywhere, the journal gives some moment of the past, says so, and nothing too much."""
    history = await leave_open(tmp_path / "ledger.db", tmp_path / "left")
    left = tmp_path / "left" / "ledger.db"
    size = length_of(journal_of(left))
    chance = random.Random(11)
    lengths = [0, size, *(chance.randrange(size) for _ in range(25))]
    losses = []

    for number, length in enumerate(lengths):
        copy = tmp_path / f"{number}" / "ledger.db"
        shutil.copytree(left.parent, copy.parent)
        os.truncate(journal_of(copy), length)
        states, recovery = await states_of(copy)

        assert possible(states, history)
        assert intact(copy)
        if recovery.lost:
            assert "planned" not in states.values()
            assert recovery.doubted + recovery.interrupted == list(states.values()).count("unknown")
        else:
            assert states == history[-1]
        losses.append(recovery.lost)

    assert losses[0] > 0
    assert losses[1] == 0


@pytest.mark.parametrize("damage", ["bytes", "garbage at the end"])
async def test_a_spoilt_journal(tmp_path, damage):
    """Bytes that changed end what is believed of the journal; what follows it is ignored."""
    history = await leave_open(tmp_path / "ledger.db", tmp_path / "left")
    left = tmp_path / "left" / "ledger.db"
    size = length_of(journal_of(left))
    at = size // 2 if damage == "bytes" else size
    content = journal_of(left).read_bytes()
    journal_of(left).write_bytes(content[:at] + b"\x55" * 3000 + content[at + 3000 :])

    states, recovery = await states_of(left)

    assert possible(states, history)
    assert (recovery.lost > 0) is (damage == "bytes")


async def test_a_journal_that_is_gone(tmp_path):
    """Without its journal, whatever seems planned may have been sent, until that is settled."""
    path = tmp_path / "ledger.db"
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, "a")
        await ledger.plan([Plan(b"1", 1)])
    await leave_open_at(path, tmp_path / "left")
    left = tmp_path / "left" / "ledger.db"
    journal_of(left).unlink()

    async with Ledger.open(left) as ledger:
        recovery = ledger.recovery
        known = await ledger.plan([Plan(b"1", 1), Plan(b"2", 2)])
        message = await anext(entry.message async for entry in ledger.entries())
    states, again = await states_of(left)

    assert (recovery.lost, recovery.doubted) == (2, 1)
    assert [row.state for row in known] == ["unknown", "unknown"]
    assert "may have been sent" in message
    assert set(states.values()) == {"unknown"}
    assert again == Recovery()


async def leave_open_at(path, folder):
    """Plan and send another row, and copy the ledger while it is open."""
    async with Ledger.open(path) as ledger:
        await ledger.plan([Plan(b"2", 2)])
        await ledger.sent(2)
        shutil.copytree(path.parent, folder)


async def test_a_loss_is_told_until_it_was_settled(tmp_path):
    """A run that is killed before it ends does not make a loss forgotten."""
    path = tmp_path / "ledger.db"
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, "a")
        await ledger.plan([Plan(b"1", 1)])
    await leave_open_at(path, tmp_path / "left")
    left = tmp_path / "left" / "ledger.db"
    journal_of(left).unlink()
    async with Ledger.open(left) as ledger:
        first = ledger.recovery
        shutil.copytree(left.parent, tmp_path / "killed")

    _, second = await states_of(tmp_path / "killed" / "ledger.db")

    assert first.lost == 2
    assert second.lost > 0


async def test_a_ledger_that_was_cut_to_nothing(tmp_path):
    """An empty file where there had been a ledger is a loss, a missing one is a new beginning."""
    path = tmp_path / "ledger.db"
    for _ in range(2):
        async with Ledger.open(path) as ledger:
            await ledger.begin({}, "a")
            await ledger.plan([Plan(b"1", 1)])
            recovery = ledger.recovery
        path.unlink()
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, "a")
        await ledger.plan([Plan(b"1", 1)])
    path.write_bytes(b"")

    async with Ledger.open(path) as ledger:
        lost = ledger.recovery
        (known,) = await ledger.plan([Plan(b"1", 1)])

    assert recovery == Recovery()
    assert lost.lost == 2
    assert known.state == "unknown"


async def test_a_ledger_that_was_cut_short(tmp_path):
    """Without its last pages, a ledger either tells a past that was, or that it is damaged."""
    history = await leave_open(tmp_path / "ledger.db", tmp_path / "left")
    left = tmp_path / "left" / "ledger.db"
    shutil.copytree(tmp_path / "left", tmp_path / "whole")
    connection = sqlite3.connect(tmp_path / "whole" / "ledger.db")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    whole = tmp_path / "whole" / "ledger.db"
    pages = length_of(whole) // 4096
    told = []

    for kept in range(1, pages):
        copy = tmp_path / f"{kept}" / "ledger.db"
        shutil.copytree(whole.parent, copy.parent)
        os.truncate(copy, kept * 4096)
        try:
            states, _ = await states_of(copy)
        except StorageError as exc:
            told.append("is damaged" in str(exc))
        else:
            assert possible(states, history)

    assert left.exists()
    assert told
    assert all(told)


async def test_damage_is_looked_for_after_a_crash(tmp_path):
    """After a run that did not end well, pages are checked that nothing would read for a while."""
    path = tmp_path / "ledger.db"
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, "a")
        await ledger.plan([Plan(b"%d" % n, n) for n in range(1, 2001)])
    content = path.read_bytes()
    path.write_bytes(content[:-4096] + bytes(4096))
    journal_of(path).write_bytes(b"torn")

    with pytest.raises(StorageError, match="is damaged, so what it says cannot be trusted"):
        async with Ledger.open(path):
            pass


# A disk that refuses


async def test_a_disk_that_fills_up(tmp_path):
    """A process that cannot write says so in a clear error, and what it was told stays."""
    path = tmp_path / "ledger.db"
    process = start(path, rows=ROWS)
    process.communicate(timeout=60)
    process = start(path, rows=3000, limit=200_000)

    told, error = process.communicate(timeout=60)

    assert "StorageError: the ledger" in error
    assert "could not be read or written" in error
    states, recovery = await states_of(path)
    assert recovery.lost == 0
    assert list(states.values())[:ROWS] == ["saved"] * ROWS
    assert "planned\n" not in told or len(states) == 3000


async def test_a_witness_that_is_garbage(tmp_path):
    """A lock file that somebody wrote to is no reason to stop."""
    path = tmp_path / "ledger.db"
    async with Ledger.open(path):
        pass
    (tmp_path / "ledger.db.lock").write_bytes(b"\xff\x00 what \xfe")

    assert await states_of(path) == ({}, Recovery())
