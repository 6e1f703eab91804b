"""The emulator, asked by the `openai` package as it is: what passes here passes as the API."""

import base64
import io

import openai
import pytest
from PIL import Image

from seedream_async import _catalog

MODEL = "doubao-seedream-5-0-260128"
GROUP = {"sequential_image_generation": "auto"}


@pytest.fixture
def no_blocking_calls():
    """
    The guard is off in this module: blocking is the other package's own affair.

    openai reads certificates, /etc/os-release and the like on the loop.
    """


@pytest.fixture
async def openai_client(emulator):
    async with openai.AsyncOpenAI(
        base_url=emulator.base_url, api_key=emulator.api_key, max_retries=0
    ) as client:
        yield client


async def test_gets_a_link(emulator, openai_client, client, tmp_path):
    """An answer is understood, and its link leads to an image."""
    response = await openai_client.images.generate(model=MODEL, prompt="a cat", size="2048x2048")

    file = await client.download(response.data[0].url, tmp_path / "cat.jpeg")
    assert (file.width, file.height) == (2048, 2048)
    assert response.usage.output_tokens == 16_384
    assert emulator.images_billed == 1


async def test_gets_base64(openai_client):
    """Parameters of Seedream's own travel in the extra body; the images come as base64."""
    response = await openai_client.images.generate(
        model=MODEL,
        prompt="a cat",
        size="2560x1440",
        response_format="b64_json",
        output_format="png",
        extra_body={
            "sequential_image_generation": "auto",
            "sequential_image_generation_options": {"max_images": 2},
        },
    )

    files = [io.BytesIO(base64.b64decode(item.b64_json)) for item in response.data]
    pictures = [Image.open(file) for file in files]
    assert [(picture.format, picture.size) for picture in pictures] == [("PNG", (2560, 1440))] * 2


async def test_gets_a_group(openai_client):
    """Every image of a group is one to openai, and the usage is that of all."""
    response = await openai_client.images.generate(model=MODEL, prompt="a cat", extra_body=GROUP)

    assert len({image.url for image in response.data}) == 4
    assert response.usage.total_tokens == 4 * 16_384


async def test_gets_a_failed_image_in_a_group(emulator, openai_client):
    """A failed image keeps its place; its error is among what openai does not know."""
    emulator.fail_image_next(1)

    response = await openai_client.images.generate(model=MODEL, prompt="a cat", extra_body=GROUP)

    assert [bool(image.url) for image in response.data] == [True, False, True, True]
    assert response.data[1].error["code"] == "OutputImageSensitiveContentDetected"
    assert response.usage.generated_images == 3


async def test_gets_nothing(emulator, openai_client):
    """An answer of success may hold no image."""
    emulator.empty_next()

    response = await openai_client.images.generate(model=MODEL, prompt="a cat")

    assert response.data == []
    assert response.usage.generated_images == 0


async def test_gets_the_error_of_all(emulator, openai_client):
    """If all images failed, the error is among what openai does not know."""
    emulator.fail_all_next(code="OutputImageRiskDetection")

    response = await openai_client.images.generate(model=MODEL, prompt="a cat")

    assert response.data == []
    assert response.error["code"] == "OutputImageRiskDetection"


async def test_gets_layers(openai_client):
    """Layers are images; where they lie is among what openai does not know."""
    response = await openai_client.images.generate(
        model="seedream-5-0-pro-260628",
        prompt="a cat",
        extra_body={"layer_decomposition": True, "image": ["https://example.test/cat.png"]},
    )

    assert [image.z_index for image in response.data] == [0, 1, 2]
    assert response.data[1].bounding_box["normalized"] == [0, 0, 1000, 620]


async def test_gets_a_transparent_background(openai_client):
    """A parameter that openai has too means the same."""
    response = await openai_client.images.generate(
        model="seedream-5-5-261028",
        prompt="a cat",
        background="transparent",
        response_format="b64_json",
    )

    picture = Image.open(io.BytesIO(base64.b64decode(response.data[0].b64_json)))
    assert (picture.format, picture.mode) == ("PNG", "RGBA")


async def test_learns_of_a_wrong_key(emulator, openai_client):
    """A wrong key is what openai takes for one."""
    stranger = openai_client.with_options(api_key="sk-other")

    with pytest.raises(openai.AuthenticationError, match="invalid token"):
        await stranger.images.generate(model=MODEL, prompt="a cat")

    assert emulator.images_billed == 0


async def test_learns_of_a_wrong_size(emulator, openai_client):
    """OpenAI's usual size is refused by this model, with the reason."""
    with pytest.raises(openai.BadRequestError, match="must be at least 3686400 pixels") as excinfo:
        await openai_client.images.generate(model=MODEL, prompt="a cat", size="1024x1024")

    assert excinfo.value.code == "InvalidParameter"
    assert emulator.images_billed == 0


async def test_lists_models(openai_client):
    """The list of models is one that openai reads."""
    models = [model.id async for model in openai_client.models.list()]

    assert models == [name for family in _catalog.FAMILIES for name in family.ids]
