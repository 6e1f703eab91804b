"""Values as people read them in the report, and text as HTML."""

from datetime import UTC, datetime, timedelta, timezone
from html import unescape
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async.batch import _wording

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # lone surrogates, too


@given(text=ANY_TEXT)
def test_escaped_text_is_text(text):
    """No text holds a tag, a quote or a character that HTML cannot hold once it is escaped."""
    escaped = _wording.escape(text)

    assert not set("<>\"'\0\r\x0b\x0c") & set(escaped)
    assert unescape(escaped) == _wording.clean(text)
    escaped.encode()


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        pytest.param("a\0b", "a\ufffdb", id="null"),
        pytest.param("a\ud800b\udfff", "a\ufffdb\ufffd", id="lone surrogates"),
        pytest.param("a\r\nb\rc\nd", "a\nb\nc\nd", id="line ends"),
        pytest.param("a\x1b[31mb\x7f\x85", "a\ufffd[31mb\ufffd\ufffd", id="controls"),
        pytest.param("\ufdd0\uffff", "\ufffd\ufffd", id="noncharacters"),
        pytest.param("猫\t🐈 \u202e", "猫\t🐈 \u202e", id="what HTML can hold"),
    ],
)
def test_what_html_cannot_hold(text, cleaned):
    """What HTML cannot hold has a mark in its place; everything else stays."""
    assert _wording.clean(text) == cleaned


@given(path=st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), min_size=1))
def test_links_lead_to_neighbours(path):
    """Whatever the path, its link stays in the folder of the page and is decoded to the path."""
    link = _wording.link(path)

    assert urlsplit(urljoin("http://here/batch/report.html", link)).netloc == "here"
    assert unquote_to_bytes(link.removeprefix("./")) == path.encode()
    assert _wording.escape(link) == link


@pytest.mark.parametrize("path", ["//evil.test/x", "javascript:alert(1)", "a?b#c", 'a" onload="x'])
def test_links_name_no_host_and_no_scheme(path):
    """What would mean something in a URL means nothing in the link of a path."""
    url = urlsplit(_wording.link(path))

    assert (url.scheme, url.netloc, url.query, url.fragment) == ("", "", "", "")


def test_links_to_names_that_are_no_text():
    """A file name of bytes that are no UTF-8 is linked to by these bytes."""
    assert _wording.link("images/\udcff.png") == "./images/%FF.png"


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        ((0.03, "USD"), "0.03 USD"),
        ((0.0325, "USD"), "0.0325 USD"),
        ((0.1, "CNY"), "0.10 CNY"),
        ((12345, "USD"), "12,345.00 USD"),
        ((0.0000001, "USD"), "0.00 USD"),
    ],
)
def test_money(cost, words):
    """An amount has two decimals, or as many as it needs up to six."""
    assert _wording.money(cost) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (76_400, "76 kB"),
        (3_210_000, "3.2 MB"),
        (7e12, "7000.0 GB"),
    ],
)
def test_size(value, words):
    """A number of bytes is told in the unit that suits it."""
    assert _wording.size(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (20, "20 s"),
        (23.44, "23.4 s"),
        (59.96, "1 min"),
        (61, "1 min 1 s"),
        (3600, "1 h"),
        (7980, "2 h 13 min"),
        (200_000, "2 days 7 h"),
    ],
)
def test_duration(seconds, words):
    """A time is told in its two largest units, and zero in none."""
    assert _wording.duration(seconds) == words


@pytest.mark.parametrize(("value", "words"), [(0, "0 rows"), (1, "1 row"), (12_000, "12,000 rows")])
def test_counted(value, words):
    """One is not many."""
    assert _wording.counted(value, "row") == words


def test_moments_are_told_in_utc():
    """A moment of any time zone is told in UTC, for people and for machines."""
    moment = datetime(2026, 11, 3, 1, 20, tzinfo=timezone(timedelta(hours=8)))

    element = _wording.moment(moment)

    assert element == '<time datetime="2026-11-02T17:20:00Z">2 November 2026, 17:20 UTC</time>'
    assert _wording.moment(moment.astimezone(UTC)) == element
