"""
What an error answer means: a pure table from status and code to an error class and a remedy,
and the error that comes of it.

The codes are those of CometAPI's error pages and of Ark's (Volcengine document 82379/1299023).
A code may have a dotted suffix; the part before the first dot decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from . import _errors as errors
from ._doubt import outcome_unknown
from ._http import Answer, Asked
from ._links import host_of, redacted
from ._retry import parse_retry_after

_REQUEST_ID = re.compile(r"\(?request id:\s*([^)\s]+)\)?", re.IGNORECASE)
_ID_HEADERS = ("x-request-id", "x-oneapi-request-id")
_MESSAGE_LENGTH = 400
_BODY_LENGTH = 2048
_BODY_READ = 65_536
_SHORTEST_SECRET = 4  # a prompt of one letter tells nothing, and is part of every word
_CONTENT = re.compile(r"sensitive|riskdetection|contentsecurity|policyviolation", re.IGNORECASE)
_QUOTA = {
    "insufficient_user_quota",
    "pre_consume_token_quota_failed",
    "AccountOverdueError",
    "OperationDenied.ServiceOverdue",
    "QuotaExceeded",
    "SetLimitExceeded",
}
_MODEL = {"model_not_found", "InvalidEndpointOrModel", "ModelNotOpen", "UnsupportedModel"}
_KEY = {"AuthenticationError", "InvalidAccountStatus"}
# Ark's `type` tells the status that an error inside a 200 would have had.
STATUS_OF_TYPE = {
    "BadRequest": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "TooManyRequests": 429,
    "InternalServerError": 500,
}
# Cloudflare's edge never reached the origin, so nothing can have been made. Not 522: it also comes
# when the origin took the request and then fell silent (Cloudflare's page on 5xx errors).
_NEVER_REACHED = {521, 523, 525, 526}


class Meaning(NamedTuple):
    """The class of an error answer, what to do, and whether sending again is free and useful."""

    error: type[errors.APIError]
    remedy: str
    retryable: bool = False


_CONTENT_MEANING = Meaning(
    errors.ContentPolicyError, "The content filter stopped it: change the prompt or the references"
)
_KEY_MEANING = Meaning(errors.AuthenticationError, "Check the API key (COMETAPI_KEY)")
_QUOTA_MEANING = Meaning(
    errors.InsufficientQuotaError, "Top up the balance or raise the limit; waiting does not help"
)
_MODEL_MEANING = Meaning(
    errors.NotFoundError, "Check the name of the model and that it is open to this account"
)
_BAD_REQUEST = Meaning(errors.BadRequestError, "Change the request")
_BUSY = Meaning(errors.InternalServerError, "The service is not available now; try later", True)
_UNKNOWN = Meaning(errors.OutcomeUnknownError, "")
_BY_STATUS = {
    401: _KEY_MEANING,
    402: _QUOTA_MEANING,
    403: Meaning(
        errors.PermissionDeniedError, "Check the rights of the key, and that no firewall interferes"
    ),
    404: Meaning(errors.NotFoundError, "Check the model and that base_url ends in /v1"),
    413: Meaning(errors.BadRequestError, "Send fewer or smaller references, or links to them"),
    425: _BUSY,
    429: Meaning(errors.RateLimitError, "Lower the concurrency or wait", True),
}


def meaning_of(status: int, code: str | None, *, told_when: bool, free: bool = False) -> Meaning:
    """
    Tell what an error answer means.

    *told_when* is whether the answer said when to come back: a 503 that does has refused the
    request, one that does not may come from a gateway that gave up on it. What becomes of a
    request that is *free* does not matter.
    """
    base = (code or "").partition(".")[0]
    for codes, meaning in (
        (_KEY, _KEY_MEANING),
        (_QUOTA, _QUOTA_MEANING),
        (_MODEL, _MODEL_MEANING),
    ):
        if base in codes or code in codes:
            return meaning
    if _CONTENT.search(base):
        return _CONTENT_MEANING
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status == 408:
        return _BUSY if free else _UNKNOWN
    if status < 500:
        return _BAD_REQUEST
    if status == 500 and base == "invalid_request":
        return _BAD_REQUEST
    if free or status in _NEVER_REACHED or (status == 503 and told_when):
        return _BUSY
    return _UNKNOWN


def refusal(answer: Answer, payload: Any, asked: Asked, now: datetime) -> errors.APIError:
    """The error for *answer*, whose decoded body is *payload*."""
    error = _error_object(payload)
    code, kind = _text(error.get("code")), _text(error.get("type"))
    status = answer.status if answer.status >= 300 else STATUS_OF_TYPE.get(kind or "", 400)
    if status < 400:
        return _redirect(answer)
    message = _text(error.get("message")) or kind_of(answer)
    said = _REQUEST_ID.sub("", concealed(message, asked.secrets)).strip(" .")[:_MESSAGE_LENGTH]
    what = f"{answer.status} {code}: {said}" if code else f"{answer.status}: {said}"
    final = answer.headers.get("x-should-retry", "").strip().lower() == "false"
    retry_after = parse_retry_after(answer.headers, now)
    meaning = meaning_of(status, code, told_when=retry_after is not None, free=asked.free)
    facts: dict[str, Any] = {
        "request_id": request_id_of(answer, message),
        "status_code": answer.status,
        "code": code,
    }
    if meaning is _UNKNOWN:
        return outcome_unknown(what, answer.elapsed, final=final, **facts)
    facts |= {"type": kind, "param": _text(error.get("param")), "retry_after": retry_after}
    facts |= {"retryable": meaning.retryable and not final}
    remedy = (meaning is _BAD_REQUEST and asked.remedy()) or meaning.remedy
    body = excerpt(answer.body, asked.secrets)
    return meaning.error(f"{what}. {remedy}. Nothing was billed", body=body, **facts)


def _redirect(answer: Answer) -> errors.APIError:
    host = host_of(answer.headers.get("location", "")) or "the same host"
    what = f"{answer.status}: the API redirects to {host}, and a paid request follows no redirect"
    if answer.status == 303:  # it says that the request was carried out
        return outcome_unknown(what, answer.elapsed, cut=False, status_code=303)
    return errors.NotFoundError(
        f"{what}. Check that base_url is right and ends in /v1. Nothing was billed",
        status_code=answer.status,
    )


def _error_object(payload: Any) -> Mapping[str, Any]:
    """The error of an envelope: `{"error": {…}}`, `{"error": "…"}`, or the bare fields."""
    error = payload.get("error", payload) if isinstance(payload, dict) else None
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and value not in ("", 0) else None


def kind_of(answer: Answer) -> str:
    """What an answer is, for want of a better description."""
    if not answer.body:
        return "an empty body"
    return answer.headers.get("content-type", "no content type").partition(";")[0]


def request_id_of(answer: Answer, message: str = "") -> str | None:
    """The request id that a header or *message* holds."""
    for name in _ID_HEADERS:
        if value := answer.headers.get(name):
            return value
    match = _REQUEST_ID.search(message)
    return match[1] if match else None


def excerpt(body: bytes, secrets: Sequence[str]) -> str:
    """The first 2 KiB of *body* as text, without *secrets* and the queries of links."""
    # Concealed before it is cut: half a secret would not be recognised.
    return concealed(body[:_BODY_READ].decode("utf-8", "replace"), secrets)[:_BODY_LENGTH]


def concealed(text: str, secrets: Sequence[str]) -> str:
    """*text* without *secrets*, however JSON spells them, and without the queries of links."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            escaped = json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]
            for form in (secret, *escaped):
                text = text.replace(form, "…")
    return redacted(text)
