"""The small model of vCPUs, faults and conversions, explored by us and by Spin: states, time, verdict.

    python bench/explore_spin.py [--sizes 2,1,1 2,2,1 ...] [--seconds N]

Needs `spin` and a C compiler (Debian: `apt-get install spin gcc`). Spin's model is bench/spin/gmem.pml; ours is
`small_model` below, step for step the same. Spin generates C, compiles it and runs it: all three are shown, since a
person waits for all three. Spin reduces by partial order and stores states; we run our partial-order search, which
stores none, and our state-caching search, which goes back to the states of its path and remembers a digest of all.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

from gmemsim.engine.cell import Cell
from gmemsim.engine.engine import Engine
from gmemsim.engine.op import Op
from gmemsim.engine.task import Task
from gmemsim.explore.program import TaskProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy

MODEL = Path(__file__).parent / "spin" / "gmem.pml"
PAGES = 2


class Size(NamedTuple):
    """vCPUs, faults of each, conversions."""

    vcpus: int
    faults: int
    conversions: int


class Gate:
    """A condition that tasks wait for: Promela's blocking guard. Whoever changes what it looks at calls `changed`."""

    def __init__(self, label: str) -> None:
        self.label = label
        self._waiting: list[Task] = []
        self._wait = Op("wait", label)

    def holders(self) -> Iterator[str]:
        return iter(())

    async def until(self, t: Task, op: Op, condition: Callable[[], bool]) -> None:
        """One step, `op`, taken when `condition` holds."""
        await t.point(op)
        while not condition():
            self._waiting.append(t)
            await t.park(self, op)

    def changed(self, t: Task) -> None:
        waiting, self._waiting = self._waiting, []
        for task in waiting:
            t.engine.wake(task)


class World:
    """What the Promela model has in its globals."""

    def __init__(self) -> None:
        self.readers = 0
        self.writer = False
        self.in_progress = False
        self.seq = 0
        self.folio = [False] * PAGES
        self.ready = [False] * PAGES
        self.private = [Cell(f"private{page}", False) for page in range(PAGES)]
        self.mapped = [0] * PAGES
        self.kind = [False] * PAGES
        self.lock = Gate("lock")
        self.folio_gate = [Gate(f"folio{page}") for page in range(PAGES)]
        self.mmu = Gate("mmu")
        self.running = 0

    def finished(self) -> None:
        """The last task to end looks at what is left: `init` behind its wait."""
        self.running -= 1
        if self.running:
            return
        for page in range(PAGES):
            stale = self.mapped[page] and self.kind[page] != self.private[page].value
            assert not stale, "stale mapping"


SHARED, EXCLUSIVE = Op("acquire", "lock", mode="r"), Op("acquire", "lock")
RELEASE = Op("release", "lock")
DONE = Op("rmw", "done")
SEQ, MMU = Op("load", "mmu", mode="r"), Op("rmw", "mmu")


async def vcpu(t: Task, world: World, ident: int, size: Size, bug: str) -> None:
    """`proctype vcpu`."""
    for _ in range(size.faults):
        page = t.draw("page", PAGES)
        folio = Op("rmw", f"folio{page}")
        while True:
            await t.point(SEQ)
            seq = world.seq
            private = await world.private[page].load(t)
            await world.lock.until(t, SHARED, lambda: not world.writer)
            world.readers += 1
            await world.folio_gate[page].until(t, folio, lambda page=page: not world.folio[page])
            world.folio[page] = True
            await t.point(Op("rmw", f"ready{page}"))
            if private and not world.ready[page]:
                world.ready[page] = True
            await t.point(folio)
            world.folio[page] = False
            world.folio_gate[page].changed(t)
            await t.point(RELEASE)
            world.readers -= 1
            world.lock.changed(t)
            await t.point(MMU)
            if bug == "NO_RETRY" or not (world.in_progress or seq != world.seq):
                assert private == world.private[page].value, "mapped with a stale kind"
                assert not private or world.ready[page], "mapped private and not ready"
                world.mapped[page] |= 1 << ident
                world.kind[page] = private
                break
            await world.mmu.until(t, SEQ, lambda: not world.in_progress)
    await t.point(DONE)
    world.finished()


async def converter(t: Task, world: World, size: Size, bug: str) -> None:
    """`proctype converter`."""
    for _ in range(size.conversions):
        page = t.draw("page", PAGES)
        await world.lock.until(t, EXCLUSIVE, lambda: not world.writer and not world.readers)
        world.writer = True
        await t.point(MMU)
        world.in_progress = True
        if bug != "NO_UNMAP":
            world.mapped[page] = 0
        cell = world.private[page]
        await cell.store(t, not cell.value)
        await t.point(Op("rmw", f"ready{page}"))
        if not cell.value:
            world.ready[page] = False
        await t.point(MMU)
        world.seq += 1
        world.in_progress = False
        world.mmu.changed(t)
        await t.point(RELEASE)
        world.writer = False
        world.lock.changed(t)
    await t.point(DONE)
    world.finished()


def small_model(size: Size, bug: str) -> TaskProgram:
    """The program."""

    def setup(engine: Engine) -> Callable[[], object]:
        world = World()
        for ident in range(size.vcpus):
            engine.spawn(f"vcpu{ident}", vcpu, world, ident, size, bug)
        engine.spawn("converter", converter, world, size, bug)
        world.running = size.vcpus + 1

        def outcome() -> object:
            kinds = [cell.value for cell in world.private]
            return kinds, world.ready, world.mapped, world.kind, world.seq

        return outcome

    return TaskProgram(f"small model {size}", setup)


class Ran(NamedTuple):
    """What one explorer did."""

    verdict: str
    states: str
    seconds: float
    more: str = ""


def ours(strategy: str, size: Size, bug: str, seconds: float) -> Ran:
    """One of our searches."""
    chosen = make_strategy(strategy, 0)
    result = search(
        small_model(size, bug), chosen, Limits(schedules=None, seconds=seconds), collect_outcomes=True
    )
    states = getattr(chosen, "states", None)
    counted = f"{states:,} states" if isinstance(states, int) else f"{result.schedules:,} schedules"
    if result.found:
        return Ran("violation", counted, result.seconds, result.found[0].failure.summary)
    if not result.complete:
        return Ran("no end", counted, result.seconds)
    return Ran("none", counted, result.seconds, f"{len(result.outcomes)} outcomes")


def spin(size: Size, bug: str, seconds: float) -> Ran:
    """Generate, compile, run; `seconds` limits the run."""
    defines = [
        f"-DNV={size.vcpus}",
        f"-DF={size.faults}",
        f"-DC={size.conversions}",
        *([f"-D{bug}"] if bug else []),
    ]
    with tempfile.TemporaryDirectory() as folder:
        began = perf_counter()
        subprocess.run(["spin", *defines, "-a", str(MODEL)], cwd=folder, check=True, capture_output=True)
        subprocess.run(
            ["cc", "-O2", "-DSAFETY", "-DMEMLIM=4096", "-w", "-o", "pan", "pan.c"], cwd=folder, check=True
        )
        built = perf_counter() - began
        began = perf_counter()
        try:
            done = subprocess.run(
                ["./pan", "-m1000000"],
                cwd=folder,
                check=False,
                capture_output=True,
                text=True,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired:
            return Ran("no end", "", seconds, f"built in {built:.2f} s")
        ran = perf_counter() - began
    states = re.search(r"([\d.e+]+) states, stored", done.stdout)
    errors = re.search(r"errors: (\d+)", done.stdout)
    if states is None or errors is None:
        return Ran("no end", "", ran, done.stdout.strip().splitlines()[0] if done.stdout else "")
    verdict = "violation" if int(errors[1]) else "none"
    return Ran(verdict, f"{float(states[1]):,.0f} states", ran, f"built in {built:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="*", default=["2,1,1", "2,2,1", "2,2,2", "3,1,1"])
    parser.add_argument("--seconds", type=float, default=60, help="limit of each search")
    options = parser.parse_args()
    if shutil.which("spin") is None or shutil.which("cc") is None:
        raise SystemExit("needs spin and a C compiler (Debian: spin, gcc)")
    print("| vCPUs, faults, conversions | bug | explorer | verdict | covered | seconds | x Spin's run | |")
    print("|---|---|---|---|--:|--:|--:|---|")
    for text in options.sizes:
        size = Size(*(int(part) for part in text.split(",")))
        for bug in ("", "NO_RETRY", "NO_UNMAP"):
            reference = spin(size, bug, options.seconds)
            rows = {"Spin": reference}
            for strategy in ("dpor", "stateful"):
                rows[f"gmemsim {strategy}"] = ours(strategy, size, bug, options.seconds)
            for name, ran in rows.items():
                ratio = f"{ran.seconds / reference.seconds:,.1f}"
                print(
                    f"| {text} | {bug or 'none'} | {name} | {ran.verdict} | {ran.states} | {ran.seconds:.3f} "
                    f"| {ratio} | {ran.more} |",
                    flush=True,
                )
            verdicts = {ran.verdict for ran in rows.values()} - {"no end"}
            if len(verdicts) > 1:
                raise SystemExit(f"{text} {bug}: the explorers disagree: {rows}")


if __name__ == "__main__":
    main()
