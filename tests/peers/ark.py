"""
The emulator, asked by Ark's own SDK: what passes here passes as Ark.

A script, since the SDK is too large to be among the tests' dependencies: `.ci/peers` runs it,
with `COMETAPI_KEY` and `COMETAPI_BASE_URL` leading to the emulator. A stream with a failed image
is left out, for the SDK is known to abort there.
"""

import base64
import os

from volcenginesdkarkruntime import Ark
from volcenginesdkarkruntime._exceptions import (
    ArkAuthenticationError,
    ArkBadRequestError,
)
from volcenginesdkarkruntime.types.images import (
    ContentGenerationTool,
    OptimizePromptOptions,
    SequentialImageGenerationOptions,
)

LITE, PRO = "doubao-seedream-5-0-260128", "doubao-seedream-5-0-pro-260628"
TWO = {
    "sequential_image_generation": "auto",
    "sequential_image_generation_options": SequentialImageGenerationOptions(max_images=2),
}


def client(**options):
    options = {"api_key": os.environ["COMETAPI_KEY"], **options}
    return Ark(base_url=os.environ["COMETAPI_BASE_URL"], max_retries=0, **options)


def raised_by(call, kind):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def gets_a_link(ark):
    """An answer is understood; the fields that the SDK sends as null are taken for absent."""
    response = ark.images.generate(model=LITE, prompt="a cat")

    assert response.model == LITE
    assert response.data[0].url.startswith("http://127.0.0.1:")
    assert (response.data[0].size, response.data[0].output_format) == ("2048x2048", "jpeg")
    assert response.usage.output_tokens == response.usage.total_tokens == 16_384


def gets_base64(ark):
    """The base64 is that of an image, of the format asked for."""
    response = ark.images.generate(
        model=LITE, prompt="a cat", response_format="b64_json", output_format="png"
    )

    content = base64.b64decode(response.data[0].b64_json, validate=True)
    assert content.startswith(b"\x89PNG")


def gets_a_group(ark):
    """A group has as many images as were asked for, and the options of Ark's own are taken."""
    response = ark.images.generate(
        model=LITE,
        prompt="a cat",
        size="2K",
        tools=[ContentGenerationTool(type="web_search")],
        optimize_prompt_options=OptimizePromptOptions(mode="standard"),
        **TWO,
    )

    assert len({image.url for image in response.data}) == 2
    assert response.usage.generated_images == 2
    assert response.usage.tool_usage.web_search == 1


def gets_layers(ark):
    """The layers of an image have a place in it."""
    response = ark.images.generate(
        model=PRO, prompt="", image=link_of(ark), layer_decomposition=True
    )

    base, *layers = response.data
    assert (base.z_index, base.bounding_box) == (0, None)
    assert [layer.z_index for layer in layers] == [1, 2]
    assert all(len(layer.bounding_box.absolute) == 4 for layer in layers)


def link_of(ark):
    return ark.images.generate(model=LITE, prompt="a cat").data[0].url


def gets_a_stream(ark):
    """Each image has an event, and so has the end."""
    events = list(ark.images.generate(model=LITE, prompt="a cat", stream=True, **TWO))

    first, second, last = events
    assert (first.type, first.image_index) == ("image_generation.partial_succeeded", 0)
    assert (second.type, second.image_index) == ("image_generation.partial_succeeded", 1)
    assert first.url != second.url
    assert last.type == "image_generation.completed"
    # The SDK takes every event for one of an image, and leaves the usage as it came.
    assert last.model_dump()["usage"]["generated_images"] == 2


def learns_of_a_wrong_size(ark):
    """A refusal has its code, and says why."""
    error = raised_by(
        lambda: ark.images.generate(model=LITE, prompt="a cat", size="1024x1024"),
        ArkBadRequestError,
    )

    assert error.code == "InvalidParameter"
    assert "image size must be at least 3686400 pixels" in error.message


def learns_of_a_wrong_key(_):
    """A wrong key is what the SDK takes for one."""
    stranger = client(api_key="sk-other")

    raised_by(lambda: stranger.images.generate(model=LITE, prompt="a cat"), ArkAuthenticationError)


if __name__ == "__main__":
    for check in (
        gets_a_link,
        gets_base64,
        gets_a_group,
        gets_layers,
        gets_a_stream,
        learns_of_a_wrong_size,
        learns_of_a_wrong_key,
    ):
        check(client())
