"""
The bytes that a link leads to, resumed where a connection broke.

Fetching is free, so every trouble that may pass is worth another attempt; who repeats attempts is
the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from . import _links
from ._errors import DownloadError, IncompleteDownloadError
from ._later import Later
from ._link_transport import LinkStream, LinkTransport
from ._writing import FileWriter

if TYPE_CHECKING:
    from . import _diagnosis
else:
    _diagnosis = Later("_diagnosis")

_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")
_REQUEST_IDS = ("x-tos-request-id", "x-amz-request-id", "x-amz-cf-id", "x-oss-request-id")
_ABOUT_RANGES = frozenset((206, 412, 416))
# A store that sends less than this for so long is dripping: seconds, and bytes per second.
_PATIENCE, _SLOWEST = 30.0, 1024


class Fetch:
    """The download of one link; each attempt goes on where the last one ended, if it can."""

    def __init__(self, links: LinkTransport, link: str, *, outward: bool) -> None:
        self._links = links
        self._link = link
        self._outward = outward
        self._tag: str | None = None  # of the object, if its rest can be asked for
        self._length: int | None = None
        self._crc64: int | None = None

    async def into(self, file: FileWriter) -> None:
        """
        Make one attempt to have all bytes in *file*.

        Raises `DownloadError`; if it is retryable, the next attempt asks for the rest only.
        """
        wanted = self._wanted(file.size)
        async with self._links.open(self._link, headers=wanted, outward=self._outward) as stream:
            if wanted and stream.status in _ABOUT_RANGES:
                self._check_rest(stream, file.size)
            else:
                await check_status(stream)
                self._note(stream.headers)
                await file.restart(self._crc64)
            await self._receive(stream, file)
        self._tag = None  # what is wrong with all bytes is not mended by the rest
        self._check_length(file.size)
        await file.check()

    def _wanted(self, size: int) -> Mapping[str, str]:
        if not (size and self._tag):
            return {}
        # Not If-Range: stores were seen to send the rest of another object despite it.
        return {"Range": f"bytes={size}-", "If-Match": self._tag}

    def _note(self, headers: Mapping[str, str]) -> None:
        length, tag = headers.get("content-length", ""), headers.get("etag", "")
        crc64 = headers.get("x-tos-hash-crc64ecma", "")
        self._length = int(length) if _is_number(length) else None
        # What a store makes of an object on the way out, its tag and checksum may not describe.
        made = "x-tos-process=" in self._link.lower()
        strong = tag.startswith('"') and self._length is not None and not made
        self._tag = tag if strong else None
        self._crc64 = int(crc64) if _is_number(crc64) and not made else None

    def _check_rest(self, stream: LinkStream, size: int) -> None:
        """Raise unless *stream* is the rest of what there is; then the next attempt begins anew."""
        match = _RANGE.fullmatch(stream.headers.get("content-range", ""))
        # Stores that ignore If-Match tell at least of what object they send the rest.
        same = stream.headers.get("etag", self._tag) == self._tag
        fits = match and (int(match[1]), int(match[2])) == (size, self._length)
        if stream.status == 206 and same and fits:
            return
        self._tag = None
        host = _links.host_of(self._link)
        raise IncompleteDownloadError(
            f"the image from {host} broke off after {size} of {self._length} bytes, and its rest "
            f"is not to be had ({stream.status})",
            host=host,
            status_code=stream.status,
            retryable=True,
        )

    def _check_length(self, size: int) -> None:
        if self._length in (None, size):
            return
        host = _links.host_of(self._link)
        raise IncompleteDownloadError(
            f"{size} bytes came from {host} for an image of {self._length}",
            host=host,
            retryable=True,
        )

    async def _receive(self, stream: LinkStream, file: FileWriter) -> None:
        try:
            async with contextlib.aclosing(self._paced(stream)) as chunks:
                async for chunk in chunks:
                    await file.write(chunk)
        except DownloadError as exc:
            whole = f" of {self._length}" if self._length is not None else ""
            problem = f"{exc}, after {file.size}{whole} bytes"
        else:
            return
        host = _links.host_of(self._link)
        raise IncompleteDownloadError(problem, host=host, retryable=True)

    async def _paced(self, stream: LinkStream) -> AsyncGenerator[bytes, None]:
        """The chunks of *stream*; raises if they only drip."""
        now = asyncio.get_running_loop().time
        start, count = now(), 0
        async with contextlib.aclosing(stream.iter_any()) as chunks:
            async for chunk in chunks:
                yield chunk
                count += len(chunk)
                if (spent := now() - start) >= _PATIENCE:
                    if count < _SLOWEST * spent:
                        raise IncompleteDownloadError(f"only {count} bytes came in {spent:.0f} s")
                    start, count = now(), 0


async def check_status(stream: LinkStream) -> None:
    """Raise what a refusal means."""
    if stream.status == 200:
        return
    body = await stream.read_error()
    error = _diagnosis.diagnose(stream.link, stream.status, body, datetime.now(UTC))
    ids = filter(None, map(stream.headers.get, _REQUEST_IDS))
    error.request_id = error.request_id or next(ids, None)
    raise error


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20
