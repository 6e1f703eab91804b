"""What leaves the process, in queues and pools and result stores: whole, and with nothing secret."""

import concurrent.futures
import copy
import errno
import multiprocessing
import pickle
from pathlib import Path

import pytest

import seedream_async
from seedream_async import (
    Attempt,
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    DownloadEnded,
    DownloadStarted,
    GenerateRequest,
    Image,
    ImageError,
    ImagesResponse,
    Limits,
    OutcomeUnknownError,
    RetryPolicy,
    RetryScheduled,
    SavedImage,
    SeedreamError,
    StorageError,
    Timeout,
    Usage,
)

KEY = "sk-emulator"
PROMPT = "a cat nobody may hear of"
QUICK = RetryPolicy(attempts=2, wait_initial=0)
ATTEMPT = Attempt(fate="unknown", elapsed=0.5, error="OutcomeUnknownError", request_id="r1")
RESPONSE = ImagesResponse(
    created=1,
    data=(Image(url="https://h/0.jpeg?sig=s"), Image(error=ImageError(code="c", message="m"))),
    usage=Usage(generated_images=1, output_tokens=2, total_tokens=3),
    files=(SavedImage(path=Path("0.jpeg"), bytes=9, content_type="image/jpeg", width=3, height=2),),
    attempts=(ATTEMPT,),
)
FACTS = {
    "field": "image",
    "request_id": "r1",
    "possibly_billed": True,
    "retryable": True,
    "attempts": (ATTEMPT, ATTEMPT),
    "elapsed": 1.5,
    "status_code": 418,
    "code": "Teapot",
    "final": True,
    "type": "teapot",
    "param": "size",
    "retry_after": 2.5,
    "body": "short and stout",
    "host": "h.test",
    "ec": "0017",
}
# A pickled error outlives the process: what holds links stays behind.
STAYS = {"image", "response"}


def all_errors(kind=SeedreamError):
    yield kind
    for below in kind.__subclasses__():
        yield from all_errors(below)


def facts_of(kind):
    """A value for each attribute that *kind* declares or inherits."""
    names = {name for each in kind.__mro__ for name in vars(each).get("__annotations__", ())}
    return {name: FACTS[name] for name in names - STAYS}


def made(kind):
    """An error as it is raised: with facts, a note and a cause."""
    error = kind("it went wrong", **facts_of(kind))
    error.add_note("gave up after attempt 2")
    error.__cause__ = ValueError("the cause")
    return error


def piped(value, protocol=pickle.HIGHEST_PROTOCOL):
    """*value* as it is at the other end of a pipe."""
    return pickle.loads(pickle.dumps(value, protocol))  # noqa: S301  our own


def check_same(error, other):
    assert type(other) is type(error)
    assert str(other) == str(error)
    assert {name: getattr(other, name) for name in facts_of(type(error))} == facts_of(type(error))
    assert other.__notes__ == error.__notes__


ERRORS = sorted(
    {kind for kind in all_errors() if kind.__name__ in seedream_async.__all__},
    key=lambda kind: kind.__name__,
)


@pytest.fixture(scope="module")
def pool():
    """A process of its own, that nothing is inherited by."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        yield pool


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", ERRORS)
def test_errors_survive_pickling(kind, protocol):
    """Class, message, facts, attempts and notes are the same afterwards."""
    error = made(kind)

    other = piped(error, protocol)

    check_same(error, other)


def test_what_the_disk_said_survives():
    """`errno` is a fact too, and no part of the message."""
    error = StorageError("no space left", errno=errno.ENOSPC)

    assert piped(error).errno == errno.ENOSPC
    assert str(piped(error)) == "no space left"


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_survive_copying(kind):
    """A copy is as good as the error."""
    error = made(kind)

    check_same(error, copy.copy(error))
    check_same(error, copy.deepcopy(error))


@pytest.mark.parametrize("kind", ERRORS)
def test_errors_pass_from_process_to_process(kind, pool):
    """What a worker process raises is what its owner catches."""
    error = made(kind)
    future = pool.submit(
        exec, "import pickle; raise pickle.loads(blob)", {"blob": pickle.dumps(error)}
    )

    with pytest.raises(kind) as excinfo:
        future.result(timeout=300)

    check_same(error, excinfo.value)


@pytest.mark.parametrize("kind", ERRORS)
def test_links_stay_behind(kind):
    """Whatever an error carries of an image or a response is not pickled with it."""
    error = made(kind)
    carried = STAYS & {name for name in dir(kind) if not name.startswith("_")}
    for name in carried:
        setattr(error, name, RESPONSE)

    other = piped(error)

    assert all(getattr(other, name) is None for name in carried)
    assert b"sig=s" not in pickle.dumps(error)


ORDERS = [
    pytest.param(
        lambda far: far.fail_next(status=400, message=f"{KEY} {PROMPT} https://h/?sig=s"),
        id="refused",
    ),
    pytest.param(lambda far: far.fail_next(status=429, retry_after=0, times=2), id="retried"),
    pytest.param(
        lambda far: far.fail_next(status=200, body=f'["{PROMPT}", "{KEY}"]'.encode()), id="odd"
    ),
    pytest.param(lambda far: far.cut_next(), id="cut"),
    pytest.param(lambda far: far.fail_next(status=403, times=2, on="store"), id="denied"),
    pytest.param(lambda far: far.cut_next(after_bytes=9, times=2, on="store"), id="broken off"),
]
IN_CHILD = """
import asyncio
from seedream_async import AsyncSeedream, RetryPolicy

async def main():
    async with AsyncSeedream(retry=RetryPolicy(attempts=2, wait_initial=0)) as client:
        await client.generate(prompt, save_to=folder)

asyncio.run(main())
"""


@pytest.fixture
async def failing(emulator, tmp_path, request):
    """A real error of a call that saves, and what was told on the way."""
    request.param(emulator)
    told = []
    async with emulator.client(retry=QUICK, on_event=told.append) as client:
        with pytest.raises(SeedreamError) as excinfo:
            await client.generate(PROMPT, save_to=tmp_path)
    signatures = [request.target.partition("?")[2] for request in emulator.fetched]
    return excinfo.value, told, [KEY, PROMPT, *filter(None, signatures)]


@pytest.mark.parametrize("failing", ORDERS, indirect=True)
async def test_nothing_secret_is_pickled(failing):
    """Neither errors nor events hold the key, the prompt, or what a link is signed with."""
    error, told, secrets = failing

    blob = pickle.dumps((error, error.__notes__ if hasattr(error, "__notes__") else (), told), 0)

    text = blob.decode("latin-1")
    assert [secret for secret in secrets if secret in text] == []
    assert piped(told) == told


@pytest.mark.parametrize("order", ORDERS)
def test_nothing_secret_passes_between_processes(order, pool, server, tmp_path):
    """A client in a worker process fails as it does here, and its traceback tells no secrets."""
    order(server)
    names = {"prompt": PROMPT, "folder": str(tmp_path)}
    code = f"import os; os.environ.update(COMETAPI_BASE_URL={server.base_url!r}, COMETAPI_KEY=key)"
    future = pool.submit(exec, code + IN_CHILD, {**names, "key": KEY})

    with pytest.raises(SeedreamError) as excinfo:
        future.result(timeout=300)

    text = str(excinfo.value.__cause__) + repr(excinfo.value)
    assert "Traceback" in text
    assert KEY not in text
    assert PROMPT not in text
    assert "Signature" not in text


async def test_an_error_tells_its_attempts_elsewhere(emulator):
    """The attempts of a call that failed arrive with its error."""
    emulator.fail_next(status=429, retry_after=0)
    emulator.cut_next()
    async with emulator.client(retry=QUICK) as client:
        with pytest.raises(OutcomeUnknownError) as excinfo:
            await client.generate("a cat")

    other = piped(excinfo.value)

    assert [attempt.fate for attempt in other.attempts] == ["refused", "unknown"]
    assert other.attempts == excinfo.value.attempts
    assert other.possibly_billed


@pytest.mark.parametrize(
    "value",
    [
        ATTEMPT,
        CallStarted(call=1, model="m", images=3, waited=0.5, size="2K", prompt="a cat"),
        AttemptStarted(call=1, attempt=2, model="m"),
        AttemptEnded(call=1, attempt=2, model="m", result=ATTEMPT),
        RetryScheduled(call=None, attempt=1, reason="RateLimitError (429)", wait=0.5),
        CallEnded(
            call=1,
            model="m",
            images=1,
            elapsed=2.5,
            attempts=(ATTEMPT,),
            error="CancelledError",
            possibly_billed=True,
        ),
        DownloadStarted(download=1, host="h", call=2),
        DownloadEnded(host="h", elapsed=0.5, bytes=9, content_type="image/jpeg"),
        RESPONSE,
        RetryPolicy(attempts=7, resend_unknown=True),
        Timeout(total=9.0, read=None),
        Limits(concurrency=3),
        GenerateRequest("a cat", size="2K", extra_body={"a": 1}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_survive_pickling(value, pool):
    """Values are equal afterwards, also after a trip through another process."""
    there = pool.submit(copy.copy, value).result(timeout=300)

    assert piped(value) == value
    assert there == value
    assert type(there) is type(value)
