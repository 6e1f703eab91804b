"""Many requests, a few at a time."""

import asyncio

import pytest

from seedream_async import (
    APIConnectionError,
    AuthenticationError,
    Failure,
    ImagesResponse,
    InvalidRequestError,
    StorageError,
    Success,
)
from seedream_async._fanout import SAVING_WIDTH, FanOut

RESPONSE = ImagesResponse(created=1)


async def prepared():
    pass


class Service:
    """Answers requests when told to; counts how many are in flight."""

    def __init__(self, **errors):
        self.errors = errors
        self.in_flight = self.most = 0
        self.sent = []
        self.saved = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def generate(self, request):
        self.sent.append(request.prompt)
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.in_flight -= 1
        if error := self.errors.get(request.prompt):
            raise error
        return RESPONSE

    async def save(self, success):
        if error := self.errors.get(f"save {success.index}"):
            raise error
        self.saved.append(success.index)
        return success.response

    def fan_out(self, source, width=4):
        async def answer(index, request, answered):
            response = await self.generate(request)
            answered()
            return await self.save(Success(index, request, response))

        return FanOut(source, answer, prepare=prepared, width=width)


def prompts(count):
    return [f"p{number}" for number in range(count)]


async def test_await_gives_a_list_in_input_order():
    """Every request has its result, in the order of the requests."""
    service = Service()

    results = await service.fan_out(prompts(20))

    assert [result.index for result in results] == list(range(20))
    assert [result.request.prompt for result in results] == prompts(20)
    assert all(isinstance(result, Success) for result in results)
    assert sorted(service.saved) == list(range(20))


async def test_never_more_than_the_width():
    """The width bounds what is in flight."""
    service = Service()

    await service.fan_out(prompts(30), width=3)

    assert service.most == 3


async def test_pulls_no_further_than_the_width():
    """A lazy source is pulled as slots free up, not ahead."""
    service, pulled = Service(), []
    service.gate.clear()

    def source():
        for prompt in prompts(100):
            pulled.append(prompt)
            yield prompt

    async with service.fan_out(source(), width=5) as results:
        pending = asyncio.ensure_future(anext(aiter(results)))
        while service.in_flight < 5:
            await asyncio.sleep(0)
        assert len(pulled) == 5
        pending.cancel()


async def test_a_slow_consumer_holds_the_source_back():
    """Results that nobody takes stop the pulling."""
    service, pulled = Service(), []

    def endless():
        while True:
            pulled.append("p")
            yield "p"

    async with service.fan_out(endless(), width=2) as results:
        async for _ in results:
            for _ in range(1000):
                await asyncio.sleep(0)
            break

    assert len(pulled) <= 2 + 2 + 2 + SAVING_WIDTH


@pytest.mark.parametrize("kind", ["async", "sync"])
async def test_any_source_will_do(kind):
    """Generators of either kind are as good as lists."""

    async def asynchronous():
        for prompt in prompts(10):
            await asyncio.sleep(0)
            yield prompt

    source = asynchronous() if kind == "async" else (prompt for prompt in prompts(10))

    results = await Service().fan_out(source)

    assert [result.request.prompt for result in results] == prompts(10)


async def test_no_requests_no_results():
    """An empty source ends at once."""
    assert await Service().fan_out([]) == []


async def test_a_failure_costs_the_others_nothing():
    """A failed request, a bad item and a failed save are each one result."""
    failing = Service(p1=APIConnectionError("no"), **{"save 2": ValueError("bug")})

    results = await failing.fan_out(["p0", "p1", "p2", 7, "p4"])

    assert [type(result) for result in results] == [Success, Failure, Failure, Failure, Success]
    assert isinstance(results[1].error, APIConnectionError)
    assert isinstance(results[2].error, ValueError)
    assert isinstance(results[3].error, InvalidRequestError)


async def test_a_source_that_raises_is_reported_where_it_happens():
    """What is in flight is still delivered, and the error has its index."""

    def source():
        yield "p0"
        yield "p1"
        raise LookupError("no more rows")

    results = await Service().fan_out(source())

    assert [type(result) for result in results] == [Success, Success, Failure]
    assert (results[2].index, results[2].request) == (2, None)
    assert isinstance(results[2].error, LookupError)


@pytest.mark.parametrize(
    "errors",
    [{"p3": AuthenticationError("wrong key")}, {"save 3": StorageError("disk full")}],
    ids=["key", "disk"],
)
async def test_stops_when_it_is_pointless(errors):
    """After an error that all would share, nothing more is sent, and that is said."""
    service = Service(**errors)

    results = await service.fan_out(prompts(50), width=2)

    unsent = [result for result in results if result.index > 10]
    assert len(results) == 50
    assert len(service.sent) < 10
    assert all(isinstance(result.error, APIConnectionError) for result in unsent)
    assert "not sent" in str(unsent[0].error)
    assert unsent[0].error.__cause__ in errors.values()


async def test_an_endless_source_is_left_when_it_is_pointless():
    """A source of unknown length is not drained for nothing."""

    def endless():
        while True:
            yield "p"

    results = await Service(p=AuthenticationError("wrong key")).fan_out(endless(), width=2)

    assert 1 <= len(results) <= 2


@pytest.mark.parametrize("way", ["break", "raise", "cancel"])
async def test_leaving_early_leaves_nothing_behind(way):
    """However the block is left, every task is gone afterwards."""
    service = Service()
    before = asyncio.all_tasks()

    async def leave():
        async with service.fan_out(prompts(100)) as results:
            async for _ in results:
                if way == "break":
                    break
                if way == "raise":
                    raise LookupError
                asyncio.current_task().cancel()
                await asyncio.sleep(0)

    task = asyncio.create_task(leave())
    await asyncio.wait([task])

    assert asyncio.all_tasks() == before
    assert service.in_flight == 0
    assert task.cancelled() if way == "cancel" else bool(task.exception()) == (way == "raise")


async def test_break_without_a_block_cleans_up_too():
    """An abandoned `async for` cancels its tasks by itself."""
    service = Service()
    before = asyncio.all_tasks()

    async for _ in service.fan_out(prompts(100)):
        break
    while asyncio.all_tasks() != before:
        await asyncio.sleep(0)

    assert service.in_flight == 0


async def test_results_can_be_taken_once():
    """A second consumer would get a part of the results: it is refused."""
    results = Service().fan_out(prompts(3))
    await results

    with pytest.raises(RuntimeError, match="once"):
        await results


@pytest.mark.parametrize(
    ("source", "width", "field"),
    [
        pytest.param("one prompt", 1, "requests", id="a prompt"),
        pytest.param(7, 1, "requests", id="a number"),
        pytest.param([], 0, "concurrency", id="no width"),
        pytest.param([], -1, "concurrency", id="negative width"),
    ],
)
async def test_bad_arguments_are_refused(source, width, field):
    """The argument at fault is named, and nothing has begun."""
    with pytest.raises(InvalidRequestError, match=field) as excinfo:
        Service().fan_out(source, width)

    assert excinfo.value.field == field
