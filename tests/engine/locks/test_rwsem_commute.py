"""Steps that say they only read may be swapped: the claim that partial-order reduction rests on."""

from __future__ import annotations

from contextlib import suppress
from itertools import combinations
from typing import TYPE_CHECKING, Any

import pytest
from tests.engine.locks.lab import Cut, Dfs, World, drive, snapshot

from gmemsim.engine.answers import candidate
from gmemsim.engine.engine import Engine
from gmemsim.engine.errors import Deadlock
from gmemsim.engine.locks.rwsem import RwSem

if TYPE_CHECKING:
    from gmemsim.engine.task import Task


class _Enough(Exception):
    pass


class Collector(Dfs):
    """A search that keeps the way to every new state."""

    def __init__(self) -> None:
        super().__init__()
        self.states: list[list[int]] = []

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        fresh = self.position == len(self.digits)
        answer = super().pick(runnable, current)
        if fresh:
            self.states.append([digit for digit, _ in self.digits[: self.position - 1]])
        return answer


class Path:
    """Repeat the choices that lead to a state, and stop there."""

    def __init__(self, digits: list[int]) -> None:
        self.digits = digits
        self.position = 0

    def begin(self, engine: Engine) -> bool:
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        if self.position == len(self.digits):
            raise _Enough
        return candidate(runnable, current, self.draw(runnable[0], "sched", len(runnable)))

    def draw(self, task: Task, label: str, bound: int) -> int:
        if self.position == len(self.digits):
            return 0
        self.position += 1
        return self.digits[self.position - 1]


def play(programs: list[str], strategy: Any) -> World:
    """Run `programs` until they end or the strategy has had enough; the world stays open."""
    engine = Engine(strategy)
    world = World(engine, RwSem("x"))
    for name, program in zip("abcd", programs, strict=False):
        engine.spawn(name, world.task, program)
    if isinstance(strategy, Dfs):
        strategy.world = world
    with suppress(Cut, Deadlock, _Enough):
        drive(engine, lambda task: None)
    return world


def close(world: World) -> None:
    for task in world.engine.tasks:
        task.handle.close()


def after(programs: list[str], digits: list[int], order: tuple[str, ...]) -> Any:
    """The state once the tasks in `order` have taken one more step each."""
    world = play(programs, Path(digits))
    tasks = {task.name: task for task in world.engine.tasks}
    for name in order:
        world.engine.current = task = tasks[name]
        try:
            task.send(None)
        except StopIteration as stop:
            world.engine.finish(task, stop.value)
    state = snapshot(world)
    close(world)
    return state


@pytest.mark.parametrize("text", ["rr rt w", "r r d", "n r w", "k r w !", "t rr w", "r t r w"])
def test_steps_that_only_read_commute(text: str) -> None:
    programs = text.split()
    search = Collector()
    while search.begin(Engine()):
        close(play(programs, search))
    swapped = 0
    for digits in search.states:
        world = play(programs, Path(digits))
        names = [t.name for t in world.engine.runnable if t.pending.obj == "x" and t.pending.mode == "r"]
        close(world)
        for first, second in combinations(names, 2):
            there, back = (after(programs, digits, order) for order in ((first, second), (second, first)))
            assert there == back, (digits, first, second)
            swapped += 1
    assert swapped > 5
