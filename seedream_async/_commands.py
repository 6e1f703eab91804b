"""What the commands do. `cli` says what they take."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence

from attrs import field, frozen

from . import _batch_command, _catalog, _demo, _errors, _ledger_commands, _validate
from ._client import AsyncSeedream
from ._models import SavedImage
from ._progress import Progress, progress_of
from ._request import GenerateRequest
from ._results import Failure, Success
from ._verdicts import cause_of, exit_code, say, tell, words_of
from .emulator import Emulator


@frozen
class Outcome:
    """What became of the requests of a command."""

    successes: list[Success] = field(factory=list)
    failures: list[Failure] = field(factory=list)


async def run(options: argparse.Namespace) -> int:
    """Run the command of *options* and return its exit code."""
    commands = {
        "demo": _demo.demo,
        "generate": generate,
        "emulator": emulator,
        "batch": _batch_command.batch,
        "batch status": _ledger_commands.status,
        "batch export": _ledger_commands.export,
        "batch failed": _ledger_commands.failed,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _warner()
        try:
            return await commands[options.command](options)
        except _errors.SeedreamError as error:
            say(words_of(error))
            return exit_code(error)


def _warner() -> Callable[..., None]:
    """What says each warning once, however many requests it is about."""
    said = set()

    def warn(message: Warning | str, *_: object) -> None:
        line = words_of(_errors.InvalidRequestError(str(message)))
        if line not in said:
            said.add(line)
            say(f"warning: {line}")

    return warn


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
        tell("The emulator is running. Paste the two lines into another shell; Ctrl-C ends it.")
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
        cause = cause_of(failure.error)
        (met if cause is failure.error else unsent)[words_of(cause)] += 1
    for reason in met | unsent:
        say(reason + _count(met[reason], unsent[reason]))
    codes = {exit_code(failure.error) for failure in outcome.failures}
    return 0 if not codes else codes.pop() if len(codes) == 1 else 1


def _count(met: int, unsent: int) -> str:
    parts = [f"{met} requests"] if met > 1 else []
    if unsent:
        parts.append(f"{unsent} more not sent")
    return f" ({', '.join(parts)})" if parts else ""
