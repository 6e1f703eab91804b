"""Images onto the disk, from a link or from base64: a few at a time, each tried again for free."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator
from datetime import UTC, datetime

from attrs import evolve

from . import _diagnosis, _files, _links, _retry
from ._attempts import reason_of
from ._errors import DownloadError, NotAnImageError, SeedreamError, StorageError
from ._events import DownloadEnded, RetryScheduled
from ._link_transport import LinkTransport
from ._models import Image, ImagesResponse, SavedImage
from ._reporting import Reporter

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
    ) -> None:
        self._links = links
        self._policy = policy
        self._budget = budget
        self._report = report
        self._slots = asyncio.Semaphore(WIDTH)

    async def save_all(self, response: ImagesResponse, place: _files.Place) -> ImagesResponse:
        """Save every image of *response*; if one fails, the error carries what was saved."""
        images = response.images
        outcomes = await asyncio.gather(
            *(
                self.save(image, place.nth(number, len(images)) if place.stem else place)
                for number, image in enumerate(images)
            ),
            return_exceptions=True,
        )
        files = tuple(outcome for outcome in outcomes if isinstance(outcome, SavedImage))
        response = evolve(response, files=files)
        for outcome in outcomes:
            if isinstance(outcome, DownloadError | StorageError):
                outcome.response = response
            if isinstance(outcome, BaseException):
                raise outcome
        return response

    async def save(self, image: Image, place: _files.Place) -> SavedImage:
        """Save *image* at *place*, which it names if the place has no name."""
        named = place.named(_links.name_of(image.url or "") or "image")
        async with self._slots:
            start = asyncio.get_running_loop().time()
            outcome: SavedImage | BaseException
            try:
                outcome = file = await self._save(image, named)
            except BaseException as exc:
                outcome = exc
                raise
            finally:
                elapsed = asyncio.get_running_loop().time() - start
                self._report(_told(image, outcome, elapsed))
            return file

    async def _save(self, image: Image, place: _files.Place) -> SavedImage:
        try:
            return await _retry.run(
                lambda: _files.save(self._bytes_of(image), place),
                self._policy,
                self._budget,
                on_retry=self._retry_scheduled,
            )
        except (DownloadError, StorageError) as error:
            error.image = image
            raise

    def _retry_scheduled(self, attempt: int, error: SeedreamError, wait: float) -> None:
        reason = reason_of(error)
        self._report(RetryScheduled(call=None, attempt=attempt, reason=reason, wait=wait))

    async def _bytes_of(self, image: Image) -> AsyncGenerator[bytes, None]:
        if image.b64_json is not None:
            for at in range(0, len(image.b64_json), _SLICE):
                yield await _files.in_thread(_decode, image.b64_json[at : at + _SLICE])
            return
        link = image.url or ""
        async with self._links.open(link) as stream:
            if stream.status != 200:
                body = await stream.read_error()
                raise _diagnosis.diagnose(link, stream.status, body, datetime.now(UTC))
            async for chunk in stream.iter_any():
                yield chunk


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


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise NotAnImageError("the answer's b64_json is not base64") from None
