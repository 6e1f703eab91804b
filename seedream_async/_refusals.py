"""
The error that an answer stands for: by what it means, and without a word that it must not repeat.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from . import _errors as errors
from ._doubt import outcome_unknown
from ._http import MOST_OF_REFUSAL, Answer, Asked
from ._links import host_of, redacted
from ._meanings import BAD_REQUEST, UNKNOWN, Meaning, meaning_of, status_within
from ._retry import parse_retry_after

_REQUEST_ID = re.compile(r"\(?request id:\s*([^)\s\"\\]+)\)?", re.IGNORECASE)
_ID_HEADERS = ("x-request-id", "x-oneapi-request-id")
_MESSAGE_LENGTH = 400
_BODY_LENGTH = 2048
_NAME_LENGTH = 128  # of a code, a request id, and whatever else is short by right
_SHORTEST_SECRET = 4  # a prompt of one letter tells nothing, and is part of every word
# What Go's encoder escapes besides, so that JSON can stand in a page.
_GO = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def refusal(
    answer: Answer, payload: Any, asked: Asked, now: datetime, *, arrived: int = 0
) -> errors.APIError:
    """
    The error for *answer*, whose decoded body is *payload*.

    After images that have *arrived*, or are counted as made, no error is free.
    """
    if 300 <= answer.status < 400:
        return _redirect(answer)
    error = _error_object(payload)
    retry_after = parse_retry_after(answer.headers, now)
    meaning = _meaning(answer, error, asked, told_when=retry_after is not None)
    what, facts = _what(answer, error, asked), _facts(answer, error, asked)
    final = answer.headers.get("x-should-retry", "").strip().lower() == "false"
    if meaning is UNKNOWN or arrived or (_counts_images(payload) and not asked.free):
        return outcome_unknown(what, answer.elapsed, arrived=arrived, final=final, **facts)
    remedy = (meaning is BAD_REQUEST and asked.remedy()) or meaning.remedy
    return meaning.error(
        f"{what}. {remedy}. Nothing was billed",
        type=_shown(_text(error.get("type")), asked),
        param=_shown(_text(error.get("param")), asked),
        retry_after=retry_after,
        retryable=meaning.retryable and not final,
        body=excerpt(answer.body, asked.secrets),
        **facts,
    )


def _meaning(answer: Answer, error: Mapping[str, Any], asked: Asked, *, told_when: bool) -> Meaning:
    code, kind = _text(error.get("code")), _text(error.get("type"))
    return meaning_of(
        answer.status if answer.status >= 300 else status_within(code, kind),
        code,
        told_when=told_when,
        enveloped=not error.keys().isdisjoint({"code", "message"}),
        free=asked.free,
    )


def _facts(answer: Answer, error: Mapping[str, Any], asked: Asked) -> dict[str, Any]:
    """What an error has as attributes, be it a refusal or a doubt."""
    return {
        "request_id": request_id_of(answer, _message_of(error)),
        "status_code": answer.status,
        "code": _shown(_text(error.get("code")), asked),
    }


def _what(answer: Answer, error: Mapping[str, Any], asked: Asked) -> str:
    """What was answered, in a line."""
    message = concealed(_message_of(error) or kind_of(answer), asked.secrets)
    said = _REQUEST_ID.sub("", message).strip(" .")[:_MESSAGE_LENGTH]
    code = _shown(_text(error.get("code")), asked)
    return f"{answer.status} {code}: {said}" if code else f"{answer.status}: {said}"


def _message_of(error: Mapping[str, Any]) -> str:
    return (_text(error.get("message")) or "")[:MOST_OF_REFUSAL]


def _shown(text: str | None, asked: Asked) -> str | None:
    """*text* as an attribute may have it: what should be a word may be the whole prompt."""
    return text and concealed(text[:MOST_OF_REFUSAL], asked.secrets)[:_NAME_LENGTH]


def _counts_images(payload: Any) -> bool:
    """Whether *payload* counts images as made, whatever else it says."""
    usage = payload.get("usage") if isinstance(payload, dict) else None
    made = usage.get("generated_images") if isinstance(usage, dict) else None
    return made not in (None, 0, "", "0")


def _redirect(answer: Answer) -> errors.APIError:
    host = host_of(answer.headers.get("location", "")) or "the same host"
    what = f"{answer.status}: the API redirects to {host}, and a paid request follows no redirect"
    if answer.status == 303:  # it says that the request was carried out
        return outcome_unknown(
            what, answer.elapsed, cut=False, status_code=303, request_id=request_id_of(answer)
        )
    return errors.NotFoundError(
        f"{what}. Check that base_url is right and ends in /v1. Nothing was billed",
        request_id=request_id_of(answer),
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
    kind = answer.headers.get("content-type", "no content type")
    return kind.partition(";")[0][:_NAME_LENGTH]


def request_id_of(answer: Answer, message: str = "") -> str | None:
    """The request id that a header or *message* holds."""
    for name in _ID_HEADERS:
        if value := answer.headers.get(name):
            return value[:_NAME_LENGTH]
    match = _REQUEST_ID.search(message)
    return match[1][:_NAME_LENGTH] if match else None


def excerpt(body: bytes, secrets: Sequence[str]) -> str:
    """The first 2 KiB of *body* as text, without *secrets* and the queries of links."""
    # Concealed before it is cut: half a secret would not be recognised.
    return concealed(body[:MOST_OF_REFUSAL].decode("utf-8", "replace"), secrets)[:_BODY_LENGTH]


def concealed(text: str, secrets: Sequence[str]) -> str:
    """*text* without *secrets*, however JSON spells them, and without the queries of links."""
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            for form in _spellings(secret):
                text = text.replace(form, "…")
    return redacted(text)


def _spellings(secret: str) -> dict[str, None]:
    """*secret* as itself, in JSON, and in JSON within JSON, as a relay quotes its upstream."""
    once = _in_json(secret)
    return dict.fromkeys([secret, *once, *(twice for form in once for twice in _in_json(form))])


def _in_json(text: str) -> tuple[str, ...]:
    """*text* as the encoders of Python and of Go spell it."""
    plain, ascii_only = json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]
    return plain, ascii_only, plain.translate(_GO), ascii_only.translate(_GO)
