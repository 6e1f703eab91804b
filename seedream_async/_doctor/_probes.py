"""One look at each layer of the network. Nothing here judges; each look is bounded in time."""

from __future__ import annotations

import asyncio
import socket
import ssl
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from seedream_async import _wire
from seedream_async._errors import SeedreamError
from seedream_async._http import Answer, Asked
from seedream_async._sessions import Lifetime
from seedream_async._timeout import Bounds
from seedream_async._transport import ApiTransport

from ._aside import aside
from ._environment import Endpoint
from ._words import Reading


class Handshake(NamedTuple):
    """What a handshake agreed on."""

    version: str | None
    certificate: dict[str, Any]


async def resolve(host: str, port: int, timeout: float) -> list[str]:
    """The addresses of *host*. Raises `TimeoutError` or `socket.gaierror`."""
    look = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        found = await aside(look, timeout)
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "it is no host name") from None
    return list(dict.fromkeys(str(info[4][0]) for info in found))


async def connect(address: str, port: int, timeout: float) -> float | OSError:
    """Seconds until there was a connection, or why there is none."""
    now = asyncio.get_running_loop().time
    start = now()
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(address, port)
    except OSError as error:
        return error
    writer.transport.abort()
    return now() - start


async def shake_hands(
    address: str, end: Endpoint, timeout: float, *, any_name: bool = False
) -> Handshake:
    """
    Speak TLS with *address* as the client would; with *any_name*, whatever host it is for.

    Raises `OSError`, of which `ssl.SSLError` is one.
    """
    context = await aside(ssl.create_default_context, timeout)
    context.check_hostname = not any_name
    async with asyncio.timeout(timeout):
        _, writer = await asyncio.open_connection(
            address, end.port, ssl=context, server_hostname=end.host
        )
    tls = writer.get_extra_info("ssl_object")
    writer.transport.abort()
    return Handshake(tls.version(), writer.get_extra_info("peercert"))


async def names_at(address: str, end: Endpoint, timeout: float) -> list[str]:
    """Which hosts the certificate at *address* is for, if it can be had."""
    try:
        shaken = await shake_hands(address, end, timeout, any_name=True)
    except OSError:
        return []
    return [str(name) for _, name in shaken.certificate.get("subjectAltName", ())]


async def list_models(
    end: Endpoint, key: str | None, timeout: float
) -> tuple[Answer, Reading] | SeedreamError:
    """What `GET /models` gives, over the client's own transport. It is free, also with no key."""
    # Not an empty key: some servers take a header without a value for a broken request.
    given = key or "none"
    api = ApiTransport(end.url, given, None, Lifetime())
    bounds = Bounds(total=timeout, attempt=timeout, connect=timeout, read=timeout)
    try:
        answer = await api.send("GET", "/models", bounds=bounds)
    except SeedreamError as error:
        return error
    finally:
        await api.aclose()
    return answer, _read(answer, given)


def _read(answer: Answer, key: str) -> Reading:
    try:
        return _wire.parse_models(answer, Asked(secrets=(key,), free=True), datetime.now(UTC))
    except SeedreamError as error:
        return error
