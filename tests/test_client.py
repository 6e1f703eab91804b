"""The client: the order of its steps, and what its user sees."""

import asyncio
import inspect
import pickle
import traceback

import aiohttp
import attrs
import pytest

import seedream_async
from seedream_async import (
    APIResponseValidationError,
    AsyncSeedream,
    AuthenticationError,
    BadRequestError,
    Failure,
    GenerateRequest,
    ImageFailed,
    ImageSucceeded,
    InternalServerError,
    InvalidRequestError,
    Limits,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitError,
    RetryPolicy,
    StreamCompleted,
    Success,
    Timeout,
    _wire,
)
from seedream_async.emulator import Emulator
from seedream_async.emulator._pictures import render

from .clocks import SocketLoop, run_virtually

URL = "https://api.example.test/v1/images/generations"
PAYLOAD = {"created": 1, "data": [{"url": "https://h/0.jpeg"}]}
QUICK = RetryPolicy(wait_initial=0)


@pytest.mark.parametrize("key", [None, "", " \n\ufeff"], ids=["unset", "empty", "blank"])
def test_a_missing_key_names_the_variable(key, monkeypatch):
    """Without a key there is no client."""
    if key is not None:
        monkeypatch.setenv("COMETAPI_KEY", key)

    with pytest.raises(InvalidRequestError, match="COMETAPI_KEY"):
        AsyncSeedream(api_key=key)


@pytest.mark.parametrize("key", ["sk key", "sk\nkey", "schlüssel"], ids=ascii)
def test_a_key_that_no_header_can_hold(key):
    """An impossible key is refused, and not printed."""
    with pytest.raises(InvalidRequestError, match="characters") as excinfo:
        AsyncSeedream(api_key=key)

    assert key not in str(excinfo.value)


async def test_settings_come_from_the_environment(monkeypatch):
    """Key and base URL are read from the environment, without surrounding blanks."""
    monkeypatch.setenv("COMETAPI_KEY", " sk-test\n")
    monkeypatch.setenv("COMETAPI_BASE_URL", " https://other.test/v1/ ")

    client = AsyncSeedream()

    assert client.base_url == "https://other.test/v1"


async def test_arguments_win(monkeypatch):
    """What is passed counts more than the environment; the default is CometAPI."""
    monkeypatch.setenv("COMETAPI_BASE_URL", "https://other.test/v1")

    assert AsyncSeedream(api_key="k", base_url="https://a.test").base_url == "https://a.test"
    monkeypatch.setenv("COMETAPI_BASE_URL", " ")
    assert AsyncSeedream(api_key="k").base_url == "https://api.cometapi.com/v1"


@pytest.mark.parametrize(
    "url",
    ["api.test/v1", "ftp://h", "https://u:p@h", "https://h/v1?x=1", "https://h/v1#x", "https://"],
)
def test_an_unusable_base_url_is_refused(url):
    """A base URL that cannot work is refused at construction."""
    with pytest.raises(InvalidRequestError, match="base_url"):
        AsyncSeedream(api_key="k", base_url=url)


async def test_checks_before_it_sends(api, mocked_client):
    """A request that cannot be right is never sent."""
    with pytest.raises(InvalidRequestError, match="size"):
        await mocked_client.generate("a cat", size="0x0")
    with pytest.raises(InvalidRequestError, match="prompt"):
        await mocked_client.generate(" ")
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        await mocked_client.generate("a cat", image="missing.png")

    assert not api.requests


async def test_sends_and_parses(api, mocked_client):
    """One call is one POST with the key."""
    api.post(URL, payload=PAYLOAD)

    response = await mocked_client.generate("a cat")

    assert response.data[0].url == "https://h/0.jpeg"
    ((_, [call]),) = api.requests.items()
    assert call.kwargs["headers"]["Authorization"] == "Bearer sk-test-key"
    assert call.kwargs["allow_redirects"] is False


async def test_retries_refusals(api):
    """A refusal is tried again until it is taken."""
    api.post(URL, status=429, headers={"Retry-After": "0"})
    api.post(URL, status=503, headers={"Retry-After": "0"})
    api.post(URL, payload=PAYLOAD)

    async with AsyncSeedream(api_key="k-test", base_url=URL[:-19], retry=QUICK) as client:
        response = await client.generate("a cat")

    assert response.created == 1


async def test_gives_up(api):
    """The last error is let through, with a note."""
    api.post(URL, status=429, repeat=True)
    policy = RetryPolicy(attempts=3, wait_initial=0)

    async with AsyncSeedream(api_key="k-test", base_url=URL[:-19], retry=policy) as client:
        with pytest.raises(RateLimitError) as excinfo:
            await client.generate("a cat")

    assert excinfo.value.__notes__ == ["gave up after attempt 3"]


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param({"status": 500}, id="500"),
        pytest.param({"status": 504, "body": "<html>"}, id="504"),
    ],
)
async def test_never_resends_what_may_be_billed(api, mocked_client, trouble):
    """An unknown outcome is told, not repeated."""
    api.post(URL, **trouble)

    with pytest.raises(OutcomeUnknownError):
        await mocked_client.generate("a cat")

    ((_, calls),) = api.requests.items()
    assert len(calls) == 1


async def test_a_request_can_be_sent_as_a_value(emulator, client):
    """generate takes a request as well as a prompt, and may change it."""
    request = GenerateRequest("a cat", size="2K", output_format="png")

    await client.generate(request, output_format="jpeg")

    assert emulator.requests[-1].json["output_format"] == "jpeg"
    assert emulator.requests[-1].json["size"] == "2K"


async def test_model_of_the_client_is_the_default(emulator):
    """The client's model is sent unless the call names another."""
    async with emulator.client(model="doubao-seedream-4-0-250828") as client:
        await client.generate("a cat")
        await client.generate("a cat", model="doubao-seedream-4-5-251128")

    models = [request.json["model"] for request in emulator.requests]
    assert models == ["doubao-seedream-4-0-250828", "doubao-seedream-4-5-251128"]


async def test_cut_connection_is_not_repeated(emulator, client):
    """The image is billed once, and the caller is told that it may be."""
    emulator.cut_next()

    with pytest.raises(OutcomeUnknownError):
        await client.generate("a cat")

    assert (emulator.request_count, emulator.images_billed) == (1, 1)


@pytest.mark.virtual_time
@pytest.mark.parametrize("limit", [0.05, Timeout(total=0.05)], ids=["number", "value"])
async def test_total_bounds_the_call(emulator, client, limit):
    """A call that takes too long ends, and may have been billed."""
    emulator.stall_next()

    with pytest.raises(OutcomeUnknownError, match=r"total=0\.05 s passed while waiting"):
        await client.generate("a cat", timeout=limit)


@pytest.mark.virtual_time
async def test_timeout_of_the_client(emulator):
    """The client's own limit holds where the call has none."""
    emulator.stall_next()

    async with emulator.client(timeout=0.05) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.generate("a cat")


async def test_no_limit_at_all(emulator):
    """A total of None waits as long as it takes."""
    async with emulator.client(timeout=Timeout(total=None)) as client:
        assert (await client.generate("a cat")).images


async def test_errors_of_the_service(emulator, client):
    """The service's own words arrive, with a remedy and the request id."""
    emulator.fail_next(status=400, code="InvalidParameter", message="at least 3686400 pixels")
    with pytest.raises(BadRequestError, match="at least 3686400 pixels") as excinfo:
        await client.generate("a cat")
    with pytest.raises(NotFoundError, match="no available channel"):
        await client.generate("a cat", model="no-such-model")

    assert excinfo.value.request_id
    assert emulator.images_billed == 0


async def test_base_url_without_v1(emulator):
    """A base URL that leads to the web site says so."""
    async with emulator.client() as client:
        lost = AsyncSeedream(api_key="k-test", base_url=client.base_url[:-3])
    async with lost:
        with pytest.raises(NotFoundError, match="ends in /v1"):
            await lost.generate("a cat")


async def test_fan_out_over_the_real_thing(emulator, client, tmp_path):
    """Images are on disk when their result arrives, named by index."""
    found = {}

    async with client.generate_many(
        ["a cat", GenerateRequest("a dog", size="1024x1024"), "a bird"], save_to=tmp_path / "v1.0"
    ) as results:
        async for result in results:
            match result:
                case Success(index=index, files=files):
                    found[index] = files[0].path.name
                case Failure(index=index, error=error):
                    found[index] = type(error)

    assert found == {0: "000000.jpeg", 1: InvalidRequestError, 2: "000002.jpeg"}
    assert emulator.images_billed == 2


async def test_fan_out_without_saving(client):
    """Without a folder, results are responses only."""
    results = await client.generate_many(["a cat", "a dog"], concurrency=1)

    assert all(result.unwrap().images for result in results)


async def test_slots_are_shared_by_all_calls(emulator):
    """The client's concurrency bounds all its calls together."""
    async with emulator.client(limits=Limits(concurrency=1)) as client:
        results = await client.generate_many(["a cat"] * 5, concurrency=5)

    assert len(results) == 5


async def test_a_closed_client_says_so(client):
    """After aclose, nothing is sent."""
    await client.aclose()
    await client.aclose()

    with pytest.raises(RuntimeError, match="closed"):
        await client.generate("a cat")


async def test_a_lent_session(emulator):
    """A session of the caller's is used, and left open."""
    async with aiohttp.ClientSession() as session:
        async with emulator.client(session=session) as client:
            await client.generate("a cat")

        assert not session.closed


async def test_the_key_is_nowhere(emulator, caplog):
    """No repr, log line, message, traceback or pickle holds the key."""
    key = "sk-very-secret-key"
    texts = []
    async with AsyncSeedream(api_key=key, base_url=emulator.base_url) as client:
        texts.append(repr(client))
        emulator.cut_next()
        for _ in range(2):
            try:
                await client.generate("a cat")
            except (AuthenticationError, OutcomeUnknownError) as error:
                texts += [*traceback.format_exception(error), repr(pickle.dumps(error))]

    assert len(texts) > 6
    assert not any(key in text for text in [*texts, caplog.text])


def test_unknown_names_are_no_attributes():
    """The package has what it lists, and nothing else."""
    with pytest.raises(AttributeError, match="no attribute 'Seedream'"):
        _ = seedream_async.Seedream


OPTIONS = {"save_to", "timeout", "retry", "share"}


@pytest.mark.parametrize("method", ["generate", "stream"])
def test_calls_take_what_a_request_has(method):
    """generate, stream and GenerateRequest have the same fields, in the same order."""
    parameters = list(inspect.signature(getattr(AsyncSeedream, method)).parameters)[1:]

    fields = [attribute.name for attribute in attrs.fields(GenerateRequest)]

    assert [name for name in parameters if name not in OPTIONS] == fields


@pytest.mark.parametrize("method", ["generate", "stream"])
async def test_every_field_is_passed_on(emulator, method):
    """What a call is given is what is sent."""
    given = {
        "model": "doubao-seedream-5-0-260128",
        "size": "2K",
        "image": "https://h/a.png",
        "response_format": "url",
        "watermark": False,
        "seed": 1,
        "guidance_scale": 2.0,
        "sequential_image_generation": "auto",
        "max_images": 2,
        "output_format": "png",
        "optimize_prompt": True,
        "optimize_prompt_options": {"mode": "standard"},
        "tools": [{"type": "web_search"}],
        "background": "opaque",
        "layer_decomposition": False,
        "extra_body": {"new": 1},
        "extra_headers": {"X-Trace": "t"},
    }
    assert {*given, "prompt"} == {attribute.name for attribute in attrs.fields(GenerateRequest)}
    emulator.fail_next(status=400)

    async with emulator.client(validation="off") as client:
        with pytest.raises(BadRequestError):
            if method == "generate":
                await client.generate("a cat", **given)
            async with client.stream("a cat", **given):
                pass

    request = emulator.requests[-1]
    body = request.json
    assert body["sequential_image_generation_options"] == {"max_images": 2}
    assert body["image"] == ["https://h/a.png"]
    assert body["new"] == 1
    assert request.headers["X-Trace"] == "t"
    assert (
        body.items()
        >= {
            name: value
            for name, value in given.items()
            if name not in ("image", "max_images", "extra_body", "extra_headers")
        }.items()
    )
    assert "n" not in body


async def test_validation_refuses_before_anything_is_sent(emulator, client):
    """Strict refuses what the catalogue is sure of, with the remedy."""
    with pytest.raises(InvalidRequestError, match="nearest recommended: 2048x2048"):
        await client.generate("a cat", size="1024x1024")

    assert emulator.request_count == 0


async def test_references_are_held_against_the_model(emulator, client):
    """A shape that only some models refuse is told for those."""
    wide = render(1600, 400, "png", b"wide")
    edit = GenerateRequest("a cat", model="doubao-seededit-3-0-i2i-250628", image=wide)
    emulator.fail_next(status=400)

    with pytest.warns(UserWarning, match="from 1/3 to 3"), pytest.raises(BadRequestError):
        await client.generate(edit)
    response = await client.generate("a cat", image=wide)

    assert response.images


async def test_validation_may_only_warn(emulator):
    """With "warn" the request is sent, and the service's refusal has the remedy."""
    async with emulator.client(validation="warn") as client:
        with pytest.warns(UserWarning, match="nearest recommended: 2048x2048"):
            with pytest.raises(BadRequestError, match="nearest recommended: 2048x2048"):
                await client.generate("a cat", size="1024x1024")

    assert emulator.request_count == 1


async def test_unknown_models_are_never_blocked(emulator, client):
    """A model that the catalogue does not know is left to the service."""
    with pytest.raises(NotFoundError):
        await client.generate("a cat", model="seedream-9", size="1x1")

    assert emulator.request_count == 1


async def test_models_are_listed(client):
    """The account's models come with their ids."""
    assert "doubao-seedream-5-0-260128" in {model.id for model in await client.models()}


async def test_streams_images_as_they_are_finished(emulator, client, tmp_path):
    """Each image is on the disk when its event arrives; the end tells the usage."""
    names = []

    async with client.stream(
        "a cat",
        sequential_image_generation="auto",
        max_images=3,
        save_to=tmp_path / "cat.jpeg",
    ) as events:
        async for event in events:
            match event:
                case ImageSucceeded(index=index, file=file):
                    names.append((index, file.path.name))
                case StreamCompleted(usage=usage):
                    generated = usage.generated_images

    assert names == [(0, "cat-1.jpeg"), (1, "cat-2.jpeg"), (2, "cat-3.jpeg")]
    assert generated == emulator.images_billed == 3
    assert len(events.response.files) == 3


async def test_a_single_image_streams_to_its_own_name(client, tmp_path):
    """Without a group there is no number in the name; a folder names by the link."""
    async with client.stream("a cat", save_to=tmp_path / "cat.jpeg") as events:
        files = [event.file async for event in events if isinstance(event, ImageSucceeded)]
    async with client.stream("a cat", save_to=tmp_path) as events:
        files += [event.file async for event in events if isinstance(event, ImageSucceeded)]

    assert files[0].path.name == "cat.jpeg"
    assert files[1].path.name.startswith("021")


async def test_leaving_a_stream_closes_it(emulator):
    """What is left early holds no slot and no connection."""
    async with emulator.client(limits=Limits(concurrency=1)) as client:
        async with client.stream(
            "a cat", sequential_image_generation="auto", max_images=3
        ) as events:
            async for _ in events:
                break

        assert (await client.generate("a dog")).images


async def test_a_refused_stream_is_tried_again(emulator):
    """Opening a stream obeys the same rules as any paid request."""
    emulator.fail_next(status=429, retry_after=0)

    async with emulator.client(retry=QUICK) as client, client.stream("a cat") as events:
        kinds = [type(event) async for event in events]

    assert kinds == [ImageSucceeded, StreamCompleted]
    assert (emulator.request_count, emulator.images_billed) == (2, 1)


async def test_a_service_that_does_not_stream():
    """A relay that drops the field is told event by event all the same."""
    async with Emulator(relay_drops=True) as emulator, emulator.client() as client:
        async with client.stream("a cat") as events:
            kinds = [type(event) async for event in events]

    assert kinds == [ImageSucceeded, StreamCompleted]


async def test_a_cut_stream_keeps_what_arrived(emulator, client):
    """The images received so far are on the error."""
    emulator.stream_next(cut_after=1)

    with pytest.raises(OutcomeUnknownError) as excinfo:
        async with client.stream(
            "a cat", sequential_image_generation="auto", max_images=3
        ) as events:
            async for _ in events:
                pass

    assert len(excinfo.value.response.images) == 1
    assert emulator.request_count == 1


async def test_one_failed_image_does_not_end_the_stream(emulator, client):
    """The others still come."""
    emulator.fail_image_next(1, code="OutputImageSensitiveContentDetected", message="no")

    async with client.stream("a cat", sequential_image_generation="auto", max_images=3) as events:
        kinds = [type(event) async for event in events]

    assert kinds == [ImageSucceeded, ImageFailed, ImageSucceeded, StreamCompleted]
    assert emulator.images_billed == 2


async def _generate(client, **options):
    await client.generate("a cat", **options)


async def _stream(client, **options):
    async with client.stream("a cat", **options) as events:
        async for _ in events:
            pass


async def _fan_out(client, **options):
    for result in await client.generate_many(["a cat"], **options):
        result.unwrap()


ways = pytest.mark.parametrize(
    "make", [_generate, _stream, _fan_out], ids=["generate", "stream", "generate_many"]
)


@ways
async def test_a_call_may_be_more_patient_than_its_client(emulator, make):
    """The policy of a call goes before that of its client."""
    emulator.fail_next(status=429, retry_after=0)

    async with emulator.client(retry=RetryPolicy(attempts=1)) as client:
        await make(client, retry=QUICK)

    assert emulator.request_count == 2


@ways
async def test_a_call_may_be_less_patient_than_its_client(emulator, make):
    """A single attempt is a policy too."""
    emulator.fail_next(status=429, retry_after=0)

    async with emulator.client(retry=QUICK) as client:
        with pytest.raises(RateLimitError):
            await make(client, retry=RetryPolicy(attempts=1))

    assert emulator.request_count == 1


@ways
async def test_only_one_call_is_sent_again_whatever_it_costs(emulator, make):
    """Who opts in for one call has not opted in for the others."""
    emulator.cut_next(times=2)

    async with emulator.client(retry=QUICK) as client:
        await make(client, retry=RetryPolicy(attempts=3, wait_initial=0, resend_unknown=True))
        emulator.cut_next()
        with pytest.raises(OutcomeUnknownError):
            await make(client)

    assert emulator.request_count == 4


@pytest.mark.virtual_time
@ways
@pytest.mark.parametrize("limit", [0.05, Timeout(total=0.05)], ids=["number", "value"])
async def test_a_call_may_have_less_time_than_its_client(emulator, make, limit):
    """The limits of a call go before those of its client."""
    emulator.stall_next()

    async with emulator.client(timeout=60) as client:
        with pytest.raises(OutcomeUnknownError, match=r"total=0\.05 s passed"):
            await make(client, timeout=limit)


@pytest.mark.virtual_time
@ways
async def test_a_call_may_have_more_time_than_its_client(make):
    """A limit that the client has does not end a call that has its own."""
    async with Emulator(latency=0.1) as emulator, emulator.client(timeout=0.01) as client:
        await make(client, timeout=60)

    assert emulator.images_billed == 1


@ways
@pytest.mark.parametrize("option", ["timeout", "retry"])
async def test_no_option_is_that_of_the_client(emulator, make, option):
    """None leaves a call with what its client has."""
    emulator.fail_next(status=429, retry_after=0)

    async with emulator.client(timeout=60, retry=QUICK) as client:
        await make(client, **{option: None})

    assert emulator.request_count == 2


@pytest.mark.parametrize("limit", [0, True, "soon"], ids=repr)
async def test_a_nonsense_limit_of_a_call(emulator, client, limit):
    """What is no limit is refused before anything is sent."""
    with pytest.raises(InvalidRequestError) as excinfo:
        await client.generate("a cat", timeout=limit)

    assert excinfo.value.field == "total"
    assert emulator.request_count == 0


class Spy:
    """Stands in for the transport: notes what each attempt may take, and refuses it."""

    def __init__(self, client, monkeypatch):
        self.bounds = []
        monkeypatch.setattr(client._api, "open", self.open)

    def open(self, *_, bounds, **__):
        self.bounds.append(bounds)
        raise RateLimitError("slow down", retryable=True)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        pytest.param({}, (600, 300), id="one image"),
        pytest.param(
            {"sequential_image_generation": "auto", "max_images": 4}, (780, 480), id="group of 4"
        ),
        pytest.param({"sequential_image_generation": "auto"}, (1440, 1140), id="group"),
    ],
)
async def test_more_images_have_more_time(client, monkeypatch, fields, seconds):
    """What suits a call depends on how many images it may give."""
    spy = Spy(client, monkeypatch)

    with pytest.raises(RateLimitError):
        await client.generate("a cat", retry=RetryPolicy(attempts=1), **fields)

    assert [(bounds.total, bounds.attempt) for bounds in spy.bounds] == [seconds]


async def test_each_attempt_has_what_the_others_left(client, monkeypatch):
    """The total of a call is that of all its attempts and waits."""
    spy = Spy(client, monkeypatch)

    with pytest.raises(RateLimitError):
        await client.generate("a cat", timeout=60, retry=RetryPolicy(attempts=3, wait_initial=0))

    spent = [bounds.spent for bounds in spy.bounds]
    assert 0 <= spent[0] < spent[1] < spent[2]
    assert all(bounds.whole == 60 - bounds.spent for bounds in spy.bounds)


async def test_an_attempt_that_could_only_be_cut_short_is_not_begun(emulator, client):
    """A retry has 20 s at least, or half of the time: less would be paid for and cut off."""
    emulator.fail_next(status=429, retry_after=12)

    with pytest.raises(RateLimitError):
        await client.generate("a cat", timeout=20)

    assert emulator.request_count == 1


async def test_a_wait_that_outlasts_the_total_is_not_begun(emulator, client):
    """Who has no time left is told at once."""
    emulator.fail_next(status=429, retry_after=30)

    with pytest.raises(RateLimitError) as excinfo:
        await client.generate("a cat", timeout=20)

    assert emulator.request_count == 1
    assert excinfo.value.__notes__ == [
        "gave up after attempt 1: a wait of 30.0 s would leave too little of the total time-out"
    ]


def test_a_turn_that_comes_too_late_is_not_taken():
    """A call whose turn in the line comes when too little time is left sends nothing more."""

    async def run():
        async with (
            Emulator() as emulator,
            emulator.client(limits=Limits(requests_per_minute=6)) as client,
        ):
            emulator.fail_next(status=429, retry_after=1)
            first = asyncio.create_task(client.generate("a cat", timeout=60))
            await asyncio.sleep(0.5)
            await asyncio.gather(first, *map(client.generate, "bcde"), return_exceptions=True)
            return type(first.exception()), emulator.request_count

    assert run_virtually(run(), SocketLoop) == (RateLimitError, 5)


async def test_a_stream_that_is_left_is_an_unknown_outcome(client):
    """The figures tell that what was still to come may be billed."""
    async with client.stream("a cat", max_images=4, sequential_image_generation="auto") as events:
        await anext(events)

    assert (client.stats().images, client.stats().unknown_outcomes) == (1, 1)


def test_who_waits_when_it_becomes_pointless_is_not_sent(tmp_path):
    """What waits for its turn when the disk is found to be full is not paid for."""

    def path(_):
        return tmp_path / ("x" * 300)

    async def run():
        async with (
            Emulator() as emulator,
            emulator.client(limits=Limits(requests_per_minute=6)) as client,
        ):
            results = await client.generate_many(["a cat"] * 40, save_to=path)
            return [str(result.error) for result in results], emulator.images_billed

    errors, billed = run_virtually(run(), SocketLoop)

    assert sum("not sent" in error for error in errors) == 40 - billed
    assert billed <= 3


async def test_who_waits_for_a_slot_when_it_becomes_pointless_is_not_sent(emulator):
    """A wrong key is shown as often as the slots of the client allow, not as the fan-out is wide."""
    async with AsyncSeedream(
        api_key="sk-wrong-key", base_url=emulator.base_url, limits=Limits(concurrency=2)
    ) as client:
        results = await client.generate_many(["a cat"] * 40, concurrency=40)

    assert emulator.request_count <= 4
    assert len(results) == 40


async def test_calls_share_their_retries(emulator):
    """When too little succeeds, a client stops trying again; a success lets it."""
    emulator.fail_next(status=429, retry_after=0, times=3)

    async with emulator.client(
        retry=RetryPolicy(attempts=2, wait_initial=0), limits=Limits(retry_budget=1)
    ) as client:
        results = await client.generate_many(["a cat"] * 2, concurrency=1)
        await client.generate("a cat")
        emulator.fail_next(status=429, retry_after=0)
        await client.generate("a cat")

    [[patient], [hurried]] = [result.error.__notes__ for result in results]
    assert patient == "gave up after attempt 2"
    assert hurried.startswith("gave up after attempt 1: the retries that Limits allows are used up")
    assert emulator.request_count == 6


async def test_who_asks_not_to_be_asked_again_is_not(emulator, client):
    """`x-should-retry: false` ends a call that would be tried again."""
    emulator.fail_next(status=429, retry_after=0, headers={"x-should-retry": "false"})

    with pytest.raises(RateLimitError):
        await client.generate("a cat")

    assert emulator.request_count == 1


@pytest.mark.parametrize("make", [_generate, _stream], ids=["generate", "stream"])
async def test_an_answer_that_nobody_can_have_meant(make, monkeypatch):
    """An answer longer than any honest one is left, and may have been billed."""
    monkeypatch.setattr(_wire, "MOST_OF_ANSWER", 100)

    async with Emulator(relay_drops=True) as emulator, emulator.client() as client:
        with pytest.raises(APIResponseValidationError, match="more than 100 bytes") as excinfo:
            await make(client)

    assert excinfo.value.possibly_billed
    assert (emulator.request_count, emulator.images_billed) == (1, 1)


MODELS = "https://api.example.test/v1/models"


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 524])
async def test_what_is_free_is_tried_again(api, status):
    """Trouble of any kind costs nothing where nothing can be billed."""
    api.get(MODELS, status=status)
    api.get(MODELS, payload={"data": [{"id": "m"}]})

    async with AsyncSeedream(api_key="k-test", base_url=MODELS[:-7], retry=QUICK) as client:
        models = await client.models()

    assert [model.id for model in models] == ["m"]


async def test_what_is_free_has_one_total_too(api):
    """The limit of a call bounds all its attempts, and a wait beyond it is not begun."""
    api.get(MODELS, status=503, headers={"Retry-After": "60"})

    async with AsyncSeedream(api_key="k-test", base_url=MODELS[:-7], timeout=30) as client:
        with pytest.raises(InternalServerError) as excinfo:
            await client.models()

    assert "too little of the total" in excinfo.value.__notes__[0]


@pytest.mark.parametrize("status", [408, 500, 503, 504])
async def test_what_is_free_is_never_in_doubt(api, status):
    """The error of a request that costs nothing says so."""
    api.get(MODELS, status=status, repeat=True)
    policy = RetryPolicy(attempts=2, wait_initial=0)

    async with AsyncSeedream(api_key="k-test", base_url=MODELS[:-7], retry=policy) as client:
        with pytest.raises(InternalServerError, match="Nothing was billed") as excinfo:
            await client.models()

    ((_, calls),) = api.requests.items()
    assert len(calls) == 2
    assert not excinfo.value.possibly_billed


@pytest.mark.parametrize("limits", [{"concurrency": 0}, {"retry_budget": -1}], ids=str)
def test_nonsense_limits_are_refused(limits):
    """A client that may do nothing is a mistake, and the message names the limit."""
    with pytest.raises(ValueError, match=next(iter(limits))):
        Limits(**limits)
