"""Reference images, from whatever the caller has."""

import base64

import pytest

from seedream_async import Image, InvalidRequestError, _references
from seedream_async.emulator._pictures import render

PNG = render(64, 48, "png", b"a reference")
DATA_URI = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


@pytest.mark.parametrize("text", ["https://h/a.png", "http://h/a.png", "data:image/png;base64,AA"])
async def test_links_and_data_uris_pass(text):
    """What the API takes is passed as it is."""
    assert await _references.resolve([text]) == [text]


async def test_files_and_bytes_are_encoded(tmp_path):
    """A path, a name, bytes and base64 all become the same data URI."""
    path = tmp_path / "photo.dat"
    path.write_bytes(PNG)
    image = Image(b64_json=base64.b64encode(PNG).decode())

    assert await _references.resolve([path, str(path), PNG, image]) == [DATA_URI] * 4


async def test_an_earlier_image_is_passed_by_its_link():
    """An image of a response is not fetched to be sent back."""
    assert await _references.resolve([Image(url="https://h/0.jpeg")]) == ["https://h/0.jpeg"]


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        pytest.param("missing.png", "No such file or directory", id="missing"),
        pytest.param(".", "Is a directory", id="folder"),
        pytest.param("a\0b", "not a path", id="null"),
        pytest.param(b"%PDF-1.7", "no JPEG, PNG", id="not an image"),
        pytest.param(Image(), "cannot be read", id="hollow image"),
        pytest.param(Image(b64_json="!"), "not base64", id="broken base64"),
    ],
)
async def test_what_is_no_reference_is_refused(reference, problem):
    """The error names the field, the fault, and what would do."""
    with pytest.raises(InvalidRequestError, match=problem) as excinfo:
        await _references.resolve([reference])

    assert excinfo.value.field == "image"


async def test_size_is_limited(monkeypatch):
    """A reference above the API's limit is refused before it is encoded."""
    monkeypatch.setattr(_references, "MAX_BYTES", len(PNG) - 1)

    with pytest.raises(InvalidRequestError, match=f"has {len(PNG)} bytes"):
        await _references.resolve([PNG])
