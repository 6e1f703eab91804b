"""What the API makes of a request body: a plan of images, or a refusal in its own words. Pure."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from attrs import frozen

from seedream_async import _catalog

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

    With *layers*, the first image is the base of the others.
    """

    model: str
    family: _catalog.Family
    count: int
    width: int
    height: int
    output_format: str
    response_format: str
    watermark: bool
    references: int
    seed: bytes
    stream: bool
    searches: bool
    layers: bool
    background: str

    @property
    def names_format(self) -> bool:
        """Whether the answer tells the format: only models with a choice do."""
        return len(self.family.output_formats) > 1

    @property
    def names_background(self) -> bool:
        """Whether the answer tells the background: only models that make one of a prompt do."""
        return self.family.background is True and not self.family.background_edits

    @property
    def counts_references(self) -> bool:
        """Whether the answer tells the number of references: only models that may charge do."""
        return self.family.layers is True


def make_plan(body: Any) -> Plan:
    """The plan for the decoded *body* of a request; raises `Refusal`."""
    asked = Asked.of(body)
    layers = _rules.flag_of(asked, "layer_decomposition", asked.family.layers)
    prompt = _prompt(asked, needed=not layers)
    found = _references_of(asked, layers=layers)
    width, height = size(asked, found, layers=layers)
    count = _rules.group(asked, len(found))
    _rules.check_the_rest(asked)
    return Plan(
        model=asked.body["model"],
        family=asked.family,
        count=1 + LAYERS if layers else count,
        width=width,
        height=height,
        output_format=_rules.output_format(asked),
        response_format=asked.choice("response_format", ("url", "b64_json"), "url"),
        watermark=asked.flag("watermark", default=True),
        references=len(found),
        seed=_digest(prompt, _rules.seed(asked), found),
        stream=_rules.flag_of(asked, "stream", asked.family.stream),
        searches=_rules.tools(asked),
        layers=layers,
        background=_background(asked, found),
    )


def _references_of(asked: Asked, *, layers: bool) -> list[Reference]:
    found = references(asked)
    if layers:
        check_layered(found)
    return found


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
