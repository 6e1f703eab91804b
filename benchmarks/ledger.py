"""
What the ledger of a batch costs: room, memory, resuming, and marks per second beside its peers.

The peers note the same marks: SQLite with one commit each, and JSONL synced after each line or
after each group. Run it with `python benchmarks/ledger.py`, or `--quick` for a smoke test.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import resource
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from seedream_async.batch import Ledger
from seedream_async.batch._entries import File, Link, Plan

LINK = "https://ark-content-generation.tos-cn-beijing.volces.com/doubao/" + "x" * 320
WIDTH = 256  # rows in flight


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 2**20


def memory() -> float:
    """The most memory that this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def plan_of(number: int) -> Plan:
    key = hashlib.blake2b(b"%d" % number, digest_size=12).digest()
    return Plan(key, number, f"row-{number:07}")


def file_of(number: int) -> File:
    digest = hashlib.blake2b(b"%d" % number, digest_size=16).digest()
    return File(path=f"row-{number:07}.jpeg", bytes=345_678, digest=digest, width=2048, height=2048)


async def plan(ledger: Ledger, rows: int) -> None:
    for first in range(1, rows + 1, 1000):
        await ledger.plan([plan_of(n) for n in range(first, min(first + 1000, rows + 1))])


async def left(ledger: Ledger) -> int:
    count = 0
    async for _ in ledger.left():
        count += 1
    return count


async def run(ledger: Ledger, rows: int) -> None:
    """Bring the first *rows* from planned to saved."""
    numbers = iter(range(1, rows + 1))

    async def work() -> None:
        for number in numbers:
            await ledger.sent(number)
            link = Link(url=f"{LINK}{number}", expires=1.8e9)
            await ledger.paid(number, [link], request_id=f"{number:032}", cost=0.035)
            await ledger.saved(number, [file_of(number)])

    await asyncio.gather(*(work() for _ in range(WIDTH)))


@asynccontextmanager
async def timed(label: str, count: int) -> AsyncIterator[None]:
    started = time.perf_counter()
    yield
    seconds = time.perf_counter() - started
    print(
        f"{label:44} {seconds:8.2f} s  {count / seconds:10,.0f} /s  {memory():6.0f} MiB of memory"
    )


async def measure_size(folder: Path, rows: int) -> None:
    path = folder / "ledger.db"
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, "digest")
        async with timed(f"plan {rows:,} rows", rows):
            await plan(ledger, rows)
        async with timed("plan them again", rows):
            await plan(ledger, rows)
    async with timed("open, and decide what is left", rows), Ledger.open(path) as ledger:
        await ledger.counts()
        assert await left(ledger) == rows  # noqa: S101
    print(f"{'planned':44} {megabytes(folder):8.1f} MiB")
    async with Ledger.open(path) as ledger:
        async with timed("sent, paid, saved", 3 * rows):
            await run(ledger, rows)
        print(f"{'saved, with its journal':44} {megabytes(folder):8.1f} MiB")
    print(f"{'saved':44} {megabytes(folder):8.1f} MiB")
    async with timed("open, and decide what is left", rows), Ledger.open(path) as ledger:
        await ledger.counts()
        assert await left(ledger) == 0  # noqa: S101


async def ours(folder: Path, rows: int) -> None:
    async with Ledger.open(folder / "peer.db") as ledger:
        await plan(ledger, rows)
        started = time.perf_counter()
        await run(ledger, rows)
        tell("Ledger", 3 * rows, started)


def one_commit_each(folder: Path, rows: int) -> None:
    connection = sqlite3.connect(folder / "each.db", isolation_level=None)
    connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
    connection.execute("CREATE TABLE job (number INTEGER PRIMARY KEY, state TEXT, facts TEXT)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO job VALUES (?, 'planned', '')", [(n,) for n in range(rows)])
    connection.execute("COMMIT")
    started = time.perf_counter()
    for number in range(rows):
        for state, facts in (("sent", ""), ("paid", LINK), ("saved", "row.jpeg")):
            connection.execute(
                "UPDATE job SET state = ?, facts = ? WHERE number = ?", (state, facts, number)
            )
    tell("SQLite, one commit per mark", 3 * rows, started)
    connection.close()


def jsonl(folder: Path, rows: int, group: int) -> None:
    started = time.perf_counter()
    with (folder / "peer.jsonl").open("wb") as file:
        for mark in range(3 * rows):
            state = ("sent", "paid", "saved")[mark % 3]
            facts = {"number": mark // 3, "state": state, "link": LINK if state == "paid" else None}
            file.write(json.dumps(facts).encode() + b"\n")
            if mark % group == 0:
                file.flush()
                os.fsync(file.fileno())
    tell(f"JSONL, fsync per {group if group > 1 else ''} mark", 3 * rows, started)


def tell(label: str, marks: int, started: float) -> None:
    print(f"{label:44} {marks / (time.perf_counter() - started):10,.0f} marks/s")


def in_folder(measure: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    rows = 5_000 if options.quick else options.rows
    marks = 300 if options.quick else 10_000
    in_folder(lambda folder: asyncio.run(measure_size(folder, rows)))
    print(f"\nmarks of {marks:,} rows, {WIDTH} of ours in flight")
    in_folder(lambda folder: asyncio.run(ours(folder, marks)))
    in_folder(lambda folder: one_commit_each(folder, marks))
    in_folder(lambda folder: jsonl(folder, marks, 1))
    in_folder(lambda folder: jsonl(folder, marks, WIDTH))


if __name__ == "__main__":
    main()
