"""Connections: used again where it is safe, never after a pause, never when the far side left."""

import asyncio
import select
import socket
import ssl

import aiohttp
import pytest
import trustme

from seedream_async import APIConnectionError, AsyncSeedream, Limits, RetryPolicy, Success
from seedream_async._sessions import FRESH, Lifetime, OwnSession, SilentConnector

from .clocks import PATIENCE

pytestmark = pytest.mark.virtual_time

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
    await all_closed()


async def all_closed():
    """Wait until no connection is open: the near ends, too, have heard of it."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE):
        while any(transport._sock for transport in list(loop._transports.values())):
            await asyncio.sleep(0.001)


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


@pytest.fixture
async def patient(service, clock, monkeypatch):
    """A client that has seen its service leave an idle connection open."""
    monkeypatch.setattr("seedream_async._sessions.PROOF", 0.02)
    async with AsyncSeedream(retry=NEVER) as client, asyncio.timeout(5):
        await client.generate("a cat")
        await client.generate("a cat")
        await service.accepted[0].lost.wait()  # the one that was watched
        service.accepted.clear()
        yield client


def wait_for_news(session):
    """Return when what the far side did is at the one idle connection of *session*, unread."""
    [[(protocol, _)]] = session.connector._conns.values()
    assert select.select([protocol.transport.get_extra_info("socket")], [], [], 30)[0]


async def test_no_connection_is_used_again_before_the_service_is_known(service):
    """Until a service has left an idle connection open, each call has a connection of its own."""
    async with AsyncSeedream() as client:
        for _ in range(5):
            await client.generate("a cat")

        assert [far.posts for far in service.accepted] == [1] * 5


async def test_a_fan_out_uses_its_connections_again(service, patient):
    """64 calls at width 8 need 8 connections."""
    service.together = 8

    results = await patient.generate_many(["a cat"] * 64, concurrency=8)

    assert all(isinstance(result, Success) for result in results)
    assert sum(far.posts for far in service.accepted) >= 64 - 8
    assert len(service.accepted) <= 8


async def test_a_fresh_connection_is_used_again(service, clock, patient):
    """A pause of less than a second costs no new connection."""
    await patient.generate_many(["a cat"] * 2)
    service.accepted.clear()
    clock.now += FRESH * 0.9

    await patient.generate("a dog")

    assert service.accepted == []


async def test_a_stale_connection_is_not_used_again(service, clock, patient):
    """After a pause of a second, a paid request gets a connection of its own."""
    await patient.generate("a cat")
    service.accepted.clear()
    clock.now += 1.001

    await patient.generate("a dog")

    assert [far.posts for far in service.accepted] == [1]


@pytest.mark.parametrize("seconds", [0.0, 0.001, 0.005])
async def test_a_service_that_hangs_up_soon_after_its_answer(seconds, service, monkeypatch):
    """It may do so at the very moment of the next call: none is lost, or in doubt."""
    monkeypatch.setattr("seedream_async._sessions.PROOF", 0.2)
    plain, loop = service.answer, asyncio.get_running_loop()

    def answer(far):
        plain(far)
        loop.call_later(seconds, far.transport.abort)

    service.answer = answer

    async with AsyncSeedream(retry=NEVER) as client, asyncio.timeout(9):
        for _ in range(CALLS):
            await client.generate("a cat")

    assert service.posts == CALLS


@pytest.mark.parametrize("cautious", [True, False])
async def test_a_service_that_speaks_first(cautious):
    """What is said before anything was asked is no answer, and another attempt hears it too."""
    greeted = []

    def greet(_, writer):
        greeted.append(writer)
        writer.write(b"220 smtp.example.test\r\n")

    server = await asyncio.start_server(greet, "127.0.0.1")
    connector = SilentConnector(cautious=cautious)
    create = connector._create_connection

    async def create_and_listen(*arguments):
        protocol = await create(*arguments)
        while not protocol.should_close:
            await asyncio.sleep(0)
        return protocol

    connector._create_connection = create_and_listen
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.timeout(5):
        port = server.sockets[0].getsockname()[1]

        with pytest.raises(aiohttp.ClientConnectionError, match="spoke first"):
            await session.post(f"http://127.0.0.1:{port}", data=b"{}")

    server.close()
    for writer in greeted:
        writer.close()
        await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    assert len(greeted) == 1


async def test_what_is_watched_is_closed_with_its_session(service):
    """The connection that only serves to know the service is nobody's but the session's."""
    async with AsyncSeedream() as client:
        await client.generate("a cat")
        await client.generate("a cat")

    async with asyncio.timeout(5):
        for far in service.accepted:
            await far.lost.wait()


async def test_a_stale_connection_is_closed_by_itself(service, monkeypatch):
    """Nobody has to call for an idle connection to be hung up on."""
    monkeypatch.setattr("seedream_async._sessions.FRESH", 0.01)

    async with AsyncSeedream() as client, asyncio.timeout(5):
        await client.generate("a cat")
        await service.accepted[0].lost.wait()


async def test_an_end_that_nobody_has_read_yet(service, clock, patient):
    """Before a connection is used again, the loop looks whether its end has arrived."""
    clock.now += 1.001
    await patient.generate("a cat")
    service.accepted[0].transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
    wait_for_news(patient._api._own.get())

    await patient.generate("a dog")

    assert [far.posts for far in service.accepted] == [1, 1]


async def test_an_end_where_sockets_cannot_be_asked(service, clock, patient, monkeypatch):
    """On Windows, which has no poll, the loop is given the turns to see an end."""
    monkeypatch.delattr("select.poll")
    clock.now += 1.001
    await patient.generate("a cat")
    service.accepted[0].transport.get_extra_info("socket").shutdown(socket.SHUT_WR)
    wait_for_news(patient._api._own.get())

    await patient.generate("a dog")

    assert [far.posts for far in service.accepted] == [1, 1]


async def test_something_unasked_on_an_idle_connection(service):
    """Over a lent session too, what was said unasked is not taken for an answer."""
    async with aiohttp.ClientSession() as lent, AsyncSeedream(session=lent, retry=NEVER) as client:
        await client.generate("a cat")
        stray = ANSWER.replace(b"0.jpeg", b"9.jpeg")
        service.accepted[0].transport.write(stray)
        wait_for_news(lent)

        with pytest.raises(APIConnectionError, match="which was not sent") as excinfo:
            await client.generate("a dog")

        assert excinfo.value.retryable
        response = await client.generate("a dog")
    assert response.data[0].url == "https://h/0.jpeg"
    assert service.posts == 2


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
    """What nobody closed warns once, as ours: nothing is left for aiohttp to complain of."""
    own = OwnSession(aiohttp.ClientSession)
    own.abandon()
    session = own.get()
    connector = session.connector

    own.abandon()
    own.abandon()

    assert session.closed
    assert connector.closed
