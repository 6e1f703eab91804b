"""
Asynchronous client for ByteDance's Seedream image models through CometAPI.

Names are loaded when they are first used, so that `seedream --help` need not wait for aiohttp.
PYTEST_DONT_REWRITE, as pytest would complain where this is imported before its plugin is found.
"""

from __future__ import annotations

from ._version import __version__ as __version__

TYPE_CHECKING = False  # `typing` has it too, and takes as long to load as all of the help
if TYPE_CHECKING:
    from ._catalog import Price
    from ._client import AsyncSeedream
    from ._errors import (
        APIConnectionError,
        APIError,
        APIResponseValidationError,
        APIStatusError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        BudgetReachedError,
        ClientClosingError,
        ContentPolicyError,
        DownloadError,
        IncompleteDownloadError,
        InsufficientQuotaError,
        InternalServerError,
        InvalidRequestError,
        LinkAlteredError,
        LinkDeniedError,
        LinkExpiredError,
        NotAnImageError,
        NotFoundError,
        OutcomeUnknownError,
        PermissionDeniedError,
        RateLimitError,
        SeedreamError,
        StorageError,
    )
    from ._estimate import Estimate, estimate
    from ._events import (
        Attempt,
        AttemptEnded,
        AttemptStarted,
        CallEnded,
        CallStarted,
        DownloadEnded,
        DownloadStarted,
        Event,
        RetryScheduled,
    )
    from ._fanout import FanOut
    from ._image_stream import ImageStream
    from ._limits import Limits, RateLimiter, Stats
    from ._models import (
        Image,
        ImageError,
        ImageFailed,
        ImagesResponse,
        ImageSucceeded,
        ModelInfo,
        SavedImage,
        StreamCompleted,
        StreamEvent,
        UnknownEvent,
        Usage,
    )
    from ._request import GenerateRequest
    from ._results import Failure, Result, Success
    from ._retry import RetryPolicy
    from ._sizes import size_for
    from ._streaming import EventStream
    from ._templates import ImageName
    from ._timeout import Timeout
else:
    # Hidden from type checkers, for which it would make every misspelt name an Any.
    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415  the help needs none of it

        for module in (_RARE[name],) if name in _RARE else _MODULES:
            _publish(vars(import_module(f".{module}", __name__)))
        globals()["Any"] = import_module("typing").Any  # which annotations of errors name
        return globals()[name]


__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncSeedream",
    "Attempt",
    "AttemptEnded",
    "AttemptStarted",
    "AuthenticationError",
    "BadRequestError",
    "BudgetReachedError",
    "CallEnded",
    "CallStarted",
    "ClientClosingError",
    "ContentPolicyError",
    "DownloadEnded",
    "DownloadError",
    "DownloadStarted",
    "Estimate",
    "Event",
    "EventStream",
    "Failure",
    "FanOut",
    "GenerateRequest",
    "Image",
    "ImageError",
    "ImageFailed",
    "ImageName",
    "ImageStream",
    "ImageSucceeded",
    "ImagesResponse",
    "IncompleteDownloadError",
    "InsufficientQuotaError",
    "InternalServerError",
    "InvalidRequestError",
    "Limits",
    "LinkAlteredError",
    "LinkDeniedError",
    "LinkExpiredError",
    "ModelInfo",
    "NotAnImageError",
    "NotFoundError",
    "OutcomeUnknownError",
    "PermissionDeniedError",
    "Price",
    "RateLimitError",
    "RateLimiter",
    "Result",
    "RetryPolicy",
    "RetryScheduled",
    "SavedImage",
    "SeedreamError",
    "Stats",
    "StorageError",
    "StreamCompleted",
    "StreamEvent",
    "Success",
    "Timeout",
    "UnknownEvent",
    "Usage",
    "estimate",
    "size_for",
]


_MODULES = (
    "_errors",
    "_catalog",
    "_sizes",
    "_estimate",
    "_events",
    "_models",
    "_request",
    "_results",
    "_retry",
    "_timeout",
    "_limits",
    "_fanout",
    "_client",
)
# What few programs need is loaded for its name alone.
_RARE = {"EventStream": "_streaming", "ImageName": "_templates", "ImageStream": "_image_stream"}


def _publish(names: dict[str, object]) -> None:
    """Make the public ones of *names* ours, so that a traceback says `seedream_async`."""
    for name in names.keys() & set(__all__):
        globals()[name] = value = names[name]
        if isinstance(value, type):
            value.__module__ = __name__


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
