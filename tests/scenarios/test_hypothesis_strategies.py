"""Drawn workloads run on the versions without a violation; a planted bug's workload and schedule shrink together."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from gmemsim.patches.baseline import Baseline
from gmemsim.patches.mainline_7_3 import Mainline73
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.hypothesis_strategies import (
    Case,
    Interruption,
    Interruptions,
    cases,
    schedules,
    workloads,
)
from gmemsim.scenarios.scenario import Scenario, loads
from gmemsim.testing import ScheduleFailure, program, run_once

SETTINGS = settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))


class NoRecheck(V3):
    """The fault maps what it found, whatever happened meanwhile."""

    def mmu_invalidate_retry_gfn(self, vm: object, seq: int, gfn: int) -> bool:
        return False

    async def mmu_invalidate_retry_gfn_unsafe(self, t: object, vm: object, seq: int, gfn: int) -> bool:
        return False


def fails(case: Case) -> bool:
    try:
        run_once(case.scenario, NoRecheck, schedule=case.schedule)
    except ScheduleFailure as error:
        return error.found.failure.rule == "I18"
    return False


@pytest.mark.parametrize("patch", [Baseline, V3, Mainline73])
@SETTINGS
@given(cases(arches=("sw-protected", "default", "tdx"), faults=1))
def test_drawn_cases_run_without_a_violation(patch: type[V3], case: Case) -> None:
    run_once(case.scenario, patch, schedule=case.schedule)


@pytest.mark.long
def test_a_race_shrinks_to_one_interruption_and_hardly_any_operations() -> None:
    """The fault is interrupted once, between reading the sequence and mapping, by a thread that takes the page away.

    Hypothesis cannot drop an operation and move an interruption in one step, so it may stop at one operation too many;
    what the failure prints has gone through the shrinker, which can.
    """
    smallest = find(
        cases(vcpus=1, ops=2, preemptions=1), fails, settings=settings(SETTINGS, max_examples=2000)
    )
    threads = {task.get("name", "vcpu0"): task["ops"] for task in smallest.scenario.source.raw["task"]}
    assert threads.keys() == {"vcpu0", "host0"}
    assert {op["op"] for op in threads["vcpu0"]} <= {"touch", "read", "write", "prefault"}
    assert len(threads["vcpu0"]) + len(threads["host0"]) <= 3
    assert len(smallest.schedule.interruptions) == 1
    assert smallest.schedule.interruptions[0].task == "vcpu0"
    with pytest.raises(ScheduleFailure, match="I18") as failure:
        run_once(smallest.scenario, NoRecheck, schedule=smallest.schedule)
    lines = str(failure.value).splitlines()
    assert lines[1].startswith("1 preemptions, ")
    (shrunk,) = [number for number, line in enumerate(lines) if line.startswith("shrunk: ")]
    assert "calls -> 2, 1 preemptions -> 1" in lines[shrunk]
    assert [line.split()[0] for line in lines[shrunk + 1 : shrunk + 3]] == ["vcpu0:", "host0:"]
    assert failure.value.token in lines[shrunk - 1]


def test_a_schedule_of_a_given_workload_shrinks_to_one_preemption() -> None:
    punch = program("punch", NoRecheck, "sw-protected")

    def bad(schedule: Interruptions) -> bool:
        try:
            run_once(punch, schedule=schedule)
        except ScheduleFailure:
            return True
        return False

    smallest = find(
        schedules(["vcpu0", "punch0"], calls=2), bad, settings=settings(SETTINGS, max_examples=2000)
    )
    (only,) = smallest.interruptions
    assert (only.task, only.call, only.to) == ("vcpu0", 1, 1)


def test_an_operation_takes_its_interruptions_along() -> None:
    """All interruptions of a case belong to calls that there are."""

    @settings(SETTINGS, phases=[Phase.generate])
    @given(cases(preemptions=3))
    def each(case: Case) -> None:
        calls = {
            (f"{task.get('role') and 'vcpu'}{number}" if task.get("role") else task["name"], position + 1)
            for kind in ("vcpu", None)
            for number, task in enumerate(
                t for t in case.scenario.source.raw["task"] if t.get("role") == kind
            )
            for position in range(len(task["ops"]))
        }
        assert {(stop.task, stop.call) for stop in case.schedule.interruptions} <= calls

    each()


def test_bounds_are_kept() -> None:
    @SETTINGS
    @given(workloads(vcpus=3, hosts=2, ops=2, pages=3, arches=("snp", "tdx"), faults=2))
    def each(scenario: Scenario) -> None:
        raw = scenario.source.raw
        vcpus = [task for task in raw["task"] if "role" in task]
        assert 1 <= len(vcpus) <= 3
        assert len(raw["task"]) - len(vcpus) <= 2
        assert all(1 <= len(task["ops"]) <= 2 for task in raw["task"])
        assert 1 <= raw["file"][0]["pages"] <= 3
        assert raw["scenario"]["vm_types"] in (["snp"], ["tdx"])
        assert all(1 <= count <= 2 for count in raw.get("faults", {}).values())

    each()


def test_a_case_prints_as_what_can_be_run() -> None:
    case = Case(load_named("punch"), Interruptions([Interruption("vcpu0", 1, 3)]))
    text = repr(case)
    assert text.endswith("Interruptions(vcpu0 call 1 after 3: 1))")
    assert loads(text.split("'''")[1]).name == "punch"


@pytest.mark.parametrize(
    "wrong", [{"vcpus": 0}, {"ops": 0}, {"pages": 0}, {"faults": -1}, {"arches": ()}, {"arches": ("x",)}]
)
def test_wrong_bounds_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        cases(**wrong)  # type: ignore[arg-type]


@given(st.data())
@SETTINGS
def test_no_interruption_is_no_preemption(data: st.DataObject) -> None:
    from gmemsim.explore.measure import attempt

    scenario = data.draw(workloads())
    # The most that fairness may take: one switch in 480 steps.
    done = attempt(program(scenario, "v3"), Interruptions())
    assert done.measure.preemptions <= done.measure.steps // 480
