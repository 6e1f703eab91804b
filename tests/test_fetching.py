"""The bytes of a link, resumed where a connection broke, against a scripted store."""

import asyncio
import contextlib
import socket
import sys
from types import SimpleNamespace

import pytest

from seedream_async import (
    AsyncSeedream,
    DownloadError,
    Image,
    IncompleteDownloadError,
    LinkDeniedError,
    RetryPolicy,
    _crc64,
    _links,
    _settings,
    _sockets,
)
from seedream_async.emulator._pictures import render

from .raw_server import raw_server

JPEG = render(64, 64, "jpeg", b"a test")
HALF = len(JPEG) // 2
LONG = JPEG[:2] + (b"\xff\xfe\xff\xff" + bytes(0xFFFD)) * 2 + JPEG[2:]


def head(status, length, *headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def whole(*headers, tag='"a"'):
    return head("200 OK", len(JPEG), f"ETag: {tag}", *headers) + JPEG


def broken(*headers, tag='"a"'):
    """The first half of the image."""
    return whole(*headers, tag=tag)[: HALF - len(JPEG)]


def rest(start=HALF, total=len(JPEG), tag='"a"', more=b""):
    headers = f"Content-Range: bytes {start}-{len(JPEG) - 1}/{total}", f"ETag: {tag}"
    body = JPEG[start:] + more
    return head("206 Partial Content", len(body), *headers) + body


class Store:
    """Gives the *answers* in turn, one for each connection, and keeps what it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def _serve(self, reader, writer):
        self.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(self.answers.pop(0))

    async def __aenter__(self):
        self._server = raw_server(self._serve)
        self.url = f"http://127.0.0.1:{await self._server.__aenter__()}/k"
        return self

    async def __aexit__(self, *_):
        await self._server.__aexit__(None, None, None)

    @property
    def ranges(self):
        lines = [line for text in self.asked for line in text.splitlines()]
        return [line for line in lines if line.startswith(("Range", "If-Match"))]


async def download(store, folder, query="", attempts=4, image=None, **options):
    policy = RetryPolicy(attempts=attempts, wait_initial=0)
    async with AsyncSeedream(api_key="k", retry=policy, **options) as client:
        return await client.download(image or store.url + query, folder / "cat.jpeg")


async def test_goes_on_where_it_broke_off(tmp_path):
    """The rest is asked for by its range, of the same object, and the file is whole."""
    async with Store(broken(), rest()) as store:
        saved = await download(store, tmp_path)

    assert saved.path.read_bytes() == JPEG
    assert store.ranges == [f"Range: bytes={HALF}-", 'If-Match: "a"']


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(head("412 Precondition Failed", 0), id="changed"),
        pytest.param(head("416 Range Not Satisfiable", 0), id="shorter now"),
        pytest.param(rest(start=HALF - 1), id="another range"),
        pytest.param(rest(total=len(JPEG) + 1), id="another length"),
        pytest.param(rest(tag='"b"'), id="of another object"),
        pytest.param(rest(more=b"more"), id="more than the rest"),
        pytest.param(head("206 Partial Content", 1) + b"x", id="no range told"),
    ],
)
async def test_begins_anew_when_the_rest_is_not_to_be_had(tmp_path, answer):
    """An object that changed is fetched from its start."""
    async with Store(broken(), answer, whole(tag='"b"')) as store:
        saved = await download(store, tmp_path)

    assert saved.path.read_bytes() == JPEG
    assert len(store.asked) == 3
    assert "Range" not in store.asked[2]


async def test_an_ignored_range_begins_anew(tmp_path):
    """A store that sends everything is taken at its word."""
    async with Store(broken(), whole()) as store:
        saved = await download(store, tmp_path)

    assert saved.path.read_bytes() == JPEG


async def test_a_busy_store_is_asked_for_the_rest_again(tmp_path):
    """Trouble on the way to the rest loses nothing of what is there."""
    async with Store(broken(), head("503 Busy", 0), rest()) as store:
        saved = await download(store, tmp_path)

    assert saved.path.read_bytes() == JPEG
    assert len(store.ranges) == 4


@pytest.mark.parametrize(
    ("answer", "query"),
    [
        pytest.param(broken(tag=""), "", id="no tag"),
        pytest.param(broken(tag='W/"a"'), "", id="weak tag"),
        pytest.param(broken(), "?x-tos-process=image%2Fwatermark", id="made on the way out"),
    ],
)
async def test_what_cannot_be_told_apart_is_fetched_whole(tmp_path, answer, query):
    """Without a tag of these very bytes, nothing is put together."""
    async with Store(answer, whole()) as store:
        saved = await download(store, tmp_path, query)

    assert saved.path.read_bytes() == JPEG
    assert store.ranges == []


async def test_gives_up_and_names_both_sizes(tmp_path):
    """What stays incomplete says how much is there, and leaves nothing on the disk."""
    async with Store(broken(), head("503 Busy", 0), broken()[:-1]) as store:
        with pytest.raises(IncompleteDownloadError, match=rf"{HALF - 1} of {len(JPEG)} bytes"):
            await download(store, tmp_path, attempts=3)

    assert list(tmp_path.iterdir()) == []


async def test_more_bytes_than_announced(tmp_path):
    """The error names both sizes."""
    async with Store(broken(), rest(more=b"more")) as store:
        with pytest.raises(IncompleteDownloadError) as caught:
            await download(store, tmp_path, attempts=2)

    told = f"{len(JPEG) + 4} bytes came from 127.0.0.1 for an image of {len(JPEG)}"
    assert str(caught.value) == told


async def test_an_image_without_an_end_is_fetched_again(tmp_path):
    """A transfer of unknown length that was cut is found out by the image itself."""
    cut = b"HTTP/1.1 200 OK\r\n\r\n" + JPEG[:HALF]
    async with Store(cut, whole()) as store:
        saved = await download(store, tmp_path)

    assert saved.path.read_bytes() == JPEG


async def test_other_bytes_than_the_store_sent_are_fetched_again(tmp_path):
    """The checksum of TOS is compared, and a difference is trouble that may pass."""
    checksum = _crc64.make_crc64()
    checksum.update(JPEG)
    wrong = whole("x-tos-hash-crc64ecma: 1")
    async with Store(wrong, whole(f"x-tos-hash-crc64ecma: {checksum.value}")) as store:
        saved = await download(store, tmp_path)

    assert saved.path.read_bytes() == JPEG
    assert len(store.asked) == 2


@contextlib.asynccontextmanager
async def dripping(each, burst=0):
    """A store that sends a long image: a *burst* of bytes at once, then *each* second so many."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head("200 OK", len(LONG)) + LONG[:burst])
        for at in range(burst, len(LONG), each):
            writer.write(LONG[at : at + each])
            await writer.drain()
            await asyncio.sleep(1)

    async with raw_server(serve) as port:
        yield SimpleNamespace(url=f"http://127.0.0.1:{port}/k")


@pytest.mark.virtual_time
@pytest.mark.parametrize("burst", [0, 65_000], ids=["from the start", "after a burst"])
async def test_a_drip_ends(tmp_path, burst):
    """A store that sends too little for too long is left: each stretch of time counts by itself."""
    async with dripping(900, burst) as store:
        with pytest.raises(IncompleteDownloadError, match=r"only \d+ bytes came in 30 s"):
            await download(store, tmp_path, attempts=1)


@pytest.mark.virtual_time
async def test_a_steady_stream_goes_on(tmp_path):
    """However long it takes, a store that sends enough is listened to."""
    async with dripping(1100) as store:
        saved = await download(store, tmp_path, attempts=1)

    assert saved.bytes == len(LONG)


async def test_every_request_counts(tmp_path):
    """An attempt is one request: aiohttp repeats none behind our back."""
    async with Store(b"", b"", b"", b"") as store:
        with pytest.raises(DownloadError):
            await download(store, tmp_path, attempts=2)

    assert len(store.asked) == 2


async def test_the_request_id_may_be_in_a_header(tmp_path):
    """What support asks for is found where the store puts it."""
    async with Store(head("403 Forbidden", 0, "x-tos-request-id: r-1")) as store:
        with pytest.raises(LinkDeniedError) as excinfo:
            await download(store, tmp_path)

    assert excinfo.value.request_id == "r-1"


async def test_a_long_refusal_is_read_in_part(tmp_path):
    """A store that refuses at length is not listened to for long."""
    page = b"<Code>AccessDenied</Code>" + bytes(100_000)
    async with Store(head("403 Forbidden", len(page)) + page) as store:
        with pytest.raises(LinkDeniedError) as excinfo:
            await download(store, tmp_path)

    assert excinfo.value.code == "AccessDenied"


async def test_links_of_a_public_api_lead_outward_only(tmp_path):
    """A response cannot point into the network that the program runs in."""
    async with Store(whole()) as store:
        with pytest.raises(DownloadError, match="not public") as excinfo:
            await download(store, tmp_path, image=Image(url=store.url))

    assert store.asked == []
    assert not excinfo.value.retryable


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"private_links": True}, id="allowed"),
        pytest.param({"base_url": "http://127.0.0.1:1/v1"}, id="private API"),
    ],
)
async def test_private_links_can_be_meant(tmp_path, options):
    """Who runs the store at home says so, or runs the API there as well."""
    async with Store(whole()) as store:
        saved = await download(store, tmp_path, image=Image(url=store.url), **options)

    assert saved.bytes == len(JPEG)


@pytest.mark.parametrize(
    ("url", "public"),
    [
        ("https://api.cometapi.com/v1", True),
        ("https://8.8.8.8/v1", True),
        ("https://[2606:4700::1]/v1", True),
        ("http://127.0.0.1:8080/v1", False),
        ("http://[::1]/v1", False),
        ("http://localhost:8080/v1", False),
        ("http://gateway/v1", False),
        ("http://images.internal/v1", False),
    ],
)
def test_public_hosts(url, public):
    """A host is public unless its name or address says otherwise."""
    assert _settings.is_public_host(url) is public


async def test_instrumentation_does_not_see_links(tmp_path, monkeypatch):
    """OpenTelemetry, if it is there, is told to look away: it would export the signature."""
    hidden = []

    @contextlib.contextmanager
    def suppress():
        hidden.append(True)
        yield

    utils = SimpleNamespace(suppress_instrumentation=suppress)
    monkeypatch.setitem(sys.modules, "opentelemetry.instrumentation.utils", utils)

    async with Store(whole()) as store:
        await download(store, tmp_path)

    assert hidden == [True]


async def test_a_redirect_to_less_safety_is_not_followed(tmp_path, monkeypatch):
    """A link that began protected does not go on unprotected."""
    monkeypatch.setattr(_links, "_is_https", lambda link: link.endswith("/k"))
    moved = head("302 Found", 0, "Location: /elsewhere")

    async with Store(moved) as store:
        with pytest.raises(DownloadError, match="unprotected") as excinfo:
            await download(store, tmp_path)

    assert excinfo.value.host == "127.0.0.1"
    assert len(store.asked) == 1


def test_a_public_address_gets_a_socket():
    """What is public may be connected to."""
    address = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 443))

    with _sockets.outward_socket(address) as made:
        assert made.family == socket.AF_INET
