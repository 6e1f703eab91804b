"""What an error answer means: its class, what it says, and whether it may be billed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import (
    APIError,
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ContentPolicyError,
    InsufficientQuotaError,
    InternalServerError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    SeedreamError,
)
from seedream_async._http import Answer, Asked
from seedream_async._meanings import meaning_of
from seedream_async._refusals import concealed, excerpt, refusal, request_id_of
from seedream_async._sse import ServerSentEvent
from seedream_async._wire import parse_event, parse_models

from .answers import NOW, answer, json_values, read, sample


def ark(status, code):
    error = {"code": code, "message": f"{code}. Request id: 0217", "param": "", "type": ""}
    return answer({"error": error}, status)


def comet(status, code):
    error = {"message": "no (request id: 2026x)", "type": "comet_api_error", "code": code}
    return answer({"error": error}, status)


def event_error(payload, **told):
    """The error that an event with *payload* is read as."""
    event = ServerSentEvent("error", json.dumps(payload).encode())
    with pytest.raises(APIError) as excinfo:
        parse_event(event, told.pop("index", 0), Asked(), NOW, **told)
    return excinfo.value


def error_of(answered, **asked):
    """The error that *answered* is read as."""
    with pytest.raises(APIError) as excinfo:
        read(answered, **asked)
    return excinfo.value


@pytest.mark.parametrize(
    ("name", "kind", "retryable"),
    [
        ("wrong-path.301.html", NotFoundError, False),
        ("invalid-request.400.json", BadRequestError, False),
        ("model-missing.400.json", BadRequestError, False),
        ("size-too-small.400.json", BadRequestError, False),
        ("reference-not-found.400.json", BadRequestError, False),
        ("prompt-filtered.400.json", ContentPolicyError, False),
        ("wrong-key.401.json", AuthenticationError, False),
        ("no-balance.403.json", InsufficientQuotaError, False),
        ("firewall.403.html", PermissionDeniedError, False),
        ("model-not-open.404.json", NotFoundError, False),
        ("body-too-large.413.html", BadRequestError, False),
        ("too-fast.429.json", RateLimitError, True),
        ("quota-exceeded.429.json", InsufficientQuotaError, False),
        ("client-error.500.json", BadRequestError, False),
        ("unknown-model.503.json", NotFoundError, False),
        ("error-inside.200.json", ContentPolicyError, False),
        ("all-images-failed.200.json", ContentPolicyError, False),
    ],
)
def test_refusals_of_the_service(name, kind, retryable):
    """A refusal has a class by what it means, says what to do, and was not billed."""
    with pytest.raises(SeedreamError) as excinfo:
        read(sample(name))

    error = excinfo.value
    assert type(error) is kind
    assert error.status_code == int(name.split(".")[1])
    assert error.retryable is retryable
    assert not error.possibly_billed
    assert str(error).endswith(". Nothing was billed")
    assert "secret" not in str(error) + error.body if error.body else True


COMET_ROWS = [
    (400, "invalid_request", BadRequestError),
    (400, "", BadRequestError),
    (401, "", AuthenticationError),
    (402, "", InsufficientQuotaError),
    (403, "insufficient_user_quota", InsufficientQuotaError),
    (403, "pre_consume_token_quota_failed", InsufficientQuotaError),
    (403, "permission_denied", PermissionDeniedError),
    *((status, "", BadRequestError) for status in (405, 413, 414, 415, 418, 422, 431, 451)),
    (425, "", InternalServerError),
    (429, "", RateLimitError),
    (400, "sensitive_words_detected", ContentPolicyError),
    (500, "sensitive_words_detected", ContentPolicyError),
    (500, "invalid_request", BadRequestError),
    (503, "model_not_found", NotFoundError),
    *((status, "", InternalServerError) for status in (521, 523, 525, 526)),
]
ARK_ROWS = [
    *(
        (400, code, BadRequestError)
        for code in (
            "MissingParameter",
            "MissingParameter.prompt",
            "InvalidParameter",
            "InvalidArgumentError.Unknown",
            "InvalidImageURL.EmptyURL",
            "InvalidImageURL.InvalidFormat",
            "InvalidEndpoint.ClosedEndpoint",
            "InvalidSubscription",
        )
    ),
    *(
        (400, code, ContentPolicyError)
        for code in (
            "InputTextSensitiveContentDetected",
            "InputImageSensitiveContentDetected",
            "InputImageSensitiveContentDetected.PrivacyInformation",
            "OutputImageSensitiveContentDetected",
            "SensitiveContentDetected",
            "SensitiveContentDetected.SevereViolation",
            "SensitiveContentDetected.Violence",
            "InputTextRiskDetection",
            "InputImageRiskDetection",
            "OutputImageRiskDetection",
            "ContentSecurityDetectionError",
            "InputTextPolicyViolation",
        )
    ),
    (401, "AuthenticationError", AuthenticationError),
    (401, "InvalidAccountStatus", AuthenticationError),
    (403, "AccessDenied", PermissionDeniedError),
    (403, "AccountOverdueError", InsufficientQuotaError),
    (403, "OperationDenied.ServiceNotOpen", PermissionDeniedError),
    (403, "OperationDenied.ServiceOverdue", InsufficientQuotaError),
    (403, "OperationDenied.InvalidState", PermissionDeniedError),
    *(
        (404, code, NotFoundError)
        for code in (
            "InvalidEndpointOrModel.NotFound",
            "InvalidEndpointOrModel.ModelIDAccessDisabled",
            "ModelNotOpen",
            "UnsupportedModel",
        )
    ),
    *(
        (429, code, RateLimitError)
        for code in (
            "RateLimitExceeded.EndpointRPMExceeded",
            "RateLimitExceeded.EndpointTPMExceeded",
            "ModelAccountRpmRateLimitExceeded",
            "ModelAccountTpmRateLimitExceeded",
            "ModelAccountIpmRateLimitExceeded",
            "APIAccountRpmRateLimitExceeded",
            "AccountRateLimitExceeded",
            "RequestBurstTooFast",
            "ServerOverloaded",
            "ModelLoadingError",
            "InflightBatchsizeExceeded",
        )
    ),
    (429, "QuotaExceeded", InsufficientQuotaError),
    (429, "SetLimitExceeded", InsufficientQuotaError),
]


@pytest.mark.parametrize(
    ("answered", "kind"),
    [
        *(pytest.param(comet(s, c), k, id=f"comet {s} {c}") for s, c, k in COMET_ROWS),
        *(pytest.param(ark(s, c), k, id=f"ark {s} {c}") for s, c, k in ARK_ROWS),
    ],
)
def test_rows_of_the_error_tables(answered, kind):
    """Each documented code has its class, and only what may pass is tried again."""
    with pytest.raises(SeedreamError) as excinfo:
        read(answered)

    assert type(excinfo.value) is kind
    assert excinfo.value.retryable is (kind in (RateLimitError, InternalServerError))
    assert not excinfo.value.possibly_billed


@pytest.mark.parametrize(
    "answered",
    [
        *(
            pytest.param(comet(500, code), id=f"500 {code}")
            for code in (
                "do_request_failed",
                "bad_response_status_code",
                "bad_response_body",
                "empty_response",
            )
        ),
        pytest.param(ark(500, "InternalServiceError"), id="500 InternalServiceError"),
        pytest.param(sample("upstream-trouble.500.json"), id="500 sample"),
        pytest.param(sample("no-channel.503.json"), id="503"),
        pytest.param(sample("gateway.504.html"), id="504"),
        pytest.param(sample("origin-time-out.524.html"), id="524"),
        *(pytest.param(answer(b"", status), id=str(status)) for status in (408, 502, 520, 522)),
        *(pytest.param(comet(status, ""), id=f"{status} told") for status in (408, 409, 424, 499)),
        *(
            pytest.param(answer(body, status), id=f"{status} {body!r}")
            for status in (409, 418, 424, 444, 460, 499)
            for body in (b"", b"<html>", b"{}", b"[]", b'{"error": null}', b'{"detail": "no"}')
        ),
        pytest.param(ark(400, "InternalServiceError"), id="400 InternalServiceError"),
    ],
)
def test_trouble_behind_the_edge_leaves_the_outcome_unknown(answered):
    """Who gives up on a request that was taken does not know whether the image was made."""
    with pytest.raises(OutcomeUnknownError, match="check the account") as excinfo:
        read(answered)

    assert excinfo.value.possibly_billed
    assert excinfo.value.status_code == answered.status
    assert not excinfo.value.retryable


def test_pages_are_told_as_such():
    """What is no error of the API is described by its media type."""
    with pytest.raises(OutcomeUnknownError, match="504: text/html"):
        read(sample("gateway.504.html"))


def test_503_that_says_when_is_a_refusal():
    """A service that says when to come back has not begun."""
    answered = sample("no-channel.503.json", **{"retry-after": "2"})

    with pytest.raises(InternalServerError) as excinfo:
        read(answered)

    assert excinfo.value.retryable
    assert excinfo.value.retry_after == 2.0


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 405, 413, 414, 415, 422, 425, 429, 431]
)
def test_refusals_that_need_no_words(status):
    """These can only be refusals, even if a page or nothing at all comes with them."""
    for body in (b"", b"<html>", b"[]"):
        error = error_of(answer(body, status))

        assert not error.possibly_billed
        assert isinstance(error, APIStatusError)


WITHIN = [
    *((kind, code) for status, code, kind in ARK_ROWS if status != 401 and "." not in code),
    (BadRequestError, "invalid_request"),
    (NotFoundError, "model_not_found"),
    (RateLimitError, "RateLimitExceeded.EndpointRPMExceeded"),
    (PermissionDeniedError, "OperationDenied.ServiceNotOpen"),
    (BadRequestError, 422),
    (RateLimitError, "429"),
    *((OutcomeUnknownError, code) for code in ("", None, 7, 200, 409, 500, 521, "599", "1429")),
    *((OutcomeUnknownError, code) for code in ("InternalServiceError", "InternalServerError.X")),
    *((OutcomeUnknownError, code) for code in ("do_request_failed", "get_channel_failed", "New")),
]


@pytest.mark.parametrize(("kind", "code"), WITHIN, ids=repr)
@pytest.mark.parametrize("where", ["answer", "image", "event"])
def test_the_code_of_an_error_inside_a_success_is_its_meaning(kind, code, where):
    """Without a type the code decides, and what no code tells leaves the outcome unknown."""
    error = {"code": code, "message": "no", "type": "comet_api_error"}
    payload = {"data": [{"error": error}]} if where == "image" else {"error": error}

    if where == "event":
        found = event_error(payload)
    else:
        found = error_of(answer(payload, headers={"retry-after": "1"}))

    assert type(found) is kind
    assert found.retryable is (kind is RateLimitError)
    assert found.possibly_billed is (kind is OutcomeUnknownError)


@pytest.mark.parametrize(
    ("payload", "kind"),
    [
        pytest.param({"code": "X", "type": "Forbidden"}, PermissionDeniedError, id="type"),
        pytest.param({"type": "BadRequest", "code": 500}, OutcomeUnknownError, id="number, worse"),
        pytest.param(
            {"type": "InternalServerError", "code": "RateLimitExceeded"},
            OutcomeUnknownError,
            id="type, worse",
        ),
        pytest.param("plain", OutcomeUnknownError, id="text"),
        pytest.param(["odd"], OutcomeUnknownError, id="list"),
    ],
)
def test_errors_inside_a_success(payload, kind):
    """A 200 that holds an error is that error; where its words differ, the worse counts."""
    assert type(error_of(answer({"error": payload}))) is kind


@pytest.mark.parametrize("status", [200, 400, 429, 503])
@pytest.mark.parametrize("made", [1, 2.0, "1", True], ids=repr)
def test_what_counts_images_is_billed(status, made):
    """An error beside a count of images that were made is no refusal, whatever it says."""
    payload = {
        "error": {"code": "RateLimitExceeded", "message": "no"},
        "usage": {"generated_images": made},
    }

    error = error_of(answer(payload, status, {"retry-after": "1"}))

    assert type(error) is OutcomeUnknownError
    assert error.code == "RateLimitExceeded"


@pytest.mark.parametrize("usage", [None, {}, [], {"generated_images": 0}, {"total_tokens": 9}])
def test_what_counts_no_images_is_free(usage):
    """Usage that says nothing of images makes no doubt."""
    payload = {"error": {"code": "RateLimitExceeded", "message": "no"}, "usage": usage}

    assert type(error_of(answer(payload, 429))) is RateLimitError


FILTERED, BROKEN = (
    {"error": {"code": code, "message": "no"}}
    for code in ("OutputImageSensitiveContentDetected", "InternalServiceError")
)


@pytest.mark.parametrize(
    ("usage", "kind"),
    [
        pytest.param(None, OutcomeUnknownError, id="not counted"),
        pytest.param({}, OutcomeUnknownError, id="empty"),
        pytest.param({"generated_images": 0}, ContentPolicyError, id="none"),
        pytest.param({"generated_images": 1}, OutcomeUnknownError, id="one"),
    ],
)
def test_one_doubtful_image_leaves_the_answer_in_doubt(usage, kind):
    """Unless the answer counts none as made, one image of unknown fate is enough."""
    error = error_of(answer({"data": [FILTERED, BROKEN], "usage": usage}))

    assert type(error) is kind


def test_bare_errors():
    """An error without an envelope is understood."""
    with pytest.raises(BadRequestError, match="bare"):
        read(answer({"code": 7, "message": "bare"}, 400))


def test_error_facts_are_kept():
    """Code, type, param, request id and an excerpt of the body are on the error."""
    with pytest.raises(APIStatusError) as excinfo:
        read(sample("size-too-small.400.json"))

    error = excinfo.value
    assert (error.code, error.type, error.param) == ("InvalidParameter", "BadRequest", "size")
    assert error.request_id == "021757396757000000000000000000"
    assert "Request id" not in str(error)
    assert json.loads(error.body)["error"]["param"] == "size"


def test_request_id_of_the_relay():
    """The relay hides the request id in its message."""
    with pytest.raises(BadRequestError) as excinfo:
        read(sample("invalid-request.400.json"))

    assert excinfo.value.request_id == "20260205132859798638387SIHCnxzJ"


def test_the_catalogue_helps_with_a_refusal():
    """What is known to be wrong with a request is told when the service refuses it."""
    with pytest.raises(BadRequestError, match=r"3686400 pixels\. Take 2048x2048\. Nothing"):
        read(sample("size-too-small.400.json"), remedy=lambda: "Take 2048x2048")


def test_redirect_names_the_host():
    """A redirect is told with where it leads, and is not followed."""
    moved = sample("wrong-path.301.html", location="https://www.example.test/?q=1")

    with pytest.raises(NotFoundError, match=r"redirects to www\.example\.test.*ends in /v1"):
        read(moved)


def test_a_redirect_that_says_it_is_done():
    """303 sends a client to the result of a request that was carried out."""
    error = error_of(answer(b"", 303, {"location": "https://h/done?sig=secret"}))

    assert type(error) is OutcomeUnknownError
    assert error.status_code == 303
    assert str(error).startswith("303: the API redirects to h,")
    assert "secret" not in str(error)


def test_no_secret_is_repeated():
    """Whatever the service echoes: no key, no prompt, no signature."""
    message = 'key sk-secret, "my\nprompt", https://h/k?sig=abc'
    echo = answer({"error": {"code": "invalid_request", "message": message}}, 400)

    with pytest.raises(BadRequestError) as excinfo:
        read(echo, secrets=("sk-secret", '"my\nprompt"', "a"))

    text = str(excinfo.value) + excinfo.value.body
    assert "sk-secret" not in text
    assert "prompt" not in text
    assert "sig=" not in text
    assert "https://h/k?…" in text


def test_secrets_are_found_before_the_text_is_cut():
    """Half a secret at the end of an excerpt would not be recognised any more."""
    body = b"x" * 2040 + b"sk-very-secret-key" + b"y" * 5000

    text = excerpt(body, ["sk-very-secret-key"])

    assert text == "x" * 2040 + "…" + "y" * 7


def test_messages_are_short():
    """A service that tells a novel is cut off, and the excerpt ends at 2 KiB."""
    error = error_of(answer({"error": {"message": "long " * 10_000}}, 400))

    assert len(str(error)) < 500
    assert str(error).endswith("Nothing was billed")
    assert len(error.body) == 2048


secrets = st.text(
    st.characters(categories=["L", "N", "P", "S", "Zs", "Cc"], exclude_characters="…"), min_size=4
)


def spelled_by_go(text):
    """JSON as Go writes it unless told otherwise."""
    spelled = json.dumps(text, ensure_ascii=False)[1:-1]
    for character in "<>&\u2028\u2029":
        spelled = spelled.replace(character, f"\\u{ord(character):04x}")
    return spelled


SPELLINGS = {
    "ASCII": lambda text: json.dumps(text)[1:-1],
    "Unicode": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "Go": spelled_by_go,
    "Go in Go": lambda text: spelled_by_go(spelled_by_go(text)),
    "Python in Go": lambda text: spelled_by_go(json.dumps(text)[1:-1]),
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@given(
    secret=secrets | st.text('<>&\u2028"\\é', min_size=4),
    before=st.text("ab "),
    after=st.text("ab "),
)
def test_no_secret_survives(spell, secret, before, after):
    """As plain text or in any usual JSON, a secret is concealed wherever it stands."""
    spelled = spell(secret)

    text = concealed(f"{before}{secret}{after}{spelled}", [secret])

    assert secret not in text
    assert spelled not in text


def test_no_fact_repeats_a_secret():
    """Code, type and param hold neither a prompt nor a novel, and a request id is short."""
    prompt = "a cat & <a dog>"
    error = dict.fromkeys(("code", "type", "param", "message"), f"{prompt} {'long ' * 500}")
    headers = {"x-request-id": "r" * 9000}

    refused = error_of(answer({"error": error}, 400, headers), secrets=[prompt])
    doubtful = error_of(answer({"error": error}, 500, headers), secrets=[prompt])

    for text in (refused.code, refused.type, refused.param, doubtful.code):
        assert text.startswith("… long")
        assert len(text) == 128
    for found in (refused, doubtful):
        assert prompt not in str(found)
        assert len(str(found)) < 800
        assert found.request_id == "r" * 128


def test_a_strange_media_type_is_cut():
    """Not even the name of what came may be a novel."""
    error = error_of(answer(b"?", 504, {"content-type": "x" * 9000}))

    assert len(str(error)) < 400


def test_short_secrets_are_part_of_every_word():
    """A prompt of three letters is no secret, and hides no message."""
    assert concealed("a cat sat", ["cat"]) == "a cat sat"
    assert concealed("a cats hat", ["cats"]) == "a … hat"


@pytest.mark.parametrize(
    ("headers", "message", "found"),
    [
        pytest.param({"x-request-id": "r1"}, "(request id: r2)", "r1", id="header first"),
        pytest.param({"x-oneapi-request-id": "r1"}, "", "r1", id="header of the relay"),
        pytest.param({}, "no (request id: 2026x)", "2026x", id="relay"),
        pytest.param({}, "no. Request id: 0217abc", "0217abc", id="Ark"),
        pytest.param({}, '{"message":"no. Request id: 0217abc","param":""}', "0217abc", id="JSON"),
        pytest.param({}, "request id: " + "9" * 999, "9" * 128, id="long"),
        pytest.param({}, "no", None, id="none"),
    ],
)
def test_request_ids(headers, message, found):
    """A request id is in a header, or in the message in two spellings."""
    assert request_id_of(Answer(400, headers, b""), message) == found


@pytest.mark.parametrize("status", [301, 303])
def test_redirects_have_request_ids(status):
    """What support will ask for is on an error of any kind."""
    assert error_of(answer(b"", status, {"x-request-id": "r1"})).request_id == "r1"


@pytest.mark.parametrize(
    ("asked", "times"),
    [
        pytest.param({"retry-after": "7"}, 7.0, id="seconds"),
        pytest.param({"retry-after-ms": "1500"}, 1.5, id="milliseconds"),
        pytest.param({"retry-after": "Thu, 01 Jan 2026 00:01:00 GMT"}, 60.0, id="date"),
        pytest.param({"retry-after": "soon"}, None, id="nonsense"),
        pytest.param({}, None, id="absent"),
    ],
)
def test_when_to_come_back_is_on_the_error(asked, times):
    """What the service asks for is kept, in seconds."""
    error = error_of(answer({"error": {"code": "", "message": "slow"}}, 429, asked))

    assert error.retry_after == times
    assert error.retryable


@pytest.mark.parametrize("value", ["false", "False", " FALSE "])
@pytest.mark.parametrize(
    "answered",
    [(429, {}), (425, {}), (503, {"retry-after": "1"}), (521, {})],
    ids=["429", "425", "503", "521"],
)
def test_who_asks_not_to_be_asked_again_is_not(answered, value):
    """`x-should-retry: false` ends a call that would be tried again, and is no doubt."""
    status, headers = answered

    error = error_of(answer({}, status, {**headers, "x-should-retry": value}))

    assert not error.retryable
    assert not error.possibly_billed
    assert error_of(answer({}, status, headers)).retryable


@pytest.mark.parametrize("value", ["true", "", "no", "0"], ids=repr)
def test_only_false_is_false(value):
    """Nothing else in that header makes or breaks a retry."""
    assert error_of(answer({}, 429, {"x-should-retry": value})).retryable
    assert not error_of(answer({}, 400, {"x-should-retry": value})).retryable
    assert not error_of(answer({}, 504, {"x-should-retry": value})).final


def test_an_unknown_outcome_may_be_final():
    """Who opted in to sending again is told when the service asks not to."""
    assert error_of(answer({}, 504, {"x-should-retry": "false"})).final
    assert not error_of(answer({}, 504)).final


FREE = [
    *((status, {}) for status in (408, 425, 429, 500, 502, 503, 504, 520, 524)),
    (503, {"retry-after": "1"}),
]


@pytest.mark.parametrize(("status", "headers"), FREE)
def test_what_is_free_is_simply_repeated(status, headers):
    """Trouble behind the edge leaves no doubt about a request that cannot be billed."""
    with pytest.raises(APIStatusError) as excinfo:
        parse_models(answer({}, status, headers), Asked(free=True), NOW)

    assert excinfo.value.retryable
    assert not excinfo.value.possibly_billed
    assert str(excinfo.value).endswith("Nothing was billed")


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_what_is_free_is_not_repeated_in_vain(status):
    """A refusal stays one, whatever it costs."""
    with pytest.raises(APIStatusError) as excinfo:
        parse_models(answer({}, status), Asked(free=True), NOW)

    assert not excinfo.value.retryable


statuses = st.integers(300, 999)
codes = st.none() | st.text() | st.sampled_from([code for _, code, _ in COMET_ROWS + ARK_ROWS])


@given(status=statuses, code=codes, told_when=st.booleans(), enveloped=st.booleans())
def test_meanings_never_contradict_themselves(status, code, told_when, enveloped):
    """What may be billed is never retryable, and what is free is never in doubt."""
    paid = meaning_of(status, code, told_when=told_when, enveloped=enveloped)
    free = meaning_of(status, code, told_when=told_when, enveloped=enveloped, free=True)

    assert not (paid.retryable and paid.error.possibly_billed)
    assert not free.error.possibly_billed
    assert free.remedy


@given(status=st.integers(500, 999), code=st.none() | st.text())
def test_trouble_that_nobody_named_is_in_doubt(status, code):
    """From 500, nothing is called free unless the status or the code says why."""
    meaning = meaning_of(status, code, told_when=False)

    never_reached = status in (521, 523, 525, 526)
    named = meaning.error is not InternalServerError and code
    assert meaning.error is OutcomeUnknownError or never_reached or named


@given(
    status=st.integers(200, 999),
    payload=json_values
    | st.fixed_dictionaries(
        {"error": st.dictionaries(st.sampled_from(["code", "type", "message"]), json_values)},
        optional={"usage": st.dictionaries(st.just("generated_images"), json_values)},
    ),
    arrived=st.integers(0, 2),
    headers=st.dictionaries(
        st.sampled_from(["retry-after", "x-should-retry", "location", "content-type"]), st.text()
    ),
)
def test_no_payload_makes_a_false_promise(status, payload, arrived, headers):
    """Whatever is answered: "Nothing was billed" is said exactly where nothing may be."""
    body = json.dumps(payload).encode()

    error = refusal(Answer(status, headers, body), payload, Asked(), NOW, arrived=arrived)

    assert ("Nothing was billed" in str(error)) is not error.possibly_billed
    assert ("check the account" in str(error)) is error.possibly_billed
    assert not (error.retryable and error.possibly_billed)
    assert error.status_code == status
