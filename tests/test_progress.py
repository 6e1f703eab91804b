"""How far a command is, in the form that suits where standard error leads."""

import io
import sys

import pytest

from seedream_async import _progress
from seedream_async._progress import progress_of

pytestmark = pytest.mark.usefixtures("quiet")


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def connect(monkeypatch):
    """
    Connect a standard stream to a terminal.

    To be called by the test itself: pytest's capture sets the streams after the fixtures.
    """
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")

    def connect(name):
        monkeypatch.setattr(sys, name, Terminal())
        return getattr(sys, name)

    return connect


@pytest.fixture
def without_rich(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)


def test_a_pipe_gets_one_plain_line_at_the_end(capsys):
    """A quick command says once, in plain text, how it went."""
    with progress_of(3) as progress:
        progress.advance(0)
        progress.advance(1)
        progress.advance(1)

    assert capsys.readouterr().err == "3 of 3 done, 1 failed\n"


def test_a_pipe_gets_a_line_from_time_to_time(capsys, monkeypatch):
    """A slow command says more than once how far it is."""
    monkeypatch.setattr(_progress, "_EVERY", 0.0)

    with progress_of(2) as progress:
        progress.advance(0)
        progress.advance(0)

    assert capsys.readouterr().err == "1 of 2 done, 0 failed\n2 of 2 done, 0 failed\n"


def test_a_pipe_gets_paths_on_standard_output(capsys):
    """What is shown goes to standard output alone."""
    with progress_of(1) as progress:
        progress.show("images/cat.png")

    assert capsys.readouterr() == ("images/cat.png\n", "")


def test_a_terminal_gets_a_bar(connect):
    """With rich, a terminal shows a bar, the count, and what failed."""
    terminal = connect("stderr")

    with progress_of(3) as progress:
        progress.advance(0)
        progress.advance(0)
        progress.advance(1)

    drawn = terminal.getvalue()
    assert "requests, 1 failed" in drawn
    assert "3/3" in drawn


def test_a_bar_leaves_redirected_paths_alone(connect, capsys):
    """Beside a bar, paths that go to a pipe still go there and nowhere else."""
    terminal = connect("stderr")

    with progress_of(1) as progress:
        progress.show("images/cat.png")

    assert capsys.readouterr().out == "images/cat.png\n"
    assert "images/cat.png" not in terminal.getvalue()


def test_a_bar_and_paths_share_a_terminal(connect):
    """On a terminal, paths stand above the bar, whatever markup they resemble."""
    terminal = connect("stderr")
    connect("stdout")
    path = "images/:cat:/[bold]1[/bold].png"

    with progress_of(1) as progress:
        progress.show(path)

    assert path in terminal.getvalue()


def test_a_terminal_without_rich_gets_plain_lines(connect, without_rich):
    """Nobody needs rich to see how far a command is."""
    terminal = connect("stderr")

    with progress_of(1) as progress:
        progress.advance(0)

    assert terminal.getvalue() == "1 of 1 done, 0 failed\n"
