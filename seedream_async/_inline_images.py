"""
A JSON answer, as it arrives, split into its skeleton and the base64 images in it, with no I/O.

Neither the text nor the bytes of an image are ever whole here, unless the text is broken, and
nothing raises on any input: whether the skeleton is JSON is for its parser to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from enum import IntEnum
from typing import TypeAlias

from attrs import field, frozen

from ._base64 import Decoder

_BLANK = b"\xef\xbb\xbf \t\r\n"  # what may stand before JSON: a byte order mark, white space
_UNMARKED = bytes(set(range(256)) - set(b"{}[]:,"))
_LONGEST = 6 * len("b64_json")  # bytes of a name that matters, every character escaped
_CUT_ESCAPE = re.compile(rb"\\(?:u[0-9A-Fa-f]{0,3})?\Z")


@frozen
class Decoded:
    """The next bytes of the image at *index* of `data`."""

    index: int
    data: bytes = field(repr=False)


@frozen
class Completed:
    """The image at *index* of `data` has all its bytes; it had none if its text was empty."""

    index: int


@frozen
class NotBase64:
    """
    The text at *index* of `data` is no base64, and what is not decoded of it stays in the skeleton.

    So the whole text is what was decoded, encoded again, and what the skeleton has in its place.
    """

    index: int


ImageEvent: TypeAlias = Decoded | Completed | NotBase64


class ImageReader:
    """
    Takes the texts of `data[*].b64_json` out of JSON, whatever the pieces it comes in.

    An index counts all items of `data`, and gets one `Completed` or `NotBase64` at most: of
    duplicate keys the first text counts, and the others are dropped.
    """

    def __init__(self) -> None:
        self.skeleton: bytearray = bytearray()  # grows with what is fed: the caller bounds it
        self._events: list[ImageEvent] = []
        self._state: Callable[[bytes, int], int] = self._before
        self._path = _Path()
        self._start = 0  # of the string in the skeleton
        self._escaped = False  # whether a backslash stands before the next byte of the string
        self._text: _Text | None = None
        self._taken: set[int] = set()

    def feed(self, data: bytes) -> list[ImageEvent]:
        """What *data* tells about images; everything else in it goes to the skeleton."""
        at = 0
        while at < len(data):
            at = self._state(data, at)
        events, self._events = self._events, []
        return events

    # The states: each takes what it can of *data* from *at* on, and returns where it stopped.

    def _before(self, data: bytes, at: int) -> int:
        rest = data[at:].lstrip(_BLANK)
        if rest:
            self._state = self._between if rest.startswith(b"{") else self._beyond
        return self._keep(data, at, len(data) - len(rest[1:]))

    def _between(self, data: bytes, at: int) -> int:
        quote = data.find(b'"', at)
        end = len(data) if quote == -1 else quote
        for mark in data[at:end].translate(None, _UNMARKED).decode("ascii"):
            self._path.follow(mark)
        self._keep(data, at, end)
        if self._path.level is _Level.BEYOND:
            self._state = self._beyond
        elif end == quote:
            self._begin_string()
            return self._keep(data, quote, quote + 1)
        return end

    def _in_string(self, data: bytes, at: int) -> int:
        end = self._end_of_string(data, at)
        self._keep(data, at, end)
        if end < len(data):
            short = len(self.skeleton) - self._start <= _LONGEST
            self._path.string = bytes(self.skeleton[self._start :]) if short else b""
        return self._end_string(data, end)

    def _in_image(self, data: bytes, at: int) -> int:
        end = self._end_of_string(data, at)
        self._decode(data[at:end], last=end < len(data))
        return self._end_string(data, end)

    def _beyond(self, data: bytes, at: int) -> int:
        return self._keep(data, at, len(data))

    # The steps that they have in common.

    def _begin_string(self) -> None:
        if self._path.leads_to_image:
            self._state = self._in_image
            self._text = None if self._path.index in self._taken else _Text()
            self._taken.add(self._path.index)
        else:
            self._state = self._in_string
            self._start = len(self.skeleton) + 1

    def _end_of_string(self, data: bytes, at: int) -> int:
        """Where its closing quote is, or where *data* ends."""
        if self._escaped:
            at += 1
        while (quote := data.find(b'"', at)) != -1:
            self._escaped = _escapes(data, at, quote)
            if not self._escaped:
                return quote
            at = quote + 1
        self._escaped = _escapes(data, at, len(data))
        return len(data)

    def _end_string(self, data: bytes, end: int) -> int:
        if end == len(data):
            return end
        self._state = self._between
        return self._keep(data, end, end + 1)

    def _decode(self, piece: bytes, *, last: bool) -> None:
        if self._text is None:
            return
        index = self._path.index
        try:
            decoded = self._text.feed(piece, last=last)
        except ValueError:
            self._events.append(NotBase64(index))
            self._state = self._in_string
            self._start = len(self.skeleton)
            self.skeleton += self._text.undecoded
            return
        self._events += [Decoded(index, data) for data in decoded]
        if last:
            self._events.append(Completed(index))

    def _keep(self, data: bytes, start: int, end: int) -> int:
        self.skeleton += data[start:end]
        return end


class _Level(IntEnum):
    BEYOND = -1
    TOP = 0
    DATA = 1
    ITEM = 2


class _Path:
    """Where in the answer: only `{"data": [{"b64_json":` leads to an image."""

    def __init__(self) -> None:
        self.level = _Level.TOP
        self.index = 0
        self.string = b""  # the last one, if it can be a name that matters
        self._key = b""  # of the value that comes next
        self._skipped = 0  # containers that are open and lead nowhere

    @property
    def leads_to_image(self) -> bool:
        return self.level is _Level.ITEM and self._key == b"b64_json"

    def follow(self, mark: str) -> None:
        """Pass one of the characters that structure JSON."""
        if mark in "{[":
            self._enter(mark)
        elif mark in "}]":
            self._leave()
        elif not self._skipped:
            self._key = _name(self.string) if mark == ":" else b""
            self.index += mark == "," and self.level is _Level.DATA

    def _enter(self, mark: str) -> None:
        match self.level, mark, self._key:
            case _ if self._skipped:
                self._skipped += 1
            case _Level.TOP, "[", b"data":
                self.level = _Level.DATA
                self.index = 0
            case _Level.DATA, "{", _:
                self.level = _Level.ITEM
            case _:
                self._skipped = 1
        self._key = b""

    def _leave(self) -> None:
        if self._skipped:
            self._skipped -= 1
        elif self.level is not _Level.BEYOND:
            self.level = _Level(self.level - 1)


class _Text:
    """The text of one image: first JSON's escapes, then base64."""

    def __init__(self) -> None:
        self._cut = b""  # the beginning of an escape
        self._decoder = Decoder()
        self.undecoded = b""  # what is broken: no bytes were handed out for it

    def feed(self, piece: bytes, *, last: bool) -> list[bytes]:
        """The bytes that *piece* completes; raises `ValueError` if there are none."""
        rest, text = self._decoder.rest, self._cut + piece
        cut = _CUT_ESCAPE.search(text, len(text) - 5)
        end = cut.start() if cut and not last else len(text)
        self._cut = text[end:]
        try:
            decoded = self._decoder.feed(_unescaped(text[:end]))
            if last:
                self._decoder.finish()
        except ValueError:
            self.undecoded = _escaped(rest) + text
            raise
        return decoded


def _escapes(data: bytes, start: int, end: int) -> bool:
    """Tell whether the string from *start* to *end* escapes what follows."""
    if not data.endswith(b"\\", start, end):
        return False
    text = data[start:end]
    return (len(text) - len(text.rstrip(b"\\"))) % 2 == 1


def _name(string: bytes) -> bytes:
    try:
        return _unescaped(string)
    except ValueError:
        return b""


def _escaped(text: bytes) -> bytes:
    """*text*, of any encoding, as JSON has it in a string."""
    return json.dumps(text.decode("latin-1"), ensure_ascii=False)[1:-1].encode("latin-1")


def _unescaped(text: bytes) -> bytes:
    """*text* of a JSON string without its escapes; raises `ValueError` if it is not ASCII."""
    if b"\\" not in text:
        return text
    unescaped: str = json.loads(f'"{text.decode("ascii")}"')
    return unescaped.encode("ascii")
