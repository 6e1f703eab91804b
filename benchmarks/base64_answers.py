"""
Saving answers that hold their image as base64: CPU time, memory and event-loop lag, next to clients
that take the answer as a whole, decode it and write it.

nginx sends the answers. `AsyncSeedream` decodes while they arrive, and has each file on the disk
for good before it appears, which the others do not. Run it with
`python benchmarks/base64_answers.py --peers`, or with `--quick` to see that it works.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
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

MIB = 2**20
TINY = 1000  # bytes of the image that comes first, so that all is loaded
MODEL = "doubao-seedream-5-0-260128"
KEY = "sk-benchmark"
REQUEST = {"model": MODEL, "prompt": "a cat", "response_format": "b64_json"}
Save = Callable[[str, Path], Awaitable[object]]  # from that base URL to that file


def picture(size: int) -> bytes:
    """As much of a JPEG as a client looks at."""
    return b"\xff\xd8\xff" + random.Random(size).randbytes(size - 5) + b"\xff\xd9"


def answer(size: int) -> bytes:
    image = {"b64_json": base64.b64encode(picture(size)).decode(), "size": "2048x2048"}
    usage = {"generated_images": 1, "output_tokens": 16384, "total_tokens": 16384}
    return json.dumps({"model": MODEL, "created": 1, "data": [image], "usage": usage}).encode()


@contextlib.asynccontextmanager
async def api(sizes: Sequence[int]) -> AsyncIterator[servers.Facts]:
    """An API for each of *sizes*, below a path of that name, whose images have that size."""
    with tempfile.TemporaryDirectory(prefix="arena-api-") as folder:
        fill(Path(folder), sizes)
        if servers.nginx_path():
            serving = servers.nginx(folder, locations="\n".join(map(posted_to, sizes)))
        else:
            serving = python_api(folder)
        async with serving as facts:
            yield facts


def fill(folder: Path, sizes: Sequence[int]) -> None:
    folder.chmod(0o755)
    for size in sizes:
        Path(folder, f"{size}.json").write_bytes(answer(size))


def posted_to(size: int) -> str:
    """nginx sends no file to who posts, but as the page of an error."""
    return f"""
        location = /{size}/images/generations {{
            default_type application/json;
            rewrite ^ /{size}.json break;
            error_page 405 =200 /{size}.json;
        }}"""


@contextlib.asynccontextmanager
async def python_api(folder: str) -> AsyncIterator[servers.Facts]:
    from aiohttp import web

    async def respond(request: web.Request) -> web.FileResponse:
        await request.read()
        return web.FileResponse(Path(folder, f"{request.match_info['size']}.json"))

    app = web.Application()
    app.router.add_post("/{size}/images/generations", respond)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    yield servers.facts_of(port, None, name="aiohttp", note=servers.NO_NGINX)
    await runner.cleanup()


async def measure(run: Run, save: Save) -> None:
    """Warm up with tiny images, save those that are measured, and look at the files."""
    size, width, url = run.options["size"], run.options["width"], run.server["url"]
    paths = [run.folder / f"{number}.jpeg" for number in range(width)]
    tiny = [save(f"{url}/{TINY}", run.folder / f"tiny-{number}.jpeg") for number in range(width)]
    await asyncio.gather(*tiny)
    with run.measured(units=width):
        await asyncio.gather(*(save(f"{url}/{size}", path) for path in paths))
    assert all(path.read_bytes() == picture(size) for path in paths)  # noqa: S101


def write(text: str, path: Path) -> None:
    content = base64.b64decode(text)
    with path.open("wb") as file:
        file.write(content)


async def plain(run: Run) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session:

        async def save(url: str, path: Path) -> None:
            async with session.post(f"{url}/images/generations", json=REQUEST) as response:
                write((await response.json())["data"][0]["b64_json"], path)

        await measure(run, save)


async def ours(run: Run) -> None:
    if not run.options.get("speed", True):
        sys.modules["pybase64"] = None  # type: ignore[assignment]
    from seedream_async import AsyncSeedream

    async def save(url: str, path: Path) -> None:
        async with AsyncSeedream(api_key=KEY, base_url=url) as client:
            await client.generate("a cat", response_format="b64_json", save_to=path)

    await measure(run, save)


async def openai(run: Run) -> None:
    from openai import AsyncOpenAI

    async def save(url: str, path: Path) -> None:
        async with AsyncOpenAI(api_key=KEY, base_url=url) as client:
            made = await client.images.generate(
                model=MODEL, prompt="a cat", response_format="b64_json"
            )
            write(made.data[0].b64_json, path)

    await measure(run, save)


async def ark(run: Run) -> None:
    from volcenginesdkarkruntime import AsyncArk

    async def save(url: str, path: Path) -> None:
        async with AsyncArk(api_key=KEY, base_url=url) as client:
            made = await client.images.generate(
                model=MODEL, prompt="a cat", response_format="b64_json"
            )
            write(made.data[0].b64_json, path)

    await measure(run, save)


US, PLAIN, OPENAI = "AsyncSeedream", "aiohttp + json", "AsyncOpenAI"
BARE = f"{US} without pybase64"
CONTENDERS = (
    Contender(PLAIN, plain),
    Contender(US, ours, ours=True, note="with the extra `speed`"),
    Contender(BARE, ours, {"speed": False}),
    Contender(OPENAI, openai, peers=True),
    Contender("Ark SDK", ark, peers=True),
)


def goals(width: int) -> Sequence[Goal]:
    """What is wanted of 40 MiB, one at a time."""
    if width > 1:
        return ()
    what = "of saving 40 MiB of base64"
    return [
        Goal(metric=CPU, contender=US, against=OPENAI, most=1 / 6, headline=f"CPU {what}"),
        Goal(metric=GROWTH, contender=US, most=8, headline=f"memory growth {what}"),
        Goal(
            metric=LAG_MAX, contender=US, against=OPENAI, most=1 / 30, headline=f"loop lag {what}"
        ),
        Goal(metric=LAG_MAX, contender=BARE, against=OPENAI, most=1 / 10),
    ]


def contest(mib: int, width: int, *, rounds: int) -> Contest:
    return Contest(
        title=f"{mib} MiB, {'one' if width == 1 else width} at a time",
        contenders=CONTENDERS,
        baseline=PLAIN,
        metrics=[CPU, WALL, GROWTH, LAG_MAX],
        goals=goals(width) if mib == 40 else (),
        options={"size": mib * MIB, "width": width},
        server=Server(api, {"sizes": [TINY, mib * MIB]}),
        unit="image",
        rounds=rounds,
    )


def contests(quick: bool) -> Sequence[Contest]:
    if quick:
        return [contest(4, 1, rounds=1)]
    return [
        contest(40, 1, rounds=7),
        contest(16, 1, rounds=3),
        contest(4, 1, rounds=3),
        contest(40, 8, rounds=1),
        contest(16, 8, rounds=2),
        contest(4, 8, rounds=3),
    ]


if __name__ == "__main__":
    main(__doc__, contests, title="Base64 answers onto the disk")
