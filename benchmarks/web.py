"""
What a web service pays for handing images on, next to the same service sending a static file.

Uvicorn serves it with two workers to 200 browsers, a tenth of which leave at a random moment; the
API and its store are a process of its own. An image takes 20 s, as quick models need for one, so
3000 requests are five minutes' worth of work; where each is for four images, a quarter of them is
all there is. The same with images that take 5 s, which no model does, shows what more load does.
Run it with `python benchmarks/web.py`, or with `--quick` to see that it works.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import os
import random
import socket
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import aiohttp
from arena import Contender, Contest, Goal, Run, Server, Take, extra, main, servers
from arena.kernel import memory
from arena.lag import Ticker, timed_steps
from fastapi import Depends, FastAPI, Request
from fastapi.responses import FileResponse

from seedream_async import AsyncSeedream, Limits
from seedream_async.starlette import attend, event_response, get_client, image_response, lifespan

SIZE = 1 << 20  # bytes of an image
IMAGE = b"\xff\xd8\xff\xe0" + random.Random(1).randbytes(SIZE - 6) + b"\xff\xd9"
FOLDER = Path(os.environ.get("BENCHMARK_FOLDER", "."))
LATENCY = float(os.environ.get("BENCHMARK_LATENCY", "0"))
GLANCE = 0.5  # seconds between two looks at the memory
LEAVING = 0.1  # of the browsers


# The service


@contextlib.asynccontextmanager
async def watched(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """The client, and a record of what the loop, the processor and the memory went through."""
    (FOLDER / "static.jpeg").write_bytes(IMAGE)
    seen: list[float] = []
    ticker, steps = Ticker(), timed_steps()
    start, cpu, objects = time.monotonic(), time.process_time(), count_objects()

    async def look() -> None:
        while True:
            seen.append(memory("VmRSS"))
            await asyncio.sleep(GLANCE)

    looking = asyncio.create_task(look())
    ticker.start()
    make = lifespan(lambda: AsyncSeedream(limits=Limits(concurrency=800)), grace=20)
    async with make(app) as state:
        yield state
    lag = ticker.stop() or {}
    looking.cancel()
    record = {
        **{f"lag {name}": value for name, value in lag.items()},
        "held": 1e3 * steps.left_at(0.01 * (time.monotonic() - start)),
        "cpu": time.process_time() - cpu,
        "peak": max(seen),
        "drift": drift(seen),
        "objects": count_objects() - objects,
        "tasks": sum("seedream_async" in str(task) for task in asyncio.all_tasks()),
    }
    (FOLDER / f"worker-{os.getpid()}.json").write_text(json.dumps(record))


def count_objects() -> int:
    """How many objects are alive."""
    gc.collect()
    return len(gc.get_objects())


def drift(seen: Sequence[float]) -> float:
    """How much more there was in the last third than in the second: what grows without an end."""
    third = len(seen) // 3
    return statistics.median(seen[-third:]) - statistics.median(seen[third : 2 * third])


app = FastAPI(lifespan=watched)
Client = Annotated[AsyncSeedream, Depends(get_client)]


@app.post("/static")
async def static() -> FileResponse:
    await asyncio.sleep(LATENCY)
    return FileResponse(FOLDER / "static.jpeg")


@app.post("/paid")
async def paid(request: Request, client: Client) -> FileResponse:
    await attend(request, client, client.generate("a cat"), when_left="cancel")
    return FileResponse(FOLDER / "static.jpeg")


@app.post("/sketch")
async def sketch(request: Request, client: Client):
    response = await attend(request, client, client.generate("a cat"), when_left="cancel")
    return image_response(client, response.images[0])


@app.post("/four")
async def four(client: Client):
    results = client.generate_many(["a cat"] * 4, save_to=FOLDER / "images")
    return event_response(client, results, when_left="finish_and_store")


# The API, and its store


@contextlib.asynccontextmanager
async def far_side(latency: float) -> AsyncIterator[servers.Facts]:
    """Takes its time for an image; tells at /counts how often it was asked for what."""
    counts = {"POST": 0, "GET": 0}

    async def content_of(head: str, reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
        if head.startswith("post"):
            await reader.readexactly(servers.length_in(head.encode()))
            counts["POST"] += 1
            await asyncio.sleep(latency)
            link = f"http://127.0.0.1:{port}/k/{counts['POST']}.jpeg"
            return b"application/json", json.dumps({"created": 1, "data": [{"url": link}]}).encode()
        if head.startswith("get /counts"):
            return b"application/json", json.dumps(counts).encode()
        counts["GET"] += 1
        return b"image/jpeg", IMAGE

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                kind, body = await content_of(head, reader)
                writer.write(lines % (kind, len(body)) + body)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024) as server:
        port = server.sockets[0].getsockname()[1]
        yield {"url": f"http://127.0.0.1:{port}", "name": "a bare asyncio server"}


# The browsers


async def browse(session: aiohttp.ClientSession, url: str, run: Run) -> int:
    """Ask for all there is to ask; how many browsers left, as all the others get what is whole."""
    latency, left = run.options["latency"], iter(range(run.options["requests"]))
    gone, dice = 0, random.Random(2)

    async def browser() -> None:
        nonlocal gone
        await asyncio.sleep(dice.uniform(0, latency))  # people do not come all at once
        for _ in left:
            leaves = dice.random() < LEAVING
            patience = dice.uniform(0, 1.5 * latency) if leaves else 60
            try:
                async with asyncio.timeout(patience), session.post(url) as response:
                    body = await response.read()
            except TimeoutError:
                if not leaves:
                    raise
                gone += 1
            else:
                if body != IMAGE and body.count(b"event: image\n") != 4:
                    raise SystemExit(f"{response.status}: {body[:2000]!r}")

    await asyncio.gather(*(browser() for _ in range(run.options["browsers"])))
    return gone


@contextlib.asynccontextmanager
async def service(run: Run) -> AsyncIterator[str]:
    """Uvicorn with two workers, until they have ended; its URL."""
    environment = {
        **os.environ,
        "BENCHMARK_FOLDER": str(run.folder),
        "BENCHMARK_LATENCY": str(run.options["latency"]),
        "COMETAPI_KEY": "sk-benchmark",
        "COMETAPI_BASE_URL": f"{run.server['url']}/v1",
    }
    command = [sys.executable, "-m", "uvicorn", "web:app", f"--app-dir={Path(__file__).parent}"]
    options = ["--workers=2", "--log-level=error", "--timeout-graceful-shutdown=5"]
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as plain:
        process = await asyncio.create_subprocess_exec(
            *command,
            *options,
            f"--fd={plain.fileno()}",
            env=environment,
            pass_fds=[plain.fileno()],
        )
        try:
            yield f"http://127.0.0.1:{plain.getsockname()[1]}"
        finally:
            process.terminate()  # what is paid for may end
            await process.wait()


async def visit(run: Run) -> None:
    """The browsers' side of one service, from its start to its end."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        before = await counts(session, run)
        async with service(run) as url:
            page = f"{url}/{run.options['mode']}"
            async with session.post(page) as response:
                await response.read()  # waits until it is there
            with run.measured(units=run.options["requests"], tick=None) as take:
                gone = await browse(session, page, run)
        after = await counts(session, run)
    note(take, run.folder)
    take.extras["left"] = gone
    check(run, take, {name: after[name] - before[name] for name in after})


async def counts(session: aiohttp.ClientSession, run: Run) -> dict[str, int]:
    """How often the far side was asked for what."""
    async with session.get(f"{run.server['url']}/counts") as response:
        found: dict[str, int] = await response.json()
        return found


def note(take: Take, folder: Path) -> None:
    """What the workers left behind in *folder*: the worse of both, and the CPU time of each."""
    records = [json.loads(path.read_text("utf-8")) for path in folder.glob("worker-*.json")]
    take.extras |= {name: max(record[name] for record in records) for name in records[0]}
    take.extras["cpu"] = sum(record["cpu"] for record in records) / take.units * 1e3


def check(run: Run, take: Take, asked: dict[str, int]) -> None:
    """What must hold on any machine."""
    if take.extras["tasks"]:
        raise SystemExit("tasks were left")
    stored = len([*run.folder.glob("images/*.jpeg")])
    if run.options["mode"] == "four" and not asked["POST"] == asked["GET"] == stored:
        raise SystemExit(f"not all that is paid for is stored: {asked}, {stored} stored")


LAG = extra("loop lag p99", "ms", "lag p99")
LONGEST = extra("loop lag max", "ms", "lag max")
HELD = extra("held at 1 % of the time", "ms", "held")
SPENT = extra("CPU each", "ms", "cpu")
PEAK = extra("peak memory", "MB", "peak")
DRIFT = extra("memory, last third over second", "MB", "drift")
STATIC, PAID, SKETCH, FOUR = (
    "a static file",
    "a paid image, and a static file",
    "a paid image, handed on",
    "four paid images, saved and relayed",
)
GOALS = (
    Goal(metric=LAG, contender=SKETCH, against=STATIC, headline="loop lag of a web service"),
    Goal(
        metric=DRIFT, contender=SKETCH, most=8, headline="memory that a web service gains over time"
    ),
    Goal(
        metric=DRIFT,
        contender=FOUR,
        most=8,
        headline="memory that a web service gains over time, four images at once",
    ),
)


def contest(
    title: str, *, browsers: int, requests: int, latency: float, rounds: int, **more: Any
) -> Contest:
    return Contest(
        title=title,
        contenders=[
            Contender(STATIC, visit, {"mode": "static"}),
            Contender(PAID, visit, {"mode": "paid"}),
            Contender(SKETCH, visit, {"mode": "sketch"}, ours=True),
            Contender(FOUR, visit, {"mode": "four", "requests": requests // 4}, ours=True),
        ],
        baseline=STATIC,
        metrics=[LAG, LONGEST, HELD, SPENT, PEAK, DRIFT],
        options={"browsers": browsers, "requests": requests, "latency": latency},
        server=Server(far_side, {"latency": latency}),
        unit="request",
        rounds=rounds,
        **more,
    )


def contests(quick: bool) -> Sequence[Contest]:
    if quick:
        title = "40 browsers, two workers"
        return [contest(title, browsers=40, requests=80, latency=0.5, rounds=1, goals=GOALS)]
    hard = dataclasses.replace(GOALS[0], headline=f"{GOALS[0].headline}, four times as fast")
    title, size = "200 browsers, two workers", {"browsers": 200, "requests": 3000, "rounds": 3}
    return [
        contest(title, latency=20.0, goals=GOALS, **size),
        contest(f"{title}, four times as fast", latency=5.0, chart=False, goals=[hard], **size),
    ]


if __name__ == "__main__":
    main(__doc__, contests, title="A web service")
