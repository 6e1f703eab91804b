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
    *retry_budget* is the number of retries that may be spent while nothing succeeds; each success
    gives one back. When it is used up, errors are passed on at once.
    """

    concurrency: int = field(default=32, validator=validators.ge(1))
    retry_budget: int = field(default=100, validator=validators.ge(0))


class Traffic:
    """The slots of one client."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._slots = asyncio.Semaphore(limits.concurrency)

    def slot(self) -> asyncio.Semaphore:
        """A context in which one generation may be in flight; first come, first served."""
        return self._slots
