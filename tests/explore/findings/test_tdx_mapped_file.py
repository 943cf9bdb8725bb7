"""A TDX guest's shared mapping of a file with MMAP alone: whoever takes the page away, it is the same finding."""

from __future__ import annotations

from importlib.resources import files

import pytest

from gmemsim.explore.findings.table import known
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import search
from gmemsim.explore.strategies import make_strategy
from gmemsim.scenarios.scenario import loads

TEXT = (files("gmemsim.scenarios.zoo") / "tdx_mapped_file.toml").read_text(encoding="utf-8")
HOLE = '{ op = "punch", expect = "ok" }'


@pytest.mark.parametrize(
    ("taken", "rule"),
    [
        (HOLE, "I19"),
        # No mapping keeps the file: the last close frees its pages.
        ('{ op = "close", file = "gmem0" }', "I19"),
        ('{ op = "memory_failure" }', "poison"),
    ],
)
def test_however_the_page_is_taken(taken: str, rule: str) -> None:
    program = ScenarioProgram(
        scenario=loads(TEXT.replace(HOLE, taken)), patch="mainline-7.3", arch="tdx", release=None
    )
    (found,) = search(program, make_strategy("stateful", 0)).found
    assert found.failure.rule == rule
    finding = known(found.failure)
    assert finding is not None
    assert finding.ident == "tdx-shared-page-survives-hole"


@pytest.mark.parametrize("mend", ["mapped-files-zap-both", "files-zap-both"])
def test_mends(mend: str) -> None:
    program = ScenarioProgram(scenario=loads(TEXT), patch=f"mainline-7.3+{mend}", arch="tdx", release=None)
    result = search(program, make_strategy("stateful", 0))
    assert result.complete
    assert not result.found


def test_private_memory_of_such_a_file_is_zapped() -> None:
    text = TEXT.replace('private = "none"', 'private = "auto"').replace(", private = false", "")
    program = ScenarioProgram(scenario=loads(text), patch="mainline-7.3", arch="tdx", release=None)
    result = search(program, make_strategy("stateful", 0))
    assert result.complete
    assert not result.found
