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


@frozen
class Answer:
    """What came back: *headers* have lower-case names, *body* is whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@frozen
class Asked:
    """
    What an answer is read against.

    *secrets* are the texts (key, prompt) that no message may repeat. *remedy* tells what the
    catalogue knows to be wrong with the request, for the case that the service refuses it.
    """

    secrets: Sequence[str] = field(default=(), repr=False)
    remedy: Callable[[], str | None] = lambda: None
