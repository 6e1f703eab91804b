"""
The rows of an input, one after the other, however many: JSONL, CSV, or a prompt on each line.

A row that is wrong is a value like the others. Only what is wrong with the input as a whole
raises, and it does so before the first row.
"""

from __future__ import annotations

import asyncio
import csv
import os
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from itertools import chain
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Literal, TypeAlias

from seedream_async._errors import InvalidRequestError
from seedream_async._threads import in_thread

from . import _lines
from ._fields import BadRow, Row, column_problem, make_row, strict_json
from ._lines import Line

Format: TypeAlias = Literal["jsonl", "csv", "text"]
Found: TypeAlias = Row | BadRow
Defaults: TypeAlias = Mapping[str, Any]

_SUFFIXES: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "text",
}
_DELIMITERS = ",;\t"
_AT_ONCE = 500  # rows that are fetched by one visit to a thread, unless they take long
_SECONDS = 0.02


async def rows(
    source: str | os.PathLike[str] | int,
    *,
    format: Format | None = None,  # noqa: A002  the word of the command
    defaults: Defaults | None = None,
) -> AsyncIterator[Found]:
    """
    The rows of *source*: a path, `-` for standard input, or an open descriptor.

    Without a *format*, the name tells, or else the first line. *defaults* are request fields for
    rows that leave them out. Raises `InvalidRequestError` for what is no input.
    """
    ahead = _Ahead()
    found = read_rows(source, format=format, defaults=defaults, stopped=ahead.stopped)
    try:
        while ahead.fetch(found):
            async for row in ahead.rows():
                yield row
    finally:
        await ahead.aclose()
        await in_thread(found.close)


class _Ahead:
    """A thread that reads some rows ahead, and hands over what it has when it must wait."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Found] = deque()
        self._wake = asyncio.Event()
        self._left = False
        self._work: asyncio.Future[bool] = self._loop.create_future()
        self._work.set_result(True)

    def fetch(self, found: Iterator[Found]) -> bool:
        """Read on, unless the end was reached."""
        if not self._work.result():
            return False
        self._work = asyncio.ensure_future(in_thread(_read_some, found, self._ready))
        self._work.add_done_callback(lambda _: self._wake.set())
        return True

    async def rows(self) -> AsyncIterator[Found]:
        """What is being read, until the thread comes back."""
        while not self._work.done():
            await self._wake.wait()
            self._wake.clear()
            while self._ready:
                yield self._ready.popleft()

    def stopped(self) -> bool:
        """Asked by the thread before it waits; nobody may ever write to a pipe again."""
        if self._ready:
            self._loop.call_soon_threadsafe(self._wake.set)
        return self._left

    async def aclose(self) -> None:
        self._left = True
        await asyncio.gather(self._work, return_exceptions=True)


def _read_some(found: Iterator[Found], ready: deque[Found]) -> bool:
    """Move some rows from *found* to *ready*; tell whether there may be more."""
    until = time.monotonic() + _SECONDS
    for count, row in enumerate(found, 1):
        ready.append(row)
        if count == _AT_ONCE or time.monotonic() > until:
            return True
    return False


def read_rows(
    source: str | os.PathLike[str] | int,
    *,
    format: Format | None = None,  # noqa: A002  the word of the command
    defaults: Defaults | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[Found, None, None]:
    """As `rows`, but blocking."""
    name, descriptor = _opened(source)
    line = 0
    try:
        found = _lines.lines(_checked(_lines.pieces(descriptor, stopped), name))
        for row in _rows_of(found, format or _format_of(source), defaults or {}, name):
            line = row.line
            yield row
        if not line and not stopped():
            raise _refused(name, "it is empty")
    except OSError as exc:
        yield BadRow(line + 1, f"the input cannot be read from here on: {exc.strerror or exc}")
    finally:
        if not isinstance(source, int) and source != "-":
            os.close(descriptor)


def _opened(source: str | os.PathLike[str] | int) -> tuple[str, int]:
    if isinstance(source, int):
        return "the input", source
    if source == "-":
        return "standard input", sys.stdin.fileno()
    name = os.fspath(source)
    if Path(name).is_dir():
        raise _refused(name, "it is a folder")
    try:
        return name, os.open(name, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except (OSError, ValueError) as exc:
        raise _refused(name, f"it cannot be read: {getattr(exc, 'strerror', exc)}") from None


def _checked(found: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The same bytes, if they look like text."""
    head = next(found, b"")
    if kind := _lines.no_text(head):
        raise _refused(name, f"it is {kind}")
    return chain([_lines.without_mark(head)], found)


def _format_of(source: object) -> Format | None:
    return _SUFFIXES.get(Path(str(source)).suffix.lower())


def _rows_of(
    found: Iterator[Line], kind: Format | None, defaults: Defaults, name: str
) -> Iterator[Found]:
    if kind == "csv":
        return _csv_rows(found, defaults, name)
    filled: Iterator[Line] = (line for line in found if line[1] is None or line[1].strip())
    if kind is None:
        first = next(filled, (0, b""))
        filled = chain([first] if first[0] else (), filled)
        kind = "jsonl" if (first[1] or b"").lstrip().startswith((b"{", b'"')) else "text"
    make = _json_row if kind == "jsonl" else _text_row
    return (make(number, line, defaults) for number, line in filled)


def _text_row(number: int, line: bytes | None, defaults: Defaults) -> Found:
    text, problem = _lines.decoded(line)
    return BadRow(number, problem) if problem else _made(number, text.strip(), defaults)


def _made(number: int, prompt: str, defaults: Defaults) -> Found:
    return make_row(number, {"prompt": prompt}, defaults)


def _json_row(number: int, line: bytes | None, defaults: Defaults) -> Found:
    text, problem = _lines.decoded(line)
    if problem:
        return BadRow(number, problem)
    try:
        value = strict_json(text)
    except RecursionError:
        return BadRow(number, "the line is nested too deeply")
    except ValueError as exc:
        return BadRow(number, f"the line is no JSON{_where(exc, text)}")
    match value:
        case str():
            return _made(number, value, defaults)
        case dict():
            return make_row(number, value, defaults)
        case _:
            return BadRow(number, f"the line is neither an object nor a text{_ARRAY}")


_ARRAY = "; if the file is one list, write each of its items on a line of its own"


def _where(exc: ValueError, text: str) -> str:
    """What of *exc* may be told: messages of the reader hold no text."""
    hint = _ARRAY if text.strip() in ("[", "]") else ""
    return (
        f" ({exc.msg}, column {exc.colno}){hint}"
        if isinstance(exc, JSONDecodeError)
        else f": {exc}"
    )


class _Texts:
    """The lines of a CSV file as its reader takes them; *number* is that of the last one."""

    def __init__(self, found: Iterator[Line]) -> None:
        self._found = found
        self.number = 0
        self.problem: str | None = None

    def __iter__(self) -> _Texts:
        return self

    def __next__(self) -> str:
        self.number, line = next(self._found)
        text, problem = _lines.decoded(line)
        self.problem = self.problem or problem
        return text + "\n"


def _csv_rows(found: Iterator[Line], defaults: Defaults, name: str) -> Iterator[Found]:
    texts = _Texts(found)
    header = next((text for text in texts if text.strip()), "")
    columns, delimiter = _columns_of(header, texts.problem, defaults, name)
    reader = csv.reader(texts, delimiter=delimiter, strict=True)
    while True:
        line, texts.problem = texts.number + 1, None
        try:
            cells = next(reader, None)
        except csv.Error as exc:
            problem = texts.problem or f"{exc}; a quote may be missing, or JSONL be needed"
            yield BadRow(line, f"the row up to line {texts.number} is no CSV ({problem})")
            continue
        if cells is None:
            return
        if cells or texts.problem:
            yield _csv_row(line, cells, columns, defaults, texts.problem)


def _csv_row(
    line: int, cells: list[str], columns: list[str], defaults: Defaults, problem: str | None
) -> Found:
    if problem:
        return BadRow(line, problem)
    if len(cells) > len(columns):
        return BadRow(
            line, f"it has {len(cells)} values for {len(columns)} columns; quote those with commas"
        )
    given = {column: cell for column, cell in zip(columns, cells, strict=False) if column}
    return make_row(line, given, defaults, from_text=True)


def _columns_of(
    header: str, problem: str | None, defaults: Defaults, name: str
) -> tuple[list[str], str]:
    """The names of the columns, and what separates them: the sign that the header has most."""
    delimiter = max(_DELIMITERS, key=header.count)
    columns = [cell.strip() for cell in next(csv.reader([header], delimiter=delimiter), [])]
    named = [column for column in columns if column]
    problems = [problem, *map(column_problem, named)]
    if len(set(named)) < len(named):
        problems.append("a column is there twice")
    if named and not {"prompt", "layer_decomposition"} & {*named, *defaults}:
        problems.append('its first line must name the columns, and one of them be "prompt"')
    for found in filter(None, problems):
        raise _refused(name, found)
    return columns, delimiter


def _refused(name: str, problem: str) -> InvalidRequestError:
    return InvalidRequestError(f"input: {name}: {problem}", field="input")
