"""What a ledger keeps: the states of rows, what may follow what, and what is told of them."""

import asyncio
import json
import os
import pickle
import runpy
import sqlite3
import stat
import sys
import tempfile
import threading
import time
import tracemalloc
import types

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from seedream_async import InvalidRequestError, StorageError
from seedream_async.batch import Ledger, _lock, _mounts, _opening, _schema, _states
from seedream_async.batch._entries import (
    Comparison,
    Difference,
    DuplicateId,
    File,
    Known,
    Link,
    Marks,
    Plan,
    Recovery,
    Spent,
)
from seedream_async.batch._states import STATES, IllegalTransitionError

NOW = 1_800_000_000
URL = "https://store.example.test/cat.jpeg?X-Tos-Signature=abc"
NONE = dict.fromkeys(STATES, 0)
LEGAL = {
    ("planned", "sent"),
    ("sent", "planned"),
    ("sent", "paid"),
    ("sent", "failed"),
    ("sent", "unknown"),
    ("paid", "saved"),
    ("paid", "unknown"),
    ("failed", "sent"),
    ("unknown", "sent"),
    ("unknown", "paid"),
}


def key(number):
    return number.to_bytes(12, "big")


def plans(count, first=1):
    return [Plan(key(n), n, f"row-{n}") for n in range(first, first + count)]


def file_of(index=0):
    return File(path=f"cat-{index}.jpeg", bytes=5, digest=b"d" * 16, index=index, width=8, height=6)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.db"


@pytest.fixture
async def ledger(path):
    """A ledger of three planned rows, in which it is always `NOW`."""
    async with Ledger.open(path, clock=lambda: NOW) as ledger:
        await ledger.begin({"model": "m"}, "digest")
        await ledger.plan(plans(3))
        yield ledger


async def state_of(ledger, number):
    return await anext(e.state async for e in ledger.entries() if e.number == number)


async def entry_of(ledger, number, **options):
    return await anext(e async for e in ledger.entries(**options) if e.number == number)


async def bring(ledger, number, state):
    """Bring a planned row to *state*."""
    if state != "planned":
        await ledger.sent(number)
    match state:
        case "paid" | "saved":
            await ledger.paid(number, [Link(url=URL, expires=NOW + 60.0)])
        case "failed":
            await ledger.failed(number, "BadRequestError", "no")
        case "unknown":
            await ledger.unknown(number, "OutcomeUnknownError", "cut")
    if state == "saved":
        await ledger.saved(number, [file_of()])


def mark(ledger, number, state):
    match state:
        case "planned":
            return ledger.put_back(number)
        case "sent":
            return ledger.sent(number, resend_unknown=True)
        case "paid":
            return ledger.paid(number, [Link(url=URL)])
        case "saved":
            return ledger.saved(number, [file_of()])
        case "failed":
            return ledger.failed(number, "E", "m")
        case "unknown":
            return ledger.unknown(number, "E", "m")


# What may follow what


@pytest.mark.parametrize("after", STATES)
@pytest.mark.parametrize("before", STATES)
def test_transitions(before, after):
    """A row goes from state to state by these ways and no others."""
    if (before, after) in LEGAL:
        _states.check(7, before, after, resend_unknown=True)
    else:
        with pytest.raises(IllegalTransitionError, match=f"row 7 .* is {before}") as caught:
            _states.check(7, before, after, resend_unknown=True)
        assert caught.value.before == before


def test_an_unknown_row_is_sent_again_only_with_a_say():
    """Nobody pays twice by leaving an option out."""
    with pytest.raises(IllegalTransitionError, match="only with resend_unknown"):
        _states.check(7, "unknown", "sent")


def test_a_refused_transition_survives_pickling():
    """A worker in another process learns what the row is."""
    copy = pickle.loads(pickle.dumps(IllegalTransitionError("no", "saved")))  # noqa: S301

    assert (str(copy), copy.before) == ("no", "saved")


@pytest.mark.parametrize("after", [s for s in STATES if s != "planned"])
@pytest.mark.parametrize("before", STATES)
async def test_marks_obey(ledger, before, after):
    """What the ledger is told is refused or done, and a refusal changes nothing."""
    await bring(ledger, 1, before)
    was = await entry_of(ledger, 1)
    legal = (before, after) in LEGAL

    try:
        await mark(ledger, 1, after)
    except IllegalTransitionError:
        assert not legal
        assert await entry_of(ledger, 1) == was
    else:
        assert legal
        # A doubt stays, whatever becomes of the next request.
        assert await state_of(ledger, 1) == after


async def test_a_row_that_was_never_planned(ledger):
    """A number that the ledger did not give is refused."""
    with pytest.raises(IllegalTransitionError, match="has no row 99; plan it first") as caught:
        await ledger.sent(99)

    assert caught.value.before is None


@pytest.mark.parametrize(("doubted", "state"), [(False, "planned"), (True, "unknown")])
async def test_a_request_that_never_left(ledger, doubted, state):
    """A row that is put back is what it was, so a doubt is not forgotten."""
    if doubted:
        await bring(ledger, 1, "unknown")
    before = (await entry_of(ledger, 1)).attempts
    await ledger.sent(1, resend_unknown=True)

    assert await ledger.put_back(1) == state
    assert (await entry_of(ledger, 1)).state == state
    assert (await entry_of(ledger, 1)).attempts == before


async def test_a_refusal_after_a_doubt_is_a_doubt(ledger):
    """A row is failed only if none of its requests may have been billed."""
    await bring(ledger, 1, "unknown")
    await ledger.sent(1, resend_unknown=True)

    state = await ledger.failed(1, "BadRequestError", "no")

    entry = await entry_of(ledger, 1)
    assert state == entry.state == "unknown"
    assert (entry.attempts, entry.doubts, entry.problem) == (2, 1, "BadRequestError")
    with pytest.raises(IllegalTransitionError):
        await ledger.sent(1)


async def test_a_late_answer_settles_its_doubt(ledger):
    """An answer that was given up and comes after all is paid for, and nothing is in doubt."""
    await bring(ledger, 1, "unknown")

    await ledger.paid(1, [Link(url=URL)])

    entry = await entry_of(ledger, 1)
    assert (entry.state, entry.doubts, entry.problem) == ("paid", 0, None)


# What is kept


async def test_a_row_from_plan_to_files(ledger):
    """All that was told of a row is told again, and its link no longer than it is needed."""
    await ledger.sent(1)
    await ledger.paid(
        1,
        [Link(url=URL, expires=NOW + 60.0), Link(url=URL + "2", expires=NOW + 50.0)],
        request_id="req-1",
        cost=0.07,
    )
    paid = await entry_of(ledger, 1)
    part = await ledger.saved(1, [file_of(1)])
    partly = await entry_of(ledger, 1)
    whole = await ledger.saved(1, [file_of(0)])
    saved = await entry_of(ledger, 1)

    assert (paid.state, paid.expires, paid.downloadable) == ("paid", NOW + 50, True)
    assert [image.link.url for image in paid.images] == [URL, URL + "2"]
    assert (part, partly.state, partly.expires) == ("paid", "paid", NOW + 60)
    assert [image.file for image in partly.images] == [None, file_of(1)]
    assert (whole, saved.state, saved.expires, saved.downloadable) == (
        "saved",
        "saved",
        None,
        False,
    )
    assert [image.file for image in saved.images] == [file_of(0), file_of(1)]
    assert (saved.request_id, saved.cost, saved.attempts, saved.changed) == ("req-1", 0.07, 1, NOW)


async def test_entries_as_json(ledger):
    """An entry can be exported as JSON, which holds no link."""
    await ledger.sent(1)
    await ledger.paid(1, [Link(url=URL), Link(url=URL)], request_id="req-1", cost=0.03)
    await ledger.saved(1, [file_of()])

    told = json.loads(json.dumps((await entry_of(ledger, 1)).as_dict()))

    assert told == {
        "line": 1,
        "id": "row-1",
        "state": "paid",
        "possibly_billed": True,
        "attempts": 1,
        "doubts": 0,
        "changed": NOW,
        "listed": True,
        "request_id": "req-1",
        "cost": 0.03,
        "problem": None,
        "message": None,
        "files": [
            {
                "index": 0,
                "path": "cat-0.jpeg",
                "bytes": 5,
                "digest": (b"d" * 16).hex(),
                "width": 8,
                "height": 6,
            }
        ],
    }


async def test_links_are_not_shown(ledger):
    """The repr of an entry has no signature in it."""
    await bring(ledger, 1, "paid")

    shown = repr(await entry_of(ledger, 1))

    assert "store.example.test" in shown
    assert "abc" not in shown


@pytest.mark.parametrize(
    ("images", "downloadable"),
    [([], False), ([Link()], False), ([Link(url=URL), Link()], False), ([Link(url=URL)], True)],
    ids=["none", "inline", "one of two inline", "link"],
)
async def test_what_can_be_downloaded(ledger, images, downloadable):
    """Only an answer of which every image has a link can be had again."""
    await ledger.sent(1)
    await ledger.paid(1, images)

    entry = await entry_of(ledger, 1)

    assert entry.downloadable is downloadable
    assert entry.expires is None


async def test_a_file_that_was_not_paid_for(ledger):
    """A file is saved for an image of the answer, once."""
    await bring(ledger, 1, "paid")

    with pytest.raises(IllegalTransitionError, match="no image 1 that is to be saved"):
        await ledger.saved(1, [file_of(0), file_of(1)])

    assert await state_of(ledger, 1) == "paid"
    assert (await entry_of(ledger, 1)).images[0].file is None


async def test_a_failure_keeps_its_reason_and_what_was_paid(ledger):
    """A row says why it is failed or unknown; the cost of an answer whose links died stays."""
    await bring(ledger, 1, "failed")
    await ledger.sent(2)
    await ledger.paid(2, [Link(url=URL)], request_id="req-2", cost=0.03)
    await ledger.unknown(2, "LinkExpiredError", "too late")

    first, second = [entry async for entry in ledger.entries("failed", "unknown")]

    assert (first.problem, first.message, first.as_dict()["possibly_billed"]) == (
        "BadRequestError",
        "no",
        False,
    )
    assert (second.request_id, second.cost, second.problem) == ("req-2", 0.03, "LinkExpiredError")
    assert await ledger.spent() == Spent(1, 0.03)


async def test_a_second_answer_replaces_the_first(ledger):
    """A row that is sent again has the images of its last answer only."""
    await ledger.sent(1)
    await ledger.paid(1, [Link(url=URL), Link(url=URL)])
    await ledger.saved(1, [file_of(1)])
    await ledger.unknown(1, "LinkExpiredError", "too late")
    await ledger.sent(1, resend_unknown=True)

    await ledger.paid(1, [Link(url=URL)])

    assert [image.file for image in (await entry_of(ledger, 1)).images] == [None]


async def test_counts_and_what_is_left(ledger):
    """Rows are counted by state; those that are planned or paid are left, in the input's order."""
    await bring(ledger, 1, "paid")
    await bring(ledger, 2, "saved")

    assert await ledger.counts() == NONE | {"planned": 1, "paid": 1, "saved": 1}
    assert [row async for row in ledger.left()] == [Known(1, 1, "paid"), Known(3, 3, "planned")]
    assert [row async for row in ledger.left("saved")] == [Known(2, 2, "saved")]


async def test_it_is_what_the_senders_expect(ledger):
    """A ledger has all that the protocol of those who send has."""
    names = [name for name in vars(Marks) if not name.startswith("_")]

    assert len(names) == 6
    assert all(callable(getattr(ledger, name)) for name in names)


# Planning


async def test_planning_again_changes_nothing(ledger):
    """The same rows are the same numbers, whatever became of them."""
    await bring(ledger, 2, "saved")

    again = await ledger.plan(plans(3))

    assert again == [Known(1, 1, "planned"), Known(2, 2, "saved"), Known(3, 3, "planned")]


async def test_a_row_that_is_planned_twice_at_once_is_one(ledger):
    """The same row of the same line is planned once, however often it is told."""
    known = await ledger.plan([Plan(key(9), 9, "x"), Plan(key(9), 9, "x"), Plan(key(9), 10)])

    assert [row.number for row in known] == [4, 4, 5]
    assert (await ledger.counts())["planned"] == 5


async def test_a_reordered_file_is_no_new_work(ledger):
    """Rows are found by what they ask for, and told in the order of the new file."""
    await bring(ledger, 1, "saved")
    await ledger.begin({}, "another")

    known = await ledger.plan([Plan(key(n), line, f"row-{n}") for line, n in enumerate((3, 1, 2))])

    assert [(row.number, row.state) for row in known] == [
        (3, "planned"),
        (1, "saved"),
        (2, "planned"),
    ]
    assert [entry.id async for entry in ledger.entries()] == ["row-3", "row-1", "row-2"]


async def test_an_edited_row_is_new_work(ledger):
    """A row with another key is planned; the one that it was is of an earlier input."""
    await bring(ledger, 1, "paid")
    await ledger.begin({}, "another")

    known = await ledger.plan([Plan(key(9), 1, "row-1"), *plans(2, first=2)])

    assert known[0] == Known(4, 1, "planned", fresh=True)
    assert await ledger.counts() == NONE | {"planned": 3}
    assert await ledger.counts(listed=False) == NONE | {"paid": 1}
    (absent,) = [entry async for entry in ledger.entries(listed=False)]
    assert (absent.number, absent.listed, absent.downloadable) == (1, False, True)


async def test_equal_rows_are_work_of_their_own(path):
    """The same request twice is two images, and neither is paid for again."""
    rows = [Plan(key(1), 1), Plan(key(2), 2), Plan(key(1), 3)]
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, None)
        known = await ledger.plan(rows)
        await bring(ledger, 3, "saved")
        again = await ledger.plan(rows)
        await ledger.begin({}, None)
        reordered = await ledger.plan([Plan(key(1), 1), Plan(key(1), 2), Plan(key(2), 3)])

    assert [row.number for row in known] == [1, 2, 3]
    assert [row.state for row in again] == ["planned", "planned", "saved"]
    assert [row.number for row in reordered] == [1, 3, 2]
    assert not any(row.fresh for row in reordered)


async def test_equal_rows_are_told_apart_by_their_ids(path):
    """Of equal rows, each finds what was done for its id, in whatever order they come."""
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, "a")
        await ledger.plan([Plan(key(1), 1, "x"), Plan(key(1), 2, "y")])
        await bring(ledger, 1, "saved")
        await ledger.begin({}, "b")
        swapped = await ledger.plan([Plan(key(1), 1, "y"), Plan(key(1), 2, "x")])
        await ledger.begin({}, "c")
        renamed = await ledger.plan([Plan(key(1), 1, "z"), Plan(key(1), 2), Plan(key(1), 3)])

    assert [row.state for row in swapped] == ["planned", "saved"]
    assert [(row.state, row.fresh) for row in renamed] == [
        ("saved", False),
        ("planned", False),
        ("planned", True),
    ]


@pytest.mark.parametrize("at_once", [True, False], ids=["in one call", "in two calls"])
async def test_duplicate_ids(path, at_once):
    """A second row with the same id is a value, and is not planned."""
    rows = [Plan(key(1), 1, "a"), Plan(key(2), 2, "a")]
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, "a")
        found = (
            await ledger.plan(rows)
            if at_once
            else [row for one in rows for row in await ledger.plan([one])]
        )

        assert found == [Known(1, 1, "planned", fresh=True), DuplicateId(2, "a", 1)]
        assert await ledger.plan(rows) == [Known(1, 1, "planned"), DuplicateId(2, "a", 1)]
        assert sum((await ledger.counts()).values()) == 1


async def test_a_row_may_lose_its_id_to_another_input(ledger):
    """An id is of one input: in the next, another row may have it."""
    await ledger.begin({}, "another")

    known = await ledger.plan([Plan(key(1), 1, "row-2"), Plan(key(2), 2, "row-1")])

    assert [row.number for row in known] == [1, 2]


# Settings


async def test_what_a_batch_was_begun_with(path):
    """Another input and other settings are noticed, and `compare` notes nothing."""
    first = {"model": "a", "size": "2K", "tools": ("web",)}
    async with Ledger.open(path) as ledger:
        fresh = await ledger.begin(first, "one")
        nothing = await ledger.settings(), await ledger.compare(first, "one")
        changed = await ledger.compare({"model": "b", "size": "2K", "seed": 1}, "two")
        still = await ledger.settings()

    assert fresh == Comparison(fresh=True, same_input=None)
    assert nothing == (
        {"model": "a", "size": "2K", "tools": ["web"]},
        Comparison(fresh=False, same_input=True),
    )
    assert changed == Comparison(
        fresh=False,
        same_input=False,
        differences=(
            Difference("model", "a", "b"),
            Difference("seed", None, 1),
            Difference("tools", ["web"], None),
        ),
    )
    assert still["model"] == "a"


async def test_the_same_input_again(ledger):
    """Rows of an input that did not change are known before they are planned again."""
    comparison = await ledger.begin({"model": "n"}, "digest")

    assert comparison.same_input
    assert comparison.differences == (Difference("model", "m", "n"),)
    assert await ledger.counts() == NONE | {"planned": 3}


async def test_an_input_without_a_digest(ledger):
    """Whether standard input is the same is not known, so all of it is to be planned again."""
    comparison = await ledger.begin({"model": "m"}, None)

    assert comparison == Comparison(fresh=False, same_input=None)
    assert await ledger.counts() == NONE
    assert await ledger.counts(listed=False) == NONE | {"planned": 3}


async def test_a_ledger_that_was_never_begun(path):
    """Nothing is recorded before the first run."""
    async with Ledger.open(path) as ledger:
        assert await ledger.settings() == {}
        assert await ledger.compare({}, "a") == Comparison(fresh=True, same_input=None)


# Opening


async def test_what_was_sent_is_unknown_when_opened_again(path):
    """Rows that were under way are unknown, say so, and are counted once."""
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, "a")
        await ledger.plan(plans(4))
        for number in (1, 2):
            await ledger.sent(number)
        await bring(ledger, 3, "saved")

    async with Ledger.open(path) as ledger:
        recovery = ledger.recovery
        counts = await ledger.counts()
        entry = await entry_of(ledger, 1)
    async with Ledger.open(path) as ledger:
        again = ledger.recovery

    assert recovery == Recovery(interrupted=2)
    assert counts == NONE | {"unknown": 2, "saved": 1, "planned": 1}
    assert (entry.problem, entry.doubts) == ("Interrupted", 1)
    assert again == Recovery()


async def test_what_was_sent_stays_so_if_the_run_goes_on(path):
    """Who only lost the process that holds the ledger still waits for answers."""
    async with Ledger.open(path) as first:
        await first.begin({}, "digest")
        await first.plan(plans(2))
        await first.sent(1)
    async with Ledger.open(path, goes_on=True) as second:
        await second.paid(1, [Link(url=URL)])
        states = [entry.state async for entry in second.entries()]

    assert second.recovery == Recovery()
    assert states == ["paid", "planned"]


@pytest.mark.parametrize("state", STATES)
async def test_a_row_that_is_given_up_is_unknown_if_it_was_sent(ledger, state):
    """Whatever else it is, it stays, also if it became so a moment before."""
    await bring(ledger, 1, state)
    before = await entry_of(ledger, 1)

    told = await ledger.given_up(1, "its sender is gone")

    after = await entry_of(ledger, 1)
    assert told == state
    if state == "sent":
        assert (after.state, after.problem, after.doubts) == ("unknown", "Interrupted", 1)
        assert after.message == "its sender is gone"
    else:
        assert after == before


async def test_rows_by_their_numbers(ledger):
    """They come in the order that is asked for, with their images, whatever input they are of."""
    await bring(ledger, 1, "saved")
    await ledger.begin({}, "another digest")
    await ledger.plan(plans(1, first=3))

    found = await ledger.rows([3, 1])

    assert [(entry.number, entry.state, entry.listed) for entry in found] == [
        (3, "planned", True),
        (1, "saved", False),
    ]
    assert [image.file for image in found[1].images] == [file_of()]


async def test_only_its_owner_may_read_it(path):
    """A ledger holds links, which are as good as keys."""
    async with Ledger.open(path):
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in path.parent.iterdir()}

    assert set(modes.values()) == {0o600}


async def test_one_at_a_time(path):
    """A ledger that is in use is refused with who uses it, also in the same process."""
    async with Ledger.open(path):
        with pytest.raises(InvalidRequestError, match=rf"in use by this process \({os.getpid()}\)"):
            async with Ledger.open(path):
                pass

    async with Ledger.open(path) as ledger:
        assert await ledger.counts() == NONE


def test_the_lock_of_windows(tmp_path, monkeypatch):
    """Where there is no fcntl, one byte is locked without waiting, far from what is read."""
    calls = []
    fake = types.SimpleNamespace(LK_NBLCK=2, locking=lambda *args: calls.append(args))
    monkeypatch.setitem(sys.modules, "msvcrt", fake)
    monkeypatch.setattr(sys, "platform", "win32")
    lock = runpy.run_path(_lock.__file__)
    with (tmp_path / "x").open("wb") as file:
        lock["_take"](file.fileno())

        assert calls == [(file.fileno(), 2, 1)]
        assert os.lseek(file.fileno(), 0, os.SEEK_CUR) == 2**30


async def test_a_reader_beside_a_writer(path):
    """What is written can be read meanwhile, and a reader changes nothing."""
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, "a")
        await ledger.plan(plans(2))
        await ledger.sent(1)
        async with Ledger.open(path, readonly=True) as reader:
            counts = await reader.counts()
            with pytest.raises(
                StorageError, match="could not be read or written: attempt to write"
            ):
                await reader.sent(2)
        await ledger.sent(2)

    assert counts == NONE | {"sent": 1, "planned": 1}


async def test_a_reader_of_nothing(path):
    """To read, there must be something."""
    with pytest.raises(InvalidRequestError, match="there is none at"):
        async with Ledger.open(path, readonly=True):
            pass
    path.touch()
    with pytest.raises(InvalidRequestError, match="it is empty; it may not have been begun"):
        async with Ledger.open(path, readonly=True):
            pass


async def test_a_reader_of_what_is_just_being_made(path, monkeypatch):
    """A ledger that another process makes at that moment is not taken for somebody else's."""
    look, writer = _schema._pragma, sqlite3.connect(path, check_same_thread=False)
    writer.execute("PRAGMA journal_mode = WAL")

    def look_and_wait(connection, name):
        value = look(connection, name)
        writer.executescript(f"BEGIN; {_schema._TABLES} {_schema._MARKS} COMMIT;")
        return value

    monkeypatch.setattr(_schema, "_pragma", look_and_wait)
    with pytest.raises(InvalidRequestError, match="it is empty; it may not have been begun"):
        async with Ledger.open(path, readonly=True):
            pass

    writer.close()


@pytest.mark.parametrize("readonly", [True, False], ids=["reading", "writing"])
@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        ("PRAGMA user_version = 2", r"its schema is 2, and this release knows up to 1; use the"),
        ("PRAGMA application_id = 1", "it is a database of another program"),
    ],
    ids=["newer", "another's"],
)
async def test_databases_that_are_not_ours(path, spoil, problem, readonly):
    """A newer ledger, or the database of another program, is refused and left alone."""
    async with Ledger.open(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute(spoil)
    connection.close()
    content = path.read_bytes()

    with pytest.raises(InvalidRequestError, match=problem):
        async with Ledger.open(path, readonly=readonly):
            pass

    assert path.read_bytes() == content


async def test_a_file_that_is_no_database(path):
    """Another file is refused and left alone."""
    path.write_text("a cat wearing a scarf\n" * 100)

    with pytest.raises(InvalidRequestError, match="it is no ledger"):
        async with Ledger.open(path):
            pass

    assert path.read_text() == "a cat wearing a scarf\n" * 100


@pytest.mark.parametrize("place", ["file/ledger.db", "folder"])
async def test_places_where_no_ledger_can_be(tmp_path, place):
    """What the disk refuses is a `StorageError`, and the lock is free again."""
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()

    for _ in range(2):
        with pytest.raises(StorageError, match="could not write to"):
            async with Ledger.open(tmp_path / place):
                pass


async def test_network_file_systems_are_refused(path, tmp_path, monkeypatch):
    """Where locks cannot be relied on, no ledger is opened."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text("22 1 0:20 / / rw - ext4 /dev/sda1 rw\n")
    monkeypatch.setattr(_opening, "_MOUNTS", mounts)
    async with Ledger.open(path):
        pass
    mounts.write_text(f"22 1 0:20 / {tmp_path} rw - nfs4 server:/ rw\n")

    with pytest.raises(InvalidRequestError, match=r"on a network file system \(nfs4\)"):
        async with Ledger.open(path):
            pass


async def test_systems_that_tell_no_mounts(path, tmp_path, monkeypatch):
    """Where the system does not tell, the ledger is opened."""
    monkeypatch.setattr(_opening, "_MOUNTS", tmp_path / "absent")

    async with Ledger.open(path) as ledger:
        assert await ledger.counts() == NONE


MOUNTS = r"""22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /mnt/nfs rw - nfs4 server:/export rw
24 22 0:22 / /mnt/my\040share rw master:2 - cifs //server/share rw
25 22 0:23 / /mnt/over rw - nfs server:/ rw
26 22 0:24 / /mnt/over rw - tmpfs tmpfs rw
27 22 0:25 / /home rw - fuse.sshfs me@server:/ rw
28 22 0:26 / /mnt/nfs/local rw - ext4 /dev/sdb1 rw
garbage
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/var/x.db", "ext4"),
        ("/mnt/nfs", "nfs4"),
        ("/mnt/nfs/a/x.db", "nfs4"),
        ("/mnt/nfs2/x.db", "ext4"),
        ("/mnt/nfs/local/x.db", "ext4"),
        ("/mnt/my share/x.db", "cifs"),
        ("/mnt/over/x.db", "tmpfs"),
        ("/home/me/x.db", "fuse.sshfs"),
    ],
)
def test_mounts(path, kind):
    """A path is on the file system of the innermost mount, and of the last one there."""
    assert _mounts.kind_at(path, MOUNTS) == kind


def test_no_mounts():
    """What is not told is not guessed."""
    assert _mounts.kind_at("/x", "") is None


@pytest.mark.parametrize(
    ("kind", "network"),
    [
        *dict.fromkeys(
            ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "lustre"), True
        ).items(),
        *dict.fromkeys(("fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.gcsfuse"), True).items(),
        *dict.fromkeys(("ext4", "xfs", "btrfs", "tmpfs", "overlay", "zfs", "apfs"), False).items(),
        *dict.fromkeys(("fuse.ntfs-3g", "fuseblk", "nfsd", "virtiofs"), False).items(),
    ],
)
def test_network_kinds(kind, network):
    """File systems of other machines are told by their kind."""
    assert _mounts.is_network(kind) is network


# Troubles of the disk


async def test_a_full_disk_is_told_to_everybody_who_waits(path, monkeypatch):
    """All that waits for one commit gets the error, and what was there stays."""
    monkeypatch.setattr(_schema, "_SETTINGS", _schema._SETTINGS + "PRAGMA max_page_count = 20;")
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, "a")
        await ledger.plan(plans(3))
        await ledger.sent(1)
        first = asyncio.ensure_future(ledger.counts())  # keeps the disk busy
        await asyncio.sleep(0)
        waiting = [ledger.plan(plans(2000, first=10)), ledger.sent(2), ledger.counts()]

        outcomes = await asyncio.gather(*waiting, return_exceptions=True)

        assert (await first)["sent"] == 1

        assert [type(outcome) for outcome in outcomes] == [StorageError] * 3
        assert "database or disk is full" in str(outcomes[0])
        assert len({id(outcome) for outcome in outcomes}) == 3
        assert await ledger.counts() == NONE | {"planned": 2, "sent": 1}
        await ledger.sent(2)  # room for so much

    async with Ledger.open(path) as ledger:
        assert ledger.recovery == Recovery(interrupted=2)


@pytest.mark.parametrize("how", ["removed", "replaced"])
async def test_a_ledger_that_went_away(path, how):
    """What is written to a file that nobody can open any more is not taken for safe."""
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, "a")
        await ledger.plan(plans(2))
        path.rename(path.with_suffix(".old"))
        if how == "replaced":
            path.touch()

        with pytest.raises(StorageError, match=r"could not write to|was replaced while"):
            await ledger.sent(1)


async def test_a_damaged_ledger(path):
    """A ledger whose pages are garbage is not believed."""
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, "a")
        await ledger.plan(plans(500))
    content = path.read_bytes()
    path.write_bytes(content[:4096] + os.urandom(len(content) - 4096))

    with pytest.raises(StorageError, match="is damaged, so what it says cannot be trusted"):
        async with Ledger.open(path):
            pass


# The loop


async def test_works_that_wait_together_are_one_commit(ledger):
    """While the disk is busy, what comes waits and is committed at once."""
    store = ledger._writer.store
    before = store.changes
    await ledger.plan(plans(300, first=10))

    await asyncio.gather(*(ledger.sent(number) for number in range(1, 304)))

    assert store.changes - before <= 4
    assert (await ledger.counts())["sent"] == 303


async def test_the_loop_is_not_blocked(ledger):
    """While a commit takes its time, the loop goes on."""
    began, over = threading.Event(), threading.Event()

    def commit(_):
        began.set()
        return over.wait(30)

    held = asyncio.ensure_future(ledger._do(commit))
    assert await asyncio.to_thread(began.wait, 30)
    over.set()

    assert await held


async def test_one_refusal_does_not_undo_the_others(ledger):
    """Of those committed together, only the one that is refused is undone."""
    outcomes = await asyncio.gather(
        ledger.sent(1), ledger.sent(1), ledger.sent(2), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [
        type(None),
        IllegalTransitionError,
        type(None),
    ]
    assert (await ledger.counts())["sent"] == 2


async def test_a_work_that_is_refused_leaves_nothing(ledger):
    """What cannot be kept, such as an odd type, is the caller's error and undone as a whole."""
    await ledger.sent(1)

    with pytest.raises(sqlite3.Error):
        await ledger.paid(1, [Link(url=URL), Link(url=object())])

    assert (await entry_of(ledger, 1)).images == ()
    assert await state_of(ledger, 1) == "sent"


async def test_a_cancelled_send_is_taken_back(ledger):
    """A request that does not leave because its task was cancelled is not unknown later."""
    task = asyncio.ensure_future(ledger.sent(1))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    entry = await entry_of(ledger, 1)
    assert (entry.state, entry.attempts) == ("planned", 0)


async def test_a_cancelled_send_of_a_row_that_another_sent(ledger):
    """Only one's own send is taken back."""
    await ledger.sent(1)
    task = asyncio.ensure_future(ledger.sent(1))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    assert await state_of(ledger, 1) == "sent"


async def test_a_cancelled_payment_is_noted(ledger):
    """What is paid for is noted, whoever is cancelled meanwhile."""
    await ledger.sent(1)
    task = asyncio.ensure_future(ledger.paid(1, [Link(url=URL)]))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task

    assert await state_of(ledger, 1) == "paid"


async def test_leaving_waits_for_what_was_asked(path):
    """When the block is left, everything that was asked for before is on the disk."""
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, "a")
        await ledger.plan(plans(2))
        tasks = [asyncio.ensure_future(ledger.sent(number)) for number in (1, 2)]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)

    async with Ledger.open(path) as ledger:
        assert ledger.recovery == Recovery(interrupted=2)


async def test_a_closed_ledger(path):
    """After the block, nothing is noted any more."""
    async with Ledger.open(path) as ledger:
        pass

    with pytest.raises(RuntimeError, match="the ledger is closed"):
        await ledger.counts()


async def test_a_ledger_in_another_loop(ledger):
    """A ledger belongs to one event loop, and says so."""

    def elsewhere():
        return asyncio.run(ledger.counts())

    with pytest.raises(RuntimeError, match="belongs to the event loop"):
        await asyncio.to_thread(elsewhere)


async def test_opening_that_is_cancelled_leaves_nothing_open(path):
    """A ledger whose opening was cancelled can be opened."""

    async def use():
        async with Ledger.open(path):
            raise AssertionError

    task = asyncio.ensure_future(use())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async with Ledger.open(path) as ledger:
        assert await ledger.counts() == NONE


# Size


async def test_many_rows(path):
    """Twenty thousand rows take little room and work, and reading them no memory to speak of."""
    count = 20_000
    async with Ledger.open(path) as ledger:
        await ledger.begin({}, "a")
        for first in range(1, count, 1000):
            await ledger.plan(plans(1000, first=first))
        tracemalloc.start()
        started = time.process_time()
        found = 0
        async for _ in ledger.left():
            found += 1
        seconds = time.process_time() - started
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert found == count
    assert seconds < 5
    assert peak < 8 * 2**20
    assert path.stat().st_size < count * 130


# All of it, at random


class LedgerMachine(RuleBasedStateMachine):
    """A ledger beside a dictionary that should say the same, opened again now and then."""

    @initialize()
    def begin(self):
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.rows = {}
        self.opened = None
        self.open()

    def open(self):
        self.opened = Ledger.open(f"{self.folder.name}/ledger.db")
        self.ledger = self.run(self.opened.__aenter__())

    def run(self, work):
        async def awaited():
            return await work

        return self.runner.run(awaited())

    @rule(count=st.integers(1, 4))
    def plan(self, count):
        for row in self.run(self.ledger.plan(plans(count, first=len(self.rows) + 1))):
            assert row.state == "planned"
            self.rows[row.number] = ("planned", 0)

    @precondition(lambda self: self.rows)
    @rule(data=st.data(), after=st.sampled_from(STATES))
    def mark(self, data, after):
        number = data.draw(st.sampled_from(sorted(self.rows)))
        before, doubts = self.rows[number]
        try:
            self.run(mark(self.ledger, number, after))
        except IllegalTransitionError:
            assert (before, after) not in LEGAL
            return
        assert (before, after) in LEGAL
        if after == "unknown":
            doubts += 1
        elif (before, after) == ("unknown", "paid"):
            doubts -= 1
        self.rows[number] = (_states.settled(after, doubts), doubts)

    @rule()
    def open_again(self):
        self.run(self.opened.__aexit__(None, None, None))
        interrupted = [n for n, (state, _) in self.rows.items() if state == "sent"]
        for number in interrupted:
            self.rows[number] = ("unknown", self.rows[number][1] + 1)
        self.open()
        assert self.ledger.recovery == Recovery(interrupted=len(interrupted))

    @invariant()
    def says_the_same(self):
        async def told():
            return {e.number: (e.state, e.doubts) async for e in self.ledger.entries()}

        assert self.run(told()) == self.rows

    def teardown(self):
        if getattr(self, "opened", None):
            self.run(self.opened.__aexit__(None, None, None))
            self.runner.close()
            self.folder.cleanup()


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
