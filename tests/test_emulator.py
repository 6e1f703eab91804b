"""The emulator, driven over real sockets: what it counts, keeps, and breaks on order."""

import asyncio
import json
import socket
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
import yarl

import seedream_async
from seedream_async import RetryPolicy, _links
from seedream_async.emulator import Emulator

NOW = datetime(2026, 7, 9, 13, 28, 17, tzinfo=UTC)
BODY = {"model": "doubao-seedream-5-0-260128", "prompt": "a cat", "response_format": "b64_json"}
SIDES = ["api", "store"]
ONCE = RetryPolicy(attempts=1)


@pytest.fixture
async def emulator():
    async with Emulator(clock=lambda: NOW) as emulator:
        yield emulator


@pytest.fixture
async def client(emulator):
    """A client that tries once."""
    async with emulator.client(retry=ONCE) as client:
        yield client


@pytest.fixture
async def link(client):
    """A link to an image; one request is counted and one image billed."""
    return (await client.generate("a cat")).data[0].url


@pytest.fixture
def ask(emulator, session, link):
    """Send one good request to a side of the emulator."""

    def ask(side):
        if side == "store":
            return session.get(yarl.URL(link, encoded=True))
        return session.post(
            f"{emulator.base_url}/images/generations",
            json=BODY,
            headers={"Authorization": f"Bearer {emulator.api_key}"},
        )

    return ask


async def connect(emulator, body=BODY):
    """Send one good request by hand, and leave the answer unread."""
    address = emulator.base_url.split("/")[2]
    content = json.dumps(body)
    reader, writer = await asyncio.open_connection(*address.split(":"))
    writer.write(
        "\r\n".join(
            (
                "POST /v1/images/generations HTTP/1.1",
                f"Host: {address}",
                f"Authorization: Bearer {emulator.api_key}",
                f"Content-Length: {len(content)}",
                "",
                content,
            )
        ).encode()
    )
    return reader, writer


async def read_until_cut(response):
    received = bytearray()
    try:
        async for chunk in response.content.iter_any():
            received += chunk
    except aiohttp.ClientPayloadError:
        return received
    return pytest.fail("the answer is whole")


async def hang_up(writer):
    writer.close()
    await writer.wait_closed()


async def test_counts_what_it_bills(emulator, client):
    """A group is billed per image."""
    await client.generate("a cat", sequential_image_generation="auto", max_images=3)

    assert emulator.images_billed == 3
    assert emulator.request_count == 1


async def test_bills_no_refusal(emulator, client):
    """A request that is refused is counted, and costs nothing."""
    with pytest.raises(seedream_async.APIStatusError):
        await client.generate("a cat", model="dall-e-3")

    assert emulator.images_billed == 0
    assert emulator.request_count == 1


async def test_refuses_other_keys(emulator):
    """A client with another key is turned away."""
    async with seedream_async.AsyncSeedream(
        api_key="sk-other", base_url=emulator.base_url
    ) as client:
        with pytest.raises(seedream_async.AuthenticationError):
            await client.generate("a cat")

    assert emulator.images_billed == 0


async def test_key_can_be_chosen():
    """The key is the one that the emulator was made with."""
    async with Emulator(api_key="sk-mine") as emulator, emulator.client() as client:
        await client.generate("a cat")

    assert emulator.api_key == "sk-mine"
    assert emulator.requests[0].headers["Authorization"] == "Bearer sk-mine"


async def test_serves_what_it_links(emulator, client, tmp_path):
    """What a link leads to can be saved, and the store sees no key."""
    response = await client.generate("a cat", size="2561x1441", save_to=tmp_path)

    (file,) = response.files
    assert (file.width, file.height) == (2561, 1441)
    assert [fetched.status for fetched in emulator.fetched] == [200]
    assert "Authorization" not in emulator.fetched[0].headers


async def test_port_can_be_chosen(unused_port):
    """The API listens where it is told to."""
    async with Emulator(port=unused_port) as emulator, emulator.client() as client:
        await client.generate("a cat")

    assert emulator.base_url == f"http://127.0.0.1:{unused_port}/v1"


@pytest.fixture
def unused_port():
    """A port that nobody else is given meanwhile."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def test_does_not_share_a_port(emulator):
    """If the port is taken, nothing is left running."""
    second = Emulator(port=int(emulator.base_url.split(":")[2].removesuffix("/v1")))

    with pytest.raises(OSError, match="address already in use"):
        await second.__aenter__()

    assert [server.addresses for server in second._servers] == [[], []]


async def test_stops(unused_port):
    """After it is closed, once or twice, nothing answers."""
    async with Emulator(port=unused_port) as emulator, emulator.client(retry=ONCE) as client:
        await emulator.aclose()
        await emulator.aclose()

        with pytest.raises(seedream_async.APIConnectionError):
            await client.generate("a cat")


@pytest.mark.virtual_time
async def test_takes_its_time():
    """A generation takes as long as *latency* says."""
    async with Emulator(latency=0.05) as emulator, emulator.client() as client:
        now = asyncio.get_running_loop().time
        start = now()

        await client.generate("a cat")

        assert now() - start == pytest.approx(0.05)


async def test_links_live_as_long_as_told():
    """A link expires by the given clock, after the given lifetime."""
    async with (
        Emulator(clock=lambda: NOW, link_lifetime=60) as emulator,
        emulator.client() as client,
    ):
        response = await client.generate("a cat")

    assert _links.expires_at(response.data[0].url) == NOW + timedelta(seconds=60)


async def test_expires_links(tmp_path):
    """A link that is used too late is refused."""
    now = datetime.now(UTC) - timedelta(days=2)
    async with Emulator(clock=lambda: now) as emulator, emulator.client() as client:
        response = await client.generate("a cat")
        now += timedelta(days=1)

        with pytest.raises(seedream_async.LinkExpiredError):
            await client.download(response.data[0], tmp_path / "cat.jpeg")


async def test_lives_in_the_present_by_default():
    """Without a clock, links are signed now, for a day."""
    async with Emulator() as emulator, emulator.client() as client:
        response = await client.generate("a cat")

    left = _links.expires_at(response.data[0].url) - datetime.now(UTC)
    assert timedelta(hours=23) < left <= timedelta(hours=24)


async def test_keeps_the_last_requests(session):
    """Of many requests the last ones can be inspected, and all are counted."""
    async with Emulator(kept=2) as emulator, emulator.client() as client:
        links = [(await client.generate(prompt)).data[0].url for prompt in ("a", "b", "c")]
        for link in links:
            async with session.get(link.partition("?")[0]):
                pass

    assert [request.json["prompt"] for request in emulator.requests] == ["b", "c"]
    assert [fetched.target in links[0] for fetched in emulator.fetched] == [False, False]
    assert len(emulator.fetched) == 2
    assert emulator.request_count == 3


async def test_refuses_on_order(emulator, ask):
    """The API refuses in its own envelope; nothing is made or billed."""
    emulator.fail_next(status=429, code="RequestBurstTooFast", message="slow down", retry_after=3)

    async with ask("api") as response:
        answer = await response.json()

    assert response.status == 429
    assert response.headers["Retry-After"] == "3"
    assert answer["error"]["code"] == "RequestBurstTooFast"
    assert answer["error"]["type"] == "comet_api_error"
    assert answer["error"]["message"].startswith("slow down (request id: 20260709132817")
    assert emulator.images_billed == 1  # that of the link
    assert emulator.request_count == 2


async def test_store_refuses_on_order(emulator, ask):
    """The store refuses in its own envelope too, which is another."""
    emulator.fail_next(
        status=503, code="ServiceUnavailable", message="later", retry_after="1", on="store"
    )

    async with ask("store") as response:
        answer = await response.json()

    assert response.status == 503
    assert response.headers["Retry-After"] == "1"
    assert answer == {
        "Code": "ServiceUnavailable",
        "RequestId": response.headers["x-tos-request-id"],
        "HostId": response.headers["x-tos-id-2"],
        "Message": "later",
    }
    assert [fetched.status for fetched in emulator.fetched] == [503]


@pytest.mark.parametrize("side", SIDES)
async def test_answers_anything_on_order(emulator, ask, side):
    """A body on order is sent as it is, with the status and the type on order."""
    emulator.fail_next(
        status=524,
        body=b"<h1>A timeout occurred</h1>",
        content_type="text/html",
        retry_after="Wed, 21 Oct 2026 07:28:00 GMT",
        on=side,
    )

    async with ask(side) as response:
        page = await response.read()

    assert response.status == 524
    assert response.headers["Content-Type"] == "text/html"
    assert response.headers["Retry-After"] == "Wed, 21 Oct 2026 07:28:00 GMT"
    assert page == b"<h1>A timeout occurred</h1>"


@pytest.mark.parametrize("side", SIDES)
async def test_answers_an_empty_body_on_order(emulator, ask, side):
    """No body at all is a body too."""
    emulator.fail_next(status=502, body=b"", on=side)

    async with ask(side) as response:
        content = await response.read()

    assert response.status == 502
    assert response.content_type == "application/json"
    assert content == b""


@pytest.mark.parametrize("side", SIDES)
async def test_faults_come_in_order(emulator, ask, side):
    """Faults happen in the order of ordering, as often as ordered, and then no more."""
    emulator.fail_next(status=500, times=2, on=side)
    emulator.fail_next(status=503, on=side)

    statuses = []
    for _ in range(4):
        async with ask(side) as response:
            statuses.append(response.status)

    assert statuses == [500, 500, 503, 200]


@pytest.mark.parametrize(("side", "other"), [SIDES, SIDES[::-1]], ids=SIDES)
async def test_faults_stay_on_their_side(emulator, ask, side, other):
    """What is ordered for one side does not happen to the other."""
    emulator.fail_next(status=500, on=side)

    async with ask(other) as response:
        pass

    assert response.status == 200


async def test_client_recovers_from_a_fault(emulator):
    """A refusal that is over when the client comes back costs one image in all."""
    emulator.fail_next(status=429, retry_after=0)

    async with emulator.client(retry=RetryPolicy(wait_initial=0)) as client:
        await client.generate("a cat")

    assert emulator.request_count == 2
    assert emulator.images_billed == 1


@pytest.mark.parametrize("side", SIDES)
async def test_cuts_before_the_answer(emulator, ask, side):
    """The connection is cut, and nothing was answered."""
    emulator.cut_next(times=2, on=side)  # aiohttp repeats a GET by itself, once

    with pytest.raises(aiohttp.ServerDisconnectedError):
        await ask(side)


@pytest.mark.parametrize("after_bytes", [0, 1, 1000, 200_000])
@pytest.mark.parametrize("side", SIDES)
async def test_cuts_within_the_answer(emulator, ask, side, after_bytes):
    """Exactly the bytes on order arrive, of the answer that would have come, and then no more."""
    async with ask(side) as response:
        whole = await response.read()
    emulator.cut_next(after_bytes=after_bytes, on=side)

    async with ask(side) as response:
        received = await read_until_cut(response)

    assert response.status == 200
    assert received == whole[:after_bytes]


async def test_bills_what_it_cuts(emulator, client):
    """An image whose answer is cut was made, and is billed."""
    emulator.cut_next(times=2)
    emulator.cut_next(after_bytes=10)

    for _ in range(3):
        with pytest.raises(seedream_async.OutcomeUnknownError):
            await client.generate("a cat")

    assert emulator.images_billed == 3


async def test_download_survives_a_cut(emulator, tmp_path):
    """A cut of the store costs another fetch, and no image."""
    emulator.cut_next(after_bytes=1000, on="store")

    async with emulator.client(retry=RetryPolicy(wait_initial=0)) as client:
        response = await client.generate("a cat", save_to=tmp_path)

    assert len(response.files) == 1
    assert len(emulator.fetched) == 2
    assert emulator.images_billed == 1


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    "after_bytes", [pytest.param(None, id="before-the-answer"), pytest.param(10, id="within")]
)
async def test_bills_what_it_stalls(emulator, client, after_bytes):
    """An image whose answer stalls was made, and is billed."""
    emulator.stall_next(after_bytes=after_bytes)

    with pytest.raises(seedream_async.OutcomeUnknownError):
        await client.generate("a cat", timeout=0.2)

    assert emulator.images_billed == 1


@pytest.mark.virtual_time
async def test_stalls_within_the_answer(emulator):
    """The bytes on order arrive, and then silence, until the emulator is closed."""
    emulator.stall_next(after_bytes=10)
    reader, writer = await connect(emulator)

    head = await reader.readuntil(b"\r\n\r\n")
    start = await reader.readuntil(b'a\r\n{"model": \r\n')
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.05)
    await emulator.aclose()

    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert len(start) == 15
    assert await reader.read() == b""
    await hang_up(writer)


@pytest.mark.virtual_time
async def test_stalls_before_the_answer(emulator):
    """Nothing is heard, until the emulator is closed."""
    emulator.stall_next()
    reader, writer = await connect(emulator)

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.05)
    await emulator.aclose()

    assert await reader.read() == b""
    await hang_up(writer)


@pytest.mark.virtual_time
async def test_store_stalls_on_order(emulator, ask):
    """The store falls silent within an image."""
    emulator.stall_next(after_bytes=1000, on="store")

    async with ask("store") as response:
        start = await response.content.readexactly(1000)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(response.content.readany(), 0.05)

    assert start.startswith(b"\xff\xd8\xff")


@pytest.mark.virtual_time
async def test_bills_what_is_given_up():
    """An image is billed from the start: giving up on it saves nothing."""
    async with Emulator(latency=3600) as emulator, emulator.client() as client:
        with pytest.raises(seedream_async.OutcomeUnknownError):
            await client.generate("a cat", timeout=0.2)

    assert emulator.images_billed == 1


async def test_bills_whoever_hangs_up():
    """Work that was begun is billed and finished, though nobody waits for it."""
    answered = asyncio.Event()

    def clock():
        answered.set()  # the answer is dated when the images are made
        return NOW

    async with Emulator(clock=clock, latency=0.01) as emulator:
        _, writer = await connect(emulator)
        await writer.drain()

        await hang_up(writer)

        await asyncio.wait_for(answered.wait(), 30)
        assert emulator.images_billed == 1


async def test_outlives_whoever_hangs_up(emulator, client):
    """A client that leaves a stalled answer disturbs nobody else."""
    emulator.stall_next(after_bytes=10)
    reader, writer = await connect(emulator)
    await reader.readuntil(b"\r\n\r\n")

    await hang_up(writer)

    await client.generate("a cat")
    assert emulator.images_billed == 2


@pytest.mark.virtual_time
@pytest.mark.parametrize("order", ["cut_next", "stall_next"])
async def test_bills_no_refusal_that_is_cut(emulator, session, order):
    """What would have been refused is not billed for being cut or stalled."""
    getattr(emulator, order)()

    with pytest.raises((aiohttp.ServerDisconnectedError, TimeoutError)):
        await session.post(
            f"{emulator.base_url}/images/generations",
            json=BODY,
            timeout=aiohttp.ClientTimeout(total=0.2),
        )

    assert emulator.request_count == 1
    assert emulator.images_billed == 0


async def test_faults_leave_no_trace_in_the_log(emulator, ask, caplog):
    """A fault on order is no error of the emulator."""
    emulator.cut_next(after_bytes=10)

    async with ask("api") as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
    await emulator.aclose()

    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
