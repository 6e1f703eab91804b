"""One request of a fan-out, from when it is pulled to its one result. Nothing here waits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from ._allowance import Spend
from ._doubt import outcome_unknown
from ._errors import (
    APIConnectionError,
    AuthenticationError,
    BudgetReachedError,
    ClientClosingError,
    DownloadError,
    InsufficientQuotaError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    SeedreamError,
    StorageError,
)
from ._events import Attempt
from ._models import ImagesResponse
from ._request import GenerateRequest
from ._results import Failure, Result, Success

Item: TypeAlias = str | GenerateRequest
# Errors that every other request would meet too.
_SHARED = (
    *(AuthenticationError, InsufficientQuotaError, StorageError),
    *(BudgetReachedError, ClientClosingError),
)


class Watched(Protocol):
    """What a fan-out has to see of a call that it may leave."""

    @property
    def attempts(self) -> Sequence[Attempt]: ...

    @property
    def may_cost(self) -> bool: ...

    def ask_before_sending(self, check: Callable[[], None]) -> None: ...

    def ask_before_resending(self, why_not: Callable[[], str | None]) -> None: ...

    def ask_how_long(self, left: Callable[[], float]) -> None: ...


class Errand:
    """
    The *request* at *index* of the source, and how far it is.

    *most* is held for it, so many *times*, *response* is its answer. It fails or succeeds once.
    """

    __slots__ = ("call", "index", "most", "request", "response", "result", "times")

    def __init__(self, index: int, request: Item | None) -> None:
        self.index = index
        self.request = request
        self.call: Watched | None = None
        self.most: Spend | None = None
        self.times = 1
        self.response: ImagesResponse | None = None
        self.result: Result | None = None

    @property
    def attempts(self) -> Sequence[Attempt]:
        """What became of each attempt to have it answered, so far."""
        return () if self.call is None else self.call.attempts

    def began(self, call: Watched) -> None:
        """Note the call that answers it."""
        self.call = call

    def succeed(self, response: ImagesResponse) -> None:
        """Let *response* be the result."""
        assert isinstance(self.request, GenerateRequest)  # noqa: S101  or it was never sent
        self.response = response
        self._end(Success(self.index, self.request, response))

    def fail(self, error: Exception) -> None:
        """Let *error* be the result."""
        if isinstance(error, SeedreamError):
            # It says all that matters; its frames hold bodies, and the fan-out itself.
            error.__traceback__ = None
        elif self.response is not None:
            error = _unsaved(f"saving its images failed with {error!r}", self.response, error)
        self._end(Failure(self.index, self.request, error))

    def _end(self, result: Result) -> None:
        self.result = result
        self.call = None  # it holds on to who watches it, so that only a collector would end both

    def leave(self) -> None:
        """Fail, since nobody waits for it any more, and tell what that may have cost."""
        again = " again" if any(attempt.fate == "refused" for attempt in self.attempts) else ""
        self.fail(
            loss(self.attempts, self.response)
            or APIConnectionError(
                f"left before it was sent{again}: it cost nothing",
                retryable=True,
                attempts=tuple(self.attempts),
            )
        )


def loss(
    attempts: Sequence[Attempt],
    response: ImagesResponse | None,
    *,
    whole: bool = True,
    when: str = "",
) -> SeedreamError | None:
    """
    What leaving a call costs that has come so far; nothing, if it costs nothing.

    *when* it was left begins with a blank. A *response* that is not *whole* is what has arrived.
    """
    if response is not None and whole:
        return _unsaved(f"left{when} before its images were saved", response)
    if not any(attempt.fate in {"unknown", "answered"} for attempt in attempts):
        return None
    return outcome_unknown(
        f"left{when} before the answer came",
        cut=False,
        arrived=len(response.images) if response else 0,
        response=response,
        attempts=tuple(attempts),
    )


def _unsaved(what: str, response: ImagesResponse, cause: Exception | None = None) -> DownloadError:
    error = DownloadError(
        f"answered and paid for, but {what}: they are in this error's response",
        retryable=True,
        response=response,
    )
    error.__cause__ = cause
    return error


class Stop:
    """
    Why nothing more is to be sent: to any model, or to one. *model* is for who names none.

    A service that wants to be left alone for more than *patience* seconds would tell all the same.
    """

    def __init__(self, model: str, patience: float = math.inf) -> None:
        self._model = model
        self._patience = patience
        self._error: Exception | None = None
        self._asked: set[str] = set()
        self._refused: dict[str, Exception] = {}

    @property
    def total(self) -> Exception | None:
        """Why it is pointless to look for other requests, if it is."""
        if self._error is None and self._refused.keys() >= self._asked:
            return next(iter(self._refused.values()), None)
        return self._error

    @property
    def is_total(self) -> bool:
        """Whether it is pointless to look for other requests."""
        return self.total is not None

    def why_not(self, request: GenerateRequest) -> Exception | None:
        """What *request* would meet, if another met it."""
        model = request.model or self._model
        self._asked.add(model)
        return self._error or self._refused.get(model)

    def check(self, request: GenerateRequest) -> None:
        """Raise if *request* would meet what another met."""
        if cause := self.why_not(request):
            raise not_sent(cause)

    def learn(self, errand: Errand, error: Exception) -> None:
        """Take note of the *error* that *errand* met."""
        # A RuntimeError before an answer is that of a closed client or session.
        misused = type(error) is RuntimeError and errand.response is None
        too_long = isinstance(error, RateLimitError) and (error.retry_after or 0) > self._patience
        if misused or too_long or isinstance(error, _SHARED):
            self._error = self._error or error
        elif isinstance(errand.request, GenerateRequest) and _is_of_the_model(error):
            self._refused.setdefault(errand.request.model or self._model, error)


def _is_of_the_model(error: Exception) -> bool:
    # A 403 without a code is a firewall's, and about one prompt as likely as about all.
    denied = isinstance(error, PermissionDeniedError) and error.code is not None
    return denied or isinstance(error, NotFoundError)


def not_sent(cause: Exception) -> APIConnectionError:
    """The error of a request that is not sent, since another met *cause*."""
    if isinstance(cause, BudgetReachedError):
        error: APIConnectionError = BudgetReachedError(str(cause), field=cause.field)
    else:
        error = APIConnectionError(f"not sent, since another request met this: {cause}")
    error.__cause__ = cause
    return error
