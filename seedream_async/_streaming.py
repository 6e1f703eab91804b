"""A streamed answer as a series of events, and what has arrived of it so far."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Self, TypeAlias

from attrs import evolve

from . import _wire
from ._doubt import outcome_unknown
from ._errors import (
    APIError,
    APIResponseValidationError,
    DownloadError,
    OutcomeUnknownError,
    StorageError,
)
from ._events import Attempt
from ._http import BASE64_NAME, Asked
from ._models import (
    Image,
    ImageFailed,
    ImagesResponse,
    ImageSucceeded,
    SavedImage,
    StreamCompleted,
    StreamEvent,
)
from ._sse import Parser, ServerSentEvent
from ._transport import ApiStream

_DONE = b"[DONE]"
Save: TypeAlias = Callable[[Image, int], Awaitable[SavedImage]]


class EventStream:
    """
    The events of a stream, one by one, each image as soon as it is finished.

    `response` is what has arrived so far. If the stream breaks off or an image cannot be saved,
    the error carries it too; after an image that could not be saved, the iteration may go on.
    """

    def __init__(
        self,
        stream: ApiStream,
        asked: Asked,
        save: Save | None,
    ) -> None:
        self._stream = stream
        self._chunks = stream.iter_any()
        self._asked = asked
        self._most_bytes = asked.most_bytes  # in one event
        self._save = save
        self._parser = Parser()
        self._waiting: deque[ServerSentEvent | StreamEvent] = deque()
        self._over = False
        self.completed: bool = False
        self._data: dict[int, Image] = {}
        self._files: dict[int, SavedImage] = {}
        self._response = ImagesResponse(request_id=stream.request_id)
        self.attempts: tuple[Attempt, ...] = ()

    @classmethod
    def of_response(
        cls,
        response: ImagesResponse,
        stream: ApiStream,
        asked: Asked,
        save: Save | None,
    ) -> Self:
        """The same for an answer that came as a whole, from a service that does not stream."""
        self = cls(stream, asked, save)
        self._response = response
        self._waiting.extend(
            ImageFailed(index=index, error=image.error)
            if image.error
            else ImageSucceeded(index=index, image=image)
            for index, image in enumerate(response.data)
        )
        self._waiting.append(
            StreamCompleted(
                usage=response.usage,
                model=response.model,
                created=response.created,
                extra=response.extra,
            )
        )
        self._over = True
        return self

    @property
    def response(self) -> ImagesResponse:
        """What has arrived so far, in the order of the group."""
        return evolve(
            self._response,
            data=tuple(image for _, image in sorted(self._data.items())),
            files=tuple(file for _, file in sorted(self._files.items())),
            attempts=self.attempts,
        )

    def __aiter__(self) -> Self:
        return self

    async def aclose(self) -> None:
        """Give up what has not arrived. Leaving the block does so too."""
        self._keep_the_rest()
        self._over = True
        await self._chunks.aclose()

    def _keep_the_rest(self) -> None:
        """Understand what has arrived and nobody has asked for yet: it is paid for."""
        with contextlib.suppress(APIError):
            while self._waiting:
                self._understood(self._waiting.popleft())

    async def __anext__(self) -> StreamEvent:
        try:
            event = await self._next()
            if isinstance(event, ImageSucceeded) and self._save is not None:
                file = self._files[event.index] = await self._save(event.image, event.index)
                event = evolve(event, file=file)
        except (APIError, DownloadError, StorageError) as error:
            error.response = self.response  # it is paid for
            if isinstance(error, APIError):
                error.attempts = self.attempts
            raise
        if event is None:
            raise StopAsyncIteration
        return event

    async def _next(self) -> StreamEvent | None:
        while self._waiting or not self._over:
            if not self._waiting:
                await self._receive()
            elif event := self._understood(self._waiting.popleft()):
                return event
        return None

    async def _receive(self) -> None:
        """Wait for more. The end counts as one only after the service has said that it comes."""
        self._stream.note_arrived(len(self.response.images))
        try:
            chunk = await anext(self._chunks, b"")
        except OutcomeUnknownError:
            if not self.completed:
                raise
            chunk = b""
        self._waiting.extend(self._parser.feed(chunk))
        self._check_size()
        self._over = not chunk
        if self._over and not self.completed:
            raise outcome_unknown(
                "the stream broke off",
                arrived=len(self.response.images),
                request_id=self._response.request_id,
            )

    def _check_size(self) -> None:
        if self._parser.size <= self._most_bytes:
            return
        _, most_base64 = _wire.most_bytes_of(self._asked.images)
        if self._parser.size <= most_base64 and self._parser.holds(BASE64_NAME):
            self._most_bytes = most_base64
            return
        raise APIResponseValidationError(
            f"an event of the stream has more than {self._most_bytes} bytes, which no "
            "answer to this request has. It may have been billed: check the account before "
            "sending it again",
            request_id=self._response.request_id,
        )

    def _parsed(self, event: ServerSentEvent) -> StreamEvent:
        try:
            return _wire.parse_event(
                event,
                len(self._data),
                self._asked,
                datetime.now(UTC),
                arrived=len(self.response.images),
                headers=self._stream.headers,
            )
        except APIError as error:
            self.completed = not error.possibly_billed  # a refusal leaves nothing to come
            if self.completed and not self._data and self.attempts:
                *earlier, last = self.attempts
                refused = evolve(last, fate="refused", error=type(error).__name__)
                self.attempts = (*earlier, refused)
            raise

    def _end(self) -> None:
        self._over = True
        self._waiting.clear()
        if not (self._data or self.completed):
            raise outcome_unknown(
                "the stream ended without an image", request_id=self._response.request_id
            )
        self.completed = True

    def _understood(self, event: ServerSentEvent | StreamEvent) -> StreamEvent | None:
        """What *event* tells; the end of the stream is none."""
        if isinstance(event, ServerSentEvent):
            if event.data.strip() == _DONE:
                self._end()
                return None
            event = self._parsed(event)
        match event:
            case ImageSucceeded() | ImageFailed() if event.index in self._data:
                # Of two with one number, both are paid for.
                return self._understood(evolve(event, index=max(self._data) + 1))
            case ImageSucceeded():
                self._data[event.index] = event.image
            case ImageFailed():
                self._data[event.index] = Image(error=event.error)
            case StreamCompleted():
                self.completed = True
                self._response = evolve(
                    self._response,
                    usage=event.usage,
                    extra=event.extra,
                    model=event.model,
                    created=event.created,
                )
        return event
