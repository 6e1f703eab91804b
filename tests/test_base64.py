"""Base64 in pieces: strict, with pybase64 and without, and the same however it is cut."""

import base64
import importlib
import itertools
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import _base64

CANONICAL = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


@pytest.fixture(params=["pybase64", "binascii"], scope="module", autouse=True)
def decoder(request):
    """The library that decodes: every test runs with each."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "binascii":
            patch.setitem(sys.modules, "pybase64", None)
        importlib.reload(_base64)
        yield request.param
    importlib.reload(_base64)


def decode(*pieces):
    decoder = _base64.Decoder()
    data = b"".join(part for piece in pieces for part in decoder.feed(piece))
    decoder.finish()
    return data


def expected(text):
    return base64.b64decode(text) if CANONICAL.fullmatch(text) else ValueError


def outcome(*pieces):
    try:
        return decode(*pieces)
    except ValueError:
        return ValueError


def test_the_library_is_the_one_that_is_there(decoder):
    """pybase64 decodes if it is installed, the standard library otherwise."""
    module = _base64._decode.func.__module__

    assert module.strip("_").partition(".")[0] == decoder


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"A", id="one character"),
        pytest.param(b"AAAAA", id="4n+1"),
        pytest.param(b"AA", id="no padding"),
        pytest.param(b"AA=", id="half a padding"),
        pytest.param(b"AAAA====", id="padding for nothing"),
        pytest.param(b"AAA==", id="padding too long"),
        pytest.param(b"A===", id="padding longer still"),
        pytest.param(b"====", id="only padding"),
        pytest.param(b"AA=A", id="padding inside"),
        pytest.param(b"AA==AAAA", id="text after padding"),
        pytest.param(b"AA==AA==", id="two texts"),
        pytest.param(b"AA==\n", id="line end"),
        pytest.param(b"AA A", id="blank"),
        pytest.param(b"-_-_", id="alphabet of URLs"),
        pytest.param(b"AAA\xff", id="no character"),
        pytest.param(b"AAA\0", id="null"),
    ],
)
def test_broken_text(text):
    """What is no base64 is refused, whole and byte by byte."""
    assert outcome(text) is ValueError
    assert outcome(*(bytes([byte]) for byte in text)) is ValueError


def test_pieces():
    """Bytes come out as soon as their four characters are there, those of the cut ones apart."""
    decoder = _base64.Decoder()

    decoded = [decoder.feed(piece) for piece in (b"AQID", b"BA", b"UGCAkKB", b"w=", b"=")]

    assert decoded == [[b"\1\2\3"], [], [b"\4\5\6", b"\b\t\n"], [], [b"\7"]]


symbols = st.sampled_from(b"AZaz09+/==")
texts = (
    st.binary().map(base64.b64encode)
    | st.lists(symbols, max_size=12).map(bytes)
    | st.tuples(st.binary().map(base64.b64encode), st.binary(max_size=4)).map(b"".join)
)


@given(text=texts, cuts=st.lists(st.integers(0, 40)))
def test_cuts_do_not_matter(text, cuts):
    """However it is cut, a text gives its bytes if it is base64, and an error if it is not."""
    borders = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(borders)]

    assert outcome(*pieces) == expected(text)
