"""
What crosses the wire, as values: the pieces of a body, and an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Protocol, TypeAlias

from attrs import field, frozen


class Encoded(Protocol):
    """Bytes of a body that are made while they are sent, so that they never exist as a whole."""

    @property
    def length(self) -> int: ...

    def slices(self) -> Generator[bytes, None, None]:
        """The bytes, in pieces. Blocking, so every step is taken in a thread."""
        ...


Piece: TypeAlias = bytes | Encoded

MOST_OF_REFUSAL = 64 * 1024  # bytes that are read of one
BASE64_NAME = b'"b64_json"'  # whatever has it may be as long as images
MOST_OF_ANSWER = 8 * 1024 * 1024  # bytes without its images: 10 KB are usual


@frozen
class Answer:
    """
    What came back, *elapsed* seconds after the request began.

    *headers* are found by their names in lower case. *body* is whole, save for a refusal of more
    than 64 KiB.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    elapsed: float | None = None


@frozen
class Asked:
    """
    What an answer is read against.

    *secrets* are the texts (key, prompt) that no message may repeat. *remedy* tells what the
    catalogue knows to be wrong with the request, for the case that the service refuses it. At most
    *images* are made, and the answer has at most *most_bytes*. A request that is *free* can be
    repeated whatever became of it.
    """

    secrets: Sequence[str] = field(default=(), repr=False)
    remedy: Callable[[], str | None] = lambda: None
    images: int = 1
    most_bytes: int = MOST_OF_ANSWER
    free: bool = False
