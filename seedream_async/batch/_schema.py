"""
The ledger's file: making it, and telling whether it is one. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from seedream_async import _partfile
from seedream_async._errors import InvalidRequestError, StorageError

VERSION = 1
_APPLICATION = 0x5EED0A51  # tells this file from other databases
# What is planned keeps its length until it is saved: a row that grows splits its page, and half of
# it stays empty. So what is learnt later has tables of its own, and so do links, which go again.
# No STRICT tables and no RETURNING: RHEL 9 has SQLite 3.34.
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE job (
    number INTEGER PRIMARY KEY,
    edition INTEGER NOT NULL,
    line INTEGER NOT NULL,
    id TEXT,
    state INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    doubts INTEGER NOT NULL,
    changed INTEGER NOT NULL
);
CREATE UNIQUE INDEX job_id ON job (edition, id) WHERE id IS NOT NULL;
CREATE INDEX job_state ON job (state, edition, line);
CREATE TABLE request (
    key BLOB NOT NULL,
    copy INTEGER NOT NULL,
    job INTEGER NOT NULL,
    PRIMARY KEY (key, copy)
) WITHOUT ROWID;
CREATE TABLE outcome (
    job INTEGER PRIMARY KEY,
    request_id TEXT,
    cost INTEGER,  -- in millionths: a fraction takes eight bytes
    problem TEXT,
    message TEXT
);
CREATE TABLE link (
    job INTEGER NOT NULL,
    n INTEGER NOT NULL,
    url TEXT,
    expires REAL,
    PRIMARY KEY (job, n)
) WITHOUT ROWID;
CREATE TABLE file (
    job INTEGER NOT NULL,
    n INTEGER NOT NULL,
    path TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    digest BLOB,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    PRIMARY KEY (job, n)
) WITHOUT ROWID;
INSERT INTO meta VALUES
    ('name', lower(hex(randomblob(8)))), ('changes', 0), ('edition', 0);
"""
_MARKS = f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {VERSION};"
_SETTINGS = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
PRAGMA fullfsync = ON;
PRAGMA checkpoint_fullfsync = ON;
PRAGMA cache_size = -16384;
PRAGMA journal_size_limit = 4194304;
"""


def make_file(path: Path) -> None:
    """Make an empty ledger that only its owner can read, since links are as good as keys."""
    _partfile.make_folder(path.parent)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    _partfile.sync_folder(path.parent)


def connect(path: Path, *, readonly: bool) -> sqlite3.Connection:
    """Open the ledger at *path*, which exists; raises what `sqlite3` does."""
    uri = f"{path.absolute().as_uri()}?mode={'ro' if readonly else 'rw'}"
    # One thread at a time uses it, but not the one that opens it.
    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def back_up(path: Path, copy: Path) -> None:
    """Copy what is at *path* by way of SQLite, whose journal may begin anew meanwhile."""
    with (
        contextlib.closing(connect(path, readonly=True)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)


def prepare(connection: sqlite3.Connection, path: Path, *, readonly: bool) -> None:
    """Check that it is a ledger of ours, or make it one."""
    with _one_view(connection):
        ours = _is_ours(connection, path)
    if ours:
        _refuse_other_version(connection, path)
    elif readonly:
        raise _refused(path, "it is empty; it may not have been begun yet")
    else:
        _create(connection)
    if not readonly:
        connection.executescript(_SETTINGS)


def check(connection: sqlite3.Connection, path: Path) -> None:
    """Raise if the file is damaged: nothing that it says may be believed then."""
    if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
        raise damaged(path)


def damaged(path: Path) -> StorageError:
    return StorageError(
        f"the ledger {path} is damaged, so what it says cannot be trusted. Nothing was sent. "
        "Keep it, and begin with another, or put a whole copy back"
    )


@contextlib.contextmanager
def _one_view(connection: sqlite3.Connection) -> Iterator[None]:
    """All that is read meanwhile is of one moment: another process may just be making the file."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        with contextlib.suppress(sqlite3.Error):  # some errors have ended it
            connection.execute("ROLLBACK")


def _is_ours(connection: sqlite3.Connection, path: Path) -> bool:
    if _pragma(connection, "application_id") == _APPLICATION:
        return True
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
        raise _refused(path, "it is a database of another program")
    return False


def _refuse_other_version(connection: sqlite3.Connection, path: Path) -> None:
    version = _pragma(connection, "user_version")
    if version != VERSION:
        raise _refused(
            path,
            f"its schema is {version}, and this release knows up to {VERSION}; "
            "use the release of seedream-async that made it, or a later one",
        )


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(f"BEGIN IMMEDIATE; {_TABLES} {_MARKS} COMMIT;")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)


def _refused(path: Path, problem: str) -> InvalidRequestError:
    return InvalidRequestError(f"ledger: {path} cannot be used: {problem}", field="ledger")


def is_of_the_disk(exc: Exception) -> bool:
    """Whether *exc* is about the file, so that everything in its transaction is undone."""
    return type(exc) in (sqlite3.OperationalError, sqlite3.DatabaseError)


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn what SQLite says of the file at *path* into errors of this library."""
    try:
        yield
    except sqlite3.DatabaseError as exc:
        name = getattr(exc, "sqlite_errorname", "")  # not on what the module raises itself
        if name == "SQLITE_NOTADB":
            raise _refused(path, "it is no ledger") from None
        if name.startswith("SQLITE_CORRUPT"):
            raise damaged(path) from exc
        raise StorageError(
            f"the ledger {path} could not be read or written: {exc}. What was being noted is not "
            "sure; make room or put it back, then run again"
        ) from exc
