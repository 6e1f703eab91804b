"""
For services on `aiohttp.web`: one client for the application, and images to browsers.

Needs no extra: aiohttp is there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias, TypeVar

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from ._client import AsyncSeedream
from ._errors import SeedreamError
from ._models import Image
from ._web._asking import Manner
from ._web._events import public as public_data
from ._web._handing_on import hand_on
from ._web._leaving import Answer, Head, LeftError, WhenLeft, attended, checked, unless_left
from ._web._relaying import Pace, Public, Relay, Source
from ._web._telling import told

__all__ = [
    "CLIENT",
    "EventResponse",
    "ImageResponse",
    "WhenLeft",
    "attend",
    "cleanup_ctx",
    "error_middleware",
    "error_response",
    "event_response",
    "get_client",
    "image_response",
    "public_data",
]

_T = TypeVar("_T")
_Prepare: TypeAlias = Callable[[web.BaseRequest], Awaitable[AbstractStreamWriter | None]]
CLIENT: web.AppKey[AsyncSeedream] = web.AppKey("seedream", AsyncSeedream)
_GLANCE = 0.25  # seconds between two looks at whether a browser is there: nothing tells


def cleanup_ctx(
    make: Callable[[], AsyncSeedream] = AsyncSeedream, *, grace: float = 20.0
) -> Callable[[web.Application], AsyncIterator[None]]:
    """
    For `app.cleanup_ctx`: one client, which *make* makes when the application starts.

    It is `request.app[CLIENT]`. When the application ends, no new call begins, and what may be
    billed by now has *grace* seconds to end and to be saved.
    """

    async def living(app: web.Application) -> AsyncIterator[None]:
        app[CLIENT] = client = make()
        try:
            yield
        finally:
            await client.aclose(grace=grace)

    return living


def get_client(request: web.Request) -> AsyncSeedream:
    """The client of the application, or of the one that it is a part of."""
    return request.config_dict[CLIENT]


def error_response(error: Exception) -> web.Response:
    """
    What a browser is told of *error*.

    The status says what happened; the body has `error` with `type`, `message`, `possibly_billed`
    and `status`, and no link, host, path or key.
    """
    said = told(error)
    body = {"error": said.public()}
    return web.json_response(body, status=said.status, headers=said.headers)


@web.middleware
async def error_middleware(
    request: web.Request,
    handler: Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]],
) -> web.StreamResponse:
    """Answer with `error_response` whenever a handler lets a `SeedreamError` through."""
    try:
        return await handler(request)
    except SeedreamError as error:
        return error_response(error)


async def attend(
    request: web.Request,
    client: AsyncSeedream,
    work: Coroutine[Any, Any, _T],
    *,
    when_left: WhenLeft,
) -> _T:
    """
    What *work* gives, such as `client.generate(…)`, as long as the browser waits for it.

    If it leaves, the work is cancelled (it may be billed all the same), or, with
    `finish_and_store`, goes on in a task that *client* keeps.
    """
    try:
        return await attended(client, work, _left(request), when_left)
    except LeftError:
        raise _BrowserLeft from None


def image_response(
    client: AsyncSeedream,
    image: Image | str,
    *,
    cache_control: str = "private, no-cache",
    filename: str | None = None,
    attachment: bool = False,
    redirect: bool = False,
    repair: bool = False,
) -> ImageResponse:
    """
    Hand *image* on while it arrives from its store, or the part of it that the browser asks for.

    The answer begins when the store has agreed and sent the beginning of an image; otherwise it is
    an error as of `error_response`. The link stays here, unless *redirect* sends the browser there.
    """
    manner = Manner(
        cache_control=cache_control,
        filename=filename,
        attachment=attachment,
        redirect=redirect,
        repair=repair,
    )
    return ImageResponse(partial(hand_on, client, image, manner))


def event_response(
    client: AsyncSeedream,
    source: Source[_T],
    *,
    when_left: WhenLeft,
    public: Public[_T] = public_data,
    heartbeat: float = 15.0,
    retry: float = 3.0,
) -> EventResponse:
    """
    Relay *source*, a `client.generate_many(…)` or `client.stream(…)`, as server-sent events.

    They are `image`, `failed`, `completed` (of a stream) and, always the last, `end`, whose data
    has an `error` if it broke off. Their data is what *public* makes of a result; it is called for
    each, also when the browser is gone. If it leaves, what is in flight is cancelled (it may be
    billed all the same), or, with `finish_and_store`, goes on, and *client* keeps it: give the
    source a `save_to`. An `EventSource` that connects again is told to stop, and pays for nothing.
    After *heartbeat* seconds of silence, a comment keeps proxies from giving up.
    """
    pace = Pace(heartbeat=heartbeat, retry=retry)
    return EventResponse(Relay(client, source, public, checked(when_left), pace).run)


class _BrowserLeft(web.HTTPClientError):
    status_code = 499  # what nginx calls it; nobody reads it


class _Answering(web.StreamResponse):
    """An answer that writes itself when it is prepared, to a browser that may leave any moment."""

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if not self.prepared:
            browser = _Browser(request, self, super().prepare)
            headers = {name.lower(): value for name, value in request.headers.items()}
            work = self._answer(Head(request.method, headers), browser)
            try:
                await unless_left(work, browser.left())
            except LeftError:
                raise ConnectionResetError("the browser is gone") from None
        return self._payload_writer


class ImageResponse(_Answering):
    """What `image_response` gives."""


class EventResponse(_Answering):
    """What `event_response` gives."""


class _Browser:
    """A browser as aiohttp has it; *prepare* sends the head of *response*."""

    def __init__(
        self, request: web.BaseRequest, response: web.StreamResponse, prepare: _Prepare
    ) -> None:
        self._request = request
        self._response = response
        self._prepare = prepare

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        self._response.set_status(status)
        self._response.headers.update(headers)
        with _noticed():
            await self._prepare(self._request)

    async def write(self, chunk: bytes) -> None:
        with _noticed():
            await self._response.write(chunk)

    async def end(self) -> None:
        with _noticed():
            await self._response.write_eof()

    async def cut(self) -> None:
        raise LeftError  # the server closes the connection of an answer that raised

    async def left(self) -> None:
        await _left(self._request)


@contextlib.contextmanager
def _noticed() -> Iterator[None]:
    try:
        yield
    except ConnectionError:
        raise LeftError from None


async def _left(request: web.BaseRequest) -> None:
    while (transport := request.transport) is not None and not transport.is_closing():  # noqa: ASYNC110
        await asyncio.sleep(_GLANCE)
