"""
What a check found: a value, and the few ways to make one.

Only the standard library is used here, so that a broken installation can still be told.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

State: TypeAlias = Literal["ok", "warning", "failed", "skipped"]


class Finding(NamedTuple):
    """What *check* found, in one line, and the *remedy*, if something is to be done."""

    check: str
    state: State
    text: str
    remedy: str | None = None


def ok(check: str, text: str) -> Finding:
    """Nothing is to be done."""
    return Finding(check, "ok", _clean(text))


def warning(check: str, text: str, remedy: str) -> Finding:
    """It works, but not as one would think, or not for long."""
    return Finding(check, "warning", _clean(text), remedy)


def failed(check: str, text: str, remedy: str | None = None) -> Finding:
    """A call would fail."""
    return Finding(check, "failed", _clean(text), remedy)


def skipped(check: str, why: str) -> Finding:
    """It could not be checked."""
    return Finding(check, "skipped", _clean(why))


def _clean(text: str) -> str:
    """*text* on one line: some of it was said by others, and must not steer a terminal."""
    return "".join(each if each.isprintable() else "?" for each in " ".join(text.split()))
