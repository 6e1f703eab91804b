"""The emulator's streams over real sockets: their frames, what is odd on order, and their cost."""

import asyncio
import base64
import io
import json
from datetime import UTC, datetime

import aiohttp
import pytest
from PIL import Image

from seedream_async._sse import Parser
from seedream_async.emulator import Emulator

NOW = datetime(2026, 7, 9, 13, 28, 17, tzinfo=UTC)
CREATED = int(NOW.timestamp())
LITE = "doubao-seedream-5-0-260128"
TWO = {
    "sequential_image_generation": "auto",
    "sequential_image_generation_options": {"max_images": 2},
}
PARTIAL, COMPLETED = "image_generation.partial_succeeded", "image_generation.completed"
FAILED = "image_generation.partial_failed"


@pytest.fixture
async def emulator():
    async with Emulator(clock=lambda: NOW) as emulator:
        yield emulator


@pytest.fixture
def post(emulator, session):
    """Ask for a stream of two images."""

    def post(**fields):
        return session.post(
            f"{emulator.base_url}/images/generations",
            json={"model": LITE, "prompt": "a cat", "stream": True, **TWO, **fields},
            headers={"Authorization": f"Bearer {emulator.api_key}"},
        )

    return post


@pytest.fixture
def stream(post):
    """The bytes of a stream, as far as they come."""

    async def stream(**fields):
        received = bytearray()
        async with post(**fields) as response:
            assert (response.status, response.content_type) == (200, "text/event-stream")
            try:
                async for chunk in response.content.iter_any():
                    received += chunk
            except aiohttp.ClientPayloadError:
                received += b"(cut)"
        return bytes(received)

    return stream


def read(content):
    """The events in *content*: their names, and their decoded data."""
    return [
        (event.event, {} if event.data == b"[DONE]" else json.loads(event.data))
        for event in Parser().feed(content)
    ]


def told(content):
    """Which image each event tells of, or else the name of the event."""
    return [data.get("image_index", name) for name, data in read(content)]


WHOLE = [0, 1, COMPLETED, "message"]


async def test_has_the_documented_frames(emulator, stream):
    """Each image has an event, then comes one with the usage, and a last line without a name."""
    content = await stream()

    lines = content.decode().split("\n")
    first, second, last = (json.loads(lines[at].removeprefix("data: ")) for at in (1, 4, 7))
    assert [lines[at] for at in (0, 3, 6)] == [
        f"event: {PARTIAL}",
        f"event: {PARTIAL}",
        f"event: {COMPLETED}",
    ]
    assert [lines[at] for at in (2, 5, 8, 9, 10, 11)] == ["", "", "", "data: [DONE]", "", ""]
    assert first == {
        "type": PARTIAL,
        "model": LITE,
        "created": CREATED,
        "image_index": 0,
        "url": first["url"],
        "size": "2048x2048",
    }
    assert second["image_index"] == 1
    assert second["url"].startswith(first["url"].partition("_0.jpeg?")[0] + "_1.jpeg?")
    assert last == {
        "type": COMPLETED,
        "model": LITE,
        "created": CREATED,
        "usage": {"generated_images": 2, "output_tokens": 32_768, "total_tokens": 32_768},
    }
    assert emulator.images_billed == 2


async def test_sends_whole_images(stream):
    """Asked for base64, each event holds a complete image in one line."""
    content = await stream(response_format="b64_json", output_format="png")

    for _, data in read(content)[:2]:
        image = Image.open(io.BytesIO(base64.b64decode(data["b64_json"], validate=True)))
        assert (image.format, image.size) == ("PNG", (2048, 2048))


async def test_tells_of_searches_at_the_end(stream):
    """What a tool did is in the last event."""
    content = await stream(tools=[{"type": "web_search"}])

    _, completed = read(content)[2]
    assert completed["tools"] == [{"type": "web_search"}]
    assert completed["usage"]["tool_usage"] == {"web_search": 1}


async def test_refuses_before_it_streams(post, emulator):
    """What is not valid is refused in JSON, as ever."""
    async with post(size="1024x1024") as response:
        answer = await response.json()

    assert response.status == 400
    assert answer["error"]["code"] == "InvalidParameter"
    assert emulator.images_billed == 0


async def test_one_failed_image_ends_nothing(emulator, stream):
    """A failed image has an event of its own; the others come, and only they are billed."""
    emulator.fail_image_next(0, message="não")

    content = await stream()

    name, failed = read(content)[0]
    assert name == FAILED
    assert failed == {
        "type": FAILED,
        "model": LITE,
        "created": CREATED,
        "image_index": 0,
        "error": {"code": "OutputImageSensitiveContentDetected", "message": "não"},
    }
    assert "não".encode() in content  # not escaped
    assert told(content) == WHOLE
    assert read(content)[2][1]["usage"]["generated_images"] == 1
    assert emulator.images_billed == 1


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        pytest.param(
            lambda emulator: emulator.make_fewer_next(1), [0, COMPLETED, "message"], id="fewer"
        ),
        pytest.param(lambda emulator: emulator.empty_next(), [COMPLETED, "message"], id="empty"),
        pytest.param(lambda emulator: emulator.fail_all_next(), WHOLE, id="all-fail"),
        pytest.param(
            lambda emulator: emulator.fail_image_next(0, code="InternalServiceError"),
            [0, COMPLETED, "message"],
            id="breakdown",
        ),
    ],
)
async def test_orders_hold_for_streams(emulator, stream, order, expected):
    """What can happen to the images of an answer can happen to those of a stream."""
    order(emulator)

    content = await stream()

    assert told(content) == expected
    assert emulator.images_billed == read(content)[-2][1]["usage"]["generated_images"]


@pytest.mark.parametrize(
    ("odd", "expected"),
    [
        pytest.param({}, WHOLE, id="nothing"),
        pytest.param({"order": [1, 0]}, [1, 0, COMPLETED, "message"], id="out-of-order"),
        pytest.param({"order": [1]}, [1, COMPLETED, "message"], id="skipped"),
        pytest.param({"order": [7, 0, 0, 1]}, WHOLE, id="order-of-what-is-not-there"),
        pytest.param({"order": []}, [COMPLETED, "message"], id="none-told"),
        pytest.param({"completed": False}, [0, 1, "message"], id="not-completed"),
        pytest.param({"done": False}, [0, 1, COMPLETED], id="not-done"),
        pytest.param({"completed": False, "done": False}, [0, 1], id="no-end"),
        pytest.param(
            {"order": [0], "error": ("InternalServiceError", "broken")},
            [0, "error", "message"],
            id="error",
        ),
    ],
)
async def test_streams_are_odd_on_order(emulator, stream, odd, expected):
    """Events come as ordered, once; every image is made and billed, told or not."""
    emulator.stream_next(**odd)

    content = [await stream(), await stream()]

    assert [told(part) for part in content] == [expected, WHOLE]
    assert emulator.images_billed == 4


async def test_breaks_down_on_order(emulator, stream):
    """The error of a whole stream is an event of its own."""
    emulator.stream_next(error=("InternalServiceError", "broken"), done=False)

    content = await stream()

    assert read(content)[-1] == (
        "error",
        {"error": {"code": "InternalServiceError", "message": "broken"}},
    )


async def test_oddities_wait_for_a_stream(emulator, post, stream):
    """An answer that is no stream uses up nothing that was ordered for one."""
    emulator.stream_next(order=[1, 0])

    async with post(stream=False):
        pass
    content = await stream()

    assert told(content)[:2] == [1, 0]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["lf", "crlf", "cr"])
async def test_lines_end_as_ordered(emulator, stream, line_end):
    """Comments and lines have the ends on order, and mean the same."""
    emulator.stream_next(line_end=line_end, comments=True)

    content = await stream()

    assert content.startswith(f": still there{line_end * 2}event: {PARTIAL}{line_end}".encode())
    assert content.count(b": still there") == 3
    assert content.endswith(f"data: [DONE]{line_end * 2}".encode())
    assert told(content) == WHOLE


@pytest.mark.parametrize("chunk", [1, 7, 1_000_000])
async def test_comes_in_pieces(emulator, post, chunk):
    """Pieces have the length on order, whatever they cut."""
    emulator.stream_next(chunk=chunk)

    async with post() as response:
        pieces = [piece async for piece, ended in response.content.iter_chunks() if piece or ended]

    content = b"".join(pieces)
    assert told(content) == WHOLE
    assert max(map(len, pieces)) <= chunk


@pytest.mark.parametrize("events", [0, 1, 2, 3, 4])
async def test_cuts_after_so_many_events(emulator, stream, events):
    """The connection is cut between two events; every image is billed."""
    emulator.stream_next(cut_after=events)

    content = await stream()

    assert content.endswith(b"(cut)")
    assert told(content) == WHOLE[:events]
    assert emulator.images_billed == 2


@pytest.mark.parametrize("after_bytes", [0, 1, 50, 100_000])
async def test_cuts_within_a_stream(emulator, stream, after_bytes):
    """A stream can be cut after any byte, as any answer can; every image is billed."""
    whole = await stream()
    emulator.cut_next(after_bytes=after_bytes)

    content = await stream()

    assert content.endswith(b"(cut)")
    assert len(content.removesuffix(b"(cut)")) == min(after_bytes, len(whole))
    assert emulator.images_billed == 4


async def test_cuts_before_a_stream(emulator, post):
    """A stream can be cut before its head; every image is billed."""
    emulator.cut_next()

    with pytest.raises(aiohttp.ServerDisconnectedError):
        await post()

    assert emulator.images_billed == 2


@pytest.mark.virtual_time
@pytest.mark.parametrize("after_bytes", [0, 1, 50])
async def test_stalls_within_a_stream(emulator, post, after_bytes):
    """A stream can fall silent after any byte; every image is billed."""
    emulator.stall_next(after_bytes=after_bytes)

    async with post() as response:
        start = await response.content.readexactly(after_bytes)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(response.content.readany(), 0.05)

    assert len(start) == after_bytes
    assert emulator.images_billed == 2


@pytest.mark.virtual_time
async def test_stalls_before_a_stream(emulator, post):
    """A stream can be silent from the start; every image is billed."""
    emulator.stall_next()

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(post(), 0.2)

    assert emulator.images_billed == 2


@pytest.fixture
def slow():
    """An emulator that takes its time, what was billed whenever it read its clock, and the end."""
    billed, over = [], asyncio.Event()

    def clock():
        billed.append(emulator.images_billed)
        if billed[-1] == 2:
            over.set()
        return NOW

    emulator = Emulator(clock=clock, latency=0.05)
    return emulator, billed, over


def post_to(emulator, session):
    return session.post(
        f"{emulator.base_url}/images/generations",
        json={"model": LITE, "prompt": "a cat", "stream": True, **TWO},
        headers={"Authorization": f"Bearer {emulator.api_key}"},
    )


@pytest.mark.virtual_time
async def test_takes_its_time_for_each_image(slow, session):
    """Each image takes its time, and is billed when it is made."""
    emulator, billed, _ = slow
    now = asyncio.get_running_loop().time
    start = now()

    async with emulator, post_to(emulator, session) as response:
        await response.read()

    assert now() - start == pytest.approx(0.1)
    assert sorted(set(billed)) == [0, 1, 2]
    assert billed == sorted(billed)


async def test_bills_whoever_leaves(slow, session):
    """A client that leaves after the first line is billed for all."""
    emulator, _, over = slow

    async with emulator:
        async with post_to(emulator, session) as response:
            await response.content.readline()
            response.close()
        await asyncio.wait_for(over.wait(), 30)

        assert emulator.images_billed == 2
