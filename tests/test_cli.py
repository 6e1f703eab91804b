"""The command `seedream`, as its user sees it."""

import argparse
import asyncio
import errno
import importlib.util
import io
import os
import re
import signal
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import rich.progress  # noqa: F401  loaded before there is a loop to block
from PIL import Image

from seedream_async import AsyncSeedream, RetryPolicy, __version__, _commands, cli
from seedream_async.emulator._pictures import render

from .clocks import SocketLoop

pytestmark = pytest.mark.usefixtures("quiet")

README = Path(__file__).parent.parent / "README.md"
COMMAND = (sys.executable, "-m", "seedream_async")
# Runs the command where no file may grow beyond 50 000 bytes: a disk that is full in mid-file.
SMALL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
from seedream_async.cli import main
sys.exit(main())
"""
LINK = "https://example.test/cat.png"


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self):
        return True


class FullFile(io.FileIO):
    """A file whose disk is full the first time that something is written."""

    full = True

    def write(self, data):
        if self.full:
            self.full = False
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


@pytest.fixture(autouse=True)
def no_blocking_calls(no_blocking_calls):
    """As in every test; only that the command prints on its own loop."""
    write = no_blocking_calls.functions["io.BufferedWriter.write"]
    write.can_block_in("_progress.py", {"show"})
    write.can_block_in("_commands.py", {"emulator"})
    write.can_block_in("_verdicts.py", {"say", "tell"})
    write.can_block_in("_batch_progress.py", {"notice", "saved"})
    write.can_block_in("_batch_command.py", {"close"})


@pytest.fixture
def out(tmp_path):
    """Where the images go: a folder that is not there yet."""
    return tmp_path / "images"


@pytest.fixture
def interruptible():
    """SIGINT interrupts this process and its children, also if ours was started to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def impatient(monkeypatch):
    """The command tries once."""
    client = partial(AsyncSeedream, retry=RetryPolicy(attempts=1))
    monkeypatch.setattr(_commands, "AsyncSeedream", client)


@pytest.fixture
def connect(monkeypatch):
    """Connect a standard stream to something; after pytest's capture, so in the test itself."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")

    def connect(name, stream):
        monkeypatch.setattr(sys, name, stream)
        return stream

    return connect


def run(*arguments):
    """Run the command and return its exit code."""
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as exit:  # noqa: A001
        return exit.code


def start(*arguments):
    """The command, in a process that cannot say much before somebody listens."""
    return subprocess.Popen(  # noqa: S603
        [*COMMAND, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pipesize=4096,
        text=True,
    )


def complaints(stderr):
    return [line for line in stderr.splitlines() if line.startswith("seedream: ")]


def images_in(folder):
    return [path for path in folder.iterdir() if path.suffix in {".jpeg", ".png"}]


def assert_whole(folder):
    """No image in *folder* is half-written."""
    for path in images_in(folder):
        with Image.open(path) as image:
            image.load()


# The demo


def test_demo_prints_paths_and_a_summary(out, capsys):
    """The demo needs nothing, prints one path per image, and ends with that of its report."""
    code = run("demo", "--out", out)

    printed, told = capsys.readouterr()
    *paths, report = (Path(line) for line in printed.splitlines())
    assert code == 0
    assert report == out / "report.html"
    assert sorted(paths) == sorted(images_in(out))
    assert {path.suffix for path in paths} == {".jpeg", ".png"}
    assert_whole(out)
    assert re.fullmatch(
        r"12 of 12 rows saved: 15 images, about 0\.5\d USD; 0 failed, 0 unknown, 0 left\n"
        r"That is what the real service asks: 0\.035 USD an image \(.*\)\.\n",
        told,
    )


def test_demo_is_quick(out, monkeypatch):
    """What the demo waits for and what it works take less than 15 s, with nothing set up."""
    loop = SocketLoop()
    monkeypatch.setattr(asyncio.events, "new_event_loop", lambda: loop)
    before = time.process_time()

    code = run("demo", "--out", out)

    assert code == 0
    assert 0 < loop.time() < 15 - (time.process_time() - before)


def test_demo_makes_nothing_twice(out, capsys):
    """A second run into the same folder makes what is new, and leaves what is there."""
    run("demo", "-n", 2, "--out", out)
    before = {path: path.stat().st_mtime_ns for path in images_in(out)}
    capsys.readouterr()

    code = run("demo", "-n", 3, "--out", out)

    added, report = (Path(line) for line in capsys.readouterr().out.splitlines())
    assert code == 0
    assert report.name == "report.html"
    assert {path: path.stat().st_mtime_ns for path in images_in(out) if path != added} == before


def test_demo_repeats_its_prompts(out):
    """More prompts than the demo knows are sent again."""
    code = run("demo", "-n", 13, "--out", out)

    assert code == 0
    assert len(images_in(out)) == 16


def test_demo_draws_a_bar_on_a_terminal(out, connect):
    """On a terminal with rich there is a bar, and each path tells its size."""
    connect("stdout", Terminal())
    terminal = connect("stderr", Terminal())

    code = run("demo", "-n", 2, "--out", out)

    assert code == 0
    assert "2 of 2 done, 0 failed" in terminal.getvalue()
    assert re.search(r"000001\.jpeg  2848x1600  \d+ kB", terminal.getvalue())


def test_demo_needs_no_rich(out, connect, monkeypatch):
    """On a terminal without rich there are plain lines."""
    terminal = connect("stderr", Terminal())
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)

    code = run("demo", "-n", 1, "--out", out)

    assert code == 0
    assert terminal.getvalue().startswith("1 of 1 rows saved: 1 image,")


def test_demo_needs_no_streams(out, connect):
    """A command whose standard streams are closed does its work in silence."""
    connect("stdout", None)
    connect("stderr", None)

    code = run("demo", "-n", 1, "--out", out)

    sys.stdout.close()
    sys.stderr.close()
    assert code == 0
    assert_whole(out)


def test_paths_are_printed_byte_for_byte(tmp_path):
    """A path that is no text is printed as it is on the disk, however strict the terminal."""
    out = os.fsencode(tmp_path) + b"/\xff"

    done = subprocess.run(  # noqa: S603
        [*COMMAND, "demo", "-n", "1", "--out", out],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
        timeout=60,
    )

    assert done.returncode == 0
    assert done.stdout == out + b"/000000.jpeg\n" + out + b"/report.html\n"


# The disk


def test_a_file_as_folder_is_refused(out, capsys):
    """A folder that is a file is one clear line, and stays what it is."""
    out.write_text("a diary")

    code = run("demo", "--out", out)

    assert code == 2
    assert capsys.readouterr() == (
        "",
        f"seedream: --out: {out} is a file, not a folder; choose another\n",
    )
    assert out.read_text() == "a diary"


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path, capsys):
    """A folder below a file is one clear line."""
    tmp_path.joinpath("file").touch()
    out = tmp_path / "file" / "images"

    code = run("demo", "--out", out)

    assert code == 8
    assert capsys.readouterr() == ("", f"seedream: could not write to {out}: Not a directory\n")


def test_an_unwritable_folder_is_a_storage_error(tmp_path, capsys, monkeypatch):
    """A folder without permission is one clear line, before anything is sent."""
    tmp_path.chmod(0o555)
    monkeypatch.setattr(os, "access", lambda *_: False)  # as root may write anywhere

    code = run("demo", "--out", tmp_path)

    tmp_path.chmod(0o755)
    assert code == 8
    assert capsys.readouterr() == (
        "",
        f"seedream: could not write to {tmp_path}: Permission denied\n",
    )


def test_a_full_disk_ends_in_one_line(out, capsys, monkeypatch):
    """A full disk is said once, stops what is not yet sent, and leaves nothing half-written."""

    def fail(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)

    code = run("generate", "--emulator", *["a cat"] * 40, "--concurrency", 1, "--out", out)

    printed, told = capsys.readouterr()
    (complaint,) = complaints(told)
    said = re.fullmatch(
        r"seedream: could not write to (.*): No space left on device "
        r"\((\d+) requests, (\d+) more not sent\)",
        complaint,
    )
    assert code == 8
    assert printed == ""
    assert said[1] == str(out)
    assert int(said[2]) + int(said[3]) == 40
    assert [*out.iterdir()] == []


def test_a_disk_that_fills_up_in_mid_file(out):
    """If only a part of a file fits on the disk, no file appears."""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", SMALL_DISK, "generate", "--emulator", "a cat", "--out", out],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 8
    assert complaints(done.stderr) == [f"seedream: could not write to {out}: File too large"]
    assert done.stdout == ""
    assert [*out.iterdir()] == []


# Interruption, and readers that leave


def test_ctrl_c_leaves_only_whole_files(out, interruptible):
    """Ctrl-C in the middle of the demo ends it soon; what is on the disk is whole."""
    process = start("demo", "-n", 200, "--out", out)
    first = process.stdout.readline()

    process.send_signal(signal.SIGINT)

    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert complaints(told)[0].startswith("seedream: leaving: nothing more is sent")
    assert f"seedream: to go on: seedream demo -n 200 --out {out}\n" in told
    assert Path(first.strip()).exists()
    assert_whole(out)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(
            ["generate", "a cat"],
            "\nseedream: interrupted; what was in flight may be billed\n",
            id="service",
        ),
        pytest.param(
            ["generate", "--emulator", "a cat"], "\nseedream: interrupted\n", id="emulator"
        ),
    ],
)
def test_an_interruption_says_what_it_may_cost(arguments, told, capsys, monkeypatch):
    """An interrupted request may be billed by the real service, but never by the emulator."""

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_run", interrupt)

    code = run(*arguments)

    assert code == 130
    assert capsys.readouterr().err == told


def test_a_reader_that_leaves_ends_the_command(out):
    """`seedream demo | head -1` ends without a word."""
    process = start("demo", "-n", 200, "--out", out)
    process.stdout.readline()
    process.stdout.close()

    told = process.stderr.read()

    process.stderr.close()
    assert process.wait(timeout=30) == 1
    assert re.sub(r"^\d+ of 200 done, .*\n", "", told, flags=re.MULTILINE) == ""
    assert_whole(out)


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["demo", "-n", 1], id="lines that are flushed"),
        pytest.param(["--help"], id="a text that waits for the end"),
    ],
)
def test_a_broken_pipe_is_silent(arguments, tmp_path, connect, capsys, monkeypatch):
    """Nothing is said about a reader that is gone, not even when the streams are closed."""
    monkeypatch.chdir(tmp_path)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as pipe:
        connect("stdout", pipe)

        code = run(*arguments)

    assert code == 1
    assert capsys.readouterr().err == ""


def test_standard_output_on_a_full_disk_is_one_line(out, tmp_path, connect, capsys):
    """If the paths cannot be written, that is said, and the images stay."""
    with io.TextIOWrapper(io.BufferedWriter(FullFile(tmp_path / "list", "w"))) as full:
        connect("stdout", full)

        code = run("demo", "-n", 1, "--out", out)

    assert code == 1
    assert capsys.readouterr().err == "seedream: standard output: No space left on device\n"
    assert_whole(out)


# Generating


def test_generate_makes_an_image_of_each_prompt(server, out, capsys):
    """Every prompt is sent *n* times; the paths go to standard output, the rest does not."""
    code = run("generate", "a cat", "a dog", "-n", 2, "--out", out)

    printed, told = capsys.readouterr()
    assert code == 0
    assert sorted(printed.splitlines()) == sorted(map(str, out.iterdir()))
    assert told == "4 of 4 done, 0 failed\n"
    assert sorted(received.json["prompt"] for received in server.requests) == [
        "a cat",
        "a cat",
        "a dog",
        "a dog",
    ]
    assert_whole(out)


def test_generate_sends_what_is_asked_for(server, out, tmp_path):
    """Every option reaches the API under the API's own name."""
    reference = tmp_path / "reference.png"
    reference.write_bytes(render(640, 480, "png", b"reference"))

    code = run(
        *("generate", "a cat", "--out", out, "--model", "doubao-seedream-5-0-260128"),
        *("--size", "2304x1728", "--image", reference, "--image", LINK, "--max-images", 3),
        *("--output-format", "png", "--no-watermark", "--concurrency", 1),
    )

    (received,) = server.requests
    sent = dict(received.json)
    assert code == 0
    assert [image[:22] for image in sent.pop("image")] == ["data:image/png;base64,", LINK[:22]]
    assert sent == {
        "model": "doubao-seedream-5-0-260128",
        "prompt": "a cat",
        "size": "2304x1728",
        "output_format": "png",
        "watermark": False,
        "sequential_image_generation": "auto",
        "sequential_image_generation_options": {"max_images": 3},
    }
    assert {path.suffix for path in out.iterdir()} == {".png"}


def test_generate_sends_a_seed(server, out):
    """A seed is for the models that take one."""
    code = run("generate", "a cat", "--out", out, "--model", "seedream-3-0-t2i-250415", "--seed", 7)

    (received,) = server.requests
    assert code == 0
    assert received.json["seed"] == 7


def test_generate_warns_once(server, out, capsys):
    """What may be refused is sent, with one warning however many requests there are."""
    code = run("generate", "a cat", "-n", 3, "--out", out, "--image", LINK, "--max-images", 15)

    (complaint,) = complaints(capsys.readouterr().err)
    assert code == 0
    assert complaint == (
        "seedream: warning: references and images together are at most 15, not 1 + 15; "
        "lower --max-images to 14"
    )
    assert server.request_count == 3


def test_generate_sends_nothing_that_was_not_asked_for(server, out):
    """What the user left out is left to the API."""
    code = run("generate", "a cat", "--out", out)

    (received,) = server.requests
    assert code == 0
    assert set(received.json) == {"model", "prompt"}


def test_generate_with_the_emulator_needs_no_key(out, capsys):
    """`--emulator` needs neither key nor network, and takes every option."""
    code = run("generate", "--emulator", "a cat", "--size", "2K", "--max-images", 2, "--out", out)

    assert code == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert_whole(out)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param([""], "prompt is empty; describe the image you want", id="empty prompt"),
        pytest.param(
            ["--size", "0x0"],
            "size must be like '2K' or '2048x2048', not '0x0'",
            id="size of nothing",
        ),
        pytest.param(
            ["--size", "abc"], "size must be like '2K' or '2048x2048', not 'abc'", id="size"
        ),
        pytest.param(
            ["--image", LINK] * 15,
            "image: doubao-seedream-5-0-260128 takes at most 14 references, not 15",
            id="15 references",
        ),
        pytest.param(
            ["--image", "missing.png"],
            "image: 'missing.png' cannot be read: No such file or directory. A reference is …",
            id="missing reference",
        ),
        pytest.param(
            ["--image", __file__],
            "image: it is no JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or HEIF image",
            id="reference that is no image",
        ),
        pytest.param(
            ["-n", "-1"],
            "argument -n: must be a whole number from 1, not '-1'; see seedream generate --help",
            id="negative n",
        ),
        pytest.param(
            ["-n", "many"],
            "argument -n: must be a whole number from 1, not 'many'; see seedream generate --help",
            id="n in words",
        ),
        pytest.param(
            ["--max-images", "16"], "--max-images must be from 1 to 15, not 16", id="max-images"
        ),
        pytest.param(["--seed", "-2"], "seed must be from -1 to 2147483647, not -2", id="seed"),
        pytest.param(
            ["--output-format", "gif"],
            "argument --output-format: invalid choice: 'gif' (choose from …",
            id="output format",
        ),
        pytest.param(
            ["--sise", "2K"],
            "unrecognized arguments: --sise 2K; see seedream generate --help",
            id="option that does not exist",
        ),
    ],
)
def test_mistakes_are_found_before_anything_is_sent(server, out, capsys, arguments, told):
    """A user's mistake is one line that names the field and the remedy, and costs nothing."""
    prompt = [] if arguments == [""] else ["a cat"]

    code = run("generate", "--out", out, *prompt, *arguments)

    printed, said = capsys.readouterr()
    (complaint,) = complaints(said)
    assert code == 2
    assert complaint.startswith(f"seedream: {told.rstrip('…')}")
    assert complaint.endswith(told) or told.endswith("…")
    assert "Traceback" not in said
    assert printed == ""
    assert server.request_count == 0


@pytest.mark.parametrize(
    ("setting", "code", "told"),
    [
        pytest.param(
            ("COMETAPI_KEY", " "), 3, "there is no API key: set COMETAPI_KEY", id="no key"
        ),
        pytest.param(
            ("COMETAPI_KEY", "sk\nx"),
            3,
            "the API key holds characters that no key has: check COMETAPI_KEY",
            id="impossible key",
        ),
        pytest.param(
            ("COMETAPI_BASE_URL", "ftp://127.0.0.1/v1"),
            2,
            "COMETAPI_BASE_URL is not usable: it must start with https:// or http://",
            id="impossible base URL",
        ),
    ],
)
def test_impossible_settings_send_nothing(*, server, out, capsys, monkeypatch, setting, code, told):
    """What is wrong with the environment is said in its own words, before anything is sent."""
    monkeypatch.setenv(*setting)

    ended = run("generate", "a cat", "--out", out)

    assert ended == code
    assert capsys.readouterr() == ("", f"seedream: {told}\n")
    assert server.request_count == 0
    assert not out.exists()


def test_a_wrong_key_is_named(server, out, capsys, monkeypatch):
    """A key that the service refuses is named by its variable, and never shown."""
    monkeypatch.setenv("COMETAPI_KEY", "sk-of-somebody-else")

    code = run("generate", "a cat", "a dog", "--concurrency", 1, "--out", out)

    told = capsys.readouterr().err
    (complaint,) = complaints(told)
    assert code == 3
    assert complaint.endswith(
        "Check the API key (COMETAPI_KEY). Nothing was billed (1 more not sent)"
    )
    assert "sk-of-somebody-else" not in told
    assert server.request_count == 1
    assert server.images_billed == 0


def test_an_unknown_model_is_refused(server, out, capsys):
    """A model that the service does not have is named, and costs nothing."""
    code = run("generate", "a cat", "--model", "seedream-99", "--out", out)

    (complaint,) = complaints(capsys.readouterr().err)
    assert code == 6
    assert "model seedream-99" in complaint
    assert "Check the name of the model" in complaint
    assert server.images_billed == 0


def test_a_base_url_without_v1_is_found_out(server, out, capsys, monkeypatch):
    """A base URL that lacks its version leads to a web site; the remedy is named."""
    monkeypatch.setenv("COMETAPI_BASE_URL", server.base_url.removesuffix("/v1"))

    code = run("generate", "a cat", "--out", out)

    (complaint,) = complaints(capsys.readouterr().err)
    assert code == 6
    assert complaint.endswith(
        "Check that COMETAPI_BASE_URL is right and ends in /v1. Nothing was billed"
    )


def test_a_dead_port_is_named(out, capsys, monkeypatch, impatient):
    """A service that is not there is named by its address, and nothing was sent."""
    with socket.socket() as gone:  # bound: nobody listens there, and nobody else begins to
        gone.bind(("127.0.0.1", 0))
        port = gone.getsockname()[1]
        monkeypatch.setenv("COMETAPI_KEY", "sk-test")
        monkeypatch.setenv("COMETAPI_BASE_URL", f"http://127.0.0.1:{port}/v1")

        code = run("generate", "a cat", "--out", out)

    (complaint,) = complaints(capsys.readouterr().err)
    assert code == 4
    assert f"cannot connect to 127.0.0.1:{port}" in complaint
    assert "nothing was sent" in complaint


# Exit codes


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        pytest.param(lambda server: server.fail_next(status=401), 3, id="key"),
        pytest.param(lambda server: server.fail_next(status=403), 3, id="rights"),
        pytest.param(lambda server: server.fail_next(status=402), 3, id="balance"),
        pytest.param(lambda server: server.fail_next(status=429), 4, id="too much"),
        pytest.param(lambda server: server.fail_next(status=503, retry_after=1), 4, id="busy"),
        pytest.param(lambda server: server.cut_next(), 5, id="cut"),
        pytest.param(lambda server: server.fail_next(status=200, body=b"{}"), 5, id="nonsense"),
        pytest.param(lambda server: server.fail_next(status=400), 6, id="refused"),
        pytest.param(lambda server: server.fail_next(status=403, on="store"), 7, id="no download"),
    ],
)
def test_exit_codes_tell_what_failed(*, server, out, capsys, impatient, fault, code):
    """Each kind of failure has an exit code, and one line that explains it."""
    fault(server)

    ended = run("generate", "a cat", "--out", out)

    printed, told = capsys.readouterr()
    assert ended == code
    assert len(complaints(told)) == 1
    assert printed == ""


def test_one_success_does_not_hide_a_failure(server, out, capsys):
    """If only some requests failed, the exit code is theirs, and the rest is saved."""
    server.fail_next(status=400)

    code = run("generate", "a cat", "a dog", "--out", out)

    printed, told = capsys.readouterr()
    assert code == 6
    assert len(printed.splitlines()) == 1
    assert told.startswith("2 of 2 done, 1 failed\n")


def test_several_kinds_of_failure_have_a_code_of_their_own(server, out, capsys):
    """If requests failed for different reasons, each is told, and the exit code is 1."""
    server.fail_next(status=400, times=2)
    server.cut_next()

    code = run("generate", "a cat", "-n", 3, "--concurrency", 1, "--out", out)

    refused, unknown = complaints(capsys.readouterr().err)
    assert code == 1
    assert refused.endswith("(2 requests)")
    assert "check the account before sending it again" in unknown


def test_an_unforeseen_error_has_the_code_for_the_rest():
    """An error that the table does not list is no success."""
    assert _commands.exit_code(LookupError("an error of the source")) == 1


def test_complaints_are_one_line(server, out, capsys):
    """Whatever the service answers, a complaint is one line."""
    server.fail_next(status=400, message="one\ntwo\r\n\n\tthree")

    run("generate", "a cat", "--out", out)

    (complaint,) = complaints(capsys.readouterr().err)
    assert "one two three" in complaint


def test_the_readme_lists_the_exit_codes():
    """The table in the README says what `seedream --help` says."""
    rows = re.findall(r"^\| `(\d+)` \| (.*) \|$", README.read_text(encoding="utf-8"), re.MULTILINE)

    assert rows == re.findall(r"^  (\d+) +(.*)$", cli.EXIT_CODES, re.MULTILINE)


# The emulator, and the frame around the commands


def test_the_emulator_serves_until_ctrl_c(out, capsys, monkeypatch, interruptible):
    """`seedream emulator` prints two lines that lead to it, and Ctrl-C is its orderly end."""
    process = start("emulator", "--port", 0)
    lines = [process.stdout.readline().strip() for _ in range(2)]
    settings = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)

    code = run("generate", "a cat", "--out", out)

    process.send_signal(signal.SIGINT)
    printed, told = process.communicate(timeout=30)
    assert code == 0
    assert list(settings) == ["COMETAPI_KEY", "COMETAPI_BASE_URL"]
    assert process.returncode == 0
    assert printed == ""
    assert told == (
        "The emulator is running. Paste the two lines into another shell; Ctrl-C ends it.\n"
    )


async def test_cancelling_the_emulator_is_its_success(connect):
    """What Ctrl-C does to the emulator's task, once it has said where it is, is no failure."""
    reader, writer = os.pipe()
    with os.fdopen(reader) as lines, os.fdopen(writer, "w") as pipe:
        connect("stdout", pipe)
        options = argparse.Namespace(command="emulator", port=0, latency=0.0)
        command = asyncio.create_task(_commands.run(options))
        await asyncio.to_thread(lambda: [lines.readline(), lines.readline()])

        command.cancel()

        assert await command == 0


def test_a_taken_port_is_one_line(capsys):
    """A port that another program has is named, with the remedy."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        code = run("emulator", "--port", port)

    assert code == 2
    assert capsys.readouterr().err == (
        f"seedream: --port: {port} cannot be listened on: Address already in use. "
        "Choose another, or leave it out\n"
    )


@pytest.mark.parametrize(
    ("option", "value", "told"),
    [
        pytest.param("--port", "65536", "must be a port from 0 to 65535, not '65536'", id="high"),
        pytest.param("--port", "http", "must be a port from 0 to 65535, not 'http'", id="word"),
        pytest.param("--latency", "-1", "must be a number of seconds, not '-1'", id="negative"),
        pytest.param("--latency", "inf", "must be a number of seconds, not 'inf'", id="endless"),
        pytest.param("--latency", "slow", "must be a number of seconds, not 'slow'", id="slow"),
    ],
)
def test_impossible_options_of_the_emulator(capsys, option, value, told):
    """The emulator does not start with options that make no sense."""
    code = run("emulator", option, value)

    assert code == 2
    assert capsys.readouterr().err == (
        f"seedream: argument {option}: {told}; see seedream emulator --help\n"
    )


def test_options_of_the_emulator_are_read():
    """A port and a latency in seconds are taken."""
    options = cli._parser().parse_args(["emulator", "--port", "8080", "--latency", "0.5"])

    assert (options.port, options.latency) == (8080, 0.5)


@pytest.mark.parametrize(
    "command", [[], ["demo"], ["generate"], ["batch"], ["batch", "status"], ["emulator"]], ids=str
)
def test_help_is_for_people(command, capsys):
    """`--help` works for every command and goes to standard output."""
    code = run(*command, "--help")

    printed, told = capsys.readouterr()
    assert code == 0
    assert printed.startswith(f"usage: {' '.join(['seedream', *command])} ")
    assert told == ""


def test_no_command_is_one_line(capsys):
    """`seedream` alone says what is missing and where to look."""
    code = run()

    assert code == 2
    assert capsys.readouterr().err == (
        "seedream: the following arguments are required: COMMAND; see seedream --help\n"
    )


def test_version(capsys):
    """`seedream --version` names the distribution."""
    code = run("--version")

    assert code == 0
    assert capsys.readouterr().out == f"seedream-async {__version__}\n"


def test_the_package_is_the_command(monkeypatch, capsys):
    """`python -m seedream_async` is `seedream`."""
    monkeypatch.setattr(sys, "argv", ["seedream", "generate", "--emulator", ""])

    # Not runpy, which cannot use the loader that pytest has for a package with a plugin.
    path = Path(cli.__file__).with_name("__main__.py")
    spec = importlib.util.spec_from_file_location("seedream_async.__main__", path)

    with pytest.raises(SystemExit) as ended:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))

    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("seedream: prompt is empty")
