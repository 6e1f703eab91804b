"""
`run_batch`: the order of the steps, from the input to what is left on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from attrs import asdict, define, evolve, field

from seedream_async import _files
from seedream_async._allowance import Allowance, PricePerImage, Spend
from seedream_async._client import AsyncSeedream
from seedream_async._errors import InvalidRequestError, StorageError
from seedream_async._models import SavedImage
from seedream_async._threads import in_thread, surely_in_thread

from ._contents import missing
from ._fields import BadRow
from ._input import Input
from ._leaving import Leaving
from ._ledger import Ledger
from ._options import Options, changes, refuse_other_batch
from ._planned import planned
from ._products import Products
from ._report_entries import Summary
from ._results import BatchPlan, BatchProgress, BatchResult
from ._rows import Format
from ._running import Run, watched
from ._surveying import Survey, survey
from ._tally import Tally

LEDGER = "ledger.sqlite3"
_EVERY = 0.5  # seconds between two looks at how far it is
_MOST_NOTICES = 20  # rows that are told one by one
_MICRO = 1_000_000


@define
class _Past:
    """What earlier runs have left: files, and doubts that may cost."""

    images: int = 0
    missing: int = 0
    doubts: int = 0


@define(kw_only=True)
class Batch:
    """One run of `run_batch`, with all that it holds open."""

    options: Options
    given: Input
    ledger: Ledger
    client: AsyncSeedream
    started: datetime = field(factory=lambda: datetime.now(UTC))
    bad: int = 0

    async def run(self) -> BatchResult:
        surveyed = await self.survey()
        past = await self._past()
        run = await self._begin(surveyed, past)
        async with self._told(run):
            await run.fetch()
            await run.send()
        return await self._finish(run, surveyed, past)

    async def survey(self) -> Survey:
        """What the input asks for, and everything in it known to the ledger."""
        digest, whole = await self.given.digest()
        settings = self.options.settings(self.given, digest)
        comparison = await self.ledger.compare(settings, whole)
        before = (await self.ledger.settings()).get("survey")
        if not comparison.fresh:
            if not self.options.other_input:
                refuse_other_batch(comparison, settings, self.options.tags)
            for line in changes(comparison):
                self.options.on_notice(line)
        self._say_recovery()
        known = Survey.of(before) if before and comparison.same_input else None
        await self.ledger.begin(settings | {"survey": before if known else None}, whole)
        if known is None:
            known = await survey(self.ledger, self.given, self.options.price, self._tell_bad)
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
                past.doubts += entry.doubts
                if listed and files:
                    past.missing += len(await missing(files, self.options.folder))
        if past.missing:
            self.options.on_notice(
                f"{past.missing} images that were saved are not there any more. They are paid "
                "for and not made again; to have them made, put their rows into another batch"
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
            width=options.width,
            price=options.price,
            allowance=Allowance(
                max_images=options.max_images,
                max_cost=options.max_cost,
                spent=Spend(past.images + past.doubts, micros),
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


@contextlib.asynccontextmanager
async def opened(
    options: Options, client: AsyncSeedream, *, ledger: Path | None = None
) -> AsyncIterator[Batch]:
    """The batch of *options*, with its ledger open."""
    folder = os.path.join(options.folder, "")  # noqa: PTH118  the slash says: a folder
    await in_thread(_files.open_place, folder, field="out")
    given = await Input.of(
        options.source,
        options.folder,
        model=options.model,
        format=options.format,
        defaults=options.defaults,
    )
    async with Ledger.open(ledger or options.ledger) as opened_ledger:
        yield Batch(options=options, given=given, ledger=opened_ledger, client=client)


async def plan_batch(options: Options, client: AsyncSeedream) -> BatchPlan:
    """What a run would do, as told by a copy of its ledger; nothing is sent, and nothing stays."""
    async with _aside() as folder:
        copy = folder / LEDGER
        await in_thread(_copy, options.ledger, copy)
        async with opened(evolve(options, folder=folder), client, ledger=copy) as batch:
            surveyed = await batch.survey()
            options.template(list(surveyed.columns))
            limits = client._traffic.limits  # noqa: SLF001  our own
            counts = await batch.ledger.counts()
            return planned(
                surveyed, counts, width=options.width, per_minute=limits.images_per_minute
            )


@contextlib.asynccontextmanager
async def _aside() -> AsyncIterator[Path]:
    """A folder that is gone afterwards."""
    folder = await in_thread(tempfile.mkdtemp, prefix="seedream-")
    try:
        yield Path(folder)
    finally:
        await surely_in_thread(partial(shutil.rmtree, folder, ignore_errors=True))


def _copy(ledger: Path, copy: Path) -> None:
    for suffix in ("", "-wal"):
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(f"{ledger}{suffix}", f"{copy}{suffix}")


async def run_batch(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    client: AsyncSeedream | None = None,
    ledger: str | os.PathLike[str] | None = None,
    format: Format | None = None,  # noqa: A002  the word of the command
    model: str | None = None,
    defaults: Mapping[str, Any] | None = None,
    name: str | None = None,
    concurrency: int | None = None,
    max_cost: float | None = None,
    max_images: int | None = None,
    price: PricePerImage | None = None,
    limit: int | None = None,
    resend_unknown: bool = False,
    retry_failed: bool = False,
    strict: bool = False,
    sidecar: bool = False,
    other_input: bool = False,
    leave: asyncio.Event | None = None,
    on_progress: Callable[[BatchProgress], None] | None = None,
    on_saved: Callable[[Sequence[SavedImage]], None] | None = None,
    on_notice: Callable[[str], None] | None = None,
) -> BatchResult:
    """
    Make the images of every row of *source* in the folder *out*, or of those that are left.

    *source* is a path (JSONL, CSV, or a prompt on each line) or `-`. *model* and *defaults* are
    for rows that do not say. *name* is a template such as `{model}/{id}.{ext}`, to which the
    metadata of rows add fields. *max_cost* and *max_images* bound all runs together, *limit* the
    rows that this one sends.

    Unknown rows may have been billed, and are sent again only with *resend_unknown*. Failed ones
    are, unless they were refused for their content: those with *retry_failed*. With *strict*,
    nothing is sent if any row is wrong; with *other_input*, rows of another file may follow.

    Once *leave* is set, nothing more is sent, and what is in flight is waited for. When this is
    cancelled, what was in flight is unknown. Raises `InvalidRequestError` before anything is sent,
    and `StorageError` if what it works with cannot be made; later trouble is in the result.
    """
    told = {key: value for key, value in locals().items() if key not in _OWN}
    async with contextlib.AsyncExitStack() as stack:
        used = await stack.enter_async_context(AsyncSeedream()) if client is None else client
        options = options_of(source, out, used, told)
        return await (await stack.enter_async_context(opened(options, used))).run()


_OWN = ("source", "out", "client")


def options_of(
    source: str | os.PathLike[str],
    out: str | os.PathLike[str],
    client: AsyncSeedream,
    told: dict[str, Any],
) -> Options:
    given = {name: value for name, value in told.items() if value is not None}
    return Options(
        source=source,
        folder=Path(out),
        ledger=Path(given.pop("ledger", None) or Path(out) / LEDGER),
        width=given.pop("concurrency", client._width),  # noqa: SLF001  our own
        model=given.pop("model", client.model),
        **given,
    )
