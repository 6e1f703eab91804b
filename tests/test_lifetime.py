"""From the first use of a client to its end: which loop, which session, and what is left."""

import asyncio
import subprocess
import sys

import aiohttp
import pytest

from seedream_async import AsyncSeedream, InvalidRequestError, Limits, RetryPolicy, RetryScheduled

# What a program prints: every warning as one line, and how many sockets it still has.
PROGRAM = """
import asyncio, gc, os, stat, sys, warnings
from seedream_async import AsyncSeedream, InvalidRequestError

def show(message, category, *_, **__):
    print(f"{category.__name__}: {message}", file=sys.stderr)

def sockets():
    count = 0
    for descriptor in range(3, 256):
        try:
            count += stat.S_ISSOCK(os.fstat(descriptor).st_mode)
        except OSError:
            pass
    return count

async def use(client):
    await client.generate("a cat", save_to=sys.argv[1])

async def turns():
    for _ in range(9):
        await asyncio.sleep(0)

warnings.simplefilter("always")
warnings.showwarning = show
"""

WITHIN = """
async def main():
    own = sockets()
    client = AsyncSeedream()
    await use(client)
    del client
    gc.collect()
    await turns()
    print(sockets() - own)

asyncio.run(main())
"""
AFTERWARDS = """
client = AsyncSeedream()
asyncio.run(use(client))
del client
gc.collect()
print(sockets())
"""
ELSEWHERE = """
client = AsyncSeedream()
asyncio.run(use(client))
asyncio.run(client.aclose())
asyncio.run(client.aclose())
del client
gc.collect()
print(sockets())
"""
PROPERLY = """
async def main():
    async with AsyncSeedream() as client:
        await use(client)

asyncio.run(main())
gc.collect()
print(sockets())
"""
UNUSED = """
client = AsyncSeedream()
del client
gc.collect()
print(sockets())
"""
UNMADE = """
try:
    AsyncSeedream(base_url="nonsense")
except InvalidRequestError:
    gc.collect()
    print(sockets())
"""


def run(program, folder, *options):
    """What *program* prints, and its lines on stderr."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, *options, "-c", PROGRAM + program, str(folder)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip(), done.stderr.splitlines()


async def generate(client):
    await client.generate("a cat")


async def stream(client):
    async with client.stream("a cat"):
        pass


async def download(client):
    await client.download("http://127.0.0.1:1/a.jpeg", "a.jpeg")


async def models(client):
    await client.models()


async def many(client):
    await client.generate_many(["a cat"])


USES = [generate, stream, download, models, many]


@pytest.mark.parametrize("use", USES)
def test_a_second_loop_is_refused(use, server):
    """A client belongs to the loop that used it first; elsewhere it says what to do."""
    client = AsyncSeedream()
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(generate(client))

        with pytest.raises(RuntimeError, match="make one client for each loop"):
            second.run(use(client))

        first.run(generate(client))
        first.run(client.aclose())
    assert server.request_count == 2


@pytest.mark.parametrize("use", USES)
async def test_a_second_loop_waits_for_nothing_of_the_first(use, emulator):
    """However busy a client is, it says at once that it belongs to another loop."""
    limits = Limits(concurrency=1)
    async with emulator.client(limits=limits) as client, client.stream("a cat"):
        with pytest.raises(RuntimeError, match="make one client for each loop"):
            await asyncio.to_thread(asyncio.run, asyncio.wait_for(use(client), 30))

    assert emulator.request_count == 1


@pytest.mark.parametrize("use", USES)
async def test_a_closed_client_is_refused(use, emulator):
    """After the end, every use says that the client is closed, and nothing is sent."""
    client = emulator.client()
    await client.generate("a cat")
    await client.aclose()

    with pytest.raises(RuntimeError, match="closed: make a new one"):
        await use(client)

    assert emulator.request_count == 1


@pytest.fixture
def sessions(monkeypatch):
    """All sessions that are made, each closed in the end."""
    made = []
    init = aiohttp.ClientSession.__init__

    def noted(self, *arguments, **options):
        init(self, *arguments, **options)
        made.append(self)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", noted)
    return made


@pytest.mark.parametrize("turns", range(1, 12))
async def test_closing_while_a_call_begins(turns, emulator, sessions):
    """After the end nothing is sent, and no session is made, however far a call had come."""
    client = emulator.client()
    task = asyncio.create_task(client.generate("a cat"))
    for _ in range(turns):
        await asyncio.sleep(0)

    await client.aclose()
    sent = emulator.request_count
    await asyncio.wait([task])

    assert emulator.request_count <= max(sent, 1)
    assert all(session.closed for session in sessions)


@pytest.mark.virtual_time
async def test_closing_while_a_call_waits_for_its_next_attempt(emulator, lent):
    """The end of a client ends its retries, also where the session lives on."""
    waiting = asyncio.Event()
    emulator.fail_next(status=429, retry_after=5)
    retry = RetryPolicy(wait_initial=0)

    def listen(event):
        if isinstance(event, RetryScheduled):
            waiting.set()

    client = emulator.client(session=lent, retry=retry, on_event=listen)
    task = asyncio.create_task(client.generate("a cat"))
    await waiting.wait()

    await client.aclose()

    with pytest.raises(RuntimeError, match="closed: make a new one"):
        await task
    assert emulator.request_count == 1


async def test_an_end_that_is_cancelled_is_one(emulator, sessions, tmp_path):
    """Whoever is cancelled while closing still leaves nothing open."""
    client = emulator.client()
    await client.generate("a cat", save_to=tmp_path)
    task = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.wait([task])

    assert len(sessions) == 2
    assert all(session.closed for session in sessions)


async def test_closing_twice(emulator):
    """The end may be told as often as one likes, used or not."""
    async with emulator.client() as client:
        await client.generate("a cat")
        await client.aclose()
    async with emulator.client() as unused:
        await unused.aclose()

    with pytest.raises(RuntimeError, match="closed"):
        await unused.generate("a cat")


def test_closing_from_a_loop_that_it_does_not_belong_to(server):
    """While its own loop lives, a client is closed there; being refused changes nothing."""
    client = AsyncSeedream()
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(generate(client))

        with pytest.raises(RuntimeError, match="another event loop"):
            second.run(client.aclose())

        first.run(generate(client))
        first.run(client.aclose())
    assert server.request_count == 2


async def test_leaving_the_block_closes(emulator):
    """`async with` ends the client, also when the block raises."""
    with pytest.raises(ZeroDivisionError):
        async with emulator.client() as client:
            await client.generate("a cat")
            raise ZeroDivisionError

    with pytest.raises(RuntimeError, match="closed"):
        await client.generate("a cat")


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(PROPERLY, id="async with"),
        pytest.param(UNUSED, id="never used"),
        pytest.param(UNMADE, id="never made"),
    ],
)
def test_a_proper_end_is_silent(program, server, tmp_path):
    """Nothing is printed, and no socket is left, if there is nothing to complain about."""
    left, printed = run(program, tmp_path)

    assert left == "0"
    assert printed == []


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(WITHIN, id="while the loop runs"),
        pytest.param(AFTERWARDS, id="after the loop"),
    ],
)
def test_an_unclosed_client_names_the_cure(program, server, tmp_path):
    """A client that nobody closed says so once, and its sockets are closed."""
    left, printed = run(program, tmp_path)

    ours = [line for line in printed if "AsyncSeedream" in line]
    assert left == "0"
    assert len(ours) == 1
    assert not [line for line in printed if "onnector" in line or "client session" in line]
    assert ours[0].startswith("ResourceWarning: unclosed AsyncSeedream(")
    assert ours[0].endswith("use `async with`, or await aclose()")


def test_an_unclosed_client_where_warnings_are_errors(server, tmp_path):
    """Its sockets are closed all the same, and it is the only one to complain."""
    strict = "warnings.simplefilter('error', ResourceWarning)\n"

    left, printed = run(strict + WITHIN, tmp_path)

    assert left == "0"
    assert not [line for line in printed if "nclosed client session" in line]


def test_closing_after_the_loop_is_gone(server, tmp_path):
    """What a loop left behind can be closed from another one; no socket is left."""
    left, printed = run(ELSEWHERE, tmp_path)

    assert left == "0"
    assert not [line for line in printed if "AsyncSeedream" in line]


def test_a_client_that_could_not_be_made(monkeypatch):
    """A constructor that refuses leaves nothing that complains when it is collected."""
    refused = []
    monkeypatch.setattr(sys, "unraisablehook", refused.append)

    with pytest.raises(InvalidRequestError):
        AsyncSeedream()
    AsyncSeedream.__new__(AsyncSeedream).__del__()

    assert not refused


def state_of(session):
    """What a session is made of, and its cookies."""
    connector = session.connector
    return {
        **vars(session),
        "headers": dict(session.headers),
        "cookies": list(session.cookie_jar),
        "open": not session.closed and not connector.closed,
        "reuse": (connector.force_close, connector._keepalive_timeout, connector.limit),
    }


@pytest.fixture
async def lent():
    """A session with settings of its own, all of which stay."""
    async with aiohttp.ClientSession(
        headers={"X-Trace": "t1"},
        cookies={"a": "b"},
        timeout=aiohttp.ClientTimeout(total=9),
        raise_for_status=True,
        connector=aiohttp.TCPConnector(limit=3),
    ) as session:
        yield session


async def test_a_lent_session_is_given_back_as_it_was(emulator, lent, tmp_path):
    """Calls, refusals, streams and the end of the client change nothing about it."""
    before = state_of(lent)
    emulator.fail_next(status=429, retry_after=0)

    async with emulator.client(session=lent, retry=RetryPolicy(wait_initial=0)) as client:
        await client.generate("a cat", save_to=tmp_path)
        await stream(client)
        await client.models()

    assert state_of(lent) == before
    assert emulator.request_count == 3


async def test_a_lent_session_survives_a_cancelled_call(emulator, lent):
    """A call that is cut short takes its connection along, and no more."""
    emulator.stall_next()
    before = state_of(lent)

    async with emulator.client(session=lent) as client:
        task = asyncio.create_task(client.generate("a cat"))
        while not emulator.request_count:
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    assert state_of(lent) == before
    assert not lent.connector._acquired


async def test_a_lent_session_outlives_an_unclosed_client(emulator, lent):
    """Not even a client that nobody closed takes the caller's session along."""
    client = emulator.client(session=lent)
    await client.generate("a cat")
    before = state_of(lent)

    with pytest.warns(ResourceWarning, match="unclosed AsyncSeedream"):
        client.__del__()
    await client.aclose()

    assert state_of(lent) == before


async def test_a_lent_session_that_is_closed(emulator, lent):
    """A session that its owner closed is no use: that is told, and nothing is sent."""
    await lent.close()

    async with emulator.client(session=lent) as client:
        with pytest.raises(
            RuntimeError, match="the session that was lent to this client is closed"
        ):
            await client.generate("a cat")

    assert emulator.request_count == 0
