"""How much may still be made and spent. What is in flight counts as the most it may come to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeAlias

from attrs import evolve, field, frozen

from . import _estimate
from ._catalog import Price
from ._errors import BudgetReachedError
from ._events import Attempt
from ._limits import check_cost, count_from
from ._models import ImagesResponse
from ._request import GenerateRequest

PricePerImage: TypeAlias = Price | tuple[float, str]
_MICRO = 1_000_000
_MAY_COST = ("unknown", "answered")


@frozen
class Spend:
    """So many *images*, for so many *micros*: millionths of the currency, which add up exactly."""

    images: int = 0
    micros: int = 0

    def __add__(self, other: Spend) -> Spend:
        return Spend(self.images + other.images, self.micros + other.micros)

    def __sub__(self, other: Spend) -> Spend:
        return Spend(self.images - other.images, self.micros - other.micros)

    @property
    def cost(self) -> float:
        """In the currency itself."""
        return self.micros / _MICRO

    def times(self, number: int) -> Spend:
        """*number* of these."""
        return Spend(self.images * number, self.micros * number)

    def share(self, images: int) -> Spend:
        """What *images* of these come to, rounded up."""
        return Spend(images, -(-self.micros * images // max(self.images, 1)))


@frozen(kw_only=True)
class Allowance:
    """
    At most *max_images*, for at most *max_cost*, of which so much is *spent* and so much *held*.

    A limit that is `None` allows everything.
    """

    max_images: int | None = field(default=None, validator=count_from(0, optional=True))
    max_cost: float | None = field(default=None, validator=check_cost)
    spent: Spend = Spend()
    held: Spend = Spend()

    @property
    def is_limited(self) -> bool:
        """Whether it can be reached at all."""
        return self.max_images is not None or self.max_cost is not None

    def fits(self, most: Spend) -> bool:
        """Whether *most* can be made now, whatever comes of what is held."""
        return self._reached(self.spent + self.held + most) is None

    def refusal(self, most: Spend) -> BudgetReachedError | None:
        """Why *most* can not even be made if nothing comes of what is held."""
        limit = self._reached(self.spent + most)
        if limit == "max_images":
            so_far, more, end = f"{self.spent.images}", f"make {most.images}", f"{self.max_images}"
        elif limit == "max_cost":
            so_far, more = f"{self.spent.cost:g}", f"cost {most.cost:g}"
            end = f"{self.max_cost:g}"
        else:
            return None
        return BudgetReachedError(
            f"not sent: {limit}={end} is reached, as this request may {more} more than the "
            f"{so_far} that were, or may have been, billed",
            field=limit,
        )

    def reserve(self, most: Spend) -> Allowance:
        """Hold *most*, for a request that is about to be sent."""
        return evolve(self, held=self.held + most)

    def settle(self, most: Spend, came: Spend) -> Allowance:
        """Let go of *most*, which was held, and count what *came* of it."""
        return evolve(self, held=self.held - most, spent=self.spent + came)

    def _reached(self, all_in_all: Spend) -> str | None:
        if self.max_images is not None and all_in_all.images > self.max_images:
            return "max_images"
        if self.max_cost is not None and all_in_all.micros > round(self.max_cost * _MICRO):
            return "max_cost"
        return None


def most_of(
    request: GenerateRequest, model: str, price: PricePerImage | None, *, priced: bool
) -> Spend:
    """
    The most that *request* may make and, if *priced*, cost. Raises `InvalidRequestError` if there
    is no price of the model.
    """
    name = request.model or model
    images = _estimate.most_images(request, name)
    if not priced:
        return Spend(images)
    # For each: extra_body may make more than the estimate knows.
    per_image = _estimate.most_per_image(request, name, price)
    return Spend(images, math.ceil(round(per_image * images * _MICRO, 3)))


def came_of(most: Spend, attempts: Sequence[Attempt], response: ImagesResponse | None) -> Spend:
    """
    What came of a request that may have come to *most*: the images of *response*.

    Each of its *attempts* whose outcome is unknown, or was no good, counts as *most*.
    """
    doubtful = [attempt for attempt in attempts if attempt.fate in _MAY_COST]
    if response is None:
        return most.times(len(doubtful))
    generated = response.usage.generated_images if response.usage else 0
    made = most.share(max(generated, len(response.images)))
    return made + most.times(len(doubtful) - 1) if len(doubtful) > 1 else made
