"""Templates of names: what they make, that it is safe, and that no two images share it."""

import re
import string
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from seedream_async import ImageName, InvalidRequestError
from seedream_async._names import distinct_name, plain_name
from seedream_async._templates import parse, split_suffix

DEVICES = {"CON", "PRN", "AUX", "NUL"} | {
    f"{name}{digit}" for name in ("COM", "LPT") for digit in "0123456789¹²³"
}
NAME = ImageName(
    index=7,
    number=2,
    count=3,
    size="2048x1024",
    model="seedream-4-5",
    seed=42,
    prompt="A cat, in a hat",
    id="row 9",
    extra={"kind": "b&w"},
)
SINGLE = ImageName(index=7, size="2048x1024", prompt="con")


def parsed(text, **options):
    return parse(text, argument="save_to", **options)


def path(template, name):
    """What *template* makes of *name*, for a JPEG."""
    parsed_template = parsed(template, keys=("index", "id"), extra=("kind",))
    return parsed_template.path(name).as_posix() + (parsed_template.suffix or ".jpeg")


@pytest.mark.parametrize(
    ("template", "made"),
    [
        pytest.param("out", "out/000007-2.jpeg", id="folder"),
        pytest.param("out/", "out/000007-2.jpeg", id="folder with a slash"),
        pytest.param("out.png", "out.png/000007-2.jpeg", id="folder with a suffix"),
        pytest.param("a{{b}}c", "a{b}c/000007-2.jpeg", id="folder with braces"),
        pytest.param("../o/{index}", "../o/7-2.jpeg", id="folder above"),
        pytest.param("{index:06d}-{size}.{ext}", "000007-2048x1024-2.jpeg", id="size"),
        pytest.param("{index:03}.{ext}", "007-2.jpeg", id="width"),
        pytest.param("{index:d}", "7-2.jpeg", id="plain number"),
        pytest.param("{index}.PNG", "7-2.PNG", id="suffix of one's own"),
        pytest.param("{index}.v2", "7.v2-2.jpeg", id="dot in the name"),
        pytest.param("{index}_{number:02d}.{ext}", "7_02.jpeg", id="number"),
        pytest.param("a{{{index}}}", "a{7}-2.jpeg", id="braces in the name"),
        pytest.param("{seed}-{index}", "42-7-2.jpeg", id="seed"),
        pytest.param("{model}/{index}", "seedream-4-5/7-2.jpeg", id="folder by a field"),
        pytest.param("{index}/{prompt}", "7/A-cat-in-a-hat-2.jpeg", id="folder for each"),
        pytest.param("{index}/{number}/x", "7/2/x.jpeg", id="number as folder"),
        pytest.param("{prompt:.5}-{index}", "A-cat-7+2.jpeg", id="cut"),
        pytest.param("{prompt:.2}-{index}-{number}", "A-7-2.jpeg", id="cut behind a word"),
        pytest.param("{id}", "row-9-a0cd4b36+2.jpeg", id="id"),
        pytest.param("{kind}-{index}", "b-w-7+2.jpeg", id="extra"),
    ],
)
def test_fields_are_filled_in(template, made):
    """A template makes the names that it looks like, and a group's images get numbers."""
    assert path(template, NAME) == made


@pytest.mark.parametrize(
    ("template", "made"),
    [
        pytest.param("out", "out/000007.jpeg", id="folder"),
        pytest.param("{prompt}-{index}", "image-con-7.jpeg", id="last"),
        pytest.param("{index}-{seed:05d}", "7-random.jpeg", id="no seed"),
        pytest.param("{index}/{kind}", "7/none.jpeg", id="no such extra"),
        pytest.param("com{index}", "image-com7.jpeg", id="device"),
        pytest.param("COM¹{index}/com¹.{index}", "COM¹7/image-com¹.7.jpeg", id="superscript"),
    ],
)
def test_a_single_image_gets_no_number(template, made):
    """One image has the name alone; what is not known has a word."""
    assert path(template, SINGLE) == made


@pytest.mark.parametrize("seed", [None, -1, "7", 10**20], ids=str)
def test_seeds_that_are_none(seed):
    """The API's own "any", and what is no number, is no seed."""
    assert ImageName(index=0, seed=seed).seed is None


def test_the_prompt_is_private():
    """What a person wrote is in no repr."""
    assert "cat" not in repr(NAME)


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        pytest.param("{idx}", "no field {idx}, only {index}, {number}, {size}", id="unknown"),
        pytest.param("{id}", "no field {id}, only", id="no id here"),
        pytest.param("{}", "no field {}, only", id="no name"),
        pytest.param("{0}", "no field {0}, only", id="position"),
        pytest.param("{index.__class__}", "no field {index.__class__}", id="attribute"),
        pytest.param("{prompt[0]}", "no field {prompt[0]}", id="item"),
        pytest.param("{count}", "no field {count}", id="not a field"),
        pytest.param("{index!s}", "no other way than {index} or {index:06d}", id="conversion"),
        pytest.param("{index!s:.3}", "no other way than", id="conversion and cut"),
        pytest.param("{index:.3}", "no other way than", id="cut index"),
        pytest.param("{index:zz}", "no other way than", id="bad spec"),
        pytest.param("{index:6}", "no other way than", id="blanks"),
        pytest.param("{index:x}", "no other way than", id="hexadecimal"),
        pytest.param("{index:0999999999d}", "no other way than", id="a bomb"),
        pytest.param("{index:{number}}", "no other way than", id="nested"),
        pytest.param("{index}{prompt:60}", "or {prompt:.40}", id="padded text"),
        pytest.param("{index}-{size:.2}", "no other way than {size}", id="cut size"),
        pytest.param("{index", "expected '}'", id="open"),
        pytest.param("index}", "Single '}'", id="closed"),
        pytest.param("{index}/", "ends in a folder", id="folder"),
        pytest.param("{index}/.{ext}", "ends in a folder", id="extension alone"),
        pytest.param("{index}/.png", "ends in a folder", id="suffix alone"),
        pytest.param("{ext}/{index}", "at the end, as .{ext}", id="extension first"),
        pytest.param("{index}{ext}", "at the end, as .{ext}", id="extension without dot"),
        pytest.param("{model}/../{index}", "leads out of its folder", id="escape"),
        pytest.param("{index}/..", "leads out of its folder", id="escape at the end"),
        pytest.param("{index}:{size}", "takes ':' in a name", id="colon"),
        pytest.param("{index}\0", "in a name", id="null"),
        pytest.param("{index}\ud83d", "in a name", id="surrogate"),
        pytest.param("{index}./x", "loses it on Windows", id="dot at the end"),
        pytest.param("{index} ", "loses it on Windows", id="blank at the end"),
        pytest.param("{index}" + "猫" * 75, "longer than 255 bytes", id="long"),
        pytest.param("{index}-{prompt}-{model}-{model}", "longer than 255", id="long values"),
        pytest.param("{size}.{ext}", "same name; put {index} first or last", id="no index"),
        pytest.param("{index}{size}", "same name", id="index and field"),
        pytest.param("{index}1{size}", "same name", id="index and digit"),
        pytest.param("{prompt}-{index}-{model}", "same name", id="index between texts"),
        pytest.param("{index}{number}", "same name", id="index and number"),
        pytest.param("{index}-{size}{number}", "one group", id="number and field"),
        pytest.param("+{prompt}-{index}", "{number} at the end", id="plus"),
    ],
)
def test_bad_templates_are_refused(template, problem):
    """What could collide, escape or run code is refused, with the name of the argument."""
    with pytest.raises(InvalidRequestError, match=re.escape(problem)) as excinfo:
        parsed(template)

    assert str(excinfo.value).startswith("save_to: ")
    assert excinfo.value.field == "save_to"


def test_ids_are_not_cut():
    """What tells rows apart stays whole."""
    with pytest.raises(InvalidRequestError, match=r"no other way than \{id\}$"):
        parsed("{id:.5}", keys=("id",))


def test_the_caller_has_a_default():
    """A folder's names are those of its caller."""
    template = parsed("out", keys=("id",), default="{id}.{ext}")

    assert template.path(ImageName(index=0, id="x")) == Path("out/x")


@given(st.text(), st.text())
@example("a b", "a-b")
@example("", "image")
@example("x" * 81, "x" * 80)
def test_other_ids_have_other_names(one, other):
    """A name that had to change says so by a digest."""
    assert (distinct_name(one) == distinct_name(other)) is (one == other)
    assert len(distinct_name(one)) <= 95


def test_plain_names():
    """Letters and digits, and never nothing."""
    assert (plain_name("2048 x 2048"), plain_name("猫")) == ("2048x2048", "unknown")
    assert len(plain_name("x" * 99)) == 20


def test_suffixes_of_images():
    """Only an image's suffix is one; any other dot belongs to the name."""
    assert split_suffix("v1.0/a.JPG") == ("v1.0/a", ".JPG")
    assert split_suffix("v1.0/a") == ("v1.0/a", None)


FIELDS = ("index", "number", "size", "seed", "model", "prompt")
PIECES = st.sampled_from(
    [*map("{{{}}}".format, (*FIELDS, "index", "index:02d", "prompt:.1")), *"--._+1xa/i", "com"]
)
TEMPLATES = st.lists(PIECES, min_size=1, max_size=7).map("".join)
FEW = st.integers(0, 3) | st.sampled_from([11, 12, 21, 111])
TRICKY = st.text("12-._a", max_size=4) | st.sampled_from(["a-1", "a-1-2", "1-1", "con", "a-2K"])
SIZES = st.sampled_from(["1", "2", "11", "12", "1x1", "1-1", "2K"])


@st.composite
def groups(draw, index):
    """The images of one request, whose sizes differ."""
    count = draw(st.sampled_from([1, 2, 12]))
    fixed = {"model": draw(TRICKY), "prompt": draw(TRICKY), "seed": draw(st.none() | FEW)}
    for number in {draw(st.integers(1, count)) for _ in range(2)}:
        yield ImageName(index=index, number=number, count=count, size=draw(SIZES), **fixed)


@st.composite
def pairs(draw):
    """Two images of one call that differ in index or number."""
    indices = sorted({draw(FEW), draw(FEW)})
    names = [name for index in indices for name in draw(groups(index))]
    assume(len(names) > 1)
    return names


@settings(max_examples=400)
@given(TEMPLATES, pairs())
@example(
    "{prompt}-{index}", [ImageName(index=2, prompt="a", count=2), ImageName(index=1, prompt="a-2")]
)
@example(
    "{index}-{size}{number}",
    [ImageName(index=0, number=n, count=12, size=s) for n, s in ((12, "1"), (2, "11"))],
)
@example("{prompt}{index}", [ImageName(index=2, prompt="a1"), ImageName(index=12, prompt="a")])
def test_no_two_images_share_a_name(template, names):
    """Whatever template is accepted, another index or number is another name, in any case."""
    try:
        accepted = parsed(template)
    except InvalidRequestError:
        return

    made = [str(accepted.path(name)).casefold() for name in names]

    assert len(set(made)) == len(names)


ROWS = ["a", "a-1", "a-1-1", "1", "1-1", "a.1", "a_1", "a b", "1x1", "1-2K"]


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from(["{id}", "{id}", "{size}", "{number}", "{prompt}", *"-._+/a1"]), max_size=6
    ),
    st.lists(
        st.tuples(st.sampled_from(ROWS), st.sampled_from([1, 3]), TRICKY),
        min_size=2,
        max_size=3,
        unique_by=lambda row: row[0],
    ),
    st.data(),
)
def test_no_two_rows_share_a_name(pieces, rows, data):
    """The same with the ids of rows, which are any text."""
    try:
        accepted = parsed("".join(["out/", *pieces]), keys=("id",), default="{id}")
    except InvalidRequestError:
        return

    made = [
        accepted.path(
            ImageName(
                index=0, id=row, number=n + 1, count=count, size=data.draw(SIZES), prompt=prompt
            )
        )
        for row, count, prompt in rows
        for n in range(count)
    ]

    assert len(set(made)) == len(made)


SOUND = [
    "out/{index}",
    "out/{index:06d}-{size}-{prompt:.3}",
    "out/{prompt}/{model}/{size}/{index}-{number}",
    "out/{prompt:.3}{size}/com{index}",
    "out/{index}/{prompt}",
    "out/{index}/c{prompt}",
    "out/{prompt}-{index}",
]
VALUES = (
    st.text()
    | st.text('/\\:*?"<>|.-_ aCON\0\n', min_size=1)
    | st.sampled_from(["con", "on", "NUL.txt", "..", "../..", "C:", "con.", "console", "x" * 500])
)


@settings(max_examples=200)
@given(st.sampled_from(SOUND), VALUES, VALUES, VALUES, st.sampled_from([1, 15]))
@example("out/{index}/c{prompt}", "on", "", "", 1)
@example("out/{prompt:.3}{size}/com{index}", "console", "", "", 1)
def test_any_name_is_legal_and_inside(template, prompt, model, size, count):
    """Whatever the texts, what is made stays in the folder and is a name on every system."""
    name = ImageName(index=3, count=count, prompt=prompt, model=model, size=size)

    made = parsed(template).path(name).as_posix() + ".jpeg"

    assert made.startswith("out/")
    for kind in (PurePosixPath, PureWindowsPath):
        assert kind(made).parts == tuple(made.split("/"))
    for part in made.split("/"):
        assert not set(part) - set(string.ascii_letters + string.digits + "._-+")
        assert part[-1] not in ". "
        assert part.split(".")[0].upper() not in DEVICES
        assert 0 < len(part.encode()) <= 255
