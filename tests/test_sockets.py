"""Sockets that stay alive while an image is made, on whatever platform."""

import asyncio
import socket

import aiohttp
import pytest

from seedream_async._sockets import alive_socket, has_news

OPTIONS = ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL")
IPV4 = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80))
IPV6 = (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("::1", 80, 0, 0))


def is_kept_alive(sock):
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0


def seconds_of(sock, *names):
    """What those of the options are set to that this platform has."""
    known = [getattr(socket, name) for name in names if hasattr(socket, name)]
    return {sock.getsockopt(socket.IPPROTO_TCP, option) for option in known}


@pytest.fixture
def connectors(monkeypatch):
    """Every connector that a client makes."""
    made = []
    init = aiohttp.TCPConnector.__init__

    def noted(self, **options):
        init(self, **options)
        made.append(self)

    # Not the class: the package may have one of its own that inherits.
    monkeypatch.setattr(aiohttp.TCPConnector, "__init__", noted)
    return made


async def test_connections_of_the_client_are_kept_alive(emulator, client, connectors):
    """The socket under a paid call probes after 30 s of silence, then every 15 s."""
    emulator.stall_next()
    task = asyncio.create_task(client.generate("a cat"))
    while not emulator.request_count:
        await asyncio.sleep(0)

    [protocol] = connectors[0]._acquired
    sock = protocol.transport.get_extra_info("socket")
    assert is_kept_alive(sock)
    assert seconds_of(sock, "TCP_KEEPIDLE", "TCP_KEEPALIVE") <= {30}
    assert seconds_of(sock, "TCP_KEEPINTVL") <= {15}
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("address", [IPV4, IPV6], ids=["IPv4", "IPv6"])
def test_a_socket_is_of_the_kind_that_was_asked_for(address):
    """Family and kind are those of the address; it is kept alive from the start."""
    with alive_socket(address) as made:
        assert (made.family, made.type) == address[:2]
        assert is_kept_alive(made)


@pytest.mark.parametrize("missing", OPTIONS)
def test_a_platform_without_an_option(missing, monkeypatch):
    """What a platform does not know is not set; the socket is kept alive all the same."""
    for name in OPTIONS:
        monkeypatch.setattr(socket, name, getattr(socket, name, 0x7FFF), raising=False)
    monkeypatch.delattr(socket, missing)

    with alive_socket(IPV4) as made:
        assert is_kept_alive(made)


def test_a_platform_that_refuses_the_options(monkeypatch):
    """A system that knows the names but not the options still gives a socket."""
    refused = []

    class Socket(socket.socket):
        def setsockopt(self, level, *option):
            if level == socket.IPPROTO_TCP:
                refused.append(option)
                raise OSError
            super().setsockopt(level, *option)

    monkeypatch.setattr(socket, "socket", Socket)

    with alive_socket(IPV4) as made:
        assert is_kept_alive(made)
    assert refused


@pytest.mark.parametrize(
    "happen",
    [
        pytest.param(lambda far: far.send(b"x"), id="bytes"),
        pytest.param(lambda far: far.shutdown(socket.SHUT_WR), id="the end"),
        pytest.param(lambda far: far.close(), id="hung up"),
    ],
)
def test_news_are_seen_without_being_read(happen):
    """Whatever has arrived on a socket can be told, as often as one asks."""
    near, far = socket.socketpair()
    with near, far:
        assert not has_news(near)

        happen(far)

        assert has_news(near)
        assert has_news(near)
