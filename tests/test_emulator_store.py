"""
The emulator's object store over real sockets.

Requests are written by hand, so that nothing on the way re-encodes a target.
"""

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from attrs import frozen

from seedream_async.emulator import Emulator, _store

PATH = "/doubao-seedream-5-0/021_0.png"
PICTURE = _store.Picture(width=40, height=30, output_format="png", seed=b"a cat")


@frozen
class Answer:
    status: int
    headers: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = datetime(2026, 7, 9, 13, 28, 17, tzinfo=UTC)

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def emulator(clock):
    async with Emulator(clock=clock, link_lifetime=3600) as emulator:
        yield emulator


@pytest.fixture
def store(emulator):
    return emulator._store


@pytest.fixture
def target(store):
    """The target of the link to a picture."""
    return store.issue(PATH, PICTURE, watermark=True).removeprefix(f"http://{store.signer.host}")


@pytest.fixture
def fetch(store):
    """Send one request for exactly this target, and read to the end."""

    async def fetch(target, *headers, method="GET"):
        host, port = store.signer.host.split(":")
        reader, writer = await asyncio.open_connection(host, port)
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}:{port}", "Connection: close"]
        writer.write("\r\n".join([*lines, *headers, "", ""]).encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return Answer(int(status.split()[1]), headers, body)

    return fetch


async def test_serves_the_link_as_issued(fetch, target):
    """The target as issued, byte for byte, leads to the image."""
    answer = await fetch(target)

    assert answer.status == 200
    assert answer.body == PICTURE.content()
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Content-Length"] == str(len(answer.body))
    assert answer.headers["ETag"] == f'"{hashlib.md5(answer.body).hexdigest()}"'  # noqa: S324
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Server"] == "TosServer"
    assert len(answer.headers["x-tos-request-id"]) == 32
    assert answer.headers["x-tos-id-2"]


async def test_marks_links_of_marked_images(store):
    """The watermark is a signed parameter of the link; without it there is none."""
    links = [
        store.issue("/a.jpeg", PICTURE, watermark=True),
        store.issue("/b.jpeg", PICTURE, watermark=False),
    ]

    marked = ["&x-tos-process=image%2Fwatermark%2C" in link for link in links]

    assert marked == [True, False]


def _reordered(target):
    path, _, query = target.partition("?")
    return f"{path}?{'&'.join(reversed(query.split('&')))}"


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(_reordered, id="reordered"),
        pytest.param(lambda target: target.replace("%2F", "/"), id="slashes-unescaped"),
        pytest.param(lambda target: target.replace("%2F", "%2f"), id="lower-case-hex"),
        pytest.param(lambda target: target + "&utm_source=mail", id="extra-parameter"),
        pytest.param(lambda target: target + "&", id="extra-ampersand"),
        pytest.param(lambda target: target.partition("&x-tos-")[0], id="no-watermark"),
        pytest.param(lambda target: target.replace("%", "%25"), id="escaped-twice"),
        pytest.param(lambda target: target.replace("_0.", "%5F0."), id="path-escaped"),
        pytest.param(lambda target: f"/{target}", id="two-slashes"),
        pytest.param(lambda target: target.replace("?", "%0A?"), id="line-end-in-path"),
        pytest.param(lambda target: target.replace("/doubao", "//[doubao"), id="no-address"),
    ],
)
async def test_refuses_an_altered_link(fetch, target, alter):
    """Even what the real store would let pass is refused as a wrong signature."""
    altered = alter(target)

    answer = await fetch(altered)

    assert answer.status == 403
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "Code": "SignatureDoesNotMatch",
        "RequestId": answer.headers["x-tos-request-id"],
        "HostId": answer.headers["x-tos-id-2"],
        "Message": "The request signature we calculated does not match the signature you "
        "provided. Check your key and signing method.",
        "EC": "0002-00000024",
    }


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(lambda target: target.partition("&")[0], id="cut-at-first-ampersand"),
        pytest.param(lambda target: target.partition("?")[0], id="no-query"),
        pytest.param(lambda target: target.replace("&", "&amp;"), id="html-escaped"),
        pytest.param(lambda target: target.replace("&", "\\u0026"), id="json-escaped"),
        pytest.param(lambda _: "/", id="root"),
    ],
)
async def test_refuses_a_link_without_a_signature(fetch, target, alter):
    """Whoever shows no signature is refused as a stranger."""
    altered = alter(target)

    answer = await fetch(altered)

    assert answer.status == 403
    assert answer.json == {
        "Code": "AccessDenied",
        "RequestId": answer.headers["x-tos-request-id"],
        "HostId": answer.headers["x-tos-id-2"],
        "Message": "Access Denied",
        "EC": "0003-00000015",
    }


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE"])
async def test_serves_get_only(fetch, target, method):
    """The link is signed for GET."""
    answer = await fetch(target, "Content-Length: 0", method=method)

    assert answer.status == 403
    assert answer.headers["Content-Type"] == "application/json"


async def test_knows_no_other_key(fetch, store, clock):
    """A link that is rightly signed for nothing says so."""
    target = store.signer.link("/gone.jpeg", now=clock(), expires=60)

    answer = await fetch(target)

    assert answer.status == 404
    assert answer.json["Code"] == "NoSuchKey"
    assert answer.json["Message"] == "The specified key does not exist."
    assert "EC" not in answer.json


async def test_refuses_a_wrong_signature_for_an_unknown_key(fetch, store, clock):
    """Without the right signature, nobody learns what exists."""
    target = store.signer.link("/gone.jpeg", now=clock(), expires=60)

    answer = await fetch(target + "&a=b")

    assert answer.status == 403
    assert answer.json["Code"] == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("age", "status"),
    [
        pytest.param(0, 200, id="fresh"),
        pytest.param(3599, 200, id="last-second"),
        pytest.param(3600, 403, id="expired"),
    ],
)
async def test_links_expire(fetch, target, clock, age, status):
    """A link lives for its lifetime by the given clock, and not a second longer."""
    clock.now += timedelta(seconds=age)

    answer = await fetch(target)

    assert answer.status == status


async def test_tells_what_expired(fetch, target, clock):
    """An expired link is refused as such."""
    clock.now += timedelta(days=1)

    answer = await fetch(target)

    assert answer.json["Code"] == "AccessDenied"
    assert answer.json["Message"] == "Request has expired"
    assert "EC" not in answer.json


async def test_refuses_an_api_key(fetch, target):
    """A key has no business at the store."""
    answer = await fetch(target, "Authorization: Bearer sk-emulator")

    assert answer.status == 400
    assert answer.json["Code"] == "InvalidArgument"
    assert answer.json["Message"] == "Only one auth mechanism allowed"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param("bytes=0-0", slice(0, 1), id="first"),
        pytest.param("bytes=5-9", slice(5, 10), id="middle"),
        pytest.param("bytes=100-", slice(100, None), id="rest"),
        pytest.param("bytes=-7", slice(-7, None), id="last"),
        pytest.param("bytes=0-999999", slice(0, None), id="past-the-end"),
    ],
)
async def test_serves_a_range(fetch, target, wanted, expected):
    """A range is answered with 206, those bytes, and their place; the ETag stays the whole's."""
    whole = PICTURE.content()

    answer = await fetch(target, f"Range: {wanted}")

    start, stop, _ = expected.indices(len(whole))
    assert answer.status == 206
    assert answer.body == whole[expected]
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(whole)}"
    assert answer.headers["ETag"] == f'"{hashlib.md5(whole).hexdigest()}"'  # noqa: S324


async def test_refuses_a_range_past_the_end(fetch, target):
    """A range that starts after the last byte cannot be served."""
    start = len(PICTURE.content())

    answer = await fetch(target, f"Range: bytes={start}-")

    assert answer.status == 416
    assert answer.json["Code"] == "InvalidRange"


@pytest.mark.parametrize("wanted", ["bytes=9-5", "bytes=-", "pages=1-2", "nonsense"])
async def test_ignores_what_is_no_range(fetch, target, wanted):
    """A range that says nothing is as good as none."""
    answer = await fetch(target, f"Range: {wanted}")

    assert answer.status == 200
    assert "Content-Range" not in answer.headers
    assert answer.body == PICTURE.content()


async def test_serves_what_matches(fetch, target):
    """`If-Match` with the image's own ETag changes nothing."""
    etag = (await fetch(target)).headers["ETag"]

    answer = await fetch(target, f"If-Match: {etag}")

    assert answer.status == 200


async def test_refuses_what_does_not_match(fetch, target):
    """`If-Match` with another ETag fails."""
    answer = await fetch(target, 'If-Match: "0"', "Range: bytes=5-")

    assert answer.status == 412
    assert answer.json["Code"] == "PreconditionFailed"


async def test_forgets_the_oldest(fetch, store, target, monkeypatch):
    """When the store is full, the oldest image makes room: its link leads nowhere."""
    monkeypatch.setattr(_store, "_KEPT", 1)
    second = store.issue("/second.png", PICTURE, watermark=False)

    answers = [await fetch(target), await fetch(second.removeprefix("http://" + store.signer.host))]

    assert [answer.status for answer in answers] == [404, 200]


async def test_remembers_who_asked(emulator, fetch, target):
    """Every request can be inspected: its target as received, its headers, its outcome."""
    await fetch(target, "X-Colour: red")
    await fetch("/a%2fb?c=%2F", method="HEAD")

    first, second = emulator.fetched
    assert (first.method, first.target, first.status) == ("GET", target, 200)
    assert first.headers["X-Colour"] == "red"
    assert (second.method, second.target, second.status) == ("HEAD", "/a%2fb?c=%2F", 403)
