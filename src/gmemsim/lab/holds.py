"""Holds tasks at the places of a plan while a boot runs, through QEMU's debugger stub.

Before a call a task is put to sleep. In a kernel function its CPU stands still, and every task has a CPU of its own: so
nothing else is held but what this CPU would do, of which others may be in need (an answer to an interrupt, work that is
queued on every CPU).
"""

from __future__ import annotations

from collections import Counter
from threading import Event, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from .errors import LabError
from .gdbstub import Stub
from .plan import Director, Place, Plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .machine import Boot

#: Seconds in which a block that ends with a wait is taken to have come to it, and in which any other has to end.
_WAIT: Final = 1.5
_LATE: Final = 3.0
#: Seconds between two looks whether it is over.
_LOOK: Final = 0.5


class Holder:
    """Follows a plan in each round of a boot.

    Args:
        plans: of which the one is followed to which this kernel can be held best.

    Attributes:
        plan: that one, once the kernel has said what functions it has.
        missing: functions at which its blocks should end, that are none of their own there or were not come by.
        reached: blocks of each round that ended where they should, and how many there were.
        followed: how often each plan was.
        error: why it was given up.
    """

    def __init__(self, tasks: Sequence[str], plans: Sequence[Plan]) -> None:
        self.tasks = tuple(tasks)
        self.plans = tuple(plans)
        self.plan = Plan(())
        self.missing: list[str] = []
        self.reached: list[tuple[int, int]] = []
        self.followed = Counter(dict.fromkeys(range(len(plans)), 0))
        self.error = ""
        self._addresses: dict[int, str] = {}
        self._ends: dict[int, int] = {}
        self._broken: set[int] = set()
        #: Functions that a task did not come by where it should have.
        self._unmet: set[str] = set()
        self._thread: Thread | None = None
        self._over = Event()

    @property
    def names(self) -> str:
        """Functions to look for in the guest, a line each."""
        functions = (name for plan in self.plans for block in plan.blocks for name in block.until.functions)
        names = {part for name in functions for part in name.split("<")}
        return "".join(f"{name}\n" for name in sorted(names)) or "none\n"

    def line(self, boot: Boot, found: dict[str, Any]) -> None:
        """A line of the runner: addresses, and after the last the holding begins."""
        if found["kind"] == "place":
            self._addresses.setdefault(found["address"], found["name"])
            self._ends[found["address"]] = found["end"]
        elif found["kind"] == "places":
            self._choose()
            self._thread = Thread(target=self._run, args=(boot, found["gate"]), daemon=True)
            self._thread.start()

    def _choose(self) -> None:
        """The plan that was followed least so far, and of these the one that can be followed best."""
        plain = set(self._addresses.values())
        functions = {name for plan in self.plans for block in plan.blocks for name in block.until.functions}
        known = {name for name in functions if plain.issuperset(name.split("<"))} - self._unmet
        plans = {number: plan.on(known) for number, plan in enumerate(self.plans)}
        number = min(plans, key=lambda number: (self.followed[number], plans[number].worth))
        self.plan = plans[number]
        self.followed[number] += 1
        wanted = dict.fromkeys(
            name for block in self.plans[number].blocks for name in block.until.functions[:1]
        )
        self.missing = [name for name in wanted if name not in known]

    def _break(self, stub: Stub) -> None:
        """Breakpoints at the functions of the plan, as far as there are none."""
        wanted = {
            block.until.functions[0].partition("<")[0]
            for block in self.plan.blocks
            if block.until.kind == "entry"
        }
        for address, name in self._addresses.items():
            if name in wanted and address not in self._broken:
                stub.break_at(address)
                self._broken.add(address)

    def end(self) -> None:
        """The boot is about to end."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(5)

    def _run(self, boot: Boot, gate: int) -> None:
        try:
            stub = Stub(boot.debugger, boot.machine.cpus)
        except LabError as error:
            self.error = str(error)
            return
        director = Director(self.tasks, self.plan.blocks)
        try:
            stub.break_at(gate)
            self._break(stub)
            self._follow(stub, director, gate, boot.machine.cpus)
        except LabError as error:
            if not self._over.is_set() and "the machine ended" not in str(error):
                self.error = str(error)
        finally:
            stub.close()

    def _follow(self, stub: Stub, director: Director, gate: int, cpus: int) -> None:
        # CPU of a task that is held at a kernel function.
        held: dict[int, str] = {}
        stub.go()
        block, since = (0, 0), monotonic()
        while not self._over.is_set():
            if block != (len(director.rounds), director.at):
                block, since = (len(director.rounds), director.at), monotonic()
            left = since + (_WAIT if director.waits else _LATE) - monotonic()
            stop = stub.wait(max(0.0, min(left, _LOOK)) if director.running else _LOOK)
            late = director.running and since + (_WAIT if director.waits else _LATE) <= monotonic()
            if stop is None:
                if not late:
                    continue
                stop = stub.interrupt()
            if stop.trap and stop.cpu not in held:
                task, place = self._look(stub, stop.cpu, gate, cpus)
                if task is not None and place is not None:
                    director.arrive(task, place)
                if task is None or place is None or director.may_go(task):
                    stub.step(stop.cpu)
                elif place.kind == "call":
                    # It sleeps, and asks again.
                    stub.refuse(stop.cpu)
                    stub.step(stop.cpu)
                else:
                    held[stop.cpu] = task
            if late and block == (len(director.rounds), director.at):
                director.give_up()
            if len(director.rounds) > len(self.reached) and not director.running:
                # Another schedule the next time, and none with a function that this kernel does not come by there.
                new = director.rounds[len(self.reached) :]
                self.reached += [(reached, len(director.blocks)) for reached in new]
                self._unmet |= director.missed
                self._choose()
                self._break(stub)
                director.adopt(self.plan.blocks)
            for cpu, task in list(held.items()):
                if director.may_go(task):
                    del held[cpu]
                    stub.step(cpu)
            stub.go(held)

    def _look(self, stub: Stub, cpu: int, gate: int, cpus: int) -> tuple[str | None, Place | None]:
        """Who is on this CPU, and at which place."""
        at, first, second = stub.where(cpu)
        # rounds.c: one CPU a task, the first CPU last.
        number = (cpu - 1) % cpus
        task = self.tasks[number] if number < len(self.tasks) else None
        if at == gate:
            return (self.tasks[first] if first < len(self.tasks) else None), Place("call", second)
        name = self._addresses.get(at)
        if name is None or task is None:
            return task, None
        if any(block.until.functions[:1] == (name,) for block in self.plan.blocks):
            return task, Place("entry", functions=(name,))
        back = stub.caller(cpu)
        callers = (self._addresses[begin] for begin, end in self._ends.items() if begin <= back < end)
        return task, Place("entry", functions=(f"{name}<{next(callers, '')}",))
