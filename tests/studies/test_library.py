"""How the library is searched: known failures are told from others, and one that stays away is noticed."""

from __future__ import annotations

import attrs
import pytest

from gmemsim.arch.registry import ARCHES
from gmemsim.explore.findings.table import FINDINGS
from gmemsim.scenarios.catalogue import names
from gmemsim.studies.library import VERSIONS, LibraryCell, cells, explore_cell, missing, must_show

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
    assert result.known
    assert not result.unknown
    assert result.schedules == FEW


def test_without_the_table_it_is() -> None:
    result = explore_cell(REFERENCE, FEW, which=lambda failure: None)
    assert not result.known
    assert result.unknown
    assert all(text.startswith("unexpected_outcome: ") for text in result.unknown)


@pytest.mark.parametrize("change", [{"versions": ("inplace",)}, {"patterns": ()}, {"vm_types": ("tdx",)}])
def test_elsewhere_it_is_unknown(change: dict[str, tuple[str, ...]]) -> None:
    """A failure is known where the table says so: on its versions and VM types, by its patterns."""
    other = attrs.evolve(FINDINGS["v8-fault-keeps-reference"], **change)  # type: ignore[arg-type] # of fields
    assert explore_cell(
        REFERENCE, FEW, which=lambda failure: other if other.explains(failure) else None
    ).unknown


def test_a_known_failure_that_stays_away_is_missing() -> None:
    """Were it repaired, the table would have to say so."""
    assert must_show(REFERENCE) == ("v8-fault-keeps-reference",)
    result = explore_cell(REFERENCE, FEW)
    assert missing([result]) == []
    gone = attrs.evolve(result, known={})
    assert missing([gone]) == [("v8-fault-keeps-reference", "inplace-v8", "inplace_competing")]
    assert missing([result, gone]) == []
    applied = LibraryCell("inplace", "inplace_competing", "sw-protected")
    assert must_show(applied) == ()
    assert missing([explore_cell(applied, FEW)]) == []


def test_memory_failure_must_show_on_every_version() -> None:
    for version in VERSIONS:
        cell = LibraryCell(version, "memory_failure", "sw-protected")
        assert must_show(cell) == ("memory-failure-against-punch",)
