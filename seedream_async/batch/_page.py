"""
The report as HTML, in the pieces that are written one after the other. Values in, text out.

Whatever comes from outside goes through `escape` or `link`. No style or script is in an attribute:
the page's own policy forbids it, as it forbids everything that is fetched from elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import datetime
from string import Template

from attrs import frozen

from seedream_async import _version

from . import _wording
from ._report_entries import Entry, Picture, Preview, State, Summary, Trouble
from ._wording import escape

_ALT_LENGTH = 150  # characters: what is heard; the whole prompt follows it
_DOUBT = (
    "These requests were sent, and no answer came that can be trusted. "
    "They may have been billed: compare them with your account before you send them again."
)
# The reason of rows that have so many reasons that each tells its own.
OTHERS = Trouble(message="Other reasons, told with each row")
_EMPTY = '<p class="empty nothing" hidden>Nothing matches the filter.</p>'
_NOTHING = '<p class="empty">There are no pictures yet.</p>'


@frozen
class Frame:
    """What is around the entries: the start of the page and its end."""

    head: str
    foot: str


@frozen(kw_only=True)
class Files:
    """The files that the page is made of, as they lie beside this module."""

    html: str
    css: str
    js: str


def frame(summary: Summary, files: Files) -> Frame:
    """The start and the end of the page."""
    values = {
        "policy": policy(files),
        "version": _version.__version__,
        "title": escape(summary.title) or "Batch",
        "when": _when(summary.started, summary.ended),
        "figures": "\n".join(_figures(summary)),
        "details": "\n".join(_details(summary)),
        "css": files.css,
        "js": files.js,
    }
    head, foot = files.html.split("$content\n")
    return Frame(Template(head).substitute(values), Template(foot).substitute(values))


def policy(files: Files) -> str:
    """What the page may load: its own style and script, and pictures that lie beside it."""
    # Where a page is a file, only some browsers take 'self' for its neighbours.
    return "; ".join(
        (
            "default-src 'none'",
            "img-src 'self' file: data:",
            f"style-src '{_digest(files.css)}'",
            f"script-src '{_digest(files.js)}'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _when(started: datetime, ended: datetime | None) -> str:
    if ended is None:
        return f"{_wording.moment(started)}, not finished"
    length = _wording.duration((ended - started).total_seconds())
    return f"{_wording.moment(started)} · {length}"


def _figures(summary: Summary) -> Iterator[str]:
    yield _figure("images", "pictures", _linked("pictures", summary.images))
    yield _figure("saved", "rows saved", _wording.number(summary.saved))
    if summary.failed:
        yield _figure("failed", "rows failed", _linked("failed", summary.failed))
    if summary.unknown:
        yield _figure("unknown", "outcome unknown", _linked("unknown", summary.unknown))
    if summary.waiting:
        yield _figure("waiting", "not sent yet", _wording.number(summary.waiting))
    for cost in summary.cost:
        yield _figure("cost", "cost, about", escape(_wording.money(cost)))


def _linked(section: str, value: int) -> str:
    return f'<a href="#{section}">{_wording.number(value)}</a>'


def _figure(name: str, label: str, value: str) -> str:
    return f'<div class="{name}"><dt>{label}</dt><dd>{value}</dd></div>'


def _details(summary: Summary) -> Iterator[str]:
    if summary.cost_source:
        yield f'<p class="source" dir="auto">Cost: {escape(summary.cost_source)}</p>'
    if summary.settings:
        yield '<details class="settings"><summary>Settings</summary><dl>'
        for name, value in summary.settings:
            yield f'<dt>{escape(name)}</dt><dd dir="auto">{escape(value)}</dd>'
        yield "</dl></details>"


def cards(entry: Entry, previews: Iterable[Preview | None]) -> Iterator[str]:
    """
    One card for each picture of *entry*, as far as the *previews* go.

    A picture whose preview is none is only linked to.
    """
    for place, (picture, preview) in enumerate(zip(entry.files, previews, strict=False), 1):
        of_many = f"{place} of {len(entry.files)}" if len(entry.files) > 1 else ""
        facts = json.dumps(_facts(entry, picture, of_many), ensure_ascii=False)
        yield (
            f'<li class="card" data-state="saved" data-facts="{escape(facts)}">'
            f"{_shot(entry, picture, preview, of_many)}"
            f'<p class="prompt" dir="auto">{escape(entry.prompt)}</p>\n'
            f'<p class="facts">{" ".join(_caption(entry, picture, of_many))}</p></li>\n'
        )


def _shot(entry: Entry, picture: Picture, preview: Preview | None, of_many: str) -> str:
    alt = escape(_alt(entry, of_many))
    content = "<span>no preview</span>"
    if preview is not None:
        content = (
            f'<img src="{_wording.link(preview.path)}" width="{preview.width}" '
            f'height="{preview.height}" loading="lazy" decoding="async" alt="{alt}">'
        )
    label = f' aria-label="{alt}"' if preview is None else ""
    return f'<a class="shot"{label} href="{_wording.link(picture.path)}">{content}</a>'


def _alt(entry: Entry, of_many: str) -> str:
    words = " ".join(entry.prompt.split())
    short = words if len(words) <= _ALT_LENGTH else words[:_ALT_LENGTH].rstrip() + "…"
    return ", ".join(filter(None, (short or f"row {entry.id}", of_many)))


def _caption(entry: Entry, picture: Picture, of_many: str) -> Iterator[str]:
    row = ", ".join(filter(None, (entry.id, of_many)))
    cost = _wording.money(entry.cost) if entry.cost else ""
    for line in (
        f"<bdi>{escape(row)}</bdi>",
        " · ".join(filter(None, (_extent(picture), escape(cost)))),
        escape(entry.model),
    ):
        yield f"<span>{line}</span>"


def _extent(picture: Picture) -> str:
    return f"{picture.width} × {picture.height}" if picture.width and picture.height else ""  # noqa: RUF001


def _facts(entry: Entry, picture: Picture, of_many: str) -> list[str]:
    """What the full-size view tells, in the order of its labels; nothing where it is not known."""
    kind = picture.content_type.partition("/")[2].upper()
    shares = f" for {len(entry.files)} pictures" if of_many else ""
    facts = [
        ", ".join(filter(None, (entry.id, of_many))),
        "" if entry.line is None else str(entry.line),
        entry.model,
        entry.size or "",
        ", ".join(filter(None, (_extent(picture), kind, _wording.size(picture.bytes)))),
        _wording.money(entry.cost) + shares if entry.cost else "",
        "" if entry.seconds is None else _wording.duration(entry.seconds),
        entry.request_id or "",
        entry.trouble.message if entry.trouble else "",
    ]
    return [_wording.clean(fact) for fact in facts]


def trouble_of(entry: Entry) -> Trouble | None:
    """Why *entry* is among those that failed or are unknown; nothing if it is not."""
    return entry.trouble or (None if entry.state == "saved" else Trouble())


def state_of(entry: Entry) -> State:
    """Under which heading the trouble of *entry* stands."""
    return "unknown" if entry.state == "unknown" else "failed"


def row(entry: Entry, reason: str = "") -> str:
    """*entry* among those of one reason; *reason* is said again where these have several."""
    facts = (
        entry.id,
        "" if entry.line is None else f"line {entry.line}",
        entry.model,
        entry.size or "",
        f"request {entry.request_id}" if entry.request_id else "",
        _wording.money(entry.cost) if entry.cost else "",
        reason,
    )
    told = " · ".join(f"<bdi>{escape(fact)}</bdi>" for fact in facts if fact)
    return (
        f'<li class="row" data-state="{state_of(entry)}">'
        f'<p class="prompt" dir="auto">{escape(entry.prompt)}</p>\n'
        f'<p class="facts">{told}</p></li>\n'
    )


def section_start(state: State, count: int) -> str:
    """The heading of the rows that failed, or of those that are unknown."""
    title = "Outcome unknown" if state == "unknown" else "Failed"
    advice = f'<p class="advice">{_DOUBT}</p>\n' if state == "unknown" else ""
    return (
        f'<section id="{state}" aria-labelledby="{state}-title">\n'
        f'<h2 id="{state}-title">{title}: {_wording.counted(count, "row")}</h2>\n'
        f'{advice}<div class="reasons">\n'
    )


SECTION_END = "</div>\n</section>\n"


def reason_start(trouble: Trouble, count: int, listed: int) -> str:
    """The start of the rows that failed for one reason, of which the first are *listed*."""
    cut = f", the first {_wording.number(listed)} listed here" if listed < count else ""
    remedy = f'<p class="remedy" dir="auto">{escape(trouble.remedy)}</p>' if trouble.remedy else ""
    return (
        '<div class="reason"><div class="about">'
        f'<h3 dir="auto">{escape(trouble.message)}</h3>{remedy}'
        "</div>\n"
        f'<details><summary><span class="left"></span>{_wording.counted(count, "row")}{cut}, '
        f'<span class="kind">{escape(trouble.kind)}</span></summary>\n'
        '<ul class="rows">\n'
    )


REASON_END = "</ul></details></div>\n"


def pictures_start(count: int, left_out: int) -> str:
    """The start of the grid; *left_out* pictures have no place on the page."""
    more = (
        f'<p class="advice">These are the first {_wording.number(count)}. '
        f"The other {_wording.number(left_out)} are on the disk, listed in manifest.jsonl.</p>\n"
    )
    return (
        '<section id="pictures" aria-labelledby="pictures-title">\n'
        f'<h2 id="pictures-title">Pictures</h2>\n{more if left_out else ""}'
        f'{"" if count else _NOTHING}<ul class="grid">\n'
    )


PICTURES_END = f"</ul>\n{_EMPTY}\n</section>\n"
