"""
The fault matrix of "never pay twice", as data: what a server does, and what must come of it.

It holds only what the promise says; the code has to follow, never the table.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from functools import partial
from typing import Any

from attrs import field, frozen

from seedream_async import (
    APIConnectionError,
    APIResponseValidationError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ContentPolicyError,
    InsufficientQuotaError,
    InternalServerError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    SeedreamError,
    Timeout,
)

from .fault_server import IMAGE, OK, At, Do, Drip, Reply

AMPLE = Timeout(total=20, attempt=10, connect=5, read=5)
KEY = "sk-that-nobody-may-see"
PROMPT = "a cat in a coat of many colours"


@frozen
class Fault:
    """
    What a server does, and what must come of it.

    *replies* answer the requests in turn; whatever comes after them is answered with an image.
    Where the fault lies *at* the handshake, *replies* follow each ClientHello. A fault may show
    only after good calls *before* it, or strike idle connections in the *meanwhile*, which the
    next call has to survive.

    There must be so many *posts*, of which so many are *billed*; it *ends* in an error, or in an
    image if that is missing; *doubt* is whether it may have been billed for nothing. *says* is in
    the message, *facts* are attributes of the error, and *waited* seconds pass between attempts.
    """

    name: str
    replies: tuple[Reply, ...] = ()
    posts: int = field(kw_only=True)
    billed: int = field(kw_only=True)
    ends: type[SeedreamError] | None = field(kw_only=True)
    doubt: bool = field(kw_only=True)
    attempts: int | None = None
    says: str = ""
    facts: Mapping[str, Any] = field(factory=dict)
    waited: float = 0.0
    timeout: Timeout = AMPLE
    resend: bool = False
    padding: int = 0
    before: int = 0
    meanwhile: Reply = ()
    at: At = "http"
    heavy: bool = False
    ways: tuple[str, ...] = ("generate", "stream", "lent session")


def http(status: str, body: bytes = b"", *headers: str) -> bytes:
    """A whole answer."""
    return head(status, f"Content-Length: {len(body)}", *headers) + body


def head(status: str, *headers: str) -> bytes:
    """An answer up to its body."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


def no(status: str, *headers: str, body: bytes | None = None, **error: str) -> Reply:
    """A refusal that quotes what it must not."""
    return Do.REFUSE, http(status, told(**error) if body is None else body, *headers)


def told(**error: str) -> bytes:
    """An error object that quotes the key and the prompt."""
    message = f"{KEY} may not have {PROMPT} (request id: r-1)"
    return json.dumps({"error": {"message": message, **error}}).encode()


def zipped(data: bytes) -> bytes:
    """*data* as gzip."""
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()


def bomb(start: bytes = b"") -> bytes:
    """64 MiB of zeros as gzip, after a *start*."""
    packer, mebibyte = zlib.compressobj(wbits=31), bytes(1 << 20)
    return b"".join(
        [packer.compress(start), *(packer.compress(mebibyte) for _ in range(64)), packer.flush()]
    )


QUOTING = f"<html>{KEY} may not have {PROMPT}</html>".encode()
COUNTING = told(code="RateLimitExceeded")[:-1] + b', "usage": {"generated_images": 1}}'
HTML = "Content-Type: text/html"
EVENTS = head("200 OK", "Content-Type: text/event-stream")
HALF = b'data: {"type": "image_generation.partial_succeeded", "image_ind'
CUT: Reply = (Do.RESET,)
GZIP = "Content-Encoding: gzip"
CHUNKED = head("200 OK", "Transfer-Encoding: chunked")
LENGTH = f"Content-Length: {len(IMAGE)}"
DATE = "Date: Wed, 01 Jul 2026 12:00:00 GMT"
BUSY = "429 Too Many Requests"
DOWN = "503 Service Unavailable"
ONCE, STREAM, SLOW = ("generate",), ("stream",), Timeout(total=20, attempt=10, read=0.1)

never_sent = partial(
    Fault, posts=0, billed=0, ends=APIConnectionError, doubt=False, attempts=3, says="was sent"
)
unknown = partial(Fault, posts=1, billed=1, ends=OutcomeUnknownError, doubt=True)
stalled = partial(unknown, timeout=SLOW, says="silence for read=0.1 s")
undocumented = partial(Fault, posts=1, billed=1, ends=APIResponseValidationError, doubt=True)
refused = partial(Fault, posts=1, billed=0, doubt=False, says="Nothing was billed")
held_out = partial(refused, posts=3)
overcome = partial(Fault, posts=2, billed=1, ends=None, doubt=False)
harmless = partial(Fault, posts=1, billed=1, ends=None, doubt=False)
moved = partial(refused, ends=NotFoundError)


def _redirect(status: str, there: str) -> Reply:
    return Do.REFUSE, http(status, QUOTING, f"Location: {there}", HTML)


NEVER_SENT = (
    never_sent("no such host", at="no such host", says="no-such-host.invalid does not resolve"),
    never_sent("refused connection", at="refused", says="127.0.0.1"),
    never_sent(
        "full backlog",
        at="full",
        ends=APITimeoutError,
        timeout=Timeout(total=20, connect=0.05),
        says="connect=0.05 s",
    ),
    never_sent("handshake closed", ((Do.CLOSE,),) * 3, at="handshake"),
    never_sent("handshake reset", (CUT,) * 3, at="handshake"),
    never_sent("HTTP where TLS is due", ((http("400 Bad Request"), Do.CLOSE),) * 3, at="handshake"),
    never_sent("untrusted certificate", at="untrusted", attempts=1, says="certificate"),
)
CUTS = (
    unknown("reset before the request was read", ((Do.EARLY, Do.RESET),), billed=0),
    unknown("reset within the request", ((Do.EARLY, Do.RESET),), billed=0, padding=4 << 20),
    unknown("reset before the head", (CUT,)),
    unknown("reset within the head", ((b"HTTP/1.1 200 OK\r\nX-A", Do.RESET),)),
    unknown("reset within the body", ((head("200 OK", LENGTH), IMAGE[:9], Do.RESET),)),
    unknown("closed before the head", ((Do.CLOSE,),)),
    unknown("closed within the head", ((b"HTTP/1.1 200 OK\r\nX-A", Do.CLOSE),)),
    unknown("body shorter than its length", ((head("200 OK", LENGTH), IMAGE[:9], Do.CLOSE),)),
    unknown("body cut between chunks", ((CHUNKED, b"5\r\n", IMAGE[:5], b"\r\n", Do.CLOSE),)),
    unknown("reset of a kept connection", ((OK,), CUT), before=1),
    unknown("closing of a kept connection", ((OK,), (Do.CLOSE,)), before=1),
)
STALLS = (
    stalled("stalled head", ((Do.STALL,),)),
    stalled("stalled within the head", ((b"HTTP/1.1 2", Do.STALL),)),
    stalled("stalled body", ((head("200 OK", LENGTH), IMAGE[:9], Do.STALL),)),
    unknown("stall until the total", ((Do.STALL,),), timeout=Timeout(total=0.1), says="total=0.1"),
    unknown(
        "dripping body",
        ((head("200 OK", LENGTH + "00"), Drip(b" ")),),
        timeout=Timeout(total=20, attempt=0.15, connect=0.15, read=0.1),
        says="attempt=0.15 s",
    ),
    unknown(
        "dripping head",
        ((b"HTTP/1.1 200 OK\r\nX-A: ", Drip(b"a")),),
        timeout=Timeout(total=20, attempt=0.15, connect=0.15, read=0.1),
        says="attempt=0.15 s",
    ),
    unknown(
        "flood of 103s",
        ((Drip(head("103 Early Hints") * 10, every=0.001),),),
        timeout=Timeout(total=20, attempt=0.15, connect=0.15),
        says="attempt=0.15 s",
    ),
)
# aiohttp tells of most of these as if the service had answered with 400.
UNREADABLE = (
    unknown("malformed status", ((f"HTTP/1.1 2x0 {KEY} {PROMPT}\r\n\r\n".encode(), Do.CLOSE),)),
    unknown("no HTTP", ((f"{KEY} {PROMPT}\r\n\r\n".encode(), Do.CLOSE),)),
    unknown("two lengths", ((http("200 OK", IMAGE, "Content-Length: 7"), Do.CLOSE),)),
    unknown(
        "length and chunks", ((http("200 OK", IMAGE, "Transfer-Encoding: chunked"), Do.CLOSE),)
    ),
    unknown("negative length", ((head("200 OK", "Content-Length: -1"), IMAGE, Do.CLOSE),)),
    unknown("endless header", ((head("200 OK", LENGTH, "X-A: " + "a" * 20_000), IMAGE),)),
    unknown("bad chunk", ((CHUNKED, b"zz\r\n", IMAGE, Do.CLOSE),)),
    unknown("bad gzip", ((http("200 OK", IMAGE, GZIP),),)),
    unknown("gzip with a bad checksum", ((http("200 OK", zipped(IMAGE)[:-8] + b"8" * 8, GZIP),),)),
    unknown("br without being asked", ((http("200 OK", b"\xffbr", "Content-Encoding: br"),),)),
)
UNDOCUMENTED = (
    undocumented("unknown encoding", ((http("200 OK", b"\x00", "Content-Encoding: x-odd"),),)),
    undocumented("body cut without a length", ((head("200 OK"), IMAGE[:9], Do.CLOSE),)),
    undocumented("cut gzip", ((http("200 OK", zipped(IMAGE)[:30], GZIP),),)),
    undocumented("gzip bomb", ((http("200 OK", bomb(), GZIP),),), heavy=True),
    undocumented("endless body", ((head("200 OK"), Drip(bytes(65_536), every=0)),), heavy=True),
    undocumented("web page", ((http("200 OK", QUOTING, HTML),),)),
    undocumented("empty body", ((http("200 OK"),),)),
    undocumented("null", ((http("200 OK", b"null"),),)),
    undocumented("bad UTF-8", ((http("200 OK", b'{"data": [], "\xff": 1}'),),)),
    undocumented("deep JSON", ((http("200 OK", b'{"a":' + b"[" * 100_000),),)),
    undocumented("huge number", ((http("200 OK", b'{"created": %b}' % (b"9" * 10_000)),),)),
    undocumented("no images", ((http("200 OK", b'{"created": 1, "data": []}'),),)),
    undocumented("events unasked", ((EVENTS, HALF, Do.CLOSE),), ways=("generate", "lent session")),
    undocumented("204", ((head("204 No Content"),),)),
    undocumented("101", ((head("101 Switching", "Connection: upgrade", "Upgrade: x"), Do.CLOSE),)),
)
UNDECIDED = (
    unknown("303", ((http("303 See Other", b"", "Location: /done"),),), says="303"),
    unknown("408", ((http("408 Request Timeout", told()),),)),
    unknown("500", ((http("500 Internal Server Error", told(code="do_request_failed")),),)),
    unknown("502", ((http("502 Bad Gateway", QUOTING, HTML),),)),
    unknown("503", ((http(DOWN, told(code="get_channel_failed")),),)),
    unknown("503 and a garbled Retry-After", ((http(DOWN, told(), "Retry-After: soon"),),)),
    unknown("504", ((http("504 Gateway Timeout", QUOTING, HTML),),)),
    *(
        unknown(f"{status}", ((http(f"{status} Origin", QUOTING, HTML),),), says=f"{status}")
        for status in (520, 522, 524)  # 522 also comes of a request that was sent, but not ACKed
    ),
    *(
        unknown(f"{status}", ((http(f"{status} Odd", told(code="invalid_request")),),), says=status)
        for status in ("409", "424", "499")
    ),
    unknown("strange 4xx with a page", ((http("418 Teapot", QUOTING, HTML),),), says="418"),
    unknown("error of theirs in a 200", ((http("200 OK", told(type="InternalServerError")),),)),
    unknown("code of theirs in a 200", ((http("200 OK", told(code="InternalServiceError")),),)),
    unknown("error without a code in a 200", ((http("200 OK", told()),),)),
    unknown("refusal that counts images", ((http("200 OK", COUNTING),),), says="RateLimitExceeded"),
)
REFUSED = (
    refused("400", (no("400 Bad Request", code="invalid_request"),), ends=BadRequestError),
    refused("401", (no("401 Unauthorized"),), ends=AuthenticationError),
    refused("402", (no("402 Payment Required"),), ends=InsufficientQuotaError),
    refused("403", (no("403 Forbidden", HTML, body=QUOTING),), ends=PermissionDeniedError),
    refused("404", (no("404 Not Found"),), ends=NotFoundError),
    refused("405", (no("405 Not Allowed", HTML, body=QUOTING),), ends=BadRequestError),
    refused("413", (no("413 Too Large", HTML, body=QUOTING),), ends=BadRequestError),
    refused(
        "413 before the request was read",
        ((Do.EARLY, http("413 Too Large", QUOTING, HTML), Do.DEAF),),
        ends=BadRequestError,
        padding=8 << 20,
    ),
    refused("415", (no("415 Unsupported Media Type"),), ends=BadRequestError),
    refused("414", (no("414 Too Long", HTML, body=QUOTING),), ends=BadRequestError),
    refused("422", (no("422 Unprocessable"),), ends=BadRequestError),
    refused("431", (no("431 Too Large", HTML, body=QUOTING),), ends=BadRequestError),
    refused("strange 4xx", (no("418 Teapot", code="New"),), ends=BadRequestError),
    refused(
        "filtered prompt",
        (no("400 Bad Request", code="InputTextSensitiveContentDetected"),),
        ends=ContentPolicyError,
    ),
    refused("500 invalid_request", (no("500 Oh", code="invalid_request"),), ends=BadRequestError),
    refused("503 model_not_found", (no(DOWN, code="model_not_found"),), ends=NotFoundError),
    refused(
        "429 for the quota",
        (no(BUSY, "Retry-After: 0", code="QuotaExceeded"),),
        ends=InsufficientQuotaError,
    ),
    refused(
        "error in a 200",
        (no("200 OK", code="OutputImageSensitiveContentDetected"),),
        ends=ContentPolicyError,
    ),
    refused("bomb in a 400", (no("400 No", GZIP, body=bomb()),), ends=BadRequestError, heavy=True),
)
REDIRECTS = tuple(
    moved(f"{code} to {where}", (_redirect(f"{code} Moved", there),), says=host)
    for code in (301, 302, 307, 308)
    for where, there, host in (
        ("the same host", "/v2/images", "the same host"),
        ("another host", f"<elsewhere>/?key={KEY}", "localhost"),
    )
)
LEFT_ALONE = (
    refused(
        "429 with a long Retry-After",
        (no(BUSY, "Retry-After: 121"),),
        ends=RateLimitError,
        facts={"retry_after": 121.0},
    ),
    refused(
        "429 with a Retry-After beyond the total",
        (no(BUSY, "Retry-After: 30"),),
        ends=RateLimitError,
        facts={"retry_after": 30.0},
    ),
    refused(
        "429 with x-should-retry: false", (no(BUSY, "X-Should-Retry: false"),), ends=RateLimitError
    ),
    refused(
        "503 with Retry-After and x-should-retry: false",
        (no(DOWN, "Retry-After: 0", "X-Should-Retry: false"),),
        ends=InternalServerError,
    ),
)
HELD_OUT = (
    held_out("429 again and again", (no(BUSY),) * 3, ends=RateLimitError),
    held_out(
        "503 with Retry-After again and again",
        (no(DOWN, "Retry-After: 0"),) * 3,
        ends=InternalServerError,
    ),
    held_out("521 again and again", (no("521 Down", body=QUOTING),) * 3, ends=InternalServerError),
)
OVERCOME = (
    overcome("429", (no(BUSY),)),
    overcome("429 with seconds", (no(BUSY, "Retry-After: 1"),), waited=1.0, ways=ONCE),
    overcome("429 with a fraction", (no(BUSY, "Retry-After: 0.05"),), waited=0.05),
    overcome(
        "429 with a date",
        (no(BUSY, DATE, "Retry-After: Wed, 01 Jul 2026 12:00:01 GMT"),),
        waited=1.0,
        ways=ONCE,
    ),
    overcome(
        "429 with a past date", (no(BUSY, DATE, "Retry-After: Wed, 01 Jul 2026 11:00:00 GMT"),)
    ),
    overcome("429 with retry-after-ms", (no(BUSY, "Retry-After-Ms: 50"),), waited=0.05),
    overcome("429 with a garbled Retry-After", (no(BUSY, "Retry-After: soon"),)),
    overcome("429 in a 200", (no("200 OK", code="ModelAccountRpmRateLimitExceeded"),)),
    overcome("425", (no("425 Too Early"),)),
    overcome("503 with Retry-After", (no(DOWN, "Retry-After: 0"),)),
    *(
        overcome(f"{status}", (no(f"{status} Origin", HTML, body=QUOTING),))
        for status in (521, 523, 525, 526)
    ),
)
HARMLESS = (
    harmless("bad UTF-8 beside the image", ((http("200 OK", b'{"model": "\xff", ' + IMAGE[1:]),),)),
    harmless("100", ((head("100 Continue"), OK),)),
    harmless("103", ((head("103 Early Hints", "Link: </a>"), OK),)),
    harmless("closed after the body", ((OK, Do.CLOSE),)),
    harmless("reset after the body", ((OK, Do.RESET),)),
    harmless("idle connection closed", meanwhile=(Do.CLOSE,)),
    harmless("idle connection reset", meanwhile=(Do.RESET,)),
    harmless("408 on an idle connection", meanwhile=(http("408 Timeout"), Do.CLOSE)),
    # Not for a lent session: its connector hands out what it has.
    harmless("answer on an idle connection", meanwhile=(OK,)),
    harmless("two answers at once", ((OK + OK,),)),
)
IN_STREAMS = (
    unknown("events reset before the first", ((EVENTS, Do.RESET),), ways=STREAM),
    unknown("events closed before the first", ((EVENTS, Do.CLOSE),), ways=STREAM),
    unknown("events closed within the first", ((EVENTS, HALF, Do.CLOSE),), ways=STREAM),
    stalled("events stalled before the first", ((EVENTS, Do.STALL),), ways=STREAM),
    unknown(
        "nothing but pings",
        ((EVENTS, Drip(b": ping\n\n")),),
        ways=STREAM,
        timeout=Timeout(total=20, attempt=0.15, connect=0.15, read=0.1),
        says="attempt=0.15 s",
    ),
    unknown(
        "end of the events before the first",
        ((http("200 OK", b"", "Content-Type: text/event-stream"),),),
        ways=STREAM,
    ),
    undocumented(
        "endless event",
        ((EVENTS, Drip(b"d" * 65_536, every=0)),),
        ways=STREAM,
        heavy=True,
        timeout=Timeout(total=20, attempt=2, connect=2),
    ),
    undocumented(
        "bomb in an event",
        ((http("200 OK", bomb(b"data: "), GZIP, "Content-Type: text/event-stream"),),),
        ways=STREAM,
        heavy=True,
    ),
    refused(
        "error as the first event",
        ((Do.REFUSE, EVENTS, b"data: ", told(code="SensitiveContentDetected"), b"\n\n", Do.CLOSE),),
        ends=ContentPolicyError,
        ways=STREAM,
    ),
)
RESENT = (
    overcome("cut once", (CUT,), billed=2, doubt=True, resend=True),
    overcome("504 once", ((http("504 No", QUOTING, HTML),),), billed=2, doubt=True, resend=True),
    overcome("cut and 429", (CUT, no(BUSY)), posts=3, billed=2, doubt=True, resend=True),
    unknown("cut and 400", (CUT, no("400 No")), posts=2, resend=True, says="1 of 2 attempts"),
    unknown("cut again and again", (CUT,) * 3, posts=3, billed=3, resend=True),
    unknown(
        "504 with x-should-retry: false",
        ((http("504 Gateway Timeout", QUOTING, HTML, "X-Should-Retry: false"),),),
        resend=True,
    ),
)
FAULTS: tuple[Fault, ...] = (
    *NEVER_SENT,
    *CUTS,
    *STALLS,
    *UNREADABLE,
    *UNDOCUMENTED,
    *UNDECIDED,
    *REFUSED,
    *REDIRECTS,
    *LEFT_ALONE,
    *HELD_OUT,
    *OVERCOME,
    *HARMLESS,
    *IN_STREAMS,
    *RESENT,
)
