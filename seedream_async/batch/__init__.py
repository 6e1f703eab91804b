"""
Batches that survive anything: what was sent, paid for and saved is noted before it counts.
"""

from __future__ import annotations

from ._batch import run_batch
from ._ledger import Ledger
from ._results import BatchProgress, BatchResult

__all__ = ["BatchProgress", "BatchResult", "Ledger", "run_batch"]
