"""
The report in a real Chromium: what a person sees of it, and does with it.

A script, since it needs a browser: `.ci/browser` runs it, with the path of Chromium and a folder
as arguments. With a third, it leaves screenshots in that folder, for people to look at.
"""

import asyncio
import sys
from pathlib import Path

from batch_values import NASTY, NO_ANSWER, REFUSED, SUMMARY, draw, entry, picture
from chromium import chromium

from seedream_async.batch._report import write_report

SHAPES = ((640, 640), (960, 540), (540, 960))
INTRUDER = """
<p id="intruder" style="display: none"><script>document.title = "owned"</script>
<img src="http://127.0.0.1:9/x.png" onerror="document.title = 'owned'"></p>
"""
PHONE = {"width": 390, "height": 844, "mobile": True}
SCREENS = {
    "light": {},
    "dark": {"dark": True},
    "phone": PHONE,
    "dark-phone": {**PHONE, "dark": True},
}
COUNT = 40
MANY = 10_000
SHOWN = "[...document.querySelectorAll('.card')].filter(it => it.checkVisibility()).length"
BROKEN = "[...document.querySelectorAll('.shot img')].filter(it => !it.naturalWidth).length"
PLACE = "document.querySelector('.place').textContent"
IS_OPEN = "document.querySelector('dialog').open"
FOCUSED = "[...document.querySelectorAll('.shot')].indexOf(document.activeElement)"
LOADED = "document.querySelector('.stage img').naturalWidth"


def batch(folder):
    """A batch with every kind of entry, and every text that breaks pages."""
    for number in range(COUNT):
        kind = ("jpeg", "png")[number % 2]
        image = draw(folder, f"images/{number} #1%.{kind}", *SHAPES[number % 3], kind)
        yield entry(id=f"row-{number}", prompt=f"picture {number}", files=[image])
    for name, text in NASTY.items():
        yield entry(id=f"{name} failed", prompt=text, state="failed", trouble=REFUSED)
        yield entry(id=name, prompt=text, files=[draw(folder, f"{name}.png", kind="png")])
    (folder / "broken.png").write_bytes(b"no image")
    yield entry(id="broken", prompt="broken", files=[picture("broken.png")])
    yield entry(id="unknown", prompt="who knows", state="unknown", trouble=NO_ANSWER)


def many(folder):
    """More entries than anyone looks at, of fewer images."""
    images = [draw(folder, f"{number}.jpeg", 64, 64) for number in range(400)]
    for number in range(MANY):
        yield entry(
            id=str(number), prompt=f"a prompt, number {number}", files=[images[number % 400]]
        )


def is_quiet(page):
    """A page complains of nothing, and asks for nothing that is not beside it."""
    assert not page.complaints, page.complaints
    away = [url for url in page.requests if not url.startswith(("file:", "data:"))]
    assert not away, away


async def shows_every_thumbnail(open_page, url):
    """Scrolled through, every thumbnail loads, and nothing moves while it does."""
    page = await open_page(url)
    height = await page.ask("document.documentElement.scrollHeight")

    for top in range(0, height, 400):
        await page.ask(f"new Promise(done => {{scrollTo(0, {top}); requestAnimationFrame(done)}})")
    await page.until(f"{BROKEN} === 0")

    count = await page.ask("document.querySelectorAll('.shot img').length")
    assert count == COUNT + len(NASTY)
    assert await page.ask("document.documentElement.scrollHeight") == height
    is_quiet(page)
    return f"{count} thumbnails load"


async def shows_text_as_text(open_page, url):
    """What would be a tag, a script or another direction is seen as it was written."""
    page = await open_page(url)

    told = await page.ask(
        "[...document.querySelectorAll('.card .prompt')].map(it => it.textContent)"
    )
    failed = await page.ask(
        "[...document.querySelectorAll('.row .prompt')].map(it => it.textContent)"
    )
    assert told[COUNT:-1] == [*NASTY.values()], told[COUNT:]
    assert failed[-len(NASTY) :] == [*NASTY.values()], failed
    assert await page.ask("document.title") == SUMMARY.title
    assert await page.ask("document.scripts.length") == 1
    directions = await page.ask(
        "[...document.querySelectorAll('.card .prompt')].map(it => getComputedStyle(it).direction)"
    )
    right = 1 + [*NASTY].index("right to left")
    assert directions.count("rtl") == 1
    assert directions[COUNT + right - 1] == "rtl"
    is_quiet(page)
    return f"{len(NASTY)} nasty texts are text"


async def obeys_the_keyboard(open_page, url):
    """Without a mouse one filters, moves, looks at full size, and comes back to where one was."""
    page = await open_page(url)

    await page.press("/", *"row-1")
    await page.until(f"{SHOWN} === 11")
    assert (
        await page.ask("document.querySelector('output').value")
        == "11 of 49 pictures, 0 of 9 rows listed"
    )
    assert await page.ask("document.activeElement.name") == "text"
    await page.press("Enter")
    assert await page.ask(FOCUSED) == 1
    await page.press("ArrowRight", "ArrowDown")
    columns = await page.ask(
        "getComputedStyle(document.querySelector('.grid')).gridTemplateColumns.split(' ').length"
    )
    assert await page.ask(FOCUSED) == 10 + columns
    await page.press("Home", "Enter")
    assert await page.until(f"{IS_OPEN} && {PLACE}") == "1 of 11"
    await page.until(f"{LOADED} === 960")
    await page.press("ArrowLeft", "ArrowRight")
    assert await page.ask(PLACE) == "2 of 11"
    await page.press("End")
    assert await page.ask(PLACE) == "11 of 11"
    inside = []
    for _ in range(12):
        await page.press("Tab")
        inside.append(await page.ask("document.activeElement.closest('dialog, body').tagName"))
    assert set(inside) <= {"DIALOG", "BODY"}
    assert inside.count("DIALOG") >= 8, inside
    assert await page.ask("!document.activeElement.closest('main, form')")
    await page.press("Escape")
    await page.until(f"!{IS_OPEN}")
    await page.until(f"{FOCUSED} === 19")
    assert await page.ask("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    is_quiet(page)
    return "the keyboard works"


async def obeys_the_mouse(open_page, url):
    """A click shows the picture and what is known of it; states can be chosen."""
    page = await open_page(url, dark=True)

    await page.click(".card:nth-child(3) .shot")
    assert await page.until(f"{IS_OPEN} && {PLACE}") == "3 of 49"
    await page.until(f"{LOADED} === 540")
    assert "row-2" in await page.ask("document.querySelector('dialog dl').textContent")
    await page.click("[name=next]")
    assert await page.ask(PLACE) == "4 of 49"
    await page.click("[name=close]")
    await page.until(f"!{IS_OPEN}")
    await page.click("[value=unknown]")
    await page.until(f"{SHOWN} === 0")
    assert await page.ask("document.querySelector('#unknown').checkVisibility()")
    assert not await page.ask("document.querySelector('#failed').checkVisibility()")
    await page.click("[value='']")
    await page.until(f"{SHOWN} === 49")
    is_quiet(page)
    return "the mouse works"


async def survives_broken_pictures(open_page, url):
    """A file that is no picture is said to be none, and one can go on from it."""
    page = await open_page(url)

    await page.click(".card:last-child .shot")
    await page.until("document.querySelector('.stage .broken').checkVisibility()")
    await page.press("ArrowLeft")
    await page.until(f"{LOADED} > 0 && !document.querySelector('.stage .broken').checkVisibility()")
    is_quiet(page)
    return "a broken picture is told"


async def fits_a_phone(open_page, url):
    """On a phone nothing is wider than the screen, and buttons are large enough for a thumb."""
    page = await open_page(url, width=390, height=844, mobile=True)

    assert await page.ask("document.documentElement.scrollWidth") <= 390
    await page.click(".card:nth-child(2) .shot")
    await page.until(f"{IS_OPEN} && {LOADED}")
    sizes = await page.ask("[...document.querySelectorAll('button')].map(it => it.offsetWidth)")
    assert min(sizes) >= 44, sizes
    assert await page.ask("document.querySelector('.stage img').clientHeight") > 300
    is_quiet(page)
    return "it fits a phone"


async def needs_no_script(open_page, url):
    """Without a script the pictures are there, and link to their files."""
    page = await open_page(url, scripts=False)

    await page.until(f"{BROKEN} === 0")
    assert await page.ask(
        "document.querySelector('.shot').href.endsWith('images/0%20%231%25.jpeg')"
    )
    assert not await page.ask("document.querySelector('form').checkVisibility()")
    is_quiet(page)
    return "it needs no script"


def tampered(url):
    """A copy of the page at *url* with something in it that was not escaped."""
    report = Path(url.removeprefix("file://"))
    copy = report.with_name("tampered.html")
    copy.write_text(report.read_text("utf-8").replace("</main>", f"{INTRUDER}</main>"), "utf-8")
    return copy.as_uri()


async def stops_what_got_in(open_page, url):
    """The control: were a text not escaped, the page's policy would stop what is in it."""
    page = await open_page(tampered(url))
    await page.until("document.querySelector('#intruder img').complete")

    assert await page.ask("document.title") == SUMMARY.title
    assert await page.ask("document.querySelector('#intruder').checkVisibility()")
    await page.hears("Audits.issueAdded", 4)
    return "its policy holds"


async def holds_many(open_page, url):
    """Ten thousand pictures load and are filtered while one waits: by the page's own work."""
    page = await open_page(url)
    loading = await page.work()

    await page.ask(
        "(async () => {const text = document.querySelector('[name=text]');"
        "text.value = '77'; text.form.requestSubmit(); document.body.offsetHeight;"
        "await new Promise(done => requestAnimationFrame(() => setTimeout(done)))})()"
    )
    filtering = await page.work() - loading

    assert await page.ask(SHOWN) == sum("77" in str(number) for number in range(MANY))
    assert len(page.requests) < 200, "thumbnails that are not in sight were loaded"
    assert loading < 20, loading
    assert filtering < 3, filtering
    is_quiet(page)
    return f"{MANY} pictures load in {loading:.1f} s and are filtered in {filtering:.2f} s"


TRUTHS = (
    *(shows_every_thumbnail, shows_text_as_text, obeys_the_keyboard, obeys_the_mouse),
    *(survives_broken_pictures, fits_a_phone, needs_no_script, stops_what_got_in),
)


async def take_pictures(open_page, url, folder):
    """Screenshots of the page, its grid and a full-size view, as people with each taste see it."""
    for name, screen in SCREENS.items():
        page = await open_page(url, **screen)
        await page.picture(folder / f"{name}-top.png")
        await page.ask("document.querySelector('#pictures').scrollIntoView()")
        await asyncio.sleep(1)
        await page.picture(folder / f"{name}-grid.png")
        await page.click(".card:nth-child(2) .shot")
        await page.until(LOADED)
        await page.picture(folder / f"{name}-view.png")


async def main(browser, folder, screenshots=None):
    folder = Path(folder)
    report = (await write_report(folder / "some", batch(folder / "some"), SUMMARY)).as_uri()
    large = (await write_report(folder / "many", many(folder / "many"), SUMMARY)).as_uri()
    async with chromium(browser, folder / "profile") as open_page:
        told = [await holds(open_page, report) for holds in TRUTHS]
        told.append(await holds_many(open_page, large))
        if screenshots:
            await take_pictures(open_page, report, Path(screenshots))
    sys.stdout.write("; ".join(told) + "\n")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
