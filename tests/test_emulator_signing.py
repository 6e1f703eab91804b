"""The emulator's TOS4 signature, against published vectors and against its own links."""

from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seedream_async.emulator._signing import ALGORITHM, Signer

NOW = datetime(2026, 7, 9, 13, 28, 17, tzinfo=UTC)
PROCESS = ("x-tos-process", "image/watermark,image_QUk")
PUBLISHED = Signer(
    access_key="ak", secret_key="sk", region="beijing", host="bkt.tos-cn-beijing.volces.com"
)


@pytest.fixture
def signer():
    return Signer(host="127.0.0.1:4711")


@pytest.fixture
def target(signer):
    return signer.link("/seedream/021_0.jpeg", now=NOW, expires=86_400, query=[PROCESS])


# Computed by Volcengine's own Python SDK (tos/auth.py).
@pytest.mark.parametrize(
    ("method", "expires", "more", "signature"),
    [
        pytest.param(
            "GET",
            86_400,
            [],
            "b87788cb98d1a5a91a046d20eb212ffc22cf7cd4c1d4e9bd2d15a989afb97d2f",
            id="get",
        ),
        pytest.param(
            "PUT",
            3600,
            [("acl", ""), ("X-Tos-Security-Token", "sts")],
            "51c89070206dd438fd8be1ed201a77335af80e33cad5fd408841590b99aa93d3",
            id="put-acl-with-token",
        ),
        pytest.param(
            "GET",
            704_800,
            [],
            "087f3eb174b6accb37178630ba5890d7d8bc8a33495e25959dc359dc4b0f1170",
            id="get-expires-704800",
        ),
    ],
)
def test_published_vectors(method, expires, more, signature):
    """The signature is the one that the store's own SDK makes."""
    target = PUBLISHED.link(
        "/key", method=method, now=datetime(2021, 1, 1, tzinfo=UTC), expires=expires, query=more
    )

    assert dict(parse_qsl(target))["X-Tos-Signature"] == signature
    assert PUBLISHED.verifies(method, target)


def test_writes_links_as_the_store_does(target):
    """A link holds its path, and then its parameters escaped and in order."""
    path, _, query = target.partition("?")

    assert path == "/seedream/021_0.jpeg"
    assert query.startswith(
        f"X-Tos-Algorithm={ALGORITHM}"
        "&X-Tos-Credential=AKLTemulator%2F20260709%2Fcn-beijing%2Ftos%2Frequest"
        "&X-Tos-Date=20260709T132817Z&X-Tos-Expires=86400&X-Tos-Signature="
    )
    assert query.endswith("&X-Tos-SignedHeaders=host&x-tos-process=image%2Fwatermark%2Cimage_QUk")


def _reordered(target):
    path, _, query = target.partition("?")
    return f"{path}?{'&'.join(reversed(query.split('&')))}"


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(lambda target: target, id="as-issued"),
        pytest.param(_reordered, id="reordered"),
        pytest.param(lambda target: target.replace("%2F", "/"), id="slashes-unescaped"),
        pytest.param(lambda target: target.replace("%2F", "%2f"), id="lower-case-hex"),
        pytest.param(lambda target: target.replace("_0.", "%5F0."), id="path-escaped"),
    ],
)
def test_verifies_what_means_the_same(signer, target, alter):
    """The real store decodes, sorts and escapes before it checks, and so does this."""
    altered = alter(target)

    verified = signer.verifies("GET", altered)

    assert verified


@pytest.mark.parametrize(
    "alter",
    [
        pytest.param(lambda target: target + "&utm_source=mail", id="extra-parameter"),
        pytest.param(lambda target: target.partition("&x-tos-process")[0], id="one-removed"),
        pytest.param(lambda target: target.partition("&")[0], id="cut-at-first-ampersand"),
        pytest.param(lambda target: target.partition("?")[0], id="no-query"),
        pytest.param(lambda target: target.replace("%", "%25"), id="escaped-twice"),
        pytest.param(lambda target: target.replace("&", "&amp;"), id="html-escaped"),
        pytest.param(lambda target: target.replace("_0.", "_1."), id="other-path"),
        pytest.param(lambda target: target.replace("=86400", "=96400"), id="longer-life"),
        pytest.param(lambda target: target.replace("T132817Z", "T132818Z"), id="later-date"),
        pytest.param(lambda target: target.replace("Signature=", "Signature=é"), id="no-ascii"),
        pytest.param(lambda _: "//[", id="no-address"),
    ],
)
def test_finds_out_what_was_changed(signer, target, alter):
    """A link that means anything else is refused."""
    altered = alter(target)

    verified = signer.verifies("GET", altered)

    assert not verified


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE"])
def test_signs_the_method(signer, target, method):
    """A link to get an image is good for nothing else."""
    verified = signer.verifies(method, target)

    assert not verified


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Signer(host="127.0.0.1:4712"), id="host"),
        pytest.param(Signer(host="127.0.0.1:4711", secret_key="guessed"), id="secret-key"),
        pytest.param(Signer(host="127.0.0.1:4711", region="ap-southeast-1"), id="region"),
    ],
)
def test_signs_host_key_and_region(target, other):
    """A link of one store is refused by every other."""
    verified = other.verifies("GET", target)

    assert not verified


@given(
    path=st.text(st.characters(exclude_categories=["Cs"])).map("/{}".format),
    query=st.lists(st.tuples(st.text(min_size=1), st.text()), max_size=3),
)
def test_verifies_its_own_links(path, query):
    """Whatever the path and the parameters hold, a signed link verifies and names its path."""
    signer = Signer(host="store.test")
    target = signer.link(path, now=NOW, expires=60, query=query)

    verified = signer.verifies("GET", target)

    assert verified
    assert unquote(target.partition("?")[0]) == path


@given(method=st.text(), target=st.text())
def test_never_raises(method, target):
    """Nonsense does not verify, and breaks nothing."""
    verified = Signer(host="store.test").verifies(method, target)

    assert verified is False


def test_signs_in_utc(signer):
    """A clock of another time zone makes the same link."""
    elsewhere = NOW.astimezone(timezone(timedelta(hours=8)))

    link = signer.link("/a", now=elsewhere, expires=60)

    assert link == signer.link("/a", now=NOW, expires=60)


def test_keeps_the_secret_key_to_itself():
    """The secret key is not in the repr."""
    signer = Signer(host="store.test", secret_key="sesame")

    text = repr(signer)

    assert "sesame" not in text
