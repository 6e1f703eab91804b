"""Whether to try again, and when."""

import asyncio
import contextlib
import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from seedream_async import (
    APIConnectionError,
    APIResponseValidationError,
    DownloadError,
    InvalidRequestError,
    OutcomeUnknownError,
    RateLimitError,
    RetryPolicy,
    SeedreamError,
    StorageError,
    _retry,
    _retrying,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BUSY = APIConnectionError("refused", retryable=True)
USED_UP = "the retries that Limits allows are used up, as too little succeeds"
RESENDS = RetryPolicy(resend_unknown=True)


class Script:
    """Attempts that end as listed; records the waits between them, and what is told of them."""

    def __init__(self, *ends, budget=100):
        self.ends = list(ends)
        self.budget = _retry.Budget(budget)
        self.waits = []
        self.told = []

    async def attempt(self):
        end = self.ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end

    async def sleep(self, seconds):
        self.waits.append(seconds)

    async def run(self, policy=RetryPolicy(), **options):
        return await _retrying.run(
            self.attempt,
            policy,
            self.budget,
            sleep=self.sleep,
            on_retry=lambda *told: self.told.append(told),
            **{"jitter": lambda: 1.0, **options},
        )


def busy(retry_after=None):
    return RateLimitError("slow down", retryable=True, retry_after=retry_after)


def notes_of(error):
    return getattr(error, "__notes__", [])


async def test_retries_what_is_free():
    """Waits double until an attempt succeeds."""
    script = Script(BUSY, BUSY, BUSY, "done")

    assert await script.run() == "done"
    assert script.waits == [1, 2, 4]


async def test_each_retry_is_told_before_its_wait():
    """Who listens gets the failed attempt's number, its error, and the wait that follows."""
    first, second = busy(), busy(retry_after=7)
    script = Script(first, second, "done")

    await script.run()

    assert script.told == [(1, first, 1.0), (2, second, 7.0)]


@pytest.mark.parametrize(
    "error",
    [OutcomeUnknownError("cut"), RateLimitError("quota"), ValueError("bug"), KeyboardInterrupt()],
    ids=["outcome unknown", "not retryable", "not ours", "interrupt"],
)
async def test_lets_everything_else_through(error):
    """What is not marked as free is not tried again, and needs no note."""
    script = Script(error, "never")

    with pytest.raises(type(error)) as excinfo:
        await script.run()

    assert excinfo.value is error
    assert script.ends == ["never"]
    assert notes_of(error) == []


async def test_gives_up():
    """The last error is let through, with a note."""
    script = Script(busy(), busy(), busy())

    with pytest.raises(RateLimitError) as excinfo:
        await script.run(RetryPolicy(attempts=3))

    assert notes_of(excinfo.value) == ["gave up after attempt 3"]
    assert script.waits == [1, 2]


async def test_a_single_attempt_needs_no_note():
    """Where only one attempt is allowed, nothing was given up."""
    with pytest.raises(RateLimitError) as excinfo:
        await Script(busy()).run(RetryPolicy(attempts=1))

    assert notes_of(excinfo.value) == []


async def test_an_end_that_no_retry_changes_tells_how_many_there_were():
    """The note counts the attempts, also if the last one met something else."""
    script = Script(busy(), OutcomeUnknownError("cut"))

    with pytest.raises(OutcomeUnknownError) as excinfo:
        await script.run()

    assert notes_of(excinfo.value) == ["gave up after attempt 2"]


async def test_waits_as_long_as_asked():
    """Retry-After is a floor under the backoff."""
    script = Script(busy(retry_after=9.5), "done")

    await script.run()

    assert script.waits == [9.5]


async def test_does_not_wait_longer_than_allowed():
    """A service that asks for too much is not waited for, and the note says so."""
    script = Script(busy(retry_after=61), "never")

    with pytest.raises(RateLimitError) as excinfo:
        await script.run(RetryPolicy(max_retry_after=60))

    assert script.waits == []
    assert notes_of(excinfo.value) == [
        "gave up after attempt 1: the service asks for 61 s, more than max_retry_after"
    ]


async def test_does_not_begin_a_wait_that_outlasts_the_call():
    """A wait that would end after the total time-out is not begun, and the note says so."""
    script = Script(busy(), busy(), "never")

    with pytest.raises(RateLimitError) as excinfo:
        await script.run(remaining=lambda: 1.5)

    assert script.waits == [1]
    assert notes_of(excinfo.value) == [
        "gave up after attempt 2: a wait of 2.0 s would leave too little of the total time-out"
    ]


async def test_what_is_left_is_asked_before_each_wait():
    """The clock goes on while attempts are made."""
    left = iter([10.0, 0.5])
    script = Script(busy(), busy(), "never")

    with pytest.raises(RateLimitError):
        await script.run(remaining=lambda: next(left))

    assert script.waits == [1]


async def test_cancelling_a_wait_makes_no_attempt():
    """A call that is cancelled while it waits ends there, without a note."""
    script = Script(busy(), "never")

    async def sleep(_):
        raise asyncio.CancelledError

    script.sleep = sleep
    with pytest.raises(asyncio.CancelledError) as excinfo:
        await script.run()

    assert script.ends == ["never"]
    assert notes_of(excinfo.value) == []


async def test_who_opts_in_has_an_unknown_outcome_repeated():
    """With resend_unknown, the request is sent again although it may be paid for twice."""
    script = Script(OutcomeUnknownError("cut"), OutcomeUnknownError("cut"), "done")

    assert await script.run(RESENDS) == "done"


async def test_final_wins_over_resend_unknown():
    """An answer that asks not to be repeated is not repeated, whatever the policy."""
    script = Script(OutcomeUnknownError("504", final=True), "never")

    with pytest.raises(OutcomeUnknownError):
        await script.run(RESENDS)

    assert script.ends == ["never"]


async def test_an_outage_empties_the_budget():
    """Calls share their retries; when there are none, errors are passed on at once, with a note."""
    script = Script(*(busy() for _ in range(6)), budget=3)
    errors = []

    for _ in range(3):
        with pytest.raises(RateLimitError) as excinfo:
            await script.run(RetryPolicy(attempts=3))
        errors.append(excinfo.value)

    assert script.waits == [1, 2, 1]
    assert [notes_of(error) for error in errors] == [
        ["gave up after attempt 3"],
        [f"gave up after attempt 2: {USED_UP}"],
        [f"gave up after attempt 1: {USED_UP}"],
    ]


async def test_each_success_gives_a_retry_back():
    """After an outage, what succeeds pays for what does not."""
    script = Script(busy(), busy(), "done", busy(), "done", budget=1)

    with pytest.raises(RateLimitError):
        await script.run()
    await script.run()
    await script.run()

    assert script.waits == [1, 1]


async def test_giving_up_for_another_reason_takes_no_retry():
    """What is not tried again costs the others nothing."""
    script = Script(
        busy(),
        busy(retry_after=999),
        OutcomeUnknownError("cut"),
        busy(),
        "done",
        budget=1,
    )

    with pytest.raises(RateLimitError):
        await script.run(RetryPolicy(attempts=1))
    with pytest.raises(RateLimitError):
        await script.run()
    with pytest.raises(OutcomeUnknownError):
        await script.run()

    assert await script.run() == "done"


class BudgetMachine(RuleBasedStateMachine):
    """A budget beside the number that it stands for."""

    def __init__(self):
        super().__init__()
        self.size = self.left = None

    @precondition(lambda self: self.size is None)
    @rule(size=st.integers(0, 5))
    def make(self, size):
        self.budget = _retry.Budget(size)
        self.size = self.left = size

    @precondition(lambda self: self.size is not None)
    @rule()
    def take(self):
        assert self.budget.take() is (self.left > 0)
        self.left = max(0, self.left - 1)

    @precondition(lambda self: self.size is not None)
    @rule()
    def give(self):
        self.budget.give()
        self.left = min(self.size, self.left + 1)

    @invariant()
    def is_bounded(self):
        if self.size is not None:
            assert 0 <= self.budget._left == self.left <= self.size


TestBudget = BudgetMachine.TestCase


waits = st.floats(0, 1e6)
policies = st.builds(
    RetryPolicy,
    attempts=st.integers(1, 8),
    wait_initial=waits,
    wait_max=waits,
    max_retry_after=waits,
    resend_unknown=st.booleans(),
)
asked = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.floats(0, 1000)
errors = st.one_of(
    st.builds(RateLimitError, st.just("429"), retryable=st.booleans(), retry_after=asked),
    st.builds(APIConnectionError, st.just("refused"), retryable=st.booleans()),
    st.builds(DownloadError, st.just("cut"), retryable=st.booleans()),
    st.builds(OutcomeUnknownError, st.just("504"), final=st.booleans()),
    st.builds(APIResponseValidationError, st.just("page")),
)


@given(
    ends=st.lists(errors, max_size=8),
    policy=policies,
    budget=st.integers(0, 8),
    jitter=st.floats(0, 1),
    total=st.floats(0, 1e7) | st.just(math.inf),
)
def test_no_end_makes_a_call_too_patient(ends, policy, budget, jitter, total):
    """Whatever the errors say: few attempts, bounded waits, and nothing doubtful sent again."""
    script = Script(*ends, "done", budget=budget)

    with contextlib.suppress(SeedreamError):
        asyncio.run(
            script.run(
                policy, jitter=lambda: jitter, remaining=lambda: total - math.fsum(script.waits)
            )
        )

    longest = max(policy.wait_max, policy.max_retry_after)
    assert all(0 <= wait <= longest for wait in script.waits)
    assert len(script.waits) <= min(policy.attempts - 1, budget)
    assert math.fsum(script.waits) <= total + 1e-6
    for error in ends[: len(script.waits)]:
        doubtful = isinstance(error, OutcomeUnknownError)
        assert policy.resend_unknown and not error.final if doubtful else error.retryable
        assert not isinstance(error, APIResponseValidationError)


@given(policy=policies, error=errors, attempt=st.integers(1, 5000), jitter=st.floats(0, 1))
def test_waits_are_bounded(policy, error, attempt, jitter):
    """No wait is negative, above what was asked or the cap, or below what was asked."""
    wait = _retry.compute_wait(policy, error, attempt, jitter)

    wish = getattr(error, "retry_after", None) or 0.0
    wish = 0.0 if math.isnan(wish) else wish
    assert max(0, wish) <= wait <= max(policy.wait_max, wish)


@pytest.mark.parametrize(
    ("attempt", "jitter", "error", "wait"),
    [
        (1, 1.0, BUSY, 2.0),
        (2, 1.0, BUSY, 4.0),
        (4, 1.0, BUSY, 10.0),
        (4, 0.5, BUSY, 5.0),
        (9, 0.0, BUSY, 0.0),
        (1, 1.0, busy(retry_after=1), 2.0),
        (1, 0.0, busy(retry_after=1), 1.0),
        (1, 1.0, busy(retry_after=50), 50.0),
        (1, 1.0, busy(retry_after=-5), 2.0),
    ],
)
def test_waits(attempt, jitter, error, wait):
    """Full jitter under a doubling cap, over the service's floor."""
    policy = RetryPolicy(wait_initial=2, wait_max=10)

    assert _retry.compute_wait(policy, error, attempt, jitter) == wait


@pytest.mark.parametrize(
    ("attempt", "error", "wait", "left", "reason"),
    [
        pytest.param(3, BUSY, 0, 99, "", id="the last attempt"),
        pytest.param(4, BUSY, 0, 99, "", id="beyond the last"),
        pytest.param(3, busy(99), 0, 0, "", id="the last attempt goes first"),
        pytest.param(1, busy(11), 11, 99, "the service asks for 11 s", id="asked for too much"),
        pytest.param(1, busy(10), 10, 99, None, id="asked for as much as allowed"),
        pytest.param(1, BUSY, 9, 9, "a wait of 9.0 s would leave too little", id="no time left"),
        pytest.param(1, BUSY, 9, 9.1, None, id="time left"),
        pytest.param(1, BUSY, 9, math.inf, None, id="no total"),
    ],
)
def test_why_a_call_stops(attempt, error, wait, left, reason):
    """Each reason to stop is told in words; none means that there is another attempt."""
    policy = RetryPolicy(attempts=3, max_retry_after=10)

    ending = _retry.why_stop(policy, error, attempt, wait, left)

    assert ending == reason if not reason else ending.startswith(reason)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({}, None, id="absent"),
        pytest.param({"retry-after": "3"}, 3, id="seconds"),
        pytest.param({"retry-after": "0"}, 0, id="at once"),
        pytest.param({"retry-after": " 1.5 "}, 1.5, id="fraction"),
        pytest.param({"retry-after": "86401"}, 86_400, id="more than a day"),
        pytest.param({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, 30, id="date"),
        pytest.param({"retry-after": "Thu, 01 Jan 2026 00:00:30 -0000"}, 30, id="date, no zone"),
        pytest.param({"retry-after": "Thu, 01 Jan 2015 00:00:00 GMT"}, 0, id="past"),
        pytest.param({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, 86_400, id="far future"),
        pytest.param(
            {
                "retry-after": "Thu, 01 Jan 2026 10:00:30 GMT",
                "date": "Thu, 01 Jan 2026 10:00:00 GMT",
            },
            30,
            id="date, other clock",
        ),
        pytest.param(
            {"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT", "date": "now"}, 30, id="odd clock"
        ),
        pytest.param({"retry-after-ms": "250"}, 0.25, id="milliseconds"),
        pytest.param({"retry-after-ms": "250", "retry-after": "9"}, 0.25, id="the more exact"),
        pytest.param({"retry-after-ms": "soon", "retry-after": "9"}, 9, id="odd milliseconds"),
        pytest.param({"retry-after-ms": "999999999"}, 86_400, id="many milliseconds"),
        *(
            pytest.param({name: value}, None, id=f"{name}: {value or 'blank'}")
            for name in ("retry-after", "retry-after-ms")
            for value in ("", "-1", "nan", "inf", "1e9", "1_0", "٣", "9999999999", "soon")
        ),
        pytest.param(
            {"retry-after-ms": "Thu, 01 Jan 2026 00:00:30 GMT"}, None, id="a date of milliseconds"
        ),
    ],
)
def test_retry_after(headers, seconds):
    """Seconds, milliseconds and dates are understood, nonsense is not."""
    assert _retry.parse_retry_after(headers, NOW) == seconds


dates = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Thu", "Xxx", ""]),
    st.integers(0, 32),
    st.sampled_from(["Jan", "Feb", "Dec", "Foo"]),
    st.integers(0, 10_000),
    st.integers(0, 25),
    st.integers(0, 61),
    st.integers(0, 61),
    st.sampled_from(["GMT", "UTC", "-0000", "+2359", "-2359", "+9999", "EST", "?", ""]),
)
values = st.text() | dates | st.integers().map(str) | st.floats().map(str)


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), values))
def test_retry_after_never_raises(headers):
    """No header value makes it raise, or yields less than nothing or more than a day."""
    seconds = _retry.parse_retry_after(headers, NOW)

    assert seconds is None or 0 <= seconds <= 86_400


@pytest.mark.parametrize(
    ("error", "policy", "expected"),
    [
        pytest.param(DownloadError("cut", retryable=True), RetryPolicy(), True, id="download"),
        pytest.param(DownloadError("gone"), RetryPolicy(), False, id="refused download"),
        pytest.param(BUSY, RetryPolicy(), True, id="never sent"),
        pytest.param(OutcomeUnknownError("cut"), RetryPolicy(), False, id="unknown"),
        pytest.param(
            OutcomeUnknownError("cut", retryable=True), RetryPolicy(), False, id="unknown, marked"
        ),
        pytest.param(OutcomeUnknownError("cut"), RESENDS, True, id="unknown, opted in"),
        pytest.param(OutcomeUnknownError("504", final=True), RESENDS, False, id="unknown, final"),
        pytest.param(APIResponseValidationError("page"), RESENDS, False, id="undocumented answer"),
        pytest.param(RateLimitError("quota"), RESENDS, False, id="not retryable"),
        pytest.param(StorageError("full"), RESENDS, False, id="disk"),
        pytest.param(InvalidRequestError("size"), RESENDS, False, id="invalid"),
        pytest.param(TimeoutError(), RESENDS, False, id="not ours"),
        pytest.param(asyncio.CancelledError(), RESENDS, False, id="cancelled"),
    ],
)
def test_should_retry(error, policy, expected):
    """Only our own errors say that they may be tried again; an unknown outcome never says so."""
    assert _retry.should_retry(error, policy) is expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("attempts", value) for value in (0, -1, 1.0, True, "3", None)),
        *(
            (name, value)
            for name in ("wait_initial", "wait_max", "max_retry_after")
            for value in (-1, -0.001, 10**30, math.inf, math.nan, True, "1", None)
        ),
        *(("resend_unknown", value) for value in ("no", 0, 1, None)),
    ],
)
def test_nonsense_policies_are_refused(name, value):
    """A policy is valid from birth, and names what is not."""
    with pytest.raises(InvalidRequestError, match=f"^{name} must be .*not {value!r}$") as excinfo:
        RetryPolicy(**{name: value})

    assert excinfo.value.field == name


def test_no_wait_at_all():
    """Zero is a wait like any other."""
    policy = RetryPolicy(wait_initial=0, wait_max=0, max_retry_after=0)

    assert _retry.compute_wait(policy, BUSY, 3, 1.0) == 0
    assert _retry.why_stop(policy, busy(0), 3, 0, 1) is None
