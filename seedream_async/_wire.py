"""
The API's wire format, with no I/O.

Nothing here opens a socket, reads a clock, or sleeps: values in, values out.
Parsing is lenient in what it takes and raises nothing but a `SeedreamError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from typing import Any, TypeVar

from attrs import evolve, fields
from cattrs import Converter, transform_error
from cattrs.gen import make_dict_structure_fn

from ._errors import APIError, APIResponseValidationError
from ._http import MOST_OF_ANSWER, MOST_OF_REFUSAL, Answer, Asked, Piece
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
from ._refusals import concealed, excerpt, kind_of, refusal, request_id_of
from ._request import GenerateRequest
from ._sse import ServerSentEvent

_T = TypeVar("_T")

_BASE64_IMAGE = 96 * 1024 * 1024  # 4096 x 4096 pixels of 4 bytes, not compressed, in base64
_MOST_LINKS = 100  # layers of one picture
_LINK = re.compile(rb'"url"\s*:\s*("https?:[^"\s]{1,16384}")')
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
    bare, whole = most_bytes_of(images)
    return whole if "b64_json" in formats else bare


def most_bytes_of(images: int) -> tuple[int, int]:
    """The most bytes that an honest answer can have without its base64 *images*, and with them."""
    return MOST_OF_ANSWER, MOST_OF_ANSWER + images * _BASE64_IMAGE


def parse(
    answer: Answer, asked: Asked, now: datetime, *, elsewhere: Container[int] = ()
) -> ImagesResponse:
    """
    The response that *answer* holds; raises the error it stands for otherwise.

    The base64 of the images at the indices *elsewhere* was taken out before.
    """
    payload = _decoded(answer.body)
    if answer.status >= 300:
        raise refusal(answer, payload, asked, now)
    if not isinstance(payload, dict):
        kind = kind_of(answer)
        raise _invalid(answer, f"{kind} instead of a JSON object", asked, _links_in(answer))
    response = _structured(answer, payload, asked)
    there = [
        image
        for index, image in enumerate(response.data)
        if image.url or image.b64_json or index in elsewhere
    ]
    if any(image.error is None for image in there):
        return response
    if there:
        problem = "an error in the place of an image that it has"
        raise _invalid(answer, problem, asked, response)
    # Without any image, success is none.
    raise _failure(answer, payload, response, asked, now)


def _failure(
    answer: Answer, payload: dict[str, Any], response: ImagesResponse, asked: Asked, now: datetime
) -> APIError:
    """The error for a *response* without images."""
    if payload.get("error"):
        return refusal(answer, payload, asked, now)
    if not response.failures or response.images:
        problem = "no image in it; CometAPI answers so when the prompt was filtered"
        return _invalid(answer, problem, asked, response)
    failures = [item["error"] for item in payload["data"]]
    found = [refusal(answer, {**payload, "error": error}, asked, now) for error in failures]
    if "generated_images" in (payload.get("usage") or {}):  # then it says what is billed
        return found[0]
    return next((error for error in found if error.possibly_billed), found[0])


def parse_event(
    event: ServerSentEvent,
    index: int,
    asked: Asked,
    now: datetime,
    *,
    arrived: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> StreamEvent:
    """
    What *event* of a stream tells; *headers* are those of the stream.

    *index* is how many images, failed ones too, came before: the place of one that does not tell
    its own. *arrived* is how many of them did not fail, and so are billed; *index* if not given.
    Raises the error that an `error` event stands for. What cannot be understood is passed on.
    """
    payload = _decoded(event.data)
    if not isinstance(payload, dict):
        text = event.data.decode("utf-8", "replace")
        if event.event != "error":
            return UnknownEvent(type=event.event, data=text)
        payload = {"error": text}
    kind = str(payload.get("type") or event.event)
    if kind == "error" or (payload.get("error") and not kind.startswith("image_generation.")):
        answer = Answer(200, headers or {}, event.data)
        raise refusal(answer, payload, asked, now, arrived=index if arrived is None else arrived)
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
        with suppress(UnicodeDecodeError):
            return json.loads(body)
        # A bad byte in one place makes the links in the others no worse.
        return json.loads(body.decode("utf-8-sig", "replace"))
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
    raise _invalid(answer, problem, asked, _salvaged(answer, payload))


def _salvaged(answer: Answer, payload: dict[str, Any]) -> ImagesResponse:
    """The images of an answer that is not understood as a whole: they are paid for."""
    images = []
    for item in payload["data"] if isinstance(payload.get("data"), list) else ():
        with suppress(Exception):  # what cannot be kept is in `raw`
            images.append(_converter.structure(item, Image))
    return ImagesResponse(data=tuple(images), request_id=request_id_of(answer), raw=payload)


def _links_in(answer: Answer) -> ImagesResponse | None:
    """The links that stand whole in what is no JSON as a whole, such as the half of an answer."""
    if answer.body.lstrip().startswith(b"<"):  # a page has links of its own
        return None
    found = islice(_LINK.finditer(answer.body, 0, MOST_OF_ANSWER), _MOST_LINKS)
    links = dict.fromkeys(_decoded(match[1]) for match in found)
    images = tuple(Image(url=link) for link in links if link)
    return ImagesResponse(data=images, request_id=request_id_of(answer)) if images else None


def _invalid(
    answer: Answer, problem: str, asked: Asked, response: ImagesResponse | None = None
) -> APIResponseValidationError:
    told = concealed(problem, asked.secrets)[:400]
    return APIResponseValidationError(
        f"the API answered {answer.status}, but with {told}. It may have been billed: "
        "check the account before sending it again",
        request_id=request_id_of(answer, answer.body[:MOST_OF_REFUSAL].decode("utf-8", "replace")),
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
        # An error that says nothing is none: the image beside it is paid for.
        hollow = ("error",) if not value.get("error") else ()
        given = {
            name: item for name, item in value.items() if item is not None and name not in hollow
        }
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
