"""The command line of every benchmark, and the order of its steps."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from . import child, peers, processes, publish, table
from .contest import Contender, Contest
from .figures import Figures, figures_of

FOLDER = Path(__file__).parent.parent
_NO_PEERS = "as it needs --peers"


def main(
    about: str | None,
    contests: Callable[[bool], Sequence[Contest]],
    *,
    title: str,
    arguments: Sequence[str] | None = None,
) -> None:
    """Run *contests*, which are told whether it must be quick, as the command line says."""
    parser = _parser(about)
    options = parser.parse_args(arguments)
    if options.serve:
        child.serve(options.serve)
    elif options.contend:
        child.take_turn(options.contend)
    elif options.save and options.only:
        parser.error("--save keeps all contests of a script, so it goes without --only")
    else:
        _run(contests(options.quick), title, options)


def _parser(about: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="only show that all of it works")
    parser.add_argument(
        "--peers",
        nargs="?",
        const=peers.FOLDER,
        type=Path,
        metavar="FOLDER",
        help="also run the peers, in an environment that is made below FOLDER (%(const)s)",
    )
    parser.add_argument("--rounds", type=int, help="turns of each contender")
    parser.add_argument("--only", default="", help="contests with this in their title")
    parser.add_argument("--save", action="store_true", help="keep the figures, and publish them")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--contend", help=argparse.SUPPRESS)
    return parser


def _run(contests: Sequence[Contest], title: str, options: argparse.Namespace) -> None:
    script = Path(sys.argv[0]).stem
    python = peers.ensure(options.peers) if options.peers else None
    chosen = [contest for contest in contests if options.only in contest.title]
    results = []
    for contest in chosen:
        results.append(compete(contest, python, options.rounds or contest.rounds))
        print(f"\n{table.plain(results[-1])}", flush=True)
    figures = {
        "script": script,
        "title": title,
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "quick": options.quick,
        "machine": machine(),
        "versions": {"ours": peers.versions(sys.executable)},
        "contests": results,
    }
    if python:
        figures["versions"]["peers"] = peers.versions(python)
    _keep(figures, options)


def _keep(figures: Figures, options: argparse.Namespace) -> None:
    text = json.dumps(figures, indent=1, ensure_ascii=False) + "\n"
    if options.json:
        options.json.write_text(text)
    if options.save:
        place = FOLDER / "figures" / f"{figures['script']}.json"
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)
        publish.main()


def compete(contest: Contest, python: str | None, rounds: int) -> Figures:
    """Let the contenders of *contest* take turns."""
    left_out = {one.label: why for one in contest.contenders if (why := absence(one, python))}
    present = [one for one in contest.contenders if one.label not in left_out]
    reports: dict[str, list[dict[str, Any]]] = {one.label: [] for one in present}
    with processes.serving(contest.server) as server:
        for one in present * rounds:
            if one.label in left_out:
                continue
            _progress(f"{contest.title}: {one.label}, {len(reports[one.label]) + 1} of {rounds}")
            chosen = python if one.peers and python else sys.executable
            try:
                reports[one.label].append(processes.contend(one, chosen, contest.options, server))
            except processes.PeerFailedError as exc:
                left_out[one.label] = f"as it failed: {exc}"
                reports.pop(one.label)
        _progress("")
        return figures_of(contest, reports, left_out, server.facts)


def absence(contender: Contender, python: str | None) -> str | None:
    """Why *contender* cannot take part."""
    if contender.peers and python is None:
        return _NO_PEERS
    if contender.needs and shutil.which(contender.needs, path=_search_path()) is None:
        return f"as there is no {contender.needs} here"
    return None


def _search_path() -> str:
    """Commands of this environment are found, whether it is activated or not."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def machine() -> Mapping[str, Any]:
    """What the figures depend on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu_model(),
        "kernel": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
