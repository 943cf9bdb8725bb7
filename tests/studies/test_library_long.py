"""No oracle fires in any library scenario on any version and VM type, other than for the findings that are known."""

from __future__ import annotations

import pytest

from gmemsim.studies.library import VERSIONS, cells, explore_cell, missing, must_show

pytestmark = pytest.mark.long

SCHEDULES = 100
#: Where a known finding has to show.
MORE = 300


@pytest.mark.parametrize("patch", VERSIONS)
def test_only_what_is_known(patch: str) -> None:
    """A known finding that does not show any more is an error too."""
    results = [explore_cell(cell, MORE if must_show(cell) else SCHEDULES) for cell in cells([patch])]
    assert {result.cell: result.unknown for result in results if result.unknown} == {}
    assert missing(results) == []
