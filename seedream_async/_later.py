"""Modules that are loaded when they are first used: no start waits for what few programs need."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Later:
    """The module *name* of this package, loaded for the first thing that is asked of it."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(import_module(f".{self._name}", __package__), attribute)
