"""
What a cluster costs, and how it grows: rows per second and CPU per row on 1, 2 and 4 workers, next
to the batch of one process with as many requests in flight, against answers that take a second.

The clock of a cluster starts when its first rows are done. Rows that are in flight then count as a
whole, which flatters its rate: the more, the fewer the rows.

The peer is `run_batch`, which does the same for the same rows. Needs the extra `ray`, and says so
where it is not. Run it with `python benchmarks/ray_data.py`, or `--quick` to see that it works.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from arena import RATE, Contender, Contest, Run, Server, Take, extra, main, servers

MODEL = "doubao-seedream-3-0-t2i-250415"
IN_FLIGHT = 16  # of each worker
STORE = 100 * 1024 * 1024  # bytes


def rows_of(run: Run) -> Path:
    """The input, and the environment that leads to the emulator."""
    os.environ["COMETAPI_KEY"] = run.server["key"]
    os.environ["COMETAPI_BASE_URL"] = run.server["url"]
    path = run.folder / "rows.jsonl"
    numbers = range(run.options["workers"] * run.options["each"])
    rows = ({"id": f"row-{n}", "prompt": f"picture {n}", "size": "512x512"} for n in numbers)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def note(take: Take, cpu: float, saved: int, rows: int) -> None:
    """Keep what the *rows* took that were measured, once all of them were saved."""
    if saved != rows:
        raise SystemExit(f"{saved} of {rows} rows were saved")
    take.extras["cpu"] = 1000 * cpu / take.units


def cpu_below(process: int) -> float:
    """CPU seconds of *process* and of all that descend from it, also of those that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    total = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(FileNotFoundError):  # threads and processes come and go
            total += sum(cpu_below(int(child)) for child in children.read_text().split())
    return total


async def local(run: Run) -> None:
    from seedream_async import AsyncSeedream, Limits
    from seedream_async.batch import run_batch

    limits = Limits(concurrency=run.options["workers"] * IN_FLIGHT)
    rows = rows_of(run)
    async with AsyncSeedream(model=MODEL, limits=limits) as client:
        cpu = cpu_below(os.getpid())
        with run.measured(tick=None) as take:
            result = await run_batch(rows, run.folder / "out", client=client)
    take.units = result.total
    note(take, cpu_below(os.getpid()) - cpu, result.saved, result.total)


def cluster(run: Run) -> None:
    """The same on Ray once its workers are there, to which the first rows see."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    logging.disable(logging.WARNING)  # Ray tells of every step
    ray.init(
        num_cpus=8,
        object_store_memory=STORE,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    states = states_on_ray(run)
    before = next(states)
    cpu = cpu_below(os.getpid())
    with run.measured(tick=None) as take:
        during = [state for some in states for state in some]
    cpu = cpu_below(os.getpid()) - cpu
    ray.shutdown()
    take.units = len(during)
    note(take, cpu, [*before, *during].count("saved"), len(before) + len(during))


def states_on_ray(run: Run) -> Iterator[list[str]]:
    """What became of the rows, some at a time."""
    import ray

    from seedream_async.ray import generate

    results = generate(
        ray.data.read_json(str(rows_of(run))),
        out=run.folder / "out",
        ledger=run.folder / "ledger.sqlite3",
        model=MODEL,
        actors=run.options["workers"],
        in_flight=IN_FLIGHT,
    )
    for batch in results.iter_batches(batch_size=None, batch_format="pyarrow"):
        yield batch.column("state").to_pylist()


def contest(workers: int, *, each: int, rounds: int) -> Contest:
    width = workers * IN_FLIGHT
    one_process = f"one process, {width} in flight"
    return Contest(
        title=f"{width} in flight",
        contenders=[
            Contender(one_process, local),
            Contender(f"Ray, {workers} × {IN_FLIGHT} in flight", cluster, needs="ray", ours=True),
        ],
        baseline=one_process,
        metrics=[RATE, extra("CPU each", "ms", "cpu")],
        options={"workers": workers, "each": each},
        server=Server(servers.emulator, {"latency": 1}),
        unit="row",
        rounds=rounds,
        chart=False,
    )


def contests(quick: bool) -> Sequence[Contest]:
    if quick:
        return [contest(1, each=64, rounds=1)]
    return [contest(workers, each=240, rounds=3) for workers in (1, 2, 4)]


if __name__ == "__main__":
    main(__doc__, contests, title="Batches on Ray")
