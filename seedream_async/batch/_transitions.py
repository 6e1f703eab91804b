"""
What becomes of one row, as work on the tables of a ledger. Each checks before it writes.

*now* is in seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from sqlite3 import Connection

from . import _states
from ._entries import File, Link
from ._states import STATES, IllegalTransitionError, State

# From 2: SQLite keeps 0 and 1 in no byte at all, and a row should not grow when its state changes.
CODES: dict[State, int] = {state: code for code, state in enumerate(STATES, 2)}
STATE_OF = {code: state for state, code in CODES.items()}
MILLION = 1_000_000  # the unit of costs in the tables
_INTERRUPTED = "the run ended before its answer was noted"
_LOST = "what the ledger had noted of it is lost, so it may have been sent"


def sent(connection: Connection, number: int, now: float, *, resend_unknown: bool) -> None:
    _move(connection, number, "sent", now, resend_unknown=resend_unknown)
    connection.execute("UPDATE job SET attempts = attempts + 1 WHERE number = ?", (number,))


def put_back(connection: Connection, number: int, now: float) -> State:
    state = _move(connection, number, "planned", now)
    connection.execute("UPDATE job SET attempts = attempts - 1 WHERE number = ?", (number,))
    return state


def paid(
    connection: Connection,
    number: int,
    now: float,
    images: Sequence[Link],
    *,
    request_id: str | None,
    cost: float | None,
) -> None:
    before, doubts = _found(connection, number)
    # An answer that comes late settles the doubt about its own request.
    doubts -= before == "unknown" and doubts > 0
    _states.check(number, before, "paid")
    _write(connection, number, "paid", doubts, now)
    _tell(connection, number, request_id=request_id, cost=cost)
    _forget(connection, number)
    connection.executemany(
        "INSERT INTO link (job, n, url, expires) VALUES (?, ?, ?, ?)",
        [(number, index, image.url, image.expires) for index, image in enumerate(images)],
    )


def saved(connection: Connection, number: int, now: float, files: Sequence[File]) -> State:
    before, doubts = _found(connection, number)
    _states.check(number, before, "saved")
    for file in files:
        _save(connection, number, file)
    (missing,) = connection.execute("SELECT count(*) FROM link WHERE job = ?", (number,)).fetchone()
    after: State = "paid" if missing else "saved"
    _write(connection, number, after, doubts, now)
    return after


def failed(
    connection: Connection,
    number: int,
    now: float,
    *,
    problem: str,
    message: str,
    request_id: str | None,
) -> State:
    after = _move(connection, number, "failed", now)
    _tell(connection, number, request_id=request_id, problem=problem, message=message)
    return after


def unknown(
    connection: Connection,
    number: int,
    now: float,
    *,
    problem: str,
    message: str,
    request_id: str | None,
) -> None:
    before, doubts = _found(connection, number)
    _states.check(number, before, "unknown")
    _write(connection, number, "unknown", doubts + 1, now)
    _tell(connection, number, request_id=request_id, problem=problem, message=message)


def given_up(connection: Connection, number: int, now: float, *, message: str) -> State:
    """Let it be unknown if it was sent, as nobody waits for its answer; tell what it was."""
    before, _ = _found(connection, number)
    if before == "sent":
        unknown(connection, number, now, problem="Interrupted", message=message, request_id=None)
    return before


def recover(connection: Connection, now: float, *, lost: int) -> tuple[int, int]:
    """How many rows were sent without an answer, and how many may have been, after a loss."""
    interrupted = _doubt(connection, now, "sent", "Interrupted", _INTERRUPTED)
    doubted = _doubt(connection, now, "planned", "Lost", _LOST) if lost else 0
    return interrupted, doubted


def _doubt(connection: Connection, now: float, state: State, problem: str, message: str) -> int:
    connection.execute(
        "INSERT OR REPLACE INTO outcome (job, problem, message)"
        " SELECT number, ?, ? FROM job WHERE state = ?",
        (problem, message, CODES[state]),
    )
    return connection.execute(
        "UPDATE job SET state = ?, doubts = doubts + 1, changed = ? WHERE state = ?",
        (CODES["unknown"], int(now), CODES[state]),
    ).rowcount


def _move(
    connection: Connection, number: int, after: State, now: float, *, resend_unknown: bool = False
) -> State:
    """Let row *number* become *after*, or what that comes to; tell which."""
    before, doubts = _found(connection, number)
    _states.check(number, before, after, resend_unknown=resend_unknown)
    after = _states.settled(after, doubts)
    _write(connection, number, after, doubts, now)
    return after


def _found(connection: Connection, number: int) -> tuple[State, int]:
    """The state and the doubts of row *number*."""
    row = connection.execute("SELECT state, doubts FROM job WHERE number = ?", (number,)).fetchone()
    if row is None:
        raise IllegalTransitionError(f"the ledger has no row {number}; plan it first")
    return STATE_OF[row[0]], row[1]


def _write(connection: Connection, number: int, state: State, doubts: int, now: float) -> None:
    connection.execute(
        "UPDATE job SET state = ?, doubts = ?, changed = ? WHERE number = ?",
        (CODES[state], doubts, int(now), number),
    )


def _tell(
    connection: Connection,
    number: int,
    *,
    request_id: str | None,
    cost: float | None = None,
    problem: str | None = None,
    message: str | None = None,
) -> None:
    """Note what is known of the outcome; what was paid for before stays so."""
    connection.execute(
        "INSERT OR REPLACE INTO outcome"
        " SELECT ?, coalesce(?, max(request_id)), coalesce(?, max(cost)), ?, ?"
        " FROM outcome WHERE job = ?",
        (number, request_id, cost and round(cost * MILLION), problem, message, number),
    )


def _forget(connection: Connection, number: int) -> None:
    """Drop the images of an earlier answer."""
    connection.execute("DELETE FROM link WHERE job = ?", (number,))
    connection.execute("DELETE FROM file WHERE job = ?", (number,))


def _save(connection: Connection, number: int, file: File) -> None:
    known = connection.execute(
        "DELETE FROM link WHERE job = ? AND n = ?", (number, file.index)
    ).rowcount
    if not known:
        raise IllegalTransitionError(
            f"row {number} of the ledger has no image {file.index} that is to be saved", "paid"
        )
    connection.execute(
        "INSERT INTO file VALUES (?, ?, ?, ?, ?, ?, ?)",
        (number, file.index, file.path, file.bytes, file.digest, file.width, file.height),
    )
