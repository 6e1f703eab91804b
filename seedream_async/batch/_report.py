"""
`report.html`: what became of a batch, as one page, written whole or not at all.

Entries come and go one portion at a time, and their thumbnails are made on the way.
"""

from __future__ import annotations

import contextlib
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Iterable,
    Sequence,
)
from itertools import islice
from pathlib import Path

from seedream_async._files import storage_errors
from seedream_async._threads import in_thread, surely_in_thread

from ._draft import Draft
from ._report_entries import Entry, Summary
from ._thumbnails import make_previews

MOST_PICTURES = 20_000  # on the page: of 50,000, Chromium takes 16 s to load it and 3 to filter
_PORTION = 64  # entries
_NOT_LOST = "the images are on the disk: only the report is missing, and can be made again"


async def write_report(
    folder: Path,
    entries: Iterable[Entry] | AsyncIterable[Entry],
    summary: Summary,
    *,
    most_pictures: int = MOST_PICTURES,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Path:
    """
    Write `report.html` into *folder*, in place of an older one, and return its path.

    *entries*, in the order of the page, are gone through once: in threads, one portion at a time,
    unless they come asynchronously. *on_progress* hears how many are done. Raises `StorageError`;
    failed or cancelled, it leaves the older report as it was.
    """
    done = 0
    async with (
        _drafting(folder, most_pictures) as draft,
        contextlib.aclosing(_portions(entries)) as portions,
    ):
        async for portion in portions:
            await _add(draft, folder, portion)
            done += len(portion)
            on_progress(done)
        with _told(folder):
            return await in_thread(draft.publish, summary)


async def _add(draft: Draft, folder: Path, portion: Sequence[Entry]) -> None:
    pictures = [picture for entry in portion for picture in entry.files]
    previews = await make_previews(folder, pictures[: draft.room])
    with _told(folder):
        await in_thread(draft.add, portion, previews)


@contextlib.asynccontextmanager
async def _drafting(folder: Path, most_pictures: int) -> AsyncIterator[Draft]:
    draft = Draft(folder, most_pictures)
    try:
        with _told(folder):
            await in_thread(draft.open)
        yield draft
    finally:
        with _told(folder):  # what is still to be written may not fit either
            await surely_in_thread(draft.close)


def _told(folder: Path) -> contextlib.AbstractContextManager[None]:
    return storage_errors(folder, _NOT_LOST)


async def _portions(
    entries: Iterable[Entry] | AsyncIterable[Entry],
) -> AsyncGenerator[list[Entry], None]:
    if not isinstance(entries, AsyncIterable):
        iterator = iter(entries)
        while portion := await in_thread(lambda: list(islice(iterator, _PORTION))):
            yield portion
        return
    portion = []
    async for entry in entries:
        portion.append(entry)
        if len(portion) == _PORTION:
            yield portion
            portion = []
    if portion:
        yield portion
