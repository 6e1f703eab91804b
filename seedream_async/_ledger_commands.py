"""`seedream batch status|export|failed`: what a ledger holds, also while it is in use."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ._threads import in_thread
from .batch import Ledger, _batch
from .batch._input import Input
from .batch._products import Products
from .batch._states import State

_STATES: dict[State, str] = {
    "saved": "saved",
    "failed": "refused, not billed",
    "unknown": "sent without an answer, or lost: may be billed",
    "planned": "to be sent",
    "paid": "paid for, to be downloaded",
    "sent": "in flight, or interrupted",
}


async def status(options: argparse.Namespace) -> int:
    """`seedream batch status`: how many rows are where."""
    async with Ledger.open(await _ledger(options.ledger), readonly=True) as ledger:
        counts, spent = await ledger.counts(), await ledger.spent()
        gone = sum((await ledger.counts(listed=False)).values())
        settings = await ledger.settings()
    if options.json:
        print(json.dumps({**counts, "cost": spent.cost, "input": settings.get("input")}))
        return 0
    print(f"{settings.get('input')}, model {settings.get('model')}")
    for state, meaning in _STATES.items():
        print(f"{counts[state]:>10,}  {state:<8} {meaning}")
    print(f"{sum(counts.values()):>10,}  rows; about {spent.cost:.2f} spent so far")
    if gone:
        print(f"{gone:>10,}  more that the input no longer has")
    return 0


async def export(options: argparse.Namespace) -> int:
    """`seedream batch export`: every row as JSON, without links."""
    async with Ledger.open(await _ledger(options.ledger), readonly=True) as ledger:
        async for entry in ledger.entries():
            print(json.dumps(entry.as_dict(), ensure_ascii=False))
    return 0


async def failed(options: argparse.Namespace) -> int:
    """`seedream batch failed`: the rows that failed, to be corrected and fed back in."""
    path = await _ledger(options.ledger)
    async with Ledger.open(path, readonly=True) as ledger:
        given = Input.recorded(await ledger.settings(), path.parent)
        products = Products(folder=path.parent, ledger=ledger, given=given, currency=None)
        async for line in products.failures():
            print(json.dumps(line, ensure_ascii=False))
    return 0


async def _ledger(path: str) -> Path:
    """The ledger at *path*, or that of the batch in that folder."""
    is_folder = await in_thread(Path(path).is_dir)
    return Path(path) / _batch.LEDGER if is_folder else Path(path)
