"""
What happens to calls, as values to be told: no key and no link is in any of them, and a prompt only
for who was let in to hear it.

Annotations are not postponed here, so that `typing.get_type_hints` works on every class
although each calls itself a member of `seedream_async`.
"""

from typing import Literal, TypeAlias

from attrs import field, frozen

Fate: TypeAlias = Literal["answered", "refused", "never sent", "unknown"]


@frozen(kw_only=True)
class Attempt:
    """
    What became of one attempt of a call. *elapsed* is in seconds.

    Its *fate* tells what it may cost: an "answered" request is paid for, one that was "refused" or
    "never sent" is not, and of an "unknown" one nobody knows. *error* is the name of a class.
    """

    fate: Fate
    elapsed: float
    error: str | None = None
    status_code: int | None = None
    request_id: str | None = None


@frozen(kw_only=True)
class CallStarted:
    """
    A call has its slot, after it *waited* seconds for it. It may make as many *images* at most.

    *stream* tells that its images come one by one. The *prompt* is there only for
    `seedream_async.opentelemetry`, and only if that was asked to capture it.
    """

    call: int
    model: str
    images: int
    waited: float
    size: str | None = None
    seed: int | None = None
    watermark: bool | None = None
    stream: bool = False
    prompt: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class AttemptStarted:
    """A request is about to be sent: number *attempt*, from 1, of *call*."""

    call: int
    attempt: int
    model: str


@frozen(kw_only=True)
class AttemptEnded:
    """A request came to its end, as *result* tells."""

    call: int
    attempt: int
    model: str
    result: Attempt


@frozen(kw_only=True)
class RetryScheduled:
    """
    Number *attempt* of *call* met *reason*, so that another follows after *wait* seconds.

    *reason* is the name of a class, with the status if there is one. *call* is missing for a
    *download*, and both for what is neither.
    """

    call: int | None
    attempt: int
    reason: str
    wait: float
    download: int | None = None


@frozen(kw_only=True)
class CallEnded:
    """
    A call is over, with *images*, or with an *error*, the name of a class. *elapsed* is in seconds.

    A call that was cancelled ends with `CancelledError`. *possibly_billed* tells whether it may
    cost more than its images. *response_model* and *output_tokens* are what the answer says.
    """

    call: int
    model: str
    images: int
    elapsed: float
    attempts: tuple[Attempt, ...]
    error: str | None
    possibly_billed: bool
    response_model: str | None = None
    output_tokens: int | None = None


@frozen(kw_only=True)
class DownloadStarted:
    """
    An image from *host*, or from base64 if that is missing, is about to be saved.

    *download* is its number, from 1. *call* is the call that made it, if that is known.
    """

    download: int
    host: str | None
    call: int | None = None


@frozen(kw_only=True)
class DownloadEnded:
    """
    An image from *host*, or from base64 if that is missing, was saved, or met an *error*.

    *bytes* is the size of the file, *elapsed* is in seconds with all attempts. *download* and
    *call* are as when it started.
    """

    host: str | None
    elapsed: float
    bytes: int = 0
    content_type: str | None = None
    error: str | None = None
    download: int = 0
    call: int | None = None


Event: TypeAlias = (
    CallStarted
    | AttemptStarted
    | AttemptEnded
    | RetryScheduled
    | CallEnded
    | DownloadStarted
    | DownloadEnded
)
