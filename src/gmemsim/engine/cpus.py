"""The CPUs of a timed run, and what it costs them to share memory: cache lines that move, locks that are handed over.

Off unless an engine is given `Cpus` (`Engine.cpus`): then nothing of this is charged, and exploring runs never do.

A cache line is a server with one queue. Whoever writes to it must own it, one CPU after another; a CPU that owned it
last has it at hand. What a line moves over depends on the sockets of the two CPUs. Tasks are CPUs, by `Task.cpu`; the
CPUs of a machine are spread over its sockets in blocks.

A spinlock whose critical section contains no step of the model is a `Section`: it is free at a known time, so the whole
of it, with the queue before it, is one charge. Its statistics are those of any other lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from .locks.stats import LockClass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .task import Task

#: Lines that move when a queued spinlock goes from one CPU to the next: the lock word, which its new owner polls, and
#: the queue node of the one behind it (kernel/locking/qspinlock.c).
HANDOVER_LINES: Final = 2


class SharingCosts(Protocol):
    """What is charged, in virtual ns; pairs are of lock and unlock without contention on a line at hand."""

    @property
    def line(self) -> int: ...
    @property
    def line_remote(self) -> int: ...
    @property
    def atomic(self) -> int: ...
    @property
    def rwsem(self) -> int: ...
    @property
    def mutex(self) -> int: ...
    @property
    def spinlock(self) -> int: ...
    @property
    def folio_lock(self) -> int: ...
    @property
    def srcu(self) -> int: ...
    @property
    def ipi_receive(self) -> int: ...


class Line:
    """A cache line: who owns it, and when everybody who asked for it so far will have had it."""

    __slots__ = ("cpu", "free_at")

    def __init__(self) -> None:
        self.cpu = -1
        self.free_at = 0


class Cpus:
    """The machine.

    Attributes:
        costs: what is charged.
        count: how many CPUs there are; a task with a higher number is on the last socket.
        sockets: into how many blocks they are divided.
        spent: virtual ns that CPUs waited for lines or moved them, by what was on the line.
        sections: short spinlocks by label; `classes` their classes by name.
        contended: called as `contended(cls, ns)` when a CPU waited for a `Section`, from within the call.
        guests: CPUs that run guest code now, the only ones that a kick interrupts; None: nobody keeps track.
    """

    __slots__ = (
        "_lines",
        "_stocks",
        "_stolen",
        "classes",
        "contended",
        "costs",
        "count",
        "guests",
        "sections",
        "sockets",
        "spent",
    )

    def __init__(self, costs: SharingCosts, count: int, sockets: int = 1) -> None:
        self.costs = costs
        self.count = count
        self.sockets = sockets
        self.spent: dict[str, int] = {}
        self.sections: dict[str, Section] = {}
        self.classes: dict[str, LockClass] = {}
        self.contended: Callable[[LockClass, int], object] | None = None
        self.guests: set[int] | None = None
        self._stolen: dict[int, int] = {}
        self._stocks: dict[tuple[str, int], int] = {}
        self._lines: dict[str, Line] = {}

    def socket(self, cpu: int) -> int:
        """The socket of a CPU."""
        return min(cpu, self.count - 1) * self.sockets // self.count

    def distance(self, one: int, other: int) -> int:
        """Virtual ns for a line to get from one CPU's cache to the other's; 0 from nobody (-1) and to itself."""
        if one == other or one < 0:
            return 0
        if self.sockets > 1 and self.socket(one) != self.socket(other):
            return self.costs.line_remote
        return self.costs.line

    def reach(self, t: Task, line: Line, name: str, ns: int) -> int:
        """Queue for a line and work on it for `ns`: how long `t` is to spend on that from now on."""
        now = t.engine.now
        start = line.free_at
        if start < now:
            start = now
        cpu = t.cpu
        owner = line.cpu
        if owner != cpu:
            start += self.distance(owner, cpu)
            line.cpu = cpu
        if start > now:
            self.spent[name] = self.spent.get(name, 0) + start - now
        line.free_at = end = start + ns
        return end - now

    def book(self, name: str, ns: int) -> int:
        """Enter a line that moved without a queue."""
        if ns:
            self.spent[name] = self.spent.get(name, 0) + ns
        return ns

    def handover(self, one: int, other: int) -> int:
        """Virtual ns from one CPU's release of a queued spinlock to the other's running on with it."""
        return HANDOVER_LINES * self.distance(one, other)

    def line(self, name: str) -> Line:
        """The cache line with this name."""
        found = self._lines.get(name)
        if found is None:
            found = self._lines[name] = Line()
        return found

    def empty(self, name: str, cpu: int, batch: int) -> bool:
        """Take one out of a CPU's stock, which is filled `batch` at a time: whether it had to be filled for that.

        At first the stocks of different CPUs are not alike, so that CPUs in step do not run out of theirs together.
        """
        left = self._stocks.get((name, cpu))
        if left is None:
            left = cpu * 37 % batch
        self._stocks[name, cpu] = (left or batch) - 1
        return not left

    def interrupt(self, t: Task, cpus: Iterable[int], more: int = 0) -> int:
        """An IPI to these CPUs but the caller's, and how many that are.

        It costs each `ipi_receive` and `more`, when it looks at `stolen` next.
        """
        stolen, ns = self._stolen, self.costs.ipi_receive + more
        reached = 0
        for cpu in cpus:
            if cpu != t.cpu:
                stolen[cpu] = stolen.get(cpu, 0) + ns
                reached += 1
        return reached

    def stolen(self, cpu: int) -> int:
        """Virtual ns that interrupts took from a CPU since the last time it asked."""
        return self._stolen.pop(cpu, 0) if self._stolen else 0

    def idle(self) -> None:
        """All CPUs had nothing to do for a while: what interrupts took from them was nobody's."""
        self._stolen.clear()

    def section(self, label: str, name: str) -> Section:
        """The short spinlock with this label; `name` is its class."""
        found = self.sections.get(label)
        if found is None:
            found = self.sections[label] = Section(self, self.lock_class(name))
        return found

    def lock_class(self, name: str) -> LockClass:
        """The class of short spinlocks with this name."""
        found = self.classes.get(name)
        if found is None:
            found = self.classes[name] = LockClass(name)
        return found


class Section:
    """A spinlock around work of known length in which no other task can see anything."""

    __slots__ = ("_cpus", "_free_at", "_line", "cls")

    def __init__(self, cpus: Cpus, cls: LockClass) -> None:
        self._cpus = cpus
        self._free_at = 0
        self._line = -1
        self.cls = cls

    async def run(self, t: Task, ns: int) -> None:
        """Take the lock, work for `ns`, release it."""
        cpus = self._cpus
        now, cpu = t.engine.now, t.cpu
        counter = self.cls.write
        counter.acquisitions += 1
        if self._free_at > now:
            begin = self._free_at + cpus.handover(self._line, cpu)
            counter.waited(begin - now)
            if cpus.contended is not None:
                cpus.contended(self.cls, begin - now)
        else:
            begin = now + cpus.book(self.cls.name, cpus.distance(self._line, cpu))
        self._line = cpu
        self._free_at = end = begin + cpus.costs.spinlock + ns
        counter.held(end - begin)
        await t.spend(end - now)
