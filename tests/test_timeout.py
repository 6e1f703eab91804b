"""Time limits: what a caller may allow, and what that leaves for one attempt."""

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from seedream_async import InvalidRequestError, Timeout
from seedream_async._timeout import Bounds

NAMES = ("total", "attempt", "connect", "read")

numbers = st.integers(1, 10**6) | st.floats(0.001, 1e6)
counts = st.integers(1, 100)


def limits_of(*values):
    return st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, st.one_of(*values)))


def accepted(limits):
    try:
        return Timeout(**limits)
    except InvalidRequestError:
        assume(False)


def seconds_of(bounds):
    return tuple(getattr(bounds, name) for name in NAMES)


@pytest.mark.parametrize(
    ("images", "seconds"),
    [
        pytest.param(1, (600, 300, 15, 300), id="one image"),
        pytest.param(2, (660, 360, 15, 360), id="two"),
        pytest.param(15, (1440, 1140, 15, 1140), id="the largest group"),
        pytest.param(100, (6540, 6240, 15, 6240), id="layers"),
    ],
)
def test_automatic_limits_grow_with_the_images(images, seconds):
    """Each image beyond the first adds a minute, except to the time for connecting."""
    assert seconds_of(Timeout().bounds(images)) == seconds


@pytest.mark.parametrize(
    ("limits", "seconds"),
    [
        pytest.param({"total": 100}, (100, 100, 15, 100), id="total"),
        pytest.param({"total": 5}, (5, 5, 5, 5), id="total below all others"),
        pytest.param({"total": 400}, (400, 360, 15, 360), id="total above the attempt"),
        pytest.param({"attempt": 1000}, (1000, 1000, 15, 360), id="attempt above the total"),
        pytest.param({"attempt": 20}, (660, 20, 15, 20), id="attempt"),
        pytest.param({"connect": 700}, (700, 700, 700, 360), id="connect above the total"),
        pytest.param({"connect": 1}, (660, 360, 1, 360), id="connect"),
        pytest.param({"read": 1}, (660, 360, 15, 1), id="read"),
        pytest.param({"read": 9999}, (660, 360, 15, 9999), id="read is not bounded"),
        pytest.param({"total": None}, (math.inf, 360, 15, 360), id="no total"),
        pytest.param({"attempt": None}, (660, math.inf, 15, 360), id="no attempt"),
        pytest.param({"connect": None}, (660, 360, math.inf, 360), id="no connect"),
        pytest.param({"read": None}, (660, 360, 15, math.inf), id="no read"),
        pytest.param(dict.fromkeys(NAMES), (math.inf,) * 4, id="none at all"),
    ],
)
def test_what_is_given_wins(limits, seconds):
    """A number or None is taken as it stands, and what is automatic makes room for it."""
    assert seconds_of(Timeout(**limits).bounds(images=2)) == seconds


@given(limits=limits_of(st.just("auto"), st.none(), numbers), images=counts)
def test_no_image_changes_what_is_given(limits, images):
    """However many images are asked for, an explicit limit stays what it is."""
    bounds = accepted(limits).bounds(images)

    for name, limit in limits.items():
        if limit != "auto":
            assert getattr(bounds, name) == (math.inf if limit is None else limit)


@given(limits=limits_of(st.just("auto"), numbers), images=counts)
def test_each_limit_is_within_the_next(limits, images):
    """Whatever numbers are given: connect <= attempt <= total, and an automatic read fits in."""
    bounds = accepted(limits).bounds(images)

    assert 0 < bounds.connect <= bounds.attempt <= bounds.total
    assert bounds.read > 0
    if limits.get("read", "auto") == "auto":
        assert bounds.read <= bounds.attempt


@given(limits=limits_of(st.just("auto"), st.none(), numbers), images=counts)
def test_more_images_get_no_less_time(limits, images):
    """One image more never makes a limit shorter."""
    timeout = accepted(limits)

    fewer, more = timeout.bounds(images), timeout.bounds(images + 1)

    assert all(a <= b for a, b in zip(seconds_of(fewer), seconds_of(more), strict=True))


@given(limits=limits_of(st.just("auto"), st.none(), numbers))
def test_a_limit_below_what_it_bounds_is_refused(limits):
    """Exactly the numbers that contradict each other are refused, and the outer one is named."""
    contradictions = [
        outer
        for outer, inner in (("total", "attempt"), ("total", "connect"), ("attempt", "connect"))
        if all(isinstance(limits.get(name), int | float) for name in (outer, inner))
        and limits[outer] < limits[inner]
    ]

    if not contradictions:
        assert Timeout(**limits)
        return
    with pytest.raises(InvalidRequestError, match="which it bounds") as excinfo:
        Timeout(**limits)

    assert excinfo.value.field == contradictions[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        0.0,
        math.nan,
        10**30,
        -math.inf,
        True,
        False,
        "",
        "10",
        "AUTO",
        "none",
        [5],
        b"5",
        5j,
        10**400,
    ],
    ids=repr,
)
def test_nonsense_is_refused(name, value):
    """No limit is zero, less, or no number; none at all is spelled None."""
    with pytest.raises(InvalidRequestError, match=f"^{name} must be .*above 0") as excinfo:
        Timeout(**{name: value})

    assert excinfo.value.field == name


def test_infinite_is_no_limit():
    """Who writes infinity means None."""
    assert Timeout(total=math.inf).bounds() == Timeout(total=None).bounds()


def test_limits_are_named_or_in_order():
    """Four numbers are total, attempt, connect and read."""
    assert Timeout(40, 30, 20, 10) == Timeout(total=40, attempt=30, connect=20, read=10)


def test_a_plain_number_is_the_total():
    """A number bounds the whole call, and a value is taken as it is."""
    given = Timeout(read=1)

    assert Timeout.of(5) == Timeout(total=5)
    assert Timeout.of(given) is given


@pytest.mark.parametrize("value", [0, True, "soon"], ids=repr)
def test_a_plain_number_is_a_positive_number(value):
    """What is no limit is none in this place either."""
    with pytest.raises(InvalidRequestError) as excinfo:
        Timeout.of(value)

    assert excinfo.value.field == "total"


@pytest.mark.parametrize(
    ("spent", "whole", "name"),
    [
        pytest.param(0, 30, "attempt=30 s", id="fresh"),
        pytest.param(70, 30, "total=100 s", id="just enough for an attempt"),
        pytest.param(75, 25, "total=100 s", id="too little for an attempt"),
    ],
)
def test_an_attempt_gets_what_is_left(spent, whole, name):
    """An attempt takes its own limit, or the rest of the call; messages name the one that ends it."""
    bounds = Bounds(total=100, attempt=30).after(spent)

    assert bounds.whole == whole
    assert bounds.name == name


def test_names_are_short():
    """Seconds are printed without a fraction that nobody gave."""
    assert Bounds(total=2.5).name == "total=2.5 s"
    assert Bounds(attempt=600.0).name == "attempt=600 s"


def test_an_attempt_that_began_has_a_moment():
    """aiohttp takes 0 for no limit, so a call that is over leaves more than that."""
    assert 0 < Bounds(total=10).after(10).whole < 0.01
    assert 0 < Bounds(total=10).after(1000).whole < 0.01


def test_without_a_total_time_never_ends():
    """However long a call took, what has no end has an infinity left."""
    bounds = Bounds(attempt=5).after(10**9)

    assert (bounds.left, bounds.whole) == (math.inf, 5)


@given(total=numbers, attempt=numbers, spent=st.floats(0, 1e7), later=st.floats(0, 1e7))
def test_time_only_goes_by(total, attempt, spent, later):
    """What is left is never negative or more than before; an attempt outlasts it by 1 ms at most."""
    bounds = Bounds(total=total, attempt=attempt)

    before, after = bounds.after(spent), bounds.after(spent).after(spent + later)

    assert 0 <= after.left <= before.left
    assert 0 < after.whole <= max(0.001, min(attempt, after.left))
    assert (after.connect, after.read, after.total) == (math.inf, math.inf, total)
