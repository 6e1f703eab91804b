"""Values as people read them in the report, and any text as HTML. Values in, text out."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime
from urllib.parse import quote

from ._report_entries import Money

# What HTML cannot hold, or holds as something else: controls, lone surrogates, noncharacters.
_UNSAYABLE = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")
_UNITS = ("bytes", "kB", "MB", "GB")


def clean(text: str) -> str:
    """*text* with line ends as HTML has them, and a mark for each character that it cannot hold."""
    return _UNSAYABLE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def escape(text: str) -> str:
    """*text* for use in HTML, between tags or in a quoted attribute."""
    return html.escape(clean(text))


def link(path: str) -> str:
    """The relative URL of *path*, escaped for an attribute: it cannot name a host or a scheme."""
    return "./" + quote(path.encode("utf-8", "surrogateescape"))


def number(value: int) -> str:
    return f"{value:,}"


def counted(value: int, noun: str) -> str:
    return f"{value:,} {noun}" + ("" if value == 1 else "s")


def money(cost: Money) -> str:
    """An amount with two decimals, or as many as it has up to six."""
    amount, currency = cost
    whole, _, decimals = f"{amount:,.6f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')} {currency}"


def size(value: float) -> str:
    """A number of bytes, in the unit that suits it."""
    unit = 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value /= 1000
        unit += 1
    return f"{value:.1f} {_UNITS[unit]}" if unit > 1 else f"{value:.0f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """A time in its two largest units, without those that are zero."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    minutes, rest = divmod(round(seconds), 60)
    hours, left = divmod(minutes, 60)
    if hours < 1:
        parts = (minutes, "min"), (rest, "s")
    elif hours < 48:
        parts = (hours, "h"), (left, "min")
    else:
        parts = (hours // 24, "days"), (hours % 24, "h")
    return " ".join(f"{value} {unit}" for value, unit in parts if value)


def moment(when: datetime) -> str:
    """*when* as a time element, in UTC."""
    utc = when.astimezone(UTC)
    shown = f"{utc.day} {utc:%B %Y, %H:%M} UTC"
    return f'<time datetime="{utc:%Y-%m-%dT%H:%M:%SZ}">{shown}</time>'
