"""What the emulator makes of a body: a plan, or a refusal in the words of the service."""

import base64
import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import _catalog
from seedream_async.emulator import _references
from seedream_async.emulator._plan import Plan, make_plan
from seedream_async.emulator._refusals import Refusal

LITE, V4_5, V4_0 = (
    "doubao-seedream-5-0-260128",
    "doubao-seedream-4-5-251128",
    "doubao-seedream-4-0-250828",
)
PRO, FLASH, V5_5 = (
    "seedream-5-0-pro-260628",
    "seedream-5-0-flash-260915",
    "seedream-5-5-261028",
)
V3, EDIT = "doubao-seedream-3-0-t2i-250415", "doubao-seededit-3-0-i2i-250628"
LINK = "https://example.test/cat.png"
GROUP = {"sequential_image_generation": "auto"}
SEARCH = [{"type": "web_search"}]
OPTIONS = {"optimize_prompt_options": {"mode": "standard", "thinking": "disabled"}}
LAYERS = {"layer_decomposition": True, "image": [LINK]}
TRANSPARENT = {"background": "transparent", "output_format": "png"}
HEIC = b"\0\0\0\x14ftypheic\0\0\0\0mif1"
FIELDS = [
    "size",
    "image",
    "response_format",
    "watermark",
    "seed",
    "guidance_scale",
    "sequential_image_generation",
    "sequential_image_generation_options",
    "output_format",
    "stream",
    "tools",
    "optimize_prompt",
    "optimize_prompt_options",
    "layer_decomposition",
    "background",
]


def body(**fields):
    return {"model": LITE, "prompt": "a cat", **fields}


def data_uri(content):
    return "data:image/png;base64," + base64.b64encode(content).decode()


def png(width, height, colours=2, more=b""):
    """What the first bytes of a PNG say of it; *colours* is its colour type."""
    header = struct.pack(">IIBB", width, height, 8, colours)
    return data_uri(b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR" + header + more)


PIXEL = data_uri(b"\x89PNG\r\n\x1a\n")


def of_most(number):
    return {**GROUP, "sequential_image_generation_options": {"max_images": number}}


def test_fills_in_the_defaults():
    """A model and a prompt are enough; the rest is as the service documents it."""
    plan = make_plan(body())

    assert plan == Plan(
        model=LITE,
        family=_catalog.FAMILIES[0],
        count=1,
        width=2048,
        height=2048,
        output_format="jpeg",
        response_format="url",
        watermark=True,
        references=0,
        seed=plan.seed,
        stream=False,
        searches=False,
        layers=False,
        background="opaque",
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
        pytest.param({"n": 4, "style": {}}, {"count": 1}, id="unknown-fields"),
        pytest.param(dict.fromkeys(FIELDS), {"count": 1, "width": 2048}, id="all-null"),
        pytest.param({"optimize_prompt": True, **OPTIONS}, {"count": 1}, id="rewritten-prompt"),
        pytest.param({"stream": True}, {"stream": True}, id="stream"),
        pytest.param({"stream": False}, {"stream": False}, id="no-stream"),
        pytest.param({"tools": SEARCH}, {"searches": True}, id="tools"),
        pytest.param({"tools": []}, {"searches": False}, id="no-tools"),
        pytest.param(
            {"model": V5_5, "stream": True, "tools": SEARCH, **OPTIONS},
            {"stream": True, "searches": True, "output_format": "png", "names_background": True},
            id="what-is-not-known-of-5.5",
        ),
        pytest.param(
            {"model": FLASH, "image": [LINK], "layer_decomposition": True},
            {"layers": True, "counts_references": False},
            id="what-is-not-known-of-flash",
        ),
        pytest.param({"model": PRO}, {"width": 2048, "counts_references": True}, id="pro"),
        pytest.param(
            {"model": V3, "seed": -1, "guidance_scale": 2.5, "image": []},
            {"width": 1024, "height": 1024},
            id="3.0",
        ),
        pytest.param({"model": V3, "seed": 7.0}, {"count": 1}, id="whole-number"),
        pytest.param({**GROUP, **of_most(2.0)}, {"count": 2}, id="whole-number-of-images"),
        pytest.param(
            {"sequential_image_generation_options": {"max_images": None}, **GROUP},
            {"count": 4},
            id="null-option",
        ),
        pytest.param(
            {"model": PRO, **LAYERS, "prompt": None},
            {"layers": True, "count": 3, "width": 1024, "height": 1024},
            id="layers",
        ),
        pytest.param(
            {"model": PRO, **LAYERS, "prompt": "9:16", "size": "1.5K"},
            {"width": 1152, "height": 2048},
            id="layers-tier",
        ),
        pytest.param(
            {"model": PRO, **LAYERS, "image": png(512, 512), "size": "auto"},
            {"layers": True},
            id="layers-of-a-png",
        ),
        pytest.param(
            {"model": PRO, "layer_decomposition": False}, {"layers": False}, id="no-layers"
        ),
        *(
            pytest.param(
                {"model": PRO, "image": [image], **TRANSPARENT},
                {"background": "transparent", "output_format": "png"},
                id=f"transparent-{name}",
            )
            for name, image in {
                "link": LINK,
                "rgba": png(99, 99, colours=6),
                "grey": png(99, 99, colours=4),
                "palette": png(99, 99, colours=3, more=b"tRNS"),
            }.items()
        ),
        pytest.param(
            {"model": V5_5, "background": "transparent"},
            {"background": "transparent", "output_format": "png"},
            id="transparent-of-5.5",
        ),
        pytest.param(
            {"model": PRO, "background": "auto"}, {"background": "opaque"}, id="any-background"
        ),
        *(
            pytest.param(
                {"model": EDIT, "image": image, "size": "adaptive"},
                {"width": width, "height": height, "references": 1},
                id=f"adaptive-{width}x{height}",
            )
            for image, width, height in (
                (LINK, 1024, 1024),
                (png(4000, 3000), 1184, 864),
                (png(300, 899), 512, 1536),
                (png(899, 300), 1536, 512),
            )
        ),
        pytest.param({"model": EDIT, "image": LINK}, {"width": 1024}, id="adaptive-by-default"),
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
            for size in ("", "big", "2048×2048", "2048x2048 ", "-1x5", "auto", 2048, [2048], {})
        ),
        pytest.param(
            {"size": "1K", "model": V4_5},
            "size",
            "the specified size is not supported for model doubao-seedream-4-5",
            id="tier-of-another-model",
        ),
        pytest.param(
            {"size": "1K", "model": V3},
            "size",
            "the specified size is not supported for model doubao-seedream-3-0-t2i",
            id="tier-of-3.0",
        ),
        pytest.param(
            {"size": "1024x1024", "model": EDIT, "image": LINK},
            "size",
            "the specified size is not supported for model doubao-seededit-3-0-i2i",
            id="size-of-seededit",
        ),
        *(
            pytest.param(
                {"size": size, "model": PRO, **LAYERS},
                "size",
                "size must be one of: auto, 1K, 1.5K, 2K",
                id=f"layers-{size!r}",
            )
            for size in ("2048x2048", 1)
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
            pytest.param(fields, "image", f"the image {problem}", id=f"image-{name}")
            for name, fields, problem in (
                ("tiny", {"image": png(14, 99)}, "must be wider and higher than 14 pixels"),
                (
                    "long",
                    {"image": png(1700, 100)},
                    "must have an aspect ratio between 1/16 and 16",
                ),
                (
                    "long-for-seededit",
                    {"image": png(100, 301), "model": EDIT},
                    "must have an aspect ratio between 1/3 and 3",
                ),
                ("huge", {"image": png(6000, 6001)}, "cannot exceed 36000000 pixels"),
                (
                    "heic-of-3.0",
                    {"image": data_uri(HEIC), "model": EDIT},
                    "is not in a supported format",
                ),
                (
                    "too-small-for-layers",
                    {"model": PRO, **LAYERS, "image": png(511, 512)},
                    "must have at least 262144 pixels",
                ),
            )
        ),
        *(
            pytest.param(
                {"model": PRO, **LAYERS, "image": image},
                "image",
                f"layer_decomposition requires {problem}",
                id=f"layers-of-{name}",
            )
            for name, image, problem in (
                ("none", [], "exactly 1 reference image"),
                ("two", [LINK] * 2, "exactly 1 reference image"),
                ("gif", data_uri(b"GIF89a"), "a png or jpeg image"),
            )
        ),
        *(
            pytest.param(
                {"model": PRO, **TRANSPARENT, "image": image},
                "background",
                "a transparent background requires exactly 1 reference image, "
                "a png with a transparent pixel",
                id=f"transparent-{name}",
            )
            for name, image in {
                "none": [],
                "two": [LINK] * 2,
                "jpeg": data_uri(b"\xff\xd8\xff"),
                "opaque": png(99, 99),
            }.items()
        ),
        pytest.param(
            {"model": PRO, "background": "transparent", "image": LINK},
            "output_format",
            "output_format must be png for a transparent background",
            id="transparent-without-png",
        ),
        pytest.param(
            {"model": PRO, "background": "red"},
            "background",
            "background must be one of: auto, transparent, opaque",
            id="background",
        ),
        *(
            pytest.param(
                {"model": model, name: value},
                name,
                f"{name} is not supported by the current model",
                id=f"{name}-of-{model}",
            )
            for model, name, value in (
                (LITE, "seed", 1),
                (PRO, "guidance_scale", 3),
                (PRO, "stream", False),
                (V4_5, "tools", SEARCH),
                (V3, "optimize_prompt_options", {}),
                (LITE, "layer_decomposition", True),
                (V4_0, "background", "opaque"),
                (PRO, "sequential_image_generation_options", {}),
                (V3, "image", [LINK]),
            )
        ),
        *(
            pytest.param(
                {"model": V3, name: value},
                name,
                f"{name} must be between {limits}",
                id=f"{name}-{value!r}",
            )
            for name, limits, values in (
                ("seed", "-1 and 2147483647", (-2, 2**31, 1.5, True, "1")),
                ("guidance_scale", "1 and 10", (0.9, 10.1, True, "1", math.nan, math.inf)),
            )
            for value in values
        ),
        *(
            pytest.param(
                {"tools": tools},
                "tools",
                "tools must be a list of tools of the type 'web_search'",
                id=f"tools-{tools!r}",
            )
            for tools in ("web_search", ["web_search"], [{}], [{"type": "code"}], {}, 0)
        ),
        *(
            pytest.param(
                {"model": model, "optimize_prompt_options": {name: value}},
                f"optimize_prompt_options.{name}",
                problem,
                id=f"{name}-{value!r}-{model}",
            )
            for model, name, value, problem in (
                (LITE, "mode", "fast", "mode must be 'standard'"),
                (PRO, "mode", "slow", "mode must be one of: standard, fast"),
                (V5_5, "mode", 1, "mode must be one of: standard, fast"),
                (LITE, "thinking", "yes", "thinking must be one of: auto, enabled, disabled"),
            )
        ),
        *(
            pytest.param({name: 3}, name, f"{name} must be an object", id=f"{name}-3")
            for name in ("optimize_prompt_options", "sequential_image_generation_options")
        ),
        *(
            pytest.param({"model": PRO, name: 1}, name, f"{name} must be a boolean", id=f"{name}-1")
            for name in ("layer_decomposition", "optimize_prompt")
        ),
        pytest.param({"stream": "yes"}, "stream", "stream must be a boolean", id="stream-text"),
        *(
            pytest.param(
                {"sequential_image_generation": value},
                "sequential_image_generation",
                "sequential_image_generation must be one of: disabled, auto",
                id=f"group-{value!r}",
            )
            for value in ("on", True)
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
                {"max_images": 2.5},
                {"max_images": True},
                {"max_images": "2"},
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
            for value in (1, "true")
        ),
    ],
)
def test_refuses_what_is_not_valid(fields, name, problem):
    """A value outside the limits is refused with 400, in the words of the service."""
    with pytest.raises(Refusal) as excinfo:
        make_plan(body(**fields))

    assert (excinfo.value.status, excinfo.value.code) == (400, "InvalidParameter")
    assert excinfo.value.message == INVALID.format(name, problem)


def test_refuses_heavy_references(monkeypatch):
    """A reference has no more than so many bytes."""
    monkeypatch.setattr(_references, "_MOST_BYTES", 100)
    make_plan(body(image=png(99, 99)))

    with pytest.raises(Refusal, match="the image cannot exceed 30 MB"):
        make_plan(body(image=png(99, 99, more=bytes(100))))


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
        pytest.param(
            {"model": PRO, **LAYERS, "prompt": 1}, 400, "MissingParameter", MISSING, id="layers"
        ),
        pytest.param(
            {"model": EDIT, "prompt": "a cat"},
            400,
            "MissingParameter",
            MISSING.replace("prompt", "image"),
            id="nothing-to-edit",
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
        pytest.param({"model": V3, "seed": 1}, {"model": V3, "seed": 2}, id="seed"),
        pytest.param({"model": V3}, {"model": V3, "seed": 0}, id="no-seed"),
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
        make_plan(body(model=EDIT, seed=7, image=[LINK])),
        make_plan(body(model=EDIT, seed=7, image=LINK, watermark=False, guidance_scale=1)),
    )

    assert plans[0].seed == plans[1].seed


def test_survives_deep_nesting():
    """A value as deep as JSON can be is ignored, not followed."""
    deep = []
    for _ in range(100_000):
        deep = [deep]

    plan = make_plan(body(style=deep))

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
MODELS = st.sampled_from([name for family in _catalog.FAMILIES for name in family.ids])
WILD = st.fixed_dictionaries({"model": MODELS, "prompt": st.text()}).flatmap(
    lambda good: st.dictionaries(st.sampled_from(["model", "prompt", *FIELDS]), JSON).map(
        lambda bad: {**good, **bad}
    )
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


def perhaps(able, strategy):
    """*strategy*, if a model is able or that is not known; otherwise null, which is nothing."""
    return st.none() if able is False else st.none() | strategy


@st.composite
def valid_bodies(draw):
    """A body that keeps to every limit of its model."""
    family = draw(st.sampled_from(_catalog.FAMILIES))
    recommended = (size for sizes in family.sizes.values() for size in sizes)
    references = st.lists(
        st.sampled_from([LINK, PIXEL]),
        min_size=int(family.needs_reference),
        max_size=family.references,
    )
    modes = st.sampled_from(family.optimize_modes or ("standard", "fast"))
    optional = {
        "size": st.sampled_from([family.default_size, *family.sizes, *recommended]),
        "response_format": st.sampled_from(["url", "b64_json"]),
        "watermark": st.booleans(),
        "seed": perhaps(family.seed, st.integers(-1, 2**31 - 1)),
        "guidance_scale": perhaps(family.guidance_scale, st.floats(1, 10)),
        "sequential_image_generation": perhaps(family.group, st.sampled_from(["auto", "disabled"])),
        "sequential_image_generation_options": perhaps(
            family.group, st.fixed_dictionaries({}, optional={"max_images": st.integers(1, 15)})
        ),
        "output_format": perhaps(
            len(family.output_formats) > 1, st.sampled_from(family.output_formats)
        ),
        "stream": perhaps(family.stream, st.booleans()),
        "tools": perhaps(family.web_search, st.just(SEARCH)),
        "optimize_prompt": st.booleans(),
        "optimize_prompt_options": perhaps(
            family.optimize_modes != (), st.fixed_dictionaries({}, optional={"mode": modes})
        ),
        "layer_decomposition": perhaps(family.layers, st.just(False)),
        "background": perhaps(family.background, st.sampled_from(["auto", "opaque"])),
    }
    required = {
        "model": st.sampled_from(family.ids),
        "prompt": st.text(min_size=1).filter(str.strip),
        "image": references,
    }
    return draw(st.fixed_dictionaries(required, optional=optional))


@given(valid_bodies())
def test_plans_all_that_is_valid(given_body):
    """Every body within the limits gives a plan, of no more than 15 images with its references."""
    plan = make_plan(given_body)

    assert plan.model == given_body["model"]
    assert plan.references == len(given_body["image"])
    assert 1 <= plan.count <= _catalog.MAX_IMAGES - plan.references


@given(shape=st.floats(1 / 3, 3))
def test_adapts_to_any_shape(shape):
    """An edited image has about the shape of its reference, within the limits of its model."""
    (family,) = (family for family in _catalog.FAMILIES if EDIT in family.ids)
    reference = png(round(3000 * shape), 3000)

    plan = make_plan(body(model=EDIT, image=reference))

    assert plan.width / plan.height == pytest.approx(shape, rel=0.06)
    assert family.pixels[0] <= plan.width * plan.height <= family.pixels[1]
