"""Results of the runner, and a kernel's outcomes against the model's."""

from __future__ import annotations

import json

from gmemsim.explore.program import ScenarioProgram
from gmemsim.lab.compare import check_comparable, compare, kernel_outcome, model_set
from gmemsim.lab.drawn import drawn, drawn_text
from gmemsim.lab.drawn_wide import wide, wide_text
from gmemsim.lab.runs import Runs
from gmemsim.lab.translate import translate
from gmemsim.lab.wire import OPCODES, decode_line, outcome_name, read_result
from gmemsim.scenarios.catalogue import load_named

HOLE = translate(load_named("hole").resolve(small=True), "default")
VALUES = HOLE.values
T, R, P = OPCODES["touch"], OPCODES["read"], OPCODES["punch"]


def result(tasks: list[object], files: list[object]) -> Runs:
    line = decode_line(json.dumps({"kind": "outcome", "tasks": tasks, "files": files}).encode())
    assert line is not None
    return Runs(HOLE, results={read_result(line, VALUES): 3}, rounds=3)


def test_a_line_of_the_runner_reads_as_the_model_says_it() -> None:
    run = result([[[T, 0], [R, 0, 1]], [[P, 4]]], [[[0, 1, 1, 0]]])
    (one,) = run.results
    assert kernel_outcome(one, HOLE) == "vcpu0(touch=ok read=ok:data:new) punch(punch=EINTR) gmem0[0u=zero]"
    run = result([[[T, 1003], [R, 1000, -1000]], []], [None])
    (one,) = run.results
    assert kernel_outcome(one, HOLE) == "vcpu0(touch=exit_mmio read=SIGBUS:SIGBUS) punch() gmem0 closed"
    assert outcome_name(95) == "EOPNOTSUPP"
    assert outcome_name(133) == "EHWPOISON"
    run = result([[[R, 0, 77]], []], [[[3, 1, -1]]])
    (one,) = run.results
    assert kernel_outcome(one, HOLE) == "vcpu0(read=ok:other:0x4d) punch() gmem0[3]"


def test_what_is_no_object_is_left_alone() -> None:
    assert decode_line(b" vcpu0-12 [000] d..1. 1.0: get_pfn: (f+0x0/0x1)\n") is None
    assert decode_line(b'{"kind":\n') is None
    assert decode_line(b'{"other": 1}\n') is None


def test_outcomes_of_the_model_contain_those_of_the_kernel_or_it_differs() -> None:
    program = ScenarioProgram(scenario=load_named("hole"), patch="mainline-7.3", arch="default")
    model = model_set(program, states=20_000)
    assert model.complete
    assert sorted(model.outcomes) == [
        "vcpu0(touch=ok read=ok:data:new) punch(punch=ok) gmem0[0u=data:new]",
        "vcpu0(touch=ok read=ok:data:new) punch(punch=ok) gmem0[]",
        "vcpu0(touch=ok read=ok:zero) punch(punch=ok) gmem0[0u=zero]",
    ]
    seen = compare(result([[[T, 0], [R, 0, 1]], [[P, 0]]], [[]]), model, HOLE)
    assert (seen.verdict, seen.seen, seen.alien) == ("agree", 1, {})
    wrong = compare(result([[[T, 0], [R, 0, 0]], [[P, 0]]], [[]]), model, HOLE)
    assert wrong.verdict == "differ"
    assert wrong.alien == {"vcpu0(touch=ok read=ok:zero) punch(punch=ok) gmem0[]": 3}


def test_a_hang_differs_unless_the_model_has_one() -> None:
    program = ScenarioProgram(scenario=load_named("hole"), patch="mainline-7.3", arch="default")
    model = model_set(program, states=20_000)
    assert not model.hangs
    hung = Runs(HOLE, hung=(0, (1, 0)))
    assert compare(hung, model, HOLE).verdict == "differ"
    assert compare(Runs(HOLE, refused="mmap: errno 22"), model, HOLE).verdict == "refused"


def test_an_incomplete_search_decides_nothing() -> None:
    program = ScenarioProgram(scenario=load_named("hole"), patch="mainline-7.3", arch="default")
    model = model_set(program, states=1, seconds=0.01)
    assert not model.complete
    odd = result([[[T, 0], [R, 0, 9]], [[P, 0]]], [[]])
    assert compare(odd, model, HOLE).verdict == "undecided"


def test_drawn_scenarios_are_small_the_same_for_a_seed_and_can_run_on_a_kernel() -> None:
    assert drawn_text(1, 2) == drawn_text(1, 2)
    assert len({drawn_text(1, number).partition("summary")[2] for number in range(60)}) > 50
    names = set()
    for number in range(120):
        workload = drawn(3, number).resolve()
        translate(workload, "default")
        assert 2 <= sum(len(actor.steps) for actor in workload.actors) <= 4
        names |= {step.op.name for actor in workload.actors for step in actor.steps}
    assert {
        "touch",
        "read",
        "prefault",
        "punch",
        "allocate",
        "host_read",
        "unbind",
        "munmap",
        "close",
    } <= names


def test_wide_ones_have_two_of_something_and_can_run_on_a_kernel() -> None:
    assert wide_text(1, 2) == wide_text(1, 2)
    names, counts = set(), set()
    for number in range(80):
        workload = wide(3, number).resolve()
        check_comparable(workload)
        program = translate(workload, "default")
        assert program.name == f"wide-3-{number}"
        tables = workload.tables
        counts.add((len(tables.vms), len(tables.files)))
        assert len(tables.slots) == 2
        names |= {step.op.name for actor in workload.actors for step in actor.steps}
    assert counts == {(1, 1), (1, 2), (2, 2)}
    assert {
        "bind",
        "unbind",
        "write",
        "read",
        "prefault",
        "host_write",
        "punch",
        "mmap",
        "memory_failure",
    } <= names


def test_what_a_scenario_expects_is_nothing_to_compare_by() -> None:
    """It expects that the error is dealt with, which neither the version nor a kernel of it says."""
    program = ScenarioProgram(scenario=load_named("zoo-memory_failure"), patch="mainline-7.3", arch="default")
    model = model_set(program, states=2_000)
    assert model.outcomes == {"mce(memory_failure=EBUSY) gmem0[0=SIGBUS]"}
    assert model.complete
    assert not model_set(program, states=2_000, rules=None).outcomes & model.outcomes
