"""Tasks that do the same, and what a state is called when they are exchanged.

Two tasks with the same operations are alike: whatever one of them can do, the other can do as well. So of two states
that differ only in which of them is where, one is enough (Ip and Dill, "Better verification through symmetry", FMSD
1996). A `Renaming` says how a state reads if the tasks are exchanged; of all readings the least digest stands for the
state (`live.LiveState`).

That is right only where the model asks of a task nothing but which one it is: if a step of a state and the step of the
exchanged task in the exchanged state always come to the same. What is looked at is, in this order:

* the workload: everything in it must read the same with the names exchanged, which operations, files and maps have;
* the initial state: its digest must be the same under the renaming, or the renaming is not used.

That no order of numbers or names decides anything later is left to `bench/symmetry.py`, which compares the steps of all
states that have been taken for one. A vCPU has its number and its place in its VM's list, so vCPUs are never alike.
"""

from __future__ import annotations

import re
from itertools import permutations, product
from typing import TYPE_CHECKING, Final

import attrs

from ...scenarios.ops import PageRange
from ...scenarios.workload import Actor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...scenarios.ops import Op
    from ...scenarios.workload import Workload

#: Readings of a state at most: four tasks that are alike have as many.
_MOST: Final = 24
#: Of a task: in which table of the file it stands, and as which of its instances.
_ONLY_WHERE: Final = frozenset({"table", "instance", "of"})
_TASK: Final = re.compile(r"task (\d+)\b")


class Renaming:
    """Tasks under each other's names.

    Args:
        names: for each task that is renamed, what it is called.
        idents: the same by number.

    Attributes:
        order: of so many tasks, in which order they come under their new numbers.
    """

    def __init__(self, names: dict[str, str], idents: dict[int, int]) -> None:
        self._names = names
        self._idents = idents
        self._back = {new: old for old, new in idents.items()}
        self._pattern = re.compile(rf"\b(?:{'|'.join(map(re.escape, names))})\b")

    def order(self, count: int) -> list[int]:
        return [self._back.get(ident, ident) for ident in range(count)]

    def name(self, text: str) -> str:
        """A text of the model, with the names exchanged."""
        return self._pattern.sub(lambda found: self._names[found[0]], text)

    def text(self, text: str) -> str:
        """What the digest says of an object or a coroutine (`nodes.Nodes`), with names and numbers exchanged."""
        return "\x1f".join(map(self._field, text.split("\x1f")))

    def _field(self, field: str) -> str:
        found = _TASK.match(field)
        if found is None:
            return self.name(field)
        ident = int(found[1])
        return f"task {self._idents.get(ident, ident)}{self.name(field[found.end() :])}"

    def rank(self, rank: tuple[str, str]) -> tuple[str, str]:
        """Where a key goes (`digest.rank`) under its new name."""
        kind, key = rank
        if kind == "task":
            return kind, f"{self._idents.get(int(key), int(key)):08}"
        return kind, self.name(key)


def renamings(groups: Iterable[Iterable[str]], tasks: dict[str, int]) -> list[Renaming]:
    """All ways to exchange tasks that are alike, but for leaving them as they are.

    Args:
        groups: names of tasks that are alike.
        tasks: number of each task that there is, by name.
    """
    kept: list[tuple[str, ...]] = []
    size = 1
    for group in groups:
        names = tuple(name for name in group if name in tasks)
        for count in range(2, len(names) + 1):
            size *= count
        if len(names) < 2 or size > _MOST:
            break
        kept.append(names)
    found = []
    for images in product(*map(permutations, kept)):
        pairs = [
            (old, new)
            for group, image in zip(kept, images, strict=True)
            for old, new in zip(group, image, strict=True)
            if old != new
        ]
        if pairs:
            found.append(Renaming(dict(pairs), {tasks[old]: tasks[new] for old, new in pairs}))
    return found


def alike(workload: Workload) -> tuple[tuple[str, ...], ...]:
    """Names of the tasks of each sort of which there are several."""
    groups: list[list[str]] = []
    for actor in workload.actors:
        if actor.vcpu >= 0 or any(_by_name(step.op) for step in actor.steps):
            continue
        for group in groups:
            if _exchangeable(workload, group[0], actor.name):
                group.append(actor.name)
                break
        else:
            groups.append([actor.name])
    return tuple(tuple(group) for group in groups if len(group) > 1)


def _exchangeable(workload: Workload, one: str, other: str) -> bool:
    """Whether everything that the workload says reads the same with the two names exchanged."""
    exchange = Renaming({one: other, other: one}, {})
    actors = {actor.name: _said(actor) for actor in workload.actors}
    if any(exchange.name(said) != actors[_other(name, one, other)] for name, said in actors.items()):
        return False
    tables = workload.tables
    rest = (
        *(tables.vms, tables.files, tables.slots, tables.maps, workload.parameters),
        *(workload.launch, workload.setup, workload.barriers, workload.faults),
    )
    return all(exchange.name(said) == said for said in map(repr, rest))


def _by_name(op: Op) -> bool:
    """Whether pages are chosen by the name of the task, or by its number among those of its table."""
    return isinstance(op, PageRange) and (op.slice or (op.chunk is not None and op.pick == "random"))


def _said(actor: Actor) -> str:
    names = (field.name for field in attrs.fields(Actor))
    return repr([(name, getattr(actor, name)) for name in names if name not in _ONLY_WHERE])


def _other(name: str, one: str, other: str) -> str:
    return other if name == one else one if name == other else name
