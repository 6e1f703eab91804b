"""What every call does: take a slot, send, read, and try again where that is free."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from attrs import evolve, frozen

from . import _retrying, _wire
from ._allowance import Allowance
from ._attempts import Call
from ._doubt import note_arrived
from ._errors import OutcomeUnknownError
from ._http import Asked
from ._later import Later
from ._limits import Stats
from ._models import ImagesResponse, ModelInfo
from ._preparing import Prepared, Preparing
from ._reporting import Reporter
from ._retry import Budget, RetryPolicy
from ._spending import Purse
from ._timeout import Bounds, Timeout
from ._traffic import Traffic, Turn
from ._transport import ApiStream, ApiTransport
from ._validate import Validation

if TYPE_CHECKING:
    from . import _streaming
else:
    _streaming = Later("_streaming")

_T = TypeVar("_T")
_PATH = "/images/generations"


@frozen(kw_only=True)
class Effort:
    """
    How long and how hard to try: what one call says otherwise than its client.

    *guard* is around each attempt, entered when it is admitted: if that raises, nothing is sent.
    """

    timeout: Timeout | float | None = None
    retry: RetryPolicy | None = None
    guard: Callable[[], AbstractAsyncContextManager[object]] = contextlib.nullcontext


Receive: TypeAlias = Callable[[ApiStream, Asked], Awaitable[ImagesResponse]]


async def received(stream: ApiStream, asked: Asked) -> ImagesResponse:
    """The response that *stream* holds, read as a whole; an error has what is whole of half one."""
    try:
        answer = await stream.read(asked.most_bytes, _wire.most_bytes_of(asked.images)[1])
    except OutcomeUnknownError as error:
        note_arrived(error, _wire.whole_in(stream.answer(b"".join(stream.came))))
        raise
    return _wire.parse(answer, asked, datetime.now(UTC))


class Calls:
    """The calls of one client."""

    def __init__(
        self,
        api: ApiTransport,
        traffic: Traffic,
        report: Reporter,
        *,
        key: str,
        model: str,
        timeout: Timeout,
        retry: RetryPolicy,
        validation: Validation,
    ) -> None:
        self._api = api
        self._traffic = traffic
        self._report = report
        self._key = key
        self.model = model
        self.prepared = Preparing(key, model, validation).prepared
        self._timeout = timeout
        self._bounds = functools.cache(timeout.bounds)
        self._retry = retry
        self._numbers = itertools.count(1)
        limits = traffic.limits
        self._budget = Budget(limits.retry_budget)
        allowance = Allowance(max_images=limits.max_images, max_cost=limits.max_cost)
        self._purse = Purse(allowance, model, limits.price)

    def policy_of(self, effort: Effort) -> RetryPolicy:
        """How hard to try."""
        return effort.retry or self._retry

    def timeout_of(self, effort: Effort) -> Timeout:
        """How long to try."""
        return self._timeout if effort.timeout is None else Timeout.of(effort.timeout)

    def stats(self) -> Stats:
        """What goes on now, and what has been."""
        return evolve(self._traffic.stats(), cost=self._purse.cost, currency=self._purse.currency)

    async def models(self) -> tuple[ModelInfo, ...]:
        """The models that the key may use, as `GET /models` lists them. Free of charge."""
        asked = Asked(secrets=(self._key,), free=True)
        start = self._now()

        def bounds() -> Bounds:
            return self._timeout.bounds().after(self._now() - start)

        async def attempt() -> tuple[ModelInfo, ...]:
            answer = await self._api.send("GET", "/models", bounds=bounds())
            return _wire.parse_models(answer, asked, datetime.now(UTC))

        return await _retrying.run(
            attempt,
            self._retry,
            self._budget,
            remaining=lambda: bounds().left,
            on_retry=self._report.retry_scheduled,
        )

    async def answer(
        self,
        prepared: Prepared,
        effort: Effort,
        receive: Receive = received,
        began: Callable[[Call], object] = lambda _: None,
    ) -> ImagesResponse:
        """
        The answer to *prepared*, as *receive* makes it of what arrives.

        *began* is told of the call when it has its slot.
        """
        since = self._now()
        async with (
            self._purse.holding(prepared.request) as holding,
            self._traffic.turn(prepared.asked.images) as turn,
            self._call(prepared, since) as call,
        ):
            began(call)
            holding.began(call)

            async def attempt(bounds: Bounds) -> ImagesResponse:
                async with effort.guard(), self._post(prepared, call, bounds) as stream:
                    return await receive(stream, prepared.asked)

            response = await self._retried(turn, call, prepared, effort, attempt)
            holding.response = response
            call.response = response
            turn.made(_made(response))
            return evolve(response, attempts=call.attempts)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        prepared: Prepared,
        effort: Effort,
        save: Callable[[int], _streaming.Save] | None,
        began: Callable[[Call], object] = lambda _: None,
    ) -> AsyncIterator[_streaming.EventStream]:
        """
        The events that answer *prepared*; the connection is closed with the block.

        *save* is told the number of the call.
        """
        since = self._now()
        async with (
            self._purse.holding(prepared.request) as holding,
            self._traffic.turn(prepared.asked.images) as turn,
            self._call(prepared, since, stream=True) as call,
            contextlib.AsyncExitStack() as stack,
        ):
            began(call)
            holding.began(call)
            saves = save and save(call.number)
            open_stream = partial(self._open, prepared, saves, call, stack)
            events = await self._retried(turn, call, prepared, effort, open_stream)
            events.attempts = call.attempts
            try:
                yield events
            finally:
                call.response = events.response
                call.unfinished = not events.completed
                holding.response = events.response if events.completed else None
                call.attempts = events.attempts
                turn.made(_made(events.response), complete=events.completed)

    def _call(self, prepared: Prepared, since: float, *, stream: bool = False) -> Call:
        """One call, told of now that it has its slot; it waited *since* then."""
        quiet = not self._report.tells_all
        call = Call(next(self._numbers), prepared.model, self._report, quiet=quiet)
        request, images, waited = prepared.request, prepared.asked.images, self._now() - since
        self._report.call_started(
            call.number, prepared.model, request, images, waited=waited, stream=stream
        )
        return call

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    async def _open(
        self,
        prepared: Prepared,
        save: _streaming.Save | None,
        call: Call,
        stack: contextlib.AsyncExitStack,
        bounds: Bounds,
    ) -> _streaming.EventStream:
        """One attempt to open a stream. What it opens is left to *stack* if it succeeds."""
        async with contextlib.AsyncExitStack() as attempt:
            stream = await attempt.enter_async_context(self._post(prepared, call, bounds))
            if stream.is_event_stream:
                events = _streaming.EventStream(stream, prepared.asked, save)
            else:
                response = await received(stream, prepared.asked)
                events = _streaming.EventStream.of_response(response, stream, prepared.asked, save)
            attempt.push_async_callback(events.aclose)
            stack.push_async_exit(attempt.pop_all())
            return events

    def _post(
        self, prepared: Prepared, call: Call, bounds: Bounds
    ) -> AbstractAsyncContextManager[ApiStream]:
        return self._api.open(
            "POST",
            _PATH,
            prepared.pieces,
            bounds=bounds,
            headers=prepared.headers,
            on_sent=call.note_sent,
        )

    async def _retried(
        self,
        turn: Turn,
        call: Call,
        prepared: Prepared,
        effort: Effort,
        attempt: Callable[[Bounds], Awaitable[_T]],
    ) -> _T:
        """Call *attempt* with what is left of the time, as often as the policy allows."""
        bounds_of = self._bounds if effort.timeout is None else self.timeout_of(effort).bounds
        bounds = bounds_of(prepared.asked.images)
        policy = self.policy_of(effort)
        try:
            return await _retrying.run(
                partial(_admitted, attempt, turn, call, bounds, policy),
                policy,
                self._budget,
                remaining=partial(_remaining, bounds, call),
                on_retry=call.retry_scheduled,
                why_not=call.why_not_resend,
            )
        except Exception as error:  # noqa: BLE001  whatever it is, a doubt stays one
            failure = call.failure(error)
        raise failure


async def _admitted(
    attempt: Callable[[Bounds], Awaitable[_T]],
    turn: Turn,
    call: Call,
    bounds: Bounds,
    policy: RetryPolicy,
) -> _T:
    """One *attempt*, when the traffic lets it through."""
    if call.attempts:
        await turn.admitted(_remaining(bounds, call))
    else:
        await turn.admitted(math.inf)
        call.start_clock()
    try:
        result = await call.attempt(partial(attempt, bounds.after(call.elapsed())))
    except BaseException as error:
        turn.failed(error, call.attempts[-1].fate, policy)
        raise
    turn.answered()
    return result


def _remaining(bounds: Bounds, call: Call) -> float:
    """Seconds that there are to wait before another attempt."""
    return min(bounds.after(call.elapsed()).left - bounds.useful, call.patience())


def _made(response: ImagesResponse) -> int:
    """How many images the account is charged for, as far as *response* tells."""
    return max(len(response.images), response.usage.generated_images if response.usage else 0)
