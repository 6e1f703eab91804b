"""Images that are handed on while they arrive, against a scripted store and the emulator."""

import asyncio
import base64
import contextlib

import pytest

from seedream_async import (
    AsyncSeedream,
    DownloadError,
    Image,
    ImageStream,
    IncompleteDownloadError,
    InvalidRequestError,
    LinkAlteredError,
    LinkDeniedError,
    NotAnImageError,
    RetryPolicy,
    RetryScheduled,
)
from seedream_async.emulator._pictures import render

from .raw_server import raw_server

JPEG = render(64, 64, "jpeg", b"a test")
LONG = JPEG[:2] + (b"\xff\xfe\xff\xff" + bytes(0xFFFD)) * 40 + JPEG[2:]


def head(status, length, *headers):
    return "\r\n".join(
        [f"HTTP/1.1 {status}", f"Content-Length: {length}", *headers, "", ""]
    ).encode()


def whole(image=JPEG):
    return head("200 OK", len(image), "Content-Type: image/jpeg", "ETag: x") + image


class Store:
    """Gives the *answers* in turn, one for each connection, and knows which are still open."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.open = 0
        self._idle = asyncio.Condition()

    async def _serve(self, reader, writer):
        self.open += 1
        with contextlib.suppress(ConnectionError):
            self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            answer = self.answers.pop(0)
            writer.write(answer)
            if answer.endswith(b"\xff\xd9"):  # an image: kept open until the client lets go of it
                await reader.read()
        async with self._idle:
            self.open -= 1
            self._idle.notify_all()

    async def all_closed(self):
        async with self._idle, asyncio.timeout(30):
            await self._idle.wait_for(lambda: not self.open)

    async def __aenter__(self):
        self._server = raw_server(self._serve)
        self.url = f"http://127.0.0.1:{await self._server.__aenter__()}/k"
        return self

    async def __aexit__(self, *_):
        await self._server.__aexit__(None, None, None)


@contextlib.asynccontextmanager
async def opened(store, query="", image=None, attempts=3, repair=False, **options):
    policy = RetryPolicy(attempts=attempts, wait_initial=0)
    async with AsyncSeedream(api_key="k", retry=policy, **options) as client:
        async with client.open(image or store.url + query, repair=repair) as stream:
            yield stream


async def test_headers_come_first():
    """What the store says is known before the first byte, under lower-case names."""
    async with Store(whole()) as store, opened(store) as stream:
        assert (stream.content_type, stream.content_length) == ("image/jpeg", len(JPEG))
        assert stream.headers["etag"] == "x"

        assert await stream.read() == JPEG


async def test_chunks_come_as_they_arrive():
    """A long image comes in pieces."""
    async with Store(whole(LONG)) as store, opened(store) as stream:
        chunks = [chunk async for chunk in stream.iter_chunks()]

    assert len(chunks) > 2
    assert b"".join(chunks) == LONG


@pytest.mark.parametrize(
    "length", [None, "x", "٣", "9" * 20], ids=["none", "text", "digit", "huge"]
)
async def test_a_length_that_is_none(length):
    """A length that is missing or no number is not known."""
    stream = ImageStream(None, {} if length is None else {"content-length": length})

    assert stream.content_length is None
    assert stream.content_type is None


async def test_a_part_can_be_asked_for():
    """A range and conditions go to the store as they are, and its word on them is the status."""
    part = head("206 Partial Content", 2, "Content-Range: bytes 1-2/9") + b"ab"
    async with Store(part) as store, AsyncSeedream(api_key="k") as client:
        async with client.open(store.url, headers={"Range": "bytes=1-2"}) as stream:
            assert (stream.status, await stream.read()) == (206, b"ab")

    assert "\r\nRange: bytes=1-2\r\n" in store.asked[0]


async def test_a_part_that_nobody_asked_for():
    """A store that answers with a part of its own accord has no image."""
    part = head("206 Partial Content", 2, "Content-Range: bytes 1-2/9") + b"ab"
    async with Store(part) as store, AsyncSeedream(api_key="k") as client:
        with pytest.raises(DownloadError, match="without an image"):
            async with client.open(store.url):
                pass


@pytest.mark.parametrize("name", ["Authorization", "Host", "Cookie", "If-Range"])
async def test_a_store_is_told_nothing_else(name):
    """No other header goes to a store: one that is signed for is refused with a key beside it."""
    async with Store() as store, AsyncSeedream(api_key="k") as client:
        with pytest.raises(InvalidRequestError, match=f"or conditions, not '{name}'"):
            async with client.open(store.url, headers={name: "x"}):
                pass

    assert store.asked == []


async def leave(stream):
    pass


async def leave_in_the_middle(stream):
    async for _ in stream.iter_chunks():
        break


async def fail(stream):
    async for _ in stream.iter_chunks():
        raise LookupError


async def be_cancelled(stream):
    await anext(stream.iter_chunks())
    asyncio.current_task().cancel()
    await asyncio.sleep(0)


@pytest.mark.parametrize("consume", [leave, leave_in_the_middle, fail, be_cancelled])
async def test_the_connection_is_released(consume):
    """Whatever the consumer does, the store is let go of when the block ends."""
    policy = RetryPolicy(attempts=1)
    async with Store(whole(LONG)) as store, AsyncSeedream(api_key="k", retry=policy) as client:

        async def hand_on():
            async with client.open(store.url) as stream:
                await consume(stream)

        await asyncio.gather(asyncio.create_task(hand_on()), return_exceptions=True)

        await store.all_closed()
        assert len(store.asked) == 1


async def test_errors_of_the_consumer_pass():
    """An error in the block is not taken for one of the store."""
    async with Store(whole()) as store:
        with pytest.raises(OSError, match="mine"):
            async with opened(store):
                raise OSError("mine")


async def test_a_redirect_is_followed():
    """The headers are those of what it leads to."""
    async with Store(head("302 Found", 0, "Location: /other"), whole()) as store:
        async with opened(store) as stream:
            assert await stream.read() == JPEG

    assert store.asked[1].startswith("GET /other ")


async def test_a_refusal_is_raised_before_the_block():
    """What the store refuses never looks like an image."""
    image = Image(url="http://127.0.0.1:1/a")
    async with Store(head("403 Forbidden", 0)) as store:
        image = Image(url=store.url)
        with pytest.raises(LinkDeniedError) as caught:
            async with opened(store, image=image, private_links=True):
                raise AssertionError("inside")

    assert caught.value.image is image


async def test_a_busy_store_is_asked_again():
    """Nothing was handed out yet, so opening may be tried again, and is told of."""
    told = []
    async with Store(head("503 Busy", 0), whole()) as store:
        async with opened(store, on_event=told.append) as stream:
            assert await stream.read() == JPEG

    assert [event.reason for event in told if isinstance(event, RetryScheduled)] == [
        "DownloadError (503)"
    ]


async def test_attempts_are_limited():
    """A store that stays busy is given up."""
    async with Store(head("503 Busy", 0), head("503 Busy", 0)) as store:
        with pytest.raises(DownloadError, match="busy"):
            async with opened(store, attempts=2):
                raise AssertionError("inside")

    assert len(store.asked) == 2


async def test_a_body_that_breaks_off():
    """What arrived in part is an error, and is not asked for again."""
    async with Store(whole()[:-10]) as store, opened(store) as stream:
        with pytest.raises(IncompleteDownloadError):
            await stream.read()

    assert len(store.asked) == 1


@pytest.mark.parametrize("trusted", [True, False])
async def test_only_links_of_the_caller_lead_anywhere(trusted):
    """As in a download, a link of a response leads outward only."""
    async with Store(whole()) as store:
        with contextlib.nullcontext() if trusted else pytest.raises(DownloadError, match="public"):
            async with opened(store, image=None if trusted else Image(url=store.url)) as stream:
                assert await stream.read() == JPEG

    assert len(store.asked) == trusted


async def test_bytes_can_be_taken_once():
    """Asking twice is a mistake that says so."""
    async with Store(whole()) as store, opened(store) as stream:
        await stream.read()

        with pytest.raises(RuntimeError, match="once"):
            await stream.read()


async def test_bytes_cannot_be_taken_outside():
    """After the block there is nothing to be had, and that is not an empty image."""
    async with Store(whole()) as store, opened(store) as stream:
        pass

    with pytest.raises(RuntimeError, match="inside the block"):
        await stream.read()


@pytest.mark.parametrize("taken", [0, 1], ids=["before the first", "after one"])
async def test_an_iterator_carried_out_of_the_block(taken):
    """Whoever hands it to a response is told, rather than given an image without its end."""
    async with Store(whole(LONG)) as store, opened(store) as stream:
        chunks = stream.iter_chunks()
        for _ in range(taken):
            await anext(chunks)

    with pytest.raises(RuntimeError, match="inside the block"):
        await anext(chunks)


async def test_an_iterator_at_its_end():
    """All bytes were taken: that the block has ended since changes nothing."""
    async with Store(whole()) as store, opened(store) as stream:
        chunks = stream.iter_chunks()
        assert b"".join([chunk async for chunk in chunks]) == JPEG

    assert await anext(chunks, None) is None


@pytest.mark.parametrize("image", [JPEG, JPEG + b"x", LONG, b"no image"])
async def test_base64(image):
    """Base64 looks as what a link leads to."""
    text = base64.b64encode(image).decode()
    async with AsyncSeedream(api_key="k") as client:
        async with client.open(Image(b64_json=text)) as stream:
            assert await stream.read() == image

    assert stream.content_length == len(image)
    assert stream.content_type == (None if image == b"no image" else "image/jpeg")


@pytest.mark.parametrize("text", ["%%%%", "aGk"], ids=["foreign", "cut"])
async def test_broken_base64(text):
    """What is not base64 is told before the block, or where it breaks off."""
    async with AsyncSeedream(api_key="k") as client:
        with pytest.raises(NotAnImageError, match="not base64"):
            async with client.open(Image(b64_json=text)) as stream:
                await stream.read()


async def test_a_hollow_image():
    """An item without link and base64 cannot be opened."""
    async with AsyncSeedream(api_key="k") as client:
        with pytest.raises(InvalidRequestError, match="neither a link nor base64"):
            async with client.open(Image()):
                raise AssertionError("inside")


ESCAPED = "?AWSAccessKeyId=A&amp;Signature=s&amp;Expires=1"


async def test_an_escaped_link_is_repaired_on_request():
    """With `repair`, the link that was issued is sent."""
    async with Store(whole()) as store, opened(store, ESCAPED, repair=True) as stream:
        assert await stream.read() == JPEG

    assert store.asked[0].startswith("GET /k?AWSAccessKeyId=A&Signature=s&Expires=1 ")


async def test_an_escaped_link_is_sent_as_it_is():
    """Without, it is left alone, and the error names the option."""
    async with Store(head("403 Forbidden", 0)) as store:
        with pytest.raises(LinkAlteredError, match="repair=True"):
            async with opened(store, ESCAPED):
                raise AssertionError("inside")

    assert store.asked[0].startswith(f"GET /k{ESCAPED} ")


async def test_a_download_repairs_too(client, tmp_path):
    """A link of a response that was escaped is saved with `repair`, and only then."""
    image = (await client.generate("a cat")).data[0]
    escaped = Image(url=image.url.replace("&", "\\u0026"))

    with pytest.raises(LinkAlteredError, match="repair=True"):
        await client.download(escaped, tmp_path / "cat.jpeg")
    saved = await client.download(escaped, tmp_path / "cat.jpeg", repair=True)

    assert saved.width == 2048


async def test_what_needs_no_repair_is_left_alone(client, tmp_path):
    """`repair` changes no link that is whole, and no base64."""
    link = await client.generate("a cat")
    text = await client.generate("a cat", response_format="b64_json")

    for response in (link, text):
        saved = await client.download(response.data[0], tmp_path, repair=True)
        assert saved.width == 2048
