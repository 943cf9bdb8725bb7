"""What operations did in a run, independent of pages, frames, times and of who else ran: a count for each behaviour.

An operation is what a task does from the entry of a kernel function to its return, functions inside included. Its
behaviours are: what each function came to; which of two steps on one frame came first; which locks it took, waited for,
and held while it took a step; which steps it took at all; why it was retried.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache
from hashlib import blake2b
from itertools import combinations
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..actors.errno import errno_name
from ..actors.fault import RET_PF
from ..audit import kvm_events as kvm
from ..audit.events import Access, Contended, Lock, LockRequest, Receive, Send, SrcuSync, Unlock
from ..audit.vocabulary import name_of, vocabulary
from ..engine.locks.kinds import stated
from .footprint import frames_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..audit.base import Event
    from ..scenarios.results import OpResult
    from .runs import Run, Step, Steps

#: Hooks that 7.3 gave another name; they are compared under the old one.
RENAMED: Final = {
    "make_private": "prepare",
    "make_private_ret": "prepare_ret",
    "arch_reclaim": "arch_invalidate",
}
_FAULTS: Final = frozenset({"tdp_fault", "faultin", "map"})
#: Steps that look something up or only tell of others: no behaviour of their own.
_QUIET: Final = (
    Access, Send, Receive, LockRequest, kvm.PageFault, kvm.GuestTouch, kvm.HostTouch, kvm.FilemapGet, kvm.Retry,
)  # fmt: skip
#: Fields that behaviours are told by, beside locks and errnos in place of a frame.
_SHOWN: Final = (
    "ret", "did", "result", "flush", "hwpoison", "ok", "code", "op", "flag", "point", "state", "filter", "mode",
    "punch", "reason",
)  # fmt: skip
#: Values of a call that a row shows.
_VALUES: Final = 4
_INSTANCE: Final = re.compile(r"^(gmem|vm|mm)\d+\b")
_INDEX: Final = re.compile(r"\[\d+\]")


class Behaviour(NamedTuple):
    """One behaviour of operations of one kind.

    Attributes:
        kind: `outcome`, `result`, `order`, `under`, `lock`, `step`, `wait` or `retry`.
        operation: the outermost function, or the event itself outside of any; `outcome`: `call` and the operation of
            the scenario.
        what: `outcome`: that operation; `result`: the function that returns; `order`: the step that comes first;
            `under`: the step; else the lock, step or reason.
        with_: `outcome`, `result`: to what it came; `order`: the step that comes second; `under`: the lock that is
            held.
    """

    kind: str
    operation: str
    what: str
    with_: str = ""


class Behaviours:
    """What one run showed.

    Attributes:
        counts: how often it showed each behaviour.
        operations: how many operations of each kind there were.
        paths: for each step the functions that it was seen in, outermost first.
        renamed: new names of hooks that were seen.
    """

    def __init__(self) -> None:
        self.counts: Counter[Behaviour] = Counter()
        self.operations: Counter[str] = Counter()
        self.paths: dict[tuple[str, str], tuple[str, ...]] = {}
        self.renamed: set[str] = set()

    def add(self, other: Behaviours, often: int) -> None:
        """The same again, `often` times."""
        for mine, theirs in ((self.counts, other.counts), (self.operations, other.operations)):
            for key, count in theirs.items():
                mine[key] += often * count  # type: ignore[index] # each with its own keys
        for path in other.paths.items():
            self.paths.setdefault(*path)
        self.renamed |= other.renamed


class _Operation:
    """An operation under way."""

    __slots__ = ("items", "name", "stack")

    def __init__(self, name: str) -> None:
        self.name = name
        self.stack: list[str] = []
        #: For each frame the steps on it, in order of their first time; steps without a frame under None.
        self.items: dict[int | None, dict[str, int]] = {}


def behaviours(steps: Steps, run: Run) -> Behaviours:
    """Take a run apart. The setup does not count.

    Operations that consist of the same steps are looked at once.
    """
    found = Behaviours()
    masks: dict[object, int] = {}
    masked = [masks.setdefault(_mask(step.event), len(masks)) for step in steps.known]
    frames = [None if step.frames is None else step.frames[0] for step in steps.known]
    alike: dict[object, list[Any]] = {}
    seen: dict[tuple[tuple[str, ...], tuple[int, ...]], list[Any]] = {}
    for codes in _by_actor(steps, run):
        held: tuple[str, ...] = ()
        for operation in _operations(steps, codes):
            known = seen.get((held, operation))
            if known is None:
                # The same on other pages and frames is the same behaviour.
                names: dict[int | None, int] = {}
                key = (
                    held,
                    *[(masked[code], names.setdefault(frames[code], len(names))) for code in operation],
                )
                known = alike.get(key)
                if known is None:
                    known = alike[key] = [0, *_look([steps.known[code].event for code in operation], held)]
                seen[held, operation] = known
            known[0] += 1
            held = known[2]
    for often, shown, _ in alike.values():
        found.add(shown, often)
    return found


def add_outcomes(found: Behaviours, results: Iterable[OpResult]) -> None:
    """What the calls of a run came to, as user space or the guest sees it: events can be silent about it."""
    for result in results:
        call = f"call {result.op}"
        found.operations[call] += 1
        found.counts[Behaviour("outcome", call, result.op, result.outcome)] += 1
        if result.values:
            shown = ", ".join(result.values[:_VALUES])
            if len(result.values) > _VALUES:
                rest = blake2b("\0".join(result.values).encode(), digest_size=4).hexdigest()
                shown += f" and {len(result.values) - _VALUES} more ({rest})"
            found.counts[Behaviour("outcome", call, result.op, f"{result.outcome} with {shown}")] += 1


def _look(events: list[Event], held: tuple[str, ...]) -> tuple[Behaviours, tuple[str, ...]]:
    """What an operation shows, and the locks that its task holds afterwards."""
    reader = _Reader(held)
    for event in events:
        reader.take(event)
    reader.finish()
    return reader.found, tuple(reader.held)


def _mask(event: Event) -> tuple[object, ...]:
    """All of an event that its behaviour can depend on, its frame apart."""
    lock = getattr(event, "lock", "")
    pfn = getattr(event, "pfn", 0)
    values = (getattr(event, name, None) for name in _SHOWN)
    return event.__class__, lock_class(lock) if lock else "", min(0, pfn), *values


def _by_actor(steps: Steps, run: Run) -> list[list[int]]:
    """The steps of each task, without those that are no behaviour."""
    tasks: dict[str, list[int]] = {}
    nowhere: list[int] = []
    for step in steps.known:
        tasks.setdefault(step.actor, [])
    targets = [nowhere if _is_quiet(step) else tasks[step.actor] for step in steps.known]
    for number in run.steps:
        targets[number].append(number)
    return list(tasks.values())


def _is_quiet(step: Step) -> bool:
    return step.actor == "setup" or (step.event.__class__ in _QUIET and not isinstance(step.event, kvm.Retry))


def _operations(steps: Steps, codes: list[int]) -> Iterator[tuple[int, ...]]:
    """Cut a task's steps into operations: a step outside of any function is one by itself."""
    # Some hundred nanoseconds a step count here, of which there may be millions.
    roles = [_role(step.event) for step in steps.known]
    stack: list[str] = []
    start = 0
    for at, code in enumerate(codes):
        enters, leaves = roles[code]
        if not stack:
            if enters:
                start = at
                stack.append(enters)
            else:
                yield (code,)
        elif enters:
            stack.append(enters)
        elif leaves and leaves in stack:
            while stack.pop() != leaves:
                pass
            if not stack:
                yield tuple(codes[start : at + 1])
    if stack:
        yield tuple(codes[start:])


def _role(event: Event) -> tuple[str, str]:
    """The function that the event is the entry of, and the one that it is the return of."""
    name = name_of(event.__class__)
    name = RENAMED.get(name, name)
    function = name.removesuffix("_ret")
    entries = _entries()
    if function != name and function in entries:
        return "", function
    return name if name in entries else "", ""


class _Reader:
    """Goes through the events of one operation.

    Attributes:
        held: the locks that its task holds.
    """

    def __init__(self, held: Iterable[str] = ()) -> None:
        self.found = Behaviours()
        self.held = list(held)
        self._operation: _Operation | None = None
        self._entries = _entries()
        self._number = 0

    def finish(self) -> None:
        """There are no more."""
        if self._operation is not None:
            _finish(self._operation, self.found.counts)

    def take(self, event: Event) -> None:
        """The next event."""
        cls = event.__class__
        if cls in _QUIET:
            if isinstance(event, kvm.Retry):
                self.found.counts[Behaviour("retry", "tdp_fault", event.reason)] += 1
            return
        self._number += 1
        name = name_of(cls)
        if name in RENAMED:
            self.found.renamed.add(name)
            name = RENAMED[name]
        operation = self._operation
        function = name.removesuffix("_ret")
        if function != name and function in self._entries:
            self._returns(operation, function, event)
            return
        if name in self._entries:
            if operation is None:
                operation = self._operation = _Operation(_operation_name(name, event))
                self.found.operations[operation.name] += 1
            operation.stack.append(name)
        elif operation is None:
            self.found.operations[name] += 1
        where = name if operation is None else operation.name
        if isinstance(event, (Lock, Unlock, Contended)):
            self._locks(operation, where, event)
        else:
            self._step(operation, where, step_name(name, event), event)

    def _returns(self, operation: _Operation | None, function: str, event: Event) -> None:
        """A function returns, and with it those inside of it."""
        where = function if operation is None else operation.name
        self.found.counts[Behaviour("result", where, function, result_of(function, event))] += 1
        if operation is not None and function in operation.stack:
            while operation.stack.pop() != function:
                pass

    def _locks(self, operation: _Operation | None, where: str, event: Lock | Unlock | Contended) -> None:
        lock = f"{lock_class(event.lock)}:{event.mode}"
        held = self.held
        if isinstance(event, Lock):
            self.found.counts[Behaviour("lock", where, lock)] += 1
            held.append(lock)
            _note(operation, None, f"lock {lock}", self._number)
        elif isinstance(event, Contended):
            self.found.counts[Behaviour("wait", where, lock)] += 1
        elif lock in held:
            held.remove(lock)

    def _step(self, operation: _Operation | None, where: str, step: str, event: Event) -> None:
        counts = self.found.counts
        counts[Behaviour("step", where, step)] += 1
        self.found.paths.setdefault((where, step), tuple(operation.stack) if operation is not None else ())
        for lock in dict.fromkeys(self.held):
            if lock.partition(":")[0] != "folio":
                counts[Behaviour("under", where, step, lock)] += 1
        outcome = result_of(step.partition(" ")[0], event)
        if outcome:
            counts[Behaviour("result", where, step, outcome)] += 1
        frames = frames_of(event)
        _note(operation, None if frames is None else frames[0], step, self._number)


def _note(operation: _Operation | None, frame: int | None, step: str, number: int) -> None:
    """A step on a frame, or on none: its first time counts."""
    if operation is not None:
        operation.items.setdefault(frame, {}).setdefault(step, number)


def _finish(operation: _Operation, counts: Counter[Behaviour]) -> None:
    """Which of any two steps came first, frame by frame; steps without a frame go with each other only."""
    for steps in operation.items.values():
        for first, second in combinations(steps, 2):
            counts[Behaviour("order", operation.name, first, second)] += 1
    loose = operation.items.get(None)
    if not loose:
        return
    for frame, steps in operation.items.items():
        if frame is None:
            continue
        for step, number in steps.items():
            for other, at in loose.items():
                pair = (step, other) if number < at else (other, step)
                counts[Behaviour("order", operation.name, *pair)] += 1


def _operation_name(name: str, event: Event) -> str:
    if isinstance(event, kvm.Fallocate):
        return "fallocate punch" if event.punch else "fallocate"
    return name


def step_name(name: str, event: Event) -> str:
    """The event, with what tells its kind apart."""
    for field in ("op", "flag", "point", "state", "filter"):
        value = getattr(event, field, None)
        if value is not None:
            return f"{name} {value}"
    if isinstance(event, SrcuSync):
        return f"{name} {lock_class(event.lock)}"
    return name


def result_of(function: str, event: Event) -> str:
    """To what a function came: an errno, a fault's result, `0`, a frame; empty if it does not say."""
    parts: list[str] = []
    ret: Any = getattr(event, "ret", None)
    if ret is not None:
        if ret < 0:
            parts.append(errno_name(ret))
        elif function in _FAULTS:
            parts.append(RET_PF.get(ret, str(ret)))
        else:
            parts.append("done" if ret else "0")
    elif function in ("get_folio", "filemap_get"):
        pfn: Any = getattr(event, "pfn", 0)
        parts.append(errno_name(pfn) if pfn < 0 else "a folio")
    if getattr(event, "did", True) is False:
        parts.append("nothing to do")
    for field in ("result", "flush", "hwpoison", "ok", "code"):
        value = getattr(event, field, None)
        if value is not None:
            parts.append(f"{field} {str(value).lower() if isinstance(value, bool) else value}")
    return ", ".join(parts)


def lock_class(label: str) -> str:
    """What the lock states; of one that stands in a log its name: `vm1.mmu_lock` is an `mmu_lock`."""
    return stated(label) or _spelled(label)


@lru_cache(maxsize=1 << 12)
def _spelled(label: str) -> str:
    return _INDEX.sub("", _INSTANCE.sub("", label).lstrip(".@")) or label


@lru_cache(maxsize=1)
def _entries() -> frozenset[str]:
    """Functions whose return is an event, too."""
    names = vocabulary()
    return frozenset(name for name in names if f"{name}_ret" in names)
