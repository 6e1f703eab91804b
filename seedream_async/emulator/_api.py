"""The API: checks the key, plans, bills, and answers in the envelopes of the service."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from aiohttp import web
from attrs import frozen

from seedream_async import _catalog, _files

from ._faults import Fault, Faults
from ._plan import Plan, Refusal, make_plan
from ._store import Picture, Store

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
        self, store: Store, key: str, latency: float, clock: Callable[[], datetime], kept: int
    ) -> None:
        self.faults = Faults()
        self.received: deque[Received] = deque(maxlen=kept)
        self.request_count = 0
        self.images_billed = 0
        self.latency = latency
        self._store = store
        self._key = key
        self._clock = clock

    def app(self) -> web.Application:
        """The API's side of the wire."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/v1/images/generations", self._generations)
        app.router.add_get("/v1/models", self._models)
        app.router.add_route("*", "/{path:.*}", self._web_page)
        return app

    def refusal(self, status: int, code: str, message: str) -> Fault:
        """A fault that answers *status* in the envelope of the service."""
        return Fault(
            status=status,
            body=json.dumps(self._envelope(code, message)).encode(),
            headers={"Content-Type": "application/json"},
        )

    async def _generations(self, request: web.Request) -> web.StreamResponse:
        body = _decoded(await request.read())
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

    async def _generate(self, request: web.Request, body: Any) -> web.Response:
        try:
            self._authorize(request)
            plan = await _files.in_thread(make_plan, body)
        except Refusal as refusal:
            return web.json_response(
                self._envelope(refusal.code, refusal.message), status=refusal.status
            )
        # Work that was begun is billed, whether or not anybody waits for the answer.
        self.images_billed += plan.count
        await asyncio.sleep(self.latency)
        return web.json_response(await self._answer(plan))

    async def _models(self, request: web.Request) -> web.Response:
        try:
            self._authorize(request)
        except Refusal as refusal:
            return web.json_response(
                self._envelope(refusal.code, refusal.message), status=refusal.status
            )
        ids = [name for family in _catalog.FAMILIES for name in family.ids]
        data = [{"id": name, "object": "model", "owned_by": "bytedance"} for name in ids]
        return web.json_response({"object": "list", "data": data})

    async def _web_page(self, request: web.Request) -> web.Response:
        """What a wrong path leads to: the web site, not a JSON 404."""
        if request.path == "/images/generations":
            return web.Response(status=301, headers={"Location": "/"}, text="Moved Permanently")
        return web.Response(status=404, text=_PAGE, content_type="text/html")

    def _authorize(self, request: web.Request) -> None:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not secrets.compare_digest(given, f"Bearer {self._key}".encode()):
            raise Refusal(401, "", "invalid token")

    def _envelope(self, code: str, message: str) -> dict[str, Any]:
        request_id = (
            f"{self._clock():%Y%m%d%H%M%S}{secrets.randbelow(10**9):09}{secrets.token_hex(4)}"
        )
        return {
            "error": {
                "message": f"{message} (request id: {request_id})",
                "type": "comet_api_error",
                "param": "",
                "code": code,
            }
        }

    async def _answer(self, plan: Plan) -> dict[str, Any]:
        area = plan.width * plan.height * plan.count
        job = f"021{self._clock().timestamp() * 1000:.0f}{secrets.token_hex(16)}"
        tokens = area // 256
        return {
            "model": plan.model,
            "created": int(self._clock().timestamp()),
            "data": [await self._item(plan, job, number) for number in range(plan.count)],
            "usage": {
                "generated_images": plan.count,
                "output_tokens": tokens,
                "total_tokens": tokens,
            },
        }

    async def _item(self, plan: Plan, job: str, number: int) -> dict[str, Any]:
        picture = Picture(
            width=plan.width,
            height=plan.height,
            output_format=plan.output_format,
            seed=plan.seed + bytes([number]),
        )
        item: dict[str, Any] = {"size": f"{plan.width}x{plan.height}"}
        if plan.names_format:
            item["output_format"] = plan.output_format
        if plan.response_format == "b64_json":
            item["b64_json"] = await _files.in_thread(
                lambda: base64.b64encode(picture.content()).decode()
            )
        else:
            directory = plan.model.rpartition("-")[0]
            path = f"/{directory}/{job}_{number}.{plan.output_format}"
            item["url"] = self._store.issue(path, picture, watermark=plan.watermark)
        return item


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
