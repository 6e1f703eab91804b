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
    "OperationDenied.ServiceOverdue",
    "QuotaExceeded",
    "SetLimitExceeded",
}
_MODEL = {"model_not_found", "InvalidEndpointOrModel", "ModelNotOpen", "UnsupportedModel"}
_KEY = {"AuthenticationError", "InvalidAccountStatus"}
# Ark's `type` tells the status that an error inside a 200 would have had.
_STATUS_OF_TYPE = {
    "BadRequest": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "TooManyRequests": 429,
    "InternalServerError": 500,
}
# The codes of these that may come without a type. A suffix counts for nothing.
_STATUS_OF_CODE = {
    **dict.fromkeys(
        (
            "MissingParameter",
            "InvalidParameter",
            "InvalidArgumentError",
            "InvalidImageURL",
            "InvalidEndpoint",
            "InvalidSubscription",
            "invalid_request",
        ),
        400,
    ),
    **dict.fromkeys(("AccessDenied", "OperationDenied", "permission_denied"), 403),
    **dict.fromkeys(
        (
            "RateLimitExceeded",
            "ModelAccountRpmRateLimitExceeded",
            "ModelAccountTpmRateLimitExceeded",
            "ModelAccountIpmRateLimitExceeded",
            "APIAccountRpmRateLimitExceeded",
            "AccountRateLimitExceeded",
            "RequestBurstTooFast",
            "ServerOverloaded",
            "ModelLoadingError",
            "InflightBatchsizeExceeded",
        ),
        429,
    ),
    **dict.fromkeys(("InternalServiceError", "InternalServerError", "InternalError"), 500),
}
_NUMERIC = re.compile(r"[45][0-9]{2}")
# Of these nobody can tell whether the request was carried out: 499 is nginx's word for a client
# that did not wait, also if that client was a gateway.
_UNDECIDED = {408, 409, 424, 499}
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
BAD_REQUEST = Meaning(errors.BadRequestError, "Change the request")
_BUSY = Meaning(errors.InternalServerError, "The service is not available now; try later", True)
UNKNOWN = Meaning(errors.OutcomeUnknownError, "")
_BY_STATUS = {
    **dict.fromkeys((400, 414, 415, 422, 431), BAD_REQUEST),
    401: _KEY_MEANING,
    402: _QUOTA_MEANING,
    403: Meaning(
        errors.PermissionDeniedError, "Check the rights of the key, and that no firewall interferes"
    ),
    404: Meaning(errors.NotFoundError, "Check the model and that base_url ends in /v1"),
    405: Meaning(errors.BadRequestError, "Check that base_url is right and ends in /v1"),
    413: Meaning(errors.BadRequestError, "Send fewer or smaller references, or links to them"),
    425: _BUSY,
    429: Meaning(errors.RateLimitError, "Lower the concurrency or wait", True),
}


def meaning_of(
    status: int,
    code: str | None,
    *,
    told_when: bool,
    enveloped: bool = False,
    free: bool = False,
) -> Meaning:
    """
    Tell what an error answer means.

    *told_when* is whether the answer said when to come back: a 503 that does has refused the
    request, one that does not may come from a gateway that gave up on it. *enveloped* is whether
    it is an error of the API's own making: then a strange 4xx is a refusal too. What becomes of
    a request that is *free* does not matter.
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
    if status == 400 and _STATUS_OF_CODE.get(base) == 500:
        status = 500
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status < 500 and status not in _UNDECIDED and (enveloped or free):
        return BAD_REQUEST
    if status == 500 and base == "invalid_request":
        return BAD_REQUEST
    if free or status in _NEVER_REACHED or (status == 503 and told_when):
        return _BUSY
    return UNKNOWN


def status_within(code: str | None, kind: str | None) -> int:
    """The status that an error inside of a 200 would have outside of it; 500 if in doubt."""
    base = (code or "").partition(".")[0]
    told = [_STATUS_OF_TYPE.get(kind or "", 0), _STATUS_OF_CODE.get(base, 0)]
    if _NUMERIC.fullmatch(base):
        told.append(int(base))
    # What comes inside of a 200 has passed the edge, whatever the number means outside.
    return min(max(told) or 500, 500)
