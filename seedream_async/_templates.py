"""
Names of images, made of what is known of each: a template's fields, and whether they can collide.

Nothing here asks a disk. A field's value is text that is safe in any file name, so it never adds a
separator; a template from which two images could get one name is refused.

Annotations are not postponed here, so that `typing.get_type_hints` works on every class
although each calls itself a member of `seedream_async`.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from string import Formatter, ascii_letters, digits
from typing import TypeAlias

from attrs import converters, field, frozen

from ._errors import InvalidRequestError
from ._names import distinct_name, legal_name, plain_name, safe_name

DEFAULT = "{index:06d}.{ext}"
_EXT = ".{ext}"
_IMAGE_SUFFIX = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?|heic|heif)", re.IGNORECASE)
# What Windows takes in no name; half characters, which no file system takes.
_UNFIT = re.compile(r'[<>:"/\\|?*\x00-\x1f\ud800-\udfff]')
_LONGEST = 255  # bytes of a name on the usual file systems
_ROOM = len("-9999") + len("_9999999") + len(".jpeg")  # for what comes after the template

# The characters that a value may have: whatever is not among them ends it.
_PLAIN = digits + ascii_letters
_TEXT = _PLAIN + "._-"
_ALPHABETS = {"index": digits, "number": digits, "size": _PLAIN, "seed": _PLAIN}
_FIELDS = ("index", "number", "size", "ext", "model", "seed", "prompt")
_NUMBERS = ("index", "number", "seed")
_NUMBER_SPEC = re.compile(r"(0[1-9][0-9]?)?d?")
_TEXT_SPEC = re.compile(r"(\.[1-9][0-9]?)?")


def _safe_values(values: Mapping[str, str]) -> Mapping[str, str]:
    return {name: safe_name(value) for name, value in values.items()}


def _plain_seed(value: int | None) -> int | None:
    # The API's own -1 is "any".
    return value if isinstance(value, int) and 0 <= value < 10**20 else None


@frozen(kw_only=True)
class ImageName:
    """
    What the name of an image can be made of; every text in it is safe in a file name.

    *index* is that of the request, from 0. *number* is that of the image in its group of *count*,
    from 1. *size* is as the API tells it. *id* and *extra* are the row's, in a batch.
    """

    index: int
    number: int = 1
    count: int = 1
    size: str = field(default="", converter=plain_name)
    model: str = field(default="", converter=safe_name)
    seed: int | None = field(default=None, converter=_plain_seed)
    prompt: str = field(default="", converter=safe_name, repr=False)
    id: str | None = field(default=None, converter=converters.optional(distinct_name))
    extra: Mapping[str, str] = field(factory=dict, converter=_safe_values, repr=False)


@frozen
class _Field:
    name: str
    spec: str

    @property
    def alphabet(self) -> str:
        return _ALPHABETS.get(self.name, _TEXT)

    @property
    def longest(self) -> int:
        width = int(self.spec.strip("d.") or 0)
        return min(width or 95, 95) if self.alphabet == _TEXT else max(width, 20)

    def value(self, name: ImageName) -> str:
        """The text for *name*: never empty, of the alphabet's characters."""
        if self.name in _NUMBERS:
            number = getattr(name, self.name)
            return "random" if number is None else format(number, self.spec)
        attribute = self.name in (*_FIELDS, "id")
        text = getattr(name, self.name) if attribute else name.extra.get(self.name, "none")
        return str(text)[: int(self.spec[1:] or _LONGEST)].rstrip(".-")


_Piece: TypeAlias = str | _Field
_Part: TypeAlias = tuple[_Piece, ...]  # what stands between two separators; no two texts in a row
_NUMBER = _Field("number", "")


@frozen
class Template:
    """
    A *folder*, and how names in it are made. Without a *suffix* the extension follows the bytes.

    A group's images get numbers after *separator*, unless the template has them itself.
    """

    folder: Path
    suffix: str | None
    separator: str | None
    _parts: tuple[_Part, ...]

    def path(self, name: ImageName) -> Path:
        """Where the image goes, without its extension."""
        parts = ["".join(_texts(part, name)) for part in self._parts]
        if self.separator and name.count > 1:
            parts[-1] += f"{self.separator}{name.number}"
        return self.folder.joinpath(*map(legal_name, parts))


def _texts(part: _Part, name: ImageName) -> Iterator[str]:
    return (piece if isinstance(piece, str) else piece.value(name) for piece in part)


def parse(
    text: str,
    *,
    argument: str,
    keys: Collection[str] = ("index",),
    extra: Collection[str] = (),
    default: str = DEFAULT,
) -> Template:
    """
    Read a template, or a folder, for which *default* is the template. A brace is doubled.

    *keys* are the fields of which each alone tells one request from another, *extra* more fields
    that there are. Raises `InvalidRequestError` that names the *argument*.
    """
    known = tuple(dict.fromkeys((*_FIELDS, *keys, *extra)))
    try:
        return _parse(text, default, known, keys)
    except ValueError as exc:
        raise InvalidRequestError(f"{argument}: {exc}", field=argument) from None


def _parse(text: str, default: str, known: Collection[str], keys: Collection[str]) -> Template:
    pieces = _pieces(text, known, keys)
    if not any(isinstance(piece, _Field) for piece in pieces):
        text = f"{Path(text) / default}"
    return _build(text, known, keys)


def _build(text: str, known: Collection[str], keys: Collection[str]) -> Template:
    *folders, last = Path(text).parts
    stem, suffix = (last[: -len(_EXT)], None) if last.endswith(_EXT) else split_suffix(last)
    if not stem or Path(f"{text}x").name == "x":
        raise ValueError("the template ends in a folder; give the files a name, such as {index}")
    parts = [_pieces(part, known, keys) for part in (*folders, stem)]
    start = next((at for at, part in enumerate(parts) if _fields(part)), len(folders))
    folder = Path(*("".join(map(str, part)) for part in parts[:start]))
    tail = tuple(parts[start:])
    for part in tail:
        _check_part(part)
    return Template(folder, suffix, _separator(tail, keys), tail)


def split_suffix(path: str) -> tuple[str, str | None]:
    """*path* and its suffix, if that is an image's; any other belongs to the name."""
    stem, dot, extension = path.rpartition(".")
    if _IMAGE_SUFFIX.fullmatch(dot + extension):
        return stem, dot + extension
    return path, None


def _pieces(text: str, known: Collection[str], keys: Collection[str]) -> _Part:
    pieces: list[_Piece] = []
    for literal, name, spec, conversion in Formatter().parse(text):
        if literal and pieces and isinstance(pieces[-1], str):
            pieces[-1] += literal
        elif literal:
            pieces.append(literal)
        if name is not None:
            pieces.append(_checked(_Field(name, spec or ""), conversion, known, keys))
    return tuple(pieces)


def _checked(
    piece: _Field, conversion: str | None, known: Collection[str], keys: Collection[str]
) -> _Field:
    name = piece.name
    if name not in known:
        raise ValueError(
            f"there is no field {{{name}}}, only {_listed(known)}; "
            "a brace that belongs to the name is doubled"
        )
    spec = _NUMBER_SPEC if name in _NUMBERS else _TEXT_SPEC
    fixed = name in ("ext", "size") or (name in keys and spec is _TEXT_SPEC)
    if conversion or not spec.fullmatch(piece.spec) or (fixed and piece.spec):
        shape = "" if fixed else ":06d" if spec is _NUMBER_SPEC else ":.40"
        also = f" or {{{name}{shape}}}" if shape else ""
        raise ValueError(f"{{{name}}} is formatted in no other way than {{{name}}}{also}")
    return piece


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


def _fields(part: _Part) -> list[_Field]:
    return [piece for piece in part if isinstance(piece, _Field)]


def _check_part(part: _Part) -> None:
    if part == ("..",):
        raise ValueError("the template leads out of its folder; leave out the ..")
    if any(piece.name == "ext" for piece in _fields(part)):
        raise ValueError("{ext} is known last, so it has one place: at the end, as .{ext}")
    for piece in part:
        if isinstance(piece, str) and (unfit := _UNFIT.search(piece)):
            raise ValueError(f"not every system takes {unfit[0]!r} in a name; leave it out")
    if part and isinstance(part[-1], str) and part[-1][-1] in ". ":
        raise ValueError("a name that ends in a dot or a blank loses it on Windows; leave it out")
    longest = sum(p.longest if isinstance(p, _Field) else len(p.encode()) for p in part)
    if longest + _ROOM > _LONGEST:
        raise ValueError(
            f"names could get longer than {_LONGEST} bytes; cut it, as in {{prompt:.40}}"
        )


def _separator(parts: Sequence[_Part], keys: Collection[str]) -> str | None:
    """What stands before the number of a group's image, so that no two images get one name."""
    *folders, last = parts
    key = next((key for key in keys if any(_tells(part, key) for part in parts)), None)
    if key is None:
        raise ValueError(
            f"two images could get the same name; put {_listed(keys)} first or last, "
            "apart from other fields by a - or in a folder of its own"
        )
    if any(piece.name == "number" for part in parts for piece in _fields(part)):
        if any(_tells(part, "number") for part in parts):
            return None
    elif any(_tells(part, key) for part in folders) or _reads((*last, "-", _NUMBER), key, 0):
        return "-"
    # No value has a plus, so it parts the number from any.
    elif not any("+" in piece for piece in last if isinstance(piece, str)):
        return "+"
    raise ValueError(
        "two images of one group could get the same name; put {number} at the end, after a -"
    )


def _tells(part: _Part, name: str) -> bool:
    """Tell whether the value of field *name* can be read back from the finished text."""
    return _reads(part, name, 0) or _reads(part[::-1], name, -1)


def _reads(part: _Part, name: str, edge: int) -> bool:
    """
    Tell whether every field up to *name* ends where a character follows that it cannot have.

    *edge* is 0 if *part* is read from the left, and -1 from the right.
    """
    for piece, neighbour in zip(part, (*part[1:], None), strict=True):
        if isinstance(piece, str):
            continue
        if isinstance(neighbour, _Field) or (neighbour and neighbour[edge] in piece.alphabet):
            return False
        if piece.name == name:
            return True
    return False
