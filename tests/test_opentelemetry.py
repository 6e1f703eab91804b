"""Calls as OpenTelemetry's real SDK sees them, and what neither it nor a bystander must see."""

import asyncio
import contextvars
import json
import logging

import aiohttp
import pytest
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from seedream_async import (
    Attempt,
    AttemptEnded,
    AttemptStarted,
    BadRequestError,
    CallEnded,
    CallStarted,
    DownloadEnded,
    LinkDeniedError,
    OutcomeUnknownError,
    RetryPolicy,
    RetryScheduled,
)
from seedream_async.emulator import Emulator
from seedream_async.opentelemetry import _server_of, instrument

QUICK = RetryPolicy(wait_initial=0)
MODEL = "doubao-seedream-5-0-260128"
SEEDED = "doubao-seedream-3-0-t2i-250415"
GROUP = {"sequential_image_generation": "auto", "max_images": 3}
PROMPT = "a prompt that nobody else is to read"
KEY = "sk-a-key-that-nobody-else-is-to-read"


class Telemetry:
    """What the SDK was given."""

    def __init__(self):
        self.exporter = InMemorySpanExporter()
        self.spans = TracerProvider()
        self.spans.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.metrics = MeterProvider([self.reader])
        self.tracer = self.spans.get_tracer("the application")

    def instrument(self, client, **options):
        return instrument(
            client, tracer_provider=self.spans, meter_provider=self.metrics, **options
        )

    def named(self, name):
        return [span for span in self.exporter.get_finished_spans() if span.name.startswith(name)]

    @property
    def calls(self):
        return self.named("generate_content")

    @property
    def downloads(self):
        return self.named("seedream.download")

    def points(self, name):
        data = self.reader.get_metrics_data()
        scopes = data.resource_metrics[0].scope_metrics if data else ()
        return [
            point
            for scope in scopes
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        ]

    def total(self, name):
        return sum(point.value for point in self.points(name))

    def everything(self):
        """All that was recorded, as text."""
        data = self.reader.get_metrics_data()
        spans = [span.to_json() for span in self.exporter.get_finished_spans()]
        return "\n".join([*spans, data.to_json() if data else ""])


@pytest.fixture
def telemetry():
    telemetry = Telemetry()
    yield telemetry
    telemetry.spans.shutdown()
    telemetry.metrics.shutdown()


@pytest.fixture
async def traced(emulator, telemetry):
    """A client of the emulator that records what it does, and waits for nothing."""
    async with telemetry.instrument(emulator.client(retry=QUICK)) as client:
        yield client


@pytest.fixture
def http(telemetry):
    """The general instrumentation of aiohttp, at work beside ours."""
    instrumentor = AioHttpClientInstrumentor()
    instrumentor.instrument(tracer_provider=telemetry.spans, meter_provider=telemetry.metrics)
    yield
    instrumentor.uninstrument()


def parent_of(span):
    return span.parent and span.parent.span_id


def id_of(span):
    return span.context.span_id


@pytest.mark.virtual_time
async def test_a_call_is_a_span(emulator, traced, telemetry):
    """A call is a client's span, with the names of the conventions."""
    await traced.generate("a cat", model=SEEDED, size="1024x1024", seed=7, watermark=False)

    (span,) = telemetry.calls
    attributes = dict(span.attributes)
    assert span.name == f"generate_content {SEEDED}"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert attributes.pop("seedream.slot.wait_s") == 0
    assert 0 <= attributes.pop("seedream.rate_limit.wait_s") < 30
    assert attributes == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.provider.name": "cometapi",
        "gen_ai.request.model": SEEDED,
        "gen_ai.response.model": SEEDED,
        "gen_ai.output.type": "image",
        "gen_ai.request.seed": 7,
        "gen_ai.usage.output_tokens": 4096,
        "server.address": "127.0.0.1",
        "server.port": int(emulator.base_url.split(":")[2].split("/")[0]),
        "seedream.size": "1024x1024",
        "seedream.watermark": False,
        "seedream.stream": False,
        "seedream.images.requested": 1,
        "seedream.images.generated": 1,
        "seedream.retries": 0,
        "seedream.possibly_billed": False,
    }


async def test_what_is_unset_is_not_recorded(traced, telemetry):
    """A parameter that was not given has no attribute, and one image is no choice."""
    await traced.generate("a cat")

    names = set(telemetry.calls[0].attributes)
    assert not names & {"gen_ai.request.seed", "seedream.size", "seedream.watermark"}
    assert not names & {"gen_ai.request.choice.count", "error.type"}


async def test_a_group_tells_how_many(traced, telemetry):
    """A group says how many images it may have, also as a stream."""
    async with traced.stream("a cat", **GROUP) as events:
        async for _ in events:
            pass

    (span,) = telemetry.calls
    assert span.attributes["gen_ai.request.choice.count"] == 3
    assert span.attributes["seedream.images.generated"] == 3
    assert span.attributes["seedream.stream"] is True
    assert span.attributes["gen_ai.usage.output_tokens"] == 3 * 16384


async def test_attempts_are_events(emulator, traced, telemetry):
    """Each attempt is an event with its fate, and so is the wait before the next."""
    emulator.fail_next(status=429, retry_after=0)

    await traced.generate("a cat")

    refused, retry, answered = telemetry.calls[0].events
    assert refused.name == answered.name == "seedream.attempt"
    assert refused.attributes["seedream.attempt"] == 1
    assert refused.attributes["seedream.fate"] == "refused"
    assert refused.attributes["error.type"] == "RateLimitError"
    assert refused.attributes["http.response.status_code"] == 429
    assert refused.attributes["seedream.request_id"]
    assert refused.attributes["seedream.elapsed_s"] > 0
    assert retry.name == "seedream.retry"
    assert retry.attributes["seedream.reason"] == "RateLimitError (429)"
    assert retry.attributes["seedream.wait_s"] == 0
    assert answered.attributes["seedream.fate"] == "answered"
    assert "error.type" not in answered.attributes
    assert telemetry.calls[0].attributes["seedream.retries"] == 1


async def test_an_error_is_named(emulator, traced, telemetry):
    """A call that fails has the name of its error, and no text of it."""
    emulator.fail_next(status=400, message="the words of the service")

    with pytest.raises(BadRequestError):
        await traced.generate("a cat")

    (span,) = telemetry.calls
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "BadRequestError"
    assert "the words of the service" not in telemetry.everything()


async def test_a_doubt_is_told(emulator, traced, telemetry):
    """Money that may be lost is on the span, and counted."""
    emulator.cut_next()

    with pytest.raises(OutcomeUnknownError):
        await traced.generate("a cat")

    assert telemetry.calls[0].attributes["seedream.possibly_billed"] is True
    assert telemetry.total("seedream.doubtful_calls") == 1


async def test_a_call_that_is_cancelled(emulator, traced, telemetry):
    """A cancelled call ends its span, and the current span is what it was."""
    emulator.stall_next()
    with telemetry.tracer.start_as_current_span("outer") as outer:
        task = asyncio.create_task(traced.generate("a cat"))
        while not emulator.images_billed:
            await asyncio.sleep(0.001)

        task.cancel()
        await asyncio.wait([task])

        assert trace.get_current_span() is outer
    (span,) = telemetry.calls
    assert parent_of(span) == id_of(outer)
    assert span.attributes["error.type"] == "CancelledError"
    assert span.attributes["seedream.possibly_billed"] is True


async def test_where_a_call_stands(emulator, telemetry):
    """A call is a child of the current span, is the current one within, and gives it back."""
    within = []

    async def middleware(request, handler):
        within.append(trace.get_current_span().get_span_context().span_id)
        return await handler(request)

    emulator.fail_next(status=503, retry_after=0)
    async with (
        aiohttp.ClientSession(middlewares=(middleware,)) as session,
        telemetry.instrument(emulator.client(session=session, retry=QUICK)) as client,
    ):
        with telemetry.tracer.start_as_current_span("outer") as outer:
            await client.generate("a cat")
            after = trace.get_current_span()

    (span,) = telemetry.calls
    assert parent_of(span) == id_of(outer)
    assert within == [id_of(span)] * 2
    assert after is outer


async def test_many_calls_stand_side_by_side(traced, telemetry, tmp_path):
    """Calls of a fan-out are children of the caller's span, never of one another."""
    prompts = [f"cat {number}" for number in range(20)]

    with telemetry.tracer.start_as_current_span("outer") as outer:
        await traced.generate_many(prompts, concurrency=3, save_to=tmp_path)

    assert len(telemetry.calls) == len(telemetry.downloads) == 20
    assert {parent_of(span) for span in telemetry.calls} == {id_of(outer)}
    assert {parent_of(span) for span in telemetry.downloads} == {
        id_of(span) for span in telemetry.calls
    }


@pytest.mark.virtual_time
async def test_a_call_that_is_shared(telemetry, tmp_path):
    """A shared call is a part of what one caller does; each download is its own caller's."""
    parents = []
    async with Emulator(latency=0.1) as emulator, telemetry.instrument(emulator.client()) as client:

        async def ask(name):
            with telemetry.tracer.start_as_current_span(name) as span:
                parents.append(id_of(span))
                await client.generate("a cat", share=True, save_to=tmp_path / f"{name}.jpeg")
                assert trace.get_current_span() is span

        await asyncio.gather(ask("one"), ask("other"))

    (call,) = telemetry.calls
    assert parent_of(call) in parents
    assert sorted(parent_of(span) for span in telemetry.downloads) == sorted(parents)


@pytest.mark.parametrize("kind", ["url", "b64_json"])
async def test_what_is_saved_is_a_child(traced, telemetry, tmp_path, kind):
    """What a call saves is a child of its span, with its size and type."""
    response = await traced.generate("a cat", response_format=kind, save_to=tmp_path / "cat.jpeg")

    (call,), (download,) = telemetry.calls, telemetry.downloads
    assert parent_of(download) == id_of(call)
    assert download.kind is SpanKind.CLIENT
    assert download.attributes["seedream.download.bytes"] == response.files[0].bytes
    assert download.attributes["seedream.download.content_type"] == "image/jpeg"
    assert download.attributes.get("server.address") == {"url": "127.0.0.1"}.get(kind)


async def test_what_a_stream_saves_is_a_child(traced, telemetry, tmp_path):
    """What a stream saves is a child of its span, wherever its events are taken."""

    async def take(events):
        return [event async for event in events]

    async with traced.stream("a cat", **GROUP, save_to=tmp_path) as events:
        await asyncio.create_task(take(events), context=contextvars.Context())

    (call,) = telemetry.calls
    assert {parent_of(span) for span in telemetry.downloads} == {id_of(call)}
    assert len(telemetry.downloads) == 3


async def test_a_download_on_its_own(traced, telemetry, tmp_path):
    """An image that is saved or opened by itself is a child of the current span."""
    image = (await traced.generate("a cat")).data[0]

    with telemetry.tracer.start_as_current_span("outer") as outer:
        await traced.download(image, tmp_path / "cat.jpeg")
        async with traced.open(image) as stream:
            content = await stream.read()

    assert [parent_of(span) for span in telemetry.downloads] == [id_of(outer)] * 2
    assert telemetry.downloads[1].attributes["seedream.download.bytes"] == len(content)
    assert telemetry.total("seedream.downloaded") == 2 * len(content)


async def test_a_download_that_fails(emulator, traced, telemetry, tmp_path):
    """A download that fails names its error and its retries; its call is none the worse."""
    emulator.fail_next(status=503, on="store")
    emulator.fail_next(status=403, on="store")

    with pytest.raises(LinkDeniedError):
        await traced.generate("a cat", save_to=tmp_path)

    (download,), (call,) = telemetry.downloads, telemetry.calls
    assert download.attributes["error.type"] == "LinkDeniedError"
    assert download.status.status_code is StatusCode.ERROR
    assert [event.name for event in download.events] == ["seedream.retry"]
    assert call.status.status_code is StatusCode.UNSET


async def test_the_block_of_a_stream_is_the_callers(traced, telemetry):
    """Within a stream's block the current span is the caller's: it may lend the events to others."""
    with telemetry.tracer.start_as_current_span("outer") as outer:
        async with traced.stream("a cat") as events:
            within = trace.get_current_span()
            async for _ in events:
                pass

    assert within is outer


async def test_a_stream_that_ends_elsewhere(traced, telemetry, caplog):
    """A stream may be opened in one task and left in another; nobody complains."""
    block = traced.stream("a cat")
    events = await asyncio.create_task(block.__aenter__())
    async for _ in events:
        break

    await asyncio.create_task(block.__aexit__(None, None, None))

    assert len(telemetry.calls) == 1
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_call_that_ends_elsewhere(traced, telemetry, caplog):
    """A call that is torn down in another context harms neither the log nor that context."""
    ((recorder, _),) = traced._report._listeners
    started = {"call": 9, "attempt": 1, "model": "m"}

    async def begin():
        recorder._begin_call(call_started(9))

    await asyncio.create_task(begin())
    recorder(AttemptStarted(**started))
    recorder(call_ended(9))

    assert len(telemetry.calls) == 1
    assert contexts.get_current() == {}
    assert caplog.records == []


async def test_what_began_before_is_left_alone(traced, telemetry):
    """A client that is instrumented in the midst of a call records from the next one on."""
    ((recorder, _),) = traced._report._listeners
    result = Attempt(fate="answered", elapsed=1.0)

    recorder(AttemptStarted(call=9, attempt=1, model="m"))
    recorder(AttemptEnded(call=9, attempt=1, model="m", result=result))
    recorder(RetryScheduled(call=9, attempt=1, reason="no", wait=1.0))
    recorder(RetryScheduled(call=None, attempt=1, reason="no", wait=1.0))
    recorder(call_ended(9))
    recorder(DownloadEnded(host="h", elapsed=1.0, download=9))

    assert telemetry.everything() == ""


async def test_a_download_of_an_unknown_call(traced, telemetry, tmp_path):
    """What was made by a call that nobody recorded is a child of the current span."""
    image = (await traced.generate("a cat")).data[0]
    place = await asyncio.to_thread(lambda: tmp_path)

    with telemetry.tracer.start_as_current_span("outer") as outer:
        ((recorder, _),) = traced._report._listeners
        assert recorder._parent_of(99) is None
        await traced.download(image, place / "cat.jpeg")

    assert parent_of(telemetry.downloads[0]) == id_of(outer)


async def test_figures(emulator, traced, telemetry, tmp_path):
    """Durations, tokens, images, bytes, retries and 429s are counted, by model and server."""
    emulator.fail_next(status=429, retry_after=0)
    response = await traced.generate("a cat", save_to=tmp_path)
    emulator.fail_next(status=400)
    with pytest.raises(BadRequestError):
        await traced.generate("a cat")

    durations = telemetry.points("gen_ai.client.operation.duration")
    by_error = {point.attributes.get("error.type"): point for point in durations}
    (tokens,) = telemetry.points("gen_ai.client.token.usage")
    assert by_error.keys() == {None, "BadRequestError"}
    assert all(point.count == 1 and point.sum > 0 for point in durations)
    assert durations[0].explicit_bounds[-1] > 600
    assert (tokens.sum, tokens.attributes["gen_ai.token.type"]) == (16384, "output")
    assert tokens.attributes["gen_ai.response.model"] == MODEL
    assert telemetry.total("seedream.images") == 1
    assert telemetry.total("seedream.downloaded") == response.files[0].bytes
    assert telemetry.total("seedream.retries") == 1
    assert telemetry.total("seedream.rate_limited") == 1
    assert telemetry.points("seedream.doubtful_calls") == []


async def test_prompts_only_on_request(emulator, telemetry):
    """A prompt is recorded only by who asked for it, as the conventions write messages."""
    async with telemetry.instrument(emulator.client()) as client:
        await client.generate(PROMPT)
        silent = telemetry.everything()
    async with telemetry.instrument(emulator.client(), capture_prompts=True) as client:
        await client.generate(PROMPT)

    (message,) = json.loads(telemetry.calls[1].attributes["gen_ai.input.messages"])
    assert PROMPT not in silent
    assert message == {"role": "user", "parts": [{"type": "text", "content": PROMPT}]}


async def test_one_captures_and_another_does_not(emulator):
    """Of two who listen to one client, only the one that asked for prompts records them."""
    curious, discreet = Telemetry(), Telemetry()
    async with emulator.client() as client:
        discreet.instrument(client)
        curious.instrument(client, capture_prompts=True)

        await client.generate(PROMPT)

    assert PROMPT in curious.everything()
    assert PROMPT not in discreet.everything()


@pytest.mark.parametrize("beside", [True, False], ids=["beside aiohttp's", "alone"])
async def test_no_secret_is_recorded(request, telemetry, tmp_path, beside):
    """No key, signature, query or prompt is in any span or figure, whoever makes it."""
    if beside:
        request.getfixturevalue("http")
    async with (
        Emulator(api_key=KEY) as emulator,
        telemetry.instrument(emulator.client(retry=QUICK)) as client,
    ):
        await exercise(client, emulator, tmp_path)

        recorded = telemetry.everything()
        sent = [value for fetched in emulator.fetched for value in fetched.headers]
    assert len(telemetry.calls) == 5
    assert len(telemetry.downloads) == 6
    assert bool(telemetry.named("POST")) is beside
    for secret in (KEY, "Bearer", "X-Tos-", "Signature", "Credential", "?", PROMPT):
        assert secret not in recorded
    assert "traceparent" not in {name.lower() for name in sent}


async def exercise(client, emulator, folder):
    response = await client.generate(PROMPT, save_to=folder)
    await client.download(response.data[0], folder / "again.jpeg")
    async with client.open(response.data[0]) as stream:
        await stream.read()
    async with client.stream(PROMPT, save_to=folder) as events:
        async for _ in events:
            pass
    await client.generate_many([PROMPT], save_to=folder)
    emulator.fail_next(status=403, on="store")
    with pytest.raises(LinkDeniedError):
        await client.generate(PROMPT, save_to=folder)
    emulator.cut_next()
    with pytest.raises(OutcomeUnknownError):
        await client.generate(PROMPT)


async def test_requests_are_children_of_their_call(http, traced, telemetry):
    """What aiohttp's own instrumentation records of a request is a child of the call."""
    await traced.generate("a cat")

    (post,), (call,) = telemetry.named("POST"), telemetry.calls
    assert parent_of(post) == id_of(call)


async def test_the_global_providers_are_the_default(emulator, caplog):
    """Without an SDK, nothing is recorded and nothing fails."""
    async with instrument(emulator.client()) as client:
        response = await client.generate("a cat")

    assert len(response.images) == 1
    assert caplog.records == []


@pytest.mark.parametrize(
    ("base_url", "address", "port"),
    [
        ("https://api.cometapi.com/v1", "api.cometapi.com", 443),
        ("http://relay.test", "relay.test", 80),
        ("http://127.0.0.1:8080/v1", "127.0.0.1", 8080),
        ("https://[::1]:8443/v1", "::1", 8443),
        ("https://[2001:db8::1]/v1", "2001:db8::1", 443),
    ],
)
def test_where_the_service_is(base_url, address, port):
    """The service is told by its host and port, whatever the base URL leaves out."""
    assert _server_of(base_url) == {"server.address": address, "server.port": port}


def call_started(number):
    return CallStarted(call=number, model="m", images=1, waited=0.0)


def call_ended(number):
    return CallEnded(
        call=number,
        model="m",
        images=0,
        elapsed=1.0,
        attempts=(),
        error="CancelledError",
        possibly_billed=False,
    )
