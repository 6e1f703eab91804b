"""
`seedream batch --ray`: rows are sent by the workers of a cluster, all else is as on one machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray
from attrs import field, frozen
from ray.data import Dataset

from seedream_async._client import AsyncSeedream
from seedream_async._errors import InvalidRequestError
from seedream_async._threads import in_thread, surely_in_thread
from seedream_async.batch import _batch
from seedream_async.batch._ledger import Ledger
from seedream_async.batch._options import Options
from seedream_async.batch._running import Run
from seedream_async.batch._session import Batch

from ._actors import coordinator_of, proxy_of, working
from ._coordinator import Standing, Terms
from ._proxy import Proxy, RemoteLedger
from ._rows import GIVEN, Given
from ._setup import Setup

_PORTION = 1000  # rows that are handed over at once
_EVERY = 0.5  # seconds between two looks at how far it is
_SHARE = 20  # of the time, what a look may take
_STORE = 200 * 1024 * 1024  # bytes of shared memory of a machine on its own: images need none
_CPUS = 0.25


@contextlib.asynccontextmanager
async def opened(
    options: Options, client: AsyncSeedream, *, address: str | None, actors: int | None
) -> AsyncIterator[Batch]:
    """
    The batch of *options*, as `_batch.opened` has it, sent by *actors* of the cluster at *address*.

    Without an address it is the cluster of this machine, or else one that is started for it.
    """
    async with _connected(address):
        untyped: Any = ray  # of which not all is typed
        nodes = [node for node in untyped.nodes() if node["Alive"]]
        cluster = Cluster(options=options, client=client, actors=actors or max(2, len(nodes)))
        opening, send = cluster.ledger, cluster.send
        async with _batch.opened(options, client, opening=opening, send=send) as batch:
            yield batch


@contextlib.asynccontextmanager
async def _connected(address: str | None) -> AsyncIterator[None]:
    # In a thread, where it leaves the signals of this process alone.
    await in_thread(lambda: _connect(address))
    try:
        yield
    finally:
        await surely_in_thread(ray.shutdown)


def _connect(address: str | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address or "auto", **quiet)
    except ConnectionError as exc:
        if address:
            problem = f"ray: there is no cluster at {address} that can be joined. Nothing was sent"
            raise InvalidRequestError(problem, field="ray") from exc
        ray.init(include_dashboard=False, object_store_memory=_STORE, **quiet)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False


@frozen(kw_only=True)
class Cluster:
    """The cluster as one batch uses it."""

    options: Options
    client: AsyncSeedream
    actors: int
    _held: dict[str, Any] = field(factory=dict)

    @contextlib.asynccontextmanager
    async def ledger(self, path: Path) -> AsyncIterator[Ledger]:
        """The ledger at *path*, which the coordinator holds."""
        options = self.options
        terms = Terms(
            ledger=str(await in_thread(path.absolute)),
            model=options.model,
            images_per_minute=options.images_per_minute,
            max_images=options.max_images,
            max_cost=options.max_cost,
            price=options.price,
        )
        coordinator = self._held["coordinator"] = await in_thread(coordinator_of, terms)
        proxy = proxy_of(coordinator)
        about = await proxy.ask("about")
        yield RemoteLedger(proxy, *about)
        await coordinator.aclose.remote()

    async def send(self, run: Run) -> None:
        """Have the rows that are left sent, and save what comes of them."""
        proxy = proxy_of(self._held["coordinator"])
        tables = [table async for table in self._tables(run)]
        if tables:
            dataset = ray.data.from_arrow_refs(tables)
            enough = threading.Event()
            ended = _consumed(self._working(dataset, run), enough)
            await _followed(run, proxy, ended, enough)

    async def _tables(self, run: Run) -> AsyncIterator[Any]:
        """What is to be sent, in tables that Ray holds."""
        portion: list[bytes] = []
        async for job in run.jobs():
            portion.append(Given(number=job.number, row=job.row).packed())
            if len(portion) == _PORTION:
                yield await in_thread(_put, portion)
                portion = []
        if portion:
            yield await in_thread(_put, portion)

    def _working(self, dataset: Dataset, run: Run) -> Dataset:
        options, client = self.options, self.client
        key = client._calls._key  # noqa: SLF001  our own
        setup = Setup(
            client={"api_key": key, "base_url": client.base_url, "model": client.model},
            model=options.model,
            folder=options.folder.absolute(),
            template=run.template,
            in_flight=max(1, options.width // self.actors),
            limited=run.allowance.is_limited,
            priced=options.max_cost is not None,
            price=options.price,
            resend_unknown=options.resend_unknown,
            retry_failed=options.retry_failed,
            sidecar=options.sidecar,
        )
        coordinator = self._held["coordinator"]
        return working(dataset, setup, coordinator, actors=self.actors, num_cpus=_CPUS)


def _put(portion: list[bytes]) -> Any:
    return ray.put(pa.table({GIVEN: pa.array(portion, pa.binary())}))


def _consumed(dataset: Dataset, enough: threading.Event) -> asyncio.Future[None]:
    """
    Take what *dataset* gives until it is *enough*, in a thread that ends with the connection; the
    future is done when it has ended, in whatever way.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()

    def consume() -> None:
        error: Exception | None = None
        try:
            for _ in dataset.iter_batches(batch_size=None, batch_format="pyarrow"):
                if enough.is_set():
                    break
        except Exception as exc:  # noqa: BLE001  told to whoever waits
            error = exc
        with contextlib.suppress(RuntimeError):  # nobody waits any more
            loop.call_soon_threadsafe(_settle, ended, error)

    threading.Thread(target=consume, name="seedream-ray", daemon=True).start()
    return ended


def _settle(ended: asyncio.Future[None], error: Exception | None) -> None:
    if error is None:
        ended.set_result(None)
    else:
        ended.set_exception(error)


async def _followed(
    run: Run, proxy: Proxy, ended: asyncio.Future[None], enough: threading.Event
) -> None:
    """Tell *run* how far it is until it has *ended*, and the workers when it is to be left."""
    while True:
        over, start = ended.done(), time.monotonic()  # and then this look is the last one
        standing: Standing = await proxy.ask("standing")
        if standing.why is None and run.leaving.why is not None:  # again, if it was started again
            await proxy.ask("leave", run.leaving.why)
        _learn(run, standing)
        if over:
            break
        if standing.why is not None and not standing.claimed:
            enough.set()  # what is left of the dataset will not be sent
        pause = max(_EVERY, _SHARE * (time.monotonic() - start))
        await asyncio.wait([ended], timeout=pause)
    if error := ended.exception():
        text = str(error).strip().rpartition("\n")[2]
        run.leaving.leave(RuntimeError(f"the cluster failed: {text}"))


def _learn(run: Run, standing: Standing) -> None:
    run.tally.recount(standing.counts, images=standing.images, cost=standing.cost)
    new = [name for name in standing.problems if name not in run.problems]
    for name in new:
        run.problems[name] = None
        run.on_notice(standing.problems[name])
    if standing.why is not None:
        run.leaving.leave(standing.why)
