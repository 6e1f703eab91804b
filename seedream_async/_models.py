"""
The values that come out: frozen, and ignorant of JSON.

Annotations are not postponed here, so that `typing.get_type_hints` works on every class
although each calls itself a member of `seedream_async`.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from attrs import field, frozen

from . import _links
from ._events import Attempt

# What may stand between width and height in input; only "x" is sent.
_TIMES = re.compile(r"(?<=\d)\s*[xX×*]\s*(?=\d)")  # noqa: RUF001


def plain_size(value: str | None) -> str | None:
    """*value* with the sign for times that the API uses."""
    return _TIMES.sub("x", value.strip()) if isinstance(value, str) else value


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
    *size* is `WIDTHxHEIGHT` in pixels. A layer has *z_index*, 0 for the base, and a *bounding_box*
    in pixels of the base. *extra* holds fields that this version does not know.
    """

    url: str | None = field(default=None, repr=_hidden_link)
    b64_json: str | None = field(default=None, repr=_hidden_base64)
    size: str | None = field(default=None, converter=plain_size)
    output_format: str | None = None
    error: ImageError | None = None
    background: str | None = None
    z_index: int | None = None
    name: str | None = None
    description: str | None = None
    bounding_box: Mapping[str, Any] | None = None
    extra: Mapping[str, Any] = field(factory=dict, repr=False)

    @property
    def expires_at(self) -> datetime | None:
        """When the link expires, read from the link itself; nothing if it does not say."""
        return _links.expires_at(self.url) if self.url else None


@frozen(kw_only=True)
class Usage:
    """
    What was made and counted. The price is per *generated_images*.

    *tool_usage* counts the uses of each tool, such as `web_search`.
    """

    generated_images: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    input_images: int | None = None
    tool_usage: Mapping[str, Any] | None = None
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

    *files* is filled by `save_to`, in the order of `images`; of what came as base64, the image is
    only there. *attempts* tells what became of each attempt to get the answer. *extra* holds
    fields that this version does not know, *raw* the decoded answer as it came, without the base64
    that is in files.
    """

    created: int = 0
    data: tuple[Image, ...] = ()
    usage: Usage | None = None
    model: str | None = None
    request_id: str | None = None
    files: tuple[SavedImage, ...] = ()
    attempts: tuple[Attempt, ...] = field(default=(), repr=False, eq=False)
    extra: Mapping[str, Any] = field(factory=dict, repr=False)
    raw: Mapping[str, Any] = field(factory=dict, repr=False, eq=False)

    @property
    def images(self) -> tuple[Image, ...]:
        """The images that were made."""
        return tuple([image for image in self.data if image.error is None])

    @property
    def failures(self) -> tuple[Image, ...]:
        """The items that hold an error instead of an image."""
        return tuple([image for image in self.data if image.error is not None])


@frozen(kw_only=True)
class ImageSucceeded:
    """
    One image of a stream is finished. *index* is its place in the group, from 0.

    *file* is where it was saved, if saving was asked for.
    """

    index: int
    image: Image
    file: SavedImage | None = None


@frozen(kw_only=True)
class ImageFailed:
    """One image of a stream failed. The others are not affected."""

    index: int
    error: ImageError


@frozen(kw_only=True)
class StreamCompleted:
    """All images of a stream are done. *created* is in seconds since 1970."""

    usage: Usage | None = None
    model: str | None = None
    created: int = 0
    extra: Mapping[str, Any] = field(factory=dict, repr=False)


@frozen(kw_only=True)
class UnknownEvent:
    """An event that this version does not know, as it came."""

    type: str
    data: Any = field(default=None, repr=False)


StreamEvent: TypeAlias = ImageSucceeded | ImageFailed | StreamCompleted | UnknownEvent


@frozen(kw_only=True)
class ModelInfo:
    """A model that the account may use."""

    id: str
    owned_by: str | None = None
    extra: Mapping[str, Any] = field(factory=dict, repr=False)
