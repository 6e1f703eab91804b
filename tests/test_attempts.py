"""What becomes of the attempts of one call, and what is told of it."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import (
    APIConnectionError,
    APIResponseValidationError,
    APITimeoutError,
    Attempt,
    AttemptEnded,
    AttemptStarted,
    BadRequestError,
    CallEnded,
    DownloadError,
    Image,
    ImagesResponse,
    InvalidRequestError,
    OutcomeUnknownError,
    RateLimitError,
    RetryScheduled,
    SeedreamError,
    Usage,
)
from seedream_async._attempts import Call, reason_of

SENT, NOT_SENT = True, False


class Told(list):
    """Events, as they were told."""

    def of(self, kind):
        return [event for event in self if isinstance(event, kind)]


def call_of(told, number=7):
    return Call(number, "m", told.append)


async def make(call, end="done", *, sent=True):
    """One attempt of *call* that comes to this *end*, having been *sent* or not."""

    async def send():
        if sent:
            call.note_sent()
        if isinstance(end, BaseException):
            raise end
        return end

    return await call.attempt(send)


async def met(call, *ends):
    """Attempts of *call* that all fail."""
    for end in ends:
        with pytest.raises(type(end)):
            await make(call, end, sent=not isinstance(end, APIConnectionError | RuntimeError))


ENDS = [
    pytest.param("done", SENT, "answered", id="an answer"),
    pytest.param(APIResponseValidationError("page"), SENT, "answered", id="undocumented answer"),
    pytest.param(RateLimitError("429", status_code=429), SENT, "refused", id="refusal"),
    pytest.param(BadRequestError("400", status_code=400), SENT, "refused", id="bad request"),
    pytest.param(
        RateLimitError("429", status_code=429), NOT_SENT, "refused", id="refused before it was sent"
    ),
    pytest.param(OutcomeUnknownError("cut"), SENT, "unknown", id="cut"),
    pytest.param(OutcomeUnknownError("504", status_code=504), SENT, "unknown", id="gateway"),
    pytest.param(APIConnectionError("refused"), NOT_SENT, "never sent", id="no connection"),
    pytest.param(APITimeoutError("connect"), NOT_SENT, "never sent", id="no time to connect"),
    pytest.param(
        InvalidRequestError("the reference changed"), SENT, "never sent", id="only half was sent"
    ),
    pytest.param(asyncio.CancelledError(), NOT_SENT, "never sent", id="cancelled before"),
    pytest.param(asyncio.CancelledError(), SENT, "unknown", id="cancelled after"),
    pytest.param(KeyboardInterrupt(), SENT, "unknown", id="interrupted after"),
    pytest.param(ZeroDivisionError(), NOT_SENT, "never sent", id="a bug before"),
    pytest.param(ZeroDivisionError(), SENT, "unknown", id="a bug after"),
]


@pytest.mark.parametrize(("end", "sent", "fate"), ENDS)
async def test_fates(end, sent, fate):
    """What an attempt may cost follows from its end, and from whether it left."""
    call = call_of(Told())

    if isinstance(end, BaseException):
        with pytest.raises(type(end)) as excinfo:
            await make(call, end, sent=sent)
        assert excinfo.value is end
    else:
        assert await make(call, end, sent=sent) is end

    [attempt] = call.attempts
    assert attempt.fate == fate
    assert attempt.error == (None if end == "done" else type(end).__name__)
    assert attempt.status_code == getattr(end, "status_code", None)


async def test_the_request_id_is_kept():
    """What the service calls an attempt is told with it."""
    call = call_of(Told())

    await met(call, RateLimitError("429", status_code=429, request_id="r1"))

    assert call.attempts[0].request_id == "r1"


async def test_each_attempt_is_told_when_it_starts_and_ends():
    """Attempts are numbered from 1, and carry the call's number and model."""
    told = Told()
    call = call_of(told)

    await met(call, RateLimitError("429", status_code=429))
    await make(call)

    first, second = call.attempts
    assert told == [
        AttemptStarted(call=7, attempt=1, model="m"),
        AttemptEnded(call=7, attempt=1, model="m", result=first),
        AttemptStarted(call=7, attempt=2, model="m"),
        AttemptEnded(call=7, attempt=2, model="m", result=second),
    ]


async def test_what_left_in_one_attempt_did_not_leave_in_the_next():
    """Each attempt is judged by itself."""
    call = call_of(Told())

    await met(call, RateLimitError("429", status_code=429))
    with pytest.raises(asyncio.CancelledError):
        await make(call, asyncio.CancelledError(), sent=False)

    assert [attempt.fate for attempt in call.attempts] == ["refused", "never sent"]


@pytest.mark.parametrize(
    ("sent", "fate"), [(NOT_SENT, "never sent"), (SENT, "unknown")], ids=["before", "after"]
)
async def test_a_real_cancellation(sent, fate):
    """A task that is cancelled tells of its attempt on the way out, and stays cancelled."""
    told, waiting = Told(), asyncio.Event()
    call = call_of(told)

    async def send():
        if sent:
            call.note_sent()
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(call.attempt(send))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert told[-1].result.fate == fate
    assert told[-1].result.error == "CancelledError"


async def test_times_are_those_of_the_loop():
    """An attempt is as long as it takes, and the call as all of them."""
    call = call_of(Told())
    clock = iter([100.0, 105.0])
    call._now, call._start = lambda: next(clock), 90.0

    await make(call)

    call._now = lambda: 110.0
    assert call.attempts[0].elapsed == 5
    assert call.elapsed() == 20


async def test_a_retry_is_told_with_its_reason():
    """The reason is a class and a status, never a message."""
    told = Told()

    call_of(told).retry_scheduled(2, RateLimitError("a secret", status_code=429), 1.5)

    assert told == [RetryScheduled(call=7, attempt=2, reason="RateLimitError (429)", wait=1.5)]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RateLimitError("x", status_code=429), "RateLimitError (429)"),
        (OutcomeUnknownError("x", status_code=504), "OutcomeUnknownError (504)"),
        (OutcomeUnknownError("x"), "OutcomeUnknownError"),
        (DownloadError("x", status_code=403), "DownloadError (403)"),
        (InvalidRequestError("x"), "InvalidRequestError"),
    ],
    ids=["refusal", "gateway", "cut", "download", "no status"],
)
def test_reasons(error, reason):
    """A reason is what an error is, in a word or two."""
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    "last",
    [
        RateLimitError("429", status_code=429, request_id="r2", retryable=True),
        APIConnectionError("refused", retryable=True),
        BadRequestError("400", status_code=400),
        InvalidRequestError("a file has changed", field="image"),
        RuntimeError("this client is closed"),
    ],
    ids=["refused", "never sent", "bad request", "refused here", "closed"],
)
async def test_a_refusal_does_not_undo_a_doubt(last):
    """One unknown outcome leaves the call in doubt; what it ended with is the cause."""
    call = call_of(Told())
    await met(call, OutcomeUnknownError("cut"), RateLimitError("429"), last)

    error = call.failure(last)

    assert type(error) is OutcomeUnknownError
    assert error.possibly_billed
    assert not error.retryable
    assert error.__cause__ is last
    assert error.attempts == call.attempts
    assert error.request_id == getattr(last, "request_id", None)
    assert str(error).startswith("1 of 3 attempts ended without a known outcome")
    assert reason_of(last) in str(error)
    assert "check the account" in str(error)


@pytest.mark.parametrize(
    "ends",
    [
        [RateLimitError("429", status_code=429)],
        [APIConnectionError("refused"), RateLimitError("429", status_code=429)],
        [RateLimitError("429", status_code=429), OutcomeUnknownError("cut")],
        [OutcomeUnknownError("cut"), OutcomeUnknownError("504", status_code=504)],
        [OutcomeUnknownError("cut"), APIResponseValidationError("page")],
    ],
    ids=["refused", "never sent, refused", "refused, cut", "cut twice", "cut, undocumented"],
)
async def test_otherwise_the_last_error_is_the_error(ends):
    """An error that speaks for all the attempts is raised as it is, and carries them."""
    call = call_of(Told())
    await met(call, *ends)

    error = call.failure(ends[-1])

    assert error is ends[-1]
    assert error.attempts == call.attempts
    assert len(error.attempts) == len(ends)


async def test_other_errors_are_let_through():
    """What is no error of the API, and follows no doubt, stays what it is."""
    error = InvalidRequestError("a file has changed", field="image")

    assert call_of(Told()).failure(error) is error


failures = st.one_of(
    st.builds(RateLimitError, st.just("429"), status_code=st.just(429)),
    st.builds(APIConnectionError, st.just("refused")),
    st.builds(OutcomeUnknownError, st.just("cut")),
    st.builds(APIResponseValidationError, st.just("page")),
)


@given(st.lists(failures, min_size=1, max_size=6))
def test_no_doubt_is_lost(ends):
    """The error of a call may be billed exactly if one of its attempts may be."""

    async def main():
        call = call_of(Told())
        await met(call, *ends)
        return call.failure(ends[-1])

    error = asyncio.run(main())

    doubtful = any(isinstance(end, OutcomeUnknownError) for end in ends)
    assert error.possibly_billed is (doubtful or ends[-1].possibly_billed)
    assert len(error.attempts) == len(ends)


def ended(told):
    [event] = told.of(CallEnded)
    return event


async def test_a_call_that_succeeded():
    """Images that are paid for are no doubt."""
    told = Told()
    call = call_of(told)
    await make(call)
    call.response = ImagesResponse(
        data=(Image(url="u"),) * 3, model="m-1", usage=Usage(output_tokens=9)
    )

    call.ended(None)

    assert ended(told) == CallEnded(
        call=7,
        model="m",
        images=3,
        elapsed=ended(told).elapsed,
        attempts=call.attempts,
        error=None,
        possibly_billed=False,
        response_model="m-1",
        output_tokens=9,
    )


@pytest.mark.parametrize(
    ("ends", "failure", "doubtful"),
    [
        pytest.param([RateLimitError("429")], RateLimitError("429"), False, id="refused"),
        pytest.param([APIConnectionError("no")], APIConnectionError("no"), False, id="never sent"),
        pytest.param([OutcomeUnknownError("cut")], OutcomeUnknownError("cut"), True, id="unknown"),
        pytest.param(
            [APIResponseValidationError("x")],
            APIResponseValidationError("x"),
            True,
            id="odd answer",
        ),
        pytest.param([OutcomeUnknownError("cut")], RateLimitError("429"), True, id="earlier doubt"),
        pytest.param([OutcomeUnknownError("cut")], None, True, id="success after a doubt"),
        pytest.param([], InvalidRequestError("no"), False, id="no attempt"),
        pytest.param(
            [asyncio.CancelledError()], asyncio.CancelledError(), True, id="cancelled after sending"
        ),
        pytest.param([], asyncio.CancelledError(), False, id="cancelled before"),
    ],
)
async def test_a_call_tells_whether_it_may_be_billed(ends, failure, doubtful):
    """One attempt without a known outcome is enough, whatever the end."""
    told = Told()
    call = call_of(told)
    await met(call, *ends)

    call.ended(failure)

    assert ended(told).possibly_billed is doubtful
    assert ended(told).error == (failure and type(failure).__name__)
    assert len(ended(told).attempts) == len(ends)


async def test_an_unfinished_call_may_cost_more():
    """What was left before its end may have made more images than arrived."""
    told = Told()
    call = call_of(told)
    await make(call)
    call.unfinished = True

    call.ended(None)

    assert ended(told).possibly_billed


async def test_attempts_are_values():
    """What is kept of an attempt holds no exception, and so no frames."""
    call = call_of(Told())

    await met(call, RateLimitError("429", status_code=429, request_id="r1"))

    [attempt] = call.attempts
    assert attempt == Attempt(
        fate="refused",
        elapsed=attempt.elapsed,
        error="RateLimitError",
        status_code=429,
        request_id="r1",
    )


@pytest.mark.parametrize(
    ("end", "kinds"),
    [
        pytest.param("done", [], id="an answer"),
        pytest.param(BadRequestError("400", status_code=400), [], id="refusal"),
        pytest.param(OutcomeUnknownError("cut"), [CallEnded], id="unknown outcome"),
    ],
)
async def test_a_quiet_call_tells_what_may_be_lost(end, kinds):
    """Where nobody listens, money that may be lost is still told of."""
    told = Told()

    with contextlib.suppress(SeedreamError):
        async with Call(7, "m", told.append, quiet=True) as call:
            await make(call, end)

    assert [type(event) for event in told] == kinds
    assert all(event.possibly_billed for event in told)


async def test_a_quiet_call_tells_of_a_retry():
    """That a request is sent again is told in any case."""
    told = Told()

    Call(7, "m", told.append, quiet=True).retry_scheduled(1, BadRequestError("400"), 0.5)

    assert [type(event) for event in told] == [RetryScheduled]
