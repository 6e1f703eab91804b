"""A coordinator and those who ask it in one process, for tests; Ray itself is stood in for."""

import asyncio
import contextlib
import json
import pickle
import sys
import threading
import types
from pathlib import Path

from seedream_async import _templates
from seedream_async.ray._coordinator import Coordinator, Terms
from seedream_async.ray._proxy import Proxy, RemoteLedger
from seedream_async.ray._setup import Setup
from seedream_async.ray._worker import Worker

MODEL = "doubao-seedream-3-0-t2i-250415"


def travelled(value):
    """*value* at the other end of a line."""
    return pickle.loads(pickle.dumps(value))  # noqa: S301


class GoneError(Exception):
    """No answer came, as of an actor that died."""


class Desk:
    """
    A coordinator, asked over a line on which all is pickled, that can be cut.

    The next *refused* calls do not arrive, and of the next *lost* ones the answer does not.
    """

    def __init__(self, folder, **terms):
        told = {"ledger": str(folder / "ledger.sqlite3"), "model": MODEL}
        self.terms = Terms(**told | terms)
        self.time = 0.0
        self.refused = self.lost = 0
        self.asked = []
        self.released = []  # the rows of each release
        self.coordinator = self._coordinator()

    def _coordinator(self, *, restarted=False):
        return Coordinator(self.terms, restarted=restarted, now=lambda: self.time)

    async def restart(self):
        """Start the coordinator again, as Ray does after a kill."""
        killed, self.coordinator = self.coordinator, self._coordinator(restarted=True)
        await killed.aclose()

    async def remote(self, name, args):
        name, args = travelled((name, args))
        self.asked.append(name)
        if name == "release":
            self.released.append(args[1])
        if self.refused:
            self.refused -= 1
            raise GoneError
        asked = self.coordinator
        answer = travelled(await asked.call(name, args))
        if self.lost or asked is not self.coordinator:
            self.lost -= self.lost > 0
            raise GoneError
        return answer

    def proxy(self, owner="a", **changes):
        async def sleep(seconds):
            self.time += seconds
            await asyncio.sleep(0)

        told = {"sleep": sleep, "now": lambda: self.time, "lease": self.terms.lease}
        return Proxy(self.remote, (GoneError,), owner=owner, **told | changes)

    async def ledger(self, owner="a"):
        proxy = self.proxy(owner)
        return RemoteLedger(proxy, *await proxy.ask("about"))

    async def aclose(self):
        await self.coordinator.aclose()


def setup_of(folder, emulator, **changes):
    told = {
        "client": {"api_key": emulator.api_key, "base_url": emulator.base_url, "model": MODEL},
        "model": MODEL,
        "folder": folder,
        "template": _templates.parse(
            f"{folder}/{{id}}.{{ext}}", argument="name", keys=("index", "id")
        ),
        "in_flight": 2,
        "beat": 0.02,
    }
    return Setup(**told | changes)


@contextlib.asynccontextmanager
async def working(desk, folder, emulator, owner="a", **changes):
    """A worker of *desk*."""
    setup = setup_of(folder, emulator, **changes)
    async with Worker.running(setup, desk.proxy(owner)) as worker:
        yield worker


_elsewhere = {}  # what stays where it is when it travels


def _found(number):
    return _elsewhere[number]


class Objects:
    """A file system as pyarrow has them, in memory; of *kind*."""

    def __init__(self, kind="mock"):
        self.type_name = kind
        self.files = {}
        self.moved = []

    def __reduce__(self):
        _elsewhere[id(self)] = self
        return _found, (id(self),)

    def create_dir(self, path, *, recursive):
        assert recursive

    def get_file_info(self, paths):
        return [
            types.SimpleNamespace(
                type=types.SimpleNamespace(name="File" if path in self.files else "NotFound"),
                size=len(self.files.get(path, b"")),
            )
            for path in paths
        ]

    def open_output_stream(self, path):
        return _Stream(self.files, path)

    def move(self, source, target):
        self.moved.append(target)
        self.files[target] = self.files.pop(source)


class _Stream:
    def __init__(self, files, path):
        self._files = files
        self._path = path

    def __enter__(self):
        self._files[self._path] = b""
        return self

    def __exit__(self, *_):
        pass

    def write(self, piece):
        self._files[self._path] += piece


# A Ray of one process: what is asked of it here, and no more


class _Ref:
    """What will have come of a call."""

    def __init__(self, future):
        self._future = future

    def __await__(self):
        return asyncio.wrap_future(self._future).__await__()

    def result(self):
        return self._future.result(30)


class _Actor:
    """An object whose methods run on the event loop of all actors."""

    def __init__(self, ray, made):
        self._ray = ray
        self._made = made

    def __getattr__(self, name):
        def remote(*args):
            work = getattr(self._made, name)(*args)
            return _Ref(asyncio.run_coroutine_threadsafe(work, self._ray.loop))

        return types.SimpleNamespace(remote=remote)


class _Table:
    def __init__(self, rows, names):
        self._rows = rows
        self.column_names = names

    def to_pylist(self):
        return self._rows

    @classmethod
    def from_pylist(cls, rows, schema):
        assert all(list(row) == [name for name, _ in schema] for row in rows)
        return cls(rows, [name for name, _ in schema])


class _Dataset:
    """Rows, and what is to be done with them when they are asked for."""

    def __init__(self, ray, tables, steps=()):
        self._ray = ray
        self._tables = tables
        self._steps = steps

    def columns(self):
        return self._tables[0].column_names

    def repartition(self, target_num_rows_per_block):
        assert target_num_rows_per_block > 0
        return self

    def map_batches(self, stage, *, fn_constructor_args, batch_size, **how):
        self._ray.mapped.append(how)
        step = (stage, travelled(fn_constructor_args[0]), fn_constructor_args[1], batch_size)
        return _Dataset(self._ray, self._tables, (*self._steps, step))

    def iter_batches(self, **_):
        if self._ray.broken:
            raise RuntimeError(self._ray.broken)
        ((stage, setup, coordinator, size),) = self._steps
        worker = stage(travelled(setup), coordinator)
        try:
            for table in self._tables:
                rows = table.to_pylist()
                for at in range(0, len(rows), size):
                    some = _Table(rows[at : at + size], table.column_names)
                    yield asyncio.run(worker(some))
        finally:
            worker.close()

    def write_parquet(self, path):
        self._ray.written[path] = self.take_all()

    def take_all(self):
        return [row for table in self.iter_batches() for row in table.to_pylist()]


class _Pool:
    def __init__(self, *, size, max_concurrent_calls_per_actor=1):
        self.size = size


class OldPool:
    """As Ray had it until 2.5x."""

    def __init__(self, *, size):
        self.size = size


class FakeRay(types.ModuleType):
    """The module `ray`, with `ray.data` and what else is imported of it."""

    def __init__(self):
        super().__init__("ray")
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._actors = {}
        self._made = []
        self.begun = []  # what `init` was told
        self.mapped = []
        self.absent = False  # whether there is no cluster to be found
        self.broken = ""  # what a dataset fails with
        self.data = types.ModuleType("ray.data")
        self.data.Dataset = _Dataset
        self.data.ActorPoolStrategy = _Pool
        self.written = {}  # what datasets were written to
        self.data.read_json = self._read_json
        self.data.from_arrow_refs = lambda tables: _Dataset(self, tables)
        context = types.SimpleNamespace(enable_progress_bars=True)
        self.data.DataContext = types.SimpleNamespace(get_current=lambda: context)

    @classmethod
    @contextlib.contextmanager
    def running(cls, monkeypatch):
        """Such a module, to be imported in the block."""
        fake = cls()
        install(monkeypatch, fake)
        fake.start()
        try:
            yield fake
        finally:
            fake.stop()

    def start(self):
        self._thread.start()

    def stop(self):
        for made in self._made:
            asyncio.run_coroutine_threadsafe(made.aclose(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    def _read_json(self, path):
        return self.dataset([json.loads(line) for line in Path(path).read_text().splitlines()])

    def dataset(self, rows):
        names = list(dict.fromkeys(name for row in rows for name in row))
        whole = [{name: row.get(name) for name in names} for row in rows]
        return _Dataset(self, [_Table(whole, names)])

    def init(self, address=None, **_):
        self.begun.append(address)
        if self.absent and address:
            raise ConnectionError("there is no cluster")

    def is_initialized(self):
        return bool(self.begun)

    def shutdown(self):
        self.begun.append("end")
        self._actors.clear()

    def nodes(self):
        return [{"Alive": True}, {"Alive": False}]

    def put(self, value):
        return value

    def get(self, ref):
        return ref.result()

    def get_runtime_context(self):
        return types.SimpleNamespace(
            was_current_actor_reconstructed=False, get_node_id=lambda: "here"
        )

    def remote(self, kind):
        def options(*, name, **how):
            assert how["scheduling_strategy"] == ("here", False)

            def make(*args):
                if name not in self._actors:
                    made = kind(*travelled(args))
                    self._made.append(made)
                    self._actors[name] = _Actor(self, made)
                return self._actors[name]

            return types.SimpleNamespace(remote=make)

        return types.SimpleNamespace(options=options)


def _module(name, **members):
    module = types.ModuleType(name)
    vars(module).update(members)
    return module


def install(monkeypatch, fake):
    """Let *fake* be what is imported as `ray`, and let our own modules be imported anew."""
    arrow = _module(
        "pyarrow",
        Table=_Table,
        schema=list,
        string=lambda: "string",
        int64=lambda: "int64",
        float64=lambda: "float64",
        binary=lambda: "binary",
        array=lambda values, _: values,
        table=lambda columns: _Table(
            [{name: value} for name, values in columns.items() for value in values], list(columns)
        ),
    )
    strategies = _module(
        "ray.util.scheduling_strategies",
        NodeAffinitySchedulingStrategy=lambda node, soft: (node, soft),
    )
    modules = {
        "pyarrow": arrow,
        "ray": fake,
        "ray.data": fake.data,
        "ray.exceptions": _module("ray.exceptions", RayActorError=GoneError),
        "ray.util": _module("ray.util", scheduling_strategies=strategies),
        "ray.util.scheduling_strategies": strategies,
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("_actors", "_dataset", "_cluster"):
        monkeypatch.delitem(sys.modules, f"seedream_async.ray.{name}", raising=False)
        monkeypatch.delattr(f"seedream_async.ray.{name}", raising=False)
