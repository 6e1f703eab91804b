"""A request from its check to its files, alone or as one of many: what is held, and how long."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from . import _files
from ._attempts import Call
from ._calls import Calls, Effort, received
from ._errand import Watched
from ._estimate import most_images
from ._fanout import FanOut
from ._guests import Guests, Visit
from ._inbox import Inbox
from ._later import Later
from ._models import ImagesResponse
from ._pulling import Source
from ._reporting import logger
from ._request import GenerateRequest
from ._results import Success
from ._saving import Saver
from ._sessions import Lifetime
from ._threads import in_thread

if TYPE_CHECKING:
    from . import _digests, _flights, _naming
    from ._streaming import EventStream
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
        self.guests = Guests(lifetime)

    async def one(
        self, request: GenerateRequest, effort: Effort, save_to: str | os.PathLike[str] | None
    ) -> ImagesResponse:
        calls: list[Call] = []
        async with self.guests.visit() as visit:
            noted = partial(_note, calls, visit)
            if save_to is None:
                async with self.calls.prepared(request) as prepared:
                    return await self.calls.answer(prepared, effort, received, noted)
            async with Inbox() as inbox:
                async with self.calls.prepared(request) as prepared:
                    place = await opened(save_to)
                    receive = partial(inbox.receive, place)
                    response = await self.calls.answer(prepared, effort, receive, noted)
                visit.answered(response)
                places, call = _files.Group(place, prepared.asked.images), calls[0].number
                return await self.saver.save_all(response, places, inbox.files, call=call)

    async def one_for_all(
        self, request: GenerateRequest, effort: Effort, save_to: str | os.PathLike[str] | None
    ) -> ImagesResponse:
        """As `one`, but of those who ask for the same at the same time, one makes the call."""
        self.lifetime.check(new=True)
        place = None if save_to is None else await opened(save_to)
        names = await _digests.reference_names(request.image or ())
        timeout, retry = self.calls.timeout_of(effort), self.calls.policy_of(effort)
        model = self.calls.model
        shared = _flights.Shareable.of(request, timeout, retry, model=model, references=names)
        images = most_images(request, request.model or model)
        fly = partial(self._answered, request, shared)
        self._flights = self._flights or _flights.Flights(_tell_lost)
        response, call = await self._flights.join(shared, fly, timeout.bounds(images))
        if place is None:
            return response
        async with self.guests.visit(paying=False) as visit:  # the call had one of its own
            visit.answered(response)
            places = _files.Group(place, images)
            return await self.saver.save_all(response, places, {}, call=call)

    async def _answered(
        self,
        request: GenerateRequest,
        shared: _flights.Shareable,
        began: Callable[[_flights.Called], None],
    ) -> _Answered:
        effort = Effort(timeout=shared.timeout, retry=shared.retry)
        calls: list[Call] = []
        async with self.guests.visit(began) as visit, self.calls.prepared(request) as prepared:
            tell = partial(_note, calls, visit)
            response = await self.calls.answer(prepared, effort, received, tell)
        return response, calls[0].number

    @contextlib.asynccontextmanager
    async def stream(
        self, request: GenerateRequest, effort: Effort, save_to: str | os.PathLike[str] | None
    ) -> AsyncIterator[EventStream]:
        async with (
            self.guests.visit() as visit,
            self.calls.prepared(request, stream=True) as prepared,
        ):
            place = None if save_to is None else await opened(save_to)
            most = prepared.asked.images
            save = partial(self.saver.save_each, place, most=most) if place else None
            async with self.calls.stream(prepared, effort, save, visit.began) as events:
                visit.streams(events)
                yield events

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
        async with (
            self.guests.visit(began, answered) as visit,
            self.calls.prepared(request) as prepared,
        ):
            response = await self.calls.answer(prepared, effort, received, visit.began)
            visit.answered(response)
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
        async with self.guests.visit(began, answered) as visit, Inbox() as inbox:
            receive = partial(inbox.receive, _files.Place(folder)) if folder else received
            noted = partial(_note, calls, visit)
            async with self.calls.prepared(request) as prepared:
                response = await self.calls.answer(prepared, effort, receive, noted)
                visit.answered(response)
            places = naming.of_answer(Success(index, request, response), model)
            try:
                return await self.saver.save_all(
                    response, places, inbox.files, call=calls[0].number
                )
            except asyncio.CancelledError:
                visit.answered(await inbox.give_back(response))
                raise


def _note(calls: list[Call], visit: Visit, call: Call) -> None:
    calls.append(call)
    visit.began(call)


def _tell_lost(answered: _Answered) -> None:
    response, call = answered
    logger.warning(
        "call %d was answered as all who waited for it were cancelled, and nobody has its images; "
        "%d billed",
        call,
        len(response.images),
    )


async def opened(save_to: str | os.PathLike[str]) -> _files.Place:
    """The place that *save_to* is. Raises before anything is sent if it is of no use."""
    return await in_thread(_files.open_place, save_to, field="save_to")
