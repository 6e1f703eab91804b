"""
From an answer that is paid for to files that the ledger knows: names, digests, what lies beside.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from seedream_async import _files
from seedream_async._errors import DownloadError, StorageError
from seedream_async._models import Image, SavedImage
from seedream_async._saving import Saver
from seedream_async._templates import ImageName, Template
from seedream_async._threads import in_thread
from seedream_async._writing import FileWriter

from . import _contents
from ._entries import File, Marks
from ._jobs import DEAD, Job
from ._report_entries import Picture
from ._states import State
from ._tally import Tally
from ._thumbnails import make_previews


@frozen(kw_only=True)
class Answer:
    """Images of a row that are to be saved, by their index among *count*; *again* if not anew."""

    images: Mapping[int, Image]
    count: int
    model: str
    request_id: str | None = None
    cost: float | None = None
    files: Mapping[int, FileWriter] = field(factory=dict)
    again: bool = False


class Keeper:
    """Saves what rows have made, in *folder*, by *template*."""

    def __init__(
        self,
        ledger: Marks,
        saver: Saver,
        tally: Tally,
        *,
        folder: Path,
        template: Template,
        sidecar: bool,
    ) -> None:
        self._ledger = ledger
        self._saver = saver
        self._tally = tally
        self._folder = folder
        self._template = template
        self._sidecar = sidecar

    async def keep(self, job: Job, answer: Answer) -> tuple[SavedImage, ...]:
        """Save the images of *answer*, which the ledger knows as paid, and note them."""
        outcomes = await asyncio.gather(
            *(self._save(job, answer, index) for index in answer.images), return_exceptions=True
        )
        files = [outcome for outcome in outcomes if isinstance(outcome, File)]
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        state: State = "paid"
        if files:
            state = await self._ledger.saved(job.number, files)
            self._tally.images += len(files)
            await self._previews(files)
        if errors:
            state = await self._part(job, errors)
        self._tally.move("paid", state)
        return tuple(self._saved(file) for file in files)

    async def _previews(self, files: list[File]) -> None:
        await make_previews(self._folder, [picture_of(file) for file in files])

    def _saved(self, file: File) -> SavedImage:
        return SavedImage(
            path=self._folder / file.path,
            bytes=file.bytes,
            content_type=picture_of(file).content_type,
            width=file.width,
            height=file.height,
        )

    async def _part(self, job: Job, errors: Sequence[BaseException]) -> State:
        """What becomes of a row of which some images could not be saved."""
        error = min(errors, key=lambda error: not isinstance(error, StorageError))
        name = type(error).__name__
        if isinstance(error, DownloadError) and name in DEAD:
            await self._ledger.unknown(job.number, name, str(error))
            return "unknown"
        raise error

    async def _save(self, job: Job, answer: Answer, index: int) -> File:
        place = self._place(job, answer, index)
        image, file = answer.images[index], answer.files.get(index)
        saved = await self._saver.save(image, place, file=file)
        return await in_thread(self._settled, saved, place, job, answer, index)

    def _place(self, job: Job, answer: Answer, index: int) -> _files.Place:
        request = job.row.request
        name = ImageName(
            index=job.number - 1,
            number=index + 1,
            count=answer.count,
            size=answer.images[index].size or request.size or "",
            model=answer.model,
            seed=request.seed,
            prompt=request.prompt,
            id=job.name,
            extra={key: str(value) for key, value in job.row.metadata.items()},
        )
        path, template = self._template.path(name), self._template
        return _files.Place(
            path.parent, path.name, template.suffix, numbered=True, within=template.folder
        )

    def _settled(
        self, saved: SavedImage, place: _files.Place, job: Job, answer: Answer, index: int
    ) -> File:
        """What to note of *saved*. Blocking."""
        with _files.storage_errors(saved.path):
            digest = _contents.digest_of(saved.path)
            path = saved.path
            if answer.again:
                path = _only(path, place, digest)
            file = File(
                path=Path(os.path.relpath(path, self._folder)).as_posix(),
                bytes=saved.bytes,
                digest=digest,
                index=index,
                width=saved.width,
                height=saved.height,
            )
            if self._sidecar:
                about = about_image(file, job, answer)
                text = json.dumps(about, ensure_ascii=False, indent=2)
                path.with_name(f"{path.name}.json").write_text(text + "\n", encoding="utf-8")
        return file


def about_image(file: File, job: Job, answer: Answer) -> dict[str, Any]:
    """One line of the manifest, and a sidecar."""
    return image_line(
        file, job.row, model=answer.model, request_id=answer.request_id, cost=answer.cost,
        count=answer.count,
    )  # fmt: skip


def image_line(
    file: File, row: Any, *, model: str, request_id: str | None, cost: float | None, count: int
) -> dict[str, Any]:
    """What a file is, for whoever finds it; *cost* is of all *count* images of its row."""
    return {
        "id": row.id,
        "line": row.line,
        "prompt": row.request.prompt,
        "model": model,
        "size": f"{file.width}x{file.height}",
        "file": file.path,
        "bytes": file.bytes,
        "digest": file.digest and file.digest.hex(),
        "request_id": request_id,
        "cost": None if cost is None else round(cost / max(count, 1), 6),
        "metadata": dict(row.metadata),
    }


def _only(path: Path, place: _files.Place, digest: bytes) -> Path:
    """*path*, or the file that an earlier run left without a note, if it is the same."""
    wanted = place.folder / f"{place.stem}{place.suffix or path.suffix}"
    if path != wanted and wanted.is_file() and _contents.digest_of(wanted) == digest:
        path.unlink()
        return wanted
    return path


_TYPES = {".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def picture_of(file: File) -> Picture:
    """*file*, for the report."""
    suffix = Path(file.path).suffix.lower()
    return Picture(
        path=file.path,
        bytes=file.bytes,
        width=file.width,
        height=file.height,
        content_type=_TYPES.get(suffix, f"image/{suffix[1:] or 'jpeg'}"),
    )
