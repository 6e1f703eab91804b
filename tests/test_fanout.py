"""Many requests, a few at a time."""

import asyncio
import gc
import tracemalloc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import (
    APIConnectionError,
    AuthenticationError,
    Failure,
    GenerateRequest,
    ImagesResponse,
    InvalidRequestError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    StorageError,
    Success,
)
from seedream_async._allowance import Allowance
from seedream_async._fanout import SAVING_WIDTH, FanOut
from seedream_async._spending import Purse

pytestmark = pytest.mark.virtual_time

RESPONSE = ImagesResponse(created=1)


async def prepared():
    pass


async def turns(number):
    for _ in range(number):
        await asyncio.sleep(0)


class Call:
    """A call that keeps what a fan-out asks of it."""

    attempts = ()

    def ask_before_sending(self, check):
        self.check = check

    def ask_before_resending(self, why_not):
        self.why_not = why_not


class Service:
    """Answers requests when told to; counts how many are in flight."""

    def __init__(self, **errors):
        self.errors = errors
        self.in_flight = self.most = 0
        self.sent = []
        self.tasks = {}
        self.saved = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def generate(self, request, began):
        self.sent.append(request.prompt)
        self.tasks[request.prompt] = asyncio.current_task()
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await self.gate.wait()
            await turns(5)
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

    def fan_out(self, source, width=4, **options):
        async def answer(index, request, began, answered):
            response = await self.generate(request, began)
            answered(response)
            if self.save is None:
                return response
            return await self.save(Success(index, request, response))

        return FanOut(
            source,
            answer,
            prepare=prepared,
            width=width,
            model="default",
            saves=self.save is not None,
            **options,
        )


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


async def test_what_is_done_is_gone():
    """Nothing of a request that is done waits for the garbage collector: not even its call."""
    calls = weakref.WeakSet()
    service = Service()

    async def generate(_, began):
        call = Call()
        calls.add(call)
        began(call)
        return RESPONSE

    service.generate = generate
    gc.disable()
    try:
        results = await service.fan_out(prompts(20), purse=Purse(Allowance(max_images=20), "m"))
        left = len(calls)
    finally:
        gc.enable()

    assert all(isinstance(result, Success) for result in results)
    assert left == 0


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
            await turns(1000)
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
    assert isinstance(results[2].error.__cause__, ValueError)
    assert results[2].error.response is RESPONSE
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


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "as they finish"])
async def test_a_source_that_waits_is_left_when_it_is_pointless(ordered):
    """Nobody waits for a request that would not be sent."""
    left = []

    async def idle():
        try:
            yield "p"
            await asyncio.Event().wait()
        finally:
            left.append(True)

    async with asyncio.timeout(5):
        [failure] = await Service(p=AuthenticationError("wrong key")).fan_out(
            idle(), ordered=ordered
        )

    assert isinstance(failure.error, AuthenticationError)
    assert left == [True]


async def test_a_source_that_waits_is_not_left_for_one_failure():
    """What concerns one request does not end the wait for the next one."""
    failed = asyncio.Event()

    async def idle():
        yield "p0"
        await failed.wait()
        yield "p1"

    async with Service(p0=RateLimitError("no")).fan_out(idle()) as results:
        first = await anext(delivery := aiter(results))
        failed.set()
        second = await anext(delivery)

    assert isinstance(first, Failure)
    assert isinstance(second, Success)


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
        pytest.param([], True, "concurrency", id="a claim as width"),
        pytest.param([], 2.0, "concurrency", id="half a width"),
        pytest.param(b"bytes", 1, "requests", id="bytes"),
        pytest.param(GenerateRequest("a cat"), 1, "requests", id="a request"),
        pytest.param(prompts, 1, "requests", id="a function"),
    ],
)
async def test_bad_arguments_are_refused(source, width, field):
    """The argument at fault is named, and nothing has begun."""
    with pytest.raises(InvalidRequestError, match=field) as excinfo:
        Service().fan_out(source, width)

    assert excinfo.value.field == field


async def test_a_generator_that_runs_already_is_refused():
    """Who is pulled by somebody else cannot be pulled by us: nothing has begun."""
    asked = asyncio.Event()

    async def source():
        asked.set()
        await asyncio.Event().wait()
        yield "p0"

    prompts = source()
    other = asyncio.create_task(anext(prompts))
    await asked.wait()

    with pytest.raises(InvalidRequestError, match="running already") as excinfo:
        Service().fan_out(prompts)

    assert excinfo.value.field == "requests"
    other.cancel()
    await asyncio.wait([other])


async def test_a_generator_that_feeds_itself_is_refused():
    """The same holds for a plain generator, which only its own body can see running."""

    def source():
        with pytest.raises(InvalidRequestError, match="running already"):
            Service().fan_out(itself)
        yield "p0"

    itself = source()

    assert next(itself) == "p0"


async def test_a_source_cannot_close_its_own_fan_out():
    """It would wait for itself: that is refused, and reported as any error of a source."""
    service = Service()

    async def source():
        yield "p0"
        await fan_out.aclose()

    fan_out = service.fan_out(source())
    async with asyncio.timeout(5):
        first, second = await fan_out

    assert isinstance(first, Success)
    assert "cannot close it" in str(second.error)


async def test_ordered_results_come_in_input_order():
    """The first request may be the slowest: its result comes first all the same."""
    service, first = Service(), asyncio.Event()

    async def save(success):
        if success.index == 0:
            await first.wait()
        elif success.index == 5:
            first.set()
        return success.response

    service.save = save

    async with service.fan_out(prompts(20), ordered=True) as results:
        indices = [result.index async for result in results]

    assert indices == list(range(20))


async def test_a_slow_head_holds_back_the_pulling():
    """While the first result is not there, only so many others are made and kept."""
    service, pulled, width = Service(), [], 3
    first = asyncio.Event()

    async def save(success):
        if success.index == 0:
            await first.wait()
        return success.response

    def endless():
        while True:
            pulled.append("p")
            yield "p"

    service.save = save

    async with service.fan_out(endless(), width=width, ordered=True) as results:
        head = asyncio.ensure_future(anext(aiter(results)))
        await turns(1000)
        pulled_so_far = len(pulled)
        first.set()
        index = (await head).index

    assert pulled_so_far == 2 * width + SAVING_WIDTH
    assert index == 0


async def test_saving_takes_no_slot():
    """A slow disk does not keep others from being answered, up to the window."""
    service = Service()

    async def save(success):
        await asyncio.Event().wait()

    service.save = save

    async with service.fan_out(prompts(100), width=2) as results:
        pending = asyncio.ensure_future(anext(aiter(results)))
        await turns(1000)
        sent = len(service.sent)
        pending.cancel()

    assert sent == 2 * 2 + SAVING_WIDTH


async def test_nothing_to_save():
    """Without a place to save to, an answer is all."""
    service = Service()
    service.save = None

    results = await service.fan_out(prompts(3))

    assert [result.unwrap() for result in results] == [RESPONSE] * 3


async def test_a_service_that_wants_to_be_left_alone():
    """A pause that nobody waits for is met by all: nothing more is sent, and the rest says so."""
    long = RateLimitError("come back tomorrow", status_code=429, retry_after=9000)

    results = await Service(p1=long).fan_out(prompts(9), width=1, patience=120)

    assert isinstance(results[0], Success)
    assert results[1].error is long
    assert all(isinstance(result.error, APIConnectionError) for result in results[2:])


def missing(model, error=None):
    """A service without *model*, for requests that name it or, as the default, none."""
    service = Service()
    generate = service.generate

    async def refuse(request, began):
        response = await generate(request, began)
        if (request.model or "default") == model:
            raise error or NotFoundError("no such model", status_code=404)
        return response

    service.generate = refuse
    return service


def of_model(result):
    return result.request.model or "default"


@pytest.mark.parametrize("model", ["default", "other"])
@pytest.mark.parametrize(
    "error",
    [
        NotFoundError("no such model", status_code=404),
        PermissionDeniedError("not yours", status_code=403, code="AccessDenied"),
    ],
    ids=["unknown", "denied"],
)
async def test_an_unknown_model_ends_its_own_requests(model, error):
    """What names a model that is not there is not sent; what names another is."""
    service = missing(model, error)
    requests = ["p", GenerateRequest("p", model="other")] * 25

    results = await service.fan_out(requests, width=2)

    answered = [result for result in results if isinstance(result, Success)]
    unsent = [result.error for result in results if isinstance(result, Failure)][2:]
    assert len(answered) == 25
    assert model not in map(of_model, answered)
    assert len(service.sent) < 25 + 5
    assert all(error.__cause__ for error in unsent[3:])
    assert "not sent" in str(unsent[-1])


async def test_a_firewall_does_not_end_the_others():
    """A 403 that is not the API's may be about one prompt."""
    service = missing("default", PermissionDeniedError("a web page", status_code=403))

    await service.fan_out(prompts(10), width=1)

    assert len(service.sent) == 10


async def test_an_endless_source_is_left_when_no_model_is_there():
    """When every model that was asked for is unknown, there is nothing to look for."""
    service = missing("default")

    def endless():
        while True:
            yield "p"

    results = await service.fan_out(endless(), width=2)

    assert 1 <= len(results) <= 2


async def test_a_closed_client_ends_it():
    """Misuse that all would meet is met once; a bug in saving one image is not misuse."""
    misused = Service(p1=RuntimeError("Session is closed"))
    clumsy = Service(**{"save 1": RuntimeError("a bug")})

    ended = await misused.fan_out(prompts(50), width=1)
    unharmed = await clumsy.fan_out(prompts(50), width=1)

    assert len(misused.sent) == 2
    assert "not sent" in str(ended[-1].error)
    assert sum(isinstance(result, Success) for result in unharmed) == 49


async def test_a_failure_holds_on_to_nothing():
    """An expected error keeps no frames, and so no bodies; an unexpected one can be traced."""
    service = Service(p0=APIConnectionError("no"), p1=ValueError("bug"))

    expected, unexpected = await service.fan_out(prompts(2))

    assert expected.error.__traceback__ is None
    assert unexpected.error.__traceback__ is not None


@pytest.mark.parametrize("sized", [True, False], ids=["sized", "unsized"])
async def test_a_cancelled_worker_is_not_swallowed(sized):
    """If others cancel a task of ours, its request fails, and what follows is not sent."""
    service = Service()
    service.gate.clear()
    source = prompts(10) if sized else (prompt for prompt in prompts(10))
    before = asyncio.all_tasks()

    results = asyncio.create_task(collect(service.fan_out(source, width=2)))
    while service.in_flight < 2:
        await asyncio.sleep(0)
    workers = asyncio.all_tasks() - before - {results}
    victim = next(worker for worker in workers if service.tasks["p0"] is worker)
    victim.cancel()
    await turns(5)
    service.gate.set()
    first, second, rest = sorted(await results, key=lambda result: result.index)

    assert victim.cancelled()
    assert "left before" in str(first.error)
    assert isinstance(second, Success)
    assert (rest.index, rest.request) == (2, None)
    assert "ended by others" in str(rest.error)
    assert service.sent == ["p0", "p1"]


async def collect(fan_out):
    return await fan_out


async def test_a_worker_cancelled_before_it_begins_is_not_swallowed():
    """Also if nothing was pulled yet, the end that others made is told of."""
    before = asyncio.all_tasks()
    results = asyncio.create_task(collect(Service().fan_out(prompts(3))))
    await asyncio.sleep(0)
    [worker] = asyncio.all_tasks() - before - {results}
    worker.cancel()

    [failure] = await results

    assert "ended by others" in str(failure.error)


async def test_a_cancelled_source_is_not_swallowed():
    """If others cancel the task that waits for the source, that does not look like its end."""
    asked = asyncio.Event()
    tasks = []

    async def source():
        yield "p0"
        tasks.append(asyncio.current_task())
        asked.set()
        await asyncio.Event().wait()

    results = asyncio.create_task(collect(Service().fan_out(source())))
    await asked.wait()
    tasks[0].cancel()
    first, rest = await results

    assert isinstance(first, Success)
    assert (rest.index, rest.request) == (1, None)
    assert isinstance(rest.error.__cause__, asyncio.CancelledError)


async def test_two_fan_outs_and_a_single_call_share_fairly():
    """Slots are first come, first served: nobody waits for another's whole list."""
    slots, finished = asyncio.Semaphore(2), []

    def service(name):
        async def generate(request, began):
            async with slots:
                await turns(3)
            finished.append(name)
            return RESPONSE

        service = Service()
        service.generate = generate
        return service

    lists = [collect(service(name).fan_out(prompts(50), width=2)) for name in "ab"]
    tasks = [asyncio.create_task(each) for each in lists]
    while len(finished) < 20:
        await asyncio.sleep(0)
    await service("single").generate("p", None)
    after = len(finished)
    await asyncio.gather(*tasks)

    assert after < 30
    assert 8 <= finished[:20].count("a") <= 12


async def test_memory_does_not_grow_with_the_source():
    """Ten times the requests, the same memory: results are not kept."""

    async def peak(count):
        service = Service()
        service.generate, service.save = instantly, None
        tracemalloc.reset_peak()
        start, _ = tracemalloc.get_traced_memory()
        async for _ in service.fan_out(("p" for _ in range(count)), width=32):
            pass
        return tracemalloc.get_traced_memory()[1] - start

    tracemalloc.start()
    try:
        await peak(100)  # caches
        few, many = await peak(500), await peak(5000)
    finally:
        tracemalloc.stop()

    assert many < few + 64 * 1024


async def instantly(request, began):
    return RESPONSE


async def test_the_first_result_waits_for_few():
    """A million requests are not begun before the first is delivered."""
    service, pulled = Service(), []
    service.generate, service.save = instantly, None

    def source():
        for number in range(10**6):
            pulled.append(number)
            yield "p"

    async with service.fan_out(source(), width=4) as results:
        async for _ in results:
            break

    assert len(pulled) <= 2 * 4 + SAVING_WIDTH


@given(
    fates=st.lists(st.sampled_from(["answer", "instant", "fail", "bad", "unsaved"]), max_size=30),
    width=st.integers(1, 5),
    ordered=st.booleans(),
)
def test_every_request_has_one_result(fates, width, ordered):
    """Whatever becomes of each request, all have one result, in order if that is asked for."""

    async def generate(request, began):
        fate = request.prompt
        await turns(0 if fate == "instant" else len(fate))
        if fate == "fail":
            raise APIConnectionError("no")
        return RESPONSE

    async def save(success):
        await turns(success.index % 3)
        if fates[success.index] == "unsaved":
            raise ValueError
        return success.response

    async def run():
        source = (7 if fate == "bad" else fate for fate in fates)
        service = Service()
        service.generate, service.save = generate, save
        results = [result async for result in service.fan_out(source, width, ordered=ordered)]
        return results, asyncio.all_tasks() - {asyncio.current_task()}

    results, tasks = asyncio.run(run())

    assert not tasks
    indices = [result.index for result in results]
    assert (indices if ordered else sorted(indices)) == list(range(len(fates)))
    for result in results:
        good = fates[result.index] in {"answer", "instant"}
        assert isinstance(result, Success if good else Failure)
