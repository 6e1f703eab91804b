"""Which rows are the same work, and what files hold."""

import asyncio
import base64
import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import GenerateRequest, InvalidRequestError, _digests
from seedream_async._digests import reference_names
from seedream_async._keys import SIZE, key_of
from seedream_async.batch._contents import digest_of, input_digest, missing
from seedream_async.batch._entries import File
from seedream_async.emulator._pictures import render

PNG = render(64, 48, "png", b"a test")
OTHER = render(64, 48, "png", b"another test")


def key(prompt="a cat", *, model="m", references=(), **fields):
    return key_of(GenerateRequest(prompt, **fields), model=model, references=references)


def test_a_key_is_written_down():
    """Keys stay what they are from release to release, or all would be paid for again."""
    assert key(size="2K", seed=3, guidance_scale=2.5).hex() == "62f69417825c21e86b1d54f0"
    assert len(key()) == SIZE


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "a Cat"},
        {"model": "n"},
        {"references": ("a",)},
        {"size": "2K"},
        {"watermark": False},
        {"seed": 1},
        {"max_images": 2},
        {"extra_body": {"x": 1}},
        {"output_format": "png"},
    ],
    ids=str,
)
def test_what_is_new_work(other):
    """Whatever may change the picture changes the key."""
    assert key(**other) != key()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {"response_format": "b64_json"}),
        ({}, {"extra_headers": {"x-trace": "1"}}),
        ({"model": "n"}, {"fields": {"model": "n"}}),
        ({"guidance_scale": 3}, {"guidance_scale": 3.0}),
        ({"size": "2048x2048"}, {"size": "2048 × 2048"}),
        ({"extra_body": {"a": 1, "b": [2.0]}}, {"extra_body": {"b": (2,), "a": 1}}),
        ({"extra_body": {"a": {1: 2, "b": 3}}}, {"extra_body": {"a": {"b": 3, "1": 2}}}),
        ({"extra_body": {"a": {None: 1, True: 2}}}, {"extra_body": {"a": {"true": 2, "null": 1}}}),
        ({"references": ["x"]}, {"references": ("x",), "image": "elsewhere.png"}),
    ],
    ids=[
        *("as base64", "headers", "own model", "number", "sign", "order", "names", "names of JSON"),
        "place of a reference",
    ],
)
def test_what_is_the_same_work(one, other):
    """How a request is written, or travels, is not what it asks for."""
    other = dict(other)
    if fields := other.pop("fields", None):
        request = GenerateRequest("a cat", **fields)
        assert key_of(request, model="m") == key(**one)
    else:
        assert key(**other) == key(**one)


@given(first=st.lists(st.text(), max_size=3), second=st.lists(st.text(), max_size=3))
def test_references_do_not_run_together(first, second):
    """Other references, or the same in another order, are other work."""
    assert (key(references=first) == key(references=second)) is (first == second)


# References


async def test_references_are_named_by_what_they_hold(tmp_path):
    """The same bytes are the same reference, from wherever they come; a link is itself."""
    (tmp_path / "a.png").write_bytes(PNG)
    (tmp_path / "b.png").write_bytes(PNG)
    (tmp_path / "c.png").write_bytes(OTHER)
    uri = "data:image/png;base64," + base64.b64encode(PNG).decode()
    link = "https://example.test/a.png?x=%2F"

    names = await reference_names(
        [str(tmp_path / "a.png"), tmp_path / "b.png", tmp_path / "c.png", uri, PNG, link]
    )

    assert names[0] == names[1] == names[3] == names[4]
    assert names[2] != names[0]
    assert names[5] == link


async def test_a_file_that_changes_is_another(tmp_path):
    """An edited reference is new work; one that stays is read once."""
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    _digests._digest_of_path.cache_clear()
    first = await reference_names([path])
    again = await reference_names([path])
    reads = _digests._digest_of_path.cache_info().misses
    path.write_bytes(OTHER)
    os.utime(path, ns=(1, 1))

    changed = await reference_names([path])

    assert first == again != changed
    assert reads == 1


async def test_a_long_data_uri_is_its_bytes(monkeypatch):
    """Base64 is decoded in pieces, and comes to the same."""
    uri = "data:image/png;base64," + base64.b64encode(PNG).decode()
    monkeypatch.setattr(_digests, "_PIECE", 64)

    assert await reference_names([uri]) == await reference_names([PNG])


async def test_references_that_cannot_be_read(tmp_path):
    """A missing reference is told before anything is sent; none need no thread."""
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        await reference_names([str(tmp_path / "absent.png")])

    assert await reference_names([]) == ()


# Files


async def test_the_digest_of_an_input(tmp_path):
    """Another input has another digest, and a path to nothing is named."""
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"a cat\n" * 300_000)

    digest = await input_digest(path)

    assert digest == hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    with pytest.raises(InvalidRequestError, match=r"absent cannot be read: No such file"):
        await input_digest(tmp_path / "absent")


@pytest.mark.parametrize(
    ("change", "digests", "gone"),
    [
        (lambda path: None, True, False),
        (lambda path: path.unlink(), False, True),
        (lambda path: path.write_bytes(PNG[:-1]), False, True),
        (lambda path: path.write_bytes(bytes(len(PNG))), False, False),
        (lambda path: path.write_bytes(bytes(len(PNG))), True, True),
        (lambda path: (path.unlink(), path.mkdir()), False, True),
    ],
    ids=["whole", "removed", "cut", "other bytes", "other bytes, looked at", "folder"],
)
async def test_saved_files_are_looked_for(tmp_path, change, digests, gone):
    """A file that is said to be saved is there with its size, and its bytes on request."""
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    file = File(path="cat.png", bytes=len(PNG), digest=await asyncio.to_thread(digest_of, path))
    change(path)

    found = await missing([file], tmp_path, digests=digests)

    assert found == ((file,) if gone else ())


async def test_a_file_without_a_digest(tmp_path):
    """What was not noted cannot be compared; a name that no file can have is missing."""
    (tmp_path / "cat.png").write_bytes(PNG)
    file = File(path="cat.png", bytes=len(PNG))
    long = File(path="x" * 300, bytes=1)

    assert await missing([file, long], tmp_path, digests=True) == (long,)
