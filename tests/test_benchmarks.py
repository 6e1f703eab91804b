"""The frame of the benchmarks, and that the READMEs say what the scripts found."""

import asyncio
import gc
import json
import math
import os
import ssl
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import aiohttp
import pytest
from arena import (
    CPU,
    GROWTH,
    LAG_MAX,
    RATE,
    Contender,
    Contest,
    Goal,
    Run,
    chart,
    extra,
    kernel,
    publish,
    servers,
    table,
)
from arena.figures import figures_of, summary
from arena.lag import Durations, timed_steps, waits_of
from arena.main import absence, machine
from arena.processes import environment_of
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
SCRIPTS = sorted(path.name for path in BENCHMARKS.glob("*.py"))
SVG = "{http://www.w3.org/2000/svg}"


async def nobody(_):
    """Stands for what is not called."""


def report(cpu=1.0, **facts):
    lag = {"p50": 0.1, "p99": 1.0, "max": 2.0}
    usual = {"wall": 2.0, "units": 1000, "growth": 3.0, "peak": 50.0, "exact": True, "server": 0.1}
    return {**usual, "cpu": cpu, "lag": lag, "extras": {}, **facts}


def contest(**facts):
    contenders = [
        Contender("plain", nobody),
        Contender("us & co", nobody, ours=True, note="with care"),
    ]
    usual = {"title": "32 in flight", "contenders": contenders, "baseline": "plain"}
    return Contest(**{**usual, "metrics": [CPU], **facts})


def found(reports=None, left_out=(), server=(), **facts):
    """The figures of a contest in which plain needs 1,000 µs and ours half of it, by default."""
    reports = reports or {"plain": [report(1.0)], "us & co": [report(0.5)]}
    return figures_of(contest(**facts), reports, dict(left_out), dict(server))


def script(*contests, **facts):
    usual = {"script": "calls", "title": "Calls", "date": "2026-11-21", "quick": False}
    about = {"versions": {"ours": {"aiohttp": "3.14.5"}}, "machine": machine()}
    return {**usual, **about, "contests": contests, **facts}


# what is measured


def durations(seconds):
    made = Durations()
    for each in seconds:
        made.add(each)
    return made


def test_whoever_would_have_come_is_counted():
    """A stall of 100 ms is a hundred waits, so it is seen at p99."""
    waits, due = waits_of(5.0, 5.0995, 0.001)

    assert len(waits) == 100
    assert durations(waits).figures()["max"] == pytest.approx(99.5)
    assert durations(waits).figures()["p50"] == pytest.approx(50, abs=1)
    assert due == pytest.approx(5.1)


@given(st.lists(st.floats(1e-7, 1000), min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_is_one_of_them(seconds, share):
    """What is kept of many durations is exact to one per cent."""
    rank = max(1, math.ceil(share * len(seconds)))

    found = durations(seconds).quantile(share)

    assert found == pytest.approx(sorted(seconds)[rank - 1], rel=0.011)


def test_who_comes_waits_for_the_step_that_goes_on():
    """In a second with ten steps of 10 ms, 5 % of the time more than 5 ms are left of one."""
    assert durations([0.01] * 10).left_at(0.05) == pytest.approx(0.005)
    assert durations([0.01] * 10).left_at(0.1) == 0
    assert durations([]).left_at(0) == 0


async def test_a_step_costs_what_it_computes(monkeypatch):
    """A step is as long as it needs the processor; to wait for something else is no part of it."""
    monkeypatch.setattr(asyncio.Handle, "_run", asyncio.Handle._run)
    monkeypatch.setattr(gc, "callbacks", [])

    def work():
        time.sleep(0.05)
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass

    steps = timed_steps()
    asyncio.get_running_loop().call_soon(work)
    await asyncio.sleep(0)

    assert 20 <= steps.figures()["max"] < 40


@given(due=st.floats(0, 1e6), late=st.floats(-1, 10), tick=st.sampled_from([0.001, 0.005, 0.1]))
def test_nobody_waits_less_than_nothing(due, late, tick):
    """Waits are of those who were due, and the next one is due later."""
    waits, after = waits_of(due, due + late, tick)

    assert bool(waits) == (due + late >= due)
    assert all(wait >= -1e-6 for wait in waits)
    assert after > due + late - 1e-6


def test_no_wait_is_no_lag():
    """Where nobody looked, there are no figures."""
    assert durations([]).figures() is None


async def test_a_stall_is_seen():
    """What holds the loop is lag, and CPU and wall time are those of the block."""
    run = Run(options={}, server={})

    with run.measured(units=7):
        await asyncio.sleep(0.005)
        time.sleep(0.05)  # noqa: ASYNC251  the stall
        await asyncio.sleep(0)
    (take,) = run.takes

    assert take.figures["lag"]["max"] >= 48
    assert take.figures["wall"] >= 0.055
    assert take.figures["cpu"] < take.figures["wall"]
    assert take.report()["units"] == 7


def test_memory_that_was_given_back_counts():
    """Growth is that of the peak, and outside of a loop there is no lag."""
    run = Run(options={}, server={})

    with run.measured():
        assert bytearray(b"x") * 40_000_000  # more than the allocator keeps
    figures = run.takes[0].figures

    assert 39 < figures["growth"] < 50
    assert figures["peak"] > figures["growth"]
    assert figures["lag"] is None
    assert figures["server"] is None


def test_children_count_on_request():
    """The CPU and the memory of a process that was waited for."""
    run = Run(options={}, server={}, server_pids=[os.getpid()])
    busy = "x = bytearray(60_000_000); [n * n for n in range(300_000)]"

    with run.measured(children=True):
        subprocess.run([sys.executable, "-c", busy], check=True)  # noqa: S603
    figures = run.takes[0].figures

    assert figures["cpu"] > 0.01
    assert figures["growth"] > 55
    assert figures["server"] < 1


def test_a_process_that_is_gone_used_nothing():
    """Looking at a server that died raises nothing."""
    assert kernel.cpu_seconds(2**22 + 1) == 0
    assert kernel.cpu_seconds(os.getpid()) > 0
    assert kernel.family(2**22 + 1) == [2**22 + 1]


def test_a_family_has_its_children():
    """The workers of a server belong to it."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        members = kernel.family(os.getpid())
        child.stdin.close()

    assert child.pid in members


# figures


def test_the_middle_and_the_spread():
    """A figure is a median, with the least and the most."""
    assert summary([3.0, 1.0, 2.00004]) == {"median": 2.0, "min": 1.0, "max": 3.0}


@pytest.mark.parametrize("values", [[], [1.0, None]], ids=["none", "one is missing"])
def test_what_is_missing_is_no_figure(values):
    """A median of a part would be another figure."""
    assert summary(values) is None


@pytest.mark.parametrize(
    ("bounds", "reached", "said"),
    [
        pytest.param({"most": 0.5, "against": "plain"}, True, "1/2 of plain", id="just so"),
        pytest.param({"most": 0.4, "against": "plain"}, False, "1/2 of plain", id="too much"),
        pytest.param({"most": 1.25, "against": "plain"}, True, "0.5 × plain", id="multiple"),
        pytest.param({"least": 3, "against": "plain"}, False, "0.5 × plain", id="too little"),
        pytest.param({"most": 500}, True, "500 µs", id="absolute"),
        pytest.param({"most": 499}, False, "500 µs", id="absolute, too much"),
        pytest.param({"least": 500}, True, "500 µs", id="absolute, enough"),
        pytest.param({"most": 2, "against": "nobody"}, None, None, id="no such peer"),
    ],
)
def test_verdicts(bounds, reached, said):
    """A goal is reached, or not, or nobody knows."""
    goal = Goal(metric=CPU, contender="us & co", **bounds)

    (verdict,) = found(goals=[goal])["goals"]

    assert (verdict["reached"], verdict["said"]) == (reached, said)


@pytest.mark.parametrize(
    ("metric", "ours", "reached"),
    [
        pytest.param(CPU, (1.0, 1.1, 1.2), True, id="one turn is as good"),
        pytest.param(CPU, (1.1, 1.2, 1.3), False, id="all are worse"),
        pytest.param(RATE, (0.9, 1.2, 1.3), True, id="more is better"),
        pytest.param(RATE, (1.1, 1.2, 1.3), False, id="more is better, and all have less"),
    ],
)
def test_no_worse_is_what_turns_can_tell(metric, ours, reached):
    """Of two that are the same, one has the higher median: that alone makes it no worse."""
    goal = Goal(metric=metric, contender="us & co", against="plain")
    reports = {
        "plain": [report(cpu, wall=cpu) for cpu in (0.8, 0.9, 1.0)],
        "us & co": [report(cpu, wall=cpu) for cpu in ours],
    }

    (verdict,) = found(reports, metrics=[metric], goals=[goal])["goals"]

    assert verdict["reached"] is reached
    assert verdict["text"].endswith("of us & co: no worse than plain")


def test_a_goal_may_be_of_what_is_not_shown():
    """The figures of goals are kept, too."""
    goal = Goal(metric=GROWTH, contender="us & co", most=8, headline="memory")

    (verdict,) = found(goals=[goal])["goals"]

    assert verdict["text"] == "memory growth of us & co: at most 8 MB"
    assert verdict["value"] == 3


def test_a_lower_bound_is_called_one():
    """Where the kernel keeps old peaks, the table says what that means."""
    figures = found({"plain": [report(exact=False)]})

    assert "lower bound" in figures["notes"][0]


# tables


def test_a_table_for_the_terminal():
    """Medians, spread, the ratio, the server's share, what was missed, and who was left out."""
    goal = Goal(metric=CPU, contender="us & co", against="plain", most=0.25)
    figures = found(
        {"plain": [report(1.0), report(1.1), report(0.9)], "us & co": [report(0.5)]},
        left_out={"openai": "as it needs --peers"},
        server={"note": "no nginx here"},
        metrics=[CPU, RATE, LAG_MAX, extra("first", "ms")],
        goals=[goal],
    )

    assert table.plain(figures).splitlines() == [
        "32 in flight  CPU each, µs       ratio   rate, /s  loop lag max, ms  server",
        "plain         1,000 (900–1,100)  1.00 ×  500       2.00              10%",
        "us & co       500                0.50 ×  500       2.00              10%     with care",
        "  goal: CPU each of us & co: at most 1/4 of plain: NOT reached, 1/2 of plain",
        "  left out, as it needs --peers: openai",
        "  no nginx here",
    ]


def test_a_table_in_markdown():
    """The same, with a rule below the head."""
    lines = table.markdown(found()).splitlines()

    assert lines == [
        "| 32 in flight | CPU each, µs | ratio | server | |",
        "| --- | --: | --: | --: | --- |",
        "| plain | 1,000 | 1.00 × | 10% | |",
        "| us & co | 500 | 0.50 × | 10% | with care |",
    ]


@pytest.mark.parametrize(("share", "told"), [(0.69, False), (0.71, True)])
def test_a_server_that_is_the_limit(share, told):
    """Above 70 % of a core, the row says whose figure it is."""
    figures = found({"plain": [report(server=share)]})

    assert ("server was the limit" in table.plain(figures)) == told


def test_nothing_compares_to_itself():
    """A contest of one has no ratio."""
    figures = found({"plain": [report()]}, contenders=[Contender("plain", nobody)])

    assert "ratio" not in table.plain(figures)


# charts


@pytest.mark.parametrize("scheme", chart.SCHEMES)
def test_a_chart(scheme):
    """Bars are as long as their figures say, and whoever sees none is told the same."""
    svg = ET.fromstring(chart.draw(script(found()), scheme))  # noqa: S314  our own
    lengths = [float(bar.get("width")) for bar in svg.iter(f"{SVG}rect")]

    assert lengths[1] / lengths[0] == pytest.approx(0.5, rel=0.01)
    assert svg.find(f"{SVG}title").text == "Calls"
    assert svg.find(f"{SVG}desc").text == "32 in flight: plain 1,000 µs, us & co 500 µs"
    assert svg.get("aria-labelledby") == "title desc"


def test_labels_have_room():
    """The bars of all contests begin where the longest label ends."""
    label = "a label of forty letters, and some more."
    long = found({label: [report()]}, contenders=[Contender(label, nobody)], baseline=label)

    svg = ET.fromstring(chart.draw(script(found(), long), "light"))  # noqa: S314  our own

    assert {bar.get("x") for bar in svg.iter(f"{SVG}rect")} == {"348"}


def test_schemes_differ():
    """What is read on white is not what is read on black."""
    assert chart.draw(script(found()), "light") != chart.draw(script(found()), "dark")


def test_what_has_no_bars_is_not_drawn():
    """Neither contests without figures, nor those that want no chart."""
    without = [found(chart=False), found({"plain": [], "us & co": []})]

    assert chart.drawn(without) == []


# who takes part, and where


@pytest.mark.parametrize(
    ("facts", "python", "why"),
    [
        pytest.param({}, None, None, id="everybody"),
        pytest.param({"peers": True}, None, "as it needs --peers", id="no peers"),
        pytest.param({"peers": True}, "/python", None, id="peers"),
        pytest.param({"needs": "sh"}, None, None, id="a command"),
        pytest.param({"needs": "no-such"}, None, "as there is no no-such here", id="no command"),
    ],
)
def test_who_is_absent(facts, python, why):
    """Whoever cannot take part is left out for a reason."""
    assert absence(Contender("one", nobody, **facts), python) == why


def test_the_environment_of_a_contender():
    """No key, no proxy, no path to other packages; the server's certificate is trusted."""
    inherited = {"PATH": "/bin", "PYTHONPATH": "x", "COMETAPI_KEY": "k", "https_proxy": "p"}

    assert environment_of({}, inherited) == {"PATH": "/bin"}
    assert environment_of({"authority": "/a.pem"}, inherited)["SSL_CERT_FILE"] == "/a.pem"


SCRIPT = """
import sys
sys.path.insert(0, {benchmarks!r})
from pathlib import Path
from arena import CPU, Contender, Contest, Server, extra, main, peers, servers

peers.ensure = lambda folder: sys.executable

async def first(run):
    import aiohttp
    async with aiohttp.ClientSession() as session:
        with run.measured(units=2) as take:
            async with session.post(run.server["url"], json={{}}) as response:
                take.extras["status"] = response.status
                await response.read()
        note("A")

def second(run):
    with run.measured():
        note("B")

def failing(run):
    note("D")
    raise OSError("no luck")

def note(who):
    with Path({log!r}).open("a") as file:
        file.write(who)

def contests(quick):
    both = [
        Contender("A", first),
        Contender("B", second),
        Contender("C", second, needs="no-such"),
        Contender("D", failing, peers=True),
    ]
    server = Server(servers.instant, {{"tls": True}})
    metrics = [CPU, extra("status", "")]
    yield Contest(title="t", contenders=both, baseline="A", metrics=metrics, server=server, rounds=2)

main(__doc__, lambda quick: list(contests(quick)), title="T")
"""


def test_a_contest(tmp_path):
    """
    Contenders take turns in processes of their own, against a server in another one; a peer that
    fails is left out from then on.
    """
    log, report_file = tmp_path / "log", tmp_path / "report.json"
    path = tmp_path / "script.py"
    path.write_text(SCRIPT.format(benchmarks=str(BENCHMARKS), log=str(log)))

    done = subprocess.run(  # noqa: S603
        [sys.executable, path, "--json", report_file, "--peers"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    (result,) = json.loads(report_file.read_text())["contests"]

    assert (done.stderr, done.returncode) == ("", 0)
    assert log.read_text() == "ABDAB"
    assert result["rows"]["A"]["figures"]["status"]["median"] == 200
    assert result["left_out"] == {
        "C": "as there is no no-such here",
        "D": "as it failed: OSError: no luck",
    }


# servers


@given(data=st.data())
def test_answers_however_requests_are_cut(data):
    """One answer for each request, when all of it is there."""
    request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\nhello world"
    cut = data.draw(st.lists(st.integers(1, len(request) - 1), unique=True).map(sorted))
    written = []
    protocol = servers.Answering(b"answer", 0)
    protocol.connection_made(type("Transport", (), {"write": lambda _, it: written.append(it)})())

    for _ in range(2):
        for first, last in zip([0, *cut], [*cut, len(request)], strict=True):
            protocol.data_received(request[first:last])

    assert written == [b"answer"] * 2


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_a_site(tmp_path, tls):
    """The files of a folder, with the certificate that the facts name."""
    tmp_path.joinpath("a.jpeg").write_bytes(b"abc")

    async with servers.python_site(str(tmp_path), tls=tls) as facts, aiohttp.ClientSession() as own:
        trust = ssl.create_default_context(cafile=facts["authority"]) if tls else True
        async with own.get(f"{facts['url']}/a.jpeg", ssl=trust) as response:
            assert await response.read() == b"abc"

    assert "apt-get install nginx" in facts["note"]


async def test_the_emulator_serves():
    """Its facts are where it is, and a key."""
    async with servers.emulator() as facts:
        assert facts["url"].startswith("http://")
        assert facts["key"]


def test_the_configuration_of_nginx():
    """One worker, which keeps all that it writes in a folder of its own."""
    bare = servers.nginx_configuration("/work", "/root", 80, None)
    secure = servers.nginx_configuration("/work", "/root", 80, Path("/keys"), "location / {}")

    assert "listen 127.0.0.1:80 backlog" in bare
    assert "ssl" not in bare
    assert "listen 127.0.0.1:80 ssl backlog" in secure
    assert "ssl_certificate_key /keys/key.pem;" in secure
    assert "location / {}" in secure
    assert bare.count("{") == bare.count("}")


NGINX = """#!{python}
import re, socket, sys
port = int(re.search(r"listen 127.0.0.1:(\\d+)", open(sys.argv[sys.argv.index("-c") + 1]).read())[1])
with socket.create_server(("127.0.0.1", port)) as server:
    while True:
        server.accept()[0].close()
"""


async def test_nginx_where_it_is(tmp_path, monkeypatch):
    """It is started with a configuration of its own, awaited, and ended with the block."""
    tmp_path.joinpath("nginx").write_text(NGINX.format(python=sys.executable))
    tmp_path.joinpath("nginx").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)

    async with servers.site(str(tmp_path)) as facts:
        _, port = facts["url"].rsplit(":", 1)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()

    assert facts["name"] == "nginx, one worker"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


# what is published


def test_what_is_generated_stands_between_markers():
    """Only that is replaced, however often."""
    text = "a\n<!-- figures: generated -->\nold\n<!-- figures: end -->\nb"

    once = publish.filled(text, "figures", "new")

    assert once == "a\n<!-- figures: generated -->\n\nnew\n\n<!-- figures: end -->\nb"
    assert publish.filled(once, "figures", "new") == once


def test_no_markers():
    """Nothing is written anywhere else."""
    with pytest.raises(LookupError):
        publish.filled("a", "figures", "new")


def test_headlines():
    """The project's README shows what was wanted and what became of it, and says if it was quick."""
    goals = [
        Goal(metric=CPU, contender="us & co", against="plain", most=0.4, headline="CPU of a call"),
        Goal(metric=CPU, contender="us & co", against="nobody", most=2, headline="another"),
        Goal(metric=CPU, contender="us & co", against="plain", most=1),
    ]

    text = publish.of_project([script(found(goals=goals), quick=True)])

    assert "| CPU of a call | 1/2 of plain | at most 1/2.5 of plain: **not reached** |" in text
    assert "| another | not measured | at most 2 × nobody |" in text
    assert text.count("| at most") == 2
    assert "A quick run" in text
    assert "benchmarks/charts/calls-dark.svg" in text


@pytest.mark.parametrize(
    ("path", "content"),
    [(BENCHMARKS / "README.md", publish.of_folder), (ROOT / "README.md", publish.of_project)],
    ids=["benchmarks", "project"],
)
def test_a_figure_that_is_not_from_a_script_is_not_in_a_readme(path, content):
    """What stands between the markers is what the kept figures make."""
    text = path.read_text()

    assert publish.filled(text, "figures", content(publish.kept())) == text


@pytest.mark.parametrize("figures", publish.kept(), ids=lambda figures: figures["script"])
@pytest.mark.parametrize("scheme", chart.SCHEMES)
def test_charts_are_of_the_kept_figures(figures, scheme):
    """No chart is older than what it shows."""
    path = BENCHMARKS / "charts" / chart.name_of(figures, scheme)

    assert path.read_text() == chart.draw(figures, scheme)


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_has_an_entry(name):
    """The README of the folder says what each one shows."""
    assert f"\n| `{name}` | " in BENCHMARKS.joinpath("README.md").read_text()


def test_figures_are_of_scripts_that_exist():
    """None is left of a script that is gone."""
    assert {f"{figures['script']}.py" for figures in publish.kept()} <= set(SCRIPTS)
