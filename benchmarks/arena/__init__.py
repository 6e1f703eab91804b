"""
Contests between ways to do the same thing, each in a fresh process, taking turns.

Only the standard library is imported here: peers have an environment without anything of ours.
"""

from .contest import (
    CPU,
    GROWTH,
    LAG_99,
    LAG_MAX,
    LAG_MEDIAN,
    PEAK,
    RATE,
    WALL,
    Contender,
    Contest,
    Goal,
    Metric,
    Server,
    extra,
)
from .main import main
from .measure import Run, Take
from .work import spread

__all__ = [
    "CPU",
    "GROWTH",
    "LAG_99",
    "LAG_MAX",
    "LAG_MEDIAN",
    "PEAK",
    "RATE",
    "WALL",
    "Contender",
    "Contest",
    "Goal",
    "Metric",
    "Run",
    "Server",
    "Take",
    "extra",
    "main",
    "spread",
]
