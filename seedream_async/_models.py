"""
The values that go in and come out: frozen, valid from birth, and ignorant of JSON.

Annotations are not postponed here, so that `typing.get_type_hints` works on every class
although each calls itself a member of `seedream_async`.
"""

import os
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias

from attrs import evolve, field, frozen

from . import _links
from ._errors import InvalidRequestError

ResponseFormat: TypeAlias = Literal["url", "b64_json"]
OutputFormat: TypeAlias = Literal["png", "jpeg"]
SequentialImageGeneration: TypeAlias = Literal["auto", "disabled"]


def _hidden_link(link: str | None) -> str:
    return repr(link and _links.redacted(link))


def _hidden_base64(text: str | None) -> str:
    return repr(text and f"<{len(text)} characters>")


@frozen(kw_only=True)
class ImageError:
    """Why one image of an answer is missing. The others are not affected."""

    code: str | None = None
    message: str = ""


@frozen(kw_only=True)
class Image:
    """
    One image of an answer: a link, or base64 text, or the error that took its place.

    *url* is valid for 24 hours as a rule. *b64_json* has no `data:` prefix.
    *size* is `WIDTHxHEIGHT` in pixels. *extra* holds fields that this version does not know.
    """

    url: str | None = field(default=None, repr=_hidden_link)
    b64_json: str | None = field(default=None, repr=_hidden_base64)
    size: str | None = None
    output_format: str | None = None
    error: ImageError | None = None
    extra: Mapping[str, Any] = field(factory=dict, repr=False)

    @property
    def expires_at(self) -> datetime | None:
        """When the link expires, read from the link itself; nothing if it does not say."""
        return _links.expires_at(self.url) if self.url else None


Reference: TypeAlias = str | bytes | os.PathLike[str] | Image
_REFERENCE_TYPES = (str, bytes, os.PathLike, Image)


@frozen(kw_only=True)
class Usage:
    """What was made and counted. The price is per *generated_images*."""

    generated_images: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_images: int | None = None
    extra: Mapping[str, Any] = field(factory=dict, repr=False)


@frozen(kw_only=True)
class SavedImage:
    """An image on disk: *bytes* is its length; *width* and *height* are in pixels."""

    path: Path
    bytes: int
    content_type: str
    width: int
    height: int


@frozen(kw_only=True)
class ImagesResponse:
    """
    An answer of the API. *created* is in seconds since 1970.

    *files* is filled by `save_to`, in the order of `images`.
    """

    created: int = 0
    data: tuple[Image, ...] = ()
    usage: Usage | None = None
    model: str | None = None
    request_id: str | None = None
    files: tuple[SavedImage, ...] = ()
    extra: Mapping[str, Any] = field(factory=dict, repr=False)

    @property
    def images(self) -> tuple[Image, ...]:
        """The images that were made."""
        return tuple(image for image in self.data if image.error is None)

    @property
    def failures(self) -> tuple[Image, ...]:
        """The items that hold an error instead of an image."""
        return tuple(image for image in self.data if image.error is not None)


def _as_references(value: Reference | Iterable[Reference] | None) -> tuple[Reference, ...] | None:
    if value is None:
        return None
    if isinstance(value, str | bytes | os.PathLike | Image) or not isinstance(value, Iterable):
        return (value,)
    return tuple(value)


def _check_prompt(_: Any, __: Any, value: Any) -> None:
    if not isinstance(value, str):
        problem = f"prompt must be a str, not {type(value).__name__}"
    elif not value.strip():
        problem = "prompt is empty; describe the image you want"
    elif any("\ud800" <= character <= "\udfff" for character in value):
        problem = "prompt holds half a character (a lone surrogate); decode it properly"
    else:
        return
    raise InvalidRequestError(problem, field="prompt")


def _check_references(_: Any, __: Any, value: tuple[object, ...] | None) -> None:
    for reference in value or ():
        if not isinstance(reference, _REFERENCE_TYPES):
            raise InvalidRequestError(
                "image must be a path, a URL, a data URI, bytes or an Image, "
                f"not {type(reference).__name__}",
                field="image",
            )


# What may stand between width and height in input; only "x" is sent.
_TIMES = re.compile(r"(?<=\d)\s*[xX×*]\s*(?=\d)")  # noqa: RUF001


def _plain_size(value: str | None) -> str | None:
    return _TIMES.sub("x", value.strip()) if isinstance(value, str) else value


def _hidden_references(references: tuple[Reference, ...] | None) -> str:
    return repr(references and f"<{len(references)} references>")


@frozen
class GenerateRequest:
    """
    One request. A field left at `None` is not sent, so the API's own default holds.

    Fields and their names are the API's, except *max_images*, which is lifted out of
    `sequential_image_generation_options`. Each is described at https://apidoc.cometapi.com.
    A prompt is private: it is not in the repr.
    """

    prompt: str = field(validator=_check_prompt, repr=False)
    model: str | None = field(default=None, kw_only=True)
    size: str | None = field(default=None, kw_only=True, converter=_plain_size)
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

    @classmethod
    def of(cls, prompt: "str | GenerateRequest", **fields: Any) -> "GenerateRequest":
        """Make a request of a prompt, or a changed copy of a request; `None` changes nothing."""
        given = {name: value for name, value in fields.items() if value is not None}
        if isinstance(prompt, GenerateRequest):
            return evolve(prompt, **given) if given else prompt
        return cls(prompt, **given)


@frozen
class Success:
    """A request that was answered. *files* are its saved images, if saving was asked for."""

    index: int
    request: GenerateRequest
    response: ImagesResponse

    @property
    def files(self) -> tuple[SavedImage, ...]:
        return self.response.files

    def unwrap(self) -> ImagesResponse:
        """The response."""
        return self.response


@frozen
class Failure:
    """
    A request that failed with *error*. Its `possibly_billed` tells whether it may cost.

    *request* is missing only if the source of the requests raised instead of giving one.
    """

    index: int
    request: str | GenerateRequest | None = field(repr=False)
    error: Exception

    def unwrap(self) -> ImagesResponse:
        """Raise the error."""
        raise self.error


Result: TypeAlias = Success | Failure
