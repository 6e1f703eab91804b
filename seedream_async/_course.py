"""The one loop that tries again, run by tenacity."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from ._errors import SeedreamError
from ._retry import Budget, RetryPolicy, compute_wait, should_retry, why_stop

_T = TypeVar("_T")


class Course:
    """The course of one call: what tenacity asks, answered by the functions above."""

    def __init__(
        self,
        policy: RetryPolicy,
        budget: Budget,
        *,
        remaining: Callable[[], float],
        jitter: Callable[[], float],
        on_retry: Callable[[int, SeedreamError, float], None],
        why_not: Callable[[SeedreamError], str | None],
    ) -> None:
        self._policy = policy
        self._budget = budget
        self._why_not = why_not
        self._remaining = remaining
        self._jitter = jitter
        self._on_retry = on_retry
        self._ending = ""

    def retrying(self, sleep: Callable[[float], Awaitable[None]]) -> AsyncRetrying:
        # An AsyncRetrying carries the state of one call: never share it.
        return AsyncRetrying(
            retry=retry_if_exception(self.retry),
            wait=self.wait,
            stop=self.stop,
            before_sleep=self.before_sleep,
            sleep=sleep,
            reraise=True,
        )

    def note(self, error: SeedreamError, attempts: int) -> None:
        """Tell on *error* that it ended the course."""
        if attempts > 1 or self._ending:
            error.add_note(f"gave up after attempt {attempts}" + self._ending)

    def retry(self, error: BaseException) -> bool:
        return should_retry(error, self._policy)

    def wait(self, state: RetryCallState) -> float:
        return compute_wait(self._policy, _error_of(state), state.attempt_number, self._jitter())

    def stop(self, state: RetryCallState) -> bool:
        ending = why_stop(
            self._policy,
            _error_of(state),
            state.attempt_number,
            state.upcoming_sleep,
            self._remaining(),
        )
        if ending is None:
            ending = self._why_not(_error_of(state))
        if ending is None and not self._budget.take():
            ending = "the retries that Limits allows are used up, as too little succeeds"
        self._ending = f": {ending}" if ending else ""
        return ending is not None

    def before_sleep(self, state: RetryCallState) -> None:
        self._on_retry(state.attempt_number, _error_of(state), state.upcoming_sleep)


async def go_on(
    failed: list[SeedreamError],
    attempt: Callable[[], Awaitable[_T]],
    course: Course,
    sleep: Callable[[float], Awaitable[None]],
) -> _T:
    """What `_retrying.run` does after the first attempt, whose error is in *failed*."""
    retrying = course.retrying(sleep)
    try:
        async for turn in retrying:
            with turn:
                if failed:
                    raise failed.pop()
                result = await attempt()
    except SeedreamError as error:
        course.note(error, retrying.statistics["attempt_number"])
        raise
    return result


def _error_of(state: RetryCallState) -> SeedreamError:
    """The error of the attempt that *state* is asked about: there always is one, and it is ours."""
    outcome = state.outcome
    assert outcome is not None  # noqa: S101  tenacity asks only after an attempt
    error = outcome.exception()
    assert isinstance(error, SeedreamError)  # noqa: S101  and only about those worth a retry
    return error
