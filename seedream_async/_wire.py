"""
The API's wire format, with no I/O.

Nothing here opens a socket, reads a clock, or sleeps: values in, values out.
Parsing is lenient in what it takes and raises nothing but a `SeedreamError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice
from operator import attrgetter
from typing import Any

from ._errors import APIError, APIResponseValidationError, InvalidRequestError
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
)
from ._refusals import concealed, excerpt, kind_of, refusal, request_id_of
from ._request import GenerateRequest
from ._sse import ServerSentEvent
from ._structuring import NotUnderstood, structured, structured_response

_BASE64_IMAGE = 96 * 1024 * 1024  # 4096 x 4096 pixels of 4 bytes, not compressed, in base64
_MOST_LINKS = 100  # layers of one picture
_BASE64 = re.compile(rb'"b64_json"\s*:\s*"')
_LINK = re.compile(rb'"url"\s*:\s*("https?:[^"\s]{1,16384}")')
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
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
_values_of = attrgetter(*_SENT_AS_IS)


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
    values = zip(_SENT_AS_IS, _values_of(request), strict=True)
    body.update({name: value for name, value in values if value is not None})
    if request.max_images is not None:
        body["sequential_image_generation_options"] = {"max_images": request.max_images}
    if stream:
        body["stream"] = True
    body.update(request.extra_body or {})
    head = _encoded(body)
    if not references or "image" in body:
        return (head,)
    pieces: list[Piece] = [head[:-1] + b',"image":[']
    for reference in references:
        pieces += (reference, b",")
    return (*pieces[:-1], b"]}")


def _encoded(body: dict[str, Any]) -> bytes:
    text = _encode(body)
    try:
        return text.encode()
    except UnicodeEncodeError:  # which holds all the text, the prompt too
        pass
    raise InvalidRequestError("the request holds half a character (a lone surrogate)")


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
        whole = whole_in(answer, base64=not elsewhere)
        raise _invalid(answer, f"{kind} instead of a JSON object", asked, whole)
    response = _structured(answer, payload, asked)
    there = [
        image
        for index, image in enumerate(response.data)
        if image.url or image.b64_json or index in elsewhere
    ]
    if None in [image.error for image in there]:
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
            image = structured(about, Image)
            return ImageSucceeded(index=int(index), image=image)
        case "partial_failed":
            error = structured(about["error"], ImageError)
            return ImageFailed(index=int(index), error=error)
        case "completed":
            return structured(
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
        return tuple(structured(item, ModelInfo) for item in payload["data"])
    except Exception:  # noqa: BLE001  cattrs groups whatever its hooks raise
        error = _invalid(answer, "no list of models", asked)
    error.possibly_billed = False
    raise error


def _decoded(body: bytes) -> Any:
    try:
        return json.loads(body)
    except UnicodeDecodeError:
        pass  # a bad byte in one place makes the links in the others no worse
    except (ValueError, RecursionError):
        return None
    with suppress(ValueError, RecursionError):
        return json.loads(body.decode("utf-8-sig", "replace"))
    return None


def _structured(answer: Answer, payload: dict[str, Any], asked: Asked) -> ImagesResponse:
    try:
        return structured_response(payload, request_id_of(answer))
    except NotUnderstood as exc:
        problem = str(exc)
    raise _invalid(answer, problem, asked, _salvaged(answer, payload))


def _salvaged(answer: Answer, payload: dict[str, Any]) -> ImagesResponse:
    """The images of an answer that is not understood as a whole: they are paid for."""
    images = []
    for item in payload["data"] if isinstance(payload.get("data"), list) else ():
        with suppress(Exception):  # what cannot be kept is in `raw`
            images.append(structured(item, Image))
    return ImagesResponse(data=tuple(images), request_id=request_id_of(answer), raw=payload)


def whole_in(answer: Answer, *, base64: bool = True) -> ImagesResponse | None:
    """
    The images that stand whole in what is no JSON as a whole, such as the half of an answer.

    Without *base64*, of which a part was taken out before, only those that are links.
    """
    if answer.status >= 300 or answer.body.lstrip().startswith(b"<"):  # a page has its own links
        return None
    found = islice(_LINK.finditer(answer.body, 0, MOST_OF_ANSWER), _MOST_LINKS)
    links = dict.fromkeys(_decoded(match[1]) for match in found)
    texts = _base64_in(answer.body) if base64 else ()
    images = (
        *(Image(url=link) for link in links if link),
        *(Image(b64_json=text) for text in texts if text),
    )
    return ImagesResponse(data=images, request_id=request_id_of(answer)) if images else None


def _base64_in(body: bytes) -> Iterator[Any]:
    for match in _BASE64.finditer(body):
        end = body.find(b'"', match.end())
        yield _decoded(body[match.end() - 1 : end + 1])  # nothing if it has no end


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
