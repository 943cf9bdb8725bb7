"""Studies: claims are tested on the figures, in every corner; the answer cannot say more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import attrs
import pytest
from click.testing import CliRunner

from gmemsim.arch.costs import CostTable
from gmemsim.cli.bench import command
from gmemsim.contention.questions import registry, runner
from gmemsim.contention.questions.registry import STUDIES
from gmemsim.contention.questions.runner import Cell, answer, cell_of, cells, markdown, open_state, run_cell
from gmemsim.contention.questions.study import Case, Chart, Claim, Found, Study, Table, cases


class Line(Study):
    """Measures the cost of a line itself."""

    key: ClassVar[str] = "Q0"
    slug: ClassVar[str] = "line"
    question: ClassVar[str] = "What does a line cost?"
    method: ClassVar[str] = "Nothing is run."
    uncertain: ClassVar[tuple[str, ...]] = ("line",)
    main: ClassVar[str] = "ns"

    def cases(self) -> list[Case]:
        return cases(times=(1, 2))

    def measure(self, case: Case, costs: CostTable, seed: int) -> dict[str, float]:
        return {"ns": costs.line * case["times"] + seed}

    def claims(self) -> Sequence[Claim]:
        return (
            Claim("Two cost more than one.", lambda f: f("ns", times=2) > f("ns", times=1)),
            Claim("Two cost less than 400 ns.", lambda f: f("ns", times=2) < 400),
            Claim("Two are free.", lambda f: f("ns", times=2) == 0),
        )

    def tables(self, found: Found) -> list[Table]:
        return [Table("Lines", ("n", "ns"), [(str(n), f"{found('ns', times=n):.0f}") for n in (1, 2)])]

    def charts(self, found: Found) -> list[Chart]:
        return [Chart("lines", "n", "ns", {"line": [(n, found("ns", times=n)) for n in (1, 2)]})]


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Study:
    study = Line()
    monkeypatch.setitem(STUDIES, "Q0", study)
    return study


def values(study: Study) -> dict[Cell, dict[str, float]]:
    return {cell: run_cell(cell)["values"] for cell in cells(study)}


def test_claims_are_tested_in_every_corner(line: Study) -> None:
    told = answer(line, values(line))
    names = [corner.name for corner in line.corners()]
    assert names == ["line 20 ns", "line 250 ns", "milan", "genoa", "sapphire-rapids"]
    first, second, third = told.survivals
    assert (first.holds, first.fails, first.corners) == (True, (), 5)
    assert (second.holds, second.fails) == (True, ("line 250 ns",))
    assert not third.holds
    page = markdown(told, "line.svg")
    assert "Two cost more than one. *Survives all 5 corners.*" in page
    assert "Holds in 4 of 5 corners; not with line 250 ns." in page
    assert "It does not hold with the default costs" in page
    assert "| 2 | 162 |" in page
    assert "widest 95 % interval" in page


def test_a_page_says_when_no_corner_was_asked(line: Study) -> None:
    found = {cell: run_cell(cell)["values"] for cell in cells(line, sweep=False)}
    page = markdown(answer(line, found))
    assert "every claim was tested with the default costs alone" in page
    assert "tested again" not in page
    assert "of 0" not in page


def test_means_are_over_the_seeds(line: Study) -> None:
    assert answer(line, values(line)).found("ns", times=1) == 80 + 2


def test_cells_of_another_study_with_equal_cases_are_not_mixed_in(line: Study) -> None:
    found = values(line)
    others = {attrs.evolve(cell, study="Q00"): {"ns": -1.0} for cell in found}
    one, other = answer(line, found), answer(line, {**found, **others})
    assert list(map(str, one.survivals)) == list(map(str, other.survivals))
    assert answer(line, {**found, **others}).found("ns", times=1) == 82


def test_a_corner_with_a_cell_missing_is_left_out(line: Study) -> None:
    found = values(line)
    del found[next(cell for cell in found if cell.corner.name == "milan")]
    assert answer(line, found).survivals[0].corners == 4


def test_state(line: Study, tmp_path: Path) -> None:
    cell = cells(line)[0]
    with open_state(tmp_path / "a") as state:
        state.add(run_cell(cell))
    with open_state(tmp_path / "a") as state:
        assert list(state.results) == [cell]
    assert cell_of(run_cell(cell)) == cell


def test_command(line: Study, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    done = CliRunner().invoke(command, ["study", "Q0", "--page", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert [claim["holds"] for claim in document["claims"]] == [True, True, False]
    assert {path.name for path in tmp_path.iterdir()} == {"line.md", "line.svg"}
    shown = CliRunner().invoke(command, ["study", "Q0", "--no-sweep"])
    assert "Not swept." in shown.stdout
    assert CliRunner().invoke(command, ["study", "Q99"]).exit_code == 2


def test_list() -> None:
    done = CliRunner().invoke(command, ["study"])
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines() if line.startswith("Q")] == list(STUDIES)


@pytest.mark.parametrize("key", list(STUDIES))
def test_every_study_has_what_it_needs(key: str) -> None:
    """Its smallest case runs, twice alike; claims need cases that are swept only."""
    study = STUDIES[key]
    case = min(study.cases(), key=lambda case: (case.get("vcpus", 0), case.get("pages", 0)))
    costs = runner.DEFAULT.costs(study.arch(case))
    one = study.measure(case, costs, study.seeds[0])
    assert one == study.measure(case, costs, study.seeds[0])
    assert study.main in one or not study.main
    assert set(study.swept()) <= set(study.cases())
    if set(study.swept()) < set(study.cases()):
        swept = Found({case: [dict.fromkeys(one, 1.0)] for case in study.swept()})
        for claim in study.claims():
            claim.holds(swept)
    assert registry.STUDIES[study.key] is study
