"""
Rows of a dataset as those of a batch, and what became of them as rows of a manifest.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from attrs import evolve, frozen

from seedream_async.batch._entries import DuplicateId, Entry, Known, Plan
from seedream_async.batch._fields import BadRow, Row, make_row
from seedream_async.batch._products import images_of
from seedream_async.batch._surveying import judged, plan_of

# Each column of a manifest, and whether what it holds is text, a whole number, or a number; then
# what a manifest need not tell.
COLUMNS = {
    "id": "text",
    "line": "whole number",
    "prompt": "text",
    "model": "text",
    "size": "text",
    "file": "text",
    "bytes": "whole number",
    "digest": "text",
    "request_id": "text",
    "cost": "number",
    "metadata": "text",
    "state": "text",
    "problem": "text",
}


GIVEN = "given"  # the one column of a dataset of rows that the ledger knows


@frozen(kw_only=True)
class Given:
    """Row *number* of the ledger."""

    number: int
    row: Row

    def packed(self) -> bytes:
        return pickle.dumps(self)


Planned: TypeAlias = tuple[Row, Plan] | BadRow


def unpacked(content: bytes) -> Given:
    given: Given = pickle.loads(content)  # noqa: S301  as `packed` made it, a moment ago
    return given


def planned(
    values: Sequence[Mapping[str, Any]], defaults: Mapping[str, Any], model: str
) -> list[Planned]:
    """Each row of a dataset with how the ledger is to know it. Blocking, to read references."""
    return [_planned(row, defaults, model) for row in values]


def _planned(values: Mapping[str, Any], defaults: Mapping[str, Any], model: str) -> Planned:
    row = judged(make_row(0, _set(values), defaults), model)
    if isinstance(row, BadRow):
        return row
    plan = plan_of(row, model)
    return plan if isinstance(plan, BadRow) else (row, evolve(plan, line=_line(plan)))


def plans_of(rows: Sequence[Planned]) -> list[Plan]:
    """What the ledger is to know of *rows*: once of each, however often they are there."""
    plans = (row[1] for row in rows if not isinstance(row, BadRow))
    return list({plan.line: plan for plan in plans}.values())


def placed(
    rows: Sequence[Planned], places: Sequence[Known | DuplicateId]
) -> tuple[list[Given], list[BadRow]]:
    """Those of *rows* that have their *places* in the ledger, and those that have none."""
    by_line = dict(zip((plan.line for plan in plans_of(rows)), places, strict=True))
    given: list[Given] = []
    bad: list[BadRow] = []
    for row in rows:
        if isinstance(row, BadRow):
            bad.append(row)
            continue
        place = by_line[row[1].line]
        if isinstance(place, DuplicateId):
            bad.append(BadRow(0, f"id {place.id!r} is that of another row too", place.id))
        else:
            given.append(Given(number=place.number, row=row[0]))
    return given, bad


def _set(values: Mapping[str, Any]) -> dict[str, Any]:
    """*values* without those that are missing: a table has a place for each in every row."""
    return {name: _plain(value) for name, value in values.items() if value is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return _set(value)
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _line(plan: Plan) -> int:
    """
    A number for a row that has no line: the same whenever it is met again, as after a failure.

    So rows that ask for the same, without ids that tell them apart, are one.
    """
    text = plan.key + (plan.id or "").encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")


def bad(row: BadRow, model: str) -> dict[str, Any]:
    """What is told of a row that is no request."""
    return _line_of(row, model, state="bad", problem=row.reason)


def told(row: Row, entry: Entry, model: str, problem: str | None = None) -> list[dict[str, Any]]:
    """
    What became of *row*, in a line for each of its images, or in one without.

    *problem* is for a row of which the ledger has none.
    """
    problem = f"{entry.problem}: {entry.message}" if entry.problem else problem
    problem = None if entry.state == "saved" else problem
    images = images_of(row, entry, model)
    if not images:
        about = {"request_id": entry.request_id, "cost": entry.cost}
        return [_line_of(row, model, state=entry.state, problem=problem, **about)]
    return [_complete({**image, "state": entry.state, "problem": problem}) for image in images]


def left(row: Row, model: str, why: object) -> dict[str, Any]:
    """What is told of a row that is not sent, because of *why*."""
    return _line_of(row, model, state="planned", problem=f"not sent: {why}")


def _line_of(row: Row | BadRow, model: str, **about: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"id": row.id, "line": row.line}
    if isinstance(row, Row):
        known |= {"prompt": row.request.prompt, "model": row.request.model or model}
        known["metadata"] = dict(row.metadata)
    return _complete({**known, **about})


def _complete(line: Mapping[str, Any]) -> dict[str, Any]:
    """*line* with every column, of types that all rows share."""
    metadata = json.dumps(line.get("metadata") or {}, ensure_ascii=False, default=str)
    whole = {name: line.get(name) for name in COLUMNS}
    return {**whole, "line": line.get("line") or None, "metadata": metadata}
