"""The API's wire format: what is sent, and what an answer means."""

import contextlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import (
    APIError,
    APIResponseValidationError,
    AuthenticationError,
    GenerateRequest,
    Image,
    ImageError,
    ImageFailed,
    ImageSucceeded,
    InsufficientQuotaError,
    InvalidRequestError,
    ModelInfo,
    OutcomeUnknownError,
    RateLimitError,
    SeedreamError,
    StreamCompleted,
    UnknownEvent,
    Usage,
)
from seedream_async._http import Answer, Asked
from seedream_async._sse import Parser, ServerSentEvent
from seedream_async._wire import build, most_bytes, parse_event, parse_models

from .answers import NOW, SAMPLES, answer, json_values, read, sample


def sent(request, **options):
    return json.loads(b"".join(build(request, model="default", **options)))


def test_sends_every_field_under_its_own_name():
    """All fields are sent, max_images inside its options, and extra ones beside them."""
    request = GenerateRequest(
        "a cat",
        model="m",
        size="2K",
        response_format="url",
        watermark=False,
        seed=0,
        guidance_scale=2.5,
        sequential_image_generation="auto",
        max_images=3,
        output_format="png",
        optimize_prompt=True,
        optimize_prompt_options={"mode": "fast"},
        tools=[{"type": "web_search"}],
        background="opaque",
        layer_decomposition=False,
        extra_body={"new": [1]},
        extra_headers={"X-Trace": "t"},
    )

    assert sent(request, references=[b'"https://h/r.png"', b'"data:,"'], stream=True) == {
        "model": "m",
        "prompt": "a cat",
        "size": "2K",
        "image": ["https://h/r.png", "data:,"],
        "response_format": "url",
        "watermark": False,
        "seed": 0,
        "guidance_scale": 2.5,
        "sequential_image_generation": "auto",
        "sequential_image_generation_options": {"max_images": 3},
        "output_format": "png",
        "optimize_prompt": True,
        "optimize_prompt_options": {"mode": "fast"},
        "tools": [{"type": "web_search"}],
        "background": "opaque",
        "layer_decomposition": False,
        "stream": True,
        "new": [1],
    }


def test_unset_fields_are_not_sent():
    """The API's own defaults hold, and `n` is never sent."""
    assert sent(GenerateRequest("a cat")) == {"model": "default", "prompt": "a cat"}


def test_an_empty_prompt_is_not_sent():
    """Layers need no prompt."""
    assert sent(GenerateRequest("", layer_decomposition=True)) == {
        "model": "default",
        "layer_decomposition": True,
    }


@pytest.mark.parametrize("name", ["model", "size", "output_format"])
def test_half_a_character(name):
    """What has no bytes is refused, in an error that does not hold the prompt."""
    request = GenerateRequest("a secret", **{name: "\ud800"})

    with pytest.raises(InvalidRequestError, match="half a character") as excinfo:
        build(request, model="m")

    assert "secret" not in repr((excinfo.value, excinfo.value.__cause__, excinfo.value.__context__))


def test_extra_fields_win():
    """What the caller adds to the body replaces what would be there."""
    request = GenerateRequest("a cat", size="2K", extra_body={"size": "9K", "image": "https://h"})

    assert sent(request, references=[b'"https://other"']) == {
        "model": "default",
        "prompt": "a cat",
        "size": "9K",
        "image": "https://h",
    }


def test_reads_what_the_page_documents():
    """Created, data, usage and model arrive under their names."""
    response = read(sample("one-image.200.json", **{"x-request-id": "r1"}))

    assert response.created == 1757396757
    assert response.images[0].url.endswith("SignedHeaders=host")
    assert response.images[0].size == "2048x2048"
    assert response.images[0].expires_at == datetime(2025, 12, 31, 13, 28, 17, tzinfo=UTC)
    assert response.usage == Usage(generated_images=1, output_tokens=16384, total_tokens=16384)
    assert response.model == "doubao-seedream-5-0-260128"
    assert response.request_id == "r1"
    assert response.raw["created"] == 1757396757


def test_sizes_are_spelled_in_one_way():
    """The sign for times that documents print is understood in answers too."""
    assert read(sample("one-image-base64.200.json")).images[0].size == "2048x2048"


def test_failed_images_are_apart():
    """One failed image does not hide the others."""
    response = read(sample("group-with-a-failed-image.200.json"))

    assert [image.url for image in response.images] == ["https://h/0.jpeg", "https://h/2.jpeg"]
    assert [image.error.code for image in response.failures] == [
        "OutputImageSensitiveContentDetected"
    ]
    assert response.usage.generated_images == 2


def test_layers_tell_where_they_belong():
    """A layer has its place in the picture."""
    base, layer = read(sample("layers.200.json")).images

    assert base.z_index == 0
    assert (layer.z_index, layer.name, layer.description) == (1, "cat", "a cat")
    assert layer.bounding_box["absolute"] == [10, 20, 522, 276]


def test_tools_are_counted():
    """How often a tool was used is in the usage."""
    response = read(sample("web-search.200.json"))

    assert response.usage.tool_usage == {"web_search": 1}
    assert response.extra == {"tools": [{"type": "web_search"}]}


def test_is_lenient_where_it_can_be():
    """Other spellings, missing usage and new fields do no harm."""
    response = read(sample("created-at-and-no-usage.200.json"))

    assert response.created == 1757396757
    assert response.usage is None
    assert response.images[0].extra == {"mood": "calm"}
    assert response.extra["trace"] == "t1"


def test_errors_of_images_come_in_many_shapes():
    """Numbers for codes, and plain text, are understood."""
    response = read(
        answer(
            {
                "data": [
                    {"b64_json": "YQ==", "url": None},
                    {"error": {"code": 500, "message": "internal"}},
                    {"error": "filtered"},
                ],
                "files": ["not ours"],
            }
        )
    )

    assert response.data[1].error == ImageError(code="500", message="internal")
    assert response.data[2].error == ImageError(message="filtered")
    assert response.files == ()


def test_images_beside_an_error_are_kept():
    """A top-level error does not cost the images that were made."""
    response = read(answer({"data": [{"url": "https://h/0"}], "error": {"code": "X"}}))

    assert response.images[0].url == "https://h/0"
    assert response.extra["error"] == {"code": "X"}


@pytest.mark.parametrize(
    ("answered", "problem"),
    [
        pytest.param(sample("empty.200.json"), "an empty body", id="empty"),
        pytest.param(sample("web-page.200.html"), "text/html instead of", id="HTML"),
        pytest.param(sample("null.200.json"), "instead of a JSON object", id="null"),
        pytest.param(sample("empty-data.200.json"), "no image in it", id="no images"),
        pytest.param(answer(b"[]"), "instead of a JSON object", id="list"),
        pytest.param(answer(b'{"data": ['), "instead of a JSON object", id="cut"),
        pytest.param(answer(b"\xff\xfe"), "instead of a JSON object", id="bad UTF-8"),
        pytest.param(answer(b"[" * 100_000), "instead of a JSON object", id="deep"),
        pytest.param(
            answer(b'{"created": ' + b"9" * 10_000 + b"}"), "JSON object", id="huge number"
        ),
        pytest.param(answer({}), "no image in it", id="no data"),
        pytest.param(answer({"data": [{"size": "2K"}]}), "no image in it", id="hollow"),
        pytest.param(answer({"data": [7]}), r"\$\.data\[0\]", id="item of another type"),
        pytest.param(answer({"data": 7}), r"\$\.data", id="data of another type"),
        pytest.param(answer({"created": "soon"}), r"\$\.created", id="no number"),
    ],
)
def test_success_without_an_image_is_an_error(answered, problem):
    """A 200 that holds no image says so, and that it may have been billed."""
    with pytest.raises(APIResponseValidationError, match=problem) as excinfo:
        read(answered)

    assert excinfo.value.possibly_billed
    assert excinfo.value.status_code == 200


def test_what_can_be_kept_is_kept():
    """An answer that is not understood as a whole still gives its images."""
    with pytest.raises(APIResponseValidationError, match=r"\$\.data\[0\]\.url") as excinfo:
        read(answer({"data": [{"url": {}}, {"url": "https://h/1"}], "usage": {}}))

    assert [image.url for image in excinfo.value.response.images] == ["https://h/1"]
    assert excinfo.value.response.raw["data"][0] == {"url": {}}


LINK = "https://h/0.jpeg?X-Tos-Date=1&X-Tos-Signature=ab%2Fc"


def test_a_bad_byte_costs_no_image():
    """What is no UTF-8 in one place does not spoil the link in another."""
    body = b'\xef\xbb\xbf{"model": "\xff", "data": [{"url": "%b"}]}' % LINK.encode()

    response = read(answer(body))

    assert [image.url for image in response.images] == [LINK]


@pytest.mark.parametrize("nothing", ["", {}, [], 0, False], ids=repr)
def test_an_error_that_says_nothing_is_none(nothing):
    """An empty error beside an image does not cost it, and without one it is no failure."""
    beside = read(answer({"data": [{"url": LINK, "error": nothing}]}))

    assert [image.url for image in beside.images] == [LINK]
    with pytest.raises(APIResponseValidationError, match="no image in it"):
        read(answer({"data": [{"error": nothing}]}))


def test_an_image_that_has_an_error_too_is_kept():
    """Who says both that an image failed and where it lies has billed it."""
    with pytest.raises(APIResponseValidationError, match="an error in the place") as excinfo:
        read(answer({"data": [{"url": LINK, "error": {"code": "X"}}]}))

    assert excinfo.value.response.data[0].url == LINK


def test_a_hollow_image_beside_a_failed_one_is_in_doubt():
    """An image that neither came nor failed may be billed."""
    with pytest.raises(APIResponseValidationError, match="no image in it"):
        read(answer({"data": [{"size": "2K"}, {"error": {"code": "InvalidParameter"}}]}))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param('{"data": [{"url": "LINK"}, {"url": "https://h/1', id="cut"),
        pytest.param('{"created": ' + "9" * 9_999 + ', "data": [{"url":"LINK"}]}', id="huge"),
        pytest.param('[{"url" : "LINK"}]', id="list"),
        pytest.param('data: {"url":"LINK"}\n\ndata: {"url":"LINK"}\n\n', id="events, twice"),
        pytest.param(
            '{"url":"https:\\/\\/h\\/0.jpeg?X-Tos-Date=1\\u0026X-Tos-Signature=ab%2Fc"', id="Go"
        ),
        pytest.param('{"url": "https:\\x"}, {"url": "LINK"', id="beside a broken one"),
    ],
)
def test_links_are_salvaged(body):
    """A link that stands whole in an answer that does not is kept, byte for byte."""
    answered = answer(body.replace("LINK", LINK).encode(), headers={"x-request-id": "r1"})

    with pytest.raises(APIResponseValidationError, match="instead of a JSON object") as excinfo:
        read(answered)

    response = excinfo.value.response
    assert [image.url for image in response.images] == [LINK]
    assert response.request_id == "r1"
    assert "ab%2Fc" not in str(excinfo.value) + excinfo.value.body


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(f' <script>{{"url": "{LINK}"}}</script>', id="page"),
        pytest.param('{"url": "https://h/0.jpe', id="half a link"),
        pytest.param('{"url": "http', id="half a scheme"),
        pytest.param('{"url": "/0.jpeg"', id="no link"),
    ],
)
def test_what_is_no_whole_link_of_an_answer_is_not_salvaged(body):
    """A page has links of its own, and half a link is none."""
    with pytest.raises(APIResponseValidationError) as excinfo:
        read(answer(body.encode()))

    assert excinfo.value.response is None


@pytest.mark.parametrize(
    ("payload", "headers"),
    [
        pytest.param({"data": 7}, {"x-request-id": "r1"}, id="header"),
        pytest.param({"data": 7, "note": "Request id: r1"}, {}, id="body"),
        pytest.param({"data": [], "message": "none (request id: r1)"}, {}, id="no images"),
    ],
)
def test_what_is_not_documented_has_its_request_id(payload, headers):
    """Support asks for it, so wherever it stands it is on the error."""
    with pytest.raises(APIResponseValidationError) as excinfo:
        read(answer(payload, headers=headers))

    assert excinfo.value.request_id == "r1"


def test_problems_are_told_in_short():
    """An answer in which everything is wrong is not told of in full, nor is a prompt."""
    headers = {"content-type": "a cat in a coat"}

    with pytest.raises(APIResponseValidationError) as many:
        read(answer({"data": [7] * 10_000}))
    with pytest.raises(APIResponseValidationError) as quoting:
        read(answer(b"7", headers=headers), secrets=["a cat in a coat"])

    assert len(str(many.value)) < 600
    assert "cat" not in str(quoting.value)


MEBIBYTE = 1024 * 1024


@pytest.mark.parametrize(
    ("fields", "images", "size"),
    [
        pytest.param({}, 1, 8, id="one link"),
        pytest.param({"response_format": "url"}, 15, 8, id="links"),
        pytest.param({"response_format": "b64_json"}, 1, 8 + 96, id="one image"),
        pytest.param({"response_format": "b64_json"}, 15, 8 + 15 * 96, id="images"),
        pytest.param(
            {"extra_body": {"response_format": "b64_json"}}, 2, 8 + 2 * 96, id="on own account"
        ),
        pytest.param({"extra_body": {"response_format": "url"}}, 2, 8, id="links on own account"),
    ],
)
def test_an_honest_answer_has_a_size(fields, images, size):
    """Links are short, and an image has no more base64 than its pixels need."""
    assert most_bytes(GenerateRequest("a cat", **fields), images) == size * MEBIBYTE


def test_models_are_listed():
    """The list of models has their ids and whatever else is told."""
    listed = answer({"object": "list", "data": [{"id": "m", "owned_by": "b", "tier": 1}]})

    assert parse_models(listed, Asked(), NOW) == (
        ModelInfo(id="m", owned_by="b", extra={"tier": 1}),
    )


@pytest.mark.parametrize(
    ("answered", "kind"),
    [
        (sample("wrong-key.401.json"), AuthenticationError),
        (answer({"data": [{}]}), APIResponseValidationError),
        (answer(b"<html>"), APIResponseValidationError),
    ],
    ids=["wrong key", "no id", "page"],
)
def test_no_list_of_models(answered, kind):
    """What is no list of models is an error, and cost nothing."""
    with pytest.raises(kind) as excinfo:
        parse_models(answered, Asked(), NOW)

    assert not excinfo.value.possibly_billed


def events_of(name):
    parser = Parser()
    for index, event in enumerate(parser.feed((SAMPLES / name).read_bytes())):
        if event.data != b"[DONE]":
            yield parse_event(event, index, Asked(), NOW)


def test_events_of_a_stream():
    """Each event is told by its type, with the index that the service gave it."""
    events = list(events_of("one-failed.200.sse"))

    assert events == [
        ImageSucceeded(index=0, image=Image(url="https://h/0.jpeg", size="2048x2048")),
        ImageFailed(
            index=1,
            error=ImageError(
                code="OutputImageSensitiveContentDetected",
                message="The request failed because the output image may contain sensitive "
                "information.",
            ),
        ),
        ImageSucceeded(index=3, image=Image(b64_json="/9j/2Q==", size="2048x2048")),
        StreamCompleted(
            usage=Usage(generated_images=2, output_tokens=32768, total_tokens=32768),
            model="doubao-seedream-4-0-250828",
            created=1757396758,
            extra={"tools": [{"type": "web_search"}]},
        ),
    ]


OVERDUE = {"error": {"code": "AccountOverdueError", "message": "The account is overdue"}}


def error_of_event(payload, index=0, **told):
    """The error that an `error` event with *payload* is read as."""
    event = ServerSentEvent("error", json.dumps(payload).encode())
    with pytest.raises(APIError) as excinfo:
        parse_event(event, index, Asked(), NOW, **told)
    return excinfo.value


def test_odd_events_are_passed_on():
    """What is not understood is handed over as it came, and ends nothing."""
    unknown, text, malformed, good = events_of("oddities.200.sse")

    assert isinstance(unknown, UnknownEvent)
    assert unknown.type == "image_generation.partial_image"
    assert text == UnknownEvent(type="message", data="not JSON")
    assert malformed.data == {"type": "image_generation.partial_succeeded", "url": {}}
    assert good == ImageSucceeded(index=3, image=Image(url="https://h/1.jpeg"))


def test_an_error_before_any_image_is_a_refusal():
    """An error that opens a stream has its class by its meaning, and cost nothing."""
    error = error_of_event(OVERDUE)

    assert type(error) is InsufficientQuotaError
    assert str(error).endswith("Nothing was billed")


def test_an_error_after_images_leaves_the_rest_in_doubt():
    """What had arrived is billed, whatever the error says, and of the rest nobody knows."""
    events = events_of("error-midway.200.sse")

    assert next(events).index == 0
    with pytest.raises(OutcomeUnknownError, match=r"is overdue\. Before that, 1 image") as excinfo:
        next(events)

    error = excinfo.value
    assert error.possibly_billed
    assert not error.retryable
    assert error.code == "AccountOverdueError"
    assert error.request_id == "021757396757000000000000000000"
    assert "Nothing was billed" not in str(error)


@pytest.mark.parametrize(
    ("code", "kind"),
    [("RateLimitExceeded", RateLimitError), ("InternalServiceError", OutcomeUnknownError)],
)
def test_only_images_that_arrived_are_billed(code, kind):
    """After images that all failed an error means what it says; after a good one, a doubt."""
    payload = {"error": {"code": code, "message": "no"}}

    failed = error_of_event(payload, index=2, arrived=0)
    arrived = error_of_event(payload, index=2, arrived=1)

    assert type(failed) is kind
    assert failed.retryable is (kind is RateLimitError)
    assert "Before that" not in str(failed)
    assert type(arrived) is OutcomeUnknownError
    assert "1 image had arrived" in str(arrived)


def test_error_events_count_images():
    """Usage beside an error tells of images that never came."""
    error = error_of_event({**OVERDUE, "usage": {"generated_images": 2}})

    assert type(error) is OutcomeUnknownError


@pytest.mark.parametrize("index", [0, 1])
def test_error_events_have_the_facts_of_their_stream(index):
    """The request id of a stream is in its headers."""
    headers = {"x-request-id": "r1", "x-should-retry": "false"}

    error = error_of_event(OVERDUE, index=index, headers=headers)

    assert error.request_id == "r1"
    assert not error.retryable


def test_error_events_that_are_no_json():
    """An event that is called an error is one, in whatever words."""
    with pytest.raises(OutcomeUnknownError, match="upstream sank"):
        parse_event(ServerSentEvent("error", b"upstream sank"), 0, Asked(), NOW)


shapes = st.fixed_dictionaries(
    {},
    optional={
        "created": json_values,
        "data": json_values
        | st.lists(st.dictionaries(st.sampled_from(["url", "error", "size"]), json_values)),
        "usage": json_values,
        "error": json_values
        | st.dictionaries(st.sampled_from(["code", "message", "type"]), json_values),
    },
)


@given(
    status=st.integers(200, 599),
    body=st.binary() | (json_values | shapes).map(lambda value: json.dumps(value).encode()),
)
def test_no_answer_raises_anything_else(status, body):
    """Whatever comes back, it is a response or one of our errors."""
    try:
        response = read(Answer(status, {}, body))
    except SeedreamError:
        return

    assert response.images


VALUES = {
    "size": st.sampled_from(["2K", "2048x2048", "adaptive"]),
    "response_format": st.sampled_from(["url", "b64_json"]),
    "watermark": st.booleans(),
    "seed": st.integers(-1, 2147483647),
    "guidance_scale": st.floats(1, 10),
    "sequential_image_generation": st.sampled_from(["auto", "disabled"]),
    "output_format": st.sampled_from(["png", "jpeg"]),
    "optimize_prompt": st.booleans(),
    "optimize_prompt_options": st.just({"mode": "fast", "thinking": "auto"}),
    "tools": st.just([{"type": "web_search"}]),
    "background": st.sampled_from(["auto", "transparent", "opaque"]),
    "layer_decomposition": st.booleans(),
}


@given(
    prompt=st.text(min_size=1).filter(str.strip),
    fields=st.fixed_dictionaries({}, optional={"model": st.text(min_size=1), **VALUES}),
    max_images=st.none() | st.integers(1, 15),
    links=st.lists(st.text()),
)
def test_any_valid_request_survives(prompt, fields, max_images, links):
    """What is set is in the body as it was set, and nothing else is."""
    request = GenerateRequest(prompt, max_images=max_images, **fields)

    body = sent(request, references=[json.dumps(link).encode() for link in links])

    assert body.pop("image", []) == links
    assert body.pop("sequential_image_generation_options", None) == (
        None if max_images is None else {"max_images": max_images}
    )
    assert body == {"model": "default", "prompt": prompt, **fields}


@given(
    name=st.text(), data=st.binary() | (json_values | shapes).map(lambda v: json.dumps(v).encode())
)
def test_no_event_raises_anything_else(name, data):
    """Whatever an event holds, it is an event or one of our errors."""
    with contextlib.suppress(SeedreamError):
        parse_models(Answer(200, {}, data), Asked(), NOW)
    try:
        event = parse_event(ServerSentEvent(name, data), 0, Asked(), NOW)
    except SeedreamError:
        return

    assert event is not None
