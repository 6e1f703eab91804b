"""
A real object store, asked for links that boto3 signed: what was put there arrives, byte for byte.

A script, since the store has a Python of its own: `.ci/store` runs it, with that Python, the URL
of the store and a folder as arguments.
"""

import asyncio
import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import aiohttp

from seedream_async import AsyncSeedream, LinkAlteredError, LinkDeniedError, LinkExpiredError
from seedream_async._link_transport import exact_url
from seedream_async.emulator._pictures import render

KEYS = (
    "plain.jpeg", "a b", " a ", "a+b", "a&b", "a=b", "a%b", "100%25", "a%2Fb", "a%zz", "a~b", "it's",
    "a(1)", "a;b", "a,b", "a:b", "user@host", "a!b", "a*b", "$a", "a#b", "a?b", "猫", "🐈", "e\u0301",
    "a//b", "/a", "a/", 'a"b', "a|b", "a\\b", "<a>", "{a}[b]", "a^b", "a`b", "a\tb", "d/./e", "d/../e",
    "%2e%2e/a", "a&amp;b", "all/../of '(it)'; a+b=100%25&c:d@e!f*g$h,i",
)  # fmt: skip
IMAGES = {key: render(64, 48, "jpeg", key.encode()) for key in KEYS}
ODD = KEYS[-1]


def put_and_sign(python, url):
    """The links to the images, by scheme, once these are in the store."""
    images = {key: base64.b64encode(content).decode() for key, content in IMAGES.items()}
    done = subprocess.run(  # noqa: S603
        [python, Path(__file__).with_name("store_boto.py"), url],
        input=json.dumps(images),
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
        check=True,
        timeout=300,
    )
    return json.loads(done.stdout)


def environment():
    """This environment without what the machine has set for boto3, and without a proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    return {**kept, "AWS_CONFIG_FILE": os.devnull, "no_proxy": "*"}


async def gets_what_was_put(links, folder):
    """A download has the very bytes that were put under the key, whatever the key."""
    async with AsyncSeedream(api_key="sk-x", base_url="http://127.0.0.1:1/v1") as client:
        files = await asyncio.gather(
            *(
                client.download(link, folder / f"{number}.jpeg")
                for number, link in enumerate(links["good"].values())
            ),
            return_exceptions=True,
        )

    wrong = [
        (key, file)
        for key, file in zip(links["good"], files, strict=True)
        if isinstance(file, Exception) or file.path.read_bytes() != IMAGES[key]
    ]
    assert not wrong, wrong
    return f"{len(files)} keys arrive"


async def learns_what_is_wrong(links, folder):
    """A link that the store refuses is diagnosed, and the diagnosis gives nothing away."""
    cases = refused(links)
    async with AsyncSeedream(api_key="sk-x", base_url="http://127.0.0.1:1/v1") as client:
        errors = await asyncio.gather(
            *(client.download(link, folder / "refused.jpeg") for _, link in cases.values()),
            return_exceptions=True,
        )

    wrong = {
        case: (f"not {kind.__name__}", error)
        for (case, (kind, _)), error in zip(cases.items(), errors, strict=True)
        if type(error) is not kind or "Signature=" in str(error)
    }
    assert not wrong, wrong
    return f"{len(errors)} refusals are told apart"


def refused(links):
    """Links that a store refuses, by what was done to them, with the error that is right."""
    link = links["good"][ODD]
    name = "Signature="
    at = link.index(name) + len(name)
    signature = ("B" if link[at] == "A" else "A") + link[at + 1 :]
    return {
        "changed signature": (LinkAlteredError, link[:at] + signature),
        "cut at &": (LinkAlteredError, link.partition("&")[0]),
        "&amp;": (LinkAlteredError, link.replace("&", "&amp;")),
        "escaped twice": (LinkAlteredError, link.replace("%", "%25")),
        r"\u0026": (LinkAlteredError, link.replace("&", "\\u0026")),
        "expired": (LinkExpiredError, links["expired"]),
        "of a stranger": (LinkDeniedError, links["of a stranger"]),
        "of nothing": (LinkDeniedError, links["of nothing"]),
    }


async def can_resume(links, _):
    """The rest of an object is given if it is still the same object, and refused if not."""
    url, content, start = exact_url(links["good"][ODD]), IMAGES[ODD], 100
    async with aiohttp.ClientSession() as session:
        async with session.get(url) as whole:
            etag = whole.headers["ETag"]
        first = {"Range": f"bytes={start}-"}
        async with session.get(url, headers={**first, "If-Match": etag}) as rest:
            end = await rest.read()
        async with session.get(url, headers={**first, "If-Match": '"stale"'}) as stale:
            pass

    size = len(content)
    assert (rest.status, end) == (206, content[start:])
    assert rest.headers["Content-Range"] == f"bytes {start}-{size - 1}/{size}"
    assert stale.status == 412
    return "resumes if unchanged"


async def is_strict(links, _):
    """The control: what plain aiohttp makes of some of the links is refused."""
    lost = []
    async with aiohttp.ClientSession() as session:
        for key, link in links["good"].items():
            async with session.get(link) as response:
                if response.status != 200:
                    assert response.status == 403, (key, response.status)
                    lost.append(key)

    assert {"d/./e", "d/../e"} <= set(lost), lost
    return f"plain aiohttp loses {len(lost)}"


async def check(links, folder):
    """What holds of the *links* of one scheme, in a few words."""
    truths = (gets_what_was_put, learns_what_is_wrong, can_resume, is_strict)
    return ", ".join([await holds(links, folder) for holds in truths])


async def main(python, url, folder):
    summary = [
        f"{scheme}: {await check(links, Path(folder, scheme))}"
        for scheme, links in put_and_sign(python, url).items()
    ]
    sys.stdout.write("; ".join(summary) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
