"""One client for an application, errors as answers, and work that is for a browser."""

import asyncio
import contextlib
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated

import pytest
from aiohttp import web
from fastapi import Depends, FastAPI
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import HTTPConnection

from seedream_async import (
    AsyncSeedream,
    ClientClosingError,
    InvalidRequestError,
    RateLimitError,
    RetryPolicy,
    aiohttp_web,
    starlette,
)
from seedream_async.emulator import Emulator

from .scripted_store import Store, head
from .web_servers import FRAMEWORKS, browsing, serving, tasks, until, uvicorn_of


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    return request.param


async def is_closed(client):
    with pytest.raises(RuntimeError, match="closed: make a new one"):
        await client.models()
    return True


async def test_one_client_for_the_application(framework, session):
    """Every request gets the same client, which is closed with the application."""
    mine = AsyncSeedream(api_key="k")
    seen = []

    async def answer(module, request):
        seen.append(module.get_client(request))
        return await respond(module, 200)

    async with serving(framework, mine, answer) as service:
        for _ in range(2):
            async with session.get(service.url):
                pass

    assert seen == [mine, mine]
    assert await is_closed(mine)


async def respond(module, status):
    if module is aiohttp_web:
        return web.Response(status=status)
    return starlette.Response(status_code=status)


async def test_a_lifespan_within_ones_own():
    """The lifespan can be a part of another, whose state has the client and more."""
    client = AsyncSeedream(api_key="k")

    @contextlib.asynccontextmanager
    async def own(app):
        async with starlette.lifespan(lambda: client)(app) as state:
            yield {**state, "mine": 1}

    async with own(None) as state:
        connection = HTTPConnection({"type": "http", "state": state})
        got = starlette.get_client(connection)

    assert got is client
    assert state["mine"] == 1
    assert await is_closed(client)


def test_a_service_without_a_key_does_not_start():
    """A mistake in the settings is found when the service starts."""
    with pytest.raises(InvalidRequestError, match="COMETAPI_KEY"):
        asyncio.run(starlette.lifespan()(None).__aenter__())


def test_a_lifespan_that_is_missing_is_told():
    """Who asks for a client that nobody made learns how it is made."""
    connection = HTTPConnection({"type": "http", "state": {}})

    with pytest.raises(RuntimeError, match=re.escape("lifespan=seedream_async.starlette.lifespan")):
        starlette.get_client(connection)


async def test_a_client_of_an_outer_application():
    """A part of an aiohttp application finds the client of the whole."""
    client = object()
    request = SimpleNamespace(config_dict={aiohttp_web.CLIENT: client})

    assert aiohttp_web.get_client(request) is client


async def test_fastapi_takes_the_dependency(session, emulator):
    """`Depends(get_client)` needs nothing of FastAPI on this side."""
    app = FastAPI(lifespan=starlette.lifespan(emulator.client))

    @app.get("/")
    async def price(client: Annotated[AsyncSeedream, Depends(starlette.get_client)]):
        return len((await client.generate("a cat")).images)

    async with uvicorn_of(app) as port, session.get(f"http://127.0.0.1:{port}/") as response:
        assert await response.json() == 1


async def test_errors_are_answers(framework, session, emulator):
    """Whatever a handler lets through becomes a status and a safe body."""
    emulator.fail_next(status=429, retry_after=3000, message="org 42 is at its limit")

    async def answer(module, request):
        await module.get_client(request).generate("a cat")

    async with serving(framework, emulator.client(), answer) as service:
        async with session.get(service.url) as response:
            body = await response.json()

    assert response.status == 429
    assert response.headers["Retry-After"] == "3000"
    assert response.headers["Cache-Control"] == "no-store"
    assert body == {
        "error": {
            "type": "RateLimitError",
            "message": "Too many images are asked for: try again later",
            "possibly_billed": False,
            "status": 429,
        }
    }


async def test_an_error_can_be_answered_by_hand():
    """The same without a handler for all."""
    error = RateLimitError("no", retry_after=1.2)

    told = [aiohttp_web.error_response(error), await starlette.error_response(None, error)]

    assert [told[0].status, told[1].status_code] == [429, 429]
    assert {answer.headers["Retry-After"] for answer in told} == {"2"}


async def test_no_way_there(framework, session):
    """Without a service behind it, the answer is a clear 503, with neither host nor key."""
    retry = RetryPolicy(attempts=1)
    client = AsyncSeedream(api_key="sk-fake", base_url="http://127.0.0.1:9/v1", retry=retry)

    async def answer(module, request):
        await module.get_client(request).generate("a cat")

    async with serving(framework, client, answer) as service:
        async with session.get(service.url) as response:
            body = await response.text()

    assert response.status == 503
    assert "The image service cannot be reached" in body
    assert "127.0.0.1" not in body
    assert "sk-fake" not in body


async def test_a_cut_connection(framework, session, emulator):
    """Behind a cut connection, a browser learns that it may have been billed."""
    emulator.cut_next()

    async def answer(module, request):
        await module.get_client(request).generate("a cat")

    async with serving(framework, emulator.client(), answer) as service:
        async with session.get(service.url) as response:
            body = await response.json()

    assert response.status == 504
    assert body["error"]["possibly_billed"]


def attending(when_left, done, folder):
    async def answer(module, request):
        client = module.get_client(request)

        async def work():
            try:
                done.append(await client.generate("a cat", save_to=folder))
            except asyncio.CancelledError:
                done.append("cancelled")
                raise

        await module.attend(request, client, work(), when_left=when_left)
        return await respond(module, 204)

    return answer


async def test_work_is_for_a_browser(framework, session, emulator, tmp_path):
    """What a browser waits for is done, and answered."""
    done = []
    answer = attending("cancel", done, tmp_path)

    async with serving(framework, emulator.client(), answer) as service:
        async with session.post(service.url) as response:
            pass

    assert response.status == 204
    assert len(done[0].files) == 1


async def test_work_that_fails(framework, session, emulator, tmp_path):
    """Its error is that of the handler."""
    emulator.fail_next(status=400)
    answer = attending("finish_and_store", [], tmp_path)

    async with serving(framework, emulator.client(), answer) as service:
        async with session.post(service.url) as response:
            pass

    assert response.status == 400


async def test_who_leaves_cancels(framework, emulator, tmp_path):
    """With `cancel`, the work is cancelled, and gone; it may have been billed."""
    emulator.stall_next()
    done = []
    answer = attending("cancel", done, tmp_path)

    async with serving(framework, emulator.client(), answer) as service:
        async with browsing(service.port) as (_, leave):
            await until(lambda: emulator.request_count)
            leave()
        await until(lambda: done)
        await until(lambda: not tasks())

    assert done == ["cancelled"]


async def test_who_leaves_lets_it_finish(framework, tmp_path):
    """With `finish_and_store`, the work goes on without the browser, and is saved."""
    done = []
    answer = attending("finish_and_store", done, tmp_path)

    async with Emulator(latency=0.2) as emulator:
        async with serving(framework, emulator.client(), answer) as service:
            async with browsing(service.port) as (_, leave):
                await until(lambda: emulator.request_count)
                leave()
            await until(lambda: done)
            await until(lambda: not tasks())

        assert emulator.images_billed == len(done[0].files) == 1


async def test_a_choice_that_is_none(framework, session, emulator, tmp_path):
    """What is to become of the work is said, or refused."""
    answer = attending(None, [], tmp_path)

    async with serving(framework, emulator.client(), answer) as service:
        async with session.post(service.url) as response:
            pass

    assert response.status == 500
    assert emulator.request_count == 0


async def test_a_handler_that_is_cancelled(emulator):
    """Where a server cancels handlers, the work goes with its handler, or stays, as was chosen."""

    async def handle(when_left):
        request = SimpleNamespace(receive=asyncio.Event().wait)
        await starlette.attend(request, client, endless(), when_left=when_left)

    async def endless():
        begun.append(True)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    begun, ended = [], []
    client = emulator.client()
    handlers = [asyncio.create_task(handle(it)) for it in ("cancel", "finish_and_store")]
    await until(lambda: len(begun) == 2)

    for handler in handlers:
        handler.cancel()
    await asyncio.wait(handlers)

    assert ended == [True]
    await client.aclose()
    assert ended == [True, True]


async def test_who_cannot_be_asked_has_not_left(emulator, caplog):
    """What a middleware gets wrong when it is asked for the browser does not cost the work."""

    async def receive():
        raise RuntimeError("Unexpected message received")

    async with emulator.client() as client:
        request, work = SimpleNamespace(receive=receive), client.generate("a cat")
        response = await starlette.attend(request, client, work, when_left="cancel")

    assert len(response.images) == 1
    assert "it cannot be told whether a browser left" in caplog.text


async def test_a_client_that_is_closed_amidst(emulator):
    """Who waits for work that the end of the client cancelled is told so."""
    request = SimpleNamespace(receive=asyncio.Event().wait)
    client, begun = emulator.client(), asyncio.Event()

    async def endless():
        begun.set()
        await asyncio.Event().wait()

    waiting = asyncio.create_task(
        starlette.attend(request, client, endless(), when_left="finish_and_store")
    )
    await begun.wait()

    await client.aclose()

    with pytest.raises(ClientClosingError, match="since the client was closed"):
        await waiting


async def test_behind_a_middleware(session):
    """Answers pass through a middleware of Starlette's that reads them; then a task runs."""
    ran = asyncio.Event()
    image = b"\xff\xd8\xff" + bytes(999)
    client = AsyncSeedream(api_key="k")

    class Task:
        async def __call__(self):
            ran.set()

    async def pass_on(request, call_next):
        return await call_next(request)

    async with Store(head("200 OK", len(image)) + image) as store:
        app = FastAPI(lifespan=starlette.lifespan(lambda: client))
        app.add_middleware(BaseHTTPMiddleware, dispatch=pass_on)

        @app.get("/")
        async def handle():
            return starlette.image_response(client, store.url, background=Task())

        async with uvicorn_of(app) as port, session.get(f"http://127.0.0.1:{port}/") as response:
            assert await response.read() == image
    assert ran.is_set()


async def test_a_server_that_raises_when_a_browser_left():
    """Servers of ASGI 2.4 say with an `OSError` that nobody is there; that is no error here."""

    async def send(message):
        raise OSError

    image = b"\xff\xd8\xff" + bytes(999)
    async with AsyncSeedream(api_key="k") as client:
        async with Store(head("200 OK", len(image)) + image) as store:
            response = starlette.image_response(client, store.url)

            await response(
                {"method": "GET", "headers": [], "type": "http"}, asyncio.Event().wait, send
            )

        assert not client._generating.guests._visits


def test_answers_are_drawn_up_by_others():
    """The classes are for annotations: what they answer is said by the functions."""
    for module in (starlette, aiohttp_web):
        assert issubclass(module.ImageResponse, module._Answering)
        assert {"image_response", "event_response", "attend", "WhenLeft"} <= set(module.__all__)


def test_every_error_has_a_line():
    """The README's table of statuses is what the code says."""
    readme = Path(__file__).parent.parent.joinpath("README.md").read_text(encoding="utf-8")
    from seedream_async._web._telling import _TABLE  # noqa: PLC0415

    for kind, status, _ in _TABLE:
        assert re.search(rf"^\| {status} \|.*`{kind.__name__}`", readme, re.MULTILINE), kind
