"""
The object store: serves an image only to the link that was issued for it, byte for byte.

Stricter than the real one, which sorts and re-encodes a query before it checks the signature:
here a client that alters anything is found out.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import datetime, timedelta
from urllib.parse import parse_qs, unquote

from aiohttp import web
from attrs import frozen

from seedream_async import _links, _threads

from ._faults import Fault, Faults
from ._pictures import Window, render
from ._signing import Signer

_KEPT = 100_000  # images; the oldest are forgotten, as the real store does after a day
_WATERMARK = ("x-tos-process", "image/watermark,image_QUkgR2VuZXJhdGVk")


@frozen(kw_only=True)
class Picture:
    """An image as its ingredients: it is rendered when it is fetched."""

    width: int
    height: int
    output_format: str
    seed: bytes
    window: Window | None = None

    def content(self) -> bytes:
        return render(self.width, self.height, self.output_format, self.seed, self.window)


@frozen(kw_only=True)
class Fetched:
    """A request that reached the store. *target* is what stood in its request line."""

    method: str
    target: str
    headers: dict[str, str]
    status: int


class Store:
    """Pictures behind signed links."""

    def __init__(self, clock: Callable[[], datetime], lifetime: timedelta, kept: int) -> None:
        self.faults = Faults()
        self.fetched: deque[Fetched] = deque(maxlen=kept)
        self.signer = Signer(host="")
        self._clock = clock
        self._lifetime = lifetime
        self._pictures: OrderedDict[str, Picture] = OrderedDict()

    def app(self) -> web.Application:
        """The store's side of the wire."""
        app = web.Application()
        app.router.add_route("*", "/{path:(?s:.*)}", self._handle)
        return app

    def refusal(self, status: int, code: str, message: str) -> Fault:
        """A fault that answers *status* in the envelope of the store."""
        headers, body = _envelope(code, message)
        return Fault(status=status, body=body, headers=headers)

    def issue(self, path: str, picture: Picture, *, watermark: bool) -> str:
        """Keep *picture* under *path* and sign a link to it."""
        target = self.signer.link(
            path,
            now=self._clock(),
            expires=int(self._lifetime.total_seconds()),
            query=[_WATERMARK] if watermark else [],
        )
        self._pictures[target] = picture
        if len(self._pictures) > _KEPT:
            self._pictures.popitem(last=False)
        return f"http://{self.signer.host}{target}"

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        response = await self.faults.apply(request, self._answer)
        self.fetched.append(
            Fetched(
                method=request.method,
                target=request.raw_path,
                headers=dict(request.headers),
                status=response.status,
            )
        )
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        if "Authorization" in request.headers:
            return _refused(400, "InvalidArgument", "Only one auth mechanism allowed")
        target = request.raw_path
        if "X-Tos-Signature" not in parse_qs(target.partition("?")[2]):
            return _refused(403, "AccessDenied", "Access Denied", ec="0003-00000015")
        picture = self._pictures.get(target) if request.method == "GET" else None
        if picture is None:
            return self._unknown(request)
        if (expiry := _links.expires_at(f"http://{self.signer.host}{target}")) and (
            expiry <= self._clock()
        ):
            return _refused(403, "AccessDenied", "Request has expired")
        return _served(request, picture, await _threads.in_thread(picture.content))

    def _unknown(self, request: web.Request) -> web.Response:
        key = _key(request.raw_path)
        known = any(_key(target) == key for target in self._pictures)
        if not known and self.signer.verifies(request.method, request.raw_path):
            return _refused(404, "NoSuchKey", "The specified key does not exist.")
        return _refused(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. "
            "Check your key and signing method.",
            ec="0002-00000024",
        )


def _key(target: str) -> str:
    return unquote(target.partition("?")[0])


def _served(request: web.Request, picture: Picture, content: bytes) -> web.Response:
    headers = {
        "ETag": f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"',
        "Accept-Ranges": "bytes",
        **_tos_headers(),
    }
    if request.headers.get("If-Match", headers["ETag"]) != headers["ETag"]:
        return _refused(412, "PreconditionFailed", "The object has changed.")
    try:
        wanted = request.http_range
    except ValueError:
        wanted = slice(None)  # what is no range is ignored (RFC 9110, section 14.2)
    if wanted.start is None and wanted.stop is None:
        return _image(200, content, picture, headers)
    start, stop, _ = wanted.indices(len(content))
    if start >= stop:
        return _refused(416, "InvalidRange", "The requested range cannot be satisfied.")
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
    return _image(206, content[start:stop], picture, headers)


def _image(status: int, body: bytes, picture: Picture, headers: dict[str, str]) -> web.Response:
    return web.Response(
        status=status, body=body, headers=headers, content_type=f"image/{picture.output_format}"
    )


def _refused(status: int, code: str, message: str, ec: str | None = None) -> web.Response:
    headers, body = _envelope(code, message, ec)
    return web.Response(status=status, body=body, headers=headers)


def _envelope(code: str, message: str, ec: str | None = None) -> tuple[dict[str, str], bytes]:
    headers = _tos_headers()
    body = {
        "Code": code,
        "RequestId": headers["x-tos-request-id"],
        "HostId": headers["x-tos-id-2"],
        "Message": message,
        **({"EC": ec} if ec else {}),
    }
    return {**headers, "Content-Type": "application/json"}, json.dumps(body).encode()


def _tos_headers() -> dict[str, str]:
    request_id = secrets.token_hex(16)
    return {
        "Server": "TosServer",
        "x-tos-request-id": request_id,
        "x-tos-id-2": f"host-{request_id[:8]}",
    }
