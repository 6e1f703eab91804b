"""
The words for an outcome that nobody knows: what is certain, and what to do.
"""

from __future__ import annotations

from typing import Any

from ._errors import OutcomeUnknownError

# Seconds after which gateways cut a connection, each with the latest that was seen (failures
# catalogue; Cloudflare's 524 comes after 100 to 125 s).
_GATEWAYS = ((60, 62), (100, 102), (120, 126))


def outcome_unknown(
    what: str, elapsed: float | None = None, *, cut: bool = True, **facts: Any
) -> OutcomeUnknownError:
    """The error for a request that was sent; *cut* is whether the far side ended it."""
    hint = gateway_hint(elapsed) if cut and elapsed is not None else ""
    return OutcomeUnknownError(
        f"{what}. The request had been sent, so the image may have been made and billed: "
        f"check the account before sending it again{hint}",
        elapsed=elapsed,
        **facts,
    )


def gateway_hint(elapsed: float) -> str:
    """What to do about a gateway's limit, if *elapsed* seconds sound like one."""
    for limit, latest in _GATEWAYS:
        if limit - 0.5 <= elapsed <= latest:
            return (
                f". An end after {limit} s sounds like a gateway's limit: "
                "use stream(), a smaller size, or fewer images per call"
            )
    return ""
