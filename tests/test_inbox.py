"""Answers whose base64 goes to files while it arrives, from a raw server and onto a real disk."""

import asyncio
import base64
import errno
import json
import os
import re
import shutil
import threading
import tracemalloc

import pytest

from seedream_async import (
    APIResponseValidationError,
    AsyncSeedream,
    BadRequestError,
    DownloadError,
    GenerateRequest,
    Image,
    IncompleteDownloadError,
    Limits,
    NotAnImageError,
    OutcomeUnknownError,
    RetryPolicy,
    StorageError,
    Success,
    _files,
    _inbox,
    _partfile,
    _saving,
    _wire,
)
from seedream_async._http import MOST_OF_ANSWER, Answer, Asked
from seedream_async.emulator._pictures import render

SMALL = render(64, 64, "jpeg", b"a test")
LARGE = SMALL[:2] + (b"\xff\xfe\xff\xff" + bytes(0xFFFD)) * 12 + SMALL[2:]  # of several pieces
RESEND = RetryPolicy(resend_unknown=True, wait_initial=0)


def text_of(image):
    return base64.b64encode(image).decode()


def item(image, **more):
    return {"b64_json": text_of(image), "size": "64x64"} | more


def answer(*data, **more):
    return http(json.dumps({"created": 1, "data": data} | more).encode())


def http(body, status="200 OK"):
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


class Api:
    """Gives the *answers* in turn, one for each connection; a GET has the small image."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = 0
        self.asked_twice = threading.Event()

    async def _serve(self, reader, writer):
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(b"GET"):
            writer.write(http(SMALL))
        else:
            await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))
            self.asked += 1
            if self.asked == 2:
                self.asked_twice.set()
            writer.write(self.answers.pop(0))
        writer.close()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1")
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_):
        self._server.close()


async def generate(save_to, *answers, prompt="a cat", retry=None, **options):
    policy = RetryPolicy(wait_initial=0)  # of downloads, too
    async with (
        Api(*answers) as api,
        AsyncSeedream(api_key="k", base_url=api.url, retry=policy) as client,
    ):
        return await client.generate(prompt, save_to=save_to, retry=retry, **options)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def fill_disk(monkeypatch):
    """Let the write number *at* of the system take a part, and every one up to *until* fail."""

    def fill(at, until=1000):
        count = 0

        def write(descriptor, views):
            nonlocal count
            data = b"".join(views)
            count += 1
            if at < count <= until:
                raise OSError(errno.ENOSPC, "No space left on device")
            return os.write(descriptor, data[:1000] if count == at else data)

        monkeypatch.setattr(_partfile.os, "writev", write)

    return fill


@pytest.mark.parametrize("image", [SMALL, LARGE], ids=["small", "large"])
async def test_saved_while_it_arrives(tmp_path, image):
    """The file has the bytes, and the response all the rest."""
    response = await generate(tmp_path / "cat.jpeg", answer(item(image), usage={}))

    assert (tmp_path / "cat.jpeg").read_bytes() == image
    assert names(tmp_path) == ["cat.jpeg"]
    assert response.images == (Image(size="64x64"),)
    assert [file.path for file in response.files] == [tmp_path / "cat.jpeg"]
    assert response.raw["data"] == [{"b64_json": "", "size": "64x64"}]
    assert len(response.attempts) == 1


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        pytest.param([item(SMALL)], {}, ["cat.jpeg"], id="one"),
        pytest.param([item(SMALL), item(LARGE)], {}, ["cat.jpeg", "cat-2.jpeg"], id="one too many"),
        pytest.param([item(SMALL)], {"max_images": 3}, ["cat-1.jpeg"], id="group of one"),
        pytest.param(
            [item(SMALL), {"error": {"code": "x"}}, item(LARGE)],
            {"max_images": 3},
            ["cat-1.jpeg", "cat-2.jpeg"],
            id="group with a failure",
        ),
    ],
)
async def test_names_of_a_group(tmp_path, data, options, expected):
    """Numbers are for calls that may make several images, in the order of the answer."""
    group = {"sequential_image_generation": "auto"} if options else {}

    response = await generate(tmp_path / "cat.jpeg", answer(*data), **group, **options)

    assert [file.path.name for file in response.files] == expected
    assert [file.bytes for file in response.files] == [len(SMALL), len(LARGE)][: len(expected)]


async def test_links_and_base64_in_one_answer(tmp_path):
    """What comes as a link is fetched afterwards, and the order is kept."""
    api = Api()
    async with api, AsyncSeedream(api_key="k", base_url=api.url) as client:
        api.answers = [answer(item(LARGE), {"url": f"{api.url}/a.jpeg"}, item(LARGE))]
        response = await client.generate(
            "a cat",
            sequential_image_generation="auto",
            save_to=tmp_path / "cat.jpeg",
        )

    assert [file.bytes for file in response.files] == [len(LARGE), len(SMALL), len(LARGE)]
    assert response.images[1].url.endswith("/a.jpeg")
    assert len(names(tmp_path)) == 3


async def test_a_link_beside_empty_base64(tmp_path):
    """Relays that answer with both fields leave one of them empty."""
    api = Api()
    async with api, AsyncSeedream(api_key="k", base_url=api.url) as client:
        api.answers = [answer({"url": f"{api.url}/a.jpeg", "b64_json": ""})]
        response = await client.generate("a cat", save_to=tmp_path)
        async with client.open(response.images[0]) as stream:
            opened = await stream.read()

    assert [file.bytes for file in response.files] == [len(SMALL)]
    assert opened == SMALL


async def test_many_requests(tmp_path):
    """The images of a fan-out are named by their request."""
    answers = [answer(item(LARGE)) for _ in range(3)]
    async with Api(*answers) as api, AsyncSeedream(api_key="k", base_url=api.url) as client:
        results = await client.generate_many(["a cat"] * 3, save_to=tmp_path)

    assert all(isinstance(result, Success) for result in results)
    assert [result.files[0].path.name for result in results] == [f"00000{n}.jpeg" for n in range(3)]
    assert len(names(tmp_path)) == 3


async def test_a_template_with_folders(tmp_path, monkeypatch):
    """An image is written into the folder of the template, and appears in one below it."""
    synced = []
    monkeypatch.setattr(_partfile, "sync_folder", synced.append)
    monkeypatch.setattr(_saving, "base64_of", None)  # no second try
    answers = [answer(item(LARGE)), answer(item(LARGE))]
    async with Api(*answers) as api, AsyncSeedream(api_key="k", base_url=api.url) as client:
        results = await client.generate_many(
            ["a cat"] * 2, save_to=tmp_path / "{size}/{index}.{ext}"
        )

    paths = [result.files[0].path for result in results]
    assert paths == [tmp_path / "64x64" / "0.jpeg", tmp_path / "64x64" / "1.jpeg"]
    assert [path.read_bytes() for path in paths] == [LARGE] * 2
    assert results[0].response.images == (Image(size="64x64"),)
    assert names(tmp_path) == ["64x64"]
    assert synced.count(tmp_path / "64x64") == 2


async def test_a_folder_that_is_known_last(tmp_path):
    """Where a function names the file, base64 waits for it in memory."""
    async with (
        Api(answer(item(LARGE))) as api,
        AsyncSeedream(api_key="k", base_url=api.url) as client,
    ):
        results = await client.generate_many(
            [GenerateRequest("a cat", response_format="b64_json")],
            save_to=lambda name: tmp_path / f"cat{name.index}.jpeg",
        )

    assert results[0].files[0].path.read_bytes() == LARGE
    assert results[0].response.images == (Image(size="64x64", b64_json=text_of(LARGE)),)


@pytest.mark.parametrize("at", [1, 2], ids=["first piece", "second piece"])
async def test_a_full_disk_loses_nothing(tmp_path, fill_disk, at):
    """What the disk did not take is on the error, together with what it gave back."""
    fill_disk(at)

    with pytest.raises(StorageError, match="No space left") as caught:
        await generate(tmp_path / "cat.jpeg", answer(item(LARGE)))

    assert caught.value.image.b64_json == text_of(LARGE)
    assert caught.value.response.images == (caught.value.image,)
    assert names(tmp_path) == []


@pytest.mark.parametrize("until", [2, 3], ids=["at once", "later"])
async def test_a_disk_that_has_room_again(tmp_path, fill_disk, until):
    """A piece that was taken in part is written again, in its place."""
    fill_disk(1, until)

    response = await generate(tmp_path / "cat.jpeg", answer(item(LARGE)))

    assert response.files[0].path.read_bytes() == LARGE
    assert names(tmp_path) == ["cat.jpeg"]


@pytest.mark.parametrize("refused", [False, True], ids=["first try", "second try"])
async def test_left_while_the_disk_works(tmp_path, monkeypatch, refused):
    """What was on its way to a file is given back, every byte once."""
    began, released = threading.Event(), threading.Event()
    real, writes = _partfile.PartFile.write, []

    def write(self, *pieces):
        real(self, *pieces)
        writes.append(pieces)
        if len(writes) == 1 + refused:
            began.set()
            assert released.wait(30)

    def finish(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_partfile.PartFile, "write", write)
    monkeypatch.setattr(_partfile.PartFile, "finish", finish)
    async with (
        Api(answer(item(SMALL))) as api,
        AsyncSeedream(api_key="k", base_url=api.url) as client,
        client.generate_many(["a cat"], save_to=tmp_path) as results,
    ):
        waiting = asyncio.create_task(anext(aiter(results)))
        await asyncio.to_thread(began.wait, 30)
        waiting.cancel()
        await asyncio.sleep(0)
        released.set()
        await asyncio.wait([waiting])

    [failure] = results.undelivered
    assert failure.error.response.images == (Image(size="64x64", b64_json=text_of(SMALL)),)
    assert names(tmp_path) == []


async def test_left_when_one_of_a_group_is_saved(tmp_path, monkeypatch):
    """The one is told as a file, the other given back."""
    began, released = threading.Event(), threading.Event()
    real, finished = _partfile.PartFile.finish, []

    def finish(self):
        finished.append(self)
        if len(finished) == 2:
            began.set()
            assert released.wait(30)
        real(self)

    monkeypatch.setattr(_partfile.PartFile, "finish", finish)
    monkeypatch.setattr(_saving, "WIDTH", 1)
    async with (
        Api(answer(item(SMALL), item(LARGE))) as api,
        AsyncSeedream(api_key="k", base_url=api.url) as client,
        client.generate_many(["a cat"], save_to=tmp_path) as results,
    ):
        waiting = asyncio.create_task(anext(aiter(results)))
        await asyncio.to_thread(began.wait, 30)
        waiting.cancel()
        while not all(saver.cancelling() for saver in results._savers):
            await asyncio.sleep(0)
        released.set()
        await asyncio.wait([waiting])

    [failure] = results.undelivered
    response = failure.error.response
    assert [file.path.name for file in response.files] == names(tmp_path) == ["000000-1.jpeg"]
    assert [image.b64_json for image in response.images] == [None, text_of(LARGE)]


async def test_one_image_of_a_group_has_no_room(tmp_path, monkeypatch):
    """The others are saved, and the error carries the one that is not."""
    real = _partfile.PartFile.finish
    finished = []

    def finish(self):
        finished.append(self._path)
        if self._path == finished[0] or len(finished) > 3:
            raise OSError(errno.EIO, "Input/output error")
        real(self)

    monkeypatch.setattr(_partfile.PartFile, "finish", finish)
    with pytest.raises(StorageError, match="Input/output") as caught:
        await generate(
            tmp_path,
            answer(item(SMALL), item(LARGE), item(LARGE)),
            sequential_image_generation="auto",
        )

    response = caught.value.response
    assert [image.b64_json for image in response.images].count(None) == 2
    assert caught.value.image in response.images
    assert len(response.files) == 2
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("moment", ["write", "finish"])
async def test_a_folder_that_is_removed(tmp_path, monkeypatch, moment):
    """An image whose file lost its name is read back from what is still open."""
    folder = tmp_path / "cats"
    real = getattr(_partfile.PartFile, moment)

    def step(self, *piece):
        if moment == "finish":
            shutil.rmtree(folder)
        real(self, *piece)
        if moment == "write":
            shutil.rmtree(folder, ignore_errors=True)

    monkeypatch.setattr(_partfile.PartFile, moment, step)

    with pytest.raises(StorageError, match="No such file") as caught:
        await generate(folder, answer(item(LARGE)))

    assert caught.value.image.b64_json == text_of(LARGE)
    assert names(tmp_path) == []


async def test_a_disk_that_gives_nothing_back(tmp_path, fill_disk, monkeypatch):
    """An image that is lost is told as lost."""

    def broken(self, size):
        raise OSError(errno.EIO, "Input/output error")

    fill_disk(2)
    monkeypatch.setattr(_partfile.PartFile, "read", broken)

    with pytest.raises(StorageError, match="Input/output") as caught:
        await generate(tmp_path, answer(item(LARGE)))

    assert caught.value.__notes__ == [
        "the image is lost: what had arrived of it cannot be read back"
    ]
    assert caught.value.response.images == (Image(size="64x64"),)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("image", "error"),
    [
        pytest.param(LARGE[:-10], IncompleteDownloadError, id="cut"),
        pytest.param(b"<html>" * 100_000, NotAnImageError, id="a page"),
    ],
)
async def test_no_whole_image(tmp_path, image, error):
    """What is no image gets no name, but the caller gets it."""
    with pytest.raises(error) as caught:
        await generate(tmp_path, answer(item(image)))

    assert caught.value.response.images == (Image(size="64x64", b64_json=text_of(image)),)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("data:image/jpeg;base64," + text_of(LARGE), id="at its start"),
        pytest.param(text_of(LARGE)[:600_001] + "\n" + text_of(LARGE)[600_001:], id="later"),
        pytest.param(text_of(LARGE)[:-2], id="at its end"),
    ],
)
async def test_broken_base64_loses_nothing(tmp_path, text, monkeypatch):
    """A text that cannot be decoded reaches the caller as it came, however long it is."""
    monkeypatch.setattr(_wire, "MOST_OF_ANSWER", 1000)

    with pytest.raises(NotAnImageError, match="not base64") as caught:
        await generate(tmp_path, answer({"b64_json": text}))

    assert caught.value.response.images == (Image(b64_json=text),)
    assert names(tmp_path) == []


async def test_broken_base64_and_a_broken_disk(tmp_path, fill_disk, monkeypatch):
    """Trouble with the disk costs no more than what it has."""

    def broken(self, size):
        raise OSError(errno.EIO, "Input/output error")

    fill_disk(1, 2)
    monkeypatch.setattr(_partfile.PartFile, "read", broken)

    with pytest.raises(NotAnImageError) as caught:
        await generate(tmp_path, answer({"b64_json": text_of(LARGE) + "!"}))

    assert caught.value.image.b64_json.endswith("!")
    assert names(tmp_path) == []


async def test_a_cut_answer_keeps_whole_images(tmp_path):
    """The images that had arrived are on the error, and no file is left."""
    cut = answer(item(SMALL), item(LARGE), item(LARGE))[: -len(LARGE)]

    with pytest.raises(OutcomeUnknownError) as caught:
        await generate(tmp_path, cut, sequential_image_generation="auto")

    assert [image.b64_json for image in caught.value.response.images] == [
        text_of(SMALL),
        text_of(LARGE),
    ]
    assert "images that had arrived before: 2; response holds them" in caught.value.__notes__
    assert names(tmp_path) == []


async def test_a_short_cut_answer_keeps_whole_images(tmp_path):
    """What was not yet looked at when the answer broke off counts too."""
    with pytest.raises(OutcomeUnknownError) as caught:
        await generate(tmp_path, answer(item(SMALL), item(SMALL))[: -len(SMALL)])

    assert [image.b64_json for image in caught.value.response.images] == [text_of(SMALL)]


async def test_an_answer_that_breaks_off_in_its_first_image(tmp_path):
    """Half an image is none."""
    with pytest.raises(OutcomeUnknownError) as caught:
        await generate(tmp_path, answer(item(LARGE))[: -len(LARGE) // 2])

    assert caught.value.response is None
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            {"data": [item(LARGE), {"url": "https://h.test/a"}], "created": []}, id="not understood"
        ),
        pytest.param([], id="no object"),
    ],
)
async def test_an_answer_that_is_not_understood(tmp_path, body):
    """The images in it are on the error all the same."""
    with pytest.raises(APIResponseValidationError) as caught:
        await generate(tmp_path, http(json.dumps(body).encode()))

    if body:
        assert caught.value.response.data == (
            Image(url="https://h.test/a"),
            Image(b64_json=text_of(LARGE)),
        )
    assert names(tmp_path) == []


async def test_another_attempt_begins_anew(tmp_path):
    """Nothing of an attempt that failed is left, or mixed with the next."""
    cut = answer(item(LARGE), item(SMALL))[:-1000]
    whole = answer({"error": {"code": "x"}}, item(LARGE))

    response = await generate(
        tmp_path / "cat.jpeg", cut, whole, retry=RESEND, sequential_image_generation="auto"
    )

    assert len(response.attempts) == 2
    assert names(tmp_path) == ["cat-1.jpeg"]
    assert response.files[0].path.read_bytes() == LARGE


async def test_an_error_beside_the_only_image(tmp_path):
    """An image that nobody can have meant is on the error."""
    with pytest.raises(
        APIResponseValidationError, match="an error in the place of an image"
    ) as caught:
        await generate(tmp_path, answer(item(LARGE, error={"code": "x"})))

    assert caught.value.response.images == (Image(b64_json=text_of(LARGE)),)
    assert names(tmp_path) == []


async def test_a_refusal(tmp_path):
    """What is refused is told as ever."""
    with pytest.raises(BadRequestError):
        await generate(tmp_path, http(b'{"error": {"message": "no"}}', "400 Bad Request"))


@pytest.mark.parametrize(
    ("limit", "body"),
    [
        pytest.param(1000, answer(item(SMALL), x="x" * 500_000), id="skeleton"),
        pytest.param(1000, answer(item(SMALL), x="x" * 2000), id="small skeleton"),
        pytest.param(501_000, answer(item(LARGE)), id="image"),
    ],
)
async def test_an_answer_that_is_too_long(tmp_path, monkeypatch, limit, body):
    """More than any honest answer has is not read."""
    monkeypatch.setattr(_wire, "MOST_OF_ANSWER", 1000)
    monkeypatch.setattr(_wire, "_BASE64_IMAGE", 500_000)

    with pytest.raises(APIResponseValidationError, match=f"with more than {limit} bytes"):
        await generate(tmp_path, body)

    assert names(tmp_path) == []


LINK = {"url": "https://h/0.jpeg?sign=1"}


@pytest.mark.parametrize("save", [False, True], ids=["not saved", "saved"])
@pytest.mark.parametrize("length", [False, True], ids=["no length", "length"])
@pytest.mark.parametrize(
    ("data", "arrived"),
    [
        pytest.param([LINK, LINK], [Image(**LINK)], id="links"),
        pytest.param([item(LARGE)] * 2, [Image(b64_json=text_of(LARGE))], id="base64"),
        pytest.param(
            [LINK, item(SMALL), item(LARGE)],
            [Image(**LINK), Image(b64_json=text_of(SMALL))],
            id="both",
        ),
        pytest.param([item(LARGE)], [], id="nothing whole"),
    ],
)
async def test_half_an_answer(tmp_path, data, arrived, length, save):
    """What stands whole in an answer that breaks off is on the error."""
    half = answer(*data)[: -len(json.dumps(data[-1])) + 20]
    if not length:
        half = re.sub(rb"Content-Length: [0-9]+\r\n", b"", half)
    group = {"sequential_image_generation": "auto"}

    with pytest.raises(OutcomeUnknownError if length else APIResponseValidationError) as caught:
        await generate(tmp_path if save else None, half, retry=RetryPolicy(attempts=1), **group)

    response = caught.value.response
    assert list(response.images if response else ()) == arrived
    assert names(tmp_path) == []


@pytest.mark.parametrize("save", [False, True], ids=["not saved", "saved"])
async def test_half_an_answer_and_then_a_refusal(tmp_path, save):
    """What had arrived with an attempt is on the error, whatever the next one ends in."""
    half = answer(item(SMALL), LINK)[:-20]
    refused = http(b'{"error": {"message": "no"}}', "400 Bad Request")

    with pytest.raises(OutcomeUnknownError) as caught:
        await generate(tmp_path if save else None, half, refused, retry=RESEND)

    assert caught.value.response.images == (Image(b64_json=text_of(SMALL)),)
    assert [attempt.fate for attempt in caught.value.attempts] == ["unknown", "refused"]


async def test_half_a_refusal():
    """A link in what says no leads to no image."""
    half = http(json.dumps({"error": {"url": "https://h/help"}}).encode() + b" ", "503 No")[:-1]

    with pytest.raises(OutcomeUnknownError) as caught:
        await generate(None, half, retry=RetryPolicy(attempts=1))

    assert caught.value.response is None


@pytest.mark.parametrize("options", [{}, {"response_format": "url"}], ids=["nothing", "links"])
async def test_base64_that_nobody_asked_for(options):
    """An image that comes where a link was expected is paid for as well, however large it is."""
    image = LARGE[:2] + (b"\xff\xfe\xff\xff" + bytes(0xFFFD)) * 120 + LARGE[2:]

    response = await generate(None, answer(item(image)), **options)

    assert len(text_of(image)) > MOST_OF_ANSWER
    assert response.images[0].b64_json == text_of(image)


class Drip:
    """An answer that comes in pieces of a few bytes."""

    status = 200

    def __init__(self, body, size):
        self._pieces = [body[at : at + size] for at in range(0, len(body), size)]

    async def iter_any(self):
        for piece in self._pieces:
            yield piece

    def answer(self, body):
        return Answer(200, {}, body)


@pytest.mark.parametrize("size", [1, 8])
async def test_small_pieces_take_no_memory(tmp_path, size):
    """What comes in the smallest of pieces goes to the disk meanwhile, too."""
    image = LARGE[: len(LARGE) // 4]
    stream = Drip(json.dumps({"data": [item(image)]}).encode(), size)

    tracemalloc.start()
    async with _inbox.Inbox() as inbox:
        await inbox.receive(_files.Place(tmp_path), stream, Asked())
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        arrived = await inbox.files[0].take_back()

    assert arrived == image
    assert peak < 2 * len(image)


async def test_images_that_are_none(tmp_path):
    """An empty text is no image, and the image of an item with an error gets no file."""
    data = [item(SMALL), {"b64_json": "", "error": {"code": "x"}}, item(LARGE, error={"code": "x"})]

    response = await generate(tmp_path, answer(*data), sequential_image_generation="auto")

    assert [image.b64_json for image in response.failures] == ["", text_of(LARGE)]
    assert names(tmp_path) == ["image.jpeg"]


async def test_publishing_holds_no_slot(tmp_path, monkeypatch):
    """The next request is sent while the last image is put on the disk for good."""
    api = Api(answer(item(SMALL)), answer(item(SMALL)))
    sent = threading.Event()
    real = _partfile.PartFile.finish

    def finish(self):
        assert sent.wait(30)
        real(self)

    monkeypatch.setattr(_partfile.PartFile, "finish", finish)
    limits = Limits(concurrency=1)
    async with api, AsyncSeedream(api_key="k", base_url=api.url, limits=limits) as client:
        saving = asyncio.create_task(client.generate("a cat", save_to=tmp_path))
        await client.generate("a dog")
        sent.set()
        response = await saving

    assert len(response.files) == 1


async def test_publishing_holds_no_place_of_a_fan_out(tmp_path, monkeypatch):
    """Of many requests, the next is sent while the images of the last are put on the disk."""
    api = Api(answer(item(SMALL)), answer(item(SMALL)))
    real = _partfile.PartFile.finish

    def finish(self):
        assert api.asked_twice.wait(30)
        real(self)

    monkeypatch.setattr(_partfile.PartFile, "finish", finish)
    async with api, AsyncSeedream(api_key="k", base_url=api.url) as client:
        results = await client.generate_many(["a cat"] * 2, concurrency=1, save_to=tmp_path)

    assert all(isinstance(result, Success) for result in results)


async def test_leaving_a_fan_out_loses_no_base64(tmp_path, monkeypatch):
    """Whoever leaves while images are being put on the disk is given those that are not there."""
    before_saving = asyncio.Event()
    save_all = _saving.Saver.save_all

    async def hold(self, response, places, files, *, call):
        await files[1].publish(places.nth(1, 2))
        before_saving.set()
        await asyncio.Event().wait()
        return await save_all(self, response, places, files, call=call)

    monkeypatch.setattr(_saving.Saver, "save_all", hold)
    api = Api(answer(item(LARGE), item(SMALL)))

    async with (
        api,
        AsyncSeedream(api_key="sk-test", base_url=api.url) as client,
        client.generate_many(["a cat"], save_to=tmp_path) as results,
    ):
        consumer = asyncio.create_task(anext(aiter(results)))
        await before_saving.wait()
        await results.aclose()
        await asyncio.gather(consumer, return_exceptions=True)

    (left,) = results.undelivered
    assert isinstance(left.error, DownloadError)
    first, second = left.error.response.data
    assert first.b64_json == text_of(LARGE)
    assert second.b64_json is None
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [SMALL]


async def test_the_disk_is_the_news(tmp_path, monkeypatch):
    """Of a link that is refused and a disk that is full, the disk concerns all."""

    def full(self):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_partfile.PartFile, "finish", full)
    data = [{"url": "http://127.0.0.1:1/a"}, item(SMALL)]

    with pytest.raises(StorageError) as caught:
        await generate(
            tmp_path,
            answer(*data),
            sequential_image_generation="auto",
            retry=RetryPolicy(attempts=1),
        )

    assert not isinstance(caught.value, DownloadError)
    assert len(caught.value.response.images) == 2
