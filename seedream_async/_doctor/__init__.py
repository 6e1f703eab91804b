"""
`seedream doctor`: why a call may fail here, told without a call that costs anything.

What it prints holds no key, no query of a link and no password of a proxy.
"""

from __future__ import annotations

from ._command import run

__all__ = ["run"]
