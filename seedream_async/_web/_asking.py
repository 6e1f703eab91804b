"""
What of a browser's request is passed on to a store, and what of the store's answer comes back.

Values in, values out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from attrs import frozen

from seedream_async import _names, _sniff
from seedream_async._errors import IncompleteDownloadError, NotAnImageError

_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")
_SENT = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/[0-9]{1,18}")
_STRONG = re.compile(r'"[\x21\x23-\x7e]*"')
_TAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,200}")
_KINDS = (
    *(_sniff.JPEG, _sniff.PNG, _sniff.WEBP, _sniff.GIF),
    *(_sniff.BMP, _sniff.TIFF, _sniff.HEIC, _sniff.HEIF),
)
_KIND_OF = {kind.content_type: kind for kind in _KINDS} | {"image/jpg": _sniff.JPEG}
_SPELLINGS = {".jpeg": (".jpeg", ".jpg"), ".tiff": (".tiff", ".tif")}
_TELLING = 16  # bytes that tell every kind of image that is known
_LONGEST = 120  # characters of a name
_ABOUT_IT = ("etag", "last-modified")


@frozen
class Asked:
    """What a browser asks: *start* is where the range begins, if there is one."""

    has_body: bool = True
    start: int | None = None
    headers: Mapping[str, str] = {}
    tag: str | None = None  # of what the range is a part of, if it says
    known: str | None = None  # tags of what it has

    @classmethod
    def of(cls, method: str, headers: Mapping[str, str]) -> Asked:
        """Read *headers*, which have lower-case names."""
        passed = {}
        if known := headers.get("if-none-match"):
            passed["If-None-Match"] = known
        elif since := headers.get("if-modified-since"):
            passed["If-Modified-Since"] = since
        wanted, tag = headers.get("range", ""), headers.get("if-range")
        match = _RANGE.fullmatch(wanted) if method == "GET" else None
        # Of several ranges, of a last part and of a part by date, everything may be sent.
        if match is None or (tag is not None and not _STRONG.fullmatch(tag)):
            return cls(method != "HEAD", None, passed, None, known)
        passed["Range"] = wanted
        if tag is not None:  # which stores heed better than If-Range
            passed["If-Match"] = tag
        return cls(has_body=True, start=int(match[1]), headers=passed, tag=tag, known=known)

    def whole(self) -> Asked:
        """The same without the range."""
        passed = {n: v for n, v in self.headers.items() if n not in ("Range", "If-Match")}
        return Asked(self.has_body, None, passed, None, self.known)

    def is_moot(self, status: int, headers: Mapping[str, str]) -> bool:
        """Whether the range was of something that the store does not have any more."""
        changed = status == 206 and headers.get("etag", self.tag) != self.tag
        return self.tag is not None and (status == 412 or changed)

    def is_known(self, headers: Mapping[str, str]) -> bool:
        """Whether the browser has what the store's *headers* describe."""
        if self.known is None or (tag := headers.get("etag")) is None:
            return False
        tags = (item.removeprefix("W/") for item in _TAG.findall(self.known))
        return self.known.strip() == "*" or tag.removeprefix("W/") in tags

    def check_part(self, headers: Mapping[str, str]) -> None:
        """Raise unless *headers* are of the part that was asked for."""
        match = _SENT.fullmatch(headers.get("content-range", ""))
        if match is None or int(match[1]) != self.start:
            raise IncompleteDownloadError("the store sent another part than was asked for")


@frozen(kw_only=True)
class Manner:
    """How an image is handed on."""

    cache_control: str
    filename: str | None
    attachment: bool
    redirect: bool
    repair: bool


def kind_of(head: bytes, headers: Mapping[str, str], start: int | None) -> _sniff.Kind:
    """What begins with *head*, at *start* of it; raises `NotAnImageError`."""
    if not start and (sniffed := _sniff.sniff(head)):
        return sniffed.kind
    said = headers.get("content-type", "").partition(";")[0].strip().lower()
    telling = not start and (start is None or len(head) >= _TELLING)
    kind = None if telling else _KIND_OF.get(said)
    if kind is None:
        raise NotAnImageError("what the link leads to is no image of a kind that is known")
    return kind


def tells_its_end(headers: Mapping[str, str]) -> bool:
    """Whether a connection that is closed too early can be told from the end of the body."""
    return "content-length" in headers or "transfer-encoding" in headers


def unmodified(headers: Mapping[str, str], manner: Manner) -> dict[str, str]:
    """What is said of an image that the browser has."""
    return {"Cache-Control": manner.cache_control, **_told(headers, _ABOUT_IT)}


def beyond(headers: Mapping[str, str]) -> dict[str, str]:
    """What is said of a range that begins beyond the end."""
    return {
        "Cache-Control": "no-store",
        "Content-Length": "0",
        **_told(headers, ("content-range",)),
    }


def described(
    headers: Mapping[str, str], kind: _sniff.Kind, manner: Manner, *, part: bool
) -> dict[str, str]:
    """What is said of an image of that *kind*, or a *part*; the store says *headers* of it."""
    shown = {
        "Content-Type": kind.content_type,
        "X-Content-Type-Options": "nosniff",
        **unmodified(headers, manner),
        **_told(headers, ("accept-ranges", *(("content-range",) if part else ()))),
    }
    if (length := headers.get("content-length", "")).isascii() and length.isdigit():
        shown["Content-Length"] = length
    if manner.attachment or manner.filename is not None:
        how = "attachment" if manner.attachment else "inline"
        shown["Content-Disposition"] = disposition(how, manner.filename or "image", kind)
    return shown


def redirected(link: str) -> dict[str, str]:
    """What sends a browser to *link* itself, and tells nobody else of it."""
    return {
        "Location": link,
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "Content-Length": "0",
    }


def disposition(how: str, name: str, kind: _sniff.Kind) -> str:
    """The header that gives an image its *name*, whose end follows the kind."""
    endings = _SPELLINGS.get(kind.extension, (kind.extension,))
    # What a browser takes for a folder, or for the end of the name, is none of it.
    name = re.sub(r'[\x00-\x1f\x7f/\\:*?"<>|]+', "-", name).strip(" .") or "image"
    at = next((len(name) - len(end) for end in endings if name.lower().endswith(end)), len(name))
    stem, ending = name[:at][:_LONGEST] or "image", name[at:] or kind.extension
    plain = f"{_names.safe_name(stem)}{ending}"
    if plain == f"{stem}{ending}":
        return f'{how}; filename="{plain}"'
    spelled = quote(f"{stem}{ending}".encode("utf-8", "replace"), safe="")
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{spelled}"


def _told(headers: Mapping[str, str], names: tuple[str, ...]) -> dict[str, str]:
    given = {name: headers.get(name, "") for name in names}
    return {
        name.title().replace("Etag", "ETag"): value
        for name, value in given.items()
        if (_TAG if name == "etag" else _PRINTABLE).fullmatch(value)
    }
