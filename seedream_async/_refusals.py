"""
What an error answer means: a pure table from status and code to an error class and a remedy.

The codes are those of CometAPI's error pages and of Ark's (Volcengine document 82379/1299023).
A code may have a dotted suffix; the part before the first dot decides.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from . import _errors as errors

_CONTENT = re.compile(r"sensitive|riskdetection|contentsecurity|policyviolation", re.IGNORECASE)
_QUOTA = {
    "insufficient_user_quota",
    "pre_consume_token_quota_failed",
    "AccountOverdueError",
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
# Cloudflare's edge never reached the origin, so nothing can have been made.
_NEVER_REACHED = {521, 522, 523, 525, 526}


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
_BAD_REQUEST = Meaning(errors.BadRequestError, "Change the request; it was not billed")
_BUSY = Meaning(errors.InternalServerError, "The service is not available now; try later", True)
_UNKNOWN = Meaning(
    errors.OutcomeUnknownError,
    "The image may have been made and billed: check the account before sending it again",
)
_BY_STATUS = {
    401: _KEY_MEANING,
    402: _QUOTA_MEANING,
    403: Meaning(
        errors.PermissionDeniedError, "Check the rights of the key, and that no firewall interferes"
    ),
    404: Meaning(errors.NotFoundError, "Check the model and that base_url ends in /v1"),
    408: _UNKNOWN,
    413: Meaning(errors.BadRequestError, "Send fewer or smaller references, or links to them"),
    425: _BUSY,
    429: Meaning(errors.RateLimitError, "Lower the concurrency or wait", True),
}


def meaning_of(status: int, code: str | None, *, told_when: bool) -> Meaning:
    """
    Tell what an error answer means.

    *told_when* is whether the answer said when to come back: a 503 that does has refused the
    request, one that does not may come from a gateway that gave up on it.
    """
    base = (code or "").partition(".")[0]
    for codes, meaning in (
        (_KEY, _KEY_MEANING),
        (_QUOTA, _QUOTA_MEANING),
        (_MODEL, _MODEL_MEANING),
    ):
        if base in codes:
            return meaning
    if _CONTENT.search(base):
        return _CONTENT_MEANING
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status < 500:
        return _BAD_REQUEST
    if status == 500 and base == "invalid_request":
        return _BAD_REQUEST
    if status in _NEVER_REACHED or (status == 503 and told_when):
        return _BUSY
    return _UNKNOWN
