"""Faults on order: what goes wrong with the next answers, and how."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from aiohttp import web
from attrs import field, frozen

from ._streams import Line, Stream

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response | Stream]]


@frozen(kw_only=True)
class Fault:
    """
    One thing that goes wrong.

    With a *status*, that is answered and nothing is made. Otherwise the request is carried out,
    and its answer breaks off after *after_bytes* of its body (before its head, if `None`): the
    connection is cut, or stalls if *stalls*.
    """

    status: int | None = None
    body: bytes = b""
    headers: Mapping[str, str] = field(factory=dict)
    after_bytes: int | None = None
    stalls: bool = False

    def line(self) -> Line:
        """A connection that breaks so."""
        return Line(-1 if self.after_bytes is None else self.after_bytes, stalls=self.stalls)


class Faults:
    """The faults ordered for one server, first in, first out."""

    def __init__(self) -> None:
        self._ordered: deque[Fault] = deque()

    def order(self, fault: Fault, times: int) -> None:
        """Let *fault* happen to the next *times* requests."""
        self._ordered.extend([fault] * times)

    async def apply(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer *request* through *handler*, with the next fault if there is one."""
        fault = self._ordered.popleft() if self._ordered else None
        if fault and fault.status is not None:
            return web.Response(status=fault.status, body=fault.body, headers=fault.headers)
        answer = await handler(request)
        if isinstance(answer, web.Response):
            if fault is None:
                return answer
            answer = Stream.of(answer)
        return await answer.send(request, fault.line() if fault else Line())
