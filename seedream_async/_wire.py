"""
The API's wire format, with no I/O.

Nothing here opens a socket, reads a clock, or sleeps: values in, values out.
Parsing is lenient in what it takes and raises nothing but a `SeedreamError`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, TypeVar

from attrs import evolve, fields
from cattrs import Converter, transform_error
from cattrs.gen import make_dict_structure_fn

from ._errors import APIResponseValidationError
from ._http import Answer, Asked, Piece
from ._models import (
    Image,
    ImageError,
    ImageFailed,
    ImagesResponse,
    ImageSucceeded,
    ModelInfo,
    StreamCompleted,
    StreamEvent,
    UnknownEvent,
    Usage,
)
from ._refusals import excerpt, kind_of, refusal, request_id_of
from ._request import GenerateRequest
from ._sse import ServerSentEvent

_T = TypeVar("_T")

_ANSWER = 8 * 1024 * 1024  # bytes of an answer without its images: 10 KB are usual
_BASE64_IMAGE = 96 * 1024 * 1024  # 4096 x 4096 pixels of 4 bytes, not compressed, in base64
_SENT_AS_IS = (
    "size",
    "response_format",
    "watermark",
    "seed",
    "guidance_scale",
    "sequential_image_generation",
    "output_format",
    "optimize_prompt",
    "optimize_prompt_options",
    "tools",
    "background",
    "layer_decomposition",
)


def build(
    request: GenerateRequest,
    *,
    model: str,
    references: Sequence[Piece] = (),
    stream: bool = False,
) -> tuple[Piece, ...]:
    """
    The JSON body of *request*, in pieces; *references* are its images as JSON strings.

    The images stand last, so that they never become one text with the rest.
    """
    body: dict[str, Any] = {"model": request.model or model}
    if request.prompt:
        body["prompt"] = request.prompt
    for name in _SENT_AS_IS:
        if (value := getattr(request, name)) is not None:
            body[name] = value
    if request.max_images is not None:
        body["sequential_image_generation_options"] = {"max_images": request.max_images}
    if stream:
        body["stream"] = True
    body.update(request.extra_body or {})
    head = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    if not references or "image" in body:
        return (head,)
    pieces: list[Piece] = [head[:-1] + b',"image":[']
    for reference in references:
        pieces += (reference, b",")
    return (*pieces[:-1], b"]}")


def most_bytes(request: GenerateRequest, images: int) -> int:
    """The most bytes that an honest answer to *request* can have, with so many *images*."""
    formats = (request.response_format, (request.extra_body or {}).get("response_format"))
    return _ANSWER + (images * _BASE64_IMAGE if "b64_json" in formats else 0)


def parse(answer: Answer, asked: Asked, now: datetime) -> ImagesResponse:
    """The response that *answer* holds; raises the error it stands for otherwise."""
    payload = _decoded(answer.body)
    if answer.status >= 300:
        raise refusal(answer, payload, asked, now)
    if not isinstance(payload, dict):
        raise _invalid(answer, f"{kind_of(answer)} instead of a JSON object", asked)
    response = _structured(answer, payload, asked)
    if any(image.url or image.b64_json for image in response.images):
        return response
    # Without any image, success is none.
    if payload.get("error"):
        raise refusal(answer, payload, asked, now)
    if response.failures:
        failed = next(item for item in payload["data"] if item.get("error"))
        raise refusal(answer, failed, asked, now)
    problem = "no image in it; CometAPI answers so when the prompt was filtered"
    raise _invalid(answer, problem, asked, response)


def parse_event(event: ServerSentEvent, index: int, asked: Asked, now: datetime) -> StreamEvent:
    """
    What *event* of a stream tells; *index* is that of its image, if it does not say.

    Raises the error that an `error` event stands for. What cannot be understood is passed on.
    """
    payload = _decoded(event.data)
    if not isinstance(payload, dict):
        return UnknownEvent(type=event.event, data=event.data.decode("utf-8", "replace"))
    kind = str(payload.get("type") or event.event)
    if kind == "error" or (payload.get("error") and not kind.startswith("image_generation.")):
        raise refusal(Answer(200, {}, event.data), payload, asked, now)
    try:
        return _known_event(kind, payload, index)
    except Exception:  # noqa: BLE001  cattrs groups whatever its hooks raise
        return UnknownEvent(type=kind, data=payload)


def _known_event(kind: str, payload: dict[str, Any], index: int) -> StreamEvent:
    index = payload.get("image_index", index)
    about = {name: payload[name] for name in payload.keys() - _ENVELOPE}
    match kind.removeprefix("image_generation."):
        case "partial_succeeded":
            image = _converter.structure(about, Image)
            return ImageSucceeded(index=int(index), image=image)
        case "partial_failed":
            error = _converter.structure(about["error"], ImageError)
            return ImageFailed(index=int(index), error=error)
        case "completed":
            return _converter.structure(
                {**about, **{name: payload.get(name) for name in ("model", "created")}},
                StreamCompleted,
            )
        case _:
            return UnknownEvent(type=kind, data=payload)


_ENVELOPE = {"type", "model", "created", "image_index"}


def parse_models(answer: Answer, asked: Asked, now: datetime) -> tuple[ModelInfo, ...]:
    """The models that *answer* lists; raises the error it stands for otherwise."""
    payload = _decoded(answer.body)
    if answer.status != 200:
        raise refusal(answer, payload, asked, now)
    try:
        return _converter.structure(payload["data"], tuple[ModelInfo, ...])
    except Exception:  # noqa: BLE001  cattrs groups whatever its hooks raise
        error = _invalid(answer, "no list of models", asked)
    error.possibly_billed = False
    raise error


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _structured(answer: Answer, payload: dict[str, Any], asked: Asked) -> ImagesResponse:
    given = {"created": payload.get("created_at"), **payload}
    try:
        response = _converter.structure(given, ImagesResponse)
    except Exception as exc:  # noqa: BLE001  cattrs groups whatever its hooks raise
        problem = "; ".join(transform_error(exc))
    else:
        return evolve(response, request_id=request_id_of(answer), raw=payload)
    raise _invalid(answer, problem, asked, ImagesResponse(data=_salvaged(payload), raw=payload))


def _salvaged(payload: dict[str, Any]) -> tuple[Image, ...]:
    """The images of an answer that is not understood as a whole: they are paid for."""
    images = []
    for item in payload["data"] if isinstance(payload.get("data"), list) else ():
        with suppress(Exception):  # what cannot be kept is in `raw`
            images.append(_converter.structure(item, Image))
    return tuple(images)


def _invalid(
    answer: Answer, problem: str, asked: Asked, response: ImagesResponse | None = None
) -> APIResponseValidationError:
    return APIResponseValidationError(
        f"the API answered {answer.status}, but with {problem}. It may have been billed: "
        "check the account before sending it again",
        request_id=request_id_of(answer),
        status_code=answer.status,
        body=excerpt(answer.body, asked.secrets),
        response=response,
    )


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
_converter.register_structure_hook(ModelInfo, _known_fields(ModelInfo))
_converter.register_structure_hook(StreamCompleted, _known_fields(StreamCompleted))
_converter.register_structure_hook(
    ImagesResponse, _known_fields(ImagesResponse, without="files attempts request_id raw")
)
