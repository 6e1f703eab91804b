"""
The sessions of a client, made when they are first needed, and the one event loop they belong to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

# Seconds after which a connection is not used again. The far side may close an idle one at the
# moment of use; the shortest common limits of servers are 2 s (gunicorn) and 5 s (Node).
FRESH = 1.0


class Lifetime:
    """From the first use of a client, which ties it to an event loop, to its end."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False

    @property
    def in_use(self) -> bool:
        """Whether there may be something to close."""
        return self._loop is not None and not self._ended

    def check(self) -> None:
        """Raise `RuntimeError` if the client must not be used here, or not any more."""
        if self._ended:
            raise RuntimeError("this client is closed: make a new one")
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._check_loop()

    def end(self) -> None:
        """Let the client be of no use from now on."""
        # What a closed loop left can be put away from anywhere.
        if self.in_use and self._loop is not None and not self._loop.is_closed():
            self._check_loop()
        self._ended = True

    def _check_loop(self) -> None:
        if self._loop is not asyncio.get_running_loop():
            raise RuntimeError(
                "this client belongs to another event loop: make one client for each loop, "
                "and note that each asyncio.run() has a loop of its own"
            )


class OwnSession:
    """A session that *make* makes when it is first needed."""

    def __init__(self, make: Callable[[], aiohttp.ClientSession]) -> None:
        self._make = make
        self._session: aiohttp.ClientSession | None = None

    def get(self) -> aiohttp.ClientSession:
        """The session."""
        if self._session is None:
            self._session = self._make()
        return self._session

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def abandon(self) -> None:
        """Let go of a session that nobody closed; its connector closes what is still open."""
        if self._session is not None:
            self._session.detach()


async def notice_closed_connections() -> None:
    """
    Let the loop see which idle connections were closed meanwhile, so that none of them is used.

    One turn finds out that there is something to read, the next one reads that it is the end.
    """
    for _ in range(3):
        await asyncio.sleep(0)


class SilentConnector(aiohttp.TCPConnector):
    """
    Hands out no connection on which the far side spoke while nobody had asked it anything.

    aiohttp would take what it said for the answer to the next request.
    """

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()
