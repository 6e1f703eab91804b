"""
The processes of a contest: a benchmark's script, started again to serve or to contend.

A function is named by its module and its name; `__main__` is the script.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .contest import Contender, Server
from .kernel import family

LONGEST = 900.0  # seconds of one turn


class PeerFailedError(RuntimeError):
    """A peer did not manage its turn, which says something about it, and ends nothing."""


@dataclass(frozen=True)
class Serving:
    """A server that runs: what it says of itself, and its processes."""

    facts: Mapping[str, Any]
    pids: Sequence[int] = ()


def name_of(function: Callable[..., Any]) -> str:
    return f"{function.__module__}:{function.__qualname__}"


@contextlib.contextmanager
def serving(server: Server | None) -> Iterator[Serving]:
    """A process for *server*, which ends with the block."""
    if server is None:
        yield Serving({})
        return
    job = json.dumps({"function": name_of(server.function), "options": dict(server.options)})
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, sys.argv[0], "--serve", job],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout and process.stdin  # noqa: S101, PT018
        line = process.stdout.readline()
        if not line:
            raise RuntimeError("the server did not start: see what it said above")
        try:
            yield Serving(json.loads(line), family(process.pid))
        finally:
            process.stdin.close()


def contend(
    contender: Contender, python: str, options: Mapping[str, Any], server: Serving
) -> dict[str, Any]:
    """One turn of *contender* in a fresh process; what it reports."""
    with tempfile.TemporaryDirectory(prefix="arena-") as folder:
        report = Path(folder, "report.json")
        Path(folder, "files").mkdir()
        job = {
            "function": name_of(contender.function),
            "options": {**options, **contender.options},
            "server": server.facts,
            "pids": server.pids,
            "folder": f"{folder}/files",
            "report": str(report),
        }
        command = [python, sys.argv[0], "--contend", json.dumps(job)]
        environment = environment_of(server.facts, os.environ)
        if contender.peers:
            _run_peer(command, environment)
        else:
            subprocess.run(command, check=True, env=environment, timeout=LONGEST)  # noqa: S603
        found: dict[str, Any] = json.loads(report.read_text())
        return found


def _run_peer(command: Sequence[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(  # noqa: S603
        command, check=False, env=environment, timeout=LONGEST, stderr=subprocess.PIPE, text=True
    )
    if done.returncode:
        raise PeerFailedError(done.stderr.strip().rpartition("\n")[2] or str(done.returncode))


def environment_of(facts: Mapping[str, Any], inherited: Mapping[str, str]) -> dict[str, str]:
    """The environment of a contender, which trusts the server's certificate and has no proxy."""
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith(("PYTHON", "COMETAPI_", "OPENAI_"))
        and not name.lower().endswith("_proxy")
    }
    if authority := facts.get("authority"):
        kept |= dict.fromkeys(("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"), authority)
    return kept
