"""
The words for an outcome that nobody knows: what is certain, and what to do.
"""

from __future__ import annotations

from typing import Any

from ._errors import APIError, OutcomeUnknownError

# Seconds within which gateways give up: at 60, Cloudflare at 100 to 125, some at 120; each with a
# little more for the way.
_GATEWAYS = ((59.5, 62), (99.5, 126))


def outcome_unknown(
    what: str, elapsed: float | None = None, *, cut: bool = True, arrived: int = 0, **facts: Any
) -> OutcomeUnknownError:
    """
    The error for a request that was sent; *cut* is whether the far side ended it.

    *arrived* is how many images had come of it before.
    """
    hint = gateway_hint(elapsed) if cut and elapsed is not None else ""
    return OutcomeUnknownError(
        f"{what}. {_certain(arrived)}: check the account before sending it again{hint}",
        elapsed=elapsed,
        **facts,
    )


def note_arrived(error: APIError, response: Any) -> None:
    """Let *error* hold the *response* that had arrived before it, if there is one."""
    if response is not None:
        error.response = response
        number = len(response.images)
        error.add_note(f"images that had arrived before: {number}; response holds them")


def _certain(arrived: int) -> str:
    if not arrived:
        return "The request had been sent, so the image may have been made and billed"
    images, are, them = ("image", "it is", "it") if arrived == 1 else ("images", "they are", "them")
    return (
        f"Before that, {arrived} {images} had arrived: {are} billed, and response holds {them}. "
        "Whether more were made and billed is unknown"
    )


def gateway_hint(elapsed: float) -> str:
    """What to do about a gateway's limit, if *elapsed* seconds sound like one."""
    if any(earliest <= elapsed <= latest for earliest, latest in _GATEWAYS):
        return (
            f". An end after {elapsed:.0f} s sounds like a gateway's limit: "
            "use stream(), a smaller size, or fewer images per call"
        )
    return ""
