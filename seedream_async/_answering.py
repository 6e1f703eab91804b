"""What is done for each request of a fan-out: it is let in, answered, and paid for once."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

from ._allowance import Spend
from ._errand import Errand, Stop, Watched
from ._models import ImagesResponse
from ._request import GenerateRequest
from ._spending import Purse

# Answers a request and saves its images; tells of its call, and of the answer before it saves.
Generate: TypeAlias = Callable[
    [int, GenerateRequest, Callable[[Watched], None], Callable[[ImagesResponse], None]],
    Awaitable[ImagesResponse],
]


class Answering:
    """
    Has *generate* answer the requests, unless *stop* tells why not, and *purse* pay for them.

    *answered* is called in the task of a request that has its answer, and only to be saved.
    """

    def __init__(
        self,
        generate: Generate,
        purse: Purse | None,
        answered: Callable[[], None],
        *,
        model: str,
        patience: float = math.inf,
    ) -> None:
        self.stop = Stop(model, patience)
        self._generate = generate
        self._purse = purse
        self.answered = answered

    async def admit(self, errand: Errand) -> None:
        """Wait until *errand* may be sent."""
        if errand.result is not None:  # the source's own error
            return
        errand.request = request = GenerateRequest.of(errand.request)  # type: ignore[arg-type]
        self.stop.check(request)
        if self._purse is not None:
            errand.most = await self._purse.reserve(request)

    async def answer(self, errand: Errand) -> None:
        """Have it answered, once it is admitted."""
        request = errand.request
        assert isinstance(request, GenerateRequest)  # noqa: S101  as it was admitted
        steps = _Steps(self, errand)
        try:
            response = await self._generate(errand.index, request, steps.began, steps.answered)
            errand.response = response
        finally:
            self.settle(errand)
        errand.succeed(response)

    def settle(self, errand: Errand) -> None:
        """Count what came of *errand*, once."""
        most, errand.most = errand.most, None
        if self._purse is not None and most is not None:
            self._purse.settle(most, errand.attempts, errand.response, times=errand.times)

    def hold_again(self, most: Spend) -> str | None:
        """Hold *most* for another attempt; or tell why there must be none."""
        return None if self._purse is None else self._purse.hold_again(most)


class _Steps:
    """How far the answer to *errand* is, as its call and who sends it tell."""

    __slots__ = ("_answering", "_errand")

    def __init__(self, answering: Answering, errand: Errand) -> None:
        self._answering = answering
        self._errand = errand

    def began(self, call: Watched) -> None:
        """Note the *call*, and let it ask before each attempt."""
        self._errand.began(call)
        call.ask_before_sending(self._check)
        if self._errand.most is not None:
            call.ask_before_resending(partial(self._hold_again, self._errand.most))

    def answered(self, response: ImagesResponse) -> None:
        """Note the *response*, which is still to be saved if images are."""
        self._errand.response = response
        self._answering.settle(self._errand)
        self._answering.answered()

    def _check(self) -> None:
        assert isinstance(self._errand.request, GenerateRequest)  # noqa: S101  as it was admitted
        self._answering.stop.check(self._errand.request)

    def _hold_again(self, most: Spend) -> str | None:
        why_not = self._answering.hold_again(most)
        self._errand.times += why_not is None
        return why_not
