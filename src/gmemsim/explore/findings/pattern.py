"""What a failure must be to be one that is known: its rule, who was in which operation, who waited for whom.

A pattern speaks of the failure's values (`explore.scene`) and never of its text. It names its tasks by parts that they
play; a failure fits if its tasks can be given the parts.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import attrs

from ...engine.locks.kinds import class_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ...engine.op import Mode
    from ..failure import Failure
    from ..judges.deadlock import WaitEdge
    from ..scene import Party, Scene


@attrs.frozen(kw_only=True)
class Who:
    """One task of a pattern.

    Attributes:
        does: it is in one of these operations of a scenario; empty: in any, or in none.
        inside: it is in this kernel function; empty: wherever it is.
        over: the operation may have ended already.
        fails: the failure was seen in its step.
        also: it may be a task that plays another part as well.
        obsolete_root: it is a vCPU whose root has become obsolete and that has loaded no other.
    """

    does: frozenset[str] = frozenset()
    inside: str = ""
    over: bool = False
    fails: bool = False
    also: bool = False
    obsolete_root: bool = False

    def is_played_by(self, party: Party, failure: Failure) -> bool:
        """Whether the task can be this one."""
        if self.fails and party.task != failure.task:
            return False
        if self.inside and self.inside not in party.functions:
            return False
        if self.obsolete_root and not party.obsolete_root:
            return False
        if not self.does or party.operation in self.does:
            return True
        return self.over and not self.does.isdisjoint(party.before)

    def text(self) -> str:
        """In words."""
        words = [f"in {' or '.join(sorted(self.does))}" if self.does else "any task"]
        if self.over:
            words.append("or past it")
        if self.inside:
            words.append(f"inside {self.inside}")
        if self.obsolete_root:
            words.append("with an obsolete root")
        if self.fails:
            words.append("whose step shows it")
        return " ".join(words)


@attrs.frozen(kw_only=True)
class Waits:
    """One edge of the wait-for graph.

    Attributes:
        part: who waits.
        lock: class of the lock (`invalidate_lock`, `folio`, `freeze`).
        mode: in which it wants it; empty: either.
        behind: the part that stands in its way.
        held: in which mode that one has it; empty: it is only queued in front, as a writer.
    """

    part: str
    lock: str
    mode: Mode | str = ""
    behind: str
    held: Mode | str = ""

    def is_edge(self, edge: WaitEdge, tasks: Mapping[str, str]) -> bool:
        """Whether an edge is this one, with these tasks in the parts."""
        if (edge.task, edge.behind) != (tasks[self.part], tasks[self.behind]):
            return False
        if class_of(edge.on) != self.lock or (self.mode and edge.mode != self.mode):
            return False
        if self.held:
            return edge.as_holder and edge.behind_mode == self.held
        return not edge.as_holder and edge.behind_mode == "w"

    def text(self) -> str:
        """In words."""
        modes = {"r": "shared", "w": "exclusive", "": "either way"}
        how = f"has ({modes[self.held]})" if self.held else "is queued in front for"
        return f"{self.part} waits for {self.lock} ({modes[self.mode]}), which {self.behind} {how}"


@attrs.frozen(kw_only=True)
class Pattern:
    """A failure.

    Attributes:
        rules: it has one of these.
        kinds: its event, or what stands for one, is one of these (`Failure.kind`); empty: any.
        details: values that it has (`Failure.details`).
        parts: its tasks.
        waits: edges among them. Where there are any, they must be all that keeps the run from going on: without them
            nobody waits in a circle, or it is another deadlock.
        versions, vm_types: of the finding's, those on which it shows so; empty: all.
    """

    rules: frozenset[str]
    kinds: frozenset[str] = frozenset()
    details: Mapping[str, object] = attrs.field(factory=dict)
    parts: Mapping[str, Who] = attrs.field(factory=dict)
    waits: tuple[Waits, ...] = ()
    versions: tuple[str, ...] = ()
    vm_types: tuple[str, ...] = ()

    def fits(self, failure: Failure, scene: Scene) -> bool:
        """Whether the failure is this."""
        if failure.rule not in self.rules or (self.kinds and failure.kind not in self.kinds):
            return False
        if any(failure.details.get(name) != value for name, value in self.details.items()):
            return False
        if self.versions and scene.version and scene.version not in self.versions:
            return False
        if self.vm_types and scene.vm_types and set(self.vm_types).isdisjoint(scene.vm_types):
            return False
        edges = list(self._castings(failure, scene))
        if not edges:
            return False
        used = {edge for found in edges for edge in found}
        return not self.waits or not _circle(edge for edge in scene.waits if edge not in used)

    def _castings(self, failure: Failure, scene: Scene) -> Iterator[tuple[WaitEdge, ...]]:
        """The edges of every way to give the parts to tasks."""
        able = (
            [party for party in scene.parties if who.is_played_by(party, failure)]
            for who in self.parts.values()
        )
        alone = [not who.also for who in self.parts.values()]
        for chosen in product(*able):
            apart = [party.task for party, one in zip(chosen, alone, strict=True) if one]
            if len(set(apart)) < len(apart):
                continue
            tasks = {part: party.task for part, party in zip(self.parts, chosen, strict=True)}
            found = [
                next((edge for edge in scene.waits if one.is_edge(edge, tasks)), None) for one in self.waits
            ]
            if None not in found:
                yield tuple(edge for edge in found if edge is not None)

    def text(self) -> str:
        """In words, for a reader who wants to know what is called known."""
        parts = "; ".join(f"{part} {who.text()}" for part, who in self.parts.items())
        waits = "; ".join(one.text() for one in self.waits)
        details = ", ".join(f"{name} {value}" for name, value in self.details.items())
        head = " ".join(filter(None, [" or ".join(sorted(self.rules)), details]))
        where = "; ".join(f"on {', '.join(names)} only" for names in (self.versions, self.vm_types) if names)
        return ": ".join(filter(None, [head, "; ".join(filter(None, [parts, waits, where]))]))


def _circle(edges: Iterable[WaitEdge]) -> bool:
    """Whether somebody waits for itself in the end."""
    behind: dict[str, set[str]] = {}
    for edge in edges:
        behind.setdefault(edge.task, set()).add(edge.behind)
    while leaves := [task for task, others in behind.items() if not others & behind.keys()]:
        for task in leaves:
            del behind[task]
    return bool(behind)
