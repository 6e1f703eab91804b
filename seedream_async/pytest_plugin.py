"""
Fixtures for the tests of an application: the emulator, a client of it, and a guard against bills.

pytest finds this module by itself, so it imports nothing but pytest until a fixture is used. The
fixtures are plain functions: they serve tests of every kind, whatever runs asynchronous ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from seedream_async import AsyncSeedream
    from seedream_async.emulator import Emulator

__all__ = [
    "block_real_requests",
    "seedream_client",
    "seedream_emulator",
    "seedream_emulator_options",
]

_T = TypeVar("_T")
_BLOCK = "seedream_block_real_requests"
_ALLOW = "seedream_real_requests"
_client: pytest.StashKey[AsyncSeedream] = pytest.StashKey()
_blocked: pytest.StashKey[list[str]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    what = "let every test fail that sends a request of seedream_async to a real host"
    parser.addini(_BLOCK, what, type="bool", default=False)
    group = parser.getgroup("seedream")
    group.addoption("--seedream-block-real-requests", action="store_true", dest=_BLOCK, help=what)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", f"{_ALLOW}: a test that may send requests to real hosts, and may have to pay"
    )


@pytest.fixture
def seedream_emulator_options() -> Mapping[str, Any]:
    """What `seedream_emulator` is made with: override it to give `Emulator` other options."""
    return {}


@pytest.fixture
def seedream_emulator(
    seedream_emulator_options: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Emulator]:
    """
    A started `Emulator` of the test's own, to which `COMETAPI_KEY` and `COMETAPI_BASE_URL` lead.

    It runs in a thread of its own.
    """
    emulator = import_module("seedream_async.emulator").Emulator(**seedream_emulator_options)
    with _thread() as run:
        run(emulator.__aenter__())
        try:
            monkeypatch.setenv("COMETAPI_KEY", emulator.api_key)
            monkeypatch.setenv("COMETAPI_BASE_URL", emulator.base_url)
            yield emulator
        finally:
            run(emulator.aclose())


@pytest.fixture
def seedream_client(seedream_emulator: Emulator, request: pytest.FixtureRequest) -> AsyncSeedream:
    """A client of `seedream_emulator` that does not wait between attempts; closed with the test."""
    retry = import_module("seedream_async").RetryPolicy(wait_initial=0)
    client = request.node.stash[_client] = seedream_emulator.client(retry=retry)
    return client


@pytest.fixture
def block_real_requests(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """
    Requests of any client to another host than this one are refused before they are sent.

    The test fails, even if the code under test makes up for the error. The list holds the hosts
    that were asked for: a test that expects it clears it.
    """
    blocked: list[str] = []
    request.node.stash[_blocked] = blocked
    if request.node.get_closest_marker(_ALLOW) is None:
        import_module("seedream_async._real_requests").block(monkeypatch.setattr, blocked.append)
    return blocked


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    wanted = item.config.getoption(_BLOCK) or item.config.getini(_BLOCK)
    names = getattr(item, "fixturenames", None)
    if wanted and names is not None and "block_real_requests" not in names:
        names.insert(0, "block_real_requests")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        test, client = getattr(item, "obj", None), item.stash.get(_client, None)
        if client is not None and inspect.iscoroutinefunction(test):
            patch.setattr(item, "obj", _closing(test, client))
        yield
    if hosts := item.stash.get(_blocked, None):
        pytest.fail(f"requests to a real host were blocked: {', '.join(hosts)}", pytrace=False)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    if _client in item.stash:  # while the event loop of asynchronous fixtures is still there
        _close(item.stash[_client])


def _closing(
    test: Callable[..., Coroutine[Any, Any, _T]], client: AsyncSeedream
) -> Callable[..., Coroutine[Any, Any, _T]]:
    """*test*, which closes *client* when it ends: nobody else can be sure of its event loop."""

    @functools.wraps(test)
    async def run(*args: Any, **options: Any) -> _T:
        try:
            return await test(*args, **options)
        finally:
            if _loop_of(client) is asyncio.get_running_loop():
                await client.aclose()

    return run


def _loop_of(client: AsyncSeedream) -> asyncio.AbstractEventLoop | None:
    """The event loop on which *client* has something to close."""
    lifetime = client._lifetime  # noqa: SLF001
    return lifetime._loop if lifetime.in_use else None  # noqa: SLF001


def _close(client: AsyncSeedream) -> None:
    """Close *client* from outside its event loop."""
    loop = _loop_of(client)
    if loop is None:
        return
    if loop.is_closed():
        client._lifetime.end()  # noqa: SLF001
        client._api.abandon()  # noqa: SLF001
        client._links.abandon()  # noqa: SLF001
    elif loop.is_running():
        asyncio.run_coroutine_threadsafe(client.aclose(), loop).result()
    else:
        loop.run_until_complete(client.aclose())


@contextlib.contextmanager
def _thread() -> Iterator[Callable[[Coroutine[Any, Any, _T]], _T]]:
    """An event loop in a thread; what is given runs a coroutine there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="seedream-emulator")
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(_end_all_others(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end_all_others() -> None:
    """Cancel what an emulator left, such as a stalled answer: to destroy it would be logged."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
