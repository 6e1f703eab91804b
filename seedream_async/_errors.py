"""
The errors, and nothing else: what went wrong, whether it may have been billed, what to do.

SeedreamError
├── InvalidRequestError (ValueError)      refused here; nothing was sent
├── APIError                              .request_id .possibly_billed .retryable .attempts
│   ├── APIConnectionError                never left this machine: safe to send again
│   │   └── APITimeoutError (TimeoutError) · BudgetReachedError · ClientClosingError
│   ├── OutcomeUnknownError               sent, no trustworthy answer: may be billed
│   ├── APIStatusError                    .status_code .code .type .param .retry_after .body
│   │   └── BadRequestError · ContentPolicyError · AuthenticationError · PermissionDeniedError ·
│   │       InsufficientQuotaError · NotFoundError · RateLimitError · InternalServerError
│   └── APIResponseValidationError        answered, but not what the API documents
├── DownloadError                         .host .status_code .code .ec .request_id
│   └── LinkAlteredError · LinkExpiredError · LinkDeniedError · IncompleteDownloadError ·
│       NotAnImageError
└── StorageError (OSError)                the disk's fault; carries the image: it is paid for
"""

from __future__ import annotations

from typing import Any


class SeedreamError(Exception):
    """Base of every error that this library raises on purpose."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        for name, value in facts.items():
            if not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} has no attribute {name!r}")
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickled error outlives the process, in queues and result stores: no links in it.
        carried = ("image", "response")
        facts = {name: value for name, value in self.__dict__.items() if name not in carried}
        if isinstance(self, OSError) and self.errno is not None:  # which keeps it elsewhere
            facts["errno"] = self.errno
        return type(self), self.args, facts


class InvalidRequestError(SeedreamError, ValueError):
    """Refused before anything was sent. *field* names the argument at fault."""

    field: str | None = None


class APIError(SeedreamError):
    """
    A call to the API failed.

    *possibly_billed* is false only if the request provably never left or was refused.
    *retryable* tells that sending it again can neither be paid for twice nor is pointless.
    *response* holds what had arrived, or could be understood, before the failure, if anything.
    *attempts* tells what became of each attempt, as values of class `Attempt`.
    """

    request_id: str | None = None
    possibly_billed: bool = False
    retryable: bool = False
    attempts: tuple[Any, ...] = ()  # of Attempt: the vocabulary knows no values
    response: Any = None  # an ImagesResponse: the vocabulary knows no models


class APIConnectionError(APIError):
    """No byte of the request left this machine. Sending it again is safe."""


class APITimeoutError(APIConnectionError, TimeoutError):
    """A time limit passed before any byte of the request left this machine."""


class BudgetReachedError(APIConnectionError):
    """Not sent, since it may cost more than is left. *field* names the limit that is reached."""

    field: str | None = None


class ClientClosingError(APIConnectionError):
    """Not sent, since the client is being closed and takes no new calls."""


class OutcomeUnknownError(APIError):
    """
    The request was sent, and no trustworthy answer came back: it may have been billed.

    *elapsed* is in seconds. *status_code* is set if there was an answer, but one that leaves it
    open, such as a gateway's in the API's place.
    *final* tells that the answer asked not to be repeated (`x-should-retry: false`).
    """

    possibly_billed: bool = True
    elapsed: float | None = None
    status_code: int | None = None
    code: str | None = None
    final: bool = False


class APIStatusError(APIError):
    """
    The API refused the request.

    *code*, *type* and *param* are the API's own. *retry_after* is in seconds.
    *body* is at most the first 2 KiB of the answer, without the queries of links in it.
    """

    status_code: int = 0
    code: str | None = None
    type: str | None = None
    param: str | None = None
    retry_after: float | None = None
    body: str | None = None


class BadRequestError(APIStatusError):
    """The request is malformed, or the model does not take it."""


class ContentPolicyError(APIStatusError):
    """The prompt, a reference, or the result was stopped by the content filter."""


class AuthenticationError(APIStatusError):
    """The API key is missing, wrong, or revoked."""


class PermissionDeniedError(APIStatusError):
    """The key is valid, but may not do this."""


class InsufficientQuotaError(APIStatusError):
    """The balance or a quota is used up. Waiting does not help; topping up does."""


class NotFoundError(APIStatusError):
    """The model or the path does not exist, or is not open to this account."""


class RateLimitError(APIStatusError):
    """Too much at once. Waiting *retry_after* seconds helps."""


class InternalServerError(APIStatusError):
    """The service could not take the request now, and did not start on it."""


class APIResponseValidationError(APIError):
    """
    The API reported success with an answer that it does not document; it was billed.

    *body* is at most the first 2 KiB.
    """

    possibly_billed: bool = True
    status_code: int | None = None
    body: str | None = None


class DownloadError(SeedreamError):
    """
    An image could not be fetched; its generation is paid for.

    *code* and *ec* are the object store's own. *retryable* tells that trying again may help; it
    costs nothing. *image* and *response* are what was being saved.
    """

    retryable: bool = False
    host: str | None = None
    status_code: int | None = None
    code: str | None = None
    ec: str | None = None
    request_id: str | None = None
    image: Any = None  # an Image: the vocabulary knows no models
    response: Any = None  # an ImagesResponse


class LinkAlteredError(DownloadError):
    """The link was cut, escaped or rewritten somewhere: its signature cannot match."""


class LinkExpiredError(DownloadError):
    """The link's lifetime, usually 24 hours, is over."""


class LinkDeniedError(DownloadError):
    """The link looks whole and alive, yet the store refuses it."""


class IncompleteDownloadError(DownloadError):
    """Fewer bytes arrived than the image has."""


class NotAnImageError(DownloadError):
    """The bytes are no image of a kind that these models make."""


class StorageError(SeedreamError, OSError):
    """The disk refused the file. *image* and *response* are still good: they are paid for."""

    image: Any = None  # an Image: the vocabulary knows no models
    response: Any = None  # an ImagesResponse
