"""
What the report shows: one value for each row of a batch, and one for the batch.

Plain values, with no ledger and no files behind them.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import PurePath
from typing import Literal, TypeAlias

from attrs import Attribute, field, frozen, validators

State: TypeAlias = Literal["saved", "failed", "unknown"]
STATES: tuple[State, ...] = ("saved", "failed", "unknown")
Money: TypeAlias = tuple[float, str]  # an amount, and its currency
_NOT_TOLD = "no reason is known"


def _is_relative(_: object, attribute: Attribute[str], value: str) -> None:
    if PurePath(value).is_absolute():
        raise ValueError(f"{attribute.name} must be relative to the report: {value!r}")


def _pictures(given: Iterable[Picture]) -> tuple[Picture, ...]:
    return tuple(given)


def _amounts(given: Iterable[Money]) -> tuple[Money, ...]:
    return tuple(given)


def _settings(given: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(given)


@frozen(kw_only=True)
class Picture:
    """One image on the disk: *path* is relative to the report, its parts joined by slashes."""

    path: str = field(validator=_is_relative)
    bytes: int
    width: int
    height: int
    content_type: str


@frozen
class Preview:
    """What stands for a picture in the grid: a *path*, and its size in pixels."""

    path: str
    width: int
    height: int


@frozen(kw_only=True)
class Trouble:
    """Why a row failed: the name of the error's class, what it says, and what to do about it."""

    kind: str = "Error"
    message: str = _NOT_TOLD
    remedy: str = ""


@frozen(kw_only=True)
class Entry:
    """
    What became of one row. *seconds* is how long its request took, *cost* what all of it cost.

    A saved row has a *trouble* as well if some of its images failed.
    """

    id: str
    prompt: str
    model: str
    state: State = field(validator=validators.in_(STATES))
    line: int | None = None
    size: str | None = None
    files: tuple[Picture, ...] = field(default=(), converter=_pictures)
    cost: Money | None = None
    request_id: str | None = None
    seconds: float | None = None
    trouble: Trouble | None = None


@frozen(kw_only=True)
class Summary:
    """
    The batch in numbers. *waiting* rows were not sent yet; *cost* has one amount a currency.

    *cost_source* tells whose prices were reckoned with; *settings* are names and values as said.
    """

    title: str
    started: datetime
    ended: datetime | None = None
    saved: int = 0
    failed: int = 0
    unknown: int = 0
    waiting: int = 0
    images: int = 0
    cost: tuple[Money, ...] = field(default=(), converter=_amounts)
    cost_source: str = ""
    settings: tuple[tuple[str, str], ...] = field(default=(), converter=_settings)
