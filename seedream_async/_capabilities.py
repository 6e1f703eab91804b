"""
The rules that differ from model to model, each decided by the catalogue.

A problem is certain only if the catalogue is: see its `unsure`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import attrgetter

from attrs import frozen

from . import _catalog, _sizes
from ._catalog import Family
from ._request import GenerateRequest
from ._rules import Problem, is_size

ASPECT = (1 / 16, 16)  # of an image of any model, width by height  [ark, live]
# What is asked for with each field, in the catalogue's words.
_FEATURES = {
    "stream": "stream",
    "sequential_image_generation": "group",
    "tools": "web_search",
    "optimize_prompt_options": "optimize_modes",
    "seed": "seed",
    "guidance_scale": "guidance_scale",
    "layer_decomposition": "layers",
    "background": "background",
}
_values_of = attrgetter(*[name for name in _FEATURES if name != "stream"])
# Values that ask for what is done anyway. Some models refuse even these, if users are right.
_DEFAULTS = ("disabled", "opaque")


@frozen
class _Case:
    request: GenerateRequest
    model: str
    family: Family
    stream: bool

    @property
    def references(self) -> int:
        return len(self.request.image or ())

    @property
    def layers(self) -> bool:
        return bool(self.request.layer_decomposition and self.family.layers)

    def problem(self, field: str, fact: str, message: str, *, certain: bool = True) -> Problem:
        """A problem as certain as the catalogue is about *fact*."""
        return Problem(field, message, certain and fact not in self.family.unsure)


def of_model(
    request: GenerateRequest, model: str, family: Family, *, stream: bool
) -> Iterator[Problem]:
    """What *model*, of *family*, does not take of *request*, but for the number of references."""
    case = _Case(request, model, family, stream)
    for field, rule in _RULES:
        if field is None or getattr(request, field) is not None:
            yield from rule(case)
    if family.needs_reference and not case.references:
        message = f"{model} only edits images; pass one as image"
        yield case.problem("image", "needs_reference", message)


def of_counts(request: GenerateRequest, model: str, family: Family | None) -> Iterator[Problem]:
    """What is wrong with the numbers of references and images; only the page's if *family* is."""
    count, images = len(request.image or ()), request.max_images
    most = family.references if family else _catalog.MAX_REFERENCES
    if count > most:
        certain = count > _catalog.MAX_REFERENCES or "references" not in _unsure(family)
        takes = f"at most {most} references" if most else "no references"
        yield Problem("image", f"image: {model} takes {takes}, not {count}", certain)
    elif isinstance(images, int) and count + images > _catalog.MAX_IMAGES:
        # The reference bounds the images made, and does not say that more is refused.
        yield Problem(
            "max_images",
            f"references and images together are at most {_catalog.MAX_IMAGES}, not "
            f"{count} + {images}; lower max_images to {_catalog.MAX_IMAGES - count}",
            certain=False,
        )


def _unsure(family: Family | None) -> frozenset[str]:
    return family.unsure if family else frozenset()


def _of_size(case: _Case) -> Iterator[Problem]:
    size, family = case.request.size, case.family
    if not is_size(size):
        return
    pixels = _sizes.pixels_of(size)
    in_pixels = family.default_size != "adaptive" and not case.layers
    if pixels and in_pixels:
        yield from _of_pixels(case, *pixels)
        return
    words = ["auto"] if case.layers else [] if in_pixels else [family.default_size]
    if size.upper() not in family.sizes and size not in words:
        takes = ", ".join([*family.sizes, *words, *(["WIDTHxHEIGHT"] if in_pixels else [])])
        how = " with layer_decomposition" if case.layers else ""
        remedy = _sizes.nearest_tier(size, family) or (words or [family.default_size])[0]
        message = f"size {size} is not taken by {case.model}{how}, which takes {takes}"
        yield case.problem("size", "sizes", f"{message}; nearest: {remedy}")


def _of_pixels(case: _Case, width: int, height: int) -> Iterator[Problem]:
    low, high = case.family.pixels
    area, shape = width * height, width / height
    nearest = f"nearest recommended: {_sizes.nearest(width, height, case.family)}"
    if not low <= area <= high:
        limit, word = (low, "at least") if area < low else (high, "at most")
        has, needs = _megapixels(area, limit)
        message = f"{width}x{height} has {has} Mpx; {case.model} needs {word} {needs} Mpx; "
        yield case.problem("size", "pixels", message + nearest)
    if not ASPECT[0] <= shape <= ASPECT[1]:
        message = f"{width}x{height} is {shape:.4g} times as wide as high; {case.model} needs "
        yield case.problem("size", "pixels", f"{message}1/16 to 16; {nearest}")


def _megapixels(one: int, other: int) -> tuple[str, str]:
    """Both areas, to as few decimals as tell them apart, and two at least."""
    digits = 2
    while f"{one / 1e6:.{digits}f}" == f"{other / 1e6:.{digits}f}":
        digits += 1
    return f"{one / 1e6:.{digits}f}", f"{other / 1e6:.{digits}f}"


def _of_features(case: _Case) -> Iterator[Problem]:
    values = (case.stream, *_values_of(case.request))
    for (name, fact), value in zip(_FEATURES.items(), values, strict=True):
        if value is None or not _is_asked(value):
            continue
        has = getattr(case.family, fact)
        if has is None or has:
            continue
        instead = "use generate()" if name == "stream" else "leave it out"
        message = f"{name} is not supported by {case.model}; {instead}{_or_another(fact)}"
        yield case.problem(name, fact, message, certain=value not in _DEFAULTS)


def _or_another(fact: str) -> str:
    """The first model of which it is certain that it can do what *fact* tells."""
    able = (each for each in _catalog.FAMILIES if getattr(each, fact) and fact not in each.unsure)
    return next((f", or use {family.ids[0]}" for family in able), "")


def _is_asked(value: object) -> bool:
    """Whether a field asks for anything: 0 does, `False` and what is empty do not."""
    return bool(value) or (isinstance(value, int | float) and value is not False)


def _of_mode(case: _Case) -> Iterator[Problem]:
    options, modes = case.request.optimize_prompt_options, case.family.optimize_modes
    mode = options.get("mode") if isinstance(options, Mapping) else None
    if modes and mode and mode not in modes:
        message = f"optimize_prompt_options.mode of {case.model} must be {' or '.join(modes)}"
        field = "optimize_prompt_options"
        yield case.problem(field, "optimize_modes", f"{message}, not {mode}")


def _of_format(case: _Case) -> Iterator[Problem]:
    if len(case.family.output_formats) == 1:
        only, other = case.family.output_formats[0], _catalog.DEFAULT_MODEL
        message = f"{case.model} only makes {only}; leave output_format out, or use {other}"
        yield case.problem("output_format", "output_formats", message)


def _of_layers(case: _Case) -> Iterator[Problem]:
    if case.layers and case.references != 1:
        message = "layer_decomposition takes exactly 1 reference as image"
        yield case.problem("image", "layers", f"{message}, not {case.references}")


def _of_background(case: _Case) -> Iterator[Problem]:
    if case.request.background != "transparent" or not case.family.background:
        return
    if case.request.output_format == "jpeg":
        message = 'background="transparent" needs output_format="png", not "jpeg"'
        yield case.problem("output_format", "background", message)
    if case.family.background_edits and case.references != 1:
        message = f'background="transparent" of {case.model} takes exactly 1 reference as image'
        yield case.problem("image", "background", f"{message}, not {case.references}")


# What is a rule of one field asks nothing of a request without it.
_RULES = (
    ("size", _of_size),
    (None, _of_features),
    ("optimize_prompt_options", _of_mode),
    ("output_format", _of_format),
    ("layer_decomposition", _of_layers),
    ("background", _of_background),
)
