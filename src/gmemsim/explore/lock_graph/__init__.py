"""Lock order over all schedules of a search: the graph, its cycles, and whether they are deadlocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .cycles import Cycle
from .directed import Decided, Steering, decide, is_it
from .graph import Edge, LockGraph, Witness

if TYPE_CHECKING:
    from ..runs import Program

__all__ = [
    "Cycle",
    "Decided",
    "Edge",
    "LockGraph",
    "Steering",
    "Witness",
    "decide",
    "default_observers",
    "is_it",
]


def default_observers(program: Program) -> tuple[LockGraph, ...]:
    """What a search of `program` should have looking on (`search(observers=…)`)."""
    return (LockGraph(program.name),)
