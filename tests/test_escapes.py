"""Links that were escaped on their way."""

import html
import json
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async._escapes import escape_of, repaired
from seedream_async._links import missing_parameters

TOS = (
    "https://bucket.tos-cn-beijing.volces.com/model/021_0.jpeg"
    "?X-Tos-Algorithm=TOS4-HMAC-SHA256&X-Tos-Credential=AK%2F20251230%2Fcn%2Ftos%2Frequest"
    "&X-Tos-Date=20251230T132817Z&X-Tos-Expires=86400&X-Tos-Signature=5ec7e7"
    "&X-Tos-SignedHeaders=host&x-tos-process=image%2Fwatermark%2Ctext_%25"
)
CLOUDFRONT = "https://h/a.png?Expires=1767225600&Signature=a-b~_&Key-Pair-Id=K"
V2 = "https://h/a%20b.png?AWSAccessKeyId=AK&Signature=a%2Fb%3D&Expires=1767225600"
UNKNOWN = "https://cdn.example/a.png?token=a&e=1"


def to_json(link):
    return link.replace("/", "\\/").replace("&", "\\u0026")


def doubled(link):
    path, mark, query = link.partition("?")
    return path + mark + query.replace("%", "%25")


SPOILED = [
    pytest.param(f'"{TOS}"', TOS, "wrapped", id="double quotes"),
    pytest.param(f"'{TOS}'", TOS, "wrapped", id="single quotes"),
    pytest.param(f"`{TOS}`", TOS, "wrapped", id="backticks"),
    pytest.param(f"“{TOS}”", TOS, "wrapped", id="curly quotes"),
    pytest.param(f"<{TOS}>", TOS, "wrapped", id="angle brackets"),
    pytest.param(f" {TOS}", TOS, "wrapped", id="blank in front"),
    pytest.param(f"{TOS}\n", TOS, "wrapped", id="end of a line"),
    pytest.param(f"\ufeff{TOS}\xa0\r\n", TOS, "wrapped", id="marks of a file"),
    pytest.param(f' "{TOS}" ', TOS, "wrapped", id="blanks around quotes"),
    pytest.param(f"'{UNKNOWN}'", UNKNOWN, "wrapped", id="quotes around an unknown scheme"),
    pytest.param(to_json(TOS), TOS, "JSON", id="JSON of PHP"),
    pytest.param(TOS.replace("&", "\\u0026"), TOS, "JSON", id="JSON of Go"),
    pytest.param(
        TOS.replace("&", "\\U0026").replace("\\U", "\\u"), TOS, "JSON", id="JSON, ampersands"
    ),
    pytest.param(CLOUDFRONT.replace("/", "\\/"), CLOUDFRONT, "JSON", id="JSON, slashes"),
    pytest.param(to_json(UNKNOWN), UNKNOWN, "JSON", id="JSON of an unknown scheme"),
    pytest.param(f'"{to_json(TOS)}"', TOS, "wrapped", id="JSON with its quotes"),
    pytest.param(html.escape(TOS), TOS, "HTML", id="HTML"),
    pytest.param(TOS.replace("&", "&AMP;"), TOS, "HTML", id="HTML, upper case"),
    pytest.param(TOS.replace("&", "&#38;"), TOS, "HTML", id="HTML, decimal"),
    pytest.param(TOS.replace("&", "&#0038;"), TOS, "HTML", id="HTML, decimal with zeros"),
    pytest.param(TOS.replace("&", "&#x26;"), TOS, "HTML", id="HTML, hexadecimal"),
    pytest.param(
        html.escape(TOS + "&a='\"<>"), TOS + "&a='\"<>", "HTML", id="HTML with other marks"
    ),
    pytest.param(html.escape(html.escape(V2)), V2, "HTML", id="HTML twice"),
    pytest.param(TOS.replace("&", "&" + "amp;" * 4), TOS, "HTML", id="HTML four times"),
    pytest.param(html.escape(CLOUDFRONT), CLOUDFRONT, "HTML", id="HTML of CloudFront"),
    pytest.param(
        html.escape(TOS.partition("&X-Tos-Sig")[0]),
        TOS.partition("&X-Tos-Sig")[0],
        "HTML",
        id="HTML of a cut link",
    ),
    pytest.param(to_json(html.escape(TOS)), TOS, "JSON", id="HTML in JSON"),
    pytest.param(doubled(TOS), TOS, "twice", id="query escaped twice"),
    pytest.param(doubled(V2), V2, "twice", id="query escaped twice, path once"),
    pytest.param(quote(TOS, safe=":/?&="), TOS, "twice", id="escaped twice"),
    pytest.param(doubled(doubled(TOS)), TOS, "twice", id="escaped thrice"),
    pytest.param(quote(TOS), TOS, "as a whole", id="wholly escaped by quote()"),
    pytest.param(quote(TOS, safe=""), TOS, "as a whole", id="wholly escaped"),
    pytest.param(quote(quote(V2, safe=""), safe=""), V2, "as a whole", id="wholly escaped twice"),
    pytest.param(quote(UNKNOWN, safe=""), UNKNOWN, "as a whole", id="unknown scheme, escaped"),
    pytest.param(
        quote("https://h/\udce9", safe="", errors="surrogateescape"),
        "https://h/\udce9",
        "as a whole",
        id="wholly escaped latin-1",
    ),
]


@pytest.mark.parametrize(("link", "original", "kind"), SPOILED)
def test_escapes_are_recognised_and_undone(link, original, kind):
    """What was done to a link is named, and undone to the byte."""
    assert kind in escape_of(link)
    assert repaired(link) == original


@pytest.mark.parametrize(
    ("link", "kind"),
    [
        pytest.param(html.escape(UNKNOWN), "HTML", id="HTML of an unknown scheme"),
        pytest.param(UNKNOWN + "\\u0026b=2", "JSON", id="JSON of an unknown scheme"),
        pytest.param(TOS + "&a=b&amp;c", "HTML", id="an entity in a whole link"),
        pytest.param(
            TOS.replace("&X-Tos-Date", "&amp;X-Tos-Date"), "HTML", id="some ampersands escaped"
        ),
        pytest.param(
            TOS.replace("&", "&amp;") + "&copy;", "HTML", id="an entity that no link needs"
        ),
        pytest.param(
            TOS.replace("&", "&" + "amp;" * 5), "HTML", id="HTML more often than anybody would"
        ),
        pytest.param('"' + TOS, "wrapped", id="quote in front only"),
        pytest.param("https:\\/\\/h\\/\\q", "JSON", id="JSON that is none"),
        pytest.param('https:\\/\\/h\\/"', "JSON", id="JSON that ends early"),
        pytest.param("https:\\/\\/h\\/\\nb", "JSON", id="JSON of a line feed"),
        pytest.param("https:\\/\\/h\\/\\ud800", "JSON", id="JSON of half a character"),
        pytest.param(quote(TOS).replace("%3F", "?"), "as a whole", id="half of it escaped"),
        pytest.param(quote(TOS, safe="") + "+", "as a whole", id="a plus that may be a blank"),
        pytest.param(
            doubled(TOS).replace("021_0", "100%25"), "twice", id="a path that may be escaped twice"
        ),
        pytest.param(doubled(TOS) + "&a=%2F", "twice", id="some of the query escaped twice"),
        pytest.param(
            doubled(doubled(doubled(doubled(doubled(TOS))))), "twice", id="escaped over and over"
        ),
        pytest.param("'" * 9 + TOS + "'" * 9, "wrapped", id="wrapped over and over"),
        pytest.param('""', "wrapped", id="nothing"),
        pytest.param('"', "wrapped", id="one quote"),
        pytest.param(" ", "wrapped", id="one blank"),
        pytest.param("'ftp://h/a'", "wrapped", id="quotes around something else"),
    ],
)
def test_what_is_ambiguous_is_not_undone(link, kind):
    """An escape without a proof is named and left alone."""
    assert kind in escape_of(link)
    assert repaired(link) is None


@pytest.mark.parametrize(
    "link",
    [
        pytest.param(TOS, id="TOS"),
        pytest.param(V2, id="SigV2"),
        pytest.param(CLOUDFRONT, id="CloudFront"),
        pytest.param(UNKNOWN, id="unknown"),
        pytest.param("https://h/a%252Fb?c=%252F", id="escaped percent"),
        pytest.param("https://h/a?b='c'", id="quotes at the end"),
        pytest.param("https://h/<a>", id="brackets at the end"),
        pytest.param("https://h/a\\/b?c=\\", id="backslashes"),
        pytest.param("https://h/a?amp;b&amp=1", id="amp"),
        pytest.param("https://h/https%3A%2F%2Fb", id="link in a path"),
        pytest.param(TOS + "&u=https%3A%2F%2Fh%2Fk%3FX-Tos-Credential%3DA%252F", id="in a query"),
        pytest.param("", id="nothing"),
    ],
)
def test_whole_links_are_left_alone(link):
    """What nobody escaped shows no escape."""
    assert escape_of(link) is None
    assert repaired(link) is None


VALUES = st.text("abcXYZ019-_.~*!'(),;:@/", min_size=1, max_size=12)


@given(
    path=VALUES,
    names=st.lists(VALUES.filter(lambda name: not name.startswith("'")), max_size=3),
    signature=VALUES,
    order=st.permutations(TOS.partition("?")[2].split("&")[:6]),
)
def test_every_escape_of_a_signed_link_comes_off(path, names, signature, order):
    """Whatever the order and the values, the original comes back."""
    query = "&".join([*order, *(f"p{name}={quote(signature, safe='')}" for name in names)])
    link = f"https://h/{path}?{query}"

    assert missing_parameters(link) == ()
    assert repaired(link) is None
    assert repaired(f"<{link}>") == link
    assert repaired(json.dumps(to_json(link)).replace("\\\\", "\\")) == link
    assert repaired(html.escape(link)) == link
    assert repaired(doubled(link)) == link
    assert repaired(quote(link, safe="")) == link


@given(st.text(st.sampled_from("\"'<>` &amp;#38x26;\\u0/https:%25A3?X-Tos-Date=")))
def test_a_repair_is_final(text):
    """What was repaired needs no more repair."""
    for link in (text, f"https://h/{text}", f"'https://h/?X-Tos-Date={text}'"):
        if mended := repaired(link):
            assert escape_of(mended) is None
            assert repaired(mended) is None
