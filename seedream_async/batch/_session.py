"""
One run of a batch: survey, begin, work, and what is left on the disk. `_batch` opens it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from attrs import asdict, define, evolve, field

from seedream_async._allowance import Allowance, Spend
from seedream_async._client import AsyncSeedream
from seedream_async._errors import InvalidRequestError, StorageError
from seedream_async._threads import in_thread

from ._ballast import Ballast
from ._contents import missing
from ._fields import BadRow
from ._input import Input
from ._leaving import Leaving
from ._ledger import Ledger
from ._options import Options, changes, refuse_other_batch
from ._products import Products
from ._report_entries import Summary
from ._results import BatchResult
from ._running import Run, watched
from ._surveying import Survey, survey
from ._tally import Tally
from ._wording import counted

_EVERY = 0.5  # seconds between two looks at how far it is
_MOST_NOTICES = 20  # rows that are told one by one
_MANY = 100_000  # rows that take some seconds to read
_MICRO = 1_000_000


@define
class _Past:
    """What earlier runs have left: files, images that were billed, and doubts that may cost."""

    images: int = 0
    billed: int = 0
    missing: int = 0
    doubts: int = 0


@define(kw_only=True)
class Batch:
    """One run of `run_batch`, with all that it holds open."""

    options: Options
    given: Input
    ledger: Ledger
    client: AsyncSeedream
    send: Callable[[Run], Awaitable[None]] = Run.send
    started: datetime = field(factory=lambda: datetime.now(UTC))
    bad: int = 0

    async def run(self) -> BatchResult:
        surveyed = await self.survey()
        past = await self._past()
        run = await self._begin(surveyed, past)
        await run.ballast.load()
        try:
            async with self._told(run):
                await run.fetch()
                await self.send(run)
        finally:
            await run.ballast.drop()
        return await self._finish(run, surveyed, past)

    async def survey(self) -> Survey:
        """What the input asks for, and everything in it known to the ledger."""
        digest, whole = await self.given.digest()
        settings = self.options.settings(self.given, digest)
        comparison = await self.ledger.compare(settings, whole)
        before = (await self.ledger.settings()).get("survey")
        if not comparison.fresh:
            other, tags = self.options.other_input, self.options.tags
            refuse_other_batch(comparison, settings, tags, other=other)
            for line in changes(comparison):
                self.options.on_notice(line)
        self._say_recovery()
        known = Survey.of(before) if before and comparison.same_input else None
        await self.ledger.begin(settings | {"survey": before if known else None}, whole)
        if known is None:
            price, read = self.options.price, self._tell_read
            known = await survey(self.ledger, self.given, price, self._tell_bad, read)
            await self.ledger.begin(settings | {"survey": asdict(known)}, whole)
        self._refuse_bad(known)
        return known

    def _say_recovery(self) -> None:
        recovery = self.ledger.recovery
        if recovery.interrupted:
            self.options.on_notice(
                f"{recovery.interrupted} rows were in flight when the last run ended: "
                "they may have been billed, and are unknown"
            )
        if recovery.lost:
            self.options.on_notice(
                f"the ledger has lost {recovery.lost} changes: what seemed planned may have been "
                "sent, and is unknown"
            )

    def _tell_bad(self, row: BadRow) -> None:
        self.bad += 1
        if self.bad <= _MOST_NOTICES:
            self.options.on_notice(f"line {row.line}: {row.reason}")

    def _tell_read(self, rows: int) -> None:
        if rows and rows % _MANY == 0:
            self.options.on_notice(f"{rows} rows read so far")

    def _refuse_bad(self, surveyed: Survey) -> None:
        if self.bad > _MOST_NOTICES:
            self.options.on_notice(f"and {self.bad - _MOST_NOTICES} more lines like these")
        if surveyed.bad and self.options.strict:
            raise InvalidRequestError(
                f"input: {surveyed.bad} of its rows are wrong, and the batch is strict. "
                "Nothing was sent",
                field="input",
            )

    async def _past(self) -> _Past:
        """What there is of earlier runs; files that are gone are told."""
        past = _Past()
        for listed in (True, False):
            async for entry in self.ledger.entries("saved", "paid", "unknown", listed=listed):
                files = [image.file for image in entry.images if image.file]
                past.images += len(files)
                billed, doubts = entry.spent
                past.billed += billed
                past.doubts += doubts
                if listed and files:
                    past.missing += len(await missing(files, self.options.folder))
        if past.missing:
            self.options.on_notice(
                f"of what was saved, {counted(past.missing, 'image')} cannot be found any more. "
                "That is paid for and not made again; to have it made, put its row into another "
                "batch"
            )
        return past

    async def _begin(self, surveyed: Survey, past: _Past) -> Run:
        options, generating = self.options, self.client._generating  # noqa: SLF001  our own
        spent = await self.ledger.spent()
        tally = Tally(
            await self.ledger.counts(),
            images=past.images,
            cost=spent.cost,
            currency=surveyed.currency,
            now=time.monotonic,
        )
        micros = round((spent.cost + past.doubts * surveyed.price) * _MICRO)
        return Run(
            ledger=self.ledger,
            given=self.given,
            folder=options.folder,
            template=options.template(list(surveyed.columns)),
            generating=generating,
            tally=tally,
            leaving=Leaving(),
            ballast=Ballast(options.ledger),
            width=options.width,
            price=options.price,
            allowance=Allowance(
                max_images=options.max_images,
                max_cost=options.max_cost,
                spent=Spend(past.billed + past.doubts, micros),
            ),
            limit=options.limit,
            resend_unknown=options.resend_unknown,
            retry_failed=options.retry_failed,
            sidecar=options.sidecar,
            on_saved=options.on_saved,
            on_notice=options.on_notice,
        )

    @contextlib.asynccontextmanager
    async def _told(self, run: Run) -> AsyncIterator[None]:
        """Tell how far *run* is while it is at work, and at its end."""

        def told() -> None:
            progress = run.tally.told(self.client.stats(), run.leaving.why)
            self.options.on_progress(progress)

        watch = asyncio.create_task(watched(run.leaving, self.options.leave, told, _EVERY))
        try:
            yield
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            told()

    async def _finish(self, run: Run, surveyed: Survey, past: _Past) -> BatchResult:
        counts, spent = await self.ledger.counts(), await self.ledger.spent()
        left = counts["planned"] + counts["sent"] + counts["paid"]
        result = BatchResult(
            total=sum(counts.values()),
            saved=counts["saved"],
            failed=counts["failed"],
            unknown=counts["unknown"],
            left=left,
            paid=counts["paid"],
            bad=surveyed.bad,
            missing=past.missing,
            images=run.tally.images,
            cost=spent.cost if surveyed.currency else None,
            currency=surveyed.currency,
            problems=tuple(run.problems),
            stopped=run.leaving.why,
            folder=self.options.folder,
            ledger=self.options.ledger,
        )
        return await self._with_products(result, surveyed)

    async def _with_products(self, result: BatchResult, surveyed: Survey) -> BatchResult:
        products = Products(
            folder=self.options.folder,
            ledger=self.ledger,
            given=self.given,
            currency=surveyed.currency,
        )
        stopped = isinstance(result.stopped, StorageError)
        if stopped and not await in_thread(self.options.folder.is_dir):
            return result
        try:
            paths = await products.write(self._summary(result, surveyed))
        except StorageError as error:
            self.options.on_notice(f"no report: {error}")
            return result if stopped else evolve(result, stopped=error)
        return evolve_result(result, products, *paths)

    def _summary(self, result: BatchResult, surveyed: Survey) -> Summary:
        money = (result.cost, result.currency) if result.cost and result.currency else None
        shown = {"model": self.options.model, "name": self.options.name, **self.options.defaults}
        return Summary(
            title=f"Batch {Path(self.given.source).name}",
            started=self.started,
            ended=datetime.now(UTC),
            saved=result.saved,
            failed=result.failed + result.bad,
            unknown=result.unknown,
            waiting=result.left,
            images=result.images,
            cost=[money] if money else [],
            cost_source=surveyed.source,
            settings=[(name, str(value)) for name, value in shown.items()],
        )


def evolve_result(
    result: BatchResult, products: Products, manifest: Path, failed: Path, report: Path
) -> BatchResult:
    """*result*, with what is on the disk."""
    return evolve(
        result,
        manifest=manifest,
        failed_rows=failed,
        report=report,
        problems=tuple(dict.fromkeys((*result.problems, *products.problems))),
    )
