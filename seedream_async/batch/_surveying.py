"""
The first pass over an input: every row is judged, noted as planned, and reckoned. Nothing is sent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from attrs import define, field

from seedream_async import _digests, _estimate, _validate
from seedream_async._allowance import PricePerImage
from seedream_async._errors import InvalidRequestError
from seedream_async._keys import key_of
from seedream_async._threads import in_thread

from ._entries import DuplicateId, Plan
from ._fields import BadRow, Row
from ._input import Input
from ._ledger import Ledger
from ._rows import Found

_PORTION = 1000  # rows
_MOST_COLUMNS = 100


@define
class Survey:
    """What an input asks for: rows, what they may make and cost, and what is wrong."""

    rows: int = 0
    bad: int = 0
    images: tuple[int, int] = (0, 0)
    amount: tuple[float, float] = (0.0, 0.0)
    unpriced: int = 0
    currency: str | None = None
    source: str = ""
    columns: dict[str, None] = field(factory=dict)

    @classmethod
    def of(cls, noted: Mapping[str, Any]) -> Survey:
        """That of a run before, as `asdict` made it and JSON has it."""
        pairs = {name: tuple(noted[name]) for name in ("images", "amount")}
        return cls(**{**noted, **pairs})

    @property
    def price(self) -> float:
        """What one image costs at most, on average."""
        return self.amount[1] / self.images[1] if self.images[1] else 0.0

    def count(self, row: Row, model: str, price: PricePerImage | None) -> None:
        """Add what *row* may come to."""
        for name in row.metadata:
            if len(self.columns) < _MOST_COLUMNS:
                self.columns[name] = None
        try:
            cost = _estimate.estimate(row.request, model=model, price=price)
        except InvalidRequestError:
            self.unpriced += 1
            most = _estimate.most_images(row.request, row.request.model or model)
            self.images = self.images[0] + 1, self.images[1] + most
            return
        self.currency, self.source = cost.currency, cost.source
        self.images = self.images[0] + cost.images[0], self.images[1] + cost.images[1]
        self.amount = self.amount[0] + cost.amount[0], self.amount[1] + cost.amount[1]


async def survey(
    ledger: Ledger,
    given: Input,
    price: PricePerImage | None,
    on_bad: Callable[[BadRow], None],
    on_read: Callable[[int], None],
) -> Survey:
    """
    Plan every row of *given* that is a request; tell *on_bad* of each that is not, and *on_read*
    of how many there are so far.
    """
    result = Survey()
    async for portion in _portions(given):
        on_read(result.rows + result.bad)
        judged = await in_thread(_judged, portion, given.model)
        plans = [plan for _, plan in judged if isinstance(plan, Plan)]
        known = iter(await ledger.plan(plans))
        for row, plan in judged:
            place = next(known) if isinstance(plan, Plan) else plan
            if isinstance(place, DuplicateId):
                place = duplicate(place)
            if isinstance(place, BadRow):
                result.bad += 1
                on_bad(place)
                continue
            assert isinstance(row, Row)  # noqa: S101  as it has a place
            result.rows += 1
            result.count(row, given.model, price)
    return result


def judged(row: Found, model: str) -> Row | BadRow:
    """*row*, unless the catalogue refuses it."""
    if isinstance(row, BadRow):
        return row
    found = (problem for problem in _validate.problems(row.request, model) if problem.certain)
    for problem in found:
        return BadRow(row.line, problem.message, row.id)
    return row


def duplicate(place: DuplicateId) -> BadRow:
    return BadRow(place.line, f"id {place.id!r} is that of line {place.first} too", place.id)


def _judged(portion: Sequence[Found], model: str) -> list[tuple[Found, Plan | BadRow]]:
    """Each row with its plan. Blocking, as references are read."""
    return [(row, plan_of(judged(row, model), model)) for row in portion]


def plan_of(row: Row | BadRow, model: str) -> Plan | BadRow:
    """How the ledger is to know *row*. Blocking, as its references are read."""
    if isinstance(row, BadRow):
        return row
    try:
        names = _digests.names(row.request.image) if row.request.image else ()
    except InvalidRequestError as exc:
        return BadRow(row.line, str(exc), row.id)
    return Plan(key_of(row.request, model=model, references=names), row.line, row.id)


async def _portions(given: Input) -> AsyncIterator[list[Found]]:
    portion = []
    async for row in given.rows():
        portion.append(row)
        if len(portion) == _PORTION:
            yield portion
            portion = []
    if portion:
        yield portion
