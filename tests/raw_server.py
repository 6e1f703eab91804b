"""A server whose connections end with it, however late the machine delivers their ends."""

import asyncio
import contextlib


@contextlib.asynccontextmanager
async def raw_server(serve, **options):
    """
    The port of a server that lets *serve* have each connection.

    When the block ends, so do all connections and whatever *serve* still does with them: what were
    left would be a warning of the garbage collector's, in the midst of another test.
    """
    tasks, writers = set(), set()

    async def serve_and_close(reader, writer):
        tasks.add(asyncio.current_task())
        writers.add(writer)
        with contextlib.suppress(ConnectionError, EOFError):
            await serve(reader, writer)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve_and_close, "127.0.0.1", **options)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for writer in writers:
            if not writer.transport.is_closing():  # which in Python 3.11 may be too late
                writer.transport.abort()
        await asyncio.gather(*tasks)
