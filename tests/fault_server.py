"""
A raw server that commits faults on order, and counts what it was asked for and what it billed.

It bills an image as soon as it has the whole of a request, unless the script of its reply says
that it refuses. So what it bills is the worst that can come of a fault.
"""

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterable
from enum import Enum, auto
from typing import Literal, TypeAlias

import trustme
from attrs import frozen


class Do(Enum):
    """What a server does besides sending bytes."""

    EARLY = auto()  # first of a reply: it comes before the request was read to its end
    REFUSE = auto()  # first of a reply: nothing is made
    STALL = auto()  # until the client gives up
    DEAF = auto()  # the same, and nothing more is read: a large request never gets through
    CLOSE = auto()
    RESET = auto()


@frozen
class Drip:
    """One *piece* after another, *every* so many seconds, for as long as the client listens."""

    piece: bytes
    every: float = 0.005


Step: TypeAlias = bytes | Do | Drip
Reply: TypeAlias = tuple[Step, ...]
At: TypeAlias = Literal["http", "no such host", "refused", "full", "untrusted", "handshake"]

# The number of the request takes the place of "#", so that no answer can pass for another's.
IMAGE = b'{"created": 1, "data": [{"url": "https://images.test/#.jpeg?sig=s"}]}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(IMAGE), IMAGE)


class FaultServer:
    """What reached a server, and what it billed: the links of the images, without their queries."""

    def __init__(self, replies: Iterable[Reply] = ()) -> None:
        self.url = ""
        self.posts = self.strays = 0
        self.billed: list[str] = []
        self._replies = list(replies)
        self._elsewhere = ""
        self._idle: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(
        self, scheme: str = "http", context: ssl.SSLContext | None = None
    ) -> AsyncIterator[None]:
        """Take connections: TLS with a *context*; *scheme* is what the client is told."""
        answer = self._converse if scheme == "http" or context else self._shake_hands
        server = await asyncio.start_server(self._owned(answer), "127.0.0.1", ssl=context)
        other = await asyncio.start_server(self._owned(self._stray), "127.0.0.1")
        self.url = f"{scheme}://127.0.0.1:{_port(server)}/v1"
        self._elsewhere = f"http://localhost:{_port(other)}"
        try:
            yield
        finally:
            server.close()
            other.close()
            for writer in self._open:
                writer.transport.abort()
            await asyncio.gather(*self._tasks)

    async def play_meanwhile(self, steps: Reply) -> None:
        """
        Let *steps* strike the connections that no request is on.

        The event loop has no turn after a close, so that the client cannot have noticed it yet;
        a reset is sent in the turn that closes the socket, and no turn follows.
        """
        for writer in tuple(self._idle):
            for step in steps:
                await self._play(step, None, writer)
            if Do.RESET in steps:
                await asyncio.sleep(0)
            if Do.CLOSE in steps:
                writer.get_extra_info("socket").shutdown(socket.SHUT_WR)

    def _owned(self, answer):
        """*answer* as a task that is kept, and a connection that is closed with it."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._tasks.add(asyncio.current_task())
            self._open.add(writer)
            with contextlib.suppress(ConnectionError, EOFError):
                await answer(reader, writer)
            self._idle.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

        return serve

    async def _stray(self, reader, writer) -> None:
        self.strays += 1

    async def _shake_hands(self, reader, writer) -> None:
        await reader.read(4096)
        for step in self._replies.pop(0):
            await self._play(step, reader, writer)

    async def _converse(self, reader, writer) -> None:
        while not writer.is_closing():
            self._idle.add(writer)
            head = await reader.readuntil(b"\r\n\r\n")
            self._idle.discard(writer)
            self.posts += head.startswith(b"POST ")
            reply = self._replies.pop(0) if self._replies else (OK,)
            if reply[0] is not Do.EARLY:
                await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))
            if reply[0] not in (Do.EARLY, Do.REFUSE):
                self.billed.append(f"https://images.test/{self.posts}.jpeg")
            for step in reply:
                await self._play(step, reader, writer)

    async def _play(self, step: Step, reader, writer: asyncio.StreamWriter) -> None:
        match step:
            case bytes():
                writer.write(self._filled(step))
                await writer.drain()
            case Drip():
                while True:  # ends with an error, as soon as nobody listens
                    writer.write(step.piece)
                    await writer.drain()
                    await asyncio.sleep(step.every)
            case Do.STALL:
                while await reader.read(1 << 16):
                    pass
            case Do.DEAF:
                await writer.wait_closed()
            case Do.CLOSE:
                writer.close()
            case Do.RESET:
                connection = writer.get_extra_info("socket")
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.close()

    def _filled(self, text: bytes) -> bytes:
        text = text.replace(b"<elsewhere>", self._elsewhere.encode())
        return text.replace(b"/#.jpeg", b"/%d.jpeg" % self.posts)


@contextlib.asynccontextmanager
async def serving(replies: Iterable[Reply], at: At) -> AsyncIterator[FaultServer]:
    """A server that gives *replies*, or one that cannot be reached, with the trouble *at* there."""
    server = FaultServer(replies)
    async with contextlib.AsyncExitStack() as stack:
        match at:
            case "http":
                await stack.enter_async_context(server.listening())
            case "handshake":
                await stack.enter_async_context(server.listening("https"))
            case "untrusted":
                await stack.enter_async_context(server.listening("https", _context()))
            case "no such host":
                server.url = "http://no-such-host.invalid/v1"
            case "refused" | "full":
                listener = stack.enter_context(socket.socket())
                listener.bind(("127.0.0.1", 0))
                server.url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
                if at == "full":
                    listener.listen(0)
                    _fill(listener, stack)
        yield server


def _port(server: asyncio.Server) -> int:
    return server.sockets[0].getsockname()[1]


def _context() -> ssl.SSLContext:
    """A certificate of an authority that nobody knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    return context


def _fill(listener: socket.socket, stack: contextlib.ExitStack) -> None:
    """Leave no room for another connection."""
    for _ in range(2):
        plug = stack.enter_context(socket.socket())
        plug.setblocking(False)
        plug.connect_ex(listener.getsockname())
