"""What the probes of the network met, in words. Pure: values in, findings out."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from seedream_async import _errors
from seedream_async._addresses import is_public
from seedream_async._http import Answer
from seedream_async._links import host_of
from seedream_async._models import ModelInfo
from seedream_async._settings import is_public_host

from ._environment import URL, Endpoint
from ._findings import Finding, failed, ok, skipped, warning

Reading = tuple[ModelInfo, ...] | _errors.SeedreamError
_SLOW = 2.0  # seconds for a name: a resolver that is asked first and never answers
_SKEW = timedelta(seconds=60)
_SAME_FOR_ALL = (
    _errors.AuthenticationError,
    _errors.PermissionDeniedError,
    _errors.InsufficientQuotaError,
)


def judge_addresses(end: Endpoint, addresses: Sequence[str], elapsed: float) -> Finding:
    """What a host name resolved to."""
    if [*addresses] == [end.host]:
        return ok("DNS", f"{end.host} is an address already")
    words = f"{end.host} is {_listed(addresses)} ({elapsed * 1000:.0f} ms)"
    inward = [address for address in addresses if not is_public(address)]
    if inward and is_public_host(end.url):
        return warning(
            "DNS",
            f"{words}: not an address of the public internet",
            "look for a captive portal, a VPN, or a line in the hosts file",
        )
    if elapsed > _SLOW:
        return warning("DNS", words, "every new connection waits for that: check the resolver")
    return ok("DNS", words)


def judge_unresolved(end: Endpoint, error: OSError, *, proxied: bool, timeout: float) -> Finding:
    """Why a host name did not resolve."""
    words = f"{end.host} does not resolve: {error.strerror}"
    if isinstance(error, TimeoutError):
        words = f"{end.host} did not resolve within {timeout:g} s"
    remedy = f"check the host in {URL}, that this machine is online, and its resolver"
    return failed("DNS", words, remedy + _through(proxied=proxied))


def judge_connections(
    end: Endpoint, met: Mapping[str, float | OSError], *, proxied: bool, timeout: float
) -> Finding:
    """What became of a connection to each address: seconds, or trouble."""
    troubles = {to: why for to, why in met.items() if isinstance(why, OSError)}
    times = {to: f"{to} in {it * 1000:.0f} ms" for to, it in met.items() if isinstance(it, float)}
    broken = ", ".join(f"{to}: {_reason(why, timeout)}" for to, why in troubles.items())
    if not times:
        remedy = f"check that this machine is online, and its firewall{_through(proxied=proxied)}"
        return failed("TCP", f"no connection to port {end.port} of {broken}", remedy)
    words = f"connected to port {end.port} of {_listed([*times.values()])}"
    if troubles:
        return warning("TCP", f"{words}, but not of {broken}", "that costs time now and then")
    return ok("TCP", words)


def _through(*, proxied: bool) -> str:
    return "; it may get out only through the proxy named above" if proxied else ""


def _reason(trouble: OSError, timeout: float) -> str:
    if trouble.errno:
        return os.strerror(trouble.errno)
    return f"silence for {timeout:g} s" if isinstance(trouble, TimeoutError) else "failed"


def _listed(items: Sequence[str]) -> str:
    more = f" and {len(items) - 3} more" if len(items) > 3 else ""
    return ", ".join(items[:3]) + more


def judge_answer(answer: Answer, reading: Reading) -> Finding:
    """Whether who answered `GET /models` is the API, and at work."""
    said = f"GET /models was answered {answer.status} in {(answer.elapsed or 0) * 1000:.0f} ms"
    kind = answer.headers.get("content-type", "")
    match reading:
        case _ if 300 <= answer.status < 400:
            host = host_of(answer.headers.get("location", "")) or "the same host"
            return failed("service", f"{said}: a redirect to {host}", _web_site())
        case _ if "html" in kind:
            return failed("service", f"{said}, with a web page", _web_site())
        case _errors.RateLimitError():
            return warning("service", f"{said}: it is busy", "wait, or lower the concurrency")
        case _errors.NotFoundError():
            return failed("service", said, f"check that {URL} ends in /v1")
        case _errors.APIResponseValidationError():
            return failed("service", f"{said}, but with no list of models", f"check {URL}")
        case _errors.SeedreamError() if not isinstance(reading, _SAME_FOR_ALL):
            return failed("service", spoken(reading))
        case _:
            return ok("service", said)


def _web_site() -> str:
    return f"check that {URL} ends in /v1, and whether a captive portal or firewall stands between"


def judge_clock(date: str | None, elapsed: float, now: datetime) -> Finding:
    """Whether the clock agrees with the *date* of an answer that took *elapsed* seconds."""
    there = _moment(date)
    if there is None:
        return skipped("clock", "the answer bears no date")
    # The date has no fractions, and was written somewhere between question and answer.
    skew = now - timedelta(seconds=elapsed / 2) - there - timedelta(seconds=0.5)
    if abs(skew) <= _SKEW:
        return ok("clock", f"within {max(abs(skew).total_seconds(), 1):.0f} s of the service's")
    side = "ahead of" if skew > timedelta() else "behind"
    return warning(
        "clock",
        f"{_spelled(abs(skew))} {side} the service's; whether a link has expired is told by it",
        "set the clock, and keep it set (NTP)",
    )


def _moment(date: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(date or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _spelled(span: timedelta) -> str:
    seconds = span.total_seconds()
    for length, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def judge_access(reading: Reading) -> Finding:
    """Whether the service takes the key."""
    match reading:
        case _errors.SeedreamError() if isinstance(reading, _SAME_FOR_ALL):
            return failed("access", spoken(reading))
        case _errors.SeedreamError():
            return skipped("access", "the service was busy")
        case models:
            return ok("access", f"the key is accepted, for {len(models)} models")


def judge_model(reading: Reading, model: str) -> Finding:
    """Whether *model* is among those that the key may use."""
    listed = [each.id for each in reading] if isinstance(reading, tuple) else []
    if model in listed:
        return ok("model", f"{model}, the default, is listed")
    others = sorted(name for name in listed if "seedream" in name.lower())
    return warning(
        "model",
        f"{model}, the default, is not listed",
        f"use one that is, such as {_listed(others)}" if others else "ask for it to be opened",
    )


def spoken(error: _errors.SeedreamError) -> str:
    return str(error).removesuffix(". Nothing was billed").replace("base_url", URL)
