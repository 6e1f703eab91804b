"""The emulator's limit on images per minute."""

import asyncio

import pytest

from seedream_async import RateLimitError, RetryPolicy
from seedream_async.emulator import Emulator
from seedream_async.emulator._plan import make_plan
from seedream_async.emulator._quota import Quota
from seedream_async.emulator._refusals import Refusal

from .clocks import run_virtually

ONCE = RetryPolicy(attempts=1)
GROUP = {"sequential_image_generation": "auto"}


def plan_of(**fields):
    return make_plan({"model": "doubao-seedream-5-0-260128", "prompt": "a cat", **fields})


@pytest.mark.virtual_time
async def test_too_many_images_are_refused_and_cost_nothing():
    """What exceeds the limit gets a 429 with the service's code, and is not billed."""
    async with (
        Emulator(images_per_minute=3) as emulator,
        emulator.client(retry=ONCE) as client,
        emulator.client() as other,
    ):
        await client.generate("cats", **GROUP, max_images=2)
        with pytest.raises(RateLimitError) as caught:
            await client.generate("cats", **GROUP, max_images=2)
        await other.generate("a cat")

    assert caught.value.code == "ModelAccountIpmRateLimitExceeded"
    assert caught.value.retry_after == 60
    assert emulator.images_billed == 3


def test_a_minute_is_counted_back_from_each_request():
    """Images are forgotten one minute after they were begun, to the moment that is told."""
    waits = []

    async def run():
        quota = Quota(10, 60)
        for _ in range(2):
            quota.charge(plan_of(**GROUP, sequential_image_generation_options={"max_images": 5}))
            await asyncio.sleep(20)
        for _ in range(2):
            with pytest.raises(Refusal) as caught:
                quota.charge(plan_of())
            waits.append(float(caught.value.headers["Retry-After"]))
            await asyncio.sleep(waits[-1] - 0.5)
            with pytest.raises(Refusal):
                quota.charge(plan_of())
            await asyncio.sleep(0.5)
            for _ in range(5):
                quota.charge(plan_of())

    run_virtually(run())

    assert waits == [20, 20]


def test_a_minute_can_be_short():
    """In a shorter minute, the wait is told in its own seconds."""

    async def run():
        quota = Quota(1, 6)
        quota.charge(plan_of())
        await asyncio.sleep(1.05)
        with pytest.raises(Refusal) as caught:
            quota.charge(plan_of())
        return caught.value.headers["Retry-After"]

    assert run_virtually(run()) == "5"


def test_layers_take_their_reserve():
    """A request for layers takes 17 images of the rate, or all there are."""

    async def run():
        quota = Quota(18, 60)
        layers = plan_of(
            model="dola-seedream-5-0-pro-260628",
            image="https://example.com/cat.png",
            layer_decomposition=True,
        )
        quota.charge(layers)
        quota.charge(plan_of())
        with pytest.raises(Refusal):
            quota.charge(plan_of())
        Quota(5, 60).charge(layers)

    run_virtually(run())


def test_a_heavy_request_is_told_when_there_is_room_for_all_of_it():
    """The wait is until enough has been forgotten, not merely something."""

    async def run():
        quota = Quota(2, 60)
        quota.charge(plan_of())
        await asyncio.sleep(10)
        quota.charge(plan_of())
        with pytest.raises(Refusal) as caught:
            quota.charge(plan_of(**GROUP, sequential_image_generation_options={"max_images": 2}))
        return caught.value.headers["Retry-After"]

    assert run_virtually(run()) == "60"
