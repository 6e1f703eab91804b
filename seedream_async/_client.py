"""`AsyncSeedream`: the order of the steps, and almost no `if`."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import aiohttp
from attrs import evolve

from . import _catalog, _files, _references, _retry, _validate, _wire
from ._errors import InvalidRequestError
from ._fanout import FanOut, Source
from ._links import parse_target
from ._models import Image, ImagesResponse, SavedImage
from ._request import (
    GenerateRequest,
    OutputFormat,
    Reference,
    ResponseFormat,
    SequentialImageGeneration,
)
from ._retry import RetryPolicy, Timeout
from ._saving import Saver
from ._traffic import Limits, Traffic
from ._transport import ApiTransport, LinkTransport

BASE_URL = "https://api.cometapi.com/v1"
_BLANKS = " \t\r\n\ufeff"


class AsyncSeedream:
    """
    A client of Seedream image generation through CometAPI.

    *api_key* and *base_url* default to `COMETAPI_KEY` and `COMETAPI_BASE_URL`. *timeout* is in
    seconds; a number is the total of a call. A lent *session* is used for the API only, and
    neither changed nor closed. Raises `InvalidRequestError` if there is no key.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        model: str = _catalog.DEFAULT_MODEL,
        timeout: Timeout | float | None = None,
        retry: RetryPolicy | None = None,
        limits: Limits | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self.model = model
        self.base_url = _checked_base_url(_setting(base_url, "COMETAPI_BASE_URL") or BASE_URL)
        self._key = _checked_key(_setting(api_key, "COMETAPI_KEY"))
        self._timeout = Timeout() if timeout is None else Timeout.of(timeout)
        self._retry = retry or RetryPolicy()
        self._traffic = Traffic(limits or Limits())
        self._api = ApiTransport(self.base_url, self._key, session)
        self._links = LinkTransport(evolve(self._timeout, total=None))
        self._saver = Saver(self._links, self._retry)
        self._closed = False

    def __repr__(self) -> str:
        return f"AsyncSeedream(base_url={self.base_url!r}, model={self.model!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. The client is of no use afterwards."""
        self._closed = True
        await self._api.aclose()
        await self._links.aclose()

    async def generate(
        self,
        prompt: str | GenerateRequest,
        *,
        model: str | None = None,
        size: str | None = None,
        image: Reference | Sequence[Reference] | None = None,
        response_format: ResponseFormat | None = None,
        watermark: bool | None = None,
        seed: int | None = None,
        guidance_scale: float | None = None,
        sequential_image_generation: SequentialImageGeneration | None = None,
        max_images: int | None = None,
        output_format: OutputFormat | None = None,
        save_to: str | os.PathLike[str] | None = None,
        timeout: Timeout | float | None = None,
    ) -> ImagesResponse:
        """
        Make one image, or a group of them, and save them if *save_to* is a file or a folder.

        A parameter left at `None` is not sent. Raises `InvalidRequestError` before anything is
        sent, an `APIError` if there is no answer, and a `DownloadError` or `StorageError` that
        carries the response if saving fails.
        """
        request = GenerateRequest.of(
            prompt,
            model=model,
            size=size,
            image=image,
            response_format=response_format,
            watermark=watermark,
            seed=seed,
            guidance_scale=guidance_scale,
            sequential_image_generation=sequential_image_generation,
            max_images=max_images,
            output_format=output_format,
        )
        body = await self._body_of(request)
        if save_to is None:
            return await self._send(request, body, timeout)
        place = await _files.in_thread(_files.open_place, save_to, field="save_to")
        return await self._saver.save_all(await self._send(request, body, timeout), place)

    def generate_many(
        self,
        requests: Source,
        *,
        concurrency: int | None = None,
        save_to: str | os.PathLike[str] | None = None,
    ) -> FanOut:
        """
        Answer *requests*, at most *concurrency* at once, and save the images in folder *save_to*.

        `async for` gives `Success` and `Failure` as they finish, `await` a list in input order.
        Files are named by the index of their request.
        """
        place: _files.Place | None = None

        async def prepare() -> None:
            nonlocal place
            if save_to is not None:
                folder = os.path.join(save_to, "")  # noqa: PTH118  the slash says: a folder
                place = await _files.in_thread(_files.open_place, folder, field="save_to")

        async def save(index: int, response: ImagesResponse) -> ImagesResponse:
            if place is None:
                return response
            return await self._saver.save_all(response, place.named(f"{index:06d}"))

        async def answer(request: GenerateRequest) -> ImagesResponse:
            return await self._send(request, await self._body_of(request), None)

        width = self._traffic.limits.concurrency if concurrency is None else concurrency
        return FanOut(requests, answer, save, prepare=prepare, width=width)

    async def download(
        self, image: Image | str, path: str | os.PathLike[str], *, overwrite: bool = False
    ) -> SavedImage:
        """
        Save *image*, or what a link leads to, at *path*: a file, or a folder.

        Raises `DownloadError` if it cannot be had, `StorageError` if it cannot be written.
        """
        if isinstance(image, str):
            image = Image(url=image)
        if not (image.url or image.b64_json):
            raise InvalidRequestError("image has neither a link nor base64", field="image")
        place = await _files.in_thread(_files.open_place, path, field="path", overwrite=overwrite)
        return await self._saver.save(image, place)

    async def _body_of(self, request: GenerateRequest) -> bytes:
        """The body of *request*, if nothing is wrong with it. Nothing is sent before that."""
        if self._closed:
            raise RuntimeError("this client is closed")
        _validate.check(request)
        references = await _references.resolve(request.image or ())
        return _wire.build(request, model=self.model, references=references)

    async def _send(
        self, request: GenerateRequest, body: bytes, timeout: Timeout | float | None
    ) -> ImagesResponse:
        limits = self._timeout if timeout is None else Timeout.of(timeout)
        async with self._traffic.slot():
            remaining = _countdown(limits.total)

            async def attempt() -> ImagesResponse:
                left = evolve(limits, total=remaining())
                answer = await self._api.post("/images/generations", body, left)
                retry_after = _retry.parse_retry_after(answer.headers, datetime.now(UTC))
                secrets = (self._key, request.prompt)
                return _wire.parse(answer, retry_after=retry_after, secrets=secrets)

            return await _retry.run(attempt, self._retry, remaining=remaining)


def _countdown(total: float | None) -> Callable[[], float]:
    """A clock that starts now and tells how many seconds of *total* are left, never quite none."""
    now = asyncio.get_running_loop().time
    end = math.inf if total is None else now() + total
    return lambda: max(end - now(), 0.001)


def _setting(value: str | None, variable: str) -> str:
    """*value*, or else what the environment has; blank means missing."""
    return (value or "").strip(_BLANKS) or os.environ.get(variable, "").strip(_BLANKS)


def _checked_key(key: str) -> str:
    if not key:
        raise InvalidRequestError(
            "there is no API key: set COMETAPI_KEY or pass api_key", field="api_key"
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise InvalidRequestError(
            "the API key holds characters that no key has: check COMETAPI_KEY or api_key",
            field="api_key",
        )
    return key


def _checked_base_url(url: str) -> str:
    try:
        target = parse_target(url)
    except ValueError as exc:
        raise InvalidRequestError(
            f"base_url is not usable: {exc}".replace("the link", "it"), field="base_url"
        ) from None
    if "?" in target.path:
        raise InvalidRequestError("base_url is not usable: it has a query", field="base_url")
    return url.rstrip("/")
