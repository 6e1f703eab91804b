"""
For services on Starlette or FastAPI: one client for the application, and images to browsers.

Needs the extra `starlette`, and nothing of FastAPI.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, TypeVar

from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ._client import AsyncSeedream
from ._models import Image
from ._web._asking import Manner
from ._web._events import public as public_data
from ._web._handing_on import hand_on
from ._web._leaving import Answer, Head, LeftError, WhenLeft, attended, checked, unless_left
from ._web._relaying import Pace, Public, Relay, Source
from ._web._telling import told

__all__ = [
    "EventResponse",
    "ImageResponse",
    "WhenLeft",
    "attend",
    "error_response",
    "event_response",
    "get_client",
    "image_response",
    "lifespan",
    "public_data",
]

_T = TypeVar("_T")
_STATE = "seedream"


def lifespan(
    make: Callable[[], AsyncSeedream] = AsyncSeedream, *, grace: float = 20.0
) -> Callable[[object], AbstractAsyncContextManager[dict[str, Any]]]:
    """
    The `lifespan=` of an application that has one client, which *make* makes when it starts.

    When it ends, no new call begins, and what may be billed by now has *grace* seconds to end and
    to be saved. Within a lifespan of your own: `async with lifespan()(app) as state: yield state`.
    """

    @contextlib.asynccontextmanager
    async def living(_: object) -> AsyncIterator[dict[str, Any]]:
        client = make()
        try:
            yield {_STATE: client}
        finally:
            await client.aclose(grace=grace)

    return living


def get_client(connection: HTTPConnection) -> AsyncSeedream:
    """The application's client; in FastAPI, `Annotated[AsyncSeedream, Depends(get_client)]`."""
    client = getattr(connection.state, _STATE, None)
    if not isinstance(client, AsyncSeedream):
        raise RuntimeError(  # noqa: TRY004  nothing was passed that has a type
            "there is no client in the state of this application: give it "
            "lifespan=seedream_async.starlette.lifespan(), and a server that runs lifespans"
        )
    return client


async def error_response(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """
    What a browser is told of *error*, for `app.add_exception_handler(SeedreamError, …)`.

    The status says what happened; the body has `error` with `type`, `message`, `possibly_billed`
    and `status`, and no link, host, path or key.
    """
    said = told(error)
    return JSONResponse({"error": said.public()}, said.status, said.headers)


async def attend(
    request: Request,
    client: AsyncSeedream,
    work: Coroutine[Any, Any, _T],
    *,
    when_left: WhenLeft,
) -> _T:
    """
    What *work* gives, such as `client.generate(…)`, as long as the browser waits for it.

    If it leaves, the work is cancelled (it may be billed all the same), or, with
    `finish_and_store`, goes on in a task that *client* keeps. The body must have been read.
    """
    try:
        return await attended(client, work, _left(request.receive), when_left)
    except LeftError:
        raise HTTPException(499) from None  # what nginx calls it; nobody reads it


def image_response(
    client: AsyncSeedream,
    image: Image | str,
    *,
    cache_control: str = "private, no-cache",
    filename: str | None = None,
    attachment: bool = False,
    redirect: bool = False,
    repair: bool = False,
    background: BackgroundTask | None = None,
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
    return ImageResponse(partial(hand_on, client, image, manner), background)


def event_response(
    client: AsyncSeedream,
    source: Source[_T],
    *,
    when_left: WhenLeft,
    public: Public[_T] = public_data,
    heartbeat: float = 15.0,
    retry: float = 3.0,
    background: BackgroundTask | None = None,
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
    relay = Relay(client, source, public, checked(when_left), pace)
    return EventResponse(relay.run, background)


class _Answering(Response):
    """An answer that writes itself, to a browser that may leave at any moment."""

    def __init__(self, answer: Answer, background: BackgroundTask | None = None) -> None:
        super().__init__(background=background)
        del self.headers["content-length"]
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        browser = _Browser(receive, send, self.raw_headers)
        headers = {name.decode("latin-1"): it.decode("latin-1") for name, it in scope["headers"]}
        work = self._answer(Head(scope["method"], headers), browser)
        with contextlib.suppress(LeftError):
            await unless_left(work, browser.left())
        if self.background is not None:
            await self.background()


class ImageResponse(_Answering):
    """What `image_response` gives."""


class EventResponse(_Answering):
    """What `event_response` gives."""


class _Browser:
    """A browser as ASGI has it; *headers* are sent besides."""

    def __init__(self, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._receive = receive
        self._send_message = send
        self._headers = headers

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        pairs = [
            (name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()
        ]
        raw = [*self._headers, *pairs]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def write(self, chunk: bytes) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def cut(self) -> None:
        """Leave it at that: a server closes the connection of an answer that has no end."""
        # A middleware that reads answers would add the end; a message that is none breaks it too.
        with contextlib.suppress(Exception):
            await self._send_message({"type": "http.response.cut"})

    async def left(self) -> None:
        await _left(self._receive)

    async def _send(self, message: dict[str, Any]) -> None:
        try:
            await self._send_message(message)
        except OSError:  # what servers of ASGI 2.4 raise
            raise LeftError from None


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
