"""Conformance vectors as programs of the runner, and what came of them."""

from __future__ import annotations

import json

import pytest

from gmemsim.lab.runs import Runs
from gmemsim.lab.vector_program import CannotRun, Translation, vector_program
from gmemsim.lab.vectors import judge
from gmemsim.lab.wire import OPCODES, Call, Result
from gmemsim.scenarios.conform.suite import EMBEDDED
from gmemsim.scenarios.conform.vector import Vector, load_vectors, parse_vector

VECTORS = {vector.id: vector for vector in load_vectors(*EMBEDDED)}
SHARE = VECTORS["guest-host-share-default-vm"]


def came(vector: Vector, *calls: tuple[str, str, tuple[int, ...]]) -> Runs:
    program = vector_program(vector)
    task = tuple(Call(op, outcome, tuple(map(str, values))) for op, outcome, values in calls)
    return Runs(program, results={Result((task,), ()): 1}, rounds=1)


def operations(vector: Vector) -> dict[str, list[tuple[str, list[int]]]]:
    """Operations of each task: name and numbers."""
    names = {number: name for name, number in OPCODES.items()}
    found: dict[str, list[tuple[str, list[int]]]] = {}
    mine: list[tuple[str, list[int]]] = []
    for line in vector_program(vector).lines:
        word, *rest = line.split()
        if word in ("task", "setup"):
            mine = found.setdefault(rest[0], [])
        elif word == "op":
            mine.append((names[int(rest[0])], [int(number) for number in rest[1:]]))
    return found


def test_every_vector_of_a_default_vm_is_a_program_but_those_of_huge_folios() -> None:
    for vector in VECTORS.values():
        if "default" not in vector.vm_types:
            continue
        if vector.versions == ("hugepage",):
            with pytest.raises(CannotRun, match="no stock kernel has"):
                vector_program(vector)
        else:
            ops = operations(vector)
            assert sum(map(len, ops.values())) >= len(vector.steps)


def test_branches_are_tasks_that_meet_before_and_after() -> None:
    vector = VECTORS["prefault-parallel-vcpus"]
    ops = operations(vector)
    assert list(ops) == ["0", "vector", "0.0", "0.1", "0.2", "0.3"]
    for number in range(4):
        assert [name for name, _ in ops[f"0.{number}"]] == ["barrier", "raw_vcpu", "raw_prefault", "barrier"]
        assert ops[f"0.{number}"][1][1][0] == number
        # Again until the whole range is there.
        assert ops[f"0.{number}"][2][1][3] == 1
    assert [name for name, _ in ops["vector"]] == [
        "raw_bind", "barrier", "barrier", "raw_vcpu", "raw_guest_load",
    ]  # fmt: skip
    lines = vector_program(vector).lines
    assert "barrier 5" in lines
    assert vector_program(vector).rounds > 1


def test_a_child_process_has_turns_of_its_own() -> None:
    vector = VECTORS["fork-punch-both-lose"]
    ops = operations(vector)
    assert [name for name, _ in ops["child"] if name != "barrier"] == [
        "raw_fork", "raw_load", "raw_load", "raw_exit",
    ]  # fmt: skip
    # As many barriers on one side as on the other, or one of them waits for ever.
    counts = {task: sum(name == "barrier" for name, _ in ops[task]) for task in ("child", "vector")}
    assert counts["child"] == counts["vector"] == 8
    assert vector_program(vector).rounds == 1


def test_memory_errors_come_by_frame_or_by_mapping_and_signals_with_a_call() -> None:
    (inject,) = [
        numbers
        for name, numbers in operations(VECTORS["mf-madvise-default-mapped-dirty-default"])["vector"]
        if name == "raw_inject"
    ]
    assert inject == [0, 1, 0, 0, 1, 1]
    (inject,) = [
        numbers
        for name, numbers in operations(VECTORS["mf-debugfs-early-mapped-dirty-default"])["vector"]
        if name == "raw_inject"
    ]
    assert inject == [0, 1, 0, 1, 0, 0]
    names = [name for name, _ in operations(VECTORS["run-signal-before-entry"])["vector"]]
    assert names[-4:] == ["signal_pending", "raw_guest_store", "raw_resume", "raw_guest_load"]
    line = (
        '{"id":"x","area":"a","evidence":"derived","applies_to":{"versions":["v3"],"vm_types":["default"]},'
        '"setup":{"gmems":[{"id":"g0","size":4096,"flags":[]}]},"steps":['
        '{"actor":"host","op":"signal_pending","args":{},"expect":{"result":"ok"}},'
        '{"actor":"host","op":"stat","args":{"gmem":"g0"},"expect":{"result":"ok"}}]}'
    )
    with pytest.raises(CannotRun, match="stat: the runner sends no signal with it"):
        vector_program(parse_vector(json.loads(line), "x"))


def test_results_of_branches_are_held_against_their_own_steps_in_every_round() -> None:
    vector = VECTORS["prefault-slot-delete-race-default"]
    made = Translation(vector)

    def one(outcome: str, left: int) -> Result:
        whole = 2 << 20
        prefault = Call("raw_prefault", outcome, (str(left), "0"))
        barrier = Call("barrier", "ok")
        unbind, bind = Call("raw_bind", "ok"), Call("raw_bind", "ok")
        again = Call("raw_prefault", "ok", ("0", str(whole)))
        assert len(made.tasks) == 3
        return Result(
            ((bind, barrier, barrier, bind, again), (barrier, prefault, barrier), (barrier, unbind, barrier)),
            (),
        )

    def verdict(*results: Result) -> str:
        return judge(vector, Runs(vector_program(vector), results=dict.fromkeys(results, 1))).result

    assert verdict(one("ok", 0), one("EAGAIN", 2 << 20)) == "passed"
    # Of success that made no progress, or an error that made some, one round is enough.
    assert verdict(one("ok", 0), one("ok", 2 << 20)) == "failed"
    assert verdict(one("ok", 0), one("EAGAIN", 4096)) == "failed"
    assert verdict(one("ok", 0), one("ENOMEM", 2 << 20)) == "failed"
    assert verdict(one("cannot", 0)) == "not run"


def test_the_errno_of_a_poisoned_page_has_its_name() -> None:
    vector = VECTORS["mf-shared-guest-access-ehwpoison"]
    setup = [("raw_create", "ok", ()), ("raw_bind", "ok", ()), ("raw_mmap", "ok", ())]
    calls = [
        ("raw_guest_store", "ok", ()), ("raw_inject", "ok", (16,)),
        ("raw_guest_load", "exit_memory_fault", (0, 1 << 30, 4096, 133)), ("raw_load", "SIGBUS", ()),
        ("raw_fallocate", "ok", ()), ("raw_guest_load", "ok", (0,)), ("raw_load", "ok", (0,)),
    ]  # fmt: skip
    assert judge(vector, came(vector, *setup, *calls)).result == "passed"


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
