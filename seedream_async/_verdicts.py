"""What the commands say of errors, in one line each, and the exit codes that sum them up."""

from __future__ import annotations

import sys

from . import _errors

# The first that matches counts; the table is in the epilog of `seedream --help`.
_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (_errors.InvalidRequestError, 2),
    (_errors.AuthenticationError, 3),
    (_errors.PermissionDeniedError, 3),
    (_errors.InsufficientQuotaError, 3),
    (_errors.APIConnectionError, 4),
    (_errors.RateLimitError, 4),
    (_errors.InternalServerError, 4),
    (_errors.OutcomeUnknownError, 5),
    (_errors.APIResponseValidationError, 5),
    (_errors.APIStatusError, 6),
    (_errors.DownloadError, 7),
    (_errors.StorageError, 8),
)
# What the library calls its parameters, and what they are called here.
_WORDS = {
    "COMETAPI_KEY or pass api_key": "COMETAPI_KEY",
    "COMETAPI_KEY or api_key": "COMETAPI_KEY",
    "base_url": "COMETAPI_BASE_URL",
    "max_images": "--max-images",
    "save_to": "--out",
    "pass other_input": "pass --other-input",
    '; to send it anyway: validation="warn"': "",
}
_SPEAKING_OF_PARAMETERS = (
    _errors.InvalidRequestError,
    _errors.NotFoundError,
    _errors.APIConnectionError,
)


def exit_code(error: Exception) -> int:
    """The exit code for *error*: that of its cause, if it was not even sent."""
    cause = cause_of(error)
    if isinstance(cause, _errors.InvalidRequestError) and cause.field == "api_key":
        return 3
    return next((code for kind, code in _EXIT_CODES if isinstance(cause, kind)), 1)


def code_of(problem: str) -> int:
    """The exit code for an error of the class of that name."""
    kind = getattr(_errors, problem, None)
    if kind is None:
        return 5 if problem in ("Interrupted", "Lost") else 1
    return next((code for known, code in _EXIT_CODES if issubclass(kind, known)), 1)


def cause_of(error: Exception) -> Exception:
    """What *error* comes from: another request's error, if it was not sent because of that."""
    return error.__cause__ if isinstance(error.__cause__, _errors.SeedreamError) else error


def words_of(error: Exception) -> str:
    """*error* in one line, and in the words of the command line."""
    line = " ".join(str(error).split())
    if isinstance(error, _SPEAKING_OF_PARAMETERS):
        for name, word in _WORDS.items():
            line = line.replace(name, word, 1)
    return line


def say(line: str) -> None:
    print(f"seedream: {line}", file=sys.stderr)


def tell(line: str) -> None:
    print(line, file=sys.stderr)
