"""Three operations at once: every cell can be built, known findings are told apart, what was searched is said."""

from __future__ import annotations

from gmemsim.engine.strategy import FirstRunnable
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.triples import Triple, explore_triple, known, scenario_text, triples
from gmemsim.scenarios.scenario import loads


def test_cells_can_be_built() -> None:
    cells = list(triples("inplace", "snp"))
    assert len(cells) == len(set(cells))
    for cell in cells[::23]:
        scenario = loads(scenario_text(cell), "triple.toml")
        ScenarioProgram(scenario=scenario, patch="inplace", arch="snp", small=False).build(FirstRunnable())


def test_fault_conversion_and_memory_failure() -> None:
    cell = Triple(("touch", "to shared", "memory failure"), "shared", "inplace", "snp")
    row = explore_triple(cell, ("pos", "preemption:2"), schedules=80)
    assert [found["known"] for found in row["violations"]] == ["memory-failure-fault-conversion"]
    assert [run["strategy"] for run in row["runs"]] == ["pos", "preemption:2"]


def test_two_conversions_and_a_host_fault_are_clean() -> None:
    cell = Triple(("host write", "to private", "to shared"), "shared", "inplace", "snp")
    assert explore_triple(cell, schedules=20)["violations"] == []


def test_other_locks_are_not_known() -> None:
    cell = Triple(("touch", "punch", "memory failure"), "shared", "inplace", "snp")
    assert known(cell, "deadlock", "folio invalidate_lock") == "memory-failure-against-punch"
    assert known(cell, "deadlock", "invalidate_lock slots_lock") is None
    assert known(cell, "livelock", "folio invalidate_lock") is None
    stuck = "livelock: vcpu0; t1 waits for gmem0.folio[0]; t2 waits for gmem0.invalidate_lock"
    assert known(cell, "livelock", "seq", stuck) == "memory-failure-against-punch"
    assert known(cell, "livelock", "seq", stuck.replace("t1", "t2")) is None
