"""How long a loop keeps others waiting, in a memory that does not grow with what is looked at."""

from __future__ import annotations

import array
import asyncio
import bisect
import gc
import itertools
import math
import threading
import time

TICK = 0.001  # seconds between two looks at the loop
_LEAST = 1e-7  # seconds: less is as good as nothing
_WIDTH = math.log(1.01)  # of a bin: figures are 1 % too high at most
_BINS = 2400  # up to half an hour


class Durations:
    """A distribution of seconds."""

    def __init__(self) -> None:
        self._counts = array.array("Q", [0]) * _BINS
        self._sums = array.array("d", [0.0]) * _BINS
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        place = math.ceil(math.log(seconds / _LEAST) / _WIDTH) if seconds > _LEAST else 0
        place = min(place, _BINS - 1)
        self._counts[place] += 1
        self._sums[place] += seconds
        self._longest = max(self._longest, seconds)

    def quantile(self, share: float) -> float:
        """What that *share* of them do not exceed."""
        rank = max(1, math.ceil(share * sum(self._counts)))
        place = bisect.bisect_left([*itertools.accumulate(self._counts)], rank)
        return min(self._longest, _LEAST * math.exp(place * _WIDTH))

    def figures(self) -> dict[str, float] | None:
        """Half, 99 % and all of them were not longer than this, in milliseconds."""
        if not sum(self._counts):
            return None
        p50, p99 = self.quantile(0.5), self.quantile(0.99)
        return {"p50": p50 * 1e3, "p99": p99 * 1e3, "max": self._longest * 1e3}

    def left_at(self, seconds: float) -> float:
        """
        What is left of one that goes on at a random moment, and more only for so many *seconds*.

        If these are the steps of a loop, that is what a newcomer waits for it.
        """
        most, total, count = 0.0, -seconds, 0
        for here, them in zip(reversed(self._sums), reversed(self._counts), strict=True):
            total, count = total + here, count + them
            most = max(most, total / max(1, count))
        return most


class Ticker:
    """
    What somebody who wants the loop every *tick* seconds waits for it, each time.

    Whoever would have come while the loop was held is counted, too: a stall of 100 ms is a hundred
    waits of 1 to 100 ms, not a single one.
    """

    def __init__(self, tick: float = TICK) -> None:
        self._tick = tick
        self._waits = Durations()
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + self._tick
        self._handle = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        self._count()
        self._handle = self._loop.call_at(self._due, self._look)

    def _count(self) -> None:
        waits, self._due = waits_of(self._due, self._loop.time(), self._tick)
        for wait in waits:
            self._waits.add(wait)

    def stop(self) -> dict[str, float] | None:
        """The figures of the waits; nothing if it was not started."""
        if self._handle is None:
            return None
        self._handle.cancel()
        self._count()
        return self._waits.figures()


def waits_of(due: float, now: float, tick: float) -> tuple[list[float], float]:
    """How long those waited who were due from *due* to *now*, and when the next one is due."""
    count = max(0, int((now - due) / tick) + 1) if now >= due else 0
    return [now - due - tick * n for n in range(count)], due + tick * count


def timed_steps() -> Durations:
    """
    The CPU time of each step of this thread's loops: until a task or a callback lets go of them.

    Unlike a clock on the wall it does not tell of whoever else uses the machine. Python's garbage
    collector is left out: whoever happens to make an object pays for all that there are.
    """
    steps, collecting, here = Durations(), [0.0], threading.get_ident()
    run = asyncio.Handle._run  # noqa: SLF001

    def note_collection(phase: str, _: object) -> None:
        if threading.get_ident() == here:
            collecting[0] += time.thread_time() * (-1 if phase == "start" else 1)

    def run_and_note(self: asyncio.Handle) -> None:
        start, collected = time.thread_time(), collecting[0]
        run(self)
        steps.add(time.thread_time() - start - (collecting[0] - collected))

    gc.callbacks.append(note_collection)
    asyncio.Handle._run = run_and_note  # type: ignore[method-assign]  # noqa: SLF001
    return steps
