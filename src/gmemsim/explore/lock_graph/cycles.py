"""Cycles of the lock-order graph that the modes allow to block.

An edge says "held A, asked for B". Edges A→B and B→C follow each other in a deadlock only if asking for B the first
way can wait for holding B the second way: always if one of the two is exclusive. If both are shared, then only through
the queue: a reader waits behind a writer that waits for the other reader (rwsem.md R3; `queued_read_lock` does the
same outside of interrupts), so a third task has to ask for B exclusively somewhere. Entering an SRCU section never
waits and is no request in the first place; that is what lockdep calls a recursive read lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .graph import Edge


@attrs.frozen
class Cycle:
    """Edges, each asking for what the next one holds, and the last for what the first holds.

    Attributes:
        needs_writer: classes where a queued writer of a third task has to come in between.
        gate: classes that every edge was seen under, exclusively: with one of them the tasks keep each other out.
    """

    edges: tuple[Edge, ...]
    needs_writer: frozenset[str]
    gate: frozenset[str]

    @property
    def classes(self) -> tuple[str, ...]:
        """What is held along the cycle."""
        return tuple(edge.held_class for edge in self.edges)

    def text(self) -> str:
        """In one line."""
        ways = " → ".join(f"{edge.held_class} ({edge.held_mode})" for edge in self.edges)
        return f"{ways} → {self.edges[0].held_class}"

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "classes": list(self.classes),
            "needs_writer": sorted(self.needs_writer),
            "gate": sorted(self.gate),
            "edges": [
                {
                    "held": edge.held,
                    "held_mode": edge.held_mode,
                    "wants": edge.wants,
                    "wants_mode": edge.wants_mode,
                    "task": edge.witness.task,
                    "call": edge.witness.call,
                    "step": edge.witness.step,
                    "program": edge.witness.program,
                }
                for edge in self.edges
            ],
        }


def find_cycles(edges: Sequence[Edge], written: frozenset[str], longest: int = 5) -> tuple[Cycle, ...]:
    """All cycles of at most `longest` edges, one for each set of classes or instances: the one with least ifs."""
    between = [edge for edge in edges if edge.held_class != edge.wants_class]
    within = [edge for edge in edges if edge.held_class == edge.wants_class]
    found: dict[tuple[str, ...], Cycle] = {}
    classes = ((edge.held_class, edge.wants_class, edge) for edge in between)
    labels = ((edge.held, edge.wants, edge) for edge in within)
    for cycle in (*_walk(classes, written, longest), *_walk(labels, written, longest)):
        key = _key(cycle)
        old = found.get(key)
        if old is None or _ifs(cycle) < _ifs(old):
            found[key] = cycle
    return tuple(sorted(found.values(), key=lambda cycle: (len(cycle.edges), cycle.classes)))


def _ifs(cycle: Cycle) -> tuple[int, int]:
    return len(cycle.gate), len(cycle.needs_writer)


def _key(cycle: Cycle) -> tuple[str, ...]:
    """Cycles of the same classes in the same order; within a class, of the same instances."""
    if len(set(cycle.classes)) == 1:
        return ("=", *(edge.held for edge in cycle.edges))
    return cycle.classes


def _walk(triples: Iterable[tuple[str, str, Edge]], written: frozenset[str], longest: int) -> list[Cycle]:
    """Depth first from every node, through nodes that are not smaller: every cycle once."""
    out: dict[str, list[tuple[str, Edge]]] = {}
    for start, end, edge in triples:
        out.setdefault(start, []).append((end, edge))
    found: list[Cycle] = []

    def go(start: str, at: str, path: list[Edge], seen: set[str]) -> None:
        for end, edge in out.get(at, ()):
            if path and not _follows(path[-1], edge, written):
                continue
            if end == start:
                cycle = _close([*path, edge], written)
                if cycle is not None:
                    found.append(cycle)
            elif end > start and end not in seen and len(path) + 1 < longest:
                go(start, end, [*path, edge], seen | {end})

    for node in sorted(out):
        go(node, node, [], {node})
    return found


def _follows(first: Edge, second: Edge, written: frozenset[str]) -> bool:
    """Whether asking as `first` does can wait for holding as `second` does."""
    return "w" in (first.wants_mode, second.held_mode) or second.held_class in written


def _close(edges: list[Edge], written: frozenset[str]) -> Cycle | None:
    if not _follows(edges[-1], edges[0], written):
        return None
    pairs = zip([edges[-1], *edges], edges, strict=False)
    needs = frozenset(two.held_class for one, two in pairs if "w" not in (one.wants_mode, two.held_mode))
    gate = frozenset.intersection(*(edge.gates for edge in edges)) if len(edges) > 1 else frozenset()
    return Cycle(tuple(edges), needs, gate)
