"""What the API makes of a request body: a plan of images, or a refusal in its own words. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from attrs import frozen

from . import _rules
from ._references import Reference, check_layered, check_transparent, references
from ._refusals import invalid, missing
from ._rules import Asked
from ._sizes import size

# The fields that CometAPI documents. A relay that knows no others passes no others on.
RELAYED = frozenset(
    {
        "model",
        "prompt",
        "response_format",
        "size",
        "image",
        "watermark",
        "guidance_scale",
        "seed",
        "sequential_image_generation",
        "sequential_image_generation_options",
        "output_format",
    }
)
LAYERS = 2  # above the base


@frozen(kw_only=True)
class Plan:
    """
    What to make: *count* images of *width* by *height* pixels; *seed* tells prompts apart.

    *names_format*, *names_background* and *counts_references* are whether the answer tells them:
    only models with a choice do. With *layers*, the first image is the base of the others.
    """

    model: str
    count: int
    width: int
    height: int
    output_format: str
    names_format: bool
    response_format: str
    watermark: bool
    references: int
    counts_references: bool
    seed: bytes
    stream: bool
    searches: bool
    layers: bool
    background: str
    names_background: bool


def make_plan(body: Any) -> Plan:
    """The plan for the decoded *body* of a request; raises `Refusal`."""
    asked = Asked.of(body)
    family = asked.family
    layers = asked.takes("layer_decomposition", family.layers) & asked.flag("layer_decomposition")
    found = references(asked)
    prompt = _prompt(asked, needed=not layers)
    if layers:
        check_layered(found)
    width, height = size(asked, found, layers=layers)
    _rules.prompt_options(asked)
    _rules.guidance_scale(asked)
    asked.takes("stream", family.stream)
    count = _rules.group(asked, len(found))
    return Plan(
        model=asked.body["model"],
        count=1 + LAYERS if layers else count,
        width=width,
        height=height,
        output_format=_rules.output_format(asked),
        names_format=len(family.output_formats) > 1,
        response_format=asked.choice("response_format", ("url", "b64_json"), "url"),
        watermark=asked.flag("watermark", default=True),
        references=len(found),
        counts_references=family.layers is True,
        seed=_digest(prompt, _rules.seed(asked), found),
        stream=asked.flag("stream"),
        searches=_rules.tools(asked),
        layers=layers,
        background=_background(asked, found),
        names_background=family.background is True and not family.background_edits,
    )


def _prompt(asked: Asked, *, needed: bool) -> str:
    prompt = asked.body.get("prompt", "")
    if not isinstance(prompt, str) or (needed and not prompt.strip()):
        raise missing("prompt")
    return prompt


def _background(asked: Asked, found: list[Reference]) -> str:
    asked.takes("background", asked.family.background)
    background = asked.choice("background", ("auto", "transparent", "opaque"), "opaque")
    if background == "transparent":
        if _rules.output_format(asked) != "png":
            raise invalid("output_format", "output_format must be png for a transparent background")
        if asked.family.background_edits:
            check_transparent(found)
    return "transparent" if background == "transparent" else "opaque"


def _digest(prompt: str, seed: int | None, found: list[Reference]) -> bytes:
    told = [prompt, seed, [reference.digest for reference in found]]
    return hashlib.sha256(json.dumps(told).encode()).digest()
