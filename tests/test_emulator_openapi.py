"""The emulator's description of itself. Schemathesis compares it with what is answered."""

import itertools
import re

import aiohttp
import pytest

from seedream_async import _catalog
from seedream_async.emulator import _openapi
from seedream_async.emulator._plan import RELAYED, make_plan

FORMS = _openapi.description()["components"]["schemas"]["Request"]["oneOf"]
LINK = "https://example.test/cat.png"
EACH = [pytest.param(family, id=family.name) for family in _catalog.FAMILIES]
BEYOND = {
    "stream",
    "tools",
    "optimize_prompt",
    "optimize_prompt_options",
    "layer_decomposition",
    "background",
}


async def test_is_served_to_anybody(emulator):
    """The description needs no key."""
    url = f"{emulator.base_url.removesuffix('/v1')}/openapi.json"

    async with aiohttp.ClientSession() as session, session.get(url) as response:
        answer = await response.json()

    assert answer["openapi"] == "3.1.0"
    assert answer == _openapi.description()


def test_every_reference_leads_somewhere():
    """A schema that is named is there."""
    named = set(re.findall(r"#/components/schemas/(\w+)", str(_openapi.description())))

    assert named == set(_openapi.description()["components"]["schemas"])


@pytest.mark.parametrize("form", [pytest.param(form, id=form["title"]) for form in FORMS])
def test_has_every_field(form):
    """All fields that the service is known to have are described, for every model."""
    fields = set(form["properties"])

    assert fields == RELAYED | BEYOND


def test_has_every_model():
    """Every model of the catalogue is described, also what it makes besides plain images."""
    titles = {form["title"]: form["properties"]["model"]["enum"] for form in FORMS}

    assert {name for names in titles.values() for name in names} == {
        name for family in _catalog.FAMILIES for name in family.ids
    }
    assert {title for title in titles if "," in title} == {
        "5.0 pro, layers",
        "5.0 pro, transparent",
        "5.0 flash, transparent",
        "5.5, layers",
        "5.5, transparent",
    }


@pytest.mark.parametrize("family", EACH)
def test_described_sizes_are_taken(family):
    """Any two sides in the described range make a size that the model takes."""
    (form,) = (form for form in FORMS if form["title"] == family.name)
    named, *free = form["properties"]["size"].get("anyOf", [form["properties"]["size"]])
    side = free[0]["pattern"].strip("^$").partition("x")[0] if free else "none"
    sides = [number for number in range(5000) if re.fullmatch(side, str(number))]
    ends = [sides[0], sides[-1]] if sides else []
    sizes = [f"{width}x{height}" for width, height in itertools.product(ends, ends)]

    plans = [
        make_plan({"model": family.ids[0], "prompt": "a cat", "size": size, "image": image})
        for size in [*named["enum"], *sizes]
        for image in [[LINK] * family.needs_reference]
    ]

    assert len(plans) >= 2
    assert sides == list(range(sides[0], sides[-1] + 1)) if sides else True
