"""Event loops whose time is not the world's: it passes when everybody waits."""

import asyncio
import selectors
import socket

PATIENCE = 30  # seconds of the world's, with what no loop can know of


class _Skipping(selectors.DefaultSelector):
    """Waits for nothing: moves the clock instead."""

    now = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("everybody waits, and nothing will happen")
        if not ready:
            self.now += timeout
        return ready


class _Listening(selectors.DefaultSelector):
    """Moves the clock once no thread is at work, and all that was said on this machine is heard."""

    now = 0.0
    at_work = 0

    def __init__(self):
        super().__init__()
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._mouth = socket.create_connection(server.getsockname())
            self._ear, _ = server.accept()
        self._mouth.setblocking(False)
        self._ear.setblocking(False)
        self._hearing = selectors.DefaultSelector()
        self._hearing.register(self._ear, selectors.EVENT_READ)

    def select(self, timeout=None):
        if timeout == 0:
            return super().select(0)
        if self.at_work:
            return super().select()
        if timeout is None:
            return self._hear_from_outside()
        self._let_all_be_heard()
        ready = super().select(min(timeout, 0.0005))
        if not ready:
            self.now += timeout
        return ready

    def close(self):
        for each in (self._hearing, self._mouth, self._ear):
            each.close()
        super().close()

    def _hear_from_outside(self):
        ready = super().select(PATIENCE)
        if not ready:
            raise RuntimeError("everybody waits, and nothing will happen")
        return ready

    def _let_all_be_heard(self):
        # However late the machine delivers, it does so in order.
        self._mouth.send(b"?")
        self._hearing.select()
        self._ear.recv(1)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time passes only when everybody waits, and then at once."""

    make_clock = _Skipping

    def __init__(self):
        self._clock = self.make_clock()
        super().__init__(self._clock)

    def time(self):
        return self._clock.now


class SocketLoop(VirtualLoop):
    """
    The same for calls over loopback and work in threads, however busy the machine is.

    What is nobody's to see, such as another process, is not waited for.
    """

    make_clock = _Listening

    def run_in_executor(self, executor, function, *args):
        work = super().run_in_executor(executor, function, *args)
        self._clock.at_work += 1
        work.add_done_callback(self._end_work)
        return work

    def _end_work(self, _):
        self._clock.at_work -= 1

    async def shutdown_default_executor(self, *_):
        await super().shutdown_default_executor()  # its limit would pass before its threads end


def run_virtually(main, loop=VirtualLoop):
    """Run the coroutine *main* to its end, in no time."""
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)
