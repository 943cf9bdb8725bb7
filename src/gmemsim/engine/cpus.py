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
    from collections.abc import Callable

    from .locks.stats import LockStatistics
    from .task import Task

__all__ = ["HANDOVER_LINES", "Cpus", "Line", "Section", "SharingCosts"]

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
        sections: short spinlocks by label, in the order of their first use.
        contended: called as `contended(type, caller, ns)` when a CPU waited for a `Section`.
    """

    __slots__ = ("_stolen", "contended", "costs", "count", "sections", "sockets", "spent")

    def __init__(self, costs: SharingCosts, count: int, sockets: int = 1) -> None:
        self.costs = costs
        self.count = count
        self.sockets = sockets
        self.spent: dict[str, int] = {}
        self.sections: dict[str, Section] = {}
        self.contended: Callable[[str, str, int], object] | None = None
        self._stolen: dict[int, int] = {}

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

    def interrupt_others(self, t: Task) -> None:
        """An IPI to every other CPU: it costs each of them `ipi_receive`, when it looks at `stolen` next."""
        stolen, ns = self._stolen, self.costs.ipi_receive
        for cpu in range(self.count):
            if cpu != t.cpu:
                stolen[cpu] = stolen.get(cpu, 0) + ns

    def stolen(self, cpu: int) -> int:
        """Virtual ns that interrupts took from a CPU since the last time it asked."""
        return self._stolen.pop(cpu, 0) if self._stolen else 0

    def section(self, label: str, name: str) -> Section:
        """The short spinlock with this label; `name` is its class."""
        found = self.sections.get(label)
        if found is None:
            found = self.sections[label] = Section(self, name)
        return found

    def statistics(self) -> list[LockStatistics]:
        """Frozen counters of the short spinlocks, by class."""
        return [section.cls.statistics() for section in self.sections.values()]


class Section:
    """A spinlock around work of known length in which no other task can see anything."""

    __slots__ = ("_cpus", "_free_at", "_line", "cls")

    def __init__(self, cpus: Cpus, name: str) -> None:
        self._cpus = cpus
        self._free_at = 0
        self._line = -1
        self.cls = LockClass(name)

    async def run(self, t: Task, ns: int, caller: str) -> None:
        """Take the lock, work for `ns`, release it; `caller` is the kernel function, for perf's table."""
        cpus = self._cpus
        now, cpu = t.engine.now, t.cpu
        counter = self.cls.write
        counter.acquisitions += 1
        if self._free_at > now:
            begin = self._free_at + cpus.handover(self._line, cpu)
            counter.waited(begin - now)
            if cpus.contended is not None:
                cpus.contended("spinlock", caller, begin - now)
        else:
            begin = now + cpus.book(f"{self.cls.name}", cpus.distance(self._line, cpu))
        self._line = cpu
        self._free_at = end = begin + cpus.costs.spinlock + ns
        counter.held(end - begin)
        await t.spend(end - now)
