"""The reference images of a request: what is known of them, and whether they will do. Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any

from attrs import frozen

from seedream_async import _catalog, _sniff

from ._refusals import Refusal, invalid, missing, unsupported
from ._rules import Asked

_DATA_URI = re.compile(r"data:image/[a-z]+;base64,")
_MOST_BYTES = 30 * 1024 * 1024
_MOST_PIXELS = 36_000_000
_LEAST_PIXELS_OF_LAYERS = 262_144
_LEAST_SIDE = 14  # pixels; this many are too few
_ALPHA = (b"\x04", b"\x06")  # colour types of a PNG with an alpha channel (table 11.1)


@frozen(kw_only=True)
class Reference:
    """
    A reference, which *digest* tells from others.

    Of a link nothing else is known, and *content_type* is empty. *transparent* is whether it has
    pixels that might be.
    """

    digest: str
    content_type: str = ""
    width: int = 0
    height: int = 0
    transparent: bool = True


def references(asked: Asked) -> list[Reference]:
    """The references of a request, checked."""
    family = asked.family
    given = asked.body.get("image", [])
    texts = given if isinstance(given, list) else [given]
    if not texts and family.needs_reference:
        raise missing("image")
    if texts and not family.references:
        raise unsupported("image")
    if len(texts) > family.references:
        raise invalid("image", f"the number of reference images cannot exceed {family.references}")
    found = [_reference(text) for text in texts]
    for reference in found:
        _check(reference, family)
    return found


def check_layered(found: list[Reference]) -> None:
    """Check the references of a request that asks for layers."""
    if len(found) != 1:
        raise invalid("image", "layer_decomposition requires exactly 1 reference image")
    if found[0].content_type not in ("", "image/png", "image/jpeg"):
        raise invalid("image", "layer_decomposition requires a png or jpeg image")
    if 0 < found[0].width * found[0].height < _LEAST_PIXELS_OF_LAYERS:
        raise _unfit(f"must have at least {_LEAST_PIXELS_OF_LAYERS} pixels")


def check_transparent(found: list[Reference]) -> None:
    """Check the references of a request whose transparency is to be kept."""
    if (
        len(found) != 1
        or found[0].content_type not in ("", "image/png")
        or not found[0].transparent
    ):
        raise invalid(
            "background",
            "a transparent background requires exactly 1 reference image, "
            "a png with a transparent pixel",
        )


def _reference(text: Any) -> Reference:
    if not isinstance(text, str):
        raise invalid("image", "invalid url specified")
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    if prefix := _DATA_URI.match(text):
        return _known(digest, text[prefix.end() :])
    if not text.startswith(("http://", "https://")):
        raise invalid("image", "invalid url specified")
    return Reference(digest=digest)


def _known(digest: str, encoded: str) -> Reference:
    try:
        content = base64.b64decode(encoded, validate=True)
    except ValueError:  # binascii's own, or what is not ASCII
        content = b""
    sniffed = _sniff.sniff(content[: _sniff.HEAD])
    if sniffed is None:
        raise _unsupported_format()
    if len(content) > _MOST_BYTES:
        raise _unfit("cannot exceed 30 MB")
    return Reference(
        digest=digest,
        content_type=sniffed.kind.content_type,
        width=sniffed.width,
        height=sniffed.height,
        transparent=content[25:26] in _ALPHA or b"tRNS" in content,
    )


def _check(reference: Reference, family: _catalog.Family) -> None:
    kind = reference.content_type.removeprefix("image/")
    if kind and kind not in family.reference_formats:
        raise _unsupported_format()
    width, height = reference.width, reference.height
    if not width or not height:
        return
    low, high = family.reference_aspect
    if min(width, height) <= _LEAST_SIDE:
        raise _unfit(f"must be wider and higher than {_LEAST_SIDE} pixels")
    if not low <= width / height <= high:
        raise _unfit(f"must have an aspect ratio between 1/{high:.0f} and {high:.0f}")
    if width * height > _MOST_PIXELS:
        raise _unfit(f"cannot exceed {_MOST_PIXELS} pixels")


def _unfit(problem: str) -> Refusal:
    return invalid("image", f"the image {problem}")


def _unsupported_format() -> Refusal:
    return _unfit("is not in a supported format")
