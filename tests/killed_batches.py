"""
A batch that is killed at random moments and run again, against a service in another process.

For a test, and for the script that does the same at length.
"""

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter

from attrs import field, frozen

from seedream_async.batch import Ledger

WIDTH = 4
MODEL = "doubao-seedream-3-0-t2i-250415"
# Prints where it is; then, for each line that it reads, how often it has billed which prompt.
SERVICE = """
import asyncio, json, sys
from collections import Counter
from seedream_async.emulator import Emulator

async def main():
    loop = asyncio.get_running_loop()
    async with Emulator(latency=float(sys.argv[1]), kept=100_000) as emulator:
        print(emulator.base_url, flush=True)
        while await loop.run_in_executor(None, sys.stdin.readline):
            prompts = [received.json["prompt"] for received in emulator.requests]
            print(json.dumps([emulator.images_billed, Counter(prompts)]), flush=True)

asyncio.run(main())
"""


@frozen
class Service:
    """An emulator in a process of its own, which no kill of a batch concerns."""

    process: subprocess.Popen
    base_url: str

    @classmethod
    @contextlib.contextmanager
    def running(cls, latency):
        command = [sys.executable, "-c", SERVICE, str(latency)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, text=True, **pipes) as process:  # noqa: S603
            try:
                yield cls(process, process.stdout.readline().strip())
            finally:
                process.kill()

    @property
    def environment(self):
        return {**os.environ, "COMETAPI_KEY": "sk-emulator", "COMETAPI_BASE_URL": self.base_url}

    def received(self):
        """How many images are billed by now, and how often each prompt has arrived."""
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        billed, prompts = json.loads(self.process.stdout.readline())
        return billed, Counter(prompts)

    def billed(self):
        """How many images of each prompt the account is charged for: all that has arrived."""
        billed, prompts = self.received()
        while billed != prompts.total():  # what has just arrived is about to be
            billed, prompts = self.received()
        return prompts


@frozen
class Course:
    """What became of a batch over all its kills: entries at the end, bills, and doubts per kill."""

    entries: list
    billed: Counter
    doubts: list = field(factory=list)

    def of(self, *states):
        return [entry for entry in self.entries if entry.state in states]


def write_rows(path, count):
    """*count* rows, some of whose images come as links and some in the answer itself."""
    rows = (
        {"id": f"row-{number}", "prompt": f"picture {number}", "size": "512x512"}
        | ({"response_format": "b64_json"} if number % 4 == 0 else {})
        for number in range(count)
    )
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def start(service, folder, *arguments):
    """The command, in a process that can be killed."""
    command = [sys.executable, "-m", "seedream_async", "batch", str(folder / "rows.jsonl")]
    width = ("--model", MODEL, "--concurrency", str(WIDTH))
    return subprocess.Popen(  # noqa: S603
        [*command, "--out", str(folder / "out"), *width, *arguments],
        env=service.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    """Wait for *process*; its exit code, and all that it said."""
    printed, told = process.communicate(timeout=120)
    return process.returncode, printed, told


def entries_of(folder):
    """What the ledger says, without changing it."""

    async def read():
        async with Ledger.open(folder / "out" / "ledger.sqlite3", readonly=True) as ledger:
            return [entry async for entry in ledger.entries()]

    return asyncio.run(read())


def in_doubt(entries):
    """How many rows a kill has left of which nobody knows whether they are billed or lost."""
    lost = (entry for entry in entries if entry.state == "paid" and not entry.downloadable)
    return sum(entry.state == "sent" for entry in entries) + len([*lost])


def wait_until_it_sends(service, process, before):
    """Wait until *service* has billed more than *before*, or until *process* has ended."""
    while process.poll() is None and service.received()[0] == before:
        time.sleep(0.02)


def killed_batch(service, folder, *, rows, kills, seed, longest):
    """Kill a batch *kills* times, at moments up to *longest* seconds after its start; end it."""
    chance = random.Random(seed)
    write_rows(folder / "rows.jsonl", rows)
    doubts = []
    for number in range(kills):
        before, _ = service.received()
        process = start(service, folder)
        if number % 2:  # or a busy machine would see it killed before it has sent anything
            wait_until_it_sends(service, process, before)
        time.sleep(chance.uniform(0, longest / (1 + number % 2)))
        process.kill()
        finish(process)
        if (folder / "out" / "ledger.sqlite3").exists():
            with contextlib.suppress(ValueError):  # nothing is in it yet
                doubts.append(in_doubt(entries_of(folder)))
    finish(start(service, folder))
    return Course(entries_of(folder), service.billed(), doubts)
