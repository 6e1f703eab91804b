"""`seedream_async.ray` as its user sees it, on a Ray of one process; `.ci/ray` has the real one."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
from functools import partial
from types import SimpleNamespace

import pytest

import seedream_async.ray
from seedream_async import AsyncSeedream, InvalidRequestError, RetryPolicy, cli
from seedream_async.batch import Ledger
from seedream_async.batch._leaving import Leaving
from seedream_async.ray import _worker
from seedream_async.ray._coordinator import Standing
from seedream_async.ray._stores import Store

from .ray_values import MODEL, FakeRay, Objects, OldPool


@pytest.fixture
def fake(monkeypatch):
    """A Ray of one process."""
    with FakeRay.running(monkeypatch) as made:
        yield made


@pytest.fixture
def generate(fake, server, tmp_path):
    """Make the images of some rows, with defaults that suit a test."""

    def generate(rows, **options):
        told = {
            "out": tmp_path / "out",
            "ledger": tmp_path / "ledger.sqlite3",
            "model": MODEL,
            "in_flight": 2,
        }
        return seedream_async.ray.generate(fake.dataset(rows), **told | options)

    return generate


def row(number, **fields):
    return {"id": f"r{number}", "prompt": f"picture {number}", "size": "512x512", **fields}


def entries_of(path):
    async def read():
        async with Ledger.open(path, readonly=True) as ledger:
            return [entry async for entry in ledger.entries()]

    return asyncio.run(read())


# A dataset


def test_a_dataset_becomes_one_of_what_became_of_it(generate, server, tmp_path):
    """Nothing is sent before the results are asked for; then each row has its image."""
    results = generate([row(n, series="sea") for n in range(5)], name="{series}/{id}.{ext}")

    before = server.request_count
    lines = results.take_all()
    assert before == 0
    assert [line["state"] for line in lines] == ["saved"] * 5
    assert lines[0]["file"] == "sea/r0.jpeg"
    assert (tmp_path / "out" / "sea" / "r4.jpeg").stat().st_size == lines[4]["bytes"]
    assert {entry.state for entry in entries_of(tmp_path / "ledger.sqlite3")} == {"saved"}


def test_the_same_dataset_costs_nothing_again(generate, server):
    """A second run finds all that the first one made."""
    first = generate([row(1), row(2)]).take_all()
    second = generate([row(2), row(3)]).take_all()

    assert first[1] == second[0]
    assert server.images_billed == 3


def test_workers_are_made_as_they_are_ordered(generate, server, fake, monkeypatch):
    """Their number, what they take of a node, and what their clients are told."""
    generate([row(1)], actors=3, num_cpus=0.5, retry=RetryPolicy(attempts=1)).take_all()
    monkeypatch.setattr(fake.data, "ActorPoolStrategy", OldPool)
    monkeypatch.setattr(sys.modules["seedream_async.ray._actors"], "ActorPoolStrategy", OldPool)
    generate([row(2)], actors=4).take_all()

    new, old = fake.mapped
    assert (new["compute"].size, new["num_cpus"]) == (3, 0.5)
    assert (old["compute"].size, old["num_cpus"], old["max_concurrency"]) == (4, 0.25, 2)
    assert fake.begun == [None]


def test_images_may_go_elsewhere(generate, monkeypatch):
    """Into any file system that pyarrow knows."""
    import seedream_async.ray._dataset as dataset  # noqa: PLC0415  as it is for this test

    objects = Objects()
    monkeypatch.setattr(dataset, "store_of", lambda *_: Store(objects, "b"))

    (line,) = generate([row(1)], out="mock://b").take_all()

    assert objects.files.keys() == {"b/r1.jpeg"}
    assert line["file"] == "r1.jpeg"


def test_a_wrong_folder_is_told_before_anything_is_sent(generate, server, tmp_path):
    """What cannot be is told by `generate` itself."""
    (tmp_path / "file").touch()

    with pytest.raises(InvalidRequestError, match="is a file, not a folder"):
        generate([row(1)], out=tmp_path / "file")


def test_a_ledger_that_cannot_be_opened_is_told_at_once(generate, server, tmp_path):
    """The coordinator's refusal is the caller's."""
    (tmp_path / "text").write_text("no ledger at all, but something else of some length")

    with pytest.raises(InvalidRequestError, match="ledger"):
        generate([row(1)], ledger=tmp_path / "text")


def test_the_budget_is_checked(generate, server):
    """Under a budget, no image more is made."""
    lines = generate([row(n) for n in range(4)], max_cost=0.07).take_all()

    assert [line["state"] for line in lines].count("saved") == 2
    assert server.images_billed == 2


def test_ray_is_loaded_when_it_is_used(monkeypatch):
    """Without the extra, what is missing is said with its remedy."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "seedream_async.ray._dataset", raising=False)
    monkeypatch.delitem(sys.modules, "seedream_async.ray._actors", raising=False)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'seedream-async\[ray\]'"):
        seedream_async.ray.generate  # noqa: B018


def test_another_missing_module_is_its_own_matter(fake, monkeypatch):
    """Only Ray's absence is told as such."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(ModuleNotFoundError, match="pyarrow"):
        seedream_async.ray.generate  # noqa: B018


def test_an_unknown_name_is_an_attribute_error():
    """A misspelt name fails as in any module."""
    with pytest.raises(AttributeError, match="has no attribute 'Nope'"):
        seedream_async.ray.Nope  # noqa: B018


# The command


@pytest.fixture(autouse=True)
def no_blocking_calls(no_blocking_calls):
    """As in every test; only that the command prints on its own loop."""
    write = no_blocking_calls.functions["io.BufferedWriter.write"]
    write.can_block_in("_verdicts.py", {"say", "tell"})
    write.can_block_in("_batch_progress.py", {"notice", "saved"})
    write.can_block_in("_batch_command.py", {"close"})


@pytest.fixture
def batch(server, tmp_path):
    """The command, for some rows."""

    def batch(rows, *arguments):
        source = tmp_path / "rows.jsonl"
        source.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
        line = ["batch", source, "--out", tmp_path / "out", "--model", MODEL, *arguments]
        return cli.main([str(word) for word in line])

    return batch


def manifest(tmp_path):
    lines = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_command_sends_from_a_cluster(fake, server, batch, tmp_path, capsys):
    """What it leaves, and says, is what it does without a cluster."""
    code = batch([row(1), row(2)], "--ray", "--workers", 3, "--concurrency", 6)

    printed, told = capsys.readouterr()
    assert code == 0
    assert printed == f"{tmp_path}/out/report.html\n"
    assert "2 of 2 rows saved: 2 images" in told
    assert [line["line"] for line in manifest(tmp_path)] == [1, 2]
    assert fake.mapped[0]["compute"].size == 3
    assert fake.begun == ["auto", "end"]


def test_rows_are_handed_over_in_portions(fake, batch, tmp_path, monkeypatch):
    """However many they are, few of them are in one place at a time."""
    from seedream_async.ray import _cluster  # noqa: PLC0415  as it is for this test

    monkeypatch.setattr(_cluster, "_PORTION", 2)

    assert batch([row(n) for n in range(4)], "--ray") == 0
    assert len(manifest(tmp_path)) == 4


def test_the_same_ledger_goes_on_without_a_cluster(fake, server, batch, tmp_path):
    """A batch may change its engine in the middle, and pays for nothing twice."""
    first = batch([row(n) for n in range(4)], "--ray", "--limit", 2)
    second = batch([row(n) for n in range(4)])
    third = batch([row(n) for n in range(4)], "--ray")

    assert (first, second, third) == (0, 0, 0)
    assert server.images_billed == 4
    assert len(manifest(tmp_path)) == 4
    assert len(fake.mapped) == 1


def test_a_cluster_is_started_if_there_is_none(fake, server, batch):
    """Without an address, this machine will do."""
    fake.absent = True

    assert batch([row(1)], "--ray") == 0
    assert fake.begun == ["auto", None, "end"]


def test_a_cluster_that_is_not_there_is_told(fake, server, batch, capsys):
    """An address that leads nowhere ends the command, and nothing was sent."""
    fake.absent = True

    assert batch([row(1)], "--ray", "10.0.0.1:6379") == 2
    assert "ray: there is no cluster at 10.0.0.1:6379" in capsys.readouterr().err
    assert server.request_count == 0


def test_a_cluster_that_fails_ends_the_batch(fake, server, batch, capsys):
    """What is left is left, and the same command goes on."""
    fake.broken = "a long story\nand its end"

    assert batch([row(1)], "--ray") == 1
    assert "stopped: the cluster failed: and its end" in capsys.readouterr().err


def test_a_refusal_is_told_while_the_batch_goes_on(fake, server, batch, capsys):
    """Its reason is said once, and the exit code is that of a refusal."""
    server.fail_next(status=400, code="InputTextSensitiveContentDetected", times=2)

    assert batch([row(n) for n in range(3)], "--ray") == 6
    assert "1 of 3 rows saved" in capsys.readouterr().err


def test_a_few_rows_that_could_not_be_sent_are_no_success(fake, batch, monkeypatch, capsys):
    """Fewer than are in flight end no batch, so the reason is told, and the exit code is its."""
    client = partial(AsyncSeedream, retry=RetryPolicy(attempts=1))
    monkeypatch.setattr(_worker, "AsyncSeedream", client)
    with socket.socket() as gone:
        gone.bind(("127.0.0.1", 0))  # nobody listens, and nobody else begins to
        monkeypatch.setenv("COMETAPI_BASE_URL", f"http://127.0.0.1:{gone.getsockname()[1]}/v1")

        code = batch([row(n) for n in range(3)], "--ray")

    told = capsys.readouterr().err
    assert code == 4
    assert "nothing was sent" in told
    assert "0 failed, 0 unknown, 3 left" in told


def test_the_command_is_left_by_ctrl_c(fake, batch, tmp_path, monkeypatch, capsys):
    """What is in flight is waited for, nothing more is sent, and the same command goes on."""
    from seedream_async.ray import _actors  # noqa: PLC0415  as it is for this test

    real = _actors.Stage.__call__

    async def slow(stage, table):
        made = await real(stage, table)
        if threading.current_thread() is not threading.main_thread():
            signal.raise_signal(signal.SIGINT) if slow.first else None
            slow.first = False
            await asyncio.sleep(2)
        return made

    slow.first = True
    monkeypatch.setattr(_actors.Stage, "__call__", slow)
    first = batch([row(n) for n in range(400)], "--ray", "--workers", 1, "--concurrency", 2)
    monkeypatch.setattr(_actors.Stage, "__call__", real)

    assert first == 130
    assert 0 < len(manifest(tmp_path)) < 400
    assert "leaving: nothing more is sent" in capsys.readouterr().err


async def test_what_the_cluster_said_at_its_end_is_told(fake, monkeypatch):
    """The last look is one that began when all had ended, so that it misses nothing."""
    from seedream_async.ray import _cluster  # noqa: PLC0415  as it is for this test

    ended = asyncio.get_running_loop().create_future()
    desk = LateDesk(ended)
    told = []
    run = SimpleNamespace(
        leaving=Leaving(),
        tally=SimpleNamespace(recount=lambda *_, **__: None),
        problems={},
        on_notice=told.append,
    )
    run.leaving.leave("it was asked to end")

    await _cluster._followed(run, desk, ended, threading.Event())

    assert told == ["no such size"]
    assert desk.asked == ["standing", "leave", "standing", "leave"]


class LateDesk:
    """One whose run ends while it is asked how far it is, and which forgets that it is left."""

    def __init__(self, ended):
        self._ended = ended
        self.asked = []

    async def ask(self, name, *_):
        self.asked.append(name)
        problems = {"BadRequestError": "no such size"} if self._ended.done() else {}
        if name == "standing" and not self._ended.done():
            self._ended.set_result(None)
        told = {"counts": {}, "images": 0, "cost": 0.0, "claimed": 0, "why": None}
        return Standing(**told, problems=problems)


def test_without_ray_the_command_says_what_to_install(server, batch, monkeypatch, capsys):
    """A mistake is one line, with its remedy."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "seedream_async.ray._cluster", raising=False)
    monkeypatch.delattr("seedream_async.ray._cluster", raising=False)

    assert batch([row(1)], "--ray") == 2
    assert "pip install 'seedream-async[ray]'" in capsys.readouterr().err


def test_importing_it_loads_no_ray():
    """`import seedream_async.ray` is free."""
    code = "import sys, seedream_async.ray; sys.exit('ray' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603
