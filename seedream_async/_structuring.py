"""Decoded JSON into our values: nulls are taken for absent, and what is not known is kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from attrs import fields
from cattrs import Converter, transform_error
from cattrs.gen import make_dict_structure_fn, override

from ._models import Image, ImageError, ImagesResponse, ModelInfo, StreamCompleted, Usage

_T = TypeVar("_T")
_NOT_SENT = {"extra", "files", "attempts", "request_id", "raw"}  # whatever the service calls so


class NotUnderstood(ValueError):  # noqa: N818  it says so
    """Which values are of no use, and where."""


def structured(value: Any, kind: type[_T]) -> _T:
    """The *kind* of value that *value* describes; raises `NotUnderstood`."""
    try:
        return _converter.get_structure_hook(kind)(value, kind)  # type: ignore[no-any-return]
    except Exception as exc:  # noqa: BLE001  cattrs groups whatever its hooks raise
        problem = "; ".join(transform_error(exc))
    raise NotUnderstood(problem)


def structured_response(payload: dict[str, Any], request_id: str | None) -> ImagesResponse:
    """The response that *payload* describes; raises `NotUnderstood`."""
    given = payload if "created" in payload else {**payload, "created": payload.get("created_at")}
    known = _sorted_out(given, _RESPONSE)
    return structured({**known, "request_id": request_id, "raw": payload}, ImagesResponse)


def _known_fields(cls: type[_T]) -> Callable[[Any, Any], _T]:
    """Structure *cls*, and keep unknown fields in its `extra`."""
    known = _sent_of(cls)
    structure = make_dict_structure_fn(cls, _converter)

    def hook(value: Any, _: Any) -> _T:
        if not isinstance(value, dict):
            raise TypeError("an object is expected")
        return structure(_sorted_out(value, known), cls)

    return hook


def _sent_of(cls: type[Any]) -> set[str]:
    """The fields of *cls* that the service fills."""
    return {attribute.name for attribute in fields(cls)} - _NOT_SENT


def _sorted_out(value: dict[str, Any], known: set[str]) -> dict[str, Any]:
    if value.keys() <= known and all(value.values()):
        return value
    # An error that says nothing is none: the image beside it is paid for.
    hollow = ("error",) if not value.get("error") else ()
    given = {name: item for name, item in value.items() if item is not None and name not in hollow}
    extra = {name: item for name, item in given.items() if name not in known}
    return {name: given[name] for name in known & given.keys()} | {"extra": extra}


def _structure_text(value: Any, _: Any) -> str:
    if not isinstance(value, str | int | float):
        raise TypeError("text is expected")
    return str(value)


_converter = Converter()
_converter.register_structure_hook(str, _structure_text)
_converter.register_structure_hook(str | None, _structure_text)  # a null is taken out before
_structure_image_error = _known_fields(ImageError)
_converter.register_structure_hook(
    ImageError,
    lambda value, kind: (
        ImageError(message=value) if isinstance(value, str) else _structure_image_error(value, kind)
    ),
)
_converter.register_structure_hook(Image, _known_fields(Image))
_converter.register_structure_hook(Usage, _known_fields(Usage))
_converter.register_structure_hook(ModelInfo, _known_fields(ModelInfo))
_converter.register_structure_hook(StreamCompleted, _known_fields(StreamCompleted))
_as_it_is = override(struct_hook=lambda value, _: value)
_converter.register_structure_hook(
    ImagesResponse,
    make_dict_structure_fn(
        ImagesResponse, _converter, request_id=_as_it_is, raw=_as_it_is, extra=_as_it_is
    ),
)
_RESPONSE = _sent_of(ImagesResponse)
