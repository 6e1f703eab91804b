"""
A row that is paid for, and whose images are not all saved: they are fetched while their links live.
"""

from __future__ import annotations

import time

from seedream_async._models import Image, SavedImage

from ._entries import Entry, Marks
from ._fields import Row
from ._jobs import Job, action_of
from ._keeping import Answer, Keeper
from ._tally import Tally


async def resume(
    entry: Entry, row: Row, *, ledger: Marks, keeper: Keeper, tally: Tally, model: str
) -> tuple[SavedImage, ...]:
    """
    Save what is left of *entry*, which is paid; nothing is, once its links are dead.

    Raises `StorageError`, and `DownloadError` if it may be had later.
    """
    if action_of(entry, time.time()) == "give up":
        await ledger.unknown(entry.number, *_gone(entry))
        tally.move("paid", "unknown")
        return ()
    job = Job(number=entry.number, row=row)
    return await keeper.keep(job, _answer_of(entry, row, model))


def _gone(entry: Entry) -> tuple[str, str]:
    if not entry.downloadable:
        return "Lost", "its images came inline, and the run ended before they were saved"
    return "LinkExpiredError", "it is paid for, and its links died before its images were saved"


def _answer_of(entry: Entry, row: Row, model: str) -> Answer:
    return Answer(
        images={
            image.index: Image(url=image.link.url)
            for image in entry.images
            if image.link is not None
        },
        count=len(entry.images),
        model=row.request.model or model,
        request_id=entry.request_id,
        cost=entry.cost,
        again=True,
    )
