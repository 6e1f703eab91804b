"""The parts of a batch, one by one: decisions, figures, and what happens seldom."""

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import tracemalloc

import pytest
from attrs import evolve

from seedream_async import (
    APIConnectionError,
    APIResponseValidationError,
    GenerateRequest,
    InvalidRequestError,
    LinkExpiredError,
    RetryPolicy,
    Stats,
    StorageError,
    _batch_command,
)
from seedream_async._inbox import Inbox
from seedream_async._transport import ApiTransport
from seedream_async.batch import BatchResult, Ledger, _batch, _session, _surveying, run_batch
from seedream_async.batch._ballast import Ballast
from seedream_async.batch._entries import Comparison, Difference, Entry, Link, StoredImage
from seedream_async.batch._fields import Row
from seedream_async.batch._jobs import action_of
from seedream_async.batch._leaving import Leaving
from seedream_async.batch._options import refuse_other_batch
from seedream_async.batch._products import Lines
from seedream_async.batch._sending import cost_of
from seedream_async.batch._tally import Tally, waiting_for
from seedream_async.emulator import Emulator

MODEL = "doubao-seedream-3-0-t2i-250415"
ENTRY = Entry(
    number=1,
    line=1,
    id=None,
    state="planned",
    attempts=0,
    doubts=0,
    changed=0,
    listed=True,
    request_id=None,
    cost=None,
    problem=None,
    message=None,
)
LIVE = (StoredImage(0, Link(url="https://store.example.test/1", expires=100.0)),)
INLINE = (StoredImage(0, Link()),)


@pytest.fixture(autouse=True)
def no_blocking_calls(no_blocking_calls):
    """As in every test; only that the command prints on its own loop."""
    write = no_blocking_calls.functions["io.BufferedWriter.write"]
    write.can_block_in("_verdicts.py", {"say", "tell"})
    write.can_block_in("_batch_progress.py", {"notice", "saved"})


@pytest.fixture
def source(tmp_path):
    """A file of nine rows."""
    path = tmp_path / "rows.jsonl"
    rows = ({"prompt": f"picture {number}", "size": "512x512"} for number in range(9))
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


# What to do about a row


@pytest.mark.parametrize(
    ("facts", "given", "action"),
    [
        pytest.param({"state": "planned"}, {}, "send", id="planned"),
        pytest.param({"state": "saved"}, {}, "leave", id="saved"),
        pytest.param({"state": "sent"}, {}, "leave", id="sent"),
        pytest.param({"state": "paid", "images": LIVE}, {}, "download", id="alive"),
        pytest.param({"state": "paid", "images": INLINE}, {}, "give up", id="inline"),
        pytest.param({"state": "unknown"}, {}, "leave", id="unknown"),
        pytest.param({"state": "unknown"}, {"resend_unknown": True}, "send", id="resent"),
        pytest.param({"state": "failed", "problem": "RateLimitError"}, {}, "send", id="busy"),
        pytest.param({"state": "failed", "problem": "BadRequestError"}, {}, "leave", id="bad"),
        pytest.param(
            {"state": "failed", "problem": "BadRequestError"},
            {"retry_failed": True},
            "send",
            id="wanted",
        ),
    ],
)
def test_what_is_done_about_a_row(facts, given, action):
    """What may be billed is never sent without a say, and what is paid for is fetched."""
    assert action_of(evolve(ENTRY, **facts), 50.0, **given) == action


def test_a_dead_link_is_given_up():
    """What is paid for cannot be fetched once its link has died."""
    assert action_of(evolve(ENTRY, state="paid", images=LIVE), 100.0) == "give up"


def test_tags_must_be_those_of_the_ledger():
    """Another input may be meant, but images of two services are never mixed."""
    comparison = Comparison(
        fresh=False, same_input=True, differences=(Difference("emulator", True, False),)
    )

    with pytest.raises(InvalidRequestError, match="emulator=True"):
        refuse_other_batch(comparison, {}, {"emulator": False}, other=True)


# Leaving


async def test_leaving_cuts_short_what_waits():
    """What waits to be sent hears at once that it will not be."""
    leaving = Leaving()
    asyncio.get_running_loop().call_soon(leaving.leave, "enough")

    with pytest.raises(APIConnectionError, match="not sent: enough"):
        async with leaving.waiting():
            await asyncio.Event().wait()


async def test_leaving_lets_what_is_busy_end():
    """What is in flight is not cut short, and what comes later does not begin."""
    leaving = Leaving()
    async with leaving.waiting() as scope:
        leaving.busy(scope)
        leaving.leave("enough")
        await asyncio.sleep(0)

    with pytest.raises(APIConnectionError, match="enough"):
        async with leaving.waiting():
            pass


async def test_what_failed_while_leaving_does_not_wait():
    """What was in flight, failed and would be tried again is cut short."""
    leaving = Leaving()

    with pytest.raises(APIConnectionError):
        async with leaving.waiting() as scope:
            leaving.busy(scope)
            leaving.leave(StorageError("full"))
            leaving.resume(scope)
            await asyncio.Event().wait()


async def test_other_timeouts_are_not_taken_for_leaving():
    """A time-out of somebody else goes through as it is."""
    with pytest.raises(TimeoutError):
        async with Leaving().waiting():
            raise TimeoutError


# Figures


def stats(**facts):
    counts = {
        **dict.fromkeys(("in_flight", "waiting_for_slot", "waiting_for_rate"), 0),
        **dict.fromkeys(("waiting_for_pause", "images", "requests", "retries"), 0),
        "unknown_outcomes": 0,
        "paused_for": 0.0,
        "concurrency": 4,
        "images_per_minute": 0,
    }
    return Stats(**{"found_limit": None, **counts, **facts})


@pytest.mark.parametrize(
    ("facts", "why", "words"),
    [
        pytest.param({}, None, None, id="nothing"),
        pytest.param({}, "asked", "leaving: what is in flight is waited for", id="leaving"),
        pytest.param(
            {"waiting_for_pause": 1}, None, "waiting to try again", id="between two attempts"
        ),
        pytest.param(
            {"waiting_for_pause": 1, "paused_for": 7.4},
            None,
            "the service asked for a pause: 7 s",
            id="pause",
        ),
        pytest.param({"waiting_for_rate": 1}, None, "the rate of images is reached", id="rate"),
        pytest.param(
            {"waiting_for_rate": 1, "found_limit": 90.0},
            None,
            "the rate of images is reached (90 a minute)",
            id="found",
        ),
        pytest.param({"waiting_for_slot": 1}, None, "the service is busy: 4 at once", id="slot"),
    ],
)
def test_why_nothing_is_sent(facts, why, words):
    """What a batch waits for is told in a few words."""
    assert waiting_for(stats(**facts), why) == words


def test_the_rest_is_projected_from_what_was_done():
    """Cost and time of what is left are those of what was done."""
    now = iter([0.0, 60.0])
    counts = dict.fromkeys(("planned", "sent", "paid", "saved", "failed", "unknown"), 0)
    tally = Tally(
        counts | {"planned": 4}, images=0, cost=0.0, currency="USD", now=lambda: next(now)
    )
    for before, after in (("planned", "sent"), ("sent", "paid"), ("paid", "saved")):
        tally.move(before, after)
    tally.cost, tally.images = 0.5, 2

    told = tally.told(stats(), None)

    assert (told.left, told.projected, told.seconds_left) == (3, 2.0, 180.0)
    assert told.images_per_minute == 2


# On the disk


async def test_lines_are_written_as_they_come(tmp_path, monkeypatch):
    """A long list is not held in memory, and is there when it is whole."""
    monkeypatch.setattr("seedream_async.batch._products._PORTION", 100)
    lines = Lines(tmp_path / "list.jsonl")
    for number in range(30):
        await lines.add({"number": number})
    assert not lines.path.exists()

    await lines.publish()
    await lines.discard()

    assert len(lines.path.read_text().splitlines()) == 30


async def test_lines_that_are_discarded_leave_nothing(tmp_path, monkeypatch):
    """A list that was not finished is not left behind."""
    monkeypatch.setattr("seedream_async.batch._products._PORTION", 1)
    lines = Lines(tmp_path / "list.jsonl")
    await lines.add({})

    await lines.discard()

    assert [*tmp_path.iterdir()] == []


async def test_a_report_that_cannot_be_written_is_told(source, tmp_path, monkeypatch):
    """If only the report is missing, the images are there and the error is that of the disk."""

    async def refuse(*_, **__):
        raise StorageError("no room")

    monkeypatch.setattr("seedream_async.batch._products.write_report", refuse)
    notices = []
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:
        result = await run_batch(source, tmp_path / "out", client=client, on_notice=notices.append)

    assert (result.saved, result.report, str(result.stopped)) == (9, None, "no room")
    assert notices == ["no report: no room"]


async def test_a_file_that_was_not_noted_is_found_again(source, tmp_path):
    """A run that ended between a file and its note leaves one file, however often it is fetched."""
    out = tmp_path / "out"
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:

        async def refuse(*_, **__):
            raise StorageError("no room")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Ledger, "saved", refuse)
            before = await run_batch(source, out, client=client, limit=1)
        after = await run_batch(source, out, client=client, limit=0)

    assert (before.saved, before.paid, after.saved) == (0, 1, 1)
    assert [path.name for path in out.glob("*.jpeg")] == ["000001.jpeg"]
    assert emulator.images_billed == 1


async def test_a_link_that_dies_on_the_way_is_unknown(source, tmp_path, monkeypatch):
    """An image that the store will not give any more is unknown: it is paid for and gone."""
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:

        async def refuse(*_, **__):
            raise LinkExpiredError("dead")

        monkeypatch.setattr(client._generating.saver, "save", refuse)
        result = await run_batch(source, tmp_path / "out", client=client, limit=1)

    assert (result.unknown, result.paid) == (1, 0)


async def test_images_that_came_inline_and_were_not_saved_are_unknown(tmp_path):
    """Base64 that a run could not save is lost with it."""
    source = tmp_path / "rows.jsonl"
    source.write_text('{"prompt": "a", "size": "512x512", "response_format": "b64_json"}\n')
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:

        async def refuse(*_, **__):
            raise StorageError("no room")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Ledger, "saved", refuse)
            before = await run_batch(source, tmp_path / "out", client=client)
        after = await run_batch(source, tmp_path / "out", client=client)

    assert (before.paid, after.paid, after.unknown) == (1, 0, 1)


async def test_fetching_stops_when_the_disk_refuses(source, tmp_path):
    """A disk that refuses what is fetched ends the run before anything is sent."""
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:

        async def refuse(*_, **__):
            raise StorageError("no room")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Ledger, "saved", refuse)
            await run_batch(source, tmp_path / "out", client=client, limit=1)
            result = await run_batch(source, tmp_path / "out", client=client)

    assert isinstance(result.stopped, StorageError)
    assert emulator.request_count == 1


async def test_what_fetching_tells_may_raise(source, tmp_path):
    """An error of the caller's own function goes through as it is."""
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:

        async def refuse(*_, **__):
            raise StorageError("no room")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Ledger, "saved", refuse)
            await run_batch(source, tmp_path / "out", client=client, limit=1)

        def leave(_):
            raise BrokenPipeError

        with pytest.raises(BrokenPipeError):
            await run_batch(source, tmp_path / "out", client=client, on_saved=leave)


async def test_a_ledger_that_lost_changes_says_so(source, tmp_path):
    """If changes that were noted are gone, what seems planned is unknown, and that is told."""
    notices = []
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:
        given = {"client": client, "on_notice": notices.append}
        first = await run_batch(source, tmp_path / "out", limit=1, **given)
        await asyncio.to_thread(forget, first.ledger)
        result = await run_batch(source, tmp_path / "out", **given)

    assert result.unknown == 8
    assert "the ledger has lost" in notices[0]


def forget(ledger):
    with sqlite3.connect(ledger) as connection:
        connection.execute("UPDATE meta SET value = value - 1 WHERE name = 'changes'")
    connection.close()


async def test_no_price_is_no_cost(tmp_path):
    """Rows of a model without a price are made; what they cost is not told."""
    source = tmp_path / "rows.jsonl"
    source.write_text('{"prompt": "a", "model": "doubao-seedream-9-0", "size": "2K"}\n')
    async with Emulator() as emulator, emulator.client() as client:
        emulator.fail_next(status=404)

        result = await run_batch(source, tmp_path / "out", client=client)

    assert (result.failed, result.cost) == (1, None)


# Signals, in this process


@pytest.mark.virtual_time
@pytest.mark.parametrize(
    ("signals", "unknown"),
    [
        pytest.param(1, 0, id="once"),
        pytest.param(2, 3, id="twice"),
        pytest.param(3, 3, id="thrice"),
    ],
)
async def test_signals_leave_a_batch(source, tmp_path, capsys, signals, unknown):
    """The first signal lets what is in flight end; the second does not, and says what that costs."""
    before = signal.getsignal(signal.SIGINT)
    async with Emulator(latency=0.4) as emulator, emulator.client(model=MODEL) as client:
        options = _batch.options_of(source, tmp_path / "out", client, {"concurrency": 3})
        run = asyncio.create_task(_batch_command.run(options, client, resume="the same"))
        while emulator.request_count < 3:
            await asyncio.sleep(0.01)
        for _ in range(signals):
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0)

        code = await run

    told = capsys.readouterr().err
    async with Ledger.open(options.ledger, readonly=True) as ledger:
        counts = await ledger.counts()
    assert code == 130
    assert counts["unknown"] == unknown
    assert counts["saved"] == 3 - unknown
    assert told.endswith("seedream: to go on: the same\n")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.virtual_time
async def test_a_run_that_others_cancel_is_cancelled(source, tmp_path):
    """A cancellation that no signal asked for goes through."""
    async with Emulator(latency=5) as emulator, emulator.client(model=MODEL) as client:
        options = _batch.options_of(source, tmp_path / "out", client, {"concurrency": 3})
        run = asyncio.create_task(_batch_command.run(options, client, resume="the same"))
        while emulator.request_count < 3:
            await asyncio.sleep(0.01)

        run.cancel()

        with pytest.raises(asyncio.CancelledError):
            await run


# Size


async def peak_of(rows, tmp_path):
    """The memory that planning so many rows takes at most, in bytes."""
    source = tmp_path / f"{rows}.txt"
    await asyncio.to_thread(source.write_text, "".join(f"picture {n}\n" for n in range(rows)))
    async with Emulator() as emulator, emulator.client() as client:
        options = _batch.options_of(source, tmp_path / f"out-{rows}", client, {})
        tracemalloc.start()
        try:
            await _batch.plan_batch(options, client)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


async def test_memory_is_flat_in_the_number_of_rows(tmp_path):
    """Ten times as many rows take no more memory."""
    few = await peak_of(2_000, tmp_path)

    many = await peak_of(20_000, tmp_path)

    assert many < few + 2_000_000


async def test_what_arrived_of_an_odd_answer_is_saved(source, tmp_path, monkeypatch):
    """An answer that is not as documented is paid for, and the image in it is not given up."""
    receive = Inbox.receive

    async def odd(*args):
        raise APIResponseValidationError("odd", response=await receive(*args))

    monkeypatch.setattr(Inbox, "receive", odd)
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:
        result = await run_batch(source, tmp_path / "out", client=client, limit=1)

    assert (result.saved, result.unknown, emulator.images_billed) == (1, 0, 1)


async def test_what_is_paid_for_stays_so(source, tmp_path, monkeypatch):
    """Trouble after an answer was noted neither undoes the note nor sends the row again."""

    @contextlib.asynccontextmanager
    async def breaks(api, *args, **kwargs):
        async with opened(api, *args, **kwargs) as stream:
            yield stream
        raise APIConnectionError("broken", retryable=True)

    opened = ApiTransport.open
    monkeypatch.setattr(ApiTransport, "open", breaks)
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:
        result = await run_batch(source, tmp_path / "out", client=client, limit=1)

    assert (result.paid, emulator.request_count) == (1, 1)


async def test_what_is_cancelled_before_it_left_is_planned(source, tmp_path, monkeypatch):
    """A row whose request provably never left is as it was, also if its batch was cancelled."""
    waiting = asyncio.Event()

    @contextlib.asynccontextmanager
    async def hang(*_, **__):
        waiting.set()
        await asyncio.Event().wait()
        yield

    monkeypatch.setattr(ApiTransport, "open", hang)
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:
        run = asyncio.create_task(run_batch(source, tmp_path / "out", client=client))
        await waiting.wait()
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)
    async with Ledger.open(tmp_path / "out" / "ledger.sqlite3", readonly=True) as ledger:
        counts = await ledger.counts()

    assert (counts["planned"], counts["unknown"]) == (9, 0)


async def test_a_refusal_that_cannot_be_noted_ends_the_run(source, tmp_path, monkeypatch):
    """If the ledger cannot note that a row was refused, the batch stops, and the row is unknown."""

    async def refuse(*_, **__):
        raise StorageError("no room")

    monkeypatch.setattr(Ledger, "failed", refuse)
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:
        emulator.fail_next(status=400)
        result = await run_batch(source, tmp_path / "out", client=client, concurrency=1)

    assert str(result.stopped) == "no room"
    assert emulator.request_count == 1


async def test_what_cannot_be_fetched_now_is_fetched_later(source, tmp_path):
    """A store that fails again leaves a row as it is: paid for."""
    policy = RetryPolicy(attempts=1)
    async with Emulator() as emulator, emulator.client(model=MODEL, retry=policy) as client:
        emulator.fail_next(status=500, on="store", times=2)
        given = {"client": client, "limit": 1}
        await run_batch(source, tmp_path / "out", **given)
        result = await run_batch(source, tmp_path / "out", client=client, limit=0)

    assert (result.paid, len(result.problems)) == (1, 1)


def test_no_price_is_no_amount():
    """What a row costs is not made up where no price is known."""
    assert cost_of(GenerateRequest("a"), 1, "seedream-9", None) is None


async def test_rows_are_planned_in_portions(source, tmp_path, monkeypatch):
    """An input of any length is planned whole, and what is wrong with a row is told of it."""
    monkeypatch.setattr(_surveying, "_PORTION", 3)
    monkeypatch.setattr(_session, "_MANY", 6)
    notices = []
    async with Emulator() as emulator, emulator.client() as client:
        options = _batch.options_of(source, tmp_path / "out", client, {"on_notice": notices.append})

        plan = await _batch.plan_batch(options, client)  # 512x512 is too small for this model

    assert (plan.rows, plan.bad) == (0, 9)
    assert notices[0].startswith("line 1: 512x512 has 0.26 Mpx")
    assert notices[6] == "6 rows read so far"


def test_columns_are_bounded():
    """An input with a column in each row does not fill the memory with names."""
    survey = _surveying.Survey()
    for number in range(300):
        row = Row(number, GenerateRequest("a"), metadata={f"column {number}": 1})
        survey.count(row, MODEL, None)

    assert len(survey.columns) == 100


async def test_a_refused_row_keeps_its_references(tmp_path):
    """A row that failed is listed with its references, as it was read."""
    source = tmp_path / "rows.jsonl"
    link = "https://store.example.test/a.png"
    source.write_text(f'{{"prompt": "a", "image": ["{link}"], "size": "2K"}}\n')
    async with Emulator() as emulator, emulator.client() as client:
        emulator.fail_next(status=400)
        result = await run_batch(source, tmp_path / "out", client=client)

    assert json.loads(result.failed_rows.read_text())["image"] == [link]


async def test_a_changed_name_is_said(source, tmp_path):
    """Another template than that of the last run is told as it was written."""
    notices = []
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:
        given = {"client": client, "limit": 1, "on_notice": notices.append}
        await run_batch(source, tmp_path / "out", **given)
        await run_batch(source, tmp_path / "out", name="{index}.{ext}", **given)

    assert notices == [
        "settings have changed since the last run: name was {id}.{ext}, now {index}.{ext}"
    ]


async def test_a_system_without_signals_has_none(monkeypatch):
    """Where a loop takes no signals, as on Windows, a batch runs without."""

    def refuse(*_):
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse)
    leaver = _batch_command._Leaver(asyncio.Event(), "the same")

    with leaver.listening():
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


async def test_the_last_words_need_no_progress(capsys):
    """A run that is cancelled before it has told anything says how it goes on."""
    code = _batch_command._Leaver(asyncio.Event(), "the same").close()

    assert code == 130
    assert capsys.readouterr().err == "seedream: to go on: the same\n"


def test_a_result_without_a_report_prints_no_path(capsys, tmp_path):
    """A run that could leave no report does not name one."""
    counts = {"total": 1, "saved": 1, "failed": 0, "unknown": 0, "left": 0}

    _batch_command.close(BatchResult(**counts, folder=tmp_path, ledger=tmp_path), "the same")

    assert capsys.readouterr().out == ""


async def test_leaving_before_it_begins_fetches_nothing(source, tmp_path):
    """A batch that is asked to end before it has begun neither sends nor fetches."""
    leave = asyncio.Event()
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:

        async def refuse(*_, **__):
            raise StorageError("no room")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Ledger, "saved", refuse)
            await run_batch(source, tmp_path / "out", client=client, limit=1)
        leave.set()
        result = await run_batch(source, tmp_path / "out", client=client, leave=leave)

    assert (result.paid, result.saved, result.left) == (1, 0, 9)
    assert emulator.request_count == 1


async def test_a_source_of_rows_that_breaks_ends_the_run(source, tmp_path, monkeypatch):
    """If the ledger cannot be read midway, the batch stops and says so."""
    entries = Ledger.entries

    async def broken(ledger, *states, listed=True):
        if states == ("planned", "failed"):
            raise StorageError("the ledger cannot be read")
        async for entry in entries(ledger, *states, listed=listed):
            yield entry

    monkeypatch.setattr(Ledger, "entries", broken)
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:
        result = await run_batch(source, tmp_path / "out", client=client)

    assert str(result.stopped) == "the ledger cannot be read"
    assert result.left == 9


@pytest.mark.virtual_time
async def test_room_is_kept_for_what_is_paid_for(source, tmp_path, monkeypatch):
    """On a disk that is full, what is in flight is noted in the room that was kept for it."""
    out, paid, fits = tmp_path / "out", Ledger.paid, 2
    ballast = out / "ledger.sqlite3.ballast"

    async def note(*args, **kwargs):
        nonlocal fits
        fits -= 1
        if fits < 0 and await asyncio.to_thread(ballast.exists):
            raise StorageError("no room")
        await paid(*args, **kwargs)

    monkeypatch.setattr(Ledger, "paid", note)
    async with Emulator(latency=0.05) as emulator, emulator.client(model=MODEL) as client:
        given = {"client": client, "concurrency": 3}
        before = await run_batch(source, out, **given)
        fits = 99
        after = await run_batch(source, out, **given)

    assert (before.unknown, str(before.stopped)) == (0, "no room")
    assert before.left > before.paid > 0
    assert (after.saved, emulator.images_billed) == (9, 9)
    assert not await asyncio.to_thread(ballast.exists)


async def test_a_mark_that_was_made_all_the_same_is_no_trouble(source, tmp_path, monkeypatch):
    """If the disk had taken a mark that it seemed to refuse, the row is paid for, and saved."""
    paid = Ledger.paid

    async def note(*args, **kwargs):
        await paid(*args, **kwargs)
        raise StorageError("not sure")

    monkeypatch.setattr(Ledger, "paid", note)
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:
        result = await run_batch(source, tmp_path / "out", client=client, concurrency=1)

    assert (result.paid, result.unknown, result.left) == (1, 0, 9)


async def test_a_ballast_needs_room_itself(tmp_path):
    """Where there is no room to keep, none is kept, and nothing is said."""
    ballast = Ballast(tmp_path / "nowhere" / "ledger")

    await ballast.load()
    await ballast.drop()

    assert [*tmp_path.iterdir()] == []


@pytest.mark.virtual_time
async def test_an_input_that_changes_ends_the_run(source, tmp_path):
    """Rows of a file that is edited meanwhile are not taken for those that were planned."""
    changed = False

    def change(_):
        nonlocal changed
        if not changed:
            changed = True
            loop.run_in_executor(None, source.write_text, '{"prompt": "another"}\n')

    async with Emulator(latency=0.1) as emulator, emulator.client(model=MODEL) as client:
        loop = asyncio.get_running_loop()
        result = await run_batch(
            source, tmp_path / "out", client=client, concurrency=1, on_saved=change
        )

    assert "was changed while the batch was at work" in str(result.stopped)
    assert all(received.json["prompt"] != "another" for received in emulator.requests)
    assert 0 < result.left < 9


async def test_an_input_that_is_gone_is_told(tmp_path):
    """A path without a file is one clear error."""
    async with Emulator() as emulator, emulator.client(model=MODEL) as client:
        with pytest.raises(InvalidRequestError, match="cannot be read"):
            await run_batch(tmp_path / "none.jsonl", tmp_path / "out", client=client)


@pytest.mark.virtual_time
async def test_a_ledger_is_of_one_process(source, tmp_path):
    """A second run of the same batch at the same time is refused, and sends nothing."""
    async with Emulator(latency=0.3) as emulator, emulator.client(model=MODEL) as client:
        first = asyncio.create_task(run_batch(source, tmp_path / "out", client=client))
        while not emulator.request_count:
            await asyncio.sleep(0.01)

        with pytest.raises(InvalidRequestError, match="is in use by this process"):
            await run_batch(source, tmp_path / "out", client=client)
        await first

    assert emulator.request_count == 9
