"""
Where files go: a file, or a folder that gives them names. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Protocol

from attrs import evolve, field, frozen

from . import _partfile
from ._errors import InvalidRequestError, StorageError
from ._names import numbers, safe_name

_TRIAL = 1.0  # seconds for which a folder that was tried out need not be tried out again


class Places(Protocol):
    """Where the images of one answer go."""

    def nth(self, number: int, count: int) -> Place:
        """The place of image *number* (from 0) of *count*."""
        ...


@frozen
class Group:
    """The places of a call that makes *most* images at most: numbered if that is several."""

    place: Place
    most: int

    def nth(self, number: int, count: int) -> Place:  # noqa: ARG002  streams do not know it
        """The place of image *number* (from 0), however many there are in the end."""
        return self.place.nth(number, self.most)


@frozen
class Place:
    """
    Where one image goes.

    Without a *stem*, the image decides its name. Without a *suffix*, the extension follows the
    bytes. A name that is taken gets a number if it may be *numbered*. Folders that are missing
    below *within* are made when they are needed.
    """

    folder: Path
    stem: str = ""
    suffix: str | None = None
    overwrite: bool = False
    numbered: bool = field()
    within: Path | None = None

    @numbered.default
    def _is_folder(self) -> bool:
        return self.suffix is None

    def named(self, name: str) -> Place:
        """The same place, with *name* for an image that has none yet."""
        return self if self.stem else evolve(self, stem=safe_name(name))

    def nth(self, number: int, count: int) -> Place:
        """The place of image *number* (from 0) of a call that gives *count*, or as many at most."""
        if (count == 1 and number == 0) or not self.stem:
            return self
        return evolve(self, stem=f"{self.stem}-{number + 1}")

    def make_folder(self) -> None:
        """Make what is missing of the folder below *within*, which must be there."""
        if self.within in (None, self.folder):
            return
        self.within.stat()
        if self.folder.is_dir():
            _tidy(os.path.abspath(self.folder))  # noqa: PTH100
        _partfile.make_folder(self.folder)

    def targets(self, extension: str) -> Iterator[Path]:
        """The names to try for a file that should have *extension*."""
        return map(
            partial(self._target, extension),
            numbers(lambda number: os.path.lexists(self._target(extension, number))),
        )

    def _target(self, extension: str, number: int) -> Path:
        stem = f"{self.stem}_{number}" if number else self.stem
        return self.folder / f"{stem}{self.suffix or extension}"


def open_place(path: str | os.PathLike[str], *, field: str, overwrite: bool = False) -> Place:
    """
    Turn what the caller gave as *path* into a place, and make its folder. Blocking.

    An existing folder, or a path that has no suffix or ends in a slash, is a folder.
    Raises before anything is sent if the place cannot be written to.
    """
    try:
        text = checked_path(path)
    except (TypeError, ValueError) as exc:
        raise InvalidRequestError(f"{field} is no path: {exc}", field=field) from None
    with storage_errors(Path(text)):
        place = _parse(text, overwrite)
    with storage_errors(place.folder):
        _refuse_file_as_folder(place, field)
        _partfile.make_folder(place.folder)
        _refuse_taken_name(place, field)
        _tried_out(os.path.abspath(place.folder), int(time.monotonic() / _TRIAL))  # noqa: PTH100
    return place


def checked_path(path: str | os.PathLike[str]) -> str:
    """*path* as text; raises `TypeError` or `ValueError` if no file can have it."""
    text = os.fspath(path)
    os.fsencode(text)
    if "\0" in text:
        raise ValueError("it contains a null character")
    return text


def checked_file(path: str | os.PathLike[str]) -> str:
    """As `checked_path`, for one that must end in a name."""
    text = checked_path(path)
    if os.path.basename(text) in ("", os.curdir, os.pardir):  # noqa: PTH119
        raise ValueError("it does not end in a name")
    return text


def _parse(path: str, overwrite: bool) -> Place:
    target = Path(path)
    if path.endswith(("/", os.sep)) or not target.suffix or target.is_dir():
        return Place(target, overwrite=overwrite)
    return Place(target.parent, target.stem, target.suffix, overwrite)


def _refuse_file_as_folder(place: Place, field: str) -> None:
    try:
        found = place.folder.stat()  # once: between two looks, another may make it
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(found.st_mode):
        raise InvalidRequestError(
            f"{field}: {place.folder} is a file, not a folder; choose another", field=field
        )


def _refuse_taken_name(place: Place, field: str) -> None:
    target = place.folder / (place.stem + (place.suffix or ""))
    try:
        target.lstat()  # a name that is too long is better told now than when it is paid for
    except FileNotFoundError:
        return
    if place.stem and not place.overwrite:
        raise InvalidRequestError(f"{field}: {target} exists already; choose another", field=field)


def _try_out(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    # Rights tell little on network folders, and nothing about full disks.
    now = _partfile.try_out(folder)
    _partfile.sweep(os.path.abspath(folder), int(now // _partfile.DAY))  # noqa: PTH100


@lru_cache(maxsize=1024)
def _tried_out(folder: str, moment: int) -> None:  # noqa: ARG001  a trial is good for a moment
    _try_out(Path(folder))


@lru_cache(maxsize=1024)
def _tidy(folder: str) -> None:
    _try_out(Path(folder))


@contextlib.contextmanager
def storage_errors(path: Path, *notes: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        message = f"could not write to {exc.filename2 or path}: {exc.strerror or exc}"
        error = StorageError(message, errno=exc.errno)
        for note in notes:
            error.add_note(note)
        raise error from exc
