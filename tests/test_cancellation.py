"""Calls that are cancelled at any point: nothing is left behind, and nothing is sent afterwards."""

import asyncio
import base64
import json
import random

import aiohttp
import pytest

from seedream_async import (
    AsyncSeedream,
    AttemptEnded,
    CallEnded,
    Limits,
    RetryPolicy,
    StreamCompleted,
    Success,
)
from seedream_async.emulator._pictures import render

pytestmark = pytest.mark.virtual_time

PICTURE = render(64, 64, "jpeg", b"cat")
LARGE = PICTURE[:2] + (b"\xff\xfe\xff\xff" + bytes(0xFFFD)) * 5 + PICTURE[2:]  # of two pieces
WIDTH = 2  # generations in flight
ROUNDS = 50  # of each scenario in each way
MAY_COST = ("unknown", "answered")  # the latter of a stream, which had more to tell


class Far(asyncio.Protocol):
    """One connection of the API and its store, on the loop of the test: it starts no tasks."""

    def __init__(self, place):
        self.place = place
        self.received = b""

    def connection_made(self, transport):
        self.transport = transport
        self.place.connections.add(self)

    def connection_lost(self, _):
        self.place.connections.discard(self)

    def data_received(self, data):
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        length = [int(line[15:]) for line in head.split(b"\r\n") if line[:15] == b"Content-Length:"]
        if end and len(body) >= sum(length):
            self.received = b""
            self.place.answer(self, head, body)

    def send(self, *pieces):
        """Send *pieces*, a few turns of the loop apart."""
        self.later(pieces, 3)

    def later(self, pieces, turns):
        loop = asyncio.get_running_loop()
        if not pieces or self.transport.is_closing():
            return
        if turns:
            loop.call_soon(self.later, pieces, turns - 1)
            return
        self.transport.write(pieces[0])
        loop.call_soon(self.later, pieces[1:], 3)


class Place:
    """
    The API and its store: refuses as often as *refusals* says, then answers.

    Requests that are not streamed are answered when so many wait *together*.
    """

    def __init__(self):
        self.connections = set()
        self.posts = 0
        self.refusals = 0
        self.together = 1
        self.waiting = []

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: Far(self), "127.0.0.1")
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self.server.close()

    def answer(self, far, head, body):
        if head.startswith(b"GET"):
            middle = len(PICTURE) // 2
            far.send(answered("image/jpeg", PICTURE)[:-middle], PICTURE[-middle:])
            return
        self.posts += 1
        if self.refusals:
            self.refusals -= 1
            far.send(b"HTTP/1.1 429 No\r\nRetry-After: 0\r\nContent-Length: 2\r\n\r\n{}")
            return
        if b"b64_json" in body:
            data = [{"b64_json": base64.b64encode(LARGE).decode()}] * 2
            whole = answered("application/json", json.dumps({"data": data}).encode())
            far.send(*(whole[at : at + 2**17] for at in range(0, len(whole), 2**17)))
            return
        image = {"url": f"{self.url}/{self.posts}.jpeg"}
        if json.loads(body).get("stream"):
            far.send(*self.events(image))
            return
        self.waiting.append(far)
        if len(self.waiting) >= self.together:
            for each in self.waiting:
                each.send(answered("application/json", json.dumps({"data": [image]}).encode()))
            self.waiting.clear()

    def events(self, image):
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        for index in range(2):
            yield chunk(
                {"type": "image_generation.partial_succeeded", "image_index": index} | image
            )
        yield chunk({"type": "image_generation.completed"}) + b"0\r\n\r\n"

    async def idle(self):
        """Wait until nobody is connected."""
        while self.connections:
            await all_heard()


def answered(kind, body):
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def chunk(event):
    data = f"data: {json.dumps(event)}\n\n".encode()
    return b"%x\r\n%b\r\n" % (len(data), data)


@pytest.fixture
async def place():
    async with Place() as place:
        yield place


@pytest.fixture
def connectors(monkeypatch):
    """Every connector that a client makes."""
    made = []
    init = aiohttp.TCPConnector.__init__

    def noted(self, **options):
        init(self, **options)
        made.append(self)

    # Not the class: the package may have one of its own that inherits.
    monkeypatch.setattr(aiohttp.TCPConnector, "__init__", noted)
    return made


async def generate(run):
    await run.client.generate("a cat")


async def save(run):
    await run.client.generate("a cat", save_to=run.folder / "cat.jpeg")


async def save_base64(run):
    await run.client.generate(
        "cats",
        response_format="b64_json",
        sequential_image_generation="auto",
        max_images=2,
        save_to=run.folder,
    )


async def retried(run):
    await run.client.generate("a refused cat", retry=RetryPolicy(wait_initial=0))


async def refer(run):
    await run.client.generate("the same cat", image=run.folder.parent / "reference.jpeg")


async def stream(run, save_to=None):
    group = {"sequential_image_generation": "auto", "max_images": 2}
    async with run.client.stream("cats", **group, save_to=save_to) as events:
        async for event in events:
            run.completed = isinstance(event, StreamCompleted)


async def save_stream(run):
    await stream(run, run.folder)


async def many(run):
    results = await run.client.generate_many(["a cat"] * 5, concurrency=3)
    assert all(isinstance(result, Success) for result in results)


async def save_many(run):
    requests = ["a cat"] * 5
    async with run.client.generate_many(requests, concurrency=3, save_to=run.folder) as results:
        async for result in results:
            assert isinstance(result, Success)


async def turns(number):
    for _ in range(number):
        await asyncio.sleep(0)


async def all_heard():
    """Wait until all that is on its way has arrived: the time of the loop does not pass before."""
    await asyncio.sleep(0.001)


class Moments:
    """
    When to cut calls short: after up to *most* turns of the loop.

    That is about as many as they take; how many those are while threads work is the machine's to
    say, so it is learnt from call to call.
    """

    def __init__(self, dice, most):
        self.dice = dice
        self.most = most

    async def wait(self, task):
        """Wait for a moment of *task*, or for its end."""
        for turn in range(int(self.most * self.dice.random())):
            if task.done():
                self.most = turn
                return
            await asyncio.sleep(0)
        self.most *= 1.1


async def cancel(task, _, moments):
    await moments.wait(task)
    task.cancel()


async def cancel_twice(task, limit, moments):
    await cancel(task, limit, moments)
    await turns(int(5 * moments.dice.random()))
    task.cancel()


async def expire(task, limit, moments):
    await moments.wait(task)
    if not task.done():
        limit.reschedule(0)  # a deadline that passed long ago


class Run:
    """One call that is cut short, and what it told."""

    def __init__(self, place, scenario, folder):
        self.events = []
        self.folder = folder
        self.completed = False
        self.client = AsyncSeedream(
            api_key="sk-test",
            base_url=place.url,
            limits=Limits(concurrency=WIDTH),
            on_event=self.events.append,
        )
        self._scenario = scenario
        self._limit = asyncio.timeout(None)

    async def call(self):
        async with self._limit:
            await self._scenario(self)

    async def cut(self, way, moments):
        """Start the call, cut it short, and tell how it ended."""
        task = asyncio.create_task(self.call())
        await asyncio.sleep(0)  # a deadline can be moved once the block is entered
        await way(task, self._limit, moments)
        await asyncio.wait([task])
        if task.cancelled():
            return "cancelled"
        return type(task.exception()).__name__

    def handed_over(self):
        """How many requests were handed to a connection, as the client tells."""
        attempts = [event.result for event in self.events if isinstance(event, AttemptEnded)]
        return sum(attempt.fate != "never sent" for attempt in attempts)

    def check_told(self):
        """Each call that ended early says so, and whether it may be billed."""
        for call in self.events:
            if isinstance(call, CallEnded) and call.error:
                *refused, last = [attempt.fate for attempt in call.attempts]
                assert call.error == "CancelledError"
                assert set(refused) <= {"refused"}
                assert call.possibly_billed == (last in MAY_COST and not self.completed)


def at_work():
    """The tasks of others, but for the loop's own, which accepts connections."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    return [task for task in others if task.get_coro().__name__ != "_accept_connection2"]


def in_use(connector):
    """The connections that somebody has, but for the one that is only watched."""
    watched = getattr(connector, "_watched", None)
    return connector._acquired - {watched and watched.protocol}


async def check_slots(run, place):
    """All slots are free: so many calls as there are of them are answered together only."""
    place.waiting.clear()
    place.together = WIDTH
    async with asyncio.timeout(5):
        await asyncio.gather(*(run.client.generate("a dog") for _ in range(WIDTH)))
    place.together = 1


async def check_gone(run, place, connectors, before):
    """Nothing is left: no task, no connection, no slot, and nothing is sent any more."""
    assert not at_work()
    assert not any(map(in_use, connectors))
    handed_over = run.handed_over()
    await all_heard()
    assert place.posts - before == handed_over
    await check_slots(run, place)
    await run.client.aclose()
    await all_heard()
    assert place.posts - before == handed_over + WIDTH
    async with asyncio.timeout(5):
        await place.idle()


@pytest.mark.parametrize(
    ("way", "ending"),
    [
        pytest.param(cancel, "cancelled", id="once"),
        pytest.param(cancel_twice, "cancelled", id="twice"),
        pytest.param(expire, "TimeoutError", id="timeout"),
    ],
)
@pytest.mark.parametrize(
    ("scenario", "most"),
    [
        pytest.param(generate, 24, id="generate"),
        pytest.param(retried, 50, id="retried"),
        pytest.param(refer, 45, id="with a reference"),
        pytest.param(save, 700, id="saved"),
        pytest.param(save_base64, 700, id="saved from base64"),
        pytest.param(stream, 40, id="stream"),
        pytest.param(save_stream, 1500, id="saved stream"),
        pytest.param(many, 45, id="many"),
        pytest.param(save_many, 1500, id="saved many"),
    ],
)
async def test_cut_short_anywhere(  # noqa: PLR0917
    scenario, most, way, ending, place, connectors, tmp_path
):
    """Wherever a call is cut short, it leaves nothing behind, and tells whether it was sent."""
    moments = Moments(random.Random(f"{scenario.__name__} {way.__name__}"), most)
    (tmp_path / "reference.jpeg").write_bytes(PICTURE)
    endings = []
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        run = Run(place, scenario, folder)
        before = place.posts
        place.refusals = 2 if scenario is retried else 0

        endings.append(await run.cut(way, moments))

        place.refusals = 0
        run.check_told()
        await check_gone(run, place, connectors, before)
        assert not list(folder.glob(".*"))
        assert connectors
        connectors.clear()
    assert set(endings) <= {ending, "NoneType"}
    assert endings.count(ending) > ROUNDS / 5


async def test_no_time_at_all(place):
    """A deadline of now is Python's own TimeoutError, and nothing is sent."""
    async with AsyncSeedream(api_key="sk-test", base_url=place.url) as client:
        with pytest.raises(TimeoutError) as excinfo:
            async with asyncio.timeout(0):
                await client.generate("a cat")

    assert type(excinfo.value) is TimeoutError
    assert place.posts == 0


async def test_cancelled_in_the_queue(place):
    """A call that waits for a slot has not begun: it ends in silence, and costs nothing."""
    place.together = 2
    events = []
    limits = Limits(concurrency=1)
    async with AsyncSeedream(
        api_key="sk-test", base_url=place.url, limits=limits, on_event=events.append
    ) as client:
        first = asyncio.create_task(client.generate("a cat"))
        second = asyncio.create_task(client.generate("a dog"))
        while not place.waiting:
            await asyncio.sleep(0)

        second.cancel()
        await asyncio.wait([second])
        first.cancel()
        await asyncio.wait([first])

    assert first.cancelled()
    assert second.cancelled()
    assert place.posts == 1
    assert [event.call for event in events] == [1, 1, 1, 1]


async def test_the_message_of_a_cancellation_passes(place):
    """What a task is cancelled with is what its owner sees."""
    place.together = 2
    async with AsyncSeedream(api_key="sk-test", base_url=place.url) as client:
        task = asyncio.create_task(client.generate("a cat"))
        while not place.waiting:
            await asyncio.sleep(0)
        task.cancel("shutting down")

        with pytest.raises(asyncio.CancelledError, match="shutting down"):
            await task

    assert task.cancelled()
    assert task.cancelling() == 1
