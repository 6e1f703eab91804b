"""
Batches that survive anything: what was sent, paid for and saved is noted before it counts.
"""

from __future__ import annotations

from ._ledger import Ledger

__all__ = ["Ledger"]
