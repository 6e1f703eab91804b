"""
Which requests are the same work: a digest of what decides the picture. Nothing here reads a file.

An edited prompt, another model or another reference is new work; the order of the fields, and how
the answer travels are not, and neither are ids, metadata and the order of the rows of a batch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from attrs import fields

from ._request import GenerateRequest

# A thousand million rows meet with a chance of one in a hundred thousand million.
SIZE = 12
_SCHEME = b"1\n"
# Headers are the caller's bookkeeping; a picture is the same as a link and as base64.
_NOT_HERE = {"model", "image", "response_format", "extra_headers"}
_NAMES = [name.name for name in fields(GenerateRequest) if name.name not in _NOT_HERE]


def key_of(request: GenerateRequest, *, model: str, references: Sequence[str] = ()) -> bytes:
    """
    The key of *request*, which *model* answers if it names no other.

    *references* tell its images by what they hold, in their order (`reference_names`).
    """
    given = {name: getattr(request, name) for name in _NAMES}
    work = {name: _plain(value) for name, value in given.items() if value is not None}
    work |= {"model": request.model or model, "image": list(references)}
    sent = json.loads(json.dumps(work))  # where all names are texts, which alone can be sorted
    text = json.dumps(sent, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(_SCHEME + text.encode("ascii"), digest_size=SIZE).digest()


def _plain(value: Any) -> Any:
    """*value* as it is written in one way only: 3.0 is 3."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case dict():
            return {name: _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
        case _:
            return value
