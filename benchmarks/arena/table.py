"""Figures as text: for a terminal, and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .figures import LIMIT


def number(value: float) -> str:
    """Three digits that matter, and no exponent."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def cell(row: Mapping[str, Any], metric: str) -> str:
    """The median and the spread of a figure."""
    found = row["figures"].get(metric)
    if not found:
        return "–"
    if found["min"] == found["max"]:
        return number(found["median"])
    return f"{number(found['median'])} ({number(found['min'])}–{number(found['max'])})"


def ratio(contest: Mapping[str, Any], label: str, metric: str) -> str:
    """A figure as a multiple of the baseline's."""
    if len(contest["rows"]) == 1:
        return "–"
    ours = contest["rows"][label]["figures"].get(metric)
    base = contest["rows"].get(contest["baseline"], {}).get("figures", {}).get(metric)
    if not ours or not base or not base["median"]:
        return "–"
    return f"{ours['median'] / base['median']:.2f} ×"


def remark(row: Mapping[str, Any]) -> str:
    """What stands beside a row: its note, and whether the server was the limit."""
    share = row["server_share"]
    limit = f"the server was the limit: {share:.0%} of a core" if (share or 0) > LIMIT else ""
    return "; ".join(filter(None, (row["note"], limit)))


def grid(contest: Mapping[str, Any]) -> list[list[str]]:
    """Head and rows. The first figure is also given as a ratio."""
    metrics = contest["metrics"]
    head = [contest["title"], *(f"{m['name']}, {m['unit']}" for m in metrics)]
    head.insert(2, "ratio")
    rows = [
        _cells(contest, label, row, metrics)
        for label, row in contest["rows"].items()
        if label not in contest["left_out"]
    ]
    return [[*head, "server", ""], *rows]


def _cells(
    contest: Mapping[str, Any],
    label: str,
    row: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
) -> list[str]:
    share = row["server_share"]
    cells = [label, *(cell(row, metric["name"]) for metric in metrics)]
    cells.insert(2, ratio(contest, label, metrics[0]["name"]))
    return [*cells, "–" if share is None else f"{share:.0%}", remark(row)]


def plain(contest: Mapping[str, Any]) -> str:
    """A contest for a terminal."""
    rows = without_empty(grid(contest))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in [*lines, *_remarks(contest, "  ")])


def markdown(contest: Mapping[str, Any]) -> str:
    """A contest as a table with what is to be said of it below."""
    head, *rows = without_empty(grid(contest))
    rule = ["---", *("--:" for _ in head[1:])]
    if not head[-1]:
        rule[-1] = "---"
    lines = [f"| {' | '.join(row)} |".replace("  ", " ") for row in [head, rule, *rows]]
    return "\n".join([*lines, "", *_remarks(contest, "- ")]).strip()


def without_empty(rows: list[list[str]]) -> list[list[str]]:
    """*rows* without the columns in which nothing stands."""
    kept = [any(text not in {"", "–"} for text in column[1:]) for column in zip(*rows, strict=True)]
    return [[text for text, keep in zip(row, kept, strict=True) if keep] for row in rows]


def _remarks(contest: Mapping[str, Any], bullet: str) -> list[str]:
    return [
        f"{bullet}{text}" for text in [*verdicts(contest), *left_out(contest), *contest["notes"]]
    ]


def verdicts(contest: Mapping[str, Any]) -> list[str]:
    """The goals of a contest, and what became of them."""
    return [f"goal: {goal['text']}: {_outcome(goal)}" for goal in contest["goals"]]


def _outcome(goal: Mapping[str, Any]) -> str:
    if goal["reached"] is None:
        return "not measured"
    return f"{'reached' if goal['reached'] else 'NOT reached'}, {goal['said']}"


def left_out(contest: Mapping[str, Any]) -> list[str]:
    """Who was left out, grouped by the reason."""
    reasons: dict[str, list[str]] = {}
    for label, reason in contest["left_out"].items():
        reasons.setdefault(reason, []).append(label)
    return [f"left out, {reason}: {', '.join(labels)}" for reason, labels in reasons.items()]
