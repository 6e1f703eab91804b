"""`seedream demo`: a small batch against the emulator, from its input to its report."""

from __future__ import annotations

import argparse
import base64
import json
import os
import shlex
from pathlib import Path
from typing import Any

from . import _batch_command, _catalog
from ._estimate import estimate
from ._files import open_place, storage_errors
from ._request import GenerateRequest
from ._threads import in_thread
from ._verdicts import tell
from .batch import _batch
from .emulator import Emulator
from .emulator._pictures import render

_INPUT = "prompts.jsonl"
_LATENCY = 0.5  # seconds
_WIDTH = 4
_NAME = "{index:06d}.{ext}"
_REFERENCE = base64.b64encode(render(640, 480, "png", b"reference")).decode("ascii")
_ROWS: tuple[dict[str, Any], ...] = (
    {"prompt": "a lighthouse at dawn, oil painting", "size": "2048x2048"},
    {"prompt": "a red fox in fresh snow, 35 mm photograph", "size": "2848x1600"},
    {
        "prompt": "a poster for a night train, art deco",
        "size": "1600x2848",
        "output_format": "png",
    },
    {
        "prompt": "four seasons of one apple tree",
        "size": "2K",
        "sequential_image_generation": "auto",
        "max_images": 4,
    },
    {"prompt": "a tea house in the rain, 16:9, ink on paper", "size": "2K"},
    {
        "prompt": "the same hills, but in winter",
        "size": "2304x1728",
        "image": f"data:image/png;base64,{_REFERENCE}",
    },
    {"prompt": "a watchmaker's bench, macro", "size": "2496x1664", "output_format": "png"},
    {"prompt": "a paper boat on a puddle", "size": "2048x2048", "watermark": False},
    {"prompt": "a city of books, isometric", "size": "3K"},
    {"prompt": "an astronaut tending a greenhouse", "size": "1728x2304"},
    {"prompt": "a wide river delta from above, 21:9", "size": "2K"},
    {"prompt": "a cat wearing a scarf, pencil sketch", "response_format": "b64_json"},
)


async def demo(options: argparse.Namespace) -> int:
    """Make the images of a dozen prompts, or those that a run before left."""
    folder = Path(options.out)
    await in_thread(_prepare, folder, options.n)
    async with Emulator(latency=_LATENCY) as server, server.client() as client:
        given = {"concurrency": _WIDTH, "name": _NAME}
        told = _batch.options_of(folder / _INPUT, folder, client, given)
        again = shlex.join(["seedream", *options.words])
        code = await _batch_command.run(told, client, resume=again, show=True)
    each = estimate(GenerateRequest(_ROWS[0]["prompt"]), model=_catalog.DEFAULT_MODEL)
    price = f"{each.amount[1]} {each.currency} an image ({each.source})"
    tell(f"That is what the real service asks: {price}.")
    return code


def _prepare(folder: Path, count: int) -> None:
    """Write the input: *count* rows, in a *folder* that can be written to. Blocking."""
    open_place(os.path.join(folder, ""), field="save_to")  # noqa: PTH118  the slash says: a folder
    rows = (_ROWS[number % len(_ROWS)] for number in range(count))
    text = "".join(f"{json.dumps(row)}\n" for row in rows)
    with storage_errors(folder):
        (folder / _INPUT).write_text(text, encoding="utf-8")
