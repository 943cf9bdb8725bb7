"""docs/mends_cells.py: no cell of the pages says more than was asked."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gmemsim.patches.mends.registry import MENDS
from gmemsim.studies.mends.ask import ask_scenario
from gmemsim.studies.mends.questions import questions

DOCS = Path(__file__).parents[3] / "docs"
FINDING, VERSION, MEND = "memory-failure-against-punch", "v3", MENDS["error-trylock"]
PUNCH = ("findings", VERSION, MEND.ident, "sw-protected", "zoo-poison_punch")
PAIR = ("pairs", VERSION, MEND.ident, "sw-protected", "memory failure + punch + used")
KNOWN = {"rule": "deadlock", "known": FINDING, "summary": "two wait"}
OTHER = {"rule": "deadlock", "known": "", "summary": "three wait"}

Key = tuple[str, ...]


@pytest.fixture(scope="module")
def cells() -> ModuleType:
    sys.path.insert(0, str(DOCS))
    try:
        return import_module("mends_cells")
    finally:
        sys.path.remove(str(DOCS))


def row(*violations: dict[str, str], complete: bool = True, edges: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "violations": list(violations), "complete": complete, "states": 10, "left_mapped": False,
        "edges": list(edges), "cycles": [],
    }  # fmt: skip


def without(key: Key) -> Key:
    return (*key[:2], "", *key[3:])


def test_gone_says_what_was_not_asked(cells: ModuleType) -> None:
    rows = {PUNCH: row(), without(PUNCH): row(KNOWN)}
    said = cells.gone(rows, FINDING, VERSION, MEND)
    assert said.startswith("gone in 1 scenario; pairs not asked")
    rows = {**rows, PAIR: row(complete=False)}
    said = cells.gone(rows, FINDING, VERSION, MEND)
    assert "not met in 1 pair; " in said
    assert "pairs complete in 0 of 1" in said
    assert " pairs not asked" in said


def test_not_met_with_and_without_says_nothing(cells: ModuleType) -> None:
    cut = row(complete=False)
    said = cells.gone({PUNCH: cut, without(PUNCH): row(KNOWN)}, FINDING, VERSION, MEND)
    assert said.startswith("not met; 1 scenario of 1 cut short; ")
    said = cells.gone({PUNCH: cut, without(PUNCH): cut}, FINDING, VERSION, MEND)
    assert "nor met without the mend, which says nothing of it" in said


def test_nothing_new_says_in_what(cells: ModuleType) -> None:
    assert cells.breaks({}, VERSION, MEND) == "not asked"
    hazard = next(one.key for one in questions("hazards", VERSION, MEND.ident))
    verdict = {"verdict": "holds", "rule": ""}
    said = cells.breaks({hazard: verdict, without(hazard): verdict}, VERSION, MEND)
    assert said.startswith("nothing new in 1 hazard<br>scenarios not asked; pairs not asked")
    assert "selftests' vectors not asked" in said


def test_a_new_deadlock_is_not_hidden_by_a_known_one(cells: ModuleType) -> None:
    rows = {PUNCH: row(KNOWN, OTHER), without(PUNCH): row(KNOWN)}
    assert cells.new_rules(rows, VERSION, MEND) == {"deadlock": {"1 of 1 scenarios": "three wait"}}


def test_vectors_that_fail_with_the_mend_only_are_not_counted_with_the_others(cells: ModuleType) -> None:
    key = ("vectors", VERSION, MEND.ident, "tdx", "selftests")
    rows = {key: {"passed": 5, "failed": ["a", "b"]}, without(key): {"passed": 6, "failed": ["a"]}}
    said = cells.asked_of(rows, "vectors", VERSION, MEND)
    assert said == "5 pass, 1 fail as without the mend, 1 fails with the mend only: see above (tdx)"


def test_the_order_of_locks_is_not_told_where_nothing_was_asked_without_the_mend(cells: ModuleType) -> None:
    (said,) = cells.order({PUNCH: row(edges=("a > b",))}, VERSION, MEND)
    assert said == "1 scenario not asked without the mend: nothing is said there"
    rows = {PUNCH: row(edges=("a > b",)), without(PUNCH): row(edges=("a > c",), complete=False)}
    assert cells.order(rows, VERSION, MEND)[0] == "no more edge: a > c"


@pytest.mark.parametrize(
    "key",
    [
        ("findings", "mainline-7.3", "snp-launch-state", "snp", "zoo-launch_late"),
        ("findings", "hugepage", "huge-mutex", "sw-protected", "zoo-huge_look_up"),
    ],
)
def test_a_recorded_order_of_locks_names_them_as_they_are_named_today(cells: ModuleType, key: Key) -> None:
    # A lock that was renamed since would be printed as one that is gone, and another that is new.
    _, version, mend, arch, scenario = key
    today = ask_scenario(scenario, f"{version}+{mend}", arch, states=2_000)["edges"]
    assert classes(cells.packed()[key]["edges"]) == classes(today)


def classes(edges: list[str]) -> set[str]:
    """`kvm_lock` and `folio` of `kvm_lock (w) > folio (w)`."""
    return {end.rpartition(" ")[0] for edge in edges for end in edge.split(" > ")}


def test_no_record_has_the_old_name_of_the_lock_of_a_vm(cells: ModuleType) -> None:
    rows = {key: row for key, row in cells.packed().items() if key[0] == "findings"}
    known = {name for row in rows.values() for name in classes(row["edges"])}
    assert "lock" not in known, "the class of kvm->lock is kvm_lock"
