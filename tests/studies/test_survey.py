"""Asking a study: by name, by processes, as far as it came, and on from there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gmemsim.jobs.share import Place, place
from gmemsim.jobs.state_file import StateError
from gmemsim.studies.registry import STUDIES
from gmemsim.studies.study import Asked, Plan, Result, Study, StudyError
from gmemsim.studies.survey import Survey, open_state

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from gmemsim.patches.entry import Entry

SMALL = Plan(schedules=3)
SURE = "launch-finish-repeated"


@pytest.mark.parametrize("name", STUDIES)
def test_entries_are_named_and_asked_somewhere_or_say_why_not(name: str) -> None:
    study = STUDIES[name]
    entries = study.entries()
    assert list(entries) == [entry.name for entry in entries.values()]
    for entry in list(entries.values())[:: max(len(entries) // 20, 1)]:
        assert entry.title
        asked = [list(study.asked(entry, (), (), Plan(pages=pages))) for pages in (1, 2)]
        assert any(asked) != bool(study.why_not(entry, ()))
        assert all(len({one.key for one in each}) == len(each) for each in asked)


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "litmus"])
def test_a_name_that_there_is_not(name: str) -> None:
    with pytest.raises(StudyError, match="no "):
        STUDIES[name].find("nonsense")


def test_operations_are_found_in_any_order_and_by_one_of_them() -> None:
    pairs = STUDIES["pairs"]
    assert [entry.name for entry in pairs.find("memory failure + punch")] == ["punch + memory failure"]
    assert {entry.name for entry in pairs.find("populate")} >= {"punch + populate", "populate + populate"}
    assert [entry.name for entry in STUDIES["triples"].find("punch + punch + touch")] == [
        "touch + punch + punch"
    ]


def test_what_is_named_twice_is_asked_once() -> None:
    survey = Survey(
        STUDIES["pairs"], SMALL, ["allocate + close"] * 2, ["v3"] * 2, ["sw-protected", "sw-protected"]
    )
    assert len({one.key for one in survey.asked}) == len(survey.asked)


def test_processes_come_to_the_same() -> None:
    rows = []
    for jobs in (1, 2):
        survey = Survey(STUDIES["pairs"], SMALL, ["allocate + close"], ["v3"])
        with place(jobs, None) as where:
            list(survey.run(where))
        assert survey.whole
        rows.append([{**result.row, "cpu_seconds": 0} for result in survey.results])
    assert rows[0] == rows[1]
    assert [row["setup"] for row in rows[0][:2]] == ["untouched", "used"]


def test_it_goes_on_from_its_file(tmp_path: Path) -> None:
    path, study = tmp_path / "s.jsonl", STUDIES["library"]
    plan = Plan(schedules=2, known=2)

    def survey() -> Survey:
        return Survey(study, plan, ["punch"], ["v3"])

    first = survey()
    with open_state(path, study, plan) as kept:
        asking = first.run(Place(), kept)
        next(asking)
        del asking
    assert not first.whole
    with open_state(path, study, plan) as kept:
        assert [result.asked.key for result in first.results] == list(kept.results)
        second = survey()
        list(second.run(Place(), kept))
    assert second.results[0].row == first.results[0].row
    assert second.whole
    with pytest.raises(StateError, match="was made with schedules 2, not 3"):
        open_state(path, study, Plan(schedules=3, known=2))
    with pytest.raises(StateError, match="expected a file of `gmemsim study zoo`"):
        open_state(path, STUDIES["zoo"], plan)


def test_what_changed_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, study, plan = tmp_path / "s.jsonl", STUDIES["library"], Plan(schedules=1, known=1)
    sizes = []
    for digest in ("old", "old", "new"):
        monkeypatch.setattr("gmemsim.studies.study._sources_of", lambda patch, digest=digest: digest)
        with open_state(path, study, plan) as kept:
            list(Survey(study, plan, ["hole"], ["v3"], ["snp"]).run(Place(), kept))
        sizes.append(path.stat().st_size)
    assert sizes[0] == sizes[1] < sizes[2]


def test_sources_are_those_of_the_patch_and_of_a_test_s_text(tmp_path: Path) -> None:
    zoo, litmus = STUDIES["zoo"], STUDIES["litmus"]
    v2, v3, again = (zoo.sources(Asked(entry=zoo.find(SURE)[0], patch=patch)) for patch in ("v2", "v3", "v3"))
    assert v2 != v3 == again
    text = litmus.find("first_fault")[0].scenario.source.text  # type: ignore[attr-defined]
    found = []
    for more in ("", "\n# Another.\n"):
        (tmp_path / "t.toml").write_text(text + more)
        found.append(litmus.sources(Asked(entry=litmus.find(str(tmp_path / "t.toml"))[0], patch="v3")))
    assert found[0] != found[1]


def test_a_sample_is_the_same_for_the_same_seed() -> None:
    def drawn(seed: int) -> list[tuple[str, ...]]:
        return [one.key for one in Survey(STUDIES["pairs"], SMALL, patches=["v3"], cells=5, seed=seed).asked]

    assert len(drawn(0)) == 5
    assert drawn(0) == drawn(0) != drawn(1)


class Cut(Study):
    """Interrupted at its second entry."""

    name = "cut"

    def entries(self) -> dict[str, Entry]:
        return {name: STUDIES["library"].entries()[name] for name in ("hole", "punch", "same")}

    def asked(
        self, entry: Entry, patches: Sequence[str], vm_types: Sequence[str], plan: Plan
    ) -> Iterator[Asked]:
        yield Asked(entry=entry, patch="v3")

    def ask(self, asked: Asked, plan: Plan) -> Result:
        if asked.entry.name == "punch":
            raise KeyboardInterrupt
        return Result(asked=asked, row={}, verdict="done")


def test_what_was_answered_before_an_interrupt_is_there() -> None:
    survey = Survey(Cut(), Plan())
    with pytest.raises(KeyboardInterrupt):
        list(survey.run(Place()))
    assert [result.asked.entry.name for result in survey.results] == ["hole"]
    assert not survey.whole
