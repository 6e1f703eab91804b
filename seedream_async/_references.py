"""Reference images, from whatever the caller has to what is sent; the files among them kept."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from ._errors import InvalidRequestError
from ._http import Piece
from ._later import Later
from ._request import Reference
from ._rules import Problem
from ._sniff import Sniffed
from ._threads import in_thread
from ._validate import reference_problems

if TYPE_CHECKING:
    from . import _encoding, _sources
    from ._encoding import DataText, DataUri, PathFile
    from ._sources import Source
else:
    _encoding, _sources = Later("_encoding"), Later("_sources")

Check = Callable[[Sniffed, int], None]
Rules = Callable[[Sniffed, int], Iterable[Problem]]
Lease: TypeAlias = "Callable[[PathFile], _Entry | None]"
_ANY_MODEL: Rules = partial(reference_problems, family=None)
_SMALL = 64 * 1024  # bytes that are encoded at once


class References:
    """
    The reference images of one client: each file is read and encoded once while it is in use.

    *budget* is how many bytes of encoded text are kept; what does not fit is encoded while it is
    sent, as are the files of a request that do not fit all together.
    """

    def __init__(self, budget: int = 16 * 2**20) -> None:
        self._cache = _Cache(budget)

    @contextlib.asynccontextmanager
    async def resolve(
        self,
        references: Sequence[Reference],
        judge: Callable[[Iterable[Problem]], None],
        rules: Rules = _ANY_MODEL,
    ) -> AsyncIterator[tuple[Piece, ...]]:
        """
        What *references* are sent as, each one JSON string; good until the block is left.

        *judge* is handed what is wrong with them by *rules*, and may raise. Raises
        `InvalidRequestError` for what is no image at all, since no media type could be named.
        """

        def check(sniffed: Sniffed, size: int) -> None:
            judge(rules(sniffed, size))

        with contextlib.ExitStack() as stack:
            sources = await in_thread(_told_apart, references) if references else []
            judge(_problems_of_all(sources))
            lease = partial(self._cache.lease, add=self._cache.can_hold(sources))
            pieces = []
            for number, source in enumerate(sources):
                with _numbered(number, references):
                    pieces.append(await self._piece(source, check, stack, lease))
            yield tuple(pieces)

    async def _piece(
        self, source: Source, check: Check, stack: contextlib.ExitStack, lease: Lease
    ) -> Piece:
        match source:
            case bytes():
                return source
            case _encoding.PathFile():
                return await self._file(source, check, stack, lease)
            case _:
                check(source.sniffed, source.size)
                return source if source.size > _SMALL else await in_thread(_joined, source)

    async def _file(
        self, file: PathFile, check: Check, stack: contextlib.ExitStack, lease: Lease
    ) -> Piece:
        entry = lease(file)
        if entry is None:
            return await self._piece(
                await in_thread(_encoding.DataUri.of, file), check, stack, lease
            )
        stack.callback(self._cache.release, entry)
        uri, text = await entry.loaded()
        check(uri.sniffed, uri.size)
        return text


class _Entry:
    """A file of the cache, whose text takes at most *cost* bytes."""

    def __init__(self, file: PathFile) -> None:
        self.file = file
        self.cost = _encoding.encoded_length(file.size)
        self.users = 0
        self.content: tuple[DataUri, bytes] | None = None
        self._lock = asyncio.Lock()

    async def loaded(self) -> tuple[DataUri, bytes]:
        """
        The file and its text, which the first to ask reads.

        Should that one fail or be cancelled, the next in line takes over: nobody waits for
        another's task.
        """
        async with self._lock:
            if self.content is None:
                await in_thread(self._load)
        assert self.content is not None  # noqa: S101  or loading raised
        return self.content

    def _load(self) -> None:
        uri = _encoding.DataUri.of(self.file)
        self.content = uri, _joined(uri)


class _Cache:
    """
    Files and their texts: those in use, and of the others the last ones used.

    The costs of all together never exceed *budget*.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._leased: dict[PathFile, _Entry] = {}
        self._idle: dict[PathFile, _Entry] = {}  # the one used last stands last
        self._cost_of_leased = 0
        self._cost = 0

    def can_hold(self, sources: Sequence[Source]) -> bool:
        """Whether there is room for all files among *sources* at once."""
        files = {source for source in sources if isinstance(source, _encoding.PathFile)}
        return sum(_encoding.encoded_length(file.size) for file in files) <= self._budget

    def lease(self, file: PathFile, *, add: bool) -> _Entry | None:
        """
        The entry of *file*, which stays until it is released.

        Nothing if there is none, and no room for it, or it is not to be *add*ed.
        """
        entry = self._leased.get(file) or self._idle.pop(file, None)
        if entry is None and add:
            entry = self._added(file)
        if entry is not None:
            if not entry.users:
                self._leased[file] = entry
                self._cost_of_leased += entry.cost
            entry.users += 1
        return entry

    def release(self, entry: _Entry) -> None:
        entry.users -= 1
        if entry.users:
            return
        del self._leased[entry.file]
        self._cost_of_leased -= entry.cost
        if entry.content is None:
            self._cost -= entry.cost
        else:
            self._idle[entry.file] = entry

    def _added(self, file: PathFile) -> _Entry | None:
        entry = _Entry(file)
        if self._cost_of_leased + entry.cost > self._budget:
            return None
        self._cost += entry.cost
        while self._cost > self._budget:
            self._cost -= self._idle.pop(next(iter(self._idle))).cost
        return entry


def _told_apart(references: Sequence[Reference]) -> list[Source]:
    sources = []
    for number, reference in enumerate(references):
        with _numbered(number, references):
            sources.append(_sources.source_of(reference))
    return sources


@contextlib.contextmanager
def _numbered(number: int, references: Sequence[Reference]) -> Iterator[None]:
    """Let an error tell which of several references it is about."""
    try:
        yield
    except InvalidRequestError as exc:
        if len(references) > 1:
            exc.add_note(f"reference {number + 1} of {len(references)}")
        raise


def _problems_of_all(sources: Sequence[Source]) -> Iterator[Problem]:
    total = sum(map(_length, sources))
    if sources and total > _sources.LARGEST:
        yield Problem(
            "image",
            f"image: the references make a body of {total / 1e6:.0f} MB, and more than "
            f"{_sources.LARGEST / 1e6:.0f} MB may be refused; send links instead",
            certain=False,
        )


def _length(source: Source) -> int:
    match source:
        case bytes():
            return len(source)
        case _encoding.PathFile():
            return _encoding.encoded_length(source.size)
        case _:
            return source.length


def _joined(uri: DataUri | DataText) -> bytes:
    """The whole text of *uri*; what grows in a buffer is not copied at the end."""
    text = io.BytesIO()
    for part in uri.slices():
        text.write(part)
    return text.getvalue()
