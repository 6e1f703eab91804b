"""Connections: used again at once, never after a pause, and never when the far side left."""

import asyncio
import socket
import ssl

import aiohttp
import pytest
import trustme

from seedream_async import AsyncSeedream, Limits, RetryPolicy, Success
from seedream_async._sessions import FRESH, Lifetime, OwnSession

CALLS = 200
BODY = b'{"data": [{"url": "https://h/0.jpeg"}]}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
NEVER = RetryPolicy(attempts=1)


class Far(asyncio.Protocol):
    """One connection to a service that answers, and may hang up without a word."""

    def __init__(self, service):
        self.service = service
        self.received = b""
        self.posts = 0
        self.lost = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        self.service.accepted.append(self)

    def connection_lost(self, _):
        self.lost.set()

    def data_received(self, data):
        self.received += data
        head, end, body = self.received.partition(b"\r\n\r\n")
        length = [int(line[15:]) for line in head.split(b"\r\n") if line[:15] == b"Content-Length:"]
        if end and len(body) >= sum(length):
            self.received = b""
            self.posts += 1
            self.service.answer(self)


class Service:
    """Answers when so many requests wait *together*; *leaves* after each answer, unannounced."""

    def __init__(self):
        self.accepted = []
        self.waiting = []
        self.together = 1
        self.leaves = False

    def answer(self, far):
        self.waiting.append(far)
        if len(self.waiting) < self.together:
            return
        for each in self.waiting:
            each.transport.write(ANSWER)
            if self.leaves:
                each.transport.close()
        self.waiting.clear()

    @property
    def posts(self):
        return sum(far.posts for far in self.accepted)


@pytest.fixture(params=["http", "https"])
async def service(request, monkeypatch):
    """A service without and with TLS, which the environment leads to."""
    context = None
    if request.param == "https":
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        trust(monkeypatch, trusting)
    service = Service()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Far(service), "127.0.0.1", ssl=context)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("COMETAPI_KEY", "sk-test")
    monkeypatch.setenv("COMETAPI_BASE_URL", f"{request.param}://localhost:{port}")
    yield service
    server.close()
    for far in service.accepted:
        far.transport.abort()
        await far.lost.wait()


def trust(monkeypatch, context):
    """Let connectors trust the authorities of *context*."""

    init = aiohttp.TCPConnector.__init__

    def trusting(self, **options):
        init(self, ssl=context, **options)

    monkeypatch.setattr(aiohttp.TCPConnector, "__init__", trusting)


@pytest.fixture
def clock(monkeypatch):
    """The time that connectors judge idle connections by; it stands still."""

    class Clock:
        now = 1000.0

    monkeypatch.setattr("aiohttp.connector.monotonic", lambda: Clock.now)
    return Clock


async def test_a_fan_out_uses_its_connections_again(service):
    """64 calls at width 8 need 8 connections."""
    service.together = 8

    async with AsyncSeedream() as client:
        results = await client.generate_many(["a cat"] * 64, concurrency=8)

    assert all(isinstance(result, Success) for result in results)
    assert [far.posts for far in service.accepted] == [8] * 8


async def test_a_fresh_connection_is_used_again(service, clock):
    """A pause of less than a second costs no new connection."""
    async with AsyncSeedream() as client:
        await client.generate("a cat")
        clock.now += FRESH * 0.9

        await client.generate("a dog")

        assert [far.posts for far in service.accepted] == [2]


async def test_a_stale_connection_is_not_used_again(service, clock):
    """After a pause of a second, a paid request gets a connection of its own."""
    async with AsyncSeedream() as client, asyncio.timeout(5):
        await client.generate("a cat")
        clock.now += 1.001

        await client.generate("a dog")

        await service.accepted[0].lost.wait()
        assert [far.posts for far in service.accepted] == [1, 1]


async def test_a_stale_connection_is_closed_by_itself(service, monkeypatch):
    """Nobody has to call for an idle connection to be hung up on."""
    monkeypatch.setattr("seedream_async._transport.FRESH", 0.01)

    async with AsyncSeedream() as client, asyncio.timeout(5):
        await client.generate("a cat")
        await service.accepted[0].lost.wait()


async def test_an_end_that_nobody_has_read_yet(service):
    """Before a connection is used again, the loop looks whether its end has arrived."""
    async with AsyncSeedream(retry=NEVER) as client:
        await client.generate("a cat")
        service.accepted[0].transport.get_extra_info("socket").shutdown(socket.SHUT_WR)

        await client.generate("a dog")

    assert [far.posts for far in service.accepted] == [1, 1]


@pytest.mark.parametrize("width", [1, 8])
async def test_a_service_that_hangs_up_after_each_answer(width, service):
    """A connection whose end has arrived is seen to be dead: no call is lost, or in doubt."""
    service.leaves = True

    async with AsyncSeedream(retry=NEVER, limits=Limits(concurrency=width)) as client:
        for _ in range(CALLS // width):
            await asyncio.gather(*(client.generate("a cat") for _ in range(width)))

    assert service.posts == CALLS
    assert [far.posts for far in service.accepted] == [1] * CALLS


async def test_a_busy_fan_out_at_a_service_that_hangs_up(service):
    """The same in a fan-out, where a call follows another at once."""
    service.leaves = True

    async with AsyncSeedream(retry=NEVER) as client:
        results = await client.generate_many(["a cat"] * CALLS, concurrency=8)

    assert all(isinstance(result, Success) for result in results)
    assert service.posts == CALLS


async def test_closing_hangs_up(service):
    """The end of a client is the end of its connections."""
    async with AsyncSeedream() as client:
        await client.generate("a cat")

    async with asyncio.timeout(5):
        await service.accepted[0].lost.wait()


async def test_a_session_is_made_once():
    """Who asks for the session gets the same one each time; it is closed with its owner."""
    own = OwnSession(aiohttp.ClientSession)

    session = own.get()
    assert own.get() is session
    await own.aclose()

    assert session.closed


async def test_what_was_never_used_is_not_in_use():
    """A lifetime begins with the first use, and ends once."""
    lifetime = Lifetime()

    assert not lifetime.in_use
    lifetime.check()
    assert lifetime.in_use
    lifetime.end()
    assert not lifetime.in_use


async def test_an_abandoned_session_is_let_go():
    """What nobody closed warns once, as ours: aiohttp's own complaint is taken off."""
    own = OwnSession(aiohttp.ClientSession)
    own.abandon()
    session = own.get()
    connector = session.connector

    own.abandon()

    assert session.closed
    assert not connector.closed
    await connector.close()
