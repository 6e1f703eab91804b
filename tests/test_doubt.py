"""The words for an outcome that nobody knows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import OutcomeUnknownError
from seedream_async._doubt import gateway_hint, outcome_unknown


@pytest.mark.parametrize(
    ("elapsed", "said"),
    [
        (0.0, None),
        (59.4, None),
        (59.5, 60),
        (60.0, 60),
        (62.0, 62),
        (62.1, None),
        (99.4, None),
        (99.5, 100),
        (102.1, 102),
        (113.0, 113),
        (119.4, 119),
        (126.0, 126),
        (126.1, None),
        (3600.0, None),
    ],
)
def test_a_gateway_is_known_by_when_it_ends(elapsed, said):
    """An end after a minute, or at any time from 100 to 125 s, sounds like a gateway."""
    hint = gateway_hint(elapsed)

    assert bool(hint) is (said is not None)
    assert f" after {said} s " in hint or not hint


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_hint_names_the_time_that_passed(elapsed):
    """No time makes it fail, and what it says is the time, rounded."""
    hint = gateway_hint(elapsed)

    if hint:
        assert abs(elapsed - int(hint.split(" s ")[0].split()[-1])) <= 0.5
        assert "stream()" in hint


def test_says_what_is_certain_and_what_to_do():
    """The message tells that it may be billed, and the first thing to do."""
    error = outcome_unknown("the line went dead", 7.0)

    assert str(error) == (
        "the line went dead. The request had been sent, so the image may have been made and "
        "billed: check the account before sending it again"
    )
    assert type(error) is OutcomeUnknownError
    assert error.possibly_billed
    assert not error.retryable
    assert error.elapsed == 7.0


@pytest.mark.parametrize(
    ("elapsed", "cut", "hinted"),
    [
        pytest.param(100.2, True, True, id="cut by the far side"),
        pytest.param(100.2, False, False, id="ended here"),
        pytest.param(None, True, False, id="nobody looked at the clock"),
        pytest.param(33.0, True, False, id="at no limit of a gateway"),
    ],
)
def test_only_who_cut_the_line_gives_a_hint(elapsed, cut, hinted):
    """Our own time-out at a round number says nothing of a gateway."""
    error = outcome_unknown("cut", elapsed, cut=cut)

    assert str(error).endswith("fewer images per call") is hinted
    assert error.elapsed == elapsed


@pytest.mark.parametrize(
    ("arrived", "said"),
    [
        (1, "1 image had arrived: it is billed, and response holds it"),
        (2, "2 images had arrived: they are billed, and response holds them"),
    ],
)
def test_images_that_arrived_are_no_doubt(arrived, said):
    """What is certain is said apart from what is not."""
    error = outcome_unknown("the stream broke off", 100.0, cut=False, arrived=arrived)

    assert str(error) == (
        f"the stream broke off. Before that, {said}. Whether more were made and billed is "
        "unknown: check the account before sending it again"
    )


def test_facts_are_kept():
    """What else is known is on the error, and what it has no name for is a bug here."""
    error = outcome_unknown("cut", status_code=504, request_id="r1", code="x", final=True)

    assert (error.status_code, error.request_id, error.code, error.final) == (504, "r1", "x", True)
    with pytest.raises(TypeError, match="no attribute 'param'"):
        outcome_unknown("cut", param="size")
