"""A batch as its user sees it: what is made, what is left on the disk, and what the next run does."""

import asyncio
import contextlib
import json
import shutil
import socket
import sqlite3
import types

import pytest

from seedream_async import (
    AsyncSeedream,
    AuthenticationError,
    BudgetReachedError,
    InvalidRequestError,
    RetryPolicy,
    StorageError,
)
from seedream_async.batch import Ledger, _batch, _resuming, run_batch
from seedream_async.batch._contents import digest_of
from seedream_async.emulator import Emulator

MODEL = "doubao-seedream-3-0-t2i-250415"
# What is in the file itself after this has another shape, and the journal begins anew.
GROWTH = """
CREATE TABLE IF NOT EXISTS more AS SELECT randomblob(50000) AS bytes;
PRAGMA wal_checkpoint(RESTART);
INSERT INTO more SELECT randomblob(50000);
"""
REFUSED = {"status": 400, "code": "InputTextSensitiveContentDetected", "message": "no"}


@pytest.fixture
async def client(emulator):
    async with emulator.client(model=MODEL, retry=RetryPolicy(attempts=2, wait_initial=0)) as made:
        yield made


@pytest.fixture
def source(tmp_path):
    """Where the rows of a batch are."""
    return tmp_path / "rows.jsonl"


@pytest.fixture
def run(client, source, tmp_path):
    """Run the batch of some rows; what it notices is in `run.notices`."""

    async def run(rows=None, **options):
        if rows is not None:
            write(source, rows)
        run.notices.clear()
        told = {"client": client, "on_notice": run.notices.append, "concurrency": 4}
        return await run_batch(source, tmp_path / "out", **told | options)

    run.notices = []
    return run


def write(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def row(number, **fields):
    return {"id": f"r{number}", "prompt": f"picture {number}", "size": "512x512", **fields}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def prompts(emulator):
    return sorted(received.json["prompt"] for received in emulator.requests)


# What is made, and where it is


async def test_every_row_is_made_and_listed(run, emulator, tmp_path):
    """Each row's image is on the disk under its id, and the manifest tells all about it."""
    result = await run([row(1, mood="calm"), row(2)])

    first, _ = lines(result.manifest)
    path = tmp_path / "out" / "r1.jpeg"
    assert (result.total, result.saved, result.images, result.left) == (2, 2, 2, 0)
    assert emulator.images_billed == 2
    expected = {
        "id": "r1",
        "line": 1,
        "prompt": "picture 1",
        "model": MODEL,
        "size": "512x512",
        "file": "r1.jpeg",
        "bytes": path.stat().st_size,
        "digest": (await asyncio.to_thread(digest_of, path)).hex(),
        "request_id": first["request_id"],
        "cost": result.cost / 2,
        "metadata": {"mood": "calm"},
    }
    assert first == expected
    assert result.failed_rows.read_text() == ""
    assert "picture 2" in result.report.read_text()


async def test_base64_is_saved_too(run, tmp_path):
    """An answer that holds its image is saved as one that holds a link."""
    result = await run([row(1, response_format="b64_json"), row(2)])

    assert result.saved == 2
    assert {path.name for path in tmp_path.glob("out/*.jpeg")} == {"r1.jpeg", "r2.jpeg"}


async def test_a_template_names_by_metadata(run, tmp_path):
    """A column of the input is a field of the template."""
    await run([row(1, mood="calm")], name="{mood}/{id}.{ext}")

    assert tmp_path.joinpath("out/calm/r1.jpeg").exists()


@pytest.mark.parametrize("name", ["../{id}", "/tmp/{id}"], ids=["up", "absolute"])  # noqa: S108
async def test_a_template_stays_in_the_folder(run, emulator, name):
    """Images lie in the folder of the batch, as its report looks for them there."""
    with pytest.raises(InvalidRequestError, match="leads out of the folder"):
        await run([row(1)], name=name)

    assert emulator.request_count == 0


async def test_a_sidecar_tells_of_its_image(run, tmp_path):
    """On request, a file beside each image has its line of the manifest."""
    result = await run([row(1)], sidecar=True)

    beside = json.loads(tmp_path.joinpath("out/r1.jpeg.json").read_text())
    assert [beside] == lines(result.manifest)


async def test_rows_without_ids_have_numbers(run, tmp_path):
    """Rows that give themselves no id are named by their place."""
    await run([{"prompt": "a", "size": "512x512"}, {"prompt": "b", "size": "512x512"}])

    assert {path.name for path in tmp_path.glob("out/*.jpeg")} == {"000001.jpeg", "000002.jpeg"}


async def test_what_is_saved_is_told(run, tmp_path):
    """Whoever asks for it is told of each image that is on the disk."""
    saved = []

    await run([row(1)], on_saved=saved.extend)

    assert [(file.path, file.width) for file in saved] == [(tmp_path / "out/r1.jpeg", 512)]


# The next run


async def test_what_is_saved_is_not_made_again(run, emulator):
    """The same command once more sends nothing, and tells the same."""
    before = await run([row(1), row(2)])

    after = await run()

    assert emulator.request_count == 2
    assert (after.saved, after.images, after.cost) == (before.saved, before.images, before.cost)
    assert run.notices == []


async def test_an_edited_row_is_new_work_and_a_moved_one_is_not(run, emulator):
    """Of a file that was edited and turned round, only the edited row is sent."""
    await run([row(1), row(2)])

    result = await run([row(2), row(1, prompt="another picture")])

    assert prompts(emulator) == ["another picture", "picture 1", "picture 2"]
    assert result.saved == 2
    (notice,) = run.notices
    assert notice.startswith("the input has changed since the last run: ")


async def test_changed_settings_are_said(run):
    """A default that is not that of the last run is told by its name."""
    await run([row(1)])

    await run(defaults={"seed": 7})

    assert run.notices == [
        "settings have changed since the last run: defaults was not set, now seed=7"
    ]


async def test_another_input_is_refused(run, source, client, tmp_path, emulator):
    """Another file for the folder of a batch is refused, until somebody says that it is meant."""
    await run([row(1)])
    other = source.with_name("other.jsonl")
    write(other, [row(2)])

    with pytest.raises(InvalidRequestError, match=r"the ledger is of .*rows\.jsonl"):
        await run_batch(other, tmp_path / "out", client=client)
    assert emulator.request_count == 1
    result = await run_batch(other, tmp_path / "out", client=client, other_input=True)

    assert (result.total, result.saved) == (1, 1)


async def test_images_that_are_gone_are_told(run, emulator, tmp_path):
    """A saved image that somebody removed is told, and not made and billed again."""
    await run([row(1)])
    tmp_path.joinpath("out/r1.jpeg").unlink()

    result = await run()

    assert result.missing == 1
    assert "of what was saved, 1 image cannot be found any more" in run.notices[0]
    assert emulator.request_count == 1


# What goes wrong with a row


async def test_a_refused_row_can_be_fed_back_in(run, emulator, source):
    """A row that was refused for its content is listed as it can be run again, and left alone."""
    emulator.fail_next(**REFUSED)
    result = await run([row(1, mood="calm"), row(2)], concurrency=1)

    again = await run()

    (line,) = lines(result.failed_rows)
    assert (result.failed, result.saved, again.failed) == (1, 1, 1)
    assert emulator.request_count == 2
    assert result.problems == ("ContentPolicyError",)
    problem = line.pop("problem")
    assert line == row(1, mood="calm")
    assert problem.startswith("ContentPolicyError: ")


async def test_a_refused_row_is_sent_again_on_request(run, emulator):
    """With *retry_failed*, what was refused for its content is sent once more."""
    emulator.fail_next(**REFUSED)
    await run([row(1)])

    result = await run(retry_failed=True)

    assert (result.failed, result.saved) == (0, 1)


async def test_what_was_refused_for_the_moment_is_sent_again(run, emulator):
    """A row that met a busy service is sent by the next run without being asked."""
    emulator.fail_next(status=503, retry_after=0, times=2)
    before = await run([row(1)])

    after = await run()

    assert (before.failed, after.failed, after.saved) == (1, 0, 1)


async def test_a_retry_is_one_row(run, emulator):
    """A request that was refused and sent again in the same run is saved like any other."""
    emulator.fail_next(status=429, retry_after=0)

    result = await run([row(1)])

    assert (result.saved, result.failed, emulator.request_count) == (1, 0, 2)


async def test_what_may_be_billed_is_not_sent_again(run, emulator):
    """A row whose answer was cut stays unknown over any number of runs."""
    emulator.cut_next()
    await run([row(1)])

    result = await run()

    assert (result.unknown, emulator.request_count) == (1, 1)


async def test_what_may_be_billed_is_sent_again_on_request(run, emulator):
    """With *resend_unknown*, a row whose answer was cut is sent and saved."""
    emulator.cut_next()
    await run([row(1)])

    result = await run(resend_unknown=True)

    assert (result.unknown, result.saved, emulator.images_billed) == (0, 1, 2)


async def test_an_answer_without_images_is_a_failure(run, emulator):
    """A row of which every image was filtered has failed, and says why."""
    emulator.fail_all_next()

    result = await run([row(1)])

    assert result.failed + result.unknown == 1
    assert result.saved == 0


async def test_what_is_paid_for_is_fetched_for_free(run, emulator):
    """An image that could not be downloaded is fetched by the next run, and not made again."""
    emulator.fail_next(status=500, times=2, on="store")
    before = await run([row(1)])

    after = await run()

    assert (before.saved, before.paid, before.left) == (0, 1, 1)
    assert (after.saved, after.left, emulator.request_count) == (1, 0, 1)


async def test_what_is_paid_for_and_dead_is_unknown(run, emulator, monkeypatch):
    """An image whose link died before it was saved is unknown: it cannot be had any more."""
    emulator.fail_next(status=500, times=2, on="store")
    before = await run([row(1)])
    async with Ledger.open(before.ledger, readonly=True) as ledger:
        (entry,) = [entry async for entry in ledger.entries()]
    monkeypatch.setattr(_resuming, "time", types.SimpleNamespace(time=lambda: entry.expires))

    after = await run()

    assert (before.paid, after.paid, after.unknown) == (1, 0, 1)
    assert emulator.request_count == 1


# Leaving, and limits


@pytest.mark.virtual_time
async def test_leaving_waits_for_what_is_in_flight(source, tmp_path):
    """Once it is asked to leave, a batch sends nothing more and saves what it has sent."""
    write(source, [row(number) for number in range(20)])
    leave = asyncio.Event()
    async with Emulator(latency=0.2) as emulator, emulator.client(model=MODEL) as client:
        asyncio.get_running_loop().call_later(0.1, leave.set)

        result = await run_batch(
            source, tmp_path / "out", client=client, concurrency=2, leave=leave
        )

    assert result.saved == emulator.request_count < 20
    assert (result.unknown, result.left) == (0, 20 - result.saved)
    assert isinstance(result.stopped, str)
    assert result.report.exists()


@pytest.mark.virtual_time
async def test_leaving_does_not_wait_for_a_pause(run, emulator):
    """What waits for the service to be free again is not sent, and is not waited for."""
    emulator.fail_next(status=429, retry_after=60)
    leave = asyncio.Event()
    asyncio.get_running_loop().call_later(0.3, leave.set)

    async with asyncio.timeout(20):
        result = await run([row(number) for number in range(6)], leave=leave)

    assert result.unknown == 0
    assert result.left + result.saved + result.failed == 6


@pytest.mark.virtual_time
async def test_cancelling_leaves_unknown_what_was_sent(source, tmp_path):
    """A batch that is cancelled knows which rows may have been billed, and no others."""
    write(source, [row(number) for number in range(9)])
    out = tmp_path / "out"
    async with Emulator(latency=5) as emulator, emulator.client(model=MODEL) as client:
        batch = asyncio.create_task(run_batch(source, out, client=client, concurrency=3))
        while emulator.request_count < 3:
            await asyncio.sleep(0.01)

        batch.cancel()

        with pytest.raises(asyncio.CancelledError):
            await batch
    async with Ledger.open(out / "ledger.sqlite3", readonly=True) as ledger:
        counts = await ledger.counts()
    assert (counts["unknown"], counts["planned"], counts["sent"]) == (3, 6, 0)


async def test_budgets_are_of_all_runs(run, emulator):
    """What earlier runs have made counts against the most that may be made."""
    rows = [row(number) for number in range(5)]
    first = await run(rows, max_images=2)

    second = await run(max_images=3)

    assert (first.saved, second.saved, emulator.images_billed) == (2, 3, 3)
    assert isinstance(second.stopped, BudgetReachedError)


async def test_a_budget_counts_what_is_not_saved(run, emulator):
    """An image that is paid for is one of those that may be made, also before it is fetched."""
    emulator.fail_next(status=500, times=2, on="store")
    first = await run([row(1)], max_images=1)

    second = await run([row(1), row(2)], max_images=1, other_input=True)

    assert (first.paid, second.saved, emulator.images_billed) == (1, 1, 1)
    assert isinstance(second.stopped, BudgetReachedError)


async def test_a_limit_is_of_one_run(run, emulator):
    """A run sends no more rows than it may, and the next one goes on."""
    await run([row(number) for number in range(5)], limit=2)

    result = await run(limit=2)

    assert (result.saved, result.left, result.stopped) == (4, 1, None)


async def test_a_service_that_is_gone_ends_the_run(run):
    """If as many rows as are in flight cannot be sent, no others are tried."""
    policy = RetryPolicy(attempts=2, wait_initial=0)
    with socket.socket() as gone:  # bound: nobody listens there, and nobody else begins to
        gone.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{gone.getsockname()[1]}/v1"
        async with AsyncSeedream(api_key="sk-x", base_url=url, model=MODEL, retry=policy) as lost:
            result = await run([row(number) for number in range(50)], client=lost)

    assert (result.left, result.failed, result.unknown) == (50, 0, 0)
    assert isinstance(result.stopped, Exception)


async def test_a_wrong_key_ends_the_run(run, emulator):
    """If a row meets what all others would meet, nothing more is sent, and the next run goes on."""
    async with AsyncSeedream(api_key="sk-wrong", base_url=emulator.base_url, model=MODEL) as wrong:
        before = await run([row(number) for number in range(20)], client=wrong)
    refused = emulator.request_count

    after = await run()

    assert 1 <= refused <= 4
    assert isinstance(before.stopped, AuthenticationError)
    assert after.saved == 20


# The disk


@pytest.mark.virtual_time
async def test_a_folder_that_is_removed_ends_the_run(source, tmp_path):
    """If the folder goes away midway, the batch stops; put back, it goes on and pays once."""
    write(source, [row(number) for number in range(12)])
    ledger, out, disk, stub = (tmp_path / name for name in ("ledger", "out", "disk", "stub"))
    disk.mkdir()
    out.symlink_to(disk)
    stub.touch()
    async with Emulator(latency=0.1) as emulator, emulator.client(model=MODEL) as client:
        given = {"client": client, "concurrency": 2, "ledger": ledger}

        loop, removing = asyncio.get_running_loop(), []

        def remove(files):  # at one blow, so that nobody makes the folder anew
            removing.append(loop.run_in_executor(None, stub.rename, out))

        before = await run_batch(source, out, **given, on_saved=remove)
        await asyncio.gather(*removing, return_exceptions=True)
        out.unlink()
        out.symlink_to(disk)
        after = await run_batch(source, out, **given)

    assert isinstance(before.stopped, StorageError)
    assert before.left > 0
    assert after.saved == 12
    assert emulator.images_billed == 12


@pytest.mark.virtual_time
async def test_a_ledger_that_cannot_be_written_ends_the_run(source, tmp_path, monkeypatch):
    """If the ledger refuses midway, nothing more is sent; what it cannot note is unknown later."""
    write(source, [row(number) for number in range(12)])
    async with Emulator(latency=0.05) as emulator, emulator.client(model=MODEL) as client:
        given = {"client": client, "concurrency": 2}
        with monkeypatch.context() as patch:
            count = 0

            async def refuse(*args, **kwargs):
                nonlocal count
                count += 1
                if count > 3:
                    raise StorageError("the ledger could not be written")
                return await paid(*args, **kwargs)

            paid = Ledger.paid
            patch.setattr(Ledger, "paid", refuse)
            before = await run_batch(source, tmp_path / "out", **given)
        after = await run_batch(source, tmp_path / "out", **given)

    assert isinstance(before.stopped, StorageError)
    assert before.saved + before.paid == 3
    assert after.unknown <= 2
    assert after.saved + after.unknown == 12
    assert emulator.images_billed == 12


# Input that is wrong


async def test_bad_rows_do_not_stop_the_others(run, source):
    """A row that is wrong is told with its line, and the others are made."""
    source.write_text(
        f"{json.dumps(row(1))}\n{{oops\n{json.dumps(row(2, size='9x9', prompt=''))}\n"
    )

    result = await run()

    assert (result.saved, result.bad, result.total) == (1, 2, 1)
    assert [notice.partition(":")[0] for notice in run.notices] == ["line 2", "line 3"]
    assert "oops" not in " ".join(run.notices)


async def test_many_bad_rows_are_counted(run, source):
    """Of very many wrong rows, the first are told, and how many follow."""
    source.write_text(json.dumps(row(1)) + "\n" + "{\n" * 30)

    await run()

    assert len(run.notices) == 21
    assert run.notices[-1] == "and 10 more lines like these"


async def test_an_id_that_is_taken_is_told(run, emulator):
    """A second row with the same id and another prompt is refused with both lines."""
    result = await run([row(1), row(1, prompt="another")])

    assert (result.saved, result.bad, emulator.request_count) == (1, 1, 1)
    assert run.notices == ["line 2: id 'r1' is that of line 1 too"]


async def test_a_strict_batch_sends_nothing_if_a_row_is_wrong(run, source, emulator):
    """With *strict*, one wrong row is enough, also when the run before has told of it."""
    source.write_text(f"{json.dumps(row(1))}\n{{oops\n")

    for _ in range(2):
        with pytest.raises(InvalidRequestError, match="1 of its rows are wrong"):
            await run(strict=True)

    assert emulator.request_count == 0


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        pytest.param(b"", "it is empty", id="empty"),
        pytest.param(b"PK\x03\x04 and so on", "a spreadsheet", id="binary"),
    ],
)
async def test_an_input_that_is_none_is_refused(run, source, emulator, content, problem):
    """A file that has no rows at all is one clear error, and nothing is sent."""
    source.write_bytes(content)

    with pytest.raises(InvalidRequestError, match=problem):
        await run()

    assert emulator.request_count == 0


async def test_references_that_are_gone_are_told(run, emulator):
    """A row with a reference that cannot be read is a wrong row."""
    model = "doubao-seedream-4-0-250828"

    result = await run([row(1, image="nowhere.png", model=model, size="2K")])

    assert (result.bad, result.total, emulator.request_count) == (1, 0, 0)
    assert run.notices[0].startswith("line 1: image")


# Before it begins


async def test_a_plan_sends_and_leaves_nothing(client, source, tmp_path, emulator):
    """A dry run tells what a run would send, on top of what is done, and changes nothing."""
    write(source, [row(1), row(2), row(3)])
    await run_batch(source, tmp_path / "out", client=client, limit=1)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    options = _batch.options_of(source, tmp_path / "out", client, {"concurrency": 2})

    plan = await _batch.plan_batch(options, client)

    assert (plan.rows, plan.left, plan.images, plan.seconds) == (3, 2, (2, 2), (20.0, 60.0))
    assert plan.cost[0] > 0
    assert emulator.request_count == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


async def test_a_plan_beside_a_run_is_of_one_moment(run, client, source, tmp_path, monkeypatch):
    """A dry run while another process writes to the ledger does not take it for damaged."""
    ledger = (await run([row(1), row(2)], limit=1)).ledger
    options, copy = _batch.options_of(source, tmp_path / "out", client, {}), shutil.copyfile

    def copy_slowly(path, target):
        copy(path, target)
        with contextlib.closing(sqlite3.connect(ledger)) as writer:
            writer.executescript(GROWTH)

    monkeypatch.setattr(shutil, "copyfile", copy_slowly)
    async with Ledger.open(ledger):
        plan = await _batch.plan_batch(options, client)

    assert (plan.rows, plan.left) == (2, 1)


async def test_a_plan_as_a_run_begins(run, client, source, tmp_path, monkeypatch):
    """A dry run does not take a ledger for damaged that another process opened as it was copied."""
    ledger = (await run([row(1), row(2)], limit=1)).ledger
    options, copy = _batch.options_of(source, tmp_path / "out", client, {}), shutil.copyfile

    with contextlib.closing(sqlite3.connect(ledger, check_same_thread=False)) as writer:

        def copy_slowly(path, target):
            copy(path, target)
            writer.executescript(GROWTH)

        monkeypatch.setattr(shutil, "copyfile", copy_slowly)
        plan = await _batch.plan_batch(options, client)

    assert (plan.rows, plan.left) == (2, 1)


async def test_progress_is_told_until_the_end(run):
    """The last that is told of a run is how it ended."""
    told = []

    await run([row(1), row(2)], on_progress=told.append)

    assert (told[-1].total, told[-1].saved, told[-1].left) == (2, 2, 0)
    assert told[-1].cost == told[-1].projected
