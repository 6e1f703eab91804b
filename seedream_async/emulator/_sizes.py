"""How large the images of a request become. Pure."""

from __future__ import annotations

import math
import re

from seedream_async import _catalog

from ._references import Reference
from ._refusals import Refusal, invalid
from ._rules import Asked

_SIZE = re.compile(r"(\d+)x(\d+)", re.ASCII)
_TIER = re.compile(r"\d(\.\d)?[kK]", re.ASCII)
_RATIO = re.compile(r"\b(\d{1,2}:\d{1,2})\b")
_FORM = "size must be one of 'WIDTHxHEIGHT', '1k', '2k', or '4k'"
# Upright sizes of an edited image: one of these, or of the same lying, is nearest to the reference.
_ADAPTIVE = [(width, min(1536, 1024 * 1024 // width // 32 * 32)) for width in range(512, 1056, 32)]


def size(asked: Asked, references: list[Reference], *, layers: bool) -> tuple[int, int]:
    """The width and height in pixels of every image that *asked* asks for."""
    wanted = asked.body.get("size", "auto" if layers else asked.family.default_size)
    if asked.family.needs_reference:
        return _adaptive(asked, wanted, references)
    if layers and wanted == "auto":
        wanted = next(iter(asked.family.sizes))
    if isinstance(wanted, str) and _TIER.fullmatch(wanted):
        return _tier(asked, wanted.upper())
    match = _SIZE.fullmatch(wanted) if isinstance(wanted, str) and not layers else None
    if not match:
        raise invalid("size", "size must be one of: auto, 1K, 1.5K, 2K" if layers else _FORM)
    return _pixels(match[1], match[2], asked.family)


def _pixels(wide: str, high: str, family: _catalog.Family) -> tuple[int, int]:
    # Nine digits tell enough, and int() refuses thousands.
    width, height = (int(digits.lstrip("0")[:9] or "0") for digits in (wide, high))
    if not width or not height:
        raise invalid("size", "invalid width" if not width else "invalid height")
    least, most = family.pixels
    if width * height < least:
        raise invalid("size", f"image size must be at least {least} pixels")
    if width * height > most:
        raise invalid("size", f"image size must be at most {most} pixels")
    if not 1 / 16 <= width / height <= 16:
        raise invalid("size", "aspect ratio must be between 1/16 and 16")
    return width, height


def _tier(asked: Asked, tier: str) -> tuple[int, int]:
    """The size of a *tier*: the model reads the ratio from the prompt, here from a "16:9" in it."""
    sizes = asked.family.sizes.get(tier)
    if sizes is None:
        raise _not_supported(asked)
    found = _RATIO.search(asked.body.get("prompt", ""))
    ratio = found[1] if found and found[1] in _catalog.RATIOS else "1:1"
    width, height = sizes[_catalog.RATIOS.index(ratio)].split("x")
    return int(width), int(height)


def _adaptive(asked: Asked, wanted: object, references: list[Reference]) -> tuple[int, int]:
    """What is nearest to the shape of the reference; a square if that is not known."""
    if wanted != "adaptive":
        raise _not_supported(asked)
    (reference,) = references
    shape = math.log((reference.width or 1) / (reference.height or 1))
    narrow, wide = min(_ADAPTIVE, key=lambda size: abs(math.log(size[1] / size[0]) - abs(shape)))
    return (wide, narrow) if shape > 0 else (narrow, wide)


def _not_supported(asked: Asked) -> Refusal:
    undated = asked.body["model"].rpartition("-")[0]
    return invalid("size", f"the specified size is not supported for model {undated}")
