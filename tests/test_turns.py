"""Whoever else is in the loop comes in between: nothing long is done at one go."""

import asyncio

import aiohttp
import pytest

from seedream_async import AsyncSeedream, _link_transport, _wire
from seedream_async._sessions import SilentConnector
from seedream_async._web._asking import Manner
from seedream_async._web._handing_on import hand_on
from seedream_async._web._leaving import Head
from seedream_async.emulator._pictures import render

from .scripted_store import Store, head

OTHERS = "others"
MANNER = Manner(
    cache_control="no-store", filename=None, attachment=False, redirect=False, repair=False
)


@pytest.fixture
async def course(monkeypatch):
    """What happens, in its order, with the others that want the loop in each of its turns."""
    loop, seen = asyncio.get_running_loop(), []

    def other():
        nonlocal handle
        if seen[-1:] != [OTHERS]:
            seen.append(OTHERS)
        handle = loop.call_soon(other)

    handle = loop.call_soon(other)
    yield Course(monkeypatch, seen)
    handle.cancel()


class Course:
    def __init__(self, monkeypatch, seen):
        self.monkeypatch = monkeypatch
        self.seen = seen

    def watch(self, owner, name):
        """Note whenever the function *name* of *owner* is called."""
        real = getattr(owner, name)

        def noted(*args, **options):
            self.seen.append(f"{owner.__name__}.{name}")
            return real(*args, **options)

        self.monkeypatch.setattr(owner, name, noted)

    def between(self, first, last):
        return self.seen[self.seen.index(first) + 1 : self.seen.index(last)]


async def test_a_request_is_prepared_and_built_and_connected(course, emulator):
    """These are steps of their own, as each of them takes some tenths of a millisecond."""
    course.watch(_wire, "build")
    course.watch(SilentConnector, "connect")
    course.watch(aiohttp.TCPConnector, "connect")

    async with emulator.client() as client:
        await client.generate("a cat")

    assert course.between("seedream_async._wire.build", "SilentConnector.connect") == [OTHERS]
    assert course.between("SilentConnector.connect", "TCPConnector.connect") == [OTHERS]


async def test_an_image_has_arrived_and_is_announced_and_handed_on(course):
    """These are steps of their own, for the same reason."""
    image = render(64, 64, "jpeg", b"a test")
    course.watch(_link_transport, "LinkStream")
    client = AsyncSeedream(api_key="k")

    async with Store(head("200 OK", len(image), "Content-Type: image/jpeg") + image) as store:
        async with client:
            await hand_on(client, store.url, MANNER, Head("GET", {}), Browser(course.seen))

    assert course.between("seedream_async._link_transport.LinkStream", "start") == [OTHERS]
    assert course.between("start", "write") == [OTHERS]


class Browser:
    """One that takes what it gets."""

    def __init__(self, seen):
        self._seen = seen

    async def start(self, status, headers):
        self._seen.append("start")

    async def write(self, chunk):
        self._seen.append("write")

    async def end(self):
        pass
