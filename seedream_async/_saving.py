"""Images from links or base64, onto the disk or handed on; what is fetched is fetched for free."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from attrs import evolve

from . import _files, _links, _retrying, _writing
from ._errors import DownloadError, InvalidRequestError, StorageError
from ._fetching import Fetch
from ._image_stream import ImageStream, decoded, open_base64, open_link
from ._inbox import base64_of
from ._later import Later
from ._link_transport import LinkTransport
from ._models import Image, ImagesResponse, SavedImage
from ._reporting import Download, Reporter
from ._retry import Budget, RetryPolicy

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
        policy: RetryPolicy,
        budget: Budget,
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
        self._numbers = itertools.count(1)

    async def save_all(
        self,
        response: ImagesResponse,
        places: _files.Places,
        files: Mapping[int, _writing.FileWriter],
        *,
        call: int | None = None,
    ) -> ImagesResponse:
        """
        Save every image of *response*; if one fails, the error carries what was saved.

        *files* has those that are written already, by their index in its data. *call* is the
        number of the call that is told to have made them.
        """
        made = {index: image for index, image in enumerate(response.data) if image.error is None}

        async def save(number: int, index: int) -> SavedImage:
            place = places.nth(number, len(made))
            return await self.save(made[index], place, file=files.get(index), call=call)

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

    def save_each(self, place: _files.Place, call: int, *, most: int) -> Save:
        """How to save at *place* images that *call* makes one by one, at most so many."""

        async def save(image: Image, index: int) -> SavedImage:
            return await self.save(image, place.nth(index, most), call=call)

        return save

    async def save(
        self,
        image: Image,
        place: _files.Place,
        *,
        trusted: bool = False,
        file: _writing.FileWriter | None = None,
        call: int | None = None,
    ) -> SavedImage:
        """
        Save *image* at *place*, which it names if the place has no name.

        A *trusted* link, one that the caller wrote, may lead into a private network. A *file* is
        one to which the image is written already. *call* is the number of the call that made it.
        """
        named = place.named(_links.name_of(image.url or "") or "image")
        async with self._slots:
            with self._download(image, call) as download:
                saved = await self._save(image, named, download, trusted=trusted, file=file)
                download.bytes, download.content_type = saved.bytes, saved.content_type
                return saved

    def _download(self, image: Image, call: int | None = None) -> Download:
        host = _links.host_of(image.url) if image.url else None
        return Download(next(self._numbers), host, call, self._report)

    @contextlib.asynccontextmanager
    async def open(
        self, image: Image, *, trusted: bool, headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[ImageStream]:
        """The bytes of *image* as they arrive. What opens it is tried again for free."""
        with self._download(image) as download:
            async with contextlib.AsyncExitStack() as stack:
                try:
                    stream = await self._opened(image, stack, download, headers, trusted=trusted)
                except DownloadError as error:
                    error.image = image
                    raise
                download.content_type = stream.content_type
                try:
                    yield stream
                finally:
                    download.bytes = stream.taken

    async def _opened(
        self,
        image: Image,
        stack: contextlib.AsyncExitStack,
        download: Download,
        headers: Mapping[str, str] | None,
        *,
        trusted: bool,
    ) -> ImageStream:
        if image.b64_json:
            return await stack.enter_async_context(open_base64(image.b64_json))
        outward = self._outward and not trusted
        return await self._retried(
            lambda: stack.enter_async_context(
                open_link(self._links, image.url or "", headers, outward=outward)
            ),
            download,
        )

    async def _save(
        self,
        image: Image,
        place: _files.Place,
        download: Download,
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
                await self._retried(lambda: fetch.into(new), download)
                return await new.publish()
        except (DownloadError, StorageError) as error:
            error.image = image
            raise

    async def _retried(self, attempt: Callable[[], Awaitable[_T]], download: Download) -> _T:
        on_retry = download.retry_scheduled
        return await _retrying.run(attempt, self._policy, self._budget, on_retry=on_retry)


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
