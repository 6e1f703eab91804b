"""
Results and events as server-sent events: what a browser may know, and how it is written.

Values in, values out. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from seedream_async._models import (
    Image,
    ImageFailed,
    ImagesResponse,
    ImageSucceeded,
    SavedImage,
    StreamCompleted,
    UnknownEvent,
)
from seedream_async._results import Failure, Success

from ._telling import told

HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # or nginx keeps them until it has some more
    "X-Content-Type-Options": "nosniff",
}
HEARTBEAT = b":\n\n"
_CODE = re.compile(r"[\w.-]{1,100}", re.ASCII)


def public(item: object) -> Mapping[str, Any] | None:
    """
    What a browser may know of *item*, a result or an event of a stream; nothing, if it is unknown.

    No link, no base64, no folder: `index`, and `images` with `size` and the name of the `file`, or
    an `error` with `type`, `message`, `possibly_billed` and `status`.
    """
    match item:
        case Success(index=index, response=response):
            failed = {"failed": len(response.failures)} if response.failures else {}
            return {"index": index, "images": _images(response), **failed}
        case ImageSucceeded(index=index, image=image, file=file):
            return {"index": index, "images": [_image(image, file)]}
        case Failure(index=index, error=error):
            return {"index": index, "error": told(error).public()}
        case ImageFailed(index=index, error=problem):
            return {"index": index, "error": _not_made(problem.code)}
        case StreamCompleted(usage=usage):
            return {"images": usage.generated_images if usage else None}
    return None


def name_of(item: object) -> str:
    """The name of the event that tells of *item*."""
    match item:
        case Failure() | ImageFailed():
            return "failed"
        case StreamCompleted():
            return "completed"
        case UnknownEvent():
            return "unknown"
    return "image"


def beginning(retry: float) -> bytes:
    """What comes first: after it, a browser that lost the connection says so when it returns."""
    return f"retry: {int(retry * 1000)}\nid: 0\n\n".encode()


def event(name: str, number: int, data: Mapping[str, Any]) -> bytes:
    """One event. Raises `TypeError` or `ValueError` if *data* is not for JSON."""
    told = json.dumps(data, allow_nan=False)  # a browser cannot read NaN
    return f"id: {number}\nevent: {name}\ndata: {told}\n\n".encode()


def broken(error: BaseException) -> dict[str, Any]:
    """The data of what broke off."""
    return {"error": told(error).public()}


def _images(response: ImagesResponse) -> list[dict[str, Any]]:
    files = response.files
    if len(files) == len(response.images):
        pairs = zip(response.images, files, strict=True)
        return [_image(image, file) for image, file in pairs]
    return [_image(image, None) for image in response.images]


def _image(image: Image, file: SavedImage | None) -> dict[str, Any]:
    if file is None:
        return {"size": image.size}
    return {"size": f"{file.width}x{file.height}", "file": file.path.name}


def _not_made(code: str | None) -> dict[str, Any]:
    named = {"code": code} if code and _CODE.fullmatch(code) else {}
    message = "The image service did not make this image"
    return {"type": "ImageError", "message": message, "possibly_billed": False, **named}
