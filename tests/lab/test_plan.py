"""Witnesses as blocks, and who may run as tasks arrive at places."""

from __future__ import annotations

import pytest

from gmemsim.explore.campaign import Campaign, run_campaign
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits
from gmemsim.explore.token import encode
from gmemsim.lab.errors import LabError
from gmemsim.lab.plan import Block, Director, Place, Plan, Step, blocks_of
from gmemsim.lab.witness import read_witness
from gmemsim.scenarios.catalogue import load_named


def entry(*functions: str, call: int = 0, exact: bool = True, times: int = 1) -> Place:
    return Place("entry", call, functions, exact, times)


def running(director: Director) -> bool:
    return director.running


def steps(*rows: tuple[str, int, str]) -> list[Step]:
    """`name!` of a task: it waits after the step."""
    return [
        Step(task.rstrip("!"), call, tuple(stack.split()), task.endswith("!")) for task, call, stack in rows
    ]


def test_a_block_ends_where_its_task_goes_on() -> None:
    found = blocks_of(
        steps(
            ("a", 0, "memory_failure"),
            # Between two calls it is held before the second; in a function that it enters next, at its entry.
            ("b", 0, "kvm_gmem_fallocate"),
            ("a", 0, "memory_failure kvm_gmem_error_folio"),
            ("b", 1, "kvm_gmem_fallocate filemap_get_folio"),
            # Where it enters nothing before it goes on, it is held where it came in, which is earlier.
            ("a!", 0, "memory_failure kvm_gmem_error_folio"),
            ("b", 1, "kvm_gmem_fallocate filemap_get_folio"),
        ),
        {"a": 1, "b": 2},
    )
    assert found == [
        Block("a", entry("kvm_gmem_error_folio")),
        Block("b", Place("call", 1)),
        Block("a", entry("kvm_gmem_error_folio", exact=False)),
        Block("b", entry("filemap_get_folio", "kvm_gmem_fallocate", call=1, exact=False)),
        Block("a", Place("waits")),
        Block("b", Place("call", 2)),
    ]


def test_functions_that_a_kernel_has_not_are_their_callers_or_left_out() -> None:
    plan = Plan(
        (
            Block("a", entry("inlined", "outer", times=3)),
            Block("b", entry("gone")),
            Block("a", Place("waits")),
            Block("b", Place("call", 1)),
        )
    )
    on = plan.on({"outer", "other"})
    assert (
        on.blocks
        == (Block("a", entry("outer")), Block("a", Place("waits")), Block("b", Place("call", 1)))[1:]
    )
    assert on.lost == 1
    assert on.worth > plan.worth


def test_nobody_runs_but_who_does_in_the_schedule() -> None:
    blocks = (
        Block("a", entry("f")),
        Block("b", Place("waits")),
        Block("a", Place("call", 1)),
        Block("b", Place("call", 1)),
    )
    director = Director(("a", "b"), blocks)
    for _ in range(2):
        director.arrive("a", Place("call", 0))
        assert not director.may_go("a")
        director.arrive("a", Place("call", 0))
        assert not running(director)
        director.arrive("b", Place("call", 0))
        assert running(director)
        assert director.may_go("a")
        assert not director.may_go("b")
        director.arrive("a", entry("other"))
        director.arrive("a", entry("f"))
        assert not director.may_go("a")
        assert director.may_go("b")
        assert director.waits
        director.give_up()
        assert director.may_go("a")
        director.arrive("a", Place("call", 1))
        director.arrive("b", Place("call", 1))
        assert not running(director)
        assert director.may_go("a")
        assert director.may_go("b")
    assert director.rounds == [4, 4]
    assert not director.missed


def test_a_function_that_a_task_did_not_come_by_is_remembered() -> None:
    director = Director(
        ("a", "b"), (Block("a", entry("f")), Block("b", Place("call", 1)), Block("a", Place("call", 1)))
    )
    for task in ("a", "b"):
        director.arrive(task, Place("call", 0))
    director.arrive("a", Place("call", 1))
    assert director.missed == {"f"}
    assert director.may_go("b")
    assert not director.may_go("a")
    director.arrive("b", Place("call", 1))
    assert not running(director)
    assert director.rounds == [2]
    director.adopt([Block("b", Place("call", 1)), Block("a", Place("call", 1))])
    assert not director.missed
    director.arrive("a", Place("call", 0))
    director.arrive("b", Place("call", 0))
    assert director.may_go("b")
    assert not director.may_go("a")


def token_of(name: str, strategy: str) -> str:
    program = ScenarioProgram(scenario=load_named(name), patch="mainline-7.3", arch="default")
    campaign = Campaign(program=program, strategy=strategy, limits=Limits(schedules=300))
    (found, *_) = run_campaign(campaign).search.found
    return encode(program, found.tape)


def test_a_token_of_the_library_is_plans_for_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gmemsim.lab.witness._SCHEDULES", 20)
    witness = read_witness(token_of("zoo-poison_punch", "pos"))
    assert witness.rule == "deadlock"
    assert witness.others > 1
    assert len(witness.plans) > 1
    for plan in witness.plans:
        assert plan.hangs
        # Both wait in the end, and the hook is entered before.
        assert {block.task for block in plan.blocks[-2:]} == {"mce", "punch"}
        assert {block.until.kind for block in plan.blocks[-2:]} == {"waits"}


def test_what_is_no_failure_for_a_kernel_is_said() -> None:
    with pytest.raises(LabError, match="token"):
        read_witness("gm1:nothing")
