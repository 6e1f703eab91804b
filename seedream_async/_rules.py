"""
The rules that hold for every model, known or not: those of CometAPI's page of the endpoint.

A rule yields problems and raises nothing, whatever the types of what it is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple, get_args

from . import _catalog
from ._request import (
    Background,
    GenerateRequest,
    OutputFormat,
    ResponseFormat,
    SequentialImageGeneration,
)
from ._sizes import TIER, pixels_of

_WORDS = ("adaptive", "auto")  # sizes that are neither a tier nor in pixels
_RATIO = re.compile(r"\d{1,2}:\d{1,2}")
_CHOICES = {
    "response_format": get_args(ResponseFormat),
    "sequential_image_generation": get_args(SequentialImageGeneration),
    "output_format": get_args(OutputFormat),
    "background": get_args(Background),
}
_MODES = ("standard", "fast")
_TOOLS = ("web_search",)
_SWITCHES = ("watermark", "optimize_prompt", "layer_decomposition")
_RANGES: dict[str, tuple[type[int | float], int, int]] = {
    "seed": (int, -1, 2_147_483_647),
    "guidance_scale": (float, 1, 10),
    "max_images": (int, 1, _catalog.MAX_IMAGES),
}


class Problem(NamedTuple):
    """
    Something that the API would refuse, or not do, with the remedy in *message*.

    *certain* is whether the API's own pages say so without doubt.
    """

    field: str
    message: str
    certain: bool = True


def general(request: GenerateRequest) -> Iterator[Problem]:
    """Everything that is wrong with *request* whatever the model, but for its references."""
    yield from _of_size(request.size)
    for name, choices in _CHOICES.items():
        yield from _of_choice(name, getattr(request, name), choices)
    for name, limits in _RANGES.items():
        yield from _of_number(name, getattr(request, name), *limits)
    for name in _SWITCHES:
        if not isinstance(value := getattr(request, name), bool | None):
            yield Problem(name, f"{name} must be True or False, not {value!r}")
    yield from _of_options(request.optimize_prompt_options)
    yield from _of_tools(request.tools)
    if request.max_images is not None and request.sequential_image_generation != "auto":
        yield Problem(
            "max_images",
            'max_images has no effect without sequential_image_generation="auto"',
            certain=False,
        )


def is_size(size: object) -> bool:
    """Whether *size* is one of any model, as far as its form tells."""
    return isinstance(size, str) and bool(
        TIER.fullmatch(size) or size in _WORDS or pixels_of(size) is not None
    )


def _of_size(size: object) -> Iterator[Problem]:
    if size is None or is_size(size):
        return
    problem = f"size must be like '2K' or '2048x2048', not {size!r}"
    if isinstance(size, str) and _RATIO.fullmatch(size):
        problem += f"; size_for({size!r}) gives one of that ratio"
    yield Problem("size", problem)


def _of_choice(name: str, value: object, choices: tuple[str, ...]) -> Iterator[Problem]:
    if value is None or value in choices:
        return
    problem = f"{name} must be one of {', '.join(choices)}, not {value!r}"
    for choice in get_close_matches(str(value).lower(), choices, n=1):
        problem += f"; did you mean {choice!r}?"
    yield Problem(name, problem)


def _of_number(
    name: str, value: object, kind: type[int | float], low: int, high: int
) -> Iterator[Problem]:
    if value is None:
        return
    fits = isinstance(value, int | kind) and not isinstance(value, bool)
    if not fits or not low <= value <= high:  # type: ignore[operator]
        yield Problem(name, f"{name} must be from {low} to {high}, not {value!r}")


def _of_options(options: Any) -> Iterator[Problem]:
    if isinstance(options, Mapping):
        yield from _of_choice("optimize_prompt_options.mode", options.get("mode"), _MODES)
    elif options is not None:
        problem = "optimize_prompt_options must be like {'mode': 'fast'}"
        yield Problem("optimize_prompt_options", f"{problem}, not {options!r}")


def _of_tools(tools: Any) -> Iterator[Problem]:
    if tools is None:
        return
    if not isinstance(tools, list | tuple) or not all(
        isinstance(tool, Mapping) and tool.get("type") in _TOOLS for tool in tools
    ):
        yield Problem("tools", f"tools must be like [{{'type': 'web_search'}}], not {tools!r}")
