"""A limit passes at its time, and what arrived before that counts, however long a loop was held."""

import asyncio
import contextlib
import json
import math
import socket

import aiohttp
import pytest

from seedream_async import APITimeoutError, AsyncSeedream, OutcomeUnknownError, Timeout
from seedream_async._deadline import Deadline

from .clocks import run_virtually


def now():
    return asyncio.get_running_loop().time()


def hold(seconds):
    """Stand for work that lets nobody else have the loop."""
    asyncio.get_running_loop()._clock.now += seconds


async def after_turns(turns):
    """What a socket had when the loop came back to it: a few steps away from who waits for it."""
    for _ in range(turns):
        await asyncio.sleep(0)
    return "answer"


def test_a_step_ends_in_time():
    """A step that takes longer ends when the time is over, and so do those that follow."""

    async def main():
        deadline = Deadline(3)
        assert await deadline.within(asyncio.sleep(2, "in time")) == "in time"
        for _ in range(2):
            with pytest.raises(TimeoutError):
                await deadline.within(asyncio.sleep(2))
            assert now() == 3

    run_virtually(main())


def test_what_is_there_is_taken():
    """After its time, a step that does not have to wait still gives what it has."""

    async def main():
        deadline = Deadline(3)
        await asyncio.sleep(5)

        assert await deadline.within(after_turns(0)) == "answer"

    run_virtually(main())


@pytest.mark.parametrize("turns", [1, 5])
def test_what_came_while_the_loop_was_held(turns):
    """What is taken from a socket only after the limit has passed may have been there in time."""

    async def main():
        deadline = Deadline(3)
        task = asyncio.create_task(deadline.within(asyncio.sleep(2, "answer")))
        await asyncio.sleep(1)
        hold(100)

        assert await task == "answer"
        assert now() == 101
        assert await deadline.within(after_turns(turns)) == "answer"

    run_virtually(main())


@pytest.mark.parametrize(("held", "given"), [(2.25, 0.25), (100, 1)])
def test_a_held_loop_is_given_time_once(held, given):
    """If nothing came meanwhile, it ends as much later as the loop was late, or a second."""

    async def main():
        deadline = Deadline(3)
        task = asyncio.create_task(deadline.within(asyncio.sleep(math.inf)))
        await asyncio.sleep(1)
        hold(held)

        with pytest.raises(TimeoutError):
            await task
        assert now() == 1 + held + given

    run_virtually(main())


def test_what_follows_an_end_does_not_begin():
    """After a step that was ended, the next one is not even given a turn in which more may come."""

    async def main():
        deadline = Deadline(3)
        with pytest.raises(TimeoutError):
            await deadline.within(asyncio.sleep(9))

        with pytest.raises(TimeoutError):
            await deadline.within(after_turns(0))

    run_virtually(main())


@pytest.mark.parametrize("close", [True, False], ids=["closed", "without a limit"])
def test_what_has_no_end_does_not_end(close):
    """A deadline that was closed ends nothing, and one that is infinite has nothing to close."""

    async def main():
        deadline = Deadline(3 if close else math.inf)
        deadline.close()

        assert await deadline.within(asyncio.sleep(9, "answer")) == "answer"

    run_virtually(main())


@pytest.mark.parametrize("at", [1, 3], ids=["before", "together"])
def test_who_is_cancelled_is_cancelled(at):
    """A cancellation is none of its business, also if it comes at the same moment."""

    async def main():
        deadline = Deadline(3)
        task = asyncio.create_task(deadline.within(asyncio.sleep(math.inf)))
        await asyncio.sleep(at)
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task

    run_virtually(main())


@pytest.mark.virtual_time
@pytest.mark.parametrize("whole", [True, False], ids=["an answer", "the head of one"])
async def test_an_answer_that_came_while_the_loop_was_held(whole):
    """What is paid for is not thrown away because the application looked at it too late."""
    body = json.dumps({"created": 1, "data": [{"url": "https://x.example/1.jpeg"}]}).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    answer = head % len(body) + body
    at = len(answer) if whole else len(answer) - len(body)

    with socket.create_server(("127.0.0.1", 0)) as far:
        base_url = f"http://127.0.0.1:{far.getsockname()[1]}/v1"
        async with AsyncSeedream(api_key="sk-test-key", base_url=base_url) as client:
            call = asyncio.create_task(client.generate("a cat", timeout=60))
            with await asked(far) as near:
                near.sendall(answer[:at])
                hold(3600)
                asyncio.get_running_loop().call_later(0.5, near.sendall, answer[at:])
                response = await call

    assert response.images[0].url == "https://x.example/1.jpeg"


@pytest.mark.virtual_time
async def test_a_far_side_that_never_pauses_is_left_in_time():
    """A limit passes also if there is something to read at every turn of the loop."""
    with socket.create_server(("127.0.0.1", 0)) as far:
        base_url = f"http://127.0.0.1:{far.getsockname()[1]}/v1"
        async with AsyncSeedream(api_key="sk-test-key", base_url=base_url) as client:
            call = asyncio.create_task(client.generate("a cat", timeout=60))
            with await asked(far) as near:
                near.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
                for _ in range(100):
                    with contextlib.suppress(ConnectionError):
                        near.sendall(b" ")
                    hold(1)
                    await asyncio.sleep(0)

                assert call.done()
                with pytest.raises(OutcomeUnknownError, match="total=60 s passed"):
                    await call


@pytest.mark.virtual_time
async def test_a_request_does_not_leave_after_its_time():
    """Its answer would not be waited for: the time that a held loop is given is not for sending."""

    async def hold_it(*_):
        hold(100)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(hold_it)
    with socket.create_server(("127.0.0.1", 0)) as far:
        base_url = f"http://127.0.0.1:{far.getsockname()[1]}/v1"
        async with (
            aiohttp.ClientSession(trace_configs=[trace]) as session,
            AsyncSeedream(api_key="sk-test-key", base_url=base_url, session=session) as client,
        ):
            with pytest.raises(APITimeoutError, match="passed while connecting; nothing was sent"):
                await client.generate("a cat", timeout=Timeout(total=60, connect=None))


async def asked(far):
    """A connection to *far* over which a request has come, as the loop does not know of it."""
    far.setblocking(False)
    while True:
        await asyncio.sleep(0)
        with contextlib.suppress(BlockingIOError):
            near, _ = far.accept()
            break
    near.setblocking(False)
    request = b""
    while b'"prompt"' not in request:
        await asyncio.sleep(0)
        with contextlib.suppress(BlockingIOError):
            request += near.recv(65536)
    return near
