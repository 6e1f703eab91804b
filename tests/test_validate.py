"""What is refused before it is sent, what is warned of, and what is let through."""

import warnings

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from seedream_async import GenerateRequest, InvalidRequestError, _sniff
from seedream_async._catalog import DEFAULT_MODEL, FAMILIES, RATIOS, family_of
from seedream_async._validate import (
    MAX_BYTES,
    Problem,
    judge,
    problems,
    reference_problems,
    remedy_for,
)

LITE, V4_5, V4_0 = DEFAULT_MODEL, "doubao-seedream-4-5-251128", "doubao-seedream-4-0-250828"
PRO, FLASH, V5_5 = (
    "seedream-5-0-pro-260628",
    "seedream-5-0-flash-260915",
    "seedream-5-5-261028",
)
V3, EDIT = "doubao-seedream-3-0-t2i-250415", "doubao-seededit-3-0-i2i-250628"
STRANGER, ENDPOINT = "seedream-9-0-300101", "ep-20260101000000-abcde"
GROUP = {"sequential_image_generation": "auto"}
LAYERS = {"layer_decomposition": True, "image": ["u"]}
SEARCH = [{"type": "web_search"}]


def found(model=LITE, *, stream=False, **fields):
    return list(problems(GenerateRequest("a cat", **fields), model, stream=stream))


def case(name, field, told, model=LITE, **fields):
    return pytest.param(field, told, model, fields, id=name)


@pytest.mark.parametrize(
    ("field", "told", "model", "fields"),
    [
        # whatever the model
        case("size, words", "size", "like '2K' or '2048x2048'", STRANGER, size="abc"),
        case("size, zero", "size", "like '2K'", STRANGER, size="0x0"),
        case("size, zero height", "size", "like '2K'", STRANGER, size="2048x0"),
        case("size, empty", "size", "like '2K'", STRANGER, size=""),
        case("size, number", "size", "like '2K'", STRANGER, size=2048),
        case("size, three", "size", "like '2K'", STRANGER, size="2x2x2"),
        case("size, ratio", "size", r"size_for\('16:9'\)", STRANGER, size="16:9"),
        case("format", "response_format", "url, b64_json", STRANGER, response_format="raw"),
        case("webp", "output_format", "png, jpeg, not 'webp'", STRANGER, output_format="webp"),
        case("jpg", "output_format", "did you mean 'jpeg'", STRANGER, output_format="jpg"),
        case(
            "group, word",
            "sequential_image_generation",
            "auto, disabled",
            STRANGER,
            sequential_image_generation="on",
        ),
        case("background", "background", "transparent", STRANGER, background="none"),
        case("seed", "seed", "from -1 to 2147483647", STRANGER, seed=-2),
        case("seed, text", "seed", "from -1 to", STRANGER, seed="7"),
        case("seed, fraction", "seed", "from -1 to", STRANGER, seed=7.5),
        case("seed, bool", "seed", "from -1 to", STRANGER, seed=True),
        case("guidance", "guidance_scale", "from 1 to 10", STRANGER, guidance_scale=0.5),
        case("NaN", "guidance_scale", "not nan", STRANGER, guidance_scale=float("nan")),
        case("no images", "max_images", "from 1 to 15", STRANGER, max_images=0, **GROUP),
        case("many images", "max_images", "from 1 to 15", STRANGER, max_images=16, **GROUP),
        case("watermark", "watermark", "True or False", STRANGER, watermark="false"),
        case("switch", "layer_decomposition", "True or", STRANGER, layer_decomposition=1),
        case("refs", "image", "at most 14 references, not 15", STRANGER, image=["u"] * 15),
        case(
            "mode",
            "optimize_prompt_options.mode",
            "standard, fast",
            STRANGER,
            optimize_prompt_options={"mode": "slow"},
        ),
        case(
            "options",
            "optimize_prompt_options",
            "like {'mode': 'fast'}",
            STRANGER,
            optimize_prompt_options="fast",
        ),
        case("tool", "tools", "web_search", STRANGER, tools=[{"type": "code"}]),
        case("tool, text", "tools", "web_search", STRANGER, tools=["web_search"]),
        case("tool, no list", "tools", "web_search", STRANGER, tools={"type": "web_search"}),
        # sizes
        case(
            "1024x1024",
            "size",
            "^1024x1024 has 1.05 Mpx; doubao-seedream-5-0-260128 needs at least 3.69 Mpx; "
            "nearest recommended: 2048x2048; ",
            size="1024x1024",
        ),
        case("720p", "size", "nearest recommended: 2848x1600", V4_5, size="1280x720"),
        case("below 4.0", "size", "has 0.921 Mpx; .* 0.922 Mpx", V4_0, size="1279x720"),
        case("a little below", "size", "has 3.68 Mpx; .* 3.69", size="2559x1440"),
        case("a pixel below", "size", "has 3.686399 Mpx; .* 3.686400 Mpx", size="1919x1921"),
        case("above", "size", "needs at most 16.78 Mpx", size="5000x4000"),
        case("above pro", "size", "at most 4.62 Mpx; .*: 2048x2048", PRO, size="4096x4096"),
        case("too wide", "size", "16.67 times as wide.*3136x1344", size="8000x480"),
        case("too high", "size", "1/16 to 16; .*1600x2848", size="480x8000"),
        case("tier", "size", "takes 2K, 4K, WIDTHxHEIGHT; nearest: 2K", V4_5, size="1K"),
        case("tier of pro", "size", "nearest: 2K", PRO, size="4k"),
        case("auto", "size", "nearest: 2048x2048", size="auto"),
        case("adaptive", "size", "nearest: 2K", PRO, size="adaptive"),
        case(
            "layers, pixels",
            "size",
            "1K, 1.5K, 2K, auto; nearest: auto",
            PRO,
            size="2048x2048",
            **LAYERS,
        ),
        case(
            "layers, tier",
            "size",
            "with layer_decomposition.*nearest: 2K",
            PRO,
            size="3K",
            **LAYERS,
        ),
        # what a model does not do
        case("refs of pro", "image", "at most 10 references, not 11", PRO, image=["u"] * 11),
        case(
            "group",
            "sequential_image_generation",
            f"not supported by {PRO}; leave it out, or use {LITE}",
            PRO,
            **GROUP,
        ),
        case("tools", "tools", f"leave it out, or use {LITE}", V4_5, tools=SEARCH),
        case("background of lite", "background", f"or use {PRO}", LITE, background="transparent"),
        case("layers of lite", "layer_decomposition", f"or use {PRO}", LITE, **LAYERS),
        case(
            "fast",
            "optimize_prompt_options",
            "must be standard, not fast",
            optimize_prompt_options={"mode": "fast"},
        ),
        case(
            "layers of none", "image", "exactly 1 reference.*, not 0", PRO, layer_decomposition=True
        ),
        case(
            "layers of two",
            "image",
            "exactly 1 reference.*, not 2",
            PRO,
            layer_decomposition=True,
            image=["u", "v"],
        ),
        case(
            "transparent jpeg",
            "output_format",
            'needs output_format="png"',
            PRO,
            background="transparent",
            output_format="jpeg",
            image="u",
        ),
        case("transparent", "image", "exactly 1 reference", PRO, background="transparent"),
    ],
)
def test_refuses(field, told, model, fields):
    """What the API's own pages rule out is refused; the message names field, remedy and way out."""
    with pytest.raises(InvalidRequestError, match=told) as excinfo:
        judge(found(model, **fields), "strict")

    assert excinfo.value.field == field
    assert str(excinfo.value).endswith('; to send it anyway: validation="warn"')
    assert remedy_for(GenerateRequest("a cat", **fields), model)


def test_refuses_to_stream():
    """A model that cannot stream is refused, and the remedy is not to."""
    with pytest.raises(InvalidRequestError, match=rf"use generate\(\), or use {LITE}") as excinfo:
        judge(found(PRO, stream=True), "strict")

    assert excinfo.value.field == "stream"


@pytest.mark.parametrize(
    ("field", "told", "model", "fields"),
    [
        case("max_images alone", "max_images", "no effect without", max_images=3),
        case("max_images, stranger", "max_images", "no effect", STRANGER, max_images=3),
        case(
            "together",
            "max_images",
            "at most 15, not 10 [+] 6; lower max_images to 5",
            image=["u"] * 10,
            max_images=6,
            **GROUP,
        ),
        case("seed", "seed", "leave it out$", seed=0),
        case("seed of pro", "seed", "leave it out$", PRO, seed=-1),
        case("guidance", "guidance_scale", "leave it out$", V4_0, guidance_scale=2.5),
        case(
            "png of 4.5", "output_format", f"only makes jpeg; .*{LITE}", V4_5, output_format="png"
        ),
        case("jpeg of 4.0", "output_format", "only makes jpeg", V4_0, output_format="jpeg"),
        case(
            "no group of pro",
            "sequential_image_generation",
            "not supported",
            PRO,
            sequential_image_generation="disabled",
        ),
        case("opaque lite", "background", "not supported", LITE, background="opaque"),
        case("small flash", "size", "at least 0.92 Mpx", FLASH, size="512x512"),
        case("large 5.5", "size", "at most 4.62 Mpx", V5_5, size="4096x4096"),
        case("refs of flash", "image", "at most 10", FLASH, image=["u"] * 11),
        case("tools of flash", "tools", "not supported", FLASH, tools=SEARCH),
        case("tier of 3.0", "size", "takes WIDTHxHEIGHT; nearest: 1024x1024", V3, size="2K"),
        case("large 3.0", "size", "nearest recommended: 1024x1024", V3, size="4096x4096"),
        case("reference of 3.0", "image", "takes no references, not 1", V3, image="u"),
        case(
            "options of 3.0",
            "optimize_prompt_options",
            "not supported",
            V3,
            optimize_prompt_options={"mode": "standard"},
        ),
        case(
            "edit", "size", "takes adaptive; nearest: adaptive", EDIT, size="1024x1024", image="u"
        ),
        case("edit of nothing", "image", "only edits images", EDIT),
        case("edit of two", "image", "at most 1 references", EDIT, image=["u", "v"]),
    ],
)
def test_warns(field, told, model, fields):
    """Where sources disagree or are silent, the request is sent, with a warning."""
    (problem,) = found(model, **fields)

    with pytest.warns(UserWarning, match=told):
        judge([problem], "strict")

    assert (problem.field, problem.certain) == (field, False)


@pytest.mark.parametrize("model", [FLASH, V3])
def test_warns_of_streams(model):
    """Nobody has tried to stream these models."""
    (problem,) = found(model, stream=True)

    with pytest.warns(UserWarning, match="stream is not supported"):
        judge([problem], "strict")


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        pytest.param(model, fields, id=f"{model}, {fields}")
        for model, fields in [
            (LITE, {}),
            (LITE, {"size": "2K"}),
            (LITE, {"size": "3k"}),
            (LITE, {"size": "2560x1440"}),
            (LITE, {"size": "2048 × 2048"}),
            (LITE, {"image": ["u"] * 14}),
            (LITE, {"image": ["u"] * 5, "max_images": 10, **GROUP}),
            (LITE, {"image": ["u"] * 14, **GROUP}),
            (LITE, {"tools": SEARCH, "output_format": "png", "watermark": False}),
            (LITE, {"tools": [], "optimize_prompt_options": {}, "layer_decomposition": False}),
            (LITE, {"optimize_prompt_options": {"mode": "standard", "thinking": "auto"}}),
            (V4_0, {"size": "1280x720", "optimize_prompt_options": {"mode": "fast"}}),
            (V4_5, {"sequential_image_generation": "disabled", "optimize_prompt": True}),
            (PRO, {"size": "1.5k", "optimize_prompt_options": {"mode": "fast"}}),
            (PRO, {"background": "transparent", "image": "u"}),
            (PRO, {"background": "transparent", "image": "u", "output_format": "png"}),
            (PRO, {"background": "opaque", "output_format": "jpeg"}),
            (PRO, LAYERS),
            (PRO, {"size": "auto", **LAYERS}),
            (PRO, {"size": "1.5K", **LAYERS}),
            (FLASH, LAYERS),
            (V5_5, {"background": "transparent", "tools": SEARCH}),
            (V5_5, {"optimize_prompt_options": {"mode": "fast"}, **LAYERS}),
            (V3, {"seed": 0, "guidance_scale": 10, "size": "512x512"}),
            (EDIT, {"image": "u", "size": "adaptive", "seed": -1}),
            (STRANGER, {"size": "9K", "image": ["u"] * 14, "seed": 1, "tools": SEARCH}),
            (ENDPOINT, {"size": "64x64", "background": "transparent", **LAYERS}),
            (STRANGER, {"size": "adaptive"}),
        ]
    ],
)
def test_lets_through(model, fields):
    """What may be right is sent without a word."""
    assert found(model, **fields) == []


@pytest.mark.parametrize("model", [LITE, V4_5, V4_0, V5_5, STRANGER])
def test_lets_streams_through(model):
    """Models that stream, or may do so, are let."""
    assert found(model, stream=True) == []


def test_the_model_of_the_request_comes_first():
    """The client's model counts only if the request names none."""
    request = GenerateRequest("a cat", model=V4_0, size="1024x1024")

    assert list(problems(request, LITE)) == []


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        pytest.param(V4_5, {"size": "1K", "seed": 1, "tools": SEARCH}, id="many"),
        pytest.param(LITE, {"size": "0x0"}, id="one"),
    ],
)
def test_in_mode_warn_warns_of_all(model, fields):
    """Nothing is refused, and every problem is told."""
    all_of_them = found(model, **fields)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        judge(all_of_them, "warn")

    assert all_of_them
    assert [str(each.message) for each in caught] == [each.message for each in all_of_them]
    assert {each.category for each in caught} == {UserWarning}


def test_in_mode_off_does_not_look():
    """Problems are not even looked for."""

    def bomb():
        raise AssertionError("looked")
        yield

    assert judge(bomb(), "off") is None


def test_what_is_certain_is_refused_without_warnings():
    """A refusal says one thing, although there is an uncertain problem before it."""
    given_problems = [Problem("seed", "unsure", certain=False), Problem("size", "sure")]

    with pytest.raises(InvalidRequestError, match=r"^sure; "):
        judge(given_problems, "strict")


def test_remedies_are_told_together():
    """The remedy for a refusal by the server names all that may be wrong."""
    request = GenerateRequest("a cat", size="1K", seed=1)

    assert remedy_for(request, V4_5) == ". ".join(
        problem.message for problem in found(V4_5, size="1K", seed=1)
    )
    assert remedy_for(GenerateRequest("a cat"), V4_5) is None
    assert "stream" in remedy_for(GenerateRequest("a cat"), PRO, stream=True)


def kind(name):
    return getattr(_sniff, name)


def reference(name="PNG", width=640, height=480):
    return _sniff.Sniffed(kind(name), width, height)


@pytest.mark.parametrize(
    ("sniffed", "size", "model", "layers", "told", "certain"),
    [
        pytest.param(
            reference("HEIC"),
            9,
            EDIT,
            False,
            "it is heic; save it as jpeg or png",
            False,
            id="heic of edit",
        ),
        pytest.param(
            reference("GIF"), 9, PRO, True, "save it as png or jpeg", True, id="gif layers"
        ),
        pytest.param(reference(), MAX_BYTES + 1, LITE, False, "30000001 bytes", False, id="30 MB"),
        pytest.param(reference(), 2**25, LITE, False, "33554432 bytes", True, id="32 MiB"),
        pytest.param(reference(), 2**25, FLASH, False, "bytes", False, id="32 MiB of flash"),
        pytest.param(reference(), 2**25, None, False, "bytes", True, id="32 MiB of a stranger"),
        pytest.param(reference("PNG", 14, 100), 9, LITE, False, "15 at least", True, id="narrow"),
        pytest.param(reference("PNG", 100, 14), 9, LITE, False, "15 at least", True, id="low"),
        pytest.param(reference("PNG", 1700, 100), 9, LITE, False, "1/16 to 16", True, id="wide"),
        pytest.param(reference("PNG", 100, 1700), 9, None, False, "1/16 to 16", True, id="high"),
        pytest.param(reference("PNG", 400, 100), 9, EDIT, False, "1/3 to 3", False, id="wide edit"),
        pytest.param(reference("PNG", 6001, 6000), 9, LITE, False, "36000000 px", True, id="large"),
        pytest.param(
            reference("PNG", 500, 500), 9, PRO, True, "262144 px", True, id="small layers"
        ),
    ],
)
def test_references_that_are_refused(sniffed, size, model, *, layers, told, certain):
    """A reference outside of the limits is told, with what to do."""
    (problem,) = reference_problems(sniffed, size, model and family_of(model), layers=layers)

    assert told in problem.message
    assert (problem.field, problem.certain) == ("image", certain)


@pytest.mark.parametrize(
    ("sniffed", "size", "model", "layers"),
    [
        pytest.param(reference(), MAX_BYTES, LITE, False, id="30 MB"),
        pytest.param(reference("PNG", 15, 15), 9, LITE, False, id="small"),
        pytest.param(reference("PNG", 1600, 100), 9, LITE, False, id="wide"),
        pytest.param(reference("PNG", 100, 300), 9, EDIT, False, id="high edit"),
        pytest.param(reference("PNG", 6000, 6000), 9, LITE, False, id="large"),
        pytest.param(reference("PNG", 512, 512), 9, PRO, True, id="small layers"),
        pytest.param(reference("PNG", 0, 0), 9, LITE, True, id="unknown size"),
        pytest.param(reference("PNG", 0, 9), 9, LITE, False, id="unknown width"),
        pytest.param(reference("PNG", 9, 0), 9, LITE, False, id="unknown height"),
        *(
            pytest.param(reference(name), 9, model, False, id=f"{name} of {model}")
            for name in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
            for model in (LITE, V3, None)
        ),
        *(
            pytest.param(reference(name), 9, model, False, id=f"{name} of {model}")
            for name in ("HEIC", "HEIF")
            for model in (LITE, PRO, None)
        ),
    ],
)
def test_references_that_are_fine(sniffed, size, model, layers):
    """A reference within the limits passes."""
    family = model and family_of(model)

    assert not [*reference_problems(sniffed, size, family, layers=layers)]


IDS = st.sampled_from([name for family in FAMILIES for name in family.ids])


@given(model=IDS, data=st.data())
def test_every_recommended_size_passes(model, data):
    """What the catalogue recommends, and the default, is let through."""
    family = family_of(model)
    sizes = [size for row in family.sizes.values() for size in row]
    size = data.draw(st.sampled_from([*sizes, *family.sizes, family.default_size]))

    told = found(model, size=size, **({"image": "u"} if family.needs_reference else {}))

    assert told == []


@given(model=IDS, width=st.integers(1, 20_000), height=st.integers(1, 20_000))
def test_the_remedy_passes(model, width, height):
    """The size that a message recommends is let through."""
    sizes = [each for each in found(model, size=f"{width}x{height}") if each.field == "size"]
    assume(sizes)

    recommended = {each.message.rpartition(": ")[2] for each in sizes}

    assert len(recommended) == 1
    assert not [each for each in found(model, size=recommended.pop()) if each.field == "size"]


@given(ratio=st.sampled_from(RATIOS), thousands=st.integers(1, 9), model=IDS)
def test_the_nearest_tier_passes(ratio, thousands, model):
    """So is the tier, if it is a tier that is wrong."""
    sizes = [each for each in found(model, size=f"{thousands}K") if each.field == "size"]

    for problem in sizes:
        nearest = problem.message.rpartition(": ")[2]

        assert not [each for each in found(model, size=nearest) if each.field == "size"]


NOT_VALIDATED = ("prompt", "model", "image", "extra_body", "extra_headers")
VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["auto", "2K", "1x1", "16:9", "png", "transparent", "disabled", "999999x1"])
    | st.lists(st.text() | st.dictionaries(st.text(), st.text()))
    | st.dictionaries(st.sampled_from(["mode", "type", "a"]), st.text() | st.integers())
)
FIELDS = [name for name in attrs.fields_dict(GenerateRequest) if name not in NOT_VALIDATED]


@given(
    model=IDS | st.text(),
    fields=st.dictionaries(st.sampled_from(FIELDS), VALUES),
    references=st.integers(0, 20),
    stream=st.booleans(),
    mode=st.sampled_from(["warn", "off"]),
)
def test_never_raises_unless_strict(model, fields, references, stream, mode):
    """No value of any field makes validation raise, except to refuse in mode `strict`."""
    request = GenerateRequest("a cat", image=["u"] * references, **fields)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        judge(problems(request, model, stream=stream), mode)

    assert all(each.message for each in problems(request, model, stream=stream))
