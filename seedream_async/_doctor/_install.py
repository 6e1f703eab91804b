"""
What is installed: Python, the package, its dependencies and its extras.

Only the standard library is used here, so that a missing dependency can be told.
"""

from __future__ import annotations

import platform
import re
import ssl
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import NamedTuple

from seedream_async._version import __version__

from ._findings import Finding, failed, ok, warning

PACKAGE = "seedream-async"
_REQUIREMENT = re.compile(r"([\w.-]+)[^;>]*(?:>=([\d.]+))?[^;]*(?:;.*extra == ['\"]([\w-]+)['\"])?")
_FOR_DEVELOPERS = {"test"}


class Need(NamedTuple):
    """A package that is needed, from which version on, and for which *extra*, if for one."""

    name: str
    floor: str
    extra: str


def look() -> list[Finding]:
    """All that can be told of the installation. Blocking: it reads the disk."""
    needs = list(filter(None, map(need_of, requirements())))
    return [python(), *judge_packages(needs, installed), judge_extras(needs, installed)]


def python() -> Finding:
    """Which Python runs which version of the package, and where."""
    where = f"{platform.system()} {platform.machine()}".strip()
    return ok(
        "python",
        f"Python {platform.python_version()} on {where}, {ssl.OPENSSL_VERSION.strip()}, "
        f"{PACKAGE} {__version__}",
    )


def requirements() -> Iterable[str]:
    """What the installed package says that it needs."""
    try:
        return metadata.requires(PACKAGE) or ()
    except metadata.PackageNotFoundError:
        return ()


def installed(name: str) -> str | None:
    """The version of the package *name*, if it is there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def need_of(requirement: str) -> Need | None:
    """Read a *requirement* as a distribution's metadata has it."""
    match = _REQUIREMENT.match(requirement.strip())
    if not match or match[3] in _FOR_DEVELOPERS:
        return None
    return Need(match[1], match[2] or "", match[3] or "")


def judge_packages(
    needs: Iterable[Need], version_of: Callable[[str], str | None]
) -> Iterable[Finding]:
    """Whether the dependencies are there, and new enough."""
    core = [need for need in needs if not need.extra]
    if not core:
        yield warning(
            "packages",
            f"{PACKAGE} runs without being installed, so what it needs is not known",
            f"pip install {PACKAGE}",
        )
        return
    wrong = [words for need in core if (words := _wrong(need, version_of(need.name)))]
    if wrong:
        yield failed("packages", ", ".join(wrong), f"pip install --upgrade {PACKAGE}")
    else:
        yield ok("packages", ", ".join(f"{it.name} {version_of(it.name)}" for it in core))


def _wrong(need: Need, version: str | None) -> str | None:
    if version is None:
        return f"{need.name} is missing"
    if _numbers(version) < _numbers(need.floor):
        return f"{need.name} {version} is older than {need.floor}"
    return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version.partition("+")[0])[:3]))


def judge_extras(needs: Iterable[Need], version_of: Callable[[str], str | None]) -> Finding:
    """Which extras are there. None has to be."""
    there: list[str] = []
    missing: dict[str, list[str]] = {}
    for need in needs:
        if need.extra and (version := version_of(need.name)):
            there.append(f"{need.name} {version} ({need.extra})")
        elif need.extra:
            missing.setdefault(need.extra, []).append(need.name)
    parts = [", ".join(there) or "none"]
    if missing:
        names = "; ".join(f"{', '.join(names)} ({extra})" for extra, names in missing.items())
        parts.append(
            f"not installed: {names}, as with pip install '{PACKAGE}[{','.join(missing)}]'"
        )
    return ok("extras", "; ".join(parts))
