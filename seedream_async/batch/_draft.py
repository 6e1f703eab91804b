"""
The report while its entries come in: what waits for its place on the page waits on the disk.

Everything here blocks, and raises nothing but `OSError`.
"""

from __future__ import annotations

import contextlib
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import IO

from attrs import field, frozen

from seedream_async._partfile import PartFile, make_folder

from . import _page
from ._report_entries import Entry, Preview, State, Summary, Trouble

NAME = "report.html"
_MOST_REASONS = 100  # that are told apart, failed and unknown each
_MOST_ROWS = 1000  # that are listed, each reason
_PIECE = 256 * 1024  # bytes


class Draft:
    """The page as far as its entries are known: `open` it first, and `close` it last."""

    def __init__(self, folder: Path, most_pictures: int) -> None:
        self._folder = folder
        self._most = most_pictures
        self._count = self._left_out = 0
        self._reasons = {"unknown": _Reasons("unknown"), "failed": _Reasons("failed")}
        self._opened = contextlib.ExitStack()
        self.close = self._opened.close

    @property
    def room(self) -> int:
        """How many pictures the page still takes."""
        return self._most - self._count

    def open(self) -> None:
        """Make the folder, and what waits in it."""
        make_folder(self._folder)
        self._cards, self._rows = (
            _Spool(self._opened.enter_context(tempfile.TemporaryFile(dir=self._folder)))  # noqa: SIM115  closed last
            for _ in range(2)
        )

    def add(self, entries: Iterable[Entry], previews: Sequence[Preview | None]) -> None:
        """Add *entries*, with the *previews* of as many of their pictures as there is room for."""
        left = iter(previews)
        for entry in entries:
            self._add_cards(entry, [*islice(left, len(entry.files))])
            if trouble := _page.trouble_of(entry):
                self._reasons[_page.state_of(entry)].add(entry, trouble, self._rows)

    def _add_cards(self, entry: Entry, previews: Sequence[Preview | None]) -> None:
        for card in _page.cards(entry, previews):
            self._cards.add(card)
        self._count += len(previews)
        self._left_out += len(entry.files) - len(previews)

    def publish(self, summary: Summary) -> Path:
        """Let the page appear, and return its path."""
        target = self._folder / NAME
        part = PartFile(self._folder, NAME)
        try:
            for piece in _gathered(self._pieces(summary)):
                part.write(piece)
            part.finish()
            part.publish(target, overwrite=True)
            part.settle()
        except BaseException:
            part.discard()
            raise
        return target

    def _pieces(self, summary: Summary) -> Iterator[bytes]:
        frame = _page.frame(summary, _page_files())
        yield frame.head.encode()
        for reasons in self._reasons.values():
            yield from reasons.pieces(self._rows)
        yield _page.pictures_start(self._count, self._left_out).encode()
        yield from self._cards.pieces()
        yield _page.PICTURES_END.encode()
        yield frame.foot.encode()


class _Spool:
    """Pieces of the page, in a *file* that has no name: nothing of it can be left behind."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._end = 0

    def add(self, piece: str) -> tuple[int, int]:
        """Put *piece* at the end; returns where it starts and how long it is."""
        start, content = self._end, piece.encode()
        self._file.write(content)
        self._end += len(content)
        return start, len(content)

    def read(self, start: int, length: int) -> bytes:
        self._file.seek(start)
        return self._file.read(length)

    def pieces(self) -> Iterator[bytes]:
        self._file.seek(0)
        while piece := self._file.read(_PIECE):
            yield piece


class _Reason:
    """The rows of one reason: how many, and where the first of them are in the spool."""

    def __init__(self, trouble: Trouble) -> None:
        self._trouble = trouble
        self._places = array("Q")  # starts and lengths in turn
        self.count = 0

    def add(self, row: str, spool: _Spool) -> None:
        if self.count < _MOST_ROWS:
            self._places.extend(spool.add(row))
        self.count += 1

    def pieces(self, spool: _Spool) -> Iterator[bytes]:
        listed = len(self._places) // 2
        yield _page.reason_start(self._trouble, self.count, listed).encode()
        for at in range(0, 2 * listed, 2):
            yield spool.read(self._places[at], self._places[at + 1])
        yield _page.REASON_END.encode()


@frozen
class _Reasons:
    """The reasons under one heading, of which there may be as many as there are rows."""

    state: State
    _by_trouble: dict[Trouble, _Reason] = field(init=False, factory=dict)

    def add(self, entry: Entry, trouble: Trouble, spool: _Spool) -> None:
        told = ""
        if trouble not in self._by_trouble and len(self._by_trouble) >= _MOST_REASONS:
            told, trouble = f"{trouble.message} {trouble.remedy}".strip(), _page.OTHERS
        reason = self._by_trouble.setdefault(trouble, _Reason(trouble))
        reason.add(_page.row(entry, told), spool)

    def pieces(self, spool: _Spool) -> Iterator[bytes]:
        reasons = sorted(self._by_trouble.values(), key=lambda reason: -reason.count)
        if not reasons:
            return
        yield _page.section_start(self.state, sum(reason.count for reason in reasons)).encode()
        for reason in reasons:
            yield from reason.pieces(spool)
        yield _page.SECTION_END.encode()


def _gathered(pieces: Iterable[bytes]) -> Iterator[bytearray]:
    """The *pieces*, joined to larger ones: each that is written is a call of its own."""
    buffer = bytearray()
    for piece in pieces:
        buffer += piece
        if len(buffer) >= _PIECE:
            yield buffer
            buffer = bytearray()
    yield buffer


@lru_cache(maxsize=1)
def _page_files() -> _page.Files:
    folder = files(__package__) / "page"
    return _page.Files(
        **{kind: (folder / f"page.{kind}").read_text("utf-8") for kind in ("html", "css", "js")}
    )
