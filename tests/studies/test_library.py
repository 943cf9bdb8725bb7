"""How the library is searched: known failures are told from others, and one that stays away is noticed."""

from __future__ import annotations

import attrs
import pytest

from gmemsim.arch.registry import ARCHES
from gmemsim.explore.findings.table import FINDINGS
from gmemsim.patches.registry import versions
from gmemsim.scenarios.catalogue import names
from gmemsim.studies.library import Library, missing, must_show
from gmemsim.studies.study import Asked, Plan, Result
from gmemsim.studies.survey import Survey

FEW = Plan(schedules=4, known=4)


def asked(patch: str, scenario: str = "inplace_competing") -> Asked:
    return next(Library().asked(Library().entries()[scenario], [patch], ["sw-protected"], FEW))


REFERENCE = asked("inplace-v8")


def test_every_scenario_version_and_vm_type_is_there() -> None:
    found = Survey(Library(), FEW).asked
    assert len(found) == len({one.key for one in found})
    assert {one.patch for one in found} == set(versions())
    assert {one.entry.name for one in found} == set(names())
    assert {one.arch for one in found} == set(ARCHES)


def test_a_known_failure_is_not_reported() -> None:
    result = Library().ask(REFERENCE, FEW)
    assert result.known == ("v8-fault-keeps-reference",)
    assert sum(result.row["known"].values()) > 0
    assert not result.row["unknown"]
    assert result.as_expected
    assert result.row["schedules"] == FEW.schedules


def test_without_the_table_it_is() -> None:
    result = Library().ask(REFERENCE, FEW, which=lambda failure: None)
    assert not result.known
    assert not result.as_expected
    assert result.row["unknown"]
    assert all(text.startswith("unexpected_outcome: ") for text in result.row["unknown"])


@pytest.mark.parametrize("change", [{"versions": ("inplace",)}, {"patterns": ()}, {"vm_types": ("tdx",)}])
def test_elsewhere_it_is_unknown(change: dict[str, tuple[str, ...]]) -> None:
    """A failure is known where the table says so: on its versions and VM types, by its patterns."""
    other = attrs.evolve(FINDINGS["v8-fault-keeps-reference"], **change)  # type: ignore[arg-type] # of fields
    found = Library().ask(REFERENCE, FEW, which=lambda failure: other if other.explains(failure) else None)
    assert found.row["unknown"]


def test_a_known_failure_that_stays_away_is_missing() -> None:
    """Were it repaired, the table would have to say so."""
    assert REFERENCE.expected == ("v8-fault-keeps-reference",)
    result = Library().ask(REFERENCE, FEW)
    assert missing([result]) == []
    gone: Result = attrs.evolve(result, row={**result.row, "known": {}})
    assert missing([gone]) == [("v8-fault-keeps-reference", "inplace-v8", "inplace_competing")]
    assert Library().wrong([gone], whole=True) == [gone]
    assert Library().wrong([gone], whole=False) == []
    assert missing([result, gone]) == []
    assert asked("inplace").expected == ()


def test_memory_failure_must_show_on_every_version() -> None:
    for version in versions():
        assert must_show("memory_failure", version, "sw-protected") == ("memory-failure-against-punch",)
