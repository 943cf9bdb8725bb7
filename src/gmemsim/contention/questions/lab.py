"""Storms with more than one kind of work, for studies whose cases are no points: vCPUs that fault, VMM threads beside.

The threads have consecutive slices of the file and a CPU each: first the vCPUs', then those beside.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any

from ..machine import StormMachine
from ..result import LockFigures, Ranks, lock_figures

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors.kernel import Kernel
    from ...actors.vm import Vcpu
    from ...arch.costs import CostTable
    from ...engine.task import Task
    from ..machine import Phase
    from ..point import Point

    Operation = Callable[[Task, range], Awaitable[object]]

#: Mean pause before each unit of work, and the time within which threads begin, as in `Point`.
_JITTER = 200
_SPREAD = 20_000


class Lab:
    """One machine and what happened on it.

    Attributes:
        latencies: virtual ns of each unit of work of the vCPUs.
        durations: of each operation beside.
    """

    def __init__(
        self,
        point: Point,
        costs: CostTable,
        seed: int,
        wrap: Callable[[type[Kernel]], type[Kernel]] | None = None,
        flags: frozenset[str] = frozenset(),
    ) -> None:
        self.machine = StormMachine(point, costs, wrap)
        self.machine.flags = flags
        self.seed = seed
        self.latencies: list[int] = []
        self.durations: list[int] = []
        self.running = 0
        self.began = self.ended = 0
        self._tasks: list[tuple[str, Phase]] = []
        self.locks: dict[str, LockFigures] = {}
        self.machine.phase(("setup", self.machine.create))

    def touch_all(self) -> None:
        """Every folio is touched and then zapped, as for the storm `refault`; without private memory not zapped."""
        machine = self.machine
        for vcpu, pages in zip(machine.vm.vcpus, machine.slices, strict=False):
            machine.phase((vcpu.label, partial(machine.warm, vcpu=vcpu, pages=pages)))
        if machine.vm.arch.has_private_memory:
            machine.phase(("setup", partial(machine.storm.before, machine)))

    def vcpu(self, number: int) -> None:
        """One that touches its slice."""
        machine = self.machine
        self._tasks.append(
            (
                f"vcpu{number}",
                partial(self._faults, vcpu=machine.vm.vcpus[number], pages=machine.slices[number]),
            )
        )

    def beside(self, number: int, operation: Operation, interval: int, pages: int = 8) -> None:
        """A VMM thread that does something to the first pages of its slice, again and again while vCPUs fault."""
        first = self.machine.slices[number].start
        self._tasks.append(
            (
                f"vcpu{number}",
                partial(
                    self._beside,
                    operation=operation,
                    pages=range(first, first + pages),
                    number=number,
                    interval=interval,
                ),
            )
        )

    def task(self, number: int, body: Phase) -> None:
        """Anything else, on a CPU of its own; the run lasts as long as it does."""
        self._tasks.append((f"vcpu{number}", partial(self._counted, body=body)))

    async def _counted(self, t: Task, body: Phase) -> None:
        await body(t)
        self._done(t)

    def _done(self, t: Task) -> None:
        self.running -= 1
        self.ended = max(self.ended, t.engine.now)

    async def _faults(self, t: Task, vcpu: Vcpu, pages: range) -> None:
        draw = Random(f"{self.seed}:{vcpu.label}")
        await t.spend(draw.randrange(_SPREAD))
        for page in pages:
            await t.spend(round(draw.expovariate(1 / _JITTER)))
            start = t.engine.now
            if await self.machine.touch(t, vcpu, page):
                self.latencies.append(t.engine.now - start)
        self._done(t)

    async def _beside(self, t: Task, operation: Operation, pages: range, number: int, interval: int) -> None:
        draw = Random(f"{self.seed}:beside {number}")
        await t.spend(draw.randrange(_SPREAD))
        while self.running:
            start = t.engine.now
            await operation(t, pages)
            self.durations.append(t.engine.now - start)
            await t.sleep(1 + round(draw.expovariate(1 / interval)))

    async def convert(self, t: Task, pages: range) -> None:
        """There and back."""
        await self.machine.convert(t, pages, False)
        await self.machine.convert(t, pages, True)

    def run(self) -> dict[str, float]:
        """All tasks to their end. Times in virtual ns; `rate`: units a virtual ms; `op_…`: of the work beside."""
        machine = self.machine
        machine.open_books()
        before = machine.acquisitions()
        self.began = self.ended = machine.now
        self.running = sum(body.func != self._beside for _, body in self._tasks if isinstance(body, partial))
        machine.phase(*self._tasks, count=True)
        self.locks = lock_figures(before, machine.acquisitions(), machine.books)
        waste = machine.wasted.waste()
        span = max(self.ended - self.began, 1)
        units, others = Ranks(self.latencies), Ranks(self.durations)
        read, write = (self.locks.get(f"invalidate_lock:{mode}", LockFigures()) for mode in "rw")
        return {
            "span": span,
            "rate": units.count * 1e6 / span,
            "p50": units.rank(50),
            "p99": units.rank(99),
            "max": units.rank(100),
            "retries": waste.all_retries,
            "false_retries": waste.false_retries,
            "op_rate": others.count * 1e6 / span,
            "op_p50": others.rank(50),
            "op_p99": others.rank(99),
            "op_max": others.rank(100),
            "read_waits": read.contentions,
            "read_wait_max": read.wait_max,
            "write_hold_total": write.hold_total,
            "write_hold_max": write.hold_max,
            "write_taken": write.acquisitions,
            "write_wait_max": write.wait_max,
        }


def events_of(machine: StormMachine, *kinds: type) -> list[Any]:
    """Every event of these kinds of the counted phases from now on, in order, in the list that is returned."""
    found: list[Any] = []
    original = machine.record

    def record(t: Task, event: Any) -> None:
        original(t, event)
        if isinstance(event, kinds):
            found.append(event)

    machine.record = record  # type: ignore[method-assign] # this machine's alone
    return found
