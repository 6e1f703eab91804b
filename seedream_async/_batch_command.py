"""`seedream batch`: a run with its progress and its signals, and what is said at its end."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shlex
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import TypeAlias

from attrs import evolve

from ._batch_progress import display_of
from ._client import AsyncSeedream
from ._errors import BudgetReachedError, InvalidRequestError
from ._limits import Limits
from ._verdicts import code_of, say, tell, words_of
from ._verdicts import exit_code as code_of_error
from .batch import BatchResult, _batch
from .batch._options import Options
from .batch._results import BatchPlan, BatchProgress
from .batch._session import Batch
from .batch._wording import counted, duration
from .emulator import Emulator

# How a batch is opened: with its rows sent from here, or from elsewhere.
Opened: TypeAlias = Callable[[Options, AsyncSeedream], AbstractAsyncContextManager[Batch]]
_DEFAULTS = (
    "size",
    "output_format",
    "response_format",
    "seed",
    "watermark",
    "image",
)


async def batch(options: argparse.Namespace) -> int:
    """Run a batch, or say what it would do."""
    if options.workers and options.ray is None:
        problem = "--workers are those of --ray, which was not given. Nothing was sent"
        raise InvalidRequestError(problem, field="workers")
    async with _client(options) as client:
        told = _options(options, client)
        if options.dry_run:
            plan = await _batch.plan_batch(evolve(told, on_notice=tell), client)
            _tell_plan(plan)
            return 2 if plan.bad else 0
        opened = _batch.opened if options.ray is None else _on_ray(options)
        return await run(told, client, resume=_resume_line(options), opened=opened)


def _on_ray(options: argparse.Namespace) -> Opened:
    try:
        from .ray import _cluster  # noqa: PLC0415  an extra, and slow to import
    except ModuleNotFoundError as exc:
        problem = f"--ray needs {exc.name}: pip install 'seedream-async[ray]'. Nothing was sent"
        raise InvalidRequestError(problem, field="ray") from None
    return partial(_cluster.opened, address=options.ray or None, actors=options.workers)


async def run(
    told: Options,
    client: AsyncSeedream,
    *,
    resume: str,
    show: bool = False,
    opened: Opened = _batch.opened,
) -> int:
    """Run the batch that is *told*, until its end or until somebody wants to leave."""
    leaver = _Leaver(told.leave, resume)
    with display_of() as display, leaver.listening():
        options = evolve(
            told,
            on_progress=_both(display.update, leaver.learn),
            on_notice=display.notice,
            on_saved=display.saved if show else told.on_saved,
        )
        try:
            async with opened(options, client) as batch:
                result: BatchResult | None = await batch.run()
        except asyncio.CancelledError:
            if not leaver.cancelled:
                raise
            result = None
    return leaver.close() if result is None else close(result, resume)


def _both(
    first: Callable[[BatchProgress], None], second: Callable[[BatchProgress], None]
) -> Callable[[BatchProgress], None]:
    def both(progress: BatchProgress) -> None:
        first(progress)
        second(progress)

    return both


class _Leaver:
    """What signals do: the first asks to *leave*, the second cancels."""

    def __init__(self, leave: asyncio.Event, resume: str) -> None:
        self.cancelled = False
        self._leave = leave
        self._resume = resume
        self._task = asyncio.current_task()
        self._progress: BatchProgress | None = None

    def learn(self, progress: BatchProgress) -> None:
        self._progress = progress

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        heard = []
        for number in (signal.SIGINT, signal.SIGTERM):
            # Windows has none: there, the first Ctrl-C cancels.
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                before = signal.getsignal(number)
                loop.add_signal_handler(number, self._hear)
                heard.append((number, before))
        try:
            yield
        finally:
            for number, before in heard:
                loop.remove_signal_handler(number)
                signal.signal(number, before)

    def _hear(self) -> None:
        if not self._leave.is_set():
            self._leave.set()
            say(
                "leaving: nothing more is sent, and what is in flight is waited for and saved; "
                "once more to leave at once"
            )
        elif self._task is not None and not self.cancelled:
            self.cancelled = True
            self._task.cancel()

    def close(self) -> int:
        """Say how far a run was that is cancelled, and how it goes on."""
        progress = self._progress
        if progress is not None:
            say(
                f"interrupted: {progress.saved} of {progress.total} rows saved, "
                f"{progress.left} left, {progress.unknown} unknown, which may have been billed"
            )
        say(f"to go on: {self._resume}")
        return 130


def close(result: BatchResult, resume: str) -> int:
    """Say what became of the batch, and sum it up as an exit code."""
    for line in closing(result):
        tell(line)
    if isinstance(result.stopped, Exception):
        say(f"stopped: {_words(result.stopped)}")
    if result.left:
        say(f"to go on: {resume}")
    if result.report is not None:
        print(result.report)
    return exit_code(result)


def closing(result: BatchResult) -> Iterator[str]:
    """What to say of *result*, in lines."""
    cost = "" if result.cost is None else f", about {result.cost:.2f} {result.currency}"
    yield (
        f"{result.saved} of {result.total} rows saved: {counted(result.images, 'image')}{cost}; "
        f"{result.failed} failed, {result.unknown} unknown, {result.left} left"
    )
    if result.bad:
        yield f"the input has {counted(result.bad, 'row')} that cannot be a request"
    if result.unknown:
        yield (
            "What is unknown may have been billed: compare it with your account. It is not sent "
            "again unless --resend-unknown"
        )
    if result.failed:
        yield (
            f"What failed is in {result.failed_rows or 'the ledger'}. The same command sends "
            "again what was refused for the moment's sake, and the rest with --retry-failed"
        )
    if result.paid:
        yield f"{result.paid} rows are paid for: the same command downloads them, for free"


def exit_code(result: BatchResult) -> int:
    """One number for all that went wrong: 1 if that is of several kinds."""

    if isinstance(result.stopped, str):
        return 130
    codes = {code_of(name) for name in result.problems}
    codes |= {2} if result.bad else set()
    codes |= {5} if result.unknown else set()
    codes |= {1} if result.missing else set()
    if isinstance(result.stopped, BudgetReachedError):
        codes.add(1)
    elif isinstance(result.stopped, Exception):
        codes.add(code_of_error(result.stopped))
    return 0 if not codes else codes.pop() if len(codes) == 1 else 1


def _tell_plan(plan: BatchPlan) -> None:
    tell(f"{plan.rows} rows, {plan.left} of them to be sent; {plan.bad} cannot be a request")
    tell(f"{_range(plan.images)} images")
    if plan.currency:
        low, high = plan.cost
        tell(f"cost: {_range((low, high), '.2f')} {plan.currency} ({plan.source})")
    if plan.unpriced:
        tell(f"no price is known for {counted(plan.unpriced, 'row')}; --price gives one")
    least, most = (duration(seconds) for seconds in plan.seconds)
    tell(f"duration: {least} to {most}, if a generation takes 20 to 60 s")
    tell("Nothing was sent.")


def _range(values: tuple[float, float], spec: str = "") -> str:
    low, high = (format(value, spec) for value in values)
    return low if low == high else f"{low} to {high}"


@contextlib.asynccontextmanager
async def _client(options: argparse.Namespace) -> AsyncIterator[AsyncSeedream]:
    limits = Limits(
        concurrency=options.concurrency or Limits().concurrency,
        images_per_minute=options.images_per_minute,
    )
    async with contextlib.AsyncExitStack() as stack:
        if options.emulator:
            server = await stack.enter_async_context(Emulator())
            yield await stack.enter_async_context(server.client(limits=limits))
        elif options.dry_run:  # which needs no key
            yield await stack.enter_async_context(AsyncSeedream(api_key="none", limits=limits))
        else:
            yield await stack.enter_async_context(AsyncSeedream(limits=limits))


def _options(options: argparse.Namespace, client: AsyncSeedream) -> Options:
    defaults = {name: getattr(options, name) for name in _DEFAULTS}
    return _batch.options_of(
        options.input,
        options.out,
        client,
        {
            "ledger": options.ledger,
            "model": options.model,
            "name": options.name,
            "format": options.format,
            "defaults": {name: value for name, value in defaults.items() if value is not None},
            "price": options.price,
            "max_cost": options.max_cost,
            "max_images": options.max_images,
            "limit": options.limit,
            "images_per_minute": options.images_per_minute,
            "resend_unknown": options.resend_unknown,
            "retry_failed": options.retry_failed,
            "strict": options.strict,
            "sidecar": options.sidecar,
            "other_input": options.other_input,
            "tags": {"emulator": options.emulator},
        },
    )


def _resume_line(options: argparse.Namespace) -> str:
    return shlex.join(["seedream", *options.words])


def _words(cause: object) -> str:
    return words_of(cause) if isinstance(cause, Exception) else str(cause)
