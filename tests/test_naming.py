"""Where the images of many requests go, from `save_to` to the files."""

import os
import shutil
from pathlib import Path

import pytest

from seedream_async import (
    Failure,
    GenerateRequest,
    ImageName,
    InvalidRequestError,
    StorageError,
    _files,
)
from seedream_async._naming import AnswerPlaces, Naming

GROUP = GenerateRequest(
    "four seasons", sequential_image_generation="auto", max_images=3, model="seedream-4-5-251128"
)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def files():
    """All files below the current folder."""
    return sorted(path.as_posix() for path in Path().rglob("*") if path.is_file())


async def saved(client, requests, save_to):
    results = await client.generate_many(requests, save_to=save_to)
    return [file.path.as_posix() for result in results for file in result.unwrap().files]


async def test_a_template_names_the_files(client):
    """Subfolders come from fields, the extension from the bytes, the model from the client."""
    requests = ["a cat", GenerateRequest("a dog", output_format="png")]

    paths = await saved(client, requests, "out/{model}/{index:03d}-{size}-{seed}-{prompt:.4}.{ext}")

    assert paths == [
        f"out/{client.model}/000-2048x2048-random-a-ca.jpeg",
        f"out/{client.model}/001-2048x2048-random-a-do.png",
    ]
    assert files() == paths


async def test_groups_are_numbered(client):
    """Without a number in the template, the images of a group get it all the same."""
    paths = await saved(client, [GROUP, "a cat"], Path("{index}.{ext}"))

    assert paths == ["0-1.jpeg", "0-2.jpeg", "0-3.jpeg", "1.jpeg"]


async def test_groups_tell_their_number(client):
    """A template can put the number where it likes."""
    paths = await saved(client, [GROUP], "{index}/{number:02d}.{ext}")

    assert paths == ["0/01.jpeg", "0/02.jpeg", "0/03.jpeg"]


@pytest.mark.parametrize("template", ["{index}.{ext}", "{index}.jpeg", "sub/{model}/{index}"])
async def test_taken_names_get_a_number(client, template):
    """What an earlier run left stays; a paid image is not refused for it."""
    (first,) = await saved(client, ["a cat"], template)

    (second,) = await saved(client, ["a dog"], template)

    assert second == first.replace("0.jpeg", "0_1.jpeg")
    assert files() == sorted([first, second])


async def test_a_suffix_of_ones_own_stays(client):
    """Who writes a suffix gets it, whatever the bytes are, as for a single file."""
    assert await saved(client, ["a cat"], "{index}.png") == ["0.png"]


@pytest.mark.parametrize(
    ("save_to", "problem"),
    [
        pytest.param("{size}.{ext}", "two images could get the same name", id="collision"),
        pytest.param("{model}/../../{index}", "leads out of its folder", id="escape"),
        pytest.param(7, "no path, template or function", id="number"),
        pytest.param(b"out", "no path, template or function", id="bytes"),
        pytest.param("a\0b", "null", id="null"),
    ],
)
async def test_bad_templates_are_refused_at_once(emulator, client, save_to, problem):
    """The call itself raises, before there is anything to await."""
    with pytest.raises(InvalidRequestError, match=problem) as excinfo:
        client.generate_many(["a cat"], save_to=save_to)

    assert excinfo.value.field == "save_to"
    assert emulator.request_count == 0


async def test_a_template_below_a_file(emulator, client):
    """A folder that cannot be is told before anything is sent."""
    await saved(client, ["a cat"], lambda _: "file.png")

    with pytest.raises(InvalidRequestError, match="is a file, not a folder"):
        await client.generate_many(["a cat"], save_to="file.png/{index}.{ext}")

    assert emulator.request_count == 1


async def test_a_function_names_the_files(client):
    """A function is told what a template could use, and its path may lead anywhere."""
    asked = []

    def name(image):
        asked.append(image)
        return Path("deep", f"{image.prompt}-v1.{image.number}")

    paths = await saved(client, [GROUP], name)

    assert paths == [f"deep/four-seasons-v1.{number}.jpeg" for number in (1, 2, 3)]
    assert asked[0] == ImageName(
        index=0,
        number=1,
        count=3,
        size=asked[0].size,
        model="seedream-4-5-251128",
        prompt="four seasons",
    )


async def test_equal_names_of_a_function_are_numbered(client, tmp_path):
    """Two images that a function gives one absolute path are both kept, with its suffix."""
    paths = await saved(client, ["a cat", "a dog"], lambda _: f"{tmp_path}/x/same.JPG")

    assert sorted(Path(path).name for path in paths) == ["same.JPG", "same_1.JPG"]
    assert files() == ["x/same.JPG", "x/same_1.JPG"]


def raises(image):
    if image.number == 2:
        raise KeyError(image.prompt)
    return f"{image.number}"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        pytest.param(raises, "raised KeyError for image 2 of request 0", id="raises"),
        pytest.param(lambda image: None if image.number == 2 else "x", "no file", id="None"),
        pytest.param(
            lambda image: "cats/.png" if image.number == 2 else "x", "in a name", id="dot"
        ),
        pytest.param(lambda image: "out/" if image.number == 2 else "x", "a name", id="folder"),
        pytest.param(lambda image: ".." if image.number == 2 else "x", "a name", id="above"),
        pytest.param(lambda image: "a\0" if image.number == 2 else "x", "null", id="null"),
    ],
)
async def test_a_function_that_fails(emulator, client, name, problem):
    """All images are paid for: the error carries them, and the others of the group are saved."""
    (failure,) = await client.generate_many([GROUP], save_to=name)

    assert isinstance(failure, Failure)
    error = failure.error
    assert isinstance(error, StorageError)
    assert problem in str(error)
    assert "four" not in str(error)
    assert "is not lost" in error.__notes__[0]
    assert len(error.response.images) == 3
    assert len(error.response.files) == len(files()) == 2
    assert emulator.images_billed == 3


def test_the_size_that_was_asked_for():
    """Where an answer tells no size, the request's stands in."""
    naming = Naming.of(lambda image: image.size)
    name = ImageName(index=0, size="2K")

    place = AnswerPlaces(naming.place, name, (None,)).nth(0, 1)

    assert place.stem == "2K"


def place_in(folder, within):
    return _files.Place(Path(folder), "cat", within=within and Path(within))


def test_folders_are_made_when_needed():
    """What is missing below the folder of all images is made, again and again."""
    for _ in range(2):
        place_in("root/a/b", ".").make_folder()
        assert Path("root/a/b").is_dir()
        shutil.rmtree("root")


@pytest.mark.parametrize("within", ["gone", None])
def test_only_subfolders_are_made(within):
    """The folder of all images, and that of a single one, was made before anything was sent."""
    place_in("gone", within).make_folder()

    assert not Path("gone").exists()


def test_a_folder_that_is_gone_stays_gone():
    """A folder that somebody took away is not made anew behind his back."""
    with pytest.raises(FileNotFoundError):
        place_in("gone/a", "gone").make_folder()

    assert not Path("gone").exists()


def test_subfolders_are_swept():
    """Parts that a killed process left in a subfolder go, as those in the folder itself."""
    Path("root/sub").mkdir(parents=True)
    part = Path("root/sub/.cat.1-0123abcd.part")
    part.touch()
    os.utime(part, (0, 0))

    place_in("root/sub", "root").make_folder()

    assert files() == []
