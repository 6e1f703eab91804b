"""Fan-outs that are left early: nothing runs on, and every request that was pulled is told of."""

import asyncio
import contextlib
import functools
import random
import signal
import sys

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import (
    APIConnectionError,
    AsyncSeedream,
    DownloadError,
    Failure,
    GenerateRequest,
    ImagesResponse,
    Limits,
    OutcomeUnknownError,
    Success,
)
from seedream_async._events import Attempt
from seedream_async._fanout import FanOut
from seedream_async._saving import WIDTH as SAVING

from .clocks import SocketLoop
from .test_cancellation import Place, at_work, connectors, in_use

ROUNDS = 125  # of each way to leave
WIDTH = 2
__all__ = ["connectors"]  # a fixture


async def turns(number):
    for _ in range(number):
        await asyncio.sleep(0)


class Call:
    """A call as a fan-out sees it."""

    attempts = ()

    def ask_before_sending(self, check):
        check()


class Service:
    """Answers each request after as many turns of the loop as its prompt says, and saves it."""

    def __init__(self, plans):
        self.plans = plans
        self.pulled = 0
        self.in_flight = 0
        self.sent = set()
        self.answered = {}
        self.saved = set()

    def source(self):
        for number in range(len(self.plans)):
            self.pulled = number + 1
            yield str(number)

    async def generate(self, request, began):
        index = int(request.prompt)
        before, after, _ = self.plans[index]
        self.in_flight += 1
        try:
            call = Call()
            began(call)
            await turns(before)
            self.sent.add(index)
            call.attempts = (Attempt(fate="unknown", elapsed=0.0),)
            await turns(after)
            call.attempts = (Attempt(fate="answered", elapsed=0.0),)
        finally:
            self.in_flight -= 1
        self.answered[index] = ImagesResponse(created=index)
        return self.answered[index]

    async def save(self, success):
        await turns(self.plans[success.index][2])
        self.saved.add(success.index)
        return evolve(success.response, model="saved")

    def fan_out(self, source=None, **options):
        async def answer(index, request, began, answered):
            response = await self.generate(request, began)
            answered(response)
            return await self.save(Success(index, request, response))

        return FanOut(
            self.source() if source is None else source,
            answer,
            prepare=functools.partial(turns, 0),
            width=WIDTH,
            model="default",
            saves=True,
            **options,
        )

    def check(self, result):
        """What is undelivered says how far it was, and what it may have cost."""
        index = result.index
        if index in self.saved:
            assert result.unwrap() == evolve(self.answered[index], model="saved")
        elif index in self.answered:
            assert isinstance(result.error, DownloadError)
            assert result.error.response is self.answered[index]
            assert result.possibly_billed
        elif index in self.sent:
            assert isinstance(result.error, OutcomeUnknownError)
            assert result.error.attempts
            assert result.possibly_billed
        else:
            assert isinstance(result.error, APIConnectionError)
            assert not result.possibly_billed


async def take(results, way, number, delivered):
    """Leave *results* after *number* of them, each in its own way."""
    async with results:
        async for result in results:
            delivered.append(result)
            if len(delivered) < number:
                continue
            if way == "break":
                break
            if way == "raise":
                raise LookupError


async def leave(service, way, moment, *, ordered):
    """Take results until *moment*, which counts results or, for a cancellation, turns."""
    delivered = []
    results = service.fan_out(ordered=ordered)
    if way == "cancelled list":
        task = asyncio.create_task(collect(results))
    else:
        task = asyncio.create_task(take(results, way, moment, delivered))
    if way.startswith("cancel"):
        await turns(moment)
        task.cancel()
    await asyncio.wait([task])
    if way == "cancelled list" and not task.cancelled():
        delivered = task.result()
    return results, delivered


async def collect(results):
    return await results


plans = st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=25)


@given(
    plans=plans,
    way=st.sampled_from(["break", "raise", "cancel", "cancelled list"]),
    moment=st.integers(1, 30),
    ordered=st.booleans(),
)
def test_every_request_pulled_ends_in_one_result(plans, way, moment, ordered):
    """However and whenever a fan-out is left, each request is delivered or undelivered, once."""
    service = Service(plans)

    async def run():
        results, delivered = await leave(service, way, moment, ordered=ordered)
        return results.undelivered, delivered, asyncio.all_tasks() - {asyncio.current_task()}

    undelivered, delivered, tasks = asyncio.run(run())

    assert not tasks
    assert not service.in_flight
    indices = [result.index for result in undelivered]
    assert indices == sorted(indices)
    assert sorted([*indices, *(result.index for result in delivered)]) == list(
        range(service.pulled)
    )
    for result in undelivered:
        service.check(result)


async def test_nothing_is_undelivered_while_it_runs():
    """What becomes of the rest is known when it is gone."""
    service = Service([(0, 0, 0)] + [(0, 1000, 0)] * 5)

    async with service.fan_out() as results:
        async for _ in results:
            await turns(20)
            assert results.undelivered == ()
            break

    assert [type(result) for result in results.undelivered] == [Failure] * WIDTH


@pytest.mark.parametrize(
    ("fate", "told"),
    [
        pytest.param("refused", "left before it was sent again: it cost nothing", id="refused"),
        pytest.param("never sent", "left before it was sent: it cost nothing", id="never sent"),
    ],
)
async def test_left_before_the_next_attempt(fate, told):
    """What was refused or never sent costs nothing when it is left, and is told as what it was."""
    service = Service([(0, 0, 0)])

    async def generate(request, began):
        call = Call()
        call.attempts = (Attempt(fate=fate, elapsed=0.0),)
        began(call)
        await asyncio.Event().wait()

    service.generate = generate
    results = service.fan_out()
    task = asyncio.create_task(collect(results))
    await turns(20)

    task.cancel()
    await asyncio.wait([task])

    [failure] = results.undelivered
    assert str(failure.error) == told
    assert failure.error.attempts[0].fate == fate
    assert not failure.possibly_billed


@pytest.mark.parametrize("kind", ["generator", "async generator", "iterator"])
async def test_what_becomes_of_the_source(kind):
    """An async generator is closed when a fan-out is left; any other goes on where it was."""
    closed = []

    async def generator():
        try:
            for number in range(100):
                yield str(number)
        finally:
            closed.append(True)

    class Iterator:
        def __init__(self):
            self.items = generator()

        def __aiter__(self):
            return self

        async def __anext__(self):
            return await anext(self.items)

    service = Service([(1, 1, 1)] * 100)
    sources = {"generator": service.source, "async generator": generator, "iterator": Iterator}
    source = sources[kind]()

    async with service.fan_out(source) as results:
        async for _ in results:
            break

    rest = [prompt async for prompt in source] if kind != "generator" else list(source)
    assert bool(closed) == (kind != "generator")
    assert bool(rest) == (kind != "async generator")


async def test_a_generator_that_nobody_else_holds_is_let_go():
    """It is closed as the block is left, although the results are still held."""
    closed = []

    def source():
        try:
            while True:
                yield "0"
        finally:
            closed.append(True)

    async with Service([(1, 1, 1)]).fan_out(source()) as results:
        async for _ in results:
            break

    assert closed == [True]
    assert results.undelivered


async def test_a_plain_loop_that_is_left_cleans_up_too():
    """Without a block, the event loop cancels the rest as soon as nobody holds on to it."""
    service = Service([(0, 0, 0)] + [(0, 1000, 0)] * 100)
    before = asyncio.all_tasks()
    results = service.fan_out()

    async for _ in results:
        break
    await turns(20)

    assert asyncio.all_tasks() == before
    assert not service.in_flight
    assert len(results.undelivered) == WIDTH


async def test_a_block_that_takes_nothing_sends_nothing():
    """Requests are sent when somebody asks for results."""
    service = Service([(0, 0, 0)])

    async with service.fan_out() as results:
        pass

    assert not service.pulled
    assert results.undelivered == ()
    with pytest.raises(RuntimeError, match="until it is left"):
        await results


async def test_a_block_that_is_left_while_others_wait():
    """Who waits for a result in another task learns that there is none to come."""
    service = Service([(0, 1000, 0)] * 10)

    async with service.fan_out() as results:
        waiting = asyncio.create_task(anext(aiter(results), None))
        await turns(20)

    assert await waiting is None
    assert len(results.undelivered) == WIDTH


async def test_a_list_that_nobody_gets_is_not_lost():
    """Results that were gathered for a list which is cancelled are told of."""
    service = Service([(0, 0, 0)] * 10 + [(0, 1000, 0)])
    results = service.fan_out()
    task = asyncio.create_task(collect(results))
    await turns(200)

    task.cancel()
    await asyncio.wait([task])

    assert [type(result) for result in results.undelivered] == [Success] * 10 + [Failure]


@pytest.mark.parametrize("response_format", ["url", "b64_json"])
async def test_an_image_that_is_left_before_it_was_saved_is_not_lost(
    emulator, client, tmp_path, response_format
):
    """What was paid for is in the response, also if it was on its way to a file."""
    requests = [GenerateRequest("a cat", response_format=response_format)] * 3
    results = client.generate_many(requests, save_to=tmp_path / "cats", concurrency=3)

    for _ in range(SAVING):  # nothing is saved meanwhile
        await client._saver._slots.acquire()
    async with results:
        waiting = asyncio.create_task(anext(aiter(results), None))
        while len(results._savers) < len(requests):
            await asyncio.sleep(0)
    await asyncio.wait([waiting])

    assert len(results.undelivered) == emulator.images_billed == 3
    for failure in results.undelivered:
        [image] = failure.error.response.images
        assert getattr(image, response_format)
    assert not list((tmp_path / "cats").iterdir())


class Leaver:
    """Leaves a fan-out over real connections and onto a real disk, at a random moment."""

    def __init__(self, way, dice, folder, connectors):
        self.way = way
        self.dice = dice
        self.folder = folder
        self.connectors = connectors
        self.armed = self.left = False

    async def run(self):
        async with Place() as place:
            try:
                await self.leave(place)
            finally:
                await place.idle()
                assert not at_work()

    async def leave(self, place):
        loop = asyncio.get_running_loop()
        limits = Limits(concurrency=WIDTH)
        async with AsyncSeedream(api_key="sk-test", base_url=place.url, limits=limits) as client:
            self.armed = True
            loop.call_soon(self.strike, asyncio.current_task(), self.dice.randrange(600))
            try:
                await self.take(client)
            finally:
                self.armed = False
                await self.check(client, place)

    def strike(self, task, turns):
        if not self.armed or self.way in {"break", "raise"}:
            return
        if turns:
            asyncio.get_running_loop().call_soon(self.strike, task, turns - 1)
        elif self.way == "cancel":
            task.cancel()
        else:
            signal.raise_signal(signal.SIGINT)

    async def take(self, client):
        results = client.generate_many(["a cat"] * 4, save_to=self.folder)
        number, self.delivered = self.dice.randrange(1, 3), 0
        try:
            async with results:
                async for result in results:
                    assert isinstance(result, Success)
                    self.delivered += 1
                    if self.way == "raise" and self.delivered == number:
                        raise LookupError
                    if self.way == "break" and self.delivered == number:
                        break
        finally:
            self.undelivered = results.undelivered
            self.left = sys.exception() is not None or self.way == "break"

    async def check(self, client, place):
        """No task, connection, slot or temporary file is left, and what was paid for is known."""
        assert not at_work()
        assert not any(map(in_use, self.connectors))
        assert not list(self.folder.glob(".*"))
        await asyncio.sleep(0.001)  # this clock moves when all that was sent has arrived
        told = self.delivered + sum(
            isinstance(result, Success) or result.possibly_billed for result in self.undelivered
        )
        assert told >= place.posts
        place.waiting.clear()
        place.together = WIDTH
        async with asyncio.timeout(5):
            await asyncio.gather(*(client.generate("a dog") for _ in range(WIDTH)))


@pytest.mark.parametrize(
    ("way", "ending"),
    [
        pytest.param("break", None, id="break"),
        pytest.param("raise", LookupError, id="exception"),
        pytest.param("cancel", asyncio.CancelledError, id="cancellation"),
        pytest.param("ctrl-c", KeyboardInterrupt, id="Ctrl-C"),
    ],
)
def test_left_anywhere(way, ending, connectors, tmp_path):
    """Wherever a fan-out is left, nothing is left behind, and nothing paid for is lost."""
    dice = random.Random(way)
    left = 0
    with asyncio.Runner(loop_factory=SocketLoop) as runner:
        for number in range(ROUNDS):
            leaver = Leaver(way, dice, tmp_path / str(number), connectors)
            with contextlib.suppress(*[ending] if ending else []):
                runner.run(leaver.run())
            left += leaver.left
            connectors.clear()
    assert left > ROUNDS / 3
