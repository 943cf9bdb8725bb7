"""Candidate mends: the finding is gone with each, and the wrong ones are seen to be wrong."""

from __future__ import annotations

import pytest

from gmemsim.explore.findings.table import FINDINGS
from gmemsim.explore.judges.livelock import judge
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, SearchResult, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.patches.mends.registry import MENDS, mends_of
from gmemsim.patches.registry import load_patch
from gmemsim.scenarios.catalogue import load_named
from gmemsim.studies.mends.ask import ask_scenario
from gmemsim.studies.mends.table import judged


def explore(scenario: str, patch: str, strategy: str, schedules: int) -> SearchResult:
    program = ScenarioProgram(scenario=load_named(scenario), patch=patch, arch="sw-protected")
    limits = Limits(schedules=schedules)
    return search(program, make_strategy(strategy, 0), limits, keep_going=True, judge=judge)


@pytest.mark.parametrize("mend", ["", *(one.ident for one in mends_of("memory-failure-against-punch"))])
def test_the_deadlock_is_there_without_a_mend_and_gone_with_each(mend: str) -> None:
    patch = f"mainline-7.3+{mend}" if mend else "mainline-7.3"
    found = explore("zoo-poison_punch", patch, "pos", 25).found
    assert any(one.failure.rule == "deadlock" for one in found) is not bool(mend)


def test_the_unlocked_folio_does_not_keep_the_inode() -> None:
    found = explore("zoo-poison_close", "mainline-7.3+error-drop-folio-lock", "preemption:1", 60).found
    assert "use_after_free" in {one.failure.rule for one in found}
    assert not explore("zoo-poison_close", "mainline-7.3+error-bindings-lock", "preemption:1", 60).found


@pytest.mark.parametrize("mend", ["", *(one.ident for one in mends_of("unbind-during-memory-failure"))])
def test_an_unbind_of_a_dying_file_waits_for_the_invalidation(mend: str) -> None:
    patch = f"v3+{mend}" if mend else "v3"
    assert bool(explore("zoo-poison_close", patch, "preemption:2", 120).found) is not bool(mend)


def test_an_answer_that_was_cut_short_does_not_say_gone() -> None:
    finding = FINDINGS["memory-failure-against-punch"]
    mend = MENDS["error-bindings-lock"]
    cut = ask_scenario("zoo-poison_punch", "v3+error-bindings-lock", "sw-protected", states=40)
    assert not cut["complete"]
    row = judged(finding, mend, cut, cut)
    assert row.gone is None
    assert row.added == ()


def test_a_row_tells_what_is_new() -> None:
    finding = FINDINGS["memory-failure-against-punch"]
    base = {
        "scenario": "s", "complete": True, "edges": ["a > b"], "cycles": ["a"],
        "violations": [{"rule": "deadlock", "known": finding.ident, "summary": "x"}],
    }  # fmt: skip
    mended = base | {
        "edges": ["a > c"], "cycles": [],
        "violations": [{"rule": "poison", "known": "", "summary": "still maps"}],
    }  # fmt: skip
    row = judged(finding, MENDS["error-trylock"], mended, base)
    assert (row.gone, row.broken) == (True, {"poison": "still maps"})
    assert (row.added, row.removed, row.cycles_removed) == (("a > c",), ("a > b",), ("a",))
    assert judged(finding, None, base, base).gone is False


def test_every_mend_is_of_a_finding_and_can_be_asked_for() -> None:
    for mend in MENDS.values():
        assert mend.findings
        assert set(mend.findings) <= set(FINDINGS)
        assert load_patch(f"v3+{mend.ident}").name == f"v3+{mend.ident}"
