"""The README does what it says."""

import ast
import asyncio
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest
from PIL import Image
from prometheus_client import REGISTRY

from .ray_values import FakeRay
from .web_servers import uvicorn_of

README = Path(__file__).parent.parent.joinpath("README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SCRIPTS = [block for block in BLOCKS if "asyncio.run(" in block]
TESTS = [block for block in BLOCKS if "def test_" in block]
CLUSTERS = [block for block in BLOCKS if "import ray" in block]
SERVICES = [block for block in BLOCKS if "lifespan=" in block]
SNIPPETS = [block for block in BLOCKS if block not in SCRIPTS + TESTS + CLUSTERS + SERVICES]
(ERRORS,) = [block for block in SNIPPETS if "except APIError" in block]
(PROMETHEUS,) = [block for block in SNIPPETS if "prometheus_client" in block]
RUN = "python3 -m venv .venv && .venv/bin/pip install '.[cli]' && .venv/bin/seedream demo"
TEST = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest"


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Whatever a block writes, it writes to the test's own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def figures_of_its_own():
    """Prometheus has one registry for all; what a block adds is taken out again."""
    before = set(REGISTRY._collector_to_names)
    yield
    for added in set(REGISTRY._collector_to_names) - before:
        REGISTRY.unregister(added)


def title(block):
    return f"line {README[: README.index(block)].count(chr(10)) + 1}"


def sizes(folder):
    return [path.stat().st_size for path in Path(folder).iterdir()]


def assert_whole(folder):
    for path in [path for path in folder.rglob("*.*") if path.suffix in {".jpeg", ".png"}]:
        with Image.open(path) as image:
            image.load()


async def run(block, client):
    """Run *block* as the body of a coroutine in which there is a *client*."""
    code = compile(block, "README.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await FunctionType(code, {"client": client})()


async def until(condition):
    """Wait for the thread that the server is in: it bills a moment after it has counted."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("block", SCRIPTS, ids=title)
def test_scripts_run(block, server, tmp_path):
    """A complete example is a program that works with nothing but the two variables."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "error", "-c", block],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert done.stderr == ""
    assert done.stdout == "cat.jpeg 2048 2048\n"
    assert server.images_billed == 1
    assert_whole(tmp_path)


@pytest.mark.parametrize("block", SNIPPETS, ids=title)
async def test_snippets_run(block, server, tmp_path):
    """Each piece of code works as it stands there, and no request is sent in vain."""
    async with server.client() as client:
        await run(block, client)
        await until(lambda: server.images_billed >= server.request_count)

    assert server.request_count > 0
    assert {fetched.status for fetched in server.fetched} <= {200}
    assert_whole(tmp_path)


@pytest.mark.parametrize("block", CLUSTERS, ids=title)
def test_clusters_work(block, server, tmp_path, monkeypatch):
    """The example of a cluster makes every image of its input, on a Ray of one process."""
    row = {"prompt": "a lighthouse at dawn"}
    (tmp_path / "prompts.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")

    with FakeRay.running(monkeypatch) as fake:
        exec(block, {})  # noqa: S102

    assert [line["state"] for line in fake.written["manifest"]] == ["saved"]
    assert server.images_billed == 1
    assert_whole(tmp_path)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(lambda server: server.fail_next(status=400), "billed: no. ", id="refused"),
        pytest.param(lambda server: server.cut_next(), "billed: maybe. ", id="cut"),
        pytest.param(
            lambda server: server.fail_next(status=403, on="store"),
            "paid for, but not saved: ",
            id="denied",
        ),
        pytest.param(
            lambda _: Path("cats").touch(),
            "nothing was sent, because of save_to: ",
            id="no folder",
        ),
    ],
)
async def test_errors_tell_what_was_billed(server, capsys, fault, said):
    """The handlers of the section on errors catch what it says they do."""
    fault(server)

    async with server.client() as client:
        await run(ERRORS, client)

    assert capsys.readouterr().out.startswith(said)


async def test_figures_for_prometheus(server):
    """The recipe counts what was made, tokens, bytes, retries and refusals."""
    server.fail_next(status=429, retry_after=0)

    async with server.client() as client:
        await run(PROMETHEUS, client)

    model = {"model": "doubao-seedream-5-0-260128"}
    counted = {
        name: REGISTRY.get_sample_value(f"seedream_{name}_total", model)
        for name in ("images", "output_tokens", "retries", "rate_limited", "doubtful_calls")
    }
    assert counted == {
        "images": 1,
        "output_tokens": 16384,
        "retries": 1,
        "rate_limited": 1,
        "doubtful_calls": 0,
    }
    assert [REGISTRY.get_sample_value("seedream_downloaded_bytes_total")] == sizes("cats")
    assert REGISTRY.get_sample_value("seedream_call_seconds_count", {**model, "error": ""}) == 1


@pytest.mark.parametrize("block", TESTS, ids=title)
def test_tests_pass(block, tmp_path):
    """The example of a test of one's own passes, with pytest-asyncio and no configuration."""
    tmp_path.joinpath("test_example.py").write_text(block, encoding="utf-8")

    done = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "pytest", "-q", "--rootdir", tmp_path, "test_example.py"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )

    assert done.returncode == 0, done.stdout
    assert f"{block.count('def test_')} passed" in done.stdout


def run_service(block):
    names = {}
    exec(compile(block, "README.md", "exec", dont_inherit=True), names)  # noqa: S102
    return names


@pytest.mark.parametrize("block", SERVICES, ids=title)
def test_services_keep_prompts_out_of_logs(block):
    """No prompt is a part of an address: servers log those."""
    paths = run_service(block)["app"].openapi()["paths"]

    assert {"/four", "/sketch"} <= set(paths)
    assert not any("parameters" in path["post"] for path in paths.values())


@pytest.mark.parametrize("block", SERVICES, ids=title)
async def test_services_serve(block, session, server, tmp_path):
    """The service answers as it says, and keeps what a browser that left has paid for."""
    service = run_service(block)
    asked = {"prompt": "a cat"}

    async with uvicorn_of(service["app"]) as port:
        url = f"http://127.0.0.1:{port}"
        async with session.post(f"{url}/sketch", json=asked) as response:
            image = await response.read()
        async with session.post(f"{url}/four", json=asked) as response:
            events = (await response.text()).count("event: image\n")

    assert Image.open(io.BytesIO(image)).size == (2048, 2048)
    assert response.content_type == "text/event-stream"
    assert (events, server.images_billed) == (4, 5)
    assert len([*tmp_path.rglob("*.jpeg")]) == 4
    assert_whole(tmp_path)


def test_the_service_is_that_with_a_page():
    """What a browser is driven through in CI is what stands here."""
    assert Path(__file__).parent.joinpath("web", "service.py").read_text("utf-8") in SERVICES


def test_every_kind_of_block_is_there():
    """No block escapes, because a search for its kind came back empty."""
    assert len(SCRIPTS) == len(TESTS) == len(CLUSTERS) == len(SERVICES) == 1
    assert len(BLOCKS) == README.count("```python")
    assert len(SNIPPETS) >= 5


def test_the_first_example_comes_early():
    """The first complete example ends within the first 30 lines."""
    end = README.index(SCRIPTS[0]) + len(SCRIPTS[0])

    assert README[:end].count("\n") <= 30


@pytest.mark.parametrize("command", [RUN, TEST], ids=["run", "test"])
def test_the_commands_stand_alone(command):
    """The commands to run and to test can be pasted: each is a line of its own, and the first."""
    last = command.rpartition(".venv/bin/")[2].removeprefix("python ")
    (first, *_) = [line for line in README.splitlines() if last in line and "uv run" not in line]

    assert first == command


@pytest.mark.parametrize(
    "short", ["uv run --extra cli seedream demo", "uv run --extra test pytest"]
)
def test_the_short_forms_are_there(short):
    """Those who have uv need less."""
    assert f"`{short}`" in README
