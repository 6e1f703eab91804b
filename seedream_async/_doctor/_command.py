"""The order of the checks. What needs the dependencies is not imported before those are there."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from functools import partial

from seedream_async._threads import in_thread

from . import _disk, _environment, _install, _order, _printing
from ._aside import aside
from ._findings import Finding, failed, skipped


async def run(options: argparse.Namespace) -> int:
    """Print what each check finds; 1 if one of them failed, else 0."""
    show = _printing.printer(as_json=options.json)
    states: Counter[str] = Counter()
    async for finding in _findings(options):
        states[finding.state] += 1
        show(finding)
    if not options.json:
        print(_printing.summary(states), file=sys.stderr)
    return 1 if states["failed"] else 0


async def _findings(options: argparse.Namespace) -> AsyncIterator[Finding]:
    installed = await in_thread(_install.look)
    for finding in installed:
        yield finding
    if options.out is not None:
        yield await _look_at_disk(options.out, options.timeout)
    broken = any(finding.state == "failed" for finding in installed)
    async with _environ(emulated=options.emulator and not broken) as environ:
        async for finding in _visit(environ, options, broken=broken):
            yield finding


async def _look_at_disk(folder: str, timeout: float) -> Finding:
    try:
        return await aside(partial(_disk.look, folder), timeout)
    except TimeoutError:
        return failed("disk", f"{folder} did not answer within {timeout:g} s", "see to that disk")


@contextlib.asynccontextmanager
async def _environ(*, emulated: bool) -> AsyncIterator[Mapping[str, str]]:
    """The environment, in which an emulator stands for the service if *emulated*."""
    if not emulated:
        yield os.environ
        return
    from seedream_async.emulator import Emulator  # noqa: PLC0415

    async with Emulator() as server:
        found = {_environment.KEY: server.api_key, _environment.URL: server.base_url}
        yield {**os.environ, **found}


async def _visit(
    environ: Mapping[str, str], options: argparse.Namespace, *, broken: bool
) -> AsyncIterator[Finding]:
    yield _environment.judge_key(environ.get(_environment.KEY, ""))
    base_url, end = _environment.judge_base_url(environ.get(_environment.URL, ""))
    proxies = _environment.judge_proxies(environ, end)
    yield base_url
    yield proxies
    if broken or end is None:
        for finding in _order.skip_all("packages failed" if broken else "base URL failed"):
            yield finding
    else:
        from ._chain import Visit  # noqa: PLC0415

        key, proxied = _environment.usable_key(environ), proxies.state == "warning"
        async for finding in Visit(end, key, proxied, options.timeout).findings():
            yield finding
    if options.link is not None:
        yield await _look_at_link(options, broken=broken)


async def _look_at_link(options: argparse.Namespace, *, broken: bool) -> Finding:
    if broken:
        return skipped("link", "packages failed")
    from . import _link  # noqa: PLC0415

    return await _link.look(options.link, options.timeout)
