"""Helpers of the arch tests: run a few tasks on the bare runtime under a chosen schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from gmemsim.engine import bare
from gmemsim.engine.answers import candidate
from gmemsim.engine.engine import Engine
from gmemsim.engine.strategy import RandomStrategy

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from gmemsim.engine.task import Task

    Body = Callable[[Task], Coroutine[Any, Any, Any]]


class FakeVm(NamedTuple):
    """All that an arch may know of a VM."""

    label: str
    ident: int


class Outcome(NamedTuple):
    """What a run left behind: results in the order of the tasks, audit events, virtual ns."""

    results: list[Any]
    events: list[Any]
    now: int

    def ops(self, name: str) -> list[int]:
        """Codes of the hardware ops of that name, in order."""
        return [event.code for event in self.events if getattr(event, "op", "") == name]


class Odometer:
    """Depth-first search over all draws: `begin` moves to the next path, False when there is none."""

    def __init__(self) -> None:
        self.path: list[tuple[int, int]] = []
        self.at = 0
        self.first = True

    def begin(self, engine: Engine) -> bool:
        self.at = 0
        if self.first:
            self.first = False
            return True
        while self.path:
            value, bound = self.path.pop()
            if value + 1 < bound:
                self.path.append((value + 1, bound))
                return True
        return False

    def _answer(self, bound: int) -> int:
        if self.at == len(self.path):
            self.path.append((0, bound))
        value = self.path[self.at][0]
        self.at += 1
        return value

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        return candidate(runnable, current, self._answer(len(runnable)))

    def draw(self, task: Task, label: str, bound: int) -> int:
        return self._answer(bound)


class Runner:
    """Runs task bodies; every method makes a fresh engine."""

    def __call__(self, *bodies: Body, faults: dict[str, int] | None = None, strategy: Any = None) -> Outcome:
        """A timed run, or an exploring one if a strategy is given; task names are t0, t1, …"""
        events: list[Any] = []
        engine = Engine(
            strategy,
            rec=lambda task, event: events.append(event),
            faults=faults,
            max_steps=100_000,
        )
        tasks = [engine.spawn(f"t{number}", body) for number, body in enumerate(bodies)]
        bare.run(engine)
        return Outcome([task.result for task in tasks], events, engine.now)

    def one(self, body: Body, faults: dict[str, int] | None = None) -> Any:
        """The result of a single task, with fault points answered "fires"."""
        return self(body, faults=faults, strategy=_AlwaysFire() if faults else None).results[0]

    def seeds(self, make: Callable[[], tuple[Body, ...]], count: int = 200) -> Iterator[Outcome]:
        """Random schedules of fresh tasks; check the state after each."""
        for seed in range(count):
            yield self(*make(), strategy=RandomStrategy(seed))

    def all(self, make: Callable[[], tuple[Body, ...]], limit: int = 50_000) -> Iterator[Outcome]:
        """Every schedule of fresh tasks, depth first.

        Raises:
            AssertionError: more than `limit` schedules.
        """
        odometer = Odometer()
        done = 0
        while odometer.begin(Engine()):
            assert done < limit, f"more than {limit} schedules"
            done += 1
            yield self(*make(), strategy=odometer)


class _AlwaysFire:
    def begin(self, engine: Engine) -> bool:
        return True

    def pick(self, runnable: list[Task], current: Task | None) -> Task:
        return candidate(runnable, current, 0)

    def draw(self, task: Task, label: str, bound: int) -> int:
        return bound - 1


@pytest.fixture
def run() -> Runner:
    return Runner()


@pytest.fixture
def vm() -> FakeVm:
    return FakeVm("vm0", 0)


@pytest.fixture
def other_vm() -> FakeVm:
    return FakeVm("vm1", 1)
