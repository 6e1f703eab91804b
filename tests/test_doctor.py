"""`seedream doctor` apart from the network: what it makes of this machine, and how it prints."""

import errno
import io
import json
import math
import os
import ssl
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import rich.console  # noqa: F401  loaded before there is a loop to block
from hypothesis import given
from hypothesis import strategies as st

from seedream_async import cli
from seedream_async._doctor import _command, _disk, _install, _link, _printing, _tls, _words
from seedream_async._doctor._environment import (
    Endpoint,
    judge_base_url,
    judge_key,
    judge_proxies,
    usable_key,
)
from seedream_async._doctor._findings import Finding, failed, ok, warning
from seedream_async._doctor._install import Need

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PUBLIC = Endpoint("https://api.example.com/v1", "https", "api.example.com", 443)
NEEDS = [
    Need("aiohttp", "3.14.4", ""),
    Need("attrs", "24.2", ""),
    Need("rich", "13.7", "cli"),
    Need("pillow", "11", "images"),
]
LONG = warning(
    "proxy", "HTTPS_PROXY set, but the client " + "connects directly " * 4, "lend a session"
)


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    """Let standard output be a terminal of so many columns."""

    def terminal(columns):
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.delenv("NO_COLOR", raising=False)
        stream = Terminal()
        monkeypatch.setattr(sys, "stdout", stream)
        return stream

    return terminal


@pytest.fixture
def no_rich(monkeypatch):
    """As if rich were not installed."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rich", None)


# The installation


@pytest.mark.parametrize(
    ("requirement", "need"),
    [
        pytest.param("aiohttp>=3.14.4", ("aiohttp", "3.14.4", ""), id="floor"),
        pytest.param("attrs<30,>=24.2", ("attrs", "24.2", ""), id="range"),
        pytest.param("tenacity", ("tenacity", "", ""), id="any"),
        pytest.param("rich>=13.7; extra == 'cli'", ("rich", "13.7", "cli"), id="extra"),
        pytest.param('numpy; extra == "x"', ("numpy", "", "x"), id="any, extra"),
        pytest.param("pytest>=9; extra == 'test'", None, id="for developers"),
        pytest.param("?", None, id="unreadable"),
    ],
)
def test_requirements_are_read(requirement, need):
    """A requirement tells its package, its floor and its extra."""
    assert _install.need_of(requirement) == need


@pytest.mark.parametrize(
    ("versions", "finding"),
    [
        pytest.param(
            {"aiohttp": "3.14.5", "attrs": "26.1.0"},
            ok("packages", "aiohttp 3.14.5, attrs 26.1.0"),
            id="there",
        ),
        pytest.param(
            {"aiohttp": "3.14+local.20", "attrs": "24.2"},
            failed(
                "packages",
                "aiohttp 3.14+local.20 is older than 3.14.4",
                "pip install --upgrade seedream-async",
            ),
            id="old",
        ),
        pytest.param(
            {"aiohttp": "3.14.4"},
            failed("packages", "attrs is missing", "pip install --upgrade seedream-async"),
            id="missing",
        ),
    ],
)
def test_packages_are_judged(versions, finding):
    """Every dependency has to be there, and to be new enough."""
    assert [*_install.judge_packages(NEEDS, versions.get)] == [finding]


def test_a_package_that_is_not_installed_is_a_warning(monkeypatch):
    """Run from its source, the package cannot tell what it needs, and says so."""
    monkeypatch.setattr(_install, "PACKAGE", "seedream-of-a-package")

    found = _install.look()

    assert [finding.state for finding in found] == ["ok", "warning", "ok"]
    assert "runs without being installed" in found[1].text
    assert found[2].text == "none"


def test_extras_are_listed():
    """Extras are named with their versions, and those that are missing with how to get them."""
    found = _install.judge_extras(NEEDS, {"rich": "15.0"}.get)

    assert found == ok(
        "extras",
        "rich 15.0 (cli); not installed: pillow (images), "
        "as with pip install 'seedream-async[images]'",
    )


def test_what_is_missing_is_told_without_it(capsys, monkeypatch):
    """If a dependency is missing, the doctor says so, and does not load what needs it."""
    needs = [Need("no-such-package", "", "")]
    monkeypatch.setattr(_install, "requirements", lambda: [needs[0].name])
    link = "https://store.example.test/a.jpeg"

    code = cli.main(["doctor", "--emulator", "--json", "--link", link])

    found = [Finding(**json.loads(line)) for line in capsys.readouterr().out.splitlines()]
    assert code == 1
    assert found[1].text == "no-such-package is missing"
    assert found[3].text == "COMETAPI_KEY is not set"
    assert [it.text for it in found if it.state == "skipped"] == ["packages failed"] * 8


def test_the_doctor_needs_no_dependency():
    """The checks of the installation load neither aiohttp nor attrs."""
    code = (
        "import sys; sys.modules.update(aiohttp=None, attrs=None, attr=None, cattrs=None)\n"
        "from seedream_async import _doctor; from seedream_async.cli import main\n"
        "sys.exit(main(['doctor', '--help']))"
    )

    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)  # noqa: S603

    assert done.returncode == 0
    assert b"Sends nothing that costs" in done.stdout


# The key


@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param("", "is not set", id="unset"),
        pytest.param(" \n", "is blank", id="blank"),
        pytest.param("Bearer sk-patient", "begins with Bearer", id="bearer"),
        pytest.param("Authorization: Bearer sk-patient", "begins with Bearer", id="header"),
        pytest.param("export COMETAPI_KEY=sk-patient", "holds its own name", id="assignment"),
        pytest.param('"sk-patient"', "quotation marks", id="quotes"),
        pytest.param("‘sk-patient’", "quotation marks", id="curly quotes"),
        pytest.param("sk-...", "placeholder", id="dots"),
        pytest.param("sk-xxxxxxxx", "placeholder", id="x"),
        pytest.param("sk-", "placeholder", id="beginning"),
        pytest.param("your_api_key", "placeholder", id="your"),
        pytest.param("<your key>", "placeholder", id="brackets"),
        pytest.param("sk-patient\nsk-other", "a newline", id="two lines"),
        pytest.param("sk-pat ient", "blanks or control characters", id="blank within"),
        pytest.param("sk-pätient", "beyond ASCII", id="umlaut"),
        pytest.param("sk-pat\u200bient", "beyond ASCII", id="invisible"),
    ],
)
def test_keys_that_cannot_work(value, words):
    """What is wrong with a key is named, and none of it is shown."""
    finding = judge_key(value)

    assert finding.state == "failed"
    assert words in finding.text
    assert "tient" not in str(finding)


def test_a_key_may_have_the_letters_of_a_placeholder():
    """What only happens to hold x's or a word in its middle is a key."""
    assert judge_key("sk-4pxxxxQyour9").state == "ok"


def test_blanks_around_a_key_are_a_warning():
    """The client ignores a newline at the end of a key; other programs may not."""
    assert judge_key("sk-patient\n").state == "warning"


@given(key=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=6))
def test_keys_are_never_shown(key):
    """Whatever a key is, no piece of it is in what is said about it."""
    words = str(judge_key(f"zq{key}"))

    assert f"zq{key}" not in words


@pytest.mark.parametrize(
    ("value", "usable"),
    [
        pytest.param("sk-patient", "sk-patient", id="key"),
        pytest.param(" \t", None, id="blank"),
        pytest.param("sk pat", None, id="impossible"),
    ],
)
def test_usable_keys(value, usable):
    """A key is tried if the client would send it."""
    assert usable_key({"COMETAPI_KEY": value}) == usable


# The base URL and proxies


@pytest.mark.parametrize(
    ("value", "state", "words"),
    [
        pytest.param("", "ok", "(the default; COMETAPI_BASE_URL is not set)", id="unset"),
        pytest.param("https://x.example.com/v1/", "ok", "https://x.example.com/v1", id="own"),
        pytest.param("http://127.0.0.1:8080/v1", "ok", "http://127.0.0.1:8080/v1", id="loopback"),
        pytest.param("https://x.example.com", "warning", "does not end in /v1", id="no v1"),
        pytest.param("http://x.example.com/v1", "warning", "travels in the clear", id="http"),
        pytest.param("x.example.com/v1", "failed", "must start with https://", id="no scheme"),
        pytest.param("https://x.example.com/v1?k=secret", "failed", "it has a query", id="query"),
        pytest.param("https://x.example.com/v1#secret", "failed", "a fragment", id="fragment"),
        pytest.param("https://me:secret@x.example.com/v1", "failed", "user name", id="password"),
    ],
)
def test_base_urls_are_judged(value, state, words):
    """What is wrong with a base URL is named, without what might be secret in it."""
    finding, end = judge_base_url(value)

    assert finding.state == state
    assert words in finding.text
    assert "secret" not in str(finding)
    assert (end is None) == (state == "failed")


@pytest.mark.parametrize(
    ("url", "end"),
    [
        pytest.param(
            "https://API.example.com/v1/",
            ("https://api.example.com/v1", "https", "api.example.com", 443),
            id="https",
        ),
        pytest.param("http://[::1]/v1", ("http://[::1]/v1", "http", "::1", 80), id="http"),
        pytest.param(
            "http://localhost:8/v1", ("http://localhost:8/v1", "http", "localhost", 8), id="port"
        ),
    ],
)
def test_endpoints(url, end):
    """A base URL tells where to connect to."""
    assert judge_base_url(url)[1] == end


PROXY = "http://user:hunter2@proxy.example.com:3128"


@pytest.mark.parametrize(
    ("environ", "state", "words"),
    [
        pytest.param({}, "ok", "none is set", id="none"),
        pytest.param({"https_proxy": PROXY}, "warning", "HTTPS_PROXY set, but", id="lower case"),
        pytest.param({"HTTPS_PROXY": PROXY}, "warning", "connects directly", id="upper case"),
        pytest.param({"ALL_PROXY": PROXY}, "warning", "ALL_PROXY set, but", id="for all"),
        pytest.param({"HTTP_PROXY": PROXY}, "ok", "which is not for https", id="for http"),
        pytest.param(
            {"HTTPS_PROXY": PROXY, "NO_PROXY": ".example.com"}, "ok", "not needed", id="exempt"
        ),
    ],
)
def test_proxies_are_judged(environ, state, words):
    """A proxy that the client would pass by is a warning; its address is not shown."""
    finding = judge_proxies(environ, PUBLIC)

    assert finding.state == state
    assert words in finding.text
    assert "hunter2" not in str(finding)
    assert "proxy.example.com" not in str(finding)


def test_proxies_are_not_needed_for_this_machine():
    """A proxy is no matter for an API on this machine, or for one that is not known."""
    near = Endpoint("http://127.0.0.1/v1", "http", "127.0.0.1", 80)

    assert (
        judge_proxies({"http_proxy": PROXY}, near).text
        == "HTTP_PROXY set, but not needed for 127.0.0.1"
    )
    assert judge_proxies({"http_proxy": PROXY}, None).state == "ok"


def test_an_impossible_base_url_skips_the_network(capsys, monkeypatch):
    """Where there is nowhere to go, nothing is tried."""
    monkeypatch.setenv("COMETAPI_BASE_URL", "ftp://127.0.0.1")

    code = cli.main(["doctor"])

    printed, told = capsys.readouterr()
    assert code == 1
    assert printed.count("base URL failed") == 7
    assert told.startswith("2 failed, 7 skipped, ")


# The disk


def test_a_folder_that_is_not_there_is_not_made(tmp_path):
    """A folder that could be made is fine, and is not made."""
    finding = _disk.look(str(tmp_path / "a" / "b"))

    assert finding.check == "disk"
    assert "can be made, and is writable, with" in finding.text
    assert [*tmp_path.iterdir()] == []


def test_a_folder_that_is_a_file_fails(tmp_path):
    """A file where the folder should be is told."""
    (tmp_path / "a").write_text("a diary")

    assert _disk.look(str(tmp_path / "a" / "b")) == failed(
        "disk", f"{tmp_path / 'a'} is not a folder", "choose another --out"
    )


def test_a_folder_that_takes_no_file_fails(tmp_path, monkeypatch):
    """What the system says of a folder that takes no file is passed on."""

    def refuse(**_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(_disk.tempfile, "TemporaryFile", refuse)

    assert _disk.look(str(tmp_path)).text == f"{tmp_path} takes no file: Read-only file system"


@pytest.mark.parametrize(
    ("free", "state", "words"),
    [
        pytest.param(0, "warning", "with only 0.0 GB free, about 0 images", id="full"),
        pytest.param(5_000_000_000, "ok", "with 5.0 GB free, about 5000 images", id="room"),
    ],
)
def test_room_is_counted_in_images(free, state, words):
    """The free space is told in images; too little is a warning."""
    finding = _disk.judge("cats", free, exists=True)

    assert finding.state == state
    assert words in finding.text


async def test_a_disk_that_hangs_is_left_behind(monkeypatch):
    """A network disk that is gone costs the time limit."""
    back = threading.Event()
    monkeypatch.setattr(_disk, "look", lambda _: back.wait())

    finding = await _command._look_at_disk("/mnt/far", 0.05)

    back.set()
    assert finding.text == "/mnt/far did not answer within 0.05 s"


# What is seldom met on the network


@pytest.mark.parametrize(
    ("addresses", "elapsed", "state", "words"),
    [
        pytest.param(["8.8.8.8"], 0.0124, "ok", "is 8.8.8.8 (12 ms)", id="fine"),
        pytest.param(
            [f"8.8.8.{n}" for n in range(5)],
            0,
            "ok",
            "8.8.8.0, 8.8.8.1, 8.8.8.2 and 2 more",
            id="many",
        ),
        pytest.param(
            ["8.8.8.8", "10.0.0.1"], 0, "warning", "not an address of the public", id="inward"
        ),
        pytest.param(["8.8.8.8"], 2.5, "warning", "(2500 ms)", id="slow"),
    ],
)
def test_addresses_are_judged(addresses, elapsed, state, words):
    """A public name that leads inwards, or took long to resolve, is a warning."""
    finding = _words.judge_addresses(PUBLIC, addresses, elapsed)

    assert finding.state == state
    assert words in finding.text


@pytest.mark.parametrize("proxied", [False, True])
def test_a_proxy_may_be_why_nothing_connects(proxied):
    """If there is a proxy that is passed by, that is offered as the reason."""
    dead = _words.judge_connections(PUBLIC, {"8.8.8.8": TimeoutError()}, proxied=proxied, timeout=3)
    lost = _words.judge_unresolved(PUBLIC, TimeoutError(), proxied=proxied, timeout=3)

    assert dead.text == "no connection to port 443 of 8.8.8.8: silence for 3 s"
    assert lost.text == "api.example.com did not resolve within 3 s"
    assert ("proxy" in dead.remedy, "proxy" in lost.remedy) == (proxied, proxied)


def test_trouble_without_a_number_is_told():
    """An error of the system that has no number still is one."""
    finding = _words.judge_connections(
        PUBLIC, {"8.8.8.8": OSError("many")}, proxied=False, timeout=3
    )

    assert finding.text == "no connection to port 443 of 8.8.8.8: failed"


def distrust(code, message=""):
    """An error of OpenSSL's about a certificate."""
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message, error.reason = (
        code,
        message,
        "CERTIFICATE_VERIFY_FAILED",
    )
    return error


def handshake(reason):
    """Another error of OpenSSL's."""
    error = ssl.SSLError()
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(
            distrust(9),
            "is not yet valid; the clock of this machine says 2026-11-21 12:00",
            id="early",
        ),
        pytest.param(distrust(18), "is signed by itself", id="self-signed"),
        pytest.param(
            distrust(23, "certificate revoked"), "is not valid: certificate revoked", id="other"
        ),
        pytest.param(distrust(62), "the certificate is not for h", id="nameless"),
        pytest.param(
            handshake("TLSV1_ALERT_PROTOCOL_VERSION"),
            "failed: tlsv1 alert protocol version",
            id="version",
        ),
        pytest.param(handshake(None), "failed: no reason given", id="silent"),
        pytest.param(
            ConnectionResetError(), "h closed the connection in the handshake", id="reset"
        ),
    ],
)
def test_trouble_with_tls_is_told(error, words):
    """Each reason for which a handshake fails has words and a remedy."""
    finding = _tls.judge_trouble("h", error, [], NOW, 3)

    assert finding.state == "failed"
    assert words in finding.text
    assert finding.remedy


@pytest.mark.parametrize(
    ("left", "state", "words"),
    [
        pytest.param(
            timedelta(days=3, hours=1), "warning", "until 2026-11-24: 3 days left", id="soon"
        ),
        pytest.param(timedelta(days=90), "ok", "(90 days)", id="later"),
    ],
)
def test_a_certificate_that_ends_soon_is_a_warning(left, state, words):
    """A certificate that ends within a week is a warning."""
    until = f"{NOW + left:%b %d %H:%M:%S %Y} GMT"

    finding = _tls.judge_certificate("h", "TLSv1.3", {"notAfter": until}, NOW)

    assert finding.state == state
    assert words in finding.text
    assert "certificate for h by an unnamed issuer" in finding.text


@pytest.mark.parametrize(
    ("date", "state", "words"),
    [
        pytest.param("Sat, 21 Nov 2026 12:00:30 GMT", "ok", "within 31 s", id="half a minute"),
        pytest.param("Sat, 21 Nov 2026 12:01:30 GMT", "warning", "91 seconds behind", id="seconds"),
        pytest.param("Sat, 21 Nov 2026 12:00:00 -0000", "ok", "within 1 s", id="no zone"),
        pytest.param("Tue, 21 Nov 2023 12:00:00 GMT", "warning", "1096 days ahead", id="days"),
        pytest.param("yesterday", "skipped", "no date", id="garbled"),
    ],
)
def test_clocks_are_compared(date, state, words):
    """More than a minute between this clock and that of the service is a warning."""
    finding = _words.judge_clock(date, 0.2, NOW)

    assert finding.state == state
    assert words in finding.text


def test_without_any_model_there_is_none_to_offer():
    """If no Seedream model is listed, none can be offered."""
    assert _words.judge_model((), "m").remedy == "ask for it to be opened"


def test_a_link_of_unknown_length_and_life():
    """A link tells its size and its end only if those are known."""
    link = "https://store.example.com/a.png"

    assert _link.judge(link, "image/png", "") == ok(
        "link", "store.example.com serves it: image/png"
    )


# How it prints


def test_a_finding_is_one_line(capsys):
    """In a file or a pipe, a finding is one line, whatever others have said in it."""
    _printing.printer(as_json=False)(failed("TLS", "by \x1b[2J\nEve", "set the clock"))

    assert capsys.readouterr().out == "failed   TLS       by ?[2J Eve -> set the clock\n"


@pytest.mark.usefixtures("no_rich")
@pytest.mark.parametrize("columns", [40, 80])
def test_a_terminal_is_not_overrun(terminal, columns):
    """On a terminal, words are wrapped, and the remedy has a line of its own."""
    stream = terminal(columns)

    _printing.printer(as_json=False)(LONG)

    lines = stream.getvalue().splitlines()
    assert max(map(len, lines)) < columns
    assert lines[0].startswith("warning  proxy")
    assert lines[-1].strip() == "-> lend a session"
    assert " ".join(stream.getvalue().split()).endswith("connects directly -> lend a session")


def test_a_narrow_terminal_keeps_what_fits():
    """What fits beside the name of its check stays there; what does not stands below it."""
    short, long = ok("DNS", "it is 8.8.8.8"), ok("DNS", "it is 8.8.8.8 and 8.8.4.4")

    assert _printing.lines_of(short, 40) == ["ok       DNS       it is 8.8.8.8"]
    assert _printing.lines_of(long, 40) == ["ok       DNS", "  it is 8.8.8.8 and 8.8.4.4"]


def test_rich_adds_colour_and_nothing_else(terminal, monkeypatch):
    """With rich the state is coloured, and with NO_COLOR the words are the same without."""
    stream = terminal(80)
    _printing.printer(as_json=False)(LONG)
    monkeypatch.setenv("NO_COLOR", "1")
    plain = Terminal()
    monkeypatch.setattr(sys, "stdout", plain)
    _printing.printer(as_json=False)(LONG)

    assert stream.getvalue().startswith("\x1b[33mwarning\x1b[0m  proxy")
    assert plain.getvalue() == stream.getvalue().replace("\x1b[33m", "").replace("\x1b[0m", "")
    assert plain.getvalue().splitlines() == _printing.lines_of(LONG, 80)


@pytest.mark.parametrize("has_rich", [True, False])
def test_a_long_word_is_not_cut(terminal, has_rich, request):
    """What is longer than a line, such as an address or a command, can be copied whole."""
    if not has_rich:
        request.getfixturevalue("no_rich")
    stream = terminal(40)
    word = f"https://{'a' * 60}.example.com/v1"

    _printing.printer(as_json=False)(ok("base URL", f"{word} (the default)"))

    assert stream.getvalue().splitlines()[1:] == [f"  {word}", "  (the default)"]


def test_the_summary_tells_the_worst_first():
    """What failed is counted before what is well."""
    assert _printing.summary(Counter(ok=9, failed=1, warning=2)) == "1 failed, 2 warning, 9 ok"


@pytest.mark.parametrize("limit", ["0", "-1", "soon"])
def test_a_limit_of_no_time_is_refused(limit, capsys):
    """A check needs some time."""
    with pytest.raises(SystemExit) as exit:  # noqa: A001
        cli.main(["doctor", "--timeout", limit])

    assert exit.value.code == 2
    assert "--timeout" in capsys.readouterr().err


def test_the_command_says_what_it_found(capsys, monkeypatch):
    """The command ends with a line that counts, on standard error."""
    monkeypatch.setattr(_words, "_SLOW", math.inf)

    code = cli.main(["doctor", "--emulator", "--timeout", "60"])

    printed, told = capsys.readouterr()
    assert code == 0
    assert len(printed.splitlines()) == 13
    assert told == "13 ok\n"
