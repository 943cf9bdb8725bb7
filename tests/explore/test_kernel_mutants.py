"""The tables of mutants: every one applies, and some of them are found as their tables say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

RUN = Path(__file__).parents[2] / "bench" / "mutants" / "run.py"


def load() -> Any:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("mutants_run", RUN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SCRIPT = load()
TABLE = SCRIPT.table()


def test_every_mutant_applies() -> None:
    """Its texts are in its file, once, and what comes out is Python; it is found, or says why not."""
    for mutant in TABLE.values():
        source = (SCRIPT.SOURCES / "gmemsim" / mutant.file).read_text(encoding="utf-8")
        changed = mutant.apply(source)
        assert changed != source, mutant.name
        compile(changed, mutant.file, "exec")
        assert sum(map(bool, (mutant.rule, mutant.equivalent, mutant.survives))) == 1, mutant.name


def test_every_room_has_its_mutants() -> None:
    """At least ten of each table, of at least 40 files in all."""
    rooms = [mutant.room for mutant in TABLE.values()]
    assert all(rooms.count(room) >= 10 for room in SCRIPT.ROOMS)
    assert len({mutant.file for mutant in TABLE.values()}) >= 35


@pytest.mark.parametrize(
    "name",
    ["truncate-skips-busy", "failure-without-hook", "delete-without-grace-period", "tdx-no-write-back"],
)
def test_found_as_the_table_says(name: str) -> None:
    mutant = TABLE[name]
    rows = SCRIPT.run(name, 400, 60.0)
    assert SCRIPT.verdict(mutant, rows) == ""
    assert rows[-1]["rule"] == mutant.rule


def test_a_verdict_on_what_is_not_as_recorded() -> None:
    mutant = TABLE["tdx-no-write-back"]
    row = {"cell": "recycle v3 tdx", "rule": "", "summary": "", "schedules": 400}
    assert SCRIPT.verdict(mutant, [row]) == "SURVIVES"
    assert SCRIPT.verdict(mutant, [{**row, "rule": "I2"}]).startswith("found by I2")
    assert SCRIPT.verdict(mutant, []).startswith("did not run")
    equivalent = next(each for each in TABLE.values() if each.equivalent)
    assert SCRIPT.verdict(equivalent, [{**row, "rule": "I2"}]).startswith("is called equivalent")


def test_the_kernel_as_it_is_is_clean_there() -> None:
    """The control of one cell: without a change nothing is found."""
    rows = SCRIPT.run("@recycle v3 tdx", 20, 60.0)
    assert [row["rule"] for row in rows] == [""]
