"""
Telling what happens: to the logger `seedream_async`, and to whoever listens.

A listener that fails is logged and otherwise ignored: no image is lost over it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeAlias

from ._events import CallEnded, Event, RetryScheduled

OnEvent: TypeAlias = Callable[[Event], object]
logger = logging.getLogger("seedream_async")
# Where logging is not set up, what matters is told by errors, not printed.
logger.addHandler(logging.NullHandler())


class Reporter:
    """Tells the events of one client."""

    def __init__(self, on_event: OnEvent | None = None) -> None:
        self._on_event = on_event

    def __call__(self, event: Event) -> None:
        level = _level_of(event)
        if logger.isEnabledFor(level):
            logger.log(level, "%r", event)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:
            logger.exception("on_event raised")


def _level_of(event: Event) -> int:
    if isinstance(event, CallEnded) and event.possibly_billed:
        return logging.WARNING
    return logging.INFO if isinstance(event, RetryScheduled) else logging.DEBUG
