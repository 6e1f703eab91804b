"""The environment of the peers: a virtual environment outside of the repository, made once."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

REQUIREMENTS = (
    "openai[aiohttp]",
    "volcengine-ark-runtime",  # of volcengine-python-sdk, which has 130 other parts
    "httpx",
    "aiohttp",
    "orjson",
    "aiolimiter",
    "aiofiles",
    "pybase64",
)
SHOWN = (
    *("seedream-async", "aiohttp", "attrs", "cattrs", "tenacity", "yarl", "orjson", "pybase64"),
    *("openai", "httpx", "httpx-aiohttp", "volcengine-ark-runtime", "aiolimiter", "aiofiles"),
)
FOLDER = Path.home() / ".cache" / "seedream-async-benchmarks"
_ASK = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


def ensure(folder: Path) -> str:
    """The Python of an environment with all peers, below *folder*."""
    place = folder / "peers-{}.{}".format(*sys.version_info)
    python, done = place / "bin" / "python", place / "requirements.txt"
    wanted = "\n".join(REQUIREMENTS)
    if not done.exists() or done.read_text() != wanted:
        print(f"installing the peers into {place}", file=sys.stderr)
        venv.create(place, with_pip=True)
        subprocess.run(  # noqa: S603
            [python, "-m", "pip", "install", "-qq", *REQUIREMENTS], check=True
        )
        done.write_text(wanted)
    return str(python)


def versions(python: str) -> Mapping[str, str]:
    """The versions of what matters in an environment."""
    done = subprocess.run(  # noqa: S603
        [python, "-c", _ASK, *SHOWN], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found
