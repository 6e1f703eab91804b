"""One budget and those who draw on it."""

import asyncio

import pytest

from seedream_async import (
    APIConnectionError,
    BudgetReachedError,
    Failure,
    GenerateRequest,
    InvalidRequestError,
    Limits,
    OutcomeUnknownError,
    RetryPolicy,
    Success,
    estimate,
)
from seedream_async._allowance import Allowance, Spend
from seedream_async._events import Attempt
from seedream_async._spending import Purse
from seedream_async.emulator import Emulator

CAT = GenerateRequest("a cat")
GROUP = GenerateRequest("cats", sequential_image_generation="auto", max_images=4)
UNKNOWN = (Attempt(fate="unknown", elapsed=1.0),)


def purse(**limits):
    return Purse(Allowance(**limits), "doubao-seedream-5-0-260128")


async def turns(number):
    for _ in range(number):
        await asyncio.sleep(0)


async def test_who_may_fit_waits_for_those_in_flight():
    """A reservation that does not fit is decided when the others have settled."""
    budget = purse(max_images=4)
    first = await budget.reserve(CAT)
    second = asyncio.create_task(budget.reserve(GROUP))
    await turns(5)

    waiting = not second.done()
    budget.settle(first, (), None)

    assert waiting
    assert (await second).images == 4


async def test_who_cannot_fit_is_told_so():
    """What was made, or may have been, is gone for good."""
    budget = purse(max_images=4)
    first = await budget.reserve(CAT)
    second = asyncio.create_task(budget.reserve(GROUP))
    await turns(5)

    budget.settle(first, UNKNOWN, None)

    with pytest.raises(BudgetReachedError, match="max_images=4"):
        await second
    assert budget.allowance.spent.images == 1


async def test_first_come_first_served():
    """A small request does not overtake a large one that waits."""
    budget, order = purse(max_images=4), []
    first = await budget.reserve(CAT)

    async def draw(name, request):
        await budget.reserve(request)
        order.append(name)

    tasks = [asyncio.create_task(draw("group", GROUP)), asyncio.create_task(draw("cat", CAT))]
    await turns(5)
    before = list(order)
    budget.settle(first, (), None)
    await tasks[0]
    budget.settle(Spend(4), (), None)
    await tasks[1]

    assert before == []
    assert order == ["group", "cat"]


async def test_who_leaves_the_queue_holds_nothing():
    """A cancelled reservation is none, and lets the next one have its turn."""
    budget = purse(max_images=4)
    first = await budget.reserve(CAT)
    group = asyncio.create_task(budget.reserve(GROUP))
    cat = asyncio.create_task(budget.reserve(CAT))
    await turns(5)

    group.cancel()
    await asyncio.wait([group, cat])

    assert group.cancelled()
    assert budget.allowance.held == first + cat.result()


async def test_a_fan_out_ends_where_its_images_do(emulator, client):
    """What fits is made; the rest is told of as not sent, in a way of its own."""
    results = await client.generate_many(["a cat"] * 10, max_images=4, concurrency=3)

    made, unsent = results[:4], results[4:]
    assert all(isinstance(result, Success) for result in made)
    assert all(isinstance(result.error, BudgetReachedError) for result in unsent)
    assert all(isinstance(result.error, APIConnectionError) for result in unsent)
    assert {result.error.field for result in unsent} == {"max_images"}
    assert not any(result.possibly_billed for result in unsent)
    assert emulator.images_billed == 4


async def test_a_fan_out_ends_where_its_money_does(emulator, client):
    """A given price goes before the catalogue's."""
    many = client.generate_many(["a cat"] * 10, max_cost=0.25, price=(0.1, "USD"))

    results = await many

    assert [type(result) for result in results] == [Success] * 2 + [Failure] * 8
    assert "max_cost=0.25 is reached" in str(results[-1].error)
    assert emulator.images_billed == 2


async def test_a_group_that_stays_small_leaves_something(emulator, client):
    """What a group did not make is there for the next ones."""
    emulator.make_fewer_next(2)

    results = await client.generate_many([GROUP, "a cat", "a cat", "a cat"], max_images=4)

    assert [type(result) for result in results] == [Success] * 3 + [Failure]
    assert emulator.images_billed == 4


async def test_an_unknown_outcome_is_spent(emulator, client):
    """What may have been billed is not there any more."""
    emulator.cut_next()

    results = await client.generate_many(["a cat"] * 3, max_images=2, concurrency=1)

    assert [type(result) for result in results] == [Failure, Success, Failure]
    assert [result.possibly_billed for result in results if isinstance(result, Failure)] == [
        True,
        False,
    ]
    assert emulator.images_billed == 2


async def test_a_refused_request_is_not_spent(emulator, client):
    """What was refused leaves its part to others."""
    emulator.fail_next(status=400)

    results = await client.generate_many(["a cat"] * 3, max_images=2, concurrency=1)

    assert [type(result) for result in results] == [Failure, Success, Success]


async def test_a_client_ends_where_its_images_do(emulator):
    """A limit of the client counts all its calls, those that stream as well, and holds for each."""
    async with emulator.client(limits=Limits(max_images=5)) as client:
        await client.generate("a cat")
        async with client.stream("a dog") as events:
            assert [event async for event in events]
        results = await client.generate_many(["a cat"] * 4)
        with pytest.raises(BudgetReachedError) as excinfo:
            await client.generate("a cat")

    assert [type(result) for result in results] == [Success] * 3 + [Failure]
    assert excinfo.value.field == "max_images"
    assert emulator.images_billed == 5


async def test_a_client_ends_where_its_money_does(emulator):
    """What is in flight counts as the most it may cost."""
    emulator.make_fewer_next(1)
    limits = Limits(max_cost=0.4, price=(0.1, "USD"))
    async with emulator.client(limits=limits) as client:
        together = asyncio.gather(client.generate(GROUP), client.generate("a cat"))
        await together

        assert client.stats().cost == 0.2
        await client.generate_many(["a cat"] * 9)

        assert client.stats().cost == 0.4
    assert emulator.images_billed == 4


async def test_a_stream_that_is_left_may_cost_it_all(emulator):
    """Of a stream that is left early, the most it may come to is spent."""
    async with emulator.client(limits=Limits(max_images=4)) as client:
        async with client.stream(GROUP) as events:
            await anext(events)

        with pytest.raises(BudgetReachedError):
            await client.generate("a cat")


async def test_what_a_client_has_cost(emulator, client):
    """Without a limit, the cost is reckoned with the catalogue's price, doubts included."""
    one = estimate(CAT).amount[1]
    emulator.fail_next(status=400)
    emulator.cut_next()

    await client.generate_many([CAT] * 4, concurrency=1)

    stats = client.stats()
    assert stats.cost == pytest.approx(3 * one)
    assert stats.currency == estimate(CAT).currency


@pytest.mark.parametrize("limits", [Limits(), Limits(max_images=9)], ids=["none", "images"])
async def test_a_price_that_nobody_knows(emulator, limits):
    """A model without a price makes the cost unknown, and is no reason to refuse anything."""
    async with emulator.client(limits=limits, validation="off") as client:
        emulator.fail_next(status=404)
        await client.generate_many([GenerateRequest("a cat", model="new"), "a cat"])

        assert client.stats().cost is None
        assert client.stats().currency is None


LIMITS = {
    "client": (Limits(max_images=3), {}),
    "fan-out": (Limits(), {"max_images": 3}),
    "both": (Limits(max_images=3), {"max_images": 3}),
    "cost": (Limits(max_cost=3, price=(1, "USD")), {}),
}


@pytest.mark.parametrize(("limits", "options"), LIMITS.values(), ids=LIMITS)
async def test_no_budget_is_passed_by_sending_again(limits, options, emulator):
    """What may be billed twice is sent again only if the budget has room for that too."""
    policy = RetryPolicy(resend_unknown=True, wait_initial=0)
    emulator.cut_next(times=9)

    async with emulator.client(limits=limits, retry=policy) as client:
        results = await client.generate_many(["a cat"] * 2, concurrency=1, **options)

    assert [type(result.error) for result in results] == [OutcomeUnknownError, BudgetReachedError]
    assert results[0].error.__notes__ == [
        "gave up after attempt 3: if it were billed twice, that might pass max_images or max_cost"
    ]
    assert emulator.images_billed == 3


@pytest.mark.parametrize(("limits", "options"), LIMITS.values(), ids=LIMITS)
async def test_who_is_sent_again_gives_back_what_is_left(limits, options, emulator):
    """Each attempt in doubt counts once, and what was refused besides does not."""
    policy = RetryPolicy(resend_unknown=True, wait_initial=0)
    emulator.cut_next()
    emulator.fail_next(status=429, retry_after=0)

    async with emulator.client(limits=limits, retry=policy) as client:
        results = await client.generate_many(["a cat"] * 3, concurrency=1, **options)

    assert [type(result) for result in results] == [Success, Success, Failure]
    assert isinstance(results[2].error, BudgetReachedError)
    assert emulator.images_billed == 3


@pytest.mark.parametrize("value", [-1, 1.5, True, "9"])
def test_nonsense_budgets(value):
    """A budget is a count or an amount, from birth."""
    with pytest.raises(InvalidRequestError) as excinfo:
        Limits(max_images=value)

    assert excinfo.value.field == "max_images"


async def test_no_budget_at_all(emulator, client):
    """A budget of nothing sends nothing."""
    results = await client.generate_many(["a cat"], max_cost=0)

    assert isinstance(results[0].error, BudgetReachedError)
    assert emulator.request_count == 0


async def test_a_model_without_a_price_is_refused(emulator, client):
    """With a limit of cost, nothing is sent whose price nobody knows; others are."""
    unpriced = GenerateRequest("a cat", model="new")

    results = await client.generate_many([unpriced, "a cat"], max_cost=1)

    assert isinstance(results[0].error, InvalidRequestError)
    assert results[0].error.field == "price"
    assert isinstance(results[1], Success)


async def test_a_reached_budget_leaves_an_endless_source(client):
    """A source of unknown length is pulled no further than the first that does not fit."""
    pulled = []

    def endless():
        while True:
            pulled.append("a cat")
            yield "a cat"

    results = await client.generate_many(endless(), max_images=3, concurrency=2)

    assert [type(result) for result in results] == [Success] * 3 + [Failure]
    assert len(pulled) == 4


@pytest.mark.parametrize("limit", ["max_images", "max_cost"])
async def test_a_bad_budget_is_refused(client, limit):
    """Before anything is sent, with the name of the argument."""
    with pytest.raises(InvalidRequestError) as excinfo:
        client.generate_many(["a cat"], **{limit: -1})

    assert excinfo.value.field == limit


@pytest.mark.virtual_time
async def test_a_fan_out_leaves_slots_to_others():
    """Beside a long fan-out, a second one and single calls get their turn."""
    limits = Limits(concurrency=4)
    async with Emulator(latency=1.0) as emulator, emulator.client(limits=limits) as client:
        finished = []

        async def many(name):
            async for result in client.generate_many(["a cat"] * 60):
                finished.extend([name] if isinstance(result, Success) else [])

        tasks = [asyncio.create_task(many(name)) for name in "ab"]
        while len(finished) < 10:
            await asyncio.sleep(0.1)
        await client.generate("a dog")
        at = len(finished)
        await asyncio.gather(*tasks)

    assert at <= 24
    assert 30 <= finished[:80].count("a") <= 50
