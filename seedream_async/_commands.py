"""What the commands do. `cli` says what they take."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence

from attrs import field, frozen

from . import _catalog, _errors, _validate
from ._client import AsyncSeedream
from ._estimate import estimate
from ._models import SavedImage
from ._progress import Progress, progress_of
from ._request import GenerateRequest
from ._results import Failure, Success
from .emulator import Emulator
from .emulator._pictures import render

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
    '; to send it anyway: validation="warn"': "",
}
_SPEAKING_OF_PARAMETERS = (
    _errors.InvalidRequestError,
    _errors.NotFoundError,
    _errors.APIConnectionError,
)
_DEMO_MODEL = _catalog.DEFAULT_MODEL
_DEMO = (
    GenerateRequest("a lighthouse at dawn, oil painting", size="2048x2048"),
    GenerateRequest("a red fox in fresh snow, 35 mm photograph", size="2848x1600"),
    GenerateRequest("a poster for a night train, art deco", size="1600x2848", output_format="png"),
    GenerateRequest(
        "four seasons of one apple tree",
        size="2K",
        sequential_image_generation="auto",
        max_images=4,
    ),
    GenerateRequest("a tea house in the rain, 16:9, ink on paper", size="2K"),
    GenerateRequest(
        "the same hills, but in winter",
        size="2304x1728",
        image=render(640, 480, "png", b"reference"),
    ),
    GenerateRequest("a watchmaker's bench, macro", size="2496x1664", output_format="png"),
    GenerateRequest("a paper boat on a puddle", size="2048x2048", watermark=False),
    GenerateRequest("a city of books, isometric", size="3K"),
    GenerateRequest("an astronaut tending a greenhouse", size="1728x2304"),
    GenerateRequest("a wide river delta from above, 21:9", size="2K"),
    GenerateRequest("a cat wearing a scarf, pencil sketch", response_format="b64_json"),
)


@frozen
class Outcome:
    """What became of the requests of a command."""

    successes: list[Success] = field(factory=list)
    failures: list[Failure] = field(factory=list)

    @property
    def files(self) -> list[SavedImage]:
        return [file for success in self.successes for file in success.files]


async def run(options: argparse.Namespace) -> int:
    """Run the command of *options* and return its exit code."""
    commands = {"demo": demo, "generate": generate, "emulator": emulator}
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _warner()
        try:
            return await commands[options.command](options)
        except _errors.SeedreamError as error:
            _say(_words(error))
            return exit_code(error)


def _warner() -> Callable[..., None]:
    """What says each warning once, however many requests it is about."""
    said = set()

    def warn(message: Warning | str, *_: object) -> None:
        line = _words(_errors.InvalidRequestError(str(message)))
        if line not in said:
            said.add(line)
            _say(f"warning: {line}")

    return warn


def exit_code(error: Exception) -> int:
    """The exit code for *error*: that of its cause, if it was not even sent."""
    cause = _cause_of(error)
    if isinstance(cause, _errors.InvalidRequestError) and cause.field == "api_key":
        return 3
    return next((code for kind, code in _EXIT_CODES if isinstance(cause, kind)), 1)


def _cause_of(error: Exception) -> Exception:
    """What *error* comes from: another request's error, if it was not sent because of that."""
    return error.__cause__ if isinstance(error.__cause__, _errors.SeedreamError) else error


async def demo(options: argparse.Namespace) -> int:
    requests = [_DEMO[number % len(_DEMO)] for number in range(options.n)]
    start = time.monotonic()
    async with Emulator(latency=0.5) as server, server.client() as client:
        outcome = await _make(client, requests, options.out, concurrency=4)
    files, cost = outcome.files, estimate(_DEMO[0], model=_DEMO_MODEL)
    each = cost.amount[1]
    size = sum(file.bytes for file in files) / 1e6
    _tell(
        f"{len(files)} images of {len(requests)} requests in {time.monotonic() - start:.1f} s: "
        f"{size:.1f} MB in {options.out}"
    )
    _tell(
        f"From the real service they would cost about {len(files) * each:.2f} "
        f"{cost.currency} ({each} each; {cost.source})."
    )
    return _close(outcome)


async def generate(options: argparse.Namespace) -> int:
    group = options.max_images is not None
    requests = [
        GenerateRequest(
            prompt,
            model=options.model,
            size=options.size,
            image=options.image,
            output_format=options.output_format,
            watermark=options.watermark,
            seed=options.seed,
            max_images=options.max_images,
            sequential_image_generation="auto" if group else None,
        )
        for prompt in options.prompt
        for _ in range(options.n)
    ]
    for request in requests:
        _validate.judge(_validate.problems(request, _catalog.DEFAULT_MODEL), "strict")
    if not options.emulator:
        async with AsyncSeedream() as client:
            return _close(await _make(client, requests, options.out, options.concurrency))
    async with Emulator() as server, server.client() as client:
        return _close(await _make(client, requests, options.out, options.concurrency))


async def emulator(options: argparse.Namespace) -> int:
    async with contextlib.AsyncExitStack() as stack:
        try:
            server = await stack.enter_async_context(
                Emulator(port=options.port, latency=options.latency)
            )
        except OSError as error:
            raise _errors.InvalidRequestError(
                f"--port: {options.port} cannot be listened on: {os.strerror(error.errno or 0)}. "
                "Choose another, or leave it out",
                field="port",
            ) from None
        print(f"export COMETAPI_KEY={server.api_key}")
        print(f"export COMETAPI_BASE_URL={server.base_url}", flush=True)
        _tell("The emulator is running. Paste the two lines into another shell; Ctrl-C ends it.")
        # Ctrl-C cancels this task. It is how this command is meant to end.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    return 0


async def _make(
    client: AsyncSeedream, requests: Sequence[GenerateRequest], out: str, concurrency: int | None
) -> Outcome:
    outcome = Outcome()
    with progress_of(len(requests)) as progress:
        async with client.generate_many(requests, concurrency=concurrency, save_to=out) as results:
            async for result in results:
                if isinstance(result, Success):
                    outcome.successes.append(result)
                    _show(result.files, progress)
                else:
                    outcome.failures.append(result)
                progress.advance(len(outcome.failures))
    return outcome


def _show(files: Sequence[SavedImage], progress: Progress) -> None:
    for file in files:
        about = f"  {file.width}x{file.height}  {file.bytes / 1000:.0f} kB"
        progress.show(f"{file.path}{about if sys.stdout.isatty() else ''}")


def _close(outcome: Outcome) -> int:
    """Say what failed, each reason once, and sum it up as an exit code."""
    met: Counter[str] = Counter()
    unsent: Counter[str] = Counter()
    for failure in outcome.failures:
        cause = _cause_of(failure.error)
        (met if cause is failure.error else unsent)[_words(cause)] += 1
    for reason in met | unsent:
        _say(reason + _count(met[reason], unsent[reason]))
    codes = {exit_code(failure.error) for failure in outcome.failures}
    return 0 if not codes else codes.pop() if len(codes) == 1 else 1


def _count(met: int, unsent: int) -> str:
    parts = [f"{met} requests"] if met > 1 else []
    if unsent:
        parts.append(f"{unsent} more not sent")
    return f" ({', '.join(parts)})" if parts else ""


def _words(error: Exception) -> str:
    """*error* in one line, and in the words of the command line."""
    line = " ".join(str(error).split())
    if isinstance(error, _SPEAKING_OF_PARAMETERS):
        for name, word in _WORDS.items():
            line = line.replace(name, word, 1)
    return line


def _say(line: str) -> None:
    print(f"seedream: {line}", file=sys.stderr)


def _tell(line: str) -> None:
    print(line, file=sys.stderr)
