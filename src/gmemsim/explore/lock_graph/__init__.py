"""Lock order over all schedules of a search: the graph, its cycles, and whether they are deadlocks."""

from __future__ import annotations

from .cycles import Cycle
from .directed import Decided, Steering, decide, is_it
from .graph import Edge, LockGraph, Witness

__all__ = [
    "Cycle",
    "Decided",
    "Edge",
    "LockGraph",
    "Steering",
    "Witness",
    "decide",
    "is_it",
]
