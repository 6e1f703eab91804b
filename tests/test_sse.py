"""Server-sent events: the same events however the bytes are cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async._sse import Parser, ServerSentEvent


def parse(*chunks):
    parser = Parser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize(
    ("body", "events"),
    [
        pytest.param(b"event: a\ndata: 1\n\n", [("a", b"1")], id="named"),
        pytest.param(b"data: 1\n\n", [("message", b"1")], id="unnamed"),
        pytest.param(b"data:1\n\n", [("message", b"1")], id="no blank"),
        pytest.param(b"data:  1\n\n", [("message", b" 1")], id="two blanks"),
        pytest.param(b"data: 1\ndata: 2\n\n", [("message", b"1\n2")], id="two lines"),
        pytest.param(b": ping\n\ndata: 1\n\n", [("message", b"1")], id="comment"),
        pytest.param(b"event: a\r\ndata: 1\r\n\r\n", [("a", b"1")], id="CRLF"),
        pytest.param(b"event: a\rdata: 1\r\r", [("a", b"1")], id="CR"),
        pytest.param(b"\xef\xbb\xbfdata: 1\n\n", [("message", b"1")], id="BOM"),
        pytest.param(b"event: a\n\ndata: 1\n\n", [("message", b"1")], id="no data, no event"),
        pytest.param(b"id: 7\nretry: 1\ndata\n\n", [("message", b"")], id="other fields"),
        pytest.param("data: 雪\n\n".encode(), [("message", "雪".encode())], id="UTF-8"),
        pytest.param(b"data: 1\n", [], id="cut before its end"),
    ],
)
def test_events(body, events):
    """The rules of the specification hold, whole and byte by byte."""
    expected = [ServerSentEvent(name, data) for name, data in events]

    assert parse(body) == expected
    assert parse(*(bytes([byte]) for byte in body)) == expected


lines = st.sampled_from(
    [b"event: a", b"data: 1", "data: 雪".encode(), b": c", b"", b"", b"data", b"x: y", b"\xff"]
)
ends = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(
    body=st.lists(st.tuples(lines, ends).map(b"".join)).map(b"".join) | st.binary(),
    cuts=st.lists(st.integers(0, 200)),
)
def test_cuts_do_not_matter(body, cuts):
    """Every way of cutting the same bytes gives the same events."""
    borders = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    chunks = [body[start:end] for start, end in itertools.pairwise(borders)]

    assert parse(*chunks) == parse(body)


def test_long_lines():
    """A line of many chunks costs no more than its length."""
    piece = b"x" * 65_536

    (event,) = parse(b"data: ", *[piece] * 300, b"\n\n")

    assert event.data == piece * 300


@pytest.mark.parametrize(
    ("body", "pending"),
    [(b"", False), (b"data: 1\n\n", False), (b"data: 1", True), (b"data: 1\n", True)],
)
def test_pending(body, pending):
    """What has begun and not ended is known."""
    parser = Parser()

    parser.feed(body)

    assert parser.pending is pending
