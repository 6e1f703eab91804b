"""A request from its check to its files, alone or as one of many: what is held, and how long."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from . import _files
from ._attempts import Call
from ._calls import Calls, Effort, received
from ._errand import Watched
from ._estimate import most_images
from ._fanout import FanOut
from ._inbox import Inbox
from ._later import Later
from ._models import ImagesResponse
from ._pulling import Source
from ._request import GenerateRequest
from ._results import Success
from ._saving import Saver
from ._sessions import Lifetime
from ._threads import in_thread

if TYPE_CHECKING:
    from . import _digests, _flights, _naming
else:
    _digests, _flights = Later("_digests"), Later("_flights")
    _naming = Later("_naming")  # with its templates

_Answered: TypeAlias = tuple[ImagesResponse, int]  # a response, and the number of its call


class Generating:
    """Answers requests, and saves their images where that is asked for."""

    def __init__(self, calls: Calls, saver: Saver, lifetime: Lifetime) -> None:
        self.calls = calls
        self.saver = saver
        self.lifetime = lifetime
        self._flights: _flights.Flights[_Answered] | None = None  # until one is to be shared

    async def one(
        self, request: GenerateRequest, effort: Effort, save_to: str | os.PathLike[str] | None
    ) -> ImagesResponse:
        self.lifetime.check()  # before it waits for anything that belongs to a loop
        if save_to is None:
            async with self.calls.prepared(request) as prepared:
                return await self.calls.answer(prepared, effort)
        async with Inbox() as inbox:
            async with self.calls.prepared(request) as prepared:
                place = await opened(save_to)
                receive = partial(inbox.receive, place)
                calls: list[Call] = []
                response = await self.calls.answer(prepared, effort, receive, calls.append)
            places = _files.Group(place, prepared.asked.images)
            return await self.saver.save_all(response, places, inbox.files, call=calls[0].number)

    async def one_for_all(
        self, request: GenerateRequest, effort: Effort, save_to: str | os.PathLike[str] | None
    ) -> ImagesResponse:
        """As `one`, but of those who ask for the same at the same time, one makes the call."""
        self.lifetime.check()
        place = None if save_to is None else await opened(save_to)
        names = await _digests.reference_names(request.image or ())
        timeout, retry = self.calls.timeout_of(effort), self.calls.policy_of(effort)
        model = self.calls.model
        shared = _flights.Shareable.of(request, timeout, retry, model=model, references=names)
        images = most_images(request, request.model or model)
        limit = timeout.bounds(images).total
        fly = partial(self._answered, request, shared)
        self._flights = self._flights or _flights.Flights()
        response, call = await self._flights.join(shared, fly, limit)
        if place is None:
            return response
        return await self.saver.save_all(response, _files.Group(place, images), {}, call=call)

    async def _answered(
        self,
        request: GenerateRequest,
        shared: _flights.Shareable,
        began: Callable[[_flights.Called], None],
    ) -> _Answered:
        effort = Effort(timeout=shared.timeout, retry=shared.retry)
        calls: list[Call] = []

        def noted(call: Call) -> None:
            calls.append(call)
            began(call)

        async with self.calls.prepared(request) as prepared:
            response = await self.calls.answer(prepared, effort, received, noted)
        return response, calls[0].number

    def many(
        self,
        requests: Source,
        effort: Effort,
        save_to: _naming.SaveTo | None,
        *,
        model: str,
        **how: Any,
    ) -> FanOut:
        """As `FanOut` has it; *how* is what that is told."""
        naming = None if save_to is None else _naming.Naming.of(save_to)

        async def prepare() -> None:
            self.lifetime.check()
            if naming is not None:
                await in_thread(naming.open)

        generate = partial(self._answer_one, effort)
        if naming is not None:
            generate = partial(self._save_one, effort, naming=naming, model=model)
        return FanOut(
            requests,
            generate,
            prepare=prepare,
            model=model,
            saves=naming is not None,
            patience=self.calls.policy_of(effort).max_retry_after,
            **how,
        )

    async def _answer_one(
        self,
        effort: Effort,
        _: int,
        request: GenerateRequest,
        began: Callable[[Watched], None],
        answered: Callable[[ImagesResponse], None],
    ) -> ImagesResponse:
        async with self.calls.prepared(request) as prepared:
            response = await self.calls.answer(prepared, effort, received, began)
            answered(response)
            return response

    async def _save_one(
        self,
        effort: Effort,
        index: int,
        request: GenerateRequest,
        began: Callable[[Watched], None],
        answered: Callable[[ImagesResponse], None],
        *,
        naming: _naming.Naming,
        model: str,
    ) -> ImagesResponse:
        # Where only a function knows the folder, base64 waits for it in memory.
        folder = naming.folder
        calls: list[Call] = []

        def noted(call: Call) -> None:
            calls.append(call)
            began(call)

        async with Inbox() as inbox:
            receive = partial(inbox.receive, _files.Place(folder)) if folder else received
            async with self.calls.prepared(request) as prepared:
                response = await self.calls.answer(prepared, effort, receive, noted)
                answered(response)
            places = naming.of_answer(Success(index, request, response), model)
            try:
                return await self.saver.save_all(
                    response, places, inbox.files, call=calls[0].number
                )
            except asyncio.CancelledError:
                answered(await inbox.give_back(response))
                raise


async def opened(save_to: str | os.PathLike[str]) -> _files.Place:
    """The place that *save_to* is. Raises before anything is sent if it is of no use."""
    return await in_thread(_files.open_place, save_to, field="save_to")
