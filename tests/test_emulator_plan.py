"""What the emulator makes of a body: a plan, or a refusal in the words of the service."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import _catalog
from seedream_async.emulator._plan import Plan, make_plan
from seedream_async.emulator._refusals import Refusal

LITE, V4_5, V4_0, PRO, *_ = (family.ids[0] for family in _catalog.FAMILIES)
PIXEL = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
LINK = "https://example.test/cat.png"
GROUP = {"sequential_image_generation": "auto"}


def body(**fields):
    return {"model": LITE, "prompt": "a cat", **fields}


def of_most(number):
    return {**GROUP, "sequential_image_generation_options": {"max_images": number}}


def test_fills_in_the_defaults():
    """A model and a prompt are enough; the rest is as the service documents it."""
    plan = make_plan(body())

    assert plan == Plan(
        model=LITE,
        count=1,
        width=2048,
        height=2048,
        output_format="jpeg",
        names_format=True,
        response_format="url",
        watermark=True,
        references=0,
        seed=plan.seed,
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"size": "2560x1440"}, {"width": 2560, "height": 1440}, id="smallest"),
        pytest.param({"size": "4096x4096"}, {"width": 4096, "height": 4096}, id="largest"),
        pytest.param({"size": "7680x480"}, {"width": 7680, "height": 480}, id="widest"),
        pytest.param({"size": "480x7680"}, {"width": 480, "height": 7680}, id="tallest"),
        pytest.param({"size": "2K"}, {"width": 2048, "height": 2048}, id="tier"),
        pytest.param({"size": "3k"}, {"width": 3072, "height": 3072}, id="tier-lower-case"),
        pytest.param(
            {"size": "2K", "prompt": "a cat, 16:9"},
            {"width": 2848, "height": 1600},
            id="tier-ratio-of-the-prompt",
        ),
        pytest.param(
            {"size": "2K", "prompt": "a clock that shows 10:15"},
            {"width": 2048, "height": 2048},
            id="tier-no-ratio",
        ),
        pytest.param(
            {"size": "1.5K", "model": PRO}, {"width": 1536, "height": 1536}, id="tier-of-pro"
        ),
        pytest.param(
            {"size": "1024x1024", "model": V4_0}, {"width": 1024, "height": 1024}, id="1k-of-4.0"
        ),
        pytest.param({"output_format": "png"}, {"output_format": "png"}, id="png"),
        pytest.param({"model": V4_5}, {"names_format": False}, id="one-format-unnamed"),
        pytest.param({"response_format": "b64_json"}, {"response_format": "b64_json"}, id="b64"),
        pytest.param({"watermark": False}, {"watermark": False}, id="no-watermark"),
        pytest.param({"image": None}, {"references": 0}, id="null-image"),
        pytest.param({"image": []}, {"references": 0}, id="no-references"),
        pytest.param({"image": LINK}, {"references": 1}, id="one-link"),
        pytest.param({"image": f"{LINK}\ud800"}, {"references": 1}, id="half-a-character"),
        pytest.param({"image": [PIXEL] * 14}, {"references": 14}, id="most-references"),
        pytest.param({"sequential_image_generation": "disabled"}, {"count": 1}, id="no-group"),
        pytest.param(GROUP, {"count": 4}, id="group-of-its-choice"),
        pytest.param(of_most(15), {"count": 15}, id="largest-group"),
        pytest.param(of_most(1), {"count": 1}, id="smallest-group"),
        pytest.param(
            {"image": [LINK] * 10, **of_most(15)}, {"count": 5}, id="references-count-too"
        ),
        pytest.param({"n": 4, "style": {}, "guidance_scale": 3}, {"count": 1}, id="unknown-fields"),
    ],
)
def test_plans(fields, expected):
    """What is asked for within the limits is what is made."""
    plan = make_plan(body(**fields))

    assert {name: getattr(plan, name) for name in expected} == expected


INVALID = "The parameter `{}` specified in the request is not valid: {}"


@pytest.mark.parametrize(
    ("fields", "name", "problem"),
    [
        pytest.param(
            {"size": "1024x1024"},
            "size",
            "image size must be at least 3686400 pixels",
            id="1024x1024",
        ),
        pytest.param(
            {"size": "4096x4097"},
            "size",
            "image size must be at most 16777216 pixels",
            id="too-large",
        ),
        pytest.param(
            {"size": f"{10**30}x{10**30}"},
            "size",
            "image size must be at most 16777216 pixels",
            id="far-too-large",
        ),
        pytest.param(
            {"size": "7681x480"},
            "size",
            "aspect ratio must be between 1/16 and 16",
            id="too-wide",
        ),
        pytest.param(
            {"size": "480x7681"},
            "size",
            "aspect ratio must be between 1/16 and 16",
            id="too-tall",
        ),
        pytest.param({"size": "0x2048"}, "size", "invalid width", id="no-width"),
        pytest.param({"size": "2048x0"}, "size", "invalid height", id="no-height"),
        *(
            pytest.param(
                {"size": size},
                "size",
                "size must be one of 'WIDTHxHEIGHT', '1k', '2k', or '4k'",
                id=f"size-{size!r}",
            )
            for size in ("", "big", "2048×2048", "2048x2048 ", "-1x5", None, 2048, [2048], {})
        ),
        pytest.param(
            {"size": "1K", "model": V4_5},
            "size",
            "the specified size is not supported for model doubao-seedream-4-5",
            id="tier-of-another-model",
        ),
        pytest.param(
            {"image": [LINK] * 15},
            "image",
            "the number of reference images cannot exceed 14",
            id="too-many-references",
        ),
        pytest.param(
            {"image": [LINK] * 11, "model": PRO},
            "image",
            "the number of reference images cannot exceed 10",
            id="too-many-references-of-pro",
        ),
        *(
            pytest.param({"image": image}, "image", "invalid url specified", id=f"image-{name}")
            for name, image in {
                "bare-base64": PIXEL.partition(",")[2],
                "file": "file:///etc/passwd",
                "upper-case-format": PIXEL.replace("png", "PNG"),
                "number": 1,
                "null-in-list": [None],
                "object": {"url": LINK},
            }.items()
        ),
        *(
            pytest.param(
                {"image": [LINK, f"data:image/png;base64,{text}"]},
                "image",
                "the image is not in a supported format",
                id=f"image-{name}",
            )
            for name, text in {
                "empty": "",
                "no-base64": "####",
                "not-ascii": "é===",
                "no-image": "aGVsbG8=",
            }.items()
        ),
        *(
            pytest.param(
                {"sequential_image_generation": value},
                "sequential_image_generation",
                "sequential_image_generation must be one of: disabled, auto",
                id=f"group-{value!r}",
            )
            for value in ("on", True, None)
        ),
        pytest.param(
            {"sequential_image_generation": "disabled", "model": PRO},
            "sequential_image_generation",
            "sequential_image_generation is not supported by the current model",
            id="group-of-pro",
        ),
        *(
            pytest.param(
                {**GROUP, "sequential_image_generation_options": options},
                "sequential_image_generation_options.max_images",
                "max_images must be between 1 and 15",
                id=f"options-{options!r}",
            )
            for options in (
                {"max_images": 0},
                {"max_images": 16},
                {"max_images": 2.0},
                {"max_images": True},
                {"max_images": None},
                None,
                3,
            )
        ),
        pytest.param(
            {"output_format": "webp"},
            "output_format",
            "output_format must be one of: jpeg, png",
            id="webp",
        ),
        pytest.param(
            {"output_format": "jpeg", "model": V4_0},
            "output_format",
            "output_format is not supported by the current model",
            id="format-of-4.0",
        ),
        pytest.param(
            {"response_format": "png"},
            "response_format",
            "response_format must be one of: url, b64_json",
            id="response-format",
        ),
        *(
            pytest.param(
                {"watermark": value},
                "watermark",
                "watermark must be a boolean",
                id=f"watermark-{value!r}",
            )
            for value in (1, "true", None)
        ),
    ],
)
def test_refuses_what_is_not_valid(fields, name, problem):
    """A value outside the limits is refused with 400, in the words of the service."""
    with pytest.raises(Refusal) as excinfo:
        make_plan(body(**fields))

    assert (excinfo.value.status, excinfo.value.code) == (400, "InvalidParameter")
    assert excinfo.value.message == INVALID.format(name, problem)


MISSING = "The request failed because it is missing `prompt` parameter"


@pytest.mark.parametrize(
    ("given_body", "status", "code", "message"),
    [
        *(
            pytest.param(
                value, 400, "invalid_request", "invalid request body", id=f"body-{value!r}"
            )
            for value in (None, [], "a cat", 1)
        ),
        *(
            pytest.param(value, 400, "", "model name is required", id=f"model-of-{value!r}")
            for value in ({}, {"model": ""}, {"model": None}, {"model": ["a"]})
        ),
        pytest.param(
            {"model": "dall-e-3", "prompt": "a cat"},
            503,
            "model_not_found",
            "no available channel for group default and model dall-e-3 (distributor)",
            id="unknown-model",
        ),
        *(
            pytest.param(
                {"model": LITE, **prompt}, 400, "MissingParameter", MISSING, id=f"prompt-{prompt!r}"
            )
            for prompt in ({}, {"prompt": ""}, {"prompt": " \n"}, {"prompt": None}, {"prompt": 1})
        ),
    ],
)
def test_refuses_what_says_too_little(given_body, status, code, message):
    """Without a known model and a prompt there is nothing to plan."""
    with pytest.raises(Refusal) as excinfo:
        make_plan(given_body)

    assert (excinfo.value.status, excinfo.value.code) == (status, code)
    assert excinfo.value.message == message


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"prompt": "a cat"}, {"prompt": "a dog"}, id="prompt"),
        pytest.param({"seed": 1}, {"seed": 2}, id="seed"),
        pytest.param({}, {"seed": 0}, id="no-seed"),
        pytest.param({"image": LINK}, {"image": f"{LINK}?"}, id="reference"),
        pytest.param({"image": [LINK, PIXEL]}, {"image": [PIXEL, LINK]}, id="order"),
        pytest.param({"prompt": "\ud800"}, {"prompt": "\udfff"}, id="half-characters"),
    ],
)
def test_tells_requests_apart(one, other):
    """Another prompt, seed or reference makes another picture."""
    plans = make_plan(body(**one)), make_plan(body(**other))

    assert plans[0].seed != plans[1].seed


def test_repeats_itself():
    """The same prompt, seed and references make the same picture, whatever else is asked for."""
    plans = (
        make_plan(body(seed=7, image=[LINK])),
        make_plan(body(seed=7, image=LINK, size="4K", output_format="png")),
    )

    assert plans[0].seed == plans[1].seed


def test_survives_deep_nesting():
    """A value as deep as JSON can be is ignored, not followed."""
    deep = []
    for _ in range(100_000):
        deep = [deep]

    plan = make_plan(body(seed=deep))

    assert plan.seed == make_plan(body()).seed


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["auto", "2K", "0x0", "png", PIXEL, "data:image/png;base64,", LINK]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = [
    "model",
    "prompt",
    "size",
    "image",
    "response_format",
    "watermark",
    "seed",
    "sequential_image_generation",
    "sequential_image_generation_options",
    "output_format",
]
MODELS = st.sampled_from([name for family in _catalog.FAMILIES for name in family.ids])
WILD = st.fixed_dictionaries({"model": MODELS, "prompt": st.text()}).flatmap(
    lambda good: st.dictionaries(st.sampled_from(FIELDS), JSON).map(lambda bad: {**good, **bad})
)


@given(JSON | WILD)
def test_plans_or_refuses_anything(value):
    """No JSON value whatever makes anything but a plan or a refusal."""
    decoded = json.loads(json.dumps(value))

    try:
        outcome = make_plan(decoded)
    except Refusal as refusal:
        outcome = refusal

    assert isinstance(outcome, Plan) or outcome.status in (400, 503)


@st.composite
def valid_bodies(draw):
    """A body that keeps to every limit of its model."""
    family = draw(st.sampled_from(_catalog.FAMILIES))
    tiers = [*family.sizes, *(size for sizes in family.sizes.values() for size in sizes)]
    references = st.lists(st.sampled_from([LINK, PIXEL]), max_size=family.references)
    optional = {
        "size": st.sampled_from(tiers),
        "image": references,
        "response_format": st.sampled_from(["url", "b64_json"]),
        "watermark": st.booleans(),
        "seed": st.integers(-1, 2**31 - 1),
    }
    if family.group:
        optional["sequential_image_generation"] = st.sampled_from(["auto", "disabled"])
        optional["sequential_image_generation_options"] = st.fixed_dictionaries(
            {}, optional={"max_images": st.integers(1, 15)}
        )
    if len(family.output_formats) > 1:
        optional["output_format"] = st.sampled_from(family.output_formats)
    required = {
        "model": st.sampled_from(family.ids),
        "prompt": st.text(min_size=1).filter(str.strip),
    }
    return draw(st.fixed_dictionaries(required, optional=optional))


@given(valid_bodies())
def test_plans_all_that_is_valid(given_body):
    """Every body within the limits gives a plan, of no more than 15 images with its references."""
    plan = make_plan(given_body)

    assert plan.model == given_body["model"]
    assert plan.references == len(given_body.get("image", []))
    assert 1 <= plan.count <= _catalog.MAX_IMAGES - plan.references
