"""A streamed answer: events in, and what has arrived so far."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import (
    APIError,
    APIResponseValidationError,
    Attempt,
    BadRequestError,
    EventStream,
    Image,
    ImageFailed,
    ImagesResponse,
    ImageSucceeded,
    InsufficientQuotaError,
    OutcomeUnknownError,
    SavedImage,
    StorageError,
    StreamCompleted,
    UnknownEvent,
    Usage,
    _wire,
)
from seedream_async._http import Asked

SAMPLES = Path(__file__).parent / "samples"


ONE = (
    b'data: {"type":"image_generation.partial_succeeded","image_index":7,'
    b'"url":"https://h/1.jpeg"}\n\n'
)


class Source:
    """Stands in for an answer that is still arriving."""

    def __init__(self, *chunks):
        self.chunks = chunks
        self.request_id = "r-1"
        self.headers = {}

    def note_arrived(self, images):
        self.arrived = images

    async def iter_any(self):
        for chunk in self.chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk


def stream_of(*chunks, save=None, asked=Asked()):
    return EventStream(Source(*chunks), asked, save)


def sample(name):
    return (SAMPLES / name).read_bytes()


async def test_a_whole_stream():
    """Events come in their order, and the response is what they add up to."""
    stream = stream_of(sample("one-failed.200.sse"))

    events = [event async for event in stream]

    assert [type(event) for event in events] == [
        ImageSucceeded,
        ImageFailed,
        ImageSucceeded,
        StreamCompleted,
    ]
    response = stream.response
    assert [image.url or image.b64_json for image in response.images] == [
        "https://h/0.jpeg",
        "/9j/2Q==",
    ]
    assert len(response.failures) == 1
    assert response.usage.generated_images == 2
    assert (response.model, response.created) == ("doubao-seedream-4-0-250828", 1757396758)


async def test_images_are_in_the_order_of_the_group():
    """Whatever comes first, the response is ordered by index."""
    events = [
        b'data: {"type":"image_generation.partial_succeeded","image_index":%d,"url":"u%d"}\n\n'
        % (n, n)
        for n in (2, 0, 1)
    ]
    stream = stream_of(*events, b"data: [DONE]\n\n")

    assert [event.index async for event in stream] == [2, 0, 1]
    assert [image.url for image in stream.response.data] == ["u0", "u1", "u2"]


async def test_completed_is_an_end():
    """After the service has said so, the end of the bytes is the end."""
    events = [event async for event in stream_of(sample("completed-without-done.200.sse"))]

    assert isinstance(events[-1], StreamCompleted)


async def test_done_is_an_end():
    """After [DONE], nothing that follows counts."""
    stream = stream_of(ONE, b"data: [DONE]\n\ndata: {}\n\n", OutcomeUnknownError("cut"))

    assert len([event async for event in stream]) == 1


async def test_trouble_after_the_end_is_none():
    """A connection that breaks after the last event has cost nothing."""
    stream = stream_of(sample("completed-without-done.200.sse"), OutcomeUnknownError("cut"))

    assert len([event async for event in stream]) == 2


@pytest.mark.parametrize("trouble", [[], [OutcomeUnknownError("cut")]], ids=["end", "cut"])
async def test_a_truncated_stream_keeps_its_images(trouble):
    """A stream that ends without saying so is unknown, with the images received so far."""
    stream = stream_of(sample("no-end.200.sse"), *trouble)

    with pytest.raises(OutcomeUnknownError) as excinfo:
        async for _ in stream:
            pass

    assert excinfo.value.possibly_billed
    assert [image.url for image in excinfo.value.response.images] == ["https://h/0.jpeg"]


async def test_an_error_event_keeps_the_images():
    """An error in mid-stream leaves the rest in doubt, and comes with what was received."""
    stream = stream_of(sample("error-midway.200.sse"))

    with pytest.raises(OutcomeUnknownError, match="AccountOverdueError") as excinfo:
        async for _ in stream:
            pass

    assert len(excinfo.value.response.images) == 1


async def test_images_are_saved_as_they_come():
    """Every image is on the disk when its event arrives."""
    saved = SavedImage(path=Path("x"), bytes=1, content_type="image/jpeg", width=1, height=1)
    asked = []

    async def save(image, index):
        asked.append((image.url, index))
        return saved

    stream = stream_of(sample("completed-without-done.200.sse"), save=save)

    event = await anext(stream)

    assert event.file is saved
    assert asked == [("https://h/0.jpeg", 0)]
    assert stream.response.files == (saved,)


async def test_an_image_that_cannot_be_saved_does_not_end_the_stream():
    """The error carries what there is, and the iteration may go on."""

    async def save(image, index):
        raise StorageError("the disk is full")

    stream = stream_of(sample("completed-without-done.200.sse"), save=save)

    with pytest.raises(StorageError) as excinfo:
        await anext(stream)
    event = await anext(stream)

    assert len(excinfo.value.response.images) == 1
    assert isinstance(event, StreamCompleted)


async def test_a_whole_answer_as_a_stream():
    """A service that does not stream is told event by event all the same."""
    failed = Image(error=ImageFailed(index=0, error="x").error)
    response = ImagesResponse(
        created=7, model="m", data=(Image(url="u"), failed), usage=Usage(generated_images=1)
    )
    stream = EventStream.of_response(response, Source(), Asked(), None)

    events = [event async for event in stream]

    assert events[0] == ImageSucceeded(index=0, image=Image(url="u"))
    assert isinstance(events[1], ImageFailed)
    assert events[2].usage.generated_images == 1
    assert stream.response == response


async def test_unknown_events_are_passed_on():
    """What this version does not know comes as it is."""
    events = [event async for event in stream_of(sample("oddities.200.sse"))]

    assert [type(event) for event in events] == [UnknownEvent] * 3 + [ImageSucceeded]


async def test_a_closed_stream_is_over():
    """After it was closed, nothing more comes, and what came is kept, asked for or not."""
    stream = stream_of(sample("one-failed.200.sse"))
    await anext(stream)

    await stream.aclose()

    assert [event async for event in stream] == []
    assert len(stream.response.images) == 2
    assert stream.completed


async def test_what_was_left_unread_may_be_broken():
    """An error among what nobody asked for any more is not told, and what came before it stays."""
    stream = stream_of(ONE + sample("error-midway.200.sse"))
    await anext(stream)

    await stream.aclose()

    assert len(stream.response.images) == 2
    assert [event async for event in stream] == []


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(["no-end.200.sse"], id="broken off"),
        pytest.param(["error-midway.200.sse"], id="error"),
    ],
)
async def test_errors_tell_of_the_attempts(chunks):
    """What it took to open a stream is on whatever ends it."""
    attempts = (Attempt(fate="refused", elapsed=1.0), Attempt(fate="answered", elapsed=2.0))
    stream = stream_of(*map(sample, chunks))
    stream.attempts = attempts

    with pytest.raises(APIError) as excinfo:
        async for _ in stream:
            pass

    assert excinfo.value.attempts == attempts
    assert excinfo.value.response.attempts == attempts
    assert stream.response.attempts == attempts


async def test_a_stream_that_broke_stays_broken():
    """Who goes on after the end of a broken stream is told again, and never that it was complete."""
    stream = stream_of(sample("no-end.200.sse"), OutcomeUnknownError("cut"))
    await anext(stream)

    for problem in ("cut", r"broke off\. Before that, 1 image had arrived: it is billed"):
        with pytest.raises(OutcomeUnknownError, match=problem):
            await anext(stream)

    assert not stream.completed
    assert [event async for event in stream] == []


async def test_an_end_without_anything():
    """A stream that ends before any image leaves everything open."""
    stream = stream_of(b"data: [DONE]\n\n")

    with pytest.raises(OutcomeUnknownError, match="ended without an image"):
        await anext(stream)

    assert not stream.completed
    assert [event async for event in stream] == []


async def test_two_images_with_one_number():
    """Each is kept, since each is paid for; the later one gets a number of its own."""
    stream = stream_of(ONE, ONE.replace(b"1.jpeg", b"2.jpeg"), b"data: [DONE]\n\n")

    events = [event async for event in stream]

    assert [event.index for event in events] == [7, 8]
    assert [image.url for image in stream.response.data] == ["https://h/1.jpeg", "https://h/2.jpeg"]


@pytest.mark.parametrize(
    ("chunks", "completed"),
    [
        pytest.param([sample("one-failed.200.sse")], True, id="whole"),
        pytest.param([ONE, b"data: [DONE]\n\n"], True, id="done"),
        pytest.param([sample("completed-without-done.200.sse")], True, id="completed alone"),
    ],
)
async def test_a_stream_knows_when_it_is_complete(chunks, completed):
    """Complete is what the service has called so, by either word."""
    stream = stream_of(*chunks)

    assert not stream.completed
    async for _ in stream:
        pass

    assert stream.completed is completed


@given(data=st.data())
async def test_however_it_is_cut_a_stream_is_the_same(data):
    """Where the pieces of a stream end makes no difference."""
    whole = sample("one-failed.200.sse")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)))))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    stream = stream_of(*filter(None, pieces))

    assert len([event async for event in stream]) == 4
    assert len(stream.response.images) == 2


async def test_an_event_that_is_too_long():
    """An event longer than any honest answer is not read on, and what came before is kept."""
    whole = sample("no-end.200.sse")
    stream = stream_of(whole, b"data: " + b"x" * 600, b"x" * 600, asked=Asked(most_bytes=1000))

    with pytest.raises(APIResponseValidationError, match="more than 1000 bytes") as excinfo:
        async for _ in stream:
            pass

    assert excinfo.value.possibly_billed
    assert len(excinfo.value.response.images) == 1


@pytest.mark.parametrize(("limit", "images"), [(1500, 1), (900, 0)], ids=["enough", "too much"])
async def test_an_event_with_base64_that_nobody_asked_for(monkeypatch, limit, images):
    """An event with an image in it may be as long as an image is, and no longer."""
    monkeypatch.setattr(_wire, "most_bytes_of", lambda _: (500, limit))
    start = b'data: {"type":"image_generation.partial_succeeded","b64_json":"'
    pieces = start, b"QUJD" * 120, b"QUJD" * 120, b'"}\n\n'
    stream = stream_of(*pieces, b"data: [DONE]\n\n", asked=Asked(most_bytes=500))

    with contextlib.suppress(APIResponseValidationError):
        async for _ in stream:
            pass

    assert len(stream.response.images) == images


async def test_a_stream_as_long_as_allowed():
    """Events are measured one by one, not all together."""
    event = b'data: {"type":"image_generation.partial_succeeded","url":"u"}\n\n'
    stream = stream_of(*[event] * 9, b"data: [DONE]\n\n", asked=Asked(most_bytes=len(event)))

    assert len([event async for event in stream]) == 9


@pytest.mark.parametrize(
    ("kind", "error", "completed"),
    [
        pytest.param("BadRequest", BadRequestError, True, id="refused"),
        pytest.param("InternalServerError", OutcomeUnknownError, False, id="in doubt"),
    ],
)
async def test_an_error_event_before_any_image(kind, error, completed):
    """After a refusal nothing is to come; after trouble behind the edge nobody knows."""
    told = b'data: {"type":"error","error":{"code":"","message":"no","type":"%b"}}\n\n'
    stream = stream_of(told % kind.encode())

    with pytest.raises(error):
        await anext(stream)

    assert stream.completed is completed


@pytest.mark.parametrize(
    ("name", "fates"),
    [
        pytest.param(None, ["unknown", "refused"], id="before any image"),
        pytest.param("error-midway.200.sse", ["unknown", "answered"], id="after an image"),
    ],
)
async def test_a_stream_that_only_refuses_was_refused(name, fates):
    """An opened stream counts as an answer, unless all it holds is a refusal."""
    told = b'data: {"type":"error","error":{"code":"AccountOverdueError","message":"no"}}\n\n'
    stream = stream_of(sample(name) if name else told)
    stream.attempts = (Attempt(fate="unknown", elapsed=1.0), Attempt(fate="answered", elapsed=2.0))

    with pytest.raises(OutcomeUnknownError if name else InsufficientQuotaError) as excinfo:
        async for _ in stream:
            pass

    assert [attempt.fate for attempt in stream.attempts] == fates
    assert excinfo.value.attempts == stream.attempts


async def test_what_the_reader_raises_is_the_readers():
    """An error in the body of the loop passes as it is, and what arrived is kept."""
    stream = stream_of(sample("one-failed.200.sse"))

    with pytest.raises(ZeroDivisionError):
        async for _ in stream:
            raise ZeroDivisionError

    assert len(stream.response.images) == 1
    assert not stream.completed
