"""One allowance and those who draw on it: first come, first served, and never more than it has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ._allowance import Allowance, PricePerImage, Spend, came_of, most_of
from ._events import Attempt
from ._models import ImagesResponse
from ._request import GenerateRequest


class Purse:
    """
    An *allowance* for requests to *model*, if they name no other, at *price* per image.

    Every reservation is to be settled, however its request ended.
    """

    def __init__(
        self, allowance: Allowance, model: str, price: PricePerImage | None = None
    ) -> None:
        self.allowance = allowance
        self._model = model
        self._price = price
        self._turn = asyncio.Lock()
        self._settled = asyncio.Event()

    async def reserve(self, request: GenerateRequest) -> Spend:
        """
        Hold the most that *request* may come to, and tell what that is.

        Waits for requests in flight if they may leave enough. Raises `BudgetReachedError` if they
        cannot, and `InvalidRequestError` if there is a limit of cost and no price of the model.
        """
        priced = self.allowance.max_cost is not None
        most = most_of(request, self._model, self._price, priced=priced)
        async with self._turn:
            while not self.allowance.fits(most):
                if refusal := self.allowance.refusal(most):
                    raise refusal
                self._settled.clear()
                await self._settled.wait()
            self.allowance = self.allowance.reserve(most)
        return most

    def settle(
        self, most: Spend, attempts: Sequence[Attempt], response: ImagesResponse | None
    ) -> None:
        """Put back what *most* has over what came of its request."""
        self.allowance = self.allowance.settle(most, came_of(most, attempts, response))
        self._settled.set()
