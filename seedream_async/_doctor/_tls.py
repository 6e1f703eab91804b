"""TLS in words: what a certificate is worth, and why a handshake failed. Pure."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ._findings import Finding, failed, ok, warning

_SOON = timedelta(days=7)
# The numbers are OpenSSL's X509_V_ERR_*.
_NOT_YET, _EXPIRED = 9, 10
_OTHER_HOST = frozenset((62, 64))
_SELF_SIGNED = frozenset((18, 19))
_STRANGE_ISSUER = frozenset((2, 20, 21))
_INSPECTED = (
    "if a proxy or virus scanner of this network inspects TLS, let SSL_CERT_FILE name a file with "
    "its certificate; else somebody stands between"
)
_NO_TLS = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}


def is_for_other_host(error: ssl.SSLError) -> bool:
    """Whether only the name in the certificate was wrong."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _OTHER_HOST


def judge_certificate(
    host: str, version: str | None, certificate: Mapping[str, Any], now: datetime
) -> Finding:
    """What to say of a *certificate* that was accepted for *host*."""
    end = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC)
    left = (end - now).days
    words = f"{version}, certificate for {host} by {_issuer(certificate)}, until {end:%Y-%m-%d}"
    if end - now < _SOON:
        return warning("TLS", f"{words}: {max(left, 0)} days left", "tell whoever runs the service")
    return ok("TLS", f"{words} ({left} days)")


def _issuer(certificate: Mapping[str, Any]) -> str:
    names = {key: value for part in certificate.get("issuer", ()) for key, value in part}
    return str(names.get("organizationName") or names.get("commonName") or "an unnamed issuer")


def judge_trouble(
    host: str, error: Exception, names: Sequence[str], now: datetime, timeout: float
) -> Finding:
    """Why the handshake with *host* failed; *names* are those of a certificate for another."""
    match error:
        case ssl.SSLCertVerificationError():
            return failed("TLS", *_distrust(host, error, names, now))
        case ssl.SSLError(reason=reason) if reason in _NO_TLS:
            return failed(
                "TLS", f"{host} speaks no TLS on that port", "check the port in COMETAPI_BASE_URL"
            )
        case ssl.SSLError(reason=reason):
            words = (reason or "no reason given").replace("_", " ").lower()
            return failed("TLS", f"the handshake with {host} failed: {words}", _INSPECTED)
        case TimeoutError():
            return failed("TLS", f"no handshake with {host} within {timeout:g} s", _firewall())
        case _:
            return failed("TLS", f"{host} closed the connection in the handshake", _firewall())


def _firewall() -> str:
    return "look for a firewall or proxy that lets only some hosts through"


def _distrust(
    host: str, error: ssl.SSLCertVerificationError, names: Sequence[str], now: datetime
) -> tuple[str, str]:
    clock = f"; the clock of this machine says {now:%Y-%m-%d %H:%M} UTC"
    match error.verify_code:
        case code if code == _EXPIRED:
            return (
                f"the certificate of {host} has expired{clock}",
                "if that is right, tell whoever runs the service; else set the clock",
            )
        case code if code == _NOT_YET:
            return f"the certificate of {host} is not yet valid{clock}", "set the clock"
        case code if code in _OTHER_HOST:
            others = f", but for {', '.join(names[:3])}" if names else ""
            return (
                f"the certificate is not for {host}{others}",
                "check COMETAPI_BASE_URL, and whether a captive portal or DNS leads elsewhere",
            )
        case code if code in _SELF_SIGNED:
            return f"the certificate of {host} is signed by itself, not by an authority", _INSPECTED
        case code if code in _STRANGE_ISSUER:
            return (
                f"the certificate of {host} is signed by an authority that is not known here",
                f"{_INSPECTED}. If every host fails, install the package ca-certificates",
            )
        case _:
            return f"the certificate of {host} is not valid: {error.verify_message}", _INSPECTED
