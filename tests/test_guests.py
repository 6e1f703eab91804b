"""Closing with a grace: nobody new, what is paid for may end, and nothing is left behind."""

import asyncio
import contextlib
import inspect

import pytest

from seedream_async import (
    AsyncSeedream,
    CallEnded,
    ClientClosingError,
    DownloadError,
    Failure,
    ImageSucceeded,
    Limits,
    OutcomeUnknownError,
    RetryPolicy,
    RetryScheduled,
    StreamCompleted,
    Success,
)
from seedream_async._guests import Guests
from seedream_async._sessions import Lifetime
from seedream_async.emulator import Emulator

from .scripted_store import Store, head


class Ended:
    """A listener that knows which calls are over, and lets one wait for the first."""

    def __init__(self):
        self.calls = []
        self.first = asyncio.Event()

    def __call__(self, event):
        if isinstance(event, CallEnded):
            self.calls.append(event)
            self.first.set()


async def arrived(emulator, count=1):
    async with asyncio.timeout(30):
        while emulator.request_count < count:
            await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def stalled(emulator, on="api", **options):
    """A client, and a call of it that the emulator does not answer."""
    emulator.stall_next(on=on)
    client = emulator.client(**options)
    try:
        yield client
    finally:
        await client.aclose(grace=0)


async def test_what_is_paid_for_is_saved(emulator, tmp_path):
    """A call in flight ends as ever, to its files, and the client is closed then."""
    client = emulator.client()
    task = asyncio.create_task(client.generate("a cat", save_to=tmp_path))
    await arrived(emulator)

    await client.aclose(grace=20)

    assert [file.path.exists() for file in (await task).files] == [True]
    with pytest.raises(RuntimeError, match="closed: make a new one"):
        await client.generate("a dog")


async def test_who_comes_back_for_what_it_bought_is_let_in(emulator, tmp_path):
    """Between a call and its download, nobody is inside, and yet nothing is closed."""

    async def bought():
        response = await asyncio.create_task(client.generate("a cat"))
        return await client.download(response.images[0], tmp_path / "cat.jpeg")

    client = emulator.client()
    task = asyncio.create_task(bought())
    await arrived(emulator)

    await client.aclose(grace=20)

    assert (await task).path.exists()


async def test_nothing_new_is_sent(emulator):
    """While a client is being closed, a new call is refused, free of charge."""
    async with stalled(emulator) as client:
        task = asyncio.create_task(client.generate("a cat"))
        await arrived(emulator)
        closing = asyncio.create_task(client.aclose(grace=20))
        await asyncio.sleep(0)

        with pytest.raises(ClientClosingError, match="not sent: this client is being closed") as no:
            await client.generate("a dog")
        with pytest.raises(ClientClosingError):
            await client.models()

        assert not no.value.possibly_billed
        assert emulator.request_count == 1
        closing.cancel()
        with pytest.raises(OutcomeUnknownError):
            await task


async def test_what_has_cost_nothing_leaves_at_once(emulator):
    """Who waits for its turn costs nothing yet, and is not waited for."""
    async with stalled(emulator, limits=Limits(concurrency=1)) as client:
        paid = asyncio.create_task(client.generate("a cat"))
        await arrived(emulator)
        waiting = asyncio.create_task(client.generate("a dog"))
        await asyncio.sleep(0)
        closing = asyncio.create_task(client.aclose(grace=20))

        with pytest.raises(ClientClosingError, match="before it was sent: it cost nothing"):
            await waiting

        assert not paid.done()
        closing.cancel()
        with pytest.raises(OutcomeUnknownError):
            await paid
    assert emulator.request_count == 1


async def test_a_refused_call_is_not_sent_again(emulator):
    """What waits for its next attempt has cost nothing."""
    scheduled = asyncio.Event()
    emulator.fail_next(status=429, retry_after=60)

    def listen(event):
        if isinstance(event, RetryScheduled):
            scheduled.set()

    client = emulator.client(on_event=listen, retry=RetryPolicy(max_retry_after=90))
    task = asyncio.create_task(client.generate("a cat"))
    await scheduled.wait()

    async with asyncio.timeout(30):
        await client.aclose(grace=50)

    with pytest.raises(ClientClosingError) as left:
        await task
    assert [attempt.fate for attempt in left.value.attempts] == ["refused"]
    assert emulator.request_count == 1


@pytest.mark.virtual_time
async def test_the_grace_ends(emulator):
    """What takes longer is cancelled, and told as possibly billed: to the caller and in events."""
    ended = Ended()
    emulator.stall_next()
    client = emulator.client(on_event=ended)
    task = asyncio.create_task(client.generate("a cat"))
    await arrived(emulator)

    await client.aclose(grace=0.05)

    with pytest.raises(OutcomeUnknownError, match="left when the client was closed before the"):
        await task
    assert [(event.error, event.possibly_billed) for event in ended.calls] == [
        ("CancelledError", True)
    ]


@pytest.mark.virtual_time
async def test_saving_that_takes_too_long(emulator, tmp_path):
    """An answer whose images were not saved in time is in the error."""
    emulator.stall_next(on="store")
    ended = Ended()
    client = emulator.client(on_event=ended)
    task = asyncio.create_task(client.generate("a cat", save_to=tmp_path))
    await ended.first.wait()

    await client.aclose(grace=0.05)

    with pytest.raises(DownloadError, match="before its images were saved") as left:
        await task
    assert len(left.value.response.images) == 1
    assert not [*tmp_path.iterdir()]


async def test_a_download_that_takes_too_long(emulator, tmp_path):
    """Its link stays good."""
    emulator.stall_next(on="store")
    client = emulator.client()
    response = await client.generate("a cat")
    task = asyncio.create_task(client.download(response.images[0], tmp_path))
    await asyncio.sleep(0)

    await client.aclose(grace=0)

    with pytest.raises(DownloadError, match="its link stays good"):
        await task


async def test_a_stream_ends_in_its_grace(emulator):
    """Events that are still to come do come."""

    async def stream():
        async with client.stream(
            "a cat", sequential_image_generation="auto", max_images=3
        ) as events:
            begun.set()
            return [event async for event in events]

    begun = asyncio.Event()
    client = emulator.client()
    task = asyncio.create_task(stream())
    await begun.wait()

    await client.aclose(grace=20)

    assert [type(event) for event in await task] == [ImageSucceeded] * 3 + [StreamCompleted]


@pytest.mark.virtual_time
async def test_a_stream_that_takes_too_long():
    """What has arrived of it is in the error."""

    async def stream():
        async with client.stream(
            "a cat", sequential_image_generation="auto", max_images=3
        ) as events:
            await anext(events)
            begun.set()
            await asyncio.Event().wait()

    begun = asyncio.Event()
    async with Emulator(latency=1) as emulator:  # so that the second image is not there yet
        client = emulator.client()
        task = asyncio.create_task(stream())
        await begun.wait()

        await client.aclose(grace=0)

        with pytest.raises(OutcomeUnknownError, match="1 image had arrived") as left:
            await task
    assert len(left.value.response.images) == 1


@pytest.mark.virtual_time
async def test_a_fan_out_ends(tmp_path):
    """What is in flight is saved; nothing more is pulled, sent or lost."""

    def prompts():
        while True:
            yield "a cat"

    async def fan_out():
        results = client.generate_many(prompts(), concurrency=2, save_to=tmp_path)
        return [result async for result in results]

    async with Emulator(latency=0.2) as emulator:
        client = emulator.client()
        task = asyncio.create_task(fan_out())
        await arrived(emulator, 2)

        await client.aclose(grace=20)

        results = await task
    successes = [result for result in results if isinstance(result, Success)]
    failures = [result.error for result in results if isinstance(result, Failure)]
    assert len(successes) == emulator.images_billed == 2 == len([*tmp_path.iterdir()])
    assert all(isinstance(error, ClientClosingError) for error in failures)


@pytest.mark.virtual_time
async def test_what_a_fan_out_has_not_saved(emulator, tmp_path):
    """A fan-out that is not done in time says what it paid for."""
    emulator.stall_next(on="store")
    ended = Ended()
    client = emulator.client(on_event=ended)
    results = client.generate_many(["a cat"], save_to=tmp_path)

    async def fan_out():
        return [result async for result in results]

    task = asyncio.create_task(fan_out())
    await ended.first.wait()

    await client.aclose(grace=0.05)

    (failure,) = await task
    assert isinstance(failure.error, DownloadError)
    assert failure.possibly_billed
    assert len(failure.error.response.images) == 1


async def test_who_closes_does_not_wait_for_itself(emulator):
    """A client may be closed from inside one of its own blocks."""
    client = emulator.client()
    response = await client.generate("a cat")

    async with asyncio.timeout(30), client.open(response.images[0]):
        await client.aclose(grace=60)

    with pytest.raises(RuntimeError, match="closed"):
        await client.generate("a dog")


async def test_a_time_out_of_ones_own_stays_one(emulator):
    """A `TimeoutError` in a block is the caller's, not the end of the client."""
    async with emulator.client() as client:
        response = await client.generate("a cat")

        with pytest.raises(TimeoutError):
            async with client.open(response.images[0]):
                raise TimeoutError


async def test_what_is_kept_is_waited_for(emulator, tmp_path):
    """A task that nobody awaits is the client's, and ends before it."""
    client = emulator.client()
    task = client.keep(client.generate("a cat", save_to=tmp_path))
    await arrived(emulator)

    await client.aclose(grace=20)

    assert task.done()
    assert len(task.result().files) == 1


@pytest.mark.parametrize("grace", [None, 0], ids=["none", "no time"])
async def test_what_is_kept_does_not_outlive_its_client(grace, emulator):
    """Without a grace, a task that is kept is cancelled, and gone."""
    gone = []

    async def endless():
        try:
            await asyncio.Event().wait()
        finally:
            gone.append(True)

    client = emulator.client()
    task = client.keep(endless())
    await asyncio.sleep(0)

    async with asyncio.timeout(30):
        await client.aclose(grace=grace)

    assert task.cancelled()
    assert gone == [True]


async def test_a_task_that_is_kept_may_close(emulator):
    """A task that closes its own client is not waited for, and not cancelled."""
    client = emulator.client()

    async with asyncio.timeout(30):
        await client.keep(client.aclose(grace=60))

    with pytest.raises(RuntimeError, match="closed"):
        await client.models()


async def test_nothing_is_kept_after_the_end(emulator):
    """A closed client takes no work, and closes what it was given."""
    client = emulator.client()
    await client.aclose()
    work = client.generate("a cat")

    with pytest.raises(RuntimeError, match="closed: make a new one"):
        client.keep(work)

    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED


async def test_an_unused_client_is_closed_at_once():
    """Where nobody was inside, there is nothing to wait for."""
    client = AsyncSeedream(api_key="k")

    async with asyncio.timeout(30):
        await client.aclose(grace=60)

    with pytest.raises(RuntimeError, match="closed"):
        await client.models()


@pytest.mark.parametrize("stay", range(1, 16))
async def test_who_comes_back_has_time_from_when_the_last_one_left(stay):
    """Whenever the first visit ends, the one that follows it a few turns later may end too."""
    guests = Guests(Lifetime())
    ends = []

    async def visit(turns):
        async with guests.visit(paying=False):
            for _ in range(turns):
                await asyncio.sleep(0)
            ends.append(turns)

    async def bought():
        await visit(stay)
        for _ in range(6):
            await asyncio.sleep(0)
        await visit(20)

    task = asyncio.create_task(bought())
    await asyncio.sleep(0)

    await guests.drain(20)

    await task
    assert ends == [stay, 20]


async def test_who_was_sent_away_is_not_sent_away_twice():
    """A visit that is ending ends once."""
    lifetime = Lifetime()
    guests = Guests(lifetime)
    told = []

    async def stay():
        try:
            async with guests.visit() as visit:
                visits.append(visit)
                try:
                    await asyncio.Event().wait()
                finally:
                    await asyncio.sleep(0)
        except ClientClosingError as error:
            told.append(str(error))

    visits = []
    task = asyncio.create_task(stay())
    await asyncio.sleep(0)

    visits[0].leave()
    await asyncio.sleep(0)
    visits[0].leave()
    await task

    assert told == ["left when the client was closed, before it was sent: it cost nothing"]


@pytest.mark.virtual_time
async def test_a_shared_call_is_saved_for_each(tmp_path):
    """Who shares a call that is paid for has its own files when the client is closed."""
    async with Emulator(latency=1) as emulator:  # so both share it, however late their folders
        client = emulator.client()
        folders = [tmp_path / "a", tmp_path / "b"]
        tasks = [
            asyncio.create_task(client.generate("a cat", share=True, save_to=f"{folder}/"))
            for folder in folders
        ]
        await asyncio.sleep(0.5)

        await client.aclose(grace=20)

        assert [len((await task).files) for task in tasks] == [1, 1]
        assert emulator.images_billed == 1


@pytest.mark.virtual_time
async def test_a_shared_call_that_takes_too_long(emulator):
    """Each who shares it is told what it may have cost; a new one is not begun."""
    emulator.stall_next()
    client = emulator.client()
    tasks = [asyncio.create_task(client.generate("a cat", share=True)) for _ in range(2)]
    await arrived(emulator)
    closing = asyncio.create_task(client.aclose(grace=0.05))
    await asyncio.sleep(0)

    with pytest.raises(ClientClosingError):
        await client.generate("a dog", share=True)
    await closing

    for task in tasks:
        with pytest.raises(OutcomeUnknownError, match="left when the client was closed"):
            await task
    assert emulator.request_count == 1


@pytest.mark.virtual_time
async def test_saving_what_was_shared_takes_too_long(emulator, tmp_path):
    """Who could not save its part has it in the error."""
    emulator.stall_next(on="store")
    ended = Ended()
    client = emulator.client(on_event=ended)
    work = client.generate("a cat", share=True, save_to=tmp_path)
    task = asyncio.create_task(work)
    await ended.first.wait()

    await client.aclose(grace=0.05)

    with pytest.raises(DownloadError, match="before its images were saved") as left:
        await task
    assert len(left.value.response.images) == 1


@pytest.mark.parametrize("when", ["before", "amidst"])
async def test_a_block_that_nobody_can_leave(when, emulator):
    """A block whose task ended without leaving it does not keep the client open."""
    client = emulator.client()
    response = await client.generate("a cat")
    block = client.open(response.images[0])
    gone = asyncio.Event()

    async def enter():
        await block.__aenter__()
        with contextlib.suppress(asyncio.CancelledError):
            await gone.wait()

    task = asyncio.create_task(enter())
    async with asyncio.timeout(30):
        if when == "before":
            gone.set()
            await task
        else:
            await until_inside(client)
        await client.aclose(grace=0.05)

    with pytest.raises(RuntimeError, match="closed"):
        await client.models()
    with contextlib.suppress(DownloadError):
        await block.__aexit__(None, None, None)


async def until_inside(client):
    while not client._generating.guests._visits:
        await asyncio.sleep(0)


async def test_who_comes_back_while_all_leave():
    """Who was sent away and comes again at once is sent away too, and keeps nobody waiting."""
    told = []

    async def stay():
        while True:
            try:
                async with client.open(store.url) as stream:
                    await stream.read()
            except DownloadError as error:
                told.append(str(error))

    async with Store(*[[head("200 OK", 9), b"an image."]] * 9) as store:
        client = AsyncSeedream(api_key="k")
        task = asyncio.create_task(stay())
        async with asyncio.timeout(30):
            while not store.asked:
                await asyncio.sleep(0)

            await client.aclose(grace=0.05)

            with pytest.raises(RuntimeError, match="closed"):
                await task
    assert {error.partition(":")[0] for error in told} == {
        "left when the client was closed before the image was there"
    }
