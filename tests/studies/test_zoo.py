"""What a hunt says: found, not found, found where nothing was to be, and several strategies together."""

from __future__ import annotations

import pickle

import attrs
import pytest

from gmemsim.patches.zoo.registry import BUGS
from gmemsim.studies.zoo import Hunt, ZooRow, as_dict, hunt, hunt_at, places, shortfall

QUICK = Hunt(strategy="random", repetitions=3, schedules=60, seconds=None)


def row(ident: str, plan: Hunt = QUICK) -> ZooRow:
    return next(iter(hunt(BUGS[ident], plan)))


def test_places_are_versions_by_vm_types_or_the_lock() -> None:
    assert places(BUGS["prepare-outside-folio-lock"]) == [("v3", "sw-protected"), ("v3", "snp")]
    assert places(BUGS["rwlock-waiters-flag-leak"]) == [("WaitersFlagLeak", "-")]
    assert places(BUGS["sev-flag-toctou"]) == []


def test_a_found_bug_has_figures_and_a_clean_version() -> None:
    found = row("launch-finish-repeated")
    assert (found.found, found.searches, found.rule, found.control) == (3, 3, "I35", ())
    assert found.schedules is not None
    assert found.schedules_p90 is not None
    assert 1 <= found.schedules <= found.schedules_p90 <= 60
    assert found.as_expected
    assert as_dict(found)["found"] is True


def test_a_systematic_strategy_is_run_once() -> None:
    assert row("launch-finish-repeated", attrs.evolve(QUICK, strategy="dfs")).searches == 1


def test_the_same_hunt_finds_the_same() -> None:
    one, two = (attrs.evolve(row("rwlock-waiters-flag-leak"), seconds=None) for _ in range(2))
    assert one == two


def test_another_rule_is_no_find() -> None:
    bug = attrs.evolve(BUGS["launch-finish-repeated"], rules=frozenset({"I1"}))
    other = hunt_at(bug, "v3", "snp", QUICK)
    assert (other.found, other.others, other.rule) == (0, {"I35": 3}, "")
    assert shortfall([other]) == [other]


def test_a_version_that_is_not_clean_is_a_shortfall() -> None:
    seeded = BUGS["launch-finish-repeated"].make
    assert seeded is not None
    dirty = hunt_at(attrs.evolve(BUGS["launch-finish-repeated"], control=seeded), "v3", "snp", QUICK)
    assert dirty.control == ("I35",)
    assert shortfall([dirty]) == [dirty]


def test_what_is_found_although_nothing_was_expected_is_a_shortfall() -> None:
    found = row("launch-finish-repeated")
    for changed in (attrs.evolve(found.bug, unfound="hidden"), attrs.evolve(found.bug, rules=frozenset())):
        assert shortfall([attrs.evolve(found, bug=changed)])


def test_one_strategy_that_finds_it_is_enough() -> None:
    found = row("launch-finish-repeated")
    missed = attrs.evolve(found, strategy="other", found=0, rule="", schedules=None)
    assert shortfall([missed]) == [missed]
    assert shortfall([found, missed]) == []
    assert shortfall([found, attrs.evolve(missed, arch="tdx")])


@pytest.mark.parametrize("ident", ["launch-finish-repeated", "rwlock-waiters-flag-leak"])
def test_entries_and_rows_go_to_other_processes(ident: str) -> None:
    kept = row(ident)
    assert pickle.loads(pickle.dumps(kept)) == kept
