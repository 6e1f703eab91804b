"""Reference images, from whatever the caller has to what the API takes: a link or a data URI."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Sequence
from pathlib import Path

from . import _sniff
from ._errors import InvalidRequestError
from ._files import in_thread
from ._models import Image
from ._request import Reference

MAX_BYTES = 30_000_000  # of one reference; Volcengine document 82379/1541523


async def resolve(references: Sequence[Reference]) -> list[str]:
    """Links and data URIs as they are; files and bytes read and encoded off the loop."""
    return [await _resolve(reference) for reference in references]


async def _resolve(reference: Reference) -> str:
    if isinstance(reference, Image):
        if (text := reference.b64_json) is not None:
            return await in_thread(_reencode, text)
        reference = reference.url or ""
    if isinstance(reference, str) and reference.startswith(("http://", "https://", "data:")):
        return reference
    if isinstance(reference, bytes):
        return await in_thread(_encode, reference)
    return await in_thread(_load, reference)  # type: ignore[arg-type]


def _reencode(text: str) -> str:
    try:
        return _encode(base64.b64decode(text, validate=True))
    except binascii.Error:
        raise _invalid("the b64_json of the image is not base64") from None


def _load(path: str | os.PathLike[str]) -> str:
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as exc:
        reason = (isinstance(exc, OSError) and exc.strerror) or "not a path"
        raise _invalid(
            f"{os.fspath(path)[:200]!r} cannot be read: {reason}. "
            "A reference is a file, an http(s) link, a data URI, or bytes"
        ) from None
    return _encode(content)


def _encode(content: bytes) -> str:
    if len(content) > MAX_BYTES:
        raise _invalid(f"it has {len(content)} bytes; the API takes {MAX_BYTES} at most")
    sniffed = _sniff.sniff(content[: _sniff.HEAD])
    if sniffed is None:
        raise _invalid("it is no JPEG, PNG, WebP, GIF, BMP or TIFF image")
    return f"data:{sniffed.kind.content_type};base64,{base64.b64encode(content).decode()}"


def _invalid(problem: str) -> InvalidRequestError:
    return InvalidRequestError(f"image: {problem}", field="image")
