"""How fast to go: buckets, the last minute, the rate that an account has, the width."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import (
    APIConnectionError,
    InsufficientQuotaError,
    InternalServerError,
    OutcomeUnknownError,
    RateLimitError,
)
from seedream_async._pace import Bucket, Found, Width, Window, signal_of

RATES = st.integers(1, 3000)
STEPS = st.lists(
    st.tuples(st.integers(1, 40), st.floats(0, 30), st.integers(0, 40), st.booleans()), max_size=40
)


@pytest.mark.parametrize(
    ("error", "signal"),
    [
        pytest.param(RateLimitError("no", status_code=429), "rate", id="429"),
        pytest.param(
            RateLimitError("no", code="RateLimitExceeded.EndpointRPMExceeded"),
            "rate",
            id="requests",
        ),
        pytest.param(
            RateLimitError("no", code="ModelAccountIpmRateLimitExceeded"), "rate", id="images"
        ),
        pytest.param(RateLimitError("no", code="ServerOverloaded"), "overload", id="overloaded"),
        pytest.param(RateLimitError("no", code="ModelLoadingError.Soon"), "overload", id="loading"),
        pytest.param(
            InternalServerError("no", status_code=503, retryable=True),
            "overload",
            id="503 that says when",
        ),
        pytest.param(InternalServerError("no", status_code=503), None, id="503"),
        pytest.param(OutcomeUnknownError("no", status_code=504), "overload", id="504"),
        pytest.param(OutcomeUnknownError("no", status_code=500), None, id="500"),
        pytest.param(OutcomeUnknownError("no"), None, id="cut"),
        pytest.param(InsufficientQuotaError("no", status_code=429), None, id="quota"),
        pytest.param(APIConnectionError("no"), None, id="unsent"),
        pytest.param(KeyboardInterrupt(), None, id="ctrl-c"),
    ],
)
def test_what_an_error_says_of_our_traffic(error, signal):
    """A rate and an overload are told apart by status and code; nothing else is a sign."""
    assert signal_of(error) == signal


@given(RATES, STEPS)
def test_never_more_than_the_rate_and_the_burst(rate, steps):
    """In any window, what is granted less what comes back is within the rate and the burst."""
    bucket, now, moves = Bucket(rate), 0.0, []
    for weight, idle, unused, settles in steps:
        now = max(now + idle, bucket.ready_at(weight))
        bucket.take(weight, now)
        charged = min(weight, rate)
        moves.append((now, charged))
        if settles:
            used = max(0, charged - unused)
            bucket.settle(weight, used, now)
            moves.append((now, used - charged))

    burst = max([1, rate / 30, *(amount for _, amount in moves)])
    for first, (start, _) in enumerate(moves):
        granted = 0
        for at, amount in moves[first:]:
            granted += amount
            assert granted <= rate / 60 * (at - start) + burst + 1e-6


@given(RATES, STEPS)
def test_nothing_is_wasted(rate, steps):
    """Whoever asks without a pause is granted the whole rate, whatever the weights."""
    bucket, now, granted = Bucket(rate), 0.0, 0
    for weight, *_ in steps:
        now = max(now, bucket.ready_at(weight))
        bucket.take(weight, now)
        granted += min(weight, rate)

    assert granted >= rate / 60 * now


def test_a_heavy_one_waits_for_no_more_than_a_full_bucket():
    """What is too heavy to be saved up for goes at once, and the next one waits for it."""
    bucket = Bucket(60)  # 1 per second, 2 saved

    heavy = bucket.ready_at(15)
    bucket.take(15, 100.0)

    assert heavy <= 100
    assert bucket.ready_at(1) == pytest.approx(100 + 14)


def test_nobody_is_charged_more_than_a_minute():
    """A weight above the limit costs the whole minute; what was made beyond it is owed later."""
    bucket = Bucket(10)

    bucket.take(40, 0.0)
    charged = bucket.ready_at(1)
    bucket.settle(40, 12, 0.0)

    assert charged == pytest.approx(60)
    assert bucket.ready_at(1) == pytest.approx(60 + 12)


def test_a_debt_is_owed_by_a_bucket_that_was_long_full():
    """More than was charged is owed from now on, however long ago the grant was."""
    bucket = Bucket(60)
    bucket.take(1, 0.0)

    bucket.settle(1, 5, 1000.0)

    assert bucket.ready_at(1) == pytest.approx(1003)


def test_another_rate_keeps_what_is_saved_and_owed():
    """A bucket that is retuned owes as many tokens as before."""
    bucket = Bucket(60)
    bucket.take(12, 0.0)

    bucket.retune(120, 0.0)

    assert bucket.ready_at(1) == pytest.approx(5.5)


@given(st.lists(st.tuples(st.floats(0, 90), st.integers(-3, 9), st.floats(0, 90)), max_size=30))
def test_the_last_minute(steps):
    """The window holds what happened less than a minute ago, by whole seconds."""
    window, now, happened = Window(), 1000.0, []
    for idle, count, ago in steps:
        now += idle
        window.add(count, now - ago, now)
        happened.append((int(now - ago), count))

    assert window.total(now) == sum(count for at, count in happened if int(now) - at < 60)


def refuse(found, passed, at=0.0, wait=0.0):
    return found.refused(1, at, passed=passed, now=at, until=at + wait)


def test_the_first_guess_is_what_passed():
    """What the account took in the minute before it refused is a little more than the guess."""
    found = Found()

    cut = refuse(found, 500)

    assert cut
    assert found.per_minute == 475


def test_few_images_say_nothing_of_a_rate():
    """A refusal after a handful of images is waited out, not learned from."""
    found = Found()

    cuts = [refuse(found, 5) for _ in range(14)]
    found.succeeded()
    cuts += [refuse(found, 5) for _ in range(15)]

    assert cuts == [False] * 28 + [True]
    assert found.per_minute == 10


def test_stragglers_lower_the_first_guess():
    """What was under way at the first refusal and is refused too was not taken either."""
    found = Found()
    refuse(found, 500, at=5.0)

    cut = found.refused(15, 4.0, passed=480, now=6.0, until=6.0)

    assert not cut
    assert found.per_minute == 460


def test_quiet_spells_add_twice_as_much_until_the_next_refusal():
    """A first guess may be far too low, so what is added doubles."""
    found = Found()
    refuse(found, 100)

    rates = []
    for spell in range(1, 6):
        assert found.probe(10.0 * spell)
        assert not found.probe(10.0 * spell + 9)
        rates.append(found.per_minute)

    assert rates == pytest.approx([96.425, 99.275, 104.975, 116.375, 139.175])


def test_a_rate_that_proved_too_high_is_approached_in_even_steps():
    """After a second refusal, what is added stays the same up to what was refused."""
    found = Found()
    refuse(found, 500)
    refuse(found, 470, at=20.0)

    rates = []
    for spell in range(3, 9):
        found.probe(10.0 * spell)
        rates.append(round(found.per_minute, 1))

    assert rates == [453.2, 459.9, 466.6, 473.3, 480.0, 493.4]


def test_who_asks_for_a_long_wait_counts_minutes():
    """A first guess that can be trusted is approached in even steps at once."""
    found = Found()
    refuse(found, 500, wait=50.0)

    rates = []
    for spell in range(6, 11):
        found.probe(10.0 * spell)
        rates.append(round(found.per_minute, 1))

    assert rates == [482.1, 489.2, 496.4, 503.5, 517.8]


@pytest.mark.parametrize(
    ("passed", "left"), [(470, 446.5), (300, 380), (800, 460.75)], ids=["near", "far", "excess"]
)
def test_how_much_a_refusal_takes(passed, left):
    """A cut follows what passed, but no deeper than a fifth, and slightly while excess lasts."""
    found = Found()
    refuse(found, 500)

    refuse(found, passed, at=20.0)

    assert found.per_minute == pytest.approx(left)


def test_never_below_the_floor():
    """Ten images per minute are always tried."""
    found = Found()
    for at in range(100):
        refuse(found, 20, at=float(at))
        found.refused(90, 0.0, passed=0, now=at, until=at)

    assert found.per_minute == 10


def test_a_limit_that_is_never_met_is_forgotten():
    """Who is never refused again has no limit in the end."""
    found = Found()
    refuse(found, 500)

    spells = 0
    while found.per_minute is not None:
        spells += 1
        found.probe(10.0 * spells)

    assert 10 < spells < 30


def test_an_overload_shrinks_the_width_once():
    """All that was under way when the service was too busy counts once."""
    width = Width(32)

    width.shrink(0.0, 5.0)
    width.shrink(4.0, 6.0)

    assert width.value == 22


def test_the_width_grows_by_one_for_a_round_of_successes():
    """The width comes back slowly, and no further than it was."""
    width = Width(4)
    for at in range(20):
        width.shrink(float(at), at + 0.5)
    shrunk = width.value

    values = []
    for _ in range(12):
        width.grow()
        values.append(width.value)

    assert shrunk == 1
    assert values[:4] == [2, 2, 2, 3]
    assert values[-1] == 4
