"""What becomes of the attempts of one call: kept for its result, and told as it happens."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import Self, TypeVar

from ._doubt import note_arrived, outcome_unknown
from ._errors import (
    APIError,
    APIResponseValidationError,
    APIStatusError,
    OutcomeUnknownError,
    SeedreamError,
)
from ._events import (
    Attempt,
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    Event,
    Fate,
    RetryScheduled,
)
from ._models import ImagesResponse

_T = TypeVar("_T")


class Call:
    """
    One call and its attempts: `async with`.

    *response* has come of it; if *unfinished*, there may be more. *patience* tells how many seconds
    whoever waits for it leaves to wait before another attempt. If *quiet*, *report* is told only of
    what went wrong.
    """

    def __init__(
        self, number: int, model: str, report: Callable[[Event], None], *, quiet: bool = False
    ) -> None:
        self.number = number
        self.attempts: tuple[Attempt, ...] = ()
        self.response: ImagesResponse | None = None
        self.unfinished = False
        self.patience: Callable[[], float] = lambda: math.inf
        self._check: Callable[[], None] = lambda: None
        self._askers: list[Callable[[], str | None]] = []
        self._model = model
        self._report = report
        self._now = asyncio.get_running_loop().time
        self._start = self._now()
        self._sent = False
        self._arrived: ImagesResponse | None = None  # with an attempt that failed
        self._quiet = quiet

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, _: object, failure: BaseException | None, __: object) -> None:
        self.ended(failure)

    def start_clock(self) -> None:
        """Begin now: what was waited until here is nobody's time-out."""
        self._start = self._now()

    def elapsed(self) -> float:
        """Seconds since the call began."""
        return self._now() - self._start

    def note_sent(self) -> None:
        """From here on, the attempt that is made may be billed."""
        self._sent = True

    @property
    def may_cost(self) -> bool:
        """Whether it may be billed, as far as it has come."""
        return self._sent or any(item.fate in {"unknown", "answered"} for item in self.attempts)

    async def attempt(self, send: Callable[[], Awaitable[_T]]) -> _T:
        """Make one attempt, and tell of it. Cancellation passes."""
        number, start = len(self.attempts) + 1, self._now()
        if not self._quiet:
            self._report(AttemptStarted(call=self.number, attempt=number, model=self._model))
        self._sent = False
        failure: BaseException | None = None
        try:
            self._check()
            return await send()
        except BaseException as exc:
            failure = exc
            self._arrived = getattr(exc, "response", None) or self._arrived
            raise
        finally:
            result = _result_of(failure, self._now() - start, sent=self._sent)
            self._sent = False
            self.attempts += (result,)
            self._attempt_ended(number, result)

    def _attempt_ended(self, number: int, result: Attempt) -> None:
        if not self._quiet:
            self._report(
                AttemptEnded(call=self.number, attempt=number, model=self._model, result=result)
            )

    def ask_before_sending(self, check: Callable[[], None]) -> None:
        """Let *check* raise if there must not be another attempt."""
        self._check = check

    def ask_how_long(self, left: Callable[[], float]) -> None:
        """Let *left* tell how many seconds there are to wait before another attempt."""
        self.patience = left

    def ask_before_resending(self, why_not: Callable[[], str | None]) -> None:
        """Ask *why_not* to send again what may be billed for each time."""
        self._askers.append(why_not)

    def why_not_resend(self, error: SeedreamError) -> str | None:
        """Why there is to be no attempt after *error*, if there is a reason."""
        if not isinstance(error, OutcomeUnknownError):
            return None
        return next(filter(None, (why_not() for why_not in self._askers)), None)

    def retry_scheduled(self, attempt: int, error: SeedreamError, wait: float) -> None:
        """Tell that there will be another attempt."""
        self._report(
            RetryScheduled(call=self.number, attempt=attempt, reason=reason_of(error), wait=wait)
        )

    def failure(self, error: Exception) -> Exception:
        """
        The error to raise when the call ends in *error*: it tells of all the attempts.

        One unknown outcome among them leaves the call in doubt, whatever came after it.
        """
        doubts = sum(attempt.fate == "unknown" for attempt in self.attempts)
        if doubts and not getattr(error, "possibly_billed", False):
            error = _doubt(error, f"{doubts} of {len(self.attempts)} attempts")
        if isinstance(error, APIError):
            error.attempts = self.attempts
            if error.response is None:
                note_arrived(error, self._arrived)
        return error

    def ended(self, failure: BaseException | None) -> None:
        """Tell that the call is over."""
        doubtful = (
            self.unfinished
            or "unknown" in [attempt.fate for attempt in self.attempts]
            or getattr(failure, "possibly_billed", False)
        )
        if self._quiet and not doubtful:
            return
        came = self.response
        self._report(
            CallEnded(
                call=self.number,
                model=self._model,
                images=0 if came is None else len(came.images),
                elapsed=self.elapsed(),
                attempts=self.attempts,
                error=None if failure is None else type(failure).__name__,
                possibly_billed=doubtful,
                response_model=came.model if came else None,
                output_tokens=came.usage.output_tokens if came and came.usage else None,
            )
        )


def _doubt(error: Exception, doubts: str) -> OutcomeUnknownError:
    doubt = outcome_unknown(
        f"{doubts} ended without a known outcome, and the last attempt failed with "
        f"{reason_of(error)}",
        cut=False,
        request_id=getattr(error, "request_id", None),
    )
    doubt.__cause__ = error
    return doubt


def reason_of(error: Exception) -> str:
    """What *error* is, in a word or two that give nothing away."""
    status = getattr(error, "status_code", None)
    name = type(error).__name__
    return f"{name} ({status})" if status else name


def _result_of(failure: BaseException | None, elapsed: float, *, sent: bool) -> Attempt:
    if failure is None:
        return Attempt(fate="answered", elapsed=elapsed)
    return Attempt(
        fate=_fate_of(failure, sent=sent),
        elapsed=elapsed,
        error=type(failure).__name__,
        status_code=getattr(failure, "status_code", None),
        request_id=getattr(failure, "request_id", None),
    )


def _fate_of(failure: BaseException, *, sent: bool) -> Fate:
    match failure:
        case APIResponseValidationError():
            return "answered"
        case APIStatusError():
            return "refused"
        case OutcomeUnknownError():
            return "unknown"
        case SeedreamError():
            return "never sent"
        case _:  # a cancellation, as a rule
            return "unknown" if sent else "never sent"
