"""
Why an object store refused a link: a pure function of the link, the answer and the time.

A store says AccessDenied for a link that was cut and for one that expired; the link itself tells
which it is.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from attrs import frozen

from . import _links
from ._errors import DownloadError, LinkAlteredError, LinkDeniedError, LinkExpiredError
from ._later import Later

if TYPE_CHECKING:
    from . import _escapes
else:
    _escapes = Later("_escapes")

_BUSY = frozenset((408, 425, 429))
_GONE = frozenset((404, 410))
_SLACK = timedelta(minutes=5)  # how wrong the clock of this machine may be
_ALTERED_CODES = {
    "SignatureDoesNotMatch": "does not match its signature",
    "MissingKey": "lacks its key-pair-id",  # what CloudFront calls a link without
}
_ALTERED = (
    "Copy it again from the response, and pass it on as it is: no escaping, no cutting at '&'"
)
_COMPARE = "If it was copied, compare it to its last character with that of the response"
_FIELDS = ("Code", "EC", "RequestId", "Message", "Details", "ServerTime")
# Not an XML parser: those expand what the document defines, to any length, from anywhere.
_ELEMENT = re.compile(
    rf"<(?:[\w.-]{{1,40}}:)?({'|'.join(_FIELDS)})(?:\s[^<>]{{0,200}})?>"
    r"\s{0,80}(?:<!\[CDATA\[)?([^<>\]]{1,500})"
)
_PAGE_ID = re.compile(r"Request ID:\s{0,9}([^\s<>]{1,200})", re.IGNORECASE)
_TOKEN = re.compile(r"[\w.:=+/@~-]{1,200}", re.ASCII)


@frozen
class _Said:
    """What a store said: *clock* is its time; *expired* that it gave the age as its reason."""

    code: str | None
    ec: str | None
    request_id: str | None
    expired: bool
    clock: datetime | None


def diagnose(link: str, status: int, body: bytes, now: datetime) -> DownloadError:
    """The error for a store that answered a GET of *link* with *status* and *body*."""
    said = _parse(body)
    host = _links.host_of(link)
    answer = " ".join(filter(None, (str(status), said.code, said.ec and f"EC {said.ec}")))
    facts: dict[str, Any] = {
        "host": host,
        "status_code": status,
        "code": said.code,
        "ec": said.ec,
        "request_id": said.request_id,
    }
    if status >= 500 or status in _BUSY:
        return DownloadError(f"{host} is busy ({answer}); try again", retryable=True, **facts)
    if status < 400:
        return DownloadError(f"{host} answered without an image ({answer})", **facts)
    expiry = _expiry(link, said, now)
    if alteration := _alteration(link, said):
        also = f". It also {expiry}: a whole copy will not help either" if expiry else ""
        return LinkAlteredError(f"the link {alteration} ({answer}). {_ALTERED}{also}", **facts)
    if expiry:
        advice = "Links live 24 hours as a rule: save images at once"
        return LinkExpiredError(f"the link {expiry} ({answer}). {advice}", **facts)
    return LinkDeniedError(_denial(link, status, answer, said, now), **facts)


def unsendable(link: str, problem: ValueError) -> DownloadError:
    """The error for a *link* that no request line can hold, which *problem* explains."""
    host = _links.host_of(link)
    if escape := _escapes.escape_of(link):
        return LinkAlteredError(f"the link is {escape}. {_ALTERED}", host=host)
    return DownloadError(f"the link cannot be fetched: {problem}", host=host)


def _alteration(link: str, said: _Said) -> str | None:
    """What was done to *link*, to stand after "the link"."""
    if escape := _escapes.escape_of(link):
        return f"is {escape}"
    if missing := _links.missing_parameters(link):
        return f"lacks {', '.join(missing)}"
    if garbled := _links.garbled_parameters(link):
        return f"has characters in {', '.join(garbled)} that were not issued"
    return _ALTERED_CODES.get(said.code or "")


def _expiry(link: str, said: _Said, now: datetime) -> str | None:
    """How *link* ended, to stand after "the link": the store is believed before our clock."""
    end = _links.expires_at(link)
    clock = said.clock or now
    if end and end <= clock - (timedelta() if said.clock else _SLACK):
        return f"expired {_spelled(clock - end)} ago, at {_shown(end)}"
    if not said.expired:
        return None
    if end is None:
        return "has expired, says the store"
    if end <= clock:
        return f"expired, says the store, at {_shown(end)}"
    return f"has expired, says the store, though it names {_shown(end)} as its end"


def _spelled(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    for least, length, unit in ((2 * 1440, 1440, "day"), (60, 60, "hour"), (1, 1, "minute")):
        if minutes >= least:
            count = minutes // length
            return f"{count} {unit}" + ("s" if count > 1 else "")
    return "less than a minute"


def _shown(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _denial(link: str, status: int, answer: str, said: _Said, now: datetime) -> str:
    host = _links.host_of(link)
    quoting = f". Quote request id {said.request_id} to its support" if said.request_id else ""
    if status in _GONE:
        return (
            f"{host} has no such object ({answer}): it was removed, or the path of the link was "
            f"changed{quoting}"
        )
    if not _links.signature_of(link):
        reason = "which bears no signature that is known here: was it cut at '?'"
    elif (end := _links.expires_at(link)) is None:
        reason = "which has all parameters of its signature"
    elif end > now:
        reason = f"which has all parameters of its signature and lives until {_shown(end)}"
    else:
        reason = f"which ended at {_shown(end)}, only just by this machine's clock"
    return f"{host} refused the link ({answer}), {reason}. {_COMPARE}{quoting}"


def _parse(body: bytes) -> _Said:
    """Read an error body, be it JSON (TOS), XML (S3, OSS, Google) or a page (CloudFront)."""
    found = _fields(body.decode("utf-8-sig", "replace"))
    code, ec, request_id = (
        value if _TOKEN.fullmatch(value := found.get(name, "")) else None
        for name in ("Code", "EC", "RequestId")
    )
    reasons = " ".join(found.get(name, "") for name in ("Code", "Message", "Details"))
    clock = _clock(found.get("ServerTime", ""))
    return _Said(code, ec, request_id, "expired" in reasons.lower(), clock)


def _fields(text: str) -> dict[str, str]:
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        pairs = [*_ELEMENT.findall(text), *(("RequestId", it) for it in _PAGE_ID.findall(text))]
        # The first of a name counts: later ones are details.
        return {name: value.strip() for name, value in reversed(pairs)}
    if not isinstance(given, dict):
        return {}
    return {name: value for name in _FIELDS if isinstance(value := given.get(name), str)}


def _clock(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
