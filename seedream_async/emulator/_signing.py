"""
TOS4, the signature of Volcengine's object store, for links (query signing).

Volcengine document 6349/129226; the canonical form is that of their Python SDK.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import UTC, datetime
from urllib.parse import parse_qsl, quote, unquote

from attrs import field, frozen

ALGORITHM = "TOS4-HMAC-SHA256"
_UNESCAPED = "-_.~"


@frozen(kw_only=True)
class Signer:
    """Signs links to one host with one pair of keys."""

    access_key: str = "AKLTemulator"
    secret_key: str = field(default="emulator", repr=False)
    region: str = "cn-beijing"
    host: str

    def link(
        self,
        path: str,
        *,
        now: datetime,
        expires: int,
        query: Iterable[tuple[str, str]] = (),
        method: str = "GET",
    ) -> str:
        """The signed target (path and query) of an object; *expires* is in seconds."""
        date = now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        pairs = [
            ("X-Tos-Algorithm", ALGORITHM),
            ("X-Tos-Credential", f"{self.access_key}/{self._scope(date)}"),
            ("X-Tos-Date", date),
            ("X-Tos-Expires", str(expires)),
            ("X-Tos-SignedHeaders", "host"),
            *query,
        ]
        pairs.append(("X-Tos-Signature", self.signature(method, path, pairs, date)))
        return f"{_quoted_path(path)}?{_quoted_query(pairs)}"

    def verifies(self, method: str, target: str) -> bool:
        """Tell whether the store would find the signature of *target* right."""
        path, _, query = target.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        given = dict(pairs)
        date = given.get("X-Tos-Date", "")
        unsigned = [(name, value) for name, value in pairs if name != "X-Tos-Signature"]
        expected = self.signature(method, unquote(path), unsigned, date)
        return hmac.compare_digest(expected.encode(), given.get("X-Tos-Signature", "").encode())

    def signature(self, method: str, path: str, query: Iterable[tuple[str, str]], date: str) -> str:
        """The signature over *method*, decoded *path* and *query* at *date*."""
        canonical = "\n".join(
            (
                method,
                _quoted_path(path),
                _quoted_query(query),
                f"host:{self.host}\n",
                "host",
                "UNSIGNED-PAYLOAD",
            )
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = "\n".join((ALGORITHM, date, self._scope(date), digest))
        key = self.secret_key.encode()
        for part in (date[:8], self.region, "tos", "request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, to_sign.encode(), "sha256").hex()

    def _scope(self, date: str) -> str:
        return f"{date[:8]}/{self.region}/tos/request"


def _quoted_path(path: str) -> str:
    return quote(path, safe="/~")


def _quoted_query(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join(
        f"{quote(name, safe=_UNESCAPED)}={quote(value, safe=_UNESCAPED)}"
        for name, value in sorted(pairs)
    )
