"""The table of operations: every cell makes a scenario that can be built."""

from __future__ import annotations

import pytest

from gmemsim.engine.strategy import FirstRunnable
from gmemsim.explore.program import ScenarioProgram
from gmemsim.patches.registry import load_patch
from gmemsim.scenarios.scenario import loads
from gmemsim.studies.matrix import cells
from gmemsim.studies.operations import Cell, operations, rows_for, scenario_text


@pytest.mark.parametrize(
    ("patch", "together", "pages"),
    [
        *(
            (patch, together, 1)
            for patch in ("baseline", "v3", "mainline-7.3", "hugepage")
            for together in (2, 3)
        ),
        *(("inplace", together, pages) for together in (2, 3, 4) for pages in (1, 2)),
        ("v3", 2, 2),
    ],
)
def test_cells_can_be_built(patch: str, together: int, pages: int) -> None:
    version = load_patch(patch)
    huge = version.huge_pages
    found = list(cells(patch, together, pages=pages))
    assert len(found) == len(set(found))
    wanted = {one.name for one in rows_for(pages, huge=huge) if together == 2 or not one.alone}
    assert {name for cell in found for name in cell.names} == wanted
    assert {cell.setup for cell in found} >= {"untouched", "used"}
    for cell in found[:: {2: 13, 3: 101, 4: 501}[together]]:
        scenario = loads(scenario_text(cell), "cell.toml")
        ScenarioProgram(scenario=scenario, patch=patch, arch=cell.arch, small=False).build(FirstRunnable())


def test_a_cell_of_huge_pages_has_its_own_rows() -> None:
    names = ("touch", "punch")
    small, huge = (operations(Cell(names, "hugepage", "snp", huge=flag)) for flag in (False, True))
    assert small != huge
    with pytest.raises(KeyError):
        operations(Cell(("split",), "v3", "snp"))


def test_a_third_operation_does_not_change_the_state_of_the_page() -> None:
    two = scenario_text(Cell(("punch", "punch"), "inplace", "snp", "used"))
    three = scenario_text(Cell(("punch", "punch", "allocate"), "inplace", "snp", "used"))
    assert two.split("[[task]]")[0].splitlines()[4:] == three.split("[[task]]")[0].splitlines()[4:]
    assert three.count("[[task]]") == two.count("[[task]]") + 1
