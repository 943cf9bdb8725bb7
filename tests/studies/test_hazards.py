"""Hazards: every one of the list is there, what a version answers is what is known, and answers can be played again."""

from __future__ import annotations

import attrs
import pytest

from gmemsim.explore.replay import replay
from gmemsim.jobs.share import Place
from gmemsim.patches.hazards.entry import Case, Hazard
from gmemsim.patches.hazards.registry import HAZARDS, SEEDS
from gmemsim.patches.registry import PATCHES, PatchError, load_patch
from gmemsim.studies.hazards import VERSIONS, Hazards
from gmemsim.studies.study import Asked, Plan, Result
from gmemsim.studies.survey import Survey

CASES = [(hazard, case) for hazard in HAZARDS.values() for case in hazard.cases]


def ask(hazard: Hazard, case: Case, version: str, plan: Plan) -> Result:
    expected = tuple(case.expected(version))
    asked = Asked(entry=hazard, patch=version, arch=case.vm_types[0], about=case, expected=expected)
    return Hazards().ask(asked, plan)


def one(hazard: Hazard, case: Case, schedules: int) -> Result:
    return ask(hazard, case, case.versions[-1], Plan(schedules=schedules))


def test_all_sixteen_are_there() -> None:
    assert list(HAZARDS) == [str(number) for number in range(1, 17)]


@pytest.mark.parametrize(("hazard", "case"), CASES, ids=lambda part: str(getattr(part, "name", "")))
def test_an_entry_names_versions_and_seeds_that_exist(hazard: Hazard, case: Case) -> None:
    assert set(case.versions) <= set(VERSIONS)
    assert not case.seed or set(case.seed.split("+")) <= set(SEEDS)
    for version in VERSIONS:
        assert version in case.versions or case.reason(version), (hazard.name, case.says, version)


@pytest.mark.parametrize(("hazard", "case"), CASES, ids=lambda part: str(getattr(part, "name", "")))
def test_the_verdict_is_the_one_that_is_known(hazard: Hazard, case: Case) -> None:
    """One version and VM type of each case: `gmemsim hazards` asks all."""
    broken = bool(case.expected(case.versions[-1]))
    found = one(hazard, case, 150 if broken else 5)
    assert found.as_expected, found
    assert found.row["verdict"] == ("violated" if broken else "holds")


def test_what_breaks_a_rule_can_be_played_again() -> None:
    hazard = HAZARDS["1"]
    row = one(hazard, hazard.cases[0], 5).row
    again = replay(row["replay"])
    assert (row["rule"], again.same_failure, again.same_log) == ("I2", True, True)
    assert row["run_as"] == "inplace+large-folios"


def test_another_rule_and_another_verdict_are_not_as_known() -> None:
    hazard = HAZARDS["1"]
    case = hazard.cases[0]
    for wrong in ({"*": "I1"}, {}):
        assert not one(hazard, attrs.evolve(case, violated=wrong), 5).as_expected
    holds = HAZARDS["8"].cases[0]
    assert not one(HAZARDS["8"], attrs.evolve(holds, violated={"*": "I1"}), 2).as_expected


def test_versions_that_are_not_asked_say_why() -> None:
    survey = Survey(Hazards(), Plan(schedules=1, strategies="random"), ["16"])
    assert len(list(survey.run(Place()))) == len(survey.results)
    assert {result.asked.patch for result in survey.results} == set(VERSIONS)
    for result in survey.results:
        away = result.asked.patch not in result.asked.about.versions
        assert (result.verdict == "does not apply") == away
        assert result.says or not away


def test_prepare_is_called_at_every_fault_and_does_something_once() -> None:
    plan = Plan(schedules=10, strategies="random")
    first, after = (
        ask(HAZARDS["4"], HAZARDS["4"].cases[0], version, plan).row["counts"]
        for version in ("baseline", "v3")
    )
    # Two pages a run.
    assert first == {"calls": 20, "changed hardware": 20}
    assert after["changed hardware"] == 20 < after["calls"]


def test_a_hazard_needs_cases_or_a_reason() -> None:
    with pytest.raises(ValueError, match="either cases or a reason"):
        Hazard(name="99", title="x", question="x")


def test_a_version_with_a_seed_has_a_name() -> None:
    name = "v3+large-folios"
    cls = load_patch(name)
    assert cls.name == name
    assert cls is load_patch(name)
    assert issubclass(cls, PATCHES["v3"])
    # An entry of the zoo whose seed is the version as it is must not rename the version.
    assert load_patch("v3+fault-recreates-page-in-punched-hole").name != PATCHES["v3"].name == "v3"
    for wrong in ("v3+nonsense", "v9+large-folios"):
        with pytest.raises(PatchError):
            load_patch(wrong)
