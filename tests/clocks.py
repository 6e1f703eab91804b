"""Event loops whose time is not the world's: it passes when everybody waits."""

import asyncio
import selectors


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
    """Waits only as long as what was said on this machine takes to be heard; then moves the clock."""

    now = 0.0

    def select(self, timeout=None):
        ready = super().select(timeout if not timeout else min(timeout, 0.0005))
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time passes only when everybody waits, and then at once."""

    make_clock = _Skipping

    def __init__(self):
        self._clock = self.make_clock()
        super().__init__(self._clock)

    def time(self):
        return self._clock.now


class SocketLoop(VirtualLoop):
    """The same for calls over loopback, however busy the machine is."""

    make_clock = _Listening


def run_virtually(main, loop=VirtualLoop):
    """Run the coroutine *main* to its end, in no time."""
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)
