"""
The checks of the network, each after the one it needs: what cannot be told is skipped, with why.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from ssl import SSLError

from attrs import define, field

from seedream_async._catalog import DEFAULT_MODEL
from seedream_async._errors import SeedreamError
from seedream_async._http import Answer

from . import _probes, _tls, _words
from ._environment import Endpoint
from ._findings import Finding, failed, ok, skipped
from ._order import ORDER


@define
class Visit:
    """A visit to the API, and what the checks so far have brought back."""

    end: Endpoint
    key: str | None = field(repr=False)
    proxied: bool
    timeout: float
    addresses: list[str] = field(factory=list)
    answer: Answer | None = None
    reading: _words.Reading = ()
    answered: datetime | None = None

    async def findings(self) -> AsyncIterator[Finding]:
        """The findings, as they are made."""
        blocked: dict[str, str] = {}
        for check, need in ORDER:
            if need in blocked:
                finding = skipped(check, blocked[need])
            else:
                finding = await getattr(self, check.lower())()
            if finding.state in ("failed", "skipped"):
                why = f"{check} failed" if finding.state == "failed" else finding.text
                blocked[check] = why
            yield finding

    async def dns(self) -> Finding:
        now = asyncio.get_running_loop().time
        start = now()
        try:
            self.addresses = await _probes.resolve(self.end.host, self.end.port, self.timeout)
        except OSError as error:
            return _words.judge_unresolved(
                self.end, error, proxied=self.proxied, timeout=self.timeout
            )
        return _words.judge_addresses(self.end, self.addresses, now() - start)

    async def tcp(self) -> Finding:
        met = await asyncio.gather(
            *(_probes.connect(to, self.end.port, self.timeout) for to in self.addresses)
        )
        by_address = dict(zip(self.addresses, met, strict=True))
        self.addresses = [to for to in self.addresses if isinstance(by_address[to], float)]
        return _words.judge_connections(
            self.end, by_address, proxied=self.proxied, timeout=self.timeout
        )

    async def tls(self) -> Finding:
        if self.end.scheme == "http":
            return ok("TLS", "not used: the base URL is http")
        host, address = self.end.host, self.addresses[0]
        try:
            shaken = await _probes.shake_hands(address, self.end, self.timeout)
        except OSError as error:
            other = isinstance(error, SSLError) and _tls.is_for_other_host(error)
            names = await _probes.names_at(address, self.end, self.timeout) if other else []
            return _tls.judge_trouble(host, error, names, datetime.now(UTC), self.timeout)
        return _tls.judge_certificate(host, *shaken, datetime.now(UTC))

    async def service(self) -> Finding:
        met = await _probes.list_models(self.end, self.key, self.timeout)
        self.answered = datetime.now(UTC)
        if isinstance(met, SeedreamError):
            return failed("service", f"GET /models: {_words.spoken(met)}")
        self.answer, self.reading = met
        return _words.judge_answer(self.answer, self.reading)

    async def clock(self) -> Finding:
        if self.answer is None or self.answered is None:
            return skipped("clock", "service failed")
        date, elapsed = self.answer.headers.get("date"), self.answer.elapsed or 0.0
        return _words.judge_clock(date, elapsed, self.answered)

    async def access(self) -> Finding:
        if self.key is None:
            return skipped("access", "there is no usable key")
        return _words.judge_access(self.reading)

    async def model(self) -> Finding:
        return _words.judge_model(self.reading, DEFAULT_MODEL)
