"""A shrinker keeps the failure, and little else."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from tests.explore.mutants import ClearsNothing, NoRecheck, PunchShrinks, ZapsNothing
from tests.explore.test_token import failing

from gmemsim.engine.engine import Engine
from gmemsim.engine.op import Op
from gmemsim.engine.strategy import FirstRunnable, RandomStrategy, ReplayStrategy
from gmemsim.engine.tape import Tape
from gmemsim.engine.task import Task
from gmemsim.explore import shrink_workload
from gmemsim.explore.measure import Attempt, attempt, measure
from gmemsim.explore.program import ScenarioProgram, TaskProgram
from gmemsim.explore.search import Found, Limits, search
from gmemsim.explore.shrink import Shrunk, shrink
from gmemsim.explore.shrink_calls import calls
from gmemsim.explore.shrink_strategies import InOrder
from gmemsim.explore.strategies import make_strategy
from gmemsim.explore.workload_tables import explicit, on_tables, operations
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.catalogue import load_named, names
from gmemsim.scenarios.scenario import loads

PUNCH = ScenarioProgram(scenario=load_named("conv1_punch1"))


def found(run: Attempt) -> Found:
    assert run.failure is not None
    return Found(run.failure, run.tape, 1, run.measure.steps)


def shrunk(program: ScenarioProgram, **more: int) -> Shrunk:
    return shrink(program, found(failing(program)), **more)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("small", [True, False], ids=["small", "full"])
def test_explicit_tables_mean_the_same(name: str, small: bool) -> None:
    """Written out, a scenario is run step by step as before."""
    program = ScenarioProgram(scenario=load_named(name), small=small, seed=3)
    written = on_tables(program, explicit(program))
    limit = 20_000 if small else 2_000
    first, second = (attempt(each, RandomStrategy(5), max_steps=limit) for each in (program, written))
    assert second.tape.raw == first.tape.raw
    assert second.order == first.order
    assert operations(written) == operations(program)


@pytest.mark.parametrize(
    ("kernel", "workload", "preemptions"),
    [
        (ClearsNothing, ("vcpu0: touch gfn 0x10000",), 0),
        (ZapsNothing, ("vcpu0: touch gfn 0x10000", "conv0: convert gfn 0x10000 shared"), 0),
        (NoRecheck, ("vcpu0: touch gfn 0x10000", "conv0: convert gfn 0x10000 shared"), 1),
    ],
)
def test_a_planted_bug_becomes_minimal(kernel: type[V3], workload: tuple[str, ...], preemptions: int) -> None:
    """One call for a bug that needs one, two for a race, and as few preemptions as the bug allows."""
    result = shrunk(attrs.evolve(PUNCH, patch=kernel))
    assert calls(result.program) == workload
    assert (result.operations_before, result.operations_after) == (6, len(workload))
    assert result.after.preemptions == preemptions
    assert result.after < result.before
    assert result.finished
    assert measure(result.program, result.found.tape) == result.after


def test_a_full_size_workload_becomes_as_small() -> None:
    """188 calls; the failing one is neither the first nor the last."""
    program = attrs.evolve(PUNCH, patch=PunchShrinks, small=False)
    result = shrunk(program)
    assert result.operations_before == 188
    assert result.operations_after <= 3
    assert result.after.preemptions <= 1
    assert result.found.failure.signature == failing(program).failure.signature  # type: ignore[union-attr]


def test_the_result_replays_strictly_and_fails_alike() -> None:
    result = shrunk(attrs.evolve(PUNCH, patch=NoRecheck))
    again = attempt(result.program, ReplayStrategy(result.found.tape))
    assert again.failure == result.found.failure
    assert again.tape.raw == result.found.tape.raw
    # And on the kernel without the bug nothing is wrong under fifty other schedules.
    assert isinstance(result.program, ScenarioProgram)
    fixed = attrs.evolve(result.program, patch=V3)
    assert all(attempt(fixed, RandomStrategy(seed)).failure is None for seed in range(50))


def test_it_is_deterministic() -> None:
    program = attrs.evolve(PUNCH, patch=NoRecheck)
    first, second = shrunk(program), shrunk(program)
    assert isinstance(first.program, ScenarioProgram)
    assert isinstance(second.program, ScenarioProgram)
    assert first.found.tape.raw == second.found.tape.raw
    assert first.attempts == second.attempts
    assert first.program.scenario.source.text == second.program.scenario.source.text


@pytest.mark.parametrize("attempts", [0, 7, 40])
def test_the_budget_is_kept(attempts: int) -> None:
    program = attrs.evolve(PUNCH, patch=NoRecheck)
    result = shrunk(program, attempts=attempts)
    assert result.attempts <= attempts
    assert not result.finished
    if not attempts:
        assert result.program is program
        assert result.before == result.after
    again = attempt(result.program, ReplayStrategy(result.found.tape))
    assert again.failure == result.found.failure


def test_a_tape_that_does_not_fail_is_refused() -> None:
    run = failing(attrs.evolve(PUNCH, patch=NoRecheck))
    with pytest.raises(ValueError, match="the tape does not show I18 MapRet on conv1_punch1 on v3"):
        shrink(PUNCH, found(run))


def test_an_unfair_run_without_end_stays_as_it_is() -> None:
    def setup(engine: Engine) -> object:
        done: list[str] = []

        async def spinner(t: Task) -> None:
            while not done:
                await t.point(Op("load", "x"))

        async def helper(t: Task) -> None:
            await t.point(Op("store", "x"))
            done.append(t.name)

        engine.spawn("spinner", spinner)
        engine.spawn("helper", helper)
        return str

    program = TaskProgram("spin", setup)  # type: ignore[arg-type]
    run = attempt(program, FirstRunnable(), max_steps=3_000)
    result = shrink(program, found(run), attempts=30, max_steps=3_000)
    assert result.found.failure.rule == "step_limit"
    assert result.after == result.before


def test_threads_are_renamed_with_their_choices() -> None:
    """The bug needs the second vCPU; when the first goes, its choices become those of vcpu0."""
    text = """
        [scenario]
        name = "second"
        summary = "Only one vCPU meets the punch"
        [[file]]
        id = "gmem0"
        pages = 2
        [[slot]]
        file = "gmem0"
        [[task]]
        role = "vcpu"
        ops = [{ op = "touch", start = 1 }]
        [[task]]
        role = "vcpu"
        ops = [{ op = "touch", count = 1 }, { op = "touch", count = 1, expect = "EINVAL" }]
    """
    program = ScenarioProgram(scenario=loads(text), arch="sw-protected")
    result = shrunk(program)
    assert calls(result.program) == ("vcpu0: touch gfn 0x0",)
    assert result.found.failure.rule == "unexpected_outcome"


def test_faults_that_are_not_needed_go() -> None:
    text = """
        [scenario]
        name = "faulty"
        summary = "Two fault points, one to blame"
        [[file]]
        id = "gmem0"
        pages = 1
        [[slot]]
        file = "gmem0"
        [[task]]
        name = "alloc"
        ops = [{ op = "allocate", expect = "ok" }, { op = "punch" }]
        [[task]]
        role = "vcpu"
        ops = [{ op = "touch" }]
        [faults]
        alloc_folio = 3
        signal = 2
    """
    program = ScenarioProgram(scenario=loads(text), arch="sw-protected")
    run = next(
        run
        for run in (attempt(program, RandomStrategy(seed)) for seed in range(300))
        if run.failure is not None and "ENOMEM" in run.failure.summary
    )
    result = shrink(program, found(run))
    assert calls(result.program)[0] == "alloc: allocate gmem0[0]"
    assert [line for line in calls(result.program) if line.startswith("faults")] in (
        ["faults: alloc_folio up to 1"],
        ["faults: signal up to 1"],
    )
    assert len(calls(result.program)) == 2


def _counter(threads: int, steps: int) -> TaskProgram:
    """The last step of thread `a` must come when `b` has taken exactly one: one preemption is enough."""

    def setup(engine: Engine) -> object:
        done: dict[str, int] = {}

        async def body(t: Task) -> None:
            for number in range(steps):
                await t.point(Op("step", "x"))
                done[t.name] = number + 1
            if t.name == "a" and done.get("b") == 1:
                raise AssertionError("lost")

        for name in "abcdefgh"[:threads]:
            engine.spawn(name, body)
        return lambda: "fine"

    return TaskProgram("counter", setup)  # type: ignore[arg-type]


def test_a_program_in_python_keeps_its_workload() -> None:
    program = _counter(4, 5)
    run = next(
        run
        for run in (attempt(program, RandomStrategy(seed)) for seed in range(500))
        if run.failure is not None
    )
    result = shrink(program, found(run))
    assert result.program is program
    assert (result.operations_before, result.operations_after) == (0, 0)
    # b starts, takes its first step, is preempted; a runs to its end; nobody else does anything.
    assert (result.after.preemptions, result.after.steps) == (1, 8)
    assert calls(program) == ()


def test_what_counts_as_a_preemption() -> None:
    """A task that went to sleep or finished was not preempted."""

    def setup(engine: Engine) -> object:
        async def sleeper(t: Task) -> None:
            await t.sleep(5)
            await t.point(Op("step", "x"))

        async def worker(t: Task) -> None:
            await t.point(Op("step", "y"))

        engine.spawn("a", sleeper)
        engine.spawn("b", worker)
        return str

    program = TaskProgram("naps", setup)  # type: ignore[arg-type]
    # a sleeps; b starts, is preempted before its step; a wakes up, a's step; b's step.
    tape = Tape(
        [("-", 0, "sched", 0, 2), ("a", 0, "sched", 1, 2), ("b", 0, "sched", 1, 2), ("a", 0, "sched", 0, 2)]
    )
    size = measure(program, tape)
    assert (size.preemptions, size.switches, size.steps, size.choices) == (1, 3, 5, 4)
    assert size.deviations == 2


def test_calls_say_what_is_to_be_said() -> None:
    assert calls(ScenarioProgram(scenario=load_named("populate_source"), arch="tdx"))[0] == (
        "vcpu0: populate gfn 0x10000 source=unaligned offset=512"
    )
    assert "faults: rmp_lookup up to 4" in calls(ScenarioProgram(scenario=load_named("prepare_fails")))
    assert calls(ScenarioProgram(scenario=load_named("punch"))) == (
        "vcpu0: touch gfn 0x10000 write={task} (2 rounds)",
        "punch0: punch gmem0[0] chunk=1",
    )


def test_the_choices_of_a_renumbered_vcpu_keep_their_place() -> None:
    """Without its first vCPU, a workload's second one is called vcpu0, and so are its choices."""
    program = ScenarioProgram(scenario=load_named("disjoint"))
    first = next(
        edit
        for edit in shrink_workload._tasks(program, explicit(program))
        if edit.names.get("vcpu0", "") is None
    )
    tape = Tape([("vcpu0", 1, "sched", 1, 2), ("vcpu1", 1, "sched", 0, 2), ("-", 0, "sched", 1, 2)])
    assert first.tape(tape).raw == [("vcpu0", 1, "sched", 0, 2), ("-", 0, "sched", 1, 2)]
    assert first.order(("vcpu0", "vcpu1", "other")) == ("vcpu0", "other")


def test_tasks_run_in_the_order_that_is_given() -> None:
    run = attempt(PUNCH, RandomStrategy(4))
    assert run.failure is None
    again = attempt(PUNCH, InOrder(run.order, run.tape))
    assert again.order == run.order
    assert again.tape.raw == run.tape.raw


class NeedsTheSetup(V3):
    """Two assertions: one that only a workload without its setup breaks, and one of two holes at once."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.made = self.busy = 0

    async def kvm_gmem_fallocate(self, t: Any, *args: Any, **options: Any) -> Any:
        ret = await super().kvm_gmem_fallocate(t, *args, **options)
        self.made += 1
        return ret

    async def kvm_gmem_punch_hole(self, t: Any, *args: Any, **options: Any) -> Any:
        assert self.made, "nothing was allocated"
        self.busy += 1
        ret = await super().kvm_gmem_punch_hole(t, *args, **options)
        assert self.busy == 1, "two at once"
        self.busy -= 1
        return ret


HEAD = """
[scenario]
name = "small"
summary = "What a failure needs"
vm_types = ["sw-protected"]

[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"
"""
HOLES = """
[setup]
ops = [{ op = "allocate" }]

[[task]]
name = "host"
instances = 2
ops = [{ op = "punch" }]
"""
READS = """
[[task]]
role = "vcpu"
ops = [{ op = "write", value = "x" }, { op = "read", sees = ["data:x"], expect = "ok" }, { op = "touch" }]

[[task]]
name = "host"
ops = [{ op = "punch" }]
"""


@pytest.mark.parametrize(
    ("text", "patch", "summary", "kept"),
    [
        (HOLES, NeedsTheSetup, "two at once", 3),
        (READS, V3, "read came to other_value", 3),
    ],
)
def test_it_stays_the_failure_that_was_found(text: str, patch: type[V3], summary: str, kept: int) -> None:
    """And does not become another assertion, or an expectation that nothing in the smaller workload could meet."""
    program = ScenarioProgram(scenario=loads(HEAD + text), patch=patch, arch="sw-protected")
    [found] = search(program, make_strategy("stateful"), Limits(schedules=None)).found
    assert summary in found.failure.summary
    small = shrink(program, found, attempts=400)
    assert summary in small.found.failure.summary
    assert small.operations_after == kept
