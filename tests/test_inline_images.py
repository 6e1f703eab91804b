"""Images inside JSON: what comes out is what `json` and `base64` say, however it is cut."""

import base64
import importlib
import itertools
import json
import re
import sys
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from seedream_async import _base64
from seedream_async._inline_images import Completed, Decoded, ImageReader, NotBase64

BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
HI = [Decoded(0, b"hi"), Completed(0)]  # "aGk="


@pytest.fixture(params=["pybase64", "binascii"], scope="module", autouse=True)
def decoder(request):
    """Every test runs with pybase64 and without."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "binascii":
            patch.setitem(sys.modules, "pybase64", None)
        importlib.reload(_base64)
        yield
    importlib.reload(_base64)


def read(*pieces):
    """The skeleton, and what is told about images."""
    reader = ImageReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    return bytes(reader.skeleton), events


def joined(events):
    """The *events*, with all bytes of an image at its end; none of those of a broken one."""
    images = {event.index: b"" for event in events}
    ends = []
    for event in events:
        if isinstance(event, Decoded):
            images[event.index] += event.data
        else:
            ends.append((event, images[event.index] if isinstance(event, Completed) else None))
    return ends


def outcome(*pieces):
    skeleton, events = read(*pieces)
    return skeleton, joined(events)


def unescaped(match):
    return chr(int(match[1], 16)).encode("utf-8", "surrogatepass")


def saved(*pieces):
    """
    As *outcome*, without the broken images: how soon those are known depends on the pieces.

    So does how much of them was decoded, and unescaped: what base64 consists of does not count in
    the skeleton, nor how a character is spelt.
    """
    skeleton, ends = outcome(*pieces)
    plain = re.sub(rb"\\u([0-9A-Fa-f]{4})", unescaped, skeleton)
    bare = re.sub(rb"[A-Za-z0-9+/=\\]", b"", plain)
    return bare, [end for end in ends if isinstance(end[0], Completed)]


def restored(*pieces):
    """The answer as `json` sees it, with the whole texts of broken images, and all ends."""
    skeleton, events = read(*pieces)
    payload = json.loads(skeleton)
    for broken in events:
        if isinstance(broken, NotBase64):
            item = payload["data"][broken.index]
            text = decoded_text(events, broken.index).decode() + item["b64_json"]
            item["b64_json"] = canonical(text)
    return payload, joined(events)


def canonical(text):
    """*text* without the bits that padding hides: they are no data, and decoding forgets them."""
    groups = (text[at : at + 4] for at in range(0, len(text), 4))
    return "".join(
        base64.b64encode(base64.b64decode(group)).decode()
        if group.endswith("=") and BASE64.fullmatch(group)
        else group
        for group in groups
    )


def decoded_text(events, index):
    """What was decoded of the image at *index*, encoded again."""
    data = (event.data for event in events if isinstance(event, Decoded) and event.index == index)
    return base64.b64encode(b"".join(data))


def single_bytes(body):
    return (bytes([byte]) for byte in body)


def pieces_of(body, cuts):
    borders = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    return [body[start:end] for start, end in itertools.pairwise(borders)]


def expected(body):
    """What *body* without its images is, and their ends, by way of the whole."""
    payload = json.loads(body)
    items = payload.get("data") if isinstance(payload, dict) else None
    ends = []
    for index, item in enumerate(items if isinstance(items, list) else ()):
        text = item.get("b64_json") if isinstance(item, dict) else None
        if isinstance(text, str):
            whole = BASE64.fullmatch(text)
            item["b64_json"] = "" if whole else canonical(text)
            ends.append(
                (Completed(index), base64.b64decode(text)) if whole else (NotBase64(index), None)
            )
    return payload, ends


@pytest.mark.parametrize(
    ("body", "skeleton", "events"),
    [
        pytest.param(
            b'{"created": 7, "data": [{"b64_json": "aGk=", "size": "1x1"}], "usage": {}}',
            b'{"created": 7, "data": [{"b64_json": "", "size": "1x1"}], "usage": {}}',
            HI,
            id="an answer",
        ),
        pytest.param(
            b'{"data":[{"url":"x"},{"b64_json":"aGk="},{"error":{"code":"x"}},{"b64_json":"YQ=="}]}',
            b'{"data":[{"url":"x"},{"b64_json":""},{"error":{"code":"x"}},{"b64_json":""}]}',
            [Decoded(1, b"hi"), Completed(1), Decoded(3, b"a"), Completed(3)],
            id="items without base64 count",
        ),
        pytest.param(
            b'{"data":[null,[1,2,[]],"a,b",{"b64_json":"aGk="}]}',
            b'{"data":[null,[1,2,[]],"a,b",{"b64_json":""}]}',
            [Decoded(3, b"hi"), Completed(3)],
            id="items of any kind count",
        ),
        pytest.param(
            b'{"data":[{"b64_json":""}]}',
            b'{"data":[{"b64_json":""}]}',
            [Completed(0)],
            id="empty text",
        ),
        pytest.param(
            rb'{"data":[{"b64_json":"\u0061Gk\u003D"}]}',
            b'{"data":[{"b64_json":""}]}',
            HI,
            id="escapes",
        ),
        pytest.param(
            rb'{"data":[{"b64_json":"\/\/\/\/"}]}',
            b'{"data":[{"b64_json":""}]}',
            [Decoded(0, b"\xff\xff\xff"), Completed(0)],
            id="escaped slashes",
        ),
        pytest.param(
            rb'{"d\u0061ta":[{"\u0062\u0036\u0034\u005f\u006a\u0073\u006f\u006e":"aGk="}]}',
            rb'{"d\u0061ta":[{"\u0062\u0036\u0034\u005f\u006a\u0073\u006f\u006e":""}]}',
            HI,
            id="escapes in keys",
        ),
        pytest.param(
            b'\xef\xbb\xbf \r\n\t{"data":[{"b64_json":"aGk="}]}',
            b'\xef\xbb\xbf \r\n\t{"data":[{"b64_json":""}]}',
            HI,
            id="byte order mark and white space",
        ),
        pytest.param(
            b'{"data":\n[ { "b64_json"\t:\r\n "aGk=" } ] }',
            b'{"data":\n[ { "b64_json"\t:\r\n "" } ] }',
            HI,
            id="white space everywhere",
        ),
        pytest.param(
            b'{"data":[{"b64_json":{"b64_json":"x"},"url":{},"b64_json":"aGk="}]}',
            b'{"data":[{"b64_json":{"b64_json":"x"},"url":{},"b64_json":""}]}',
            HI,
            id="an object first, then a text",
        ),
        pytest.param(
            b'{"data":[{"b64_json":"aGk="',
            b'{"data":[{"b64_json":""',
            HI,
            id="truncated after an image",
        ),
        pytest.param(
            b'{"data":[{"b64_json":"YWJjYW',
            b'{"data":[{"b64_json":"',
            [Decoded(0, b"abc")],
            id="truncated in an image",
        ),
    ],
)
def test_split(body, skeleton, events):
    """Base64 in its place is taken out and decoded; the rest stays byte for byte."""
    assert outcome(body) == (skeleton, joined(events))
    assert outcome(*single_bytes(body)) == (skeleton, joined(events))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"b64_json":"aGk="}', id="at the top"),
        pytest.param(b'[{"b64_json":"aGk="}]', id="in an array at the top"),
        pytest.param(b'[{"data":[{"b64_json":"aGk="}]}]', id="in an answer in an array"),
        pytest.param(b'{"data":{"b64_json":"aGk="}}', id="data is an object"),
        pytest.param(b'{"data":{"x":{"b64_json":"aGk="}}}', id="data is an object of objects"),
        pytest.param(b'{"data":[["b64_json":"aGk="]]}', id="a key in an array in data"),
        pytest.param(b'{"data":[[{"b64_json":"aGk="}]]}', id="in an array in data"),
        pytest.param(b'{"data":[{"image":{"b64_json":"aGk="}}]}', id="in an object in an item"),
        pytest.param(b'{"data":[{"b64_json":["aGk="]}]}', id="in an array under the key"),
        pytest.param(b'{"data":[{"b64_json":null}]}', id="null"),
        pytest.param(b'{"data":[{"b64_json":1.5e3}]}', id="a number"),
        pytest.param(b'{"data":[{"b64_json":{"a":"aGk="}}]}', id="an object"),
        pytest.param(b'{"data":[{"b64_json":null,"url":"aGk="}]}', id="under the next key"),
        pytest.param(b'{"data":[{"url":"b64_json","a":"aGk="}]}', id="the key as a value"),
        pytest.param(b'{"data":[{"b64_json":1,"%b":"aGk="}]}' % (b"x" * 49), id="a long key"),
        pytest.param(b'{"data":[{"B64_json":"aGk="}]}', id="another case"),
        pytest.param(b'{"data":[{"b64_json\\u0000":"aGk="}]}', id="a longer key"),
        pytest.param(b'{"data":[{"\\ud83d\\ude00":"aGk=","\\q":"aGk="}]}', id="other escapes"),
        pytest.param(b'{"a":1,"data":null,"x":[{"b64_json":"aGk="}]}', id="data is null"),
        pytest.param(b'{"x":{"data":[{"b64_json":"aGk="}]}}', id="data within something"),
        pytest.param(b'{"data":[],"x":[{"b64_json":"aGk="}]}', id="after data"),
        pytest.param(b'{"data":["b64_json",{"a":"aGk="}]}', id="the key in data"),
        pytest.param(b'{"data":["b64_json":"aGk="]}', id="a key in an array"),
        pytest.param(rb'{"p":"\"data\":[{\"b64_json\":\"aGk=\"}]"}', id="in a text"),
        pytest.param(rb'{"p":"\\","q":"\\\"data\":[{"}', id="backslashes"),
        pytest.param('{"p":"雪\\"😀","data":[]}'.encode(), id="UTF-8"),
        pytest.param('{"data":[{"b64_json":"aGk="}]}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'{}{"data":[{"b64_json":"aGk="}]}', id="after the end"),
        pytest.param(b'{}]}"{"data":[{"b64_json":"aGk="}]}', id="after too many ends"),
        pytest.param(b'<p title="x">{"data":[{"b64_json":"aGk="}]}</p>', id="HTML"),
        pytest.param(b'?"data":[{"b64_json":"aGk="}]}', id="another character before it all"),
        pytest.param(b'"{"data":[{"b64_json":"aGk="}]}', id="a string at the top"),
        pytest.param(b"\xef\xbb\xbf \n", id="blank"),
        pytest.param(b"", id="empty"),
        pytest.param(b'{"data":[{"b64_js', id="truncated in a key"),
        pytest.param(b'{"data":[{"b64_json":', id="truncated before the text"),
    ],
)
def test_untouched(body):
    """Base64 anywhere else, and what is no JSON, stays in the skeleton byte for byte."""
    assert read(body) == (body, [])
    assert read(*single_bytes(body)) == (body, [])


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"aGk=!", id="a foreign character"),
        pytest.param(b"aGk", id="no padding"),
        pytest.param(b"aGk=aGk=", id="text after padding"),
        pytest.param(b"aGkkk", id="4n+1"),
        pytest.param(rb"aGk\"", id="an escaped quote"),
        pytest.param(rb"aG\\/", id="an escaped backslash before a slash"),
        pytest.param(rb"aG\q", id="no escape"),
        pytest.param(rb"aGk=\u003", id="an escape cut short"),
        pytest.param(rb"aGk\u2003", id="a foreign character, escaped"),
        pytest.param(rb"aGk\ud83d", id="half a character, escaped"),
        pytest.param("aGk雪".encode(), id="UTF-8"),
        pytest.param(b"\xff\\u0041AA", id="no UTF-8"),
        pytest.param(b"aG\nk=", id="a line end, which is no JSON either"),
        pytest.param(b"data:image/png;base64,aGk=", id="a data URI"),
    ],
)
def test_broken_base64(text):
    """An image that is not base64 is told as such, once, loses nothing, and costs no other."""
    body = b'{"data":[{"b64_json":"%b"},{"b64_json":"aGk="}]}' % text
    kept = b'{"data":[{"b64_json":"%b"},{"b64_json":""}]}'

    for pieces in ([body], [*single_bytes(body)]):
        skeleton, events = read(*pieces)
        start = decoded_text(events, 0)
        assert text.startswith(start)
        assert spelled_out(skeleton) == spelled_out(kept % text[len(start) :])
        assert joined(events) == [(NotBase64(0), None), (Completed(1), b"hi")]


def spelled_out(body):
    return body.replace(rb"\n", b"\n").replace(rb"\u0041", b"A")


def test_a_truncated_broken_image():
    """What has come of a broken text is kept."""
    skeleton, events = read(b'{"data":[{"b64_json":"aGk=', b"YQ==", b"Yg==")

    assert skeleton == b'{"data":[{"b64_json":"YQ==Yg=='
    assert events == [Decoded(0, b"hi"), NotBase64(0)]


@pytest.mark.parametrize(
    ("pieces", "rest"),
    [
        pytest.param((rb"YWJjY\n", b"WJj"), rb"Y\nWJj", id="a line end"),
        pytest.param((rb"YWJjY\"", b"WJj"), rb"Y\"WJj", id="a quote"),
        pytest.param((b"YWJjY\xe9", b"\x9b\xaaWJj"), b"Y\xe9\x9b\xaaWJj", id="UTF-8"),
        pytest.param((rb"YWJj\u00", rb"0aWJj"), rb"\u000aWJj", id="a cut escape"),
    ],
)
def test_what_waits_to_be_decoded_is_kept(pieces, rest):
    """Characters that were unescaped already are escaped again."""
    skeleton, events = read(b'{"data":[{"b64_json":"', *pieces, b'"}]}')

    assert events == [Decoded(0, b"abc"), NotBase64(0)]
    assert skeleton == b'{"data":[{"b64_json":"%b"}]}' % rest


@pytest.mark.parametrize(
    ("body", "skeleton"),
    [
        pytest.param(
            b'{"data":[{"b64_json":"aGk=","b64_json":"!"}]}',
            b'{"data":[{"b64_json":"","b64_json":""}]}',
            id="text",
        ),
        pytest.param(
            b'{"data":[{"b64_json":"aGk="}],"data":[{"b64_json":"YQ=="}]}',
            b'{"data":[{"b64_json":""}],"data":[{"b64_json":""}]}',
            id="data",
        ),
        pytest.param(
            b'{"data":[1,2],"data":[{"b64_json":null,"b64_json":"aGk="}]}',
            b'{"data":[1,2],"data":[{"b64_json":null,"b64_json":""}]}',
            id="without a text before",
        ),
    ],
)
def test_duplicate_keys(body, skeleton):
    """The first text of an index counts; later ones are taken out and dropped."""
    assert read(body) == (skeleton, HI)


def test_images_come_while_they_arrive():
    """Bytes are handed out with the piece that brings them, the end with the closing quote."""
    reader = ImageReader()
    reader.feed(b'{"data":[{"b64_json":')

    fed = [reader.feed(piece) for piece in (b'"', b"YWJjZ", b"GVm", b"YQ==", b'"', b"}]}")]

    assert fed == [
        [],
        [Decoded(0, b"abc")],
        [Decoded(0, b"def")],
        [Decoded(0, b"a")],
        [Completed(0)],
        [],
    ]


def test_a_broken_image_is_told_at_once():
    """What is broken is known before the rest of its text has come."""
    reader = ImageReader()

    events = reader.feed(b'{"data":[{"b64_json":"!!!!')

    assert events == [NotBase64(0)]


def test_pieces_are_hidden():
    """Printing an event prints no image."""
    assert repr(Decoded(0, b"hi")) == "Decoded(index=0)"


def spelled_in_full(text):
    units = text.encode("utf-16-be")
    pairs = zip(units[::2], units[1::2], strict=True)
    return '"' + "".join(f"\\u{high:02x}{low:02X}" for high, low in pairs) + '"'


SPELLINGS = [
    json.dumps,
    lambda text: json.dumps(text, ensure_ascii=False),
    lambda text: json.dumps(text).replace("/", "\\/"),
    spelled_in_full,
    lambda text: json.dumps(text[::2])[:-1] + spelled_in_full(text[1::2])[1:],
]
BLANKS = ["", "", " ", "\r\n\t"]


class Writer:
    """Writes JSON in one of the many ways to write it."""

    def __init__(self, draw):
        self.draw = draw

    def write(self, value):
        blank = self.draw(st.sampled_from(BLANKS))
        match value:
            case str():
                text = self.draw(st.sampled_from(SPELLINGS))(value)
            case list():
                text = f"[{','.join(map(self.write, value))}{blank}]"
            case dict():
                pairs = (f"{self.write(k)}:{self.write(v)}" for k, v in value.items())
                text = f"{{{','.join(pairs)}{blank}}}"
            case _:
                text = json.dumps(value)
        return blank + text + blank


names = st.sampled_from(["data", "b64_json", "url", 'a"\\', "雪"])
base64_texts = st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode())
texts = base64_texts | base64_texts.map(lambda text: text[1:]) | st.text(max_size=8) | names
scalars = st.none() | st.booleans() | st.integers(-9, 9) | texts
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names, inner, max_size=3)
        | st.lists(st.fixed_dictionaries({"b64_json": inner}), max_size=2)
    ),
    max_leaves=6,
)
items = values | st.fixed_dictionaries({"b64_json": texts}, optional={"url": values})
payloads = values | st.fixed_dictionaries(
    {"data": st.lists(items, max_size=4)}, optional={"b64_json": values, "usage": values}
)


@st.composite
def bodies(draw):
    return Writer(draw).write(draw(payloads)).encode()


cuts = st.lists(st.integers(0, 300), max_size=12)


@example(body=b'{"data":[{"b64_json":"AAB=\\u0041AA"}]}', cuts=[26])
@given(body=bodies(), cuts=cuts)
def test_any_answer(body, cuts):
    """Skeleton and images of any JSON, cut anywhere, are what `json` and `base64` say."""
    found = restored(*pieces_of(body, cuts))

    assert found == expected(body)


@given(body=bodies(), end=st.integers(0, 300), cuts=cuts)
def test_cuts_do_not_matter(body, end, cuts):
    """A truncated answer gives its skeleton and the images that are whole, however it is cut."""
    body = body[:end]
    whole = saved(body)

    assert saved(*pieces_of(body, cuts)) == whole
    assert saved(*single_bytes(body)) == whole


scraps = st.sampled_from(
    [b'{"data":[{"b64_json":"', b'"b64_json":', b'"', b"\\", b"\\u00", b"aGk=", *b"{}[]:,"]
).map(lambda scrap: bytes([scrap]) if isinstance(scrap, int) else scrap)
garbage = st.lists(scraps | st.binary(max_size=5)).map(b"".join)


@given(body=garbage, cuts=cuts)
def test_anything_goes(body, cuts):
    """No bytes raise, and without an image in them they stay whole."""
    skeleton, events = read(*pieces_of(body, cuts))

    assert len(skeleton) <= len(body)
    assert events or b'"b64_json":"' in body or skeleton == body


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"data":' + b"[" * 2**16, id="deep"),
        pytest.param(b'{"data":' + b'[{"data":' * 2**14, id="deep in both kinds"),
        pytest.param(b"{" + b'"' * 2**16, id="quotes"),
        pytest.param(b'{"' + b"\\" * 2**16, id="backslashes"),
        pytest.param(b'{"' + b'\\"' * 2**16, id="escaped quotes"),
        pytest.param(b'{"' + b"\\\\" * 2**16 + b'"' + b":" * 2**16, id="colons after a long key"),
        pytest.param(b'{"data":[' + b"{}," * 2**16, id="items"),
        pytest.param(b" " * 2**16, id="blanks"),
    ],
)
def test_hostile_bodies(body):
    """Neither depth nor length is trouble: the bytes come back, and soon."""
    pieces = (body[at : at + 100] for at in range(0, len(body), 100))

    assert read(*pieces) == (body, [])


def test_memory():
    """Reading an answer takes the memory of a few pieces, whatever the size of its images."""
    piece = base64.b64encode(bytes(range(256)) * 192)
    reader = ImageReader()
    reader.feed(b'{"data":[{"b64_json":"')

    tracemalloc.start()
    size = sum(len(event.data) for _ in range(200) for event in reader.feed(piece))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size == 200 * 256 * 192
    assert peak < 5 * len(piece)
