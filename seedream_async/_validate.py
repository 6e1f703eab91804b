"""
What can be known to be wrong with a request before it is sent, and what is done about it.

Only what the API's own pages state without doubt is refused here: a refusal by the API costs
nothing, a stale rule costs the user the feature.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from typing import Literal, TypeAlias

from . import _catalog, _rules
from ._capabilities import of_counts, of_model
from ._catalog import Family
from ._errors import InvalidRequestError
from ._request import GenerateRequest
from ._rules import Problem as Problem  # noqa: PLC0414  part of what this module offers
from ._sniff import Sniffed

Validation: TypeAlias = Literal["strict", "warn", "off"]

# Of one reference  [ark]. It says MB, which may be either; older documents have 10 MB.
MAX_BYTES = 30_000_000
_SURELY_TOO_MANY_BYTES = 30 * 2**20
_LEAST_SIDE = 15
_MOST_PIXELS = 36_000_000
_LEAST_PIXELS_OF_LAYERS = 262_144
_FORMATS_OF_LAYERS = ("png", "jpeg")
_FORMATS = max((family.reference_formats for family in _catalog.FAMILIES), key=len)


def problems(request: GenerateRequest, model: str, *, stream: bool = False) -> Iterator[Problem]:
    """
    Everything that is wrong with *request*, which *model* answers if it names no other.

    Of a model that is not in the catalogue, only what is wrong whatever the model.
    """
    model = request.model or model
    family = _catalog.family_of(model)
    yield from _rules.general(request)
    yield from of_counts(request, model, family)
    if family is not None:
        yield from of_model(request, model, family, stream=stream)


def remedy_for(request: GenerateRequest, model: str, *, stream: bool = False) -> str | None:
    """What may explain why the API refused *request*, with remedies; nothing if nothing may."""
    return ". ".join(problem.message for problem in problems(request, model, stream=stream)) or None


def judge(problems: Iterable[Problem], mode: Validation) -> None:
    """
    Raise `InvalidRequestError` for the first problem that is certain, and warn of the others.

    In mode `warn`, warn of all of them; in mode `off`, do not even look.
    """
    if mode == "off":
        return
    found = list(problems)
    for problem in found:
        if problem.certain and mode == "strict":
            message = f'{problem.message}; to send it anyway: validation="warn"'
            raise InvalidRequestError(message, field=problem.field)
    for problem in found:
        warnings.warn(problem.message, UserWarning, stacklevel=2)


def reference_problems(
    sniffed: Sniffed, size_in_bytes: int, family: Family | None, *, layers: bool = False
) -> Iterator[Problem]:
    """
    What is wrong with a reference of which the first bytes tell *sniffed*.

    A width or height of 0 is not known, and passes. *layers* is for `layer_decomposition`.
    Without a *family*, the limits are those that no model exceeds.
    """
    certain = family is None or "reference_formats" not in family.unsure
    if size_in_bytes > MAX_BYTES:
        message = f"it has {size_in_bytes} bytes, and {MAX_BYTES} at most are taken"
        surely = certain and size_in_bytes > _SURELY_TOO_MANY_BYTES
        yield _of_image(f"{message}; make it smaller, or save it as JPEG", surely)
    formats = _FORMATS_OF_LAYERS if layers else family.reference_formats if family else _FORMATS
    kind = sniffed.kind.content_type.removeprefix("image/")
    if kind not in formats:
        yield _of_image(f"it is {kind}; save it as {' or '.join(formats[:2])}", certain)
    if sniffed.width and sniffed.height:
        aspect = family.reference_aspect if family else (1 / 16, 16)
        for message in _of_measures(sniffed.width, sniffed.height, aspect, layers=layers):
            yield _of_image(message, certain)


def _of_measures(
    width: int, height: int, aspect: tuple[float, float], *, layers: bool
) -> Iterator[str]:
    it, area = f"it is {width}x{height} px", width * height
    if min(width, height) < _LEAST_SIDE:
        yield f"{it}; each side must have {_LEAST_SIDE} at least: enlarge it"
    if not aspect[0] <= width / height <= aspect[1]:
        yield f"{it}; width by height must be from 1/{aspect[1]:g} to {aspect[1]:g}: crop it"
    if area > _MOST_PIXELS:
        yield f"{it}; {_MOST_PIXELS} px at most are taken: scale it down"
    if layers and area < _LEAST_PIXELS_OF_LAYERS:
        yield f"{it}; layer_decomposition needs {_LEAST_PIXELS_OF_LAYERS} px at least: enlarge it"


def _of_image(message: str, certain: bool) -> Problem:
    return Problem("image", f"image: {message}", certain)
