"""
The states of a row, and which may follow which. Nothing here touches a ledger.

planned   nothing was sent
sent      a request may have left; on the disk before it does
paid      answered, so it is billed; its links are on the disk before anything else happens
saved     every image is on the disk
failed    refused, and surely not billed
unknown   it may have been billed, and nothing can be had for it any more
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

State: TypeAlias = Literal["planned", "sent", "paid", "saved", "failed", "unknown"]

STATES: tuple[State, ...] = get_args(State)
_NEXT: dict[State, tuple[State, ...]] = {
    "planned": ("sent",),
    # Back to planned: it provably never left.
    "sent": ("planned", "paid", "failed", "unknown"),
    # Unknown: its links died before it was saved.
    "paid": ("saved", "unknown"),
    "saved": (),
    "failed": ("sent",),
    # Paid: the answer came after it had been given up.
    "unknown": ("sent", "paid"),
}


class IllegalTransitionError(RuntimeError):
    """
    A row cannot become what was asked: another has sent it, or it is done.

    *before* is the row's state, nothing if the ledger has no such row.
    """

    def __init__(self, message: str, before: State | None = None) -> None:
        super().__init__(message)
        self.before = before

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (*self.args, self.before)


def check(number: int, before: State, after: State, *, resend_unknown: bool = False) -> None:
    """Raise unless row *number* may go from *before* to *after*."""
    if after not in _NEXT[before]:
        raise IllegalTransitionError(
            f"row {number} of the ledger is {before}; it cannot become {after}", before
        )
    if before == "unknown" and after == "sent" and not resend_unknown:
        raise IllegalTransitionError(
            f"row {number} of the ledger is unknown: it may have been billed; "
            "it is sent again only with resend_unknown",
            before,
        )


def settled(after: State, doubts: int) -> State:
    """
    What a row becomes that should become *after* when *doubts* earlier requests are unresolved.

    They may have been billed, whatever became of the last one: sending it again needs a say.
    """
    return "unknown" if doubts and after in ("planned", "failed") else after
