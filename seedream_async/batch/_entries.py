"""The values that go into a ledger and come out of it: frozen, and small enough for a million."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any, Protocol

from attrs import field, frozen

from seedream_async import _links

from ._states import State


def _hidden_link(link: str | None) -> str:
    return repr(link and _links.redacted(link))


@frozen
class Plan:
    """
    A row of the input that is to be known. *key* is that of its request (`key_of`).

    *line* is where it begins in the input, from 1.
    """

    key: bytes
    line: int
    id: str | None = None


@frozen
class Known:
    """
    What the ledger knows of a planned row. *number* is its name from now on.

    *fresh* tells that the ledger had never seen it.
    """

    number: int
    line: int
    state: State
    fresh: bool = False


@frozen
class DuplicateId:
    """A row that is not planned: the row of line *first* has the same *id*."""

    line: int
    id: str
    first: int


@frozen(kw_only=True)
class Link:
    """One image of an answer: where it lies, and until when, in seconds since 1970."""

    url: str | None = field(default=None, repr=_hidden_link)
    expires: float | None = None


@frozen(kw_only=True)
class File:
    """An image on the disk: *index* is its place in the answer, *path* as the caller gives it."""

    path: str
    bytes: int
    digest: builtins.bytes | None = None
    index: int = 0
    width: int = 0
    height: int = 0


@frozen
class StoredImage:
    """One image of a row: a link until it is saved, then a file."""

    index: int
    link: Link | None
    file: File | None = None


@frozen(kw_only=True)
class Entry:
    """
    All that the ledger has of a row. *changed* is in seconds since 1970.

    *attempts* counts how often it was sent, *doubts* how many of them may have been billed for
    nothing. *problem* is the class of what went wrong. *listed* tells that the input still has it.
    """

    number: int
    line: int
    id: str | None
    state: State
    attempts: int
    doubts: int
    changed: float
    listed: bool
    request_id: str | None
    cost: float | None
    problem: str | None
    message: str | None
    images: tuple[StoredImage, ...] = ()

    @property
    def expires(self) -> float | None:
        """When the first of the links that are still needed dies, if any says so."""
        links = (image.link for image in self.images if image.link)
        return min((link.expires for link in links if link.expires is not None), default=None)

    @property
    def downloadable(self) -> bool:
        """Whether any image is left to be saved, and each of them has a link."""
        links = [image.link for image in self.images if image.link]
        return bool(links) and all(link.url for link in links)

    @property
    def spent(self) -> tuple[int, int]:
        """Its images that were billed, and how often it may have been besides."""
        # The links of an unknown row died: one of its doubts is about images that were answered.
        answered = self.state == "unknown" and bool(self.images)
        return len(self.images), self.doubts - answered

    def as_dict(self) -> dict[str, Any]:
        """As JSON takes it, without links: they are as good as keys."""
        return {
            "line": self.line,
            "id": self.id,
            "state": self.state,
            "possibly_billed": self.state not in ("planned", "failed"),
            "attempts": self.attempts,
            "doubts": self.doubts,
            "changed": self.changed,
            "listed": self.listed,
            "request_id": self.request_id,
            "cost": self.cost,
            "problem": self.problem,
            "message": self.message,
            "files": [_file_as_dict(image.file) for image in self.images if image.file],
        }


def _file_as_dict(file: File) -> dict[str, Any]:
    return {
        "index": file.index,
        "path": file.path,
        "bytes": file.bytes,
        "digest": file.digest and file.digest.hex(),
        "width": file.width,
        "height": file.height,
    }


@frozen
class Recovery:
    """
    What the end of the last run left. *interrupted* rows were sent without an answer noted.

    *lost* counts changes that had been noted and are gone: the disk lied, or a copy was put back.
    Whatever seems planned may then have been sent, so *doubted* rows are unknown now, and so are
    those that are planned before the ledger is closed.
    """

    interrupted: int = 0
    lost: int = 0
    doubted: int = 0


@frozen
class Difference:
    """A setting that is not what the ledger was started with."""

    name: str
    before: Any
    now: Any


@frozen
class Comparison:
    """
    How a run compares with the last one of its ledger. *fresh* tells that there was none.

    *same_input* is nothing if either digest is not known.
    """

    fresh: bool
    same_input: bool | None
    differences: tuple[Difference, ...] = ()


@frozen
class Spent:
    """What the ledger's rows cost in all, as far as they say; rows that are paid or saved."""

    rows: int
    cost: float


class Marks(Protocol):
    """What becomes of rows, for whoever sends them: the ledger, or one that speaks to it."""

    async def sent(self, number: int, *, resend_unknown: bool = False) -> None: ...
    async def put_back(self, number: int) -> State: ...
    async def paid(
        self,
        number: int,
        images: Sequence[Link],
        *,
        request_id: str | None = None,
        cost: float | None = None,
    ) -> None: ...
    async def saved(self, number: int, files: Sequence[File]) -> State: ...
    async def failed(
        self, number: int, problem: str, message: str, *, request_id: str | None = None
    ) -> State: ...
    async def unknown(
        self, number: int, problem: str, message: str, *, request_id: str | None = None
    ) -> None: ...
