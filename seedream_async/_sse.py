"""
Server-sent events: bytes in, events out, no I/O, lines of any length.

https://html.spec.whatwg.org/multipage/server-sent-events.html, without what only browsers need
(`id` and `retry`).
"""

from __future__ import annotations

import re

from attrs import frozen

_LINE_END = re.compile(rb"\r\n|\r|\n")
_BOM = b"\xef\xbb\xbf"


@frozen
class ServerSentEvent:
    """One event: its name, `message` if it has none, and its data."""

    event: str
    data: bytes


class Parser:
    """
    Turns bytes, however they are cut, into events.

    An event that the end of the bytes cuts off is not one: `pending` tells of it.
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []  # pieces of the line that is not complete yet
        self._after_return = False
        self._first = True
        self._event = ""
        self._data: list[bytes] = []
        self.size = 0  # bytes of the event that is not complete yet

    @property
    def pending(self) -> bool:
        """Whether something has begun that has not ended."""
        return bool(self._line or self._data)

    def holds(self, text: bytes) -> bool:
        """Whether *text* is in the event that is not complete yet."""
        return text in b"".join([*self._data, *self._line])

    def feed(self, chunk: bytes) -> list[ServerSentEvent]:
        """The events that *chunk* completes."""
        # A line feed right after the carriage return of the last chunk ends no other line.
        if self._after_return and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_return = False
        if not chunk:
            return []
        self._after_return = chunk.endswith(b"\r")
        # Only the new bytes are searched, so a line of 40 MB costs no more than its length.
        *ended, rest = _LINE_END.split(chunk)
        events = [self._take(piece) for piece in ended]
        if rest:
            self._line.append(rest)
            self.size += len(rest)
        return [event for event in events if event]

    def _take(self, end: bytes) -> ServerSentEvent | None:
        line = b"".join([*self._line, end])
        self._line.clear()
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"data":
            self._data.append(value)
        self.size += len(end)
        return None

    def _dispatch(self) -> ServerSentEvent | None:
        event = ServerSentEvent(self._event or "message", b"\n".join(self._data))
        complete = bool(self._data)
        self.size = 0
        self._event = ""
        self._data.clear()
        return event if complete else None
