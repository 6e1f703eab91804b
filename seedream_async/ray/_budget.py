"""
What the workers of a batch may still spend: what all runs have come to, and what each row holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from seedream_async._allowance import Allowance, PricePerImage, Spend, most_of
from seedream_async._errors import InvalidRequestError
from seedream_async._request import GenerateRequest
from seedream_async._spending import Purse
from seedream_async.batch._entries import Entry
from seedream_async.batch._ledger import Ledger
from seedream_async.batch._surveying import Survey

_MICRO = 1_000_000


class Budget:
    """*limits* are those of an `Allowance`. What was spent is read when something is first held."""

    def __init__(
        self, limits: Mapping[str, float | None], model: str, price: PricePerImage | None
    ) -> None:
        self.purse: Purse | None = None
        self._limits = limits
        self._model = model
        self._price = price
        self._held: dict[int, Spend] = {}
        self._reading = False
        self._turn = asyncio.Lock()

    def lacks(self, number: int) -> bool:
        """Whether something would have to be held for row *number*, and is not."""
        limited = any(limit is not None for limit in self._limits.values())
        return limited and number not in self._held

    def held_by(self, number: int) -> Spend:
        return self._held.get(number, Spend())

    def held_before(self, number: int, most: Spend) -> None:
        """Note what is held since before a restart; later, it has been counted without it."""
        if not self._reading:
            self._held[number] = most

    async def hold(self, ledger: Ledger, number: int, most: Spend) -> None:
        """Hold *most* for row *number*, once; raises `BudgetReachedError`."""
        purse = await self._opened(ledger)
        if number not in self._held:
            await purse.hold(most)
            self._held[number] = most

    async def settle(self, number: int, came: Spend) -> None:
        """Count what *came* of row *number*, if something was held for it."""
        async with self._turn:
            most = self._held.pop(number, None)
            if most is not None and self.purse is not None:  # or else the ledger tells it
                self.purse.put_back(most, came)

    async def _opened(self, ledger: Ledger) -> Purse:
        async with self._turn:
            if self.purse is None:
                self._reading = True
                spent = await self._spent(ledger)
                held = sum(self._held.values(), Spend())
                allowance = Allowance(**self._limits, spent=spent, held=held)  # type: ignore[arg-type]
                self.purse = Purse(allowance, self._model, self._price)
            return self.purse

    async def _spent(self, ledger: Ledger) -> Spend:
        """What all runs have come to; what is unknown counts as if it were billed."""
        images = doubts = 0
        cost = (await ledger.spent()).cost
        for listed in (True, False):
            async for entry in ledger.entries("sent", "saved", "paid", "unknown", listed=listed):
                billed, doubtful = entry.spent
                if entry.number in self._held:  # it is counted when it is settled
                    billed, doubtful = 0, entry.doubts - (entry.state == "unknown")
                    cost -= _cost(entry)
                elif entry.state == "sent":
                    doubtful += 1
                images, doubts = images + billed, doubts + doubtful
        cost += doubts * await self._price_of(ledger)
        return Spend(images + doubts, round(cost * _MICRO))

    async def _price_of(self, ledger: Ledger) -> float:
        """What one image costs at most, as far as is known."""
        if survey := (await ledger.settings()).get("survey"):
            return Survey.of(survey).price
        try:
            return most_of(GenerateRequest("?"), self._model, self._price, priced=True).cost
        except InvalidRequestError:
            return 0.0


def _cost(entry: Entry) -> float:
    """What the answer of *entry* came to, if it has one."""
    return (entry.cost or 0.0) if entry.state in ("paid", "saved") else 0.0
