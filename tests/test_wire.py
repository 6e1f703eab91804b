"""The API's wire format: what is sent, and what an answer means."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import (
    APIResponseValidationError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ContentPolicyError,
    GenerateRequest,
    ImageError,
    InsufficientQuotaError,
    InternalServerError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    SeedreamError,
)
from seedream_async._wire import Answer, build, parse

JSON = {"content-type": "application/json"}


def answer(payload, status=200, headers=JSON):
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return Answer(status, headers, body)


def error_body(code="", message="no (request id: 20260205132859798638387SIHCnxzJ)", **fields):
    return {"error": {"message": message, "type": "comet_api_error", "code": code, **fields}}


def test_sends_every_field_under_its_own_name():
    """All fields of the page are sent, max_images inside its options."""
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
    )

    body = json.loads(build(request, model="default", references=["https://h/r.png"]))

    assert body == {
        "model": "m",
        "prompt": "a cat",
        "size": "2K",
        "image": ["https://h/r.png"],
        "response_format": "url",
        "watermark": False,
        "seed": 0,
        "guidance_scale": 2.5,
        "sequential_image_generation": "auto",
        "sequential_image_generation_options": {"max_images": 3},
        "output_format": "png",
    }


def test_unset_fields_are_not_sent():
    """The API's own defaults hold."""
    assert json.loads(build(GenerateRequest("a cat"), model="m")) == {
        "model": "m",
        "prompt": "a cat",
    }


def test_reads_what_the_page_documents():
    """Created, data, usage and model arrive under their names."""
    response = parse(
        answer(
            {
                "created": 1757396757,
                "model": "m",
                "data": [{"url": "https://h/0.jpeg", "size": "2048x2048"}],
                "usage": {"generated_images": 1, "output_tokens": 16384, "total_tokens": 16384},
            },
            headers={"x-request-id": "r1"},
        )
    )

    assert response.created == 1757396757
    assert response.data[0].url == "https://h/0.jpeg"
    assert response.data[0].size == "2048x2048"
    assert response.usage.generated_images == 1
    assert response.model == "m"
    assert response.request_id == "r1"


def test_is_lenient_where_it_can_be():
    """Missing usage, other spellings, nulls and new fields do no harm."""
    response = parse(
        answer(
            {
                "created_at": 7,
                "data": [
                    {"b64_json": "YQ==", "url": None, "mood": "calm"},
                    {"error": {"code": 500, "message": "internal"}},
                    {"error": "filtered"},
                ],
                "usage": None,
                "tools": [{"type": "web_search"}],
                "files": ["not ours"],
            }
        )
    )

    assert response.created == 7
    assert response.usage is None
    assert response.data[0].extra == {"mood": "calm"}
    assert response.data[1].error == ImageError(code="500", message="internal")
    assert response.data[2].error == ImageError(message="filtered")
    assert response.files == ()
    assert response.extra["tools"] == [{"type": "web_search"}]


@pytest.mark.parametrize(
    ("status", "payload", "kind", "retryable"),
    [
        pytest.param(400, error_body("invalid_request"), BadRequestError, False, id="400"),
        pytest.param(401, error_body(), AuthenticationError, False, id="401"),
        pytest.param(402, error_body(), InsufficientQuotaError, False, id="402"),
        pytest.param(403, error_body(), PermissionDeniedError, False, id="403"),
        pytest.param(403, error_body("insufficient_user_quota"), InsufficientQuotaError, False, id="403 quota"),
        pytest.param(403, b"<html>", PermissionDeniedError, False, id="403 firewall"),
        pytest.param(404, error_body("ModelNotOpen"), NotFoundError, False, id="404"),
        pytest.param(413, b"", BadRequestError, False, id="413"),
        pytest.param(425, b"", InternalServerError, True, id="425"),
        pytest.param(429, error_body("RequestBurstTooFast"), RateLimitError, True, id="429 rate"),
        pytest.param(429, error_body("QuotaExceeded"), InsufficientQuotaError, False, id="429 quota"),
        pytest.param(500, error_body("invalid_request"), BadRequestError, False, id="500 client"),
        pytest.param(503, error_body("model_not_found"), NotFoundError, False, id="503 model"),
        pytest.param(521, b"<html>", InternalServerError, True, id="521"),
        pytest.param(400, error_body("InputTextSensitiveContentDetected"), ContentPolicyError, False, id="moderation"),
        pytest.param(400, error_body("OutputImageRiskDetection.x"), ContentPolicyError, False, id="risk"),
        pytest.param(401, {"error": {"code": "AuthenticationError.Format"}}, AuthenticationError, False, id="dotted"),
        pytest.param(200, {"error": {"code": "X", "type": "Forbidden"}}, PermissionDeniedError, False, id="200 with error"),
        pytest.param(400, {"error": "plain"}, BadRequestError, False, id="plain text error"),
        pytest.param(400, {"code": 7, "message": "bare"}, BadRequestError, False, id="bare fields"),
        pytest.param(301, b"<html>", NotFoundError, False, id="redirect"),
    ],
)  # fmt: skip
def test_refusals_by_meaning(status, payload, kind, retryable):
    """A refusal has a class by what it means; it was not billed."""
    with pytest.raises(kind) as excinfo:
        parse(answer(payload, status))

    assert type(excinfo.value) is kind
    assert excinfo.value.status_code == status
    assert excinfo.value.retryable is retryable
    assert not excinfo.value.possibly_billed


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520, 524])
def test_gateways_leave_the_outcome_unknown(status):
    """A gateway that gives up does not know whether the image was made."""
    with pytest.raises(OutcomeUnknownError) as excinfo:
        parse(answer(b"<html>", status, {"content-type": "text/html; charset=utf-8"}))

    assert excinfo.value.possibly_billed
    assert excinfo.value.status_code == status
    assert not excinfo.value.retryable
    assert f"{status}: text/html" in str(excinfo.value)


def test_503_that_says_when_is_a_refusal():
    """A service that says when to come back has not begun."""
    with pytest.raises(InternalServerError) as excinfo:
        parse(answer(error_body(), 503), retry_after=2.0)

    assert excinfo.value.retryable
    assert excinfo.value.retry_after == 2.0


def test_error_facts_are_kept():
    """Code, type, param, request id and an excerpt of the body are on the error."""
    with pytest.raises(APIStatusError) as excinfo:
        parse(answer(error_body("invalid_request", param="size"), 400))

    error = excinfo.value
    assert (error.code, error.type, error.param) == ("invalid_request", "comet_api_error", "size")
    assert error.request_id == "20260205132859798638387SIHCnxzJ"
    assert "request id" not in str(error)
    assert json.loads(error.body)["error"]["param"] == "size"


def test_redirect_names_the_host():
    """A redirect is told with where it leads, and is not followed."""
    with pytest.raises(NotFoundError, match=r"redirects to www\.example\.test.*ends in /v1"):
        parse(answer(b"", 301, {"location": "https://www.example.test/?q=1"}))


def test_no_secret_is_repeated():
    """Whatever the service echoes: no key, no prompt, no signature."""
    echo = error_body("invalid_request", 'key sk-secret, "my\nprompt", https://h/k?sig=abc')

    with pytest.raises(BadRequestError) as excinfo:
        parse(answer(echo, 400), secrets=("sk-secret", '"my\nprompt"', "a"))

    text = str(excinfo.value) + excinfo.value.body
    assert "sk-secret" not in text
    assert "prompt" not in text
    assert "sig=" not in text
    assert "https://h/k?…" in text


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        pytest.param(b"", "an empty body", id="empty"),
        pytest.param(b"<html>", "application/json instead of", id="HTML"),
        pytest.param(b"null", "instead of a JSON object", id="null"),
        pytest.param(b"[]", "instead of a JSON object", id="list"),
        pytest.param(b'{"data": [', "instead of a JSON object", id="cut"),
        pytest.param(b"\xff\xfe", "instead of a JSON object", id="bad UTF-8"),
        pytest.param(b"[" * 100_000, "instead of a JSON object", id="deep"),
        pytest.param(b'{"created": ' + b"9" * 10_000 + b"}", "JSON object", id="huge number"),
        pytest.param(b"{}", "no image in it", id="no data"),
        pytest.param(b'{"data": []}', "no image in it", id="no images"),
        pytest.param(b'{"data": [{"size": "2K"}]}', "no image in it", id="hollow"),
        pytest.param(b'{"data": [7]}', r"\$\.data\[0\]", id="item of another type"),
        pytest.param(b'{"data": [{"url": {}}]}', r"\$\.data\[0\]\.url", id="field of another type"),
        pytest.param(b'{"created": "soon"}', r"\$\.created", id="no number"),
    ],
)
def test_success_without_an_image_is_an_error(body, problem):
    """A 200 that holds no image says so, and that it may have been billed."""
    with pytest.raises(APIResponseValidationError, match=problem) as excinfo:
        parse(answer(body))

    assert excinfo.value.possibly_billed
    assert excinfo.value.status_code == 200


def test_all_images_failed():
    """If no image was made, the first one's error is raised by its meaning."""
    failed = {"error": {"code": "OutputImageSensitiveContentDetected", "message": "no"}}

    with pytest.raises(ContentPolicyError):
        parse(answer({"data": [failed, failed]}))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
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
        response = parse(Answer(status, {}, body))
    except SeedreamError:
        return

    assert response.images


prompts = st.text(min_size=1).filter(str.strip)


@given(
    prompt=prompts,
    size=st.sampled_from([None, "2K", "2048x2048"]),
    seed=st.none() | st.integers(-1, 2147483647),
    max_images=st.none() | st.integers(1, 15),
    watermark=st.none() | st.booleans(),
)
def test_any_valid_request_becomes_json(prompt, size, seed, max_images, watermark):
    """What is set is in the body, what is not is absent."""
    request = GenerateRequest(
        prompt, size=size, seed=seed, max_images=max_images, watermark=watermark
    )

    body = json.loads(build(request, model="m"))

    assert body["prompt"] == prompt
    assert ("size" in body, body.get("size")) == (size is not None, size)
    assert ("seed" in body, body.get("seed")) == (seed is not None, seed)
    assert ("watermark" in body, body.get("watermark")) == (watermark is not None, watermark)
