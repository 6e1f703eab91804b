"""
Saving many files at once: throughput, CPU time and event-loop lag, next to other clients that put
the same bytes on the disk.

nginx sends the files, with the checksum that the object store announces. Only `AsyncSeedream`
checks what arrives, and has it on the disk for good before the name appears; the rows "synced" and
"not synced" show what that costs. Run it with `python benchmarks/downloads.py --peers`, or with
`--quick` to see that it works.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path

from arena import (
    CPU,
    GROWTH,
    LAG_99,
    LAG_MAX,
    RATE,
    Contender,
    Contest,
    Goal,
    Run,
    Server,
    main,
    servers,
    spread,
)

MIB = 2**20
PIECE = MIB  # bytes that plain aiohttp writes in one trip to a thread
Get = Callable[[str, Path], Awaitable[object]]


def picture(size: int) -> bytes:
    """As much of a JPEG as a client looks at."""
    return b"\xff\xd8\xff" + random.Random(size).randbytes(size - 5) + b"\xff\xd9"


@contextlib.asynccontextmanager
async def store(sizes: Sequence[int]) -> AsyncIterator[servers.Facts]:
    """Images of *sizes*, whose names are their sizes."""
    with tempfile.TemporaryDirectory(prefix="arena-store-") as folder:
        locations = "".join(filled(Path(folder), sizes))
        if servers.nginx_path():
            serving = servers.nginx(folder, locations=locations)
        else:
            serving = servers.python_site(folder)
        async with serving as facts:
            yield facts


def filled(folder: Path, sizes: Sequence[int]) -> Iterator[str]:
    """Make the files; tell nginx of the checksums that the store sends with them."""
    from fastcrc import crc64

    folder.chmod(0o755)
    for size in sizes:
        content = picture(size)
        Path(folder, f"{size}.jpeg").write_bytes(content)
        header = f"x-tos-hash-crc64ecma {crc64.xz(content)}"
        yield f"location = /{size}.jpeg {{ add_header {header}; }}\n"


async def measure(run: Run, get: Get) -> None:
    """Warm up, and then save the files."""
    size, width, count = (run.options[name] for name in ("size", "width", "count"))
    numbers = itertools.count()

    async def one() -> None:
        await get(f"{run.server['url']}/{size}.jpeg", run.folder / f"{next(numbers)}.jpeg")

    await spread(one, width, width)
    with run.measured(units=count * size / 1e6):
        await spread(one, count, width)


async def plain(run: Run) -> None:
    import aiohttp

    synced = run.options.get("synced", False)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def get(url: str, path: Path) -> None:
            async with session.get(url) as response:
                with path.open("wb", buffering=0) as file:
                    async for chunk in response.content.iter_chunked(PIECE):
                        await asyncio.to_thread(file.write, chunk)
                    if synced:
                        await asyncio.to_thread(os.fsync, file.fileno())

        await measure(run, get)


async def ours(run: Run) -> None:
    from seedream_async import AsyncSeedream

    if not run.options.get("synced", True):
        os.fsync = lambda _: None
    async with AsyncSeedream(api_key="sk-benchmark") as client:
        await measure(run, client.download)


async def httpx(run: Run) -> None:
    from httpx import AsyncClient, Limits

    limits = Limits(max_connections=None, max_keepalive_connections=None)
    async with AsyncClient(limits=limits) as client:

        async def get(url: str, path: Path) -> None:
            async with client.stream("GET", url) as response:
                with path.open("wb") as file:
                    async for chunk in response.aiter_bytes():
                        file.write(chunk)

        await measure(run, get)


def curl(run: Run) -> None:
    size, width, count = (run.options[name] for name in ("size", "width", "count"))
    url = f"{run.server['url']}/{size}.jpeg"
    wanted = [word for n in range(count) for word in ("-o", str(run.folder / f"{n}.jpeg"), url)]
    command = ["curl", "--silent", "--parallel", "--parallel-immediate", "--parallel-max"]
    with run.measured(units=count * size / 1e6, children=True):
        subprocess.run([*command, str(width), *wanted], check=True, stderr=subprocess.DEVNULL)  # noqa: S603


US, PLAIN, CURL = "AsyncSeedream", "aiohttp, written in threads", "curl --parallel"
CONTENDERS = (
    Contender(PLAIN, plain),
    Contender(US, ours, ours=True),
    Contender(CURL, curl, needs="curl"),
    Contender("httpx", httpx, peers=True),
)
DURABLE = (
    Contender(f"{PLAIN}, synced", plain, {"synced": True}, note="as durable as ours"),
    Contender(f"{US}, not synced", ours, {"synced": False}, note="as forgetful as the others"),
)
GOALS = (
    Goal(metric=RATE, contender=US, against=CURL, least=1, headline="throughput of downloads"),
    Goal(metric=RATE, contender=US, against="httpx", least=3, headline="throughput of downloads"),
    Goal(metric=CPU, contender=US, against=PLAIN, most=1.25, headline="CPU of a download"),
    Goal(metric=LAG_99, contender=US, against=PLAIN, most=1),
)


def contest(mib: int, width: int, *, rounds: int, total: int = 256) -> Contest:
    main_one = (mib, width) == (8, 8)
    return Contest(
        title=f"files of {mib} MiB, {width} in flight",
        contenders=[*CONTENDERS, *(DURABLE if main_one else ())],
        baseline=PLAIN,
        metrics=[CPU, RATE, LAG_99, LAG_MAX, GROWTH],
        goals=GOALS if main_one else (),
        options={"size": mib * MIB, "width": width, "count": max(width, total // mib)},
        server=Server(store, {"sizes": [mib * MIB]}),
        unit="MB",
        rounds=rounds,
    )


def contests(quick: bool) -> Sequence[Contest]:
    if quick:
        return [contest(8, 8, rounds=1, total=64)]
    return [
        contest(8, 8, rounds=7),
        contest(8, 32, rounds=3),
        contest(1, 8, rounds=3),
        contest(1, 32, rounds=3),
    ]


if __name__ == "__main__":
    main(__doc__, contests, title="Files onto the disk")
