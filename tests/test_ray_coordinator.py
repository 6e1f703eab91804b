"""What the workers of a batch share: who has which row, the ledger, the pace and the budget."""

import asyncio

import pytest

from seedream_async import BudgetReachedError, InvalidRequestError, StorageError
from seedream_async._allowance import Spend
from seedream_async.batch import Ledger, _transitions
from seedream_async.batch._entries import File, Link, Plan
from seedream_async.batch._states import IllegalTransitionError
from seedream_async.ray._claims import NOBODY, Claims
from seedream_async.ray._proxy import RemoteLedger, SharedLimiter

from .ray_values import Desk, GoneError

pytestmark = pytest.mark.virtual_time

PLANS = [Plan(bytes([number]) * 12, number, f"r{number}") for number in range(1, 4)]
LINK = Link(url="https://images.example/1.jpeg?X-Signature=1", expires=4e9)
FILE = File(path="r1.jpeg", bytes=10, digest=b"1" * 16, width=8, height=8)


@pytest.fixture
async def desk(tmp_path):
    """A coordinator, and the line to it."""
    made = Desk(tmp_path)
    yield made
    await made.aclose()


@pytest.fixture
async def rows(desk):
    """The ledger that the coordinator has, with three rows."""
    ledger = await desk.ledger()
    await desk.proxy().ask("begin", "run 1", {"input": "a dataset"})
    await ledger.plan(PLANS)
    return ledger


async def states(ledger):
    return [entry.state async for entry in ledger.entries()]


# Claims


def test_a_row_has_one_worker():
    """Whoever comes first has the row, until it is let go of."""
    claims = Claims(lease=10)

    assert claims.take("a", 1)
    assert not claims.take("b", 1)
    assert claims.take("a", 1)
    assert not claims.drop("b", 1)
    assert claims.drop("a", 1)
    assert claims.take("b", 1)
    assert claims.count == 1


def test_a_silent_worker_loses_its_rows():
    """After its lease, the rows of a worker that was not heard of are anybody's."""
    claims = Claims(lease=10)
    claims.hear("a", 0.0)
    claims.hear("b", 5.0)
    claims.take("a", 1)
    claims.take("b", 2)

    assert claims.lapsed(10.0) == []
    assert claims.lapsed(10.1) == [1]
    assert claims.lapsed(10.2) == []
    assert claims.take("c", 1)
    assert not claims.take("c", 2)


def test_what_nobody_has_is_adopted_by_who_sent_it():
    """A row in flight at a restart is not to be taken, but its worker says that it has it."""
    claims = Claims(lease=10)
    claims.take(NOBODY, 1)

    assert not claims.take("a", 1)
    assert claims.adopt("a", 1)
    assert not claims.adopt("b", 1)


# The ledger


async def test_a_row_is_sent_by_one_worker(desk, rows):
    """What another worker has cannot be sent, and looking tells whose it is."""
    ((_, first),) = await desk.proxy("a").look([1])
    ((_, second),) = await desk.proxy("b").look([1])
    await rows.sent(1)

    assert (first, second) == (True, False)
    with pytest.raises(IllegalTransitionError, match="another worker"):
        await (await desk.ledger("b")).sent(1)
    assert await states(rows) == ["sent", "planned", "planned"]


async def test_begins_a_run_once(desk, rows):
    """The same run, begun again after a restart, changes nothing; another plans its rows anew."""
    proxy = desk.proxy()

    await proxy.ask("begin", "run 1", {"input": "a dataset"})
    same = [known.fresh for known in await rows.plan(PLANS)]
    before = len(await states(rows))
    await proxy.ask("begin", "run 2", {"input": "a dataset"})

    assert same == [False, False, False]
    assert before == 3
    assert await states(rows) == []
    assert [known.number for known in await rows.plan(PLANS)] == [1, 2, 3]


async def test_a_new_run_is_not_left(desk, rows):
    """Why the run before was left is no reason for this one."""
    proxy = desk.proxy()
    await proxy.ask("leave", "the key is wrong")
    await proxy.ask("met", "BadRequestError", "no such size")

    await proxy.ask("begin", "run 1", {})
    same = await proxy.ask("standing")
    await proxy.ask("begin", "run 2", {})
    other = await proxy.ask("standing")

    assert (same.why, list(same.problems)) == ("the key is wrong", ["BadRequestError"])
    assert (other.why, other.problems) == (None, {})


@pytest.mark.parametrize("cut", ["refused", "lost"])
async def test_a_mark_counts_once_however_often_it_is_asked_for(desk, rows, cut):
    """A mark is asked for again while the coordinator is gone, and that it was made is no error."""

    async def marked(mark):
        setattr(desk, cut, 2)
        return await mark

    await marked(rows.sent(1))
    await marked(rows.paid(1, [LINK, LINK]))
    part = await marked(rows.saved(1, [FILE]))
    await marked(rows.sent(2))
    back = await marked(rows.put_back(2))
    await marked(rows.sent(2))
    refused = await marked(rows.failed(2, "BadRequestError", "no"))
    await marked(rows.sent(3))
    await marked(rows.unknown(3, "OutcomeUnknownError", "cut"))

    assert (part, back, refused) == ("paid", "planned", "failed")
    assert await states(rows) == ["paid", "failed", "unknown"]
    assert [entry.attempts async for entry in rows.entries()] == [1, 1, 1]


async def test_what_cannot_follow_is_an_error_when_it_is_first_asked_for(desk, rows):
    """Only a mark that nobody could confirm may have been made already."""
    await rows.sent(1)
    await rows.paid(1, [LINK])

    with pytest.raises(IllegalTransitionError):
        await rows.paid(1, [LINK])


async def test_sending_is_not_asked_again_by_who_was_silent(desk, rows):
    """A worker whose lease is over cannot know that it is its own mark which it finds."""
    proxy = desk.proxy()
    desk.lost = 1

    async def long(_):
        desk.time += desk.terms.lease + 1

    proxy._sleep = long
    with pytest.raises(IllegalTransitionError, match="may be at another worker"):
        await RemoteLedger(proxy, rows.path, rows.recovery).sent(1)


async def test_a_coordinator_that_stays_away_ends_the_batch(desk, rows):
    """After a minute without an answer, it is an error of the storage: nothing can be noted."""
    desk.refused = 10**6

    with pytest.raises(StorageError, match="cannot be reached") as caught:
        await rows.put_back(1)

    assert isinstance(caught.value.__cause__, GoneError)


async def somebody_waits(desk, saved_up):
    """A limiter, and who waits there for one image, since all that was *saved_up* is taken."""
    limiter = SharedLimiter(desk.proxy())
    await limiter.acquire(saved_up)
    waiting = asyncio.create_task(limiter.acquire(1))
    while desk.asked.count("acquire") < 2:
        await asyncio.sleep(0)
    return limiter, waiting


async def test_what_was_waited_for_long_is_asked_again(tmp_path):
    """A minute without an answer begins when the coordinator goes, not when it was asked."""
    desk = Desk(tmp_path, images_per_minute=60)
    limiter, waiting = await somebody_waits(desk, 2)
    desk.time = 100.0
    desk.lost = 1
    await waiting

    assert desk.asked.count("acquire") == 3
    await limiter.aclose()
    await desk.aclose()


async def test_a_cancelled_sending_is_taken_back(desk, rows):
    """The request does not leave then, so its row is planned again."""
    task = asyncio.create_task(rows.sent(1))
    while "sent" not in desk.asked:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert await states(rows) == ["planned"] * 3


async def test_a_cancelled_sending_that_is_refused_changes_nothing(desk, rows):
    """What was not noted need not be taken back."""
    desk.proxy("b")
    await desk.proxy("b").look([1])
    task = asyncio.create_task(rows.sent(1))
    while "sent" not in desk.asked:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert await states(rows) == ["planned"] * 3


async def test_only_doors_are_open(desk):
    """What is no question to a coordinator cannot be asked of it."""
    with pytest.raises(AttributeError, match="no door '_open'"):
        await desk.coordinator.call("_open", ())


async def test_an_error_travels_as_it_is(tmp_path):
    """What cannot be opened is told by the error that says so."""
    await asyncio.to_thread((tmp_path / "nowhere").touch)

    with pytest.raises(StorageError, match="could not write"):
        await Desk(tmp_path / "nowhere").proxy().ask("about")


async def test_waits_for_the_run_before_to_let_go(tmp_path):
    """A run that was killed may hold its ledger a moment longer."""
    desk = Desk(tmp_path)
    async with Ledger.open(tmp_path / "ledger.sqlite3"):
        asking = asyncio.create_task(desk.proxy().ask("about"))
        done, _ = await asyncio.wait([asking], timeout=0.3)
    path, _ = await asking

    assert not done
    assert path == tmp_path / "ledger.sqlite3"
    await desk.aclose()


async def test_does_not_wait_for_ever(tmp_path):
    """A ledger that stays in use is another run's."""
    desk = Desk(tmp_path)
    async with Ledger.open(tmp_path / "ledger.sqlite3"):
        asking = asyncio.create_task(desk.proxy().ask("about"))
        await asyncio.sleep(0)
        desk.time = 31.0

        with pytest.raises(InvalidRequestError, match="in use"):
            await asking


# Those who are gone


async def test_what_a_lost_worker_has_sent_is_unknown(desk, rows):
    """Its other rows are anybody's, and an answer that comes all the same settles the doubt."""
    await desk.proxy("a").look([1, 2])
    await rows.sent(1)
    desk.time = 10.5
    seen = await desk.proxy("b").look([1, 2])

    assert [(entry.state, mine) for entry, mine in seen] == [("unknown", True), ("planned", True)]
    assert seen[0][0].problem == "Interrupted"
    await rows.paid(1, [LINK])
    assert await states(rows) == ["paid", "planned", "planned"]


async def test_signs_of_life_keep_rows(desk, rows):
    """A worker that is heard of keeps what it has."""
    await desk.proxy("a").look([1])
    await rows.sent(1)
    for desk.time in (6.0, 12.0):
        assert await desk.proxy("a").beat({1: None}) is None
    ((entry, mine),) = await desk.proxy("b").look([1])

    assert (entry.state, mine) == ("sent", False)


async def test_a_restart_loses_nothing(desk, rows):
    """What was in flight stays so as long as its worker lives, and is answered as any other."""
    await rows.sent(1)
    await rows.sent(2)
    await desk.restart()
    ((before, _),) = await desk.proxy("b").look([1])
    await desk.proxy("a").beat({1: None})
    desk.time = 9.0
    await desk.proxy("a").beat({1: None})
    desk.time = 10.5
    after = [entry.state for entry, _ in await desk.proxy("b").look([1, 2])]
    await rows.paid(1, [LINK])

    assert before.state == "sent"
    assert after == ["sent", "unknown"]
    assert await states(rows) == ["paid", "unknown", "planned"]


async def test_what_is_released_in_flight_is_unknown(desk, rows):
    """A worker that is done with a row, of which no answer was noted, leaves it in doubt."""
    await desk.proxy("a").look([1, 2])
    await rows.sent(1)
    await desk.proxy("b").ask("release", "b", [1])
    before = await states(rows)
    await desk.proxy("a").ask("release", "a", [1, 2])

    assert before[0] == "sent"
    assert await states(rows) == ["unknown", "planned", "planned"]


async def test_what_is_met_again_while_it_is_released_stays_its_workers(desk, rows):
    """Another batch of the worker has the row by then, and may have sent it."""
    numbers = [1, 3, 2]
    await desk.proxy("a").look(numbers)
    releasing = asyncio.create_task(desk.proxy("a").ask("release", "a", numbers))
    await asyncio.sleep(0)
    await desk.proxy("a").look([2])
    await rows.sent(2)
    await releasing
    ((_, mine),) = await desk.proxy("b").look([2])

    assert await states(rows) == ["planned", "sent", "planned"]
    assert not mine


async def test_an_answer_that_came_first_is_kept(desk, rows):
    """A row that is paid for is not given up with its worker."""
    await desk.proxy("a").look([1])
    await rows.sent(1)
    await rows.paid(1, [LINK])
    await desk.proxy("a").ask("release", "a", [1])

    assert await states(rows) == ["paid", "planned", "planned"]


# Leaving


async def test_all_workers_leave_together(desk, rows):
    """Nothing is sent once anybody has said why not, and each worker is told so."""
    why = StorageError("the disk is full")
    await desk.proxy("a").look([1])
    await desk.proxy("a").ask("leave", why)
    await desk.proxy("a").ask("met", "BadRequestError", "no such size")
    await desk.proxy("a").ask("met", "BadRequestError", "no such model")

    with pytest.raises(Exception, match="not sent: the disk is full"):
        await rows.sent(1)
    assert str(await desk.proxy("b").beat({})) == "the disk is full"
    standing = await desk.proxy().ask("standing")
    assert standing.problems == {"BadRequestError": "no such size"}
    assert standing.counts["planned"] == 3
    assert (standing.images, standing.cost, standing.claimed) == (0, 0.0, 1)


async def test_makes_room_beside_the_ledger(desk, rows):
    """The ballast lies where the ledger is, which may be another machine."""
    ballast = rows.path.with_name("ledger.sqlite3.ballast")
    await asyncio.to_thread(ballast.write_bytes, b"ballast")

    await desk.proxy().drop()

    assert not await asyncio.to_thread(ballast.exists)


# The pace


@pytest.mark.parametrize("rate", [None, 6000], ids=["no rate", "a rate"])
async def test_a_pause_is_everybodys(tmp_path, rate):
    """What one worker was told to wait, the others wait too."""
    desk = Desk(tmp_path, images_per_minute=rate)
    first, second = SharedLimiter(desk.proxy("a")), SharedLimiter(desk.proxy("b"))
    now = asyncio.get_running_loop().time
    await first.acquire(1)
    first.pause(0.3)
    first.pause(0.0)
    while desk.asked.count("pause") < 2:
        await asyncio.sleep(0.01)
    start = now()
    await second.acquire(1)

    assert now() - start > 0.25
    await first.aclose()
    await second.aclose()
    await desk.aclose()


async def test_the_rate_is_of_all(tmp_path):
    """Two workers together get what one would, and what was not made is given back."""
    desk = Desk(tmp_path, images_per_minute=60)
    limiters = [SharedLimiter(desk.proxy(owner)) for owner in "ab"]
    now = asyncio.get_running_loop().time
    start = now()
    for _ in range(2):
        await limiters[0].acquire(1)  # what is saved up
    limiters[0].settle(1, 1)
    limiters[0].settle(1, 0)
    while "refund" not in desk.asked:
        await asyncio.sleep(0.01)
    await limiters[1].acquire(1)
    quick = now() - start
    await limiters[1].acquire(1)
    slow = now() - start

    assert quick < 0.5
    assert slow > 0.8
    assert desk.asked.count("refund") == 1
    for limiter in limiters:
        await limiter.aclose()
    await desk.aclose()


async def test_a_restart_grants_nothing_anew(tmp_path):
    """What is saved up is gone with the coordinator, or it could be taken twice in a moment."""
    desk = Desk(tmp_path, images_per_minute=600)
    await desk.ledger()
    await desk.restart()
    now = asyncio.get_running_loop().time
    start = now()
    for _ in range(4):
        await desk.proxy().ask("acquire", 1)

    assert now() - start > 0.25
    await desk.aclose()


async def test_who_leaves_the_line_takes_nothing(tmp_path):
    """A turn that comes after its caller was cancelled is given back."""
    desk = Desk(tmp_path, images_per_minute=600)
    limiter, waiting = await somebody_waits(desk, 20)
    waiting.cancel()
    await asyncio.wait([waiting])
    while "refund" not in desk.asked:
        await asyncio.sleep(0.01)

    assert waiting.cancelled()
    await limiter.aclose()
    await desk.aclose()


async def test_telling_ends_with_the_worker(tmp_path):
    """What nobody can be told any more is no task that is left behind."""
    desk = Desk(tmp_path)
    limiter = SharedLimiter(desk.proxy())
    desk.refused = 10**6
    limiter.pause(1.0)
    await asyncio.sleep(0)
    await limiter.aclose()

    assert not limiter._telling
    await desk.aclose()


# The budget


@pytest.fixture
async def poor(tmp_path):
    """As `desk`, with three images to be made and no more."""
    made = Desk(tmp_path, max_images=3)
    ledger = await made.ledger()
    await made.proxy().ask("begin", "run 1", {})
    await ledger.plan(PLANS)
    yield made
    await made.aclose()


async def sent_before(ledger, number):
    """Note that row *number* is sent, as a run does that has no budget."""
    await ledger._do(_transitions.sent, number, 1.0, resend_unknown=False)


async def test_the_budget_is_of_all(poor):
    """What one worker holds, another cannot; what it puts back, it can."""
    a, b = poor.proxy("a"), poor.proxy("b")
    await a.ask("reserve", 1, Spend(2))
    await a.ask("reserve", 1, Spend(2))  # asked again, as its answer was lost
    waiting = asyncio.create_task(b.ask("reserve", 2, Spend(2)))
    await asyncio.wait([waiting], timeout=0.1)
    before = waiting.done()
    await a.ask("settle", 1, Spend(1))
    await a.ask("settle", 1, Spend(1))
    await waiting
    await b.ask("settle", 2, Spend(2))

    assert not before
    with pytest.raises(BudgetReachedError, match="max_images=3 is reached"):
        await a.ask("reserve", 3, Spend(1))


async def test_the_budget_is_of_all_runs(poor):
    """What was saved, and what may have been billed, counts from the start."""
    ledger = await poor.ledger()
    await sent_before(ledger, 1)
    await ledger.paid(1, [LINK], cost=0.03)
    await ledger.saved(1, [FILE])
    await sent_before(ledger, 2)
    await ledger.unknown(2, "OutcomeUnknownError", "cut")
    await poor.proxy().ask("reserve", 3, Spend(1))

    spent = poor.coordinator._budget.purse.allowance.spent
    assert spent == Spend(2, 60_000)


async def test_a_price_that_nobody_knows_counts_as_nothing(tmp_path):
    """A doubt about a model without a price counts as an image, at least."""
    desk = Desk(tmp_path, max_images=9, model="of-tomorrow")
    ledger = await desk.ledger()
    await ledger.begin({}, None)
    await ledger.plan(PLANS)
    await sent_before(ledger, 1)
    await ledger.unknown(1, "OutcomeUnknownError", "cut")
    await desk.proxy().ask("reserve", 2, Spend(1))

    assert desk.coordinator._budget.purse.allowance.spent == Spend(1, 0)
    await desk.aclose()


async def test_the_price_of_a_batch_is_that_of_its_survey(tmp_path):
    """Where the input was surveyed, a doubt costs what its rows do on average."""
    desk = Desk(tmp_path, max_cost=1.0)
    ledger = await desk.ledger()
    survey = {"rows": 2, "images": [2, 2], "amount": [1.0, 1.0], "bad": 0, "columns": {}}
    await ledger.begin({"survey": survey}, None)
    await ledger.plan(PLANS)
    await sent_before(ledger, 1)
    await ledger.unknown(1, "OutcomeUnknownError", "cut")

    with pytest.raises(BudgetReachedError):
        await desk.proxy().ask("reserve", 2, Spend(1, 600_000))
    await desk.aclose()


@pytest.mark.parametrize(
    ("sent", "left"), [pytest.param(True, 1, id="sent"), pytest.param(False, 3, id="not sent")]
)
async def test_what_a_lost_worker_holds_is_spent_if_it_was_sent(poor, sent, left):
    """What may be billed counts as if it were, and the rest is free again."""
    await poor.proxy("a").look([1])
    await poor.proxy("a").ask("reserve", 1, Spend(2))
    if sent:
        await (await poor.ledger()).sent(1)
    poor.time = 10.5
    await poor.proxy("b").look([2])

    await poor.proxy("b").ask("reserve", 2, Spend(left))
    with pytest.raises(BudgetReachedError):
        await poor.proxy("b").ask("reserve", 3, Spend(left + 1))


async def test_what_is_held_is_known_after_a_restart(poor, monkeypatch):
    """Each worker tells what it holds before anything more is held."""
    slept = []

    async def sleep(seconds, real=asyncio.sleep):
        slept.append(seconds)
        await real(0)

    await poor.proxy("a").look([1])
    await poor.proxy("a").ask("reserve", 1, Spend(2))
    await poor.restart()
    await poor.proxy("a").beat({1: Spend(2), 2: None})
    await poor.proxy("a").beat({1: Spend(2), 2: None})
    monkeypatch.setattr(asyncio, "sleep", sleep)

    waiting = asyncio.create_task(poor.proxy("b").ask("reserve", 3, Spend(2)))
    await asyncio.wait([waiting], timeout=0.1)
    before = waiting.done()
    await poor.proxy("a").ask("settle", 1, Spend(1))
    await waiting

    assert slept[0] == poor.terms.lease
    assert not before


async def test_what_is_in_flight_at_nobody_is_spent(poor):
    """What a worker had sent that is gone with the coordinator may be billed."""
    ledger = await poor.ledger()
    await poor.proxy("a").look([1])
    await poor.proxy("b").look([2])
    await sent_before(ledger, 1)
    await poor.restart()
    await poor.proxy("b").beat({2: Spend(1)})
    poor.time = 10.0
    await poor.proxy("b").beat({2: Spend(1)})
    await poor.proxy("b").ask("reserve", 3, Spend(1))
    poor.time = 10.5
    await poor.proxy("b").look([1])
    await poor.proxy("c").beat({1: Spend(1)})  # too late to be held as well

    assert poor.coordinator._budget.purse.allowance.held.images == 2
    assert poor.coordinator._budget.purse.allowance.spent.images == 1
    with pytest.raises(BudgetReachedError):
        await poor.proxy("b").ask("reserve", 1, Spend(3))


async def test_a_worker_that_tells_too_late_what_it_held_holds_nothing(poor):
    """Its row was counted as spent when the budget was read."""
    await poor.ledger()
    await poor.proxy().ask("reserve", 2, Spend(1))

    poor.coordinator._budget.held_before(1, Spend(1))

    assert poor.coordinator._budget.held_by(1) == Spend()
    assert poor.coordinator._budget.held_by(2) == Spend(1)


async def test_an_answer_is_spent_once_by_a_restart(poor):
    """What is paid for and not yet settled is held, so it is not counted as well."""
    ledger = await poor.ledger()
    await sent_before(ledger, 1)
    await poor.restart()
    await ledger.paid(1, [LINK], cost=0.03)
    await poor.proxy("a").beat({1: Spend(1, 30_000)})
    poor.time = 10.0
    await poor.proxy("a").beat({1: Spend(1, 30_000)})
    await poor.proxy("a").ask("reserve", 2, Spend(1, 30_000))
    await poor.proxy("a").ask("settle", 1, Spend(1, 30_000))

    assert poor.coordinator._budget.purse.allowance.spent == Spend(1, 30_000)


async def test_nothing_is_sent_for_which_nothing_is_held(poor):
    """What a silent worker held is free, so it has to be held again before it is sent."""
    ledger = await poor.ledger("a")
    await poor.proxy("a").look([1])
    await poor.proxy("a").ask("reserve", 1, Spend(3))
    poor.time = 10.5
    await poor.proxy("b").look([2])
    await poor.proxy("b").ask("reserve", 2, Spend(3))

    await poor.proxy("a").beat({1: Spend(3)})
    with pytest.raises(IllegalTransitionError, match="nothing is held"):
        await ledger.sent(1)
    assert await states(ledger) == ["planned"] * 3


async def test_an_image_whose_link_died_is_spent_once(poor):
    """It was answered, so it is no doubt as well."""
    ledger = await poor.ledger()
    await sent_before(ledger, 1)
    await ledger.paid(1, [LINK], cost=0.03)
    await ledger.unknown(1, "LinkExpiredError", "too late")
    await poor.proxy().ask("reserve", 2, Spend(1))

    assert poor.coordinator._budget.purse.allowance.spent == Spend(1, 30_000)
