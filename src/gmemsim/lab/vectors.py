"""What came of conformance vectors on a kernel: every step held against what is expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import attrs

from ..scenarios.conform import arguments as args
from ..scenarios.conform.results import Got, Mismatch, check
from .refusals import FILE_FLAGS
from .runs import KernelRuns, run_programs
from .translate import Steering
from .vector_program import PRIVATE, CannotRun, Translation, moved_back, policy_name, vector_program
from .wire import outcome_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..scenarios.conform.vector import Step, Vector
    from .kernels import Kernel
    from .machine import Machine
    from .runs import Runs
    from .wire import Call, Result

#: The longest delay drawn before a call, so that steps at the same time come in many orders.
_SPREAD_NS: Final = 100_000


@attrs.frozen
class Judged:
    """A vector on a kernel; `text` says why it could not be run, or which step came to what."""

    id: str
    result: Literal["passed", "failed", "not run"]
    steps: int = 0
    text: str = ""


def run_vectors(
    kernel: Kernel, vectors: Iterable[Vector], machine: Machine, say: Callable[[str], None]
) -> tuple[dict[str, Judged], KernelRuns]:
    """Run vectors on a kernel: each by its id, and how it was booted; none of a machine that was interrupted before.

    Raises:
        LabError: the kernel does not come up.
    """
    found: dict[str, Judged] = {}
    programs = []
    for vector in vectors:
        try:
            programs.append((vector, vector_program(vector)))
        except CannotRun as why:
            found[vector.id] = Judged(vector.id, "not run", text=str(why))
    every = KernelRuns(kernel, [])
    # A machine with more NUMA nodes is another machine.
    for nodes in sorted({vector.setup.numa_nodes for vector, _ in programs}):
        some = [(vector, program) for vector, program in programs if vector.setup.numa_nodes == nodes]
        runs = run_programs(
            kernel, [program for _, program in some], Steering(rounds=1, spread_ns=_SPREAD_NS, report_seconds=0),
            machine=attrs.evolve(machine, nodes=nodes), say=say,
        )  # fmt: skip
        there = runs.about.get("nodes", nodes)
        for (vector, _), run in zip(some, runs.runs, strict=True):
            found[vector.id] = judge(vector, run)
            if there < nodes:
                text = f"the kernel shows {there} of {nodes} NUMA nodes"
                found[vector.id] = Judged(vector.id, "not run", text=text)
        every.boots += runs.boots
        every.seconds += runs.seconds
        every.about, every.front, every.interrupted = runs.about, runs.front, runs.interrupted
        if runs.interrupted:
            break
    return found, every


def judge(vector: Vector, run: Runs) -> Judged:
    """Hold what came of a vector's program against its expectations, every round that came to something else."""
    if not run.results:
        return Judged(vector.id, "not run", text=run.refused or run.died or "it did not come to its end")
    made = Translation(vector)
    rounds = [_judge_round(vector, made, result) for result in run.results]
    return next((judged for judged in rounds if judged.result != "passed"), rounds[0])


def _judge_round(vector: Vector, made: Translation, result: Result) -> Judged:
    setup = result.tasks[0][: made.before]
    if any(call.outcome != "ok" for call in setup):
        bad = next(call for call in setup if call.outcome != "ok")
        return Judged(vector.id, "not run", text=f"setup: {bad.op} gives {bad.outcome}")
    noted: dict[str, Any] = {}
    for number, taken in enumerate(made.taken):
        step = taken.step
        calls = result.tasks[taken.task][taken.first : taken.first + taken.count]
        if len(calls) < taken.count:
            return Judged(vector.id, "failed", number, "the task ended early")
        if any(call.outcome == "cannot" for call in calls):
            return Judged(vector.id, "not run", number, f"step {step.path}: no way to do {step.op} there")
        try:
            check(noted, step.path, step.expect, _got(step, calls))
        except Mismatch as error:
            return Judged(vector.id, "failed", number, str(error))
    return Judged(vector.id, "passed", len(made.taken))


def _got(step: Step, calls: Sequence[Call]) -> Got:
    """What a step came to, as the model's runner says it."""
    if step.op == "move_pages_query":
        bad = next((call.outcome for call in calls if call.outcome != "ok"), "")
        nodes = [int(value) for call in calls for value in call.values]
        return Got(bad) if bad else Got("value", nodes, {"nodes": nodes})
    return _got_one(step, calls[-1].outcome, [int(value) for value in calls[-1].values])


def _got_one(step: Step, outcome: str, numbers: list[int]) -> Got:
    op = step.op
    if outcome == "exit_memory_fault":
        flags, gpa, size, code = numbers[:4]
        more = {
            "flags": ["PRIVATE"] if flags & PRIVATE else [],
            "gpa": moved_back(gpa),
            "size": size,
            "errno": outcome_name(code),
        }
        return Got(outcome, more=more)
    if isinstance(step.args, args.PreFault) and numbers:
        left = {"remaining_size": numbers[0], "remaining_gpa": moved_back(numbers[1])}
        return Got(outcome, more={**left, "shrank": numbers[0] < step.args.size})
    if op == "error_inject":
        return Got(outcome, more={"memory_failure_rc": outcome_name(numbers[0]) if numbers[0] else 0})
    if outcome != "ok":
        return Got(outcome)
    if op == "stat":
        return Got("value", more=dict(zip(("st_size", "st_blksize", "ino"), numbers, strict=True)))
    if op in ("host_read", "guest_read"):
        return Got("value", {None if numbers[-1] < 0 else numbers[-1]})
    if op == "get_mempolicy":
        return Got(
            "value",
            more={"policy": policy_name(numbers[0]), "nodes": [n for n in range(64) if numbers[1] >> n & 1]},
        )
    if op == "check_cap":
        return Got("value", sorted(name for name, bit in FILE_FLAGS.items() if numbers[0] & bit))
    return Got(outcome)
