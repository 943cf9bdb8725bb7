"""What ample sets could save at most: states of whole graphs, with the future of every task known.

    python bench/ample_bound.py

A cell is searched whole, and every step of its graph is noted: what it touched, whether it told an event. Then the
graph is walked again, and where one task's step is independent of all that the others can still do before that task
moves, that step alone is taken. A real search would have to guess these futures, so this is a bound from below. How
many states are left is counted three times: if nobody looked at the order of steps, if steps that tell an event are
never taken alone (the oracles see every event in every order), and if steps that write are not either (the oracles
see every state at every event).
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from gmemsim.engine.op import Op, dependent
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies.state_graph import END
from gmemsim.explore.strategies.stateful import Stateful
from gmemsim.scenarios.scenario import loads
from gmemsim.studies.matrix import cells
from gmemsim.studies.operations import scenario_text

CASES = (
    ("v3", "snp", ("touch", "touch", "make slot"), "untouched"),
    ("v3", "snp", ("punch", "delete slot", "close"), "used"),
    ("inplace", "sw-protected", ("host write", "allocate", "memory failure"), "shared"),
    ("inplace", "tdx", ("touch", "make slot", "close"), "untouched"),
)


class Noted(Stateful):
    """A search that puts nobody to sleep and notes its steps: `steps[state][task]`."""

    def __init__(self) -> None:
        super().__init__(1)
        self.steps: dict[int, dict[int, tuple[int, tuple[Op, ...], bool, bool]]] = defaultdict(dict)
        self._step_seen: tuple[int, tuple[Op, ...], bool, bool] | None = None

    def _fall_asleep(self, before: int) -> dict[int, Any]:
        watch = self._watch
        self._step_seen = None
        if watch is not None and before != END and self._live is not None:
            assert watch.task is not None
            step = watch.ended(self._live.changed)
            self._step_seen = watch.task.ident, step.ops, watch._events > watch._before, watch.drew
        return {}

    def _remember_step(self, before: int, after: int, sleepers: dict[int, Any]) -> None:
        if self._step_seen is not None:
            task, ops, tells, drew = self._step_seen
            self.steps[before][task] = after, ops, tells, drew


def futures(noted: Noted, numbers: dict[Op, int]) -> dict[tuple[int, int], int]:
    """By state and task: what others can touch from there before that task moves, as bits of `numbers`."""
    tasks = {task for steps in noted.steps.values() for task in steps}
    known: dict[tuple[int, int], int] = defaultdict(int)
    order = sorted(noted.steps, reverse=True)
    changed = True
    while changed:
        changed = False
        for state in order:
            for task in tasks:
                mask = known[state, task]
                for other, (after, ops, _, _) in noted.steps[state].items():
                    if other != task:
                        mask |= known[after, task]
                        for op in ops:
                            mask |= 1 << numbers[op]
                if mask != known[state, task]:
                    known[state, task] = mask
                    changed = True
    return known


def left(noted: Noted, known: dict[tuple[int, int], int], conflicts: dict[Op, int], alone: Any) -> int:
    """States that are still met if steps for which `alone` holds are taken alone where they may be."""
    seen, stack = {0}, [0]
    while stack:
        state = stack.pop()
        steps = noted.steps.get(state, {})
        after = [one[0] for one in steps.values()]
        for task, (to, ops, tells, drew) in steps.items():
            free = not any(conflicts[op] & known[state, task] for op in ops)
            # Only steps that lead on, so that none is put off for ever.
            if len(steps) > 1 and not drew and alone(ops, tells) and free and to > state:
                after = [to]
                break
        fresh = {to for to in after if to != END} - seen
        seen |= fresh
        stack += fresh
    return len(seen)


def main() -> None:
    print(
        "| cell | states | left, if nobody looks | steps with an event never alone | nor steps that write |\n"
        "|---|--:|--:|--:|--:|"
    )
    for patch, arch, names, setup in CASES:
        (cell,) = (
            one for one in cells(patch, 3) if (one.arch, tuple(one.names), one.setup) == (arch, names, setup)
        )
        scenario = loads(scenario_text(cell), "cell.toml")
        program = ScenarioProgram(scenario=scenario, patch=patch, arch=arch, small=False)
        noted = Noted()
        search(program, noted, Limits(schedules=None, steps=6_000), keep_going=True)
        ops = {op for steps in noted.steps.values() for one in steps.values() for op in one[1]}
        numbers = {op: number for number, op in enumerate(ops)}
        conflicts = {op: sum(1 << numbers[other] for other in ops if dependent(op, other)) for op in ops}
        known = futures(noted, numbers)
        ways = (
            lambda _, tells: True,
            lambda _, tells: not tells,
            lambda ops, tells: not tells and all(op.mode == "r" for op in ops),
        )
        row = [left(noted, known, conflicts, way) for way in ways]
        cell_text = f"{' against '.join(names)} ({setup}; {patch}, {arch})"
        print(f"| {cell_text} | {noted.states:,} | {' | '.join(f'{one:,}' for one in row)} |", flush=True)


if __name__ == "__main__":
    main()
