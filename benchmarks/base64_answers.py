"""
What it costs to get a base64 answer onto the disk, next to plain aiohttp, `json` and `base64`.

The server is a process of its own; each contender runs in a fresh process, and they take turns.
Run it with `python benchmarks/base64_answers.py`, or `--quick` for a smoke test. Needs Linux,
which tells a process its peak memory.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import aiohttp
from aiohttp import web

from seedream_async import AsyncSeedream
from seedream_async._base64 import _decode

TICK = 0.001  # seconds between two looks at the loop
TINY = 1000  # bytes of the image that comes first, so that all is loaded
REQUEST = {"model": "doubao-seedream-5-0-260128", "prompt": "a cat", "response_format": "b64_json"}


class Cost(NamedTuple):
    cpu: float  # seconds
    growth: float  # MB that the peak of memory lies above its start
    lag: float  # ms, the longest that the loop kept others waiting


def picture(size: int) -> bytes:
    """As much of a JPEG as a client looks at."""
    return b"\xff\xd8\xff" + random.Random(size).randbytes(size - 5) + b"\xff\xd9"


async def plain(url: str, target: Path) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/images/generations", json=REQUEST) as response,
    ):
        answer = await response.json()
    save(answer["data"][0]["b64_json"], target)


def save(text: str, target: Path) -> None:
    target.write_bytes(base64.b64decode(text))


async def ours(url: str, target: Path) -> None:
    async with AsyncSeedream(api_key="sk-benchmark", base_url=url) as client:
        await client.generate("a cat", response_format="b64_json", save_to=target)


CONTENDERS: dict[str, Callable[[str, Path], Awaitable[None]]] = {
    "plain aiohttp": plain,
    "AsyncSeedream": ours,
}


def memory(name: str) -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.search(rf"{name}:\s*(\d+) kB", status)[1]) / 1000  # type: ignore[index]


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def check(target: Path, size: int) -> None:
    assert target.read_bytes() == picture(size)  # noqa: S101


async def watch(lags: list[float]) -> None:
    clock = time.perf_counter
    while True:
        due = clock() + TICK
        await asyncio.sleep(TICK)
        lags.append(clock() - due)


async def cost_of(get: Callable[[str, Path], Awaitable[None]], server: str, size: int) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        await get(f"{server}/{TINY}", Path(folder, "first.jpeg"))
        target = Path(folder, "image.jpeg")
        lags: list[float] = []
        watcher = asyncio.create_task(watch(lags))
        forget_peak()
        memory_before, start = memory("VmRSS"), time.process_time()
        await get(f"{server}/{size}", target)
        cpu, growth = time.process_time() - start, memory("VmHWM") - memory_before
        await asyncio.sleep(2 * TICK)  # so that the last stall is seen as well
        watcher.cancel()
        check(target, size)
    return Cost(cpu, growth, max(lags) * 1e3)


async def serve(sizes: list[int]) -> None:
    def body(size: int) -> bytes:
        image = {"b64_json": base64.b64encode(picture(size)).decode(), "size": "2048x2048"}
        usage = {"generated_images": 1, "output_tokens": 16384, "total_tokens": 16384}
        answer = {"model": REQUEST["model"], "created": 1, "data": [image], "usage": usage}
        return json.dumps(answer).encode()

    bodies = {str(size): body(size) for size in (TINY, *sizes)}

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        body = bodies[request.match_info["size"]]
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.router.add_post("/{size}/images/generations", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


def measure(name: str, server: str, size: int) -> Cost:
    command = [sys.executable, __file__, "--contender", name, server, str(size)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return Cost(*map(float, done.stdout.split()))


def compare(rounds: int, sizes: list[int]) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            subprocess.Popen(  # noqa: S603
                [sys.executable, __file__, "--serve", *map(str, sizes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        url = server.stdout.readline().strip()  # type: ignore[union-attr]
        library = _decode.func.__module__.strip("_").partition(".")[0]
        print(f"{rounds} rounds, medians; decoded by {library} while it arrives")
        for size in sizes:
            results: dict[str, list[Cost]] = {name: [] for name in CONTENDERS}
            for _ in range(rounds):
                for name in CONTENDERS:
                    results[name].append(measure(name, url, size))
            report(size, results)


def report(size: int, results: dict[str, list[Cost]]) -> None:
    middles = {
        name: Cost(*map(statistics.median, zip(*costs, strict=True)))
        for name, costs in results.items()
    }
    base = middles["plain aiohttp"]
    print(f"one image of {size / 2**20:g} MiB")
    for name, middle in middles.items():
        cpu, growth, lag = (own / max(peer, 1e-9) for own, peer in zip(middle, base, strict=True))
        print(
            f"  {name:16} CPU {middle.cpu:6.3f} s {cpu:5.2f} x"
            f"   memory {middle.growth:6.1f} MB {growth:5.2f} x"
            f"   loop lag {middle.lag:6.1f} ms {lag:5.2f} x"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", nargs="+", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--contender", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
    elif options.contender:
        name, server, size = options.contender
        print(*asyncio.run(cost_of(CONTENDERS[name], server, int(size))))
    else:
        sizes = [1, 4] if options.quick else [4, 16, 40]
        compare(rounds=1 if options.quick else 5, sizes=[size * 2**20 for size in sizes])


if __name__ == "__main__":
    main()
