"""An image from its store to a browser as it arrives: refused before it begins, or whole."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from attrs import frozen

from seedream_async import _links, _sniff
from seedream_async._client import AsyncSeedream
from seedream_async._errors import DownloadError, IncompleteDownloadError, SeedreamError
from seedream_async._image_stream import ImageStream
from seedream_async._models import Image
from seedream_async._reporting import logger

from . import _asking
from ._asking import Asked, Manner
from ._leaving import Browser, Head
from ._telling import told

_HEAD = 4096  # bytes that are looked at before they are passed on


@frozen
class Answer:
    """What a browser is sent."""

    status: int
    headers: Mapping[str, str]
    body: AsyncGenerator[bytes, None]


async def hand_on(
    client: AsyncSeedream,
    image: Image | str,
    manner: Manner,
    head: Head,
    browser: Browser,
) -> None:
    """Answer *browser* with *image*; what keeps it from that is told as an error."""
    asked = Asked.of(head.method, head.headers)
    started = False
    try:
        async with _answering(client, image, manner, asked) as answer:
            await browser.start(answer.status, answer.headers)
            started = True
            await asyncio.sleep(0)  # as below
            async for chunk in answer.body:
                await browser.write(chunk)
    except SeedreamError as error:
        if started:
            logger.warning("an image broke off on its way to a browser: %s", error)
            await browser.cut()
            return
        logger.info("an image could not be handed on: %s", error)
        await tell(error, browser, asked)
    else:
        await browser.end()


async def tell(error: Exception, browser: Browser, asked: Asked) -> None:
    """Answer *browser*, that *asked*, with *error*."""
    said = told(error)
    body = json.dumps({"error": said.public()}).encode()
    length = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    await browser.start(said.status, {**said.headers, **length})
    if asked.has_body:
        await browser.write(body)
    await browser.end()


@contextlib.asynccontextmanager
async def _answering(
    client: AsyncSeedream, image: Image | str, manner: Manner, asked: Asked
) -> AsyncIterator[Answer]:
    link = image if isinstance(image, str) else image.url
    if manner.redirect and link and not (isinstance(image, Image) and image.b64_json):
        yield Answer(307, _asking.redirected(_sendable(link)), _nothing())
        return
    async with contextlib.AsyncExitStack() as stack:
        asked, stream = await _opened(client, image, manner, asked, stack)
        yield await _answer(stream, manner, asked)


def _sendable(link: str) -> str:
    try:
        target = _links.parse_target(link)
    except ValueError as exc:
        raise DownloadError(f"a browser cannot be sent there: {exc}") from None
    return f"{target.scheme}://{target.authority}{target.path}"


async def _opened(
    client: AsyncSeedream,
    image: Image | str,
    manner: Manner,
    asked: Asked,
    stack: contextlib.AsyncExitStack,
) -> tuple[Asked, ImageStream]:
    """What the store has for *asked*, or for the whole if it asked for a part of what is gone."""
    async with contextlib.AsyncExitStack() as first:
        opening = client.open(image, repair=manner.repair, headers=asked.headers)
        stream = await first.enter_async_context(opening)
        await asyncio.sleep(0)  # so much has held the loop for long enough
        if not asked.is_moot(stream.status, stream.headers):
            stack.push_async_exit(first.pop_all())
            return asked, stream
    asked = asked.whole()
    opening = client.open(image, repair=manner.repair, headers=asked.headers)
    return asked, await stack.enter_async_context(opening)


async def _answer(stream: ImageStream, manner: Manner, asked: Asked) -> Answer:
    headers = stream.headers
    if stream.status == 304 or asked.is_known(headers):
        return Answer(304, _asking.unmodified(headers, manner), _nothing())
    if stream.status == 416:
        return Answer(416, _asking.beyond(headers), _nothing())
    start = None
    if stream.status == 206:
        asked.check_part(headers)
        start = asked.start
    chunks = stream.iter_chunks()
    head = await _first(chunks)
    kind = _asking.kind_of(head, headers, start)
    described = _asking.described(headers, kind, manner, part=stream.status == 206)
    if not asked.has_body:
        return Answer(stream.status, described, _nothing())
    body = _after(head, chunks)
    if stream.status == 200 and not _asking.tells_its_end(headers):
        body = _to_its_end(kind, head, body)
    return Answer(stream.status, described, body)


async def _first(chunks: AsyncIterator[bytes]) -> bytes:
    head = b""
    while len(head) < _HEAD and (chunk := await anext(chunks, b"")):
        head += chunk
    return head


async def _after(head: bytes, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    yield head
    async for chunk in chunks:
        yield chunk


async def _to_its_end(
    kind: _sniff.Kind, head: bytes, chunks: AsyncIterator[bytes]
) -> AsyncGenerator[bytes, None]:
    """*chunks*; raises if they are not all of an image that begins with *head*."""
    tail, size = b"", 0
    async for chunk in chunks:
        yield chunk
        tail = (tail + chunk[-_sniff.TAIL :])[-_sniff.TAIL :]
        size += len(chunk)
    if not _sniff.is_whole(kind, head, tail, size):
        raise IncompleteDownloadError(f"the image breaks off after {size} bytes")


async def _nothing() -> AsyncGenerator[bytes, None]:
    return
    yield b""
