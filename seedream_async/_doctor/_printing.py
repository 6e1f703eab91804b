"""Findings on standard output: one line each; wrapped on a terminal, in colour if rich is there."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable

from ._findings import Finding

_NARROW = 60  # columns; below, the words stand under the name of the check
_INDENT = 19  # of words beside it
# The worst first, as they are summed up.
_COLOURS = {"failed": "bold red", "warning": "yellow", "skipped": "dim", "ok": "green"}


def printer(*, as_json: bool) -> Callable[[Finding], None]:
    """What prints findings as it suits standard output."""
    if as_json:
        return _print_json
    if not sys.stdout.isatty():
        return lambda finding: _write([line_of(finding)])
    try:
        return _coloured()
    except ImportError:
        return lambda finding: _write(lines_of(finding, _columns()))


def _print_json(finding: Finding) -> None:
    _write([json.dumps(finding._asdict())])


def _write(lines: Iterable[str]) -> None:
    print(*lines, sep="\n", flush=True)


def _columns() -> int:
    return shutil.get_terminal_size().columns


def _coloured() -> Callable[[Finding], None]:
    from rich.console import Console  # noqa: PLC0415  optional, and slow to load
    from rich.text import Text  # noqa: PLC0415

    console = Console()

    def show(finding: Finding) -> None:
        text = Text("\n".join(lines_of(finding, _columns())))
        text.stylize(_COLOURS[finding.state], 0, len(finding.state))
        console.print(text, soft_wrap=True)

    return show


def line_of(finding: Finding) -> str:
    """*finding* as one line, however long."""
    return _head(finding) + " -> ".join(_paragraphs(finding))


def lines_of(finding: Finding, columns: int) -> list[str]:
    """*finding* as lines of fewer than *columns*, unless a word is longer: the remedy apart."""
    head, indent = _head(finding), " " * _INDENT
    lines = []
    if columns < _NARROW and len(head) + len(finding.text) >= columns:
        indent, head = "  ", "  "
        lines.append(_head(finding).rstrip())
    first, *more = _paragraphs(finding)
    for start, paragraph in ((head, first), *((f"{indent}-> ", each) for each in more)):
        lines += textwrap.wrap(
            paragraph,
            columns - 1,
            initial_indent=start,
            subsequent_indent=" " * len(start),
            break_long_words=False,
            break_on_hyphens=False,
        )
    return lines


def _head(finding: Finding) -> str:
    return f"{finding.state:9}{finding.check:10}"


def _paragraphs(finding: Finding) -> list[str]:
    return list(filter(None, (finding.text, finding.remedy)))


def summary(states: Counter[str]) -> str:
    """How many findings of each kind there were."""
    counted = (f"{states[state]} {state}" for state in _COLOURS if states[state])
    return ", ".join(counted)
