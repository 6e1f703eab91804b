"""What both transports share: what can go wrong with aiohttp, in words that give nothing away."""

from __future__ import annotations

import asyncio
import math
import os

import aiohttp

from ._retry import Timeout
from ._version import __version__

# What aiohttp and asyncio raise for trouble on the way; cancellation passes.
TROUBLE = (aiohttp.ClientError, OSError, EOFError, ValueError, asyncio.InvalidStateError)
HEADERS = {"User-Agent": f"seedream-async/{__version__}"}


def client_timeout(timeout: Timeout) -> aiohttp.ClientTimeout:
    total = None if timeout.total == math.inf else timeout.total
    return aiohttp.ClientTimeout(total=total, sock_connect=timeout.connect, sock_read=timeout.read)


def describe(trouble: BaseException) -> str:
    """What happened, without the texts of aiohttp, which quote headers and links."""
    match trouble:
        case TimeoutError():
            return "timed out"
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
