"""The fixtures for tests of applications, in test suites of their own."""

import asyncio
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from _pytest.assertion.rewrite import AssertionRewriter, AssertionRewritingHook

import seedream_async
from seedream_async import pytest_plugin
from seedream_async._real_requests import _real_host

README = Path(__file__).parent.parent.joinpath("README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
(EXAMPLE,) = [block for block in BLOCKS if "def test_" in block]
MODES = {
    "auto": ["-o", "asyncio_mode=auto"],
    "strict": ["-o", "asyncio_mode=strict"],
    "anyio": ["-p", "no:asyncio"],
}
MARKS = {
    "auto": "",
    "strict": "@pytest.mark.asyncio",
    "anyio": "@pytest.mark.anyio\n@pytest.mark.parametrize('anyio_backend', ['asyncio'])",
}
IMPORTS = """
import pytest
from seedream_async import AsyncSeedream, DownloadError, Image, SeedreamError
"""
REAL = """
async def test_pays({}):
    async with AsyncSeedream(api_key="sk-the-real-key") as client:
        await client.generate("a cat")
"""
SWALLOWED = """
async def test_swallows(block_real_requests):
    async with AsyncSeedream(api_key="sk-the-real-key") as client:
        with pytest.raises(SeedreamError):
            await client.generate("a cat")
"""


@pytest.fixture
def suite(pytester):
    """Runs a test module in this process, with every warning an error."""

    def run(text, *options, mode="auto"):
        pytester.makepyfile(IMPORTS + text)
        return pytester.runpytest_inprocess(
            *("-W", "error", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"),
            *(() if mode == "anyio" else ("-o", "asyncio_default_fixture_loop_scope=function")),
            *MODES[mode],
            *options,
        )

    return run


@pytest.mark.parametrize("mode", MODES)
def test_every_way_to_run_coroutines(suite, mode):
    """The fixtures serve tests of pytest-asyncio in both modes, and of anyio's plugin."""
    given = "seedream_client, seedream_emulator" + ", anyio_backend" * (mode == "anyio")

    result = suite(
        f"""
{MARKS[mode]}
async def test_retries({given}):
    seedream_emulator.fail_next(status=429)
    response = await seedream_client.generate("a cat")
    assert len(response.images) == seedream_emulator.images_billed == 1
    assert seedream_emulator.request_count == 2

def test_needs_no_loop(seedream_emulator):
    assert seedream_emulator.request_count == 0
""",
        mode=mode,
    )

    result.assert_outcomes(passed=2)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_the_example_passes(suite, mode):
    """The example of the README passes as it stands there, in both modes of pytest-asyncio."""
    result = suite(EXAMPLE, mode=mode)

    result.assert_outcomes(passed=EXAMPLE.count("def test_"))


def test_the_example_finds_what_is_wrong(suite):
    """If the code under test paid twice, the example would fail."""
    resending = EXAMPLE.replace("client.generate(", "client.generate(retry=TWICE, prompt=")

    result = suite(
        "from seedream_async import RetryPolicy\n"
        "TWICE = RetryPolicy(wait_initial=0, resend_unknown=True)\n" + resending
    )

    result.assert_outcomes(passed=1, failed=1)


def test_the_environment_leads_to_the_emulator(suite):
    """A client that the code under test makes for itself is led to the emulator, and back."""
    result = suite(
        """
import os

@pytest.mark.parametrize("number", [1, 2])
async def test_own_client(number, seedream_emulator):
    async with AsyncSeedream() as client:
        await client.generate("a cat")
    assert seedream_emulator.images_billed == 1

def test_afterwards():
    assert not {"COMETAPI_KEY", "COMETAPI_BASE_URL"} & os.environ.keys()
"""
    )

    result.assert_outcomes(passed=3)


def test_options_of_the_emulator(suite):
    """A fixture of that name makes the emulator otherwise."""
    result = suite(
        """
@pytest.fixture
def seedream_emulator_options():
    return {"api_key": "sk-mine"}

async def test_key(seedream_emulator, seedream_client):
    await seedream_client.generate("a cat")
    assert seedream_emulator.api_key == "sk-mine"
"""
    )

    result.assert_outcomes(passed=1)


def test_nothing_is_left(suite):
    """After the tests neither a thread nor a connection is left, whoever closes the client."""
    before = threads()

    result = suite(
        """
async def test_uses(seedream_client):
    await seedream_client.generate("a cat")

async def test_closes(seedream_client):
    async with seedream_client as client:
        await client.generate("a cat")

def test_does_not_use(seedream_client):
    pass

@pytest.mark.asyncio(loop_scope="module")
async def test_of_a_loop_that_stays(seedream_client):
    await seedream_client.generate("a cat")

async def test_stalls(seedream_client, seedream_emulator):
    seedream_emulator.stall_next()
    with pytest.raises(SeedreamError):
        await seedream_client.generate("a cat", timeout=0.2)

@pytest.fixture
async def image(seedream_client):
    return (await seedream_client.generate("a cat")).data[0]

def test_of_a_fixture_that_used_it(image):
    assert image.url

@pytest.fixture
def broken(seedream_client):
    raise ZeroDivisionError

async def test_never_begins(broken):
    pass
"""
    )

    result.assert_outcomes(passed=6, errors=1)
    result.stdout.fnmatch_lines(["ERROR*ZeroDivisionError*"])
    assert threads() <= before


def threads():
    """Those that there are, without the package's own, which stay."""
    return {it for it in threading.enumerate() if not it.name.startswith("seedream_")}


def test_no_task_is_left():
    """What an emulator still does when it is closed ends with its thread."""
    ended = []

    async def endless():
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    async def begin():
        task = asyncio.create_task(endless())
        await asyncio.sleep(0)
        return task

    with pytest_plugin._thread() as run:
        task = run(begin())

    assert ended == [True]
    assert task.cancelled()


async def test_a_loop_that_runs_elsewhere(emulator):
    """A client that was used on a loop of another thread is closed there."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    client = emulator.client()
    work = asyncio.run_coroutine_threadsafe(client.generate("a cat"), loop)
    await asyncio.wrap_future(work)

    await asyncio.to_thread(pytest_plugin._close, client)

    with pytest.raises(RuntimeError, match="this client is closed"):
        await client.generate("a cat")
    loop.call_soon_threadsafe(loop.stop)
    await asyncio.to_thread(thread.join)
    loop.close()


def test_a_loop_that_is_gone(server):
    """A client whose loop the test has closed is let go of without a complaint."""
    client = server.client()
    with asyncio.Runner() as runner:
        runner.run(unanswered(client))

    pytest_plugin._close(client)

    assert not client._lifetime.in_use


async def unanswered(client):
    client._lifetime.check()


@pytest.mark.parametrize(
    ("options", "given"),
    [
        pytest.param((), "block_real_requests", id="fixture"),
        pytest.param(("--seedream-block-real-requests",), "", id="option"),
        pytest.param(("-o", "seedream_block_real_requests=true"), "", id="ini"),
    ],
)
def test_real_requests_are_blocked(suite, options, given):
    """A request to a real host is an error that says what to do, and shows no key."""
    result = suite(REAL.format(given), "--showlocals", *options)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*APIConnectionError: api.cometapi.com is a real host*nothing was sent*seedream_client*"]
    )
    assert "sk-the-real-key" not in result.stdout.str().split("guarded_open", 1)[1]


def test_a_swallowed_error_fails_the_test(suite):
    """Code that makes up for the error is found out all the same."""
    result = suite(SWALLOWED)

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*requests to a real host were blocked: api.cometapi.com*"])


def test_who_expects_it_clears_the_list(suite):
    """A test about blocked requests may pass."""
    result = suite(
        SWALLOWED
        + """
        assert block_real_requests == ["api.cometapi.com"]
        block_real_requests.clear()
"""
    )

    result.assert_outcomes(passed=1)


def test_links_are_blocked_too(suite):
    """A download from a real host is refused; it is free, but a test needs no network."""
    result = suite(
        """
async def test_downloads(block_real_requests, seedream_client):
    with pytest.raises(DownloadError, match="images.example.com is a real host"):
        async with seedream_client.open("https://images.example.com/cat.jpeg?signature=s"):
            pass
    block_real_requests.clear()
"""
    )

    result.assert_outcomes(passed=1)


def test_the_emulator_is_not_blocked(suite):
    """This machine is no real host: neither the emulator nor its store is."""
    result = suite(
        """
class TestAll:
    @pytest.mark.parametrize("number", [1, 2])
    async def test_saves(self, seedream_client, tmp_path, number):
        response = await seedream_client.generate("a cat", save_to=tmp_path)
        assert len(response.files) == 1
""",
        "--seedream-block-real-requests",
    )

    result.assert_outcomes(passed=2)


def test_a_test_that_is_meant_to_pay(suite):
    """A marker lets one test through."""
    result = suite(
        """
@pytest.mark.seedream_real_requests
def test_is_let_through(block_real_requests):
    from seedream_async._transport import ApiTransport
    assert ApiTransport.open.__name__ == "open"

def test_is_not():
    from seedream_async._transport import ApiTransport
    assert ApiTransport.open.__name__ == "guarded_open"
""",
        *("--strict-markers", "--seedream-block-real-requests"),
    )

    result.assert_outcomes(passed=2)


def test_items_without_fixtures_are_left_alone(pytester):
    """A doctest has no fixtures to add to."""
    pytester.makefile(".txt", test_doc=">>> 1 + 1\n2\n")

    result = pytester.runpytest_inprocess("--seedream-block-real-requests", "-p", "no:asyncio")

    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.cometapi.com/v1", "api.cometapi.com"),
        ("http://10.0.0.1/v1", "10.0.0.1"),
        ("http://relay.internal/v1", "relay.internal"),
        ("http://localhost.evil.test/", "localhost.evil.test"),
        ("http://127.0.0.1:8080/v1", None),
        ("http://127.9.9.9/", None),
        ("http://[::1]:8080/v1", None),
        ("http://localhost:8080/v1", None),
        ("http://api.localhost/v1", None),
        ("no link", None),
    ],
)
def test_what_is_a_real_host(url, host):
    """Whatever is not this machine is real; what has no host goes nowhere."""
    assert _real_host(url) == host


def test_the_package_may_be_there_before_its_plugin(pytestconfig):
    """pytest, which rewrites the modules of plugins, does not complain that it comes too late."""
    hook = AssertionRewritingHook(pytestconfig)

    hook.mark_rewrite("seedream_async")

    assert AssertionRewriter.is_rewrite_disabled(seedream_async.__doc__)


def test_the_plugin_costs_nothing_until_it_is_used(tmp_path):
    """pytest loads the plugin, but neither the core nor any dependency for it."""
    tmp_path.joinpath("test_nothing.py").write_text(
        "import sys\n\n\ndef test_nothing():\n    print('LOADED', *sys.modules)\n"
    )

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "test_nothing.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )

    loaded = set(done.stdout.split("LOADED")[1].split())
    assert {name for name in loaded if name.startswith("seedream_async")} == {
        "seedream_async",
        "seedream_async._version",
        "seedream_async.pytest_plugin",
    }
    assert "aiohttp" not in loaded
