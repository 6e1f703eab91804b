"""`seedream batch`, as its user sees it: what it says, what it leaves, and how it is left."""

import io
import json
import re
import signal
import socket
import sys
from functools import partial
from pathlib import Path

import pytest
import rich.progress  # noqa: F401  loaded before there is a loop to block

from seedream_async import (
    AsyncSeedream,
    AuthenticationError,
    BudgetReachedError,
    RetryPolicy,
    SavedImage,
    StorageError,
    _batch_command,
    _batch_progress,
    cli,
)
from seedream_async.batch import BatchProgress, BatchResult

from .killed_batches import (
    MODEL,
    WIDTH,
    Service,
    entries_of,
    finish,
    start,
    wait_until_it_sends,
    write_rows,
)

pytestmark = pytest.mark.usefixtures("quiet")

ROWS = 400  # which take a minute and more


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def no_blocking_calls(no_blocking_calls):
    """As in every test; only that the command prints on its own loop."""
    write = no_blocking_calls.functions["io.BufferedWriter.write"]
    write.can_block_in("_verdicts.py", {"say", "tell"})
    write.can_block_in("_batch_progress.py", {"notice", "saved"})
    write.can_block_in("_batch_command.py", {"close"})
    write.can_block_in("_ledger_commands.py", {"status", "export", "failed"})


@pytest.fixture
def source(tmp_path):
    """Two rows, in a file."""
    return write(tmp_path / "rows.jsonl", [row(1), row(2)])


@pytest.fixture
def out(tmp_path):
    """Where the images go: a folder that is not there yet."""
    return tmp_path / "out"


@pytest.fixture(scope="module")
def slow_service():
    """A service whose answers take a while, in a process of its own."""
    with Service.running(latency=0.7) as service:
        yield service


@pytest.fixture
def silent_service():
    """A service that has answered nothing by the time that a batch is left."""
    with Service.running(latency=60) as service:
        yield service


def row(number, **fields):
    return {"id": f"r{number}", "prompt": f"picture {number}", "size": "512x512", **fields}


def write(path, rows):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def run(*arguments):
    """Run the command and return its exit code."""
    try:
        return cli.main([str(argument) for argument in arguments])
    except SystemExit as exit:  # noqa: A001
        return exit.code


def batch(source, out, *arguments):
    return run("batch", source, "--out", out, "--model", MODEL, *arguments)


# A run


def test_a_batch_ends_with_its_report(server, source, out, capsys):
    """What was made is summed up on standard error; the report's path is on standard output."""
    code = batch(source, out)

    printed, told = capsys.readouterr()
    assert code == 0
    assert printed == f"{out}/report.html\n"
    assert re.fullmatch(
        r"2 of 2 rows saved: 2 images, about \d\.\d\d USD; 0 failed, 0 unknown, 0 left\n", told
    )


def test_a_batch_needs_no_key_with_the_emulator(source, out):
    """With --emulator, nothing is set up and nothing is paid."""
    code = batch(source, out, "--emulator")

    assert code == 0
    assert len([*out.glob("*.jpeg")]) == 2


def test_images_of_the_emulator_are_not_mixed_with_others(server, source, out, capsys):
    """A batch that was begun with the emulator does not go on with the service."""
    batch(source, out, "--emulator", "--limit", 1)
    capsys.readouterr()

    code = batch(source, out)

    assert code == 2
    assert "it was begun with emulator=True" in capsys.readouterr().err
    assert server.request_count == 0


def test_another_file_is_refused_in_the_words_of_the_command(server, source, out, capsys):
    """Another file for the same folder is a slip, unless an option says that it is meant."""
    batch(source, out)
    other = write(source.with_name("other.jsonl"), [row(3)])
    capsys.readouterr()

    code = batch(other, out)

    assert code == 2
    assert "pass --other-input to go on" in capsys.readouterr().err
    assert batch(other, out, "--other-input") == 0


def test_options_reach_the_rows(server, source, out):
    """Defaults are of rows that do not say; a template names the files."""
    batch(source, out, "--seed", 7, "--no-watermark", "--name", "{index:03d}", "--sidecar")

    sent = [received.json for received in server.requests]
    assert [(one["seed"], one["watermark"], one["size"]) for one in sent] == [
        (7, False, "512x512")
    ] * 2
    assert out.joinpath("000.jpeg.json").exists()


def test_a_limit_says_how_it_goes_on(server, source, out, capsys):
    """What is left is told, with the line that goes on."""
    code = batch(source, out, "--limit", 1)

    told = capsys.readouterr().err
    assert code == 0
    assert f"to go on: seedream batch {source} --out {out} --model {MODEL} --limit 1\n" in told


def test_a_service_that_cannot_be_reached_is_told(source, out, capsys, monkeypatch):
    """Rows that could not be sent, if too few to end a batch, do not end it as if all were well."""
    client = partial(AsyncSeedream, retry=RetryPolicy(attempts=1))
    monkeypatch.setattr(_batch_command, "AsyncSeedream", client)
    with socket.socket() as gone:  # bound: nobody listens there, and nobody else begins to
        gone.bind(("127.0.0.1", 0))
        monkeypatch.setenv("COMETAPI_KEY", "sk-test")
        monkeypatch.setenv("COMETAPI_BASE_URL", f"http://127.0.0.1:{gone.getsockname()[1]}/v1")

        code = batch(source, out)

    told = capsys.readouterr().err
    assert code == 4
    assert "\nseedream: stopped: cannot connect to 127.0.0.1:" in told
    assert told.count("nothing was sent. Check COMETAPI_BASE_URL and the network") == 1
    assert "0 failed, 0 unknown, 2 left\n" in told


def test_a_budget_that_is_reached_is_told(server, source, out, capsys):
    """A batch that its budget has ended says so, and is not done."""
    code = batch(source, out, "--max-cost", 0.04, "--price", "0.03EUR", "--concurrency", 1)

    told = capsys.readouterr().err
    assert code == 1
    assert "1 of 2 rows saved: 1 image, about 0.03 EUR" in told
    assert "max_cost=0.04 is reached" in told
    assert server.request_count == 1


def test_standard_input_is_an_input(server, tmp_path, out, monkeypatch):
    """Rows may come through a pipe, and the ledger knows them afterwards."""
    path = tmp_path / "piped"
    path.write_text("a cat\na dog\n")
    with path.open() as piped:
        monkeypatch.setattr(sys, "stdin", piped)

        code = batch("-", out, "--size", "512x512")

    assert code == 0
    assert sorted(received.json["prompt"] for received in server.requests) == ["a cat", "a dog"]
    assert out.joinpath("input").read_text() == "a cat\na dog\n"


def test_a_terminal_is_no_input(out, monkeypatch, capsys):
    """`-` without a pipe is told, and not waited for."""
    monkeypatch.setenv("COMETAPI_KEY", "sk-none")
    monkeypatch.setattr(sys, "stdin", Terminal())

    code = batch("-", out)

    assert code == 2
    assert "nothing is piped into it" in capsys.readouterr().err


def test_workers_are_those_of_a_cluster(server, source, out, capsys):
    """An option that would do nothing is refused, and so nobody waits for workers in vain."""
    code = batch(source, out, "--workers", 3)

    assert code == 2
    assert "--workers are those of --ray" in capsys.readouterr().err
    assert server.request_count == 0


def test_a_dry_run_needs_no_key(source, out, capsys):
    """A dry run judges every row, tells what it may cost and take, and leaves nothing."""
    with source.open("a") as file:
        file.write("{oops\n")

    code = batch(source, out, "--dry-run", "--concurrency", 1)

    printed, told = capsys.readouterr()
    assert code == 2
    assert printed == ""
    assert re.fullmatch(
        r"line 3: the line is no JSON .*\n"
        r"2 rows, 2 of them to be sent; 1 cannot be a request\n"
        r"2 images\n"
        r"cost: 0\.06 USD \(.*\)\n"
        r"duration: 40 s to 2 min, if a generation takes 20 to 60 s\n"
        r"Nothing was sent\.\n",
        told,
    )
    assert not out.exists()


def test_a_dry_run_tells_of_models_without_a_price(tmp_path, out, capsys):
    """Rows of a model that the catalogue does not know are counted, and the remedy is named."""
    source = write(tmp_path / "rows.jsonl", [row(1, model="seedream-9")])

    code = batch(source, out, "--dry-run", "--images-per-minute", 1)

    assert code == 0
    assert "no price is known for 1 row; --price gives one" in capsys.readouterr().err


def test_bad_rows_are_an_exit_code(server, source, out, capsys):
    """A batch with a row that is none makes the others, and says so at the end."""
    with source.open("a") as file:
        file.write("{oops\n")

    code = batch(source, out)

    assert code == 2
    assert "the input has 1 row that cannot be a request" in capsys.readouterr().err


def test_what_failed_is_told(server, source, out, capsys):
    """What was refused, and what may be billed, each has its line and its remedy."""
    server.fail_next(status=400, code="InputTextSensitiveContentDetected")
    server.cut_next()

    code = batch(source, out, "--concurrency", 1)

    told = capsys.readouterr().err
    assert code == 1
    assert f"What failed is in {out}/failed.jsonl." in told
    assert "again unless --resend-unknown" in told


def test_a_terminal_with_rich_has_a_bar(server, source, out, monkeypatch):
    """On a terminal, one line is drawn over and over."""
    terminal = Terminal()
    with source.open("a") as file:
        file.write("{oops\n")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "stderr", terminal)

    code = batch(source, out)

    assert code == 2
    assert "line 3: the line is no JSON" in terminal.getvalue()
    assert "2 of 2 done, 0 failed" in terminal.getvalue()


def test_paths_go_to_standard_output_beside_a_bar(monkeypatch, capsys):
    """A bar on standard error does not swallow the paths, which are for a pipe."""
    monkeypatch.setattr(sys, "stderr", Terminal())
    file = SavedImage(path=Path("a.png"), bytes=1, content_type="image/png", width=1, height=1)

    _batch_progress.display_of().saved([file])

    assert capsys.readouterr().out == "a.png\n"


def test_what_is_paid_for_is_told_at_the_end():
    """Rows that the next run only downloads are told as such."""
    told = [*_batch_command.closing(result(paid=2, left=2))]

    assert told[-1] == "2 rows are paid for: the same command downloads them, for free"


# Leaving


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
def test_a_signal_leaves_in_order(slow_service, tmp_path, number):
    """The first signal ends the sending; what was sent is saved, and the rest is left."""
    write_rows(tmp_path / "rows.jsonl", ROWS)
    before, _ = slow_service.received()
    process = start(slow_service, tmp_path)
    wait_until_it_sends(slow_service, process, before)

    process.send_signal(number)

    code, printed, told = finish(process)
    states = [entry.state for entry in entries_of(tmp_path)]
    assert code == 130
    assert set(states) == {"saved", "planned"}
    assert printed.endswith("report.html\n")
    assert "seedream: to go on: seedream batch " in told


def test_a_second_signal_leaves_at_once(silent_service, tmp_path):
    """The second signal gives up what is in flight, and says what that leaves unknown."""
    write_rows(tmp_path / "rows.jsonl", ROWS)
    process = start(silent_service, tmp_path)
    wait_until_it_sends(silent_service, process, 0)

    process.send_signal(signal.SIGINT)
    assert any("leaving" in line for line in process.stderr)
    process.send_signal(signal.SIGINT)

    code, _, told = finish(process)
    states = [entry.state for entry in entries_of(tmp_path)]
    assert code == 130
    assert 0 < states.count("unknown") <= WIDTH
    assert set(states) == {"unknown", "planned"}
    assert f"{states.count('unknown')} unknown, which may have been billed" in told


# What a ledger holds


@pytest.fixture
def done(server, source, out, capsys):
    """The folder of a batch of which one row has failed."""
    server.fail_next(status=400, code="InputTextSensitiveContentDetected")
    batch(source, out, "--concurrency", 1)
    capsys.readouterr()
    return out


def test_status_is_a_table(done, source, capsys):
    """`batch status` tells how many rows are where, and what was spent."""
    code = run("batch", "status", done)

    printed = capsys.readouterr().out
    assert code == 0
    assert f"{source}, model {MODEL}\n" in printed
    assert re.search(r"^ +1  saved +saved$", printed, re.MULTILINE)
    assert re.search(r"^ +1  failed +refused, not billed$", printed, re.MULTILINE)


def test_status_tells_of_rows_that_are_gone(done, source, capsys):
    """Rows that the input no longer has are counted apart."""
    write(source, [row(1)])
    batch(source, done)
    capsys.readouterr()

    run("batch", "status", done)

    assert "1  more that the input no longer has" in capsys.readouterr().out


def test_status_is_json_for_programs(done, source, capsys):
    """`batch status --json` is one line that a program reads."""
    run("batch", "status", done / "ledger.sqlite3", "--json")

    told = json.loads(capsys.readouterr().out)
    assert (told["saved"], told["failed"], told["input"]) == (1, 1, str(source))


def test_export_is_every_row_without_links(done, capsys):
    """`batch export` prints what the ledger has of each row."""
    code = run("batch", "export", done)

    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert code == 0
    assert [row["state"] for row in rows] == ["failed", "saved"]


def test_failed_rows_can_be_fed_back_in(done, capsys):
    """`batch failed` prints rows as an input has them, and why they failed."""
    code = run("batch", "failed", done)

    line = json.loads(capsys.readouterr().out)
    assert code == 0
    assert line.pop("problem").startswith("ContentPolicyError")
    assert line == row(1)


def test_a_folder_without_a_ledger_is_told(tmp_path, capsys):
    """`batch status` of a folder that has none says so."""
    code = run("batch", "status", tmp_path)

    assert code == 2
    assert "ledger: there is none at" in capsys.readouterr().err


# Exit codes, and the line


def result(**facts):
    counts = {"total": 9, "saved": 9, "failed": 0, "unknown": 0, "left": 0}
    return BatchResult(**counts | {"folder": Path(), "ledger": Path()} | facts)


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        pytest.param({}, 0, id="all well"),
        pytest.param({"left": 3}, 0, id="a limit"),
        pytest.param({"bad": 1}, 2, id="bad rows"),
        pytest.param({"unknown": 1, "problems": ("OutcomeUnknownError",)}, 5, id="unknown"),
        pytest.param({"unknown": 1, "problems": ("Interrupted", "Lost")}, 5, id="killed"),
        pytest.param({"problems": ("ContentPolicyError",)}, 6, id="refused"),
        pytest.param({"problems": ("IncompleteDownloadError",)}, 7, id="download"),
        pytest.param({"problems": ("Strange",)}, 1, id="strange"),
        pytest.param({"missing": 1}, 1, id="missing"),
        pytest.param({"bad": 1, "unknown": 1}, 1, id="several"),
        pytest.param({"stopped": "asked", "unknown": 1}, 130, id="left"),
        pytest.param({"stopped": BudgetReachedError("enough")}, 1, id="budget"),
        pytest.param({"stopped": AuthenticationError("key")}, 3, id="key"),
        pytest.param({"stopped": StorageError("disk")}, 8, id="disk"),
    ],
)
def test_exit_codes_are_those_of_every_command(facts, code):
    """One kind of trouble has its own code, several kinds are 1, and leaving is 130."""
    assert _batch_command.exit_code(result(**facts)) == code


def progress(**facts):
    counts = {"total": 9, "saved": 4, "failed": 0, "unknown": 0, "left": 5, "images": 4}
    return BatchProgress(**counts | {"elapsed": 60.0, "images_per_minute": 0.0} | facts)


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        pytest.param({}, "4 of 9 done, 0 failed", id="bare"),
        pytest.param({"unknown": 2}, "4 of 9 done, 0 failed, 2 unknown", id="unknown"),
        pytest.param({"images_per_minute": 4.4}, "4 of 9 done, 0 failed; 4 images/min", id="rate"),
        pytest.param(
            {"cost": 1.0, "currency": "USD"}, "4 of 9 done, 0 failed; 1.00 USD", id="cost"
        ),
        pytest.param(
            {"cost": 1.0, "currency": "USD", "projected": 2.25},
            "4 of 9 done, 0 failed; 1.00 of about 2.25 USD",
            id="projected",
        ),
        pytest.param({"seconds_left": 80}, "4 of 9 done, 0 failed; 80 s left", id="seconds"),
        pytest.param({"seconds_left": 200}, "4 of 9 done, 0 failed; 3 min left", id="minutes"),
        pytest.param({"seconds_left": 9000}, "4 of 9 done, 0 failed; 2.5 h left", id="hours"),
        pytest.param({"waiting": "a pause"}, "4 of 9 done, 0 failed; a pause", id="waiting"),
    ],
)
def test_progress_is_one_line(facts, line):
    """What is known is told in one line, and what is not is left out."""
    assert _batch_progress.said(progress(**facts)) == line


def test_plain_lines_are_few(capsys, monkeypatch):
    """Without a terminal, a line comes every few seconds, and never the same twice."""
    monkeypatch.setattr(_batch_progress, "_EVERY", 5.0)
    now = iter([0.0, 1.0, 6.0, 20.0, 40.0])
    monkeypatch.setattr(_batch_progress.time, "monotonic", lambda: next(now))
    with _batch_progress.display_of() as display:
        for saved in (1, 2, 2, 3):
            display.update(progress(saved=saved, left=9 - saved))

    assert capsys.readouterr().err == "2 of 9 done, 0 failed\n3 of 9 done, 0 failed\n"


def test_a_terminal_without_rich_has_lines(monkeypatch):
    """On a terminal without rich, the display is that of a pipe."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setattr(sys, "stderr", Terminal())

    display = _batch_progress.display_of()

    assert isinstance(display, _batch_progress._Lines)
