"""Conformance vectors as programs of the runner, and what came of them."""

from __future__ import annotations

import pytest

from gmemsim.lab.runs import Runs
from gmemsim.lab.vectors import CannotRun, judge, vector_program
from gmemsim.lab.wire import OPCODES, Call, Result
from gmemsim.scenarios.conform.suite import EMBEDDED
from gmemsim.scenarios.conform.vector import Vector, load_vectors

VECTORS = {vector.id: vector for vector in load_vectors(*EMBEDDED)}
SHARE = VECTORS["guest-host-share-default-vm"]


def came(vector: Vector, *calls: tuple[str, str, tuple[int, ...]]) -> Runs:
    program = vector_program(vector)
    task = tuple(Call(op, outcome, tuple(map(str, values))) for op, outcome, values in calls)
    return Runs(program, results={Result((task,), ()): 1}, rounds=1)


def test_most_vectors_of_a_default_vm_are_programs_and_the_others_say_why_not() -> None:
    reasons = []
    for vector in VECTORS.values():
        if "default" not in vector.vm_types or "v3" not in vector.versions:
            continue
        try:
            program = vector_program(vector)
        except CannotRun as why:
            reasons.append(str(why))
        else:
            assert sum(line.startswith("op ") for line in program.lines) >= len(vector.steps)
    assert sorted({reason.partition(":")[0] for reason in reasons}) == [
        "error_inject", "fork", "needs two NUMA nodes", "parallel", "signal_pending",
    ]  # fmt: skip


def test_a_vector_is_its_setup_and_then_its_steps() -> None:
    lines = vector_program(SHARE).lines
    assert lines[:3] == ("vm 0 1 3", "file 0 0 0 1", "map 0 0 0 1")
    ops = [int(line.split()[1]) for line in lines if line.startswith("op ")]
    names = {number: name for name, number in OPCODES.items()}
    assert [names[op] for op in ops[:3]] == ["raw_create", "raw_bind", "raw_mmap"]
    # 4 GiB is where the guest cannot be, so it is moved to one.
    (slot,) = SHARE.setup.slots
    assert slot.gpa == 4 << 30
    assert f"op {OPCODES['raw_bind']} {slot.slot} {1 << 30} " in " ".join(lines)


def test_every_step_is_held_against_what_it_should_come_to() -> None:
    setup = [("raw_create", "ok", ()), ("raw_bind", "ok", ())]
    steps = []
    for step in SHARE.steps:
        value = step.expect.get("value")
        steps.append((step.op, "ok", () if value is None else (value,)))
    passed = judge(SHARE, came(SHARE, *setup, *steps))
    assert (passed.result, passed.steps) == ("passed", len(SHARE.steps))
    number = next(n for n, step in enumerate(SHARE.steps) if "value" in step.expect)
    wrong = [*steps]
    wrong[number] = (wrong[number][0], "ok", (-1,))
    failed = judge(SHARE, came(SHARE, *setup, *wrong))
    assert failed.result == "failed"
    assert failed.text.startswith(f"step {SHARE.steps[number].path}: expected")
    assert judge(SHARE, came(SHARE, *setup, *steps[:2])).text == "the task ended early"
    bad = [("raw_create", "EINVAL", ())]
    assert judge(SHARE, came(SHARE, *bad)).text == "setup: raw_create gives EINVAL"
    assert judge(SHARE, Runs(vector_program(SHARE))).result == "not run"


@pytest.mark.parametrize(("outcome", "result"), [("ok", "failed"), ("EINVAL", "passed")])
def test_an_errno_is_one_that_is_expected(outcome: str, result: str) -> None:
    vector = VECTORS["bind-unaligned-ordinary"]
    run = came(vector, *(("raw_bind1", outcome, ()) for _ in vector.steps))
    assert judge(vector, run).result == result
