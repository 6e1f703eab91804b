"""
The sessions of a client, made when they are first needed, and the one event loop they belong to.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from ._errors import ClientClosingError
from ._sockets import can_tell_news, has_news

# Seconds after which a connection is not used again. The far side may close an idle one at the
# moment of use; the shortest common limits of servers are 2 s (gunicorn) and 5 s (Node).
FRESH = 1.0
# Seconds for which an idle connection must have been seen to stay open before any is used again.
PROOF = 3.0
_TURNS = 3  # of the loop


class Lifetime:
    """From the first use of a client, which ties it to an event loop, to its end."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = False
        self.closing = False  # what goes on may end, and nothing new begins

    @property
    def in_use(self) -> bool:
        """Whether there may be something to close."""
        return self._loop is not None and not self._ended

    @property
    def is_here(self) -> bool:
        """Whether it is in use in the loop that runs."""
        return self.in_use and self._loop is asyncio.get_running_loop()

    def check(self, *, new: bool = False) -> None:
        """
        Raise `RuntimeError` if the client must not be used here, or not any more, and
        `ClientClosingError` if it is being closed and this is something *new*.
        """
        if self._ended:
            raise RuntimeError("this client is closed: make a new one")
        if new and self.closing:
            raise ClientClosingError("not sent: this client is being closed")
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
            self._stop_watching()
            await self._session.close()

    def abandon(self) -> None:
        """Close the connections of a session that nobody closed, without waiting for it."""
        if self._session is None or self._session.connector is None:
            return
        self._stop_watching()
        connector = self._session.connector
        self._session.detach()
        connector.__exit__()  # to leave it to the garbage collector would be reported

    def _stop_watching(self) -> None:
        if self._session is not None and isinstance(self._session.connector, SilentConnector):
            self._session.connector.stop_watching()


async def notice_closed_connections() -> None:
    """
    Let the loop see which idle connections were closed meanwhile, so that none of them is used.

    That is for sessions whose connector does not, or cannot, look by itself.
    One turn finds out that there is something to read, the next one reads that it is the end.
    """
    for _ in range(_TURNS):
        await asyncio.sleep(0)


class SilentConnector(aiohttp.TCPConnector):
    """
    Hands out no connection on which the far side spoke while nobody had asked it anything: aiohttp
    would take what it said for the answer to the next request. Nor one of which the end has
    arrived: it looks at the socket at the moment of use, as the loop may not have had the time.

    If *cautious*, it hands out none a second time, either, before it has seen one that the far side
    left open for `PROOF` seconds: some close them without a word as soon as they have answered, and
    a request that meets such an end is in doubt.
    """

    def __init__(self, *, cautious: bool = False, **options: Any) -> None:
        super().__init__(keepalive_timeout=FRESH, **options)
        self._used: WeakSet[ResponseHandler] = WeakSet()
        self._proven = not cautious
        self._watched: Connection | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def connect(
        self, req: aiohttp.ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        await asyncio.sleep(0)  # to build a request has held the loop for long enough
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            assert protocol is not None  # noqa: S101  as nobody has given it back yet
            used = protocol in self._used
            if protocol.should_close or (used and _has_news(protocol)):
                connection.close()
                if not used:
                    raise aiohttp.ClientConnectionError("the far side spoke first")
            elif not used:
                self._used.add(protocol)
                return connection
            elif self._proven:
                return connection
            else:
                self._watch(connection)

    def stop_watching(self) -> None:
        """Give the connection back that is only watched."""
        if self._watched is not None and self._timer is not None:
            self._timer.cancel()
            with contextlib.suppress(RuntimeError):  # its loop is gone
                self._watched.close()
            self._watched = None

    def _watch(self, connection: Connection) -> None:
        if self._watched is not None:
            connection.close()
            return
        self._watched = connection
        self._timer = asyncio.get_running_loop().call_later(PROOF, self._judge, 9)

    def _judge(self, turns: int) -> None:
        if turns:  # a loop that was busy has yet to see what happened
            asyncio.get_running_loop().call_soon(self._judge, turns - 1)
            return
        watched = self._watched
        self._proven = watched is not None and is_silent(watched)
        self.stop_watching()


def _has_news(protocol: ResponseHandler) -> bool:
    """Whether something arrived on an idle connection, even if the loop has yet to see it."""
    assert protocol.transport is not None  # noqa: S101  as nobody has closed it
    return can_tell_news() and has_news(protocol.transport.get_extra_info("socket"))


def is_silent(connection: Connection) -> bool:
    """Whether *connection* is open, and nothing came over it unasked."""
    protocol = connection.protocol
    return protocol is not None and protocol.is_connected() and not protocol.should_close
