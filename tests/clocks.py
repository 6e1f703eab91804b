"""Event loops whose time is not the world's: one that skips waiting, and one that hurries."""

import asyncio
import selectors
import time


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


class _Hurrying(selectors.DefaultSelector):
    """Waits for less than it is asked to."""

    def __init__(self, speed):
        super().__init__()
        self.speed = speed

    def select(self, timeout=None):
        return super().select(timeout and timeout / self.speed)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Time passes only when everybody waits, and then at once."""

    def __init__(self):
        self._clock = _Skipping()
        super().__init__(self._clock)

    def time(self):
        return self._clock.now


class HurriedLoop(asyncio.SelectorEventLoop):
    """A second of the world is many of the loop's."""

    def __init__(self, speed):
        self._speed = speed
        super().__init__(_Hurrying(speed))

    def time(self):
        return time.monotonic() * self._speed


def run_virtually(main):
    """Run the coroutine *main* to its end, in no time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def run_hurried(main, speed):
    """Run the coroutine *main* to its end, *speed* times as fast."""
    with asyncio.Runner(loop_factory=lambda: HurriedLoop(speed)) as runner:
        return runner.run(main)
