"""
Telling what happens: to the logger `seedream_async`, and to whoever listens.

A listener that fails is logged and otherwise ignored: no image is lost over it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import TypeAlias

from ._attempts import reason_of
from ._errors import InvalidRequestError, SeedreamError
from ._events import CallEnded, Event, RetryScheduled

OnEvent: TypeAlias = Callable[[Event], object]
logger = logging.getLogger("seedream_async")
# Where logging is not set up, what matters is told by errors, not printed.
logger.addHandler(logging.NullHandler())


class Reporter:
    """Tells the events of one client."""

    def __init__(self, on_event: OnEvent | None = None) -> None:
        if on_event is not None and (not callable(on_event) or iscoroutinefunction(on_event)):
            raise InvalidRequestError(
                "on_event must be a plain function: it is called, not awaited", field="on_event"
            )
        self._on_event = on_event

    @property
    def tells_all(self) -> bool:
        """Whether anybody hears of what goes well."""
        return self._on_event is not None or logger.isEnabledFor(logging.DEBUG)

    def __call__(self, event: Event) -> None:
        with contextlib.suppress(Exception):  # a filter or a handler of the application may raise
            _log(event)
        if self._on_event is None:
            return
        try:
            self._on_event(event)
        except Exception:
            with contextlib.suppress(Exception):
                logger.exception("on_event raised")

    def retry_scheduled(self, attempt: int, error: SeedreamError, wait: float) -> None:
        """Tell that what costs nothing will be tried again."""
        reason = reason_of(error)
        self(RetryScheduled(call=None, attempt=attempt, reason=reason, wait=wait))


def _log(event: Event) -> None:
    level = _level_of(event)
    if logger.isEnabledFor(level):
        logger.log(level, "%r", event)


def _level_of(event: Event) -> int:
    if isinstance(event, CallEnded) and event.possibly_billed:
        return logging.WARNING
    return logging.INFO if isinstance(event, RetryScheduled) else logging.DEBUG
