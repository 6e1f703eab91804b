"""Refusals, and the envelopes of the two layers that refuse: the relay, and Ark behind it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from typing import Any, Literal, TypeAlias

from aiohttp import web

Style: TypeAlias = Literal["relay", "ark"]

# Ark's names of statuses; any other status has its HTTP phrase.
_TYPES = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    429: "TooManyRequests",
    500: "InternalServerError",
}


class Refusal(Exception):  # noqa: N818  an answer, not a failure of the emulator
    """
    A request that is refused with *status*, *code* and a message.

    *ark* is how Ark itself refuses it, where the relay in front has words of its own. It is worth
    coming back after *retry_after* seconds.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        ark: Refusal | None = None,
        retry_after: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.ark = ark or self
        self.headers = {} if retry_after is None else {"Retry-After": retry_after}


def invalid(name: str, problem: str) -> Refusal:
    """The refusal of the value of the field *name*."""
    return Refusal(
        400,
        "InvalidParameter",
        f"The parameter `{name}` specified in the request is not valid: {problem}",
    )


def unsupported(name: str) -> Refusal:
    """The refusal of a field that the service knows and the model lacks."""
    return invalid(name, f"{name} is not supported by the current model")


def missing(name: str) -> Refusal:
    """The refusal of a request without the field *name*."""
    return Refusal(
        400, "MissingParameter", f"The request failed because it is missing `{name}` parameter"
    )


def wrong_key() -> Refusal:
    """The refusal of a request without the key."""
    ark = Refusal(401, "AuthenticationError", "The API key format is incorrect")
    return Refusal(401, "", "invalid token", ark=ark)


def no_object() -> Refusal:
    """The refusal of a body that is no JSON object."""
    ark = Refusal(400, "InvalidParameter", "The request failed because its body is not valid")
    return Refusal(400, "invalid_request", "invalid request body", ark=ark)


def no_model() -> Refusal:
    """The refusal of a request that names no model."""
    return Refusal(400, "", "model name is required", ark=missing("model"))


def unknown_model(model: str) -> Refusal:
    """The refusal of a model that nobody has heard of."""
    name = model[:100]
    return Refusal(
        503,
        "model_not_found",
        f"no available channel for group default and model {name} (distributor)",
        ark=Refusal(
            404,
            "InvalidEndpointOrModel.NotFound",
            f"The model or endpoint {name} does not exist or you do not have access to it",
        ),
    )


class Envelope:
    """Wraps errors as one of the two layers does."""

    def __init__(self, style: Style, clock: Callable[[], datetime]) -> None:
        self._style = style
        self._clock = clock

    def wrap(self, status: int, code: str, message: str) -> dict[str, Any]:
        """The body that says *code* and *message*; the id of the request is in the message."""
        if self._style == "ark":
            return {
                "error": {
                    "code": code,
                    "message": f"{message.rstrip('.')}. Request id: {ark_id(self._clock())}",
                    "param": "",
                    "type": _TYPES.get(status) or _phrase(status),
                }
            }
        request_id = (
            f"{self._clock():%Y%m%d%H%M%S}{secrets.randbelow(10**9):09}{secrets.token_hex(4)}"
        )
        return {
            "error": {
                "message": f"{message} (request id: {request_id})",
                "type": "comet_api_error",
                "param": "",
                "code": code,
            }
        }

    def answer(self, refusal: Refusal) -> web.Response:
        """*refusal* as an answer of this layer."""
        said = refusal.ark if self._style == "ark" else refusal
        body = self.wrap(said.status, said.code, said.message)
        return web.json_response(body, status=said.status, headers=refusal.headers)


def ark_id(now: datetime) -> str:
    """An id as Ark makes them, of requests and of jobs."""
    return f"02{now.timestamp() * 1000:.0f}{secrets.token_hex(16)}"


def _phrase(status: int) -> str:
    known = status in HTTPStatus._value2member_map_
    return HTTPStatus(status).phrase.replace(" ", "") if known else "Error"
