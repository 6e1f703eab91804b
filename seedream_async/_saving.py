"""Images from links or base64, onto the disk or handed on; what is fetched is fetched for free."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve

from . import _files, _links, _retry, _writing
from ._errors import DownloadError, InvalidRequestError, StorageError
from ._events import DownloadEnded
from ._fetching import Fetch
from ._image_stream import ImageStream, decoded, open_base64, open_link
from ._inbox import base64_of
from ._later import Later
from ._link_transport import LinkTransport
from ._models import Image, ImagesResponse, SavedImage
from ._reporting import Reporter

if TYPE_CHECKING:
    from . import _escapes
    from ._streaming import Save
else:
    _escapes = Later("_escapes")

_T = TypeVar("_T")
WIDTH = 8  # images saved at once by one client
_HOLLOW = "neither a link nor base64: if save_to has saved it, it is in the files of the response"


class Saver:
    """Saves the images of one client."""

    def __init__(
        self,
        links: LinkTransport,
        policy: _retry.RetryPolicy,
        budget: _retry.Budget,
        report: Reporter,
        *,
        outward: bool = False,
    ) -> None:
        self._links = links
        self._policy = policy
        self._budget = budget
        self._report = report
        self._outward = outward
        self._slots = asyncio.Semaphore(WIDTH)

    async def save_all(
        self,
        response: ImagesResponse,
        places: _files.Places,
        files: Mapping[int, _writing.FileWriter],
    ) -> ImagesResponse:
        """
        Save every image of *response*; if one fails, the error carries what was saved.

        *files* has those that are written already, by their index in its data.
        """
        made = {index: image for index, image in enumerate(response.data) if image.error is None}

        async def save(number: int, index: int) -> SavedImage:
            place = places.nth(number, len(made))
            return await self.save(made[index], place, file=files.get(index))

        outcomes = await asyncio.gather(
            *(save(*numbered) for numbered in enumerate(made)), return_exceptions=True
        )
        response = _with_outcomes(response, dict(zip(made, outcomes, strict=True)))
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        for failure in failures:
            if isinstance(failure, DownloadError | StorageError):
                failure.response = response
        if failures:  # the disk's fault concerns all of them
            raise min(failures, key=lambda failure: not isinstance(failure, StorageError))
        return response

    def save_each(self, place: _files.Place, *, most: int) -> Save:
        """How to save at *place* images that come one by one; *most* of them were asked for."""

        async def save(image: Image, index: int) -> SavedImage:
            return await self.save(image, place.nth(index, most))

        return save

    async def save(
        self,
        image: Image,
        place: _files.Place,
        *,
        trusted: bool = False,
        file: _writing.FileWriter | None = None,
    ) -> SavedImage:
        """
        Save *image* at *place*, which it names if the place has no name.

        A *trusted* link, one that the caller wrote, may lead into a private network. A *file* is
        one to which the image is written already.
        """
        named = place.named(_links.name_of(image.url or "") or "image")
        async with self._slots:
            start = asyncio.get_running_loop().time()
            outcome: SavedImage | BaseException
            try:
                outcome = saved = await self._save(image, named, trusted=trusted, file=file)
            except BaseException as exc:
                outcome = exc
                raise
            finally:
                elapsed = asyncio.get_running_loop().time() - start
                self._report(_told(image, outcome, elapsed))
            return saved

    @contextlib.asynccontextmanager
    async def open(self, image: Image, *, trusted: bool) -> AsyncIterator[ImageStream]:
        """The bytes of *image* as they arrive. What opens it is tried again for free."""
        async with contextlib.AsyncExitStack() as stack:
            try:
                stream = await self._opened(image, stack, trusted=trusted)
            except DownloadError as error:
                error.image = image
                raise
            yield stream

    async def _opened(
        self, image: Image, stack: contextlib.AsyncExitStack, *, trusted: bool
    ) -> ImageStream:
        if image.b64_json:
            return await stack.enter_async_context(open_base64(image.b64_json))
        outward = self._outward and not trusted
        return await self._retried(
            lambda: stack.enter_async_context(
                open_link(self._links, image.url or "", outward=outward)
            )
        )

    async def _save(
        self,
        image: Image,
        place: _files.Place,
        *,
        trusted: bool,
        file: _writing.FileWriter | None,
    ) -> SavedImage:
        try:
            if file is not None:
                with contextlib.suppress(DownloadError, StorageError):
                    return await file.publish(place)
                # Nothing is lost: what is wrong with it is told as of any other.
                # Held there too, for who may leave while it is tried again.
                await file.withdraw()
                image = evolve(image, b64_json=await base64_of(file))
            if image.b64_json:
                return await _writing.save(decoded(image.b64_json), place)
            async with _writing.writing(place) as new:
                outward = self._outward and not trusted
                fetch = Fetch(self._links, image.url or "", outward=outward)
                await self._retried(lambda: fetch.into(new))
                return await new.publish()
        except (DownloadError, StorageError) as error:
            error.image = image
            raise

    async def _retried(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        on_retry = self._report.retry_scheduled
        return await _retry.run(attempt, self._policy, self._budget, on_retry=on_retry)


def _told(image: Image, outcome: SavedImage | BaseException, elapsed: float) -> DownloadEnded:
    host = _links.host_of(image.url) if image.url else None
    if isinstance(outcome, SavedImage):
        return DownloadEnded(
            host=host,
            elapsed=elapsed,
            bytes=outcome.bytes,
            content_type=outcome.content_type,
        )
    return DownloadEnded(host=host, elapsed=elapsed, error=type(outcome).__name__)


def _with_outcomes(
    response: ImagesResponse, outcomes: Mapping[int, SavedImage | BaseException]
) -> ImagesResponse:
    """*response* with its files, and each image that is in none as its error has it."""
    images = {
        index: outcome.image
        for index, outcome in outcomes.items()
        if isinstance(outcome, DownloadError | StorageError) and outcome.image
    }
    return evolve(
        response,
        data=tuple(images.get(index, image) for index, image in enumerate(response.data)),
        files=tuple(item for item in outcomes.values() if isinstance(item, SavedImage)),
    )


def wanted(image: Image | str, *, repair: bool) -> tuple[Image, bool]:
    """*image* as it is to be fetched, and whether its link is one that the caller wrote."""
    trusted = isinstance(image, str)
    if isinstance(image, str):
        image = Image(url=image)
    if not (image.url or image.b64_json):
        raise InvalidRequestError(f"image has {_HOLLOW}", field="image")
    if repair and image.url:
        image = evolve(image, url=_escapes.repaired(image.url) or image.url)
    return image, trusted
