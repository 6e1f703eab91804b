"""
What a connection of its own costs each paid call, next to using connections again.

The server is a process of its own that answers at once; each contender runs in a fresh process,
and they take turns. Run it with `python benchmarks/connections.py`, or `--quick` for a smoke test.
Needs trustme, for the certificate.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import aiohttp
import trustme

from seedream_async import AsyncSeedream
from seedream_async._sessions import PROOF

REQUEST = {"model": "doubao-seedream-5-0-260128", "prompt": "a cat"}
BODY = json.dumps({"created": 1, "data": [{"url": "https://h.test/0.jpeg"}]}).encode()
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
KEY = "sk-benchmark"
Call = Callable[[], Awaitable[object]]


class Cost(NamedTuple):
    cpu: float  # microseconds per call
    wall: float  # microseconds per call


async def spread(call: Call, calls: int, width: int) -> Cost:
    """Make *calls* calls from *width* workers."""
    left = iter(range(calls))

    async def work() -> None:
        for _ in left:
            await call()

    await call()
    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(work() for _ in range(width)))
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Cost(cpu / calls * 1e6, wall / calls * 1e6)


def session(*, fresh: bool) -> aiohttp.ClientSession:
    """Plain aiohttp, by default or with a *fresh* connection for every request."""
    connector = aiohttp.TCPConnector(limit=0, force_close=fresh)
    return aiohttp.ClientSession(connector=connector)


async def plain(url: str, calls: int, width: int, *, fresh: bool) -> Cost:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with session(fresh=fresh) as own:

        async def call() -> None:
            async with own.post(
                f"{url}/images/generations", json=REQUEST, headers=headers
            ) as response:
                json.loads(await response.read())

        return await spread(call, calls, width)


async def ours(url: str, calls: int, width: int, *, fresh: bool) -> Cost:
    async with contextlib.AsyncExitStack() as stack:
        lent = await stack.enter_async_context(session(fresh=True)) if fresh else None
        client = AsyncSeedream(api_key=KEY, base_url=url, session=lent)
        await stack.enter_async_context(client)
        if not fresh:
            await become_known(client)
        return await spread(lambda: client.generate("a cat"), calls, width)


async def become_known(client: AsyncSeedream) -> None:
    """Let the client see that the service leaves idle connections open."""
    await client.generate("a cat")
    await client.generate("a cat")
    await asyncio.sleep(PROOF * 1.1)


async def plain_again(url: str, calls: int, width: int) -> Cost:
    return await plain(url, calls, width, fresh=False)


async def plain_fresh(url: str, calls: int, width: int) -> Cost:
    return await plain(url, calls, width, fresh=True)


async def ours_as_it_is(url: str, calls: int, width: int) -> Cost:
    return await ours(url, calls, width, fresh=False)


async def ours_fresh(url: str, calls: int, width: int) -> Cost:
    return await ours(url, calls, width, fresh=True)


CONTENDERS = {
    "aiohttp, keep-alive": plain_again,
    "aiohttp, force_close": plain_fresh,
    "AsyncSeedream, service known": ours_as_it_is,
    "AsyncSeedream, until then": ours_fresh,
}


class Answering(asyncio.Protocol):
    """One connection: every request, which ends in a brace, has the same answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"}"):
            self.transport.write(ANSWER % (len(BODY), BODY))


async def serve(folder: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    loop = asyncio.get_running_loop()
    for scheme, secure in (("http", None), ("https", context)):
        server = await loop.create_server(Answering, "127.0.0.1", ssl=secure, backlog=1024)
        print(f"{scheme}://localhost:{server.sockets[0].getsockname()[1]}", flush=True)
    await asyncio.to_thread(sys.stdin.read)


def measure(name: str, url: str, calls: int, width: int, folder: str) -> Cost:
    command = [sys.executable, __file__, "--contender", name, url, str(calls), str(width)]
    trusting = {**os.environ, "SSL_CERT_FILE": str(Path(folder, "authority.pem"))}
    done = subprocess.run(  # noqa: S603
        command, check=True, stdout=subprocess.PIPE, text=True, env=trusting
    )
    return Cost(*map(float, done.stdout.split()))


def compare(rounds: int, calls: int) -> None:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        server = stack.enter_context(
            subprocess.Popen(  # noqa: S603
                [sys.executable, __file__, "--serve", folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        urls = [server.stdout.readline().strip() for _ in range(2)]  # type: ignore[union-attr]
        print(f"{calls} calls, {rounds} rounds, medians per call")
        for url in urls:
            for width in (1, 32):
                results: dict[str, list[Cost]] = {name: [] for name in CONTENDERS}
                for _ in range(rounds):
                    for name in CONTENDERS:
                        results[name].append(measure(name, url, calls, width, folder))
                report(f"{url.partition(':')[0]}, {width} in flight", results)


def report(title: str, results: dict[str, list[Cost]]) -> None:
    middles = {
        name: Cost(*map(statistics.median, zip(*costs, strict=True)))
        for name, costs in results.items()
    }
    base = middles["aiohttp, keep-alive"]
    print(title)
    for name, middle in middles.items():
        print(
            f"  {name:26} CPU {middle.cpu:6.0f} us {middle.cpu / base.cpu:5.2f} x"
            f"   wall {middle.wall:6.0f} us {middle.wall / base.wall:5.2f} x"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--contender", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
    elif options.contender:
        name, url, calls, width = options.contender
        print(*asyncio.run(CONTENDERS[name](url, int(calls), int(width))))
    else:
        compare(rounds=1 if options.quick else 5, calls=100 if options.quick else 2000)


if __name__ == "__main__":
    main()
