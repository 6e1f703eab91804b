"""What is told of calls: to a listener and to the log, and what never is."""

import asyncio
import logging
import socket
import subprocess
import sys

import pytest

from seedream_async import (
    APIConnectionError,
    APIResponseValidationError,
    AsyncSeedream,
    Attempt,
    AttemptEnded,
    AttemptStarted,
    BadRequestError,
    CallEnded,
    CallStarted,
    DownloadEnded,
    DownloadError,
    DownloadStarted,
    Image,
    InsufficientQuotaError,
    InvalidRequestError,
    Limits,
    OutcomeUnknownError,
    RateLimitError,
    RetryPolicy,
    RetryScheduled,
    SeedreamError,
    StorageError,
    _writing,
)
from seedream_async._reporting import Reporter
from seedream_async.emulator import Emulator

QUICK = RetryPolicy(wait_initial=0)
RESENDS = RetryPolicy(wait_initial=0, resend_unknown=True)
SEEDED = "doubao-seedream-3-0-t2i-250415"
GROUP = {"sequential_image_generation": "auto", "max_images": 3}
MODEL = "doubao-seedream-5-0-260128"
DONE = CallEnded(
    call=1, model="m", images=1, elapsed=1.0, attempts=(), error=None, possibly_billed=False
)


class Told(list):
    """Events as a listener gets them, and what they are in short; `begun` has what only begins."""

    def __init__(self):
        super().__init__()
        self.begun = []

    def __call__(self, event):
        (self.begun if isinstance(event, CallStarted | DownloadStarted) else self).append(event)

    @property
    def outline(self):
        return [outlined(event) for event in self]

    def of(self, kind):
        return [event for event in self if isinstance(event, kind)]


def outlined(event):
    match event:
        case AttemptStarted(call=call, attempt=attempt):
            return f"{call}.{attempt} starts"
        case AttemptEnded(call=call, attempt=attempt, result=result):
            return f"{call}.{attempt} {result.fate}"
        case RetryScheduled(call=call, attempt=attempt, reason=reason):
            return f"{call}.{attempt} again: {reason}"
        case CallEnded(call=call, images=images, error=error, possibly_billed=doubtful):
            return f"{call} ends: {images} {error}{', in doubt' if doubtful else ''}"
        case DownloadEnded(bytes=size, content_type=kind, error=error):
            return f"saved: {size > 0} {kind} {error}"


@pytest.fixture
def told():
    return Told()


@pytest.fixture
async def listened(emulator, told):
    """A client of the emulator that tells what happens, and waits for nothing."""
    async with emulator.client(on_event=told, retry=QUICK) as client:
        yield client


@pytest.fixture
def log(caplog):
    """All that is logged."""
    caplog.set_level(logging.DEBUG, "seedream_async")
    return caplog


async def test_a_call_that_succeeds(listened, told):
    """An attempt starts, is answered, and the call ends with its images."""
    response = await listened.generate("a cat")

    assert told.outline == ["1.1 starts", "1.1 answered", "1 ends: 1 None"]
    assert {event.model for event in told} == {MODEL}
    assert told[-1].attempts == response.attempts == (told[1].result,)
    assert told[-1].elapsed >= told[1].result.elapsed > 0


async def test_a_call_that_is_tried_again(emulator, listened, told):
    """Each failed attempt is told, and why and when another follows."""
    emulator.fail_next(status=429, retry_after=0)
    emulator.fail_next(status=503, retry_after=0.01)

    response = await listened.generate("a cat")

    assert told.outline == [
        "1.1 starts",
        "1.1 refused",
        "1.1 again: RateLimitError (429)",
        "1.2 starts",
        "1.2 refused",
        "1.2 again: InternalServerError (503)",
        "1.3 starts",
        "1.3 answered",
        "1 ends: 1 None",
    ]
    assert [event.wait for event in told.of(RetryScheduled)] == [0.0, 0.01]
    assert [attempt.status_code for attempt in response.attempts] == [429, 503, None]
    assert told[-1].elapsed >= sum(attempt.elapsed for attempt in response.attempts) + 0.01


async def test_a_call_that_is_given_up(emulator, told):
    """After the last attempt nothing more is announced."""
    emulator.fail_next(status=429, times=2)

    async with emulator.client(
        on_event=told, retry=RetryPolicy(attempts=2, wait_initial=0)
    ) as client:
        with pytest.raises(RateLimitError) as excinfo:
            await client.generate("a cat")

    assert told.outline[-2:] == ["1.2 refused", "1 ends: 0 RateLimitError"]
    assert len(told.of(RetryScheduled)) == 1
    assert excinfo.value.attempts == told[-1].attempts


@pytest.mark.parametrize(
    ("order", "end"),
    [
        pytest.param(
            lambda emulator: emulator.fail_next(status=400),
            ("refused", BadRequestError, ""),
            id="refused",
        ),
        pytest.param(Emulator.cut_next, ("unknown", OutcomeUnknownError, ", in doubt"), id="cut"),
        pytest.param(
            lambda emulator: emulator.fail_next(status=504),
            ("unknown", OutcomeUnknownError, ", in doubt"),
            id="gateway",
        ),
        pytest.param(
            Emulator.empty_next,
            ("answered", APIResponseValidationError, ", in doubt"),
            id="no image",
        ),
    ],
)
async def test_calls_that_fail(emulator, listened, told, order, end):
    """A call that fails tells what became of its attempt, and whether it may cost."""
    fate, error, doubt = end
    order(emulator)

    with pytest.raises(error):
        await listened.generate("a cat")

    assert told.outline == ["1.1 starts", f"1.1 {fate}", f"1 ends: 0 {error.__name__}{doubt}"]


async def test_an_api_that_is_not_there(told):
    """What never left is told as such."""
    policy = RetryPolicy(attempts=2, wait_initial=0)

    with socket.socket() as gone:  # bound: nobody listens there, and nobody else begins to
        gone.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
        async with AsyncSeedream(
            api_key="sk-test", base_url=url, on_event=told, retry=policy
        ) as client:
            with pytest.raises(APIConnectionError):
                await client.generate("a cat")

    assert told.outline == [
        "1.1 starts",
        "1.1 never sent",
        "1.1 again: APIConnectionError",
        "1.2 starts",
        "1.2 never sent",
        "1 ends: 0 APIConnectionError",
    ]


async def test_a_success_after_an_unknown_outcome(emulator, told):
    """Who has it sent again may pay twice, and is told so."""
    emulator.cut_next()

    async with emulator.client(on_event=told, retry=RESENDS) as client:
        response = await client.generate("a cat")

    assert [attempt.fate for attempt in response.attempts] == ["unknown", "answered"]
    assert told.outline[-1] == "1 ends: 1 None, in doubt"
    assert emulator.images_billed == 2


async def test_a_refusal_after_an_unknown_outcome(emulator, told):
    """The call stays in doubt, and its end says so too."""
    emulator.cut_next()
    emulator.fail_next(status=400)

    async with emulator.client(on_event=told, retry=RESENDS) as client:
        with pytest.raises(OutcomeUnknownError, match="1 of 2 attempts") as excinfo:
            await client.generate("a cat")

    assert isinstance(excinfo.value.__cause__, BadRequestError)
    assert [attempt.fate for attempt in excinfo.value.attempts] == ["unknown", "refused"]
    assert told.outline[-1] == "1 ends: 0 OutcomeUnknownError, in doubt"
    assert emulator.images_billed == 1


async def test_what_is_refused_here_is_no_call(listened, told):
    """A request that is not sent makes no event."""
    with pytest.raises(InvalidRequestError):
        await listened.generate("a cat", size="0x0")

    assert told == []


async def test_a_stream_that_is_read_to_its_end(listened, told):
    """The attempt ends when the stream begins, and the call when it is over."""
    async with listened.stream("a cat", **GROUP) as events:
        assert told.outline == ["1.1 starts", "1.1 answered"]
        assert events.attempts == (told[1].result,)
        async for _ in events:
            pass

    assert told.outline[2:] == ["1 ends: 3 None"]
    assert events.response.attempts == told[-1].attempts


async def test_a_stream_that_is_left_early(listened, told):
    """What was still to come may be billed."""
    async with listened.stream("a cat", **GROUP) as events:
        async for _ in events:
            break

    assert told.outline[2:] == ["1 ends: 1 None, in doubt"]


async def test_a_stream_whose_reader_fails(listened, told):
    """An error of the reader's own ends the call, with what had arrived until then."""
    with pytest.raises(ZeroDivisionError):
        async with listened.stream("a cat", **GROUP) as events:
            async for _ in events:
                raise ZeroDivisionError

    assert told.outline[2:] == ["1 ends: 1 ZeroDivisionError, in doubt"]


async def test_a_stream_that_breaks(emulator, listened, told):
    """A broken stream is in doubt, and its error carries the attempts."""
    emulator.stream_next(cut_after=2)

    with pytest.raises(OutcomeUnknownError) as excinfo:
        async with listened.stream("a cat", **GROUP) as events:
            async for _ in events:
                pass

    assert told.outline[2:] == ["1 ends: 2 OutcomeUnknownError, in doubt"]
    assert excinfo.value.attempts == told[-1].attempts


async def test_a_stream_that_only_refuses(emulator, listened, told):
    """A refusal that comes as an event leaves no doubt, and the call's end says so."""
    emulator.stream_next(order=[], error=("AccountOverdueError", "no"))

    with pytest.raises(InsufficientQuotaError) as excinfo:
        async with listened.stream("a cat") as events:
            await anext(events)

    assert told.outline[2:] == ["1 ends: 0 InsufficientQuotaError"]
    assert [attempt.fate for attempt in told[-1].attempts] == ["refused"]
    assert excinfo.value.attempts == told[-1].attempts


async def test_a_stream_that_is_refused_once(emulator, listened, told):
    """Opening a stream is tried again as any request is."""
    emulator.fail_next(status=429, retry_after=0)

    async with listened.stream("a cat") as events:
        async for _ in events:
            pass

    assert told.outline == [
        "1.1 starts",
        "1.1 refused",
        "1.1 again: RateLimitError (429)",
        "1.2 starts",
        "1.2 answered",
        "1 ends: 1 None",
    ]


async def test_a_stream_that_is_refused_for_good(emulator, listened, told):
    """A stream that never began ends as any call does."""
    emulator.fail_next(status=400)

    with pytest.raises(BadRequestError) as excinfo:
        async with listened.stream("a cat"):
            pass

    assert told.outline == ["1.1 starts", "1.1 refused", "1 ends: 0 BadRequestError"]
    assert excinfo.value.attempts == told[-1].attempts


@pytest.mark.parametrize(
    ("kind", "host"), [("url", "127.0.0.1"), ("b64_json", None)], ids=["link", "base64"]
)
async def test_images_that_are_saved(listened, told, tmp_path, kind, host):
    """After the call, each saved image is told, with its size and where it came from."""
    response = await listened.generate("a cat", response_format=kind, save_to=tmp_path / "cat.jpeg")

    assert told.outline[2:] == ["1 ends: 1 None", "saved: True image/jpeg None"]
    assert told[-1].host == host
    assert told[-1].bytes == response.files[0].bytes
    assert told[-1].elapsed > 0


@pytest.mark.virtual_time
async def test_what_begins(listened, told, tmp_path):
    """A call tells what it asks for, without its prompt, and its download whose it is."""
    options = {"model": SEEDED, "size": "1024x1024", "seed": 7, "watermark": False}

    await listened.generate("a cat", **options, save_to=tmp_path / "cat")

    call, download = told.begun
    assert call == CallStarted(call=1, images=1, waited=0, **options)
    assert download == DownloadStarted(download=1, host="127.0.0.1", call=1)
    assert (told[-1].download, told[-1].call) == (1, 1)


@pytest.mark.virtual_time
async def test_a_call_tells_how_long_it_waited_for_its_slot(told):
    """The wait in the queue is no part of the time of the call."""
    async with Emulator(latency=0.2) as slow:
        async with slow.client(on_event=told, limits=Limits(concurrency=1)) as client:
            await asyncio.gather(client.generate("a cat"), client.generate("a dog"))

    first, second = told.begun
    assert [first.waited, second.waited] == pytest.approx([0, 0.2])
    assert told[-1].elapsed == pytest.approx(0.2)


async def test_what_a_call_came_to(listened, told):
    """The end of a call tells the model and the tokens of its answer, streamed or not."""
    response = await listened.generate("a cat")
    async with listened.stream("a cat", **GROUP) as events:
        async for _ in events:
            pass

    plain, streamed = told.of(CallEnded)
    assert (plain.response_model, streamed.response_model) == (MODEL, MODEL)
    assert plain.output_tokens == response.usage.output_tokens > 0
    assert streamed.output_tokens == events.response.usage.output_tokens > 0
    assert [event.stream for event in told.begun] == [False, True]
    assert [event.images for event in told.begun] == [1, 3]


async def test_an_image_that_is_handed_on(emulator, listened, told):
    """Opening an image tells of it as a download, with the bytes that were taken."""
    image = (await listened.generate("a cat")).data[0]
    told.clear()
    emulator.fail_next(status=503, on="store")

    async with listened.open(image) as stream:
        content = await stream.read()

    assert told.outline == ["None.1 again: DownloadError (503)", "saved: True image/jpeg None"]
    assert told[-1].bytes == stream.taken == len(content)
    assert {event.download for event in told} == {1}
    assert told.begun[-1] == DownloadStarted(download=1, host="127.0.0.1")


async def test_images_of_many_requests_name_their_calls(listened, told, tmp_path):
    """Each image of a fan-out that is saved tells which call has made it."""
    await listened.generate_many(["a cat", "a dog"], save_to=tmp_path)

    assert sorted(event.call for event in told.of(DownloadEnded)) == [1, 2]


async def test_several_listeners(listened, told):
    """Who listens later hears the same from then on."""
    also, curious = Told(), Told()
    listened._report.add(also)
    listened._report.add(curious, prompts=True)

    await listened.generate("a cat")

    assert also == curious == told
    assert also.begun == told.begun
    assert [event.prompt for event in told.begun] == [None]
    assert [event.prompt for event in curious.begun] == ["a cat"]
    assert "a cat" not in repr(curious.begun)


async def test_images_of_a_stream_are_saved_within_the_call(listened, told, tmp_path):
    """A stream saves each image as it comes."""
    async with listened.stream("a cat", save_to=tmp_path / "cat.jpeg") as events:
        async for _ in events:
            pass

    assert told.outline[2:] == ["saved: True image/jpeg None", "1 ends: 1 None"]


async def test_a_download_that_is_tried_again(emulator, listened, told, tmp_path):
    """A download belongs to no call, and its attempts are free."""
    image = (await listened.generate("a cat")).data[0]
    told.clear()
    emulator.fail_next(status=503, on="store")

    await listened.download(image, tmp_path / "cat.jpeg")

    assert told.outline == ["None.1 again: DownloadError (503)", "saved: True image/jpeg None"]


async def test_a_download_that_fails(emulator, listened, told, tmp_path):
    """An image that cannot be had is told by the name of the error."""
    image = (await listened.generate("a cat")).data[0]
    told.clear()
    emulator.fail_next(status=404, code="NoSuchKey", on="store")

    with pytest.raises(DownloadError) as excinfo:
        await listened.download(image, tmp_path / "cat.jpeg")

    assert told.outline == [f"saved: False None {type(excinfo.value).__name__}"]
    assert told[0].host == "127.0.0.1"


async def test_an_image_that_cannot_be_written(listened, told, tmp_path, monkeypatch):
    """Trouble with the disk is told after the call, which is paid for."""

    async def publish(_):
        raise StorageError("the disk is full")

    monkeypatch.setattr(_writing.FileWriter, "publish", publish)

    with pytest.raises(StorageError):
        await listened.generate("a cat", save_to=tmp_path / "cat.jpeg")

    assert told.outline[2:] == ["1 ends: 1 None", "saved: False None StorageError"]


async def test_calls_at_the_same_time_have_their_own_numbers(emulator, told):
    """The events of one call are in order, however many calls there are beside it."""
    emulator.fail_next(status=429, retry_after=0, times=3)

    async with emulator.client(on_event=told, retry=QUICK, limits=Limits(concurrency=4)) as client:
        await client.generate_many(["a cat"] * 8)

    calls = [[event for event in told if event.call == number] for number in range(1, 9)]
    assert sum(map(len, calls)) == len(told) == 8 * 3 + 3 * 3
    for events in calls:
        kinds = [type(event) for event in events]
        attempts = len(events[-1].attempts)
        retry = [AttemptStarted, AttemptEnded, RetryScheduled]
        assert kinds == [*retry * (attempts - 1), AttemptStarted, AttemptEnded, CallEnded]
        assert [event.attempt for event in events if isinstance(event, AttemptStarted)] == list(
            range(1, attempts + 1)
        )


@pytest.mark.virtual_time
async def test_at_most_as_many_calls_as_allowed(told):
    """Between the first attempt of a call and its end, it holds a slot."""
    async with (
        Emulator(latency=0.01) as emulator,
        emulator.client(on_event=told, limits=Limits(concurrency=2)) as client,
    ):
        await client.generate_many(["a cat"] * 6)

    running, most = 0, 0
    for event in told:
        running += isinstance(event, AttemptStarted) - isinstance(event, CallEnded)
        most = max(most, running)
    assert (running, most) == (0, 2)


async def test_a_call_that_is_cancelled_while_it_waits(emulator, told):
    """Between two attempts there is nothing that could be billed."""
    emulator.fail_next(status=429, retry_after=60)
    waits = asyncio.Event()

    def listen(event):
        told(event)
        if isinstance(event, RetryScheduled):
            waits.set()

    async with emulator.client(on_event=listen) as client:
        task = asyncio.create_task(client.generate("a cat"))
        await waits.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert told.outline[2:] == ["1.1 again: RateLimitError (429)", "1 ends: 0 CancelledError"]


async def test_a_call_that_is_cancelled_while_it_is_answered(emulator, listened, told):
    """A request that left may be billed, whoever lost interest in it."""
    emulator.stall_next()

    task = asyncio.create_task(listened.generate("a cat"))
    while not emulator.images_billed:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert told.outline == ["1.1 starts", "1.1 unknown", "1 ends: 0 CancelledError, in doubt"]


async def test_a_call_that_never_got_a_slot(emulator, told):
    """Who is cancelled in the queue has made no call."""
    emulator.stall_next()

    async with emulator.client(on_event=told, limits=Limits(concurrency=1)) as client:
        tasks = [asyncio.create_task(client.generate(prompt)) for prompt in ("a cat", "a dog")]
        while not emulator.images_billed:
            await asyncio.sleep(0.001)
        tasks[1].cancel()
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        outline = list(told.outline)
        tasks[0].cancel()
        await asyncio.wait(tasks)

    assert outline == ["1.1 starts"]


async def test_a_listener_that_fails_harms_nothing(emulator, log, tmp_path):
    """What a listener raises is logged, and everything goes its way."""
    emulator.fail_next(status=429, retry_after=0)
    seen = []

    def listen(event):
        seen.append(event)
        raise ZeroDivisionError("in the listener")

    async with emulator.client(on_event=listen, retry=QUICK) as client:
        response = await client.generate("a cat", save_to=tmp_path / "cat.jpeg")

    complaints = [record for record in log.records if record.levelno == logging.ERROR]
    assert len(response.files) == 1
    assert len(seen) == len(complaints) == 9
    assert {record.getMessage() for record in complaints} == {"on_event raised"}
    assert all(record.exc_info[0] is ZeroDivisionError for record in complaints)


async def test_a_log_that_fails_harms_nothing(emulator, log):
    """An application's filter that raises costs no image."""

    def fail(_):
        raise ZeroDivisionError("in the filter")

    logger = logging.getLogger("seedream_async")
    logger.addFilter(fail)
    try:
        async with emulator.client(on_event=fail) as client:
            response = await client.generate("a cat")
    finally:
        logger.removeFilter(fail)

    assert len(response.images) == 1


async def listen_asynchronously(event):
    raise NotImplementedError(event)


@pytest.mark.parametrize("listener", ["print", 1, [], listen_asynchronously], ids=str)
def test_listeners_that_cannot_be_called(listener):
    """What is not called, or not awaited by anyone, is refused at once."""
    with pytest.raises(InvalidRequestError, match="on_event must be a plain function") as excinfo:
        AsyncSeedream(api_key="sk-test", on_event=listener)

    assert excinfo.value.field == "on_event"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_who_wants_to_stop_is_not_held_up(error):
    """What is no `Exception` passes through the listener's guard."""

    def listen(_):
        raise error

    with pytest.raises(error):
        Reporter(listen)(DONE)


def levels(log):
    return [record.levelname for record in log.records]


async def test_levels_of_a_plain_call(listened, log):
    """What goes well is for debugging only."""
    await listened.generate("a cat")

    assert levels(log) == ["DEBUG"] * 3
    assert {record.name for record in log.records} == {"seedream_async"}


async def test_levels_of_a_retry(emulator, listened, log):
    """That a request is sent again is worth a line."""
    emulator.fail_next(status=429, retry_after=0)

    await listened.generate("a cat")

    assert levels(log) == ["DEBUG", "DEBUG", "INFO", "DEBUG", "DEBUG", "DEBUG"]
    assert "reason='RateLimitError (429)'" in log.records[2].getMessage()


async def test_levels_of_a_refusal(emulator, listened, log):
    """A refusal is told by its error; the log need not warn of what cost nothing."""
    emulator.fail_next(status=400)

    with pytest.raises(BadRequestError):
        await listened.generate("a cat")

    assert levels(log) == ["DEBUG"] * 3


async def test_money_that_may_be_lost_is_a_warning(emulator, listened, log):
    """What may be billed without a result is seen without setting up anything."""
    emulator.cut_next()

    with pytest.raises(OutcomeUnknownError):
        await listened.generate("a cat")
    async with listened.stream("a cat", **GROUP) as events:
        await anext(events)

    warnings = [record for record in log.records if record.levelno == logging.WARNING]
    assert levels(log) == ["DEBUG", "DEBUG", "WARNING"] * 2
    assert all("possibly_billed=True" in record.getMessage() for record in warnings)


async def test_levels_that_nobody_wants_are_not_logged(listened, log, told):
    """Who logs warnings only is told of nothing else, and a listener still hears all."""
    log.set_level(logging.WARNING, "seedream_async")

    await listened.generate("a cat")

    assert levels(log) == []
    assert len(told) == 3


def test_nothing_is_printed_where_logging_is_not_set_up():
    """A script that knows nothing of logging stays silent, also when a listener fails."""
    script = """if True:
        from seedream_async import CallEnded
        from seedream_async._reporting import Reporter

        def listen(event):
            print("heard")
            raise ValueError

        Reporter(listen)(
            CallEnded(
                call=1, model="m", images=0, elapsed=1.0, attempts=(), error="X",
                possibly_billed=True,
            )
        )
    """

    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )

    assert (done.stdout, done.stderr) == ("heard\n", "")


HOSTILE = [
    pytest.param("%s %d %n %(levelname)s %%", id="percent"),
    pytest.param("{} {0} {event!r} {0.__class__}", id="braces"),
    pytest.param("a cat\nWARNING:root:all is lost\r\x1b[31m", id="lines"),
    pytest.param("a cat \0\x7f\u2028", id="control characters"),
    pytest.param("https://h/k?X-Tos-Signature=abc", id="link"),
]


@pytest.mark.parametrize("prompt", HOSTILE)
async def test_no_secret_is_told(emulator, log, told, tmp_path, prompt):
    """No key, prompt or signature is in an event or a log record, whatever goes wrong."""
    key = "sk-%s-very-secret"
    emulator.api_key = emulator._api._key = key
    echo = f"{prompt} is not for {key}, see https://h/k?X-Tos-Signature=abc"
    ends = set()

    async with AsyncSeedream(
        api_key=key, base_url=emulator.base_url, on_event=told, retry=RESENDS
    ) as client:
        for order in (
            lambda: emulator.fail_next(status=400, code="InvalidParameter", message=echo),
            lambda: emulator.fail_next(status=429, retry_after=0, message=echo),
            lambda: emulator.fail_next(status=504, body=ascii(echo).encode()),
            lambda: emulator.fail_next(status=404, message=echo, on="store"),
            lambda: emulator.cut_next(on="store"),
            lambda: emulator.fail_all_next(message=echo),
            emulator.empty_next,
        ):
            order()
            try:
                await client.generate(prompt, save_to=tmp_path)
            except SeedreamError as error:
                ends.add(type(error))
    text = "".join([*map(repr, told), *(record.getMessage() for record in log.records), log.text])

    assert len(ends) == 4
    assert len(log.records) == len(told) > 20
    for secret in (key, prompt, ascii(prompt)[1:-1], "very-secret", "X-Tos"):
        assert secret not in text
    assert not {"\r", "\x1b"} & set(text)


async def test_a_hostile_model_is_quoted(emulator, log, listened):
    """The name of a model comes from the caller, and cannot forge a line of the log."""
    model = "%s\nWARNING:root:all is lost"

    with pytest.raises(SeedreamError):
        await listened.generate("a cat", model=model)

    assert len(log.records) == 3
    assert all("\n" not in record.getMessage() for record in log.records)
    assert f"model={model!r}" in log.records[0].getMessage()


async def test_a_failing_listener_gives_no_secret_away(emulator, log):
    """What is logged of a failing listener has its traceback, and nothing of the request."""

    def listen(_):
        raise ValueError("in the listener")

    async with emulator.client(on_event=listen) as client:
        await client.generate("a cat %s")

    assert "in the listener" in log.text
    assert "a cat" not in log.text
    assert emulator.api_key not in log.text


def test_events_are_values():
    """Events can be compared, hashed and kept; nobody changes them on the way."""
    event = AttemptEnded(call=1, attempt=1, model="m", result=Attempt(fate="answered", elapsed=1.0))

    assert len({event, DONE, DONE}) == 2
    for value in (event, event.result, DONE):
        with pytest.raises(AttributeError):
            value.elapsed = 2.0


async def test_a_base64_image_that_is_none(listened, told, tmp_path):
    """What the service calls base64 and is not is told as a failed save."""
    with pytest.raises(DownloadError):
        await listened.download(Image(b64_json="?"), tmp_path / "cat.jpeg")

    assert told.outline == ["saved: False None NotAnImageError"]
    assert told[0].host is None
