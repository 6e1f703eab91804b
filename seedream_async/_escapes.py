"""
Links that were escaped on their way here: how, and what they were before.

A link is sent as it is. Only what its own signature parameters prove is ever undone.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import unquote

from . import _links

_MOST_LAYERS = 4
_BLANKS = " \t\r\n\f\v\xa0\u200b\ufeff"
_PAIRS = ('""', "''", "``", "<>", "“”", "‘’")  # noqa: RUF001
_WRAPPED = re.compile(rf"\A[{_BLANKS}\"'`<“‘]|[{_BLANKS}]\Z")  # noqa: RUF001
_JSON_START = re.compile(r"https?:\\/\\/", re.IGNORECASE)
_JSON = re.compile(rf"\A{_JSON_START.pattern}|\\u00[0-7][0-9a-f]", re.IGNORECASE)
_AMPERSAND = re.compile(r"&(?:amp|#0*38|#x0*26);", re.IGNORECASE)
_ENTITY = re.compile(
    r"&(?:amp|lt|gt|quot|apos|#0*(?:3[489]|6[02])|#x0*(?:2[267]|3[ce]));", re.IGNORECASE
)
_WHOLLY = re.compile(r"\Ahttps?%(?:25)*3a", re.IGNORECASE)
_PERCENT = re.compile(r"%[0-9a-f]{2}", re.IGNORECASE)
_PERCENT_ONCE = re.compile(r"%(?!25[0-9a-f]{2})", re.IGNORECASE)


def escape_of(link: str) -> str | None:
    """How *link* looks escaped, and what undoes that, in words that follow "the link is"."""
    escape = _outermost(link)
    if escape is None:
        return None
    return escape.words + (", or repair=True in download() and open()" if repaired(link) else "")


def repaired(link: str) -> str | None:
    """*link* as it was before it was escaped; nothing if there is no need, or no telling."""
    undone: str | None = link
    for _ in range(_MOST_LAYERS):
        if undone is None or (escape := _outermost(undone)) is None:
            break
        undone = escape.undo(undone)
    return undone if undone and undone != link and _is_plain(undone) else None


def _outermost(link: str) -> _Escape | None:
    return next((escape for escape in _ESCAPES if escape.is_on(link)), None)


def _is_plain(link: str) -> bool:
    try:
        _links.parse_target(link)
    except ValueError:
        return False
    return _outermost(link) is None


def _proved(undone: str, link: str) -> str | None:
    """*undone*, if more of it than of *link* is known to belong to a signature."""
    return undone if len(_links.signature_of(undone)) > len(_links.signature_of(link)) else None


def _unwrapped(link: str) -> str:
    bare = link.strip(_BLANKS)
    return bare[1:-1] if bare[:1] + bare[-1:] in _PAIRS else bare


def _from_json(link: str) -> str | None:
    try:
        undone = str(json.loads(f'"{link}"'))
    except ValueError:
        return None
    return undone if _JSON_START.match(link) else _proved(undone, link)


def _from_html(link: str) -> str | None:
    undone = link
    for _ in range(_MOST_LAYERS):
        if not _AMPERSAND.search(undone):
            break
        # Where some ampersands are escaped and others are not, there is no telling.
        if len(_ENTITY.findall(undone)) != undone.count("&"):
            return None
        undone = _ENTITY.sub(lambda entity: html.unescape(entity[0]), undone)
    return _proved(undone, link)


def _is_doubled(link: str) -> bool:
    """No scheme has a percent sign in a parameter of its own: what looks escaped, is so twice."""
    return any(_PERCENT.search(value) for value in _links.signature_of(link).values())


def _from_doubled(link: str) -> str | None:
    # The name of an object may hold %25 by itself.
    path, mark, query = link.partition("?")
    if "%25" in path or _PERCENT_ONCE.search(query):
        return None
    return path + mark + query.replace("%25", "%")


def _from_wholly(link: str) -> str | None:
    # A raw mark means that less was escaped than a whole link; "+" may stand for a blank.
    return None if re.search(r"[:?&=+]", link) else unquote(link, errors="surrogateescape")


class _Escape(NamedTuple):
    """One way to spoil a link; *undo* gives nothing where there is no telling."""

    words: str
    is_on: Callable[[str], object]
    undo: Callable[[str], str | None]


_ESCAPES = (
    _Escape("wrapped in quotes, brackets or blanks: take them off", _WRAPPED.search, _unwrapped),
    _Escape("escaped for JSON: json.loads() undoes it", _JSON.search, _from_json),
    _Escape("escaped for HTML: html.unescape() undoes it", _AMPERSAND.search, _from_html),
    _Escape(
        "percent-escaped as a whole: urllib.parse.unquote() undoes it", _WHOLLY.search, _from_wholly
    ),
    _Escape("percent-escaped twice: pass it on without quoting it", _is_doubled, _from_doubled),
)
