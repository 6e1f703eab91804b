"""`seedream doctor` on its way to the service, over real sockets of this machine."""

import asyncio
import contextlib
import errno
import json
import math
import os
import queue
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import aiohttp
import pytest
import trustme

from seedream_async import _doctor, cli
from seedream_async._doctor import _command, _probes, _words
from seedream_async._doctor._environment import Endpoint
from seedream_async._doctor._findings import Finding

from .raw_server import raw_server

KEY = "sk-of-the-doctors-patient"
NETWORK = ("DNS", "TCP", "TLS", "service", "clock", "access", "model")
PAGE = b"<!doctype html><title>Welcome to the hotel</title>"
MODELS = b'{"object": "list", "data": [{"id": "doubao-seedream-4-0-250828"}, {"id": "gpt"}]}'


def reply(body, *, status="200 OK", kind="application/json", **headers):
    """An answer, as bytes."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"Content-Type: {kind}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


@contextlib.asynccontextmanager
async def answering(answer, context=None, heard=None):
    """The port of a server that answers whatever it is asked, and has *heard*, with *answer*."""

    async def converse(reader, writer):
        request = await reader.readuntil(b"\r\n\r\n")
        if heard is not None:
            heard.append(request)
        writer.write(answer)
        await writer.drain()
        writer.transport.abort()

    async with raw_server(converse, ssl=context) as port:
        yield port


@pytest.fixture
def at(monkeypatch):
    """Let the environment lead to a port, as a patient's would."""
    monkeypatch.setenv("COMETAPI_KEY", KEY)

    def at(port, host="127.0.0.1", scheme="http"):
        monkeypatch.setenv("COMETAPI_BASE_URL", f"{scheme}://{host}:{port}/v1")

    return at


def options_of(arguments):
    return cli._parser().parse_args(["doctor", "--json", "--timeout", "60", *map(str, arguments)])


@pytest.fixture(autouse=True)
def no_name_is_slow(monkeypatch):
    """A machine that is busy is no resolver that is slow."""
    monkeypatch.setattr(_words, "_SLOW", math.inf)


@pytest.fixture
def examine(capsys, monkeypatch):
    """Run the command, and give its exit code and its findings by their checks."""

    async def examine(*arguments):
        code = await _doctor.run(await asyncio.to_thread(options_of, arguments))
        printed, told = capsys.readouterr()
        assert KEY not in printed
        assert told == ""
        return code, {
            (it := Finding(**json.loads(line))).check: it for line in printed.splitlines()
        }

    return examine


@pytest.fixture
def authority(monkeypatch, tmp_path):
    """A certificate authority that this machine trusts."""
    authority = trustme.CA(organization_name="Doctor's Trust")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    trusting = ssl.create_default_context()
    init = aiohttp.TCPConnector.__init__
    monkeypatch.setattr(
        aiohttp.TCPConnector,
        "__init__",
        lambda self, **options: init(self, ssl=trusting, **options),
    )
    return authority


@pytest.fixture
def aside_is_work(monkeypatch):
    """Virtual time waits for what only looks, as it does for other threads."""

    async def aside(function, timeout):
        async with asyncio.timeout(timeout):
            return await asyncio.to_thread(function)

    monkeypatch.setattr(_command, "aside", aside)
    monkeypatch.setattr(_probes, "aside", aside)


def serving(certificate):
    """A server's context with *certificate*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def resolving(monkeypatch, resolve):
    """Let *resolve* answer in place of the resolver for hosts that are no addresses."""
    real = socket.getaddrinfo

    def getaddrinfo(host, *arguments, **options):
        if host[0].isdigit() or host == "localhost":
            return real(host, *arguments, **options)
        return resolve(host)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def states(findings):
    """The state of each check of the network."""
    return {check: findings[check].state for check in NETWORK}


def failing(check, **others):
    """The states when *check* fails and those after it cannot be told."""
    at = NETWORK.index(check)
    before, after = dict.fromkeys(NETWORK[:at], "ok"), dict.fromkeys(NETWORK[at + 1 :], "skipped")
    return {**before, check: "failed", **after, **others}


async def test_all_is_well_at_the_emulator(examine, tmp_path):
    """With --emulator everything is green, without a key or a network."""
    code, findings = await examine("--emulator", "--out", tmp_path)

    assert code == 0
    assert [*findings][3:7] == ["disk", "key", "base URL", "proxy"]
    assert [*findings][7:] == [*NETWORK]
    assert {finding.state for finding in findings.values()} == {"ok"}


async def test_without_a_key_the_way_is_checked(examine, emulator, monkeypatch):
    """Without a key, all that needs none is checked; nothing but the key fails."""
    monkeypatch.setenv("COMETAPI_BASE_URL", emulator.base_url)

    code, findings = await examine()

    assert code == 1
    assert findings["key"] == ("key", "failed", "COMETAPI_KEY is not set", "export COMETAPI_KEY=…")
    assert states(findings) == {
        **dict.fromkeys(NETWORK, "ok"),
        "access": "skipped",
        "model": "skipped",
    }
    assert findings["access"].text == findings["model"].text == "there is no usable key"
    assert findings["service"].text.startswith("GET /models was answered 401 in ")


async def test_without_a_key_something_is_said_in_its_place(examine, at, monkeypatch):
    """One free request is made, with a header that every server can read."""
    heard = []
    async with answering(reply(MODELS), heard=heard) as port:
        at(port)
        monkeypatch.delenv("COMETAPI_KEY")

        await examine()

    (request,) = heard
    assert request.startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer none\r\n" in request


async def test_a_wrong_key_is_told(examine, emulator, at):
    """A key that the service refuses fails its access, not the service."""
    at(emulator.base_url.split(":")[2].partition("/")[0])

    code, findings = await examine()

    assert code == 1
    assert states(findings) == failing("access")
    assert findings["access"].text.startswith("401")
    assert findings["access"].text.endswith("Check the API key (COMETAPI_KEY)")
    assert findings["model"].text == "access failed"
    assert emulator.request_count == emulator.images_billed == 0


async def test_a_dead_port_is_told(examine, at):
    """A port where nobody listens is named with its address."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # nobody listens, and nobody else begins to
        port = deaf.getsockname()[1]
        at(port)

        code, findings = await examine()

    assert code == 1
    assert states(findings) == failing("TCP")
    assert findings["TCP"].text == f"no connection to port {port} of 127.0.0.1: Connection refused"
    assert findings["clock"].text == "TCP failed"


async def test_a_name_that_does_not_resolve_is_told(examine, at, monkeypatch):
    """A host name that does not resolve is told in the words of the resolver."""

    def resolve(_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolving(monkeypatch, resolve)
    at(443, "api.example.test", "https")

    code, findings = await examine()

    assert code == 1
    assert states(findings) == failing("DNS")
    assert findings["DNS"].text == "api.example.test does not resolve: Name or service not known"


async def test_a_name_that_is_none_is_told(examine, at, monkeypatch):
    """A host name that the resolver cannot even be asked for does not resolve."""

    def resolve(_):
        raise UnicodeError("label too long")

    resolving(monkeypatch, resolve)
    at(443, "api.example.test", "https")

    _, findings = await examine()

    assert findings["DNS"].text == "api.example.test does not resolve: it is no host name"


async def test_a_resolver_that_hangs_is_left_behind(examine, at, monkeypatch):
    """A resolver that never answers costs the time limit, and neither the loop nor the exit waits."""
    answer, waiting = threading.Event(), queue.SimpleQueue()

    def resolve(_):
        waiting.put(threading.current_thread().daemon)
        answer.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "too late")

    resolving(monkeypatch, resolve)
    at(443, "api.example.test", "https")

    _, findings = await examine("--timeout", 0.05, "--link", "https://store.example.test/a.jpeg")

    answer.set()
    assert [waiting.get(timeout=30) for _ in range(2)] == [True, True]
    assert states(findings) == failing("DNS")
    assert findings["DNS"].text == "api.example.test did not resolve within 0.05 s"
    assert findings["link"].text == "store.example.test did not answer within 0.05 s"


async def test_an_address_that_fails_beside_one_that_works(examine, at, authority, monkeypatch):
    """One address of several that does not answer is a warning: it costs time."""
    context = serving(authority.issue_cert("api.localhost"))
    async with answering(reply(MODELS), context) as port:
        addresses = [(socket.AF_INET, 1, 6, "", (ip, port)) for ip in ("127.0.0.9", "127.0.0.1")]
        resolving(monkeypatch, lambda _: addresses)
        at(port, "api.localhost", "https")

        code, findings = await examine()

    assert code == 0
    assert findings["DNS"].text.startswith("api.localhost is 127.0.0.9, 127.0.0.1 (")
    assert findings["TCP"].state == "warning"
    assert findings["TCP"].text.endswith(", but not of 127.0.0.9: Connection refused")
    assert findings["TLS"].state == findings["service"].state == "ok"


async def test_a_proxy_is_passed_by(examine, at, emulator, monkeypatch):
    """A proxy in the environment is told, and it is true that it is not used."""
    asked = []

    def count(_, writer):
        asked.append(writer)
        writer.close()

    proxy = await asyncio.start_server(count, "127.0.0.1")
    async with proxy:
        monkeypatch.setenv(
            "HTTP_PROXY", f"http://user:hunter2@127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        )
        port = emulator.base_url.split(":")[2].partition("/")[0]
        resolving(monkeypatch, lambda _: [(socket.AF_INET, 1, 6, "", ("127.0.0.1", int(port)))])
        at(port, "api.example.test")
        monkeypatch.setenv("COMETAPI_KEY", emulator.api_key)

        code, findings = await examine()

    assert code == 0
    assert findings["proxy"].state == findings["DNS"].state == "warning"
    assert findings["access"].state == "ok"
    assert asked == []
    assert "hunter2" not in str(findings)


async def test_a_good_certificate_is_shown(examine, at, authority):
    """A handshake tells its version, who issued the certificate, and until when."""
    end = datetime.now(UTC) + timedelta(days=90, hours=1)
    context = serving(authority.issue_cert("localhost", not_after=end))
    async with answering(reply(MODELS), context) as port:
        at(port, "localhost", "https")

        code, findings = await examine()

    assert code == 0
    assert findings["TLS"].state == "ok"
    assert findings["TLS"].text == (
        f"TLSv1.3, certificate for localhost by Doctor's Trust, until {end:%Y-%m-%d} (90 days)"
    )
    assert findings["access"].text == "the key is accepted, for 2 models"


async def test_a_certificate_for_another_host_is_told(examine, at, authority):
    """A certificate for another host is told with the hosts it is for."""
    context = serving(authority.issue_cert("hotel.example.test"))
    async with answering(reply(MODELS), context) as port:
        at(port, "localhost", "https")

        code, findings = await examine()

    assert code == 1
    assert states(findings) == failing("TLS")
    assert findings["TLS"].text == (
        "the certificate is not for localhost, but for hotel.example.test"
    )


async def test_names_that_cannot_be_had_are_left_out(at):
    """If a second look at a certificate fails, the trouble is told without its names."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        end = Endpoint("https://localhost/v1", "https", "localhost", deaf.getsockname()[1])

        assert await _probes.names_at("127.0.0.1", end, 30) == []


async def test_an_expired_certificate_is_told(examine, at, authority):
    """An expired certificate is told together with what this machine takes for the time."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    context = serving(authority.issue_cert("localhost", not_after=yesterday))
    async with answering(reply(MODELS), context) as port:
        at(port, "localhost", "https")

        code, findings = await examine()

    assert code == 1
    assert states(findings) == failing("TLS")
    assert findings["TLS"].text.startswith(
        "the certificate of localhost has expired; the clock of this machine says 20"
    )


async def test_an_authority_that_is_not_known_is_told(examine, at):
    """A certificate of an unknown authority, such as a company's proxy, is told with the cure."""
    context = serving(trustme.CA().issue_cert("localhost"))
    async with answering(reply(MODELS), context) as port:
        at(port, "localhost", "https")

        code, findings = await examine()

    assert code == 1
    assert states(findings) == failing("TLS")
    assert "authority that is not known here" in findings["TLS"].text
    assert "SSL_CERT_FILE" in findings["TLS"].remedy


@pytest.mark.virtual_time
@pytest.mark.usefixtures("aside_is_work")
async def test_a_handshake_that_is_silent_is_told(examine, at):
    """A far side that takes the connection and says nothing costs the time limit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at(silent.getsockname()[1], "localhost", "https")

        _, findings = await examine("--timeout", 0.5)

    assert findings["TLS"].text == "no handshake with localhost within 0.5 s"


async def test_a_port_without_tls_is_told(examine, at):
    """A port where plain HTTP is spoken is told as such."""

    def speak(_, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1")
    async with server:
        at(server.sockets[0].getsockname()[1], "localhost", "https")

        _, findings = await examine()

    assert findings["TLS"].text == "localhost speaks no TLS on that port"


@pytest.mark.parametrize(
    ("skew", "words"),
    [
        pytest.param(timedelta(hours=-5), "5 hours ahead of the service's", id="ahead"),
        pytest.param(timedelta(minutes=3), "3 minutes behind the service's", id="behind"),
    ],
)
async def test_a_clock_that_is_wrong_is_a_warning(examine, at, skew, words):
    """A clock that differs from the answer's date by more than a minute is a warning."""
    date = format_datetime(datetime.now(UTC) + skew, usegmt=True)
    async with answering(reply(MODELS, Date=date)) as port:
        at(port)

        code, findings = await examine()

    assert code == 0
    assert findings["clock"].state == "warning"
    assert findings["clock"].text.startswith(words)


async def test_an_answer_without_a_date_tells_no_time(examine, at):
    """Without a date in the answer the clock is not checked."""
    async with answering(reply(MODELS)) as port:
        at(port)

        _, findings = await examine()

    assert findings["clock"] == ("clock", "skipped", "the answer bears no date", None)


async def test_a_model_that_is_not_listed_is_a_warning(examine, at):
    """If the default model is not listed, those that are help."""
    async with answering(reply(MODELS)) as port:
        at(port)

        code, findings = await examine()

    assert code == 0
    assert findings["model"].state == "warning"
    assert findings["model"].remedy == "use one that is, such as doubao-seedream-4-0-250828"


@pytest.mark.parametrize(
    ("answer", "words", "remedy"),
    [
        pytest.param(
            reply(PAGE, kind="text/html; charset=utf-8"), "with a web page", "captive", id="portal"
        ),
        pytest.param(
            reply(b"", status="302 Found", Location="http://hotel.example.test/in?room=7"),
            ": a redirect to hotel.example.test",
            "captive",
            id="redirect",
        ),
        pytest.param(
            reply(b"", status="301 Moved", Location="/"), "to the same host", "/v1", id="301"
        ),
        pytest.param(reply(b"{}", status="404 Not Found"), " ms", "ends in /v1", id="404"),
        pytest.param(reply(b"[]"), "but with no list of models", "check COMETAPI", id="no list"),
        pytest.param(
            reply(b"{}", status="502 Bad Gateway"), "is not available now; try later", "", id="502"
        ),
    ],
)
async def test_what_is_no_api_is_told(examine, at, answer, words, remedy):
    """Whoever answers in place of the service is found out, and the key is not judged."""
    async with answering(answer) as port:
        at(port)

        code, findings = await examine()

    assert code == 1
    assert states(findings) == failing("service")
    assert words in findings["service"].text
    assert remedy in (findings["service"].remedy or "")
    assert "room=7" not in str(findings)


async def test_a_busy_service_is_a_warning(examine, at):
    """A service that is busy is there, but cannot say whether it takes the key."""
    async with answering(reply(b"{}", status="429 Too Many Requests")) as port:
        at(port)

        code, findings = await examine()

    assert code == 0
    assert findings["service"].state == "warning"
    assert findings["access"].text == findings["model"].text == "the service was busy"


async def test_a_service_that_hangs_up_is_told(examine, at):
    """A far side that closes the connection without an answer is not the service at work."""
    async with answering(b"") as port:
        at(port)

        code, findings = await examine()

    assert code == 1
    assert states(findings) == failing("service")
    assert findings["service"].text == (
        "GET /models: the connection was closed early. Check COMETAPI_BASE_URL and the network"
    )
    assert findings["clock"].text == "service failed"


# Links


@pytest.fixture
async def link(emulator):
    """A signed link of the emulator."""
    async with emulator.client() as client:
        response = await client.generate("a cat", size="2048x2048")
    return response.data[0].url


async def test_a_link_that_is_served(examine, emulator, link):
    """A good link is asked for once, without a key, and told with its host and end alone."""
    code, findings = await examine("--emulator", "--link", link)

    assert code == 0
    assert findings["link"].state == "ok"
    assert findings["link"].text.startswith("127.0.0.1 serves it: image/jpeg, ")
    assert findings["link"].text.endswith(" UTC")
    assert [fetched.method for fetched in emulator.fetched] == ["GET"]
    assert "Authorization" not in emulator.fetched[0].headers


async def test_a_link_that_was_escaped(examine, link):
    """A link that was escaped on its way is told so, without its signature."""
    code, findings = await examine("--emulator", "--link", link.replace("&", "&amp;"))

    assert code == 1
    assert findings["link"].text.startswith("the link is escaped for HTML")
    assert "Signature=" not in str(findings)


async def test_a_link_to_a_page(examine):
    """A link that leads to a page, as a captive portal's, is no image."""
    async with answering(reply(PAGE, kind="text/html")) as port:
        _, findings = await examine("--emulator", "--link", f"http://127.0.0.1:{port}/a?k=v")

    assert findings["link"].text == "127.0.0.1 serves text/html, which is no image"


async def test_a_link_that_is_none(examine):
    """What is no link at all is told in a line."""
    _, findings = await examine("--emulator", "--link", "cat.jpeg")

    assert findings["link"].text == (
        "the link cannot be fetched: the link must start with https:// or http://"
    )


@pytest.mark.virtual_time
@pytest.mark.usefixtures("aside_is_work")
async def test_a_store_that_is_silent(examine):
    """A store that takes the connection and says nothing costs the time limit."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        link = f"http://127.0.0.1:{silent.getsockname()[1]}/a.jpeg"

        _, findings = await examine("--emulator", "--timeout", 1, "--link", link)

    assert findings["link"].state == "failed"
    assert "1 s" in findings["link"].text


async def test_a_resolver_that_cannot_work(examine, monkeypatch):
    """A resolver that fails for a reason of this machine's is told in the system's words."""

    def resolve(_):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    resolving(monkeypatch, resolve)

    _, findings = await examine("--emulator", "--link", "https://store.example.test/a.jpeg?k=v")

    assert findings["link"].text == "store.example.test does not resolve: Too many open files"


async def test_a_link_to_nowhere(examine, monkeypatch):
    """A link whose host does not resolve is told in a line."""

    def resolve(_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    resolving(monkeypatch, resolve)

    _, findings = await examine("--emulator", "--link", "https://store.example.test/a.jpeg?k=v")

    assert "store.example.test does not resolve" in findings["link"].text
