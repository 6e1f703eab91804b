"""
What a browser is told of an error: a status, and words that hold no link, host, path or key.

Values in, values out.
"""

from __future__ import annotations

import math
from typing import Any

from attrs import fields, frozen

from seedream_async import _errors
from seedream_async._request import GenerateRequest

_AGAIN = "try again later"
_TABLE: tuple[tuple[type[Exception], int, str], ...] = (
    (_errors.InvalidRequestError, 400, "What was asked for is not valid"),
    (_errors.BadRequestError, 400, "The image service does not take what was asked for"),
    (_errors.ContentPolicyError, 422, "The content filter stopped it: ask for something else"),
    (_errors.RateLimitError, 429, f"Too many images are asked for: {_AGAIN}"),
    (_errors.InternalServerError, 503, f"The image service is busy: {_AGAIN}"),
    (_errors.InsufficientQuotaError, 503, "No more images can be made for now"),
    (_errors.BudgetReachedError, 503, "No more images can be made for now"),
    (_errors.APIStatusError, 502, "The image service refused this application"),
    (_errors.ClientClosingError, 503, "This application is being restarted: try again"),
    (_errors.APITimeoutError, 504, f"The image service was not reached in time: {_AGAIN}"),
    (_errors.APIConnectionError, 503, f"The image service cannot be reached: {_AGAIN}"),
    (_errors.OutcomeUnknownError, 504, "No answer came, so the image may have been made or not"),
    (_errors.APIError, 502, "The image service gave an answer that makes no sense"),
    (_errors.LinkExpiredError, 410, "The image is no longer there"),
    (_errors.DownloadError, 502, "The image could not be fetched from where it is stored"),
    (_errors.StorageError, 507, "The image was made, but could not be stored"),
)
_UNKNOWN = (500, "Something went wrong in this application")
_FOR_US = "; to send it anyway"  # begins what only the application can do
_GONE = frozenset((404, 410))
_OF_A_REQUEST = frozenset(it.name for it in fields(GenerateRequest)) | {"max_images", None}
# Errors about these speak of files and settings of the application.
_OF_THE_APPLICATION = frozenset(("image", "extra_body", "extra_headers", None))


@frozen
class Told:
    """What a browser is told: *retry_after* is in whole seconds."""

    status: int
    message: str
    type: str
    possibly_billed: bool
    retry_after: int | None = None
    field: str | None = None

    def public(self) -> dict[str, Any]:
        """The body."""
        named = {"field": self.field} if self.field else {}
        return {
            "type": self.type,
            "message": self.message,
            "possibly_billed": self.possibly_billed,
            "status": self.status,
            **named,
        }

    @property
    def headers(self) -> dict[str, str]:
        """What stands beside it."""
        wait = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **wait}


def told(error: BaseException) -> Told:
    """What *error* is to a browser."""
    cause = _cause_of(error)
    status, message = next(
        ((status, text) for kind, status, text in _TABLE if isinstance(cause, kind)), _UNKNOWN
    )
    if isinstance(cause, _errors.DownloadError) and cause.status_code in _GONE:
        status, message = 410, "The image is no longer there"
    field = cause.field if isinstance(cause, _errors.InvalidRequestError) else None
    if field not in _OF_A_REQUEST:
        status, message = _UNKNOWN
    elif field not in _OF_THE_APPLICATION:
        message = str(cause).partition(_FOR_US)[0]
    wait = getattr(cause, "retry_after", None)
    return Told(
        status,
        message,
        type(cause).__name__ if isinstance(cause, _errors.SeedreamError) else "InternalError",
        is_possibly_billed(error),
        None if wait is None else math.ceil(wait),
        field if status == 400 else None,
    )


def is_possibly_billed(error: BaseException) -> bool:
    """Whether what failed with *error* may cost."""
    paid_for = getattr(error, "response", None) is not None
    return paid_for or getattr(error, "possibly_billed", False)


def _cause_of(error: BaseException) -> BaseException:
    """What *error* comes from: another request's error, if it was not sent because of that."""
    spared = type(error) is _errors.APIConnectionError
    if spared and isinstance(error.__cause__, _errors.SeedreamError):
        return error.__cause__
    return error
