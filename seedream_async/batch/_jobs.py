"""
What is to be done about a row, decided from what the ledger has of it. Values in, values out.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from attrs import frozen

from ._entries import Entry
from ._fields import Row
from ._states import State

Action: TypeAlias = Literal["send", "download", "give up", "leave"]

# Refused for what they ask, so they would be again. Others may have been for the moment's sake.
FINAL = ("BadRequestError", "ContentPolicyError", "InvalidRequestError")
# What a link's own death is called: nobody can fetch it any more.
DEAD = ("LinkExpiredError", "LinkAlteredError", "LinkDeniedError", "NotAnImageError")


@frozen(kw_only=True)
class Job:
    """A *row* of the input that has something to be done, as the ledger's row *number*."""

    number: int
    row: Row
    before: State = "planned"
    doubts: int = 0

    @property
    def resend(self) -> bool:
        """Whether it may be billed a second time, which is wanted."""
        return self.doubts > 0

    @property
    def name(self) -> str:
        """What it is called, also if it gives itself no id."""
        return self.row.id or f"{self.number:06d}"


def action_of(
    entry: Entry, now: float, *, resend_unknown: bool = False, retry_failed: bool = False
) -> Action:
    """What to do about *entry* at *now*, in seconds since 1970."""
    match entry.state:
        case "planned":
            return "send"
        case "paid":
            alive = entry.expires is None or entry.expires > now
            return "download" if entry.downloadable and alive else "give up"
        case "failed":
            return "send" if retry_failed or entry.problem not in FINAL else "leave"
        case "unknown":
            return "send" if resend_unknown else "leave"
        case _:
            return "leave"
