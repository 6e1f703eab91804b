"""Reference images, from whatever the caller has to what is sent."""

import asyncio
import base64
import contextlib
import gc
import io
import json
import os
import random
import socket
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seedream_async import Image, InvalidRequestError, _references, _sources, _validate
from seedream_async._encoding import PIECE, DataText, DataUri, OpenFile, PathFile
from seedream_async._references import References
from seedream_async._sessions import Lifetime
from seedream_async._timeout import Bounds
from seedream_async._transport import ApiTransport
from seedream_async.emulator._pictures import render

PNG = render(64, 48, "png", b"a reference")
SMALL, LARGE = 64 * 1024, 1_000_000
FILES = 14


def content(size, seed=0):
    """A PNG that somebody has added bytes to; *seed* tells one from another."""
    return PNG + random.Random(seed).randbytes(size - len(PNG))


def data_uri(body, kind="png"):
    return f"data:image/{kind};base64,{base64.b64encode(body).decode()}"


def strict(problems):
    _validate.judge(problems, "strict")


def joined(piece):
    return piece if isinstance(piece, bytes) else b"".join(piece.slices())


async def text_of(piece):
    return json.loads(await asyncio.to_thread(joined, piece))


async def texts_of(*references):
    async with References().resolve(references, strict) as pieces:
        return [await text_of(piece) for piece in pieces]


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


def opened(path):
    """The descriptors of this process that *path* is open under."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found += [link] if link.readlink() == path else []
    return found


class Pipe(io.RawIOBase):
    """What can be read only once, and in small parts."""

    def __init__(self, body):
        self._rest = io.BytesIO(body)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self._rest.readinto(memoryview(buffer)[:1000])


class Sluggish(io.BytesIO):
    """What gives less than it is asked for."""

    def read(self, length=-1):
        return super().read(min(length, 100_000))


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "photo.dat"
    path.write_bytes(content(LARGE))
    return path


@pytest.fixture
def reads(monkeypatch):
    """The paths that are read, once for each time."""
    paths = []
    pieces = PathFile.pieces

    def counted(self):
        paths.append(self.path)
        return pieces(self)

    monkeypatch.setattr(PathFile, "pieces", counted)
    return paths


@contextlib.asynccontextmanager
async def sink(*, keep=True):
    """A server that answers whole requests with `{}`, and what it got: a body per connection."""
    received, serving = [], []

    async def serve(reader, writer):
        serving.append(asyncio.current_task())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        left = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        received.append(bytearray())
        while left and (part := await reader.read(65_536)):
            left -= len(part)
            received[-1] += part if keep else b""
        if not left:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1")
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", received
        await asyncio.gather(*serving)


@pytest.fixture
def deaf():
    """The URL of a server that takes connections and reads nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def send(url, *pieces):
    transport = ApiTransport(url, "sk-test-key", None, Lifetime())
    try:
        return await transport.send("POST", "/x", pieces, bounds=Bounds())
    finally:
        await transport.aclose()


# Forms


@pytest.mark.parametrize(
    "size", [SMALL - 1, SMALL, SMALL + 1, PIECE, PIECE + 1, LARGE, 3 * PIECE, 3 * PIECE + 2]
)
@pytest.mark.parametrize(
    "form",
    [
        pytest.param(lambda path: path, id="path"),
        pytest.param(str, id="name"),
        pytest.param(lambda path: path.read_bytes(), id="bytes"),
        pytest.param(lambda path: bytearray(path.read_bytes()), id="bytearray"),
        pytest.param(lambda path: io.BytesIO(path.read_bytes()), id="file in memory"),
        pytest.param(lambda path: Sluggish(path.read_bytes()), id="sluggish file"),
        pytest.param(lambda path: Pipe(path.read_bytes()), id="pipe"),
        pytest.param(
            lambda path: Image(b64_json=base64.b64encode(path.read_bytes()).decode()), id="image"
        ),
        pytest.param(lambda path: data_uri(path.read_bytes()), id="data URI"),
    ],
)
async def test_every_form_becomes_a_data_uri(tmp_path, form, size):
    """The same bytes are sent as the same text, however they are given."""
    path = tmp_path / "photo.dat"
    path.write_bytes(content(size))

    texts = await texts_of(form(path))

    assert texts == [data_uri(content(size))]


@pytest.mark.parametrize("buffering", [0, -1], ids=["raw", "buffered"])
async def test_an_open_file_is_read_from_its_start(path, buffering):
    """Wherever an open file stands, all of it is sent."""
    with path.open("rb", buffering) as file:
        file.seek(5000)

        texts = await texts_of(file, file)

    assert texts == [data_uri(content(LARGE))] * 2


async def test_an_open_file_is_shared(path):
    """Requests that send one open file at the same time do not move it under each other."""
    with path.open("rb") as file:
        async with References().resolve([file, file], strict) as pieces:
            pairs = zip(*(piece.slices() for piece in pieces), strict=True)
            firsts, seconds = await asyncio.to_thread(lambda: list(zip(*pairs, strict=True)))

    assert b"".join(firsts) == b"".join(seconds) == json.dumps(data_uri(content(LARGE))).encode()


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        pytest.param('https://h/a.png?x="1"', 'https://h/a.png?x="1"', id="https"),
        pytest.param("HTTP://h/ä", "HTTP://h/ä", id="http"),
        pytest.param(Image(url="https://h/0.jpeg", b64_json="!"), "https://h/0.jpeg", id="image"),
    ],
)
async def test_links_are_sent_as_they_are(reference, text):
    """A link is neither fetched nor changed, and goes before what else an image has."""
    assert await texts_of(reference) == [text]


async def test_the_media_type_comes_from_the_bytes():
    """A prefix that calls the image something else is corrected."""
    assert await texts_of(data_uri(PNG, "jpg")) == [data_uri(PNG)]


@pytest.mark.parametrize(
    "picture",
    [
        pytest.param(PIL.Image.new(mode, (40, 30), 1), id=mode)
        for mode in ("1", "L", "LA", "P", "I;16", "RGB", "RGBA")
    ],
)
async def test_pictures_keep_their_mode(picture):
    """A Pillow image is sent as a PNG of its own mode."""
    [text] = await texts_of(picture)

    sent = PIL.Image.open(io.BytesIO(base64.b64decode(text.removeprefix("data:image/png;base64,"))))
    assert (sent.mode, sent.size) == (picture.mode, picture.size)
    assert sent.tobytes() == picture.tobytes()


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 3), (30, 40, 4)])
async def test_arrays_are_pictures(shape):
    """An array of bytes is sent as a PNG of its pixels."""
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    [text] = await texts_of(array)

    sent = PIL.Image.open(io.BytesIO(base64.b64decode(text.removeprefix("data:image/png;base64,"))))
    assert np.array_equal(np.asarray(sent), array)


async def test_one_picture_in_many_requests(tmp_path):
    """A picture that is not loaded yet may be shared."""
    PIL.Image.effect_noise((300, 200), 50).save(tmp_path / "noise.png")
    with PIL.Image.open(tmp_path / "noise.png") as picture:
        many = await asyncio.gather(*(texts_of(picture) for _ in range(20)))

    assert len({text for [text] in many}) == 1


async def test_no_reference_at_all():
    """Without references there is nothing to send."""
    async with References().resolve((), strict) as pieces:
        assert pieces == ()


# Refusals


class Unwilling(io.BytesIO):
    def seek(self, *_):
        raise LookupError("the secret content")


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        pytest.param("missing.png", "'missing.png' cannot be read: No such file", id="missing"),
        pytest.param(".", "no regular file", id="folder"),
        pytest.param(Path("/dev/zero"), "no regular file", id="device"),
        pytest.param("a\0b", "not a path", id="null"),
        pytest.param("\ud800.png", "not a path", id="surrogate"),
        pytest.param(
            base64.b64encode(content(9000)).decode(), "12000 characters", id="bare base64"
        ),
        pytest.param(b"%PDF-1.7", "no JPEG, PNG", id="not an image"),
        pytest.param(b"", "no JPEG, PNG", id="empty"),
        pytest.param(io.BytesIO(b"%PDF-1.7"), "no JPEG, PNG", id="file of something else"),
        pytest.param(io.StringIO("text"), "in binary mode", id="text file"),
        pytest.param(Unwilling(PNG), "cannot be read .LookupError", id="unwilling file"),
        pytest.param(Image(), "neither a link nor base64", id="hollow image"),
        pytest.param(Image(b64_json="!"), "base64 is broken", id="broken base64"),
        pytest.param("data:image/PNG;base64,AA==", "must begin with", id="upper case"),
        pytest.param("DATA:image/png;base64,AA==", "must begin with", id="upper case scheme"),
        pytest.param("data:image/png,AA==", "must begin with", id="not base64"),
        pytest.param("data:image/svg+xml;base64,PHN2Zz4=", "no JPEG, PNG", id="vectors"),
        pytest.param(PIL.Image.new("CMYK", (30, 30)), "CMYK.*convert", id="mode"),
        pytest.param(np.zeros((30, 30, 5), np.uint8), "no PNG can be made", id="array"),
    ],
)
async def test_what_is_no_reference_is_refused(reference, problem):
    """The error names the field and the fault, and never holds content."""
    with pytest.raises(InvalidRequestError, match=problem) as excinfo:
        await texts_of(reference)

    assert excinfo.value.field == "image"
    assert len(str(excinfo.value)) < 400
    assert "secret" not in str(excinfo.value)
    assert "iVBOR" not in str(excinfo.value)


async def test_links_in_a_circle(tmp_path):
    """A symbolic link that leads to itself is refused like any path that leads nowhere."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    with pytest.raises(InvalidRequestError, match="cannot be read"):
        await texts_of(tmp_path / "a")


async def test_the_reference_at_fault_is_told():
    """Among several references, a note says which one it is."""
    with pytest.raises(InvalidRequestError) as excinfo:
        await texts_of(PNG, PNG, b"no image")

    assert excinfo.value.__notes__ == ["reference 3 of 3"]


async def test_pictures_need_pillow(monkeypatch):
    """Without Pillow, the error names the extra to install."""
    monkeypatch.setitem(sys.modules, "PIL", None)

    with pytest.raises(InvalidRequestError, match=r"seedream-async\[images\]"):
        await texts_of(np.zeros((30, 40, 3), np.uint8))


async def test_a_pipe_without_end(monkeypatch):
    """What cannot be sent is not read to its end."""
    monkeypatch.setattr(_sources, "LARGEST", 2 * PIECE)

    with pytest.raises(InvalidRequestError, match="more than 393216 bytes"):
        await texts_of(Pipe(content(4 * PIECE)))


@pytest.mark.parametrize("budget", [0, 2**20], ids=["streamed", "kept"])
@pytest.mark.parametrize("form", [Path, Path.read_bytes], ids=["path", "bytes"])
async def test_limits_are_judged(tmp_path, form, budget):
    """What the API would say of a reference is handed to the judge, of each time it is sent."""
    path = tmp_path / "stamp.png"
    path.write_bytes(render(10, 10, "png", b"a stamp"))
    references, found = References(budget), []

    for _ in range(2):
        async with references.resolve([form(path)], found.extend):
            pass

    assert [problem.field for problem in found] == ["image", "image"]
    assert "10x10" in found[0].message


async def test_the_whole_body_is_estimated(tmp_path, reads):
    """Too much is told before any of it is read."""
    path = tmp_path / "huge.png"
    path.write_bytes(PNG)
    os.truncate(path, 31_000_000)
    found = []

    def judge(problems):
        found.extend(problems)
        raise InvalidRequestError("enough")

    with pytest.raises(InvalidRequestError, match="enough"):
        async with References().resolve([path, path, path, "https://h/a.png"], judge):
            pass

    assert [(problem.field, problem.certain) for problem in found] == [("image", False)]
    assert "124 MB" in found[0].message
    assert "send links" in found[0].message
    assert not reads


# The cache


async def test_a_file_is_read_once(path, reads):
    """A thousand requests at the same time, and those after them, cost one reading."""
    references = References()

    async def once():
        async with references.resolve([path], strict) as [piece]:
            await asyncio.sleep(0)
            return piece

    await once()
    needed = len(reads)
    reads.clear()
    path.write_bytes(content(LARGE, seed=1) + b".")
    many = await asyncio.gather(*(once() for _ in range(1000)))

    assert len(reads) == needed
    assert len({id(piece) for piece in many}) == 1
    assert await text_of(many[0]) == data_uri(content(LARGE, seed=1) + b".")


async def test_a_changed_file_is_read_again(path):
    """A file of the same size that was written later is another file."""
    references = References()
    async with references.resolve([path], strict):
        path.write_bytes(content(LARGE, seed=1))
        os.utime(path, (1, 1))

    async with references.resolve([path], strict) as [piece]:
        assert await text_of(piece) == data_uri(content(LARGE, seed=1))


@pytest.fixture
def gate(monkeypatch):
    """Loading waits until *opened*; *reached* tells that somebody has begun."""

    class Gate:
        reached, opened = threading.Event(), threading.Event()
        error = None

    def load(uri):
        Gate.reached.set()
        Gate.opened.wait(30)
        error, Gate.error = Gate.error, None
        if error:
            raise error
        return joined(uri)

    monkeypatch.setattr(_references, "_joined", load)
    return Gate


async def test_cancelling_one_who_loads(path, reads, gate):
    """Who waits for the same file is not hurt, and need not even read it again."""
    references = References()

    async def once():
        async with references.resolve([path], strict) as [piece]:
            return await text_of(piece)

    tasks = [asyncio.create_task(once()) for _ in range(3)]
    await asyncio.to_thread(gate.reached.wait, 30)
    tasks[0].cancel()
    tasks[1].cancel()
    gate.opened.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 2
    assert results[2] == data_uri(content(LARGE))
    assert len(reads) == 2  # its head, and all of it


async def test_a_failure_is_not_kept(path, gate):
    """If loading fails for one, the next in line tries for itself."""
    references = References()
    gate.error = InvalidRequestError("it failed")
    gate.opened.set()

    with pytest.raises(InvalidRequestError, match="it failed"):
        async with references.resolve([path], strict):
            pass

    async with references.resolve([path], strict) as [piece]:
        assert await text_of(piece) == data_uri(content(LARGE))


async def test_what_is_no_image_takes_no_room(tmp_path):
    """A file that is refused leaves nothing in the cache."""
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.7")
    references = References()

    with pytest.raises(InvalidRequestError, match="no JPEG, PNG"):
        async with references.resolve([tmp_path / "a.pdf"], strict):
            pass

    assert references._cache._cost == 0


async def test_files_in_use_stay(tmp_path):
    """A file for which there is no room beside those in use is encoded while it is sent."""
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    for path in (first, second):
        path.write_bytes(content(LARGE))
    references = References(budget=2 * LARGE)

    async with references.resolve([first], strict) as [kept]:
        async with references.resolve([second, first], strict) as [streamed, again]:
            assert again is kept
            assert not isinstance(streamed, bytes)
            assert joined(kept) == await asyncio.to_thread(joined, streamed)
        async with references.resolve([second], strict) as [alone]:
            assert not isinstance(alone, bytes)

    async with references.resolve([second], strict) as [piece]:
        assert isinstance(piece, bytes)


async def test_files_that_do_not_fit_together_take_no_room(tmp_path):
    """To keep a few of many would cost memory, and save little."""
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(content(LARGE, seed=number))
    references = References(budget=3 * LARGE)

    async with references.resolve(paths, strict) as pieces:
        assert not any(isinstance(piece, bytes) for piece in pieces)
        assert references._cache._cost == 0
    async with references.resolve([paths[0], paths[1], paths[0]], strict) as pieces:
        assert all(isinstance(piece, bytes) for piece in pieces)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Files `0` to `5`, of different sizes."""
    folder = tmp_path_factory.mktemp("references")
    for number in range(6):
        (folder / str(number)).write_bytes(content(700 * (number + 1), seed=number))
    return folder


@settings(max_examples=50, deadline=None)
@given(
    budget=st.integers(0, 12_000),
    steps=st.lists(st.none() | st.lists(st.integers(0, 5), min_size=1, max_size=3), max_size=12),
)
async def test_the_budget_holds(folder, budget, steps):
    """Whatever is resolved and left in whatever order, the cache never exceeds its budget."""
    references = References(budget)
    cache = references._cache

    async with contextlib.AsyncExitStack() as everything:
        blocks = []
        for step in steps:
            if step is None:
                await blocks.pop(0).aclose() if blocks else None
            else:
                blocks.append(await everything.enter_async_context(contextlib.AsyncExitStack()))
                resolving = references.resolve([folder / str(number) for number in step], strict)
                pieces = await blocks[-1].enter_async_context(resolving)
                wanted = [data_uri(content(700 * (number + 1), seed=number)) for number in step]
                assert [await text_of(piece) for piece in pieces] == wanted
            entries = [*cache._leased.values(), *cache._idle.values()]
            assert sum(len(entry.content[1]) for entry in entries) <= cache._cost <= budget

    assert not cache._leased
    assert cache._cost_of_leased == 0


# While it is sent


@given(size=st.integers(len(PNG), 3 * PIECE), by_text=st.booleans())
@settings(deadline=None)
def test_slices_add_up(size, by_text):
    """The slices are the JSON string of the length that was told, and none is large."""
    body = content(size)
    if by_text:
        encoded = DataText.of(base64.b64encode(body).decode())
    else:
        encoded = DataUri.of(OpenFile(io.BytesIO(body), size))

    slices = list(encoded.slices())

    assert b"".join(slices) == json.dumps(data_uri(body)).encode()
    assert encoded.length == sum(map(len, slices))
    assert encoded.size == size
    assert all(0 < len(part) < 300_000 for part in slices)


@given(at=st.integers(100, 799_998), wrong=st.sampled_from(['"', "=", "\n", "ä", "\ud800", "-"]))
@settings(deadline=None)
def test_broken_base64_is_seen(at, wrong):
    """No character that is not base64 gets into a body, wherever it stands."""
    text = base64.b64encode(content(600_000)).decode()

    with pytest.raises(InvalidRequestError, match="base64 is broken"):
        DataText.of(text[:at] + wrong + text[at + 1 :])


def test_padding_stands_at_the_end():
    """Two base64 texts in a row are not one, even if the seam is where one slice ends."""
    text = base64.b64encode(content(PIECE - 1)).decode()

    with pytest.raises(InvalidRequestError, match="base64 is broken"):
        DataText.of(text + text)


def grow(path):
    path.write_bytes(content(LARGE) + b".")


def shrink(path):
    os.truncate(path, LARGE - 1)


def rewrite(path):
    path.write_bytes(content(LARGE, seed=1))
    os.utime(path, (1, 1))


@pytest.mark.parametrize("change", [grow, shrink, rewrite, Path.unlink])
async def test_a_file_that_changes_before_it_is_sent(path, change):
    """A file that is not what it was is not sent as what it was."""
    async with References(budget=0).resolve([path], strict) as [piece]:
        change(path)

        with pytest.raises(InvalidRequestError, match=r"changed after|cannot be read"):
            await asyncio.to_thread(joined, piece)


@pytest.mark.parametrize("is_open", [False, True], ids=["path", "open file"])
async def test_a_file_that_shrinks_while_it_is_sent(path, is_open):
    """A file that loses its end is an error, not a body that is too short."""
    with path.open("rb") as file:
        reference = file if is_open else path
        async with References(budget=0).resolve([reference], strict) as [piece]:
            slices = piece.slices()
            await asyncio.to_thread(next, slices)
            os.truncate(path, 2 * PIECE)

            with pytest.raises(InvalidRequestError, match="changed after it was checked"):
                await asyncio.to_thread(list, slices)


@pytest.mark.parametrize("change", [grow, rewrite])
async def test_a_file_that_is_written_to_while_it_is_sent(path, change):
    """A mixture of two files never arrives whole: its last piece is held back."""
    async with References(budget=0).resolve([path], strict) as [piece]:
        slices = piece.slices()
        sent = [await asyncio.to_thread(next, slices)]
        change(path)

        with pytest.raises(InvalidRequestError, match="changed after it was checked"):
            await asyncio.to_thread(sent.extend, slices)

    assert 1 < len(sent) < piece.size / PIECE


async def test_an_open_file_that_is_closed(path):
    """A file that the caller closes too early is told apart from trouble on the way."""
    with path.open("rb") as file:
        resolving = References().resolve([file], strict)
        [piece] = await resolving.__aenter__()

    with pytest.raises(InvalidRequestError, match=r"cannot be read \(ValueError\)"):
        await asyncio.to_thread(joined, piece)


async def test_a_body_of_pieces_arrives_whole(path):
    """What is encoded while it is sent arrives byte by byte as if it had been one body."""
    body = path.read_bytes()
    references = [path, body, data_uri(body), "https://h/a.png", PNG]

    async with References(budget=0).resolve(references, strict) as pieces, sink() as (url, got):
        listed = [part for piece in pieces for part in (piece, b",")]
        answer = await send(url, b'{"image":[', *listed[:-1], b"]}")

    texts = [data_uri(body)] * 3 + ["https://h/a.png", data_uri(PNG)]
    assert answer.status == 200
    assert got == [json.dumps({"image": texts}, separators=(",", ":")).encode()]


async def test_a_failed_sender(path):
    """If the file fails on the way, that is the error; it is closed, and no whole body left."""
    async with References(budget=0).resolve([path], strict) as [piece], sink() as (url, got):
        shrink(path)
        with pytest.raises(InvalidRequestError, match="changed after") as excinfo:
            await send(url, b'{"image":[', piece, b"]}")
        await until(lambda: not opened(path))

    assert all(len(body) < piece.length for body in got)
    assert not any("sk-test-key" in repr(entry.locals) for entry in excinfo.traceback)


async def test_a_cancelled_sender(tmp_path, deaf):
    """Cancelled in the middle of a file, the sender closes it."""
    path = tmp_path / "large.png"
    path.write_bytes(content(40_000_000))

    async with References(budget=0).resolve([path], lambda _: None) as [piece]:
        sending = asyncio.create_task(send(deaf, b'{"image":[', piece, b"]}"))
        await until(lambda: opened(path))
        sending.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sending
        await until(lambda: not opened(path))

    assert sending.cancelled()


@pytest.mark.parametrize(
    ("budget", "limit"),
    [pytest.param(16 * 2**20, 16e6, id="default"), pytest.param(0, 8e6, id="no cache")],
)
async def test_large_references_never_exist_as_one_body(tmp_path, budget, limit):
    """A request with 14 references of 4 MB takes a fraction of its 75 MB of memory."""
    paths = [tmp_path / f"{number}.png" for number in range(FILES)]
    for number, path in enumerate(paths):
        path.write_bytes(content(4 * 2**20, seed=number))
    references = References(budget)
    gc.collect()
    tracemalloc.start()

    try:
        async with references.resolve(paths, strict) as pieces, sink(keep=False) as (url, _):
            await send(url, *pieces)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < limit
