"""Why a store refused a link."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seedream_async import (
    DownloadError,
    LinkAlteredError,
    LinkDeniedError,
    LinkExpiredError,
)
from seedream_async._diagnosis import diagnose, unsendable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
WHOLE = (
    "https://store.test/k.jpeg?X-Tos-Algorithm=A&X-Tos-Credential=C&X-Tos-Date=20251231T120000Z"
    "&X-Tos-Expires=86400&X-Tos-Signature=secret&X-Tos-SignedHeaders=host"
)
END = datetime(2026, 1, 1, 12, tzinfo=UTC)
UNDATED = "https://store.test/k.jpeg?Key-Pair-Id=K&Policy=secret&Signature=secret"
CLOUDFRONT = "https://store.test/k.jpeg?Key-Pair-Id=K&Expires=1767268800&Signature=secret"
PLAIN = "https://store.test/k.jpeg"
CUT = WHOLE.partition("&X-Tos-Sig")[0]


def tos(code="AccessDenied", **more):
    return json.dumps(
        {"Code": code, "RequestId": "r1", "HostId": "h", "EC": "0003-00000015", **more}
    ).encode()


DENIED = tos(Message="Access Denied", DetailErrCode=14006)
MISMATCH = tos("SignatureDoesNotMatch", StringToSign="secret")
MISSING_KEY = b"<Error><Code>MissingKey</Code><Message>Missing Key-Pair-Id</Message></Error>"
GONE = b"<Error><Code>NoSuchKey</Code><RequestId>r1</RequestId></Error>"
SAYS_EXPIRED = tos(Message="Request has expired.")


def xml(**fields):
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in fields.items())
    return f"<?xml version='1.0' encoding='UTF-8'?>\n<Error>{inner}</Error>".encode()


@pytest.mark.parametrize(
    ("link", "status", "body", "now", "kind"),
    [
        pytest.param(CUT, 403, DENIED, NOW, LinkAlteredError, id="cut"),
        pytest.param(CUT, 400, b"<html>", NOW, LinkAlteredError, id="cut, Ceph"),
        pytest.param(CUT, 404, GONE, NOW, LinkAlteredError, id="cut and gone"),
        pytest.param(CUT, 403, DENIED, NOW + DAY, LinkAlteredError, id="cut and expired"),
        pytest.param(
            WHOLE + "&q=%26amp;a&amp;b", 403, DENIED, NOW, LinkAlteredError, id="HTML-escaped"
        ),
        pytest.param(WHOLE, 403, MISMATCH, NOW, LinkAlteredError, id="signature"),
        pytest.param(WHOLE, 403, MISMATCH, NOW + DAY, LinkAlteredError, id="signature, expired"),
        pytest.param(
            PLAIN + "?Expires=1767268800", 403, MISSING_KEY, NOW, LinkAlteredError, id="CloudFront"
        ),
        pytest.param(WHOLE, 403, DENIED, NOW + DAY, LinkExpiredError, id="expired"),
        pytest.param(CLOUDFRONT, 403, b"", NOW + DAY, LinkExpiredError, id="expired, CloudFront"),
        pytest.param(WHOLE, 404, GONE, NOW + DAY, LinkExpiredError, id="expired and gone"),
        pytest.param(WHOLE, 403, SAYS_EXPIRED, NOW, LinkExpiredError, id="expired, says the store"),
        pytest.param(UNDATED, 403, SAYS_EXPIRED, NOW, LinkExpiredError, id="expired, undated"),
        pytest.param(
            WHOLE,
            400,
            xml(Code="ExpiredToken", Message="Invalid argument."),
            NOW,
            LinkExpiredError,
            id="expired, Google",
        ),
        pytest.param(
            UNDATED,
            403,
            xml(Code="AccessDenied", Details="Request signature expired at: now"),
            NOW,
            LinkExpiredError,
            id="expired, in the details",
        ),
        pytest.param(WHOLE, 403, DENIED, NOW, LinkDeniedError, id="denied"),
        pytest.param(WHOLE, 404, GONE, NOW, LinkDeniedError, id="gone"),
        pytest.param(WHOLE, 410, b"", NOW, LinkDeniedError, id="gone for good"),
        pytest.param(UNDATED, 403, DENIED, NOW + 99 * DAY, LinkDeniedError, id="undated"),
        pytest.param(PLAIN, 403, DENIED, NOW, LinkDeniedError, id="unsigned"),
        pytest.param(WHOLE, 503, b"[1]", NOW + DAY, DownloadError, id="busy"),
        pytest.param(CUT, 429, DENIED, NOW, DownloadError, id="too fast"),
        pytest.param(WHOLE, 204, b"", NOW, DownloadError, id="no content"),
        pytest.param(CUT, 302, b"", NOW, DownloadError, id="redirect to nowhere"),
    ],
)
def test_reason_is_told(link, status, body, now, kind):
    """The link and the answer together tell which of the reasons it is."""
    error = diagnose(link, status, body, now)

    assert type(error) is kind
    assert error.status_code == status
    assert error.host == "store.test"
    assert str(status) in str(error)
    assert "secret" not in repr(vars(error)) + str(error)


def test_store_facts_are_kept():
    """The store's own code, EC and request id are on the error and in its text."""
    error = diagnose(UNDATED, 403, DENIED, NOW)

    assert (error.code, error.ec, error.request_id) == ("AccessDenied", "0003-00000015", "r1")
    assert str(error) == (
        "store.test refused the link (403 AccessDenied EC 0003-00000015), which has all parameters "
        "of its signature. If it was copied, compare it to its last character with that of the "
        "response. Quote request id r1 to its support"
    )


@pytest.mark.parametrize(
    ("age", "words"),
    [
        pytest.param(timedelta(minutes=5), "5 minutes ago", id="just"),
        pytest.param(timedelta(minutes=59, seconds=59), "59 minutes ago", id="minutes"),
        pytest.param(timedelta(hours=1), "1 hour ago", id="hour"),
        pytest.param(timedelta(hours=47, minutes=59), "47 hours ago", id="hours"),
        pytest.param(timedelta(days=2), "2 days ago", id="days"),
        pytest.param(timedelta(days=400, hours=23), "400 days ago", id="years"),
    ],
)
def test_expired_link_says_when(age, words):
    """The age is in words, the time in figures, both from the link itself."""
    error = diagnose(WHOLE, 403, DENIED, END + age)

    assert f"the link expired {words}, at 2026-01-01 12:00 UTC (403 " in str(error)
    assert "save images at once" in str(error)


@pytest.mark.parametrize(
    ("store", "words"),
    [
        pytest.param("2026-01-01T12:00:59Z", "less than a minute ago", id="S3"),
        pytest.param("2026-01-01T12:01:00.000Z", "1 minute ago", id="OSS"),
        pytest.param("2026-01-01T13:30:00", "1 hour ago", id="no zone"),
        pytest.param("2026-01-01T21:30:00+08:00", "1 hour ago", id="Beijing"),
    ],
)
def test_the_clock_of_the_store_is_believed(store, words):
    """A store that tells its time settles the matter, whatever the clock here says."""
    body = xml(Code="AccessDenied", ServerTime=store)

    for now in (END - DAY, END, END + DAY):
        assert f"expired {words}," in str(diagnose(WHOLE, 403, body, now))


@pytest.mark.parametrize("off", [timedelta(minutes=-5), timedelta(0), timedelta(minutes=4.9)])
def test_a_clock_that_is_off_expires_no_link(off):
    """A link is denied, not expired, while that may be this machine's clock, or the store's."""
    by_us = diagnose(WHOLE, 403, DENIED, END + off)
    by_store = diagnose(
        WHOLE, 403, xml(Code="AccessDenied", ServerTime="2026-01-01T11:59:59Z"), END + DAY
    )

    assert type(by_us) is LinkDeniedError
    assert type(by_store) is LinkDeniedError


@pytest.mark.parametrize(
    ("link", "status", "body", "now", "text"),
    [
        pytest.param(
            CUT, 403, DENIED, NOW, "the link lacks x-tos-signature, x-tos-signedheaders (", id="cut"
        ),
        pytest.param(
            CUT,
            403,
            DENIED,
            NOW + DAY,
            "cutting at '&'. It also expired 12 hours ago, at 2026-01-01 12:00 UTC: a whole copy",
            id="cut and expired",
        ),
        pytest.param(
            WHOLE.replace("&", "&amp;"),
            403,
            DENIED,
            NOW,
            "the link is escaped for HTML: html.unescape() undoes it, or repair=True in download() and "
            "open() (403 AccessDenied",
            id="HTML",
        ),
        pytest.param(
            WHOLE, 403, MISMATCH, NOW, "the link does not match its signature (", id="mismatch"
        ),
        pytest.param(
            CLOUDFRONT + ").", 403, DENIED, NOW, "has characters in signature that", id="junk"
        ),
        pytest.param(
            WHOLE.replace("86400", '86400"'),
            403,
            DENIED,
            NOW,
            "the link has characters in x-tos-expires that were not issued (403 AccessDenied",
            id="junk within",
        ),
        pytest.param(PLAIN, 403, MISSING_KEY, NOW, "the link lacks its key-pair-id (", id="key"),
        pytest.param(
            WHOLE,
            403,
            SAYS_EXPIRED,
            NOW,
            "the link has expired, says the store, though it names 2026-01-01 12:00 UTC as its end",
            id="disagreement",
        ),
        pytest.param(
            WHOLE,
            403,
            SAYS_EXPIRED,
            END + timedelta(minutes=1),
            "the link expired, says the store, at 2026-01-01 12:00 UTC (",
            id="agreement",
        ),
        pytest.param(
            UNDATED, 403, SAYS_EXPIRED, NOW, "the link has expired, says the store (", id="undated"
        ),
        pytest.param(
            WHOLE,
            403,
            b"",
            NOW,
            "which has all parameters of its signature and lives until 2026-01-01 12:00",
            id="alive",
        ),
        pytest.param(
            WHOLE,
            403,
            b"",
            END,
            "which ended at 2026-01-01 12:00 UTC, only just by this machine's clock",
            id="only just",
        ),
        pytest.param(PLAIN, 403, b"", NOW, "no signature that is known here", id="unsigned"),
        pytest.param(
            WHOLE,
            404,
            GONE,
            NOW,
            "no such object (404 NoSuchKey): it was removed, or the path of the link was changed. "
            "Quote request id r1",
            id="gone",
        ),
        pytest.param(WHOLE, 503, b"", NOW, "store.test is busy (503); try again", id="busy"),
        pytest.param(WHOLE, 206, b"", NOW, "answered without an image (206)", id="part"),
    ],
)
def test_message_names_the_cause_and_the_cure(link, status, body, now, text):
    """What went wrong, and what to do, is in the message."""
    assert text in str(diagnose(link, status, body, now))


@pytest.mark.parametrize(
    ("status", "retryable"),
    [
        *((status, False) for status in (204, 304, 400, 401, 403, 404, 410, 412, 416)),
        *((status, True) for status in (408, 425, 429, 500, 502, 503, 504, 520, 599)),
    ],
)
def test_only_a_busy_store_is_asked_again(status, retryable):
    """A refusal stays a refusal; trouble may pass."""
    assert diagnose(WHOLE, status, b"", NOW).retryable is retryable


S3 = xml(Code="AccessDenied", Message="m", RequestId="r1", HostId="h")
BODIES = [
    pytest.param(tos(), ("AccessDenied", "0003-00000015", "r1"), id="TOS"),
    pytest.param(b"\xef\xbb\xbf" + tos(), ("AccessDenied", "0003-00000015", "r1"), id="TOS, BOM"),
    pytest.param(S3, ("AccessDenied", None, "r1"), id="S3"),
    pytest.param(b"\xef\xbb\xbf" + S3, ("AccessDenied", None, "r1"), id="S3, BOM"),
    pytest.param(
        xml(Code="AccessDenied", EC="0002-00000069", RequestId="6900AB"),
        ("AccessDenied", "0002-00000069", "6900AB"),
        id="OSS",
    ),
    pytest.param(
        b'<Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Code>A</Code></Error>',
        ("A", None, None),
        id="default namespace",
    ),
    pytest.param(
        b'<s3:Error xmlns:s3="u"><s3:Code xml:lang="en">A</s3:Code><s3:EC>1</s3:EC></s3:Error>',
        ("A", "1", None),
        id="prefix and attribute",
    ),
    pytest.param(
        b"<Error><Code><![CDATA[A]]></Code><RequestId> <![CDATA[r1]]></RequestId></Error>",
        ("A", None, "r1"),
        id="CDATA",
    ),
    pytest.param(
        b"<Error>\n  <Code>\n    A\n  </Code>\n</Error>", ("A", None, None), id="indented"
    ),
    pytest.param(
        b"<Error><Code>A</Code><Details><Code>B</Code></Details></Error>",
        ("A", None, None),
        id="first one counts",
    ),
    pytest.param(
        b"<?xml version='1.0'?><Error><Code>SignatureDoesNotMatch</Code><RequestId>tx0-ceph"
        b"</RequestId><HostId>1-default</HostId></Error>",
        ("SignatureDoesNotMatch", None, "tx0-ceph"),
        id="Ceph",
    ),
    pytest.param(
        b"<?xml version='1.0' encoding='UTF-8'?>\n<Error><Code>AccessDenied</Code>"
        b"<Message>Access Denied.</Message><RequestId>tx1-swift</RequestId></Error>",
        ("AccessDenied", None, "tx1-swift"),
        id="Swift",
    ),
    pytest.param(MISSING_KEY, ("MissingKey", None, None), id="CloudFront"),
    pytest.param(
        b"<HTML><H1>403 ERROR</H1>Request blocked.<PRE>Generated by cloudfront (CloudFront)\n"
        b"Request ID: aB-3_w==\n</PRE></HTML>",
        (None, None, "aB-3_w=="),
        id="CloudFront, a page",
    ),
    pytest.param(
        b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Details>Request signature expired"
        b"</Details></Error>",
        ("ExpiredToken", None, None),
        id="Google",
    ),
    pytest.param(b"<html><h1>Forbidden</h1></html>", (None, None, None), id="a page"),
    pytest.param(b"", (None, None, None), id="nothing"),
    pytest.param(b"\xff\xfe\x00", (None, None, None), id="bytes"),
    pytest.param(b"[1]", (None, None, None), id="JSON list"),
    pytest.param(b'"Code"', (None, None, None), id="JSON text"),
    pytest.param(b'{"Code": 1, "EC": null, "RequestId": []}', (None, None, None), id="JSON oddity"),
    pytest.param(b'{"Code": ' + b"9" * 9999 + b"}", (None, None, None), id="JSON long number"),
    pytest.param(b"[" * 15000, (None, None, None), id="JSON, deep"),
    pytest.param(xml(Code="https://h/k?X-Tos-Signature=s"), (None, None, None), id="link for code"),
    pytest.param(xml(Code="A" * 201), (None, None, None), id="long code"),
    pytest.param(xml(Code="A\x1b[31m"), (None, None, None), id="colours"),
    pytest.param(xml(Code=""), (None, None, None), id="empty code"),
]


@pytest.mark.parametrize(("body", "facts"), BODIES)
def test_bodies_of_all_stores_are_read(body, facts):
    """Each vendor's envelope gives what it holds."""
    error = diagnose(UNDATED, 403, body, NOW)

    assert (error.code, error.ec, error.request_id) == facts


LAUGHS = (
    "<!DOCTYPE Error [<!ENTITY a0 'lol'>"
    + "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 10))
    + "]><Error><Code>&a9;</Code><RequestId>r1</RequestId></Error>"
).encode()
EXTERNAL = (
    b"<!DOCTYPE Error [<!ENTITY x SYSTEM 'file:///etc/passwd'>"
    b"<!ENTITY % y SYSTEM 'http://127.0.0.1:9/y'>%y;]>"
    b"<Error><Code>&x;</Code><RequestId>r1</RequestId></Error>"
)


@pytest.mark.parametrize(
    "body", [pytest.param(LAUGHS, id="billion laughs"), pytest.param(EXTERNAL, id="external")]
)
def test_entities_stay_what_they_are(body):
    """Nothing that a body defines is expanded or fetched: it is no code, and that is all."""
    error = diagnose(WHOLE, 403, body, NOW)

    assert error.code is None
    assert error.request_id == "r1"
    assert len(str(error)) < 300
    assert "root" not in str(error)


@given(body=st.binary(max_size=300), status=st.integers(100, 999))
@example(b"<Code" * 3000, 403)
@example(b"<Code " + b" " * 16000, 403)
@example(b"<" * 16000, 403)
@example(b'{"ServerTime": "never"}', 403)
def test_any_answer_has_a_reason(body, status):
    """No answer makes the diagnosis itself fail."""
    error = diagnose(WHOLE, status, body, NOW)

    assert isinstance(error, DownloadError)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    ("link", "kind", "text"),
    [
        pytest.param(f'"{WHOLE}"', LinkAlteredError, "the link is wrapped in quotes", id="quotes"),
        pytest.param(
            WHOLE.replace("/", "\\/"), LinkAlteredError, "the link is escaped for JSON", id="JSON"
        ),
        pytest.param("ftp://h/a?secret", DownloadError, "cannot be fetched: no way", id="scheme"),
    ],
)
def test_what_cannot_be_sent_is_explained(link, kind, text):
    """A link that was spoiled beyond sending is told as such."""
    error = unsendable(link, ValueError("no way"))

    assert type(error) is kind
    assert text in str(error)
    assert "secret" not in str(error)
