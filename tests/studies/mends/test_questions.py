"""What is asked of every mend."""

from __future__ import annotations

import attrs
import pytest

from gmemsim.patches.mends.registry import MENDS
from gmemsim.patches.mends.versions import versions_for
from gmemsim.studies.mends.questions import PARTS, Question, answer, questions


def test_each_question_is_asked_once_and_of_a_version_with_the_mend() -> None:
    for part in PARTS:
        asked = list(questions(part, "v3", "error-trylock"))
        assert asked
        assert len({one.key for one in asked}) == len(asked)
        assert {one.patch for one in asked} == {"v3+error-trylock"}


def test_pairs_and_triples_have_a_memory_failure() -> None:
    pairs, triples = (
        [one.what.split(" + ")[:-1] for one in questions(part, "v3", "error-trylock")]
        for part in ("pairs", "triples")
    )
    assert all("memory failure" in names and len(names) == 2 for names in pairs)
    assert {"punch", "allocate", "memory failure"} in [set(names) for names in triples]
    # A triple has a writer and a reader of the invalidate lock beside it.
    assert ["allocate", "memory failure", "touch"] not in [sorted(names) for names in triples]


def test_scenarios_whose_outcomes_are_compared_are_asked_under_all_rules_too() -> None:
    for mend in MENDS:
        for version in versions_for(MENDS[mend]):
            under_rules = {(one.arch, one.what) for one in questions("findings", version, mend)}
            assert {(one.arch, one.what) for one in questions("outcomes", version, mend)} <= under_rules


@pytest.mark.parametrize("mend", ["hole-unmaps-poison", "truncation-unmaps-poison"])
def test_a_hole_that_takes_poison_entries_away_tells_nobody(mend: str) -> None:
    [asked] = questions("findings", "mainline-7.3", mend)
    assert (asked.arch, asked.what) == ("default", "zoo-poison_repair")
    row = answer(asked, 1_000)
    assert {one["rule"] for one in row["violations"]} == {"I50"}
    assert not answer(attrs.evolve(asked, mend=""), 1_000)["violations"]


def test_what_no_cell_shows_is_asked_in_a_scenario() -> None:
    [asked] = [
        one
        for one in questions("findings", "mainline-7.3", "fault-shares-lock")
        if one.what == "zoo-poison_fault"
    ]
    found = answer(asked, 2_500)["violations"]
    assert [(one["rule"], one["known"]) for one in found] == [("deadlock", "")]


def test_without_a_mend_is_asked_what_the_chosen_mends_are_held_against() -> None:
    assert not {one.what for one in questions("findings", "v3", "", ["tdx-leak-on-failure"])} - {
        "zoo-tdx_fails"
    }
    every = {one.key for one in questions("findings", "v3", "")}
    assert {"zoo-tdx_fails", "zoo-poison_punch"} <= {key[-1] for key in every}
    assert not list(questions("findings", "v3", "", ["get-pfn-puts"]))


def test_vectors_are_asked_where_any_is_for_the_version() -> None:
    assert len(list(questions("vectors", "v3", "error-trylock"))) == 4
    assert not list(questions("vectors", "v2", "error-trylock"))


def test_pairs_without_a_mend_are_recorded_and_not_asked_again() -> None:
    assert not list(questions("pairs", "v3", ""))


def test_a_pair_and_a_storm_are_answered() -> None:
    pair = Question(
        "pairs", "mainline-7.3", "error-trylock", "sw-protected", "allocate + memory failure + untouched"
    )
    row = answer(pair, 5_000)
    assert row["key"] == list(pair.key)
    assert row["scope"].startswith("complete:")
    storm = Question("costs", "mainline-7.3", "", "sw-protected", "punch / none")
    assert answer(storm, 1)["per_ms"] > 0
