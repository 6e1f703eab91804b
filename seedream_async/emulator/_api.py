"""The API: checks the key, plans, has the plan carried out, and answers as the service does."""

from __future__ import annotations

import json
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

from aiohttp import web
from attrs import frozen

from seedream_async import _catalog, _threads

from ._faults import Fault, Faults
from ._making import Making
from ._openapi import description
from ._plan import RELAYED, make_plan
from ._quota import Quota
from ._refusals import Envelope, Refusal, wrong_key
from ._streams import Stream

Handler: TypeAlias = Callable[[web.Request], Awaitable[web.Response]]

MAX_BODY = 256 * 1024 * 1024  # bytes; the service's own limit is not known
_PAGE = "<!doctype html><title>CometAPI</title><p>This is a web page, not the API.</p>"


@frozen(kw_only=True)
class Received:
    """A request that reached the API. *json* is its decoded body, or nothing if it is not JSON."""

    method: str
    path: str
    headers: Mapping[str, str]
    json: Any


class Api:
    """The API of one emulator."""

    def __init__(
        self,
        making: Making,
        envelope: Envelope,
        quota: Quota,
        *,
        key: str,
        kept: int,
        relay_drops: bool,
    ) -> None:
        self.faults = Faults()
        self.received: deque[Received] = deque(maxlen=kept)
        self.request_count = 0
        self._making = making
        self._envelope = envelope
        self._quota = quota
        self._key = key
        self._relay_drops = relay_drops

    def app(self) -> web.Application:
        """The API's side of the wire."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/v1/images/generations", self._generations)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/openapi.json", self._description)
        for path, methods in (
            ("/v1/images/generations", "POST"),
            ("/v1/models", "GET, HEAD"),
            ("/openapi.json", "GET, HEAD"),
        ):
            app.router.add_route("*", path, self._wrong_method(methods))
        app.router.add_route("*", "/{path:.*}", self._web_page)
        return app

    def refusal(self, status: int, code: str, message: str) -> Fault:
        """A fault that answers *status* in the envelope of the service."""
        return Fault(
            status=status,
            body=json.dumps(self._envelope.wrap(status, code, message)).encode(),
            headers={"Content-Type": "application/json"},
        )

    async def _generations(self, request: web.Request) -> web.StreamResponse:
        try:
            body = _decoded(await request.read())
        except web.HTTPRequestEntityTooLarge:
            return self._envelope.answer(Refusal(413, "", "request body too large"))
        self.request_count += 1
        self.received.append(
            Received(
                method=request.method,
                path=request.raw_path,
                headers=dict(request.headers),
                json=body,
            )
        )
        return await self.faults.apply(request, lambda request: self._generate(request, body))

    async def _generate(self, request: web.Request, body: Any) -> web.Response | Stream:
        try:
            self._authorize(request)
            plan = await _threads.in_thread(make_plan, self._passed_on(body))
            self._quota.charge(plan)
            return await self._making.carry_out(plan)
        except Refusal as refusal:
            return self._envelope.answer(refusal)

    async def _models(self, request: web.Request) -> web.Response:
        try:
            self._authorize(request)
        except Refusal as refusal:
            return self._envelope.answer(refusal)
        ids = [name for family in _catalog.FAMILIES for name in family.ids]
        data = [{"id": name, "object": "model", "owned_by": "bytedance"} for name in ids]
        return web.json_response({"object": "list", "data": data})

    async def _description(self, _: web.Request) -> web.Response:
        return web.json_response(description())

    def _wrong_method(self, allowed: str) -> Handler:
        async def refuse(_: web.Request) -> web.Response:
            answer = self._envelope.answer(Refusal(405, "", "method not allowed"))
            answer.headers["Allow"] = allowed
            return answer

        return refuse

    async def _web_page(self, request: web.Request) -> web.Response:
        """What a wrong path leads to: the web site, not a JSON 404."""
        if request.path == "/images/generations":
            return web.Response(status=301, headers={"Location": "/"}, text="Moved Permanently")
        return web.Response(status=404, text=_PAGE, content_type="text/html")

    def _authorize(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not secrets.compare_digest(given, f"Bearer {self._key}".encode()):
            raise wrong_key()

    def _passed_on(self, body: Any) -> Any:
        """What the relay lets through of *body*."""
        if not self._relay_drops or not isinstance(body, dict):
            return body
        return {name: value for name, value in body.items() if name in RELAYED}


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
