"""Run one point: N threads at one kind of work on one guest_memfd, in virtual time.

Everything before the measured part (creation, first touches, the zap) runs on engines of its own, on the same clock,
and is taken off the lock statistics. Only the patch differs between two points with equal parameters.
"""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING

from ..arch.cost_file import load_costs
from .machine import StormMachine
from .point import check
from .result import Result, lock_figures
from .steady import Units, window

if TYPE_CHECKING:
    from ..actors.vm import Vcpu
    from ..arch.costs import CostTable
    from ..engine.task import Task
    from .machine import Phase
    from .point import Point
    from .trace import TraceBook


class _Storm:
    """The measured part, on a machine that is set up for it."""

    def __init__(self, machine: StormMachine) -> None:
        self.machine = machine
        self.units = Units()
        self.running = 0
        self.operations = 0
        self.first_done = 0
        self.end = 0

    async def thread(self, t: Task, vcpu: Vcpu, pages: range) -> None:
        """Do the work folio by folio, and note how long each took."""
        engine, machine = t.engine, self.machine
        point, work = machine.point, machine.storm.work
        draw = Random(f"{point.seed}:{vcpu.label}") if point.seed else None
        if draw is not None and point.spread_ns:
            await t.spend(draw.randrange(point.spread_ns))
        due = engine.now
        for page in pages:
            if point.load:
                # Each thread has its share of what is offered.
                due += self.drawn(draw, round(1e6 * point.vcpus / point.load))
                await self.guest(t, due - engine.now)
            else:
                pause = self.drawn(draw, point.think_ns) if point.think_ns else 0
                if draw is not None and point.jitter_ns:
                    pause += round(draw.expovariate(1 / point.jitter_ns))
                await self.guest(t, pause)
                due = engine.now
            attempts = await work(machine, t, vcpu, page)
            if attempts:
                self.units.add(due, engine.now, attempts)
        self.running -= 1
        self.first_done = self.first_done or engine.now
        self.end = max(self.end, engine.now)

    @staticmethod
    def drawn(draw: Random | None, mean: int) -> int:
        """A time with this mean: itself in lock-step, else exponentially distributed."""
        return mean if draw is None else round(draw.expovariate(1 / mean))

    async def guest(self, t: Task, ns: int) -> None:
        """The thread's own time between two units of work: of a vCPU, in the guest."""
        if ns <= 0:
            return
        cpus = self.machine.cpus
        if cpus is None or cpus.guests is None or not self.machine.storm.guest:
            await t.spend(ns)
            return
        cpus.guests.add(t.cpu)
        await t.spend(ns)
        cpus.guests.discard(t.cpu)
        stolen = cpus.stolen(t.cpu)
        if stolen:
            await t.spend(stolen)

    async def background(self, t: Task) -> None:
        """Work on the chunk as long as somebody storms."""
        machine = self.machine
        vcpu = machine.vm.vcpus[-1]
        while self.running:
            if machine.point.background == "punch":
                await machine.punch(t, machine.chunk)
            else:
                await machine.convert(t, machine.chunk, False)
                await machine.convert(t, machine.chunk, True)
            self.operations += 1
            await machine.warm(t, vcpu, machine.chunk)
            await t.sleep(machine.point.interval_ns)

    def measure(self) -> Result:
        """Set up, storm, sum up."""
        machine = self.machine
        point, storm, vcpus = machine.point, machine.storm, machine.vm.vcpus
        machine.phase(("setup", machine.create))
        if not storm.launches:
            machine.phase(("setup", partial(machine.warm, vcpu=vcpus[-1], pages=machine.chunk)))
        if storm.touched:
            for vcpu, pages in zip(vcpus, machine.slices, strict=False):
                machine.phase((vcpu.label, partial(machine.warm, vcpu=vcpu, pages=pages)))
            machine.phase(("setup", partial(storm.before, machine)))
        machine.open_books()
        before, spins, line = machine.acquisitions(), machine.spins(), machine.line_ns
        start = machine.now
        self.running = point.vcpus
        tasks: list[tuple[str, Phase]] = [
            (vcpu.label, partial(self.thread, vcpu=vcpu, pages=pages))
            for vcpu, pages in zip(vcpus, machine.slices, strict=False)
        ]
        if point.background != "none":
            tasks.append((point.background, self.background))
        machine.phase(*tasks, count=True)
        return Result.of(
            point,
            window=window(self.units, start, self.first_done, self.end, point.warmup),
            span_ns=self.end - start,
            waste=machine.wasted.waste(),
            background_operations=self.operations,
            locks=lock_figures(before, machine.acquisitions(), machine.books),
            spins={
                name: ns - spins.get(name, 0)
                for name, ns in machine.spins().items()
                if ns > spins.get(name, 0)
            },
            line_ns=machine.line_ns - line,
            sites=machine.books.sites(),
            perf=machine.contended.rows(),
        )


def run(point: Point, costs: CostTable | None = None, trace: TraceBook | None = None) -> Result:
    """Run one point, with its own cost table unless another is given; `trace` gets the events of its measured part.

    Raises:
        PointError, PatchError: as `check`.
    """
    check(point)
    machine = StormMachine(point, load_costs(point.costs).table(point.arch) if costs is None else costs)
    machine.trace = trace
    return measure(machine)


def measure(machine: StormMachine) -> Result:
    """Run the point of a machine whose parts somebody changed."""
    return _Storm(machine).measure()
