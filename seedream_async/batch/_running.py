"""
One run of a batch, from the input to the report: what is left is done, in this order.

Images that are paid for are fetched before anything is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from attrs import define, evolve, field

from seedream_async import _files, _templates
from seedream_async._allowance import Allowance, PricePerImage
from seedream_async._calls import Effort
from seedream_async._errors import DownloadError, StorageError
from seedream_async._fanout import FanOut
from seedream_async._generating import Generating
from seedream_async._models import SavedImage
from seedream_async._request import GenerateRequest
from seedream_async._results import Failure
from seedream_async._spending import Purse

from ._ballast import Ballast
from ._entries import Entry
from ._fields import Row
from ._input import Input, matched
from ._jobs import Job, action_of
from ._keeping import Keeper
from ._leaving import Leaving, Signs
from ._ledger import Ledger
from ._resuming import resume
from ._sending import Sending
from ._states import State
from ._tally import Tally

_FETCHING_WIDTH = 8


@define(kw_only=True)
class Run:
    """What is shared by all that happens to the rows of one run."""

    ledger: Ledger
    given: Input
    folder: Path
    template: _templates.Template
    generating: Generating
    tally: Tally
    leaving: Leaving
    ballast: Ballast
    width: int
    price: PricePerImage | None = None
    allowance: Allowance = field(factory=Allowance)
    limit: int | None = None
    resend_unknown: bool = False
    retry_failed: bool = False
    sidecar: bool = False
    on_saved: Callable[[Sequence[SavedImage]], None]
    on_notice: Callable[[str], None]
    problems: dict[str, None] = field(factory=dict)  # classes of what rows met

    def keeper(self) -> Keeper:
        return Keeper(
            self.ledger,
            self.generating.saver,
            self.tally,
            folder=self.folder,
            template=self.template,
            sidecar=self.sidecar,
        )

    async def fetch(self) -> None:
        """Save what earlier runs have paid for, while its links live."""
        keeper, gate = self.keeper(), asyncio.Semaphore(_FETCHING_WIDTH)
        if not self.tally.counts["paid"]:
            return
        with _one_error():
            async with asyncio.TaskGroup() as group:
                await self._fetch_each(keeper, gate, group)

    async def _fetch_each(
        self, keeper: Keeper, gate: asyncio.Semaphore, group: asyncio.TaskGroup
    ) -> None:
        async for row, entry in matched(self.given.rows(), self.ledger.entries("paid")):
            if self.leaving.why is not None:
                return
            await gate.acquire()
            task = group.create_task(self._fetch(keeper, row, entry))
            task.add_done_callback(lambda _: gate.release())

    async def _fetch(self, keeper: Keeper, row: Row, entry: Entry) -> None:
        try:
            files = await resume(
                entry,
                row,
                ledger=self.ledger,
                keeper=keeper,
                tally=self.tally,
                model=self.given.model,
            )
            self.on_saved(files)
        except StorageError as error:
            self.leaving.leave(error)
        except DownloadError as error:
            self.met(error)

    async def send(self) -> None:
        """Send what is left, and save what comes of it."""
        sending = Sending(
            self.ledger,
            self.generating,
            self.keeper(),
            self.tally,
            self.leaving,
            ballast=self.ballast,
            place=_files.Place(self.folder),
            model=self.given.model,
            price=self.price,
        )
        signs = Signs(width=self.width, leave=self.leaving.leave, met=self.met)
        async with self._fan_out(self._requests(sending), sending) as results:
            async for result in results:
                self._learn(result, signs)
                if results.stopped_by is not None:
                    self.leaving.leave(results.stopped_by)
        if signs.unsent is not None:
            self.leaving.leave(signs.unsent)

    def _fan_out(self, requests: AsyncIterator[GenerateRequest], sending: Sending) -> FanOut:
        async def prepare() -> None:
            self.generating.lifetime.check()

        model = self.given.model
        purse = Purse(self.allowance, model, self.price) if self.allowance.is_limited else None
        return FanOut(
            requests,
            sending.generate,
            prepare=prepare,
            width=self.width,
            model=model,
            saves=True,
            patience=self.generating.calls.policy_of(Effort()).max_retry_after,
            purse=purse,
        )

    def _learn(self, result: Any, signs: Signs) -> None:
        """Note what *result* is a sign of."""
        if not isinstance(result, Failure):
            self.on_saved(result.files)
            signs.read(None)
        elif result.request is None:  # the input itself
            self.leaving.leave(result.error)
        else:
            signs.read(result.error)

    def met(self, error: Exception) -> None:
        """Tell of *error*, which a row has met, if it is the first of its kind."""
        name = type(error).__name__
        if name not in self.problems:
            self.problems[name] = None
            self.on_notice(f"{error}")

    async def _requests(self, sending: Sending) -> AsyncIterator[GenerateRequest]:
        """Each request that is to be sent; its job waits under its place."""
        async with contextlib.aclosing(cast("Any", self.jobs())) as jobs:
            index = 0
            async for job in jobs:
                sending.jobs[index] = job
                index += 1
                request = job.row.request
                yield evolve(request, model=request.model or self.given.model)

    async def jobs(self) -> AsyncIterator[Job]:
        """Each row that is to be sent."""
        states: list[State] = ["planned", "failed"]
        if self.resend_unknown:
            states.append("unknown")
        pairs = matched(self.given.rows(), self.ledger.entries(*states))
        count = 0
        async with contextlib.aclosing(cast("Any", pairs)):
            async for row, entry in pairs:
                if self.leaving.why is not None or count == self.limit:
                    return
                action = action_of(
                    entry,
                    time.time(),
                    resend_unknown=self.resend_unknown,
                    retry_failed=self.retry_failed,
                )
                if action == "send":
                    await self.given.check()  # after its row was read, and before it is sent
                    count += 1
                    yield Job(number=entry.number, row=row, before=entry.state, doubts=entry.doubts)


@contextlib.contextmanager
def _one_error() -> Iterator[None]:
    """Let what ended a group of tasks through as it is."""
    try:
        yield
    except ExceptionGroup as group:
        raise group.exceptions[0] from None


async def watched(
    leaving: Leaving, leave: asyncio.Event, told: Callable[[], None], every: float
) -> None:
    """Tell how far the batch is *every* few seconds, and leave it when *leave* is set."""
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every):
                await (leave if leaving.why is None else asyncio.Event()).wait()
                leaving.leave("it was asked to end")
        told()
