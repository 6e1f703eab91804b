"""
Calls as spans and figures of OpenTelemetry, named as its conventions for generative AI have it.

Needs the extra `otel`, which is the API alone. No key, no link and no text of an error is in
anything that is recorded, and a prompt only on request.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from contextvars import ContextVar, Token

from attrs import define, field
from opentelemetry import context as contexts
from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider

from seedream_async import (
    AsyncSeedream,
    AttemptEnded,
    AttemptStarted,
    CallEnded,
    CallStarted,
    DownloadEnded,
    DownloadStarted,
    Event,
    RetryScheduled,
    __version__,
)
from seedream_async._conventions import OPERATION, Attributes, asked, came, fate, message
from seedream_async._links import parse_target

__all__ = ["instrument"]

_SCOPE = "seedream_async"
# As the conventions have them, and on: an image takes minutes.
_SECONDS = [*(0.01 * 2**exponent for exponent in range(14)), 163.84, 327.68, 655.36]
_TOKENS = [float(4**exponent) for exponent in range(14)]


def instrument(
    client: AsyncSeedream,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    capture_prompts: bool = False,
) -> AsyncSeedream:
    """
    Let *client* record what it does, and give it back. To be done once for each client.

    Each call that has its slot is a span, a child of the span that is current where it is made,
    with its attempts as events; each download is a child of the call it belongs to. The providers
    default to the global ones. Prompts are recorded only with *capture_prompts*.

        async with instrument(AsyncSeedream()) as client: ...
    """
    server = _server_of(client.base_url)
    tracer = trace.get_tracer(_SCOPE, __version__, tracer_provider)
    meter = metrics.get_meter(_SCOPE, __version__, meter_provider)
    recorder = _Recorder(tracer, _Figures(meter), server)
    # The one way in for a listener that comes later.
    client._report.add(recorder, prompts=capture_prompts)  # noqa: SLF001
    return client


def _server_of(base_url: str) -> Attributes:
    target = parse_target(base_url)
    host, _, port = target.authority.rpartition(":")
    if not port.isdigit():
        host, port = target.authority, "443" if target.scheme == "https" else "80"
    return {"server.address": host.strip("[]"), "server.port": int(port)}


@define(eq=False)
class _Work:
    """What a span is open for. *token* is there while it is the current one."""

    span: Span
    context: Context
    shared: Attributes
    start: float = field(factory=time.monotonic)
    token: Token[Context] | None = None
    attempted: bool = False

    def enter(self) -> None:
        """Let the span be the current one, until it is left."""
        self.token = contexts.attach(self.context)

    def leave(self) -> None:
        """Let the current span be what it was."""
        token, self.token = self.token, None
        if token is not None:
            # Not contexts.detach(): what ends in another task or not at all would be logged there.
            with contextlib.suppress(ValueError):
                token.var.reset(token)

    def finish(self, error: str | None) -> None:
        """End the span."""
        self.leave()
        if error is not None:
            self.span.set_attribute("error.type", error)
            self.span.set_status(Status(StatusCode.ERROR))
        self.span.end()


# The last call that began here: what it has made is saved after its end, in the same place.
_last: ContextVar[tuple[_Recorder, int, Context] | None] = ContextVar("seedream_last", default=None)


class _Recorder:
    """Makes spans and figures of the events of one client."""

    def __init__(
        self,
        tracer: trace.Tracer,
        figures: _Figures,
        server: Mapping[str, str | int | float | bool],
    ) -> None:
        self._tracer = tracer
        self._figures = figures
        self._server = server
        self._calls: dict[int, _Work] = {}
        self._downloads: dict[int, _Work] = {}

    def __call__(self, event: Event) -> None:
        match event:
            case CallStarted():
                self._begin_call(event)
            case AttemptStarted():
                self._begin_attempt(self._calls.get(event.call))
            case AttemptEnded():
                self._end_attempt(self._calls.get(event.call), event)
            case RetryScheduled():
                self._retry(event)
            case CallEnded():
                self._end_call(self._calls.pop(event.call, None), event)
            case DownloadStarted():
                self._begin_download(event)
            case _:
                self._end_download(self._downloads.pop(event.download, None), event)

    def _begin_call(self, event: CallStarted) -> None:
        shared: Attributes = {
            "gen_ai.operation.name": OPERATION,
            "gen_ai.provider.name": "cometapi",
            "gen_ai.request.model": event.model,
            **self._server,
        }
        attributes = shared | asked(event)
        if event.prompt is not None:
            attributes["gen_ai.input.messages"] = message(event.prompt)
        span = self._tracer.start_span(
            f"{OPERATION} {event.model}", kind=SpanKind.CLIENT, attributes=attributes
        )
        work = self._calls[event.call] = _Work(span, trace.set_span_in_context(span), shared)
        _last.set((self, event.call, work.context))
        work.enter()

    def _begin_attempt(self, work: _Work | None) -> None:
        if work is not None and not work.attempted:
            work.attempted = True
            work.span.set_attribute("seedream.rate_limit.wait_s", time.monotonic() - work.start)

    def _end_attempt(self, work: _Work | None, event: AttemptEnded) -> None:
        if work is None:
            return
        work.span.add_event("seedream.attempt", fate(event.attempt, event.result))
        if event.result.fate == "answered":
            work.leave()  # what follows may be the caller's, as the block of a stream is

    def _retry(self, event: RetryScheduled) -> None:
        works, number = self._calls, event.call
        if number is None:
            works, number = self._downloads, event.download
        if number is not None and (work := works.get(number)):
            work.span.add_event(
                "seedream.retry",
                {
                    "seedream.attempt": event.attempt,
                    "seedream.reason": event.reason,
                    "seedream.wait_s": event.wait,
                },
            )

    def _end_call(self, work: _Work | None, event: CallEnded) -> None:
        if work is None:
            return
        if event.response_model is not None:
            work.shared["gen_ai.response.model"] = event.response_model
        if event.output_tokens is not None:
            work.span.set_attribute("gen_ai.usage.output_tokens", event.output_tokens)
        work.span.set_attributes(work.shared | came(event))
        self._figures.count_call(event, work)
        work.finish(event.error)

    def _begin_download(self, event: DownloadStarted) -> None:
        attributes: Attributes = {"gen_ai.provider.name": "cometapi"}
        if event.host is not None:
            attributes["server.address"] = event.host
        parent = self._parent_of(event.call)
        span = self._tracer.start_span(
            "seedream.download", parent, kind=SpanKind.CLIENT, attributes=attributes
        )
        context = trace.set_span_in_context(span)
        self._downloads[event.download] = _Work(span, context, attributes)

    def _parent_of(self, call: int | None) -> Context | None:
        """What *call* is known by; the current context if it is not known."""
        if call is None:
            return None
        if call in self._calls:
            return self._calls[call].context
        recorder, number, context = _last.get() or (None, None, None)
        return context if (recorder, number) == (self, call) else None

    def _end_download(self, work: _Work | None, event: DownloadEnded) -> None:
        if work is None:
            return
        work.span.set_attribute("seedream.download.bytes", event.bytes)
        if event.content_type is not None:
            work.span.set_attribute("seedream.download.content_type", event.content_type)
        self._figures.count_download(event, work)
        work.finish(event.error)


class _Figures:
    """The instruments."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "How long a call took from its first attempt",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Tokens of the images that a call made",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        count = meter.create_counter
        self._images = count("seedream.images", "{image}", "Images that were made")
        self._bytes = count("seedream.downloaded", "By", "Bytes that were saved or handed on")
        self._retries = count("seedream.retries", "{retry}", "Attempts after the first of a call")
        self._refused = count("seedream.rate_limited", "{attempt}", "Attempts refused with 429")
        self._doubts = count(
            "seedream.doubtful_calls", "{call}", "Calls that may be billed beyond their images"
        )

    def count_call(self, event: CallEnded, work: _Work) -> None:
        """Count what came of a call."""
        told, context = work.shared, work.context
        ended = told if event.error is None else told | {"error.type": event.error}
        self._duration.record(event.elapsed, ended, context)
        if event.output_tokens is not None:
            tokens = told | {"gen_ai.token.type": "output"}
            self._tokens.record(event.output_tokens, tokens, context)
        refused = sum(attempt.status_code == 429 for attempt in event.attempts)
        for counter, amount in (
            (self._images, event.images),
            (self._retries, max(0, len(event.attempts) - 1)),
            (self._refused, refused),
            (self._doubts, int(event.possibly_billed)),
        ):
            if amount:
                counter.add(amount, told, context)

    def count_download(self, event: DownloadEnded, work: _Work) -> None:
        """Count what came of a download."""
        if event.bytes:
            self._bytes.add(event.bytes, work.shared, work.context)
