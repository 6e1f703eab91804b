"""Whether a link is served: one GET that stops after the headers, and carries no key."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from datetime import UTC, datetime

from seedream_async import _diagnosis, _links
from seedream_async._errors import DownloadError
from seedream_async._link_transport import LinkTransport
from seedream_async._sessions import Lifetime
from seedream_async._timeout import Bounds

from . import _probes
from ._findings import Finding, failed, ok


async def look(link: str, timeout: float) -> Finding:
    """What the store says of *link*, in words without its query."""
    transport = LinkTransport(Bounds(connect=timeout, read=timeout), Lifetime())
    try:
        # The transport would wait for a resolver that hangs; else it says itself what is wrong.
        with contextlib.suppress(socket.gaierror):
            await _probes.resolve(_links.host_of(link) or "", 443, timeout)
        async with asyncio.timeout(timeout):
            return await _ask(transport, link)
    except TimeoutError:
        return failed("link", f"{_links.host_of(link)} did not answer within {timeout:g} s")
    except DownloadError as error:
        return failed("link", str(error))
    except OSError as error:
        return failed("link", f"{_links.host_of(link)} does not resolve: {error.strerror}")
    finally:
        await transport.aclose()


async def _ask(transport: LinkTransport, link: str) -> Finding:
    async with transport.open(link) as stream:
        now = datetime.now(UTC)
        if stream.status != 200:
            body = await stream.read_error()
            raise _diagnosis.diagnose(stream.link, stream.status, body, now)
        kind = stream.headers.get("content-type", "no content type").partition(";")[0]
        return judge(link, kind, stream.headers.get("content-length", ""))


def judge(link: str, kind: str, length: str) -> Finding:
    """What to say of a *link* that is served."""
    host = _links.host_of(link)
    if not kind.startswith(("image/", "application/octet-stream", "binary/")):
        return failed("link", f"{host} serves {kind}, which is no image", "check who answers there")
    size = f", {int(length) / 1000:.0f} kB" if length.isdecimal() else ""
    end = _links.expires_at(link)
    life = f", until {end:%Y-%m-%d %H:%M} UTC" if end else ""
    return ok("link", f"{host} serves it: {kind}{size}{life}")
