"""
What a fan-out costs besides its calls, next to `asyncio.gather` with a semaphore.

Answers are instant and there is no network, so all that is seen is the fan-out. Each contender runs
in a fresh process, and they take turns. Run it with `python benchmarks/fan_out.py`, which takes a
million requests at the end, or `--quick` for a smoke test.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from seedream_async import GenerateRequest, ImagesResponse
from seedream_async._fanout import FanOut

WIDTH = 256
RESPONSE = ImagesResponse(created=1)


async def answer(_: GenerateRequest) -> ImagesResponse:
    await asyncio.sleep(0)
    return RESPONSE


async def generate(_: int, request: GenerateRequest, *__: object) -> ImagesResponse:
    return await answer(request)


async def nothing() -> None: ...


def prompts(count: int) -> Iterator[str]:
    return (f"a cat with {number} whiskers" for number in range(count))


async def ours(count: int, *, ordered: bool = False) -> AsyncIterator[Any]:
    results = FanOut(
        prompts(count),
        generate,
        prepare=nothing,
        width=WIDTH,
        model="m",
        saves=False,
        ordered=ordered,
    )
    async for result in results:
        yield result


async def in_order(count: int) -> AsyncIterator[Any]:
    async for result in ours(count, ordered=True):
        yield result


async def gathered(count: int) -> AsyncIterator[Any]:
    slots = asyncio.Semaphore(WIDTH)

    async def one(prompt: str) -> ImagesResponse:
        async with slots:
            return await answer(GenerateRequest(prompt))

    for response in await asyncio.gather(*map(one, prompts(count))):
        yield response


async def bare(count: int) -> AsyncIterator[Any]:
    """What the requests themselves cost: made and answered one after the other."""
    for prompt in prompts(count):
        yield await answer(GenerateRequest(prompt))


CONTENDERS = {"bare loop": bare, "gather": gathered, "fan-out": ours, "in order": in_order}


async def run(name: str, count: int) -> tuple[float, float, float]:
    """CPU microseconds per request, milliseconds to the first result, and peak growth in MiB."""
    async for _ in CONTENDERS[name](WIDTH):  # what is loaded and cached once
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    first, start, clock = 0.0, time.process_time(), time.perf_counter()
    async for _ in CONTENDERS[name](count):
        first = first or time.perf_counter() - clock
    cost = (time.process_time() - start) / count * 1e6
    growth = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return cost, first * 1e3, growth


def measure(name: str, count: int) -> list[float]:
    command = [sys.executable, __file__, "--contender", name, str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    return list(map(float, done.stdout.split()))


def compare(names: list[str], count: int, rounds: int) -> None:
    results: dict[str, list[list[float]]] = {name: [] for name in names}
    for _ in range(rounds):
        for name in names:
            results[name].append(measure(name, count))
    print(f"{count} requests, {WIDTH} wide, {rounds} rounds; medians")
    for name, rows in results.items():
        cost, first, growth = (statistics.median(column) for column in zip(*rows, strict=True))
        print(f"{name:10} {cost:6.1f} us each  first after {first:8.1f} ms  +{growth:7.1f} MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--contender", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        name, count = options.contender
        print(*asyncio.run(run(name, int(count))))
        return
    compare(list(CONTENDERS), 1_000 if options.quick else 10_000, 1 if options.quick else 5)
    if not options.quick:
        compare(["fan-out", "in order"], 1_000, 3)
        compare(["fan-out", "in order"], 1_000_000, 1)


if __name__ == "__main__":
    main()
