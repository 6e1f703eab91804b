"""What a request may cost, as the catalogue has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import GenerateRequest, InvalidRequestError, Price, _estimate, estimate
from seedream_async._catalog import FAMILIES, family_of
from seedream_async._estimate import most_images

LITE, V4_5 = "doubao-seedream-5-0-260128", "doubao-seedream-4-5-251128"
PRO, FLASH, V5_5 = (
    "seedream-5-0-pro-260628",
    "seedream-5-0-flash-260915",
    "seedream-5-5-261028",
)
STRANGER = "seedream-9-0-300101"
GROUP = {"sequential_image_generation": "auto"}


@pytest.mark.parametrize(
    ("model", "fields", "images", "amount"),
    [
        pytest.param(LITE, {}, (1, 1), (0.035, 0.035), id="one"),
        pytest.param(V4_5, {}, (1, 1), (0.032, 0.032), id="CometAPI's own price first"),
        pytest.param(FLASH, {"size": "1K"}, (1, 1), (0.018, 0.018), id="flash"),
        pytest.param(LITE, GROUP, (1, 15), (0.035, 0.525), id="group"),
        pytest.param(LITE, {"max_images": 4, **GROUP}, (1, 4), (0.035, 0.14), id="group of 4"),
        pytest.param(LITE, {"max_images": 4}, (1, 1), (0.035, 0.035), id="max_images alone"),
        pytest.param(
            LITE, {"image": ["u"] * 13, **GROUP}, (1, 2), (0.035, 0.07), id="group with references"
        ),
        pytest.param(
            LITE, {"image": ["u"] * 15, **GROUP}, (1, 1), (0.035, 0.035), id="too many references"
        ),
        pytest.param(PRO, {"size": "1024x1024"}, (1, 1), (0.045, 0.045), id="pro, small"),
        pytest.param(PRO, {"size": "2048x2048"}, (1, 1), (0.09, 0.09), id="pro, large"),
        pytest.param(PRO, {"size": "1600x1600"}, (1, 1), (0.045, 0.09), id="pro, disputed"),
        pytest.param(PRO, {"size": "1K"}, (1, 1), (0.045, 0.045), id="pro, 1K"),
        pytest.param(PRO, {"size": "1.5K"}, (1, 1), (0.045, 0.09), id="pro, 1.5K"),
        pytest.param(PRO, {}, (1, 1), (0.09, 0.09), id="pro, default"),
        pytest.param(PRO, {"image": "u"}, (1, 1), (0.09, 0.09), id="first reference is free"),
        pytest.param(PRO, {"image": ["u"] * 3}, (1, 1), (0.09, 0.096), id="references of pro"),
        pytest.param(
            PRO,
            {"image": "u", "layer_decomposition": True},
            (1, 17),
            (0.045, 1.53),
            id="layers",
        ),
        pytest.param(
            PRO,
            {"image": "u", "layer_decomposition": True, "size": "1K"},
            (1, 17),
            (0.045, 0.765),
            id="layers of 1K",
        ),
        pytest.param(
            V5_5,
            {"image": "u", "layer_decomposition": True, "size": "1K"},
            (1, 100),
            (0.02, 2.008),
            id="layers of 5.5",
        ),
    ],
)
def test_estimates(model, fields, images, amount):
    """The range goes from one image at the least price to all of them at the highest."""
    expected = estimate(GenerateRequest("a cat", **fields), model=model)

    assert expected.images == images
    assert expected.amount == amount
    assert expected.currency == "USD"


def test_says_whose_prices_they_are():
    """A price of one source names it, a range of two names both."""
    one = estimate(GenerateRequest("a cat"))
    both = estimate(GenerateRequest("a cat", model=PRO, size="1.5K"))

    assert one.source == "BytePlus list price, 2026-06"
    assert both.source == "CometAPI blog, 2026-08; BytePlus list price, 2026-07"


def test_the_model_of_the_request_comes_first():
    """The model that is passed counts only if the request names none."""
    request = GenerateRequest("a cat", model=V4_5)

    assert estimate(request, model=LITE).amount == (0.032, 0.032)


@pytest.mark.parametrize(
    ("price", "source"),
    [
        pytest.param((0.5, "EUR"), "given", id="pair"),
        pytest.param(Price(0.5, "EUR", "contract", "2026-11"), "contract, 2026-11", id="Price"),
    ],
)
@pytest.mark.parametrize("model", [LITE, STRANGER])
def test_a_given_price_goes_first(price, source, model):
    """The caller knows better than the catalogue, and of models that it does not have."""
    request = GenerateRequest("a cat", max_images=2, **GROUP)

    expected = estimate(request, model=model, price=price)

    assert expected == _estimate.Estimate(
        images=(1, 2), amount=(0.5, 1.0), currency="EUR", source=source
    )


def test_layers_of_a_stranger():
    """A model that is not known is taken to make as many layers as pro does."""
    request = GenerateRequest("", image="u", layer_decomposition=True)

    assert estimate(request, model=STRANGER, price=(1, "USD")).images == (1, 17)


def test_an_unknown_model_needs_a_price():
    """Without a price there is no estimate, and the remedy is to pass one."""
    with pytest.raises(
        InvalidRequestError, match=f"no price of {STRANGER} .*pass price"
    ) as excinfo:
        estimate(GenerateRequest("a cat"), model=STRANGER)

    assert excinfo.value.field == "price"


@pytest.mark.parametrize("amount", [-1, float("nan")])
def test_a_price_is_not_negative(amount):
    """Nobody pays for being given images."""
    with pytest.raises(InvalidRequestError, match="negative"):
        estimate(GenerateRequest("a cat"), price=(amount, "USD"))


@given(
    model=st.sampled_from([name for family in FAMILIES for name in family.ids]),
    size=st.sampled_from([None, "1K", "1.5K", "2K", "9K", "auto", "1x1", "9999x9999", "abc"]),
    group=st.sampled_from([None, "auto", "disabled"]),
    most=st.none() | st.integers(1, 15),
    references=st.integers(0, 20),
    layers=st.booleans(),
)
def test_ranges_are_ranges(*, model, size, group, most, references, layers):
    """Whatever is asked for, the least is not more than the most, and nothing is free."""
    request = GenerateRequest(
        "a cat",
        size=size,
        sequential_image_generation=group,
        max_images=most,
        image=["u"] * references,
        layer_decomposition=layers,
    )

    expected = estimate(request, model=model)

    assert 1 <= expected.images[0] <= expected.images[1]
    assert 0 < expected.amount[0] <= expected.amount[1]
    assert expected.currency == family_of(model).prices[0].currency


@pytest.mark.parametrize(
    ("model", "fields", "most"),
    [
        pytest.param(LITE, {}, 1, id="one"),
        pytest.param(LITE, {"max_images": 4}, 1, id="max_images alone"),
        pytest.param(LITE, {"max_images": 4, **GROUP}, 4, id="group of 4"),
        pytest.param(LITE, GROUP, 15, id="group"),
        pytest.param(LITE, {"image": ["u"] * 13, **GROUP}, 2, id="group with references"),
        pytest.param(LITE, {"image": ["u"] * 20, **GROUP}, 1, id="too many references"),
        pytest.param(PRO, {"image": "u", "layer_decomposition": True}, 17, id="layers"),
        pytest.param(V5_5, {"image": "u", "layer_decomposition": True}, 100, id="layers of 5.5"),
        pytest.param(STRANGER, {"image": "u", "layer_decomposition": True}, 17, id="stranger"),
        pytest.param(STRANGER, GROUP, 15, id="group of a stranger"),
        pytest.param(LITE, {"extra_body": {"new": 1}}, 1, id="field of no account"),
        *(
            pytest.param(LITE, {"extra_body": {name: value}}, 17, id=f"extra {name}")
            for name, value in (
                ("sequential_image_generation", "auto"),
                ("sequential_image_generation_options", {"max_images": 15}),
                ("layer_decomposition", True),
            )
        ),
        pytest.param(
            LITE,
            {
                "max_images": 2,
                "extra_body": {"sequential_image_generation_options": {"max_images": 15}},
                **GROUP,
            },
            17,
            id="extra options win",
        ),
        pytest.param(
            V5_5, {"extra_body": {"layer_decomposition": True}}, 100, id="extra layers of 5.5"
        ),
    ],
)
def test_how_many_images_may_come(model, fields, most):
    """Time and memory are for the most images that an answer may have."""
    assert most_images(GenerateRequest("a cat", **fields), model) == most


@given(
    model=st.sampled_from([name for family in FAMILIES for name in family.ids] + [STRANGER]),
    fields=st.fixed_dictionaries(
        {},
        optional={
            "sequential_image_generation": st.sampled_from(["auto", "disabled"]),
            "max_images": st.integers(1, 15),
            "image": st.lists(st.just("u"), max_size=20),
            "layer_decomposition": st.booleans(),
        },
    ),
)
def test_there_is_always_room_for_what_is_reckoned_with(model, fields):
    """At least one image may come, and as many as the estimate has at most."""
    request = GenerateRequest("a cat", **fields)

    most = most_images(request, model)

    assert 1 <= most == estimate(request, model=model, price=(1, "USD")).images[1]
