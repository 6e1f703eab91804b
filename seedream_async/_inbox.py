"""
An answer whose images are to be saved: base64 goes to files while it arrives, off the loop.

No trouble with a disk gets out of here: an image that it refuses goes on in memory. Whatever is
not published is gone when the block ends.
"""

from __future__ import annotations

import contextlib
from binascii import b2a_base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self

from attrs import evolve

from . import _wire
from ._doubt import note_arrived
from ._errors import APIError, OutcomeUnknownError, StorageError
from ._files import Place
from ._http import Answer, Asked
from ._later import Later
from ._models import Image, ImagesResponse
from ._threads import in_thread
from ._transport import ApiStream
from ._writing import FileWriter

if TYPE_CHECKING:
    from . import _inline_images
else:
    _inline_images = Later("_inline_images")

_PIECE = 512 * 1024  # bytes that are read in one trip to a thread
_MOST_CHUNKS = 1024  # in one piece: each takes memory besides its bytes
_MANY = 16  # chunks: to join so many costs less than to read each by itself
_SMALL = 16 * 1024  # bytes that are read in less time than a trip to a thread takes


class Inbox:
    """The images of one answer that arrived as base64, as `files` that have no name yet."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self.files: Mapping[int, FileWriter] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def receive(self, place: Place, stream: ApiStream, asked: Asked) -> ImagesResponse:
        """
        The response that *stream* holds, without the base64 that is in files.

        `files` has them by their index in its data. An attempt that fails leaves none; the error
        carries the images that were whole.
        """
        if stream.status >= 300:
            return _wire.parse(await stream.read(asked.most_bytes), asked, datetime.now(UTC))
        async with contextlib.AsyncExitStack() as attempt:
            arrival = _Arrival(place, stream, asked, attempt)
            try:
                response = await arrival.response()
            except APIError as error:
                await arrival.salvage(error)
                raise
            self.files = arrival.files
            self._stack.push_async_exit(attempt.pop_all())
        return response

    async def give_back(self, response: ImagesResponse) -> ImagesResponse:
        """*response* with the files, or the base64 of what is in none, for who leaves early."""
        data = list(response.data)
        for index, file in self.files.items():
            with contextlib.suppress(StorageError):
                if not file.saved:
                    data[index] = evolve(data[index], b64_json=await base64_of(file))
        saved = (file.saved for _, file in sorted(self.files.items()) if file.saved)
        return evolve(response, data=tuple(data), files=tuple(saved))


async def base64_of(file: FileWriter) -> str:
    """What has arrived of *file*, as the text that it came as. Raises `StorageError`."""
    content = await file.take_back()
    return await in_thread(lambda: b2a_base64(content, newline=False).decode("ascii"))


class _Arrival:
    """One answer on its way; *stack* discards its files."""

    def __init__(
        self, place: Place, stream: ApiStream, asked: Asked, stack: contextlib.AsyncExitStack
    ) -> None:
        self._place = place
        self._stream = stream
        self._asked = asked
        self._stack = stack
        self._reader = _inline_images.ImageReader()
        self._chunks: list[bytes] = []  # what the reader was not given yet
        self._waiting = 0  # bytes in them
        self._drafts: dict[int, _Draft] = {}
        self._broken = False  # whether any text is
        self._most_bare, self._most_bytes = _wire.most_bytes_of(asked.images)

    @property
    def files(self) -> dict[int, FileWriter]:
        return {index: draft.file for index, draft in self._drafts.items() if not draft.broken}

    async def response(self) -> ImagesResponse:
        try:
            await self._receive()
        except OutcomeUnknownError as error:
            await self._feed()
            note_arrived(error, _wire.whole_in(self._answer(), base64=False))
            raise
        response = _wire.parse(
            self._answer(),
            self._asked,
            datetime.now(UTC),
            elsewhere=self._drafts.keys(),
        )
        data = [await self._completed(*item) for item in enumerate(response.data)]
        return evolve(response, data=tuple(data))

    def _answer(self) -> Answer:
        return self._stream.answer(bytes(self._reader.skeleton))

    async def salvage(self, error: APIError) -> None:
        """Put on *error* the images that had arrived whole."""
        await self._feed()
        texts = [await draft.text() for draft in self._drafts.values() if draft.whole]
        if texts:
            response = error.response or ImagesResponse()
            others = (image for image in response.data if image.url or image.b64_json)
            images = (Image(b64_json=text) for text in texts)
            error.response = evolve(response, data=(*others, *images))
            error.add_note(f"images that had arrived before: {len(texts)}; response holds them")

    async def _completed(self, index: int, image: Image) -> Image:
        """*image* with the base64 that is not in `files`."""
        draft = self._drafts.get(index)
        if draft is None:
            return image
        if draft.broken or image.error:  # so that nobody will look for a file
            return evolve(image, b64_json=await draft.text() + (image.b64_json or ""))
        return evolve(image, b64_json=None)

    async def _receive(self) -> None:
        length = 0
        async for chunk in self._stream.iter_any():
            length += len(chunk)
            if length > self._most_bytes:
                raise self._stream.too_long(self._most_bytes)
            self._chunks.append(chunk)
            self._waiting += len(chunk)
            if self._waiting >= _PIECE or len(self._chunks) >= _MOST_CHUNKS:
                await self._feed()
                self._check_skeleton()
        await self._feed()
        self._check_skeleton()

    def _check_skeleton(self) -> None:
        # What is no base64 is kept there, however long it is.
        if len(self._reader.skeleton) > self._most_bare and not self._broken:
            raise self._stream.too_long(self._most_bare)

    async def _feed(self) -> None:
        # Many pieces take memory until they are written, however few bytes they have.
        small = self._waiting < _SMALL and len(self._chunks) < _MOST_CHUNKS
        chunks = self._chunks
        self._chunks, self._waiting = [], 0
        if small:
            self._read(chunks)
        else:
            await in_thread(self._read_and_write, chunks)

    def _read_and_write(self, chunks: Sequence[bytes]) -> None:
        self._read(chunks if len(chunks) < _MANY else (b"".join(chunks),))
        for draft in self._drafts.values():
            draft.put_down()

    def _read(self, chunks: Sequence[bytes]) -> None:
        for chunk in chunks:
            for event in self._reader.feed(chunk):
                self._follow(event)

    def _follow(self, event: _inline_images.ImageEvent) -> None:
        match event:
            case _inline_images.Decoded():
                if event.index not in self._drafts:
                    self._begin(event.index)
                self._drafts[event.index].file.keep(event.data)
            case _inline_images.Completed() if event.index in self._drafts:
                self._drafts[event.index].whole = True
            case _inline_images.NotBase64():
                self._broken = True
                if event.index in self._drafts:
                    self._drafts[event.index].broken = True

    def _begin(self, index: int) -> None:
        draft = self._drafts[index] = _Draft(self._place.named("image"))
        self._stack.push_async_callback(draft.file.discard)


class _Draft:
    """One image on its way to its file, or to memory from where the disk refused it."""

    def __init__(self, place: Place) -> None:
        self.file = FileWriter(place)
        self.whole = False
        self.broken = False
        self._refused = False

    def put_down(self) -> None:
        """Write what has arrived. Blocking."""
        if self._refused:
            return
        try:
            self.file.put_down()
        except StorageError:
            self._refused = True  # publishing will try again, and say so

    async def text(self) -> str:
        """What has arrived of it, as base64 again; nothing if the disk lost it."""
        try:
            return await base64_of(self.file)
        except StorageError:
            return ""
