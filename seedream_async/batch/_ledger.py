"""
The ledger of a batch: what was sent, what is paid for, what is saved; on the disk before it counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from sqlite3 import Connection
from typing import Any, Concatenate, ParamSpec, TypeVar

from seedream_async._errors import StorageError

from . import _planning, _reading, _settings, _transitions
from ._entries import Comparison, DuplicateId, Entry, File, Known, Link, Plan, Recovery, Spent
from ._opening import open_store
from ._states import State
from ._writer import Writer, unhurried

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Ledger:
    """
    Every row of a batch and what became of it, in one SQLite file: `async with Ledger.open(path)`.

    When a method returns, what it notes survives a power cut. All of them raise `StorageError` if
    the disk refuses, `IllegalTransitionError` for what cannot follow, and none blocks the loop.
    A method that is cancelled ends when the disk has answered, and what it noted stays noted; only
    `sent` is taken back, since the request then does not leave.
    """

    def __init__(self, writer: Writer, clock: Callable[[], float]) -> None:
        self._writer = writer
        self._clock = clock
        self.path: Path = writer.store.path
        self.recovery: Recovery = writer.store.recovery

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        readonly: bool = False,
        goes_on: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> AsyncIterator[Ledger]:
        """
        The ledger at *path*, made if there is none. One process has it at a time.

        Rows that were sent when the last run ended are unknown from now on; `recovery` counts
        them. They are not if the run *goes_on*, as when only the process that holds the ledger
        was started again. With *readonly*, another process may be at work on it; nothing is
        changed, and a ledger that is not there is refused.
        """
        writer = Writer()
        opening = partial(open_store, Path(path), clock(), readonly=readonly, goes_on=goes_on)
        await writer.open(opening)
        try:
            yield cls(writer, clock)
        finally:
            await writer.aclose()

    # Planning

    async def compare(self, settings: Mapping[str, Any], digest: str | None) -> Comparison:
        """How *settings* and the input of this *digest* differ from the last run; notes nothing."""
        return await self._do(_settings.compare, settings, digest)

    async def begin(self, settings: Mapping[str, Any], digest: str | None) -> Comparison:
        """
        As `compare`, and this run is the last one from now on.

        With another input, or one of unknown digest, each row is listed only when planned again.
        """
        return await self._do(_settings.begin, settings, digest)

    async def settings(self) -> dict[str, Any]:
        """What the last run was begun with."""
        return await self._do(_settings.recorded)

    async def plan(self, rows: Sequence[Plan]) -> list[Known | DuplicateId]:
        """
        What is known of each of *rows*, in their order; those that are new are planned.

        A thousand at a time is a good number. Planning the same rows again changes nothing.
        """
        doubted = self.recovery.lost > 0
        return await self._do(_planning.plan, self._clock(), rows, doubted=doubted)

    # What becomes of a row

    async def sent(self, number: int, *, resend_unknown: bool = False) -> None:
        """Its request may leave now, and not before. One that is unknown only *resend_unknown*."""
        work = partial(
            _transitions.sent, number=number, now=self._clock(), resend_unknown=resend_unknown
        )
        noted = self._writer.ask(work)
        try:
            await unhurried(noted)
        except asyncio.CancelledError:
            if noted.exception() is None:
                with contextlib.suppress(StorageError):  # then it is unknown when opened again
                    await self.put_back(number)
            raise

    async def put_back(self, number: int) -> State:
        """Its request provably never left, so it is planned, or unknown if it was before."""
        return await self._do(_transitions.put_back, number, self._clock())

    async def paid(
        self,
        number: int,
        images: Sequence[Link],
        *,
        request_id: str | None = None,
        cost: float | None = None,
    ) -> None:
        """
        It was answered with *images*, in their order in the answer.

        One without a link came inline, and is lost unless it is saved before the process ends.
        """
        now = self._clock()
        await self._do(_transitions.paid, number, now, images, request_id=request_id, cost=cost)

    async def saved(self, number: int, files: Sequence[File]) -> State:
        """
        These *files* are whole on the disk; it is saved when all of its images are, else paid.

        Their links are forgotten.
        """
        return await self._do(_transitions.saved, number, self._clock(), files)

    async def failed(
        self, number: int, problem: str, message: str, *, request_id: str | None = None
    ) -> State:
        """
        It was refused, and surely not billed: a *problem* of that class.

        If an earlier request of it is unknown, then so is the row.
        """
        now = self._clock()
        return await self._do(
            _transitions.failed,
            number,
            now,
            problem=problem,
            message=message,
            request_id=request_id,
        )

    async def unknown(
        self, number: int, problem: str, message: str, *, request_id: str | None = None
    ) -> None:
        """It was sent without a trustworthy answer, or paid for and its links are dead."""
        now = self._clock()
        await self._do(
            _transitions.unknown,
            number,
            now,
            problem=problem,
            message=message,
            request_id=request_id,
        )

    async def given_up(self, number: int, message: str) -> State:
        """Whoever sent it is gone: it is unknown if it was sent. Tells what it was."""
        return await self._do(_transitions.given_up, number, self._clock(), message=message)

    # Reading

    async def left(self, *states: State) -> AsyncIterator[Known]:
        """
        What is to be done: the rows in *states*, or else those planned or paid.

        They come in the order of the input, in constant memory. Rows that leave these states
        meanwhile are not told any more, unless they were about to be.
        """
        after = 0, 0
        wanted = states or ("planned", "paid")
        while page := await self._do(_reading.left, wanted, after):
            for row in page:
                yield row
            after = page[-1].line, page[-1].number

    async def entries(self, *states: State, listed: bool = True) -> AsyncIterator[Entry]:
        """
        The rows in *states*, in the order of the input, in constant memory; all without any.

        Rows that change meanwhile may be missed or met again. Those that the current input no
        longer has are told only, and alone, if not *listed*.
        """
        for edition in await self._do(_reading.editions, listed=listed):
            after = 0, 0
            while page := await self._do(_reading.page, states, edition, after):
                for entry in page:
                    yield entry
                after = page[-1].line, page[-1].number

    async def rows(self, numbers: Sequence[int]) -> list[Entry]:
        """The rows of these *numbers*, in their order."""
        return await self._do(_reading.rows, numbers)

    async def counts(self, *, listed: bool = True) -> dict[State, int]:
        """How many rows of the current input, or else of those before, are in each state."""
        return await self._do(_reading.counts, listed=listed)

    async def spent(self) -> Spent:
        """What was paid for, as far as answers told, over all runs."""
        return await self._do(_reading.spent)

    async def _do(
        self,
        function: Callable[Concatenate[Connection, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        def work(connection: Connection) -> _T:
            return function(connection, *args, **kwargs)

        noted: asyncio.Future[_T] = self._writer.ask(work)
        return await unhurried(noted)
