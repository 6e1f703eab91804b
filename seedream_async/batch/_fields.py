"""
What a row may say of a request, and making one of it. Nothing here reads, or repeats a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias

from attrs import fields, frozen

from seedream_async._errors import InvalidRequestError
from seedream_async._request import GenerateRequest

Kind: TypeAlias = Literal["text", "number", "whole number", "yes or no", "JSON", "references"]

FIELDS: dict[str, Kind] = {
    "prompt": "text",
    "model": "text",
    "size": "text",
    "image": "references",
    "response_format": "text",
    "watermark": "yes or no",
    "seed": "whole number",
    "guidance_scale": "number",
    "sequential_image_generation": "text",
    "max_images": "whole number",
    "output_format": "text",
    "optimize_prompt": "yes or no",
    "optimize_prompt_options": "JSON",
    "tools": "JSON",
    "background": "text",
    "layer_decomposition": "yes or no",
    "extra_body": "JSON",
    "extra_headers": "JSON",
}
assert list(FIELDS) == [field.name for field in fields(GenerateRequest)]  # noqa: S101

# What others call a field, or what would be taken for one.
_REMEDIES = {
    "n": "Seedream ignores n; use max_images",
    "stream": "a batch does not stream; leave it out",
    "sequential_image_generation_options": "use max_images",
}
_WORDS = {
    **dict.fromkeys(("true", "yes", "1"), True),
    **dict.fromkeys(("false", "no", "0"), False),
}
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_LONGEST_ID = 500  # characters
_CUTOFF = 0.8  # of difflib: "promt" and "images", but not "image_url"


@frozen
class Row:
    """A row of the input, from *line* on. *metadata* is what is no field of a request."""

    line: int
    request: GenerateRequest
    id: str | None = None
    metadata: Mapping[str, Any] = {}


@frozen
class BadRow:
    """A row that is no request, and why; the others are not affected."""

    line: int
    reason: str
    id: str | None = None


def column_problem(name: str) -> str | None:
    """What is wrong with a column called *name*, if anything is; most others are metadata."""
    if name in FIELDS or name == "id":
        return None
    if name in _REMEDIES:
        return f"{name} is no field of a row: {_REMEDIES[name]}"
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    near = ["id"] if plain == "id" else get_close_matches(plain, FIELDS, n=1, cutoff=_CUTOFF)
    if near:
        return f"{name[:40]!r} is no field of a row; did you mean {near[0]!r}?"
    return None


def make_row(
    line: int, given: Mapping[str, Any], defaults: Mapping[str, Any], *, from_text: bool = False
) -> Row | BadRow:
    """
    The row of *line* that *given* describes; *defaults* are of fields that it leaves out.

    With *from_text*, values are text that is read as the type of their field, and empty is unset.
    """
    name = None
    try:
        name = _id_of(given.get("id"))
        for column in given:
            if problem := column_problem(column):
                raise _RowError(problem)
        request = _request_of(given, defaults, from_text=from_text)
    except (_RowError, InvalidRequestError) as exc:
        return BadRow(line, str(exc), name)
    other = {column: given[column] for column in given if column not in FIELDS and column != "id"}
    return Row(line, request, name, other)


def strict_json(text: str) -> Any:
    """The value of *text*; raises `ValueError` where readers of JSON differ."""
    return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("it has a name twice")
    return found


def _no_number(_: str) -> Any:
    raise ValueError("it has a number that is none")


class _RowError(Exception):
    """Why a row is refused."""


def _request_of(
    given: Mapping[str, Any], defaults: Mapping[str, Any], *, from_text: bool
) -> GenerateRequest:
    read = _from_text if from_text else _from_json
    values = {name: value for name, value in defaults.items() if value is not None}
    for name, kind in FIELDS.items():
        value = given.get(name)
        if value is not None and (value != "" or not from_text):
            values[name] = read(name, kind, value)
    if "prompt" not in values:
        if not values.get("layer_decomposition"):
            raise _RowError("it has no prompt")
        values["prompt"] = ""
    return GenerateRequest(**values)


def _id_of(value: Any) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _RowError("id must be text or a whole number")
    name = str(value)
    if len(name) > _LONGEST_ID or not name.isprintable():
        raise _RowError(f"id must be at most {_LONGEST_ID} characters that can be printed")
    return name


def _from_json(name: str, kind: Kind, value: Any) -> Any:
    if not _fits(kind, value):
        raise _RowError(f"{name} must be {_DESCRIBED[kind]}, not {_called(value)}")
    return value


def _fits(kind: Kind, value: Any) -> bool:
    match kind:
        case "text":
            return isinstance(value, str)
        case "yes or no":
            return isinstance(value, bool)
        case "whole number":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "references":
            items = value if isinstance(value, list) else [value]
            return all(isinstance(item, str) for item in items)
        case _:
            return isinstance(value, dict | list)


_DESCRIBED: dict[Kind, str] = {
    "text": "text",
    "number": "a number",
    "whole number": "a whole number",
    "yes or no": "true or false",
    "JSON": "an object or a list",
    "references": "a path, a link, a data URI, or a list of them",
}


def _called(value: Any) -> str:
    names = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list"}
    return names.get(type(value), "an object")


def _from_text(name: str, kind: Kind, text: str) -> Any:
    try:
        value = _parsed(kind, text)
    except (ValueError, KeyError, RecursionError):
        raise _RowError(f"{name} must be {_DESCRIBED[kind]}") from None
    return _from_json(name, kind, value)


def _parsed(kind: Kind, text: str) -> Any:
    plain = text.strip()
    match kind:
        case "text":
            return text
        case "yes or no":
            return _WORDS[plain.lower()]
        case "whole number" if _WHOLE.fullmatch(plain):
            return int(plain)
        case "references" if not plain.startswith("["):
            return plain
        case _:
            return strict_json(plain)
