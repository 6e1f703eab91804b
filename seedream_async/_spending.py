"""One allowance and those who draw on it: first come, first served, and never more than it has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, Self

from ._allowance import Allowance, PricePerImage, Spend, came_of, most_of
from ._errors import InvalidRequestError
from ._estimate import currency_of
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
        self.allowance: Allowance = allowance
        self._model = model
        self._price = price
        self.currency = currency_of(model, price)
        self._counted = Spend()
        self._turn = asyncio.Lock()
        self._settled = asyncio.Event()

    async def reserve(self, request: GenerateRequest) -> Spend:
        """
        Hold the most that *request* may come to, and tell what that is.

        Waits for requests in flight if they may leave enough. Raises `BudgetReachedError` if they
        cannot, and `InvalidRequestError` if there is a limit of cost and no price of the model.
        """
        most = self._most_of(request)
        await self.hold(most)
        return most

    async def hold(self, most: Spend) -> None:
        """As `reserve`, for a request that may come to *most*."""
        async with self._turn:
            while not self.allowance.fits(most):
                if refusal := self.allowance.refusal(most):
                    raise refusal
                self._settled.clear()
                await self._settled.wait()
            self.allowance = self.allowance.reserve(most)

    def _most_of(self, request: GenerateRequest) -> Spend:
        limited = self.allowance.max_cost is not None
        priced = limited or self.currency is not None
        try:
            return most_of(request, self._model, self._price, priced=priced)
        except InvalidRequestError:
            if limited:
                raise
        self.currency = None
        return most_of(request, self._model, self._price, priced=False)

    def hold_again(self, most: Spend) -> str | None:
        """Hold *most* once more, for a request that may be billed twice; or tell why not."""
        if not self.allowance.fits(most):
            return "if it were billed twice, that might pass max_images or max_cost"
        self.allowance = self.allowance.reserve(most)
        return None

    def settle(
        self,
        most: Spend,
        attempts: Sequence[Attempt],
        response: ImagesResponse | None,
        *,
        times: int = 1,
    ) -> None:
        """Put back what *most*, held so many *times*, has over what came of its request."""
        self.put_back(most.times(times), came_of(most, attempts, response))

    def put_back(self, most: Spend, came: Spend) -> None:
        """Let go of *most*, which was held, and count what *came* of it."""
        self.allowance = self.allowance.settle(most, came)
        self._settled.set()

    def holding(self, request: GenerateRequest) -> Holding:
        """What *request* may come to is held for the time of a block, then what came is counted."""
        return Holding(self, request)

    def count(
        self, request: GenerateRequest, attempts: Sequence[Attempt], response: ImagesResponse | None
    ) -> None:
        """Count what came of *request*, for which nothing was held, if a price is known."""
        if self.currency is None:
            return
        self._counted += came_of(self._most_of(request), attempts, response)

    @property
    def cost(self) -> float | None:
        """What was, or may have been, billed, in *currency*; nothing if a price is not known."""
        return None if self.currency is None else (self.allowance.spent + self._counted).cost


class Called(Protocol):
    """What is seen of a call that spends."""

    @property
    def attempts(self) -> Sequence[Attempt]: ...

    def ask_before_resending(self, why_not: Callable[[], str | None]) -> None: ...


class Holding:
    """What one call holds of a purse. Its call and *response* tell what came of it."""

    __slots__ = ("_call", "_most", "_purse", "_request", "_times", "response")

    def __init__(self, purse: Purse, request: GenerateRequest) -> None:
        self._purse = purse
        self._request = request
        self._most: Spend | None = None
        self._times = 1
        self._call: Called | None = None
        self.response: ImagesResponse | None = None

    async def __aenter__(self) -> Self:
        if self._purse.allowance.is_limited:
            self._most = await self._purse.reserve(self._request)
        return self

    def began(self, call: Called) -> None:
        """Note the call that it is for."""
        self._call = call
        if self._most is not None:
            call.ask_before_resending(partial(self._hold_again, self._most))

    def _hold_again(self, most: Spend) -> str | None:
        why_not = self._purse.hold_again(most)
        self._times += why_not is None
        return why_not

    async def __aexit__(self, *_: object) -> None:
        attempts = () if self._call is None else self._call.attempts
        if self._most is not None:
            self._purse.settle(self._most, attempts, self.response, times=self._times)
        elif attempts:
            self._purse.count(self._request, attempts, self.response)
