"""
The same batch on Ray Data: any dataset in, images and the rows of a manifest out.

Needs the extra `ray`, which is loaded when `generate` is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._dataset import generate

__all__ = ["generate"]


def __getattr__(name: str) -> Any:
    if name != "generate":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from ._dataset import generate  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        if exc.name != "ray":
            raise
        problem = "seedream_async.ray needs Ray: pip install 'seedream-async[ray]'"
        raise ModuleNotFoundError(problem, name="ray") from exc
    return generate
