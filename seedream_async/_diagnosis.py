"""
Why an object store refused a link: a pure function of the link, the answer and the time.

A store says AccessDenied for a link that was cut and for one that expired; the link itself tells
which it is.
"""

from __future__ import annotations

import json
import re
from datetime import datetime

from . import _links
from ._errors import DownloadError, LinkAlteredError, LinkDeniedError, LinkExpiredError

_FIELDS = ("Code", "EC", "RequestId")
_ALTERED = (
    "Copy it again from the response, and pass it on as it is: no escaping, no cutting at '&'"
)


def diagnose(link: str, status: int, body: bytes, now: datetime) -> DownloadError:
    """The error for a store that answered a GET of *link* with *status* and *body*."""
    code, ec, request_id = _store_error(body)
    host = _links.host_of(link)
    said = " ".join(filter(None, (str(status), code, ec and f"EC {ec}")))
    facts = {
        "host": host,
        "status_code": status,
        "code": code,
        "ec": ec,
        "request_id": request_id,
    }
    if status >= 500 or status == 429:
        return DownloadError(f"{host} is busy ({said}); try again", retryable=True, **facts)
    if missing := _links.missing_parameters(link):
        return LinkAlteredError(
            f"the link lacks {', '.join(missing)} ({said}). {_ALTERED}", **facts
        )
    if "&amp;" in link or "\\u0026" in link:
        return LinkAlteredError(f"the link is escaped ({said}). {_ALTERED}", **facts)
    if (expiry := _links.expires_at(link)) and expiry <= now:
        ago = str(now - expiry).partition(".")[0]
        return LinkExpiredError(
            f"the link expired {ago} ago ({said}). Links live 24 hours: save images at once",
            **facts,
        )
    if code == "SignatureDoesNotMatch":
        return LinkAlteredError(f"the signature does not match ({said}). {_ALTERED}", **facts)
    return LinkDeniedError(
        f"{host} refused the link ({said}), which looks whole and has not expired. "
        "Quote the request id to the vendor's support",
        **facts,
    )


def _store_error(body: bytes) -> list[str | None]:
    """The `Code`, `EC` and `RequestId` of an error body, be it JSON (TOS) or XML (S3, OSS)."""
    text = body.decode("utf-8", "replace")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = dict(re.findall(r"<(Code|EC|RequestId)>([^<]{1,200})</", text))
    if not isinstance(found, dict):
        found = {}
    return [str(found[name]) if found.get(name) else None for name in _FIELDS]
