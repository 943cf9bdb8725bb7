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

from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, cast

import attrs

from ...oracles.exact import Exact
from ...oracles.roles import Role, Roles
from ...oracles.violation import Violation
from ..lock_graph.book import Book
from ..search import watch_events

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...audit.recorder import Rec
    from ...engine.op import Op
    from ...engine.task import Task
    from ..failure import Failure
    from ..runs import Run

_ACCESS: Final = frozenset({"load", "store", "rmw"})


@attrs.frozen
class Claim:
    """Which lock guards the objects of a kind.

    Attributes:
        kind: of the objects (`oracles.roles`); in a program in Python, what their labels end in behind the dot.
        lock: kind of the guard, of the same owner; of a folio's lock, that of the first index touched.
        read: mode that a read needs at least (`r`, `w`); None: reads are free.
        write: the same of a write.
        source: where the claim is made.
        of_inode: the owner is a file's inode, not a VM.
        instead: kind of a lock of the same owner that will do as well when it is held for writing.
    """

    kind: str
    lock: str
    read: str | None
    write: str | None
    source: str
    of_inode: bool = False
    instead: str = ""


class Names(Protocol):
    """Who has which object and lock."""

    def object(self, label: str) -> Role | None: ...

    def label(self, kind: str, owner: str, index: int = 0) -> str: ...


class _Spelled:
    """Of a program in Python, where nothing but the labels is known: an owner and what it has, with a dot between."""

    @staticmethod
    def object(label: str) -> Role:
        owner, _, kind = label.rpartition(".")
        return Role(kind, owner)

    @staticmethod
    def label(kind: str, owner: str, index: int = 0) -> str:
        return f"{owner}.{kind}" if owner else kind


#: What the spec says of the model's own objects (guest-memfd.md 1 to 4). PG_uptodate is not among them: population
#: sets it with the folio unlocked again, under the invalidate lock.
CLAIMS: Final = (
    Claim(
        "seq",
        "mmu_lock",
        None,
        "w",
        "kvm_mmu_invalidate_begin/_end: lockdep_assert_held_write(&kvm->mmu_lock)",
    ),
    Claim("attributes", "slots_lock", None, "w", "kvm_vm_set_mem_attributes: guard(mutex)(&kvm->slots_lock)"),
    Claim(
        "attributes",
        "invalidate_lock",
        None,
        "w",
        "kvm_gmem_set_attributes: the inode's map is written under filemap_invalidate_lock",
        of_inode=True,
    ),
    Claim(
        "memslots", "slots_lock", None, "w", "kvm_swap_active_memslots: lockdep_assert_held(&kvm->slots_lock)"
    ),
    Claim("spte", "mmu_lock", None, "r", "TDP MMU: entries change under mmu_lock, shared or exclusive"),
    Claim(
        "content",
        "folio",
        None,
        "w",
        "kvm_gmem_get_pfn clears with the folio locked; holes and merges of huge pages do it under "
        "filemap_invalidate_lock, where no look-up is under way (guest-memfd.md 4.15)",
        of_inode=True,
        instead="invalidate_lock",
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
        self._begin()

    def _begin(self) -> None:
        self._book = Book()
        self._names: Names = _Spelled()
        #: By label of an object, its owner and the claims about it.
        self._of: dict[str, tuple[str, tuple[Claim, ...]]] = {}
        #: By object, the last access of each task to each range.
        self._last: dict[str, dict[tuple[str, int, int], Access]] = {}

    def attach(self, run: Run) -> None:
        """Look at a run that is about to start."""
        from ..lock_graph.graph import inodes_of

        self._begin()
        session = getattr(run, "session", None)
        if session is not None:
            self._names = Roles(session.machine.world)
        self._book = Book(inodes=inodes_of(run))
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
        owner, claims = self._of.get(op.obj) or self._about(op.obj)
        for claim in claims:
            self._check(t, op, claim, owner)

    def _about(self, obj: str) -> tuple[str, tuple[Claim, ...]]:
        role = self._names.object(obj)
        if role is None:
            return "", ()  # an object of a patch's own, whatever its name; or it is made later
        mine = (one for one in self.claims if (one.kind, one.of_inode) == (role.kind, role.of_inode))
        found = self._of[obj] = (role.owner, tuple(mine))
        return found

    def _check(self, t: Task, op: Op, claim: Claim, owner: str) -> None:
        access = _access(t)
        needed = claim.read if op.mode == "r" else claim.write
        lock = self._names.label(claim.lock, owner, op.lo)
        locks = self._book.held.get(t, {})
        held = locks.get(lock)
        if claim.instead and locks.get(self._names.label(claim.instead, owner)) == "w":
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
