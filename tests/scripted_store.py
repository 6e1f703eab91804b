"""A store that says what it is told to, and knows who is still connected."""

import asyncio
import contextlib


def head(status, length, *headers):
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", *headers, "", ""]
    return "\r\n".join(lines).encode()


class Store:
    """
    Gives the *answers* in turn, one for each request; each is bytes, or several to wait between.

    It waits before all but the first piece of an answer until `go` is set, and cuts the connection
    at one that is `None`. *open* connections are those that nobody let go of; *taken* counts the
    bytes that were taken.
    """

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []
        self.open = 0
        self.taken = 0
        self.go = asyncio.Event()
        self._writers = set()

    async def _serve(self, reader, writer):
        self.open += 1
        self._writers.add(writer)
        writer.transport.set_write_buffer_limits(0)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while asked := await reader.readuntil(b"\r\n\r\n"):
                    self.asked.append(asked.decode().lower())
                    answer = self.answers.pop(0)
                    pieces = [answer] if isinstance(answer, bytes) else answer
                    await self._answer(reader, writer, pieces)
        finally:
            writer.close()
            self._writers.discard(writer)
            self.open -= 1

    async def _answer(self, reader, writer, pieces):
        for number, piece in enumerate(pieces):
            while number and not (self.go.is_set() or reader.at_eof()):
                await asyncio.sleep(0.005)
            if piece is None:
                writer.transport.abort()
                return
            for at in range(0, len(piece), 65536):
                writer.write(piece[at : at + 65536])
                await writer.drain()
                self.taken += min(65536, len(piece) - at)

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1")
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/k"
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for writer in [*self._writers]:
            writer.transport.abort()
        self.go.set()
        async with asyncio.timeout(30):
            while self.open:
                await asyncio.sleep(0)
