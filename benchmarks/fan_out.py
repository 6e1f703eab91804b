"""
What many requests cost: `generate_many`, next to a pool of workers and to `asyncio.gather`.

Without a network, a client stands in whose calls return at once, so that all that is seen is the
fan-out; over HTTP it is the same client for all. The last contest has 10,000 calls in flight, which
a server holds until all of them are there. Run it with `--quick` to see that it works.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import Any

from arena import (
    CPU,
    GROWTH,
    LAG_MAX,
    PEAK,
    WALL,
    Contender,
    Contest,
    Goal,
    Run,
    Server,
    extra,
    main,
    servers,
)

KEY = "sk-benchmark"
MODEL = "doubao-seedream-5-0-260128"
FIRST = extra("first result", "ms")
TOTAL = extra("total", "s")
GROWTH_LIMIT = 8 * 2**20 / 1e6  # MB
LONGEST = 600.0  # seconds of a call
WARM_UP = 2  # calls that the holding server answers at once
Result = Any  # of the package, which is only imported by contenders


def prompts(count: int) -> Iterator[str]:
    return (f"a cat with {number} whiskers" for number in range(count))


# --- ways to fan out ----------------------------------------------------------------------------


async def gathered(client: Any, count: int, width: int) -> AsyncIterator[Result]:
    """A task for each request, of which a semaphore lets so many go on."""
    slots = asyncio.Semaphore(width)

    async def one(prompt: str) -> Result:
        async with slots:
            return await client.generate(prompt)

    for response in await asyncio.gather(*map(one, prompts(count))):
        yield response


async def pooled(client: Any, count: int, width: int) -> AsyncGenerator[Result, None]:
    """The least that can be done: workers that share an iterator, and nobody who takes results."""
    left, first = prompts(count), asyncio.Event()

    async def work() -> None:
        for prompt in left:
            await client.generate(prompt)
            first.set()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(width):
            tasks.create_task(work())
        await first.wait()
        yield None


async def many(client: Any, count: int, width: int) -> AsyncIterator[Result]:
    async for result in client.generate_many(prompts(count), concurrency=width):
        yield result.unwrap()


async def in_order(client: Any, count: int, width: int) -> AsyncIterator[Result]:
    async for result in client.generate_many(prompts(count), concurrency=width, ordered=True):
        yield result.unwrap()


WAYS = {way.__name__: way for way in (gathered, pooled, many, in_order)}


# --- clients ------------------------------------------------------------------------------------


class Instant:
    """A client whose calls return at once, with the real fan-out."""

    def __init__(self) -> None:
        from seedream_async import ImagesResponse

        self._response = ImagesResponse(created=1)

    async def generate(self, prompt: str) -> Result:
        from seedream_async import GenerateRequest

        GenerateRequest.of(prompt)
        await asyncio.sleep(0)
        return self._response

    async def _answer(self, *_: object) -> Result:
        await asyncio.sleep(0)
        return self._response

    def generate_many(self, requests: Any, *, concurrency: int, ordered: bool = False) -> Any:
        from seedream_async import FanOut

        return FanOut(
            requests,
            self._answer,
            prepare=_nothing,
            width=concurrency,
            model=MODEL,
            saves=False,
            ordered=ordered,
        )


async def _nothing() -> None: ...


@contextlib.asynccontextmanager
async def ready_client(run: Run) -> AsyncIterator[Any]:
    """Our client; if *steady*, it has seen that the service leaves idle connections open."""
    from seedream_async import AsyncSeedream, Limits
    from seedream_async._sessions import PROOF

    limits = Limits(concurrency=run.options["width"])
    async with AsyncSeedream(api_key=KEY, base_url=run.server["url"], limits=limits) as client:
        if run.options["steady"]:
            await client.generate("a cat")
            await client.generate("a cat")
            await asyncio.sleep(PROOF * 1.1)
        yield client


async def without_network(run: Run) -> None:
    await fan_out(run, Instant())


async def over_http(run: Run) -> None:
    async with ready_client(run) as client:
        await fan_out(run, client)


async def fan_out(run: Run, client: Any) -> None:
    way, count, width = WAYS[run.options["way"]], run.options["requests"], run.options["width"]
    async for _ in way(client, width * 2, width):  # warm-up
        pass
    with run.measured(units=count) as take:
        start = time.perf_counter()
        async for _ in way(client, count, width):
            take.extras.setdefault("first result", (time.perf_counter() - start) * 1e3)
        take.extras["total"] = time.perf_counter() - start


# --- all in flight at once ----------------------------------------------------------------------


class Holding(servers.Answering):
    """
    After the warm-up of a contender, holds all answers until so many requests *wait* *together*.
    """

    def __init__(self, answer: bytes, held: list[asyncio.Transport], together: int) -> None:
        super().__init__(answer, 0)
        self._content = answer
        self._held = held
        self._together = together

    def _reply(self) -> None:
        self._held.append(self._transport)
        if len(self._held) <= WARM_UP:
            self._transport.write(self._content)
        elif len(self._held) == WARM_UP + self._together:
            waiting = self._held[WARM_UP:]
            self._held.clear()
            asyncio.get_running_loop().call_later(1, self._release, waiting)

    def _release(self, waiting: list[asyncio.Transport]) -> None:
        for transport in waiting[:500]:
            transport.write(self._content)
        if rest := waiting[500:]:
            asyncio.get_running_loop().call_later(0.02, self._release, rest)


@contextlib.asynccontextmanager
async def holding(*, together: int) -> AsyncIterator[servers.Facts]:
    content = json.dumps(servers.GENERATED).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    held: list[asyncio.Transport] = []
    server = await asyncio.get_running_loop().create_server(
        lambda: Holding(head % len(content) + content, held, together),
        "127.0.0.1",
        backlog=4096,
    )
    port = server.sockets[0].getsockname()[1]
    yield servers.facts_of(port, None, name="a bare asyncio server")
    server.close()


async def plain_in_flight(run: Run) -> None:
    import aiohttp

    url, headers = f"{run.server['url']}/images/generations", {"Authorization": f"Bearer {KEY}"}
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=LONGEST)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def call(prompt: str) -> None:
            body = {"model": MODEL, "prompt": prompt}
            async with session.post(url, json=body, headers=headers) as response:
                json.loads(await response.read())

        await at_once(run, call)


def patient_client(run: Run) -> Any:
    """Our client, as patient as the peer: it may take a while to open so many connections."""
    from seedream_async import AsyncSeedream, Limits, Timeout

    return AsyncSeedream(
        api_key=KEY,
        base_url=run.server["url"],
        limits=Limits(concurrency=run.options["width"]),
        timeout=Timeout(total=LONGEST, connect=LONGEST),
    )


async def ours_in_flight(run: Run) -> None:
    async with patient_client(run) as client:
        await at_once(run, client.generate)


async def many_in_flight(run: Run) -> None:
    count = run.options["width"]
    async with patient_client(run) as client:
        for _ in range(WARM_UP):
            await client.generate_many(prompts(1))
        gc.collect()
        with run.measured(units=count):
            async for result in client.generate_many(prompts(count)):
                result.unwrap()


async def at_once(run: Run, call: Callable[[str], Awaitable[object]]) -> None:
    for _ in range(WARM_UP):
        await call("a cat")
    gc.collect()
    with run.measured(units=run.options["width"]):
        async with asyncio.TaskGroup() as tasks:
            for prompt in prompts(run.options["width"]):
                tasks.create_task(_of(call, prompt))


async def _of(call: Callable[[str], Awaitable[object]], prompt: str) -> None:
    await call(prompt)


# --- contests -----------------------------------------------------------------------------------

GATHER, POOL = "gather and a semaphore", "a pool of workers"
US, ORDERED = "generate_many", "generate_many, ordered"
ROWS = {GATHER: "gathered", POOL: "pooled", US: "many", ORDERED: "in_order"}
METRICS = [CPU, FIRST, TOTAL, GROWTH, LAG_MAX]


def rows(function: Callable[..., Any]) -> list[Contender]:
    return [
        Contender(label, function, {"way": way}, ours=label == US) for label, way in ROWS.items()
    ]


def bare(count: int, rounds: int) -> Contest:
    goal = Goal(
        metric=GROWTH,
        contender=US,
        most=GROWTH_LIMIT,
        headline=f"memory growth over {count:,} requests",
    )
    return Contest(
        title=f"{count:,} requests, no network",
        contenders=rows(without_network),
        baseline=POOL,
        metrics=METRICS,
        goals=[goal],
        options={"width": 256, "requests": count},
        unit="request",
        rounds=rounds,
        chart=count >= 1_000_000,
    )


def real(count: int, rounds: int, *, steady: bool = True) -> Contest:
    goals = [
        Goal(metric=CPU, contender=US, against=POOL, most=1.1, headline="CPU of a fan-out"),
        Goal(metric=GROWTH, contender=US, most=GROWTH_LIMIT),
    ]
    return Contest(
        title=f"{count:,} requests over HTTP",
        contenders=rows(over_http)[:3],
        baseline=POOL,
        metrics=METRICS,
        goals=goals,
        options={"width": 256, "requests": count, "steady": steady},
        server=Server(servers.instant),
        unit="request",
        rounds=rounds,
    )


def in_flight(count: int, rounds: int) -> Contest:
    plain = "aiohttp + json"
    return Contest(
        title=f"{count:,} in flight in one process",
        contenders=[
            Contender(plain, plain_in_flight),
            Contender("generate", ours_in_flight),
            Contender(US, many_in_flight, ours=True),
        ],
        baseline=plain,
        metrics=[PEAK, GROWTH, CPU, WALL],
        goals=[
            Goal(metric=PEAK, contender="generate", against=plain, most=1.2),
            Goal(
                metric=PEAK,
                contender=US,
                against=plain,
                most=1.2,
                headline=f"memory with {count:,} in flight",
            ),
        ],
        options={"width": count},
        server=Server(holding, {"together": count}),
        rounds=rounds,
        notes=["the server holds all answers until every request is there"],
    )


def contests(quick: bool) -> Sequence[Contest]:
    if quick:
        return [bare(2_000, 1), real(512, 1, steady=False), in_flight(300, 1)]
    return [
        bare(1_000, 5),
        bare(10_000, 5),
        bare(100_000, 3),
        bare(1_000_000, 1),
        real(1_000, 3),
        real(10_000, 2),
        in_flight(10_000, 1),
    ]


if __name__ == "__main__":
    main(__doc__, contests, title="What many requests cost")
