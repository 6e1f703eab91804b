"""
The API's wire format, with no I/O.

Nothing here opens a socket, reads a clock, or sleeps: values in, values out.
Parsing is lenient in what it takes and raises nothing but a `SeedreamError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from attrs import evolve, fields, frozen
from cattrs import Converter, transform_error
from cattrs.gen import make_dict_structure_fn

from ._errors import (
    APIError,
    APIResponseValidationError,
    APIStatusError,
    NotFoundError,
)
from ._links import host_of, redacted
from ._models import Image, ImageError, ImagesResponse, Usage
from ._refusals import STATUS_OF_TYPE, meaning_of
from ._request import GenerateRequest

_T = TypeVar("_T")

_SENT_AS_IS = (
    "prompt",
    "size",
    "response_format",
    "watermark",
    "seed",
    "guidance_scale",
    "sequential_image_generation",
    "output_format",
)
_REQUEST_ID = re.compile(r"\(?request id:\s*([^)\s]+)\)?", re.IGNORECASE)
_ID_HEADERS = ("x-request-id", "x-oneapi-request-id")
_MESSAGE_LENGTH = 400
_BODY_LENGTH = 2048
_BODY_READ = 65_536
_SHORTEST_SECRET = 4  # a prompt of one letter tells nothing, and is part of every word


class Encoded(Protocol):
    """Bytes of a body that are made while they are sent, so that they never exist as a whole."""

    @property
    def length(self) -> int: ...

    def slices(self) -> Iterator[bytes]:
        """The bytes, in pieces. Blocking, so every step is taken in a thread."""
        ...


Piece: TypeAlias = bytes | Encoded


@frozen
class Answer:
    """What came back: *headers* have lower-case names, *body* is whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def build(request: GenerateRequest, *, model: str, references: Sequence[str] = ()) -> bytes:
    """The JSON body of *request*; *references* are its images as links or data URIs."""
    body: dict[str, Any] = {"model": request.model or model}
    for name in _SENT_AS_IS:
        if (value := getattr(request, name)) is not None:
            body[name] = value
    if references:
        body["image"] = list(references)
    if request.max_images is not None:
        body["sequential_image_generation_options"] = {"max_images": request.max_images}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def parse(
    answer: Answer, *, retry_after: float | None = None, secrets: Sequence[str] = ()
) -> ImagesResponse:
    """
    The response that *answer* holds; raises the error it stands for otherwise.

    *secrets* are the texts (key, prompt) that no message may repeat.
    """
    try:
        payload = json.loads(answer.body)
    except (ValueError, RecursionError):
        payload = None
    if answer.status != 200 or (isinstance(payload, dict) and payload.get("error")):
        raise _refusal(answer, payload, retry_after, secrets)
    if not isinstance(payload, dict):
        raise _invalid(answer, f"{_kind(answer)} instead of a JSON object", secrets)
    return _with_images(answer, _structured(answer, payload, secrets), secrets)


def _structured(answer: Answer, payload: dict[str, Any], secrets: Sequence[str]) -> ImagesResponse:
    payload.setdefault("created", payload.pop("created_at", None))
    try:
        response = _converter.structure(payload, ImagesResponse)
    except Exception as exc:  # noqa: BLE001  cattrs groups whatever its hooks raise
        problem = "; ".join(transform_error(exc))
    else:
        return evolve(response, request_id=_request_id(answer, ""))
    raise _invalid(answer, problem, secrets)


def _with_images(
    answer: Answer, response: ImagesResponse, secrets: Sequence[str]
) -> ImagesResponse:
    """*response*, if at least one image was made; without any, success is none."""
    if any(image.url or image.b64_json for image in response.images):
        return response
    for image in response.failures:
        payload = {"error": {"code": image.error.code, "message": image.error.message}}  # type: ignore[union-attr]
        raise _refusal(answer, payload, None, secrets)
    raise _invalid(
        answer,
        "no image in it; CometAPI answers so when the prompt was filtered",
        secrets,
        response=response,
    )


def _kind(answer: Answer) -> str:
    if not answer.body:
        return "an empty body"
    return answer.headers.get("content-type", "no content type").partition(";")[0]


def _invalid(
    answer: Answer,
    problem: str,
    secrets: Sequence[str],
    response: ImagesResponse | None = None,
) -> APIResponseValidationError:
    return APIResponseValidationError(
        f"the API answered {answer.status}, but with {problem}. It may have been billed: "
        "check the account before sending it again",
        request_id=_request_id(answer, ""),
        status_code=answer.status,
        body=_excerpt(answer.body, secrets),
        response=response,
    )


def _refusal(
    answer: Answer, payload: Any, retry_after: float | None, secrets: Sequence[str]
) -> APIError:
    error = _error_object(payload)
    code, kind = _text(error.get("code")), _text(error.get("type"))
    status = answer.status if answer.status >= 300 else STATUS_OF_TYPE.get(kind or "", 400)
    if status < 400:
        return _redirect(answer)
    message = _text(error.get("message")) or _kind(answer)
    meaning = meaning_of(status, code, told_when=retry_after is not None)
    facts: dict[str, Any] = {
        "request_id": _request_id(answer, message),
        "status_code": answer.status,
        "code": code,
    }
    if issubclass(meaning.error, APIStatusError):
        facts |= {
            "type": kind,
            "param": _text(error.get("param")),
            "retry_after": retry_after,
            "retryable": meaning.retryable,
            "body": _excerpt(answer.body, secrets),
        }
    said = _REQUEST_ID.sub("", _concealed(message, secrets)).strip(" .")[:_MESSAGE_LENGTH]
    label = f"{answer.status} {code}" if code else str(answer.status)
    return meaning.error(f"{label}: {said}. {meaning.remedy}", **facts)


def _redirect(answer: Answer) -> APIError:
    host = host_of(answer.headers.get("location", "")) or "the same host"
    return NotFoundError(
        f"{answer.status}: the API redirects to {host}, and a paid request follows no redirect. "
        "Check that base_url is right and ends in /v1",
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


def _request_id(answer: Answer, message: str) -> str | None:
    for name in _ID_HEADERS:
        if value := answer.headers.get(name):
            return value
    match = _REQUEST_ID.search(message)
    return match[1] if match else None


def _excerpt(body: bytes, secrets: Sequence[str]) -> str:
    # Concealed before it is cut: half a secret would not be recognised.
    return _concealed(body[:_BODY_READ].decode("utf-8", "replace"), secrets)[:_BODY_LENGTH]


def _concealed(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if len(secret) >= _SHORTEST_SECRET:
            for form in (
                secret,
                json.dumps(secret)[1:-1],
                json.dumps(secret, ensure_ascii=False)[1:-1],
            ):
                text = text.replace(form, "…")
    return redacted(text)


def _known_fields(cls: type[_T], without: str = "") -> Callable[[Any, Any], _T]:
    """Structure *cls*, with nulls taken for absent and unknown fields kept in `extra`."""
    known = {attribute.name for attribute in fields(cls)} - {"extra", *without.split()}  # type: ignore[arg-type]
    structure = make_dict_structure_fn(cls, _converter)

    def hook(value: Any, _: Any) -> _T:
        if not isinstance(value, dict):
            raise TypeError("an object is expected")
        given = {name: item for name, item in value.items() if item is not None}
        extra = {name: item for name, item in given.items() if name not in known}
        return structure(
            {name: given[name] for name in known & given.keys()} | {"extra": extra}, cls
        )

    return hook


def _structure_text(value: Any, _: Any) -> str:
    if not isinstance(value, str | int | float):
        raise TypeError("text is expected")
    return str(value)


_converter = Converter()
_converter.register_structure_hook(str, _structure_text)
_structure_image_error = _known_fields(ImageError)
_converter.register_structure_hook(
    ImageError,
    lambda value, kind: (
        ImageError(message=value) if isinstance(value, str) else _structure_image_error(value, kind)
    ),
)
_converter.register_structure_hook(Image, _known_fields(Image))
_converter.register_structure_hook(Usage, _known_fields(Usage))
_converter.register_structure_hook(
    ImagesResponse, _known_fields(ImagesResponse, without="files request_id")
)
