"""
Who is inside a client, and how it is closed: nobody new, what is paid for may end, then all leave.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from ._errand import Watched, loss
from ._errors import ClientClosingError, DownloadError, SeedreamError
from ._models import ImagesResponse
from ._sessions import Lifetime

if TYPE_CHECKING:
    from ._streaming import EventStream

_T = TypeVar("_T")
_WHEN = " when the client was closed"
_TURNS = 9  # of the loop, for who has just left to come back for what it bought
_LAST_WORD = 1.0  # seconds for a task that is kept to tell what it lost


def _nothing(_: object) -> None:
    pass


class Visit:
    """
    One call from its check to its files, or something free. *tell_began* and *tell_answered* are
    told what it is told.
    """

    def __init__(
        self,
        tell_began: Callable[[Watched], None],
        tell_answered: Callable[[ImagesResponse], None],
        *,
        paying: bool,
    ) -> None:
        self.scope = asyncio.timeout(None)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  as there is a scope, which wants one
        self.task = task
        self._tell_began = tell_began
        self._tell_answered = tell_answered
        self._paying = paying
        self._call: Watched | None = None
        self._response: ImagesResponse | None = None
        self._events: EventStream | None = None

    def began(self, call: Watched) -> None:
        """Note the call that tells what it costs."""
        self._call = call
        self._tell_began(call)

    def answered(self, response: ImagesResponse) -> None:
        """Note that *response* is there, and not yet saved."""
        self._response = response
        self._tell_answered(response)

    def streams(self, events: EventStream) -> None:
        """Note that *events* tell what has come of it."""
        self._events = events

    @property
    def may_stay(self) -> bool:
        """Whether something would be lost if it left now."""
        return not self._paying or (self._call is not None and self._call.may_cost)

    @property
    def is_stranded(self) -> bool:
        """Whether its task is over, so that nobody can be made to leave it."""
        return self.task.done()

    def leave(self) -> None:
        """Let it end with an error that tells what is lost."""
        if not self.scope.expired():
            self.scope.reschedule(0)

    def loss(self) -> SeedreamError:
        """That error."""
        if not self._paying and self._response is None:
            problem = f"left{_WHEN} before the image was there: its link stays good"
            return DownloadError(problem, retryable=True)
        attempts = () if self._call is None else self._call.attempts
        response, whole = self._response, True
        if self._events is not None:
            response, whole = self._events.response, self._events.completed
        return loss(attempts, response, whole=whole, when=_WHEN) or ClientClosingError(
            f"left{_WHEN}, before it was sent: it cost nothing", attempts=tuple(attempts)
        )


class Guests:
    """All who are inside one client, and the tasks that it keeps for others."""

    def __init__(self, lifetime: Lifetime) -> None:
        self._lifetime = lifetime
        self._visits: set[Visit] = set()
        self._kept: set[asyncio.Task[Any]] = set()
        self._news = asyncio.Event()
        self._is_over = False  # nobody may stay

    @contextlib.asynccontextmanager
    async def visit(
        self,
        tell_began: Callable[[Watched], None] = _nothing,
        tell_answered: Callable[[ImagesResponse], None] = _nothing,
        *,
        paying: bool = True,
    ) -> AsyncIterator[Visit]:
        """Be inside for the time of a block. Raises if nobody may come in any more."""
        self._lifetime.check(new=paying)  # before anything waits that belongs to a loop
        visit = Visit(tell_began, tell_answered, paying=paying)
        if not self._is_over:
            self._visits.add(visit)
        try:
            async with visit.scope:
                if self._is_over:  # it is not waited for, and told so at once
                    visit.leave()
                yield visit
        except TimeoutError as exc:
            if type(exc) is not TimeoutError or not visit.scope.expired():
                raise
        else:
            return
        finally:
            self._visits.discard(visit)
            self._news.set()
        raise visit.loss()

    def keep(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Run *work* in a task that ends before the client does. Closes it if that has ended."""
        try:
            self._lifetime.check()
        except RuntimeError:
            work.close()  # or it would be said to have been forgotten
            raise
        task = asyncio.create_task(work)
        self._kept.add(task)
        task.add_done_callback(self._let_go)
        return task

    def _let_go(self, task: asyncio.Task[Any]) -> None:
        self._kept.discard(task)
        self._news.set()

    async def drain(self, grace: float | None) -> None:
        """
        Let nobody in, and all out: at once who costs nothing yet, the others within *grace* s.

        Without a *grace*, only what is kept has to end.
        """
        if not self._lifetime.is_here:
            return
        if grace is not None:
            await self._drain(grace)
        for task in (kept := self._others_kept()):
            task.cancel()
        await asyncio.gather(*kept, return_exceptions=True)

    async def _drain(self, grace: float) -> None:
        self._lifetime.closing = True
        self._send_away(lambda visit: not visit.may_stay)
        await _at_most(grace, self._until_nobody(self._anyone))
        self._is_over = True
        self._send_away(lambda _: True)
        await self._until_nobody(self._leaving)
        await _at_most(_LAST_WORD, self._until_nobody(self._anyone))

    def _send_away(self, whom: Callable[[Visit], bool]) -> None:
        for visit in filter(whom, self._others()):
            visit.leave()
            visit.task.add_done_callback(lambda _: self._news.set())

    async def _until_nobody(self, who: Callable[[], Collection[object]]) -> None:
        """Wait until there has been none of those *who* are asked for, for some turns."""
        turns = 0
        while turns < _TURNS:
            if who():
                turns = 0
                self._news.clear()
                await self._news.wait()
            await asyncio.sleep(0)
            turns += 1

    def _anyone(self) -> Collection[object]:
        return [*self._others(), *self._others_kept()]

    def _leaving(self) -> Collection[object]:
        return [visit for visit in self._others() if not visit.is_stranded]

    def _others(self) -> list[Visit]:
        task = asyncio.current_task()  # who closes the client does not wait for itself
        return [visit for visit in self._visits if visit.task is not task]

    def _others_kept(self) -> set[asyncio.Task[Any]]:
        return self._kept - {asyncio.current_task()}


async def _at_most(seconds: float, wait: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wait
