"""Results to browsers as server-sent events, and what becomes of them when a browser leaves."""

import asyncio
import json
from pathlib import Path

import pytest

from seedream_async import (
    AsyncSeedream,
    Failure,
    GenerateRequest,
    Image,
    ImageError,
    ImageFailed,
    ImagesResponse,
    ImageSucceeded,
    OutcomeUnknownError,
    RetryPolicy,
    SavedImage,
    StreamCompleted,
    Success,
    UnknownEvent,
    Usage,
    aiohttp_web,
    starlette,
)
from seedream_async._sse import Parser
from seedream_async._web import _events
from seedream_async.emulator import Emulator

from .web_servers import FRAMEWORKS, browsing, serving, tasks, until

FOUR = ["a cat", "a dog", "a fox", "a hen"]
GROUP = {"sequential_image_generation": "auto", "max_images": 3}
FILE = SavedImage(
    path=Path("/srv/secret/cat.jpeg"), bytes=9, content_type="image/jpeg", width=6, height=4
)
LINK = Image(url="https://store.test/k?X-Tos-Signature=5ec3e7", size="6x4")
REQUEST = GenerateRequest("a secret prompt")


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    return request.param


def read(body):
    return [(event.event, json.loads(event.data)) for event in Parser().feed(body)]


async def got(session, service, **options):
    async with session.post(service.url, **options) as response:
        return response, read(await response.read())


def relaying(source, when_left="cancel", **options):
    """An answer that relays what *source* gives for a client."""

    def answer(web, request):
        client = web.get_client(request)
        return web.event_response(client, source(client), when_left=when_left, **options)

    return answer


@pytest.mark.parametrize(
    ("item", "told"),
    [
        pytest.param(
            Success(3, REQUEST, ImagesResponse(data=(LINK,), files=(FILE,))),
            {"index": 3, "images": [{"size": "6x4", "file": "cat.jpeg"}]},
            id="saved",
        ),
        pytest.param(
            Success(3, REQUEST, ImagesResponse(data=(LINK, Image(error=ImageError(code="no"))))),
            {"index": 3, "images": [{"size": "6x4"}], "failed": 1},
            id="not saved, one failed",
        ),
        pytest.param(
            ImageSucceeded(index=2, image=LINK, file=FILE),
            {"index": 2, "images": [{"size": "6x4", "file": "cat.jpeg"}]},
            id="of a stream",
        ),
        pytest.param(
            ImageFailed(index=2, error=ImageError(code="Filtered", message="account 42: …")),
            {
                "index": 2,
                "error": {
                    "type": "ImageError",
                    "message": "The image service did not make this image",
                    "possibly_billed": False,
                    "code": "Filtered",
                },
            },
            id="failed of a stream",
        ),
        pytest.param(
            ImageFailed(index=2, error=ImageError(code="<b>")),
            {
                "index": 2,
                "error": {
                    "type": "ImageError",
                    "message": "The image service did not make this image",
                    "possibly_billed": False,
                },
            },
            id="a code that is none",
        ),
        pytest.param(
            Failure(1, REQUEST, OutcomeUnknownError("https://api.test broke off")),
            {
                "index": 1,
                "error": {
                    "type": "OutcomeUnknownError",
                    "message": "No answer came, so the image may have been made or not",
                    "possibly_billed": True,
                    "status": 504,
                },
            },
            id="failed",
        ),
        pytest.param(StreamCompleted(usage=Usage(generated_images=3)), {"images": 3}, id="usage"),
        pytest.param(StreamCompleted(), {"images": None}, id="no usage"),
        pytest.param(UnknownEvent(type="new"), None, id="unknown"),
    ],
)
def test_what_a_browser_may_know(item, told):
    """By default, a browser is told neither a link, nor a folder, nor a prompt, nor a host."""
    assert _events.public(item) == told


def test_every_event_has_a_name():
    """What is not known here can be named by an application that tells of it."""
    items = [UnknownEvent(type="new"), StreamCompleted(), object()]

    assert [_events.name_of(item) for item in items] == ["unknown", "completed", "image"]


def test_an_event_is_one_line():
    """No text of a result ends an event, or begins another."""
    event = _events.event("image", 7, {"a": "x\n\ndata: y\r\u2028"})

    assert event.count(b"\n") == 4
    assert read(event) == [("image", {"a": "x\n\ndata: y\r\u2028"})]


async def test_a_fan_out(framework, session, emulator, tmp_path):
    """Results come as they finish, and then the end."""
    answer = relaying(lambda client: client.generate_many(FOUR, save_to=tmp_path))

    async with serving(framework, emulator.client(), answer) as service:
        response, events = await got(session, service)

    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert [name for name, _ in events] == ["image"] * 4 + ["end"]
    assert sorted(data["index"] for _, data in events[:-1]) == [0, 1, 2, 3]
    assert {data["images"][0]["file"] for _, data in events[:-1]} == {
        path.name for path in tmp_path.iterdir()
    }
    assert events[-1][1] == {}


async def test_a_stream(framework, session, emulator):
    """Events of a stream are relayed, with the last one that it has."""
    answer = relaying(lambda client: client.stream("a cat", **GROUP))

    async with serving(framework, emulator.client(), answer) as service:
        _, events = await got(session, service)

    assert [name for name, _ in events] == ["image"] * 3 + ["completed", "end"]
    assert events[-2][1] == {"images": 3}


async def test_the_first_lines(framework, emulator):
    """Before anything else, a browser is told when to come back, and what to say then."""
    answer = relaying(lambda client: client.generate_many(["a cat"]), retry=1.5)

    async with serving(framework, emulator.client(), answer) as service:
        async with browsing(service.port) as (reader, _):
            await reader.readuntil(b"\r\n\r\n")
            chunk = await reader.readuntil(b"\n\n\r\n")

    assert chunk.partition(b"\r\n")[2] == b"retry: 1500\nid: 0\n\n\r\n"


async def test_who_comes_again_pays_nothing(framework, session, emulator):
    """An EventSource that lost the connection is told to stop; nothing is sent a second time."""
    answer = relaying(lambda client: client.generate_many(FOUR))

    async with serving(framework, emulator.client(), answer) as service:
        async with session.get(service.url, headers={"Last-Event-ID": "0"}) as response:
            body = await response.read()

    assert (response.status, body) == (204, b"")
    assert emulator.request_count == 0


async def test_heartbeats(framework, emulator):
    """While nothing comes, comments do."""
    emulator.stall_next()
    answer = relaying(lambda client: client.generate_many(["a cat"]), heartbeat=0.01)

    async with serving(framework, emulator.client(), answer) as service:
        async with browsing(service.port) as (reader, leave):
            for _ in range(3):
                await reader.readuntil(b":\n\n")
            leave()


async def test_failures_are_events(framework, session, emulator):
    """A request that fails costs the others nothing."""
    emulator.fail_next(status=400)
    answer = relaying(lambda client: client.generate_many(["a cat", "a dog"], concurrency=1))

    async with serving(framework, emulator.client(), answer) as service:
        _, events = await got(session, service)

    assert [name for name, _ in events] == ["failed", "image", "end"]
    assert events[0][1]["error"]["type"] == "BadRequestError"


async def test_a_stream_that_breaks_off(framework, session, emulator):
    """The last event says why it is the last, and whether it may have been billed."""
    emulator.cut_next()
    answer = relaying(lambda client: client.stream("a cat", **GROUP))

    async with serving(framework, emulator.client(), answer) as service:
        _, events = await got(session, service)

    ((name, data),) = events
    assert (name, data["error"]["type"]) == ("end", "OutcomeUnknownError")
    assert data["error"]["possibly_billed"]


async def test_no_way_there(framework, session):
    """Without a service behind it, a browser is told so, without a host or a key."""
    retry = RetryPolicy(attempts=1)
    client = AsyncSeedream(api_key="sk-fake", base_url="http://127.0.0.1:9/v1", retry=retry)
    answer = relaying(lambda client: client.generate_many(["a cat"]))

    async with serving(framework, client, answer) as service:
        _, events = await got(session, service)

    assert events[0][1]["error"]["status"] == 503
    assert not any(word in str(events) for word in ("127.0.0.1", "sk-fake", ":9"))


async def test_a_bug_is_an_end(framework, session, emulator, caplog):
    """What is wrong with the source is logged, and told as nobody else's fault."""

    class Broken:
        async def __aenter__(self):
            raise ZeroDivisionError("my secret")

        async def __aexit__(self, *_):
            pass

    async with serving(framework, emulator.client(), relaying(lambda _: Broken())) as service:
        _, events = await got(session, service)

    ((name, data),) = events
    assert (name, data["error"]["type"], data["error"]["status"]) == ("end", "InternalError", 500)
    assert "secret" not in str(events)
    assert "a stream to a browser broke off" in caplog.text


async def test_data_of_ones_own(framework, session, emulator, caplog):
    """The application says what a browser may know; where it fails, the others are not lost."""

    def public(result):
        match result.index:
            case 0:
                return {"url": result.response.images[0].url}
            case 1:
                return None
            case 2:
                return {"no JSON": object()}
        raise KeyError("secret")

    def source(client):
        return client.generate_many(FOUR, ordered=True)

    answer = relaying(source, public=public)
    async with serving(framework, emulator.client(), answer) as service:
        _, events = await got(session, service)

    assert [name for name, _ in events] == ["image", "failed", "failed", "end"]
    assert "X-Tos-Signature" in events[0][1]["url"]
    assert "secret" not in str(events)
    assert caplog.text.count("could not be told") == 2
    assert emulator.images_billed == 4


@pytest.mark.virtual_time
@pytest.mark.parametrize("moment", ["at once", "after an image"])
@pytest.mark.parametrize("kind", ["fan-out", "stream"])
async def test_leaving_cancels(kind, moment, framework, tmp_path):
    """With `cancel`, what is in flight is given up as soon as the browser is gone."""

    def source(client):
        if kind == "stream":
            return client.stream("a cat", save_to=tmp_path, **GROUP)
        return client.generate_many(FOUR, concurrency=1, save_to=tmp_path)

    async with Emulator(latency=0.3) as emulator:
        client = emulator.client()
        async with serving(framework, client, relaying(source, "cancel")) as service:
            async with browsing(service.port) as (reader, leave):
                await until(lambda: emulator.request_count)
                if moment == "after an image":
                    await reader.readuntil(b"event: image\n")
                leave()
                await until(lambda: not client.stats().in_flight)
                await until(lambda: not tasks())

        assert len([*tmp_path.iterdir()]) <= (moment == "after an image")
        assert emulator.request_count <= 2


@pytest.mark.parametrize("kind", ["fan-out", "stream"])
async def test_leaving_finishes_and_stores(kind, framework, tmp_path):
    """With `finish_and_store`, all that is paid for is saved, and no task is left."""
    told = []

    def public(item):
        told.append(item)
        return _events.public(item)

    def source(client):
        if kind == "stream":
            return client.stream("a cat", save_to=tmp_path, **GROUP)
        return client.generate_many(FOUR[:3], save_to=tmp_path)

    async with Emulator(latency=0.2) as emulator:
        client = emulator.client()
        answer = relaying(source, "finish_and_store", public=public)
        async with serving(framework, client, answer) as service:
            async with browsing(service.port) as (_, leave):
                await until(lambda: emulator.request_count)
                leave()
            await until(lambda: not tasks())
        assert emulator.images_billed == 3 == len([*tmp_path.iterdir()])
    assert len(told) == 3 + (kind == "stream")


async def test_a_service_that_stops_stores(framework, tmp_path):
    """A service that is stopped right after a browser left still saves what is paid for."""

    def source(client):
        return client.generate_many(FOUR, save_to=tmp_path)

    async with Emulator(latency=0.3) as emulator:
        answer = relaying(source, "finish_and_store")
        async with serving(framework, emulator.client(), answer) as service:
            async with browsing(service.port) as (_, leave):
                await until(lambda: emulator.request_count == 4)
                leave()

        assert emulator.images_billed == 4 == len([*tmp_path.iterdir()])


async def test_a_slow_browser_holds_back(framework, emulator):
    """Events wait for a browser; when it leaves, they are dropped, and the work goes on."""
    told = []

    def public(item):
        told.append(item.index)
        return {"much": "x" * 1_000_000}

    def source(client):
        return client.generate_many(["a cat"] * 60)

    answer = relaying(source, "finish_and_store", public=public)
    async with serving(framework, emulator.client(), answer) as service:
        async with browsing(service.port, window=4096) as (reader, leave):
            await reader.readuntil(b"event: image\n")
            count = -1
            while count < len(told):
                count = len(told)
                await asyncio.sleep(0.5)
            leave()

        assert count < 60
        await until(lambda: len(told) == 60)


@pytest.mark.parametrize("module", [starlette, aiohttp_web], ids=FRAMEWORKS)
@pytest.mark.parametrize("options", [{"when_left": "whatever"}, {"heartbeat": 0}, {"retry": -1}])
async def test_what_makes_no_sense_is_refused(options, module, client):
    """A choice that is none is refused where it is made."""
    results = client.generate_many(FOUR)

    with pytest.raises(ValueError, match=r"must be|>"):
        module.event_response(client, results, **{"when_left": "cancel", **options})


async def test_a_head_pays_nothing(framework, session, emulator):
    """Who asks for the head alone sees no image, so none is made."""
    answer = relaying(lambda client: client.generate_many(FOUR))

    async with serving(framework, emulator.client(), answer) as service:
        async with session.head(service.url) as response:
            pass

    assert (response.status, response.content_type) == (200, "text/event-stream")
    assert emulator.request_count == 0


def test_data_that_no_browser_reads():
    """What JSON does not have is refused: a browser could not read the event."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        _events.event("image", 1, {"score": float("nan")})


async def test_a_client_that_is_closed_amidst(framework, session, emulator):
    """Who waits for work that the end of the client cancelled is told so, not kept waiting."""
    emulator.stall_next()
    client = emulator.client()
    answer = relaying(lambda client: client.generate_many(["a cat"]), "finish_and_store")

    async with serving(framework, client, answer) as service:
        getting = asyncio.create_task(got(session, service))
        await until(lambda: emulator.request_count)
        await client.aclose()
        async with asyncio.timeout(30):
            _, events = await getting

    ((name, data),) = events
    assert name == "end"
    assert (data["error"]["status"], data["error"]["possibly_billed"]) == (504, True)


@pytest.mark.parametrize("when_left", ["cancel", "finish_and_store"])
async def test_a_source_that_is_cancelled(when_left, framework, session, client):
    """A source that ends as cancelled work does is an end all the same."""

    class Cancelled:
        async def __aenter__(self):
            raise asyncio.CancelledError

        async def __aexit__(self, *_):
            pass

    async with serving(framework, client, relaying(lambda _: Cancelled(), when_left)) as service:
        async with asyncio.timeout(30):
            _, events = await got(session, service)

    assert [name for name, _ in events] == ["end"]
    assert events[0][1]["error"]["possibly_billed"]
