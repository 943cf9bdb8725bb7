"""Executions a second: one program, 6 tasks of 20 steps each, explored by us and by three asyncio explorers.

    python bench/explore_peers.py [--rounds N]

Every step is a visible operation of its own (ours: a trap on one shared object; theirs: an await that yields to the
loop), so that a run has 120 scheduling points and each explorer picks at random among the tasks that can run. Ours is
measured with the trace on (every step records an audit event and its choice), with the classes of equivalent
schedules counted as well, and with the trace off (the choices alone: what a replay needs). The peers run at their
defaults. They need Python 3.12: `pip install simloom simloop frontrun`; a peer that is not installed is left out.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
from collections.abc import Callable
from typing import Any

from harness import measure

from gmemsim.audit.events import Lock
from gmemsim.audit.recorder import Recorder
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.op import Op
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.engine.task import Task
from gmemsim.explore.classes import ClassCounter
from gmemsim.explore.program import TaskProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy

TASKS, STEPS = 6, 20
OP = Op("store", "x")
EVENT = Lock("x", "w")


async def _body(t: Task, count: list[int]) -> None:
    rec = t.rec
    for _ in range(STEPS):
        await t.point(OP)
        count[0] += 1
        if rec is not None:
            rec(t, EVENT)


def _setup(engine: Engine) -> Callable[[], object]:
    count = [0]
    for number in range(TASKS):
        engine.spawn(f"t{number}", _body, count)
    return lambda: count[0]


def engine_only(traced: bool, runs: int) -> int:
    """The engine under its random strategy, no search around it."""
    strategy = RandomStrategy(1)
    for _ in range(runs):
        recorder = Recorder() if traced else None
        engine = Engine(strategy, rec=None if recorder is None else recorder.rec)
        read = _setup(engine)
        bare.run(engine)
        assert read() == TASKS * STEPS
        assert recorder is None or len(list(recorder)) == TASKS * STEPS
    return runs


class _Trace:
    """Observer that records every event of every run."""

    def attach(self, run: Any) -> None:
        self.recorder = Recorder()
        run.engine.rec = self.recorder.rec

    def done(self, run: Any, failure: object, *, pruned: bool) -> None:
        assert len(list(self.recorder)) == TASKS * STEPS


def searched(strategy: str, traced: bool, classes: bool, runs: int) -> int:
    """The search as `gmemsim explore` does it."""
    observers: list[Any] = [_Trace()] if traced else []
    if classes:
        observers.append(ClassCounter())
    program = TaskProgram("steps", _setup)
    result = search(program, make_strategy(strategy, 1), Limits(schedules=runs), observers=observers)
    assert result.schedules == runs
    return runs


async def _yields(count: list[int]) -> None:
    for _ in range(STEPS):
        await asyncio.sleep(0)
        count[0] += 1


async def _asyncio_main() -> None:
    count = [0]
    await asyncio.gather(*(_yields(count) for _ in range(TASKS)))
    assert count[0] == TASKS * STEPS


def simloom(runs: int) -> int:
    found = importlib.import_module("simloom").explore(_asyncio_main, runs=runs)
    assert not found.failures
    return runs


def simloop(runs: int) -> int:
    assert importlib.import_module("simloop").explore(_asyncio_main, range(runs)) is None
    return runs


def frontrun(runs: int) -> int:
    """Schedules are drawn beforehand and may be too short for the program; only runs that ended count."""
    ended = 0

    def invariant(count: list[int]) -> bool:
        nonlocal ended
        ended += 1
        return count[0] == TASKS * STEPS

    asyncio.run(
        importlib.import_module("frontrun").explore_async_random(
            lambda: [0],
            [_yields] * TASKS,
            invariant,
            max_attempts=runs,
            max_ops=3 * TASKS * STEPS,
            seed=1,
        )
    )
    assert ended
    return ended


PEERS: dict[str, tuple[Callable[[int], int], int]] = {
    "simloom": (simloom, 200),
    "simloop": (simloop, 200),
    "frontrun": (frontrun, 20),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    cases: dict[str, Callable[[], int]] = {
        "engine, trace off": lambda: engine_only(False, 500),
        "engine, trace on": lambda: engine_only(True, 500),
        "search, random, trace off": lambda: searched("random", False, False, 500),
        "search, random, trace on": lambda: searched("random", True, False, 500),
        "search, random, trace on, classes": lambda: searched("random", True, True, 200),
        "search, portfolio, trace on": lambda: searched("portfolio", True, False, 500),
    }
    for name, (case, runs) in PEERS.items():
        try:
            version = importlib.import_module(name)
        except ImportError:
            print(f"({name} is not installed)")
            continue
        label = f"{name} {getattr(version, '__version__', '')}".rstrip()
        cases[label] = lambda case=case, runs=runs: case(runs)  # type: ignore[misc]
    found = measure(cases, rounds)
    best = min((seconds for name, seconds in found.items() if name.split()[0] in PEERS), default=None)
    print(
        f"\n{TASKS} tasks x {STEPS} steps: executions a second on one core, medians of {rounds} rounds in turn\n"
    )
    print("| explorer | executions a second | x best peer |")
    print("|---|--:|--:|")
    for name, seconds in found.items():
        ratio = "" if best is None else f"{best / seconds:.1f}"
        print(f"| {name} | {1 / seconds:,.0f} | {ratio} |")


if __name__ == "__main__":
    main()
