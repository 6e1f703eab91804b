"""What a benchmark declares, as values: contenders, contests, figures to show, and goals."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Report = Mapping[str, Any]  # what one process found, as `measure.Take.report` makes it


@dataclass(frozen=True, kw_only=True)
class Metric:
    """
    A figure of a report, shown in *unit*: *of* gives it, or nothing if the report has none.

    Less is better, unless *more_is_better*.
    """

    name: str
    unit: str
    of: Callable[[Report], float | None] = field(repr=False)
    more_is_better: bool = False


def _each(name: str, scale: float) -> Callable[[Report], float | None]:
    return lambda report: report[name] / report["units"] * scale


def _lag(name: str) -> Callable[[Report], float | None]:
    return lambda report: report["lag"] and report["lag"][name]


def _memory(name: str) -> Callable[[Report], float | None]:
    return lambda report: report[name]


CPU = Metric(name="CPU each", unit="µs", of=_each("cpu", 1e6))
WALL = Metric(name="wall each", unit="µs", of=_each("wall", 1e6))
RATE = Metric(
    name="rate", unit="/s", of=lambda report: report["units"] / report["wall"], more_is_better=True
)
GROWTH = Metric(name="memory growth", unit="MB", of=_memory("growth"))
PEAK = Metric(name="peak memory", unit="MB", of=_memory("peak"))
LAG_MEDIAN = Metric(name="loop lag p50", unit="ms", of=_lag("p50"))
LAG_99 = Metric(name="loop lag p99", unit="ms", of=_lag("p99"))
LAG_MAX = Metric(name="loop lag max", unit="ms", of=_lag("max"))


def extra(name: str, unit: str, key: str | None = None, *, more_is_better: bool = False) -> Metric:
    """The figure that a contender noted in `take.extras[key]`."""
    return Metric(
        name=name,
        unit=unit,
        of=lambda report: report["extras"].get(key or name),
        more_is_better=more_is_better,
    )


@dataclass(frozen=True)
class Contender:
    """
    One way to do it: *function* gets a `Run`, and measures inside of `run.measured()`.

    With *peers*, it runs in the environment of the peers; with *needs*, only where that command is.
    *options* are laid over those of the contest; *note* stands beside its row. What is *ours* is
    prominent in charts.
    """

    label: str
    function: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    peers: bool = False
    needs: str | None = None
    note: str = ""
    ours: bool = False


@dataclass(frozen=True)
class Server:
    """
    *function*, an asynchronous context manager that gives facts for the contenders, run in a
    process of its own.
    """

    function: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Goal:
    """
    What *metric* of *contender* should be: *most* or *least*, as multiples of the same figure of
    *against*, or in the metric's unit if there is no such peer. Without a bound, it should be no
    worse than *against*, as far as turns can tell: they are not all worse than all of those. With a
    *headline*, a few words on what it is about, it is shown in the project's README.
    """

    metric: Metric
    contender: str
    against: str | None = None
    most: float | None = None
    least: float | None = None
    headline: str = ""


@dataclass(frozen=True, kw_only=True)
class Contest:
    """
    *contenders* do the same thing under the same *options*, in *rounds* of turns.

    The first of *metrics* is the one that the chart shows. Ratios are to *baseline*. *unit* names
    what is counted, such as a call.
    """

    title: str
    contenders: Sequence[Contender]
    baseline: str
    metrics: Sequence[Metric] = (CPU, WALL)
    goals: Sequence[Goal] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    server: Server | None = None
    unit: str = "call"
    rounds: int = 5
    chart: bool = True
    notes: Sequence[str] = ()

    @property
    def key(self) -> str:
        """The title as a name, which the figures keep."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")
