"""What the emulator makes of a request: groups, layers, failures on order, and what they cost."""

import base64
import io
from datetime import UTC, datetime

import pytest
import yarl
from PIL import Image, ImageChops

from seedream_async.emulator import Emulator

NOW = datetime(2026, 7, 9, 13, 28, 17, tzinfo=UTC)
LITE, PRO, V5_5 = "doubao-seedream-5-0-260128", "seedream-5-0-pro-260628", "seedream-5-5-261028"
LINK = "https://example.test/cat.png"
FOUR = {"sequential_image_generation": "auto"}
LAYERS = {"model": PRO, "layer_decomposition": True, "image": [LINK], "size": "1K"}
FILTERED = {
    "code": "OutputImageSensitiveContentDetected",
    "message": "The request failed because the output image may contain sensitive information.",
}


@pytest.fixture
async def emulator():
    async with Emulator(clock=lambda: NOW) as emulator:
        yield emulator


@pytest.fixture
def post(emulator, session):
    """Ask for images; give the decoded answer."""

    async def post(status=200, **fields):
        async with session.post(
            f"{emulator.base_url}/images/generations",
            json={"model": LITE, "prompt": "a cat", **fields},
            headers={"Authorization": f"Bearer {emulator.api_key}"},
        ) as response:
            assert response.status == status
            return await response.json()

    return post


def kinds(answer):
    return ["error" if "error" in item else "image" for item in answer["data"]]


def picture(content):
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


@pytest.mark.parametrize("count", [1, 3])
async def test_makes_fewer(emulator, post, count):
    """A group may have fewer images than were asked for; only those are billed."""
    emulator.make_fewer_next(count)

    answer = await post(**FOUR)

    assert kinds(answer) == ["image"] * count
    assert answer["usage"]["generated_images"] == count
    assert answer["usage"]["output_tokens"] == 16_384 * count
    assert emulator.images_billed == count


async def test_makes_no_more_than_asked_for(emulator, post):
    """Fewer is never more."""
    emulator.make_fewer_next(9)

    answer = await post()

    assert kinds(answer) == ["image"]


async def test_filter_stops_one_image(emulator, post):
    """An image that is filtered has an error in its place; the others go on, and are billed."""
    emulator.fail_image_next(1)

    answer = await post(**FOUR)

    assert kinds(answer) == ["image", "error", "image", "image"]
    assert answer["data"][1] == {"error": FILTERED}
    assert "error" not in answer
    assert answer["usage"]["generated_images"] == 3
    assert answer["usage"]["output_tokens"] == answer["usage"]["total_tokens"] == 3 * 16_384
    assert emulator.images_billed == 3


@pytest.mark.parametrize("code", ["InternalServiceError", "InternalServiceError.Sub"])
async def test_breakdown_stops_the_rest(emulator, post, code):
    """After an image that breaks down, the remaining ones are not tried."""
    emulator.fail_image_next(1, code=code, message="The service is unavailable.")

    answer = await post(**FOUR)

    assert kinds(answer) == ["image", "error"]
    assert answer["data"][1]["error"] == {"code": code, "message": "The service is unavailable."}
    assert emulator.images_billed == 1


async def test_orders_add_up(emulator, post):
    """All that is ordered happens to the same request, and to no other."""
    emulator.make_fewer_next(3)
    emulator.fail_image_next(0)
    emulator.fail_image_next(2, code="OutputImageRiskDetection")
    emulator.fail_image_next(3)

    answers = [await post(**FOUR), await post(**FOUR)]

    assert kinds(answers[0]) == ["error", "image", "error"]
    assert kinds(answers[1]) == ["image"] * 4
    assert emulator.images_billed == 5


async def test_orders_wait_for_a_request_that_is_carried_out(emulator, post):
    """A request that is refused uses up no order."""
    emulator.make_fewer_next(2)

    await post(status=400, size="1024x1024")
    answer = await post(**FOUR)

    assert kinds(answer) == ["image"] * 2


async def test_fails_in_an_answer_of_success(emulator, post):
    """If no image is left, the error is that of the answer, which is still one of success."""
    emulator.fail_image_next(0)

    answer = await post()

    assert answer == {
        "model": LITE,
        "created": int(NOW.timestamp()),
        "data": [],
        "error": FILTERED,
        "usage": {"generated_images": 0, "output_tokens": 0, "total_tokens": 0},
    }
    assert emulator.images_billed == 0


async def test_fails_all_in_an_answer_of_success(emulator, post):
    """All images of a group can fail at once."""
    emulator.fail_all_next(code="OutputImageRiskDetection", message="no")

    answer = await post(**FOUR)

    assert answer["data"] == []
    assert answer["error"] == {"code": "OutputImageRiskDetection", "message": "no"}
    assert emulator.images_billed == 0


@pytest.mark.parametrize("fields", [{}, {"stream": True}], ids=["whole", "stream"])
async def test_fails_all_in_a_refusal(emulator, post, fields):
    """The failure of all images may be a refusal instead, of a stream too."""
    emulator.fail_all_next(status=400)

    answer = await post(status=400, **FOUR, **fields)

    assert answer["error"]["code"] == FILTERED["code"]
    assert answer["error"]["message"].startswith(f"{FILTERED['message']} (request id: ")
    assert emulator.images_billed == 0


async def test_makes_nothing(emulator, post):
    """Success may be empty, without a reason."""
    emulator.empty_next()

    answer = await post(**FOUR)

    assert answer["data"] == []
    assert "error" not in answer
    assert answer["usage"]["generated_images"] == 0
    assert emulator.images_billed == 0


async def test_searches(post):
    """Given a tool, the answer tells that it was used, and how often."""
    answer = await post(tools=[{"type": "web_search"}])

    assert answer["tools"] == [{"type": "web_search"}]
    assert answer["usage"]["tool_usage"] == {"web_search": 1}


async def test_takes_an_image_apart(emulator, post):
    """The base comes first; each layer has a name, a place and a number. All are billed."""
    answer = await post(**LAYERS)

    base, *layers = answer["data"]
    assert set(base) == {"url", "size", "output_format", "z_index"}
    assert (base["z_index"], base["size"], base["output_format"]) == (0, "1024x1024", "jpeg")
    assert [layer["z_index"] for layer in layers] == [1, 2]
    assert [layer["name"] for layer in layers] == ["sky", "hills"]
    assert {layer["output_format"] for layer in layers} == {"png"}
    assert layers[0]["bounding_box"] == {
        "absolute": [0, 0, 1024, 634],
        "normalized": [0, 0, 1000, 620],
    }
    assert answer["usage"] == {
        "input_images": 1,
        "generated_images": 3,
        "output_tokens": 12_288,
        "total_tokens": 12_288,
    }
    assert emulator.images_billed == 3


async def test_layers_are_of_the_base(post):
    """A layer shows a part of the base, where it says it does."""
    answer = await post(**LAYERS, output_format="png", response_format="b64_json")

    base, *layers = (picture(base64.b64decode(item["b64_json"])) for item in answer["data"])
    for layer, item in zip(layers, answer["data"][1:], strict=True):
        box = tuple(item["bounding_box"]["absolute"])
        assert layer.size == base.size
        assert layer.getchannel("A").getbbox() == box
        parts = layer.crop(box).convert("RGB"), base.crop(box)
        assert ImageChops.difference(*parts).getbbox() is None


async def test_links_lead_to_layers(post, session):
    """The link of a layer leads to a PNG, whatever the format of the base."""
    answer = await post(**LAYERS)

    async with session.get(yarl.URL(answer["data"][2]["url"], encoded=True)) as response:
        layer = picture(await response.read())

    assert response.content_type == "image/png"
    assert (layer.format, layer.mode) == ("PNG", "RGBA")


async def test_one_layer_fails_all(emulator, post):
    """If one layer fails, nothing is made or billed."""
    emulator.fail_image_next(1)

    answer = await post(**LAYERS)

    assert answer["data"] == []
    assert answer["error"] == FILTERED
    assert emulator.images_billed == 0


async def test_background_can_be_transparent(post):
    """A transparent background is one, and models that tell so say it."""
    answer = await post(model=V5_5, background="transparent", response_format="b64_json")

    (item,) = answer["data"]
    image = picture(base64.b64decode(item["b64_json"]))
    assert (item["background"], item["output_format"]) == ("transparent", "png")
    assert image.getchannel("A").getextrema() == (0, 255)


async def test_counts_references(post):
    """Models that charge for references tell their number."""
    answer = await post(model=PRO, image=[LINK] * 2)

    assert answer["usage"]["input_images"] == 2
