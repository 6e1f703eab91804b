"""Figures as bars: SVG for light and dark pages, from templates, without a library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from .figures import LIMIT
from .table import number, ratio

SCHEMES = {
    "light": {"text": "#1f2328", "muted": "#59636e", "ours": "#0969da", "peer": "#afb8c1"},
    "dark": {"text": "#e6edf3", "muted": "#9198a1", "ours": "#4493f8", "peer": "#59636e"},
}
WIDTH, NUMBERS, LETTER = 820, 190, 8.2  # of all, right of a bar, and of a letter at its widest
HEAD, ROW, GAP, TOP = 30, 24, 18, 44

_PAGE = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-labelledby="title desc" \
font-family="-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif">
<title id="title">{title}</title>
<desc id="desc">{desc}</desc>
<text x="0" y="20" font-size="17" font-weight="600" fill="{text}">{title}</text>
{panels}
</svg>
"""
_PANEL = """\
<g transform="translate(0 {y})">
<text x="0" y="16" font-size="14" font-weight="600" fill="{text}">{title}</text>
<text x="{end}" y="16" font-size="12" text-anchor="end" fill="{muted}">{metric}</text>
{rows}
</g>"""
_ROW = """\
<text x="{edge}" y="{base}" font-size="13" text-anchor="end" fill="{text}"{weight}>{label}</text>
<rect x="{left}" y="{y}" width="{length:.1f}" height="16" rx="2" fill="{fill}"/>
<text x="{after:.1f}" y="{base}" font-size="13" fill="{text}"{weight}>{value}\
<tspan fill="{muted}" font-weight="400">{ratio}</tspan></text>"""


def write(figures: Mapping[str, Any], folder: Path) -> None:
    """Draw the figures of a script into *folder*, once for each scheme."""
    folder.mkdir(exist_ok=True)
    for scheme in SCHEMES:
        (folder / name_of(figures, scheme)).write_text(draw(figures, scheme))


def name_of(figures: Mapping[str, Any], scheme: str) -> str:
    return f"{figures['script']}-{scheme}.svg"


def draw(figures: Mapping[str, Any], scheme: str) -> str:
    """All contests of a script that are to be drawn, one below the other."""
    look = {**SCHEMES[scheme], "left": room_for_labels(figures)}
    panels, y = [], TOP
    for contest in drawn(figures["contests"]):
        panels.append(_panel(contest, y, look))
        y += HEAD + ROW * len(_bars(contest)) + GAP
    return _PAGE.format(
        width=WIDTH,
        height=y,
        title=escape(figures["title"]),
        desc=escape(description(figures)),
        panels="\n".join(panels),
        **SCHEMES[scheme],
    )


def room_for_labels(figures: Mapping[str, Any]) -> int:
    """Where the bars of all contests begin."""
    labels = [label for contest in drawn(figures["contests"]) for label in _bars(contest)]
    return 20 + round(LETTER * max(map(len, labels), default=0))


def drawn(contests: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [contest for contest in contests if contest["chart"] and _bars(contest)]


def description(figures: Mapping[str, Any]) -> str:
    """What the bars say, for those who do not see them."""
    return ". ".join(
        f"{contest['title']}: "
        + ", ".join(
            f"{label} {_value(contest, median)}" for label, median in _bars(contest).items()
        )
        for contest in drawn(figures["contests"])
    )


def _bars(contest: Mapping[str, Any]) -> dict[str, float]:
    metric = contest["metrics"][0]["name"]
    found = {label: row["figures"][metric] for label, row in contest["rows"].items()}
    return {label: figure["median"] for label, figure in found.items() if figure}


def _value(contest: Mapping[str, Any], median: float) -> str:
    return f"{number(median)} {contest['metrics'][0]['unit']}"


def _panel(contest: Mapping[str, Any], y: int, look: Mapping[str, Any]) -> str:
    metric = contest["metrics"][0]
    better = "more" if metric["more_is_better"] else "less"
    bars = _bars(contest)
    scale = (WIDTH - NUMBERS - look["left"]) / (max(bars.values()) or 1)
    rows = [
        _row(contest, label, max(1.5, median * scale), HEAD + ROW * place, look)
        for place, (label, median) in enumerate(bars.items())
    ]
    return _PANEL.format(
        y=y,
        end=WIDTH,
        title=escape(contest["title"]),
        metric=escape(f"{metric['name']}, {metric['unit']} ({better} is better)"),
        rows="\n".join(rows),
        **look,
    )


def _row(
    contest: Mapping[str, Any], label: str, length: float, y: int, look: Mapping[str, Any]
) -> str:
    row, metric = contest["rows"][label], contest["metrics"][0]["name"]
    limited = ", the server's limit" if (row["server_share"] or 0) > LIMIT else ""
    return _ROW.format(
        edge=look["left"] - 10,
        base=y + 13,
        y=y,
        length=length,
        after=look["left"] + length + 8,
        fill=look["ours" if row["ours"] else "peer"],
        weight=' font-weight="600"' if row["ours"] else "",
        label=escape(label),
        value=escape(_value(contest, row["figures"][metric]["median"])),
        ratio=escape(f"  {ratio(contest, label, metric)}{limited}"),
        **look,
    )
