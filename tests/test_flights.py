"""One paid call for all who ask for the same at the same time, and for each an end of its own."""

import asyncio
import gc
import io
import traceback

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from seedream_async import (
    APITimeoutError,
    Attempt,
    BadRequestError,
    CallEnded,
    InvalidRequestError,
    Limits,
    LinkDeniedError,
    OutcomeUnknownError,
    RateLimitError,
    RetryPolicy,
    StorageError,
    Timeout,
)
from seedream_async._flights import Flights
from seedream_async._timeout import Bounds
from seedream_async.emulator import Emulator
from seedream_async.emulator._pictures import render

from .clocks import VirtualLoop

pytestmark = pytest.mark.virtual_time

PNG = render(64, 48, "png", b"a test")
QUICK = RetryPolicy(wait_initial=0)


@pytest.fixture
async def slow():
    """An emulator whose images take a moment, so that others may come meanwhile."""
    async with Emulator(latency=0.3) as slow:
        yield slow


@pytest.fixture
async def sharing(slow):
    async with slow.client(retry=QUICK) as client:
        yield client


class Departed:
    """A call that is sent at once."""

    attempts = ()

    def ask_before_sending(self, check):
        check()

    def ask_how_long(self, left):
        self.left = left


async def flights_of(client):
    """What is under way, as soon as anything is."""
    while client._generating._flights is None or not client._generating._flights._flights:
        await asyncio.sleep(0)
    return client._generating._flights._flights


def tasks():
    return asyncio.all_tasks() - {asyncio.current_task()}


async def ask(client, *prompts, **options):
    """What becomes of asking for *prompts* at the same time."""
    calls = (client.generate(prompt, share=True, **options) for prompt in prompts)
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_one_call_for_all(slow, sharing):
    """Identical requests in flight together are paid for once, and all get the answer."""
    responses = await ask(sharing, *["a cat"] * 10)

    assert slow.request_count == slow.images_billed == 1
    assert len({id(response) for response in responses}) == 1
    assert len(responses[0].images) == 1


async def test_off_by_default(slow, sharing):
    """Who does not ask for it pays for an image of its own."""
    await asyncio.gather(*(sharing.generate("a cat") for _ in range(2)), *[ask(sharing, "a cat")])

    assert slow.images_billed == 3


async def test_what_is_over_is_not_shared(slow, sharing):
    """An answer is not kept: who comes after it pays for another."""
    await ask(sharing, "a cat")
    await ask(sharing, "a cat")

    assert slow.images_billed == 2
    assert sharing._generating._flights._flights == {}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({}, {"size": "2K"}, id="size"),
        pytest.param({}, {"response_format": "b64_json"}, id="format"),
        pytest.param({}, {"extra_headers": {"X-Tenant": "a"}}, id="headers"),
        pytest.param({}, {"extra_body": {"style": "oil"}}, id="extra"),
        pytest.param({}, {"retry": RetryPolicy(resend_unknown=True)}, id="policy"),
        pytest.param({}, {"timeout": Timeout(attempt=77)}, id="limits of attempts"),
        pytest.param({}, {"model": "doubao-seedream-4-5-251128"}, id="model"),
        pytest.param({"image": PNG}, {"image": render(64, 48, "png", b"b")}, id="reference"),
    ],
)
async def test_what_differs_is_not_shared(slow, sharing, one, other):
    """Requests that are answered, sent or paid for otherwise have calls of their own."""
    await asyncio.gather(
        *(sharing.generate("a cat", share=True, **options) for options in (one, other))
    )

    assert slow.images_billed == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"timeout": 50}, {"timeout": 60}, id="total"),
        pytest.param({"model": "doubao-seedream-5-0-260128"}, {}, id="the default named"),
        pytest.param({"retry": QUICK}, {}, id="the client's policy"),
        pytest.param({"image": PNG}, {"image": io.BytesIO(PNG)}, id="the same content"),
        pytest.param(
            {"extra_headers": {"A": "1", "B": "2"}},
            {"extra_headers": {"B": "2", "A": "1"}},
            id="order",
        ),
    ],
)
async def test_what_is_the_same_is_shared(slow, sharing, one, other):
    """What is only written otherwise is the same work."""
    await asyncio.gather(
        *(sharing.generate("a cat", share=True, **options) for options in (one, other))
    )

    assert slow.images_billed == 1


async def test_what_can_be_read_once_is_refused(sharing):
    """A pipe cannot be compared and then sent; the error says what to do."""

    class Pipe(io.BytesIO):
        def seekable(self):
            return False

    with pytest.raises(InvalidRequestError, match="pass the bytes"):
        await sharing.generate("a cat", image=Pipe(PNG), share=True)


async def test_who_leaves_does_not_disturb_the_others(slow, sharing):
    """The call goes on while anybody waits for it, whoever made it."""
    callers = [asyncio.create_task(sharing.generate("a cat", share=True)) for _ in range(3)]
    while not slow.request_count:
        await asyncio.sleep(0.001)

    callers[0].cancel()
    callers[2].cancel()
    responses = await asyncio.gather(*callers, return_exceptions=True)

    assert [type(response).__name__ for response in responses] == [
        *("CancelledError", "ImagesResponse", "CancelledError")
    ]
    assert slow.images_billed == 1


async def test_the_last_to_leave_ends_it(slow):
    """When nobody waits any more, the call is cancelled, and is gone when the last one has left."""
    told = []
    async with slow.client(on_event=told.append) as client:
        callers = [asyncio.create_task(client.generate("a cat", share=True)) for _ in range(3)]
        while not slow.request_count:
            await asyncio.sleep(0.001)

        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        ended = [event for event in told if isinstance(event, CallEnded)]

        assert [(event.error, event.possibly_billed) for event in ended] == [
            ("CancelledError", True)
        ]
        assert client.stats().in_flight == 0
        await ask(client, "a cat")
    assert slow.request_count == 2


async def test_each_caller_has_a_time_out_of_its_own(slow, sharing):
    """Who has less patience gets an error that says so; the others get the image."""
    hasty, patient = await asyncio.gather(
        sharing.generate("a cat", share=True, timeout=0.1),
        sharing.generate("a cat", share=True),
        return_exceptions=True,
    )

    assert isinstance(hasty, OutcomeUnknownError)
    assert hasty.possibly_billed
    assert "total=0.1 s passed, but the call is shared: it goes on" in str(hasty)
    assert len(patient.images) == slow.images_billed == 1


async def test_the_last_time_out_ends_it(slow, sharing):
    """The last one whose time is over learns that the request may have been billed."""
    errors = await ask(sharing, "a cat", "a cat", timeout=0.1)

    assert {type(error) for error in errors} == {OutcomeUnknownError}
    assert "nobody else waited" in str(errors[-1])
    assert errors[-1].attempts[0].fate == "unknown"
    assert sharing.stats().in_flight == 0


async def test_a_wait_that_nobody_has_time_for(emulator):
    """An attempt that would outlast the patience of all is not made: it would only cost."""
    emulator.fail_next(status=429, retry_after=60)

    async with emulator.client() as client:
        errors = await ask(client, "a cat", "a cat", timeout=9.0)

    assert {type(error) for error in errors} == {RateLimitError}
    assert "too little of the total time-out" in errors[0].__notes__[0]
    assert emulator.request_count == 1


async def test_the_most_patient_decides(slow, sharing):
    """As long as anybody has the time, the call is tried again."""
    slow.fail_next(status=429, retry_after=1)

    hasty, patient = await asyncio.gather(
        sharing.generate("a cat", share=True, timeout=1.5),
        sharing.generate("a cat", share=True),
        return_exceptions=True,
    )

    assert len(hasty.images) == len(patient.images) == slow.images_billed == 1


async def test_what_is_left_for_another_attempt():
    """It counts from the departure, or from when one came after it; half of it is for use."""
    flights, call, never = Flights(), Departed(), asyncio.Event()

    async def fly(began):
        await asyncio.sleep(5)
        began(call)
        await never.wait()

    def come(limit):
        return asyncio.create_task(flights.join("key", fly, Bounds(total=limit)))

    callers = [come(30), come(10)]
    await asyncio.sleep(7)
    lefts = [call.left()]
    callers.append(come(60))
    await asyncio.sleep(1)
    lefts.append(call.left())
    callers.pop().cancel()
    await asyncio.sleep(0.5)
    lefts.append(call.left())
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)

    assert lefts == pytest.approx([30 - 2 - 15, 60 - 1 - 20, 30 - 3.5 - 15], abs=0.01)
    assert call.left() == 0


async def test_a_time_out_before_anything_left_costs_nothing():
    """If nothing but refusals came, the error says that nothing was billed."""
    flights = Flights()

    async def fly(began):
        call = Departed()
        call.attempts = (Attempt(fate="refused", elapsed=0.1),)
        began(call)
        await asyncio.Event().wait()

    with pytest.raises(APITimeoutError, match="nothing was billed") as excinfo:
        await flights.join("key", fly, Bounds(total=0.01))

    assert not excinfo.value.possibly_billed
    assert [attempt.fate for attempt in excinfo.value.attempts] == ["refused"]


async def test_an_answer_that_nobody_is_left_for(caplog):
    """What was paid for as the last one was cancelled is told of, once."""
    async with Emulator() as emulator, emulator.client() as client:
        callers = [asyncio.create_task(client.generate("a cat", share=True)) for _ in range(3)]
        (flight,) = (await flights_of(client)).values()
        flight.task.add_done_callback(lambda _: [caller.cancel() for caller in callers])
        await asyncio.wait(callers)

    assert all(caller.cancelled() for caller in callers)
    assert emulator.images_billed == 1
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning == (
        "call 1 was answered as all who waited for it were cancelled, and nobody has its images; "
        "1 billed"
    )


async def test_an_answer_that_somebody_has(caplog):
    """Who leaves while another gets the answer loses nothing."""
    async with Emulator() as emulator, emulator.client() as client:
        callers = [asyncio.create_task(client.generate("a cat", share=True)) for _ in range(3)]
        (flight,) = (await flights_of(client)).values()
        flight.task.add_done_callback(lambda _: [caller.cancel() for caller in callers[1:]])
        await asyncio.wait(callers)

    assert [caller.cancelled() for caller in callers] == [False, True, True]
    assert caplog.records == []


async def test_the_clock_starts_with_the_call(slow):
    """Time in the queue is nobody's time-out, as without sharing."""
    async with slow.client(limits=Limits(concurrency=1)) as client:
        first = asyncio.create_task(client.generate("a dog"))
        await asyncio.sleep(0)
        (response,) = await ask(client, "a cat", timeout=0.5)
        await first

    assert len(response.images) == 1


async def test_errors_are_each_callers_own(slow, sharing):
    """All learn what went wrong, in errors that share nothing that grows."""
    slow.fail_next(status=400, code="InvalidParameter", message="no")

    errors = await ask(sharing, *["a cat"] * 3)
    errors[0].add_note("of the first caller")

    assert {type(error) for error in errors} == {BadRequestError}
    assert len({id(error) for error in errors}) == 3
    assert len({str(error) for error in errors}) == 1
    assert len({error.request_id for error in errors}) == 1
    assert not hasattr(errors[1], "__notes__")
    depths = {len(traceback.extract_tb(error.__traceback__)) for error in errors}
    assert len(depths) == 1
    assert slow.request_count == 1


async def test_what_is_wrong_with_a_request_is_told_to_all(sharing, slow):
    """A request that is refused here is refused for each."""
    errors = await ask(sharing, "a cat", "a cat", size="1x1")

    assert {type(error) for error in errors} == {InvalidRequestError}
    assert slow.request_count == 0


@pytest.mark.parametrize("kind", ["url", "b64_json"])
async def test_each_saves_for_itself(slow, sharing, tmp_path, kind):
    """One image is paid for, and is where each caller wants it."""
    places = [tmp_path / "a.jpeg", tmp_path / "b.jpeg", tmp_path / "folder"]

    responses = await asyncio.gather(
        *(
            sharing.generate("a cat", response_format=kind, save_to=place, share=True)
            for place in places
        )
    )

    paths = [response.files[0].path for response in responses]
    assert slow.images_billed == 1
    assert paths[:2] == places[:2]
    assert paths[2].parent == places[2]
    assert len({path.read_bytes() for path in paths}) == 1


async def test_one_that_cannot_save(slow, sharing, tmp_path):
    """If one caller's image cannot be fetched, its error has the response, and the others theirs."""
    slow.fail_next(status=403, on="store")

    outcomes = await asyncio.gather(
        *(
            sharing.generate("a cat", save_to=tmp_path / f"{number}.jpeg", share=True)
            for number in range(2)
        ),
        return_exceptions=True,
    )

    (error,) = [outcome for outcome in outcomes if isinstance(outcome, LinkDeniedError)]
    (response,) = [outcome for outcome in outcomes if outcome is not error]
    assert len(error.response.images) == len(response.files) == slow.images_billed == 1


async def test_a_folder_of_no_use_is_told_before(slow, sharing, tmp_path):
    """Who cannot save joins nobody."""
    tmp_path.joinpath("file").touch()

    with pytest.raises((StorageError, InvalidRequestError)):
        await sharing.generate("a cat", save_to=tmp_path / "file" / "cat.jpeg", share=True)

    assert slow.request_count == 0


async def test_a_group_is_shared_too(slow, sharing):
    """A group is one call with all its images."""
    group = {"sequential_image_generation": "auto", "max_images": 3}

    responses = await ask(sharing, "a cat", "a cat", **group)

    assert [len(response.images) for response in responses] == [3, 3]
    assert slow.images_billed == 3


async def test_clients_do_not_share(slow):
    """Another client may have another key: it pays for itself."""
    async with slow.client() as one, slow.client() as other:
        await asyncio.gather(*(client.generate("a cat", share=True) for client in (one, other)))

    assert slow.images_billed == 2


async def test_a_closed_client_shares_nothing(sharing):
    """After its end a client says so, shared or not."""
    await sharing.aclose()

    with pytest.raises(RuntimeError, match="this client is closed"):
        await sharing.generate("a cat", share=True)


class Foreign(Exception):  # noqa: N818
    """An error that cannot be copied."""

    def __init__(self, one, two):
        super().__init__("foreign")


async def test_an_error_that_cannot_be_copied():
    """It is raised as it is, with a traceback that does not grow with the number of callers."""
    flights = Flights()

    async def fly(_):
        await asyncio.sleep(0)
        raise Foreign(1, 2)

    errors = await asyncio.gather(
        *(flights.join("key", fly, Bounds(total=9.0)) for _ in range(5)), return_exceptions=True
    )

    assert {type(error) for error in errors} == {Foreign}
    assert len(traceback.extract_tb(errors[0].__traceback__)) < 8


async def test_what_an_error_carries_is_kept():
    """Notes, causes, and what was made are on each copy; a chain is not lost."""
    flights = Flights()
    cause = ValueError("cause")

    async def fly(_):
        await asyncio.sleep(0)
        error = LinkDeniedError("denied", image="image", response="response", host="h")
        error.add_note("a note")
        raise error from cause

    first, second = await asyncio.gather(
        *(flights.join("key", fly, Bounds(total=9.0)) for _ in range(2)), return_exceptions=True
    )

    assert first is not second
    assert first.__notes__ == second.__notes__ == ["a note"]
    assert first.__notes__ is not second.__notes__
    assert first.__cause__ is second.__cause__ is cause
    assert (first.image, first.response, first.host) == ("image", "response", "h")


async def test_who_comes_as_it_lands():
    """Who comes after the answer has a call of its own, which those after that one may join."""
    flights, loop = Flights(), asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()

    async def comes_later():
        while not early.done():
            await asyncio.sleep(0)
        loop.call_soon(second.set_result, "second")
        return await flights.join("key", None, Bounds(total=9.0))

    early = asyncio.create_task(flights.join("key", lambda _: first, Bounds(total=9.0)))
    late = asyncio.create_task(comes_later())
    await asyncio.sleep(0)
    flight = flights._flights["key"]
    first.set_result("first")
    while not flight.task.done():
        await asyncio.sleep(0)

    newcomer = await flights.join("key", lambda _: second, Bounds(total=9.0))

    assert (await early, newcomer, await late) == ("first", "second", "second")
    assert flights._flights == {}


async def test_cancelled_by_somebody_else():
    """If the call itself is cancelled, as at the end of a loop, that is no time-out."""
    flights = Flights()
    never = asyncio.Event()
    caller = asyncio.create_task(flights.join("key", lambda _: never.wait(), Bounds(total=9.0)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    flights._flights["key"].task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await caller
    assert flights._flights == {}


async def test_an_answer_in_the_last_moment():
    """What comes although the time is over, and while the call is cancelled, is not thrown away."""
    flights = Flights()

    async def fly(began):
        began(Departed())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "paid for"

    assert await flights.join("key", fly, Bounds(total=0.01)) == "paid for"


async def test_cancelled_twice():
    """Who is cancelled again while the call winds up leaves it to itself: it ends, and is known."""
    flights = Flights()
    ends = asyncio.Event()

    async def fly(_):
        try:
            await asyncio.Event().wait()
        finally:
            await ends.wait()

    caller = asyncio.create_task(flights.join("key", fly, Bounds(total=9.0)))
    await asyncio.sleep(0)
    for _ in range(2):
        caller.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await caller
    gc.collect()
    ends.set()
    while tasks():
        await asyncio.sleep(0)

    assert flights._flights == {}


class Callers(RuleBasedStateMachine):
    """Callers come, leave, lose patience, and calls end, in any order; time is not the world's."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner(loop_factory=VirtualLoop)
        self.loop = self.runner.get_loop()
        self.flights = Flights()
        self.callers = {}  # tasks, with the key and what they may come to
        self.running = {}  # by key: the future that ends it, and its number
        self.numbers = iter(range(10**6))
        self.made = 0

    def turn(self, seconds=0.0):
        async def main():
            for _ in range(8):
                await asyncio.sleep(0)
            await asyncio.sleep(seconds)
            for _ in range(8):
                await asyncio.sleep(0)

        self.runner.run(main())

    async def fly(self, key, began):
        number = next(self.numbers)
        assert key not in self.running, "two calls for the same"
        end = self.running[key] = self.loop.create_future()
        end.number = number
        began(self)
        self.check()
        try:
            return await end, number
        finally:
            if self.running.get(key) is end:
                del self.running[key]

    attempts = ()

    def ask_before_sending(self, check):
        self.check = check

    def ask_how_long(self, left):
        self.left = left

    @rule(key=st.sampled_from("ab"), limit=st.sampled_from([1.0, 3.0, float("inf")]))
    def comes(self, key, limit):
        async def main():
            return asyncio.create_task(
                self.flights.join(key, lambda began: self.fly(key, began), Bounds(total=limit))
            )

        fresh = key not in self.running
        task = self.runner.run(main())
        self.turn()
        self.callers[task] = key
        assert key in self.running or not fresh

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def leaves(self, data):
        task = data.draw(st.sampled_from(self.waiting))
        task.cancel()
        self.turn()
        assert task.cancelled()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), fails=st.booleans())
    def ends(self, data, fails):
        key = data.draw(st.sampled_from(sorted(self.running)))
        riders = [task for task in self.waiting if self.callers[task] == key]
        end = self.running[key]
        if fails:
            end.set_exception(BadRequestError("no"))
        else:
            end.set_result("image")
        self.turn()
        if fails:
            assert len({id(task.exception()) for task in riders}) == len(riders)
        else:
            assert {task.result() for task in riders} == {("image", end.number)}

    @rule(seconds=st.sampled_from([0.5, 2.0]))
    def time_passes(self, seconds):
        self.turn(seconds)

    @property
    def waiting(self):
        return [task for task in self.callers if not task.done()]

    @invariant()
    def a_call_lasts_as_long_as_its_callers(self):
        assert {self.callers[task] for task in self.waiting} == set(self.running)
        assert set(self.flights._flights) == set(self.running)

    def teardown(self):
        for task in self.waiting:
            task.cancel()
        self.turn()

        async def others():
            return asyncio.all_tasks() - {asyncio.current_task()}

        assert self.runner.run(others()) == set()
        for task in self.callers:
            if not task.cancelled() and task.exception():
                assert isinstance(
                    task.exception(), (BadRequestError, OutcomeUnknownError, APITimeoutError)
                )
        self.runner.close()


Callers.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestCallers = Callers.TestCase
