"""
The README's service in a real Chromium: what a person sees of it, and what is left when they leave.

A script, since it needs a browser: `.ci/browser` runs it, with the path of Chromium and a folder
as arguments. With a third, it leaves screenshots in that folder, for people to look at.
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

from chromium import chromium
from starlette.applications import Starlette
from starlette.responses import HTMLResponse
from starlette.routing import Route
from web_servers import tasks, until, uvicorn_of

from seedream_async.emulator import Emulator
from seedream_async.starlette import event_response, get_client, lifespan

PHONE = {"width": 390, "height": 844, "mobile": True}
SCREENS = {
    "light": {},
    "dark": {"dark": True},
    "phone": PHONE,
    "dark-phone": {**PHONE, "dark": True},
}
SAID = "document.querySelector('output').value"
SHOWN = "[...document.querySelectorAll('li img')].filter(it => it.complete && it.naturalWidth === 2048).length"
WAITING = "document.querySelectorAll('li.waiting').length"
FAILED = "[...document.querySelectorAll('li.failed')].map(it => it.textContent)"
READY = "!document.querySelector('button').disabled"
LISTEN = """<!doctype html><link rel="icon" href="data:,"><script>
const source = new EventSource("events"), heard = [];
for (const name of ["image", "failed", "end"]) source.addEventListener(name, it => heard.push(name));
</script>"""


class Scene:
    """A service, the emulator behind it, and a browser before it."""

    def __init__(self, emulator, open_page, port):
        self.emulator = emulator
        self.url = f"http://127.0.0.1:{port}/"
        self._open_page = open_page

    async def page(self, **screen):
        return await self._open_page(self.url, **screen)

    async def is_left_with(self, billed):
        """What was begun ends, leaves no task and no connection, and so many images are stored."""
        await until(lambda: self.emulator.images_billed >= billed)
        await until(lambda: not tasks() and not connections_to(self.emulator))
        stored = [path for path in Path("images").iterdir() if path.suffix == ".jpeg"]
        assert self.emulator.images_billed == billed, self.emulator.images_billed
        return len(stored)


def connections_to(emulator):
    """How many connections the emulator's API has that answer something."""
    (_, api) = emulator._servers
    busy = [it for it in api.server.connections if it._current_request is not None]
    return sum(it.transport is not None for it in busy)


async def shows_each_as_it_arrives(scene):
    """The first images are there while the others are still being made."""
    # Free, and then made: later than any machine needs to show three.
    scene.emulator.fail_next(status=503, retry_after=10)
    page = await scene.page()
    before = scene.emulator.images_billed

    await page.click("button")
    await page.until(f"{WAITING} === 4")
    await page.until(f"{SHOWN} === 3 && {WAITING} === 1")
    assert await page.ask(SAID) == "3 of 4"
    await page.until(f"{SHOWN} === 4 && {READY}")

    assert await page.ask(SAID) == "4 of 4 made"
    assert not page.complaints, page.complaints
    assert not any("X-Tos" in url for url in page.requests)
    assert await scene.is_left_with(before + 4) >= 4
    return "each image is shown as it arrives"


async def says_what_failed(scene):
    """An image that fails says why in its place, and the others are shown."""
    scene.emulator.fail_next(status=400, message="account 42 may not")
    page = await scene.page()

    await page.press()
    await page.click("button")
    await page.until(f"{SHOWN} === 3 && {READY}")

    assert await page.ask(SAID) == "3 of 4 made"
    assert await page.ask(FAILED) == ["The image service does not take what was asked for"]
    return "a failure is told in its place"


async def keeps_what_a_reload_left(scene):
    """A reload midway pays for nothing twice, and loses nothing."""
    scene.emulator.fail_next(status=503, retry_after=10)
    page = await scene.page()
    billed = scene.emulator.images_billed
    stored = await scene.is_left_with(billed)

    await page.click("button")
    await page.until(f"{SHOWN} === 3")
    await page.send("Page.reload")

    await until(lambda: scene.emulator.images_billed == billed + 4)
    assert await scene.is_left_with(billed + 4) == stored + 4
    return "a reload loses nothing"


async def keeps_what_leaving_left(scene):
    """Who leaves for another page, before any image is there, has paid, and it is kept."""
    page = await scene.page()
    billed = scene.emulator.images_billed
    stored = await scene.is_left_with(billed)

    await page.click("button")
    await until(lambda: scene.emulator.images_billed == billed + 4)
    await page.send("Page.close")  # a page that is left for another may live on in a cache

    assert await scene.is_left_with(billed + 4) == stored + 4
    return "leaving loses nothing"


async def cancels_what_nobody_wants(scene):
    """A sketch is given up with its page: it is billed, and not stored, as was chosen."""
    scene.emulator.stall_next()
    page = await scene.page()
    billed = scene.emulator.images_billed
    stored = await scene.is_left_with(billed)
    count = scene.emulator.request_count

    headers = "{'Content-Type': 'application/json'}"
    body = """'{"prompt": "a cat"}'"""
    await page.ask(f"void fetch('sketch', {{method: 'POST', headers: {headers}, body: {body}}})")
    await until(lambda: scene.emulator.request_count > count)
    await page.send("Page.close")  # a page that is left for another may live on in a cache

    assert await scene.is_left_with(billed + 1) == stored
    return "what nobody wants is cancelled"


async def works_without_a_mouse(scene):
    """The prompt is changed and sent with the keyboard alone, on a phone's screen too."""
    page = await scene.page(**PHONE)

    await page.press("Tab")
    await page.ask("document.activeElement.select()")
    await page.press(*"an owl", "Enter")
    await page.until(f"{SHOWN} === 4 && {READY}")

    assert scene.emulator.requests[-1].json["prompt"] == "an owl"
    assert await page.ask("document.documentElement.scrollWidth") <= 390
    assert await page.ask("document.querySelector('button').offsetHeight") >= 44
    return "the keyboard is enough"


TRUTHS = (
    *(shows_each_as_it_arrives, says_what_failed, keeps_what_a_reload_left),
    *(keeps_what_leaving_left, cancels_what_nobody_wants, works_without_a_mouse),
)


@contextlib.asynccontextmanager
async def with_a_dead_host(app, open_page, told):
    """Where there is no service behind it, the page says so in the end, without a host or a key."""
    async with contextlib.AsyncExitStack() as stack:
        with environment(COMETAPI_KEY="sk-fake", COMETAPI_BASE_URL="http://127.0.0.1:9/v1"):
            port = await stack.enter_async_context(uvicorn_of(app))
        page = await open_page(f"http://127.0.0.1:{port}/")
        await page.ask("document.forms[0].requestSubmit()")
        yield
        await page.until(f"{FAILED}.length === 4 && {READY}")
        failed = await page.ask(FAILED)
    assert set(failed) == {"The image service cannot be reached: try again later"}
    told.append("a dead host is told")


async def pays_once_for_an_event_source(emulator, open_page):
    """An `EventSource` connects again by itself, whatever ended it; it is told to stop, for free."""
    lost = asyncio.Event()

    async def events(request):
        client = get_client(request)
        results = client.generate_many(["a cat"])
        return event_response(client, results, when_left="finish_and_store", retry=0.1)

    service = Starlette(
        routes=[Route("/", lambda _: HTMLResponse(LISTEN)), Route("/events", events)],
        lifespan=lifespan(),
    )

    async def app(scope, receive, send):
        if scope.get("path") == "/events" and not lost.is_set():  # as a network may do it
            lost.set()
            asyncio.get_running_loop().call_later(0.1, send.__self__.transport.abort)
        await service(scope, receive, send)

    told = []
    async with uvicorn_of(app) as port:
        for _ in range(2):  # one is cut, one ends
            count = emulator.request_count
            page = await open_page(f"http://127.0.0.1:{port}/")
            await page.until("source.readyState === EventSource.CLOSED")
            await until(lambda: not tasks())
            assert emulator.request_count == count + 1
            told.append(await page.ask("heard"))
    assert told == [[], ["image", "end"]], told
    return "an EventSource pays once"


@contextlib.contextmanager
def environment(**values):
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]


async def take_pictures(scene, folder):
    """Screenshots of the page, as people with each taste see it."""
    for name, screen in SCREENS.items():
        page = await scene.page(**screen)
        await page.picture(folder / f"service-{name}-before.png")
        scene.emulator.fail_next(status=400)
        scene.emulator.fail_next(status=503, retry_after=3)
        await page.click("button")
        await page.until(f"{SHOWN} === 2 && {WAITING} === 1")
        await asyncio.sleep(0.5)
        await page.picture(folder / f"service-{name}-midway.png")
        await page.until(f"{SHOWN} === 3 && {READY}")
        await page.picture(folder / f"service-{name}-after.png", whole=True)


async def main(browser, folder, screenshots=None):
    folder, screenshots = Path(folder).absolute(), screenshots and Path(screenshots).absolute()
    folder.mkdir(parents=True)
    os.chdir(folder)
    sys.path.append(str(Path(__file__).parent.parent / "web"))
    from page import app  # noqa: PLC0415  it makes its folder where it is started

    told = []
    async with (
        chromium(browser, folder / "profile") as open_page,
        Emulator(latency=0.2) as emulator,
        with_a_dead_host(app, open_page, told),
    ):
        with environment(COMETAPI_KEY=emulator.api_key, COMETAPI_BASE_URL=emulator.base_url):
            for holds in TRUTHS:
                async with uvicorn_of(app) as port:
                    told.append(await holds(Scene(emulator, open_page, port)))
            told.append(await pays_once_for_an_event_source(emulator, open_page))
            if screenshots:
                async with uvicorn_of(app) as port:
                    await take_pictures(Scene(emulator, open_page, port), screenshots)
    sys.stdout.write("; ".join(told) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
