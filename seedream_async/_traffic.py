"""How much of the API this client uses at once. One object per client, shared by all its calls."""

from __future__ import annotations

import asyncio

from attrs import field, frozen, validators


@frozen(kw_only=True)
class Limits:
    """
    What one client allows itself.

    *concurrency* is the number of generations in flight. An account gets 500 images per minute
    and model (Ark's model list), which 32 generations of 20 to 60 s each stay well below.
    """

    concurrency: int = field(default=32, validator=validators.ge(1))


class Traffic:
    """The slots of one client."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._slots = asyncio.Semaphore(limits.concurrency)

    def slot(self) -> asyncio.Semaphore:
        """A context in which one generation may be in flight; first come, first served."""
        return self._slots
