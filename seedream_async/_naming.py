"""
Where the images of many requests go: into a folder, by a template, or where a function says.

Only `Naming.open` touches the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from attrs import evolve, frozen

from . import _files, _templates
from ._errors import InvalidRequestError, StorageError
from ._results import Success
from ._templates import ImageName, Template

SaveTo: TypeAlias = str | os.PathLike[str] | Callable[[ImageName], str | os.PathLike[str]]


@frozen
class Naming:
    """How images get their places. Without a *folder*, nobody knows one before there are images."""

    folder: Path | None
    place: Callable[[ImageName], _files.Place]

    @classmethod
    def of(cls, save_to: SaveTo) -> Naming:
        """Take *save_to* as it is meant; raises `InvalidRequestError` if it cannot be."""
        if callable(save_to):
            return cls(None, _Asked(save_to))
        try:
            text = _files.checked_path(save_to)
        except (TypeError, ValueError) as exc:
            problem = f"save_to is no path, template or function: {exc}"
            raise InvalidRequestError(problem, field="save_to") from None
        template = _templates.parse(text, argument="save_to")
        return cls(template.folder, _Made(template))

    def open(self) -> None:
        """Make the folder, and find out whether it can be written to. Blocking."""
        if self.folder is not None:
            folder = os.path.join(self.folder, "")  # noqa: PTH118  the slash says: a folder
            _files.open_place(folder, field="save_to")

    def of_answer(self, success: Success, model: str) -> AnswerPlaces:
        """The places of one answer's images; *model* is that of a request that names none."""
        request = success.request
        name = ImageName(
            index=success.index,
            size=request.size or "",
            model=request.model or model,
            seed=request.seed,
            prompt=request.prompt,
        )
        sizes = tuple(image.size for image in success.response.images)
        return AnswerPlaces(self.place, name, sizes)


@frozen
class AnswerPlaces:
    """The places of one answer's images, asked for one by one: each may fail alone."""

    _place: Callable[[ImageName], _files.Place]
    _name: ImageName
    _sizes: tuple[str | None, ...]

    def nth(self, number: int, count: int) -> _files.Place:
        """The place of image *number* (from 0) of *count*."""
        size = self._sizes[number] or self._name.size
        return self._place(evolve(self._name, number=number + 1, count=count, size=size))


@frozen
class _Made:
    """Places by a template."""

    _template: Template

    def __call__(self, name: ImageName) -> _files.Place:
        path, template = self._template.path(name), self._template
        return _place(path, template.suffix, within=template.folder)


@frozen
class _Asked:
    """Places by the caller's function: its word, also if it leads anywhere."""

    _function: Callable[[ImageName], str | os.PathLike[str]]

    def __call__(self, name: ImageName) -> _files.Place:
        about = f"image {name.number} of request {name.index}"
        try:
            path = self._function(name)
        except Exception as exc:
            raise _unnamed(f"the function save_to raised {type(exc).__name__} for {about}") from exc
        try:
            stem, suffix = _templates.split_suffix(_files.checked_file(path))
            _files.checked_file(stem)  # of out/.png nothing is left but the folder
        except (TypeError, ValueError) as exc:
            raise _unnamed(f"what save_to gave for {about} is no file: {exc}") from exc
        return _place(Path(stem), suffix, within=Path())


def _place(path: Path, suffix: str | None, *, within: Path) -> _files.Place:
    return _files.Place(path.parent, path.name, suffix, numbered=True, within=within)


def _unnamed(problem: str) -> StorageError:
    error = StorageError(problem)
    error.add_note("the image is not lost: its link or base64 is good, and saving it costs nothing")
    return error
