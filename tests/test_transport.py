"""One exchange over a real socket: what goes out, and what comes of trouble."""

import asyncio
import contextlib
import errno
import math
import socket
import ssl
import struct
from types import SimpleNamespace
from unittest import mock

import aiohttp
import pytest
import trustme
import yarl
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_writer import StreamWriter

from seedream_async import (
    APIConnectionError,
    APIResponseValidationError,
    APITimeoutError,
    DownloadError,
    IncompleteDownloadError,
    InvalidRequestError,
    OutcomeUnknownError,
    _transport,
)
from seedream_async._body import RequestBody
from seedream_async._deadline import Deadline
from seedream_async._link_transport import LinkTransport, exact_url
from seedream_async._sessions import Lifetime
from seedream_async._timeout import Bounds
from seedream_async._transport import ApiTransport, _Exchange
from seedream_async._trouble import client_timeout, describe, next_chunk

from .clocks import PATIENCE

KEY = "sk-test-key"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Request-Id: r1\r\n\r\n{}"


RESET = object()


@contextlib.asynccontextmanager
async def serving(serve, **options):
    """A server whose connections *serve* answers, and which leaves none; its port."""
    talks = {}

    def begin(reader, writer):
        talks[asyncio.create_task(serve(reader, writer))] = writer

    server = await asyncio.start_server(begin, "127.0.0.1", **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for talk, writer in talks.items():
            talk.cancel()
            writer.transport.abort()
        closed = (writer.wait_closed() for writer in talks.values())
        await asyncio.gather(*talks, *closed, return_exceptions=True)


@contextlib.asynccontextmanager
async def raw_server(*answers, hold=False):
    """
    A server that sends *answers* as they are, one per connection, and keeps what it got.

    Where there are no more, it sends nothing. Unless it is to *hold* its connections, it hangs up.
    It has read what it was sent by then: what is left unread would make that a reset.
    """
    received, waiting = [], list(answers)

    async def serve(reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        received.append(head)
        if not hold:
            await reader.readexactly(length_of(head))
        answer = waiting.pop(0) if waiting else b""
        if answer is RESET:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        else:
            writer.write(answer)
            await writer.drain()
        if not hold:
            writer.close()

    async with serving(serve) as port:
        yield f"http://127.0.0.1:{port}", received


def length_of(head):
    _, found, rest = head.partition(b"Content-Length: ")
    return int(rest.split(b"\r\n")[0]) if found else 0


@contextlib.asynccontextmanager
async def api(base_url, session=None):
    transport = ApiTransport(base_url, KEY, session, Lifetime())
    try:
        yield transport
    finally:
        await transport.aclose()


@contextlib.asynccontextmanager
async def links(bounds=Bounds()):
    transport = LinkTransport(bounds, Lifetime())
    try:
        yield transport
    finally:
        await transport.aclose()


async def fetch(link, bounds=Bounds(total=PATIENCE)):
    async with links(bounds) as transport, transport.open(link) as stream:
        return stream.status, b"".join([chunk async for chunk in stream.iter_any()])


@pytest.fixture
async def tls_server():
    """A server whose certificate nobody vouches for."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", ssl=context)
    yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.fixture
def nobody():
    """A port of this machine where nobody listens, and nobody else can begin to."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


async def test_posts_once_with_the_key():
    """The body is JSON, and the key is in the header."""
    async with raw_server(OK) as (url, received), api(url) as transport:
        answer = await transport.send("POST", "/images/generations", [b'{"a": 1}'], bounds=Bounds())

    assert answer.status == 200
    assert answer.headers["x-request-id"] == "r1"
    assert answer.body == b"{}"
    head = received[0].decode()
    assert head.startswith("POST /images/generations HTTP/1.1\r\n")
    assert f"Authorization: Bearer {KEY}\r\n" in head
    assert "Content-Type: application/json\r\n" in head
    assert "Content-Length: 8\r\n" in head
    assert len(received) == 1


async def test_large_bodies_arrive_whole(emulator):
    """A body of several pieces is sent as one."""
    body = b'{"prompt": "' + b"x" * 300_000 + b'"}'

    async with api(emulator.base_url) as transport:
        await transport.send("POST", "/images/generations", [body], bounds=Bounds())

    assert len(emulator.requests[-1].json["prompt"]) == 300_000


async def test_a_lent_session_is_used_and_left_open():
    """A session of the caller's is neither changed nor closed."""
    async with aiohttp.ClientSession(raise_for_status=True) as session:
        async with raw_server(OK.replace(b"200 OK", b"429 No")) as (url, received):
            async with api(url, session) as transport:
                answer = await transport.send("POST", "/x", [b"{}"], bounds=Bounds())

        assert answer.status == 429
        assert not session.closed
        assert not session.headers
    assert len(received) == 1


async def test_redirects_are_not_followed():
    """A paid request is never sent on to somewhere else."""
    moved = b"HTTP/1.1 307 Moved\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"

    async with raw_server(moved, OK) as (url, received), api(url) as transport:
        answer = await transport.send("POST", "/x", [b"{}"], bounds=Bounds())

    assert answer.status == 307
    assert len(received) == 1


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        pytest.param("127.0.0.1", r"cannot connect to 127\.0\.0\.1", id="refused"),
        pytest.param("no-such-host.invalid", "does not resolve", id="no such host"),
    ],
)
async def test_nothing_left(host, problem, nobody):
    """If there was no connection, sending again is free."""
    async with api(f"http://{host}:{nobody}") as transport:
        with pytest.raises(APIConnectionError, match=problem) as excinfo:
            await transport.send("POST", "/x", [b"{}"], bounds=Bounds())

    error = excinfo.value
    assert error.retryable
    assert not error.possibly_billed
    assert error.__context__ is None
    assert KEY not in repr(error)


async def test_no_time_to_connect():
    """A time-out before a connection is an error of its own, and free."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()
        taken = [socket.socket() for _ in range(2)]
        for plug in taken:
            plug.setblocking(False)
            plug.connect_ex(address)
        async with api(f"http://127.0.0.1:{address[1]}") as transport:
            with pytest.raises(
                APITimeoutError, match=r"within connect=0\.05 s; nothing was sent"
            ) as excinfo:
                await transport.send("POST", "/x", [b"{}"], bounds=Bounds(connect=0.05))
        for plug in taken:
            plug.close()

    assert isinstance(excinfo.value, TimeoutError)
    assert excinfo.value.retryable


async def test_untrusted_certificate_is_not_tried_again(tls_server):
    """A certificate does not get better by asking again."""
    async with api(tls_server) as transport:
        with pytest.raises(APIConnectionError, match="certificate") as excinfo:
            await transport.send("POST", "/x", [b"{}"], bounds=Bounds())

    assert not excinfo.value.retryable
    assert not excinfo.value.possibly_billed


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="closed before the head"),
        pytest.param(RESET, id="reset before the head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-", id="closed within the head"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", id="closed within the body"
        ),
        pytest.param(b"HTTP/1.1 2x0 OK\r\n\r\n", id="malformed status"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="bad chunk"
        ),
    ],
)
async def test_cut_after_sending_leaves_the_outcome_unknown(answer):
    """Whatever breaks after the request left: it may have been billed."""
    async with raw_server(answer) as (url, received), api(url) as transport:
        with pytest.raises(OutcomeUnknownError) as excinfo:
            await transport.send("POST", "/x", [b"{}"], bounds=Bounds())

    error = excinfo.value
    assert error.possibly_billed
    assert not error.retryable
    assert error.elapsed is not None
    assert error.__context__ is None
    assert KEY not in repr(error)
    assert len(received) == 1


@pytest.mark.virtual_time
@pytest.mark.parametrize("limit", [{"total": 0.05}, {"read": 0.05}], ids=["total", "read"])
async def test_silence_after_sending_leaves_the_outcome_unknown(limit):
    """A time-out after sending is no reason to send again."""
    async with raw_server(b"", hold=True) as (url, _), api(url) as transport:
        with pytest.raises(OutcomeUnknownError, match=r"passed while waiting|silence for read"):
            await transport.send("POST", "/x", [b"{}"], bounds=Bounds(**limit))


async def test_extra_headers_are_sent_and_the_key_wins():
    """Headers of the caller's go along; none replaces the key."""
    headers = {"X-Trace": "t1", "Authorization": "Bearer other"}

    async with raw_server(OK) as (url, received), api(url) as transport:
        await transport.send("POST", "/x", [b"{}"], bounds=Bounds(), headers=headers)

    assert b"X-Trace: t1\r\n" in received[0]
    assert f"Authorization: Bearer {KEY}\r\n".encode() in received[0]


async def test_reading_costs_nothing():
    """A GET that breaks is free to be repeated."""
    async with raw_server(b"") as (url, _), api(url) as transport:
        with pytest.raises(APIConnectionError, match="Check base_url and the network") as excinfo:
            await transport.send("GET", "/models", bounds=Bounds())

    assert excinfo.value.retryable


class Text:
    """A piece that is made while it is sent."""

    def __init__(self, *parts):
        self.parts = parts
        self.length = sum(len(part) for part in parts if isinstance(part, bytes))
        self.closed = False

    def slices(self):
        try:
            for part in self.parts:
                if isinstance(part, Exception):
                    raise part
                yield part
        finally:
            self.closed = True


async def test_pieces_become_one_body(emulator):
    """What is there and what is made on the way arrive as one."""
    text = Text(b'"a', b" cat", b'"')

    async with api(emulator.base_url) as transport:
        await transport.send(
            "POST", "/images/generations", [b'{"prompt":', text, b"}"], bounds=Bounds()
        )

    assert emulator.requests[-1].json == {"prompt": "a cat"}
    assert text.closed


async def test_a_piece_that_cannot_be_made():
    """Half a body is no request: the piece's own error is told, and nothing is billed."""
    broken = Text(b"{", InvalidRequestError("the reference changed", field="image"))
    broken.length += 10

    async with raw_server(b"", hold=True) as (url, _), api(url) as transport:
        with pytest.raises(InvalidRequestError, match="changed"):
            await transport.send("POST", "/x", [broken], bounds=Bounds())

    assert broken.closed


async def test_an_open_answer_arrives_in_parts():
    """An answer can be read while it comes; its kind is known before."""
    events = OK.replace(b"X-Request-Id: r1", b"Content-Type: text/event-stream; charset=utf-8")

    async with raw_server(events) as (url, _), api(url) as transport:
        async with transport.open("POST", "/x", [b"{}"], bounds=Bounds()) as stream:
            chunks = [chunk async for chunk in stream.iter_any()]

    assert stream.is_event_stream
    assert b"".join(chunks) == b"{}"


async def test_cancellation_passes():
    """A cancelled request raises nothing but the cancellation."""
    async with raw_server(b"", hold=True) as (url, received), api(url) as transport:
        task = asyncio.create_task(transport.send("POST", "/x", [b"{}"], bounds=Bounds()))
        while not received:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@contextlib.asynccontextmanager
async def deaf(context=None, says=b""):
    """A server that says something to who asks, and reads no more than the first of it."""

    async def serve(reader, writer):
        await reader.read(1)
        writer.transport.pause_reading()
        writer.write(says)

    async with serving(serve, ssl=context) as port:
        yield f"http{'s' * bool(context)}://localhost:{port}"


@pytest.fixture
def watched(monkeypatch):
    """The sockets that connections to the API have."""
    made = []

    def make(address):
        made.append(socket.socket(*address[:3]))
        return made[-1]

    monkeypatch.setattr(_transport, "alive_socket", make)
    return made


async def closed(sockets):
    """Wait until none of the *sockets*, of which there is one, is open."""
    async with asyncio.timeout(20):  # TLS gives up by itself after 30 s
        while not sockets or any(made.fileno() >= 0 for made in sockets):
            await asyncio.sleep(0.001)


LARGE = (b"x" * 20_000_000,)


@pytest.mark.virtual_time
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_who_reads_nothing_keeps_no_connection(watched, tls):
    """A request that is given up in the middle leaves no socket, however silent the far side is."""
    authority, contexts = trustme.CA(), (None, None)
    if tls:
        contexts = tuple(map(ssl.SSLContext, (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)))
        authority.issue_cert("localhost").configure_cert(contexts[0])
        authority.configure_trust(contexts[1])
    connector = aiohttp.TCPConnector(
        ssl=contexts[1] or True, socket_factory=_transport.alive_socket
    )

    async with deaf(contexts[0]) as url, aiohttp.ClientSession(connector=connector) as session:
        async with api(url, session) as transport:
            for limit in (0.3, 0.2):
                with pytest.raises(OutcomeUnknownError, match="sending the request"):
                    await transport.send("POST", "/x", LARGE, bounds=Bounds(attempt=limit))

            await closed(watched)

    assert len(watched) == 2


async def test_who_answers_early_keeps_no_connection(watched):
    """Nor is there one when a refusal has come before the request was taken."""
    says = b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}"

    async with deaf(says=says) as url, api(url) as transport:
        answer = await transport.send("POST", "/x", LARGE, bounds=Bounds())

        await closed(watched)

    assert answer.status == 413


@pytest.mark.parametrize("says", [b"", OK[:-1]], ids=["awaiting", "reading"])
async def test_who_cancels_keeps_no_connection(watched, says):
    """Nor after a cancellation, while the answer is awaited or while it is read."""
    under_way = asyncio.Event()
    on_sent = (lambda: None) if says else under_way.set

    async with deaf(says=says) as url, api(url) as transport:

        async def send():
            exchange = transport.open("POST", "/x", LARGE, bounds=Bounds(), on_sent=on_sent)
            async with exchange as stream:
                under_way.set()
                await stream.read(10)

        call = asyncio.create_task(send())
        await under_way.wait()
        call.cancel()
        await asyncio.wait([call])

        await closed(watched)

    assert call.cancelled()


async def test_a_connection_in_use_again_is_left_alone(emulator, watched):
    """Who is done with a connection does nothing to the next request on it."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(socket_factory=_transport.alive_socket)
    )

    async with session, api(emulator.base_url, session) as transport:
        async with transport.open("POST", "/x", (b"{}",), bounds=Bounds()) as stream:
            await stream.read(10_000)
            answer = await transport.send("POST", "/x", (b"{}",), bounds=Bounds())
        again = await transport.send("POST", "/x", (b"{}",), bounds=Bounds())

    assert len(watched) == 1
    assert answer.status == again.status


async def test_closing_unused_transports():
    """What was never used has nothing to close."""
    await ApiTransport("http://h", KEY, None, Lifetime()).aclose()
    await LinkTransport(Bounds(), Lifetime()).aclose()


def body(content, status=b"200 OK", headers=b""):
    length = str(len(content)).encode()
    return b"HTTP/1.1 %b\r\n%bContent-Length: %b\r\n\r\n%b" % (status, headers, length, content)


async def test_link_is_sent_byte_for_byte_and_bare():
    """The target is what was issued; no key, cookie, type or encoding goes with it."""
    target = "/d%2fe/./f?X=%2F%7E&a=b+c&d=e,f&&g"

    async with raw_server(body(b"image")) as (url, received):
        assert await fetch(url + target + "#part") == (200, b"image")

    head = received[0].decode()
    assert head.startswith(f"GET {target} HTTP/1.1\r\n")
    names = {line.partition(":")[0].lower() for line in head.splitlines()[1:] if line}
    assert names == {"host", "accept", "accept-encoding", "user-agent"}
    assert "Accept-Encoding: identity\r\n" in head


async def test_encoded_bodies_are_not_decoded():
    """What is compressed stays so: no bomb can go off."""
    gzipped = body(b"\x1f\x8b not really", headers=b"Content-Encoding: gzip\r\n")

    async with raw_server(gzipped) as (url, _):
        assert await fetch(url) == (200, b"\x1f\x8b not really")


@pytest.mark.parametrize(
    ("location", "target"),
    [
        pytest.param("{url}/b%2fc?X=%2F", "/b%2fc?X=%2F", id="absolute"),
        pytest.param("/b%2fc?X=%2F", "/b%2fc?X=%2F", id="path"),
        pytest.param("c%7E?", "/a/c%7E?", id="relative"),
    ],
)
async def test_redirects_of_links_are_followed_exactly(location, target):
    """A redirect is a link like any other."""
    async with raw_server(body(b"image")) as (url, received):
        moved = f"HTTP/1.1 302 Found\r\nLocation: {location.format(url=url)}\r\nContent-Length: 0\r\n\r\n"
        async with raw_server(moved.encode(), body(b"image")) as (first, asked):
            assert await fetch(f"{first}/a/b") == (200, b"image")
            heads = [*asked, *received]

    assert heads[-1].startswith(f"GET {target} ".encode())


async def test_redirects_end():
    """A loop of redirects is left."""
    moved = b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"

    async with raw_server(*[moved] * 6) as (url, received):
        with pytest.raises(DownloadError, match="more than 5 times"):
            await fetch(url)

    assert len(received) == 6


async def test_redirect_without_a_target_is_an_answer():
    """A redirect to nowhere is handed on as it is."""
    async with raw_server(body(b"", b"302 Found")) as (url, _):
        assert await fetch(url) == (302, b"")


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        pytest.param("file:///etc/passwd", "must start with", id="scheme"),
        pytest.param("https://user:pw@h/", "user name", id="user"),
        pytest.param("", "must start with", id="empty"),
    ],
)
async def test_unsendable_links(link, problem):
    """What cannot be sent unchanged is refused."""
    with pytest.raises(DownloadError, match=problem) as excinfo:
        await fetch(link)

    assert not excinfo.value.retryable


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        pytest.param(b"", DownloadError, id="no answer"),
        pytest.param(body(b"image")[:-2], IncompleteDownloadError, id="cut"),
        pytest.param(b"nonsense\r\n\r\n", DownloadError, id="malformed"),
    ],
)
async def test_trouble_with_a_link_may_be_tried_again(answer, error):
    """Fetching is free, so trouble says that it can be repeated."""
    async with raw_server(*[answer] * 2) as (url, _):
        with pytest.raises(error) as excinfo:
            await fetch(url + "/k?sig=secret")

    assert excinfo.value.retryable
    assert excinfo.value.host == "127.0.0.1"
    assert excinfo.value.__context__ is None
    assert "secret" not in repr(excinfo.value)


@pytest.mark.virtual_time
async def test_silent_store():
    """A store that stalls is left after the read time-out."""
    async with raw_server(body(b"image")[:-2], hold=True) as (url, _):
        with pytest.raises(DownloadError, match=r"silence for read=0\.05 s"):
            await fetch(url, Bounds(read=0.05))


@pytest.mark.parametrize("target", ["/?", "/a?", "//b", "/a/../b", "/%2e%2e/a", "/a?b=%zz"])
def test_exact_url_keeps_the_target(target):
    """The URL that aiohttp gets has the target that was issued."""
    assert exact_url(f"https://h{target}").raw_path_qs == target


def test_what_is_not_sent_unchanged_is_not_sent(monkeypatch):
    """Should yarl ever rewrite a target, the link is refused instead of spoiled."""
    monkeypatch.setattr(yarl.URL, "build", lambda **_: yarl.URL("https://h/a?b=%2F"))

    with pytest.raises(ValueError, match="unchanged"):
        exact_url("https://h/a?b=%2F")


@pytest.mark.parametrize("length", [9, 10])
async def test_an_answer_as_long_as_allowed(length):
    """What an honest answer can have is read to its end."""
    async with raw_server(body(b"x" * length)) as (url, _), api(url) as transport:
        answer = await transport.send("POST", "/x", [b"{}"], bounds=Bounds(), most_bytes=10)

    assert answer.body == b"x" * length
    assert answer.elapsed > 0


@pytest.mark.parametrize("length", [19, 20, 21])
async def test_an_answer_with_images_may_be_longer(length):
    """What has base64 in it is read to a limit of its own."""
    sent = b'"b64_json"'.ljust(length, b"x")
    expected = contextlib.nullcontext()
    if length > 20:
        expected = pytest.raises(APIResponseValidationError, match="more than 10 bytes")

    async with raw_server(body(sent)) as (url, _), api(url) as transport:
        async with transport.open("POST", "/x", [b"{}"], bounds=Bounds()) as stream:
            with expected:
                assert (await stream.read(10, 20)).body == sent


@pytest.mark.parametrize("length", [9, None], ids=["length", "no length"])
async def test_what_arrived_before_the_end_is_read(length):
    """A connection that breaks takes nothing back: what waits to be read is read first."""
    loop = asyncio.get_running_loop()
    content = aiohttp.StreamReader(ResponseHandler(loop=loop), limit=2**16, loop=loop)
    response = SimpleNamespace(content=content, content_length=length)
    content.feed_data(b"ab")
    content.feed_data(b"cd")
    content.set_exception(aiohttp.ClientPayloadError())

    assert await next_chunk(response) == b"abcd"
    with pytest.raises(aiohttp.ClientPayloadError):
        await next_chunk(response)


async def test_only_refusals_are_cut():
    """An answer is read to its end, however much longer it is than a refusal may be."""
    async with raw_server(body(b"x" * 200_000)) as (url, _), api(url) as transport:
        answer = await transport.send("POST", "/x", [b"{}"], bounds=Bounds())

    assert len(answer.body) == 200_000


async def test_an_answer_that_is_too_long_is_not_read():
    """More than an honest answer can have is left, and may have been billed."""
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 11

    async with raw_server(endless, hold=True) as (url, _), api(url) as transport:
        with pytest.raises(APIResponseValidationError, match="more than 10 bytes") as excinfo:
            await transport.send("POST", "/x", [b"{}"], bounds=Bounds(), most_bytes=10)

    assert excinfo.value.possibly_billed
    assert excinfo.value.status_code == 200
    assert not excinfo.value.retryable
    assert "check the account" in str(excinfo.value)


async def test_a_refusal_is_read_to_64_kib():
    """The beginning of a refusal says enough; nobody waits for the rest."""
    sent = b"x" * 70_000
    endless = b"HTTP/1.1 400 No\r\nContent-Length: 999999999\r\n\r\n" + sent

    async with raw_server(endless, hold=True) as (url, _), api(url) as transport:
        answer = await transport.send("POST", "/x", [b"{}"], bounds=Bounds(total=PATIENCE))

    assert answer.status == 400
    assert 65_536 <= len(answer.body) <= len(sent)


async def test_a_short_refusal_is_read_whole():
    """A refusal that ends before that is not cut."""
    async with raw_server(body(b"no", b"400 No")) as (url, _), api(url) as transport:
        answer = await transport.send("POST", "/x", [b"{}"], bounds=Bounds())

    assert (answer.status, answer.body) == (400, b"no")


@pytest.mark.parametrize(
    ("status", "kind", "events"),
    [
        pytest.param(b"200 OK", b"text/event-stream", True, id="events"),
        pytest.param(b"200 OK", b"application/json", False, id="one answer"),
        pytest.param(b"200 OK", None, False, id="no type"),
        pytest.param(b"429 No", b"text/event-stream", False, id="refusal"),
    ],
)
async def test_what_kind_of_answer_comes(status, kind, events):
    """Events are told from one answer by the status and the type."""
    headers = b"Content-Type: %b\r\n" % kind if kind else b""

    async with raw_server(body(b"{}", status, headers)) as (url, _), api(url) as transport:
        async with transport.open("POST", "/x", [b"{}"], bounds=Bounds()) as stream:
            pass

    assert stream.is_event_stream is events


async def test_tells_when_the_request_leaves():
    """Who has to know is told once, before anything is answered."""
    told = []

    async with raw_server(OK) as (url, received), api(url) as transport:
        await transport.send(
            "POST",
            "/x",
            [b"x" * 200_000, b"y"],
            bounds=Bounds(),
            on_sent=lambda: told.append(len(received)),
        )

    assert told == [0]


async def test_tells_nothing_of_what_never_leaves(nobody):
    """Without a connection nothing was sent, and nobody is told that it was."""
    told = []

    async with api(f"http://127.0.0.1:{nobody}") as transport:
        with pytest.raises(APIConnectionError):
            await transport.send(
                "POST", "/x", [b"{}"], bounds=Bounds(), on_sent=lambda: told.append(1)
            )

    assert told == []


async def test_a_closed_connection_takes_nothing():
    """A body that meets a connection known to be closed has not left."""
    told = []
    protocol = mock.Mock(transport=None)
    body = RequestBody([b"{}"], lambda: told.append(1))

    with pytest.raises(aiohttp.ClientConnectionResetError):
        await body.write(StreamWriter(protocol, asyncio.get_running_loop()))

    assert not body.sent
    assert not body.whole
    assert told == []


async def test_a_closing_connection_takes_nothing():
    """A connection that is about to close is as good as closed."""
    transport = mock.Mock()
    transport.is_closing.return_value = True
    body = RequestBody([b"{}"], print)

    with pytest.raises(aiohttp.ClientConnectionResetError):
        await body.write(StreamWriter(mock.Mock(transport=transport), asyncio.get_running_loop()))

    assert not body.sent


async def test_in_case_of_doubt_it_has_left():
    """Of a writer that is not aiohttp's own, such as a mock's, nothing is known."""
    writer = mock.AsyncMock()
    body = RequestBody([b"{}"], print)

    await body.write(writer)

    assert body.sent
    assert body.whole
    writer.write.assert_awaited_once_with(b"{}")


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("answer", "padding", "phase"),
    [
        pytest.param(b"", 1 << 24, "sending the request", id="sending"),
        pytest.param(b"", 2, "waiting for the answer", id="waiting"),
        pytest.param(OK[:-1], 2, "reading the answer", id="reading"),
    ],
)
async def test_says_what_it_was_at(answer, padding, phase):
    """A message tells how far the exchange had come."""
    async with raw_server(answer, hold=True) as (url, _), api(url) as transport:
        with pytest.raises(OutcomeUnknownError, match=f"total=0.1 s passed while {phase}"):
            await transport.send("POST", "/x", [b" " * padding], bounds=Bounds(total=0.1))


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("elapsed", "cut", "hinted"),
    [
        pytest.param(60.2, aiohttp.ServerDisconnectedError(), True, id="cut"),
        pytest.param(60.2, TimeoutError(), False, id="our own limit"),
        pytest.param(30.0, aiohttp.ServerDisconnectedError(), False, id="cut at another time"),
    ],
)
async def test_a_gateway_is_suspected_by_the_clock(elapsed, cut, hinted):
    """A connection that ends after a round number of seconds was cut by a gateway."""
    body = RequestBody([b"{}"], print)
    await body.write(mock.AsyncMock())
    exchange = _Exchange(body, Bounds(total=60), Deadline(60))
    exchange._start -= elapsed

    async def step():
        raise cut

    with pytest.raises(OutcomeUnknownError, match=f"after {elapsed} s") as excinfo:
        await exchange.guard(step())

    assert ("gateway's limit" in str(excinfo.value)) is hinted
    assert excinfo.value.elapsed == pytest.approx(elapsed)


@pytest.mark.parametrize(
    ("trouble", "retryable"),
    [
        pytest.param(aiohttp.ServerDisconnectedError(), True, id="disconnected"),
        pytest.param(aiohttp.ClientPayloadError(), True, id="cut body"),
        pytest.param(TimeoutError(), True, id="time-out"),
        pytest.param(ConnectionResetError(), True, id="reset"),
        pytest.param(aiohttp.InvalidURL("https://h"), False, id="setting"),
        pytest.param(
            aiohttp.ClientConnectorCertificateError(mock.Mock(host="h", port=1), ssl.SSLError()),
            False,
            id="certificate",
        ),
    ],
)
async def test_trouble_with_what_is_free(trouble, retryable):
    """What has no body is never in doubt; trying again helps where trouble may pass."""
    exchange = _Exchange(None, Bounds(), Deadline(math.inf))

    async def step():
        raise trouble

    with pytest.raises(APIConnectionError) as excinfo:
        await exchange.guard(step())

    assert excinfo.value.retryable is retryable
    assert not excinfo.value.possibly_billed


SECRET = "https://u:sk-secret@h/k?sig=secret"
PLACE = mock.Mock(host="h", port=443)


@pytest.mark.parametrize(
    ("trouble", "text"),
    [
        pytest.param(
            aiohttp.ConnectionTimeoutError(SECRET),
            "no connection within connect=15 s",
            id="connect",
        ),
        pytest.param(
            aiohttp.SocketTimeoutError(SECRET), "silence for read=2.5 s while waiting", id="read"
        ),
        pytest.param(TimeoutError(SECRET), "total=600 s passed while waiting", id="total"),
        pytest.param(
            aiohttp.ClientConnectorCertificateError(PLACE, ssl.CertificateError(SECRET)),
            "the certificate of h is not valid",
            id="certificate",
        ),
        pytest.param(
            aiohttp.ClientConnectorDNSError(PLACE, OSError(SECRET)),
            "the host name h does not resolve",
            id="no such host",
        ),
        pytest.param(
            aiohttp.ClientConnectorError(PLACE, OSError(errno.ECONNREFUSED, SECRET)),
            "cannot connect to h:443 (Connection refused)",
            id="refused",
        ),
        pytest.param(
            aiohttp.ClientConnectorError(PLACE, OSError(SECRET)),
            "cannot connect to h:443 (OSError)",
            id="no number",
        ),
        pytest.param(
            aiohttp.ServerDisconnectedError(SECRET),
            "the connection was closed early",
            id="disconnected",
        ),
        pytest.param(
            aiohttp.ClientPayloadError(SECRET), "the connection was closed early", id="cut body"
        ),
        pytest.param(
            ConnectionResetError(errno.ECONNRESET, SECRET), "(Connection reset by peer)", id="reset"
        ),
        pytest.param(
            ConnectionResetError(SECRET),
            "the connection failed (ConnectionResetError)",
            id="reset without number",
        ),
        pytest.param(EOFError(SECRET), "the exchange failed (EOFError)", id="end"),
        pytest.param(aiohttp.InvalidURL(SECRET), "the exchange failed (InvalidURL)", id="setting"),
    ],
)
def test_troubles_in_words(trouble, text):
    """What went wrong is told without the texts of aiohttp, which quote headers and links."""
    told = describe(trouble, Bounds(total=600, connect=15, read=2.5), "waiting")

    assert text in told
    assert "secret" not in told


def test_limits_that_are_none_are_none():
    """Where there is no limit, aiohttp gets none; what is spent is taken off the total."""
    unlimited, limited = client_timeout(Bounds()), client_timeout(Bounds(total=9, read=2).after(5))

    assert (unlimited.total, unlimited.connect, unlimited.sock_read) == (None, None, None)
    assert (limited.total, limited.connect, limited.sock_read) == (4, None, 2)


def test_a_body_is_not_shown():
    """What aiohttp would print of a body is refused."""
    with pytest.raises(TypeError):
        RequestBody([b"prompt"], print).decode()


async def test_a_body_is_not_written_where_the_far_side_has_spoken():
    """What was said before the request left is no answer to it: nothing is sent after it."""
    loop = asyncio.get_running_loop()
    protocol = ResponseHandler(loop)
    protocol.force_close()
    body = RequestBody((b"{}",), lambda: None)

    with pytest.raises(aiohttp.ClientConnectionError, match="spoke unasked"):
        await body.write(StreamWriter(protocol, loop))

    assert not body.sent


@pytest.mark.parametrize(
    ("before", "news", "sent"),
    [
        pytest.param(1, b"", False, id="it has ended"),
        pytest.param(1, b"HTTP/1.1 408", False, id="it has spoken"),
        pytest.param(1, None, True, id="it is silent"),
        pytest.param(0, b"ticket", True, id="new"),
    ],
)
async def test_what_the_loop_has_not_seen_yet(before, news, sent):
    """
    A connection that was used before is looked at once more: the loop may have been busy since it
    was chosen, and a request that meets its end would be in doubt.
    """
    near, far = socket.socketpair()
    transport = mock.Mock(**{"get_extra_info.return_value": near, "is_closing.return_value": False})
    protocol = ResponseHandler(asyncio.get_running_loop())
    protocol.connection_made(transport)
    bodies = [RequestBody((b"{}",), lambda: None) for _ in range(before + 1)]

    with near, far:
        for body in bodies[:-1]:
            await body.write(StreamWriter(protocol, asyncio.get_running_loop()))
        if news is not None:
            far.sendall(news)
            far.shutdown(socket.SHUT_WR)
        told = contextlib.nullcontext()
        if not sent:
            told = pytest.raises(aiohttp.ClientConnectionError, match="spoke unasked")
        with told:
            await bodies[-1].write(StreamWriter(protocol, asyncio.get_running_loop()))

    assert bodies[-1].sent == sent


async def test_a_connection_without_a_socket_is_used():
    """What cannot be looked at is trusted."""
    transport = mock.Mock(**{"get_extra_info.return_value": None, "is_closing.return_value": False})
    protocol = ResponseHandler(asyncio.get_running_loop())
    protocol.connection_made(transport)
    bodies = [RequestBody((b"{}",), lambda: None) for _ in range(2)]

    for body in bodies:
        await body.write(StreamWriter(protocol, asyncio.get_running_loop()))

    assert [body.sent for body in bodies] == [True, True]


async def test_images_that_came_before_a_cut_are_told_of():
    """A stream that breaks tells how many images it has brought, and suggests no stream."""
    exchange = _Exchange(RequestBody((b"{}",), lambda: None), Bounds(), Deadline(math.inf))
    exchange.body.sent = True
    exchange.arrived = 2

    error = exchange._error(ConnectionResetError(104, "reset"))

    assert "Before that, 2 images had arrived: they are billed" in str(error)
