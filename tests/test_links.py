"""Links as text."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import example, given
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
        pytest.param("https://h:0/a?secret", "host or port", id="port"),
        pytest.param("https://[secret]/a", "host or port", id="address"),
        pytest.param("https://[fe80::1%secret]/a", "host or port", id="zone"),
        pytest.param("https://secret/\ud83d", "half a character", id="half a character"),
    ],
)
def test_unsendable_links_are_refused(link, problem):
    """What cannot be sent as it is, is refused, and not quoted in the message."""
    with pytest.raises(ValueError, match=problem) as excinfo:
        _links.parse_target(link)

    assert "secret" not in str(excinfo.value)


DAY_AFTER = datetime(2025, 12, 31, 13, 28, 17, tzinfo=UTC)
NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def dated(prefix, issued="20251231T235900Z", lifetime="60"):
    return f"https://h/k?{prefix}-Date={issued}&{prefix}-Expires={lifetime}"


def policy(text):
    encoded = base64.b64encode(text.encode()).decode()
    return "https://h/k?Policy=" + encoded.translate(str.maketrans("+=/", "-_~"))


END = '{"Statement":[{"Resource":"?>?","Condition":{"DateLessThan":{"AWS:EpochTime":%s}}}]}'


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        pytest.param(TOS, DAY_AFTER, id="TOS"),
        pytest.param(dated("X-Amz"), NEW_YEAR, id="S3"),
        pytest.param(dated("X-Goog"), NEW_YEAR, id="Google"),
        pytest.param(dated("x-oss"), NEW_YEAR, id="OSS"),
        pytest.param(dated("X-Amz", "20251225T000000Z", "604800"), NEW_YEAR, id="seven days"),
        pytest.param("https://h/k?Expires=1767225600", NEW_YEAR, id="seconds"),
        pytest.param(
            "https://h/k?Expires=9999999999",
            datetime(2286, 11, 20, 17, 46, 39, tzinfo=UTC),
            id="seconds, years away",
        ),
        pytest.param(policy(END % 1767225600), NEW_YEAR, id="policy"),
        pytest.param(policy(END % " 1767225600 "), NEW_YEAR, id="policy with blanks"),
        pytest.param(TOS + "#&X-Tos-Expires=1", DAY_AFTER, id="fragment"),
    ],
)
def test_expiry_is_read_from_the_link(link, expected):
    """A link of any scheme tells when it expires."""
    assert _links.expires_at(link) == expected


@pytest.mark.parametrize(
    "link",
    [
        pytest.param("https://h/k", id="unsigned"),
        pytest.param("https://[h/k?a=b", id="no URL"),
        pytest.param("", id="nothing"),
        pytest.param("https://h/k?X-Tos-Date=20260101T000000Z", id="half a pair"),
        pytest.param("https://h/k?X-Tos-Expires=60", id="the other half"),
        pytest.param(dated("X-Tos", "soon"), id="no date"),
        pytest.param(dated("X-Tos", "20261301T000000Z"), id="month 13"),
        pytest.param(dated("X-Tos", "00000101T000000Z"), id="year 0"),
        pytest.param(dated("X-Tos", "99991231T235959Z"), id="beyond all time"),
        pytest.param(dated("X-Tos", "2026-01-01T00:00:00Z"), id="another spelling"),
        pytest.param(dated("X-Tos", "٢٠٢٦٠١٠١T000000Z"), id="Arabic date"),
        pytest.param(dated("X-Tos", lifetime="0"), id="no lifetime"),
        pytest.param(dated("X-Tos", lifetime="-60"), id="negative lifetime"),
        pytest.param(dated("X-Tos", lifetime="604801"), id="more than seven days"),
        pytest.param(dated("X-Tos", lifetime="9" * 5000), id="endless"),
        pytest.param(dated("X-Tos", lifetime="1_0"), id="underscore"),
        pytest.param(dated("X-Tos", lifetime="٦٠"), id="Arabic lifetime"),
        pytest.param("https://h/k?Expires=soon", id="words"),
        pytest.param("https://h/k?Expires=", id="empty"),
        pytest.param("https://h/k?Expires=-1767225600", id="negative"),
        pytest.param("https://h/k?Expires=3600", id="a lifetime, not a time"),
        pytest.param("https://h/k?Expires=1767225600000", id="milliseconds"),
        pytest.param("https://h/k?Expires=" + "9" * 5000, id="overflow"),
        pytest.param("https://h/k?Expires=1767225600.5", id="fraction"),
        pytest.param("https://h/k?Policy=a", id="no policy"),
        pytest.param("https://h/k?Policy=ä", id="no policy in ASCII"),
        pytest.param(policy("{}"), id="policy without an end"),
        pytest.param(policy(END % -1), id="policy with a negative end"),
    ],
)
def test_nonsense_is_no_expiry(link):
    """What cannot be a time is not taken for one."""
    assert _links.expires_at(link) is None


@given(st.text())
@example("X-Tos-Date=20260101T000000Z&X-Tos-Expires=²")
@example("Expires=²²²²²²²²²²")
def test_any_query_can_be_read(query):
    """No query makes the questions about a link raise."""
    link = f"https://h/k?{query}"

    assert _links.host_of(link) == "h"
    assert _links.name_of(link) == "k"
    assert isinstance(_links.missing_parameters(link), tuple)
    assert isinstance(_links.expires_at(link), datetime | None)


def test_redacted_hides_every_query():
    """No signature survives, wherever the link stands in a text."""
    text = _links.redacted(f"see {TOS} and https://h/x?token=1.")

    assert "abc" not in text
    assert "token" not in text
    assert "bucket.tos-cn-beijing.volces.com/model/021_0.jpeg?…" in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("HTTPS://H/k?secret", "HTTPS://H/k?…", id="upper case"),
        pytest.param("https://h/it's.png?a='&b=secret", "https://h/it's.png?…", id="apostrophes"),
        pytest.param(
            '{"url": "https:\\/\\/h\\/k?a=secret\\u0026b=secret", "size": 1}',
            '{"url": "https:\\/\\/h\\/k?…", "size": 1}',
            id="JSON",
        ),
        pytest.param("https://h/k\\u003fa=secret", "https://h/k?…", id="JSON question mark"),
        pytest.param("<a href='https://h/k?secret'>", "<a href='https://h/k?…>", id="HTML"),
        pytest.param(
            "/k?X-Tos-Date=1&X-Tos-Signature=secret&b",
            "/k?X-Tos-Date=1&X-Tos-Signature=…&b",
            id="target",
        ),
        pytest.param(
            'https://h/a"b?X-Amz-Signature=secret',
            'https://h/a"b?X-Amz-Signature=…',
            id="quote in a path",
        ),
        pytest.param(
            "https://h/k?a=b c&X-Amz-Security-Token=secret",
            "https://h/k?… c&X-Amz-Security-Token=…",
            id="blank in a query",
        ),
        pytest.param(
            "u=https%3A%2F%2Fh%2Fk%3FSignature%3Dsecret",
            "u=https%3A%2F%2Fh%2Fk%3FSignature%3D…",
            id="escaped",
        ),
        pytest.param("Signature%253Dsecret", "Signature%253D…", id="escaped twice"),
        pytest.param("data:image/png;base64,iVBORw0=", "data:image/png;base64,…", id="inline data"),
        pytest.param("data:image/png, in words", "data:image/png, in words", id="data in prose"),
        pytest.param("a signature is missing", "a signature is missing", id="prose"),
        pytest.param("/go?u=https://h/k", "/go?u=https://h/k", id="question mark in front"),
        pytest.param("https://h/k and why?", "https://h/k and why?", id="question"),
    ],
)
def test_redacted_hides_only_secrets(text, expected):
    """However a link is spelled, its query is hidden and the text around it is not."""
    assert _links.redacted(text) == expected


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40))
def test_no_spelling_of_a_link_shows_its_signature(noise):
    """Whatever stands in front of it, a signature is hidden."""
    link = f"https://h/{noise}?X-Tos-Date={noise}&X-Tos-Signature=5ec7e75ec7e7&{noise}"

    assert "5ec7e75ec7e7" not in _links.redacted(link)


V2 = "https://h/k?AWSAccessKeyId=AK&Signature=s&Expires=1767225600"
OSS = "https://h/k?OSSAccessKeyId=AK&Expires=1767225600&Signature=s"
GOOGLE = "https://h/k?GoogleAccessId=a%40b&Expires=1767225600&Signature=s"
CLOUDFRONT = "https://h/k?Key-Pair-Id=K&Signature=s&Expires=1767225600"


@pytest.mark.parametrize(
    ("link", "missing"),
    [
        pytest.param(TOS, (), id="whole"),
        pytest.param(
            TOS.partition("&X-Tos-Expires")[0],
            ("x-tos-expires", "x-tos-signature", "x-tos-signedheaders"),
            id="cut",
        ),
        pytest.param(
            TOS.replace("-Signature=abc", "-Signature="), ("x-tos-signature",), id="emptied"
        ),
        pytest.param("https://h/k?q=1", (), id="never signed"),
        pytest.param("https://h/k?Expires=1767225600", (), id="some other scheme"),
        pytest.param("https://h/k#?X-Tos-Date=1", (), id="in the fragment"),
        pytest.param(
            "https://h/k?x-oss-credential=c",
            ("x-oss-signature-version", "x-oss-date", "x-oss-expires", "x-oss-signature"),
            id="OSS V4, cut",
        ),
        pytest.param(V2, (), id="SigV2"),
        pytest.param(V2.partition("&")[0], ("signature", "expires"), id="SigV2, cut"),
        pytest.param(OSS, (), id="OSS V1"),
        pytest.param(OSS.rpartition("&")[0], ("signature",), id="OSS V1, cut"),
        pytest.param(GOOGLE, (), id="Google V2"),
        pytest.param(GOOGLE.partition("&")[0], ("expires", "signature"), id="Google V2, cut"),
        pytest.param(CLOUDFRONT, (), id="CloudFront"),
        pytest.param(CLOUDFRONT.replace("Expires", "Policy"), (), id="CloudFront, policy"),
        pytest.param(
            CLOUDFRONT.partition("&")[0], ("signature", "expires or policy"), id="CloudFront, cut"
        ),
    ],
)
def test_missing_parameters_are_named(link, missing):
    """What a cut link lacks is told by the parameters that it still has."""
    assert sorted(_links.missing_parameters(link)) == sorted(missing)


@pytest.mark.parametrize(
    ("link", "signature"),
    [
        pytest.param(
            CLOUDFRONT + "&x=1",
            {"key-pair-id": "K", "signature": "s", "expires": "1767225600"},
            id="signed",
        ),
        pytest.param(
            "https://h/k?X-TOS-Credential=A%2Fb&x=1", {"x-tos-credential": "A/b"}, id="cut"
        ),
        pytest.param("https://h/k?Expires=1767225600", {}, id="unsigned"),
    ],
)
def test_signature_of_link(link, signature):
    """What belongs to the signature is known by its names."""
    assert _links.signature_of(link) == signature


@pytest.mark.parametrize(
    ("link", "name"),
    [
        pytest.param(TOS, "021_0", id="with an extension"),
        pytest.param("https://h/a/b", "b", id="without"),
        pytest.param("https://h/a/.b", ".b", id="hidden"),
        pytest.param("https://h/a/b.c.png#d/e.f", "b.c", id="two dots"),
        pytest.param("https://h/a/", "", id="folder"),
        pytest.param("https://h.example", "", id="no path"),
        pytest.param("https://h.example?a/b.c", "", id="query only"),
        pytest.param("https://[h/a.png", "a", id="no URL"),
        pytest.param("https://h/%E5%9B%BE%2F1.png", "图/1", id="escaped"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_name_of_link(link, name):
    """The name of an image is the end of its path."""
    assert _links.name_of(link) == name


@pytest.mark.parametrize(
    ("link", "host"), [(TOS, "bucket.tos-cn-beijing.volces.com"), ("//[", None)]
)
def test_host_of_link(link, host):
    """The host, or nothing if there is no telling."""
    assert _links.host_of(link) == host


BASE = "https://h/a%2Fb/x?q"


@pytest.mark.parametrize(
    ("location", "followed"),
    [
        pytest.param("https://other/b%2fc?X=%2F", "https://other/b%2fc?X=%2F", id="absolute"),
        pytest.param("HTTPS://other/a/../b?", "HTTPS://other/a/../b?", id="absolute, upper case"),
        pytest.param("//other/c/../d?", "https://other/c/../d?", id="other host"),
        pytest.param("/b%2fc?X=%2F", "https://h/b%2fc?X=%2F", id="path"),
        pytest.param("/b/./c/../d?", "https://h/b/./c/../d?", id="path with dots"),
        pytest.param("/https://other/c", "https://h/https://other/c", id="path like a link"),
        pytest.param("/b?u=//c", "https://h/b?u=//c", id="path with slashes in its query"),
        pytest.param("c%7E?", "https://h/a%2Fb/c%7E?", id="relative"),
        pytest.param("c?u=https://d", "https://h/a%2Fb/c?u=https://d", id="relative with a link"),
        pytest.param("c/../d", "https://h/a%2Fb/c/../d", id="relative with dots"),
        pytest.param("...", "https://h/a%2Fb/...", id="three dots"),
        pytest.param(".c", "https://h/a%2Fb/.c", id="hidden file"),
        pytest.param("./c:d", "https://h/a%2Fb/c:d", id="here"),
        pytest.param(".", "https://h/a%2Fb/", id="folder"),
        pytest.param("./?r", "https://h/a%2Fb/?r", id="folder with a query"),
        pytest.param("../c", "https://h/c", id="upwards"),
        pytest.param("..", "https://h/", id="folder above"),
        pytest.param("..?r", "https://h/?r", id="folder above with a query"),
        pytest.param("../../../c", "https://h/c", id="above the root"),
        pytest.param("?r", "https://h/a%2Fb/x?r", id="query"),
        pytest.param("?", "https://h/a%2Fb/x?", id="bare question mark"),
        pytest.param("#r", "https://h/a%2Fb/x?q", id="fragment"),
    ],
)
def test_redirects_keep_their_spelling(location, followed):
    """A redirect leads where it says, with nothing decoded on the way."""
    assert _links.follow(BASE, location) == followed


@pytest.mark.parametrize("link", ["https://h/a", "HTTPS://h/a"])
@pytest.mark.parametrize(
    "location", ["http://h/a", "HTTP://h/a", "ftp://h/a", "javascript:alert(1)", "https:b"]
)
def test_redirects_do_not_give_up_protection(link, location):
    """A link that came over https does not lead anywhere else."""
    with pytest.raises(ValueError, match="unprotected"):
        _links.follow(link, location)


def test_redirects_may_gain_protection():
    """A link that came over http leads to https without ado."""
    assert _links.follow("http://h/a", "https://h/a") == "https://h/a"


@pytest.mark.parametrize(
    ("query", "garbled"),
    [
        pytest.param("AWSAccessKeyId=A&Signature=vjby%2BT2%3D&Expires=1767312000", (), id="SigV2"),
        pytest.param("AWSAccessKeyId=A&Signature=vj+yT2=&Expires=1", (), id="not escaped"),
        pytest.param("Key-Pair-Id=K&Signature=a-b~c__&Expires=1", (), id="CloudFront"),
        pytest.param("Key-Pair-Id=K&Signature=a.&Expires=1", ("signature",), id="full stop"),
        pytest.param("AWSAccessKeyId=A&Signature=a=b&Expires=1", ("signature",), id="more"),
        pytest.param("X-Tos-Expires=60)&X-Tos-Signature=0f", ("x-tos-expires",), id="bracket"),
        pytest.param("a=1&Signature=%22&Expires=x", (), id="no scheme that is known"),
    ],
)
def test_garbled_parameters_are_named(query, garbled):
    """What cannot have been issued was added on the way."""
    assert _links.garbled_parameters(f"https://h.test/k?{query}") == garbled
