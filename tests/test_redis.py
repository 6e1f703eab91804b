"""A limit that is shared through Redis, here an imitation of it."""

import asyncio

import fakeredis
import pytest

from seedream_async import APIConnectionError, InvalidRequestError, Limits, RetryPolicy
from seedream_async.redis import RedisLimiter

pytestmark = pytest.mark.virtual_time


@pytest.fixture(autouse=True)
def reading_allowed(no_blocking_calls):
    """The imitation reads a file of its own on the loop."""
    no_blocking_calls.deactivate()


@pytest.fixture
async def redis():
    async with fakeredis.FakeAsyncRedis() as redis:
        yield redis


async def waits(coroutine):
    """Whether *coroutine* is still not done when everything else is."""
    task = asyncio.ensure_future(coroutine)
    done, _ = await asyncio.wait([task], timeout=0.2)
    task.cancel()
    await asyncio.wait([task])
    return not done


@pytest.mark.parametrize("value", [0, -1, True, 1.5, "8", None], ids=repr)
def test_nonsense_is_refused(value):
    """A limit is a whole number."""
    with pytest.raises(InvalidRequestError) as caught:
        RedisLimiter(None, images_per_minute=value)

    assert caught.value.field == "images_per_minute"


async def test_images_are_counted_together(redis):
    """Whoever uses the same name takes from the same images; another name has its own."""
    ours, theirs = (RedisLimiter(redis, images_per_minute=5) for _ in range(2))

    await ours.acquire(2)
    await theirs.acquire(3)

    assert await waits(ours.acquire(1))
    assert not await waits(RedisLimiter(redis, images_per_minute=5, name="b").acquire(1))


async def test_more_than_the_limit_is_clamped(redis):
    """A request that is heavier than a minute takes all of it."""
    limiter = RedisLimiter(redis, images_per_minute=5)

    await limiter.acquire(15)

    assert await waits(limiter.acquire(1))


async def test_a_pause_holds_for_all(redis):
    """A refusal that one client met holds the others up too; a shorter one changes nothing."""
    ours, theirs = (RedisLimiter(redis, images_per_minute=500) for _ in range(2))

    ours.pause(0.0)
    await theirs.acquire(1)
    ours.pause(30.0)
    await asyncio.wait(ours._telling)
    theirs.pause(1.0)

    assert await waits(theirs.acquire(1))
    assert await redis.pttl("seedream:pause") > 1_000


async def test_the_longest_of_pauses_that_come_together_counts(redis):
    """Clients that are refused at the same moment hold all up for as long as any was told."""
    limiters = [RedisLimiter(redis, images_per_minute=500) for _ in range(2)]

    for limiter, seconds in zip(limiters, (30.0, 1.0), strict=True):
        limiter.pause(seconds)
    await asyncio.wait([task for limiter in limiters for task in limiter._telling])

    assert await redis.pttl("seedream:pause") > 1_000


async def test_a_client_with_a_shared_limit(redis, emulator):
    """Calls take from the shared limit, and a refusal is shared."""
    limiter = RedisLimiter(redis, images_per_minute=5)
    emulator.fail_next(status=429, retry_after=0.1)

    async with emulator.client(limits=Limits(limiter=limiter)) as client:
        await client.generate("a cat")

    assert await redis.zcard("seedream:images") == 2
    assert emulator.images_billed == 1


async def test_redis_that_is_gone(emulator, caplog):
    """Nothing is sent while Redis cannot be asked, and a pause that cannot be shared is logged."""
    server = fakeredis.FakeServer()
    server.connected = False
    limiter = RedisLimiter(fakeredis.FakeAsyncRedis(server=server), images_per_minute=5)

    async with emulator.client(limits=Limits(limiter=limiter)) as client:
        with pytest.raises(APIConnectionError, match=r"\(ConnectionError\): nothing was sent"):
            await client.generate("a cat", retry=RetryPolicy(attempts=1))
    limiter.pause(1.0)
    await asyncio.wait(limiter._telling)
    server.connected = True
    await limiter.acquire(1)

    assert emulator.request_count == 0
    assert "the pause was not shared" in caplog.text
