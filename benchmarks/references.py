"""
A request with 14 reference images of 4 MB: memory, event-loop lag and CPU time, next to clients
that build its body of 75 MB as a whole.

The server is a bare asyncio protocol that reads the body and answers at once. Run it with
`python benchmarks/references.py --peers`, or with `--quick` to see that it works.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from arena import (
    CPU,
    GROWTH,
    LAG_MAX,
    WALL,
    Contender,
    Contest,
    Goal,
    Run,
    Server,
    main,
    servers,
)

MODEL = "doubao-seedream-5-0-260128"
KEY = "sk-benchmark"
# Start of image, and a frame of 2048 x 2048 pixels: what a client looks at.
HEAD = b"\xff\xd8\xff\xc0\0\x11\x08\x08\0\x08\0"
Reference = Path | bytes
Send = Callable[[Sequence[Reference]], Awaitable[object]]


def references(run: Run) -> Sequence[Reference]:
    """What the options ask for, in files or in memory."""
    made: list[Reference] = []
    for number in range(run.options["count"]):
        content = HEAD + random.Random(number).randbytes(run.options["size"] - 13) + b"\xff\xd9"
        path = run.folder / f"{number}.jpeg"
        path.write_bytes(content)
        made.append(path if run.options["files"] else content)
    return made


async def measure(run: Run, send: Send) -> None:
    """Warm up with one small reference, and then send all."""
    small = run.folder / "small.jpeg"
    small.write_bytes(HEAD + bytes(300_000) + b"\xff\xd9")
    wanted = references(run)
    await send([small])
    with run.measured():
        await send(wanted)


def uris(given: Sequence[Reference]) -> list[str]:
    contents = (item.read_bytes() if isinstance(item, Path) else item for item in given)
    texts = (base64.b64encode(content).decode() for content in contents)
    return [f"data:image/jpeg;base64,{text}" for text in texts]


async def plain(run: Run) -> None:
    import aiohttp

    url, headers = f"{run.server['url']}/images/generations", {"Authorization": f"Bearer {KEY}"}
    async with aiohttp.ClientSession(headers=headers) as session:

        async def send(given: Sequence[Reference]) -> None:
            request = {"model": MODEL, "prompt": "a cat", "image": uris(given)}
            async with session.post(url, json=request) as response:
                await response.json()

        await measure(run, send)


async def ours(run: Run) -> None:
    from seedream_async import AsyncSeedream

    async with AsyncSeedream(api_key=KEY, base_url=run.server["url"]) as client:
        await measure(run, lambda given: client.generate("a cat", image=given))


async def openai(run: Run) -> None:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(api_key=KEY, base_url=run.server["url"]) as client:

        async def send(given: Sequence[Reference]) -> None:
            more = {"image": uris(given)}
            await client.images.generate(model=MODEL, prompt="a cat", extra_body=more)

        await measure(run, send)


async def ark(run: Run) -> None:
    from volcenginesdkarkruntime import AsyncArk

    async with AsyncArk(api_key=KEY, base_url=run.server["url"]) as client:

        async def send(given: Sequence[Reference]) -> None:
            await client.images.generate(model=MODEL, prompt="a cat", image=uris(given))

        await measure(run, send)


US, PLAIN, OPENAI = "AsyncSeedream", "aiohttp + json", "AsyncOpenAI"
CONTENDERS = (
    Contender(PLAIN, plain),
    Contender(US, ours, ours=True),
    Contender(OPENAI, openai, peers=True),
    Contender("Ark SDK", ark, peers=True),
)


def contest(*, files: bool, quick: bool) -> Contest:
    what = "14 references of 4 MB"
    return Contest(
        title=f"{what}, {'files' if files else 'bytes'}",
        contenders=CONTENDERS,
        baseline=PLAIN,
        metrics=[LAG_MAX, GROWTH, CPU, WALL],
        goals=[
            Goal(
                metric=LAG_MAX,
                contender=US,
                against=OPENAI,
                most=1 / 20,
                headline=f"loop lag, {what}" if files else "",
            ),
            Goal(
                metric=GROWTH,
                contender=US,
                most=16,
                headline=f"memory growth, {what}" if files else "",
            ),
        ],
        options={"count": 14, "size": 4_000_000, "files": files},
        server=Server(servers.instant),
        unit="request",
        rounds=1 if quick else 5,
    )


def contests(quick: bool) -> Sequence[Contest]:
    return [contest(files=files, quick=quick) for files in (True, False)]


if __name__ == "__main__":
    main(__doc__, contests, title="Reference images in one request")
