"""
Which row of the ledger each row of the input is, and making those that are new.

A row is its request, and the copy number of it where a file has the same request more than once:
the row that stood on the same line of the same input, else one with the same id, else the first
that is not taken. So a reordered file is no new work, and ids may be added later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from sqlite3 import Connection
from typing import Any

from attrs import define

from ._entries import DuplicateId, Known, Plan
from ._transitions import CODES, STATE_OF

_WIDTH = 500  # parameters of one statement: SQLite took 999 until 3.32


@define
class _Row:
    """A row of the ledger while its place is sought."""

    number: int
    key: bytes
    copy: int
    edition: int
    line: int
    id: str | None
    state: int
    fresh: bool = False
    moved: bool = False


def plan(
    connection: Connection, now: float, rows: Sequence[Plan], *, doubted: bool
) -> list[Known | DuplicateId]:
    """
    What the ledger knows of *rows*, which are those of the current input from now on.

    With *doubted*, what is new may have been sent before the ledger forgot it.
    """
    edition = current_edition(connection)
    placement = _Placement(connection, edition, rows)
    placed = [placement.place(row) for row in rows]
    _write(connection, placed, edition, now, CODES["unknown" if doubted else "planned"])
    return [
        row
        if isinstance(row, DuplicateId)
        else Known(row.number, row.line, STATE_OF[row.state], row.fresh)
        for row in placed
    ]


def current_edition(connection: Connection) -> int:
    (edition,) = connection.execute("SELECT value FROM meta WHERE name = 'edition'").fetchone()
    return int(edition)


class _Placement:
    """Where *rows* belong, of those rows of the ledger that may be meant."""

    def __init__(self, connection: Connection, edition: int, rows: Sequence[Plan]) -> None:
        self._edition = edition
        self._by_key: dict[bytes, list[_Row]] = {}
        for row in _with_keys(connection, {row.key for row in rows}):
            self._by_key.setdefault(row.key, []).append(row)
        self._by_id = _with_ids(connection, edition, {row.id for row in rows if row.id is not None})
        (last,) = connection.execute("SELECT max(number) FROM job").fetchone()
        self._last: int = last or 0

    def place(self, row: Plan) -> _Row | DuplicateId:
        copies = self._by_key.setdefault(row.key, [])
        found = self._match(row, copies)
        if row.id is not None:
            number, line = self._by_id.get(row.id, (0, 0))
            if number and (found is None or found.number != number):
                return DuplicateId(row.line, row.id, line)
        if found is None:
            found = self._added(row, copies)
        self._take(found, row)
        return found

    def _match(self, row: Plan, copies: list[_Row]) -> _Row | None:
        free = None
        for copy in copies:
            if copy.edition == self._edition:
                if copy.line == row.line:
                    return copy
            elif free is None or (free.id != row.id and copy.id == row.id):
                free = copy
        return free

    def _added(self, row: Plan, copies: list[_Row]) -> _Row:
        self._last += 1
        added = _Row(self._last, row.key, len(copies), 0, 0, None, -1, fresh=True)
        copies.append(added)
        return added

    def _take(self, found: _Row, row: Plan) -> None:
        place = (self._edition, row.line, row.id)
        if (found.edition, found.line, found.id) != place:
            found.edition, found.line, found.id = place
            found.moved = not found.fresh
        if row.id is not None:
            self._by_id[row.id] = found.number, row.line


def _write(
    connection: Connection, placed: Sequence[_Row | DuplicateId], edition: int, now: float, new: int
) -> None:
    # Each once: the same row may have been asked for twice on one line.
    rows = list({row.number: row for row in placed if isinstance(row, _Row)}.values())
    for row in rows:
        row.state = new if row.fresh else row.state
    fresh = [row for row in rows if row.fresh]
    doubts = int(new != CODES["planned"])
    connection.executemany(
        "INSERT INTO request VALUES (?, ?, ?)",
        sorted((row.key, row.copy, row.number) for row in fresh),
    )
    connection.executemany(
        "INSERT INTO job VALUES (?, ?, ?, ?, ?, 0, ?, ?)",
        [(row.number, edition, row.line, row.id, new, doubts, int(now)) for row in fresh],
    )
    connection.executemany(
        "UPDATE job SET edition = ?, line = ?, id = ? WHERE number = ?",
        [(edition, row.line, row.id, row.number) for row in rows if row.moved],
    )


def _with_keys(connection: Connection, keys: set[bytes]) -> Iterator[_Row]:
    statement = (
        "SELECT number, key, copy, edition, line, id, state"
        " FROM request CROSS JOIN job ON number = job WHERE key IN (%s) ORDER BY key, copy"
    )
    for row in _chunked(connection, statement, (), keys):
        yield _Row(*row)


def _with_ids(connection: Connection, edition: int, ids: set[str]) -> dict[str, tuple[int, int]]:
    statement = "SELECT id, number, line FROM job WHERE edition = ? AND id IN (%s)"
    found = _chunked(connection, statement, (edition,), ids)
    return {name: (number, line) for name, number, line in found}


def _chunked(
    connection: Connection, statement: str, first: tuple[Any, ...], wanted: set[Any]
) -> Iterator[Any]:
    """The rows of *statement*, whose last parameters are all of *wanted*, some at a time."""
    left = iter(wanted)
    while some := tuple(islice(left, _WIDTH)):
        marks = ",".join("?" * len(some))
        yield from connection.execute(statement % marks, first + some)
