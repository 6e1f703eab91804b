"""What is checked of the network, in which order. Only the standard library is used here."""

from __future__ import annotations

from ._findings import Finding, skipped

# A check, and the one without which it tells nothing.
ORDER = (
    ("DNS", "base URL"),
    ("TCP", "DNS"),
    ("TLS", "TCP"),
    ("service", "TLS"),
    ("clock", "TLS"),
    ("access", "service"),
    ("model", "access"),
)


def skip_all(why: str) -> list[Finding]:
    """The findings if nothing can be checked."""
    return [skipped(check, why) for check, _ in ORDER]
