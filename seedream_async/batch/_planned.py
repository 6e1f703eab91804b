"""
What a run would come to, reckoned from its survey. Values in, values out.
"""

from __future__ import annotations

from collections.abc import Mapping

from ._results import BatchPlan
from ._states import State
from ._surveying import Survey

_SECONDS = 20.0, 60.0  # that one generation takes


def planned(
    surveyed: Survey, counts: Mapping[State, int], *, width: int, per_minute: int | None
) -> BatchPlan:
    """The plan for what *counts* leave, *width* at once and so many images *per_minute*."""
    rows = sum(counts.values())
    share = counts["planned"] / rows if rows else 0.0
    images = round(surveyed.images[0] * share), round(surveyed.images[1] * share)
    amount = round(surveyed.amount[0] * share, 6), round(surveyed.amount[1] * share, 6)
    return BatchPlan(
        rows=rows,
        bad=surveyed.bad,
        left=counts["planned"],
        images=images,
        cost=amount,
        currency=surveyed.currency,
        source=surveyed.source,
        unpriced=surveyed.unpriced,
        seconds=_seconds(counts["planned"], images, width, per_minute),
    )


def _seconds(
    left: int, images: tuple[int, int], width: int, per_minute: int | None
) -> tuple[float, float]:
    rounds = -(-left // width)
    least, most = (rounds * seconds for seconds in _SECONDS)
    if per_minute:
        least = max(least, 60 * images[0] / per_minute)
        most = max(most, 60 * images[1] / per_minute)
    return least, most
