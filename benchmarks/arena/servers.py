"""
Servers for contests, each to be run in a process of its own. They yield what a contender must know:
`url`, and with TLS `authority`, the file of the certificate to trust.

What they need is imported when they start: contenders import this module as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

Facts = Mapping[str, Any]

GENERATED = {
    "model": "doubao-seedream-5-0-260128",
    "created": 1_790_000_000,
    "data": [
        {
            "url": "https://ark-content-generation.tos-cn-beijing.volces.com/doubao-seedream-5-0/"
            "021790000000000_0.jpeg?X-Tos-Algorithm=TOS4-HMAC-SHA256&X-Tos-Credential=AKLT"
            "%2F20261121%2Fcn-beijing%2Ftos%2Frequest&X-Tos-Date=20261121T000000Z"
            "&X-Tos-Expires=86400&X-Tos-Signature=" + "0" * 64 + "&X-Tos-SignedHeaders=host",
            "size": "2048x2048",
        }
    ],
    "usage": {"generated_images": 1, "output_tokens": 16384, "total_tokens": 16384},
}
NO_NGINX = "no nginx here (Debian: apt-get install nginx-light): a server in Python instead"


@contextlib.contextmanager
def certified(tls: bool) -> Iterator[Path | None]:
    """A folder with `authority.pem`, and `key.pem` and `chain.pem` for this machine."""
    if not tls:
        yield None
        return
    import trustme

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    with tempfile.TemporaryDirectory(prefix="arena-tls-") as folder:
        authority.cert_pem.write_to_path(f"{folder}/authority.pem")
        issued.private_key_pem.write_to_path(f"{folder}/key.pem")
        for part in issued.cert_chain_pems:
            part.write_to_path(f"{folder}/chain.pem", append=True)
        yield Path(folder)


def context_of(certificates: Path | None) -> ssl.SSLContext | None:
    if certificates is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "chain.pem", certificates / "key.pem")
    return context


def facts_of(port: int, certificates: Path | None, **more: Any) -> Facts:
    if certificates is None:
        return {"url": f"http://127.0.0.1:{port}", **more}
    authority = str(certificates / "authority.pem")
    return {"url": f"https://127.0.0.1:{port}", "authority": authority, **more}


@contextlib.asynccontextmanager
async def emulator(**options: Any) -> AsyncIterator[Facts]:
    """The emulator of the package, with its *options*; also yields a `key`."""
    from seedream_async.emulator import Emulator

    async with Emulator(**options) as running:
        yield {"url": running.base_url, "key": running.api_key, "name": "the emulator"}


class Answering(asyncio.Protocol):
    """One connection: every request has the same answer, after *delay* seconds."""

    def __init__(self, answer: bytes, delay: float) -> None:
        self._answer = answer
        self._delay = delay
        self._seen = b""
        self._body = -1  # bytes that are still to come

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._body < 0:
            self._seen += data
            head, found, rest = self._seen.partition(b"\r\n\r\n")
            if not found:
                return
            self._seen = b""
            self._body, data = length_in(head), rest
        self._body -= len(data)
        if self._body <= 0:
            self._body = -1
            self._reply()

    def _reply(self) -> None:
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self._transport.write, self._answer)
        else:
            self._transport.write(self._answer)


def length_in(head: bytes) -> int:
    """The length of the body that *head* announces."""
    _, _, value = head.lower().partition(b"\r\ncontent-length:")
    return int(value.partition(b"\r\n")[0] or 0)


@contextlib.asynccontextmanager
async def instant(
    *, tls: bool = False, delay: float = 0.0, body: Any = GENERATED
) -> AsyncIterator[Facts]:
    """
    Answers anything with *body* as JSON, and costs next to nothing.

    It reads the length of each body and nothing else, so it takes no chunked requests.
    """
    content = json.dumps(body).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    answer = head % len(content) + content
    with certified(tls) as certificates:
        server = await asyncio.get_running_loop().create_server(
            lambda: Answering(answer, delay),
            "127.0.0.1",
            ssl=context_of(certificates),
            backlog=4096,
        )
        port = server.sockets[0].getsockname()[1]
        yield facts_of(port, certificates, name="a bare asyncio server")
        server.close()


@contextlib.asynccontextmanager
async def site(folder: str, *, tls: bool = False) -> AsyncIterator[Facts]:
    """The files of *folder*: nginx where it is, a server in Python otherwise, which is noted."""
    async with nginx(folder, tls=tls) if nginx_path() else python_site(folder, tls=tls) as facts:
        yield facts


@contextlib.asynccontextmanager
async def python_site(folder: str, *, tls: bool = False) -> AsyncIterator[Facts]:
    """The files of *folder*, sent by aiohttp."""
    from aiohttp import web

    app = web.Application()
    app.router.add_static("/", folder)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    with certified(tls) as certificates:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context_of(certificates)).start()
        port = runner.addresses[0][1]
        yield facts_of(port, certificates, name="aiohttp", note=NO_NGINX)
        await runner.cleanup()


def nginx_path() -> str | None:
    """Where nginx is; Debian keeps it where only root looks."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


_NGINX = """
daemon off;
{user}
pid {work}/nginx.pid;
error_log stderr warn;
worker_processes 1;
worker_rlimit_nofile 20000;
events {{ worker_connections 16000; }}
http {{
    types {{ image/jpeg jpeg; application/json json; }}
    default_type application/octet-stream;
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 60;
    keepalive_requests 100000000;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    server {{
        listen 127.0.0.1:{port}{listen} backlog=4096;
        {tls}
        root {root};
        {locations}
    }}
}}
"""


def nginx_configuration(
    work: str, root: str, port: int, certificates: Path | None, locations: str = ""
) -> str:
    """A configuration for one worker that keeps everything below *work*."""
    tls = certificates and (
        f"ssl_certificate {certificates}/chain.pem; ssl_certificate_key {certificates}/key.pem;"
    )
    # Whoever is root has the workers be root, too: others may not read temporary folders.
    return _NGINX.format(
        user="" if os.geteuid() else "user root root;",
        work=work,
        root=root,
        port=port,
        listen=" ssl" if tls else "",
        tls=tls or "",
        locations=locations,
    )


def configured(work: str, *details: Any) -> Path:
    """A file with the configuration."""
    path = Path(work, "nginx.conf")
    path.write_text(nginx_configuration(work, *details))
    return path


@contextlib.asynccontextmanager
async def nginx(root: str, *, tls: bool = False, locations: str = "") -> AsyncIterator[Facts]:
    """nginx with one worker: the files of *root*, and *locations* in its own language."""
    path = nginx_path()
    assert path  # noqa: S101
    with (
        reserved_port() as port,
        certified(tls) as certificates,
        tempfile.TemporaryDirectory(prefix="arena-nginx-") as work,
    ):
        configuration = configured(work, root, port, certificates, locations)
        process = await asyncio.create_subprocess_exec(
            path, "-c", configuration, "-p", work, "-e", "stderr", stdout=subprocess.DEVNULL
        )
        try:
            await _answering(port)
            yield facts_of(port, certificates, name="nginx, one worker")
        finally:
            process.terminate()
            await process.wait()


@contextlib.contextmanager
def reserved_port() -> Iterator[int]:
    """A port that nobody else is given; who reuses addresses, as nginx does, may listen on it."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def _answering(port: int) -> None:
    """Wait until something is said or the connection closed: then there is a worker to count."""
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(b"GET / HTTP/1.0\r\n\r\n")
                await reader.read(1)
                writer.close()
                return
            await asyncio.sleep(0.02)
