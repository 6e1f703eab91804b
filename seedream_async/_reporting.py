"""
Telling what happens: to the logger `seedream_async`, and to whoever listens.

A listener that fails is logged and otherwise ignored: no image is lost over it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Self, TypeAlias

from ._attempts import reason_of
from ._errors import InvalidRequestError, SeedreamError
from ._events import CallEnded, CallStarted, DownloadEnded, DownloadStarted, Event, RetryScheduled
from ._request import GenerateRequest

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
        # Each with whether it is told of prompts.
        self._listeners: tuple[tuple[OnEvent, bool], ...] = ()
        if on_event is not None:
            self.add(on_event)

    def add(self, listener: OnEvent, *, prompts: bool = False) -> None:
        """Let *listener* hear of everything too from now on, with *prompts* even of them."""
        self._listeners += ((listener, prompts),)

    @property
    def is_heard(self) -> bool:
        """Whether there is anybody to tell of what only begins."""
        return bool(self._listeners)

    @property
    def tells_all(self) -> bool:
        """Whether anybody hears of what goes well."""
        return self.is_heard or logger.isEnabledFor(logging.DEBUG)

    def __call__(self, event: Event) -> None:
        with contextlib.suppress(Exception):  # a filter or a handler of the application may raise
            _log(event)
        self.began(event)

    def began(self, event: Event) -> None:
        """As a call, but not for the log: what only begins will be told there when it ends."""
        for listener, _ in self._listeners:
            _tell(listener, event)

    def call_started(
        self,
        call: int,
        model: str,
        request: GenerateRequest,
        images: int,
        *,
        waited: float,
        stream: bool,
    ) -> None:
        """Tell that *request* has its slot."""
        for listener, hears_prompts in self._listeners:
            started = CallStarted(
                call=call,
                model=model,
                images=images,
                waited=waited,
                size=request.size,
                seed=request.seed,
                watermark=request.watermark,
                stream=stream,
                prompt=request.prompt if hears_prompts else None,
            )
            _tell(listener, started)

    def retry_scheduled(
        self, attempt: int, error: SeedreamError, wait: float, *, download: int | None = None
    ) -> None:
        """Tell that what costs nothing will be tried again."""
        reason = reason_of(error)
        self(
            RetryScheduled(call=None, attempt=attempt, reason=reason, wait=wait, download=download)
        )


class Download:
    """
    One download, told of when its block begins and when it ends. *host* and *call* are as there.

    *bytes* and *content_type* are what came of it, as who drives it knows.
    """

    def __init__(self, number: int, host: str | None, call: int | None, report: Reporter) -> None:
        self.bytes = 0
        self.content_type: str | None = None
        self._number = number
        self._host = host
        self._call = call
        self._report = report
        self._now = asyncio.get_running_loop().time
        self._start = self._now()

    def __enter__(self) -> Self:
        if self._report.is_heard:
            self._report.began(
                DownloadStarted(download=self._number, host=self._host, call=self._call)
            )
        return self

    def retry_scheduled(self, attempt: int, error: SeedreamError, wait: float) -> None:
        """Tell that there will be another attempt."""
        self._report.retry_scheduled(attempt, error, wait, download=self._number)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._report(
            DownloadEnded(
                host=self._host,
                elapsed=self._now() - self._start,
                bytes=self.bytes,
                content_type=self.content_type,
                error=None if kind is None else kind.__name__,
                download=self._number,
                call=self._call,
            )
        )


def _tell(listener: OnEvent, event: Event) -> None:
    try:
        listener(event)
    except Exception:
        with contextlib.suppress(Exception):
            logger.exception("on_event raised")


def _log(event: Event) -> None:
    level = _level_of(event)
    if logger.isEnabledFor(level):
        logger.log(level, "%r", event)


def _level_of(event: Event) -> int:
    if isinstance(event, CallEnded) and event.possibly_billed:
        return logging.WARNING
    return logging.INFO if isinstance(event, RetryScheduled) else logging.DEBUG
