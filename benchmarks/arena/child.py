"""What a benchmark's script does when it is started again: it serves, or takes a turn."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from .kernel import raise_limits
from .measure import Run


def function_of(name: str) -> Callable[..., Any]:
    module, _, qualname = name.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), qualname)
    return found


def serve(job: str) -> None:
    """Serve until the standard input ends."""
    raise_limits()
    asyncio.run(_serve(json.loads(job)))


async def _serve(job: Mapping[str, Any]) -> None:
    async with function_of(job["function"])(**job["options"]) as facts:
        print(json.dumps(facts), flush=True)
        await asyncio.to_thread(sys.stdin.read)


def take_turn(text: str) -> None:
    """Contend, and report."""
    raise_limits()
    job = json.loads(text)
    run = Run(
        options=job["options"],
        server=job["server"],
        server_pids=job["pids"],
        folder=Path(job["folder"]),
    )
    made = function_of(job["function"])(run)
    if inspect.isawaitable(made):
        asyncio.run(_awaited(made))
    Path(job["report"]).write_text(json.dumps(run.takes[-1].report()))


async def _awaited(made: Awaitable[object]) -> None:
    await made
