"""Faults on order: what goes wrong with the next answers, and how."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from attrs import field, frozen

Handler = Callable[[web.Request], Awaitable[web.Response]]


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


class Faults:
    """The faults ordered for one server, first in, first out."""

    def __init__(self) -> None:
        self._ordered: deque[Fault] = deque()

    def order(self, fault: Fault, times: int) -> None:
        """Let *fault* happen to the next *times* requests."""
        self._ordered.extend([fault] * times)

    async def apply(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer *request* through *handler*, with the next fault if there is one."""
        if not self._ordered:
            return await handler(request)
        fault = self._ordered.popleft()
        if fault.status is not None:
            return web.Response(status=fault.status, body=fault.body, headers=fault.headers)
        return await self._break_off(request, await handler(request), fault)

    async def _break_off(
        self, request: web.Request, response: web.Response, fault: Fault
    ) -> web.StreamResponse:
        broken = web.StreamResponse(status=response.status, headers=response.headers)
        if fault.after_bytes is not None:
            await broken.prepare(request)
            body: Any = response.body
            await broken.write(bytes(body)[: fault.after_bytes])
        if fault.stalls:
            await asyncio.Event().wait()  # until the server is stopped
        request.protocol.force_close()
        return broken
