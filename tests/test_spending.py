"""One budget and those who draw on it."""

import asyncio

import pytest

from seedream_async import (
    APIConnectionError,
    BudgetReachedError,
    Failure,
    GenerateRequest,
    InvalidRequestError,
    Success,
)
from seedream_async._allowance import Allowance, Spend
from seedream_async._events import Attempt
from seedream_async._spending import Purse

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
    assert await second == Spend(4)


async def test_who_cannot_fit_is_told_so():
    """What was made, or may have been, is gone for good."""
    budget = purse(max_images=4)
    first = await budget.reserve(CAT)
    second = asyncio.create_task(budget.reserve(GROUP))
    await turns(5)

    budget.settle(first, UNKNOWN, None)

    with pytest.raises(BudgetReachedError, match="max_images=4"):
        await second
    assert budget.allowance.spent == Spend(1)


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


async def test_a_fan_out_leaves_slots_to_others(emulator):
    """Beside a long fan-out, a second one and single calls get their turn."""
    async with emulator.client() as client:
        finished = []

        async def many(name):
            async for result in client.generate_many(["a cat"] * 60):
                finished.extend([name] if isinstance(result, Success) else [])

        tasks = [asyncio.create_task(many(name)) for name in "ab"]
        while len(finished) < 10:
            await asyncio.sleep(0)
        await client.generate("a dog")
        at = len(finished)
        await asyncio.gather(*tasks)

    assert at < 110
    assert 20 <= finished[:80].count("a") <= 60
