"""
The API and its object store on loopback, for tests, demonstrations and benchmarks.

It validates like the API, signs and verifies links, makes real images, counts what it bills, and
takes faults on order. It needs nothing but the core's dependencies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web
from attrs import evolve

from seedream_async import AsyncSeedream

from ._api import Api, Received
from ._faults import Fault
from ._store import Fetched, Store

__all__ = ["Emulator", "Fetched", "Received"]


class Emulator:
    """
    CometAPI's image endpoint and its object store, each on a port of 127.0.0.1.

    *port* is that of the API, 0 for any free one. *latency* is the time of one generation in
    seconds. *link_lifetime* is in seconds too. *clock* tells the time that links are signed at
    and expire by. The last *kept* requests can be inspected.

        async with Emulator() as emulator, emulator.client() as client:
            await client.generate("a cat")
            assert emulator.images_billed == 1
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
    ) -> None:
        self.api_key = api_key
        self._port = port
        self._store = Store(clock, timedelta(seconds=link_lifetime), kept)
        self._api = Api(self._store, api_key, latency, clock, kept)
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
        return self._api.images_billed

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
        times: int = 1,
        on: Literal["api", "store"] = "api",
    ) -> None:
        """
        Refuse the next *times* requests with *status*; nothing is made or billed.

        The body is the envelope of that side with *code* and *message*, unless *body* is given.
        """
        fault = self._side(on).refusal(status, code, message)
        if body is not None:
            fault = evolve(fault, body=body, headers={"Content-Type": content_type})
        if retry_after is not None:
            fault = evolve(fault, headers={**fault.headers, "Retry-After": str(retry_after)})
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

    def _side(self, on: Literal["api", "store"]) -> Api | Store:
        return self._api if on == "api" else self._store
