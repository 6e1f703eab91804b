"""Links as text."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import _links

TOS = (
    "https://bucket.tos-cn-beijing.volces.com/model/021_0.jpeg"
    "?X-Tos-Algorithm=TOS4-HMAC-SHA256&X-Tos-Credential=AK%2F20251230%2Fcn%2Ftos%2Frequest"
    "&X-Tos-Date=20251230T132817Z&X-Tos-Expires=86400&X-Tos-Signature=abc"
    "&X-Tos-SignedHeaders=host"
)


@pytest.mark.parametrize(
    ("link", "path"),
    [
        pytest.param("https://h/a%2fb?c=%2F&d=%7E", "/a%2fb?c=%2F&d=%7E", id="escapes"),
        pytest.param("https://h/a/../b/./c//d", "/a/../b/./c//d", id="dot segments"),
        pytest.param("https://h/a?", "/a?", id="bare question mark"),
        pytest.param("https://h/a#part", "/a", id="fragment"),
        pytest.param("https://h?q=1", "/?q=1", id="no path"),
        pytest.param("https://h", "/", id="host only"),
        pytest.param("https://h/a b?c=é", "/a%20b?c=%C3%A9", id="what no line can hold"),
        pytest.param('https://h/a%%?&&a=&a&["|]', '/a%%?&&a=&a&["|]', id="odd but legal"),
    ],
)
def test_target_is_what_was_issued(link, path):
    """Nothing that a request line can hold is changed."""
    assert _links.parse_target(link).path == path


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#")))
def test_any_printable_target_is_kept(tail):
    """Every printable ASCII target comes out as it went in."""
    assert _links.parse_target(f"https://h/{tail}").path == f"/{tail}"


@pytest.mark.parametrize(
    ("link", "problem"),
    [
        pytest.param("ftp://h/a", "must start with", id="scheme"),
        pytest.param("/a", "must start with", id="relative"),
        pytest.param("https:///a", "no host", id="no host"),
        pytest.param("https://user:secret@h/a", "user name", id="user"),
        pytest.param("https://h/a\nb", "control characters", id="line feed"),
        pytest.param("https://h/a\x00", "control characters", id="null"),
    ],
)
def test_unsendable_links_are_refused(link, problem):
    """What cannot be sent as it is, is refused, and not quoted in the message."""
    with pytest.raises(ValueError, match=problem) as excinfo:
        _links.parse_target(link)

    assert "secret" not in str(excinfo.value)


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        pytest.param(TOS, datetime(2025, 12, 31, 13, 28, 17, tzinfo=UTC), id="TOS"),
        pytest.param(
            "https://h/k?X-Amz-Date=20260101T000000Z&X-Amz-Expires=60",
            datetime(2026, 1, 1, 0, 1, tzinfo=UTC),
            id="S3",
        ),
        pytest.param(
            "https://h/k?Expires=1767225600", datetime(2026, 1, 1, tzinfo=UTC), id="seconds"
        ),
        pytest.param("https://h/k", None, id="unsigned"),
        pytest.param("https://h/k?Expires=soon", None, id="not a number"),
        pytest.param("https://h/k?Expires=99999999999999999999", None, id="beyond all time"),
        pytest.param("https://h/k?X-Tos-Date=20260101T000000Z", None, id="half a pair"),
        pytest.param("https://[h/k?Expires=1", None, id="no URL"),
    ],
)
def test_expiry_is_read_from_the_link(link, expected):
    """A link tells when it expires, or nothing."""
    assert _links.expires_at(link) == expected


def test_redacted_hides_every_query():
    """No signature survives, wherever the link stands in a text."""
    text = _links.redacted(f"see {TOS} and https://h/x?token=1.")

    assert "abc" not in text
    assert "token" not in text
    assert "bucket.tos-cn-beijing.volces.com/model/021_0.jpeg?…" in text


@pytest.mark.parametrize(
    ("link", "missing"),
    [
        pytest.param(TOS, (), id="whole"),
        pytest.param(
            TOS.partition("&X-Tos-Expires")[0],
            ("x-tos-expires", "x-tos-signature", "x-tos-signedheaders"),
            id="cut",
        ),
        pytest.param("https://h/k?q=1", (), id="never signed"),
    ],
)
def test_missing_parameters_are_named(link, missing):
    """What a cut link lacks is told by the parameters that it still has."""
    assert _links.missing_parameters(link) == missing


def test_name_of_link():
    """The name of an image is the end of its path."""
    assert _links.name_of(TOS) == "021_0"


@pytest.mark.parametrize(
    ("link", "host"), [(TOS, "bucket.tos-cn-beijing.volces.com"), ("//[", None)]
)
def test_host_of_link(link, host):
    """The host, or nothing if there is no telling."""
    assert _links.host_of(link) == host


@pytest.mark.parametrize(
    ("location", "followed"),
    [
        pytest.param("https://other/b%2fc?X=%2F", "https://other/b%2fc?X=%2F", id="absolute"),
        pytest.param("/b%2fc?X=%2F", "https://h/b%2fc?X=%2F", id="path"),
        pytest.param("c%7E?", "https://h/a%2Fb/c%7E?", id="relative"),
        pytest.param("../c", "https://h/c", id="upwards"),
        pytest.param("?r", "https://h/a%2Fb/x?r", id="query"),
        pytest.param("//other/c", "https://other/c", id="other host"),
    ],
)
def test_redirects_keep_their_spelling(location, followed):
    """A redirect leads where it says, with nothing decoded on the way."""
    assert _links.follow("https://h/a%2Fb/x?q", location) == followed


@pytest.mark.parametrize("location", ["http://h/a", "ftp://h/a"])
def test_redirects_do_not_give_up_protection(location):
    """A link that came over https does not lead anywhere else."""
    with pytest.raises(ValueError, match="unprotected"):
        _links.follow("https://h/a", location)
