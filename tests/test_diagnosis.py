"""Why a store refused a link."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from seedream_async import (
    DownloadError,
    LinkAlteredError,
    LinkDeniedError,
    LinkExpiredError,
)
from seedream_async._diagnosis import diagnose

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WHOLE = (
    "https://store.test/k.jpeg?X-Tos-Algorithm=A&X-Tos-Credential=C&X-Tos-Date=20251231T120000Z"
    "&X-Tos-Expires=86400&X-Tos-Signature=secret&X-Tos-SignedHeaders=host"
)
DENIED = json.dumps(
    {"Code": "AccessDenied", "EC": "0003-00000015", "RequestId": "r1", "Message": "Access Denied"}
).encode()
MISMATCH = b"<Error><Code>SignatureDoesNotMatch</Code><RequestId>r2</RequestId></Error>"


@pytest.mark.parametrize(
    ("link", "status", "body", "now", "kind"),
    [
        pytest.param(
            WHOLE.partition("&")[0], 403, DENIED, NOW, LinkAlteredError, id="parameters missing"
        ),
        pytest.param(
            WHOLE + "&q=%26amp;a&amp;b", 403, DENIED, NOW, LinkAlteredError, id="HTML-escaped"
        ),
        pytest.param(WHOLE, 403, MISMATCH, NOW, LinkAlteredError, id="signature"),
        pytest.param(WHOLE, 403, DENIED, NOW + timedelta(days=1), LinkExpiredError, id="expired"),
        pytest.param(WHOLE, 403, DENIED, NOW, LinkDeniedError, id="denied"),
        pytest.param(WHOLE, 404, b"<html>", NOW, LinkDeniedError, id="gone"),
        pytest.param(WHOLE, 503, b"[1]", NOW, DownloadError, id="busy"),
    ],
)
def test_reason_is_told(link, status, body, now, kind):
    """The link and the answer together tell which of the reasons it is."""
    error = diagnose(link, status, body, now)

    assert type(error) is kind
    assert error.status_code == status
    assert error.host == "store.test"
    assert "secret" not in str(error)


def test_store_facts_are_kept():
    """The store's own code, EC and request id are on the error."""
    error = diagnose(WHOLE, 403, DENIED, NOW)

    assert (error.code, error.ec, error.request_id) == ("AccessDenied", "0003-00000015", "r1")
    assert "EC 0003-00000015" in str(error)


def test_expired_link_says_how_long_ago():
    """The age of the expiry is computed from the link itself."""
    error = diagnose(WHOLE, 403, DENIED, datetime(2026, 1, 1, 15, tzinfo=UTC))

    assert "expired 3:00:00 ago" in str(error)


@pytest.mark.parametrize(
    ("status", "retryable"), [(403, False), (404, False), (429, True), (500, True)]
)
def test_only_a_busy_store_is_asked_again(status, retryable):
    """A refusal stays a refusal; trouble may pass."""
    assert diagnose(WHOLE, status, b"", NOW).retryable is retryable
