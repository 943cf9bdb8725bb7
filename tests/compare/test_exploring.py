"""Logs of exploring runs: equal exactly if the explorer takes their schedules for one, over all library scenarios."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.audit.events import Access
from gmemsim.compare.diff import diff
from gmemsim.engine.op import Op, dependent
from gmemsim.explore.accesses import record_accesses
from gmemsim.explore.program import ScenarioProgram
from gmemsim.patches.registry import load_patch
from gmemsim.scenarios.catalogue import find, names
from gmemsim.scenarios.errors import ScenarioError

if TYPE_CHECKING:
    from gmemsim.audit.base import Event
    from gmemsim.engine.engine import Engine
    from gmemsim.engine.task import Task

Log = list[tuple[str, "Event"]]
#: The first that can run it.
VERSIONS = ("v3", "inplace", "hugepage", "mainline-7.3")
STEPS = 3_000


class Order:
    """Lets tasks go in a given order as long as that is possible, and draws at random, task by task the same."""

    def __init__(self, order: list[str], seed: int) -> None:
        self._order = order
        self._seed = seed
        self._draws: dict[str, random.Random] = {}
        self._random = random.Random(seed)
        self._at = 0

    def begin(self, engine: Engine) -> bool:
        self._at = 0
        engine.watch_steps(self._step)
        return True

    def _step(self, task: Task) -> None:
        self._at += 1

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        candidates = [task for task in runnable if task is not current]
        if current is not None:
            candidates.insert(0, current)
        wanted = self._order[self._at] if self._at < len(self._order) else ""
        chosen = next((task for task in candidates if task.name == wanted), None)
        if chosen is None:
            chosen = self._random.choice(candidates)
        return chosen

    def draw(self, task: Task, label: str, bound: int) -> int:
        return self._draws.setdefault(task.name, random.Random(f"{self._seed} {task.name}")).randrange(bound)


class Taken:
    """A run: its log, and for each step the task and what it touched."""

    def __init__(self, program: ScenarioProgram, order: list[str], seed: int) -> None:
        self.log: Log = []
        self.order: list[str] = []
        self.touched: list[set[Op]] = []
        strategy = Order(order, seed)
        run = program.build(strategy, rec=self._rec, max_steps=STEPS)
        strategy.begin(run.engine)
        run.engine.watch_steps(self._step)
        record_accesses(run.engine, self._rec)
        self.failed = False
        try:
            run.run()
        except Exception:
            self.failed = True

    def _step(self, task: Task) -> None:
        self.order.append(task.name)
        self.touched.append(set())

    def _rec(self, task: Any, event: Event) -> None:
        if task.name == "setup":
            return
        self.log.append((task.name, event))
        if isinstance(event, Access):
            high = 1 << 62 if event.hi < 0 else event.hi
            self.touched[-1].add(Op("step", event.obj, event.lo, high, "r" if event.mode == "r" else "w"))

    def depends(self, one: int, other: int) -> bool:
        return self.order[one] == self.order[other] or any(
            dependent(a, b) for a in self.touched[one] for b in self.touched[other]
        )

    def swapped(self, rng: random.Random) -> list[str]:
        """An equivalent order, by many swaps of independent neighbours."""
        places = list(range(len(self.order)))
        for _ in range(4):
            for at in range(len(places) - 1):
                if rng.random() < 0.6 and not self.depends(places[at], places[at + 1]):
                    places[at], places[at + 1] = places[at + 1], places[at]
        return [self.order[place] for place in places]

    def one_race_the_other_way(self, rng: random.Random) -> list[str] | None:
        """An order with two dependent neighbours exchanged."""
        races = [
            at
            for at in range(len(self.order) - 1)
            if self.order[at] != self.order[at + 1] and self.depends(at, at + 1)
        ]
        if not races:
            return None
        at = rng.choice(races)
        return [*self.order[:at], self.order[at + 1], self.order[at], *self.order[at + 2 :]]


def equivalent(one: Taken, other: Taken) -> bool:
    """By the definition: the same steps task by task, and all dependent ones in the same order."""
    where: list[dict[tuple[str, int], int]] = []
    for run in (one, other):
        count: dict[str, int] = {}
        found = {}
        for place, task in enumerate(run.order):
            number = count[task] = count.get(task, 0) + 1
            found[task, number] = place
        where.append(found)
    if where[0].keys() != where[1].keys():
        return False
    places = [where[1][key] for key in sorted(where[0], key=where[0].__getitem__)]
    if any(one.touched[at] != other.touched[place] for at, place in enumerate(places)):
        return False
    return not any(places[a] > places[b] and one.depends(a, b) for b in range(len(places)) for a in range(b))


def programs(name: str) -> list[ScenarioProgram]:
    scenario = find(name)
    found = []
    for arch in scenario.head.vm_types:
        for version in VERSIONS:
            program = ScenarioProgram(
                scenario=scenario, patch=load_patch(version), arch=arch, rules=frozenset()
            )
            try:
                program.build(Order([], 0))
            except ScenarioError:
                continue
            found.append(program)
            break
    return found


@pytest.mark.parametrize("name", names())
def test_logs_are_equal_exactly_if_the_schedules_are(name: str) -> None:
    found = programs(name)
    assert found
    compared = 0
    for program in found:
        for seed in range(2):
            rng = random.Random(f"{name} {program.arch} {seed}")
            run = Taken(program, [], seed)
            if run.failed or len(run.order) > 700:
                continue
            for order in (run.swapped(rng), run.one_race_the_other_way(rng)):
                if order is None:
                    continue
                other = Taken(program, order, seed)
                if not other.failed:
                    compared += 1
                    assert diff(run.log, other.log).equal is equivalent(run, other)
            swapped = Taken(program, run.swapped(rng), seed)
            assert swapped.failed or equivalent(run, swapped), "swaps of independent steps make another class"
    assert compared
