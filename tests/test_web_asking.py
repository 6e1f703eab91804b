"""What passes between a browser and a store, and what a browser is told of errors."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    BudgetReachedError,
    ClientClosingError,
    ContentPolicyError,
    DownloadError,
    IncompleteDownloadError,
    InsufficientQuotaError,
    InternalServerError,
    InvalidRequestError,
    LinkExpiredError,
    NotAnImageError,
    OutcomeUnknownError,
    RateLimitError,
    SeedreamError,
    StorageError,
    _sniff,
)
from seedream_async._web._asking import Asked, Manner, described, disposition, kind_of
from seedream_async._web._telling import told

PLAIN = Manner(cache_control="x", filename=None, attachment=False, redirect=False, repair=False)
JPEG = b"\xff\xd8\xff\xe0" + bytes(16)


@pytest.mark.parametrize(
    ("headers", "passed"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"range": "bytes=1-"}, {"Range": "bytes=1-"}, id="rest"),
        pytest.param({"range": "bytes=1-2"}, {"Range": "bytes=1-2"}, id="part"),
        pytest.param({"range": "bytes=-5"}, {}, id="last part"),
        pytest.param({"range": "bytes=1-2,4-5"}, {}, id="several"),
        pytest.param({"range": "lines=1-2"}, {}, id="other unit"),
        pytest.param(
            {"range": "bytes=1-", "if-range": '"a"'},
            {"Range": "bytes=1-", "If-Match": '"a"'},
            id="if it is the same",
        ),
        pytest.param({"range": "bytes=1-", "if-range": 'W/"a"'}, {}, id="if it is similar"),
        pytest.param(
            {"range": "bytes=1-", "if-range": "Sat, 21 Nov 2026 18:00:00 GMT"}, {}, id="by date"
        ),
        pytest.param({"if-none-match": '"a"'}, {"If-None-Match": '"a"'}, id="if it is another"),
        pytest.param(
            {"if-modified-since": "Sat, 21 Nov 2026 18:00:00 GMT"},
            {"If-Modified-Since": "Sat, 21 Nov 2026 18:00:00 GMT"},
            id="since",
        ),
        pytest.param(
            {"if-modified-since": "x", "if-none-match": "*"}, {"If-None-Match": "*"}, id="both"
        ),
        pytest.param({"cookie": "a=b", "authorization": "Bearer x"}, {}, id="secrets"),
    ],
)
def test_what_is_passed_on(headers, passed):
    """A store is told of one range and of conditions, and of nothing else."""
    assert Asked.of("GET", headers).headers == passed


def test_a_head_asks_for_no_part():
    """Ranges are for GET."""
    asked = Asked.of("HEAD", {"range": "bytes=1-"})

    assert (asked.has_body, asked.start, asked.headers) == (False, None, {})


@pytest.mark.parametrize(
    ("known", "tag", "is_known"),
    [
        ('"a"', '"a"', True),
        ('W/"a"', '"a"', True),
        ('"b", "a"', 'W/"a"', True),
        ("*", '"a"', True),
        ('"b"', '"a"', False),
        ('"a"', None, False),
        (None, '"a"', False),
    ],
)
def test_what_a_browser_has(known, tag, is_known):
    """Tags are compared weakly, as for a cache."""
    asked = Asked.of("GET", {"if-none-match": known} if known else {})

    assert asked.is_known({"etag": tag} if tag else {}) is is_known


@pytest.mark.parametrize("sent", ["", "bytes 4-9/10", "bytes */10", "bytes 5-"])
def test_another_part(sent):
    """A part that begins elsewhere is none."""
    with pytest.raises(IncompleteDownloadError):
        Asked.of("GET", {"range": "bytes=5-"}).check_part({"content-range": sent})


@pytest.mark.parametrize(
    ("head", "said", "start", "kind"),
    [
        pytest.param(JPEG, "text/html", None, _sniff.JPEG, id="bytes count"),
        pytest.param(b"\xff\xd8", "image/png", 0, _sniff.PNG, id="too little to tell"),
        pytest.param(b"abc", "image/jpg; q=1", 5, _sniff.JPEG, id="from the middle"),
        pytest.param(JPEG, "image/webp", 5, _sniff.WEBP, id="what looks like a beginning"),
        pytest.param(b"abc", "image/svg+xml", 5, None, id="a kind with scripts"),
        pytest.param(b"abc", "", 5, None, id="no kind"),
        pytest.param(b"<html>", "image/jpeg", None, None, id="a page"),
        pytest.param(bytes(99), "image/jpeg", 0, None, id="noise"),
    ],
)
def test_kinds(head, said, start, kind):
    """The kind of an image is told by its bytes, and where those cannot tell, by the store."""
    if kind is None:
        with pytest.raises(NotAnImageError):
            kind_of(head, {"content-type": said}, start)
    else:
        assert kind_of(head, {"content-type": said}, start) is kind


def test_only_sound_headers_come_back():
    """What is no tag, no length or not printable is left out."""
    said = described(
        {"etag": "a", "content-length": "٣", "last-modified": "a\tb", "accept-ranges": "bytes"},
        _sniff.PNG,
        PLAIN,
        part=False,
    )

    assert said == {
        "Content-Type": "image/png",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "x",
        "Accept-Ranges": "bytes",
    }


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("cat.jpeg", 'filename="cat.jpeg"'),
        ("cat.JPG", 'filename="cat.JPG"'),
        ("cat", 'filename="cat.jpeg"'),
        ("cat.html", 'filename="cat.html.jpeg"'),
        ("../../etc/cat", "filename=\"etc-cat.jpeg\"; filename*=UTF-8''-..-etc-cat.jpeg"),
        ('a"; x="b', "filename=\"a--x--b.jpeg\"; filename*=UTF-8''a-%3B%20x%3D-b.jpeg"),
        ("猫", "filename=\"image.jpeg\"; filename*=UTF-8''%E7%8C%AB.jpeg"),
        (".jpeg", 'filename="jpeg.jpeg"'),
        ("", 'filename="image.jpeg"'),
        ("con", "filename=\"image-con.jpeg\"; filename*=UTF-8''con.jpeg"),
    ],
)
def test_names(name, written):
    """A name is one for every system, and its end is that of the image."""
    given = disposition("attachment", name, _sniff.JPEG)

    assert given == f"attachment; {written}"


@given(name=st.text(max_size=300))
def test_a_name_is_one_header(name):
    """No name breaks out of its header, or out of a folder."""
    given_name = disposition("inline", name, _sniff.PNG)

    given_name.encode("latin-1")
    assert given_name.isprintable()
    assert given_name.count('"') == 2
    assert "/" not in given_name
    assert "\\" not in given_name
    assert len(given_name) < 2000


def caused(cause):
    error = APIConnectionError("not sent, since another request met this")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (InvalidRequestError("no", field="size"), 400, "InvalidRequestError"),
        (BadRequestError("no"), 400, "BadRequestError"),
        (ContentPolicyError("no"), 422, "ContentPolicyError"),
        (RateLimitError("no"), 429, "RateLimitError"),
        (InternalServerError("no"), 503, "InternalServerError"),
        (InsufficientQuotaError("no"), 503, "InsufficientQuotaError"),
        (BudgetReachedError("no"), 503, "BudgetReachedError"),
        (AuthenticationError("no"), 502, "AuthenticationError"),
        (APIStatusError("no"), 502, "APIStatusError"),
        (ClientClosingError("no"), 503, "ClientClosingError"),
        (APITimeoutError("no"), 504, "APITimeoutError"),
        (APIConnectionError("no"), 503, "APIConnectionError"),
        (OutcomeUnknownError("no"), 504, "OutcomeUnknownError"),
        (APIResponseValidationError("no"), 502, "APIResponseValidationError"),
        (LinkExpiredError("no"), 410, "LinkExpiredError"),
        (DownloadError("no", status_code=404), 410, "DownloadError"),
        (DownloadError("no"), 502, "DownloadError"),
        (StorageError("no"), 507, "StorageError"),
        (SeedreamError("no"), 500, "SeedreamError"),
        (ZeroDivisionError("no"), 500, "InternalError"),
        (caused(AuthenticationError("no")), 502, "AuthenticationError"),
        pytest.param(
            caused(ZeroDivisionError("no")), 503, "APIConnectionError", id="caused by a bug"
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_statuses(error, status, kind):
    """Each error has its status, and keeps its own words to itself."""
    said = told(error)

    assert (said.status, said.type) == (status, kind)
    assert said.public()["status"] == status
    assert said.message != "no" or isinstance(error, InvalidRequestError)


@pytest.mark.parametrize(
    ("field", "status", "message"),
    [
        ("size", 400, "10x10 is too small; nearest: 2048x2048"),
        ("image", 400, "What was asked for is not valid"),
        (None, 400, "What was asked for is not valid"),
        ("save_to", 500, "Something went wrong in this application"),
        ("api_key", 500, "Something went wrong in this application"),
    ],
)
def test_what_a_browser_asked_for_is_explained(field, status, message):
    """Words about a field of the request are for the browser; those about files are not."""
    text = '10x10 is too small; nearest: 2048x2048; to send it anyway: validation="warn"'

    said = told(InvalidRequestError(text, field=field))

    assert (said.status, said.message) == (status, message)
    assert said.public().get("field") == (field if status == 400 else None)


@pytest.mark.parametrize(
    ("error", "billed"),
    [
        (OutcomeUnknownError("no"), True),
        (RateLimitError("no"), False),
        (DownloadError("no"), False),
        (DownloadError("no", response=object()), True),
        (StorageError("no", response=object()), True),
        (ValueError("no"), False),
    ],
)
def test_what_may_be_billed(error, billed):
    """An error that carries an answer is of something that is paid for."""
    assert told(error).possibly_billed is billed


def test_retry_after_is_whole():
    """The header has whole seconds, and never less than was asked for."""
    assert told(RateLimitError("no", retry_after=1.1)).headers["Retry-After"] == "2"
    assert "Retry-After" not in told(RateLimitError("no")).headers
