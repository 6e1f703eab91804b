"""
What one call costs in CPU time, next to plain aiohttp doing the same exchange.

The server is the emulator in a process of its own; each contender runs in a fresh process, and
they take turns. Run it with `python benchmarks/calls.py`, or `--quick` for a smoke test.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp

from seedream_async import AsyncSeedream
from seedream_async.emulator import Emulator

IN_FLIGHT = 32


async def spread(call: Callable[[], Awaitable[object]], calls: int) -> float:
    """Make *calls* calls from a pool of workers; return microseconds of CPU per call."""
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            await call()

    await call()
    start = time.process_time()
    await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
    return (time.process_time() - start) / calls * 1e6


async def plain(url: str, key: str, calls: int) -> float:
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def call() -> None:
            body = {"model": "doubao-seedream-5-0-260128", "prompt": "a cat"}
            headers = {"Authorization": f"Bearer {key}"}
            async with session.post(
                f"{url}/images/generations", json=body, headers=headers
            ) as response:
                json.loads(await response.read())

        return await spread(call, calls)


async def ours(url: str, key: str, calls: int) -> float:
    async with AsyncSeedream(api_key=key, base_url=url) as client:
        return await spread(lambda: client.generate("a cat"), calls)


CONTENDERS = {"plain aiohttp": plain, "AsyncSeedream": ours}


async def serve() -> None:
    async with Emulator() as emulator:
        print(emulator.base_url, emulator.api_key, flush=True)
        await asyncio.to_thread(sys.stdin.read)


def measure(name: str, url: str, key: str, calls: int) -> float:
    command = [sys.executable, __file__, "--contender", name, url, key, str(calls)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603


def compare(rounds: int, calls: int) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            subprocess.Popen(  # noqa: S603
                [sys.executable, __file__, "--serve"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        url, key = server.stdout.readline().split()  # type: ignore[union-attr]
        results: dict[str, list[float]] = {name: [] for name in CONTENDERS}
        for _ in range(rounds):
            for name in CONTENDERS:
                results[name].append(measure(name, url, key, calls))
    base = statistics.median(results["plain aiohttp"])
    print(f"{IN_FLIGHT} in flight, {calls} calls, {rounds} rounds; CPU per call")
    for name, values in results.items():
        middle = statistics.median(values)
        spread = f"{min(values):.0f} to {max(values):.0f}"
        print(f"{name:15} {middle:6.0f} us  ({spread})  {middle / base:.2f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--contender", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve())
    elif options.contender:
        name, url, key, calls = options.contender
        print(asyncio.run(CONTENDERS[name](url, key, int(calls))))
    else:
        compare(rounds=2 if options.quick else 7, calls=200 if options.quick else 3000)


if __name__ == "__main__":
    main()
