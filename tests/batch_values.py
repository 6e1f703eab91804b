"""Entries and summaries for tests of the report."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

from seedream_async.batch._report_entries import Entry, Picture, Summary, Trouble
from seedream_async.emulator._pictures import render

STARTED = datetime(2026, 11, 3, 14, 20, tzinfo=UTC)
SUMMARY = Summary(title="prompts.jsonl", started=STARTED, ended=STARTED + timedelta(minutes=133))
REFUSED = Trouble(kind="ContentPolicyError", message="refused as sensitive", remedy="Rephrase it.")
NO_ANSWER = Trouble(kind="OutcomeUnknownError", message="no answer came within 300 s")
# Texts that break pages, each of which is to be seen as it is.
NASTY = {
    "script": '<script>document.title = "owned"</script>',
    "end of the script": "</script></style></title><img src=x onerror=alert(1)>",
    "quotes": "\"it's\" 'here' `there` &amp; &lt; &notin;",
    "right to left": "قطة ترتدي وشاحًا أحمر",
    "override": "\u202egnp.exe\u202c and \u2066isolated",
    "comment": "<!-- --!> ]]> <![CDATA[ $content $js ${title}",
    "lines": "one\n\n  two\tthree",
    "others": "猫 🐈 e\u0301 \u2028",
}


def picture(path="images/1.jpeg", **values):
    facts = {"bytes": 80_000, "width": 2048, "height": 1024, "content_type": "image/jpeg"}
    return Picture(path=path, **facts | values)


def entry(**values):
    facts = {"id": "1", "prompt": "a cat", "model": "seedream-5", "state": "saved"}
    return Entry(**facts | values)


def draw(folder, path="images/1.jpeg", width=640, height=320, kind="jpeg", *, window=None):
    """A real image at *path* in *folder*."""
    content = render(width, height, kind, path.encode(), window)
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    return picture(
        path, bytes=len(content), width=width, height=height, content_type=f"image/{kind}"
    )


class Page(HTMLParser):
    """A page as a browser reads it: elements as (tag, attributes, text), in order."""

    VOID = frozenset({"meta", "link", "img", "input", "path"})

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self._open = []
        self.feed(text)
        self.close()
        assert not self._open, "elements are left open"

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), "an attribute is there twice"
        self.elements.append((tag, dict(attrs), []))
        if tag not in self.VOID:
            self._open.append(self.elements[-1])

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), []))

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag, "elements overlap"

    def handle_data(self, data):
        for _, _, text in self._open:
            text.append(data)

    def all(self, tag, **attributes):
        """The (attributes, text) of each *tag* whose classes, or other *attributes*, are these."""
        wanted = {name.rstrip("_"): value for name, value in attributes.items()}
        return [
            (found, "".join(text))
            for name, found, text in self.elements
            if name == tag and all(found.get(key) == value for key, value in wanted.items())
        ]

    def texts(self, tag, **attributes):
        return [text for _, text in self.all(tag, **attributes)]
