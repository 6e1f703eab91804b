"""How far a batch is, on standard error: a bar on a terminal that has rich, else plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, Self

from ._progress import print_beside, suited

if TYPE_CHECKING:
    from ._models import SavedImage
    from .batch._results import BatchProgress

_EVERY = 5.0  # seconds between plain lines


class BatchDisplay(Protocol):
    """What a batch tells while it works."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def update(self, progress: BatchProgress) -> None:
        """The batch is as *progress* says."""
        ...

    def notice(self, line: str) -> None:
        """Say *line*, which is about something that matters."""
        ...

    def saved(self, files: Sequence[SavedImage]) -> None:
        """Print where *files* are, on standard output."""
        ...


def display_of() -> BatchDisplay:
    """The kind of display that suits where standard error leads."""
    drawn: Callable[[], BatchDisplay] = _Live
    plain: Callable[[], BatchDisplay] = _Lines
    return suited(drawn, plain)


def said(progress: BatchProgress) -> str:
    """*progress* in one line."""
    done = progress.total - progress.left
    parts = [f"{done} of {progress.total} done, {progress.failed} failed"]
    if progress.unknown:
        parts[0] += f", {progress.unknown} unknown"
    if progress.images_per_minute:
        parts.append(f"{progress.images_per_minute:.0f} images/min")
    if progress.cost is not None:
        cost = f"{progress.cost:.2f}"
        if progress.projected is not None and progress.left:
            cost += f" of about {progress.projected:.2f}"
        parts.append(f"{cost} {progress.currency}")
    if progress.seconds_left is not None and progress.left:
        parts.append(f"{spell(progress.seconds_left)} left")
    if progress.waiting and progress.left:
        parts.append(progress.waiting)
    return "; ".join(parts)


def spell(seconds: float) -> str:
    """A time that is only about right."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


class _Lines:
    def __init__(self) -> None:
        self._next = time.monotonic() + _EVERY
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None: ...

    def update(self, progress: BatchProgress) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _EVERY
            if (line := said(progress)) != self._last:
                self._last = line
                self.notice(line)

    def notice(self, line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def saved(self, files: Sequence[SavedImage]) -> None:
        for file in files:
            print(file.path, flush=True)


class _Live:
    def __init__(self) -> None:
        from rich.console import Console  # noqa: PLC0415  optional, and slow to load
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415

        self._bar = Progress(
            BarColumn(bar_width=24),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
            redirect_stdout=False,
        )
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, progress: BatchProgress) -> None:
        done = progress.total - progress.left
        self._bar.update(
            self._task, total=progress.total, completed=done, description=said(progress)
        )

    def notice(self, line: str) -> None:
        print_beside(self._bar, line)

    def saved(self, files: Sequence[SavedImage]) -> None:
        for file in files:
            if sys.stdout.isatty():
                about = f"{file.width}x{file.height}  {file.bytes / 1000:.0f} kB"
                print_beside(self._bar, f"{file.path}  {about}")
            else:
                print(file.path, flush=True)
