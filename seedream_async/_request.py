"""
The request: frozen, valid from birth, and ignorant of JSON.

Annotations are not postponed here, so that `typing.get_type_hints` works on every class
although each calls itself a member of `seedream_async`.
"""

import copy
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Literal, Protocol, TypeAlias, TypedDict, cast

from attrs import evolve, field, frozen

from ._errors import InvalidRequestError
from ._models import Image, plain_size

# Names that editors complete; any other text is passed on as it is.
Model: TypeAlias = (
    Literal[
        "doubao-seedream-5-0-260128",
        "doubao-seedream-4-5-251128",
        "doubao-seedream-4-0-250828",
        "seedream-5-0-pro-260628",
    ]
    | str
)
Size: TypeAlias = Literal["1K", "1.5K", "2K", "3K", "4K", "adaptive", "auto"] | str
ResponseFormat: TypeAlias = Literal["url", "b64_json"]
OutputFormat: TypeAlias = Literal["png", "jpeg"]
SequentialImageGeneration: TypeAlias = Literal["auto", "disabled"]
Background: TypeAlias = Literal["auto", "transparent", "opaque"]


class OptimizePromptOptions(TypedDict, total=False):
    """How the prompt is rewritten before it is used. *thinking* is in the vendor's SDK only."""

    mode: Literal["standard", "fast"]
    thinking: Literal["auto", "enabled", "disabled"]


class Tool(TypedDict):
    """A tool that the model may use."""

    type: Literal["web_search"]


class SupportsArray(Protocol):
    """A Pillow image, or a NumPy array of height, width and channels."""

    @property
    def __array_interface__(self) -> dict[str, Any]: ...


Reference: TypeAlias = str | bytes | os.PathLike[str] | BinaryIO | SupportsArray | Image


def _as_references(value: Reference | Sequence[Reference] | None) -> tuple[Reference, ...] | None:
    if value is None:
        return None
    if isinstance(value, list | tuple):
        return tuple(value)
    return (cast("Reference", value),)


def _check_prompt(request: Any, _: Any, value: Any) -> None:
    if not isinstance(value, str):
        problem = f"prompt must be a str, not {type(value).__name__}"
    elif not value.strip() and not request.layer_decomposition:
        problem = "prompt is empty; describe the image you want"
    elif not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
        problem = "prompt holds half a character (a lone surrogate); decode it properly"
    else:
        return
    raise InvalidRequestError(problem, field="prompt")


def _is_reference(value: object) -> bool:
    return isinstance(value, str | bytes | bytearray | os.PathLike | Image) or any(
        # Of the type: Pillow would serialise all pixels to answer for the instance.
        hasattr(type(value), name)
        for name in ("read", "__array_interface__")
    )


def _check_references(_: Any, __: Any, value: tuple[object, ...] | None) -> None:
    for reference in value or ():
        if not _is_reference(reference):
            raise InvalidRequestError(
                "image must be a path, a link, a data URI, bytes, an open binary file, a Pillow "
                f"image, an array or an Image, not {type(reference).__name__}",
                field="image",
            )


# Fields that would be taken for something else than what the caller expects.
_NOT_EXTRA = {
    "n": "Seedream ignores n, and a relay may multiply the charge by it; use max_images",
    "stream": "use client.stream()",
}
_FROM_CALLERS = ("optimize_prompt_options", "tools", "extra_body")
_OUR_HEADERS = {"authorization", "content-length", "content-type", "host", "transfer-encoding"}
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _check_mapping(value: Any, name: str) -> None:
    if not isinstance(value, Mapping):
        raise InvalidRequestError(
            f"{name} must be a mapping, not {type(value).__name__}", field=name
        )


def _check_extra_body(_: Any, __: Any, value: Mapping[str, Any] | None) -> None:
    if value is None:
        return
    _check_mapping(value, "extra_body")
    for name in value:
        if name in _NOT_EXTRA:
            raise InvalidRequestError(f"extra_body: {_NOT_EXTRA[name]}", field="extra_body")
    if problem := _why_not_json(value):
        raise InvalidRequestError(f"extra_body is not JSON: {problem}", field="extra_body")


def _why_not_json(value: object) -> str:
    try:
        json.dumps(copy.deepcopy(value), allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as exc:
        return str(exc)  # the error itself may hold all the text
    return ""


def _check_extra_headers(_: Any, __: Any, value: Mapping[str, str] | None) -> None:
    if value is None:
        return
    _check_mapping(value, "extra_headers")
    for name, text in value.items():
        if str(name).lower() in _OUR_HEADERS:
            problem = f"{name} is set by the client"
        elif (
            not isinstance(name, str)
            or not _HEADER.fullmatch(name)
            or not isinstance(text, str)
            or not text.isprintable()
        ):
            problem = f"{name!r} or its value is no header"
        else:
            continue
        raise InvalidRequestError(f"extra_headers: {problem}", field="extra_headers")


def _hidden_references(references: tuple[Reference, ...] | None) -> str:
    return repr(references and f"<{len(references)} references>")


@frozen
class GenerateRequest:
    """
    One request. A field left at `None` is not sent, so the API's own default holds.

    Fields and their names are the API's, except *max_images*, which is lifted out of
    `sequential_image_generation_options`. Each is described at https://apidoc.cometapi.com.
    *extra_body* is added to the body, *extra_headers* to the headers, for what this version does
    not know. Only with *layer_decomposition* may the prompt be empty. It is private: not in the
    repr.
    """

    prompt: str = field(validator=_check_prompt, repr=False)
    model: Model | None = field(default=None, kw_only=True)
    size: Size | None = field(default=None, kw_only=True, converter=plain_size)
    image: tuple[Reference, ...] | None = field(
        default=None,
        kw_only=True,
        converter=_as_references,
        validator=_check_references,
        repr=_hidden_references,
    )
    response_format: ResponseFormat | None = field(default=None, kw_only=True)
    watermark: bool | None = field(default=None, kw_only=True)
    seed: int | None = field(default=None, kw_only=True)
    guidance_scale: float | None = field(default=None, kw_only=True)
    sequential_image_generation: SequentialImageGeneration | None = field(
        default=None, kw_only=True
    )
    max_images: int | None = field(default=None, kw_only=True)
    output_format: OutputFormat | None = field(default=None, kw_only=True)
    optimize_prompt: bool | None = field(default=None, kw_only=True)
    optimize_prompt_options: OptimizePromptOptions | None = field(default=None, kw_only=True)
    tools: Sequence[Tool] | None = field(default=None, kw_only=True)
    background: Background | None = field(default=None, kw_only=True)
    layer_decomposition: bool | None = field(default=None, kw_only=True)
    extra_body: Mapping[str, Any] | None = field(
        default=None, kw_only=True, validator=_check_extra_body, repr=False
    )
    extra_headers: Mapping[str, str] | None = field(
        default=None, kw_only=True, validator=_check_extra_headers, repr=False
    )

    def __attrs_post_init__(self) -> None:
        # Frozen to the ground: what they are made of may change before they are sent.
        for name in _FROM_CALLERS:
            if isinstance(value := getattr(self, name), dict | list | tuple):
                object.__setattr__(self, name, copy.deepcopy(value))
        if self.extra_headers is not None:
            object.__setattr__(self, "extra_headers", dict(self.extra_headers))

    @classmethod
    def of(cls, prompt: "str | GenerateRequest", **fields: Any) -> "GenerateRequest":
        """Make a request of a prompt, or a changed copy of a request; `None` changes nothing."""
        given = {name: value for name, value in fields.items() if value is not None}
        if isinstance(prompt, GenerateRequest):
            return evolve(prompt, **given) if given else prompt
        return cls(prompt, **given)
