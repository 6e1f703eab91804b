"""
The coordinator as its workers see it: a ledger, a limiter and a budget that are elsewhere.

What is asked while it is started again is asked once more, in a way that counts once.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

from seedream_async._allowance import Spend
from seedream_async._errors import StorageError
from seedream_async._limits import RateLimiter
from seedream_async.batch import _transitions
from seedream_async.batch._entries import Entry, Recovery
from seedream_async.batch._ledger import Ledger
from seedream_async.batch._states import IllegalTransitionError, State
from seedream_async.batch._writer import unhurried

from ._coordinator import LEASE

Remote: TypeAlias = Callable[[str, tuple[Any, ...]], Awaitable[tuple[Any, Exception | None]]]
_PAUSE = 0.2  # seconds
_PATIENCE = 60.0  # seconds
# What a row is after a mark that was made, though nobody could say so.
_AFTER: Mapping[Any, tuple[State, ...]] = {
    _transitions.put_back: ("planned", "unknown"),
    _transitions.paid: ("paid",),
    _transitions.saved: ("saved", "paid"),
    _transitions.failed: ("failed", "unknown"),
    _transitions.unknown: ("unknown",),
}


class Proxy:
    """
    What *owner* asks the coordinator through *remote*, which raises one of *gone* if it does not
    answer.
    """

    def __init__(
        self,
        remote: Remote,
        gone: tuple[type[Exception], ...],
        *,
        owner: str = "",
        lease: float = LEASE,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.owner = owner
        self._remote = remote
        self._gone = gone
        self._lease = lease
        self._sleep = sleep
        self._now = now
        self._heard = now()

    async def ask(self, name: str, *args: Any) -> Any:
        """What it answers to *name*. Raises `StorageError` if it is gone for good."""
        return await self._asked(lambda again: (name, args))  # noqa: ARG005

    async def do(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        """Work on the ledger's tables."""
        return await self._asked(
            lambda again: ("do", (function, *args, kwargs)),  # noqa: ARG005
            _AFTER.get(function, ()),
        )

    async def sent(self, number: int, *, resend_unknown: bool) -> None:
        """Have it noted that row *number* is sent."""

        def asking(again: bool) -> tuple[str, tuple[Any, ...]]:
            # Whoever was silent for that long may have lost the row to another, who sent it.
            if again and self._now() - self._heard > self._lease:
                raise IllegalTransitionError(f"row {number} may be at another worker", "sent")
            return "sent", (self.owner, number, resend_unknown, again)

        await self._asked(asking)

    async def beat(self, held: Mapping[int, Spend | None]) -> str | Exception | None:
        """Tell that this worker lives, and what it has; whether to leave, and why."""
        start = self._now()
        why = await self.ask("beat", self.owner, dict(held))
        self._heard = start
        return cast("str | Exception | None", why)

    async def look(self, numbers: Sequence[int]) -> list[tuple[Entry, bool]]:
        """What is known of these rows, and which of them are this worker's now."""
        return cast("list[tuple[Entry, bool]]", await self.ask("look", self.owner, numbers))

    async def drop(self) -> None:
        """Make room where the ledger is."""
        await self.ask("make_room")

    async def _asked(
        self,
        asking: Callable[[bool], tuple[str, tuple[Any, ...]]],
        settled: Collection[State] = (),
    ) -> Any:
        again, until = False, math.inf  # until it goes: what is asked may have to wait its turn
        while True:
            try:
                value, error = await self._remote(*asking(again))
            except self._gone as exc:
                until = until if again else self._now() + _PATIENCE
                if self._now() > until:
                    raise StorageError(
                        "the coordinator of the batch cannot be reached: nothing more is sent"
                    ) from exc
                again = True
                await self._sleep(_PAUSE)
                continue
            if error is None:
                return value
            if again and isinstance(error, IllegalTransitionError) and error.before in settled:
                return error.before
            raise error


class RemoteLedger(Ledger):
    """The ledger that the coordinator has, with all that a ledger does."""

    def __init__(self, proxy: Proxy, path: Path, recovery: Recovery) -> None:
        self._proxy = proxy
        self._clock = time.time
        self.path = path
        self.recovery = recovery

    async def sent(self, number: int, *, resend_unknown: bool = False) -> None:
        noted = asyncio.ensure_future(self._proxy.sent(number, resend_unknown=resend_unknown))
        try:
            await unhurried(noted)
        except asyncio.CancelledError:
            if noted.exception() is None:
                with contextlib.suppress(StorageError):
                    await self.put_back(number)
            raise

    async def _do(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        return await unhurried(asyncio.ensure_future(self._proxy.do(function, *args, **kwargs)))


class SharedLimiter(RateLimiter):
    """The pace of the batch, for the client of one worker."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._telling: set[asyncio.Future[Any]] = set()

    async def acquire(self, images: int) -> None:
        """Wait until the coordinator lets a request for *images* through."""
        turn = self._begin(self._proxy.ask("acquire", images))
        try:
            await asyncio.shield(turn)
        except asyncio.CancelledError:
            turn.add_done_callback(lambda _: self.settle(images, 0))  # it is granted to nobody
            raise

    def settle(self, asked: int, made: int) -> None:
        if asked != made:
            self._begin(self._proxy.ask("refund", asked, made))

    def pause(self, seconds: float) -> None:
        self._begin(self._proxy.ask("pause", seconds))

    async def aclose(self) -> None:
        """Wait for what is being told no longer."""
        for task in self._telling:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._telling, return_exceptions=True)

    def _begin(self, asking: Any) -> asyncio.Future[Any]:
        task: asyncio.Future[Any] = asyncio.ensure_future(asking)
        self._telling.add(task)
        task.add_done_callback(self._told)
        return task

    def _told(self, task: asyncio.Future[Any]) -> None:
        self._telling.discard(task)
        if not task.cancelled():
            task.exception()  # seen; a pace that cannot be told is no reason to stop
