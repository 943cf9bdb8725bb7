"""What a hunt says: found, not found, found where nothing was to be, and several strategies together."""

from __future__ import annotations

import pickle

import attrs
import pytest

from gmemsim.patches.zoo.entry import Bug
from gmemsim.patches.zoo.registry import BUGS
from gmemsim.studies.study import Plan, Result
from gmemsim.studies.zoo import Zoo, places

QUICK = Plan(strategies="random", repetitions=3, schedules=60)
SURE = BUGS["launch-finish-repeated"]


def hunt(bug: Bug, plan: Plan = QUICK) -> Result:
    return Zoo().ask(next(Zoo().asked(bug, (), (), plan)), plan)


def wrong(*results: Result) -> list[Result]:
    return Zoo().wrong(results, whole=True)


def test_places_are_versions_by_vm_types_or_the_lock() -> None:
    assert places(BUGS["prepare-outside-folio-lock"]) == [("v3", "sw-protected"), ("v3", "snp")]
    assert places(BUGS["rwlock-waiters-flag-leak"]) == [("WaitersFlagLeak", "-")]
    assert places(BUGS["sev-flag-toctou"]) == []


def test_a_found_bug_has_figures_and_a_clean_version() -> None:
    found = hunt(SURE)
    row = found.row
    assert (row["hits"], row["searches"], row["rule"], row["control"]) == (3, 3, "I35", [])
    assert 1 <= row["schedules"] <= row["schedules_p90"] <= 60
    assert row["found"]
    assert found.as_expected
    assert found.verdict == "found in 3 of 3 searches"


def test_a_systematic_strategy_is_run_once() -> None:
    assert hunt(SURE, attrs.evolve(QUICK, strategies="dfs")).row["searches"] == 1


def test_the_same_hunt_finds_the_same() -> None:
    one, two = ({**hunt(BUGS["rwlock-waiters-flag-leak"]).row, "seconds": None} for _ in range(2))
    assert one == two


def test_another_rule_is_no_find() -> None:
    other = hunt(attrs.evolve(SURE, rules=frozenset({"I1"})))
    assert (other.row["hits"], other.row["others"], other.row["rule"]) == (0, {"I35": 3}, None)
    assert wrong(other) == [other]


def test_a_version_that_is_not_clean_is_wrong() -> None:
    dirty = hunt(attrs.evolve(SURE, control=SURE.make))
    assert dirty.row["control"] == ["I35"]
    assert wrong(dirty) == [dirty]


@pytest.mark.parametrize("change", [{"unfound": "hidden"}, {"rules": frozenset()}])
def test_what_is_found_although_nothing_was_expected_is_wrong(change: dict[str, object]) -> None:
    assert wrong(hunt(attrs.evolve(SURE, **change)))  # type: ignore[arg-type] # of two fields


def test_one_strategy_that_finds_it_is_enough() -> None:
    found = hunt(SURE)

    def missed(arch: str = "snp") -> Result:
        asked = attrs.evolve(found.asked, part="other", arch=arch)
        return attrs.evolve(found, asked=asked, row={**found.row, "found": False}, as_expected=False)

    assert wrong(missed()) == [missed()]
    assert wrong(found, missed()) == []
    assert wrong(found, missed(arch="tdx"))
    # Nobody knows what a strategy would have found that was not asked yet.
    assert Zoo().wrong([missed()], whole=False) == []


@pytest.mark.parametrize("ident", ["launch-finish-repeated", "rwlock-waiters-flag-leak"])
def test_entries_and_results_go_to_other_processes(ident: str) -> None:
    kept = hunt(BUGS[ident])
    assert pickle.loads(pickle.dumps(kept)) == kept
