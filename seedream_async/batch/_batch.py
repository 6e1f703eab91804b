"""
`run_batch`: the order of the steps, from the input to what is left on the disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Any

from attrs import evolve

from seedream_async import _files
from seedream_async._allowance import PricePerImage
from seedream_async._client import AsyncSeedream
from seedream_async._models import SavedImage
from seedream_async._threads import in_thread, surely_in_thread

from ._input import Input
from ._ledger import Ledger
from ._opening import copy_store
from ._options import Options
from ._planned import planned
from ._results import BatchPlan, BatchProgress, BatchResult
from ._rows import Format
from ._running import Run
from ._session import Batch

LEDGER = "ledger.sqlite3"


@contextlib.asynccontextmanager
async def opened(
    options: Options,
    client: AsyncSeedream,
    *,
    ledger: Path | None = None,
    opening: Callable[[Path], AbstractAsyncContextManager[Ledger]] = Ledger.open,
    send: Callable[[Run], Awaitable[None]] = Run.send,
) -> AsyncIterator[Batch]:
    """The batch of *options*, with its ledger open: by *opening*, and *send* sends its rows."""
    folder = os.path.join(options.folder, "")  # noqa: PTH118  the slash says: a folder
    await in_thread(_files.open_place, folder, field="out")
    given = await Input.of(
        options.source,
        options.folder,
        model=options.model,
        format=options.format,
        defaults=options.defaults,
    )
    async with opening(ledger or options.ledger) as opened_ledger:
        yield Batch(options=options, given=given, ledger=opened_ledger, client=client, send=send)


async def plan_batch(options: Options, client: AsyncSeedream) -> BatchPlan:
    """What a run would do, as told by a copy of its ledger; nothing is sent, and nothing stays."""
    async with aside() as folder:
        copy = folder / LEDGER
        await in_thread(copy_store, options.ledger, copy)
        async with opened(evolve(options, folder=folder), client, ledger=copy) as batch:
            surveyed = await batch.survey()
            options.template(list(surveyed.columns))
            counts = await batch.ledger.counts()
            return planned(
                surveyed, counts, width=options.width, per_minute=options.images_per_minute
            )


@contextlib.asynccontextmanager
async def aside() -> AsyncIterator[Path]:
    """A folder that is gone afterwards."""
    folder = await in_thread(tempfile.mkdtemp, prefix="seedream-")
    try:
        yield Path(folder)
    finally:
        await surely_in_thread(partial(shutil.rmtree, folder, ignore_errors=True))


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
    told = dict(locals())
    for own in _OWN:
        del told[own]
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
