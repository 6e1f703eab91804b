"""
How long the event loop is kept from others while 32 downloads run, next to plain aiohttp reading
the same bodies to nowhere.

The server is a process of its own that sends as fast as it is read, or, paced, as fast as a store
does; each contender runs in a fresh process, and they take turns. Run it with
`python benchmarks/downloads.py`, or `--quick` for a smoke test.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import aiohttp

from seedream_async import AsyncSeedream

WIDTH = 32  # downloads at once
TICK = 0.001  # seconds between two looks at the loop
PIECE = 64 * 1024  # bytes sent at once
PACE = 0.008  # seconds between two pieces of a paced download: 8 MiB/s each
FIRST = 100_000  # bytes of the image that comes first, so that all is loaded
Get = Callable[[str, Path], Awaitable[object]]


class Cost(NamedTuple):
    usual: float  # ms, the median by which a timer was late
    late: float  # ms, the 99th percentile
    worst: float  # ms
    cpu: float  # seconds
    wall: float  # seconds


@contextlib.asynccontextmanager
async def plain():
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def get(url: str, _: Path) -> None:
            async with session.get(url) as response:
                async for _ in response.content.iter_any():
                    pass

        yield get


@contextlib.asynccontextmanager
async def plain_few():
    slots = asyncio.Semaphore(8)  # as many as the client saves at once
    async with plain() as get_at_once:

        async def get(url: str, path: Path) -> None:
            async with slots:
                await get_at_once(url, path)

        yield get


@contextlib.asynccontextmanager
async def ours():
    async with AsyncSeedream(api_key="sk-benchmark") as client:
        yield client.download


CONTENDERS = {
    "aiohttp to nowhere": plain,
    "the same, 8 at once": plain_few,
    "AsyncSeedream to disk": ours,
}


async def watch(lags: list[float]) -> None:
    clock = time.perf_counter
    while True:
        due = clock() + TICK
        await asyncio.sleep(TICK)
        lags.append((clock() - due) * 1e3)


async def cost_of(name: str, url: str, size: int, rounds: int) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        async with CONTENDERS[name]() as get:
            await asyncio.gather(*downloads(get, f"{url}/{FIRST}", folder, 1))
            lags: list[float] = []
            watcher = asyncio.create_task(watch(lags))
            wall, cpu = time.perf_counter(), time.process_time()
            await asyncio.gather(*downloads(get, f"{url}/{size}", folder, rounds))
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            watcher.cancel()
    lags.sort()
    return Cost(statistics.median(lags), lags[int(len(lags) * 0.99)], lags[-1], cpu, wall)


def downloads(get: Get, url: str, folder: str, rounds: int):
    numbers = itertools.count()

    async def several() -> None:
        for _ in range(rounds):
            await get(url, Path(folder, f"{Path(url).name}-{next(numbers)}.jpeg"))

    return (several() for _ in range(WIDTH))


class Store(asyncio.Protocol):
    """One connection: sends as many bytes as the path says, at the pace that it says."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]
        self.going = asyncio.Event()
        self.going.set()

    def data_received(self, data: bytes) -> None:
        _, pace, size = data.split(b" ")[1].split(b"/")
        self.task = asyncio.ensure_future(self.send(pace == b"paced", int(size)))

    async def send(self, paced: bool, size: int) -> None:
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n\xff\xd8\xff" % size)
        for _ in range((size - 5) // PIECE):
            self.transport.write(NOISE)
            await self.going.wait()
            await asyncio.sleep(PACE if paced else 0)
        self.transport.write(NOISE[: (size - 5) % PIECE] + b"\xff\xd9")

    def pause_writing(self) -> None:
        self.going.clear()

    def resume_writing(self) -> None:
        self.going.set()


NOISE = random.Random(1).randbytes(PIECE)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Store, "127.0.0.1", backlog=256)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


def measure(name: str, url: str, size: int, count: int) -> Cost:
    command = [sys.executable, __file__, "--contender", name, url, str(size), str(count)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return Cost(*map(float, done.stdout.split()))


def compare(rounds: int, size: int, count: int) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            subprocess.Popen(  # noqa: S603
                [sys.executable, __file__, "--serve"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        url = server.stdout.readline().strip()  # type: ignore[union-attr]
        megabytes = size / 2**20
        print(f"{WIDTH} x {count} downloads of {megabytes:g} MiB, {rounds} rounds, medians")
        for pace in ("paced", "fast"):
            results: dict[str, list[Cost]] = {name: [] for name in CONTENDERS}
            for _ in range(rounds):
                for name in CONTENDERS:
                    results[name].append(measure(name, f"{url}/{pace}", size, count))
            report(pace, results)


def report(pace: str, results: dict[str, list[Cost]]) -> None:
    middles = {
        name: Cost(*map(statistics.median, zip(*costs, strict=True)))
        for name, costs in results.items()
    }
    base = middles["aiohttp to nowhere"]
    print("as fast as a store sends" if pace == "paced" else "as fast as it is read")
    for name, middle in middles.items():
        print(f"  {name:22}" + "".join(map(shown, Cost._fields, middle, base)))


def shown(field: str, own: float, peer: float) -> str:
    name = {"usual": "median lag", "late": "99 %", "worst": "worst"}.get(field, field)
    unit = "s" if field in ("cpu", "wall") else "ms"
    return f"  {name} {own:7.2f} {unit} {own / max(peer, 1e-9):5.2f} x"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--contender", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
    elif options.contender:
        name, url, size, count = options.contender
        print(*asyncio.run(cost_of(name, url, int(size), int(count))))
    elif options.quick:
        compare(rounds=1, size=2**20, count=1)
    else:
        compare(rounds=5, size=4 * 2**20, count=3)


if __name__ == "__main__":
    main()
