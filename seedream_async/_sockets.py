"""Sockets as the connectors get them. aiohttp connects them, and makes them non-blocking."""

from __future__ import annotations

import contextlib
import socket
from typing import TypeAlias

AddrInfo: TypeAlias = tuple[
    socket.AddressFamily | int, socket.SocketKind | int, int, str, tuple[object, ...]
]
# A router forgets a silent connection after some minutes, the strictest after one; then the
# answer to a generation of 90 s never arrives. Seconds of silence, and between probes.
_IDLE, _INTERVAL = 30, 15


def alive_socket(address: AddrInfo) -> socket.socket:
    """A socket that keeps its connection alive through routers while an image is made."""
    family, kind, protocol, *_ = address
    made = socket.socket(family, kind, protocol)
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
