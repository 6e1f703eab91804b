"""
What the ledger of a batch costs: room, memory, resuming, and marks per second beside its peers.

The peers note the same marks: SQLite with one commit each, and JSONL synced after each line or
after each group. Run it with `python benchmarks/ledger.py`, or `--quick` to see that it works.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from arena import CPU, PEAK, RATE, Contender, Contest, Run, Take, extra, main

from seedream_async.batch import Ledger
from seedream_async.batch._entries import File, Link, Plan

LINK = "https://ark-content-generation.tos-cn-beijing.volces.com/doubao/" + "x" * 320
WIDTH = 256  # rows in flight


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 2**20


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


async def bring(ledger: Ledger, rows: int) -> None:
    """Bring the first *rows* from planned to saved."""
    numbers = iter(range(1, rows + 1))

    async def work() -> None:
        for number in numbers:
            await ledger.sent(number)
            link = Link(url=f"{LINK}{number}", expires=1.8e9)
            await ledger.paid(number, [link], request_id=f"{number:032}", cost=0.035)
            await ledger.saved(number, [file_of(number)])

    await asyncio.gather(*(work() for _ in range(WIDTH)))


# the marks of some rows, beside peers


async def ours(run: Run) -> None:
    rows = run.options["rows"]
    async with Ledger.open(run.folder / "ours.db") as ledger:
        await plan(ledger, rows)
        with run.measured(units=3 * rows):
            await bring(ledger, rows)


def one_commit_each(run: Run) -> None:
    rows = run.options["rows"]
    connection = sqlite3.connect(run.folder / "each.db", isolation_level=None)
    connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;")
    connection.execute("CREATE TABLE job (number INTEGER PRIMARY KEY, state TEXT, facts TEXT)")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO job VALUES (?, 'planned', '')", [(n,) for n in range(rows)])
    connection.execute("COMMIT")
    with run.measured(units=3 * rows):
        for number in range(rows):
            for state, facts in (("sent", ""), ("paid", LINK), ("saved", "row.jpeg")):
                connection.execute(
                    "UPDATE job SET state = ?, facts = ? WHERE number = ?", (state, facts, number)
                )
    connection.close()


def jsonl(run: Run) -> None:
    """A line for each mark, synced after each *group* of them."""
    rows, group = run.options["rows"], run.options["group"]
    with (run.folder / "peer.jsonl").open("wb") as file, run.measured(units=3 * rows):
        for mark in range(3 * rows):
            state = ("sent", "paid", "saved")[mark % 3]
            facts = {"number": mark // 3, "state": state, "link": LINK if state == "paid" else None}
            file.write(json.dumps(facts).encode() + b"\n")
            if mark % group == 0:
                file.flush()
                os.fsync(file.fileno())


# a ledger of many rows


@contextlib.contextmanager
def timed(take: Take, label: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    take.extras[label] = time.perf_counter() - started


async def grow(run: Run) -> None:
    """A life of a large ledger: planned, planned again, resumed, run, and resumed."""
    with run.measured(units=run.options["rows"]) as take:
        await be_planned(run, take)
        await be_saved(run, take)
        take.extras["saved, MiB"] = megabytes(run.folder)
        with timed(take, "resume when done"):
            await resume(run, left_over=0)


async def be_planned(run: Run, take: Take) -> None:
    rows = run.options["rows"]
    async with Ledger.open(run.folder / "ledger.db") as ledger:
        await ledger.begin({}, "digest")
        with timed(take, "plan"):
            await plan(ledger, rows)
        with timed(take, "plan again"):
            await plan(ledger, rows)
    with timed(take, "resume"):
        await resume(run, left_over=rows)
    take.extras["planned, MiB"] = megabytes(run.folder)


async def resume(run: Run, *, left_over: int) -> None:
    async with Ledger.open(run.folder / "ledger.db") as ledger:
        await ledger.counts()
        assert await left(ledger) == left_over  # noqa: S101


async def be_saved(run: Run, take: Take) -> None:
    async with Ledger.open(run.folder / "ledger.db") as ledger:
        with timed(take, "run"):
            await bring(ledger, run.options["rows"])
        take.extras["with its journal, MiB"] = megabytes(run.folder)


US, EACH = "Ledger", "SQLite, one commit per mark"


def marks(rows: int) -> Contest:
    return Contest(
        title=f"Marks of {rows:,} rows, {WIDTH} of ours in flight",
        contenders=[
            Contender(EACH, one_commit_each),
            Contender(US, ours, ours=True),
            Contender("JSONL, fsync per mark", jsonl, {"group": 1}),
            Contender(f"JSONL, fsync per {WIDTH} marks", jsonl, {"group": WIDTH}),
        ],
        baseline=EACH,
        metrics=[RATE, CPU],
        options={"rows": rows},
        unit="mark",
        rounds=3,
    )


def life(rows: int) -> Contest:
    seconds = ("plan", "plan again", "resume", "run", "resume when done")
    room = ("planned", "with its journal", "saved")
    return Contest(
        title=f"A ledger of {rows:,} rows",
        contenders=[Contender(US, grow, ours=True)],
        baseline=US,
        metrics=[
            *(extra(name, "s") for name in seconds),
            *(extra(name, "MiB", f"{name}, MiB") for name in room),
            PEAK,
        ],
        options={"rows": rows},
        unit="row",
        rounds=1,
        chart=False,
        notes=["run: three marks per row, from planned over sent and paid to saved"],
    )


def contests(quick: bool) -> Sequence[Contest]:
    if quick:
        return [replace(marks(300), rounds=1), life(5_000)]
    return [marks(10_000), life(1_000_000)]


if __name__ == "__main__":
    main(__doc__, contests, title="The ledger of a batch")
