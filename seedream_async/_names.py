"""
Names for files that every system takes, and numbers for those that are taken.

Nothing here asks a disk: what is taken is told by a function.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterator

_LENGTH = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
# Names that Windows gives to devices, whatever follows the first dot.
_DEVICE = re.compile(
    r"(con|prn|aux|nul|(com|lpt)[0-9\u00b9\u00b2\u00b3]) *(\..*)?", re.IGNORECASE | re.DOTALL
)


def safe_name(text: str) -> str:
    """*text* as a file name for any system: at most 86 of the characters `A-Za-z0-9._-`."""
    name = _UNSAFE.sub("-", text)[:_LENGTH].strip(".-")
    return f"image-{name}".rstrip("-") if not name or _DEVICE.fullmatch(name) else name


def distinct_name(text: str) -> str:
    """As `safe_name`, with a digest where it had to change *text*: other texts, other names."""
    name = safe_name(text)
    return name if name == text else f"{name}-{hashlib.sha256(_bytes(text)).hexdigest()[:8]}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def plain_name(text: str) -> str:
    """The letters and digits of *text*, at most 20 of them."""
    return re.sub(r"[^0-9A-Za-z]", "", text)[:20] or "unknown"


def legal_name(name: str) -> str:
    """*name*, which was put together of legal pieces, unless that made a device's name of it."""
    return f"image-{name}" if _DEVICE.fullmatch(name) else name


def numbers(taken: Callable[[int], bool]) -> Iterator[int]:
    """
    The numbers to try for a name: 0, then all from the first that looks free.

    Doubling and halving finds it: asked one by one, the last of many equal names takes ages.
    """
    yield 0
    last, free = 0, 1
    while taken(free):
        last, free = free, 2 * free
    while free - last > 1:
        middle = (last + free) // 2
        if taken(middle):
            last = middle
        else:
            free = middle
    yield from itertools.count(free)
