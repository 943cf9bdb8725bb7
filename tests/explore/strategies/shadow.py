"""What a step really changed, beside what it announced: the heap before and after, object by object.

The check behind the claim that shared state announces itself (`engine.observed`). A place that a step changed must be
declared, and an op of the step that changes must cover it; so a change that nobody announces shows up whatever the
schedule goes on with. Reads need no such look: who reads what is declared cannot but announce it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from tests.explore.strategies.commute import Walk

from gmemsim.actors.huge_cache import HugeCache, Split
from gmemsim.arch.spin import SpinWait, TryLock
from gmemsim.engine.engine import Engine
from gmemsim.engine.errors import EngineError
from gmemsim.engine.mailbox import Mailbox
from gmemsim.engine.observed import declared_fields
from gmemsim.engine.observed_containers import Content
from gmemsim.engine.op import ALL, footprint
from gmemsim.engine.task import Task
from gmemsim.explore.state import NotRestorable
from gmemsim.explore.state.contents import UNSET
from gmemsim.explore.state.heap import Heap

if TYPE_CHECKING:
    from gmemsim.engine.op import Op
    from gmemsim.explore.runs import Program

#: A changed attribute of an object, and the key if it holds a container of which one key changed.
Place = tuple[Any, str, Any]

#: Packages of those who drive, watch and judge a run: what they keep is nothing that a step looks at.
APART = (
    "gmemsim.oracles",
    "gmemsim.explore",
    "gmemsim.audit",
    "gmemsim.engine.tape",
    "gmemsim.engine.cpus",
    "tests.",
)

#: Not declared, since only one task ever looks at it, and why that is so.
ONE_TASK = {
    "Session._stamp": "counts operations for the history of the run, which is no state",
    "Session.violations": "what was found, for the end of the run",
    "Thread.*": "a task's own place in its list of operations",
    "TaskResults.*": "what a task's own operations came to",
    "TdxFrames.busy": "counts for the report",
    "Kernel.task_works": "what a task has put off, which itself does later",
    "Psp.finished": "the security processor is a task, and keeps its book itself",
    "Psp.measured": "as `finished`",
    "TdVcpu.last_epoch": "of the vCPU, and only its task enters the guest",
    "TdVcpu.tlb": "filled and emptied by the vCPU's own task",
    "TdVcpu.faults": "counted and forgotten by the vCPU's own task",
    "TdVcpu.accepting": "noted and used by the vCPU's own task",
    "Vcpu.exit_reason": "what KVM_RUN tells its own caller",
    "Vcpu.exit_gfn": "as `exit_reason`",
    "Vcpu.exit_private": "as `exit_reason`",
    "Vcpu.goal_level": "of the vCPU's own last fault",
    "Vcpu.root_generation": "as `goal_level`: whoever faults or pre-faults for the vCPU has its mutex",
}

#: Made by whoever mentions it first, and the same whoever that is.
MADE_AT_FIRST_USE = {
    "World.processes": "a process of the workload",
    "World.buffers": "a buffer of the workload",
    "TdxFrames.tds": "the module's side of a VM",
    "El2State.vms": "EL2's side of a VM",
    "World.vm_list_lock": "one mutex for the system",
    "Kernel._mf_mutex": "one mutex for the system",
}

#: Changed with the items that they are about, which are announced.
WITH_ITEMS = {"HugeCache._bases": "first index of every huge range that has anything"}

#: Kept for several places at once, and changed in the same way in whichever order these are: an op about one of them is
#: enough.
SUMMARIES = {
    "Intervals.starts": "the pieces that a map consists of",
    "Intervals.values": "as `starts`",
    "GmemFile.bindings": "a slot stands at its first index, and `store` and `erase` say all of its range",
    "HugeContents._tables": "a table of many frames, made when the first of them is written",
    "Rmp.assigned": "assigned entries of a region",
    "RmpEntries._counts": "as `assigned`",
    "TdxFrames.small": "frames of a region that TDs own",
}

#: Added to under a read: two who do it can come in either order.
ADDED = {
    "Epochs.count": "vCPUs in the guest (`Epochs.entered`)",
    "TdVcpu.epoch": "whether the vCPU is (`Epochs.entered`)",
    "HugeCache.taken": "a page of a split folio that is looked up gets an object of its own",
    "TdVcpu.kicked": "an entry forgets it (`Epochs.entered`)",
}


class Shadow(Walk):
    """A random walk that compares.

    Attributes:
        missed: what was changed and not announced, as text, with the steps.
        changed: classes and attributes that were changed.
        stopped: why nothing more could be compared.
    """

    #: No part of the run (see `explore.state.heap`).
    __kept__ = True

    def __init__(self, seed: int) -> None:
        super().__init__(seed, [], False)
        self.missed: dict[str, str] = {}
        self.stopped = ""
        self.looked_up: set[int] = set()
        self.changed: set[tuple[type, str]] = set()
        self.heap: Heap | None = None
        self.owners: dict[int, Place] = {}

    def settle(self) -> None:
        heap = self.heap
        touched = list(self.engine.touched)
        super().settle()
        if heap is None:
            heap = self.heap = Heap(self.engine)
            heap.scan()
        elif self.events:
            count, at = len(heap.objects), len(heap.journal)
            self._find_owners()
            heap.scan()
            step = self.events[-1]
            ops = footprint(step.op, touched)
            for undo in heap.journal[at:]:
                if undo.number < count:
                    for place in self._places(undo.number, undo.content, heap.content[undo.number]):
                        self._judge(place, ops, f"{step.name} at {step.op}")
        self.engine.touched.clear()

    # -- what has changed --------------------------------------------------------------------------

    def _find_owners(self) -> None:
        """By `id` of a container or a `__dict__`, whose it is."""
        heap = self.heap
        assert heap is not None
        engine = self.engine
        # The engine's lists and dicts are objects of their own there.
        owners: dict[int, Place] = {
            id(each): (engine, "", UNSET)
            for each in (engine.runnable, engine.tasks, engine.faults, engine.roots)
        }
        for number, holder in enumerate(heap.objects):
            kind = heap._kind_of[number]
            if kind.names:
                for name, value in zip(kind.names, heap.content[number], strict=False):
                    owners[id(value)] = holder, name, UNSET
                    if isinstance(value, tuple):
                        owners.update((id(inner), (holder, name, UNSET)) for inner in value)
            if isinstance(holder, Split):
                self.looked_up.add(id(holder.taken))
            for name, value in heap.content[number][-len(kind.slots) :] if kind.slots else ():
                owners[id(value)] = holder, name, UNSET
            variables = getattr(holder, "__dict__", None)
            if variables is not None:
                owners[id(variables)] = holder, "", UNSET
                for name, value in variables.items():
                    owners[id(value)] = holder, name, UNSET
        more = True
        while more:
            more = False
            for number, holder in enumerate(heap.objects):
                owner, name, key = owners.get(id(holder), (None, "", UNSET))
                if not name or not isinstance(holder, (dict, list, deque, tuple)):
                    continue
                for item in heap.content[number]:
                    inner, value = item if isinstance(holder, dict) else (UNSET, item)
                    for each in value if isinstance(value, tuple) else (value,):
                        if isinstance(each, (dict, list, set, deque)) and id(each) not in owners:
                            owners[id(each)] = owner, name, inner if key is UNSET else key
                            more = True
        self.owners = owners

    def _places(self, number: int, old: tuple[Any, ...], new: tuple[Any, ...]) -> list[Place]:
        heap = self.heap
        assert heap is not None
        holder = heap.objects[number]
        kind = heap._kind_of[number]
        names = kind.names
        if kind.slots:
            # The items of a dict, and behind them its attributes by name.
            count = len(kind.slots)
            (*_, before), (*_, now) = zip(*old[-count:], strict=True), zip(*new[-count:], strict=True)
            own = [
                (holder, name, UNSET)
                for name, one, other in zip(kind.slots, before, now, strict=True)
                if _differ(one, other)
            ]
            return own + self._items(holder, old[:-count], new[:-count])
        if names:
            return [
                (holder, name, UNSET)
                for name, one, other in zip(names, old, new, strict=False)
                if _differ(one, other)
            ]
        return self._items(holder, old, new)

    def _items(self, holder: Any, old: tuple[Any, ...], new: tuple[Any, ...]) -> list[Place]:
        owner, name, key = self.owners.get(id(holder), (holder, "", UNSET))
        if isinstance(holder, dict):
            before, now = _by_id(old), _by_id(new)
            keys = [
                entry[0]
                for mark, entry in {**before, **now}.items()
                if mark not in before or mark not in now or _differ(before[mark][1], now[mark][1])
            ]
        elif isinstance(holder, set):
            keys = list(set(old) ^ set(new))
        else:
            keys = [UNSET]
        if not name and owner is not holder:
            return [(owner, each, UNSET) for each in keys]
        return [(owner, name, each if key is UNSET else key) for each in keys]

    # -- whether it was announced ------------------------------------------------------------------

    def _judge(self, place: Place, ops: tuple[Op, ...], step: str) -> None:
        owner, name, key = place
        cls = owner.__class__
        what = _named(cls, name)
        if id(owner) in self.looked_up or isinstance(getattr(owner, str(name), None), HugeCache):
            what.add("HugeCache.taken")
        if isinstance(owner, (Task, Engine)) or cls.__module__.startswith(APART) or what & _NOT_SHARED:
            return
        found = next((each for each in cls.__mro__ if (each, name) in declared_fields), None)
        if found is None and _is_lock(owner):
            obj = getattr(owner, "obj", None) or getattr(owner, "label", None)
            if obj is not None and not any(op.obj == obj for op in ops):
                self._miss(f"{cls.__qualname__} {obj}", step, ops)
            return
        if found is None:
            self._miss(f"{cls.__qualname__}.{name} is not declared", step, ops)
            return
        self.changed.add((found, name))
        where = declared_fields[found, name]
        if isinstance(where, Content):
            obj, low, high = where.where(owner)
            if where.span is not None and key is not UNSET:
                low, high = where.span(key)
        else:
            obj, low, high = where(owner)
        loose, adds = what & SUMMARIES.keys(), what & ADDED.keys()
        if not any(
            op.obj == obj
            and (op.mode == "w" or adds)
            and (op.lo < high and low < op.hi if loose else op.lo <= low and high <= op.hi)
            for op in ops
        ):
            part = "" if high == ALL else f" [{low:#x}, {high:#x})"
            self._miss(f"{cls.__qualname__}.{name}: no op has {obj or 'a name'}{part}", step, ops)

    def _miss(self, what: str, step: str, ops: tuple[Op, ...]) -> None:
        self.missed.setdefault(what, f"{step}: {ops}")


_NOT_SHARED = ONE_TASK.keys() | MADE_AT_FIRST_USE.keys() | WITH_ITEMS.keys()


def _named(cls: type, name: str) -> set[str]:
    """An attribute as the tables name it, by its class or a base."""
    return {f"{each.__qualname__}.{name}" for each in cls.__mro__} | {
        f"{each.__qualname__}.*" for each in cls.__mro__
    }


def _by_id(content: tuple[Any, ...]) -> dict[Any, tuple[Any, Any]]:
    return {id(key) if key.__hash__ is None else key: (key, value) for key, value in content}


def _differ(one: Any, other: Any) -> bool:
    """Of objects the identity counts, of texts and numbers what they are."""
    return one is not other and not (isinstance(one, (str, int)) and one == other)


def _is_lock(owner: Any) -> bool:
    """A lock's own state goes with the ops of its functions, shared ones included: they add to a count."""
    return isinstance(owner, (SpinWait, TryLock, Mailbox)) or owner.__class__.__module__.startswith(
        "gmemsim.engine.locks"
    )


def shadow(program: Program, seed: int) -> Shadow:
    """One random run."""
    walk = Shadow(seed)
    made = program.build(walk, max_steps=2_000)
    walk.begin(made.engine)
    try:
        made.run()
    except EngineError:
        pass
    except NotRestorable as error:
        walk.stopped = str(error)
    else:
        walk.settle()
    return walk
