"""
What can be known to be wrong with a request before it is sent.

Limits are those of CometAPI's page of the endpoint; the API checks the rest, free of charge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, get_args

from . import _catalog
from ._errors import InvalidRequestError
from ._request import GenerateRequest, OutputFormat, ResponseFormat, SequentialImageGeneration

_SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")
_TIER = re.compile(r"\d(\.\d)?[kK]|adaptive|auto")
_CHOICES = {
    "response_format": get_args(ResponseFormat),
    "sequential_image_generation": get_args(SequentialImageGeneration),
    "output_format": get_args(OutputFormat),
}
_RANGES = {
    "seed": (-1, 2_147_483_647),
    "guidance_scale": (1, 10),
    "max_images": (1, _catalog.MAX_IMAGES),
}
MAX_REFERENCES = 14


class Problem(NamedTuple):
    """Something that the API would refuse, with the remedy in *message*."""

    field: str
    message: str


def check(request: GenerateRequest) -> None:
    """Raise `InvalidRequestError` for the first problem of *request*."""
    for problem in problems(request):
        raise InvalidRequestError(problem.message, field=problem.field)


def problems(request: GenerateRequest) -> Iterator[Problem]:
    """Everything that is wrong with *request* whatever the model."""
    yield from _size_problems(request.size)
    for name, choices in _CHOICES.items():
        value = getattr(request, name)
        if value is not None and value not in choices:
            yield Problem(name, f"{name} must be one of {', '.join(choices)}, not {value!r}")
    for name, (low, high) in _RANGES.items():
        value = getattr(request, name)
        if value is not None and not low <= value <= high:
            yield Problem(name, f"{name} must be from {low} to {high}, not {value!r}")
    yield from _count_problems(len(request.image or ()), request.max_images or 1)


def _size_problems(size: str | None) -> Iterator[Problem]:
    if size is None or _TIER.fullmatch(size):
        return
    match = _SIZE.fullmatch(size)
    if not match or not int(match[1]) or not int(match[2]):
        yield Problem("size", f"size must be like '2K' or '2048x2048', not {size!r}")


def _count_problems(references: int, images: int) -> Iterator[Problem]:
    if references > MAX_REFERENCES:
        yield Problem("image", f"image takes at most {MAX_REFERENCES} references, not {references}")
    elif references + images > _catalog.MAX_IMAGES:
        yield Problem(
            "max_images",
            f"references and images together are at most {_catalog.MAX_IMAGES}, "
            f"not {references} + {images}; lower max_images",
        )
