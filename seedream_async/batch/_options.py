"""
What a batch is told, as one value, and what of it the ledger remembers.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from seedream_async import _templates
from seedream_async._allowance import PricePerImage
from seedream_async._errors import InvalidRequestError
from seedream_async._models import SavedImage

from ._entries import Comparison
from ._input import Input
from ._results import BatchProgress
from ._rows import Format

NAME = "{id}.{ext}"
_SILENT = ("input", "digest", "survey")  # told in other words, or not at all


def _nothing(_: Any) -> None:
    pass


@frozen(kw_only=True)
class Options:
    """All that `run_batch` was told. *tags* are settings of whoever calls it."""

    source: str | os.PathLike[str]
    folder: Path
    ledger: Path
    model: str
    width: int
    name: str = NAME
    format: Format | None = None
    defaults: Mapping[str, Any] = field(factory=dict)
    price: PricePerImage | None = None
    max_cost: float | None = None
    max_images: int | None = None
    limit: int | None = None
    images_per_minute: int | None = None  # of the client, for a plan
    resend_unknown: bool = False
    retry_failed: bool = False
    strict: bool = False
    sidecar: bool = False
    other_input: bool = False
    tags: Mapping[str, Any] = field(factory=dict)
    leave: asyncio.Event = field(factory=asyncio.Event)
    on_progress: Callable[[BatchProgress], None] = _nothing
    on_saved: Callable[[Sequence[SavedImage]], None] = _nothing
    on_notice: Callable[[str], None] = _nothing

    def settings(self, given: Input, digest: str) -> dict[str, Any]:
        """What is noted of this run, and compared with the next one."""
        return {
            "input": given.where,
            "digest": digest,
            "format": self.format,
            "model": self.model,
            "defaults": dict(self.defaults),
            "name": self.name,
            **self.tags,
        }

    def template(self, columns: list[str]) -> _templates.Template:
        """How files are named; *columns* are the metadata that there is."""
        return template_of(self.folder, self.name, columns)


def template_of(folder: Path, name: str, columns: Sequence[str]) -> _templates.Template:
    """How files in *folder* are named after *name*; *columns* are the metadata that there is."""
    whole = str(folder).replace("{", "{{").replace("}", "}}")
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise InvalidRequestError(
            f"name: {name} leads out of the folder of the batch", field="name"
        )
    return _templates.parse(
        f"{whole}{os.sep}{name}",
        argument="name",
        keys=("index", "id"),
        extra=columns,
        default=NAME,
    )


def refuse_other_batch(
    comparison: Comparison, settings: Mapping[str, Any], tags: Mapping[str, Any], *, other: bool
) -> None:
    """
    Raise if the ledger of *comparison* is that of another batch than *settings* describe; with
    *other*, its input may be.
    """
    changed = {item.name: item for item in comparison.differences}
    if "digest" in changed and "input" in changed and not other:
        raise InvalidRequestError(
            f"input: the ledger is of {changed['input'].before}, and this is "
            f"{settings['input']}, with other rows. Nothing was sent. Choose another folder, "
            "or pass other_input to go on with these rows in the same one",
            field="input",
        )
    for name in tags:
        if name in changed:
            raise InvalidRequestError(
                f"ledger: it was begun with {name}={changed[name].before!r}, and this run has "
                f"{changed[name].now!r}: their images would be mixed. Choose another folder",
                field="ledger",
            )


def changes(comparison: Comparison) -> list[str]:
    """What is to be said of settings that are not those of the last run."""
    told = [
        f"{item.name} was {_said(item.before)}, now {_said(item.now)}"
        for item in comparison.differences
        if item.name not in _SILENT
    ]
    lines = [f"settings have changed since the last run: {'; '.join(told)}"] if told else []
    if any(item.name == "digest" for item in comparison.differences):
        lines.append(
            "the input has changed since the last run: rows with another request are new work, "
            "and those that are gone are left alone"
        )
    return lines


def _said(value: Any) -> str:
    """*value* of a setting, as one would write it."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={item}" for name, item in value.items()) or "not set"
    return "not set" if value is None else str(value)
