"""Writes the kept figures into the READMEs, between their markers, and draws the charts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import chart, table

FOLDER = Path(__file__).parent.parent
ROOT = FOLDER.parent
Kept = Sequence[Mapping[str, Any]]


def kept(folder: Path = FOLDER / "figures") -> Kept:
    """The figures of all scripts, in the order of their names."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def filled(text: str, name: str, content: str) -> str:
    """*text* with *content* between its markers of that *name*, which must be there."""
    first, last = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
    before, found, rest = text.partition(first)
    _, also, after = rest.partition(last)
    if not found or not also:
        raise LookupError(f"no markers for {name}")
    return f"{before}{first}\n\n{content.strip()}\n\n{last}{after}"


def of_folder(figures: Kept) -> str:
    """The part of benchmarks/README.md that holds figures."""
    return "\n\n".join(map(_section, figures))


def _section(figures: Mapping[str, Any]) -> str:
    parts = [f"### `{figures['script']}.py`: {figures['title']}", _provenance(figures)]
    if chart.drawn(figures["contests"]):
        parts.append(picture(figures, "charts"))
    parts += map(table.markdown, figures["contests"])
    return "\n\n".join(parts)


def _provenance(figures: Mapping[str, Any]) -> str:
    """When, where and with what: one sentence per line."""
    found = _environments(figures["versions"])
    versions = [f"Versions of {whose}: {_listed(theirs)}." for whose, theirs in found]
    return "\n".join([_occasion(figures), *versions])


def _occasion(figures: Mapping[str, Any]) -> str:
    where = "{cores} cores of {cpu}, {kernel}, Python {python}.".format(**figures["machine"])
    quick = "\n**A quick run, which shows that the script works and little else.**"
    return f"{figures['date']}, {where}{quick if figures['quick'] else ''}"


def _environments(versions: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, str]]]:
    yield "what runs beside us", versions["ours"]
    if "peers" in versions:
        yield "the peers", versions["peers"]


def _listed(found: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def picture(figures: Mapping[str, Any], folder: str) -> str:
    """A chart that follows the page's scheme."""
    dark, light = (f"{folder}/{chart.name_of(figures, scheme)}" for scheme in ("dark", "light"))
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img alt="{figures["title"]}" src="{light}"></picture>'
    )


def of_project(figures: Kept, shown: str = "calls") -> str:
    """The part of the project's README that holds figures: headlines, and the chart of a script."""
    figures = [each for each in figures if _headlines(each)]
    rows = [row for each in figures for row in _headlines(each)]
    parts = list(dict.fromkeys(map(_occasion, figures)))
    if rows:
        parts.append("\n".join(["| what | measured | goal |", "|---|---|---|", *rows]))
    parts += [picture(each, "benchmarks/charts") for each in figures if each["script"] == shown]
    return "\n\n".join(parts)


def _headlines(figures: Mapping[str, Any]) -> list[str]:
    return [
        f"| {goal['headline']} | {goal['said'] or 'not measured'} | {_goal(goal)} |"
        for contest in figures["contests"]
        for goal in contest["goals"]
        if goal["headline"]
    ]


def _goal(goal: Mapping[str, Any]) -> str:
    bound = re.sub(r"^.*?: ", "", goal["text"])
    return bound if goal["reached"] is not False else f"{bound}: **not reached**"


def main() -> None:
    figures = kept()
    for path, name, content in (
        (FOLDER / "README.md", "figures", of_folder(figures)),
        (ROOT / "README.md", "figures", of_project(figures)),
    ):
        path.write_text(filled(path.read_text(), name, content))
    for each in figures:
        chart.write(each, FOLDER / "charts")
