"""
What a batch was started with, and how a new run differs from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from sqlite3 import Connection
from typing import Any

from ._entries import Comparison, Difference


def compare(connection: Connection, settings: Mapping[str, Any], digest: str | None) -> Comparison:
    """How *settings* and the input of this *digest* compare with those of the last run."""
    meta = dict(connection.execute("SELECT name, value FROM meta"))
    if "settings" not in meta:
        return Comparison(fresh=True, same_input=None)
    return Comparison(
        fresh=False,
        same_input=digest == meta["input"] if digest and meta["input"] else None,
        differences=differences(json.loads(meta["settings"]), settings),
    )


def begin(connection: Connection, settings: Mapping[str, Any], digest: str | None) -> Comparison:
    """As `compare`, and let this run be the last one."""
    comparison = compare(connection, settings, digest)
    text = json.dumps(dict(settings), sort_keys=True)
    connection.executemany(
        "INSERT OR REPLACE INTO meta VALUES (?, ?)", [("settings", text), ("input", digest)]
    )
    if not comparison.same_input:
        connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'edition'")
    return comparison


def recorded(connection: Connection) -> dict[str, Any]:
    """What the last run was started with."""
    found = connection.execute("SELECT value FROM meta WHERE name = 'settings'").fetchone()
    return dict(json.loads(found[0])) if found else {}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Each setting that is not the same, by name; one that is missing is `None`."""
    given = json.loads(json.dumps(dict(now)))  # as it is read back: tuples become lists
    return tuple(
        Difference(name, before.get(name), given.get(name))
        for name in sorted({*before, *given})
        if before.get(name) != given.get(name)
    )
