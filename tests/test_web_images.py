"""Images from a store to browsers, on either framework, over real sockets."""

import asyncio
import base64
import json

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Route

from seedream_async import AsyncSeedream, Image, RetryPolicy, starlette
from seedream_async.emulator._pictures import render

from .scripted_store import Store, head
from .web_servers import FRAMEWORKS, browsing, serving, tasks, until, uvicorn_of

JPEG = render(64, 64, "jpeg", b"a test")
TYPE, TAG = "Content-Type: image/jpeg", 'ETag: "one"'
MEBIBYTE = 1 << 20
SECRET = (
    "?X-Tos-Algorithm=TOS4-HMAC-SHA256&X-Tos-Credential=AK%2F20990101%2Fr%2Ftos%2Frequest"
    "&X-Tos-Date=20990101T000000Z&X-Tos-Expires=86400&X-Tos-SignedHeaders=host"
    "&X-Tos-Signature=5ec3e7"
)
HUGE = JPEG[:2] + (b"\xff\xfe\xff\xff" + bytes(0xFFFD)) * 512 + JPEG[2:]  # 32 MiB


@pytest.fixture(params=FRAMEWORKS)
def framework(request):
    return request.param


def plain_client():
    """One that gives up at once."""
    return AsyncSeedream(api_key="k", retry=RetryPolicy(attempts=1))


def whole(image=JPEG, *headers):
    return head("200 OK", len(image), TYPE, TAG, "Accept-Ranges: bytes", *headers) + image


def handing(image, **options):
    """An answer that hands *image* on."""

    def answer(web, request):
        client = web.get_client(request)
        return web.image_response(client, image() if callable(image) else image, **options)

    return answer


async def fetched(framework, session, store, *, method="GET", headers=None, **options):
    """What a browser gets of the object in *store*."""
    answer = handing(lambda: store.url + SECRET, **options)
    async with serving(framework, plain_client(), answer) as service:
        request = session.request(method, service.url, headers=headers, allow_redirects=False)
        async with request as response:
            return response.status, dict(response.headers), await response.read()


async def test_an_image_is_handed_on(framework, session):
    """The bytes come with what the store says of them, and nothing of the store's own."""
    async with Store(whole(JPEG, "x-tos-request-id: 1", "Set-Cookie: a=b")) as store:
        status, headers, body = await fetched(framework, session, store)
        await until(lambda: not store.open)

    assert (status, body) == (200, JPEG)
    assert headers["Content-Type"] == "image/jpeg"
    assert headers["Content-Length"] == str(len(JPEG))
    assert headers.get("ETag", headers.get("Etag")) == '"one"'
    assert headers["Accept-Ranges"] == "bytes"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cache-Control"] == "private, no-cache"
    assert "Content-Disposition" not in headers
    assert not {"x-tos-request-id", "set-cookie"} & {name.lower() for name in headers}


async def test_an_image_of_a_response(framework, session, emulator):
    """An image of `generate` needs no link to be passed round."""

    async def answer(web, request):
        client = web.get_client(request)
        response = await client.generate("a cat")
        return web.image_response(client, response.images[0], filename="a cat")

    async with serving(framework, emulator.client(), answer) as service:
        async with session.get(service.url) as response:
            body = await response.read()

    assert body.startswith(JPEG[:3])
    assert response.headers["Content-Disposition"] == (
        "inline; filename=\"a-cat.jpeg\"; filename*=UTF-8''a%20cat.jpeg"
    )
    assert len(body) == response.content_length


async def test_base64_is_handed_on(framework, session):
    """An image that came as base64 is one as well."""
    image = Image(b64_json=base64.b64encode(JPEG).decode())

    async with serving(framework, plain_client(), handing(image)) as service:
        async with session.get(service.url, headers={"Range": "bytes=5-"}) as response:
            body = await response.read()

    assert (response.status, body) == (200, JPEG)
    assert response.content_type == "image/jpeg"
    assert response.content_length == len(JPEG)


async def test_a_head_has_no_body(framework, session):
    """A HEAD is answered like a GET, and the object is not fetched; links are signed for GET."""
    async with Store(whole(HUGE)) as store:
        status, headers, body = await fetched(framework, session, store, method="HEAD")
        await until(lambda: not store.open)

    assert store.asked[0].startswith("get ")
    assert (status, body) == (200, b"")
    assert headers["Content-Length"] == str(len(HUGE))
    assert store.taken < 16 * MEBIBYTE


async def test_a_part_is_a_part(framework, session):
    """A range is the store's business, and its answer comes back."""
    part = head("206 No", 3, TYPE, TAG, f"Content-Range: bytes 5-7/{len(JPEG)}") + JPEG[5:8]
    async with Store(part) as store:
        status, headers, body = await fetched(
            framework, session, store, headers={"Range": "bytes=5-7"}
        )

    assert "\r\nrange: bytes=5-7\r\n" in store.asked[0]
    assert (status, body) == (206, JPEG[5:8])
    assert headers["Content-Range"] == f"bytes 5-7/{len(JPEG)}"
    assert headers["Content-Length"] == "3"


async def test_a_whole_is_no_part(framework, session):
    """A store that does not heed a range, and still speaks of one, is not passed on in that."""
    async with Store(whole(JPEG, "Content-Range: bytes 5-7/9")) as store:
        status, headers, body = await fetched(
            framework, session, store, headers={"Range": "bytes=5-7"}
        )

    assert (status, body) == (200, JPEG)
    assert "content-range" not in {name.lower() for name in headers}


async def test_a_part_beyond_the_end(framework, session):
    """A range that the image does not have is said to be none."""
    async with Store(head("416 No", 2, "Content-Range: bytes */9") + b"no") as store:
        status, headers, body = await fetched(
            framework, session, store, headers={"Range": "bytes=99-"}
        )

    assert (status, body) == (416, b"")
    assert headers["Content-Range"] == "bytes */9"


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(head("412 No", 2) + b"no", id="refused"),
        pytest.param(
            head("206 No", 3, TYPE, 'ETag: "two"', "Content-Range: bytes 5-7/9") + b"abc",
            id="ignored",
        ),
    ],
)
async def test_a_part_of_what_has_changed(first, framework, session):
    """With If-Range, the rest of another object is never sent: all of it is."""
    async with Store(first, whole()) as store:
        status, _, body = await fetched(
            framework, session, store, headers={"Range": "bytes=5-7", "If-Range": '"one"'}
        )

    assert '\r\nif-match: "one"\r\n' in store.asked[0]
    assert "if-range" not in store.asked[0]
    assert "range: " not in store.asked[1]
    assert (status, body) == (200, JPEG)


@pytest.mark.parametrize(
    "answer",
    [pytest.param(head("304 No", 0, TAG), id="store"), pytest.param(whole(), id="here")],
)
async def test_what_the_browser_has_is_not_sent(answer, framework, session):
    """Who has the image is told so, whether the store or nobody else knows of If-None-Match."""
    async with Store(answer) as store:
        status, headers, body = await fetched(
            framework, session, store, headers={"If-None-Match": 'W/"one"'}
        )

    assert (status, body) == (304, b"")
    assert headers.get("ETag", headers.get("Etag")) == '"one"'
    assert headers["Cache-Control"] == "private, no-cache"


XML = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
REFUSALS = [  # what a store says; the status of the answer, and the error in it
    pytest.param(head("403 No", 2, TYPE) + b"no", 502, "LinkDeniedError", id="refused"),
    pytest.param(head("403 No", len(XML)) + XML, 410, "LinkExpiredError", id="expired"),
    pytest.param(head("404 No", 2) + b"no", 410, "LinkDeniedError", id="gone"),
    pytest.param(head("503 No", 2) + b"no", 502, "DownloadError", id="busy"),
    pytest.param(head("200 OK", 6, TYPE) + b"<html>", 502, "NotAnImageError", id="a page"),
    pytest.param(head("200 OK", 0, TYPE), 502, "NotAnImageError", id="nothing"),
    pytest.param([whole()[:-20], None], 502, "IncompleteDownloadError", id="cut early"),
    pytest.param(b"what?\r\n\r\n", 502, "DownloadError", id="no HTTP"),
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("answer", "status", "kind"), REFUSALS)
async def test_a_refusal_is_clean(answer, status, kind, method, framework, session):
    """What cannot be had is an error that says nothing of where it should have come from."""
    async with Store(answer) as store:
        store.go.set()
        got, headers, body = await fetched(framework, session, store, method=method)

    assert got == status
    assert headers["Content-Type"].startswith("application/json")
    assert headers["Cache-Control"] == "no-store"
    if method == "GET":
        error = json.loads(body)["error"]
        assert (error["type"], error["possibly_billed"]) == (kind, False)
        assert not any(word in body for word in (b"127.0.0.1", b"Signature", b"5ec3e7", b"/k"))
    else:
        assert body == b""


async def test_another_part_than_was_asked_for(framework, session):
    """A store that sends another part is refused."""
    part = head("206 No", 3, TYPE, "Content-Range: bytes 0-2/9") + b"abc"
    async with Store(part) as store:
        status, _, _ = await fetched(framework, session, store, headers={"Range": "bytes=5-7"})

    assert status == 502


async def test_a_browser_can_be_sent_there(framework, session):
    """The link leaves the service only if that is asked for, and tells nobody where it led from."""
    async with Store() as store:
        status, headers, body = await fetched(framework, session, store, redirect=True)

    assert (status, body) == (307, b"")
    assert headers["Location"] == store.url + SECRET
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert store.asked == []


async def test_a_browser_is_sent_nowhere_else(framework, session):
    """A link that is none is no header, and base64 has none."""
    links = [Image(b64_json=base64.b64encode(JPEG).decode(), url="http://h/k"), "http://h/\r\nX: y"]

    async with serving(framework, plain_client(), handing(links.pop, redirect=True)) as service:
        async with session.get(service.url, allow_redirects=False) as refused:
            pass
        async with session.get(service.url, allow_redirects=False) as sent:
            body = await sent.read()

    assert refused.status == 502
    assert "X" not in refused.headers
    assert (sent.status, body) == (200, JPEG)


async def test_an_image_that_breaks_off(framework, session, caplog):
    """What breaks off is cut for the browser too: it must not take it for whole."""
    async with Store([whole(HUGE)[:MEBIBYTE], None]) as store:
        answer = handing(store.url + SECRET)
        async with serving(framework, plain_client(), answer) as service:
            async with browsing(service.port) as (reader, _):
                start = await reader.readuntil(b"\r\n\r\n")
                store.go.set()
                body = await reader.read()

    assert f"content-length: {len(HUGE)}" in start.decode().lower()
    assert len(body) < len(HUGE)
    assert "broke off" in caplog.text
    assert "5ec3e7" not in caplog.text


@pytest.mark.parametrize("missing", [0, 30], ids=["whole", "cut"])
async def test_an_image_without_a_length(missing, framework):
    """Where only the end of the connection ends an image, its own end tells whether it is whole."""
    image = JPEG[: len(JPEG) - missing]
    async with Store([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + image, None]) as store:
        store.go.set()
        async with serving(framework, plain_client(), handing(store.url)) as service:
            async with browsing(service.port, "Connection: close") as (reader, _):
                answer = await reader.read()

    assert image in answer
    assert answer.endswith(b"0\r\n\r\n") == (not missing)


@pytest.mark.parametrize("moment", ["before the head", "before the first byte", "in the middle"])
async def test_a_browser_that_leaves(moment, framework):
    """Whenever it leaves, the connection to the store and all tasks are given back at once."""
    pieces = whole(HUGE)[:10], whole(HUGE)[10:MEBIBYTE], whole(HUGE)[MEBIBYTE:]
    async with Store(pieces) as store:
        answer = handing(store.url)
        client = plain_client()
        async with serving(framework, client, answer) as service:
            async with browsing(service.port, window=4096) as (reader, leave):
                await until(lambda: store.open)
                if moment != "before the head":
                    store.go.set()
                    await reader.readuntil(b"\r\n\r\n")
                if moment == "in the middle":
                    await reader.read(100_000)
                leave()
                await until(lambda: not store.open)
                await until(lambda: not tasks())

            assert not client._generating.guests._visits
    assert store.taken < len(HUGE) // 2


async def test_a_slow_browser_holds_back_the_store(framework):
    """What the browser does not take is not read from the store."""
    async with Store(whole(HUGE)) as store:
        async with serving(framework, plain_client(), handing(store.url)) as service:
            async with browsing(service.port, window=4096) as (reader, _):
                await reader.readuntil(b"\r\n\r\n")
                taken = -1
                while taken < store.taken:
                    taken = store.taken
                    await asyncio.sleep(0.3)

                # What lies in buffers of four sockets on the way.
                assert taken < len(HUGE) // 2
                count = sum([len(chunk) async for chunk in chunks_of(reader, len(HUGE))])

    assert count == len(HUGE)


async def chunks_of(reader, length):
    while length and (chunk := await reader.read(MEBIBYTE)):
        length -= len(chunk)
        yield chunk


async def test_an_answer_that_is_sent_twice(session):
    """With aiohttp, an answer may be prepared by the handler itself."""
    async with Store(whole()) as store:

        async def answer(web, request):
            response = web.image_response(web.get_client(request), store.url)
            await response.prepare(request)
            return response

        async with serving("aiohttp.web", plain_client(), answer) as service:
            async with session.get(service.url) as response:
                body = await response.read()

    assert body == JPEG
    assert len(store.asked) == 1


async def test_an_image_that_breaks_off_behind_a_middleware():
    """No middleware of Starlette's that reads answers adds the end that an image does not have."""
    begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n" + HUGE[:1000] + b"\r\n"

    async def pass_on(request, call_next):
        return await call_next(request)

    async def handle(request):
        return starlette.image_response(starlette.get_client(request), store.url)

    app = Starlette(
        routes=[Route("/", handle)],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=pass_on)],
        lifespan=starlette.lifespan(plain_client),
    )
    async with Store([begun + b"fa0\r\n" + HUGE[1000:5000] + b"\r\n", None]) as store:
        async with uvicorn_of(app) as port, browsing(port) as (reader, _):
            await reader.readuntil(b"\r\n\r\n")
            store.go.set()
            body = await reader.read()

    assert len(body) > 4000
    assert not body.endswith(b"0\r\n\r\n")
