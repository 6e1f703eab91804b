"""
One exchange with the API over aiohttp: with the key, sent once, and known to have left or not.

No aiohttp exception gets out: those print keys and links.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import aiohttp
import yarl

from ._body import RequestBody
from ._deadline import Deadline
from ._doubt import outcome_unknown
from ._errors import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APITimeoutError,
    SeedreamError,
)
from ._http import BASE64_NAME, MOST_OF_ANSWER, MOST_OF_REFUSAL, Answer, Piece
from ._refusals import request_id_of
from ._sessions import Lifetime, OwnSession, SilentConnector, notice_closed_connections
from ._sockets import alive_socket, can_tell_news
from ._timeout import Bounds
from ._trouble import HEADERS, TROUBLE, client_timeout, describe, next_chunk

_T = TypeVar("_T")


def _make_session() -> aiohttp.ClientSession:
    connector = SilentConnector(limit=0, cautious=True, socket_factory=alive_socket)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


class ApiTransport:
    """The API's side: every request carries the key, follows no redirect, and is sent once."""

    def __init__(
        self,
        base_url: str,
        key: str,
        session: aiohttp.ClientSession | None,
        lifetime: Lifetime,
    ) -> None:
        self._base_url = base_url
        self._key = {"Authorization": f"Bearer {key}"}
        self._lent = session
        self._lifetime = lifetime
        self._own = OwnSession(_make_session)
        self.aclose = self._own.aclose
        self.abandon = self._own.abandon

    def open(
        self,
        method: str,
        path: str,
        pieces: Sequence[Piece] = (),
        *,
        bounds: Bounds,
        headers: Mapping[str, str] | None = None,
        on_sent: Callable[[], object] = lambda: None,
    ) -> _Opening:
        """
        Send one request, and give access to whatever is answered: `async with`.

        *on_sent* is called when the request is handed to a connection. Raises
        `APIConnectionError` if nothing left, `OutcomeUnknownError` if the request left and no whole
        answer came back, and `RuntimeError` after the end of the client.
        """
        deadline = Deadline(bounds.whole)
        body = RequestBody(pieces, on_sent, deadline.check) if pieces else None
        exchange = _Exchange(body, bounds, deadline)
        return _Opening(partial(self._begin, method, path, exchange, headers), exchange)

    async def _begin(
        self, method: str, path: str, exchange: _Exchange, headers: Mapping[str, str] | None
    ) -> ApiStream:
        session = await self._session()
        response = await exchange.guard(
            exchange.deadline.within(
                session.request(
                    method,
                    yarl.URL(self._base_url + path, encoded=True),
                    data=exchange.body,
                    headers={**HEADERS, **(headers or {}), **self._key},
                    timeout=client_timeout(exchange.bounds, total=False),
                    allow_redirects=False,
                    raise_for_status=False,
                )
            )
        )
        exchange.check_asked(response)
        return ApiStream(response, exchange)

    async def _session(self) -> aiohttp.ClientSession:
        if self._lent is not None or not can_tell_news():
            await notice_closed_connections()
        else:
            await asyncio.sleep(0)  # to prepare a request has held the loop for long enough
        self._lifetime.check(new=True)
        if self._lent is None:
            return self._own.get()
        if self._lent.closed:
            raise RuntimeError("the session that was lent to this client is closed")
        return self._lent

    async def send(
        self,
        method: str,
        path: str,
        pieces: Sequence[Piece] = (),
        *,
        bounds: Bounds,
        headers: Mapping[str, str] | None = None,
        on_sent: Callable[[], object] = lambda: None,
        most_bytes: int = MOST_OF_ANSWER,
    ) -> Answer:
        """As `open`, for an answer that is wanted whole, and has *most_bytes* at most."""
        async with self.open(
            method, path, pieces, bounds=bounds, headers=headers, on_sent=on_sent
        ) as stream:
            return await stream.read(most_bytes)


class _Opening:
    """One request, sent when the block begins; what is not read of its answer ends with it."""

    __slots__ = ("_begin", "_exchange", "_stream")

    def __init__(self, begin: Callable[[], Awaitable[ApiStream]], exchange: _Exchange) -> None:
        self._begin = begin
        self._exchange = exchange

    async def __aenter__(self) -> ApiStream:
        try:
            self._stream = await self._begin()
        except BaseException:
            self._exchange.end()
            raise
        return self._stream

    async def __aexit__(self, *_: object) -> None:
        self._stream.close()


class ApiStream:
    """An answer of the API that is still arriving."""

    def __init__(self, response: aiohttp.ClientResponse, exchange: _Exchange) -> None:
        self._response = response
        self._exchange = exchange
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self.came: list[bytes] = []  # of what is being read as a whole

    def close(self) -> None:
        """Close the connection, unless the answer was read to its end, which has given it back."""
        self._response.close()
        self._exchange.end()

    def note_arrived(self, images: int) -> None:
        """So many *images* have come of it, as who reads it knows; errors tell."""
        self._exchange.arrived = images

    @property
    def request_id(self) -> str | None:
        """What the service calls this request."""
        return request_id_of(Answer(self.status, self.headers, b""))

    @property
    def is_event_stream(self) -> bool:
        """Whether events come, rather than one answer."""
        kind = self.headers.get("content-type", "")
        return self.status == 200 and kind.startswith("text/event-stream")

    async def read(self, most_bytes: int, most_base64: int = 0) -> Answer:
        """
        The whole answer, or the beginning of a refusal.

        Raises `APIResponseValidationError` for more, unpacked, than *most_bytes*, or *most_base64*
        with images.
        """
        length = 0
        while chunk := await self._more():
            self.came.append(chunk)
            length += len(chunk)
            if self.status >= 300 and length >= MOST_OF_REFUSAL:
                break
            if length > most_bytes:
                # A relay that nobody asked for base64 is paid all the same.
                if length > most_base64 or BASE64_NAME not in b"".join(self.came):
                    raise self.too_long(most_bytes)
                most_bytes = most_base64
        body = b"".join(self.came)
        self.came.clear()
        return self.answer(body)

    def answer(self, body: bytes) -> Answer:
        """The answer, of which *body* was read."""
        return Answer(self.status, self.headers, body, self._exchange.elapsed())

    def too_long(self, most_bytes: int) -> APIResponseValidationError:
        """The error for more than *most_bytes*."""
        return APIResponseValidationError(
            f"the API answered {self.status}, but with more than {most_bytes} bytes, which no "
            "answer to this request has. It may have been billed: check the account before "
            "sending it again",
            status_code=self.status,
            request_id=self.request_id,
        )

    async def iter_any(self) -> AsyncGenerator[bytes, None]:
        """The bytes of the body, as they arrive."""
        while chunk := await self._more():
            yield chunk

    async def _more(self) -> bytes:
        if self._response.content.at_eof():
            return b""
        within = self._exchange.deadline.within
        return await self._exchange.guard(next_chunk(self._response, within))


class _Exchange:
    """One request on its way, and what its troubles mean."""

    def __init__(self, body: RequestBody | None, bounds: Bounds, deadline: Deadline) -> None:
        self.body = body
        self.answered: bool = False
        self.arrived: int = 0
        self.bounds = bounds
        self.deadline: Deadline = deadline
        self._now = asyncio.get_running_loop().time
        self._start = self._now()

    def end(self) -> None:
        """Hold nothing any more."""
        self.deadline.close()
        if self.body is not None:
            self.body.let_go()

    def elapsed(self) -> float:
        """Seconds since the request began."""
        return self._now() - self._start

    def check_asked(self, response: aiohttp.ClientResponse) -> None:
        """Note that *response* is there; raise if it came before the request had left."""
        if self.body is not None and not (self.body.sent or self.body.mocked):
            response.close()
            raise APIConnectionError(
                "something came over the connection before the request, which was not sent",
                retryable=True,
            )
        self.answered = True

    async def guard(self, step: Awaitable[_T]) -> _T:
        """Await one *step*; its troubles become errors that say whether the request left."""
        try:
            return await step
        except TROUBLE as exc:
            trouble = exc
        # Raised out here, so that no context drags the key along.
        raise self._error(trouble)

    def _error(self, trouble: Exception) -> SeedreamError:
        what = describe(trouble, self.bounds, self._phase())
        if self.body is None:  # nothing that could be billed
            return APIConnectionError(f"{what}. {_cure(trouble)}", retryable=_is_transient(trouble))
        if self.body.broken:
            # Its frames hold the headers, and so the key.
            return self.body.broken.with_traceback(None)
        if not self.body.sent:
            return _never_sent(what, trouble)
        elapsed = self.elapsed()
        return outcome_unknown(
            f"no whole answer after {elapsed:.1f} s: {what}",
            elapsed,
            cut=not (isinstance(trouble, TimeoutError) or self.arrived),
            arrived=self.arrived,
        )

    def _phase(self) -> str:
        if self.answered:
            return "reading the answer"
        if self.body is None or self.body.whole:
            return "waiting for the answer"
        return "sending the request" if self.body.sent else "connecting"


def _never_sent(what: str, trouble: Exception) -> APIError:
    if isinstance(trouble, TimeoutError):
        return APITimeoutError(f"{what}; nothing was sent", retryable=True)
    return APIConnectionError(
        f"{what}; nothing was sent. {_cure(trouble)}", retryable=_is_transient(trouble)
    )


def _cure(trouble: Exception) -> str:
    if isinstance(trouble, aiohttp.ClientConnectorCertificateError):
        return "Check base_url and the clock"
    return "Check base_url and the network"


def _is_transient(trouble: Exception) -> bool:
    """Whether trouble with a connection may pass; that with a certificate or a setting stays."""
    if isinstance(trouble, aiohttp.ClientConnectorCertificateError):
        return False
    return isinstance(trouble, OSError | aiohttp.ClientConnectionError | aiohttp.ClientPayloadError)
