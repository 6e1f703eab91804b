"""The report: a page that shows every entry as it is, whole or not at all."""

import asyncio
import base64
import errno
import hashlib
import json
import os
import re
import tracemalloc

import pytest
from attrs import evolve
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seedream_async import StorageError
from seedream_async.batch import _draft, _page
from seedream_async.batch._report import write_report
from seedream_async.batch._report_entries import Preview, Trouble

from .batch_values import NASTY, NO_ANSWER, REFUSED, SUMMARY, Page, draw, entry, picture

ANY_TEXT = st.text(st.characters(exclude_categories=()))


async def written(folder, entries, summary=SUMMARY, **options):
    """The report of *entries*, as a browser reads it."""
    path = await write_report(folder, entries, summary, **options)
    return Page(path.read_text("utf-8"))


def page_of(*entries, summary=SUMMARY):
    """The same without a disk, and with a preview for every picture."""
    frame = _page.frame(summary, _draft._page_files())
    reasons = [
        _page.reason_start(trouble, 1, 1) + _page.row(one, "again") + _page.REASON_END
        for one in entries
        if (trouble := _page.trouble_of(one))
    ]
    previews = [Preview("thumbnails/1.jpg", 320, 160)] * 9
    cards = [card for one in entries for card in _page.cards(one, previews)]
    failed = _page.section_start("failed", len(reasons)) if reasons else ""
    parts = [frame.head, failed, *reasons, _page.SECTION_END if reasons else ""]
    parts += [_page.pictures_start(len(cards), 0), *cards, _page.PICTURES_END, frame.foot]
    return Page("".join(parts))


def facts_of(card):
    return json.loads(card[0]["data-facts"])


async def test_a_card_tells_all(tmp_path):
    """A picture has its prompt, model, size and cost, links to its file, and shows its thumbnail."""
    saved = entry(
        id="fox-1",
        line=7,
        prompt="a red fox",
        size="2K",
        files=[draw(tmp_path)],
        cost=(0.03, "USD"),
        seconds=23.4,
        request_id="0217",
    )

    page = await written(tmp_path, [saved])

    ((link, _),) = page.all("a", class_="shot")
    (image,) = (attributes for attributes, _ in page.all("img") if "src" in attributes)
    (card,) = page.all("li", class_="card")
    assert link["href"] == "./images/1.jpeg"
    assert (image["alt"], image["loading"], image["width"]) == ("a red fox", "lazy", "320")
    assert (tmp_path / image["src"]).is_file()
    assert page.texts("p", class_="prompt", dir="auto")[0] == "a red fox"
    assert card[1] == "a red fox\nfox-1 640 × 320 · 0.03 USD seedream-5"
    size = f"640 × 320, JPEG, {(tmp_path / 'images/1.jpeg').stat().st_size / 1000:.0f} kB"
    facts = ["fox-1", "7", "seedream-5", "2K", size, "0.03 USD", "23.4 s", "0217", ""]
    assert facts_of(card) == facts


def test_what_is_not_known_is_not_told():
    """An entry of which little is known says little."""
    page = page_of(entry(prompt="  ", files=[picture(width=0)]))

    (card,) = page.all("li", class_="card")
    (image,) = (attributes for attributes, _ in page.all("img") if "src" in attributes)
    assert facts_of(card) == ["1", "", "seedream-5", "", "JPEG, 80 kB", "", "", "", ""]
    assert image["alt"] == "row 1"


def test_many_pictures_of_one_request():
    """Each picture of a group has a card, and says what it is and that the cost is of all."""
    page = page_of(entry(files=[picture("a.png"), picture("b.png")], cost=(0.06, "USD")))

    first, second = page.all("li", class_="card")
    assert [facts_of(card)[0] for card in (first, second)] == ["1, 1 of 2", "1, 2 of 2"]
    assert facts_of(first)[5] == "0.06 USD for 2 pictures"
    assert [link["href"] for link, _ in page.all("a", class_="shot")] == ["./a.png", "./b.png"]
    assert [image["alt"] for image, _ in page.all("img")][1] == "a cat, 2 of 2"


def test_long_prompts_are_heard_in_short():
    """The text for those who hear the page is short; the whole prompt follows it."""
    page = page_of(entry(prompt="a very long prompt " * 50, files=[picture()]))

    alt = page.all("img")[0][0]["alt"]
    assert len(alt) <= 151
    assert alt.endswith("…")
    assert page.texts("p", class_="prompt")[0] == "a very long prompt " * 50


async def test_a_picture_without_a_preview_is_linked_to(tmp_path):
    """A file that is no picture has a card that leads to it, with a name for those who hear it."""
    (tmp_path / "1.jpeg").write_bytes(b"<html>")

    page = await written(tmp_path, [entry(files=[picture("1.jpeg")])])

    ((link, text),) = page.all("a", class_="shot")
    assert link == {"class": "shot", "aria-label": "a cat", "href": "./1.jpeg"}
    assert text == "no preview"


async def test_failures_are_grouped_by_reason(tmp_path):
    """Rows that failed are under their reason and its remedy, the most frequent reason first."""
    once = Trouble(kind="StorageError", message="could not write", remedy="Make room.")
    troubles = [once, REFUSED, REFUSED]
    failed = [
        entry(id=f"row-{number}", state="failed", trouble=trouble, line=number, request_id="0217")
        for number, trouble in enumerate(troubles)
    ]

    page = await written(tmp_path, failed)

    assert page.texts("h2", id="failed-title") == ["Failed: 3 rows"]
    assert page.texts("h3") == ["refused as sensitive", "could not write"]
    assert page.texts("p", class_="remedy") == ["Rephrase it.", "Make room."]
    assert page.texts("summary") == ["2 rows, ContentPolicyError", "1 row, StorageError"]
    assert page.texts("li", class_="row")[0] == "a cat\nrow-1 · line 1 · seedream-5 · request 0217"
    assert page.texts("section", id="unknown") == []


async def test_unknown_outcomes_are_apart(tmp_path):
    """What may have been billed stands first, under a heading of its own that says so."""
    entries = [
        entry(state="failed", trouble=REFUSED),
        entry(id="2", state="unknown", trouble=NO_ANSWER),
    ]

    page = await written(tmp_path, entries)

    sections = [attributes["id"] for attributes, _ in page.all("section")]
    (unknown,) = page.texts("section", id="unknown")
    assert sections == ["unknown", "failed", "pictures"]
    assert "Outcome unknown: 1 row" in unknown
    assert "may have been billed" in unknown
    assert "no answer came" in unknown


async def test_a_row_that_failed_in_part(tmp_path):
    """A saved row some of whose images failed has its pictures, and is among the failures."""
    page = await written(tmp_path, [entry(files=[draw(tmp_path)], trouble=REFUSED)])

    (card,) = page.all("li", class_="card")
    assert facts_of(card)[8] == "refused as sensitive"
    assert page.texts("h2", id="failed-title") == ["Failed: 1 row"]


async def test_a_failure_that_says_nothing(tmp_path):
    """A row that failed for no reason that is known says that."""
    page = await written(tmp_path, [entry(state="failed")])

    assert page.texts("h3") == ["no reason is known"]
    assert page.texts("p", class_="remedy") == []


async def test_more_reasons_than_anyone_reads(tmp_path):
    """From the hundredth on, reasons stand with their rows."""
    failed = [
        entry(state="failed", trouble=Trouble(message=f"reason {number}", remedy="Wait."))
        for number in range(103)
    ]

    page = await written(tmp_path, failed)

    assert len(page.texts("h3")) == 101
    assert page.texts("h3")[0] == "Other reasons, told with each row"
    assert page.texts("li", class_="row")[2].endswith("reason 102 Wait.")


async def test_more_rows_than_anyone_reads(tmp_path, monkeypatch):
    """Of the rows of one reason the first are listed, and all are counted."""
    monkeypatch.setattr(_draft, "_MOST_ROWS", 2)

    page = await written(tmp_path, [entry(state="failed", trouble=REFUSED)] * 5)

    assert len(page.all("li", class_="row")) == 2
    assert page.texts("summary") == ["5 rows, the first 2 listed here, ContentPolicyError"]
    assert page.texts("h2", id="failed-title") == ["Failed: 5 rows"]


async def test_more_pictures_than_a_browser_takes(tmp_path):
    """Pictures that have no place on the page are counted there, and get no thumbnail."""
    files = [draw(tmp_path, f"{number}.jpeg") for number in range(3)]
    entries = [entry(files=files[:2]), entry(id="2", files=files[2:])]

    page = await written(tmp_path, entries, most_pictures=1)

    assert len(page.all("li", class_="card")) == 1
    assert page.texts("p", class_="advice") == [
        "These are the first 1. The other 2 are on the disk, listed in manifest.jsonl."
    ]
    assert len([*(tmp_path / "thumbnails").iterdir()]) == 1


async def test_nothing_yet(tmp_path):
    """A batch without entries has a page that says so."""
    page = await written(tmp_path / "new", [])

    assert "There are no pictures yet." in page.texts("section", id="pictures")[0]


def test_the_summary_in_numbers():
    """The head of the page tells counts, cost, time and settings."""
    summary = evolve(
        SUMMARY,
        saved=9871,
        failed=100,
        unknown=3,
        waiting=26,
        images=10_012,
        cost=[(300.36, "USD"), (1.5, "CNY")],
        cost_source="prices of 2026-10",
        settings=[("model", "seedream-5"), ("size", "2K")],
    )

    page = page_of(summary=summary)

    told = dict(zip(page.texts("dt"), page.texts("dd"), strict=True))
    assert [*zip(page.texts("dt"), page.texts("dd"), strict=True)][5:7] == [
        ("cost, about", "300.36 USD"),
        ("cost, about", "1.50 CNY"),
    ]
    assert told["rows saved"] == "9,871"
    assert told["rows failed"] == "100"
    assert told["outcome unknown"] == "3"
    assert told["not sent yet"] == "26"
    assert told["pictures"] == "10,012"
    assert told["size"] == "2K"
    assert page.texts("p", class_="when") == ["3 November 2026, 14:20 UTC · 2 h 13 min"]
    assert page.texts("p", class_="source") == ["Cost: prices of 2026-10"]


def test_a_batch_that_is_not_finished():
    """A batch without an end says so."""
    page = page_of(summary=evolve(SUMMARY, ended=None))

    assert page.texts("p", class_="when") == ["3 November 2026, 14:20 UTC, not finished"]


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_every_text_is_text(text):
    """Whatever a text holds, and wherever it stands, it is read as it is."""
    trouble = Trouble(kind=text, message=text, remedy=text)
    files = [picture(f"images/{text}.png".replace("\n", ""), content_type=f"image/{text}")]
    nasty = entry(
        id=text, prompt=text, model=text, size=text, files=files, request_id=text, trouble=trouble
    )
    summary = evolve(
        SUMMARY, title=text, cost=[(1, text)], cost_source=text, settings=[(text, text)]
    )
    plain = entry(files=[picture()], trouble=REFUSED, request_id="1", size="2K")
    told = evolve(SUMMARY, cost=[(1, "USD")], cost_source="x", settings=[("x", "x")])

    page = page_of(nasty, summary=summary)

    shape = [(tag, [*attributes]) for tag, attributes, _ in page.elements]
    expected = page_of(plain, summary=told).elements
    assert shape == [(tag, [*attributes]) for tag, attributes, _ in expected]
    assert page.texts("title") == page.texts("h1") == page.texts("h3") == [text]
    assert page.texts("p", class_="prompt")[:2] == [text, text]
    assert page.texts("p", class_="remedy") == [text]
    assert facts_of(page.all("li", class_="card")[0])[2] == text


@given(text=ANY_TEXT)
def test_any_prompt_is_text(text):
    """No prompt changes the shape of a page, and each is read as far as HTML can hold it."""
    cleaned = _page._wording.clean(text)

    page = page_of(entry(prompt=text, files=[picture()], state="failed", trouble=REFUSED))

    assert page.texts("p", class_="prompt")[:2] == [cleaned, cleaned]
    assert len(page.elements) == len(
        page_of(entry(files=[picture()], state="failed", trouble=REFUSED)).elements
    )


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=20,
    deadline=None,
)
@given(prompt=ANY_TEXT, name=ANY_TEXT)
async def test_any_text_can_be_written(tmp_path_factory, prompt, name):
    """No text stops the page from being written."""
    entries = [entry(id=name, prompt=prompt), entry(id=name, prompt=prompt, state="unknown")]

    page = await written(tmp_path_factory.mktemp("report"), entries)

    assert page.texts("p", class_="prompt")[0] == _page._wording.clean(prompt)


def test_nothing_is_fetched_from_elsewhere():
    """The policy lets nothing in but the page's own style and script, and pictures beside it."""
    page = page_of()

    (policy,) = (a["content"] for a, _ in page.all("meta") if "http-equiv" in a)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    (style,), (script,) = page.texts("style"), page.texts("script")
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "'self' file: data:"
    assert rules["style-src"] == f"'{digest(style)}'"
    assert rules["script-src"] == f"'{digest(script)}'"
    assert not re.search(r"(https?:)?//[a-z]", style + script)
    assert "innerHTML" not in script


def digest(text):
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_no_style_or_script_is_in_an_attribute():
    """The page's own policy would stop it."""
    names = {
        name
        for _, attributes, _ in page_of(entry(files=[picture()])).elements
        for name in attributes
    }

    assert not [name for name in names if name == "style" or name.startswith("on")]


def test_the_page_can_be_walked_through():
    """Landmarks, names for what has none, and a live count serve those who hear the page."""
    page = page_of(entry(state="failed", trouble=REFUSED))

    assert [
        tag for tag, _, _ in page.elements if tag in ("header", "main", "footer", "dialog")
    ] == [*("header", "main", "footer", "dialog")]
    assert page.all("html")[0][0]["lang"] == "en"
    assert page.all("form")[0][0]["role"] == "search"
    assert page.all("output")[0][0]["aria-live"] == "polite"
    assert all(button["aria-label"] for button, _ in page.all("button"))
    labelled = {a["aria-labelledby"] for _, a, _ in page.elements if "aria-labelledby" in a}
    assert labelled <= {a.get("id") for _, a, _ in page.elements}


async def test_entries_may_come_asynchronously(tmp_path):
    """Entries may be awaited, as many portions as there are; and progress is told."""
    heard = []

    async def entries():
        for number in range(150):
            yield entry(id=str(number), state="failed", trouble=REFUSED)

    page = await written(tmp_path, entries(), on_progress=heard.append)

    assert len(page.all("li", class_="row")) == 150
    assert heard == [64, 128, 150]


async def test_full_portions_that_come_asynchronously(tmp_path):
    """No empty portion follows the last."""
    heard = []

    async def entries():
        for number in range(64):
            yield entry(id=str(number))

    await write_report(tmp_path, entries(), SUMMARY, on_progress=heard.append)

    assert heard == [64]


async def test_entries_are_taken_in_threads(tmp_path):
    """Entries that block are waited for off the loop."""

    def entries():
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        yield entry()

    assert await write_report(tmp_path, entries(), SUMMARY)


async def test_an_older_report_is_replaced(tmp_path):
    """The newer page takes the place of the older one, and nothing else is left."""
    (tmp_path / "report.html").write_text("old")

    path = await write_report(tmp_path, [entry()], SUMMARY)

    assert path == tmp_path / "report.html"
    assert path.read_text("utf-8").startswith("<!doctype html>")
    assert [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("error", [ValueError, OSError, asyncio.CancelledError])
async def test_an_older_report_stays(tmp_path, error):
    """Entries that fail are told as they are; the older page stays, and nothing is left."""
    (tmp_path / "report.html").write_text("old")

    async def entries():
        yield entry()
        raise error("no more")

    with pytest.raises(error, match="no more"):
        await write_report(tmp_path, entries(), SUMMARY)

    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


@pytest.mark.parametrize("call", ["fsync", "replace"])
async def test_a_disk_that_refuses(tmp_path, monkeypatch, call):
    """A page that did not get onto the disk is told as such, and leaves the older one."""
    (tmp_path / "report.html").write_text("old")

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(StorageError, match="No space left on device") as excinfo:
        await write_report(tmp_path, [entry()], SUMMARY)

    assert "the images are on the disk" in excinfo.value.__notes__[0]
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text() == "old"


async def test_a_folder_that_is_a_file(tmp_path):
    """A folder that cannot be made is told as such."""
    (tmp_path / "out").write_text("a file")

    with pytest.raises(StorageError):
        await write_report(tmp_path / "out", [entry()], SUMMARY)


async def test_memory_is_flat(tmp_path):
    """Twenty times the entries take no more memory while the page is written."""
    peaks = []

    for count in (1000, 20_000):
        tracemalloc.start()
        await write_report(tmp_path, (entry(prompt="x" * 500) for _ in range(count)), SUMMARY)
        entries = (entry(prompt="x" * 500, state="failed", trouble=REFUSED) for _ in range(count))
        await write_report(tmp_path, entries, SUMMARY)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < peaks[0] + 500_000


def test_pictures_are_beside_the_report():
    """A picture's path is relative: a page that is moved with its pictures still shows them."""
    with pytest.raises(ValueError, match="path must be relative"):
        picture("/tmp/1.jpeg")  # noqa: S108


def test_the_files_of_the_page_are_in_the_package():
    """The page is made of files that are installed with the package."""
    files = _draft._page_files()

    assert all((files.html, files.css, files.js))
