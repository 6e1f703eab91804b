"""
The API and its object store on loopback, for tests, demonstrations and benchmarks.

It validates like the API, signs and verifies links, makes real images, streams them, counts what
it bills, and takes faults on order. It needs nothing but the core's dependencies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web
from attrs import evolve

from seedream_async import AsyncSeedream

from ._api import Api, Received
from ._faults import Fault
from ._making import Making
from ._quota import Quota
from ._refusals import Envelope
from ._scripts import Oddities, Problem
from ._store import Fetched, Store

__all__ = ["Emulator", "Fetched", "Received"]

_FILTERED = Problem(
    "OutputImageSensitiveContentDetected",
    "The request failed because the output image may contain sensitive information.",
)


class Emulator:
    """
    CometAPI's image endpoint and its object store, each on a port of 127.0.0.1.

    *port* is that of the API, 0 for any free one. *latency* is the time of one generation in
    seconds, in a stream that of each image. *link_lifetime* is in seconds too. *clock* tells the
    time that links are signed at and expire by. The last *kept* requests can be inspected.

    With *images_per_minute*, requests that exceed it are refused with status 429 and a
    `Retry-After`; a *minute* may be made to last fewer seconds.

    Errors come in the *envelope* of the relay, or in that of Ark, the service behind it. With
    *relay_drops*, the relay drops every field that CometAPI does not document, `stream` and
    `tools` among them, and says nothing of it.

        async with Emulator() as emulator, emulator.client() as client:
            await client.generate("a cat")
            assert emulator.images_billed == 1

    What goes wrong is ordered beforehand: `fail_next`, `cut_next` and `stall_next` are about
    requests; `make_fewer_next`, `fail_image_next`, `fail_all_next` and `empty_next` about the
    images of the next request that is carried out; `stream_next` about the next stream. An
    OpenAPI description of the API is at `/openapi.json` of its port.
    """

    def __init__(
        self,
        *,
        api_key: str = "sk-emulator",
        port: int = 0,
        latency: float = 0.0,
        link_lifetime: float = 86_400,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        kept: int = 1000,
        envelope: Literal["relay", "ark"] = "relay",
        relay_drops: bool = False,
        images_per_minute: int | None = None,
        minute: float = 60.0,
    ) -> None:
        self.api_key = api_key
        self._port = port
        self._store = Store(clock, timedelta(seconds=link_lifetime), kept)
        self._making = Making(self._store, latency, clock)
        self._api = Api(
            self._making,
            Envelope(envelope, clock),
            Quota(images_per_minute, minute),
            key=api_key,
            kept=kept,
            relay_drops=relay_drops,
        )
        self._servers: list[web.AppRunner] = []

    async def __aenter__(self) -> Self:
        try:
            store_port = await self._serve(self._store.app(), 0)
            self._port = await self._serve(self._api.app(), self._port)
        except BaseException:
            await self.aclose()
            raise
        self._store.signer = evolve(self._store.signer, host=f"127.0.0.1:{store_port}")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop both servers; what is stalled is cut."""
        for server in self._servers:
            await server.cleanup()

    async def _serve(self, app: web.Application, port: int) -> int:
        server = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await server.setup()
        self._servers.append(server)
        await web.TCPSite(server, "127.0.0.1", port).start()
        bound: int = server.addresses[0][1]
        return bound

    @property
    def base_url(self) -> str:
        """What to give as `base_url`, or in `COMETAPI_BASE_URL`."""
        return f"http://127.0.0.1:{self._port}/v1"

    def client(self, **options: Any) -> AsyncSeedream:
        """A client of this emulator; *options* are those of `AsyncSeedream`."""
        return AsyncSeedream(api_key=self.api_key, base_url=self.base_url, **options)

    @property
    def request_count(self) -> int:
        """How many generation requests have arrived, refused ones included."""
        return self._api.request_count

    @property
    def images_billed(self) -> int:
        """How many images the account would be charged for."""
        return self._making.images_billed

    @property
    def requests(self) -> Sequence[Received]:
        """The last generation requests, the newest at the end."""
        return self._api.received

    @property
    def fetched(self) -> Sequence[Fetched]:
        """The last requests that reached the object store, the newest at the end."""
        return self._store.fetched

    def fail_next(
        self,
        *,
        status: int,
        code: str = "",
        message: str = "a fault on order",
        retry_after: float | str | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
        times: int = 1,
        on: Literal["api", "store"] = "api",
    ) -> None:
        """
        Refuse the next *times* requests with *status*; nothing is made or billed.

        The body is the envelope of that side with *code* and *message*, unless *body* is given.
        *headers*, such as `x-should-retry`, are added.
        """
        fault = self._side(on).refusal(status, code, message)
        if body is not None:
            fault = evolve(fault, body=body, headers={"Content-Type": content_type})
        if retry_after is not None:
            fault = evolve(fault, headers={**fault.headers, "Retry-After": str(retry_after)})
        fault = evolve(fault, headers={**fault.headers, **(headers or {})})
        self._side(on).faults.order(fault, times)

    def cut_next(
        self,
        *,
        after_bytes: int | None = None,
        times: int = 1,
        on: Literal["api", "store"] = "api",
    ) -> None:
        """
        Carry out the next *times* requests, bill them, and cut the connection.

        Before anything is answered, or after *after_bytes* of the body.
        """
        self._side(on).faults.order(Fault(after_bytes=after_bytes), times)

    def stall_next(
        self,
        *,
        after_bytes: int | None = None,
        times: int = 1,
        on: Literal["api", "store"] = "api",
    ) -> None:
        """As `cut_next`, but fall silent instead of cutting the connection."""
        self._side(on).faults.order(Fault(after_bytes=after_bytes, stalls=True), times)

    def make_fewer_next(self, count: int) -> None:
        """
        Make *count* images at most of the next request that is carried out.

        A model may make fewer than it was asked for.
        """
        self._making.script.most = count

    def empty_next(self) -> None:
        """Make no image of the next request that is carried out, and say nothing of the reason."""
        self.make_fewer_next(0)

    def fail_image_next(
        self,
        index: int,
        *,
        code: str = _FILTERED.code,
        message: str = _FILTERED.message,
    ) -> None:
        """
        Fail to make the image number *index* of the next request that is carried out.

        The others are made and billed; but after an `InternalServiceError` the remaining ones are
        not tried, and of layers none is kept. If none is left, the answer has an `error` instead.
        """
        self._making.script.problems[index] = Problem(code, message)

    def fail_all_next(
        self,
        *,
        code: str = _FILTERED.code,
        message: str = _FILTERED.message,
        status: int = 200,
    ) -> None:
        """
        Fail to make any image of the next request that is carried out; nothing is billed.

        The error is in an answer with *status* 200, or in the envelope of a refusal with another.
        """
        self._making.script.of_all = Problem(code, message)
        self._making.script.status = status

    def stream_next(
        self,
        *,
        order: Iterable[int] | None = None,
        completed: bool = True,
        done: bool = True,
        comments: bool = False,
        line_end: str = "\n",
        cut_after: int | None = None,
        error: tuple[str, str] | None = None,
        chunk: int | None = None,
    ) -> None:
        """
        Let the next stream be odd.

        *order* holds the numbers of the images in the order of their events; those left out are
        made, but no event tells of them. With an *error*, a code and a message, that is the last
        event. Without *completed* or *done*, the event of that name or the final `[DONE]` is
        missing. *comments* stand before every event, and *line_end* after every line. *cut_after*
        so many events the connection is cut. The bytes are sent in pieces of *chunk*.
        """
        self._making.oddities = Oddities(
            order=None if order is None else tuple(order),
            completed=completed,
            done=done,
            comments=comments,
            line_end=line_end,
            cut_after=cut_after,
            error=Problem(*error) if error else None,
            chunk=chunk,
        )

    def _side(self, on: Literal["api", "store"]) -> Api | Store:
        return self._api if on == "api" else self._store
