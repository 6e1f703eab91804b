"""What is refused before it is sent."""

import pytest

from seedream_async import GenerateRequest, InvalidRequestError
from seedream_async._validate import check


@pytest.mark.parametrize(
    ("fields", "field", "remedy"),
    [
        pytest.param({"size": "abc"}, "size", "like '2K' or '2048x2048'", id="size, words"),
        pytest.param({"size": "0x0"}, "size", "like '2K'", id="size, zero"),
        pytest.param({"size": "2048x0"}, "size", "like '2K'", id="size, zero height"),
        pytest.param({"size": ""}, "size", "like '2K'", id="size, empty"),
        pytest.param({"response_format": "raw"}, "response_format", "url, b64_json", id="format"),
        pytest.param({"output_format": "webp"}, "output_format", "png, jpeg", id="output"),
        pytest.param(
            {"sequential_image_generation": "on"},
            "sequential_image_generation",
            "auto, disabled",
            id="group",
        ),
        pytest.param({"seed": -2}, "seed", "from -1 to 2147483647", id="seed"),
        pytest.param({"guidance_scale": 0.5}, "guidance_scale", "from 1 to 10", id="guidance"),
        pytest.param({"max_images": 0}, "max_images", "from 1 to 15", id="no images"),
        pytest.param({"max_images": 16}, "max_images", "from 1 to 15", id="too many images"),
        pytest.param({"image": ["u"] * 15}, "image", "at most 14", id="references"),
        pytest.param(
            {"image": ["u"] * 10, "max_images": 6}, "max_images", "lower max_images", id="together"
        ),
    ],
)
def test_refuses(fields, field, remedy):
    """The message names the field and the remedy."""
    with pytest.raises(InvalidRequestError, match=remedy) as excinfo:
        check(GenerateRequest("a cat", **fields))

    assert excinfo.value.field == field
    assert field in str(excinfo.value)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"size": "2K"},
        {"size": "1.5k"},
        {"size": "adaptive"},
        {"size": "2048x2048"},
        {"image": ["u"] * 14},
        {"image": ["u"] * 5, "max_images": 10},
        {"seed": -1, "guidance_scale": 10, "response_format": "url", "output_format": "png"},
    ],
    ids=str,
)
def test_lets_through(fields):
    """What may be right is sent."""
    check(GenerateRequest("a cat", **fields))
