"""From reports to the figures that are shown and kept: plain JSON, and decided without I/O."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from .contest import Contender, Contest, Goal, Metric, Report

LIMIT = 0.7  # of a core: a server that has more of it may be what is measured

Figures = dict[str, Any]


def figures_of(
    contest: Contest,
    reports: Mapping[str, Sequence[Report]],
    left_out: Mapping[str, str],
    server: Mapping[str, Any],
) -> Figures:
    """The figures of one contest: *reports* by contender, and why others were *left_out*."""
    rows = {
        contender.label: _row(contest, reports.get(contender.label, ()), contender)
        for contender in contest.contenders
    }
    return {
        "key": contest.key,
        "title": contest.title,
        "unit": contest.unit,
        "rounds": max(map(len, reports.values()), default=0),
        "baseline": contest.baseline,
        "server": server.get("name"),
        "chart": contest.chart,
        "metrics": [_described(metric) for metric in contest.metrics],
        "rows": rows,
        "left_out": dict(left_out),
        "goals": [_verdict(goal, rows) for goal in contest.goals],
        "notes": [*contest.notes, *_notes(reports, server)],
    }


def _described(metric: Metric) -> Figures:
    return {"name": metric.name, "unit": metric.unit, "more_is_better": metric.more_is_better}


def _row(contest: Contest, reports: Sequence[Report], contender: Contender) -> Figures:
    metrics = {*contest.metrics, *(goal.metric for goal in contest.goals)}
    figures = {
        metric.name: summary([metric.of(report) for report in reports]) for metric in metrics
    }
    shares = [report["server"] for report in reports if report["server"] is not None]
    share = statistics.median(shares) if shares else None
    about = {"note": contender.note, "ours": contender.ours}
    return {"figures": figures, "server_share": share and rounded(share), **about}


def summary(values: Sequence[float | None]) -> dict[str, float] | None:
    """The median and the spread of *values*; nothing if any is missing, or there are none."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return {
        "median": rounded(statistics.median(known)),
        "min": rounded(min(known)),
        "max": rounded(max(known)),
    }


def rounded(value: float) -> float:
    """*value* with four significant digits: the others are noise."""
    return float(f"{value:.4g}")


def median_of(rows: Mapping[str, Any], label: str | None, metric: str) -> float | None:
    found = rows.get(label or "", {}).get("figures", {}).get(metric)
    return float(found["median"]) if found else None


def _verdict(goal: Goal, rows: Mapping[str, Any]) -> Figures:
    """What became of a goal. *value* and *reached* are nothing if a figure is missing."""
    ours = median_of(rows, goal.contender, goal.metric.name)
    theirs = median_of(rows, goal.against, goal.metric.name) if goal.against else 1.0
    value = None if ours is None or not theirs else ours / theirs
    reached = None if value is None else is_reached(goal, value, rows)
    return {
        "text": wording(goal),
        "headline": goal.headline,
        "contender": goal.contender,
        "against": goal.against,
        "metric": goal.metric.name,
        "value": None if value is None else rounded(value),
        "said": None if value is None else said(goal, value),
        "reached": reached,
    }


def is_reached(goal: Goal, value: float, rows: Mapping[str, Any]) -> bool:
    if goal.most is None and goal.least is None:
        return not _is_worse(goal, rows)
    return (goal.most is None or value <= goal.most) and (goal.least is None or value >= goal.least)


def _is_worse(goal: Goal, rows: Mapping[str, Any]) -> bool:
    """Whether all turns of the contender were worse than all of its peer: else it may be chance."""
    ours, theirs = (
        rows[label]["figures"][goal.metric.name] for label in (goal.contender, goal.against)
    )
    if goal.metric.more_is_better:
        ours, theirs = theirs, ours
    return bool(ours["min"] > theirs["max"])


def wording(goal: Goal) -> str:
    """A goal in words."""
    bound = goal.most if goal.least is None else goal.least
    if bound is None:
        return f"{goal.metric.name} of {goal.contender}: no worse than {goal.against}"
    side = "at least" if goal.least is not None else "at most"
    return f"{goal.metric.name} of {goal.contender}: {side} {_multiple(goal, bound)}"


def said(goal: Goal, value: float) -> str:
    """A value of a goal in words."""
    return _multiple(goal, value)


def _multiple(goal: Goal, value: float) -> str:
    if goal.against is None:
        return f"{_short(value)} {goal.metric.unit}"
    bound = goal.most if goal.least is None else goal.least
    inverse = value and bound is not None and bound < 1
    times = f"1/{_short(1 / value)}" if inverse else f"{_short(value)} ×"
    return f"{times} {'' if '/' not in times else 'of '}{goal.against}"


def _short(value: float) -> str:
    """Three digits that matter."""
    return f"{float(f'{value:.3g}'):,g}"


def _notes(reports: Mapping[str, Sequence[Report]], server: Mapping[str, Any]) -> list[str]:
    notes = [server["note"]] if "note" in server else []
    if not all(report["exact"] for taken in reports.values() for report in taken):
        notes.append("the kernel would not forget earlier peaks: memory growth is a lower bound")
    return notes
