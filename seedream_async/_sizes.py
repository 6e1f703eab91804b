"""
Sizes: what `WIDTHxHEIGHT` and a tier stand for, and which recommended size is nearest.

Everything is looked up in the catalogue; whether a size is allowed is decided elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from math import log
from typing import Literal, TypeAlias

from . import _catalog
from ._catalog import Family
from ._errors import InvalidRequestError

Ratio: TypeAlias = Literal["1:1", "4:3", "3:4", "16:9", "9:16", "3:2", "2:3", "21:9"]
Tier: TypeAlias = Literal["1K", "1.5K", "2K", "3K", "4K"]

TIER = re.compile(r"(\d(?:\.\d)?)[kK]")
_PIXELS = re.compile(r"(\d{1,6})x(\d{1,6})")


def size_for(
    ratio: Ratio | str, tier: Tier | str = "2K", *, model: str = _catalog.DEFAULT_MODEL
) -> str:
    """
    The recommended `WIDTHxHEIGHT` of *model* for an aspect *ratio*, such as `16:9`, in a *tier*.

    Raises `InvalidRequestError`, with what there is, if one of the three is not in the catalogue.
    """
    family = _catalog.family_of(model)
    if family is None:
        known = (name for each in _catalog.FAMILIES if each.sizes for name in each.ids)
        raise _missing("model", f"the sizes of {model} are not known", known)
    if tier.upper() not in family.sizes:
        there = family.sizes or (family.default_size,)
        raise _missing("size", f"{model} has no tier {tier}", there)
    if ratio not in _catalog.RATIOS:
        raise _missing("size", f"there is no recommended size for {ratio}", _catalog.RATIOS)
    return family.sizes[tier.upper()][_catalog.RATIOS.index(ratio)]


def _missing(field: str, problem: str, there: Iterable[str]) -> InvalidRequestError:
    return InvalidRequestError(f"{problem}; there is: {', '.join(there)}", field=field)


def pixels_of(size: str) -> tuple[int, int] | None:
    """Width and height, if that is what *size* says, and it is not of no area."""
    match = _PIXELS.fullmatch(size)
    width, height = (int(number) for number in match.groups()) if match else (0, 0)
    return (width, height) if width and height else None


def areas_of(size: str | None, family: Family) -> tuple[int, int]:
    """The smallest and the largest area of an image of *size*, in pixels; those of a tier vary."""
    size = size or family.default_size
    each = family.sizes.get(size.upper(), (size,))
    areas = [pixels[0] * pixels[1] for pixels in map(pixels_of, each) if pixels]
    return (min(areas), max(areas)) if areas else family.pixels


def nearest(width: int, height: int, family: Family) -> str:
    """The recommended size of the aspect ratio nearest to *width* by *height*, then of the area."""
    if not family.sizes:
        return family.default_size
    shape = [abs(log(width / height) - log(_value_of(ratio))) for ratio in _catalog.RATIOS]
    column = shape.index(min(shape))
    return min(
        (row[column] for row in family.sizes.values()),
        key=lambda size: abs(log(areas_of(size, family)[0]) - log(width * height)),
    )


def nearest_tier(size: str, family: Family) -> str | None:
    """The tier of *family* nearest to the tier *size*; nothing if one of them is none."""
    match = TIER.fullmatch(size)
    if not match or not family.sizes:
        return None
    return min(family.sizes, key=lambda tier: abs(float(tier[:-1]) - float(match[1])))


def _value_of(ratio: str) -> float:
    width, height = ratio.split(":")
    return int(width) / int(height)
