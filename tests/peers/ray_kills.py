"""
What must hold on Ray, whoever is killed: no row is billed twice, and each ends saved or told.

A script, since Ray takes its time: `.ci/ray` runs it, with a folder and what to do as arguments.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

from seedream_async.batch import Ledger

MODEL = "doubao-seedream-3-0-t2i-250415"
ROWS, ACTORS, IN_FLIGHT = 200, 2, 8
MARK = "SEEDREAM_RAY_TEST"  # in the environment of all that a run starts, and of nothing else
WINDOW = 10.0  # seconds
PATIENCE = 240.0  # seconds that anything may take on a busy machine; no scene depends on it
# Prints where it is; then, for each line that it reads, how often it has billed which prompt, and
# the most that it received within a window of time.
SERVICE = """
import asyncio, json, sys
from collections import Counter
from seedream_async.emulator import Emulator

async def main():
    loop = asyncio.get_running_loop()
    seen = []
    async with Emulator(latency=float(sys.argv[1]), kept=100_000) as emulator:
        async def watch():
            while True:
                seen.append((loop.time(), emulator.request_count))
                await asyncio.sleep(0.02)
        watching = asyncio.create_task(watch())
        print(emulator.base_url, flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            if line != "?\\n":
                emulator._making._latency = float(line)
                continue
            prompts = Counter(received.json["prompt"] for received in emulator.requests)
            most = first = 0
            for at, count in seen:
                while seen[first][0] < at - WINDOW:
                    first += 1
                most = max(most, count - seen[first][1])
            print(json.dumps([emulator.images_billed, prompts, most]), flush=True)

asyncio.run(main())
""".replace("WINDOW", str(WINDOW))


class Service:
    """An emulator in a process of its own, which no kill concerns."""

    def __init__(self, process):
        self._process = process
        self.base_url = process.stdout.readline().strip()

    @classmethod
    @contextmanager
    def running(cls, latency=1.0):
        command = [sys.executable, "-c", SERVICE, str(latency)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen(command, text=True, **pipes) as process:  # noqa: S603
            try:
                yield cls(process)
            finally:
                process.kill()

    def received(self):
        """How many images are billed, how often each prompt has come, the most in a window."""
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        billed, prompts, most = json.loads(self._process.stdout.readline())
        return billed, Counter(prompts), most

    def slow(self, seconds):
        """Take so long for an answer from now on."""
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()

    def settled(self):
        """As `received`, when all that has arrived is billed."""
        billed, prompts, most = self.received()
        while billed != prompts.total():
            time.sleep(0.05)
            billed, prompts, most = self.received()
        return prompts, most


class Run:
    """What one test starts: processes that bear its mark, wherever they have gone."""

    def __init__(self, folder, service):
        self.folder = folder
        self.service = service
        self.mark = uuid.uuid4().hex

    @classmethod
    @contextmanager
    def running(cls, folder, service):
        """A run of which nothing is left when the block ends, however it does."""
        run = cls(folder, service)
        try:
            yield run
        finally:
            run.end()

    def start(self, command):
        self.folder.mkdir(exist_ok=True)
        environment = {
            **os.environ,
            MARK: self.mark,
            "COMETAPI_KEY": "sk-emulator",
            "COMETAPI_BASE_URL": self.service.base_url,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        with (self.folder / "log").open("a") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)  # noqa: S603

    def processes(self, name=""):
        """The processes called *name* that bear the mark, the oldest first."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environment = (path / "environ").read_bytes()
                title = (path / "cmdline").read_bytes().partition(b"\0")[0].decode()
                started = int((path / "stat").read_text().rpartition(")")[2].split()[19])
            except OSError:
                continue
            named = title.endswith(name) if name.startswith("/") else name in title
            if named and title and f"{MARK}={self.mark}".encode() in environment:
                found.append((started, int(path.name)))
        return [number for _, number in sorted(found)]

    def kill(self, name):
        """End the youngest process called *name*, when there is one."""
        until = time.monotonic() + PATIENCE
        while not (found := self.processes(name)):
            assert time.monotonic() < until, f"there is no {name}"
            time.sleep(0.05)
        os.kill(found[-1], signal.SIGKILL)

    def end(self):
        """End all that is left, and what that starts meanwhile."""
        while left := self.processes():
            for number in left:
                with suppress(OSError):  # it has ended just now
                    os.kill(number, signal.SIGKILL)
            time.sleep(0.05)

    def wait_until_billed(self, count, process):
        while self.service.received()[0] < count:
            assert process.poll() is None, f"it ended early; see {self.folder / 'log'}"
            time.sleep(0.05)

    def left_behind(self, name=""):
        """What does not end of the processes called *name*, by name."""
        until = time.monotonic() + PATIENCE
        while (left := self.processes(name)) and time.monotonic() < until:
            time.sleep(0.2)
        names = []
        for number in left:
            with suppress(OSError):  # it has ended just now
                names.append(Path(f"/proc/{number}/cmdline").read_bytes())
        return names

    def entries(self, ledger="out/ledger.sqlite3"):
        async def read():
            async with Ledger.open(self.folder / ledger, readonly=True) as opened:
                return [entry async for entry in opened.entries()]

        return asyncio.run(read())


def write_rows(folder, count=ROWS):
    folder.mkdir(parents=True, exist_ok=True)
    rows = ({"id": f"row-{n}", "prompt": f"picture {n}", "size": "512x512"} for n in range(count))
    (folder / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def driver(run, *, nodes=1, images_per_minute=None):
    task = {
        "folder": str(run.folder),
        "nodes": nodes,
        "actors": ACTORS,
        "in_flight": IN_FLIGHT,
        "images_per_minute": images_per_minute,
    }
    script = Path(__file__).with_name("ray_driver.py")
    return [sys.executable, str(script), json.dumps(task)]


def check(run, kills, *, most=None):
    """What must hold at the end; the sum of it in words."""
    entries, (prompts, window) = run.entries(), run.service.settled()
    states = Counter(entry.state for entry in entries)
    assert max(prompts.values()) == 1, prompts.most_common(3)
    assert states.total() == ROWS, states
    assert states.keys() <= {"saved", "failed", "unknown"}, states
    assert states["unknown"] <= kills * ACTORS * IN_FLIGHT, states
    for entry in entries:
        assert entry.state != "saved" or prompts[f"picture {entry.id[4:]}"] == 1
        for image in entry.images:
            assert (run.folder / "out" / image.file.path).stat().st_size == image.file.bytes
    if most is not None:
        assert window <= most, window
    left = run.left_behind()
    assert not left, left
    return f"{dict(states)}, {prompts.total()} billed, most in {WINDOW:.0f} s: {window}"


def kill(folder, *names, nodes=1, images_per_minute=None, most=None):
    """Kill processes of a cluster that is at work: of those of each name, the last one."""
    with Service.running() as service, Run.running(folder, service) as run:
        write_rows(folder)
        process = run.start(driver(run, nodes=nodes, images_per_minute=images_per_minute))
        for number, name in enumerate(names, 1):
            run.wait_until_billed(60 * number, process)
            run.kill(name)
        assert process.wait(PATIENCE) == 0, f"see {folder / 'log'}"
        rows = json.loads((folder / "manifest.json").read_text())
        states = Counter(row["state"] for row in rows)
        assert len(rows) == ROWS, states
        assert states == Counter(entry.state for entry in run.entries()), states
        return check(run, kills=len(names), most=most)


def worker(folder):
    return kill(folder, "MapWorker")


def coordinator(folder):
    return kill(folder, "CoordinatorActor")


def both(folder):
    """The coordinator, and then a worker, in one run."""
    return kill(folder, "CoordinatorActor", "MapWorker")


def raylet(folder):
    """That of the second of two nodes, which are told to make 600 images per minute."""
    # In any 10 s, what 10 s bring and what is saved up in 2; and what was granted before and was
    # late: of each worker, and of the one that is started again. Without a pace it would be 160.
    most = 100 + 20 + (ACTORS + 1) * IN_FLIGHT
    return kill(folder, "/raylet", nodes=2, images_per_minute=600, most=most)


def command(folder):
    """Kill the driver, which is the command; run it again and leave it; run it to its end."""
    with Service.running() as service, Run.running(folder, service) as run:
        write_rows(folder)
        width = ("--concurrency", str(ACTORS * IN_FLIGHT), "--model", MODEL)
        batch = [sys.executable, "-m", "seedream_async", "batch", str(folder / "rows.jsonl")]
        line = [*batch, "--out", str(folder / "out"), *width, "--ray", "--workers", str(ACTORS)]
        process = run.start(line)
        run.wait_until_billed(50, process)
        process.kill()
        process.wait()
        # Whatever of Ray outlives it, the workers and the coordinator do not.
        left = run.left_behind("::MapWorker") + run.left_behind("::CoordinatorActor")
        assert not left, left
        run.end()
        process = run.start(line)
        run.wait_until_billed(100, process)
        service.slow(5.0)  # so that rows are left when it is heard
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130, f"see {folder / 'log'}"
        service.slow(1.0)
        left = Counter(entry.state for entry in run.entries())
        assert left["planned"], left
        assert left.keys() <= {"saved", "unknown", "planned"}, left
        assert run.start(line).wait(PATIENCE) == 5, f"see {folder / 'log'}"
        manifest = (folder / "out" / "manifest.jsonl").read_text().splitlines()
        assert len(manifest) == Counter(entry.state for entry in run.entries())["saved"]
        return check(run, kills=1)


SCENES = {"both": both, "raylet": raylet, "command": command}
ALONE = {"worker": worker, "coordinator": coordinator}


def main():
    folder, *names = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # or what runs would be left behind
    for name in names or SCENES:
        start = time.monotonic()
        told = (SCENES | ALONE)[name](Path(folder) / name)
        sys.stdout.write(f"{name}: {told}, {time.monotonic() - start:.0f} s\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
