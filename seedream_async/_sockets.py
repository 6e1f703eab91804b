"""Sockets as the connectors get them. aiohttp connects them, and makes them non-blocking."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
from typing import Any, Protocol, TypeAlias

from ._addresses import is_public

AddrInfo: TypeAlias = tuple[
    socket.AddressFamily | int, socket.SocketKind | int, int, str, tuple[Any, ...]
]
# A router forgets a silent connection after some minutes, the strictest after one; then the
# answer to a generation of 90 s never arrives. Seconds of silence, and between probes.
_IDLE, _INTERVAL = 30, 15


class InwardError(OSError):
    """An address is not one of the public internet."""


def alive_socket(address: AddrInfo) -> socket.socket:
    """A socket that keeps its connection alive through routers while an image is made."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, seconds in (
        ("TCP_KEEPIDLE", _IDLE),
        ("TCP_KEEPALIVE", _IDLE),  # its name on macOS
        ("TCP_KEEPINTVL", _INTERVAL),
    ):
        with contextlib.suppress(OSError):
            if hasattr(socket, name):
                made.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), seconds)
    return made


class Readable(Protocol):
    """A socket, or what stands for one in a transport."""

    def fileno(self) -> int: ...


def can_tell_news() -> bool:
    """Whether `has_news` is of use: on Windows the loop may have taken what arrived already."""
    return hasattr(select, "poll")


def has_news(connected: Readable) -> bool:
    """Whether something has arrived that nobody has read yet, be it only the end."""
    poll = select.poll()
    poll.register(connected, select.POLLIN)
    return bool(poll.poll(0))


def outward_socket(address: AddrInfo) -> socket.socket:
    """
    A socket for *address*, which is the one that is connected to; raises unless it is public.

    A resolver would be asked too early: it is skipped for addresses written in a link.
    """
    if not is_public(str(address[4][0])):
        raise InwardError(errno.EACCES, "not an address of the public internet")
    return socket.socket(*address[:3])
