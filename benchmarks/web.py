"""
What a web service pays for handing images on, next to the same service sending a static file.

Uvicorn serves it with two workers to 200 browsers, a tenth of which leave at a random moment; the
API and its store are a process of its own. An image takes 5 s here, and 20 s at the very least
elsewhere, so 3000 requests are what 200 browsers ask for in five minutes, in a quarter of the time.
Run it with `python benchmarks/web.py`, or `--quick` for a smoke test. Needs FastAPI and uvicorn.
"""

from __future__ import annotations

import argparse
import array
import asyncio
import contextlib
import gc
import itertools
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import aiohttp
import uvicorn
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


class Load(NamedTuple):
    browsers: int
    requests: int
    latency: float


FULL, QUICK = Load(200, 3000, 5.0), Load(40, 80, 0.2)


@contextlib.asynccontextmanager
async def watched(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """The client, and a record of how late the loop was and how much memory there was."""
    (FOLDER / "static.jpeg").write_bytes(IMAGE)
    start = time.monotonic()
    steps, memory, objects = timed_steps(), [resident()], count_objects()

    async def look() -> None:
        while True:
            await asyncio.sleep(GLANCE)
            memory.append(resident())

    looking = asyncio.create_task(look())
    make = lifespan(lambda: AsyncSeedream(limits=Limits(concurrency=800)), grace=20)
    async with make(app) as state:
        yield state
    left = [str(task) for task in asyncio.all_tasks() if "seedream_async" in str(task)]
    looking.cancel()
    spent = time.monotonic() - start
    late = [lateness(steps, spent, share) for share in (0.05, 0.01, 0)]
    more = count_objects() - objects
    record = {"late": late, "memory": memory, "objects": more, "left": left}
    (FOLDER / f"worker-{os.getpid()}.json").write_text(json.dumps(record))


def count_objects() -> int:
    """How many objects are alive."""
    gc.collect()
    return len(gc.get_objects())


def timed_steps() -> array.array[float]:
    """
    The CPU time of each step of the loop, as it goes on: until a task or a callback lets go of it.

    CPU time, since a clock on the wall tells of whoever else uses the machine. Python's garbage
    collector is left out: whoever happens to make an object pays for all that there are.
    """
    steps = array.array("d")
    collecting = [0.0]
    run = asyncio.Handle._run  # noqa: SLF001

    def note_collection(phase: str, _: object) -> None:
        collecting[0] += time.thread_time() * (-1 if phase == "start" else 1)

    def run_and_note(self: asyncio.Handle) -> None:
        start, collected = time.thread_time(), collecting[0]
        run(self)
        steps.append(time.thread_time() - start - (collecting[0] - collected))

    gc.callbacks.append(note_collection)

    asyncio.Handle._run = run_and_note  # noqa: SLF001
    return steps


def lateness(steps: Sequence[float], spent: float, share: float) -> float:
    """What is exceeded, for that *share* of the time, by how long the step still takes."""
    sums = itertools.accumulate(sorted(steps, reverse=True))
    most = max((total - share * spent) / count for count, total in enumerate(sums, 1))
    return max(0.0, most)


def resident() -> float:
    """MiB of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 2**20


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


async def far_side() -> None:
    """An API that takes its time, and its store; tells how often it was asked for what."""
    counts = {"POST": 0, "GET": 0}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                if head.startswith("post"):
                    length = int(head.partition("content-length: ")[2].partition("\r")[0])
                    await reader.readexactly(length)
                    counts["POST"] += 1
                    await asyncio.sleep(LATENCY)
                    link = f"http://127.0.0.1:{port}/k/{counts['POST']}.jpeg"
                    body = json.dumps({"created": 1, "data": [{"url": link}]}).encode()
                    kind = b"application/json"
                elif head.startswith("get /counts"):
                    body, kind = json.dumps(counts).encode(), b"application/json"
                else:
                    counts["GET"] += 1
                    body, kind = IMAGE, b"image/jpeg"
                lines = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
                writer.write(lines % (kind, len(body)) + body)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    print(port, flush=True)
    await server.serve_forever()


async def browse(session: aiohttp.ClientSession, url: str, load: Load) -> tuple[int, int]:
    """Ask for all there is to ask; how many answers were whole, and how many browsers left."""
    left, whole, gone = iter(range(load.requests)), 0, 0
    dice = random.Random(2)

    async def browser() -> None:
        nonlocal whole, gone
        await asyncio.sleep(dice.uniform(0, load.latency))  # people do not come all at once
        for _ in left:
            leaves = dice.random() < LEAVING
            patience = dice.uniform(0, 1.5 * load.latency) if leaves else 60
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
                whole += 1

    await asyncio.gather(*(browser() for _ in range(load.browsers)))
    return whole, gone


class Run(NamedTuple):
    whole: int
    gone: int
    late: Sequence[float]  # milliseconds, at 95 %, at 99 % and at worst
    growth: float  # MiB of a worker
    objects: int  # more of them after the end than before the start
    stored: int
    left: int  # tasks
    posts: int
    gets: int


async def run(mode: str, load: Load) -> Run:
    """One service, from its start to its end."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as plain:
        environment = {
            **os.environ,
            "BENCHMARK_FOLDER": folder,
            "BENCHMARK_LATENCY": str(load.latency),
            "COMETAPI_KEY": "sk-benchmark",
        }
        far = await started("--far", environment=environment, stdout=subprocess.PIPE)
        far_url = f"http://127.0.0.1:{int(await far.stdout.readline())}"
        environment["COMETAPI_BASE_URL"] = f"{far_url}/v1"
        plain.listen(1024)
        service = await started(
            f"--serve={plain.fileno()}", environment=environment, pass_fds=[plain.fileno()]
        )
        try:
            url = f"http://127.0.0.1:{plain.getsockname()[1]}/{mode}"
            whole, gone, counts = await asked(url, load, service, f"{far_url}/counts")
        finally:
            for process in (service, far):
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                await process.wait()
        return Run(whole, gone, *outcome(Path(folder)), *counts)


async def started(argument: str, *, environment: dict[str, str], **options: Any) -> Any:
    return await asyncio.create_subprocess_exec(
        sys.executable, __file__, argument, env=environment, **options
    )


async def asked(url: str, load: Load, service: Any, counts: str) -> tuple[int, int, list[int]]:
    """Whole answers, browsers that left, and what the far side counts when *service* has ended."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(connector=connector) as session:
        for _ in range(4):
            async with session.post(url) as response:  # waits until it is there, and warms it
                await response.read()
        whole, gone = await browse(session, url, load)
        service.terminate()  # what is paid for may end
        await service.wait()
        async with session.get(counts) as response:
            return whole, gone, list((await response.json()).values())


def outcome(folder: Path) -> tuple[Sequence[float], float, int, int, int]:
    """What the workers left behind in *folder*."""
    records = [json.loads(path.read_text("utf-8")) for path in folder.glob("worker-*.json")]
    return (
        [1000 * max(late) for late in zip(*(record["late"] for record in records), strict=True)],
        max(grown(record["memory"]) for record in records),
        max(record["objects"] for record in records),
        len([*folder.glob("images/*.jpeg")]),
        sum(len(record["left"]) for record in records),
    )


def grown(memory: list[float]) -> float:
    """How much more there was in the last fifth than in the second."""
    fifth = max(1, len(memory) // 5)
    settled = memory[fifth : 2 * fifth] or memory
    return statistics.median(memory[-fifth:]) - statistics.median(settled)


def report(mode: str, run: Run, base: Run) -> None:
    late = ", ".join(
        f"{mine:6.2f} ({mine / max(other, 0.01):4.2f} x)"
        for mine, other in zip(run.late, base.late, strict=True)
    )
    print(
        f"{mode:7} {run.whole:5} whole {run.gone:4} left | late at 95 %, 99 %, worst: {late} ms "
        f"| {run.growth:+6.1f} MiB, {run.objects:+6} objects "
        f"| {run.posts} paid, {run.gets} fetched, {run.stored} stored",
        flush=True,
    )


def check(mode: str, run: Run, load: Load) -> None:
    """What must hold on any machine."""
    if run.whole + run.gone != load.requests:
        raise SystemExit("not all were answered")
    if run.left:
        raise SystemExit("tasks were left")
    if mode == "four" and not run.posts == run.gets == run.stored:
        raise SystemExit("not all that is paid for is stored")


async def main(load: Load) -> None:
    print(f"{load.browsers} browsers, {load.requests} requests, {load.latency} s for an image")
    base = await run("static", load)
    report("static", base, base)
    for mode, each in (("paid", 1), ("sketch", 1), ("four", 4)):
        fewer = load._replace(requests=load.requests // each)
        result = await run(mode, fewer)
        report(mode, result, base)
        check(mode, result, fewer)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only show that it works")
    parser.add_argument("--far", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.far:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(far_side())
    elif options.serve:
        uvicorn.run(
            "web:app",
            app_dir=str(Path(__file__).parent),
            fd=options.serve,
            workers=2,
            log_level="error",
            timeout_graceful_shutdown=5,
        )
    else:
        asyncio.run(main(QUICK if options.quick else FULL))
