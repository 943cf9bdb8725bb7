"""How the library is searched: known failures are told from others, and one that stays away is noticed."""

from __future__ import annotations

import attrs

from gmemsim.arch.registry import ARCHES
from gmemsim.explore.library import KNOWN, VERSIONS, LibraryCell, cells, explore_cell, missing
from gmemsim.scenarios.catalogue import load_named, names

REFERENCE = LibraryCell("inplace-v8", "inplace_competing", "sw-protected")
FEW = 4


def test_every_scenario_version_and_vm_type_is_there() -> None:
    found = list(cells())
    assert len(found) == len(set(found))
    assert {cell.patch for cell in found} == set(VERSIONS)
    assert {cell.scenario for cell in found} == set(names())
    assert {cell.arch for cell in found} == set(ARCHES)


def test_a_known_failure_is_not_reported() -> None:
    result = explore_cell(REFERENCE, FEW)
    assert result.known == {"v8-fault-keeps-reference": sum(result.known.values())}
    assert not result.unknown
    assert result.schedules == FEW


def test_without_the_table_it_is() -> None:
    result = explore_cell(REFERENCE, FEW, known=())
    assert not result.known
    assert result.unknown
    assert all(text.startswith("unexpected_outcome: ") for text in result.unknown)


def test_elsewhere_it_is_unknown() -> None:
    """A failure is known where the table says so: for one version, in one scenario, under one rule."""
    (entry,) = (one for one in KNOWN if one.name == "v8-fault-keeps-reference")
    for other in (
        attrs.evolve(entry, patches=("inplace",)),
        attrs.evolve(entry, scenarios=frozenset({"conv1"})),
        attrs.evolve(entry, rules=frozenset({"deadlock"})),
        attrs.evolve(entry, says=("EBUSY",)),
    ):
        assert explore_cell(REFERENCE, FEW, known=(other,)).unknown


def test_a_known_failure_that_stays_away_is_missing() -> None:
    """Were it repaired, the table would have to say so."""
    (entry,) = (one for one in KNOWN if one.name == "v8-fault-keeps-reference")
    result = explore_cell(REFERENCE, FEW)
    assert missing([result]) == []
    quiet = explore_cell(LibraryCell("inplace", "inplace_competing", "sw-protected"), FEW)
    assert not quiet.known
    assert not quiet.unknown
    claimed = attrs.evolve(entry, patches=("inplace",))
    assert missing([quiet], (claimed,)) == [(entry.name, "inplace", "inplace_competing")]
    assert missing([result, attrs.evolve(result, known={})]) == []


def test_known_failures_are_where_they_say() -> None:
    for one in KNOWN:
        assert set(one.patches) <= set(VERSIONS)
        for scenario in one.scenarios:
            assert load_named(scenario).head.name == scenario
