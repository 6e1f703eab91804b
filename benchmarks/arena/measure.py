"""What a contender's process finds out about itself. Needs Linux."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .kernel import cpu_seconds, cpu_used, forget_peak, memory, peak_of_children
from .lag import TICK, Ticker


@dataclass
class Take:
    """What was measured. A contender may correct *units*, and note more in *extras*."""

    units: float
    extras: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """The take as JSON."""
        return {"units": self.units, "extras": self.extras, **self.figures}


@dataclass(frozen=True, kw_only=True)
class Run:
    """
    One contender's turn: its *options*, the facts of its *server* (`url` and what else it has), and
    an empty *folder*.
    """

    options: Mapping[str, Any]
    server: Mapping[str, Any]
    server_pids: Sequence[int] = ()
    folder: Path = Path()
    takes: list[Take] = field(default_factory=list)

    @contextlib.contextmanager
    def measured(
        self, units: float = 1, *, children: bool = False, tick: float | None = TICK
    ) -> Iterator[Take]:
        """
        Measure the block, in which so many *units* are done. Warm up before it.

        With *children*, the CPU and the peak of processes that it starts and waits for count, too.
        Without *tick*, nobody looks at the loop, which costs up to 1 % of a core.
        """
        take = Take(units)
        gc.collect()
        with (
            _measured_memory(take, children),
            _measured_server(take, self.server_pids),
            _measured_lag(take, tick),
            _measured_cpu(take, children),
        ):
            yield take
        self.takes.append(take)


@contextlib.contextmanager
def _measured_cpu(take: Take, children: bool) -> Iterator[None]:
    wall, cpu = time.perf_counter(), cpu_used(children=children)
    yield
    take.figures["cpu"] = cpu_used(children=children) - cpu
    take.figures["wall"] = time.perf_counter() - wall


@contextlib.contextmanager
def _measured_memory(take: Take, children: bool) -> Iterator[None]:
    exact = forget_peak()
    before = memory("VmRSS" if exact else "VmHWM")
    yield
    peak = memory("VmHWM")
    most = peak_of_children() if children else 0.0
    take.figures["growth"] = peak - before + most
    take.figures["peak"] = peak + most
    take.figures["exact"] = exact


@contextlib.contextmanager
def _measured_server(take: Take, pids: Sequence[int]) -> Iterator[None]:
    """The share of a core that the busiest of the server's processes had."""
    before, clock = [cpu_seconds(pid) for pid in pids], time.perf_counter()
    yield
    wall = time.perf_counter() - clock
    used = [cpu_seconds(pid) - cpu for pid, cpu in zip(pids, before, strict=True)]
    take.figures["server"] = max(used) / wall if used else None


@contextlib.contextmanager
def _measured_lag(take: Take, tick: float | None) -> Iterator[None]:
    ticker = Ticker(tick or TICK)
    if tick is not None and _has_loop():
        ticker.start()
    yield
    take.figures["lag"] = ticker.stop()


def _has_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
