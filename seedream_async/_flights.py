"""
Calls that several callers wait for at the same time, each with a time limit of its own.

A call goes on as long as anybody waits for it, and no longer: the last to leave cancels it, and
waits until it is gone.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Awaitable, Callable, Hashable, Sequence
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from attrs import evolve, frozen

from ._doubt import outcome_unknown
from ._errors import APITimeoutError, OutcomeUnknownError, SeedreamError
from ._events import Attempt
from ._keys import key_of
from ._request import GenerateRequest
from ._retry import RetryPolicy
from ._timeout import Bounds, Timeout

_T = TypeVar("_T")


@frozen
class Shareable:
    """What requests that share a call have in common: *work* is the picture, the rest is how."""

    work: bytes
    response_format: str | None
    headers: tuple[tuple[str, str], ...]
    timeout: Timeout
    retry: RetryPolicy

    @classmethod
    def of(
        cls,
        request: GenerateRequest,
        timeout: Timeout,
        retry: RetryPolicy,
        *,
        model: str,
        references: Sequence[str],
    ) -> Self:
        """The total of *timeout* is each caller's own. *references* are told by what they hold."""
        return cls(
            key_of(request, model=model, references=references),
            request.response_format,
            tuple(sorted((request.extra_headers or {}).items())),
            evolve(timeout, total=None),
            retry,
        )


class Called(Protocol):
    """What is seen of a call that is shared."""

    @property
    def attempts(self) -> Sequence[Attempt]: ...

    def ask_before_sending(self, check: Callable[[], None]) -> None: ...

    def ask_how_long(self, left: Callable[[], float]) -> None: ...


# Makes the call, and tells of it when it has its slot.
Fly = Callable[[Callable[[Called], None]], Awaitable[_T]]


class Flights(Generic[_T]):
    """
    The calls of one client that are under way and may be joined.

    *lost* is told what a call came to, if all who waited for it were cancelled meanwhile.
    """

    def __init__(self, lost: Callable[[_T], object] = lambda _: None) -> None:
        self._flights: dict[Hashable, _Flight[_T]] = {}
        self._lost = lost

    async def join(self, key: Hashable, fly: Fly[_T], bounds: Bounds) -> _T:
        """
        What the call under *key* comes to; *fly* makes it if none is under way.

        The total of *bounds* counts from when the call begins, or from now if it has. Whatever the
        call raises, each caller gets as an error of its own.
        """
        flight = self._flights.get(key)
        if flight is None or flight.task.done():
            flight = self._flights[key] = _Flight(fly)
        try:
            landed = await self._ride(key, flight, bounds)
        except asyncio.CancelledError:
            if not flight.riders and flight.is_untold:
                self._lost(flight.outcome())
            raise
        if not landed and flight.is_lost:
            raise flight.overdue(bounds.total)
        return flight.outcome()

    async def _ride(self, key: Hashable, flight: _Flight[_T], bounds: Bounds) -> bool:
        """Wait for *flight*; tell whether it has landed in time. The last to leave ends it."""
        rider = flight.board(bounds)
        try:
            await asyncio.wait([flight.departed])
            patience = None if bounds.total == math.inf else bounds.total
            landed, _ = await asyncio.wait([flight.task], timeout=patience)
            return bool(landed)
        finally:
            flight.riders.remove(rider)
            if not flight.riders:
                if self._flights.get(key) is flight:
                    del self._flights[key]
                await flight.end()


@frozen(eq=False)
class _Rider:
    """Who waits, how long, and *since* when."""

    bounds: Bounds
    since: float

    def left(self, departed: float, now: float) -> float:
        """Seconds that there are to wait before another attempt of what *departed* at a time."""
        left = self.bounds.after(now - max(self.since, departed)).left
        return left - self.bounds.useful


class _Flight(Generic[_T]):
    """One call, and how many *riders* wait for it."""

    def __init__(self, fly: Fly[_T]) -> None:
        self.riders: set[_Rider] = set()
        self._now = asyncio.get_running_loop().time
        self._departed_at = -math.inf
        self._told = False
        self.departed = asyncio.get_running_loop().create_future()
        self._call: Called | None = None
        self._origin: TracebackType | None = None  # of its error, before anybody raised that
        # The context is that of whoever comes first: the call is a part of what that one does.
        self.task: asyncio.Task[_T] = asyncio.ensure_future(self._run(fly))
        self.task.add_done_callback(self._landed)

    def board(self, bounds: Bounds) -> _Rider:
        """Note one more who waits, within *bounds*."""
        rider = _Rider(bounds, self._now())
        self.riders.add(rider)
        return rider

    async def _run(self, fly: Fly[_T]) -> _T:
        return await fly(self._began)

    def _began(self, call: Called) -> None:
        self._call = call
        call.ask_before_sending(self._depart)
        call.ask_how_long(self._left)

    def _left(self) -> float:
        """Seconds after which another attempt would outlast everybody's patience."""
        now = self._now()
        return max((rider.left(self._departed_at, now) for rider in self.riders), default=0.0)

    def _depart(self) -> None:
        if not self.departed.done():
            self._departed_at = self._now()
            self.departed.set_result(None)

    def _landed(self, task: asyncio.Task[_T]) -> None:
        self._depart()
        if not task.cancelled() and (error := task.exception()):
            self._origin = error.__traceback__

    async def end(self) -> None:
        """Cancel the call if it is under way, and wait until it is gone."""
        if not self.task.done():
            self.task.cancel()
            await asyncio.wait([self.task])

    @property
    def is_lost(self) -> bool:
        """Whether nothing came of it for who leaves now."""
        return not self.task.done() or self.task.cancelled()

    @property
    def is_untold(self) -> bool:
        """Whether something good came of it that nobody was told."""
        task = self.task
        return task.done() and not (self._told or task.cancelled() or task.exception())

    def outcome(self) -> _T:
        """What came of it."""
        self._told = True
        if error := self.task.exception():
            raise _own(error).with_traceback(self._origin)
        return self.task.result()

    def overdue(self, limit: float) -> SeedreamError:
        """The error for whom *limit* seconds were not enough."""
        attempts = tuple(self._call.attempts) if self._call else ()
        if not self.task.done():
            return OutcomeUnknownError(
                f"total={limit:g} s passed, but the call is shared: it goes on for others who wait "
                "for it, and may be billed once. The same request joins it, as long as it lasts",
                elapsed=limit,
                attempts=attempts,
            )
        what = f"total={limit:g} s passed, and nobody else waited for the shared call"
        if any(attempt.fate in {"unknown", "answered"} for attempt in attempts):
            return outcome_unknown(what, limit, cut=False, attempts=attempts)
        return APITimeoutError(f"{what}; nothing was billed", retryable=True, attempts=attempts)


def _own(error: BaseException) -> BaseException:
    """*error* for one caller alone, who may add notes to it and let it travel."""
    try:
        own = copy.copy(error)
    except Exception:  # noqa: BLE001  an error of somebody else, which cannot be copied
        return error
    vars(own).update(vars(error))
    if hasattr(error, "__notes__"):
        own.__notes__ = list(error.__notes__)
    own.__cause__, own.__context__ = error.__cause__, error.__context__
    own.__suppress_context__ = error.__suppress_context__
    return own
