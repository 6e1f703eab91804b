"""
What is left on the disk at the end, made from the input and the ledger: lists, and the report.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from seedream_async._files import storage_errors
from seedream_async._partfile import PartFile
from seedream_async._threads import in_thread, surely_in_thread

from . import _entries
from ._fields import FIELDS, BadRow, Row
from ._input import Input, joined
from ._keeping import image_line, picture_of
from ._ledger import Ledger
from ._report import write_report
from ._report_entries import Entry, Summary, Trouble
from ._rows import Found
from ._surveying import judged

MANIFEST = "manifest.jsonl"
FAILED = "failed.jsonl"
_PORTION = 256 * 1024  # characters
_AGAIN = "Run the same command again."
_REMEDIES = {
    "ContentPolicyError": "Change the prompt or the reference; an edited row is new work.",
    "BadRequestError": "Correct the row; an edited row is new work.",
    "AuthenticationError": f"Set a key that is valid. {_AGAIN}",
    "InsufficientQuotaError": f"Top up the balance. {_AGAIN}",
    "RateLimitError": _AGAIN,
    "InternalServerError": _AGAIN,
    "LinkExpiredError": "Its images are gone; --resend-unknown makes and bills them anew.",
}
_ELAPSED = re.compile(r" after [0-9.]+ s\b")  # which would part equal reasons
_UNKNOWN = "Compare it with your account; --resend-unknown sends it again."
_BAD = "Correct the row; the others are not affected."


class Lines:
    """A file of lines at *path*, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: list[str] = []
        self._size = 0
        self._part: PartFile | None = None

    async def add(self, value: Mapping[str, Any]) -> None:
        line = json.dumps(value, ensure_ascii=False) + "\n"
        self._held.append(line)
        self._size += len(line)
        if self._size >= _PORTION:
            await in_thread(self._write)

    async def publish(self) -> Path:
        await in_thread(self._publish)
        return self.path

    async def discard(self) -> None:
        if self._part is not None:
            await surely_in_thread(self._part.discard)

    def _write(self) -> None:
        text, self._held, self._size = "".join(self._held), [], 0
        with storage_errors(self.path):
            if self._part is None:
                self._part = PartFile(self.path.parent, self.path.stem)
            self._part.write(text.encode("utf-8", "surrogatepass"))

    def _publish(self) -> None:
        self._write()
        with storage_errors(self.path):
            assert self._part is not None  # noqa: S101  as it was written
            self._part.finish()
            self._part.publish(self.path, overwrite=True)
            self._part = None


@frozen(kw_only=True)
class Products:
    """The lists and the report of the batch in *folder*."""

    folder: Path
    ledger: Ledger
    given: Input
    currency: str | None
    problems: dict[str, None] = field(factory=dict)  # the classes that rows failed with
    failed: Path = field()

    @failed.default
    def _beside(self) -> Path:
        return self.folder / FAILED

    async def write(self, summary: Summary) -> tuple[Path, Path, Path]:
        """Write the manifest, the rows that failed, and the report; tell where they are."""
        manifest, failed = Lines(self.folder / MANIFEST), Lines(self.failed)
        try:
            report = await write_report(self.folder, self._told(manifest, failed), summary)
            return await manifest.publish(), await failed.publish(), report
        finally:
            await manifest.discard()
            await failed.discard()

    async def failures(self) -> AsyncIterator[dict[str, Any]]:
        """Each row that failed, as it can be fed back in."""
        async for row, entry in joined(self.given.rows(), self.ledger.entries("failed")):
            if isinstance(row, Row) and entry is not None:
                yield failed_line(row, entry)

    async def _told(self, manifest: Lines, failed: Lines) -> AsyncIterator[Entry]:
        async for row, entry in joined(self.given.rows(), self.ledger.entries()):
            if isinstance(row, Row) and entry is not None:
                model = row.request.model or self.given.model
                for line in images_of(row, entry, model):
                    await manifest.add(line)
                if entry.state == "failed":
                    self.problems[entry.problem or "Error"] = None
                    await failed.add(failed_line(row, entry))
            if (shown := self._shown(row, entry)) is not None:
                yield shown

    def _shown(self, row: Found, entry: _entries.Entry | None) -> Entry | None:
        if isinstance(row, BadRow) or entry is None:
            return _bad(row, self.given.model)
        if entry.state not in ("saved", "failed", "unknown"):
            return None
        return Entry(
            id=entry.id or f"{entry.number:06d}",
            prompt=row.request.prompt,
            model=row.request.model or self.given.model,
            state=entry.state,
            line=entry.line,
            size=row.request.size,
            files=[picture_of(image.file) for image in entry.images if image.file],
            cost=(entry.cost, self.currency) if entry.cost and self.currency else None,
            request_id=entry.request_id,
            trouble=trouble_of(entry),
        )


def trouble_of(entry: _entries.Entry) -> Trouble | None:
    """What went wrong with *entry*, in words that others like it share."""
    if entry.state not in ("failed", "unknown"):
        return None
    kind = entry.problem or "Error"
    remedy = _UNKNOWN if entry.state == "unknown" else _REMEDIES.get(kind, _AGAIN)
    message = _ELAPSED.sub("", (entry.message or "").partition(" (request")[0])
    return Trouble(kind=kind, message=message or "no reason is known", remedy=remedy)


def failed_line(row: Row, entry: _entries.Entry) -> dict[str, Any]:
    """*row* as JSON has it, with why it failed."""
    request = {name: getattr(row.request, name) for name in FIELDS}
    given = {name: _plain(value) for name, value in request.items() if value is not None}
    named = {} if row.id is None else {"id": row.id}
    why = f"{entry.problem}: {entry.message}"
    return {**named, **given, **row.metadata, "problem": why}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def images_of(row: Row, entry: _entries.Entry, model: str) -> list[dict[str, Any]]:
    return [
        image_line(
            image.file,
            row,
            model=model,
            request_id=entry.request_id,
            cost=entry.cost,
            count=len(entry.images),
        )
        for image in entry.images
        if image.file
    ]


def _bad(row: Found, model: str) -> Entry:
    found = judged(row, model)
    reason = found.reason if isinstance(found, BadRow) else "its id is that of an earlier row"
    return Entry(
        id=row.id or f"line {row.line}",
        prompt="" if isinstance(row, BadRow) else row.request.prompt,
        model=model,
        state="failed",
        line=row.line,
        trouble=Trouble(kind="not a request", message=reason, remedy=_BAD),
    )
