"""
Time limits as values: what a caller allows, and what that leaves for one attempt.

No clock is read here; how much of a call is over is an argument.

Annotations are not postponed here, so that `typing.get_type_hints` works on `Timeout`, although it
calls itself a member of `seedream_async`.
"""

import math
from typing import Any, Literal, TypeAlias

from attrs import field, frozen

from ._errors import InvalidRequestError

Limit: TypeAlias = float | Literal["auto"] | None
# One image took up to 120 s, and each of a group that is not streamed about 40 s (July 2026).
_TOTAL, _ATTEMPT, _CONNECT, _FURTHER_IMAGE = 600.0, 300.0, 15.0, 60.0
_INSTANT = 0.001  # an attempt may begin in the last moment, and aiohttp takes 0 for no limit
_USEFUL = 20.0  # no image takes less, as a rule
_FOREVER = 1e9  # more seconds than any clock of a loop is to be added to


@frozen(kw_only=True)
class Bounds:
    """Limits as numbers of seconds, infinite where there is none, and what is *spent* of them."""

    total: float = math.inf
    attempt: float = math.inf
    connect: float = math.inf
    read: float = math.inf
    spent: float = 0.0

    @property
    def left(self) -> float:
        """Seconds until the call is over."""
        return max(self.total - self.spent, 0.0)

    @property
    def whole(self) -> float:
        """Seconds that the next attempt may take."""
        return max(min(self.attempt, self.left), _INSTANT)

    @property
    def useful(self) -> float:
        """Seconds without which another attempt only costs: it would end in doubt."""
        return min(_USEFUL, self.total / 2, self.attempt / 2)

    @property
    def name(self) -> str:
        """Which limit ends the attempt, for messages: the total if both do, which ends the call."""
        name = "attempt" if self.attempt < self.left else "total"
        return f"{name}={getattr(self, name):g} s"

    def after(self, spent: float) -> "Bounds":
        """The same when *spent* seconds of the call are over."""
        return Bounds(
            total=self.total,
            attempt=self.attempt,
            connect=self.connect,
            read=self.read,
            spent=spent,
        )


def _check_limit(_: Any, attribute: Any, value: Any) -> None:
    if value is None or value == "auto":
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and (0 < value <= _FOREVER or value == math.inf)):
        raise InvalidRequestError(
            f'{attribute.name} must be a number of seconds above 0, "auto" or None, '
            f"not {value!r:.40}",
            field=attribute.name,
        )


@frozen
class Timeout:
    """
    Limits in seconds; `None` is no limit, and "auto" one that suits what is asked for.

    *total* bounds a whole call with its retries and waits; its clock starts when the call gets
    its slot. *attempt* bounds one exchange, *connect* getting a connection for it, and *read* the
    silence between two reads: an answer that is not streamed comes after 20 to 120 s of it.
    While an application holds the event loop no limit can pass; after that, *total* and *attempt*
    leave up to a second more to take what had arrived, in which nothing is sent.

    "auto" is 600, 300, 15 and 300 seconds, with 60 more for each image that may come beyond the
    first (15 stays), and gives way to a number that stands beside it. Raises
    `InvalidRequestError` for a limit that is no positive number, or is below one that it bounds.
    """

    total: Limit = field(default="auto", validator=_check_limit)
    attempt: Limit = field(default="auto", validator=_check_limit)
    connect: Limit = field(default="auto", validator=_check_limit)
    read: Limit = field(default="auto", validator=_check_limit)

    def __attrs_post_init__(self) -> None:
        for outer, inner in (("total", "attempt"), ("total", "connect"), ("attempt", "connect")):
            most, part = getattr(self, outer), getattr(self, inner)
            if isinstance(most, int | float) and most < _given(part):
                raise InvalidRequestError(
                    f"{outer}={most:g} is below {inner}={part:g}, which it bounds", field=outer
                )

    @classmethod
    def of(cls, value: "Timeout | float") -> "Timeout":
        """A plain number is the total."""
        return value if isinstance(value, Timeout) else cls(total=value)

    def bounds(self, images: int = 1) -> Bounds:
        """The limits of a call that may give so many *images*."""
        further = _FURTHER_IMAGE * (images - 1)
        within = max(_given(self.attempt), _given(self.connect))
        total = _number(self.total, max(_TOTAL + further, within))
        attempt = _number(self.attempt, min(total, max(_ATTEMPT + further, within)))
        return Bounds(
            total=total,
            attempt=attempt,
            connect=_number(self.connect, min(_CONNECT, attempt, total)),
            read=_number(self.read, min(_ATTEMPT + further, attempt, total)),
        )


def _given(limit: Limit) -> float:
    return limit if isinstance(limit, int | float) else 0.0


def _number(limit: Limit, automatic: float) -> float:
    if limit == "auto":
        return automatic
    return math.inf if limit is None else float(limit)
