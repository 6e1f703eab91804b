"""
What it takes until there is a client, an answer, or the help of the command.

Each turn starts fresh interpreters one after the other, and counts their whole CPU time, from
`exec` to exit. Bytecode is cached, as after any first start.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from arena import Contender, Contest, Goal, Metric, Run, Server, main, servers

CPU = Metric(name="CPU", unit="ms", of=lambda report: report["cpu"] / report["units"] * 1e3)
WALL = Metric(name="wall", unit="ms", of=lambda report: report["wall"] / report["units"] * 1e3)

BASE = "import aiohttp, attrs, cattrs, tenacity"
CLIENT = "from seedream_async import AsyncSeedream; AsyncSeedream(api_key='k')"
OPENAI = "from openai import AsyncOpenAI; AsyncOpenAI(api_key='k')"
ARK = "from volcenginesdkarkruntime import AsyncArk; AsyncArk(api_key='k')"
PLAIN_ANSWER = """
import asyncio, json, aiohttp
async def main():
    async with aiohttp.ClientSession() as session:
        request = session.post("{url}/images/generations", json={"model": "m", "prompt": "a cat"})
        async with request as response:
            json.loads(await response.read())
asyncio.run(main())
"""
OUR_ANSWER = """
import asyncio
from seedream_async import AsyncSeedream
async def main():
    async with AsyncSeedream(api_key="k", base_url="{url}") as client:
        await client.generate("a cat")
asyncio.run(main())
"""
THEIR_ANSWER = """
import asyncio
from MODULE import CLIENT
async def main():
    async with CLIENT(api_key="k", base_url="{url}") as client:
        await client.images.generate(model="m", prompt="a cat")
asyncio.run(main())
"""


def starts(run: Run) -> None:
    """Start *code*, or the command *words*, again and again, and count what that takes."""
    if words := run.options.get("words"):
        command = [*_seedream(), *words]
    else:
        command = [sys.executable, "-c", run.options["code"].replace("{url}", _url(run))]
    _start(command)  # what is compiled once
    with run.measured(units=run.options["starts"], children=True):
        for _ in range(run.options["starts"]):
            _start(command)


def _url(run: Run) -> str:
    return str(run.server.get("url", ""))


def _start(command: Sequence[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603


def _seedream() -> list[str]:
    """The command as it was installed."""
    script = Path(sys.executable).with_name("seedream")
    return [str(script)] if script.exists() else [sys.executable, "-m", "seedream_async"]


def code(label: str, text: str, *, ours: bool = False, peers: bool = False) -> Contender:
    return Contender(label, starts, {"code": text}, ours=ours, peers=peers)


def their_answer(module: str, client: str) -> str:
    return THEIR_ANSWER.replace("MODULE", module).replace("CLIENT", client)


def imports(quick: bool) -> Contest:
    four = "aiohttp, attrs, cattrs, tenacity"
    return Contest(
        title="Import and first client",
        contenders=[
            code(four, BASE),
            code("AsyncSeedream", CLIENT, ours=True),
            code("nothing", ""),
            code("aiohttp", "import aiohttp"),
            code("AsyncOpenAI", OPENAI, peers=True),
            code("Ark SDK", ARK, peers=True),
            code("httpx", "import httpx; httpx.AsyncClient()", peers=True),
        ],
        baseline=four,
        metrics=[CPU, WALL],
        goals=[
            Goal(
                metric=CPU,
                contender="AsyncSeedream",
                against=four,
                most=1.1,
                headline="import and first client",
            )
        ],
        options={"starts": 1 if quick else 5},
        unit="start",
        rounds=1 if quick else 7,
    )


def answers(quick: bool) -> Contest:
    plain = "aiohttp + json"
    return Contest(
        title="From the start of the process to the first answer",
        contenders=[
            code(plain, PLAIN_ANSWER),
            code("AsyncSeedream", OUR_ANSWER, ours=True),
            code("AsyncOpenAI", their_answer("openai", "AsyncOpenAI"), peers=True),
            code("Ark SDK", their_answer("volcenginesdkarkruntime", "AsyncArk"), peers=True),
        ],
        baseline=plain,
        metrics=[CPU, WALL],
        options={"starts": 1 if quick else 5},
        server=Server(servers.instant),
        unit="start",
        rounds=1 if quick else 7,
    )


def helps(quick: bool) -> Contest:
    least = "python -c 'import argparse'"
    goals = [
        Goal(metric=CPU, contender=label, against=least, most=3, headline=label)
        for label in ("seedream --help", "seedream generate --help")
    ]
    return Contest(
        title="The help of the command",
        contenders=[
            code(least, "import argparse"),
            Contender("seedream --help", starts, {"words": ["--help"]}, ours=True),
            Contender("seedream generate --help", starts, {"words": ["generate", "--help"]}),
        ],
        baseline=least,
        metrics=[CPU, WALL],
        goals=goals,
        options={"starts": 3 if quick else 10},
        unit="start",
        rounds=1 if quick else 7,
        chart=False,
    )


def contests(quick: bool) -> Sequence[Contest]:
    return [imports(quick), answers(quick), helps(quick)]


if __name__ == "__main__":
    main(__doc__, contests, title="What it takes to start")
