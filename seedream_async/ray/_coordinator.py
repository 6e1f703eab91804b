"""
What the workers of a batch share: its ledger, its budget, its pace, and whether it is left.

Nothing here knows Ray: the actor that holds it passes calls on.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from seedream_async._allowance import PricePerImage, Spend
from seedream_async._errors import InvalidRequestError
from seedream_async._gate import Gate
from seedream_async._limits import Limits
from seedream_async.batch import _reading
from seedream_async.batch._ballast import Ballast
from seedream_async.batch._entries import Entry, Recovery
from seedream_async.batch._leaving import Leaving
from seedream_async.batch._ledger import Ledger
from seedream_async.batch._states import IllegalTransitionError, State

from ._budget import Budget
from ._claims import NOBODY, Claims

BEAT = 1.0  # seconds between two signs of life of a worker
LEASE = 10.0  # seconds without any, after which its rows are not its own
_PATIENCE = 30.0  # seconds for the process of the last run to let go of the ledger


@frozen(kw_only=True)
class Terms:
    """What a batch may use: *images_per_minute* and a budget, for all workers and all runs."""

    ledger: str
    model: str
    images_per_minute: int | None = None
    max_images: int | None = None
    max_cost: float | None = None
    price: PricePerImage | None = None
    lease: float = LEASE


@frozen(kw_only=True)
class Standing:
    """How far a batch is, as its coordinator knows; *claimed* rows are at a worker."""

    counts: Mapping[State, int]
    images: int
    cost: float
    claimed: int
    why: str | Exception | None
    problems: Mapping[str, str]


class Coordinator:
    """
    The one that all workers of a batch ask. Belongs to the event loop of its first call.

    One that is *restarted* goes on with the run: what was in flight stays so as long as the worker
    that sent it lives.
    """

    def __init__(
        self,
        terms: Terms,
        *,
        restarted: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._terms = terms
        self._restarted = restarted
        self._now = now
        self._born = now()
        self._claims = Claims(terms.lease)
        self._leaving = Leaving()
        self._problems: dict[str, str] = {}
        self._gate = Gate(Limits(images_per_minute=terms.images_per_minute), random.random)
        self._stack = contextlib.AsyncExitStack()
        self._opening = asyncio.Lock()
        self._ledger: Ledger | None = None
        limits = {"max_images": terms.max_images, "max_cost": terms.max_cost}
        self._budget = Budget(limits, terms.model, terms.price)

    async def call(self, name: str, args: tuple[Any, ...]) -> tuple[Any, Exception | None]:
        """What the method *name* gives, or raises: as values, so that they travel unchanged."""
        if name not in DOORS:
            raise AttributeError(f"a coordinator has no door {name!r}")
        try:
            ledger = await self._opened()
            return await getattr(self, name)(ledger, *args), None
        except Exception as error:  # noqa: BLE001  raised where it was asked for
            error.__traceback__ = None
            return None, error

    async def aclose(self) -> None:
        """Close the ledger."""
        await self._stack.aclose()

    async def _opened(self) -> Ledger:
        async with self._opening:
            return self._ledger or await self._open()

    async def _open(self) -> Ledger:
        ledger = await self._unlocked()
        if self._restarted:
            self._gate.drain()
            await self._keep_in_flight(ledger)
        self._ledger = ledger
        return ledger

    async def _unlocked(self) -> Ledger:
        until = self._now() + _PATIENCE
        while True:
            try:
                opening = Ledger.open(self._terms.ledger, goes_on=self._restarted)
                return await self._stack.enter_async_context(opening)
            except InvalidRequestError as error:
                if " is in use by " not in str(error) or self._now() > until:
                    raise
            await asyncio.sleep(0.2)

    async def _keep_in_flight(self, ledger: Ledger) -> None:
        self._claims.hear(NOBODY, self._now())
        async for known in ledger.left("sent"):
            self._claims.take(NOBODY, known.number)

    # What is asked for

    async def about(self, ledger: Ledger) -> tuple[Path, Recovery]:
        return ledger.path, ledger.recovery

    async def begin(self, ledger: Ledger, run: str, settings: Mapping[str, Any]) -> None:
        """
        Begin *run*, unless that was done: rows are planned anew, and known ones found again. Why
        the last one was left is forgotten.
        """
        if (await ledger.settings()).get("run") != run:
            self._leaving, self._problems = Leaving(), {}
            await ledger.begin({**settings, "run": run}, None)

    async def do(self, ledger: Ledger, function: Any, *args: Any) -> Any:
        """Work on the tables of the ledger, as its own methods do it."""
        kwargs = args[-1]
        return await ledger._do(function, *args[:-1], **kwargs)  # noqa: SLF001  our own

    async def look(
        self, ledger: Ledger, owner: str, numbers: Sequence[int]
    ) -> list[tuple[Entry, bool]]:
        """What is known of these rows, and whether *owner* has them now: nobody else has then."""
        await self._hear(ledger, owner)
        entries = await ledger.rows(numbers)
        return [(entry, self._claims.take(owner, entry.number)) for entry in entries]

    async def release(self, ledger: Ledger, owner: str, numbers: Sequence[int]) -> None:
        """*owner* is done with these rows."""
        # All at once: a worker that meets one of them again meanwhile has it anew.
        for number in [number for number in numbers if self._claims.drop(owner, number)]:
            await self._close(ledger, number)

    async def sent(
        self, ledger: Ledger, owner: str, number: int, resend_unknown: bool, again: bool
    ) -> None:
        """
        As of a ledger, for a row that *owner* has; *again*, if it may have been done before the
        coordinator was started again.
        """
        self._leaving.refuse()
        has = self._claims.adopt(owner, number) if again else self._claims.take(owner, number)
        if not has:
            raise IllegalTransitionError(f"row {number} is at another worker", "sent")
        if again and (await ledger.rows([number]))[0].state == "sent":
            return
        if self._budget.lacks(number):
            raise IllegalTransitionError(f"nothing is held for row {number} any more", "sent")
        await ledger.sent(number, resend_unknown=resend_unknown)

    async def beat(
        self, ledger: Ledger, owner: str, held: Mapping[int, Spend | None]
    ) -> str | Exception | None:
        """*owner* is alive and has these rows, for which so much is held; tell whether to leave."""
        await self._hear(ledger, owner)
        for number, most in held.items():
            if self._claims.adopt(owner, number) and most and self._restarted:
                self._budget.held_before(number, most)
        return self._leaving.why

    async def leave(self, _: Ledger, why: str | Exception) -> None:
        self._leaving.leave(why)

    async def met(self, _: Ledger, name: str, text: str) -> None:
        """A row met an error of the class *name*."""
        self._problems.setdefault(name, text)

    async def standing(self, ledger: Ledger) -> Standing:
        await self._sweep(ledger)
        counts, spent = await ledger.counts(), await ledger.spent()
        return Standing(
            counts=counts,
            images=await ledger._do(_reading.files),  # noqa: SLF001  our own
            cost=spent.cost,
            claimed=self._claims.count,
            why=self._leaving.why,
            problems=dict(self._problems),
        )

    async def make_room(self, ledger: Ledger) -> None:
        await Ballast(ledger.path).drop()

    # The pace

    async def acquire(self, _: Ledger, images: int) -> None:
        await self._gate.enter(images)

    async def refund(self, _: Ledger, asked: int, made: int) -> None:
        self._gate.used(asked, made, asyncio.get_running_loop().time())

    async def pause(self, _: Ledger, seconds: float) -> None:
        if seconds > 0:
            self._gate.hold(seconds)

    # The budget

    async def reserve(self, ledger: Ledger, number: int, most: Spend) -> None:
        """Hold *most* for row *number*; raises `BudgetReachedError`."""
        if self._restarted:  # what others hold is known once each of them was heard
            await asyncio.sleep(self._born + self._terms.lease - self._now())
        await self._budget.hold(ledger, number, most)

    async def settle(self, _: Ledger, number: int, came: Spend) -> None:
        """Count what *came* of row *number*, for which something was held."""
        await self._budget.settle(number, came)

    # Those who are gone

    async def _hear(self, ledger: Ledger, owner: str) -> None:
        self._claims.hear(owner, self._now())
        await self._sweep(ledger)

    async def _sweep(self, ledger: Ledger) -> None:
        """Settle what is left of workers that are gone."""
        for number in self._claims.lapsed(self._now()):
            await self._close(ledger, number)

    async def _close(self, ledger: Ledger, number: int) -> None:
        """Settle row *number*, which nobody is at work on any more, unless somebody is again."""
        if self._claims.is_taken(number):
            return
        free = await ledger.given_up(number, _GONE) in ("planned", "failed")
        most = self._budget.held_by(number)
        await self._budget.settle(number, Spend() if free else most)


_GONE = "the worker that sent it is gone, and its answer with it"
DOORS = frozenset(
    name for name in vars(Coordinator) if name[0] != "_" and name not in ("call", "aclose")
)
