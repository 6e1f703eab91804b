"""What every test stands on: no network, no keys, no blocking calls on the loop."""

import asyncio
import inspect
import math
import os
from unittest import mock

import aiohttp
import aioresponses
import pytest
from aiohttp.client_proto import ResponseHandler
from blockbuster import blockbuster_ctx
from hypothesis import HealthCheck, settings

from seedream_async import AsyncSeedream, _batch_progress, _progress, pytest_plugin
from seedream_async.emulator import Emulator

from .clocks import SocketLoop

BASE_URL = "https://api.example.test/v1"

# Who measures what the tests cover does not measure the processes that they start.
os.environ.pop("COVERAGE_PROCESS_START", None)
# A property is as true on a machine that is busy.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_asyncio_loop_factories(item):
    """A test of what takes time has a time of its own: how busy the machine is changes nothing."""
    virtual = item.get_closest_marker("virtual_time")
    return {"loop": SocketLoop if virtual else asyncio.new_event_loop}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """No key, base URL or proxy of the machine reaches a test."""
    for name in list(os.environ):
        if name.startswith("COMETAPI_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_blocking_calls():
    """A blocking call that the package makes on a running loop raises."""
    with blockbuster_ctx("seedream_async") as blockbuster:
        # Under coverage, every first line of a file takes the tracer's lock, in whatever thread.
        blockbuster.functions["threading.Lock.acquire"].can_block_in(
            "coverage/collector.py", "lock_data"
        )
        yield blockbuster


@pytest.fixture
def quiet(monkeypatch):
    """However long a command takes here, it does not say in between how far it is."""
    monkeypatch.setattr(_progress, "_EVERY", math.inf)
    monkeypatch.setattr(_batch_progress, "_EVERY", math.inf)


@pytest.fixture
async def emulator():
    async with Emulator() as emulator:
        yield emulator


@pytest.fixture
def server(monkeypatch):
    """An emulator in a thread of its own, which the environment leads to."""
    emulator = Emulator()
    with pytest_plugin._thread() as run:
        run(emulator.__aenter__())
        monkeypatch.setenv("COMETAPI_KEY", emulator.api_key)
        monkeypatch.setenv("COMETAPI_BASE_URL", emulator.base_url)
        yield emulator
        run(emulator.aclose())


@pytest.fixture
async def client(emulator):
    """A client of the emulator."""
    async with emulator.client() as client:
        yield client


@pytest.fixture
async def session():
    """Plain aiohttp, for what no client of ours would send."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


@pytest.fixture
async def mocked_client():
    """A client for use with `api`."""
    async with AsyncSeedream(api_key="sk-test-key", base_url=BASE_URL) as client:
        yield client


@pytest.fixture
def api(monkeypatch):
    """aioresponses, made to work with aiohttp 3.14 and with large bodies."""

    class Response(aiohttp.ClientResponse):
        def __init__(self, *args, **kwargs):
            if "stream_writer" in inspect.signature(super().__init__).parameters:
                kwargs.setdefault("stream_writer", mock.Mock(output_size=0))
            super().__init__(*args, **kwargs)

    def stream_reader(loop=None):
        return aiohttp.StreamReader(ResponseHandler(loop=loop), limit=2**26, loop=loop)

    monkeypatch.setattr(aioresponses.core, "ClientResponse", Response)
    monkeypatch.setattr(aioresponses.core, "stream_reader_factory", stream_reader)
    with aioresponses.aioresponses() as mocked:
        yield mocked
