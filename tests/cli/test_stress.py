"""`gmemsim stress`: what a state file is still good for, and what was asked twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from gmemsim.cli.group import cli

if TYPE_CHECKING:
    import pytest

PATCH = """\
from gmemsim.patches.v3 import V3

class Mine(V3):
    async def kvm_gmem_make_ready(self, t, vm, inode, folio, gfn):
        return await super().kvm_gmem_make_ready(t, vm, inode, folio, gfn)
"""
CALL = "        return await"
CLEARS_TWICE = PATCH.replace(CALL, f"        await self.kvm_gmem_clear_folio(t, inode, folio, 1)\n{CALL}")
SEARCH = ("--arch", "sw-protected", "--seeds", "1", "--schedules", "20", "--strategy", "random", "--json")


def stress(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(cli, ["stress", *arguments, *SEARCH])
    assert done.exit_code in (0, 1), done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_patch_that_was_edited_is_searched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ("punch", "--patch", "mine.py:Mine", "--state", "kept.state")
    Path("mine.py").write_text(PATCH)
    assert stress(*asked)["violations"] == []
    kept = Path("kept.state").read_bytes()
    assert stress(*asked)["violations"] == []
    assert Path("kept.state").read_bytes() == kept
    Path("mine.py").write_text(CLEARS_TWICE)
    for _ in range(2):
        assert [each["rule"] for each in stress(*asked)["violations"]] == ["I5"]


def test_what_is_named_twice_is_searched_once() -> None:
    found = stress("hole", "hole", "--patch", "v3", "--patch", "v3")
    assert (found["cells"], found["finished"]) == (1, 1)
