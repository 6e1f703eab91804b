"""Small services on either framework, over real sockets, and browsers that leave as they like."""

import asyncio
import contextlib
import inspect
import socket

import uvicorn
from aiohttp import web
from attrs import frozen
from starlette.applications import Starlette
from starlette.routing import Route

from seedream_async import SeedreamError, aiohttp_web, starlette

FRAMEWORKS = ("starlette", "aiohttp.web")
METHODS = ["GET", "HEAD", "POST"]


@frozen
class Service:
    """A service at *url*; *web* is the module for its framework."""

    url: str
    web: object
    port: int


@contextlib.asynccontextmanager
async def serving(framework, client, answer):
    """
    A service that has *client*, and answers with what *answer* gives for the module and a request.

    When the block ends, it is shut down as its server does that.
    """
    serve = _uvicorn if framework == "starlette" else _aiohttp
    async with serve(client, answer) as service:
        yield service


async def _given(answer, module, request):
    given = answer(module, request)
    return await given if inspect.isawaitable(given) else given


@contextlib.asynccontextmanager
async def _uvicorn(client, answer):
    async def handle(request):
        return await _given(answer, starlette, request)

    app = Starlette(
        routes=[Route("/{path:path}", handle, methods=METHODS)],
        lifespan=starlette.lifespan(lambda: client, grace=60),
        exception_handlers={SeedreamError: starlette.error_response},
    )
    async with uvicorn_of(app) as port:
        yield Service(f"http://127.0.0.1:{port}/", starlette, port)


@contextlib.asynccontextmanager
async def uvicorn_of(app, **options):
    """The port of a uvicorn that serves *app* in this loop."""
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", **options)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        await server.startup([listening])
        try:
            yield listening.getsockname()[1]
        finally:
            await server.shutdown([listening])


@contextlib.asynccontextmanager
async def _aiohttp(client, answer):
    async def handle(request):
        return await _given(answer, aiohttp_web, request)

    app = web.Application(middlewares=[aiohttp_web.error_middleware])
    app.cleanup_ctx.append(aiohttp_web.cleanup_ctx(lambda: client, grace=60))
    for method in METHODS:
        app.router.add_route(method, "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=30)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        yield Service(f"http://127.0.0.1:{port}/", aiohttp_web, port)
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def browsing(port, *headers, method="GET", window=None):
    """
    A reader of what is answered, and a function that leaves without a word.

    *window* is the room, in bytes, that there is for what is not yet read.
    """
    with socket.socket() as plain:
        if window:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        plain.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(plain, ("127.0.0.1", port))
        limit = window or 2**16
        reader, writer = await asyncio.open_connection(sock=plain, limit=limit)
        lines = [f"{method} / HTTP/1.1", "Host: h", *headers, "", ""]
        writer.write("\r\n".join(lines).encode())
        try:
            yield reader, writer.transport.abort
        finally:
            writer.transport.abort()


async def until(condition):
    """Wait until *condition* holds."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def tasks():
    """Those that run code of the package, the emulator aside."""
    return [task for task in asyncio.all_tasks() if _is_ours(task.get_coro())]


def _is_ours(coroutine):
    path = coroutine.cr_code.co_filename
    return "/seedream_async/" in path and "/emulator/" not in path
