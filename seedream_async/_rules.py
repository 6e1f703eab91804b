"""
The rules that hold for every model, known or not: those of CometAPI's page of the endpoint.

A rule yields problems and raises nothing, whatever the types of what it is given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches
from functools import partial
from operator import attrgetter
from typing import Any, NamedTuple, TypeGuard, get_args

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
    for name, value in zip(_RULES, _values_of(request), strict=True):
        if value is not None:
            yield from _RULES[name](name, value)
    if request.max_images is not None and request.sequential_image_generation != "auto":
        yield Problem(
            "max_images",
            'max_images has no effect without sequential_image_generation="auto"',
            certain=False,
        )


def is_size(size: object) -> TypeGuard[str]:
    """Whether *size* is one of any model, as far as its form tells."""
    return isinstance(size, str) and bool(
        TIER.fullmatch(size) or size in _WORDS or pixels_of(size) is not None
    )


def _of_size(name: str, size: object) -> Iterator[Problem]:
    if is_size(size):
        return
    problem = f"size must be like '2K' or '2048x2048', not {size!r}"
    if isinstance(size, str) and _RATIO.fullmatch(size):
        problem += f"; size_for({size!r}) gives one of that ratio"
    yield Problem(name, problem)


def _of_choice(name: str, value: object, choices: tuple[str, ...]) -> Iterator[Problem]:
    if value in choices:
        return
    problem = f"{name} must be one of {', '.join(choices)}, not {value!r}"
    for choice in get_close_matches(str(value).lower(), choices, n=1):
        problem += f"; did you mean {choice!r}?"
    yield Problem(name, problem)


def _of_number(
    name: str, value: object, limits: tuple[type[int | float], int, int]
) -> Iterator[Problem]:
    kind, low, high = limits
    fits = isinstance(value, int | kind) and not isinstance(value, bool)
    if not fits or not low <= value <= high:  # type: ignore[operator]
        yield Problem(name, f"{name} must be from {low} to {high}, not {value!r}")


def _of_switch(name: str, value: object) -> Iterator[Problem]:
    if not isinstance(value, bool):
        yield Problem(name, f"{name} must be True or False, not {value!r}")


def _of_options(name: str, options: object) -> Iterator[Problem]:
    if not isinstance(options, Mapping):
        yield Problem(name, f"{name} must be like {{'mode': 'fast'}}, not {options!r}")
    elif (mode := options.get("mode")) is not None:
        yield from _of_choice(f"{name}.mode", mode, _MODES)


def _of_tools(name: str, tools: Any) -> Iterator[Problem]:
    if not isinstance(tools, list | tuple) or not all(
        isinstance(tool, Mapping) and tool.get("type") in _TOOLS for tool in tools
    ):
        yield Problem(name, f"{name} must be like [{{'type': 'web_search'}}], not {tools!r}")


_RULES: dict[str, Callable[[str, Any], Iterator[Problem]]] = {
    "size": _of_size,
    **{name: partial(_of_choice, choices=choices) for name, choices in _CHOICES.items()},
    **{name: partial(_of_number, limits=limits) for name, limits in _RANGES.items()},
    **dict.fromkeys(_SWITCHES, _of_switch),
    "optimize_prompt_options": _of_options,
    "tools": _of_tools,
}
_values_of = attrgetter(*_RULES)
