"""What of a user's code never ran: functions in no cell of a campaign, operations in no run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from gmemsim.cli.group import cli
from gmemsim.cli.stress import _never
from gmemsim.explore.stress import Cell
from gmemsim.scenarios import own
from gmemsim.scenarios.ops import OPS

if TYPE_CHECKING:
    import pytest


def test_what_ran_in_one_cell_has_run() -> None:
    results: dict[Cell, dict[str, Any]] = {
        Cell("same", "a.py:A", "snp", 0): {"never_ran": ["one", "two"]},
        Cell("hole", "a.py:A", "snp", 0): {"never_ran": ["two", "three"]},
        Cell("same", "b.py:B", "snp", 0): {"never_ran": ["one"]},
        Cell("hole", "b.py:B", "snp", 0): {},
    }
    assert _never(results) == {"a.py:A": ["two"]}


OPERATION = """\
from gmemsim.extend import Op, Outcome, operation


@operation
class SitStill(Op, frozen=True, kw_only=True):
    async def run(self, thread, t, step, lo, hi):
        await t.point()
        return Outcome("ok")
"""
TASKS = """\
[scenario]
name = "still"
summary = "Nobody sits still."
vm_types = ["sw-protected"]
[[file]]
id = "gmem0"
pages = 1
[[task]]
name = "a"
ops = [{ op = "allocate" }]
[[task]]
name = "b"
instances = 0
ops = [{ op = "sit_still" }]
"""


def test_an_operation_of_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for known in (OPS, own._own):
        monkeypatch.delitem(known, "sit_still", raising=False)  # nor is it known after this test
    Path("mine.py").write_text(OPERATION)
    Path("still.toml").write_text(TASKS)
    for command in (("run",), ("explore",), ("stress", "--schedules", "2", "--seeds", "1")):
        result = CliRunner().invoke(cli, [*command, "still.toml", "--operation", "mine.py:SitStill"])
        assert "Your `SitStill` never ran in " in result.output, command
    Path("still.toml").write_text(TASKS.replace("instances = 0\n", ""))
    result = CliRunner().invoke(cli, ["explore", "still.toml", "--operation", "mine.py:SitStill"])
    assert "never ran" not in result.output


def test_fault_points_that_no_run_came_to(tmp_path: Path) -> None:
    """Whether they fire is chosen. Scenarios of ours are for several VM types: nothing is said of them."""
    mine = TASKS[: TASKS.index('[[task]]\nname = "b"')] + "[faults]\nalloc_folio = 1\npsp_launch_update = 1\n"
    (tmp_path / "mine.toml").write_text(mine)
    said = "Nothing came to the fault point `psp_launch_update` in"
    for command in (["run"], ["explore", "--strategy", "random", "--max-schedules", "5"]):
        done = CliRunner().invoke(cli, [*command, str(tmp_path / "mine.toml")])
        assert (done.exit_code, said in done.output, "alloc_folio" in done.output) == (0, True, False)
    ours = CliRunner().invoke(cli, ["run", "populate_mmap_lock", "--small", "--arch", "tdx"])
    assert (ours.exit_code, "Nothing came" in ours.output) == (0, False)
