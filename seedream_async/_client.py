"""`AsyncSeedream`: the order of the steps, and almost no `if`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import warnings
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aiohttp

from . import _catalog, _files
from ._allowance import Allowance, PricePerImage
from ._calls import Calls, Effort
from ._fanout import FanOut
from ._generating import Generating
from ._limits import Limits, Stats
from ._link_transport import LinkTransport
from ._models import Image, ImagesResponse, ModelInfo, SavedImage
from ._pulling import Source
from ._reporting import OnEvent, Reporter
from ._request import (
    Background,
    GenerateRequest,
    Model,
    OptimizePromptOptions,
    OutputFormat,
    Reference,
    ResponseFormat,
    SequentialImageGeneration,
    Size,
    Tool,
)
from ._retry import Budget, RetryPolicy
from ._saving import Saver, wanted
from ._sessions import Lifetime
from ._settings import checked_base_url, checked_key, is_public_host
from ._spending import Purse
from ._threads import in_thread
from ._timeout import Bounds, Timeout
from ._traffic import Traffic
from ._transport import ApiTransport
from ._validate import Validation

if TYPE_CHECKING:
    from ._image_stream import ImageStream
    from ._naming import SaveTo
    from ._streaming import EventStream

_T = TypeVar("_T")
_SILENCE = 30.0  # seconds: a store has what it sends


class AsyncSeedream:
    """
    A client of Seedream image generation through CometAPI.

    *api_key* and *base_url* default to `COMETAPI_KEY` and `COMETAPI_BASE_URL`. *timeout* is in
    seconds; a number is the total of a call. A lent *session* is used for the API only, with all
    that is its own (proxies, cookies, middlewares), and neither changed nor closed. *validation* is
    what happens to a request that the catalogue finds wrong: `strict` refuses it where the API's
    own pages leave no doubt and warns otherwise, `warn` only warns, `off` sends it. *on_event* is
    called with every `Event`, on the event loop. Links of responses must not lead into a private
    network if the API is public, unless *private_links*. A client belongs to the event loop that
    first uses it. Raises `InvalidRequestError` if there is no key.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        model: Model = _catalog.DEFAULT_MODEL,
        timeout: Timeout | float | None = None,
        retry: RetryPolicy | None = None,
        limits: Limits | None = None,
        session: aiohttp.ClientSession | None = None,
        validation: Validation = "strict",
        on_event: OnEvent | None = None,
        private_links: bool | None = None,
    ) -> None:
        self.model: str = model
        self.base_url: str = checked_base_url(base_url)
        key = checked_key(api_key)
        limits, retry = limits or Limits(), retry or RetryPolicy()
        timeout = Timeout() if timeout is None else Timeout.of(timeout)
        self._width = limits.concurrency
        self._report = report = Reporter(on_event)
        bounds = timeout.bounds()
        self._lifetime = Lifetime()
        self._api = ApiTransport(self.base_url, key, session, self._lifetime)
        patience = Bounds(connect=bounds.connect, read=min(bounds.read, _SILENCE))
        self._links = LinkTransport(patience, self._lifetime)
        if private_links is None:
            private_links = not is_public_host(self.base_url)
        budget = Budget(limits.retry_budget)
        self._saver = Saver(self._links, retry, budget, report, outward=not private_links)
        self._calls = Calls(
            self._api,
            Traffic(limits),
            report,
            key=key,
            model=model,
            timeout=timeout,
            retry=retry,
            validation=validation,
        )
        self._generating = Generating(self._calls, self._saver, self._lifetime)

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

    async def aclose(self, *, grace: float | None = None) -> None:
        """
        Close the connections. The client is of no use afterwards.

        With a *grace*, no new call begins, and those that may be billed by now have so many seconds
        to end and to be saved; then they fail with an error that tells what is lost.
        """
        try:
            await self._generating.guests.drain(grace)
        finally:
            self._lifetime.end()
            async with contextlib.AsyncExitStack() as both:  # also if one is cancelled
                both.push_async_callback(self._links.aclose)
                both.push_async_callback(self._api.aclose)

    def keep(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """
        Run *work* in a task of the client's: if nobody awaits it, `aclose` does.

        What it raises is logged if it was awaited by nobody else. A client that is closed raises
        `RuntimeError`, and closes *work*.
        """
        return self._generating.guests.keep(work)

    def __del__(self) -> None:
        lifetime: Lifetime | None = getattr(self, "_lifetime", None)
        if lifetime is not None and lifetime.in_use:
            problem = f"unclosed {self!r}: use `async with`, or await aclose()"
            self._api.abandon()
            self._links.abandon()
            warnings.warn(problem, ResourceWarning, stacklevel=1, source=self)

    async def generate(
        self,
        prompt: str | GenerateRequest,
        *,
        model: Model | None = None,
        size: Size | None = None,
        image: Reference | Sequence[Reference] | None = None,
        response_format: ResponseFormat | None = None,
        watermark: bool | None = None,
        seed: int | None = None,
        guidance_scale: float | None = None,
        sequential_image_generation: SequentialImageGeneration | None = None,
        max_images: int | None = None,
        output_format: OutputFormat | None = None,
        optimize_prompt: bool | None = None,
        optimize_prompt_options: OptimizePromptOptions | None = None,
        tools: Sequence[Tool] | None = None,
        background: Background | None = None,
        layer_decomposition: bool | None = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        save_to: str | os.PathLike[str] | None = None,
        timeout: Timeout | float | None = None,
        retry: RetryPolicy | None = None,
        share: bool = False,
    ) -> ImagesResponse:
        """
        Make one image, or a group of them, and save them if *save_to* is a file or a folder.

        With *share*, those who ask for the same in the same way at the same time share one paid
        call. Each has a time-out of its own and saves for itself, and the last to leave ends it.

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
            optimize_prompt=optimize_prompt,
            optimize_prompt_options=optimize_prompt_options,
            tools=tools,
            background=background,
            layer_decomposition=layer_decomposition,
            extra_body=extra_body,
            extra_headers=extra_headers,
        )
        effort = Effort(timeout=timeout, retry=retry)
        generate = self._generating.one_for_all if share else self._generating.one
        return await generate(request, effort, save_to)

    @contextlib.asynccontextmanager
    async def stream(
        self,
        prompt: str | GenerateRequest,
        *,
        model: Model | None = None,
        size: Size | None = None,
        image: Reference | Sequence[Reference] | None = None,
        response_format: ResponseFormat | None = None,
        watermark: bool | None = None,
        seed: int | None = None,
        guidance_scale: float | None = None,
        sequential_image_generation: SequentialImageGeneration | None = None,
        max_images: int | None = None,
        output_format: OutputFormat | None = None,
        optimize_prompt: bool | None = None,
        optimize_prompt_options: OptimizePromptOptions | None = None,
        tools: Sequence[Tool] | None = None,
        background: Background | None = None,
        layer_decomposition: bool | None = None,
        extra_body: Mapping[str, Any] | None = None,
        extra_headers: Mapping[str, str] | None = None,
        save_to: str | os.PathLike[str] | None = None,
        timeout: Timeout | float | None = None,
        retry: RetryPolicy | None = None,
    ) -> AsyncIterator[EventStream]:
        """
        As `generate`, with each image as soon as it is finished: `async with`, then `async for`.

        Events are `ImageSucceeded`, `ImageFailed`, `StreamCompleted`, and `UnknownEvent`. With
        *save_to*, an image is on the disk when its event arrives. Leaving the block closes the
        connection; what is still to come may be billed all the same.
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
            optimize_prompt=optimize_prompt,
            optimize_prompt_options=optimize_prompt_options,
            tools=tools,
            background=background,
            layer_decomposition=layer_decomposition,
            extra_body=extra_body,
            extra_headers=extra_headers,
        )
        effort = Effort(timeout=timeout, retry=retry)
        async with self._generating.stream(request, effort, save_to) as events:
            yield events

    def generate_many(
        self,
        requests: Source,
        *,
        concurrency: int | None = None,
        ordered: bool = False,
        save_to: SaveTo | None = None,
        max_images: int | None = None,
        max_cost: float | None = None,
        price: PricePerImage | None = None,
        timeout: Timeout | float | None = None,
        retry: RetryPolicy | None = None,
    ) -> FanOut:
        """
        Answer *requests*, at most *concurrency* at once, and save the images as *save_to* says.

        `async for` gives `Success` and `Failure` as they finish, or *ordered* as the requests are;
        `await` gives a list in input order.
        *save_to* is a folder, in which files are named by the index of their request, or a
        template such as `{model}/{index:06d}-{size}.{ext}`, or a function that is called with an
        `ImageName` on the event loop and gives a path.

        *max_images* and *max_cost* (in the currency of the catalogue, or of *price*) end it before
        a request that might pass them: all that is in flight counts as the most it may come to.
        """
        effort = Effort(timeout=timeout, retry=retry)
        allowance = Allowance(max_images=max_images, max_cost=max_cost)
        return self._generating.many(
            requests,
            effort,
            save_to,
            model=self.model,
            width=self._width if concurrency is None else concurrency,
            ordered=ordered,
            purse=Purse(allowance, self.model, price) if allowance.is_limited else None,
        )

    async def download(
        self,
        image: Image | str,
        path: str | os.PathLike[str],
        *,
        overwrite: bool = False,
        repair: bool = False,
    ) -> SavedImage:
        """
        Save *image*, or what a link leads to, at *path*: a file, or a folder.

        With *repair*, a link that was escaped on its way here is restored if there is no doubt how.
        Raises `DownloadError` if it cannot be had, `StorageError` if it cannot be written.
        """
        async with self._generating.guests.visit(paying=False):
            image, trusted = wanted(image, repair=repair)
            place = await in_thread(_files.open_place, path, field="path", overwrite=overwrite)
            return await self._saver.save(image, place, trusted=trusted)

    @contextlib.asynccontextmanager
    async def open(
        self, image: Image | str, *, repair: bool = False, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[ImageStream]:
        """
        The bytes of *image*, or of what a link leads to, to be handed on: `async with`.

        When the block begins, the store has said that they come. *repair* is as in `download`.
        *headers* are a `Range` and conditions (`If-…`) for the store; with them, the *status* of
        what is opened may also be 206, 304, 412 or 416. Raises `DownloadError`.
        """
        async with self._generating.guests.visit(paying=False):
            image, trusted = wanted(image, repair=repair)
            async with self._saver.open(image, trusted=trusted, headers=headers) as stream:
                yield stream

    async def models(self) -> tuple[ModelInfo, ...]:
        """The models that the key may use, as `GET /models` lists them. Free of charge."""
        self._lifetime.check()
        return await self._calls.models()

    def stats(self) -> Stats:
        """What this client is doing, and has done; to be asked on its event loop."""
        return self._calls.stats()
