"""Do steps that claim to be independent commute? Swap two neighbours of a random run and compare states.

The check behind every claim of partial-order reduction: a step that touches more than it says shows up as two
orders of "independent" steps that lead to different states.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import attrs

from gmemsim.engine.errors import EngineError, Pruned
from gmemsim.engine.op import Footprint, footprint
from gmemsim.explore.state import StateDigest
from gmemsim.explore.strategies.dpor_order import conflict

if TYPE_CHECKING:
    from gmemsim.engine.engine import Engine
    from gmemsim.engine.op import Op
    from gmemsim.engine.task import Task
    from gmemsim.explore.runs import Program

__all__ = ["Broken", "Swapped", "swap_neighbours"]


@attrs.define
class Event:
    """One step of a run: whose, what it announced and touched, the answers of its draws, who could run before it."""

    task: int
    name: str
    op: Op
    draws: list[int]
    enabled: frozenset[int]
    footprint: Footprint = ()


@attrs.frozen
class Swapped:
    """Two steps that did not commute."""

    first: Event
    second: Event
    before: list[str]
    after: list[str]

    def __str__(self) -> str:
        pairs = [(a, b) for a, b in zip(self.before, self.after, strict=False) if a != b]
        where = next((i for i, (a, b) in enumerate(zip(self.before, self.after, strict=False)) if a != b), -1)
        context = self.before[max(0, where - 12) : where + 3]
        return (
            f"{self.first.name}: {[*self.first.footprint]}\n{self.second.name}: {[*self.second.footprint]}\n"
            f"{len(pairs)} differences, first {pairs[:1]} after {context}"
        )


class Broken(Exception):
    """A schedule could not be followed: a step enabled or disabled another that it claims nothing about."""


class Walk:
    """Follow a schedule as far as it goes, then go on at random; or stop there and take the digest."""

    name = "walk"
    complete = False
    bound = ""

    def __init__(self, seed: int, plan: list[tuple[int, list[int]]], stop: bool) -> None:
        self.random = Random(seed)
        self.plan = plan
        self.stop = stop
        self.events: list[Event] = []
        self.text: list[str] | None = None
        self.engine: Any = None
        self.stay = self.random.random()

    def begin(self, engine: Engine) -> bool:
        self.engine = engine
        engine.ask_touched([])
        engine.watch_steps(self.look)
        return True

    def settle(self) -> None:
        if self.events:
            event = self.events[-1]
            event.footprint = footprint(event.op, self.engine.touched)
        self.engine.touched.clear()

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        if len(self.events) < len(self.plan):
            wanted = self.plan[len(self.events)][0]
            task = next((task for task in runnable if task.ident == wanted), None)
            if task is None:
                raise Broken
            return task
        if current is not None and self.random.random() < self.stay:
            return current
        return runnable[self.random.randrange(len(runnable))]

    def draw(self, task: Task, label: str, bound: int) -> int:
        event = self.events[-1]
        number = len(event.draws)
        here = len(self.events) - 1
        if here < len(self.plan):
            known = self.plan[here][1]
            value = known[number] if number < len(known) else 0
        else:
            value = self.random.randrange(bound)
        event.draws.append(value)
        return value

    def look(self, task: Task) -> None:
        self.settle()
        here = len(self.events)
        if self.stop and here == len(self.plan):
            self.text = StateDigest(ledger=False).text(self.engine)
            raise Pruned
        if here < len(self.plan) and self.plan[here][0] != task.ident:
            raise Broken
        enabled = frozenset(other.ident for other in task.engine.runnable)
        self.events.append(Event(task.ident, task.name, task.pending, [], enabled))


def run(program: Program, walk: Walk) -> bool:
    """Run; whether it came to its end without an error."""
    made = program.build(walk, max_steps=2_000)
    walk.begin(made.engine)
    try:
        made.run()
    except (Pruned, EngineError):
        walk.settle()
        return False
    walk.settle()
    return True


def swap_neighbours(program: Program, seed: int, swaps: int) -> tuple[int, list[Swapped]]:
    """One random run, and up to `swaps` pairs of it swapped: how many were compared, and what did not commute."""
    walk = Walk(seed, [], False)
    run(program, walk)
    events = walk.events
    pairs = [
        n
        for n in range(len(events) - 2)
        if events[n].task != events[n + 1].task
        and events[n + 1].task in events[n].enabled
        and not conflict(events[n].footprint, events[n + 1].footprint)
    ]
    walk.random.shuffle(pairs)
    wrong: list[Swapped] = []
    for n in pairs[:swaps]:
        texts = []
        plan = [(event.task, event.draws) for event in events[: n + 2]]
        for order in (plan, [*plan[:n], plan[n + 1], plan[n]]):
            again = Walk(0, order, True)
            try:
                run(program, again)
            except Broken:
                again.text = None
            texts.append(again.text or [])
        if texts[0] != texts[1]:
            wrong.append(Swapped(events[n], events[n + 1], texts[0], texts[1]))
    return min(len(pairs), swaps), wrong
