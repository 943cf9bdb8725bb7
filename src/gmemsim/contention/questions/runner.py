"""Running a study: its cells as a campaign, and its page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec

from ...jobs.state_file import StateFile
from ..campaign import sources_digest
from .registry import STUDIES
from .study import Case, Corner, Found

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from .study import Claim, Study, Table

DEFAULT: Final = Corner("default")
_SCHEMA: Final = 1


@attrs.frozen
class Cell:
    """One case of one study in one corner with one seed."""

    study: str
    case: Case
    corner: Corner
    seed: int


class _Line(msgspec.Struct):
    study: str
    axes: tuple[tuple[str, str | int], ...]
    corner: str
    table: str
    changes: tuple[tuple[str, int], ...]
    seed: int
    values: dict[str, float]


def cells(study: Study, sweep: bool = True) -> list[Cell]:
    """All of a study: every seed with the default costs, the first one in the corners."""
    made = [Cell(study.key, case, DEFAULT, seed) for case in study.cases() for seed in study.seeds]
    if sweep:
        made += [
            Cell(study.key, case, corner, study.seeds[0])
            for corner in study.corners()
            for case in study.swept()
        ]
    return made


def run_cell(cell: Cell) -> dict[str, Any]:
    """Run one; the result as it stands in a state file."""
    study = STUDIES[cell.study]
    values = study.measure(cell.case, cell.corner.costs(study.arch(cell.case)), cell.seed)
    return {
        "study": cell.study,
        "axes": [list(axis) for axis in cell.case.axes],
        "corner": cell.corner.name,
        "table": cell.corner.table,
        "changes": [list(change) for change in cell.corner.changes],
        "seed": cell.seed,
        "values": {name: float(value) for name, value in values.items()},
    }


def open_state(path: Path) -> StateFile[Cell]:
    """The state file of studies.

    Raises:
        StateError: it is of other sources, in use, or no state file at all.
    """
    header = {"schema": _SCHEMA, "sources": sources_digest()}
    return StateFile(path, "study", header, _Line, _cell)


def cell_of(document: dict[str, Any]) -> Cell:
    """The cell of a line of a state file."""
    return _cell(msgspec.convert(document, _Line))


def _cell(line: _Line) -> Cell:
    return Cell(line.study, Case(line.axes), Corner(line.corner, line.table, line.changes), line.seed)


@attrs.frozen
class Survival:
    """What became of a claim.

    Attributes:
        holds: with the default costs.
        fails: corners in which it does not hold; `corners`: how many there are.
    """

    claim: Claim
    holds: bool
    fails: tuple[str, ...]
    corners: int

    def __str__(self) -> str:
        if not self.holds:
            return "**It does not hold with the default costs.**"
        if not self.corners:
            return "Not swept."
        if not self.fails:
            return f"Survives all {self.corners} corners."
        return f"Holds in {self.corners - len(self.fails)} of {self.corners} corners; not with {', '.join(self.fails)}."


@attrs.frozen
class Answer:
    """What a study came to.

    Attributes:
        corners: names of those that were run whole.
    """

    study: Study
    found: Found
    survivals: tuple[Survival, ...]
    tables: tuple[Table, ...]
    corners: tuple[str, ...]


def answer(study: Study, values: dict[Cell, dict[str, float]]) -> Answer:
    """Sum up the cells of a study; a corner of which a cell is missing is left out."""
    mine = {cell: each for cell, each in values.items() if cell.study == study.key}
    found = _found(mine, study.cases(), DEFAULT, study.seeds)
    corners = {}
    for corner in study.corners():
        if all(Cell(study.key, case, corner, study.seeds[0]) in mine for case in study.swept()):
            corners[corner.name] = _found(mine, study.swept(), corner, study.seeds[:1])
    return Answer(
        study,
        found,
        tuple(
            Survival(
                claim,
                claim.holds(found),
                tuple(name for name, each in corners.items() if not claim.holds(each)),
                len(corners),
            )
            for claim in study.claims()
        ),
        tuple(study.tables(found)),
        tuple(corners),
    )


def _found(
    values: dict[Cell, dict[str, float]], wanted: Iterable[Case], corner: Corner, seeds: Sequence[int]
) -> Found:
    by_study = {(cell.case, cell.seed): each for cell, each in values.items() if cell.corner == corner}
    return Found({case: [by_study[case, seed] for seed in seeds] for case in wanted})


def markdown(told: Answer, picture: str = "") -> str:
    """The page of a study.

    Args:
        picture: name of the picture beside it; empty: there is none.
    """
    study = told.study
    lines = [f"# {study.key}: {study.slug.replace('-', ' ')}", "", study.question, ""]
    lines += ["**Short answer, within the model and its cost tables:**", ""]
    lines += [f"* {each.claim.text} *{each}*" for each in told.survivals]
    lines += ["", study.method, "", _bounds(told), ""]
    if picture:
        lines += [f"![{study.key}]({picture})", ""]
    for table in told.tables:
        lines += [f"## {table.title}", "", *_table(table), ""]
    lines += ["## Does the answer survive the uncertain costs?", "", *_swept(told)]
    lines += ["", "## What is not in it", "", _absent(study), ""]
    return "\n".join(lines)


def _swept(told: Answer) -> list[str]:
    if not told.corners:
        return ["That was not asked: every claim was tested with the default costs alone."]
    lines = [f"Every claim was tested again, one seed each, with: {', '.join(told.corners)}.", ""]
    lines += ["| claim | default costs | corners in which it fails |", "|---|---|---|"]
    for each in told.survivals:
        fails = f"{', '.join(each.fails) or 'none'} of {each.corners}"
        lines.append(f"| {each.claim.text} | {'holds' if each.holds else 'fails'} | {fails} |")
    return lines


def _bounds(told: Answer) -> str:
    study = told.study
    text = (
        f"Virtual time, cost table `full`, means of {len(study.seeds)} seeds."
        if len(study.seeds) > 1
        else "Virtual time, cost table `full`, one run of each: nothing in it is drawn."
    )
    widest = told.found.widest(study.main) if study.main else None
    if widest is not None:
        text += f" The widest 95 % interval of `{study.main}` is ±{widest:.1%} of its mean."
    return text + " Page and picture are written by `python docs/generate_studies.py`."


def _absent(study: Study) -> str:
    common = (
        "Figures are virtual time: for orderings, ratios and scaling. What no table charges is listed by "
        "`gmemsim bench costs --costs full`."
    )
    return f"{study.absent} {common}" if study.absent else common


def _table(table: Table) -> list[str]:
    aligned = ["--:" if _number(table, column) else "---" for column in range(len(table.headings))]
    lines = ["| " + " | ".join(row) + " |" for row in (table.headings, *table.rows)]
    return [lines[0], "|" + "|".join(aligned) + "|", *lines[1:]]


def _number(table: Table, column: int) -> bool:
    """Whether a column has numbers, which stand right."""
    return all(row[column].lstrip("-±0123456789,.% ") in ("", "-", "x") for row in table.rows)
