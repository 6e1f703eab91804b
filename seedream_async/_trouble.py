"""What both transports share: what can go wrong with aiohttp, in words that give nothing away."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeAlias, TypeVar

import aiohttp

from ._timeout import Bounds
from ._version import __version__

_T = TypeVar("_T")
Within: TypeAlias = Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]]
# What aiohttp and asyncio raise for trouble on the way; cancellation passes.
TROUBLE = (aiohttp.ClientError, OSError, EOFError, ValueError, asyncio.InvalidStateError)
HEADERS = {"User-Agent": f"seedream-async/{__version__}"}


def client_timeout(bounds: Bounds, *, total: bool = True) -> aiohttp.ClientTimeout:
    """The limits as aiohttp has them; without the *total* where a `Deadline` sees to that."""
    whole, read = bounds.whole, bounds.read
    return aiohttp.ClientTimeout(
        total=_limit(whole) if total else None,
        connect=_limit(bounds.connect),
        # A silence that outlasts the attempt needs no timer of its own at every read.
        sock_read=None if read >= whole else read,
    )


def _limit(seconds: float) -> float | None:
    return None if seconds == math.inf else seconds


def freely(step: Awaitable[_T]) -> Awaitable[_T]:
    """Await *step*, however long it takes."""
    return step


async def next_chunk(response: aiohttp.ClientResponse, within: Within = freely) -> bytes:
    """The next bytes of the body, as received, if they come *within* a time; none at its end."""
    content = response.content
    try:
        if response.content_length is None:  # it may come in very small ones
            received: bytes = await within(content.readany())
        else:  # to join what is there would copy it
            received, _ = await within(content.readchunk())
    except TROUBLE:
        # It is told before what had arrived, and that may be the end of an image.
        if rest := content._read_nowait(-1):  # noqa: SLF001  the public ways only raise again
            return rest
        raise
    return received


def describe(trouble: BaseException, bounds: Bounds, phase: str) -> str:
    """What happened in *phase*, without the texts of aiohttp, which quote headers and links."""
    match trouble:
        case aiohttp.ConnectionTimeoutError():
            return f"no connection within connect={bounds.connect:g} s"
        case aiohttp.SocketTimeoutError():
            return f"silence for read={bounds.read:g} s while {phase}"
        case TimeoutError():
            return f"{bounds.name} passed while {phase}"
        case aiohttp.ClientConnectorCertificateError():
            return f"the certificate of {trouble.host} is not valid"
        case aiohttp.ClientConnectorDNSError():
            return f"the host name {trouble.host} does not resolve"
        case aiohttp.ClientConnectorError():
            return f"cannot connect to {trouble.host}:{trouble.port} ({_reason(trouble.os_error)})"
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError():
            return "the connection was closed early"
        case OSError():
            return f"the connection failed ({_reason(trouble)})"
        case _:
            return f"the exchange failed ({type(trouble).__name__})"


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else type(error).__name__
