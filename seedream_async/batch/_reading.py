"""
What a ledger tells of its rows, as work on its tables: a page at a time, so that none is large.
"""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Connection
from typing import Any

from attrs import evolve

from ._entries import Entry, File, Known, Link, Spent, StoredImage
from ._planning import current_edition
from ._states import STATES, State
from ._transitions import CODES, MILLION, STATE_OF

PAGE = 500
LONG_PAGE = 5000
_NAMES = (
    *("number", "line", "id", "state", "attempts", "doubts", "changed"),
    *("request_id", "cost", "problem", "message"),
)
_COLUMNS = ", ".join(_NAMES)
# One index gives the rows of one state in order; a handful of them are merged.
_OF_STATE = (
    f"SELECT * FROM (SELECT {_COLUMNS} FROM job LEFT JOIN outcome ON job = number"  # noqa: S608
    " WHERE state = ? AND edition = ? AND (line, number) > (?, ?)"
    " ORDER BY line, number LIMIT ?)"
)
_LEFT_OF_STATE = (
    "SELECT * FROM (SELECT number, line, state FROM job"
    " WHERE state = ? AND edition = ? AND (line, number) > (?, ?)"
    " ORDER BY line, number LIMIT ?)"
)


def editions(connection: Connection, *, listed: bool) -> list[int]:
    """The inputs whose rows are asked for: the current one, or all before it."""
    current = current_edition(connection)
    return [current] if listed else list(range(current))


def left(connection: Connection, states: Sequence[State], after: tuple[int, int]) -> list[Known]:
    """The next rows of the current input that are in *states*, as `page`; the index has it all."""
    statement = (
        " UNION ALL ".join([_LEFT_OF_STATE] * len(states)) + " ORDER BY line, number LIMIT ?"
    )
    edition = current_edition(connection)
    given = [(CODES[state], edition, *after, LONG_PAGE) for state in states]
    rows = connection.execute(statement, [value for some in given for value in some] + [LONG_PAGE])
    return [Known(number, line, STATE_OF[state]) for number, line, state in rows]


def page(
    connection: Connection, states: Sequence[State], edition: int, after: tuple[int, int]
) -> list[Entry]:
    """The next rows of *edition*, in the order of the input; *after* is a line and a number."""
    states = states or STATES
    statement = " UNION ALL ".join([_OF_STATE] * len(states)) + " ORDER BY line, number LIMIT ?"
    given = [(CODES[state], edition, *after, PAGE) for state in states]
    rows = connection.execute(statement, [value for some in given for value in some] + [PAGE])
    listed = edition == current_edition(connection)
    entries = [_entry(row, listed=listed) for row in rows]
    images = _images(connection, [e.number for e in entries if e.state != "planned"])
    if not images:
        return entries
    return [evolve(entry, images=tuple(images.get(entry.number, ()))) for entry in entries]


def rows(connection: Connection, numbers: Sequence[int]) -> list[Entry]:
    """The rows of these *numbers*, in their order, whatever input they are of."""
    current, found = current_edition(connection), {}
    for at in range(0, len(numbers), PAGE):
        some = numbers[at : at + PAGE]
        images = _images(connection, some)
        for row in connection.execute(
            f"SELECT {_COLUMNS}, edition FROM job LEFT JOIN outcome ON job = number"  # noqa: S608
            f" WHERE number IN ({','.join('?' * len(some))})",
            some,
        ):
            entry = _entry(row[:-1], listed=row[-1] == current)
            found[entry.number] = evolve(entry, images=tuple(images.get(entry.number, ())))
    return [found[number] for number in numbers]


def counts(connection: Connection, *, listed: bool) -> dict[State, int]:
    """How many rows are in each state."""
    found = connection.execute(
        f"SELECT state, count(*) FROM job WHERE edition {'=' if listed else '<'} ? GROUP BY state",  # noqa: S608
        (current_edition(connection),),
    )
    numbers = dict(found.fetchall())
    return {state: numbers.get(CODES[state], 0) for state in STATES}


def files(connection: Connection) -> int:
    """How many images are saved, of whatever input."""
    (number,) = connection.execute("SELECT count(*) FROM file").fetchone()
    return int(number)


def spent(connection: Connection) -> Spent:
    """What all rows cost that were answered, whatever input they are of."""
    rows, cost = connection.execute(
        "SELECT count(*), total(cost) FROM outcome WHERE cost IS NOT NULL"
    ).fetchone()
    return Spent(rows, cost / MILLION)


def _entry(row: tuple[Any, ...], *, listed: bool) -> Entry:
    facts = dict(zip(_NAMES, row, strict=True))
    cost = facts["cost"] and facts["cost"] / MILLION
    return Entry(**facts | {"state": STATE_OF[facts["state"]], "cost": cost, "listed": listed})


def _images(connection: Connection, numbers: Sequence[int]) -> dict[int, list[StoredImage]]:
    """The images of the rows of these *numbers*, each row's in the order of its answer."""
    where = f"WHERE job IN ({','.join('?' * len(numbers))})"
    found: dict[int, list[StoredImage]] = {}
    for job, n, url, expires in connection.execute(
        f"SELECT job, n, url, expires FROM link {where}",  # noqa: S608
        numbers,
    ):
        found.setdefault(job, []).append(StoredImage(n, Link(url=url, expires=expires)))
    for job, n, path, size, digest, width, height in connection.execute(
        f"SELECT job, n, path, bytes, digest, width, height FROM file {where}",  # noqa: S608
        numbers,
    ):
        file = File(path=path, bytes=size, digest=digest, index=n, width=width, height=height)
        found.setdefault(job, []).append(StoredImage(n, None, file))
    return {job: sorted(images, key=_index) for job, images in found.items()}


def _index(image: StoredImage) -> int:
    return image.index
