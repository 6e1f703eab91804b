"""
What all workers of a batch go by: one frozen value, which travels to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from seedream_async._allowance import PricePerImage
from seedream_async._templates import Template

from ._coordinator import BEAT
from ._stores import Store


@frozen(kw_only=True)
class Setup:
    """What all workers of a batch go by. *client* is what theirs are made with: keys, too."""

    client: Mapping[str, Any] = field(repr=False)
    model: str
    folder: Path | None = None
    store: Store | None = None
    template: Template
    in_flight: int
    defaults: Mapping[str, Any] = field(factory=dict)
    limited: bool = False
    priced: bool = False
    price: PricePerImage | None = None
    resend_unknown: bool = False
    retry_failed: bool = False
    sidecar: bool = False
    beat: float = BEAT
