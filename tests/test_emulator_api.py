"""The emulator's API over real sockets, as any HTTP client sees it."""

import base64
import io
import json
import re
from datetime import UTC, datetime

import pytest
from PIL import Image

from seedream_async import _catalog
from seedream_async.emulator import Emulator, _api

NOW = datetime(2026, 7, 9, 13, 28, 17, tzinfo=UTC)
BODY = {"model": "doubao-seedream-5-0-260128", "prompt": "a cat"}
KEY = {"Authorization": "Bearer sk-emulator"}
REQUEST_ID = re.compile(r" \(request id: 20260709132817\d{9}[0-9a-f]{8}\)$")


@pytest.fixture
async def emulator():
    async with Emulator(clock=lambda: NOW) as emulator:
        yield emulator


@pytest.fixture
def post(emulator, session):
    """Ask for images; give the status and the decoded answer."""

    async def post(headers=KEY, data=None, **fields):
        data = json.dumps({**BODY, **fields}) if data is None else data
        url = f"{emulator.base_url}/images/generations"
        async with session.post(url, data=data, headers=headers) as response:
            assert response.content_type == "application/json"
            return response.status, await response.json()

    return post


async def test_answers_in_the_documented_form(emulator, post):
    """An answer names the model, the time, the images and what they cost."""
    status, answer = await post()

    assert status == 200
    assert answer == {
        "model": BODY["model"],
        "created": int(NOW.timestamp()),
        "data": [{"url": answer["data"][0]["url"], "size": "2048x2048", "output_format": "jpeg"}],
        "usage": {"generated_images": 1, "output_tokens": 16384, "total_tokens": 16384},
    }
    assert emulator.images_billed == 1


async def test_links_look_like_the_real_ones(emulator, post):
    """A link leads to another port, and names the model without its date, a job and a number."""
    fields = {"sequential_image_generation": "auto"}

    _, answer = await post(**fields)

    links = [item["url"] for item in answer["data"]]
    found = [
        re.match(r"http://(127.0.0.1:\d+)/doubao-seedream-5-0/(021\w+)_(\d)\.jpeg\?", link)
        for link in links
    ]
    assert {match[1] for match in found}.isdisjoint({emulator.base_url.split("/")[2]})
    assert len({match[2] for match in found}) == 1
    assert [match[3] for match in found] == ["0", "1", "2", "3"]
    assert all("&X-Tos-Expires=86400&" in link for link in links)


@pytest.mark.parametrize(
    ("size", "tokens"),
    [("2496x1664", 16_224), ("1760x2368", 16_280), ("2731x1537", 16_396)],
)
async def test_counts_tokens(post, size, tokens):
    """A token is 256 pixels; a part of one is free."""
    _, answer = await post(size=size)

    assert answer["usage"]["output_tokens"] == tokens


@pytest.mark.parametrize("output_format", ["jpeg", "png"])
async def test_sends_images_as_base64(post, output_format):
    """Asked for base64, the answer holds the images themselves, each another one."""
    _, answer = await post(
        response_format="b64_json",
        output_format=output_format,
        size="2561x1441",
        sequential_image_generation="auto",
        sequential_image_generation_options={"max_images": 2},
    )

    files = [base64.b64decode(item["b64_json"], validate=True) for item in answer["data"]]
    pictures = [Image.open(io.BytesIO(file)) for file in files]
    assert [(picture.format.lower(), picture.size) for picture in pictures] == [
        (output_format, (2561, 1441))
    ] * 2
    assert files[0] != files[1]
    assert not any("url" in item for item in answer["data"])


async def test_names_the_format_only_where_there_is_a_choice(post):
    """A model with one format does not tell it."""
    _, answer = await post(model="doubao-seedream-4-5-251128")

    assert "output_format" not in answer["data"][0]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({}, id="none"),
        pytest.param({"Authorization": "Bearer sk-other"}, id="another"),
        pytest.param({"Authorization": "Bearer sk-emulator2"}, id="longer"),
        pytest.param({"Authorization": "sk-emulator"}, id="no-scheme"),
        pytest.param({"Authorization": "Basic c2stZW11bGF0b3I="}, id="other-scheme"),
        pytest.param({"Authorization": "Bearer sk-émulateur"}, id="not-ascii"),
    ],
)
async def test_checks_the_key(emulator, post, headers):
    """Without the key nothing is made, billed or told, not even what is wrong with the body."""
    status, answer = await post(headers=headers, data=b"not json")

    assert status == 401
    assert answer["error"].pop("message").startswith("invalid token (request id: ")
    assert answer == {"error": {"type": "comet_api_error", "param": "", "code": ""}}
    assert emulator.images_billed == 0


async def test_refuses_in_the_envelope_of_the_service(emulator, post):
    """A refusal holds a code and a message that ends in the id of the request; it is not billed."""
    status, answer = await post(size="1024x1024")

    message = answer["error"]["message"]
    assert status == 400
    assert answer["error"]["code"] == "InvalidParameter"
    assert answer["error"]["type"] == "comet_api_error"
    assert REQUEST_ID.sub("", message) == (
        "The parameter `size` specified in the request is not valid: "
        "image size must be at least 3686400 pixels"
    )
    assert REQUEST_ID.search(message)
    assert emulator.images_billed == 0


async def test_knows_only_listed_models(post):
    """An unknown model is answered with 503, though no retry can help."""
    status, answer = await post(model="dall-e-3")

    assert status == 503
    assert answer["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="half"),
        pytest.param(b"\xff\xfe\xfd", id="bytes"),
        pytest.param(b"[" * 200_000, id="deep"),
        pytest.param(b'{"seed": ' + b"1" * 5000 + b"}", id="endless-number"),
        pytest.param(b"[]", id="list"),
    ],
)
async def test_refuses_what_is_no_json_object(post, data):
    """Nonsense is refused, and breaks nothing."""
    status, answer = await post(data=data)

    assert status == 400
    assert answer["error"]["code"] == "invalid_request"


async def test_lists_its_models(emulator, session):
    """The list of models is that of the catalogue."""
    async with session.get(f"{emulator.base_url}/models", headers=KEY) as response:
        answer = await response.json()

    assert response.status == 200
    assert answer["object"] == "list"
    assert {item["id"] for item in answer["data"]} == {
        name for family in _catalog.FAMILIES for name in family.ids
    }
    assert {item["object"] for item in answer["data"]} == {"model"}


async def test_lists_its_models_for_the_key(emulator, session):
    """The list of models is for holders of the key."""
    async with session.get(f"{emulator.base_url}/models") as response:
        answer = await response.json()

    assert response.status == 401
    assert answer["error"]["message"].startswith("invalid token")


async def test_moves_what_lacks_the_version(emulator, session):
    """Without `/v1` the path leads away, to the web site."""
    url = emulator.base_url.removesuffix("/v1") + "/images/generations"

    async with session.post(url, json=BODY, headers=KEY, allow_redirects=False) as response:
        pass

    assert response.status == 301
    assert response.headers["Location"] == "/"
    assert emulator.request_count == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("POST", "/v1/images/edits"),
        ("GET", "/v1"),
        ("POST", "/openapi.yaml"),
    ],
)
async def test_shows_a_web_page_elsewhere(emulator, session, method, path):
    """Any other path is answered with a web page, not with JSON."""
    url = emulator.base_url.removesuffix("/v1") + path

    async with session.request(method, url, headers=KEY) as response:
        page = await response.text()

    assert response.status == 404
    assert response.content_type == "text/html"
    assert page.startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("/v1/images/generations", "GET", "POST"),
        ("/v1/images/generations", "DELETE", "POST"),
        ("/v1/models", "POST", "GET, HEAD"),
        ("/openapi.json", "PUT", "GET, HEAD"),
    ],
)
async def test_knows_its_methods(emulator, session, path, method, allowed):
    """A known path that is asked in a wrong way tells the right one."""
    url = emulator.base_url.removesuffix("/v1") + path

    async with session.request(method, url, headers=KEY) as response:
        answer = await response.json()

    assert response.status == 405
    assert response.headers["Allow"] == allowed
    assert answer["error"]["message"].startswith("method not allowed")
    assert emulator.request_count == 0


async def test_refuses_a_large_body(monkeypatch, session):
    """A body above the limit is not read, and refused in the envelope of the service."""
    monkeypatch.setattr(_api, "MAX_BODY", 100)

    async with (
        Emulator() as emulator,
        session.post(f"{emulator.base_url}/images/generations", data=b" " * 101) as response,
    ):
        answer = await response.json()

    assert response.status == 413
    assert answer["error"]["message"].startswith("request body too large")


@pytest.fixture
async def ark(session):
    """Ask an emulator that answers as Ark does; give the status and the error."""
    async with Emulator(clock=lambda: NOW, envelope="ark") as emulator:

        async def ark(order=None, headers=KEY, **body):
            if order:
                emulator.fail_next(**order)
            url = f"{emulator.base_url}/images/generations"
            async with session.post(url, json=body, headers=headers) as response:
                assert response.content_type == "application/json"
                return response.status, (await response.json())["error"]

        yield ark


async def test_refuses_as_ark_on_order(ark):
    """The id of the request is at the end of Ark's message, and the type goes with the status."""
    status, error = await ark({"status": 429, "code": "QuotaExceeded", "message": "No more."})

    request_id = error["message"].rpartition(" ")[2]
    assert status == 429
    assert error == {
        "code": "QuotaExceeded",
        "message": f"No more. Request id: {request_id}",
        "param": "",
        "type": "TooManyRequests",
    }
    assert re.fullmatch("0217[0-9a-f]+", request_id)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "BadRequest"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "NotFound"),
        (500, "InternalServerError"),
        (503, "ServiceUnavailable"),
        (524, "Error"),
    ],
)
async def test_ark_names_statuses(ark, status, kind):
    """Every status has a type, Ark's own or that of HTTP."""
    _, error = await ark({"status": status})

    assert error["type"] == kind


@pytest.mark.parametrize(
    ("request_", "status", "code", "message"),
    [
        pytest.param(
            {**BODY, "size": "1024x1024"},
            400,
            "InvalidParameter",
            "The parameter `size` specified in the request is not valid: "
            "image size must be at least 3686400 pixels",
            id="size",
        ),
        pytest.param(
            {**BODY, "headers": {}},
            401,
            "AuthenticationError",
            "The API key format is incorrect",
            id="key",
        ),
        pytest.param(
            {"model": "dall-e-3"},
            404,
            "InvalidEndpointOrModel.NotFound",
            "The model or endpoint dall-e-3 does not exist or you do not have access to it",
            id="model",
        ),
        pytest.param(
            {},
            400,
            "MissingParameter",
            "The request failed because it is missing `model` parameter",
            id="no-model",
        ),
    ],
)
async def test_refuses_as_ark(ark, request_, status, code, message):
    """Ark refuses with codes of its own what the relay refuses before Ark hears of it."""
    answered, error = await ark(**request_)

    assert (answered, error["code"]) == (status, code)
    assert error["message"].startswith(f"{message}. Request id: ")


async def test_relay_may_drop_what_it_does_not_know(session):
    """Fields that CometAPI does not document have no effect, and are seen to have come."""
    body = {
        **BODY,
        "output_format": "png",
        "stream": True,
        "tools": [{"type": "web_search"}],
        "background": "never heard of it",
    }

    async with (
        Emulator(relay_drops=True) as emulator,
        session.post(f"{emulator.base_url}/images/generations", json=body, headers=KEY) as response,
    ):
        answer = await response.json()

    assert [item["output_format"] for item in answer["data"]] == ["png"]
    assert "tools" not in answer
    assert emulator.requests[0].json == body


async def test_relay_drops_nothing_of_nothing(session):
    """A body without fields is refused as ever."""
    async with (
        Emulator(relay_drops=True) as emulator,
        session.post(f"{emulator.base_url}/images/generations", json=[], headers=KEY) as response,
    ):
        pass

    assert response.status == 400


async def test_remembers_requests(emulator, post):
    """A request can be inspected: how it came, and what it asked for."""
    await post(headers={**KEY, "X-Colour": "red"}, watermark=False)
    await post(data=b"not json")

    first, second = emulator.requests
    assert (first.method, first.path) == ("POST", "/v1/images/generations")
    assert first.headers["X-Colour"] == "red"
    assert first.json == {**BODY, "watermark": False}
    assert second.json is None
    assert emulator.request_count == 2
