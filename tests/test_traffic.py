"""One client's traffic: slots, rates, pauses, what others share, and the figures; in virtual time."""

import asyncio
import contextlib
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_async import (
    APIConnectionError,
    GenerateRequest,
    InternalServerError,
    InvalidRequestError,
    Limits,
    OutcomeUnknownError,
    RateLimiter,
    RateLimitError,
    RetryPolicy,
    StorageError,
    _retry,
    _retrying,
)
from seedream_async._calls import Effort
from seedream_async._traffic import Traffic
from seedream_async.emulator import Emulator

from .clocks import SocketLoop, run_virtually
from .quota import FixedWindow, SlidingWindow, TokenBucket, whole_seconds

POLICY = RetryPolicy()


def now():
    return asyncio.get_running_loop().time()


def refusal(retry_after=None, **facts):
    return RateLimitError("no", status_code=429, retryable=True, retry_after=retry_after, **facts)


async def attempt(traffic, images=1, *, error=None, fate="refused", policy=POLICY):
    """One call of one attempt; the time when it was let through."""
    async with traffic.turn(images) as turn:
        await turn.admitted(math.inf)
        at = now()
        if error:
            turn.failed(error, fate, policy)
        else:
            turn.answered()
            turn.made(images)
    return at


async def times_of(traffic, weights):
    """When so many calls that come at once are let through."""
    return await asyncio.gather(*(attempt(traffic, images) for images in weights))


def steady(**limits):
    return Traffic(Limits(concurrency=10_000, **limits), lambda: 0.5)


NONSENSE = [True, 1.5, 0, -1, math.nan, math.inf, "8", b"8", 10**30, [], object()]


@pytest.mark.parametrize(
    "name", ["concurrency", "images_per_minute", "requests_per_minute", "retry_budget"]
)
@pytest.mark.parametrize("value", NONSENSE, ids=lambda value: f"{value!r:.9}")
def test_nonsense_limits_are_refused(name, value):
    """A limit is a whole number of a sane size, and the error names the argument."""
    value = -1 if (name, value) == ("retry_budget", 0) else value

    with pytest.raises(InvalidRequestError, match=f"^{name} must be a whole number") as caught:
        Limits(**{name: value})

    assert caught.value.field == name
    assert len(str(caught.value)) < 100


@pytest.mark.parametrize("name", ["concurrency", "retry_budget"])
def test_some_limits_cannot_be_left_out(name):
    """`None` is no number of slots, and no budget."""
    with pytest.raises(InvalidRequestError, match="not NoneType"):
        Limits(**{name: None})


@pytest.mark.parametrize("value", [1, 0, None, "yes"], ids=repr)
def test_adaptive_is_a_flag(value):
    """Nothing but True and False says whether to adapt."""
    with pytest.raises(InvalidRequestError) as caught:
        Limits(adaptive=value)

    assert caught.value.field == "adaptive"


@pytest.mark.parametrize("value", [8, object(), RateLimiter], ids=["number", "object", "class"])
def test_a_limiter_has_its_methods(value):
    """What cannot be asked is refused where it is given."""
    with pytest.raises(InvalidRequestError, match="acquire, settle, pause") as caught:
        Limits(limiter=value)

    assert caught.value.field == "limiter"


@pytest.mark.parametrize(("width", "budget"), [(32, 100), (500, 500)])
def test_a_whole_width_may_be_refused_once(width, budget):
    """The retries suffice for all that is in flight."""
    assert Limits(concurrency=width).retry_budget == budget


def test_without_limits_nobody_waits():
    """A client that is not limited lets everything through at once."""
    times = run_virtually(times_of(steady(), [1] * 1000))

    assert set(times) == {0.0}


def test_images_are_let_through_at_their_rate_in_order():
    """What may be saved goes at once, the rest as it comes in, and nobody overtakes."""
    times = run_virtually(times_of(steady(images_per_minute=60), [1] * 10))

    assert times == pytest.approx([0, 0, 1, 2, 3, 4, 5, 6, 7, 8])


def test_heavy_requests_are_not_starved():
    """A heavy request waits for its turn and no longer, however many light ones come after."""
    times = run_virtually(times_of(steady(images_per_minute=60), [2, 15, *[1] * 100]))

    assert times[:3] == pytest.approx([0, 2, 16])


def test_requests_have_a_rate_of_their_own():
    """A request counts once, whatever it makes."""
    times = run_virtually(times_of(steady(requests_per_minute=60), [15, 1, 9, 3]))

    assert times == pytest.approx([0, 0, 1, 2])


def test_what_was_not_made_is_given_back():
    """A group that stayed small lets the next one go earlier."""

    async def run():
        traffic = steady(images_per_minute=60)
        async with traffic.turn(15) as turn:
            await turn.admitted(math.inf)
            turn.answered()
            waiting = asyncio.create_task(attempt(traffic))
            await asyncio.sleep(1)
            turn.made(3)
        return await waiting, traffic.stats()

    at, stats = run_virtually(run())

    assert at == pytest.approx(2)
    assert (stats.images, stats.images_per_minute) == (4, 4)


@pytest.mark.parametrize(
    ("fate", "second"), [("refused", 2), ("never sent", 0), ("unknown", 14), ("answered", 14)]
)
def test_what_a_failed_attempt_costs(fate, second):
    """What never left costs nothing, a refusal no image, and what is in doubt all of them."""

    async def run():
        traffic = steady(images_per_minute=60, requests_per_minute=30)
        await attempt(traffic, 15, error=OutcomeUnknownError("no"), fate=fate)
        return await attempt(traffic), traffic.stats()

    at, stats = run_virtually(run())

    assert at == pytest.approx(second)
    assert stats.unknown_outcomes == (fate == "unknown")
    assert stats.requests == (1 if fate == "never sent" else 2)


@settings(max_examples=40, deadline=None)
@given(
    rate=st.integers(10, 600),
    weights=st.lists(st.integers(1, 17), min_size=1, max_size=40),
    seed=st.integers(0, 2**32),
)
def test_cancelled_at_random_moments(rate, weights, seed):
    """Whoever is cancelled leaves nothing behind: the others go in order, as early as they may."""
    dice = random.Random(seed)

    async def run():
        traffic = steady(images_per_minute=rate)
        tasks = [asyncio.create_task(attempt(traffic, weight)) for weight in weights]
        doomed = [task for task in tasks if dice.random() < 0.4]
        for task in doomed:
            await asyncio.sleep(dice.choice([0, 0, dice.random() * 3]))
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        done = [task.result() for task in tasks if not task.cancelled()]
        await asyncio.sleep(3600)
        after = [await attempt(traffic) - now() for _ in range(1)]
        return (
            done,
            after,
            traffic.stats(),
            sum(
                weight for task, weight in zip(tasks, weights, strict=True) if not task.cancelled()
            ),
        )

    done, after, stats, images = run_virtually(run())

    assert done == sorted(done)
    assert max(done, default=0) <= images / rate * 60 + 1e-3
    assert after == [0]
    assert (stats.in_flight, stats.waiting_for_rate, stats.images) == (0, 0, images + 1)


def test_a_cancelled_heavy_waiter_makes_way_at_once():
    """When the head of the line leaves, the next one goes as soon as it may."""

    async def run():
        traffic = steady(images_per_minute=60)
        await attempt(traffic, 2)
        heavy, light = (asyncio.create_task(attempt(traffic, images)) for images in (15, 1))
        await asyncio.sleep(1.5)
        heavy.cancel()
        return await light

    assert run_virtually(run()) == pytest.approx(1.5)


def test_who_is_cancelled_when_called_gives_it_back():
    """A place that was given and not taken goes to the next one."""

    async def run():
        traffic = steady(images_per_minute=60)
        await attempt(traffic, 2)
        first, second = (asyncio.create_task(attempt(traffic)) for _ in range(2))
        asyncio.get_running_loop().call_at(1.0 + 5e-10, first.cancel)  # within one turn of the loop
        return await second, first.cancelled(), traffic.stats().images_per_minute

    at, cancelled, images = run_virtually(run())

    assert cancelled
    assert at == pytest.approx(1)
    assert images == 3


def test_slots_are_given_in_order_and_never_lost():
    """No more than the width hold a slot, and cancelled waiters and owners pass theirs on."""

    async def run():
        traffic, order, most = Traffic(Limits(concurrency=2)), [], 0

        async def call(number):
            nonlocal most
            async with traffic.turn(1):
                order.append(number)
                most = max(most, traffic.stats().in_flight)
                await asyncio.sleep(1)

        tasks = [asyncio.create_task(call(number)) for number in range(9)]
        await asyncio.sleep(0.5)
        tasks[0].cancel()  # at work
        tasks[3].cancel()  # waits, and is not called
        await asyncio.sleep(0)
        tasks[2].cancel()  # has just been called
        waiting = traffic.stats().waiting_for_slot
        await asyncio.gather(*tasks, return_exceptions=True)
        return order, most, waiting, traffic.stats()

    order, most, waiting, stats = run_virtually(run())

    assert [number for number in order if number != 2] == [0, 1, 4, 5, 6, 7, 8]
    assert most == 2
    assert waiting == 5
    assert (stats.in_flight, stats.waiting_for_slot) == (0, 0)


def test_ten_thousand_may_wait():
    """Leaving a long line, from its end or its head, takes no longer than joining it."""

    async def run():
        traffic = Traffic(Limits(concurrency=1, images_per_minute=60))
        async with traffic.turn(1) as turn:
            await turn.admitted(math.inf)
            tasks = [asyncio.create_task(attempt(traffic)) for _ in range(10_000)]
            await asyncio.sleep(0)
            waiting = traffic.stats().waiting_for_slot
            for task in reversed(tasks[5000:]):
                task.cancel()
            for task in tasks[:4999]:
                task.cancel()
            await asyncio.sleep(0)
            left = traffic.stats().waiting_for_slot
        await asyncio.wait(tasks)
        return waiting, left, tasks[4999].result()

    assert run_virtually(run()) == (10_000, 1, 0.0)


@pytest.mark.parametrize("adaptive", [True, False])
def test_one_refusal_pauses_everybody(adaptive):
    """Nobody sends before the time that the service asked for, and then not all at once."""

    async def run():
        traffic = Traffic(Limits(concurrency=50, adaptive=adaptive))
        await attempt(traffic, error=refusal(7.0))
        paused = traffic.stats().paused_for
        calls = [asyncio.create_task(attempt(traffic)) for _ in range(50)]
        await asyncio.sleep(0)
        stats = traffic.stats()
        return paused, stats.waiting_for_pause, await asyncio.gather(*calls)

    paused, waiting, times = run_virtually(run())

    assert paused == 7
    assert waiting == 50
    assert times == pytest.approx([7 + number / 50 for number in range(50)])


def test_pauses_without_a_time_grow():
    """Without a Retry-After, each refusal in a row doubles the pause; a success ends the row."""

    async def run():
        traffic, pauses = steady(), []
        for error in (refusal(), refusal(), refusal(), None, refusal()):
            await attempt(traffic, error=error)
            pauses.append(round(traffic.stats().paused_for, 2))
            await asyncio.sleep(pauses[-1] + 0.5)
        return pauses

    assert run_virtually(run()) == [0.75, 1.5, 3, 0, 0.75]


def test_nobody_is_paused_for_longer_than_the_policy_waits():
    """A service that asks for an hour tells so to every call: none waits for it in silence."""

    async def run():
        traffic = steady(limiter=(limiter := Limiter()))
        await attempt(traffic, error=refusal(3600.0))
        return traffic.stats().paused_for, limiter.told

    paused, told = run_virtually(run())

    assert paused == 0
    assert told == [("acquire", 1), ("settle", 1, 0)]


def test_stragglers_do_not_prolong_a_pause():
    """What was sent before the pause adds to it only what it asks for."""

    async def run():
        traffic, pauses = steady(), []
        async with contextlib.AsyncExitStack() as stack:
            turns = [await stack.enter_async_context(traffic.turn(1)) for _ in range(3)]
            for turn in turns:
                await turn.admitted(math.inf)
            await asyncio.sleep(1)
            for turn, error in zip(turns, (refusal(), refusal(), refusal(5.0)), strict=True):
                turn.failed(error, "refused", POLICY)
                pauses.append(traffic.stats().paused_for)
        return pauses

    assert run_virtually(run()) == pytest.approx([0.75, 0.75, 5])


@pytest.mark.parametrize(
    ("error", "fate", "width", "paused"),
    [
        (InternalServerError("no", retryable=True, retry_after=3.0), "refused", 22, 3),
        (InternalServerError("no", retryable=True), "refused", 22, 0),
        (OutcomeUnknownError("no", status_code=504), "unknown", 22, 0),
        (refusal(3.0, code="ServerOverloaded"), "refused", 22, 3),
        (refusal(3.0), "refused", 32, 3),
    ],
    ids=["503", "521", "504", "429 overloaded", "429"],
)
@pytest.mark.parametrize("adaptive", [True, False])
def test_what_a_refusal_does(error, fate, width, paused, adaptive):
    """An overload takes slots, and pauses if it says for how long; none is taken unasked."""

    async def run():
        traffic = Traffic(Limits(adaptive=adaptive))
        await attempt(traffic, error=error, fate=fate)
        return traffic.stats()

    stats = run_virtually(run())

    assert stats.concurrency == (width if adaptive else 32)
    assert stats.paused_for == paused


def test_a_later_attempt_waits_no_longer_than_is_left():
    """A call whose time is over in the line fails with what its last attempt met."""

    async def run():
        traffic = steady()
        async with traffic.turn(1) as turn:
            await turn.admitted(1.0)
            turn.failed(error := refusal(60.0), "refused", POLICY)
            with pytest.raises(RateLimitError) as caught:
                await turn.admitted(20.0)
            assert caught.value is error
            at, waiting = now(), traffic.gate.waiting
            await turn.admitted(math.inf)
        return at, waiting, now(), traffic.stats()

    at, waiting, end, stats = run_virtually(run())

    assert (at, waiting, end) == (20, 0, 60)
    assert (stats.requests, stats.retries) == (2, 1)


@pytest.mark.parametrize("fate", ["refused", "never sent", "unknown"])
def test_who_rests_between_two_attempts_is_not_in_flight(fate):
    """A call that waits for its next attempt has nothing on its way."""

    def seen():
        stats = traffic.stats()
        return stats.in_flight, stats.waiting_for_pause

    async def run():
        async with traffic.turn(1) as turn:
            yield seen()
            await turn.admitted(math.inf)
            yield seen()
            turn.failed(OutcomeUnknownError("no"), fate, POLICY)
            yield seen()
            await turn.admitted(math.inf)
            yield seen()
            turn.failed(OutcomeUnknownError("no"), fate, POLICY)
        yield seen()

    async def listed():
        return [pair async for pair in run()]

    traffic = steady()

    assert run_virtually(listed()) == [(1, 0), (1, 0), (0, 1), (1, 0), (0, 0)]


def test_who_rests_after_its_limiter_failed_is_not_in_flight():
    """So it is if nothing was sent at all."""

    async def run():
        traffic = steady(limiter=Limiter(LookupError("gone")))
        async with traffic.turn(1) as turn:
            with pytest.raises(APIConnectionError):
                await turn.admitted(math.inf)
            return traffic.stats()

    stats = run_virtually(run())

    assert (stats.in_flight, stats.waiting_for_pause) == (0, 1)


class Limiter(RateLimiter):
    """Lets nobody through before its time; notes what it is told."""

    def __init__(self, error=None):
        self.error = error
        self.told = []

    async def acquire(self, images):
        self.told.append(("acquire", images))
        await asyncio.sleep(5)
        if self.error:
            raise self.error

    def settle(self, asked, made):
        self.told.append(("settle", asked, made))

    def pause(self, seconds):
        self.told.append(("pause", seconds))
        raise LookupError("it is gone")


def test_a_limiter_is_asked_and_told():
    """What others share is asked before each attempt, and told what came of it; it may fail."""

    async def run():
        limiter = Limiter()
        traffic = steady(limiter=limiter)
        call = asyncio.create_task(attempt(traffic, 4))
        await asyncio.sleep(1)
        waiting = traffic.stats().waiting_for_rate
        at = await call
        await attempt(traffic, 2, error=refusal(9.0))
        held = asyncio.create_task(attempt(traffic, 3))
        await asyncio.sleep(6)
        held.cancel()
        await asyncio.wait([held])
        await attempt(traffic, 5, error=APIConnectionError("no"), fate="never sent")
        return waiting, at, limiter.told

    waiting, at, told = run_virtually(run())

    assert (waiting, at) == (1, 5)
    assert told == [
        ("acquire", 4),
        ("settle", 4, 4),
        ("acquire", 2),
        ("settle", 2, 0),
        ("pause", 9.0),
        ("acquire", 3),
        ("settle", 3, 0),
        ("acquire", 5),
        ("settle", 5, 0),
    ]


def test_a_limiter_needs_no_more_than_to_let_through():
    """What inherits from the protocol has the rest of it."""

    class Least(RateLimiter):
        async def acquire(self, images):
            await asyncio.sleep(0)

    async def run():
        return await attempt(steady(limiter=Least()), error=refusal(1.0))

    assert run_virtually(run()) == 0


def test_a_limiter_that_fails_is_a_connection_error():
    """Nothing was sent when the limiter cannot be asked, and the message tells no more of it."""

    async def run():
        await attempt(steady(limiter=Limiter(OSError("redis://user:secret@host"))))

    with pytest.raises(APIConnectionError, match=r"\(OSError\): nothing was sent$") as caught:
        run_virtually(run())

    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, OSError)


class Service:
    """Makes images as its quota allows, and refuses the rest; counts both by the minute."""

    def __init__(self, quota, latency, dice, *, tells):
        self.quota = quota
        self.latency = latency
        self.dice = dice
        self.tells = tells
        self.made = [0] * 30
        self.refused = [0] * 30

    async def answer(self, images):
        await asyncio.sleep(0.05 * self.dice.random())
        minute, wait = int(now() // 60), self.quota.refused_for(images, now())
        if wait is not None:
            self.refused[minute] += 1
            await asyncio.sleep(0.05)
            raise refusal(float(whole_seconds(wait)) if self.tells else None)
        self.made[minute] += images
        await asyncio.sleep(self.latency * (0.5 + self.dice.random()))


async def call(traffic, service, budget, images):
    async with traffic.turn(images) as turn:

        async def once():
            await turn.admitted(math.inf)
            try:
                await service.answer(images)
            except RateLimitError as error:
                turn.failed(error, "refused", POLICY)
                raise
            turn.answered()

        await _retrying.run(once, POLICY, budget, jitter=service.dice.random)
        turn.made(images)


async def keep_busy(service, limits, minutes):
    """As many calls as there are slots, for so long; how many of them failed."""
    traffic = Traffic(limits, service.dice.random)
    budget = _retry.Budget(limits.retry_budget)
    failures = []

    async def work():
        while True:
            try:
                await call(traffic, service, budget, 1)
            except RateLimitError as error:
                failures.append(error)

    workers = [asyncio.create_task(work()) for _ in range(limits.concurrency)]
    await asyncio.sleep(60 * minutes)
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)
    return failures


QUOTAS = {
    "sliding": lambda: SlidingWindow(500),
    "fixed": lambda: FixedWindow(500),
    "bucket of a minute": lambda: TokenBucket(500, 500),
    "bucket of 50": lambda: TokenBucket(500, 50),
    "bucket of 8": lambda: TokenBucket(500, 8),
}


@pytest.mark.parametrize("tells", [True, False], ids=["retry-after", "silent"])
@pytest.mark.parametrize(("latency", "width"), [(0.3, 32), (5, 100)], ids=["quick", "slow"])
@pytest.mark.parametrize("quota", QUOTAS.values(), ids=QUOTAS)
def test_the_rate_of_an_account_is_found(quota, latency, width, tells):
    """Knowing no limit, a client keeps within a tenth of the account's, is refused rarely, and no call fails."""
    service = Service(quota(), latency, random.Random(1), tells=tells)

    failures = run_virtually(keep_busy(service, Limits(concurrency=width), 8))

    made, refused = sum(service.made[2:8]), sum(service.refused[1:8])
    assert not failures
    assert 450 <= made / 6 <= 550
    assert refused / (made + refused) < 0.03


def test_the_rate_of_the_emulator_is_found():
    """A client that knows no limit settles at the emulator's, and loses no call."""
    group = {"sequential_image_generation": "auto", "max_images": 3}

    async def run():
        async with (
            Emulator(images_per_minute=500, latency=5) as emulator,
            emulator.client(limits=Limits(concurrency=96)) as client,
        ):

            async def work():
                while now() < end:
                    await client.generate("cats", **group)

            end = now() + 117
            workers = [asyncio.create_task(work()) for _ in range(96)]
            await asyncio.sleep(62)
            before = emulator.images_billed, emulator.request_count
            await asyncio.sleep(55)
            after = emulator.images_billed, emulator.request_count
            await asyncio.gather(*workers)
            return before, after, client.stats(), emulator

    before, after, stats, emulator = run_virtually(run(), SocketLoop)

    made, sent = (late - early for late, early in zip(after, before, strict=True))
    assert 450 <= made / 55 * 60 <= 550
    assert (sent - made / 3) / sent < 0.03
    assert before[1] * 3 > before[0]  # it did meet the limit
    assert stats.images == emulator.images_billed
    assert stats.requests == emulator.request_count
    assert (stats.requests - stats.retries) * 3 == stats.images


@pytest.mark.virtual_time
async def test_fan_outs_and_single_calls_share_fairly():
    """Two fan-outs, and a call beside them, each make progress on one client."""
    order = []

    async def fan_out(name):
        async with client.generate_many([name] * 60, concurrency=4) as results:
            async for result in results:
                order.append(result.request.prompt)  # noqa: PERF401  as they come

    async def single():
        for _ in range(5):
            await client.generate("single")
            order.append("single")

    async with (
        Emulator(latency=1) as emulator,
        emulator.client(limits=Limits(concurrency=4)) as client,
    ):
        await asyncio.gather(fan_out("one"), fan_out("two"), single())

    first = order[:60]
    assert first.count("single") == 5
    assert abs(first.count("one") - first.count("two")) <= 12


def test_what_was_broken_off_counts_in_full():
    """Of a call that was cut short, the images that came are told, and all that were asked for count."""

    async def run():
        traffic = steady(images_per_minute=60)
        async with traffic.turn(15) as turn:
            await turn.admitted(math.inf)
            turn.answered()
            turn.made(2, complete=False)
        return await attempt(traffic), traffic.stats()

    at, stats = run_virtually(run())

    assert at == pytest.approx(14)
    assert (stats.images, stats.images_per_minute, stats.unknown_outcomes) == (3, 16, 1)


def test_a_light_request_does_not_overtake_a_heavy_one():
    """Whoever comes later waits behind, even if there is enough for it alone."""

    async def run():
        traffic = steady(images_per_minute=60)
        await attempt(traffic, 2)
        heavy = asyncio.create_task(attempt(traffic, 15))
        await asyncio.sleep(1.5)
        light = await attempt(traffic)
        return await heavy, light

    assert run_virtually(run()) == pytest.approx((2, 16))


def test_who_has_just_been_cancelled_is_passed_over():
    """A waiter that is cancelled and has not yet left takes nobody's slot."""

    async def run():
        traffic = Traffic(Limits(concurrency=1))
        async with traffic.turn(1):
            first, second = (asyncio.create_task(attempt(traffic)) for _ in range(2))
            await asyncio.sleep(1)
            first.cancel()
        return await second, first.cancelled(), traffic.stats().in_flight

    assert run_virtually(run()) == (1, True, 0)


# Guards


async def test_a_guard_that_raises_sends_nothing(emulator):
    """If what is around an attempt refuses it, nothing is sent, and the rate is given back."""

    @contextlib.asynccontextmanager
    async def refuse():
        raise StorageError("the ledger is full")
        yield

    async with emulator.client() as client:
        calls = client._generating.calls
        async with calls.prepared(GenerateRequest("a cat")) as prepared:
            with pytest.raises(StorageError):
                await calls.answer(prepared, Effort(guard=refuse))
        stats = client.stats()

    assert emulator.request_count == 0
    assert (stats.requests, stats.images_per_minute, stats.in_flight) == (0, 0, 0)


async def test_a_guard_is_around_each_attempt(emulator):
    """What is around an attempt begins when it is admitted, and ends with it."""
    seen = []

    @contextlib.asynccontextmanager
    async def watch():
        seen.append(emulator.request_count)
        try:
            yield
        except RateLimitError:
            seen.append("refused")
            raise

    emulator.fail_next(status=429, retry_after=0)
    async with emulator.client(retry=RetryPolicy(wait_initial=0)) as client:
        calls = client._generating.calls
        async with calls.prepared(GenerateRequest("a cat")) as prepared:
            await calls.answer(prepared, Effort(guard=watch))

    assert seen == [0, "refused", 1]
