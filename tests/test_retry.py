"""Whether to try again, and when."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import (
    APIConnectionError,
    DownloadError,
    OutcomeUnknownError,
    RateLimitError,
    RetryPolicy,
    Timeout,
    _retry,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BUSY = APIConnectionError("refused", retryable=True)


class Script:
    """Attempts that end as listed; records the waits between them."""

    def __init__(self, *ends):
        self.ends = list(ends)
        self.waits = []

    async def attempt(self):
        end = self.ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end

    async def sleep(self, seconds):
        self.waits.append(seconds)

    async def run(self, policy=RetryPolicy(), budget=100, **options):
        return await _retry.run(
            self.attempt,
            policy,
            _retry.Budget(budget),
            sleep=self.sleep,
            jitter=lambda: 1.0,
            **options,
        )


async def test_retries_what_is_free():
    """Waits double until an attempt succeeds."""
    script = Script(BUSY, BUSY, BUSY, "done")

    assert await script.run() == "done"
    assert script.waits == [1, 2, 4]


@pytest.mark.parametrize(
    "error",
    [OutcomeUnknownError("cut"), RateLimitError("quota"), ValueError("bug"), KeyboardInterrupt()],
    ids=["outcome unknown", "not retryable", "not ours", "interrupt"],
)
async def test_lets_everything_else_through(error):
    """What is not marked as free is not tried again."""
    script = Script(error, "never")

    with pytest.raises(type(error)) as excinfo:
        await script.run()

    assert excinfo.value is error
    assert script.ends == ["never"]


async def test_gives_up():
    """The last error is let through, with a note."""
    error = APIConnectionError("refused", retryable=True)
    script = Script(*[error] * 3)

    with pytest.raises(APIConnectionError) as excinfo:
        await script.run(RetryPolicy(attempts=3))

    assert excinfo.value.__notes__ == ["gave up after attempt 3"]


async def test_waits_as_long_as_asked():
    """Retry-After is a floor under the backoff."""
    script = Script(RateLimitError("slow down", retryable=True, retry_after=9.5), "done")

    await script.run()

    assert script.waits == [9.5]


async def test_does_not_wait_longer_than_allowed():
    """A service that asks for too much is not waited for."""
    script = Script(RateLimitError("slow down", retryable=True, retry_after=61), "never")

    with pytest.raises(RateLimitError):
        await script.run(RetryPolicy(max_retry_after=60))

    assert script.waits == []


async def test_does_not_begin_a_wait_that_outlasts_the_call():
    """A wait that would end after the total time-out is not begun."""
    script = Script(BUSY, BUSY, "never")

    with pytest.raises(APIConnectionError):
        await script.run(remaining=lambda: 1.5)

    assert script.waits == [1]


@given(
    attempt=st.integers(1, 5000),
    initial=st.floats(0, 60),
    cap=st.floats(0, 600),
    jitter=st.floats(0, 1),
)
def test_backoff_is_bounded(attempt, initial, cap, jitter):
    """No backoff is negative or exceeds the cap."""
    policy = RetryPolicy(wait_initial=initial, wait_max=cap)

    assert 0 <= _retry.compute_wait(policy, BUSY, attempt, jitter) <= cap


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param({}, None, id="absent"),
        pytest.param({"retry-after": "3"}, 3, id="seconds"),
        pytest.param({"retry-after": " 1.5 "}, 1.5, id="fraction"),
        pytest.param({"retry-after": "Thu, 01 Jan 2026 00:00:30 GMT"}, 30, id="date"),
        pytest.param({"retry-after": "Thu, 01 Jan 2026 00:00:30 -0000"}, 30, id="date, no zone"),
        pytest.param({"retry-after": "Thu, 01 Jan 2015 00:00:00 GMT"}, 0, id="past"),
        pytest.param(
            {
                "retry-after": "Thu, 01 Jan 2026 10:00:30 GMT",
                "date": "Thu, 01 Jan 2026 10:00:00 GMT",
            },
            30,
            id="date, other clock",
        ),
        *(
            pytest.param({"retry-after": value}, None, id=value or "blank")
            for value in ("", "-1", "nan", "inf", "1e9", "1_0", "٣", "9999999999", "soon")
        ),
    ],
)
def test_retry_after(headers, seconds):
    """Seconds and dates are understood, nonsense is not."""
    assert _retry.parse_retry_after(headers, NOW) == seconds


@given(st.text())
def test_retry_after_never_raises(value):
    """No header value makes it raise, or yields less than nothing."""
    seconds = _retry.parse_retry_after({"retry-after": value, "date": value}, NOW)

    assert seconds is None or 0 <= seconds < math.inf


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (DownloadError("cut", retryable=True), True),
        (DownloadError("gone"), False),
        (OutcomeUnknownError("cut"), False),
        (TimeoutError(), False),
    ],
    ids=["download", "refused download", "unknown", "not ours"],
)
def test_should_retry(error, expected):
    """Only our own errors say that they may be tried again."""
    assert _retry.should_retry(error, RetryPolicy()) is expected


@pytest.mark.parametrize(
    "options",
    [{"attempts": 0}, {"wait_initial": -1}, {"wait_max": -1}, {"max_retry_after": -1}],
    ids=str,
)
def test_nonsense_policies_are_refused(options):
    """A policy is valid from birth, and names what is not."""
    with pytest.raises(ValueError, match=next(iter(options))):
        RetryPolicy(**options)


def test_timeout_of_a_number_is_the_total():
    """A plain number bounds the whole call."""
    assert Timeout.of(5) == Timeout(total=5)
    assert Timeout.of(Timeout(read=1)) == Timeout(read=1)


@pytest.mark.parametrize("name", ["total", "connect", "read"])
def test_nonsense_timeouts_are_refused(name):
    """No limit is zero or less; none at all is spelled None."""
    assert getattr(Timeout(**{name: None}), name) is None
    with pytest.raises(ValueError, match=name):
        Timeout(**{name: 0})
