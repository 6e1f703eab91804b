"""What a store receives of a link: the bytes of the request line, over a raw socket."""

import asyncio
import contextlib
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from seedream_async import DownloadError, _links
from seedream_async._link_transport import LinkTransport, exact_url
from seedream_async._sessions import Lifetime
from seedream_async._timeout import Bounds

from .raw_server import raw_server

HEX = "b87788cb98d1a5a91a046d20eb212ffc22cf7cd4c1d4e9bd2d15a989afb97d2f"
TOS = (
    "/doubao-seedream-5-0/02176.._0.jpeg?X-Tos-Algorithm=TOS4-HMAC-SHA256"
    "&X-Tos-Credential=AKLTxyz%2F20251230%2Fcn-beijing%2Ftos%2Frequest"
    f"&X-Tos-Date=20251230T132817Z&X-Tos-Expires=86400&X-Tos-Signature={HEX}&X-Tos-SignedHeaders=host"
)
SIGV4 = (
    "/bucket/k.png?X-Amz-Algorithm=AWS4-HMAC-SHA256"
    "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260101%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20260101T000000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host"
    f"&X-Amz-Security-Token=IQoJb3%2F%2F%2Bw%3D%3D&X-Amz-Signature={HEX}"
)

# On the wire exactly as given.
KEPT = {
    # the path
    "root": "/",
    "plain": "/a.jpeg",
    "slash at the end": "/a/",
    "two slashes": "/a//b",
    "many slashes": "/a////b//",
    "two slashes in front": "//a/b",
    "three slashes in front": "///a",
    "only slashes": "//",
    "dot": "/a/./b",
    "dot dot": "/a/../b",
    "dot at the end": "/a/.",
    "dot dot at the end": "/a/..",
    "dot dot in front": "/../a",
    "three dots": "/a/.../b",
    "hidden file": "/.a",
    "escaped dot": "/a/%2e/b",
    "escaped dot dot": "/a/%2e%2e/b",
    "escaped dot dot, upper case": "/a/%2E%2E/b",
    "half escaped dot dot": "/a/.%2e/b",
    "escaped dot dot in front": "/%2e%2e/a",
    "escaped slash": "/a%2Fb",
    "escaped slash, lower case": "/a%2fb",
    "escaped slash in front": "/%2Fa",
    "escaped backslash": "/a%5Cb",
    "escaped question mark": "/a%3Fb",
    "escaped hash": "/a%23b",
    "escaped percent": "/100%25",
    "escaped twice": "/a%252Fb",
    "escaped blank": "/a%20b",
    "plus in a path": "/a+b",
    "escaped plus in a path": "/a%2Bb",
    "escaped letters": "/%61%62c",
    "escaped unreserved": "/%7E%2D%2E%5F",
    "escaped marks in a path": "/%21%27%28%29%2A%26%3D%3B%40%3A%2C%24",
    "marks in a path": "/!'()*&=;@:,$~-._",
    "colon in the first segment": "/a:b/c",
    "looks like a link": "/https://h/a",
    "at sign": "/@a/b@c",
    "semicolon parameters": "/a;v=1/b;x",
    "escaped null": "/a%00b",
    "escaped line feed": "/a%0Ab%0d",
    "escaped non-UTF-8": "/caf%E9",
    "escaped UTF-8": "/%E5%9B%BE.png",
    "escaped UTF-8, lower case": "/%e5%9b%be.png",
    "overlong UTF-8": "/%C0%AF",
    # percent signs that escape nothing
    "no hex": "/a%zz",
    "no hex in a query": "/a?b=%zz",
    "half hex": "/a?b=%4",
    "half hex at the end": "/a%4",
    "lone percent": "/100%",
    "lone percent in a query": "/a?b=100%",
    "lone percent between": "/a?b=%&c",
    "two percents": "/a?b=%%",
    "three percents": "/%%%",
    "percent before an escape": "/a?b=%%2F",
    "unicode escape": "/a?b=%u00e9",
    # the shape of a query
    "bare question mark": "/a?",
    "bare question mark at the root": "/?",
    "bare question mark after a folder": "/a/?",
    "two question marks": "/a??",
    "question marks everywhere": "/a?b?c=?d??",
    "ampersand": "/a?&",
    "ampersands": "/a?&&",
    "empty between": "/a?b=1&&c=2",
    "ampersand in front": "/a?&b=1",
    "ampersand at the end": "/a?b=1&",
    "no value": "/a?b",
    "empty value": "/a?b=",
    "no name": "/a?=b",
    "only equals": "/a?=",
    "two equals": "/a?b==",
    "equals in a value": "/a?b=c=d=",
    "repeated": "/a?b=1&b=2&b=1",
    "repeated, with and without value": "/a?b&b=&b=1",
    "unsorted": "/a?z=1&a=2&Z=3",
    "slashes in a query": "/a?b=/c//d/../e",
    "link in a query": "/a?u=https://h/b?c=d",
    "link in a query, escaped": "/a?u=https%3A%2F%2Fh%2Fb%3Fc%3Dd",
    # marks in a query
    "plus": "/a?b=c+d",
    "plus, escaped": "/a?b=c%2Bd",
    "plus, escaped in lower case": "/a?b=c%2bd",
    "blank, escaped": "/a?b=c%20d",
    "semicolon": "/a?b=1;c=2",
    "semicolon, escaped": "/a?b=1%3Bc",
    "comma": "/a?b=c,d",
    "comma, escaped": "/a?b=c%2Cd",
    "apostrophe": "/a?b='c'",
    "apostrophe, escaped": "/a?b=%27c%27",
    "parentheses": "/a?b=(c)",
    "parentheses, escaped": "/a?b=%28c%29",
    "star": "/a?b=*",
    "star, escaped": "/a?b=%2A",
    "exclamation mark": "/a?b=c!",
    "exclamation mark, escaped": "/a?b=c%21",
    "equals, escaped": "/a?b=c%3D",
    "equals, escaped in lower case": "/a?b=c%3d",
    "colon": "/a?b=12:30:00",
    "colon, escaped": "/a?b=12%3A30",
    "at and dollar": "/a?b=@$",
    "at and dollar, escaped": "/a?b=%40%24",
    "slash, escaped": "/a?b=%2F",
    "slash, escaped in lower case": "/a?b=%2f",
    "mixed case of hex": "/a?b=%2f%2F%aB%Ab",
    "question mark, escaped": "/a?b=%3F",
    "tilde": "/a?b=~",
    "tilde, escaped": "/a?b=%7E",
    "unreserved, escaped": "/a?b=%2D%2E%5F%41%7a",
    "ampersand, escaped": "/a?b=%26c",
    "hash, escaped": "/a?b=%23c",
    "percent, escaped": "/a?b=%25",
    "escaped twice in a query": "/a?b=%252F",
    "escaped name": "/a?%62%3D=c",
    "brackets": "/a[0]?b[]=c&d[e]=f",
    "brackets, escaped": "/a?b%5B%5D=c",
    "braces": "/a{b}?c={d}",
    "pipe": "/a|b?c=d|e",
    "pipe, escaped": "/a?c=d%7Ce",
    "quotes": '/a"b"?c="d"',
    "angle brackets": "/a<b>?c=<d>",
    "backslash": "/a\\b?c=\\d\\",
    "caret": "/a^b?c=^",
    "backtick": "/a`b?c=`",
    "all that is printable": "/" + "".join(chr(n) for n in range(0x21, 0x7F) if chr(n) != "#"),
    # escapes of other languages are bytes like any other
    "HTML escape": "/a?b=1&amp;c=2",
    "JSON escape": "/a?b=1\\u0026c=2",
    # real ones
    "TOS": TOS,
    "TOS, processed": TOS + "&x-tos-process=image%2Fwatermark%2Cimage_YWJj%2Cg_se%2Cx_10",
    "TOS, processed, raw": TOS + "&x-tos-process=image/resize,w_100/format,webp",
    "TOS, lower-case hex": TOS.replace("%2F", "%2f"),
    "TOS, not escaped": TOS.replace("%2F", "/"),
    "TOS, process in front": TOS.replace("?", "?x-tos-process=image%2Finfo&"),
    "TOS, bare parameter": TOS.replace("?", "?acl&"),
    "SigV4": SIGV4,
    "SigV4, disposition": SIGV4
    + "&response-content-disposition=attachment%3B%20filename%3D%22a%20b.png%22",
    "SigV2": "/b/k.png?AWSAccessKeyId=AKIA&Signature=vjbyPxybdZaNmGa%2ByT272YEAiv4%3D&Expires=1767225600",
    "SigV2, not escaped": "/b/k.png?AWSAccessKeyId=AKIA&Signature=vjby/xyb+aNm=&Expires=1767225600",
    "OSS V1": "/k.png?OSSAccessKeyId=LTAI&Expires=1767225600&Signature=3v%2f9%3d&x-oss-process=image%2Fresize%2Cw_100",
    "OSS V4": "/k.png?x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-credential=LTAI%2F20260101%2Fcn-hangzhou%2Foss%2Faliyun_v4_request"
    f"&x-oss-date=20260101T000000Z&x-oss-expires=600&x-oss-signature={HEX}",
    "GCS V4": "/b/k%20%281%29.png?X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=a%40p.iam.gserviceaccount.com%2F20260101%2Fauto%2Fstorage%2Fgoog4_request"
    f"&X-Goog-Date=20260101T000000Z&X-Goog-Expires=900&X-Goog-SignedHeaders=host&X-Goog-Signature={HEX * 8}",
    "GCS V2": "/b/k?GoogleAccessId=a@p.iam.gserviceaccount.com&Expires=1767225600&Signature=a%2Bb%2F%3D",
    "CloudFront": "/k.png?Expires=1767225600&Signature=a-b~c_d__&Key-Pair-Id=K2JCJMDEHXQW5F",
    "CloudFront, policy": "/k.png?Policy=eyJTdGF0ZW1lbnQiOltdfQ__&Signature=a~b-c_&Key-Pair-Id=APKA",
    "CDN, in the path": "/1767225600/0a1b2c3d/a'b(1).png",
    "CDN, type A": f"/k.png?auth_key=1767225600-0-0-{HEX[:32]}",
    "Azure": "/c/k%3B1.png?sv=2024-11-04&se=2026-01-01T00%3A00%3A00Z&sr=b&sp=r&sig=a%2Bb%2F%3D",
    "Tencent": f"/k.png?q-sign-algorithm=sha1&q-key-time=1767225600;1767229200&q-url-param-list=&q-signature={HEX[:40]}",
}

# What no request line can hold is encoded, as UTF-8, and nothing else; the fragment is cut.
CHANGED = {
    "blank in a path": ("/a b", "/a%20b"),
    "blank in a query": ("/a?b=c d", "/a?b=c%20d"),
    "blanks": ("/a?b=  c", "/a?b=%20%20c"),
    "blank beside a plus": ("/a?b=+ %20", "/a?b=+%20%20"),
    "umlaut": ("/ä?ö=ü", "/%C3%A4?%C3%B6=%C3%BC"),
    "Chinese": ("/图片.png", "/%E5%9B%BE%E7%89%87.png"),
    "Chinese beside escapes": ("/图%e5%9b%be?a=%2f图", "/%E5%9B%BE%e5%9b%be?a=%2f%E5%9B%BE"),
    "emoji": ("/a?b=🐈", "/a?b=%F0%9F%90%88"),
    "combining, not composed": ("/e\u0301", "/e%CC%81"),
    "full-width, not folded": ("/ａ／ｂ？ｃ", "/%EF%BD%81%EF%BC%8F%EF%BD%82%EF%BC%9F%EF%BD%83"),
    "latin-1 beside percent": ("/100%é", "/100%%C3%A9"),
    "UTF-8 read as latin-1": ("/Ã¤", "/%C3%83%C2%A4"),
    "C1 control": ("/a\x85b", "/a%C2%85b"),
    "no-break blank": ("/a\xa0b", "/a%C2%A0b"),
    "line separator": ("/a\u2028b", "/a%E2%80%A8b"),
    "byte order mark": ("/\ufeffa", "/%EF%BB%BFa"),
    "right to left": ("/\u202ea", "/%E2%80%AEa"),
    "highest": ("/\U0010ffff", "/%F4%8F%BF%BF"),
    "fragment": ("/a#b", "/a"),
    "empty fragment": ("/a#", "/a"),
    "fragment after a query": ("/a?b=c#d?e", "/a?b=c"),
    "fragment after a question mark": ("/a?#b", "/a?"),
    "two fragments": ("/a#b#c", "/a"),
    "fragment with a slash": ("/a#/b/../c", "/a"),
    "fragment of a signed link": (TOS + "#.jpeg", TOS),
}
NO_PATH = {
    "host only": ("", "/"),
    "query without a path": ("?a=b", "/?a=b"),
    "question mark without a path": ("?", "/?"),
    "fragment without a path": ("#a", "/"),
}
LONG = {
    "8 KiB path": ("/" + "a%2f" * 2048,) * 2,
    "32 KiB query": ("/a?b=" + "%2F+" * 8192,) * 2,
}
LONGER = {"256 KiB query": ("/a?b=" + "c'&" * 88000,) * 2}

ASKED = {name: (target, target) for name, target in KEPT.items()} | CHANGED
DOTS = re.compile(r"/\.\.?(?:[/?#]|$)")


def cases(table):
    return [pytest.param(*row, id=name) for name, row in table.items()]


@contextlib.asynccontextmanager
async def store():
    """A server that keeps the request lines it gets; *locations* are sent first, as redirects."""
    received, locations = [], []

    async def serve(reader, writer):
        while head := await reader.readuntil(b"\r\n\r\n"):
            received.append(head.partition(b"\r\n")[0])
            moved = b"302 Found\r\nLocation: " + locations.pop(0) if locations else b"200 OK"
            writer.write(b"HTTP/1.1 " + moved + b"\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(serve, limit=2**20) as port:
        yield f"http://127.0.0.1:{port}", received, locations


@contextlib.asynccontextmanager
async def links():
    transport = LinkTransport(Bounds(connect=30, read=30), Lifetime())
    try:
        yield transport
    finally:
        await transport.aclose()


async def get(transport, link):
    async with transport.open(link) as stream:
        assert stream.status == 200


async def line_of(link, location=None):
    """What a store is asked for *link*, or after it redirected to *location*; both may hold {url}."""
    async with store() as (url, received, locations), links() as transport:
        if location is not None:
            locations.append(location.replace("{url}", url).encode("utf-8", "surrogateescape"))
        await get(transport, link.replace("{url}", url))

    return received[-1]


def get_line(wire):
    return f"GET {wire} HTTP/1.1".encode()


@pytest.mark.parametrize(("target", "wire"), cases(ASKED | NO_PATH | LONG | LONGER))
async def test_sent_byte_for_byte(target, wire):
    """A store receives what was signed, to the byte."""
    assert await line_of("{url}" + target) == get_line(wire)


@pytest.mark.parametrize(("target", "wire"), cases(ASKED | NO_PATH | LONG))
async def test_redirected_byte_for_byte(target, wire):
    """A whole link in a redirect is a link like any other."""
    assert await line_of("{url}/start", "{url}" + target) == get_line(wire)


@pytest.mark.parametrize(
    ("target", "wire"),
    cases({name: row for name, row in ASKED.items() if not row[0].startswith("//")}),
)
async def test_redirected_to_a_path_byte_for_byte(target, wire):
    """A redirect within the host keeps the host and nothing else."""
    assert await line_of("{url}/d%2fe/%7Ef/x?y", target) == get_line(wire)


@pytest.mark.parametrize(
    ("target", "wire"),
    cases({name: row for name, row in ASKED.items() if not DOTS.match(row[0])}),
)
async def test_redirected_beside_byte_for_byte(target, wire):
    """A relative redirect keeps the folder, to the byte."""
    folder = "/d%2fe/../%7Ef//"

    line = await line_of("{url}" + folder + "x?y/z", "." + target)

    assert line == get_line(folder + wire[1:])


@pytest.mark.parametrize(
    ("location", "wire"),
    [
        pytest.param("/caf\udce9", "/caf%E9", id="path"),
        pytest.param("{url}/a?b=\udcff%2f", "/a?b=%FF%2f", id="query"),
        pytest.param("/é\udce9", "/%C3%A9%E9", id="beside UTF-8"),
    ],
)
async def test_redirected_with_bytes_of_latin_1(location, wire):
    """Bytes of a redirect that are no UTF-8 arrive as the bytes they are."""
    assert await line_of("{url}/start", location) == get_line(wire)


def test_any_legal_target_arrives():
    """Whatever can be printed arrives as it is, the rest as UTF-8: asked for or redirected to."""
    legal = st.text(
        st.one_of(
            st.sampled_from("%/?&=.+;:'\"\\~2fFeE"),
            st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters="#"),
            st.characters(min_codepoint=0x80, exclude_categories=["Cs"]),
        ),
        max_size=60,
    )

    with asyncio.Runner() as runner, contextlib.ExitStack() as stack:
        opened = contextlib.AsyncExitStack()
        stack.callback(lambda: runner.run(opened.aclose()))
        url, received, locations = runner.run(opened.enter_async_context(store()))
        transport = runner.run(opened.enter_async_context(links()))

        @settings(max_examples=200, deadline=None, database=None)
        @given(legal)
        @example("a/../b%2F?c=%7E&&d=%zz%?")
        def check(text):
            # A header ends at its last visible character, as does a line of text.
            target = "/" + text.rstrip()
            wire = "".join(
                char if "!" <= char <= "~" else "".join(f"%{byte:02X}" for byte in char.encode())
                for char in target
            )

            received.clear()
            locations[:] = [(url + target).encode()]
            runner.run(get(transport, f"{url}/start"))
            runner.run(get(transport, url + target))

            assert received == [b"GET /start HTTP/1.1", get_line(wire), get_line(wire)]

        check()


REFUSED = {
    "user": ("https://user@h/a", "user name"),
    "user and password": ("https://user:pw@h/a", "user name"),
    "empty user": ("https://@h/a", "user name"),
    "host behind a backslash": ("https://h\\@evil/a", "user name"),
    "null": ("https://h/a\x00b", "control characters"),
    "tab": ("https://h/a\tb", "control characters"),
    "carriage return": ("https://h/a\rb", "control characters"),
    "line feed": ("https://h/a?b=\nc", "control characters"),
    "header smuggled": ("https://h/a HTTP/1.1\r\nX-Y: z", "control characters"),
    "delete": ("https://h/a\x7f", "control characters"),
    "escape in the host": ("https://h\x1b/a", "control characters"),
    "line feed at the end": ("https://h/a\n", "control characters"),
    "half a character": ("https://h/a\ud83d", "half a character"),
    "empty": ("", "must start with"),
    "relative": ("/a", "must start with"),
    "no scheme": ("h.example/a", "must start with"),
    "no slashes": ("https:h/a", "must start with"),
    "one slash": ("https:/h/a", "must start with"),
    "backslashes": ("https:\\\\h\\a", "must start with"),
    "file": ("file:///etc/passwd", "must start with"),
    "ftp": ("ftp://h/a", "must start with"),
    "websocket": ("wss://h/a", "must start with"),
    "data": ("data:image/png;base64,AAAA", "must start with"),
    "script": ("javascript://h/%0aalert(1)", "must start with"),
    "blank in front": (" https://h/a", "must start with"),
    "no host": ("https:///a", "no host"),
    "nothing at all": ("https://", "no host"),
    "query for a host": ("https://?a", "no host"),
    "fragment for a host": ("https://#a", "no host"),
    "port for a host": ("https://:443/a", "no host"),
    "port 0": ("https://h:0/a", "host or port"),
    "port too high": ("https://h:65536/a", "host or port"),
    "port far too high": ("https://h:99999/a", "host or port"),
    "port too long": ("https://h:0000443/a", "host or port"),
    "port in letters": ("https://h:abc/a", "host or port"),
    "port with a sign": ("https://h:+80/a", "host or port"),
    "port in Arabic": ("https://h:٨٠/a", "host or port"),
    "two ports": ("https://h:80:80/a", "host or port"),
    "IPv6 without brackets": ("https://::1/a", "host or port"),
    "IPv6 not closed": ("https://[::1/a", "host or port"),
    "IPv6 not opened": ("https://::1]/a", "host or port"),
    "IPv6 with too many colons": ("https://[:::1]/a", "host or port"),
    "IPv6 with too many groups": ("https://[1:2:3:4:5:6:7:8:9]/a", "host or port"),
    "IPv6 with a zone": ("https://[fe80::1%25eth0]/a", "host or port"),
    "IPv4 in brackets": ("https://[127.0.0.1]/a", "host or port"),
    "address of the future": ("https://[v1.x]/a", "host or port"),
    "empty brackets": ("https://[]/a", "host or port"),
    "letters behind brackets": ("https://[::1]a/b", "host or port"),
    "blank in the host": ("https://h h/a", "host or port"),
    "percent in the host": ("https://h%2eevil/a", "host or port"),
    "backslash in the host": ("https://h\\evil/a", "host or port"),
    "ampersand in the host": ("https://h&X-Tos-Signature=secret", "host or port"),
    "empty label": ("https://h..example/a", "host or port"),
    "only a dot": ("https://./a", "host or port"),
    "long label": (f"https://{'h' * 64}.example/a", "host or port"),
    "long host": (f"https://{'h.' * 128}example/a", "host or port"),
    "host of two spellings": ("https://faß.example/a", "host or port"),
    "full-width digits": ("https://１２７.0.0.1/a", "host or port"),
    "slash that is none": ("https://h\u2100.example/a", "host or port"),
    "half a character in the host": ("https://h\ud83d/a", "host or port"),
}


@pytest.mark.parametrize(("link", "problem"), cases(REFUSED))
async def test_refused(link, problem):
    """What would arrive differently, or elsewhere, is not sent, and not quoted."""
    with pytest.raises(ValueError, match=problem) as excinfo:
        exact_url(link)

    assert excinfo.value.__cause__ is None
    assert "secret" not in str(excinfo.value)


@pytest.mark.parametrize(
    ("location", "problem"),
    cases(
        {
            name: row
            for name, row in REFUSED.items()
            if "://" in row[0]
            and not re.search("[\n\r\x00\x1b\x7f]|^ ", row[0])
            and row[0].isascii()
        }
        | {"script without slashes": ("javascript:alert(1)", "must start with")}
    ),
)
async def test_redirects_are_refused(location, problem):
    """A redirect gets no further than a link would."""
    async with store() as (url, received, locations), links() as transport:
        locations.append(location.encode())
        with pytest.raises(DownloadError, match=problem):
            await get(transport, f"{url}/start")

    assert received == [b"GET /start HTTP/1.1"]


@pytest.mark.parametrize(
    ("authority", "sent"),
    [
        pytest.param("h.example", "h.example", id="name"),
        pytest.param("H.Example", "h.example", id="upper case"),
        pytest.param("h.example.", "h.example", id="dot at the end"),
        pytest.param("my_bucket.h.example", "my_bucket.h.example", id="underscore"),
        pytest.param("h.example:443", "h.example", id="its own port"),
        pytest.param("h.example:", "h.example", id="empty port"),
        pytest.param("h.example:8443", "h.example:8443", id="port"),
        pytest.param("h.example:65535", "h.example:65535", id="highest port"),
        pytest.param("192.0.2.1:80", "192.0.2.1:80", id="IPv4"),
        pytest.param("[2001:DB8::1]", "[2001:db8::1]", id="IPv6"),
        pytest.param("[::1]:8443", "[::1]:8443", id="IPv6 with a port"),
        pytest.param("bücher.example", "xn--bcher-kva.example", id="umlaut"),
        pytest.param("BÜCHER.example:81", "xn--bcher-kva.example:81", id="umlaut, upper case"),
        pytest.param("图.example", "xn--wcs.example", id="Chinese"),
    ],
)
def test_host_is_spelled_as_browsers_do(authority, sent):
    """The header Host, which is signed as well, is in lower case and in ASCII."""
    assert exact_url(f"https://{authority}/a?").host_port_subcomponent == sent


def test_the_corpus_is_one():
    """No row of the corpus is said twice, and there are enough of them."""
    given_targets = [target for target, _ in ASKED.values()]

    assert len(set(given_targets)) == len(given_targets) >= 120
    assert all(_links.parse_target(f"http://h{target}").path == target for target in KEPT.values())
