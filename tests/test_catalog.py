"""The catalogue holds together, and sizes are found in it."""

from typing import get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import InvalidRequestError, _catalog, _sizes, size_for
from seedream_async._catalog import FAMILIES, RATIOS, Family, family_of

LITE, V4_5, PRO, V3, EDIT = (
    "doubao-seedream-5-0-260128",
    "doubao-seedream-4-5-251128",
    "seedream-5-0-pro-260628",
    "doubao-seedream-3-0-t2i-250415",
    "doubao-seededit-3-0-i2i-250628",
)
EACH = pytest.mark.parametrize("family", [pytest.param(each, id=each.name) for each in FAMILIES])
WITH_SIZES = [family for family in FAMILIES if family.sizes]


def area(size):
    width, height = _sizes.pixels_of(size)
    return width * height


def test_no_id_is_of_two_families():
    """An id leads to one family."""
    ids = [name for family in FAMILIES for name in family.ids]

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        pytest.param(LITE, "5.0 lite", id="default"),
        pytest.param("doubao-seedream-5-0-lite-260128", "5.0 lite", id="lite"),
        pytest.param("seedream-5-0-260128", "5.0 lite", id="lite of BytePlus"),
        pytest.param(V4_5, "4.5", id="4.5"),
        pytest.param("seedream-4-0-250828", "4.0", id="4.0 of BytePlus"),
        pytest.param(PRO, "5.0 pro", id="pro of CometAPI"),
        pytest.param("doubao-seedream-5-0-pro-260628", "5.0 pro", id="pro of Ark"),
        pytest.param("dola-seedream-5-0-pro-260628", "5.0 pro", id="pro of BytePlus"),
        pytest.param("doubao-seedream-5-0-flash-260915", "5.0 flash", id="flash"),
        pytest.param("seedream-5-5-261028", "5.5", id="5.5"),
        pytest.param(V3, "3.0", id="3.0"),
        pytest.param(EDIT, "seededit 3.0", id="seededit"),
    ],
)
def test_knows_the_family(model, name):
    """Every id that was seen to work leads to its family."""
    assert family_of(model).name == name


@pytest.mark.parametrize(
    "model", ["ep-20260101000000-abcde", "doubao-seedream-5-0", "dall-e-3", ""]
)
def test_does_not_guess_the_family(model):
    """An endpoint, an undated alias and a stranger have no family."""
    assert family_of(model) is None


@EACH
def test_every_tier_has_every_ratio(family):
    """A row of recommended sizes has one for each ratio, and of about that shape."""
    for row in family.sizes.values():
        shapes = [width / height for width, height in map(_sizes.pixels_of, row)]
        ratios = [int(ratio.split(":")[0]) / int(ratio.split(":")[1]) for ratio in RATIOS]

        assert shapes == pytest.approx(ratios, rel=0.03)


@EACH
def test_every_recommended_size_is_within_the_area(family):
    """What is recommended is allowed, the default included."""
    sizes = [size for row in family.sizes.values() for size in row]
    if _sizes.pixels_of(family.default_size):
        sizes.append(family.default_size)

    assert all(family.pixels[0] <= area(size) <= family.pixels[1] for size in sizes)


@EACH
def test_the_default_size_is_one_of_the_family(family):
    """A family defaults to one of its tiers, to one of its sizes, or to what is adaptive."""
    sizes = [size for row in family.sizes.values() for size in row]

    assert family.default_size in (*family.sizes, *sizes) or not family.sizes


@EACH
def test_what_is_unsure_is_a_field(family):
    """`unsure` names fields of the family, and nothing else."""
    assert family.unsure <= set(attrs.fields_dict(Family))


@EACH
def test_prices_say_where_they_are_from(family):
    """Every price has a currency, a source and a year."""
    for price in family.prices:
        assert price.amount > 0
        assert price.currency in ("USD", "CNY")
        assert price.source
        assert price.date.startswith("202")


@EACH
def test_prices_leave_no_area_out(family):
    """There is a price to reckon with for every area that the family makes."""
    prices = [each for each in family.prices if each.currency == family.prices[0].currency]

    for pixels in (*family.pixels, 2_360_000, 2_360_001, 2_500_000, 2_610_000, 2_610_001):
        assert any((each.above or 0) < pixels <= (each.up_to or pixels) for each in prices)


def test_the_default_model_is_listed():
    """The default model is in the catalogue."""
    assert family_of(_catalog.DEFAULT_MODEL) is FAMILIES[0]


def test_ratios_complete():
    """Editors complete the ratios and tiers that the catalogue has, and no others."""
    tiers = {tier for family in FAMILIES for tier in family.sizes}

    assert get_args(_sizes.Ratio) == RATIOS
    assert set(get_args(_sizes.Tier)) == tiers


@pytest.mark.parametrize(
    ("arguments", "model", "size"),
    [
        pytest.param(["16:9", "2K"], LITE, "2848x1600", id="16:9"),
        pytest.param(["16:9"], LITE, "2848x1600", id="tier left out"),
        pytest.param(["1:1", "3k"], LITE, "3072x3072", id="lower case"),
        pytest.param(["21:9", "4K"], V4_5, "6240x2656", id="4.5"),
        pytest.param(["16:9", "2K"], PRO, "2816x1584", id="pro differs"),
        pytest.param(["2:3", "1.5K"], PRO, "1248x1872", id="1.5K"),
    ],
)
def test_size_for(arguments, model, size):
    """A ratio and a tier make the size that is recommended for the model."""
    assert size_for(*arguments, model=model) == size


def test_size_for_the_default_model():
    """Without a model, it is the client's default."""
    assert size_for("16:9", "2K") == "2848x1600"


@pytest.mark.parametrize(
    ("ratio", "tier", "model", "field", "told"),
    [
        pytest.param("16:10", "2K", LITE, "size", "1:1, 4:3, 3:4, 16:9", id="ratio"),
        pytest.param("16:9", "1K", LITE, "size", "no tier 1K; there is: 2K, 3K, 4K", id="tier"),
        pytest.param("16:9", "", LITE, "size", "there is: 2K, 3K, 4K", id="empty tier"),
        pytest.param("16:9", "2K", V3, "size", "there is: 1024x1024", id="model without tiers"),
        pytest.param("16:9", "2K", EDIT, "size", "there is: adaptive", id="adaptive model"),
        pytest.param("16:9", "2K", "dall-e-3", "model", LITE, id="model"),
    ],
)
def test_size_for_lists_what_there_is(ratio, tier, model, field, told):
    """What is not in the catalogue is refused, with a list of what is."""
    with pytest.raises(InvalidRequestError, match=told) as excinfo:
        size_for(ratio, tier, model=model)

    assert excinfo.value.field == field


@pytest.mark.parametrize(
    ("size", "pixels"),
    [
        ("2048x1024", (2048, 1024)),
        ("1x1", (1, 1)),
        ("0x5", None),
        ("5x0", None),
        ("2K", None),
        ("1234567x5", None),
        ("", None),
    ],
)
def test_reads_pixels(size, pixels):
    """Only `WIDTHxHEIGHT` of an area is read as such."""
    assert _sizes.pixels_of(size) == pixels


@pytest.mark.parametrize(
    ("size", "model", "areas"),
    [
        pytest.param("2048x1024", LITE, (2**21, 2**21), id="pixels"),
        pytest.param(None, LITE, (2**22, 2**22), id="default in pixels"),
        pytest.param("2k", PRO, (2496 * 1664, 2816 * 1584), id="tier"),
        pytest.param(None, PRO, (2496 * 1664, 2816 * 1584), id="default tier"),
        pytest.param("auto", PRO, (921_600, 4_624_220), id="auto"),
        pytest.param("9K", LITE, (3_686_400, 16_777_216), id="unknown tier"),
    ],
)
def test_areas(size, model, areas):
    """The areas of a size are those of its tier, or all that the model makes if nobody knows."""
    assert _sizes.areas_of(size, family_of(model)) == areas


@given(
    family=st.sampled_from(WITH_SIZES),
    width=st.integers(1, 999_999),
    height=st.integers(1, 999_999),
)
def test_the_nearest_size_is_a_recommended_one(family, width, height):
    """Whatever is asked for, the nearest size is in the table."""
    nearest = _sizes.nearest(width, height, family)

    assert any(nearest in row for row in family.sizes.values())


@given(family=st.sampled_from(WITH_SIZES), data=st.data())
def test_a_recommended_size_is_its_own_nearest(family, data):
    """What is in the table is left as it is."""
    size = data.draw(st.sampled_from([size for row in family.sizes.values() for size in row]))

    assert _sizes.nearest(*_sizes.pixels_of(size), family) == size


@pytest.mark.parametrize(
    ("size", "model", "nearest"),
    [
        ("1K", LITE, "2K"),
        ("9K", LITE, "4K"),
        ("1.5k", V4_5, "2K"),
        ("3K", PRO, "2K"),
        ("auto", LITE, None),
        ("2K", V3, None),
    ],
)
def test_the_nearest_tier(size, model, nearest):
    """The nearest tier is nearest by its number."""
    assert _sizes.nearest_tier(size, family_of(model)) == nearest
