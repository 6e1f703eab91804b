"""
What the API makes of a request body: a plan of images, or a refusal in the API's own words.

Pure. The texts were seen in answers of the service; the limits are the catalogue's.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from seedream_async import _catalog, _sniff

_DEFAULT_GROUP = 4  # images of a group that names no number: the model decides
_SIZE = re.compile(r"(\d+)x(\d+)")
_TIER = re.compile(r"\d(\.\d)?[kK]")
_DATA_URI = re.compile(r"data:image/[a-z]+;base64,")
_RATIO = re.compile(r"\b(\d{1,2}:\d{1,2})\b")


class Refusal(Exception):  # noqa: N818  an answer, not a failure of the emulator
    """A request that is refused with *status*, *code* and a message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


@frozen(kw_only=True)
class Plan:
    """
    What to make: *count* images of *width* by *height* pixels; *seed* tells prompts apart.

    *names_format* is whether the answer tells the format: only models with a choice do.
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
    seed: bytes


def make_plan(body: Any) -> Plan:
    """The plan for the decoded *body* of a request; raises `Refusal`."""
    if not isinstance(body, dict):
        raise Refusal(400, "invalid_request", "invalid request body")
    family = _family(body)
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise Refusal(
            400, "MissingParameter", "The request failed because it is missing `prompt` parameter"
        )
    references = _references(body, family)
    width, height = _size(body, family, prompt)
    seed = body.get("seed")
    return Plan(
        model=body["model"],
        count=_count(body, family, len(references)),
        width=width,
        height=height,
        output_format=_output_format(body, family),
        names_format=len(family.output_formats) > 1,
        response_format=_choice(body, "response_format", ("url", "b64_json")),
        watermark=_flag(body, "watermark", default=True),
        references=len(references),
        seed=hashlib.sha256(
            json.dumps([prompt, seed if isinstance(seed, int) else None, references]).encode()
        ).digest(),
    )


def _family(body: Mapping[str, Any]) -> _catalog.Family:
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise Refusal(400, "", "model name is required")
    family = _catalog.family_of(model)
    if family is None:
        raise Refusal(
            503,
            "model_not_found",
            f"no available channel for group default and model {model[:100]} (distributor)",
        )
    return family


def _invalid(name: str, problem: str) -> Refusal:
    return Refusal(
        400,
        "InvalidParameter",
        f"The parameter `{name}` specified in the request is not valid: {problem}",
    )


def _unsupported(name: str) -> Refusal:
    return _invalid(name, f"{name} is not supported by the current model")


def _size(body: Mapping[str, Any], family: _catalog.Family, prompt: str) -> tuple[int, int]:
    size = body.get("size", "2048x2048")
    if isinstance(size, str) and _TIER.fullmatch(size):
        return _tier(size.upper(), body["model"], family, prompt)
    match = _SIZE.fullmatch(size) if isinstance(size, str) else None
    if not match:
        raise _invalid("size", "size must be one of 'WIDTHxHEIGHT', '1k', '2k', or '4k'")
    width, height = (int(number[:9]) for number in match.groups())
    if not width or not height:
        raise _invalid("size", "invalid width" if not width else "invalid height")
    low, high = family.pixels
    if width * height < low:
        raise _invalid("size", f"image size must be at least {low} pixels")
    if width * height > high:
        raise _invalid("size", f"image size must be at most {high} pixels")
    if not 1 / 16 <= width / height <= 16:
        raise _invalid("size", "aspect ratio must be between 1/16 and 16")
    return width, height


def _tier(tier: str, model: str, family: _catalog.Family, prompt: str) -> tuple[int, int]:
    """The size of a *tier*: the model reads the ratio from the prompt, here from a "16:9" in it."""
    sizes = family.sizes.get(tier)
    if sizes is None:
        undated = model.rpartition("-")[0]
        raise _invalid("size", f"the specified size is not supported for model {undated}")
    found = _RATIO.search(prompt)
    ratio = found[1] if found and found[1] in _catalog.RATIOS else "1:1"
    width, height = sizes[_catalog.RATIOS.index(ratio)].split("x")
    return int(width), int(height)


def _references(body: Mapping[str, Any], family: _catalog.Family) -> list[str]:
    """The references, checked, each as a digest of what is known of it."""
    given = body.get("image")
    references = given if isinstance(given, list) else [] if given is None else [given]
    if len(references) > family.references:
        raise _invalid("image", f"the number of reference images cannot exceed {family.references}")
    return [_reference(reference) for reference in references]


def _reference(reference: Any) -> str:
    text = reference if isinstance(reference, str) else ""
    if prefix := _DATA_URI.match(text):
        try:
            content = base64.b64decode(text[prefix.end() :], validate=True)
        except ValueError:  # binascii's own, or what is not ASCII
            content = b""
        if _sniff.sniff(content[: _sniff.HEAD]) is None:
            raise _invalid("image", "the image is not in a supported format")
    elif not text.startswith(("http://", "https://")):
        raise _invalid("image", "invalid url specified")
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _count(body: Mapping[str, Any], family: _catalog.Family, references: int) -> int:
    name = "sequential_image_generation"
    group = _choice(body, name, ("disabled", "auto"))
    if name in body and not family.group:
        raise _unsupported(name)
    if group == "disabled":
        return 1
    options = body.get(f"{name}_options", {})
    most = options.get("max_images", _DEFAULT_GROUP) if isinstance(options, dict) else None
    if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= _catalog.MAX_IMAGES:
        raise _invalid(f"{name}_options.max_images", "max_images must be between 1 and 15")
    return min(most, _catalog.MAX_IMAGES - references)


def _output_format(body: Mapping[str, Any], family: _catalog.Family) -> str:
    if "output_format" in body and len(family.output_formats) == 1:
        raise _unsupported("output_format")
    return _choice(body, "output_format", ("jpeg", "png"))


def _choice(body: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    value = body.get(name, choices[0])
    if value not in choices:
        raise _invalid(name, f"{name} must be one of: {', '.join(choices)}")
    return str(value)


def _flag(body: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = body.get(name, default)
    if not isinstance(value, bool):
        raise _invalid(name, f"{name} must be a boolean")
    return value
