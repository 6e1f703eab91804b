"""Values: frozen, valid from birth, discreet."""

import pickle
from pathlib import Path
from typing import get_type_hints

import pytest

import seedream_async
from seedream_async import (
    Failure,
    GenerateRequest,
    Image,
    ImageError,
    ImagesResponse,
    InvalidRequestError,
    Success,
)

LINK = "https://h/k.jpeg?X-Tos-Date=20260101T000000Z&X-Tos-Expires=60&X-Tos-Signature=secret"


@pytest.mark.parametrize(
    "prompt", ["", " \n", None, 7, "\ud83d"], ids=["empty", "blank", "none", "number", "surrogate"]
)
def test_prompt_is_required(prompt):
    """A request without a prompt is never born."""
    with pytest.raises(InvalidRequestError, match="prompt") as excinfo:
        GenerateRequest(prompt)

    assert excinfo.value.field == "prompt"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param(None, None, id="none"),
        pytest.param("a.png", ("a.png",), id="text"),
        pytest.param(b"bytes", (b"bytes",), id="bytes"),
        pytest.param(Path("a.png"), (Path("a.png"),), id="path"),
        pytest.param(Image(url="u"), (Image(url="u"),), id="image"),
        pytest.param(["a", b"b"], ("a", b"b"), id="several"),
    ],
)
def test_references_become_a_tuple(given, kept):
    """One reference is as good as a list of them."""
    assert GenerateRequest("a cat", image=given).image == kept


@pytest.mark.parametrize("image", [7, [None], [["a"]]], ids=["number", "none", "nested"])
def test_other_things_are_no_references(image):
    """What cannot be a reference is refused by type."""
    with pytest.raises(InvalidRequestError, match="image must be"):
        GenerateRequest("a cat", image=image)


@pytest.mark.parametrize(
    ("size", "sent"),
    [
        ("2048 × 1024", "2048x1024"),
        ("2048X1024", "2048x1024"),
        ("2048*1024", "2048x1024"),
        (" 2K", "2K"),
    ],
)
def test_size_is_spelled_as_the_api_does(size, sent):
    """All signs for times are understood."""
    assert GenerateRequest("a cat", size=size).size == sent


def test_request_of_a_prompt_or_a_request():
    """A request can be changed on the way; nothing changes nothing."""
    request = GenerateRequest("a cat", size="2K", seed=1)

    assert GenerateRequest.of("a cat", size="2K", seed=1, model=None) == request
    assert GenerateRequest.of(request) is request
    assert GenerateRequest.of(request, size="4K") == GenerateRequest("a cat", size="4K", seed=1)


def test_reprs_are_discreet():
    """No prompt, signature, base64 or reference is printed."""
    image = Image(url=LINK, b64_json="c2VjcmV0")
    request = GenerateRequest("a secret cat", image=[b"secret", image])

    text = repr((image, request, Failure(0, request, ValueError("x"))))

    assert "secret" not in text
    assert "c2VjcmV0" not in text
    assert "<8 characters>" in text
    assert "<2 references>" in text
    assert "https://h/k.jpeg?…" in text
    assert repr(Image()).startswith("Image(url=None, b64_json=None")


def test_image_knows_when_it_expires():
    """The link tells; base64 does not expire."""
    assert str(Image(url=LINK).expires_at) == "2026-01-01 00:01:00+00:00"
    assert Image(b64_json="YQ==").expires_at is None


def test_response_splits_images_and_failures():
    """Items that failed are apart from those that did not."""
    good, bad = Image(url=LINK), Image(error=ImageError(code="OutputRisk"))
    response = ImagesResponse(data=(good, bad))

    assert response.images == (good,)
    assert response.failures == (bad,)


def test_results_unwrap():
    """A success is its response, a failure raises its error."""
    response = ImagesResponse()
    success = Success(0, GenerateRequest("a cat"), response)
    failure = Failure(1, "a dog", InvalidRequestError("no"))

    assert success.unwrap() is response
    assert success.files == ()
    with pytest.raises(InvalidRequestError):
        failure.unwrap()


@pytest.mark.parametrize(
    "value",
    [GenerateRequest("a cat", size="2K"), ImagesResponse(data=(Image(url=LINK),))],
    ids=["request", "response"],
)
def test_values_pickle(value):
    """Values cross processes."""
    assert pickle.loads(pickle.dumps(value)) == value  # noqa: S301


@pytest.mark.parametrize(
    "name", ["GenerateRequest", "Image", "ImagesResponse", "Success", "Failure", "Usage"]
)
def test_type_hints_resolve(name):
    """Annotations are real types, also after the classes moved into the package."""
    assert get_type_hints(getattr(seedream_async, name))


def test_errors_have_the_facts_of_their_kind():
    """A misspelt fact is a bug, found at once."""
    with pytest.raises(TypeError, match="no attribute 'feild'"):
        InvalidRequestError("no", feild="size")


def nested(depth):
    """Lists in lists."""
    inner = []
    for _ in range(depth):
        inner = [inner]
    return {"x": inner}


@pytest.mark.parametrize(
    ("extra", "problem"),
    [
        pytest.param({"n": 2}, "use max_images", id="n"),
        pytest.param({"stream": True}, r"use client\.stream", id="stream"),
        pytest.param({"x": object()}, "not JSON", id="object"),
        pytest.param({"x": float("nan")}, "not JSON", id="not a number"),
        pytest.param({"x": "\ud800 secret"}, "not JSON", id="half a character"),
        pytest.param(nested(100_000), "not JSON", id="too deep"),
    ],
)
def test_extra_fields_that_would_not_do(extra, problem):
    """What would be paid for twice, or cannot be sent, is refused."""
    with pytest.raises(InvalidRequestError, match=problem) as excinfo:
        GenerateRequest("a cat", extra_body=extra)

    assert excinfo.value.field == "extra_body"
    assert "secret" not in repr((excinfo.value, excinfo.value.__cause__, excinfo.value.__context__))


def test_a_request_is_its_own():
    """What becomes of the mappings that it was made of is no concern of a request."""
    extra, headers = {"style": {"name": "oil"}}, {"X-Tenant": "a"}
    request = GenerateRequest("a cat", extra_body=extra, extra_headers=headers)

    extra["style"]["name"] = "ink"
    headers["X-Tenant"] = "b"

    assert request.extra_body == {"style": {"name": "oil"}}
    assert request.extra_headers == {"X-Tenant": "a"}


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        pytest.param({"Authorization": "Bearer x"}, "set by the client", id="key"),
        pytest.param({"Host": "h"}, "set by the client", id="host"),
        pytest.param({"X\n": "y"}, "is no header", id="name"),
        pytest.param({"X": "a\r\nb"}, "is no header", id="value"),
        pytest.param({"X": 7}, "is no header", id="number"),
        pytest.param({7: "y"}, "is no header", id="number as name"),
        pytest.param(["X: y"], "must be a mapping, not list", id="list"),
        pytest.param("", "must be a mapping, not str", id="text"),
    ],
)
def test_extra_headers_that_would_not_do(headers, problem):
    """No header replaces ours, and none breaks the request."""
    with pytest.raises(InvalidRequestError, match=problem) as excinfo:
        GenerateRequest("a cat", extra_headers=headers)

    assert excinfo.value.field == "extra_headers"


def test_extra_headers_are_kept():
    """A header that does no harm is as good as any."""
    assert GenerateRequest("a cat", extra_headers={"X-Trace": "t"}).extra_headers == {
        "X-Trace": "t"
    }


def test_layers_need_no_prompt():
    """Only for layers may the prompt be empty."""
    assert GenerateRequest("", layer_decomposition=True).prompt == ""
