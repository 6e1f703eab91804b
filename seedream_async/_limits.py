"""
What a client allows itself, how others may share that, and what has become of it: as values.

Annotations are not postponed here, so that `typing.get_type_hints` works on every class although
each calls itself a member of `seedream_async`.
"""

from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from attrs import Factory, field, frozen

from ._catalog import Price
from ._errors import InvalidRequestError

_MOST = 1_000_000  # beyond it, a number is a slip of the keyboard
_MOST_MONEY = 1e9
_RETRIES = 100


class RateLimiter(Protocol):
    """
    A limit that clients in several processes share: `Limits(limiter=…)`.

    `acquire` is all that a class needs if it inherits from this one. Whatever it raises is an
    `APIConnectionError` of the call, as nothing was sent.
    """

    @abstractmethod
    def acquire(self, images: int) -> Awaitable[None]:
        """
        Wait until a request that may make so many *images* may be sent.

        It is awaited before every attempt, in the order in which calls come, and by many at once.
        Whoever is cancelled while it waits must have taken nothing.
        """
        ...

    def settle(self, asked: int, made: int) -> None:
        """
        Of the *asked* images of one `acquire`, *made* were made; 0 of a request that was refused.

        Called on the event loop, so it must not wait; what it raises is logged and ignored.
        """

    def pause(self, seconds: float) -> None:
        """
        The service refused a request: nobody should send one for so many *seconds*.

        Called on the event loop, so it must not wait; what it raises is logged and ignored.
        """


def count_from(least: int, *, optional: bool = False) -> Callable[[Any, Any, Any], None]:
    """A validator of whole numbers from *least* on, or `None` too if *optional*."""

    def check(_: Any, attribute: Any, value: Any) -> None:
        if optional and value is None:
            return
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not least <= value <= _MOST:
            said = f"{value!r:.40}" if whole and abs(value) <= _MOST else type(value).__name__
            problem = f"{attribute.name} must be a whole number from {least} to {_MOST}, not {said}"
            raise InvalidRequestError(problem, field=attribute.name)

    return check


def check_cost(_: Any, attribute: Any, value: Any) -> None:
    """Validate an amount of money, which may be missing."""
    if value is None:
        return
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and 0 <= value <= _MOST_MONEY):
        problem = f"{attribute.name} must be a number from 0 on, not {value!r:.40}"
        raise InvalidRequestError(problem, field=attribute.name)


def _check_flag(_: Any, attribute: Any, value: Any) -> None:
    if not isinstance(value, bool):
        problem = f"{attribute.name} must be True or False, not {type(value).__name__}"
        raise InvalidRequestError(problem, field=attribute.name)


def _check_limiter(_: Any, attribute: Any, value: Any) -> None:
    names = ("acquire", "settle", "pause")
    if isinstance(value, type) or not all(callable(getattr(value, name, None)) for name in names):
        if value is None:
            return
        problem = f"{attribute.name} must have the methods of a RateLimiter: {', '.join(names)}"
        raise InvalidRequestError(problem, field=attribute.name)


@frozen(kw_only=True)
class Limits:
    """
    What one client allows itself, all its calls together.

    *concurrency* is the number of generations in flight, which 32 of 20 to 60 s each keep well
    below the 500 images per minute and model that an account gets (Ark's model list).
    *images_per_minute* counts what is asked for until it is known what was made.

    With *adaptive*, refusals are learned from: too many images lower the rate, an overloaded
    service the concurrency, and both grow again while nothing is refused; never above what is set
    here. *retry_budget* is the number of retries that may be spent while nothing succeeds, by
    default 100, or *concurrency* if that is more; each success gives one back. When it is used up,
    errors are passed on at once. A *limiter* is asked besides.

    *max_images* and *max_cost* are hard limits of all that the client may have billed: a call that
    might pass them, with what is in flight, is a `BudgetReachedError`. The cost is reckoned with
    the catalogue's prices, or with *price*, such as `(0.03, "USD")`, of one image. Raises
    `InvalidRequestError` for nonsense.
    """

    concurrency: int = field(default=32, validator=count_from(1))
    images_per_minute: int | None = field(default=None, validator=count_from(1, optional=True))
    requests_per_minute: int | None = field(default=None, validator=count_from(1, optional=True))
    retry_budget: int = field(
        default=Factory(lambda self: _retries_for(self.concurrency), takes_self=True),
        validator=count_from(0),
    )
    adaptive: bool = field(default=True, validator=_check_flag)
    limiter: RateLimiter | None = field(default=None, validator=_check_limiter)
    max_images: int | None = field(default=None, validator=count_from(0, optional=True))
    max_cost: float | None = field(default=None, validator=check_cost)
    price: Price | tuple[float, str] | None = None


def _retries_for(concurrency: Any) -> int:
    # Defaults come before validators: what is no number is told of by its own.
    return max(_RETRIES, concurrency) if isinstance(concurrency, int) else _RETRIES


@frozen(kw_only=True)
class Stats:
    """
    What a client is doing, and has done since it was made.

    Of the calls that hold no request in flight, some wait for a slot (*concurrency* is the number
    of slots now), some for the rate, some for the end of a pause: everybody's, which comes in
    *paused_for* seconds, or their own between two attempts. *images_per_minute* tells what was
    asked for in the last minute and neither refused nor known to be fewer; *found_limit* is the
    rate that the account seems to have, once it has refused something.

    *requests* were sent, *retries* of them not for the first time. *unknown_outcomes* may be
    billed besides the *images*. *cost* is an estimate in *currency*, missing if no price is known.
    """

    in_flight: int
    waiting_for_slot: int
    waiting_for_rate: int
    waiting_for_pause: int
    paused_for: float
    concurrency: int
    images_per_minute: int
    found_limit: float | None
    images: int
    requests: int
    retries: int
    unknown_outcomes: int
    cost: float | None = None
    currency: str | None = None
