"""How far a command is, on standard error: a bar on a terminal that has rich, else plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, Self, TypeVar

_T = TypeVar("_T")
_EVERY = 2.0  # seconds between plain lines


class Progress(Protocol):
    """What a command tells while it works."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def advance(self, failed: int) -> None:
        """One more is done; *failed* of all so far have failed."""
        ...

    def show(self, line: str) -> None:
        """Print *line* on standard output, without disturbing what is drawn."""
        ...


def progress_of(total: int) -> Progress:
    """The kind of progress that suits where standard error leads."""
    drawn: Callable[[], Progress] = partial(_Bar, total)
    plain: Callable[[], Progress] = partial(_Lines, total)
    return suited(drawn, plain)


def suited(drawn: Callable[[], _T], plain: Callable[[], _T]) -> _T:
    """What is *drawn* if standard error is a terminal and rich is there, else *plain*."""
    if sys.stderr.isatty():
        try:
            return drawn()
        except ImportError:
            pass
    return plain()


def print_beside(bar: Any, line: str) -> None:
    """Print *line* as it is, on the terminal that the *bar* of rich is drawn on."""
    bar.console.print(line, emoji=False, highlight=False, markup=False, soft_wrap=True)


class _Lines:
    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._next = time.monotonic() + _EVERY

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def advance(self, failed: int) -> None:
        self._done += 1
        now = time.monotonic()
        if now >= self._next or self._done == self._total:
            self._next = now + _EVERY
            print(f"{self._done} of {self._total} done, {failed} failed", file=sys.stderr)

    def show(self, line: str) -> None:
        print(line, flush=True)


class _Bar:
    def __init__(self, total: int) -> None:
        from rich.console import Console  # noqa: PLC0415  optional, and slow to load
        from rich.progress import (  # noqa: PLC0415
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
        )

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            redirect_stdout=False,
        )
        self._task = self._bar.add_task("requests", total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def advance(self, failed: int) -> None:
        label = f"requests, {failed} failed" if failed else "requests"
        self._bar.update(self._task, advance=1, description=label)

    def show(self, line: str) -> None:
        if sys.stdout.isatty():
            print_beside(self._bar, line)
        else:
            print(line, flush=True)
