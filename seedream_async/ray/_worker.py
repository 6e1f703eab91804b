"""
One worker of a cluster: rows in, lines of the manifest out, with an ordinary client in between.

What is sent, saved and spent is noted by the coordinator; nothing is remembered here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve

from seedream_async import _files
from seedream_async._allowance import Spend, came_of, most_of
from seedream_async._calls import Effort
from seedream_async._client import AsyncSeedream
from seedream_async._errand import Errand, Stop, Watched
from seedream_async._generating import Generating
from seedream_async._limits import Limits
from seedream_async._models import ImagesResponse
from seedream_async._threads import in_thread
from seedream_async.batch._batch import aside
from seedream_async.batch._entries import Entry
from seedream_async.batch._fields import BadRow, Row
from seedream_async.batch._jobs import Job, action_of
from seedream_async.batch._keeping import Keeper
from seedream_async.batch._leaving import Leaving, Signs
from seedream_async.batch._ledger import Ledger
from seedream_async.batch._resuming import resume
from seedream_async.batch._sending import Sending
from seedream_async.batch._states import STATES, IllegalTransitionError
from seedream_async.batch._tally import Tally

from . import _rows
from ._proxy import Proxy, RemoteLedger, SharedLimiter
from ._rows import Given
from ._setup import Setup
from ._stores import StoreKeeper


class Worker:
    """`async with Worker.running(…) as worker`, then `rows` of any number of batches at once."""

    def __init__(
        self, setup: Setup, proxy: Proxy, ledger: Ledger, client: AsyncSeedream, folder: Path
    ) -> None:
        self._setup = setup
        self._proxy = proxy
        self._ledger = ledger
        self._slots = asyncio.Semaphore(setup.in_flight)
        self._users: Counter[int] = Counter()  # rows that are met more than once at a time
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._held: dict[int, Spend | None] = {}
        self._problems: dict[int, str] = {}
        self._telling: set[asyncio.Task[Any]] = set()
        self._leaving = Leaving()
        generating = client._generating  # noqa: SLF001  our own
        self._stop = Stop(setup.model, generating.calls.policy_of(Effort()).max_retry_after)
        self._signs = Signs(width=setup.in_flight, leave=self._leave, met=self._met)
        self._tally = Tally(
            dict.fromkeys(STATES, 0), images=0, cost=0.0, currency=None, now=time.monotonic
        )
        self._keeper = self._keeper_of(folder, generating.saver)
        self._sending = self._sending_of(folder, generating)

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, setup: Setup, proxy: Proxy) -> AsyncIterator[Worker]:
        """A worker that gives signs of life, until the block ends."""
        async with contextlib.AsyncExitStack() as stack:
            limiter = SharedLimiter(proxy)
            stack.push_async_callback(limiter.aclose)
            limits = Limits(concurrency=setup.in_flight, limiter=limiter)
            client = await stack.enter_async_context(AsyncSeedream(**setup.client, limits=limits))
            folder = setup.folder
            if folder is None:
                folder = await stack.enter_async_context(aside())
            ledger = RemoteLedger(proxy, *await proxy.ask("about"))
            worker = cls(setup, proxy, ledger, client, folder)
            beating = asyncio.create_task(worker._beat())
            stack.push_async_callback(asyncio.wait, [beating])
            stack.callback(beating.cancel)
            yield worker

    def _keeper_of(self, folder: Path, saver: Any) -> Keeper:
        setup = self._setup
        kind = Keeper if setup.store is None else partial(StoreKeeper, store=setup.store)
        template = evolve(setup.template, folder=folder)
        return kind(
            self._ledger,
            saver,
            self._tally,
            folder=folder,
            template=template,
            sidecar=setup.sidecar,
        )

    def _sending_of(self, folder: Path, generating: Generating) -> Sending:
        return Sending(
            self._ledger,
            generating,
            self._keeper,
            self._tally,
            self._leaving,
            ballast=self._proxy,
            place=_files.Place(folder),
            model=self._setup.model,
            price=self._setup.price,
        )

    async def of_dataset(self, values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What becomes of rows of a dataset."""
        model = self._setup.model
        planned = await in_thread(_rows.planned, values, self._setup.defaults, model)
        if self._leaving.why is None:
            places = await self._ledger.plan(_rows.plans_of(planned))
            given, bad = _rows.placed(planned, places)
        else:  # they are not even planned
            given = [Given(number=0, row=one[0]) for one in planned if isinstance(one, tuple)]
            bad = [one for one in planned if isinstance(one, BadRow)]
        return [_rows.bad(row, model) for row in bad] + await self.rows(given)

    async def rows(self, given: Sequence[Given]) -> list[dict[str, Any]]:
        """What becomes of rows that the ledger knows, as lines of the manifest."""
        if (why := self._leaving.why) is not None:
            return [_rows.left(one.row, self._setup.model, why) for one in given]
        numbers = list(dict.fromkeys(one.number for one in given))
        self._users.update(numbers)
        try:
            seen = await self._look(numbers)
            async with asyncio.TaskGroup() as group:
                for one in given:
                    group.create_task(self._row(one, *seen[one.number]))
        finally:
            entries = await self._released(numbers)
        return [
            line
            for one in given
            for line in _rows.told(
                one.row, entries[one.number], self._setup.model, self._problem_of(one.number)
            )
        ]

    def _problem_of(self, number: int) -> str | None:
        why = self._leaving.why
        return self._problems.get(number) or (None if why is None else f"not sent: {why}")

    async def _look(self, numbers: Sequence[int]) -> dict[int, tuple[Entry, bool]]:
        seen = await self._proxy.look(numbers)
        for entry, mine in seen:
            if mine:
                self._held.setdefault(entry.number, None)
        return {entry.number: (entry, mine) for entry, mine in seen}

    async def _released(self, numbers: Sequence[int]) -> dict[int, Entry]:
        self._users.subtract(numbers)
        done = [number for number in numbers if self._users[number] == 0]
        for number in done:
            del self._users[number]
            self._held.pop(number, None)
            self._turns.pop(number, None)
        await self._proxy.ask("release", self._proxy.owner, done)
        entries = await self._ledger.rows(numbers)
        return {entry.number: entry for entry in entries}

    async def _row(self, given: Given, entry: Entry, mine: bool) -> None:
        """Do what is to be done about a row, once no other worker is at it."""
        stale = given.number in self._turns  # another who met it may have come further with it
        async with self._turns[given.number]:
            while True:
                if mine and not stale and await self._done(entry, given.row):
                    return
                if self._leaving.why is not None:
                    return
                if not mine:
                    await asyncio.sleep(self._setup.beat)
                entry, mine = (await self._look([given.number]))[given.number]
                stale = False

    async def _done(self, entry: Entry, row: Row) -> bool:
        """Whether nothing is left to be done about *entry* by this run."""
        setup = self._setup
        action = action_of(
            entry,
            time.time(),
            resend_unknown=setup.resend_unknown,
            retry_failed=setup.retry_failed,
        )
        if action == "leave":
            return True
        await self._slots.acquire()
        with contextlib.ExitStack() as slot:
            slot.callback(self._slots.release)
            if action == "send":
                return await self._sent(entry, row, slot)
            return await self._fetched(entry, row)

    async def _fetched(self, entry: Entry, row: Row) -> bool:
        try:
            await resume(
                entry,
                row,
                ledger=self._ledger,
                keeper=self._keeper,
                tally=self._tally,
                model=self._setup.model,
            )
        except Exception as error:  # noqa: BLE001  nor does one that cannot be fetched
            self._problems[entry.number] = f"{type(error).__name__}: {error}"
            self._signs.read(error)
        return True

    async def _sent(self, entry: Entry, row: Row, slot: contextlib.ExitStack) -> bool:
        """Send *row*; tell whether it was not sent by another in the meantime."""
        if self._leaving.why is not None:
            return True
        job = Job(number=entry.number, row=row, before=entry.state, doubts=entry.doubts)
        request = evolve(row.request, model=row.request.model or self._setup.model)
        errand = Errand(entry.number, request)
        try:
            await self._reserve(errand)
            await self._answered(errand, job, slot)
        except IllegalTransitionError:
            return False
        except Exception as error:  # noqa: BLE001  one failed row never costs the others
            self._problems[entry.number] = f"{type(error).__name__}: {error}"
            self._learn(errand, error)
        else:
            self._signs.read(None)
        finally:
            await self._settle(errand)
        return True

    async def _answered(self, errand: Errand, job: Job, slot: contextlib.ExitStack) -> None:
        request = job.row.request
        request = evolve(request, model=request.model or self._setup.model)

        def began(call: Watched) -> None:
            errand.began(call)
            call.ask_before_sending(partial(self._stop.check, request))
            if errand.most is not None:
                call.ask_before_resending(lambda: "the budget is shared with other workers")

        def answered(response: ImagesResponse) -> None:
            errand.response = response
            slot.close()  # for another row, while the images of this one are saved

        self._sending.jobs[job.number] = job
        await self._sending.generate(job.number, request, began, answered)

    def _learn(self, errand: Errand, error: Exception) -> None:
        self._stop.learn(errand, error)
        if self._stop.total is not None:
            self._leave(self._stop.total)
        self._signs.read(error)
        if self._signs.unsent is error:  # what becomes of others, no worker knows
            self._met(error)

    # The budget

    async def _reserve(self, errand: Errand) -> None:
        setup = self._setup
        if setup.limited and not isinstance(errand.request, str | None):
            most = most_of(errand.request, setup.model, setup.price, priced=setup.priced)
            await self._proxy.ask("reserve", errand.index, most)
            self._held[errand.index] = errand.most = most

    async def _settle(self, errand: Errand) -> None:
        if errand.most is not None:
            came = came_of(errand.most, errand.attempts, errand.response)
            self._held[errand.index] = None
            await self._proxy.ask("settle", errand.index, came)

    # What others should know

    async def _beat(self) -> None:
        while True:
            with contextlib.suppress(Exception):  # the coordinator will be there again
                why = await self._proxy.beat(self._held)
                if why is not None:
                    self._leaving.leave(why)
            await asyncio.sleep(self._setup.beat)

    def _leave(self, why: Exception) -> None:
        self._leaving.leave(why)
        self._tell("leave", why)

    def _met(self, error: Exception) -> None:
        self._tell("met", type(error).__name__, f"{error}")

    def _tell(self, name: str, *args: Any) -> None:
        task = asyncio.ensure_future(self._proxy.ask(name, *args))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)
