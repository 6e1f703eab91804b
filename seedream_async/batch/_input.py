"""
The input of a batch, which can be read more than once, and its rows beside those of the ledger.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

from attrs import evolve, field, frozen

from seedream_async._errors import InvalidRequestError
from seedream_async._files import storage_errors
from seedream_async._threads import in_thread

from . import _lines
from ._contents import input_digest
from ._entries import Entry
from ._fields import Row
from ._rows import Format, Found, rows

SPOOL = "input"  # what came through a pipe, so that it can be read again
SETTINGS = ("input", "format", "model", "defaults")


@frozen(kw_only=True)
class Input:
    """
    The rows at *path*, which are those of *source*: the path as it was given, or `-`.

    *defaults* are of fields that rows leave out, *model* is that of rows that name none.
    """

    source: str
    path: Path
    model: str
    format: Format | None = None
    defaults: Mapping[str, Any] = field(factory=dict)
    stamp: tuple[int, ...] | None = None

    @classmethod
    async def of(
        cls,
        source: str | os.PathLike[str],
        folder: Path,
        *,
        model: str,
        format: Format | None,  # noqa: A002  the word of the command
        defaults: Mapping[str, Any],
    ) -> Input:
        """Take *source* as it is; what comes from standard input is kept in *folder*."""
        name, path = os.fspath(source), Path(source)
        if name == "-":
            path = folder / SPOOL
            with storage_errors(path):
                await in_thread(_spool, path)
        whole = await in_thread(path.absolute)
        given = cls(source=name, path=whole, model=model, format=format, defaults=defaults)
        return evolve(given, stamp=await in_thread(_stamp, whole))

    @classmethod
    def recorded(cls, settings: Mapping[str, Any], folder: Path) -> Input:
        """That of the run which noted *settings*."""
        given = {name: settings.get(name) for name in SETTINGS}
        source = str(given.pop("input"))
        path = folder / SPOOL if source == "-" else Path(source)
        return cls(source=source, path=path, **cast("dict[str, Any]", given))

    @property
    def where(self) -> str:
        """Where it is, for whoever runs the batch from another folder."""
        return self.source if self.source == "-" else str(self.path)

    def rows(self) -> AsyncGenerator[Found, None]:
        found = rows(self.path, format=self.format, defaults=self.defaults)
        return cast("AsyncGenerator[Found, None]", found)

    async def check(self) -> None:
        """Raise if the file is not what it was: its rows would be taken for others."""
        if await in_thread(_stamp, self.path) != self.stamp:
            raise InvalidRequestError(
                f"input: {self.path} was changed while the batch was at work. Nothing more was "
                "sent; run the same command again",
                field="input",
            )

    async def digest(self) -> tuple[str, str]:
        """That of the file, and that of all which decides what its rows ask for."""
        digest = await input_digest(self.path)
        decides = [digest, self.model, self.format, dict(self.defaults)]
        text = json.dumps(decides, sort_keys=True)
        return digest, hashlib.blake2b(text.encode("ascii"), digest_size=16).hexdigest()


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when the file at *path* does; nothing if there is none. Blocking."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _spool(path: Path) -> None:
    """Copy standard input, whole or not at all. Blocking, until whoever writes it ends."""
    part = path.with_name(f"{path.name}.part")
    if sys.stdin is None or sys.stdin.isatty():
        raise InvalidRequestError(
            "input: - reads standard input, and nothing is piped into it", field="input"
        )
    with part.open("wb") as file:
        for piece in _lines.pieces(sys.stdin.fileno(), lambda: False):
            file.write(piece)
    part.replace(path)


async def joined(
    found: AsyncGenerator[Found, None], entries: AsyncIterator[Entry]
) -> AsyncIterator[tuple[Found, Entry | None]]:
    """Each row that is *found*, with the one of *entries* that is on its line."""
    async with contextlib.aclosing(found), contextlib.aclosing(cast("Any", entries)):
        entry = await anext(entries, None)
        async for row in found:
            while entry is not None and entry.line < row.line:
                entry = await anext(entries, None)
            yield row, entry if entry is not None and entry.line == row.line else None


async def matched(
    found: AsyncGenerator[Found, None], entries: AsyncIterator[Entry]
) -> AsyncIterator[tuple[Row, Entry]]:
    """As `joined`, but only rows that both have."""
    async with contextlib.aclosing(cast("Any", joined(found, entries))) as pairs:
        async for row, entry in pairs:
            if isinstance(row, Row) and entry is not None:
                yield row, entry
