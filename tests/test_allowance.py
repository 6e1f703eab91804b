"""How much may still be made and spent: values only."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import BudgetReachedError, GenerateRequest, ImagesResponse, InvalidRequestError
from seedream_async._allowance import Allowance, Spend, came_of, most_of
from seedream_async._catalog import DEFAULT_MODEL, FAMILIES
from seedream_async._events import Attempt
from seedream_async._models import Image, Usage

GROUP = GenerateRequest("cats", sequential_image_generation="auto", max_images=4)


def attempts(*fates):
    return tuple(Attempt(fate=fate, elapsed=1.0) for fate in fates)


def answer(images, generated=None):
    usage = None if generated is None else Usage(generated_images=generated)
    return ImagesResponse(data=(Image(url="u"),) * images, usage=usage)


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        pytest.param({"max_images": -1}, "max_images", id="negative images"),
        pytest.param({"max_images": 2.0}, "max_images", id="a float of images"),
        pytest.param({"max_images": True}, "max_images", id="a claim of images"),
        pytest.param({"max_cost": -0.01}, "max_cost", id="negative cost"),
        pytest.param({"max_cost": math.nan}, "max_cost", id="no number"),
        pytest.param({"max_cost": math.inf}, "max_cost", id="endless cost"),
        pytest.param({"max_cost": "3"}, "max_cost", id="text"),
        pytest.param({"max_cost": True}, "max_cost", id="a claim of cost"),
    ],
)
def test_bad_limits_are_refused(limits, field):
    """The argument at fault is named."""
    with pytest.raises(InvalidRequestError, match=field) as excinfo:
        Allowance(**limits)

    assert excinfo.value.field == field


def test_what_is_in_flight_counts_as_the_most():
    """What is held may come to all of it, so that nothing else fits beside it."""
    allowance = Allowance(max_images=4).reserve(Spend(3))

    assert allowance.fits(Spend(1))
    assert not allowance.fits(Spend(2))
    assert allowance.refusal(Spend(2)) is None
    assert allowance.settle(Spend(3), Spend(2)).fits(Spend(2))


@pytest.mark.parametrize(
    ("allowance", "field", "words"),
    [
        pytest.param(
            Allowance(max_images=4, spent=Spend(3, 90_000)),
            "max_images",
            "max_images=4 is reached, as this request may make 2 more than the 3",
            id="images",
        ),
        pytest.param(
            Allowance(max_cost=0.1, spent=Spend(3, 90_000)),
            "max_cost",
            "max_cost=0.1 is reached, as this request may cost 0.06 more than the 0.09",
            id="cost",
        ),
    ],
)
def test_what_can_never_fit_is_refused(allowance, field, words):
    """The error names the limit, what is spent, and that nothing was sent."""
    refusal = allowance.refusal(Spend(2, 60_000))

    assert isinstance(refusal, BudgetReachedError)
    assert refusal.field == field
    assert words in str(refusal)
    assert not refusal.possibly_billed


def test_cents_add_up():
    """Ten images of 0.03 cost 0.3, not a little more."""
    allowance = Allowance(max_cost=0.3)
    most = most_of(GenerateRequest("a cat"), DEFAULT_MODEL, (0.03, "USD"), priced=True)

    for _ in range(10):
        assert allowance.fits(most)
        allowance = allowance.reserve(most).settle(most, most)

    assert not allowance.fits(Spend(1, 1))


@pytest.mark.parametrize(
    ("request_", "most"),
    [
        pytest.param(GenerateRequest("a cat"), Spend(1, 30_000), id="one"),
        pytest.param(GROUP, Spend(4, 120_000), id="group"),
        pytest.param(
            GenerateRequest("cats", extra_body={"sequential_image_generation": "auto"}),
            Spend(17, 510_000),
            id="what the estimate does not know",
        ),
    ],
)
def test_the_most_that_a_request_may_come_to(request_, most):
    """A reservation is of as many images as there may be, at their price."""
    assert most_of(request_, DEFAULT_MODEL, (0.03, "USD"), priced=True) == most
    assert most_of(request_, DEFAULT_MODEL, None, priced=False) == Spend(most.images)


def test_no_price_no_limit_of_cost():
    """A model whose price nobody knows cannot be held to a cost."""
    request = GenerateRequest("a cat", model="new")

    with pytest.raises(InvalidRequestError, match="no price of new") as excinfo:
        most_of(request, DEFAULT_MODEL, None, priced=True)

    assert excinfo.value.field == "price"
    assert most_of(request, DEFAULT_MODEL, None, priced=False) == Spend(1)


def test_prices_of_the_catalogue_can_be_added():
    """A cost is in one currency, whatever models the requests name."""
    assert {family.prices[0].currency for family in FAMILIES if family.prices} == {"USD"}


@pytest.mark.parametrize(
    ("fates", "response", "came"),
    [
        pytest.param(["answered"], answer(3), Spend(3, 75), id="images"),
        pytest.param(["answered"], answer(2, generated=3), Spend(3, 75), id="usage says more"),
        pytest.param(["answered"], answer(2, generated=0), Spend(2, 50), id="usage says less"),
        pytest.param(["answered"], answer(0), Spend(), id="all filtered"),
        pytest.param(["refused", "answered"], answer(4), Spend(4, 100), id="second attempt"),
        pytest.param(["unknown", "answered"], answer(4), Spend(8, 200), id="sent twice"),
        pytest.param([], answer(4), Spend(4, 100), id="nobody counted"),
        pytest.param(["unknown"], None, Spend(4, 100), id="unknown"),
        pytest.param(["answered"], None, Spend(4, 100), id="no good answer"),
        pytest.param(["refused", "never sent"], None, Spend(), id="free"),
        pytest.param([], None, Spend(), id="not even tried"),
    ],
)
def test_what_came_of_a_request(fates, response, came):
    """What was made is counted; what may have been made counts as the most."""
    assert came_of(Spend(4, 100), attempts(*fates), response) == came


@given(
    limit=st.integers(0, 50),
    sizes=st.lists(st.tuples(st.integers(1, 15), st.floats(0, 1)), max_size=40),
)
def test_a_limit_is_never_passed(limit, sizes):
    """As long as nothing is sent that does not fit, the limit holds, whatever comes."""
    allowance, held = Allowance(max_images=limit), []
    for most, part in sizes:
        if allowance.fits(Spend(most)):
            allowance = allowance.reserve(Spend(most))
            held.append((most, int(most * part)))
        elif held:
            oldest, came = held.pop(0)
            allowance = allowance.settle(Spend(oldest), Spend(came))

        assert (allowance.spent + allowance.held).images <= limit
