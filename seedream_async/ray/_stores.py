"""
Where the images of a cluster go: a folder that all its nodes have, or another file system.

pyarrow is imported only for the latter.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from attrs import evolve, frozen

from seedream_async import _files
from seedream_async._errors import InvalidRequestError
from seedream_async._models import SavedImage
from seedream_async._names import numbers
from seedream_async.batch._entries import File
from seedream_async.batch._jobs import Job
from seedream_async.batch._keeping import Answer, Keeper

# Of these, an object appears when its last byte is there: it needs no other name until then.
_WHOLE = ("s3", "gcs", "abfs")


@frozen
class Store:
    """The folder *path* of a pyarrow *filesystem*."""

    filesystem: Any
    path: str

    def put(self, source: Path, name: str, *, again: bool) -> str:
        """
        Copy the file at *source* there as *name*, and tell what it is called. Blocking.

        A name that is taken gets a number; by a file of the same size it is not, if the file may
        have been put there before, and is *again*.
        """
        own = source.stat().st_size if again else None
        target = self._free(PurePosixPath(self.path) / name, own)
        self.filesystem.create_dir(str(target.parent), recursive=True)
        self._copy(source, str(target))
        return target.relative_to(self.path).as_posix()

    def _free(self, target: PurePosixPath, own: int | None) -> PurePosixPath:
        def taken(number: int) -> bool:
            return self._taken(_numbered(target, number), own)

        return _numbered(target, next(number for number in numbers(taken) if not taken(number)))

    def _taken(self, target: PurePosixPath, own: int | None) -> bool:
        (found,) = self.filesystem.get_file_info([str(target)])
        return found.type.name != "NotFound" and (own is None or found.size != own)

    def _copy(self, source: Path, target: str) -> None:
        whole = str(self.filesystem.type_name) in _WHOLE
        part = target if whole else f"{target}.part"
        with source.open("rb") as file, self.filesystem.open_output_stream(part) as stream:
            shutil.copyfileobj(file, stream, 1024 * 1024)
        if not whole:
            self.filesystem.move(part, target)


def _numbered(target: PurePosixPath, number: int) -> PurePosixPath:
    return target.with_name(f"{target.stem}_{number}{target.suffix}") if number else target


def store_of(out: str | os.PathLike[str], filesystem: Any = None) -> Store | None:
    """The store that *out* is in; none if it is a folder of this machine."""
    text = os.fspath(out)
    if filesystem is None and "://" not in text:
        return None
    try:
        from pyarrow import fs  # noqa: PLC0415  an extra, and slow to import
    except ImportError:
        raise InvalidRequestError(
            "out: another file system needs pyarrow; pip install 'seedream-async[ray]'", field="out"
        ) from None
    if filesystem is None:
        return Store(*fs.FileSystem.from_uri(text))
    if not isinstance(filesystem, fs.FileSystem):
        filesystem = fs.PyFileSystem(fs.FSSpecHandler(filesystem))
    return Store(filesystem, text)


class StoreKeeper(Keeper):
    """Saves in a folder of this machine, and moves it from there into *store*."""

    def __init__(self, *args: Any, store: Store, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._store = store

    def _settled(
        self, saved: SavedImage, place: _files.Place, job: Job, answer: Answer, index: int
    ) -> File:
        file = super()._settled(saved, place, job, answer, index)
        local = self._folder / file.path
        with _files.storage_errors(Path(file.path)):
            name = self._store.put(local, file.path, again=answer.again)
            beside = local.with_name(f"{local.name}.json")
            if self._sidecar:
                self._store.put(beside, f"{name}.json", again=answer.again)
        for path in (local, beside):
            path.unlink(missing_ok=True)
        return evolve(file, path=name)

    async def _previews(self, files: list[File]) -> None:
        """None: there is no report, and nothing is left here."""
