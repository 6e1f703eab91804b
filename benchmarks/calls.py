"""
What one call costs, next to plain aiohttp and to other clients that do the same exchange.

The server is a bare asyncio protocol that answers anything at once, or after 200 ms. Run it with
`python benchmarks/calls.py --peers`, or with `--quick` to see that it works.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence

from arena import CPU, PEAK, WALL, Contender, Contest, Goal, Run, Server, main, servers, spread

MODEL = "doubao-seedream-5-0-260128"
KEY = "sk-benchmark"
REQUEST = {"model": MODEL, "prompt": "a cat"}
Call = Callable[[], Awaitable[object]]


async def measure(run: Run, call: Call) -> None:
    """Warm up, and then make the calls: a *part* of them where each takes long."""
    width = run.options["width"]
    calls = max(width, run.options["calls"] // run.options.get("part", 1))
    await spread(call, max(width, calls // 10), width)
    with run.measured(units=calls, tick=None):
        await spread(call, calls, width)


async def plain(run: Run) -> None:
    import aiohttp

    url, headers = f"{run.server['url']}/images/generations", {"Authorization": f"Bearer {KEY}"}
    connector = aiohttp.TCPConnector(limit=0, force_close=run.options.get("fresh", False))
    async with aiohttp.ClientSession(connector=connector) as session:

        async def call() -> None:
            async with session.post(url, json=REQUEST, headers=headers) as response:
                json.loads(await response.read())

        await measure(run, call)


async def ours(run: Run) -> None:
    from seedream_async import AsyncSeedream, Limits
    from seedream_async._sessions import PROOF

    limits = Limits(concurrency=run.options["width"])
    async with AsyncSeedream(api_key=KEY, base_url=run.server["url"], limits=limits) as client:
        if not run.options.get("fresh"):  # let it see that the service leaves connections open
            await client.generate("a cat")
            await client.generate("a cat")
            await asyncio.sleep(PROOF * 1.1)
        await measure(run, lambda: client.generate("a cat"))


async def never_known(run: Run) -> None:
    """As in the first seconds, before a connection was seen to stay open: each call has its own."""
    from seedream_async import _sessions

    _sessions.PROOF = 1e6
    await ours(run)


async def openai(run: Run) -> None:
    from openai import AsyncOpenAI, DefaultAioHttpClient

    own = DefaultAioHttpClient() if run.options.get("aiohttp") else None
    async with AsyncOpenAI(api_key=KEY, base_url=run.server["url"], http_client=own) as client:
        await measure(run, lambda: client.images.generate(model=MODEL, prompt="a cat"))


async def ark(run: Run) -> None:
    from volcenginesdkarkruntime import AsyncArk

    async with AsyncArk(api_key=KEY, base_url=run.server["url"]) as client:
        await measure(run, lambda: client.images.generate(model=MODEL, prompt="a cat"))


async def httpx(run: Run) -> None:
    from httpx import AsyncClient, Limits

    url, headers = f"{run.server['url']}/images/generations", {"Authorization": f"Bearer {KEY}"}
    limits = Limits(max_connections=None, max_keepalive_connections=None)
    async with AsyncClient(limits=limits, timeout=60) as client:

        async def call() -> None:
            json.loads((await client.post(url, json=REQUEST, headers=headers)).content)

        await measure(run, call)


US, PLAIN = "AsyncSeedream", "aiohttp + json"
REUSING = (Contender(PLAIN, plain), Contender(US, ours, ours=True))
PEERS = (
    Contender("AsyncOpenAI, aiohttp transport", openai, {"aiohttp": True, "part": 2}, peers=True),
    Contender("AsyncOpenAI", openai, {"part": 2}, peers=True),
    Contender("Ark SDK", ark, {"part": 8}, peers=True),
    Contender("httpx + json", httpx, {"part": 8}, peers=True),
)
FRESH = (
    Contender(f"{PLAIN}, force_close", plain, {"fresh": True}),
    Contender(f"{US}, first seconds", never_known, {"fresh": True}, ours=True),
)


def goals(width: int) -> Sequence[Goal]:
    """What is wanted at 32 and 256 in flight."""
    what = f"CPU of a call, {width} in flight, instant answers"
    return [
        Goal(metric=CPU, contender=US, against=PLAIN, most=1.25, headline=what),
        Goal(metric=CPU, contender=US, against="AsyncOpenAI", most=1 / 8, headline=what),
        Goal(metric=CPU, contender=US, against=PEERS[0].label, most=1 / 4),
        Goal(metric=CPU, contender=US, against="Ark SDK", most=1 / 20),
    ]


def instant(width: int, quick: bool, *, tls: bool = False) -> Contest:
    return Contest(
        title=f"{width:,} in flight, instant answers{', TLS' if tls else ''}",
        contenders=[*REUSING, *(PEERS[:2] if tls or width > 256 else PEERS)],
        baseline=PLAIN,
        metrics=[CPU, WALL, PEAK],
        goals=goals(width) if width in {32, 256} and not tls else (),
        options={"width": width, "calls": 256 if quick else 4000},
        server=Server(servers.instant, {"tls": tls}),
        rounds=1 if quick else 5,
        chart=width > 1 and not tls,
    )


def slow(quick: bool, *, tls: bool = False) -> Contest:
    return Contest(
        title=f"256 in flight, answers after 200 ms{', TLS' if tls else ''}",
        contenders=REUSING,
        baseline=PLAIN,
        metrics=[CPU, WALL, PEAK],
        options={"width": 256, "calls": 512 if quick else 4096},
        server=Server(servers.instant, {"tls": tls, "delay": 0.2}),
        rounds=1 if quick else 5,
        chart=tls,
    )


def alone(width: int, quick: bool, *, tls: bool = False) -> Contest:
    """Each call on a connection of its own."""
    return Contest(
        title=f"{width} in flight, a connection for each call{', TLS' if tls else ''}",
        contenders=[REUSING[0], *FRESH],
        baseline=PLAIN,
        options={"width": width, "calls": 100 if quick else 1000},
        server=Server(servers.instant, {"tls": tls}),
        rounds=1 if quick else 5,
        chart=width == 1,
    )


def contests(quick: bool) -> Sequence[Contest]:
    if quick:
        return [instant(32, quick), alone(1, quick, tls=True)]
    return [
        *(instant(width, quick) for width in (1, 32, 256, 1000)),
        *(instant(width, quick, tls=True) for width in (1, 32, 256, 1000)),
        slow(quick),
        slow(quick, tls=True),
        *(alone(width, quick, tls=tls) for tls in (False, True) for width in (1, 32)),
    ]


if __name__ == "__main__":
    main(__doc__, contests, title="What one call costs")
