"""Races: fields that claim a lock and are touched without it, and plain memory touched by two tasks at once.

Two detectors, for two kinds of memory:

* a `Claim` says which lock guards an object. Whoever touches it must hold that lock in a mode that is good enough;
  whether another task is near does not matter, so one schedule shows it (lock sets, as in Eraser: Savage et al.,
  TOCS 15(4), 1997, with the lock given rather than guessed);
* *plain* objects, which nobody says how to guard, are watched with vector clocks: two accesses, one of them a write,
  that no lock and no atomic operation puts in an order are a race (FastTrack: Flanagan and Freund, PLDI 2009).

Both see the steps that tasks announce (`engine.op.Op`). The model's actors announce their unlocked reads as
READ_ONCE, the kernel's word for "a race, and meant to be one", so a claim may leave reads free; no object of the
actors is plain. Every atomic access is taken to order as acquire and release: a weaker kernel races more.

Bindings of a file under the invalidate lock, and exclusion of the locks themselves, are invariants I13 and I40.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

import attrs

from ...oracles.exact import Exact
from ...oracles.violation import Violation
from ..lock_graph.book import Book
from ..search import watch_events

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from ...audit.recorder import Rec
    from ...engine.op import Op
    from ...engine.task import Task
    from ..failure import Failure
    from ..program import Run

__all__ = ["CLAIMS", "Access", "Claim", "GuardedBy", "HappensBefore"]

_ACCESS: Final = frozenset({"load", "store", "rmw"})


@attrs.frozen
class Claim:
    """Which lock guards the objects of a class.

    Attributes:
        suffix: what their labels end in, behind the owner's (`.seq` of `vm0.seq`); the whole label if it has no dot.
        lock: suffix of the guard's label, of the same owner; `{index}` stands for the first index touched.
        read: mode that a read needs at least (`r`, `w`); None: reads are free.
        write: the same of a write.
        source: where the claim is made.
        of_inode: the owner is a file's inode, not a VM.
        instead: suffix of a lock of the same owner that will do as well when it is held for writing.
    """

    suffix: str
    lock: str
    read: str | None
    write: str | None
    source: str
    of_inode: bool = False
    instead: str = ""

    def owner(self, op: Op) -> str:
        """Label of the VM or inode that `op` is about."""
        return op.obj[: len(op.obj) - len(self.suffix)]

    def guard(self, op: Op) -> str | None:
        """Label of the lock that guards what `op` touches; None if the claim is not about that."""
        if not op.obj.endswith(self.suffix):
            return None
        return f"{self.owner(op)}{self.lock}".replace("{index}", str(op.lo))


#: What the spec says of the model's own objects (guest-memfd.md 1 to 4). PG_uptodate is not among them: population
#: sets it with the folio unlocked again, under the invalidate lock.
CLAIMS: Final = (
    Claim(
        ".seq",
        ".mmu_lock",
        None,
        "w",
        "kvm_mmu_invalidate_begin/_end: lockdep_assert_held_write(&kvm->mmu_lock)",
    ),
    Claim(
        ".attributes", ".slots_lock", None, "w", "kvm_vm_set_mem_attributes: guard(mutex)(&kvm->slots_lock)"
    ),
    Claim(
        ".attributes",
        ".invalidate_lock",
        None,
        "w",
        "kvm_gmem_set_attributes: the inode's map is written under filemap_invalidate_lock",
        of_inode=True,
    ),
    Claim(
        ".memslots",
        ".slots_lock",
        None,
        "w",
        "kvm_swap_active_memslots: lockdep_assert_held(&kvm->slots_lock)",
    ),
    Claim(".spte", ".mmu_lock", None, "r", "TDP MMU: entries change under mmu_lock, shared or exclusive"),
    Claim(
        ".content",
        ".folio[{index}]",
        None,
        "w",
        "kvm_gmem_get_pfn clears with the folio locked; holes and merges of huge pages do it under "
        "filemap_invalidate_lock, where no look-up is under way (guest-memfd.md 4.15)",
        of_inode=True,
        instead=".invalidate_lock",
    ),
)


@attrs.frozen
class Access:
    """One of the two accesses of a race."""

    task: str
    call: int
    step: int
    kind: str
    obj: str
    lo: int
    hi: int

    def text(self) -> str:
        """In a few words."""
        return f"{self.kind} of {self.obj} by {self.task} at step {self.step}"


def _access(t: Task) -> Access:
    op = t.pending
    return Access(t.name, t.call, t.engine.steps, op.kind, op.obj, op.lo, op.hi)


def _fail(rule: str, summary: str, t: Task, first: Access | None, second: Access) -> Violation:
    accesses = [access for access in (first, second) if access is not None]
    details = {"index": second.lo, "accesses": accesses}
    return Violation(rule, summary, t.name, None, details, call=t.call, now=t.engine.now)


class GuardedBy:
    """An `Observer` that holds every access against the claims; breaks the rule `guarded_by`.

    Args:
        claims: default: those of the model's objects.
    """

    exact: ClassVar[Exact] = Exact(
        caching=True,
        reduction=True,
        why="what a task holds at an access follows from its own steps, which are the same in equivalent schedules",
    )

    def __init__(self, claims: Iterable[Claim] = CLAIMS) -> None:
        self.claims = tuple(claims)
        self._of: dict[str, tuple[Claim, ...]] = {}
        self._begin()

    def _begin(self) -> None:
        self._book = Book()
        self._inodes: Callable[[], Iterable[Any]] = tuple
        self._vms: Container[str] | None = None
        #: By object, the last access of each task to each range.
        self._last: dict[str, dict[tuple[str, int, int], Access]] = {}

    def attach(self, run: Run) -> None:
        """Look at a run that is about to start."""
        from ..lock_graph.graph import inodes_of

        self._begin()
        self._inodes = inodes_of(run)
        session = getattr(run, "session", None)
        self._vms = None if session is None else session.machine.world.vms
        self._book = Book(inodes=self._inodes)
        watch_events(run.engine, cast("Rec", self._book.rec))
        run.engine.watch_steps(self._step)
        run.engine.roots.append(self)

    def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
        """The run ended."""

    def __digest__(self) -> object:
        # The accesses so far are for the report; what is judged is who holds what.
        return self._book.remembered()

    def _step(self, t: Task) -> None:
        self._book.step(t)
        op = t.pending
        if op.kind not in _ACCESS:
            return
        claims = self._of.get(op.obj)
        if claims is None:
            of_inode = op.obj.rpartition(".")[0] in {inode.label for inode in self._inodes()}
            claims = self._of[op.obj] = tuple(
                one
                for one in self.claims
                if one.of_inode == of_inode
                and one.guard(op) is not None
                and self._known(one.owner(op), of_inode)
            )
        for claim in claims:
            self._check(t, op, claim)

    def _known(self, owner: str, of_inode: bool) -> bool:
        """Whether a claim's owner is there: an object of a patch's own may end in the same word."""
        return of_inode or not owner or self._vms is None or owner in self._vms

    def _check(self, t: Task, op: Op, claim: Claim) -> None:
        access = _access(t)
        needed = claim.read if op.mode == "r" else claim.write
        lock = claim.guard(op)
        locks = self._book.held.get(t, {})
        held = locks.get(lock or "")
        if claim.instead and locks.get(f"{claim.owner(op)}{claim.instead}") == "w":
            held = "w"
        if needed is not None and held not in {"w", needed}:
            other = self._other(access)
            near = "" if other is None else f", after {other.text()}"
            has = f"holds it {held}" if held else "does not hold it"
            raise _fail(
                "guarded_by",
                f"{access.text()} needs {lock} ({needed}), and {t.name} {has}{near}",
                t,
                other,
                access,
            )
        last = self._last.setdefault(op.obj, {})
        last.pop((access.task, access.lo, access.hi), None)
        last[access.task, access.lo, access.hi] = access

    def _other(self, access: Access) -> Access | None:
        """The last access of another task to the same place."""
        for one in reversed(self._last.get(access.obj, {}).values()):
            if one.task != access.task and one.lo < access.hi and access.lo < one.hi:
                return one
        return None


Clock = dict[str, int]


def _join(into: Clock, other: Clock) -> None:
    for name, time in other.items():
        if into.get(name, 0) < time:
            into[name] = time


class HappensBefore:
    """An `Observer` that watches plain objects with vector clocks; breaks the rule `race`.

    Args:
        plain: labels of the objects that are not accessed atomically.
    """

    exact: ClassVar[Exact] = Exact(
        caching=True, reduction=True, why="happens-before is the same in all equivalent schedules"
    )

    def __init__(self, plain: Iterable[str]) -> None:
        self.plain = frozenset(plain)
        self._begin()

    def _begin(self) -> None:
        self._clocks: dict[str, Clock] = {}
        self._objects: dict[str, Clock] = {}
        #: By object, the last access of each task in each mode to each range, with its time. An earlier one is in
        #: a race with whatever comes only if this one is.
        self._seen: dict[str, dict[tuple[str, str, int, int], tuple[Access, int]]] = {}

    def attach(self, run: Run) -> None:
        """Look at a run that is about to start."""
        self._begin()
        watch_events(run.engine, cast("Rec", self._event))
        run.engine.watch_steps(self._step)
        run.engine.roots.append(self)

    def done(self, run: Run, failure: Failure | None, *, pruned: bool) -> None:
        """The run ended."""

    def __digest__(self) -> object:
        """Each access that is kept, with the tasks and objects whose clock has it: times as such do not matter."""
        clocks = [("task", name, clock) for name, clock in self._clocks.items()]
        clocks += [("object", name, clock) for name, clock in self._objects.items()]
        return tuple(
            (
                obj,
                *key,
                tuple(sorted((kind, name) for kind, name, clock in clocks if clock.get(key[0], 0) >= time)),
            )
            for obj, seen in sorted(self._seen.items())
            for key, (_, time) in sorted(seen.items())
        )

    def _clock(self, name: str) -> Clock:
        clock = self._clocks.get(name)
        if clock is None:
            clock = self._clocks[name] = {name: 1}
        return clock

    def _event(self, t: Task, event: Any) -> None:
        kind = type(event).__name__
        if kind == "Lock":
            _join(self._clock(t.name), self._objects.get(event.lock, {}))
        elif kind == "Unlock":
            self._publish(t.name, event.lock)

    def _publish(self, name: str, obj: str) -> None:
        clock = self._clock(name)
        _join(self._objects.setdefault(obj, {}), clock)
        clock[name] += 1

    def _step(self, t: Task) -> None:
        op = t.pending
        if op.kind not in _ACCESS:
            return
        if op.obj in self.plain:
            self._check(t, op)
            return
        # An atomic access takes up what was published there; one that writes publishes.
        _join(self._clock(t.name), self._objects.get(op.obj, {}))
        if op.mode == "w":
            self._publish(t.name, op.obj)

    def _check(self, t: Task, op: Op) -> None:
        clock = self._clock(t.name)
        access = _access(t)
        seen = self._seen.setdefault(op.obj, {})
        for (_, mode, _, _), (other, time) in seen.items():
            apart = other.hi <= op.lo or op.hi <= other.lo
            if other.task == t.name or apart or "w" not in (mode, op.mode):
                continue
            if clock.get(other.task, 0) < time:
                summary = f"race: {other.text()} and {access.text()}, in no order"
                raise _fail("race", summary, t, other, access)
        seen[t.name, op.mode, op.lo, op.hi] = access, clock[t.name]
