"""An image that is handed on while it arrives, without touching the disk."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from types import MappingProxyType

from . import _sniff
from ._base64 import Decoder
from ._errors import InvalidRequestError, NotAnImageError
from ._fetching import check_status
from ._link_transport import LinkTransport
from ._threads import in_thread

_MISUSED = "the bytes of an image can be taken once, inside the block"
_ABOUT_THE_OBJECT = frozenset(
    ("range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since")
)
_CONDITIONAL = frozenset((206, 304, 412, 416))
_SLICE = 512 * 1024  # characters of base64 decoded at once; a multiple of four


class ImageStream:
    """
    An image on its way, whose store has said that it is there.

    *status* is 200, unless a range or a condition was asked for. *headers* are those of the store,
    with lower-case names. *content_type* and *content_length*, in bytes, are what they say. The
    bytes can be taken once, inside the block; *taken* is how many were.
    """

    def __init__(
        self, chunks: AsyncGenerator[bytes, None], headers: Mapping[str, str], status: int = 200
    ) -> None:
        self._chunks = _Chunks(chunks)
        self._gone = False
        self.status = status
        self.headers: Mapping[str, str] = MappingProxyType(dict(headers))

    @property
    def content_type(self) -> str | None:
        return self.headers.get("content-type")

    @property
    def content_length(self) -> int | None:
        length = self.headers.get("content-length", "")
        return int(length) if length.isascii() and length.isdigit() and len(length) < 20 else None

    @property
    def taken(self) -> int:
        return self._chunks.taken

    def iter_chunks(self) -> AsyncIterator[bytes]:
        """The bytes, as they arrive. Raises `DownloadError` if they break off."""
        if self._gone:
            raise RuntimeError(_MISUSED)
        self._gone = True
        return self._chunks

    async def read(self) -> bytes:
        """All bytes. Raises `DownloadError` if they break off."""
        return b"".join([chunk async for chunk in self.iter_chunks()])

    async def aclose(self) -> None:
        """Give up what has not been taken. Leaving the block does so too."""
        self._gone = True
        await self._chunks.aclose()


class _Chunks(AsyncIterator[bytes]):
    """What *source* gives. If it is closed before its end, that is no end: it must be noticed."""

    def __init__(self, source: AsyncGenerator[bytes, None]) -> None:
        self._source = source
        self._closed = self._ended = False
        self.taken = 0

    async def __anext__(self) -> bytes:
        chunk = await anext(self._source, None)
        if chunk is not None:
            self.taken += len(chunk)
            return chunk
        if self._closed and not self._ended:
            raise RuntimeError(_MISUSED)
        self._ended = True
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self._closed = True
        await self._source.aclose()


@contextlib.asynccontextmanager
async def open_link(
    links: LinkTransport, link: str, headers: Mapping[str, str] | None = None, *, outward: bool
) -> AsyncIterator[ImageStream]:
    """What *link* leads to. Raises `DownloadError` if the store refuses it."""
    async with links.open(link, headers=checked(headers or {}), outward=outward) as stream:
        if not (headers and stream.status in _CONDITIONAL):
            await check_status(stream)
        image = ImageStream(stream.iter_any(), stream.headers, stream.status)
        async with contextlib.aclosing(image):
            yield image


def checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    """*headers*, if they are about a range and conditions alone. Raises `InvalidRequestError`."""
    if others := [name for name in headers if name.lower() not in _ABOUT_THE_OBJECT]:
        raise InvalidRequestError(
            f"headers for a store may be a Range or conditions, not {others[0]!r}", field="headers"
        )
    return headers


@contextlib.asynccontextmanager
async def open_base64(text: str) -> AsyncIterator[ImageStream]:
    """The image that base64 *text* holds. Raises `NotAnImageError` if it does not begin as such."""
    async with contextlib.aclosing(decoded(text)) as chunks:
        sniffed = _sniff.sniff(await anext(chunks, b""))
    headers = {"content-length": str(len(text) // 4 * 3 - text[-2:].count("="))}
    if sniffed:
        headers["content-type"] = sniffed.kind.content_type
    async with contextlib.aclosing(ImageStream(decoded(text), headers)) as image:
        yield image


async def decoded(text: str) -> AsyncGenerator[bytes, None]:
    """The bytes of base64 *text*, piece by piece. Raises `NotAnImageError`."""
    decoder = Decoder()
    try:
        for at in range(0, len(text), _SLICE):
            for piece in await in_thread(decoder.feed, text[at : at + _SLICE].encode()):
                yield piece
        decoder.finish()
    except ValueError:
        raise NotAnImageError("the answer's b64_json is not base64") from None
