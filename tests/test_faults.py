"""Never pay twice: the fault matrix, held to by the client, and told truly by the README."""

import asyncio
import contextlib
import itertools
import pickle
import re
import traceback
import tracemalloc
from pathlib import Path

import aiohttp
import pytest
from attrs import frozen

from seedream_async import (
    AsyncSeedream,
    Attempt,
    CallEnded,
    Limits,
    RetryPolicy,
    RetryScheduled,
    SeedreamError,
)

from .fault_server import serving
from .faults import FAULTS, KEY, PROMPT

pytestmark = pytest.mark.virtual_time

README = Path(__file__).parent.parent / "README.md"
HEADER = "| what happens | requests sent | billed | what you get |"
CASES = [
    pytest.param(fault, way, id=f"{fault.name}, {way}") for fault in FAULTS for way in fault.ways
]
SURVIVED = [case for case in CASES if case.values[0].at == "http" and case.values[0].waited < 1]
HEAVY = [case for case in CASES if case.values[0].heavy]
MEBIBYTE = 1 << 20
PATIENT = 20.0  # seconds: for calls that meet no fault, however busy the machine is


@frozen
class Outcome:
    """What came of one call: links without their queries, or an error; and of its attempts."""

    images: list[str]
    attempts: tuple[Attempt, ...]
    error: SeedreamError | None = None


@frozen
class Claims:
    """What is said of a group of faults."""

    posts: set[int]
    billed: set[int]
    ends: set[str]
    doubt: set[bool]

    @classmethod
    def of(cls, faults):
        return cls(
            {fault.posts for fault in faults},
            {fault.billed for fault in faults},
            {fault.ends.__name__ if fault.ends else "image" for fault in faults},
            {fault.doubt for fault in faults},
        )


@contextlib.asynccontextmanager
async def calling(fault, way):
    """A server with *fault*, a client that is about to meet it, and what that tells from then on."""
    told = []
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(fault.replies, fault.at))
        session = aiohttp.ClientSession() if way == "lent session" else contextlib.nullcontext()
        client = AsyncSeedream(
            api_key=KEY,
            base_url=server.url,
            timeout=fault.timeout,
            retry=RetryPolicy(attempts=3, wait_initial=0, resend_unknown=fault.resend),
            limits=Limits(concurrency=1),
            session=await stack.enter_async_context(session),
            on_event=told.append,
        )
        await stack.enter_async_context(client)
        if way != "lent session":  # the service is known: connections are used again
            client._api._own.get().connector._proven = True
        for _ in range(fault.before):
            await answer_to(client, way, timeout=PATIENT)
        told.clear()
        yield server, client, told


async def answer_to(client, way, **options):
    if way == "stream":
        async with client.stream(PROMPT, **options) as events:
            async for _ in events:
                pass
        return events.response
    return await client.generate(PROMPT, **options)


def images_of(response):
    return [image.url.partition("?")[0] for image in response.images]


async def outcome_of(client, way, fault):
    options = {"extra_body": {"padding": "x" * fault.padding}} if fault.padding else {}
    try:
        async with asyncio.timeout(30):  # more than any limit of the client's own
            response = await answer_to(client, way, **options)
    except SeedreamError as error:
        return Outcome([], error.attempts, error)
    return Outcome(images_of(response), response.attempts)


def assert_cost(fault, server, outcome, told):
    """As many requests and images as the matrix says, and not one that is paid for unknowingly."""
    billed = server.billed[fault.before :]
    assert server.posts - fault.before == fault.posts
    assert len(billed) == fault.billed
    assert set(outcome.images) <= set(billed)
    assert fault.doubt or outcome.images == billed
    assert server.strays == 0
    fates = [attempt.fate for attempt in outcome.attempts]
    assert len(fates) == (fault.attempts or fault.posts)
    assert len(fates) - fates.count("never sent") == fault.posts
    paid = fates.count("answered") + fates.count("unknown")
    assert paid >= len(billed)
    assert (paid > 0) is (fault.doubt or fault.ends is None)
    assert sum(event.wait for event in told if isinstance(event, RetryScheduled)) == fault.waited
    (ended,) = (event for event in told if isinstance(event, CallEnded))
    assert ended.possibly_billed is fault.doubt


def assert_told(fault, error):
    """The error is the one of the matrix, with its facts."""
    if error is None:
        assert fault.ends is None
        return
    assert type(error) is fault.ends
    assert error.possibly_billed is fault.doubt
    assert fault.says in str(error)
    assert {name: getattr(error, name) for name in fault.facts} == fault.facts


def chain_of(error):
    """*error*, and all that it drags along."""
    if error is None:
        return []
    return [error, *chain_of(error.__cause__), *chain_of(error.__context__)]


def assert_secrets_kept(error):
    """No key and no prompt comes along, and no exception of aiohttp's, which would bring both."""
    assert {type(item).__module__ for item in chain_of(error)} == {"seedream_async"}
    texts = str(error), repr(error), str(vars(error)), *traceback.format_exception(error)
    for secret in (KEY, PROMPT):
        assert secret not in "".join(texts)
        assert secret.encode() not in pickle.dumps(error)


def assert_pickles(error):
    """The error survives a queue, but for the links that it holds."""
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301

    facts = {name: value for name, value in vars(error).items() if name != "response"}
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == facts


@pytest.mark.parametrize(("fault", "way"), CASES)
async def test_a_fault_costs_what_it_must_and_says_so(fault, way, caplog):
    """A fault costs what the matrix says; what is billed is returned, or the error tells."""
    async with calling(fault, way) as (server, client, told):
        outcome = await outcome_of(client, way, fault)

        assert_told(fault, outcome.error)
        assert_cost(fault, server, outcome, told)
    if outcome.error:
        assert_secrets_kept(outcome.error)
        assert_pickles(outcome.error)
    assert not [secret for secret in (KEY, PROMPT) if secret in caplog.text]


@pytest.mark.parametrize(("fault", "way"), SURVIVED)
async def test_a_fault_spoils_no_later_call(fault, way):
    """The call after a fault gives the image that was made for it, and no other."""
    async with calling(fault, way) as (server, client, _):
        await outcome_of(client, way, fault)
        await server.play_meanwhile(fault.meanwhile)
        gate = client._calls._traffic.gate
        gate.paused_until = 0.0  # a pause is meant to hold up the next call
        gate._by_request.clear()
        number = server.posts + 1

        images = images_of(await answer_to(client, way, timeout=PATIENT))

        assert images == [f"https://images.test/{number}.jpeg"]
        assert images == server.billed[-1:]
        assert server.posts == number


@pytest.mark.parametrize(("fault", "way"), HEAVY)
async def test_a_fault_takes_little_memory(fault, way):
    """Whatever a body unpacks to, memory does not grow by more than 24 MiB."""
    async with calling(fault, way) as (_, client, _):
        tracemalloc.start()
        try:
            await outcome_of(client, way, fault)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak < 24 * MEBIBYTE


def rows_of_readme():
    """The table of the README: the names of each row's faults, and what it claims of them."""
    lines = README.read_text(encoding="utf-8").partition(f"{HEADER}\n")[2].splitlines()
    for row in itertools.takewhile(lambda line: line.startswith("|"), lines[1:]):
        names, posts, billed, what = (cell.strip() for cell in row.strip("|").split("|"))
        ends = set(re.findall(r"`(\w+Error)`", what)) or {"image"}
        claims = Claims({int(posts)}, {int(billed)}, ends, {"`possibly_billed`" in what})
        yield names.partition("**: ")[2].split(", "), claims


def test_readme_names_every_fault():
    """Each fault of the matrix is in one row of the README's table, and no other is there."""
    named = [name for names, _ in rows_of_readme() for name in names]

    assert sorted(named) == sorted(fault.name for fault in FAULTS)


def test_readme_claims_what_the_matrix_holds():
    """Each row of the README's table says of its faults what the matrix says of them."""
    faults = {fault.name: fault for fault in FAULTS}
    rows = list(rows_of_readme())

    held = [Claims.of([faults[name] for name in names]) for names, _ in rows]

    assert rows
    assert [claims for _, claims in rows] == held
