"""
What a cluster costs, and how it grows: rows per second and CPU per row on 1, 2 and 4 workers, next
to the batch of one process with as many requests in flight, against answers that take a second.

The peer is `run_batch`, which does the same for the same rows. Needs the extra `ray`. Run it with
`python benchmarks/ray_data.py`, or `--quick` for a smoke test.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

MODEL = "doubao-seedream-3-0-t2i-250415"
IN_FLIGHT = 16  # of each worker
STORE = 100 * 1024 * 1024  # bytes
EMULATOR = [sys.executable, "-m", "seedream_async", "emulator", "--latency", "1"]


@contextmanager
def service() -> Iterator[str]:
    """The base URL of an emulator in a process of its own."""
    pipes: dict[str, int] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(EMULATOR, text=True, **pipes) as process:  # noqa: S603
        lines = [line.strip() for line in islice(process.stdout or (), 2)]
        exports = dict(line.removeprefix("export ").split("=", 1) for line in lines)
        try:
            yield exports["COMETAPI_BASE_URL"].strip("'\"")
        finally:
            process.terminate()


def write_rows(path: Path, count: int) -> None:
    rows = ({"id": f"row-{n}", "prompt": f"picture {n}", "size": "512x512"} for n in range(count))
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def check(saved: int, rows: int) -> None:
    if saved != rows:
        raise SystemExit(f"{saved} of {rows} rows were saved")


def cpu_of(process: int) -> float:
    """CPU seconds of *process*, and of those that it has waited for."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def cpu_below(process: int) -> float:
    """CPU seconds of *process* and of all that descend from it."""
    total = cpu_of(process)
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(FileNotFoundError):  # threads and processes come and go
            total += sum(cpu_below(int(child)) for child in children.read_text().split())
    return total


def local(folder: Path, rows: int, width: int) -> tuple[float, float]:
    """Seconds and CPU seconds of a batch in this process."""
    import asyncio

    from seedream_async import AsyncSeedream, Limits
    from seedream_async.batch import run_batch

    async def run() -> None:
        limits = Limits(concurrency=width)
        async with AsyncSeedream(api_key="sk-emulator", model=MODEL, limits=limits) as client:
            result = await run_batch(folder / "rows.jsonl", folder / "out", client=client)
        check(result.saved, rows)

    start, cpu = time.monotonic(), cpu_of(os.getpid())
    asyncio.run(run())
    return time.monotonic() - start, cpu_of(os.getpid()) - cpu


def cluster(folder: Path, rows: int, workers: int) -> tuple[float, float]:
    """
    Seconds and CPU seconds of the same on Ray, once its workers are there: a few rows before see
    to that. What all processes of Ray take is counted.
    """
    import ray

    from seedream_async.ray import generate

    ray.init(
        num_cpus=8, object_store_memory=STORE, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR",
    )  # fmt: skip
    ray.data.DataContext.get_current().enable_progress_bars = False
    first: list[tuple[float, float]] = []
    results = generate(
        ray.data.read_json(str(folder / "rows.jsonl")),
        out=folder / "out",
        ledger=folder / "ledger.sqlite3",
        model=MODEL,
        actors=workers,
        in_flight=IN_FLIGHT,
    )
    saved = 0
    for batch in results.iter_batches(batch_size=None, batch_format="pyarrow"):
        saved += batch.column("state").to_pylist().count("saved")
        now = time.monotonic(), cpu_below(os.getpid()), saved
        first = [*first[:1], now]
    ray.shutdown()
    check(saved, rows)
    (start, cpu, before), (end, cpu_at_end, _) = first
    share = (rows - before) / rows
    return (end - start) / share, (cpu_at_end - cpu) / share


def measured(engine: str, rows: int, workers: int) -> tuple[float, float]:
    """What a run in a process of its own took."""
    with tempfile.TemporaryDirectory() as name, service() as base_url:
        folder = Path(name)
        write_rows(folder / "rows.jsonl", rows)
        environment = {
            **os.environ,
            "COMETAPI_KEY": "sk-emulator",
            "COMETAPI_BASE_URL": base_url,
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        command = [sys.executable, __file__, "--run", engine, name, str(rows), str(workers)]
        done = subprocess.run(  # noqa: S603
            command, env=environment, capture_output=True, text=True, check=True, timeout=300
        )
        seconds, cpu = json.loads(done.stdout.splitlines()[-1])
        return seconds, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--run", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        engine, folder, rows, workers = options.run
        run = local if engine == "local" else cluster
        width = int(workers) * (IN_FLIGHT if engine == "local" else 1)
        print(json.dumps(run(Path(folder), int(rows), width)))
        return
    if importlib.util.find_spec("ray") is None:
        print("not measured: Ray is not installed (pip install 'seedream-async[ray]')")
        return
    for workers in [1] if options.quick else [1, 2, 4]:
        rows = 64 if options.quick else 480 * workers
        for engine in ("local", "ray"):
            seconds, cpu = measured(engine, rows, workers)
            print(
                f"{engine:>5}, {workers} x {IN_FLIGHT} in flight: {rows / seconds:6.1f} rows/s, "
                f"{1000 * cpu / rows:6.1f} ms of CPU a row",
                flush=True,
            )


if __name__ == "__main__":
    main()
