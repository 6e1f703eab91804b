"""Images onto the disk, from a link or from base64: a few at a time, each tried again for free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from attrs import evolve

from . import _files, _links, _retry, _writing
from ._base64 import Decoder
from ._errors import DownloadError, NotAnImageError, StorageError
from ._events import DownloadEnded
from ._fetching import Fetch
from ._link_transport import LinkTransport
from ._models import Image, ImagesResponse, SavedImage
from ._reporting import Reporter
from ._threads import in_thread

WIDTH = 8  # images saved at once by one client
_SLICE = 512 * 1024  # characters of base64 decoded at once; a multiple of four


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

    async def save_all(self, response: ImagesResponse, place: _files.Places) -> ImagesResponse:
        """Save every image of *response*; if one fails, the error carries what was saved."""
        images = response.images

        async def save(number: int, image: Image) -> SavedImage:
            return await self.save(image, place.nth(number, len(images)))

        outcomes = await asyncio.gather(
            *(save(number, image) for number, image in enumerate(images)), return_exceptions=True
        )
        files = tuple(outcome for outcome in outcomes if isinstance(outcome, SavedImage))
        response = evolve(response, files=files)
        for outcome in outcomes:
            if isinstance(outcome, DownloadError | StorageError):
                outcome.response = response
            if isinstance(outcome, BaseException):
                raise outcome
        return response

    async def save(self, image: Image, place: _files.Place, *, trusted: bool = False) -> SavedImage:
        """
        Save *image* at *place*, which it names if the place has no name.

        A *trusted* link, one that the caller wrote, may lead into a private network.
        """
        named = place.named(_links.name_of(image.url or "") or "image")
        async with self._slots:
            start = asyncio.get_running_loop().time()
            outcome: SavedImage | BaseException
            try:
                outcome = file = await self._save(image, named, trusted=trusted)
            except BaseException as exc:
                outcome = exc
                raise
            finally:
                elapsed = asyncio.get_running_loop().time() - start
                self._report(_told(image, outcome, elapsed))
            return file

    async def _save(self, image: Image, place: _files.Place, *, trusted: bool) -> SavedImage:
        try:
            if image.b64_json is not None:
                return await _writing.save(_decoded(image.b64_json), place)
            async with _writing.writing(place) as file:
                outward = self._outward and not trusted
                fetch = Fetch(self._links, image.url or "", outward=outward)
                await _retry.run(
                    lambda: fetch.into(file),
                    self._policy,
                    self._budget,
                    on_retry=self._report.retry_scheduled,
                )
                return await file.publish()
        except (DownloadError, StorageError) as error:
            error.image = image
            raise


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


async def _decoded(text: str) -> AsyncGenerator[bytes, None]:
    """The bytes of base64 *text*, piece by piece."""
    decoder = Decoder()
    try:
        for at in range(0, len(text), _SLICE):
            yield await in_thread(decoder.feed, text[at : at + _SLICE].encode())
        decoder.finish()
    except ValueError:
        raise NotAnImageError("the answer's b64_json is not base64") from None
