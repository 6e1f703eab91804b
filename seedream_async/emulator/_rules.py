"""
What the API demands of one field at a time. Pure.

The texts were seen in answers of the service, where it has been seen to refuse such a value; the
limits are the catalogue's. A field that is null is one that was left out: Ark's own SDK sends
every field that it knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import field, frozen

from seedream_async import _catalog

from ._refusals import invalid, no_model, no_object, unknown_model, unsupported

_DEFAULT_GROUP = 4  # images of a group that names no number: the model decides
_GROUP = "sequential_image_generation"


def _given(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


@frozen
class Asked:
    """The fields of a body that are not null, and what their model takes."""

    body: Mapping[str, Any] = field(converter=_given)
    family: _catalog.Family

    @classmethod
    def of(cls, body: Any) -> Asked:
        """What *body* asks of which model; raises `Refusal` if there is none such."""
        if not isinstance(body, dict):
            raise no_object()
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise no_model()
        family = _catalog.family_of(model)
        if family is None:
            raise unknown_model(model)
        return cls(body, family)

    def takes(self, name: str, able: bool | None) -> bool:
        """Tell whether the field is there; refuse it if the model is known not to be *able*."""
        if name in self.body and able is False:
            raise unsupported(name)
        return name in self.body

    def choice(self, name: str, choices: tuple[str, ...], default: str) -> str:
        return choice(name, self.body.get(name, default), choices)

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.body.get(name, default)
        if not isinstance(value, bool):
            raise invalid(name, f"{name} must be a boolean")
        return value

    def options(self, name: str) -> Mapping[str, Any]:
        """The fields of an object that are not null."""
        value = self.body.get(name, {})
        if not isinstance(value, dict):
            raise invalid(name, f"{name} must be an object")
        return _given(value)


def choice(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """*value*, if it is one of *choices*."""
    if value not in choices:
        last = name.rpartition(".")[2]
        raise invalid(name, f"{last} must be one of: {', '.join(choices)}")
    return str(value)


def group(asked: Asked, references: int) -> int:
    """How many images are asked for."""
    options = f"{_GROUP}_options"
    asked.takes(_GROUP, asked.family.group)
    asked.takes(options, asked.family.group)
    wanted = asked.choice(_GROUP, ("disabled", "auto"), "disabled")
    most = asked.options(options).get("max_images", _DEFAULT_GROUP)
    if not _is_within(most, 1, _catalog.MAX_IMAGES, whole=True):
        raise invalid(f"{options}.max_images", "max_images must be between 1 and 15")
    return min(int(most), _catalog.MAX_IMAGES - references) if wanted == "auto" else 1


def output_format(asked: Asked) -> str:
    """The format of the images."""
    formats = asked.family.output_formats
    asked.takes("output_format", len(formats) > 1)
    return asked.choice("output_format", ("jpeg", "png"), formats[0])


def flag_of(asked: Asked, name: str, able: bool | None) -> bool:
    """Whether something is wanted that not every model is *able* to do."""
    return asked.takes(name, able) and asked.flag(name)


def check_the_rest(asked: Asked) -> None:
    """Check what is without a consequence here: how to keep to the prompt, and to rewrite it."""
    _check_prompt_options(asked)
    if asked.takes("guidance_scale", asked.family.guidance_scale) and not _is_within(
        asked.body["guidance_scale"], 1, 10
    ):
        raise invalid("guidance_scale", "guidance_scale must be between 1 and 10")


def _check_prompt_options(asked: Asked) -> None:
    name, modes = "optimize_prompt_options", asked.family.optimize_modes
    asked.flag("optimize_prompt")
    asked.takes(name, modes != ())
    options = asked.options(name)
    mode = options.get("mode", "standard")
    if modes == ("standard",) and mode != "standard":
        raise invalid(f"{name}.mode", "mode must be 'standard'")
    choice(f"{name}.mode", mode, modes or ("standard", "fast"))
    choice(f"{name}.thinking", options.get("thinking", "auto"), ("auto", "enabled", "disabled"))


def seed(asked: Asked) -> int | None:
    """The seed, if there is one."""
    if not asked.takes("seed", asked.family.seed):
        return None
    value = asked.body["seed"]
    if not _is_within(value, -1, 2**31 - 1, whole=True):
        raise invalid("seed", "seed must be between -1 and 2147483647")
    return int(value)


def tools(asked: Asked) -> bool:
    """Whether the web may be searched."""
    asked.takes("tools", asked.family.web_search)
    given = asked.body.get("tools", [])
    if not isinstance(given, list) or not all(
        isinstance(tool, dict) and tool.get("type") == "web_search" for tool in given
    ):
        raise invalid("tools", "tools must be a list of tools of the type 'web_search'")
    return bool(given)


def _is_within(value: Any, low: int, high: int, *, whole: bool = False) -> bool:
    """Tell whether *value* is a number between two others. JSON tells 2 and 2.0 not apart."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return low <= value <= high and not (whole and value % 1)
