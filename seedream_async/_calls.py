"""What every call does: check, build, take a slot, send, read, and try again where that is free."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar

from attrs import evolve, frozen

from . import _catalog, _retry, _validate, _wire
from ._http import Asked, Piece
from ._models import ImagesResponse, ModelInfo
from ._references import References
from ._request import GenerateRequest
from ._retry import RetryPolicy, Timeout
from ._streaming import EventStream, Save
from ._traffic import Traffic
from ._transport import ApiTransport

_T = TypeVar("_T")
_PATH = "/images/generations"


@frozen
class Prepared:
    """A request that is ready to be sent."""

    pieces: tuple[Piece, ...]
    headers: Mapping[str, str] | None
    asked: Asked


class Calls:
    """The calls of one client."""

    def __init__(
        self,
        api: ApiTransport,
        traffic: Traffic,
        *,
        key: str,
        model: str,
        timeout: Timeout,
        retry: RetryPolicy,
        validation: _validate.Validation,
    ) -> None:
        self._api = api
        self._traffic = traffic
        self._key = key
        self._model = model
        self._timeout = timeout
        self._retry = retry
        self._validation = validation
        self._references = References()

    async def models(self) -> tuple[ModelInfo, ...]:
        """The models that the key may use, as `GET /models` lists them. Free of charge."""

        async def attempt(left: Timeout) -> tuple[ModelInfo, ...]:
            answer = await self._api.send("GET", "/models", timeout=left)
            return _wire.parse_models(answer, Asked(secrets=(self._key,)), datetime.now(UTC))

        return await self._retried(None, attempt)

    @contextlib.asynccontextmanager
    async def prepared(
        self, request: GenerateRequest, *, stream: bool = False
    ) -> AsyncIterator[Prepared]:
        """What is to be sent, if nothing is wrong with it. Nothing is sent before that."""
        model = request.model or self._model

        def judge(problems: Iterable[_validate.Problem]) -> None:
            _validate.judge(problems, self._validation)

        judge(_validate.problems(request, model, stream=stream))
        rules = partial(
            _validate.reference_problems,
            family=_catalog.family_of(model),
            layers=bool(request.layer_decomposition),
        )
        async with self._references.resolve(request.image or (), judge, rules) as references:
            yield Prepared(
                pieces=_wire.build(request, model=model, references=references, stream=stream),
                headers=request.extra_headers,
                asked=Asked(
                    secrets=(self._key, request.prompt),
                    remedy=lambda: _validate.remedy_for(request, model, stream=stream),
                ),
            )

    async def answer(self, prepared: Prepared, timeout: Timeout | float | None) -> ImagesResponse:
        async def attempt(left: Timeout) -> ImagesResponse:
            answer = await self._api.send(
                "POST", _PATH, prepared.pieces, timeout=left, headers=prepared.headers
            )
            return _wire.parse(answer, prepared.asked, datetime.now(UTC))

        async with self._traffic.slot():
            return await self._retried(timeout, attempt)

    @contextlib.asynccontextmanager
    async def stream(
        self, prepared: Prepared, timeout: Timeout | float | None, save: Save | None
    ) -> AsyncIterator[EventStream]:
        """The events that answer *prepared*; the connection is closed with the block."""
        async with self._traffic.slot(), contextlib.AsyncExitStack() as stack:
            yield await self._retried(timeout, lambda left: self._open(prepared, left, save, stack))

    async def _open(
        self,
        prepared: Prepared,
        left: Timeout,
        save: Save | None,
        stack: contextlib.AsyncExitStack,
    ) -> EventStream:
        """One attempt to open a stream. What it opens is left to *stack* if it succeeds."""
        async with contextlib.AsyncExitStack() as attempt:
            stream = await attempt.enter_async_context(
                self._api.open(
                    "POST", _PATH, prepared.pieces, timeout=left, headers=prepared.headers
                )
            )
            if stream.is_event_stream:
                events = EventStream(stream, prepared.asked, save)
            else:
                response = _wire.parse(await stream.read(), prepared.asked, datetime.now(UTC))
                events = EventStream.of_response(response, stream, prepared.asked, save)
            attempt.push_async_callback(events.aclose)
            stack.push_async_exit(attempt.pop_all())
            return events

    async def _retried(
        self, timeout: Timeout | float | None, attempt: Callable[[Timeout], Awaitable[_T]]
    ) -> _T:
        """Call *attempt* with what is left of the time, as often as the policy allows."""
        limits = self._timeout if timeout is None else Timeout.of(timeout)
        remaining = _countdown(limits.total)
        return await _retry.run(
            lambda: attempt(evolve(limits, total=remaining())), self._retry, remaining=remaining
        )


def _countdown(total: float | None) -> Callable[[], float]:
    """A clock that starts now and tells how many seconds of *total* are left, never quite none."""
    now = asyncio.get_running_loop().time
    end = math.inf if total is None else now() + total
    return lambda: max(end - now(), 0.001)
