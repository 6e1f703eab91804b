"""
The coordinator and the workers as actors of Ray. Nothing here decides anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import inspect
import threading
import uuid
from collections.abc import Coroutine
from typing import Any, TypeVar

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, Dataset
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ._coordinator import Coordinator, Terms
from ._proxy import Proxy
from ._rows import COLUMNS, GIVEN, unpacked
from ._setup import Setup
from ._worker import Worker

_T = TypeVar("_T")
_CALLS = 100_000  # that wait for their turn at once
_TYPES = {"text": pa.string(), "whole number": pa.int64(), "number": pa.float64()}
_SCHEMA = pa.schema([(name, _TYPES[kind]) for name, kind in COLUMNS.items()])
_CLOSING = 10.0  # seconds


class CoordinatorActor:
    """A coordinator; Ray starts it again when it dies, and it goes on."""

    def __init__(self, terms: Terms) -> None:
        restarted = ray.get_runtime_context().was_current_actor_reconstructed
        self._coordinator = Coordinator(terms, restarted=restarted)

    async def call(self, name: str, args: tuple[Any, ...]) -> tuple[Any, Exception | None]:
        return await self._coordinator.call(name, args)

    async def aclose(self) -> None:
        await self._coordinator.aclose()


def coordinator_of(terms: Terms) -> Any:
    """
    The coordinator that goes by *terms*, on the node of this process: it lives as long as anybody
    holds on to what is returned, and a lost node does not take it along.
    """
    here = ray.get_runtime_context().get_node_id()
    name = hashlib.blake2b(repr(terms).encode(), digest_size=8).hexdigest()
    options = {
        "name": f"seedream-{name}",
        "get_if_exists": True,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(here, soft=False),
        "max_restarts": -1,
        # What is asked twice must count once, so the proxy asks again, not Ray.
        "max_task_retries": 0,
        "max_concurrency": _CALLS,
        "num_cpus": 0,
    }
    return ray.remote(CoordinatorActor).options(**options).remote(terms)


def proxy_of(coordinator: Any, owner: str = "") -> Proxy:
    """What *owner* asks *coordinator* through."""

    async def remote(name: str, args: tuple[Any, ...]) -> tuple[Any, Exception | None]:
        answer: tuple[Any, Exception | None] = await coordinator.call.remote(name, args)
        return answer

    return Proxy(remote, (RayActorError,), owner=owner)


class Stage:
    """
    A worker as Ray Data has it: a batch in, a batch out.

    It has an event loop of its own: that of Ray stands still while nobody takes what it has made.
    """

    def __init__(self, setup: Setup, coordinator: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stack = contextlib.AsyncExitStack()
        proxy = proxy_of(coordinator, uuid.uuid4().hex)
        running = self._stack.enter_async_context(Worker.running(setup, proxy))
        self._worker = self._begin(running).result()

    async def __call__(self, table: Any) -> Any:
        given = table.to_pylist()
        if table.column_names == [GIVEN]:
            lines = self._worker.rows([unpacked(row[GIVEN]) for row in given])
        else:
            lines = self._worker.of_dataset(given)
        return pa.Table.from_pylist(await asyncio.wrap_future(self._begin(lines)), schema=_SCHEMA)

    def __del__(self) -> None:
        with contextlib.suppress(Exception):  # Python may be ending
            self.close()

    def close(self) -> None:
        """End what is at work, and its event loop."""
        if self._loop.is_closed():
            return
        try:
            self._begin(self._stack.aclose()).result(_CLOSING)
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_CLOSING)
            self._loop.close()

    def _begin(self, work: Coroutine[Any, Any, _T]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop)


def working(
    dataset: Dataset, setup: Setup, coordinator: Any, *, actors: int, num_cpus: float
) -> Dataset:
    """What becomes of the rows of *dataset*, at the hands of so many *actors*."""
    # More rows than are in flight, so that a slow one does not hold up the others; and not many
    # more, as they are what is looked at again when a worker is lost.
    batch = max(1, setup.in_flight // 2)
    return dataset.repartition(target_num_rows_per_block=8 * batch).map_batches(
        Stage,
        fn_constructor_args=(setup, coordinator),
        batch_size=batch,
        batch_format="pyarrow",
        zero_copy_batch=True,
        num_cpus=num_cpus,
        **_pool(actors),
    )


def _pool(actors: int) -> dict[str, Any]:
    """So many *actors*, each with a second block at hand when it is about to end one."""
    calls: dict[str, Any] = {"max_concurrent_calls_per_actor": 2}
    if calls.keys() <= inspect.signature(ActorPoolStrategy).parameters.keys():
        return {"compute": ActorPoolStrategy(size=actors, **calls)}
    return {"compute": ActorPoolStrategy(size=actors), "max_concurrency": 2}
