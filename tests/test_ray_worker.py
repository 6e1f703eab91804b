"""One worker of a cluster: what it makes of rows, what it tells, and what it leaves to others."""

import asyncio
import json
from types import SimpleNamespace

import pytest

from seedream_async import InvalidRequestError, RetryPolicy
from seedream_async.emulator import Emulator
from seedream_async.ray import _rows
from seedream_async.ray._rows import Given
from seedream_async.ray._stores import Store, store_of

from .ray_values import MODEL, Desk, Objects, setup_of, working

pytestmark = pytest.mark.virtual_time

REFUSED = {"status": 400, "code": "InputTextSensitiveContentDetected", "message": "no"}


@pytest.fixture
async def desk(tmp_path):
    """A coordinator, and the line to it."""
    made = Desk(tmp_path)
    yield made
    await made.aclose()


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def row(number, **fields):
    return {"id": f"r{number}", "prompt": f"picture {number}", "size": "512x512", **fields}


def states(lines):
    return [line["state"] for line in lines]


# What comes of rows


async def test_a_row_becomes_a_line_of_the_manifest(desk, out, emulator):
    """Each image is in the folder, and its line tells all that a manifest does."""
    async with working(desk, out, emulator) as worker:
        first, second = await worker.of_dataset([row(1, mood="calm", tag=None), row(2)])

    path = out / "r1.jpeg"
    assert first == {
        "id": "r1",
        "line": None,
        "prompt": "picture 1",
        "model": MODEL,
        "size": "512x512",
        "file": "r1.jpeg",
        "bytes": (await asyncio.to_thread(path.stat)).st_size,
        "digest": first["digest"],
        "request_id": first["request_id"],
        "cost": 0.03,
        "metadata": '{"mood": "calm"}',
        "state": "saved",
        "problem": None,
    }
    assert list(first) == list(second) == list(_rows.COLUMNS)
    assert emulator.images_billed == 2


async def test_what_is_saved_is_not_made_again(desk, out, emulator):
    """The same rows, met again, cost nothing and are told as before."""
    async with working(desk, out, emulator) as worker:
        before = await worker.of_dataset([row(1), row(2)])
    async with working(desk, out, emulator, owner="b") as worker:
        after = await worker.of_dataset([row(2), row(1)])

    assert sorted(map(str, before)) == sorted(map(str, after))
    assert emulator.images_billed == 2


async def test_equal_rows_are_one_unless_their_ids_differ(desk, out, emulator):
    """A row that is met twice at once is sent once; other ids ask for other images."""
    twice = {"prompt": "a cat", "size": "512x512"}
    async with working(desk, out, emulator) as worker:
        same = await asyncio.gather(worker.of_dataset([twice, twice]), worker.of_dataset([twice]))
        lines = await worker.of_dataset([{**twice, "id": "one"}, {**twice, "id": "two"}])

    assert {line["file"] for some in same for line in some} == {"000001.jpeg"}
    assert len({line["file"] for line in lines}) == 2
    assert emulator.images_billed == 3


async def test_a_row_is_let_go_of_by_the_last_who_is_at_it(desk, out):
    """A batch that ends does not give up a row that another batch of the worker is about to do."""
    async with (
        Emulator(latency=0.3) as emulator,
        working(desk, out, emulator) as worker,
    ):
        await asyncio.gather(worker.of_dataset([row(1)]), worker.of_dataset([row(1)]))

    assert sorted(desk.released) == [[], [1]]


async def test_wrong_rows_are_told(desk, out, emulator):
    """What is no request, or has the id of another, is a line that says why."""
    async with working(desk, out, emulator) as worker:
        lines = await worker.of_dataset(
            [{"prompt": None, "id": "x"}, row(1, seed="no"), row(2), row(2, prompt="another")]
        )

    assert states(lines) == ["bad", "bad", "bad", "saved"]
    assert lines[0]["problem"] == "it has no prompt"
    assert lines[1]["problem"] == "seed must be a whole number, not text"
    assert lines[2]["problem"] == "id 'r2' is that of another row too"


async def test_a_table_has_a_place_for_everything(desk, out, emulator):
    """What is missing in a row of a table, also within a value, is not sent."""
    options = {"sequential_image_generation": "auto", "extra_body": {"a": None, "b": [{"c": None}]}}
    async with working(desk, out, emulator) as worker:
        await worker.of_dataset([row(1, watermark=None, extra_body=options["extra_body"])])

    sent = emulator.requests[-1].json
    assert sent["b"] == [{}]
    assert not {"a", "watermark"} & sent.keys()


async def test_what_is_refused_is_told_with_its_reason(desk, out, emulator):
    """A refused row costs nothing, is no reason to stop, and is sent again only if it may help."""
    emulator.fail_next(**REFUSED)
    async with working(desk, out, emulator, in_flight=1) as worker:
        first, second = await worker.of_dataset([row(1), row(2)])
        again = await worker.of_dataset([row(1)])
        standing = await desk.proxy().ask("standing")
    async with working(desk, out, emulator, retry_failed=True) as worker:
        (third,) = await worker.of_dataset([row(1)])

    assert (first["state"], second["state"]) == ("failed", "saved")
    assert first["problem"].startswith("ContentPolicyError: ")
    assert states(again) == ["failed"]
    assert standing.problems.keys() == {"ContentPolicyError"}
    assert third["state"] == "saved"
    assert emulator.images_billed == 2


async def test_what_is_unknown_is_sent_again_only_if_that_is_wanted(desk, out, emulator):
    """An answer that was cut is a doubt, which costs nothing more without a say."""
    emulator.cut_next()
    async with working(desk, out, emulator) as worker:
        first = await worker.of_dataset([row(1)])
        second = await worker.of_dataset([row(1)])
    async with working(desk, out, emulator, resend_unknown=True) as worker:
        third = await worker.of_dataset([row(1)])

    assert [*states(first), *states(second), *states(third)] == ["unknown", "unknown", "saved"]
    assert emulator.images_billed == 2


async def test_a_paid_row_is_fetched(desk, out, emulator):
    """What a worker paid for and could not save, the next one saves for free."""
    emulator.fail_next(status=500, on="store", times=2, headers={"x-should-retry": "false"})
    how = {"client": {**setup_of(out, emulator).client, "retry": RetryPolicy(attempts=1)}}
    async with working(desk, out, emulator, **how) as worker:
        first = await worker.of_dataset([row(1)])
        second = await worker.of_dataset([row(1)])
        third = await worker.of_dataset([row(1)])

    assert states(first + second + third) == ["paid", "paid", "saved"]
    assert emulator.images_billed == 1


async def test_a_paid_row_is_fetched_once_however_often_it_is_met(desk, out, emulator):
    """Equal rows are one image, of which the second is told what came of the first."""
    emulator.fail_next(status=500, on="store", headers={"x-should-retry": "false"})
    how = {"client": {**setup_of(out, emulator).client, "retry": RetryPolicy(attempts=1)}}
    async with working(desk, out, emulator, **how) as worker:
        first = await worker.of_dataset([row(1)])
        second = await worker.of_dataset([row(1), row(1)])
        third = await worker.of_dataset([row(2)])

    assert states(first + second + third) == ["paid", "saved", "saved", "saved"]
    assert len(emulator.fetched) == 3
    assert sorted(path.name for path in out.glob("*.*")) == ["r1.jpeg", "r2.jpeg"]


async def test_a_row_that_is_met_while_it_is_saved_is_not_fetched(desk, out, emulator, monkeypatch):
    """Another batch of the worker waits for what the first one makes of it."""
    saving, met = asyncio.Event(), asyncio.Event()
    async with working(desk, out, emulator) as worker:
        saved = worker._ledger.saved

        async def hold(*args):
            saving.set()
            await met.wait()
            return await saved(*args)

        monkeypatch.setattr(worker._ledger, "saved", hold)
        first = asyncio.create_task(worker.of_dataset([row(1)]))
        await saving.wait()
        second = asyncio.create_task(worker.of_dataset([row(1)]))
        await asyncio.sleep(1)  # until it has seen that the row is paid for, and waits
        met.set()
        lines = await first + await second

    assert states(lines) == ["saved", "saved"]
    assert len(emulator.fetched) == 1


async def test_a_row_that_cannot_be_fetched_costs_no_other(desk):
    """What a store of others raises is the matter of its row: those in flight are waited for."""
    objects = Objects()
    how = {"store": Store(objects, "b")}
    async with Emulator(latency=0.3) as emulator:
        objects.open_output_stream = _denied
        async with working(desk, None, emulator, **how) as worker:
            first = await worker.of_dataset([row(1)])
        made = Objects.open_output_stream.__get__(objects)
        objects.open_output_stream = lambda path: _denied(path) if "r1" in path else made(path)
        desk.coordinator._leaving.why = None
        async with working(desk, None, emulator, owner="b", **how) as worker:
            second = await worker.of_dataset([row(1), row(2)])

    assert states(first + second) == ["paid", "paid", "saved"]
    assert second[0]["problem"] == "ValueError: denied"


def _denied(_):
    raise ValueError("denied")


async def test_given_rows_are_known_to_the_ledger(desk, out, emulator):
    """A row of a file keeps its line."""
    async with working(desk, out, emulator) as worker:
        ((planned, plan),) = _rows.planned([row(7)], {}, MODEL)
        (known,) = await (await desk.ledger()).plan([plan])
        given = Given(number=known.number, row=planned.__class__(7, planned.request, "r7"))
        (line,) = await worker.rows([_rows.unpacked(given.packed())])

    assert (line["line"], line["file"], line["state"]) == (7, "r7.jpeg", "saved")


async def test_a_row_that_is_being_saved_is_no_row_in_flight(desk, out, emulator):
    """Another one is sent while the store keeps the first one waiting."""
    emulator.stall_next(on="store")
    async with working(desk, out, emulator, in_flight=1) as worker:
        making = asyncio.create_task(worker.of_dataset([row(1), row(2)]))
        async with asyncio.timeout(10):  # much less than a store is given
            while emulator.request_count < 2:
                await asyncio.sleep(0.01)
        done = making.done()
        making.cancel()
        await asyncio.wait([making])

    assert not done


# What is left to others


async def test_waits_for_the_worker_that_has_a_row(desk, out, emulator):
    """A row that is at another worker is told once that one is done with it, and sent by nobody."""
    async with working(desk, out, emulator) as one, working(desk, out, emulator, "b") as other:
        both = await asyncio.gather(one.of_dataset([row(1)]), other.of_dataset([row(1)]))

    assert [states(lines) for lines in both] == [["saved"], ["saved"]]
    assert emulator.images_billed == 1


async def test_a_row_that_another_sent_meanwhile_is_looked_at_again(desk, out, emulator):
    """What cannot be sent any more is not an error of its row."""
    async with working(desk, out, emulator) as worker:
        look = desk.coordinator.look

        async def late(ledger, owner, numbers):
            found = await look(ledger, owner, numbers)
            if desk.asked.count("look") == 1:
                await ledger.sent(1)
                await ledger.unknown(1, "OutcomeUnknownError", "cut")
            return found

        desk.coordinator.look = late
        (line,) = await worker.of_dataset([row(1)])

    assert line["state"] == "unknown"
    assert emulator.request_count == 0


async def test_a_row_that_was_lost_to_another_is_waited_for(desk, out, emulator):
    """A worker that was silent too long does not send what is not its own; once it is, it does."""
    look, claims = desk.coordinator.look, desk.coordinator._claims

    async def losing(ledger, owner, numbers):
        found = await look(ledger, owner, numbers)
        if desk.asked.count("look") == 1:
            claims.drop("a", 1)
            claims.take("b", 1)
        return found

    desk.coordinator.look = losing
    async with working(desk, out, emulator) as worker:
        making = asyncio.create_task(worker.of_dataset([row(1)]))
        while desk.asked.count("look") < 3:
            await asyncio.sleep(0.01)
        before = emulator.request_count
        await desk.proxy("b").ask("release", "b", [1])
        lines = await making

    assert before == 0
    assert states(lines) == ["saved"]


async def test_a_batch_that_is_left_sends_nothing_more(desk, out):
    """What is in flight is waited for, and the rest is told as not sent, with the reason."""
    async with (
        Emulator(latency=1) as emulator,  # so that it is left meanwhile, and the worker hears it
        working(desk, out, emulator, in_flight=1) as worker,
    ):
        making = asyncio.create_task(worker.of_dataset([row(n) for n in range(4)]))
        while not emulator.request_count:
            await asyncio.sleep(0.01)
        await desk.proxy("b").ask("leave", "it was asked to end")
        lines = await making
        later = await worker.of_dataset([row(9), {"prompt": None}])
        given = Given(number=1, row=_rows.planned([row(1)], {}, MODEL)[0][0])
        latest = await worker.rows([given])

    assert states(lines) == ["saved", "planned", "planned", "planned"]
    left = lines[1:]
    assert all("not sent: it was asked to end" in line["problem"] for line in left)
    assert states(later) == ["bad", "planned"]
    assert states(latest) == ["planned"]
    assert emulator.request_count == emulator.images_billed == 1


async def test_waits_no_longer_for_another_when_the_batch_is_left(desk, out, emulator):
    """A row at another worker is left there."""
    async with working(desk, out, emulator) as worker:
        ((_, plan),) = _rows.planned([row(1)], {}, MODEL)
        await (await desk.ledger()).plan([plan])
        await desk.proxy("b").look([1])
        making = asyncio.create_task(worker.of_dataset([row(1)]))
        while desk.asked.count("look") < 2:
            await asyncio.sleep(0.01)
        await desk.proxy("b").ask("leave", "it was asked to end")
        (line,) = await making

    assert line["state"] == "planned"
    assert emulator.request_count == 0


async def test_what_all_would_meet_stops_all(desk, out, emulator):
    """A wrong key ends the batch for every worker."""
    emulator.fail_next(status=401, code="AuthenticationError")
    async with working(desk, out, emulator, in_flight=1) as worker:
        lines = await worker.of_dataset([row(n) for n in range(3)])
        while "leave" not in desk.asked:
            await asyncio.sleep(0.01)
        why = (await desk.proxy().ask("standing")).why

    assert states(lines) == ["failed", "planned", "planned"]
    assert type(why).__name__ == "AuthenticationError"
    assert emulator.request_count == 1


async def test_a_service_that_cannot_be_reached_ends_the_batch(desk, out, emulator):
    """As many rows in a row as are in flight could not be sent, so others could not either."""
    client = {**setup_of(out, emulator).client, "retry": RetryPolicy(attempts=1)}
    client["base_url"] = "http://127.0.0.1:9/v1"
    async with working(desk, out, emulator, in_flight=1, client=client) as worker:
        lines = await worker.of_dataset([row(1), row(2)])

    assert states(lines) == ["planned", "planned"]
    assert lines[0]["problem"].startswith("APIConnectionError: ")
    assert "leave" in desk.asked


async def test_a_coordinator_that_comes_back_is_told_of_again(desk, out):
    """A worker goes on while its coordinator is started again, and nothing is sent twice."""
    async with (
        Emulator(latency=0.3) as emulator,  # so that rows are left when it is started again
        working(desk, out, emulator) as worker,
    ):
        making = asyncio.create_task(worker.of_dataset([row(n) for n in range(6)]))
        while emulator.request_count < 2:
            await asyncio.sleep(0.005)
        desk.refused, desk.lost = 3, 2
        await desk.restart()
        lines = await making

    assert states(lines) == ["saved"] * 6
    assert emulator.images_billed == 6


async def test_a_signature_of_life_may_fail(desk, out, emulator):
    """A worker beats on when nobody hears it."""
    async with working(desk, out, emulator) as worker:
        desk.coordinator.beat = None
        while desk.asked.count("beat") < 3:
            await asyncio.sleep(0.01)
        del desk.coordinator.beat
        assert states(await worker.of_dataset([row(1)])) == ["saved"]


# The budget


async def test_the_budget_ends_the_batch(tmp_path, out, emulator):
    """No image more than may be made, by all workers together."""
    desk = Desk(tmp_path, max_images=3)
    limits = {"limited": True, "priced": False}
    rows = [row(n) for n in range(6)]
    async with (
        working(desk, out, emulator, "a", **limits) as one,
        working(desk, out, emulator, "b", **limits) as other,
    ):
        parts = await asyncio.gather(one.of_dataset(rows[:3]), other.of_dataset(rows[3:]))
        why = (await desk.proxy().ask("standing")).why

    assert sorted(states(parts[0] + parts[1])) == ["planned"] * 3 + ["saved"] * 3
    assert type(why).__name__ == "BudgetReachedError"
    assert emulator.images_billed == 3
    await desk.aclose()


async def test_a_row_is_counted_once_however_long_its_batch_takes(tmp_path, out):
    """A worker that is alive says nothing of what it has settled."""
    desk = Desk(tmp_path, max_images=4)
    async with (
        Emulator(latency=0.1) as emulator,
        working(desk, out, emulator, in_flight=1, limited=True) as worker,
    ):
        lines = await worker.of_dataset([row(n) for n in range(4)])

    assert states(lines) == ["saved"] * 4
    assert desk.coordinator._budget.purse.allowance.spent.images == 4
    assert desk.coordinator._budget.purse.allowance.held.images == 0
    await desk.aclose()


async def test_under_a_budget_nothing_is_sent_twice(tmp_path, out, emulator):
    """A worker knows too little of the budget to send again what may be billed."""
    desk = Desk(tmp_path, max_images=3)
    client = {**setup_of(out, emulator).client, "retry": RetryPolicy(resend_unknown=True)}
    emulator.cut_next()
    async with working(desk, out, emulator, limited=True, client=client) as worker:
        (line,) = await worker.of_dataset([row(1)])

    assert line["state"] == "unknown"
    assert emulator.images_billed == 1
    await desk.aclose()


# Where images go


@pytest.mark.parametrize(
    ("kind", "moved"),
    [("mock", ["b/r1.jpeg", "b/r1.jpeg.json"]), ("s3", [])],
    ids=["moved", "whole"],
)
async def test_images_go_to_a_store(desk, out, emulator, kind, moved):
    """An object appears whole: under another name first, unless the store sees to that itself."""
    objects = Objects(kind)
    how = {"store": Store(objects, "b"), "sidecar": True}
    async with working(desk, None, emulator, **how) as worker:
        (line,) = await worker.of_dataset([row(1)])

    assert objects.moved == moved
    assert objects.files.keys() == {"b/r1.jpeg", "b/r1.jpeg.json"}
    assert line["file"] == "r1.jpeg"
    assert len(objects.files["b/r1.jpeg"]) == line["bytes"]
    assert json.loads(objects.files["b/r1.jpeg.json"])["id"] == "r1"


async def test_a_name_that_is_taken_gets_a_number(desk, emulator):
    """What others have put there stays."""
    objects = Objects()
    objects.files = {"b/r1.jpeg": b"another's", "b/r1_1.jpeg": b"another's"}
    how = {"store": Store(objects, "b")}
    async with working(desk, None, emulator, **how) as worker:
        (line,) = await worker.of_dataset([row(1)])

    assert line["file"] == "r1_2.jpeg"
    assert objects.files["b/r1.jpeg"] == b"another's"


async def test_a_store_that_refuses_ends_the_batch(desk, emulator):
    """It is as a full disk: the image is paid for, and the next run fetches it."""
    objects = Objects()
    objects.files["b/r1.jpeg"] = b"another's"
    how = {"store": Store(objects, "b")}

    def full(path):
        raise OSError(28, "no space left")

    objects.open_output_stream = full
    async with working(desk, None, emulator, **how) as worker:
        first = await worker.of_dataset([row(1)])
    del objects.open_output_stream
    desk.coordinator._leaving.why = None
    async with working(desk, None, emulator, owner="b", **how) as worker:
        second = await worker.of_dataset([row(1)])

    assert states(first + second) == ["paid", "saved"]
    assert objects.files.keys() == {"b/r1.jpeg", "b/r1_1.jpeg"}
    assert objects.files["b/r1.jpeg"] == b"another's"
    assert emulator.images_billed == 1


def test_a_file_that_is_there_already_is_not_put_there_twice(tmp_path):
    """One that an earlier run put there, but could not note, is replaced by itself."""
    source = tmp_path / "r1.jpeg"
    source.write_bytes(b"picture")
    store = Store(Objects(), "b")

    names = [store.put(source, "r1.jpeg", again=again) for again in (False, True, False)]

    assert names == ["r1.jpeg", "r1.jpeg", "r1_1.jpeg"]


def test_a_folder_is_no_store():
    """What is a path of this machine needs no pyarrow."""
    assert store_of("images") is None


def test_a_store_needs_pyarrow(monkeypatch):
    """Without it, there is a remedy."""
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)

    with pytest.raises(InvalidRequestError, match=r"pip install 'seedream-async\[ray\]'"):
        store_of("s3://bucket/images")


def test_any_file_system_will_do(monkeypatch):
    """A URI, a file system of pyarrow, or one of fsspec."""
    native = type("FileSystem", (), {"from_uri": staticmethod(lambda uri: ("found", uri[5:]))})
    fs = SimpleNamespace(
        FileSystem=native,
        PyFileSystem=lambda handler: ("wrapped", handler),
        FSSpecHandler=lambda other: ("spec", other),
    )
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", SimpleNamespace(fs=fs))
    own = native()

    assert store_of("s3://bucket/images") == Store("found", "bucket/images")
    assert store_of("bucket/images", own) == Store(own, "bucket/images")
    assert store_of("images", "other") == Store(("wrapped", ("spec", "other")), "images")
