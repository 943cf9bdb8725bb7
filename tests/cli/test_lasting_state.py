"""State of a user's patch that outlives a run: refused by every command that makes more than one, found or not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from gmemsim.cli.group import cli
from gmemsim.engine.strategy import FirstRunnable
from gmemsim.patches.registry import PatchError
from gmemsim.testing import check
from gmemsim.testing.checking import run_once

if TYPE_CHECKING:
    from click.testing import Result

SCENARIO = """\
[scenario]
name = "two"
summary = "Two calls at once."
vm_types = ["sw-protected"]
[[file]]
id = "gmem0"
pages = 1
[[task]]
name = "a"
ops = [{ op = "punch", expect = "ok" }]
[[task]]
name = "b"
ops = [{ op = "punch", expect = "ok" }]
"""
#: A flag that is given back before a call ends; who meets it set fails. `{get}`, `{set}`, `{back}` say where it is.
PATCH = """\
import contextvars

from gmemsim.engine.op import Op
from gmemsim.patches.v3 import V3

HELD = set()
FLAG = contextvars.ContextVar("flag", default=0)


class Mine(V3):
    async def kvm_gmem_punch_hole(self, t, inode, start, end):
        await t.point(Op("rmw", "flag"))
        if {get}:
            return -16
        token = {set}
        try:
            await t.point(Op("rmw", "flag"))
        finally:
            {back}
        return await super().kvm_gmem_punch_hole(t, inode, start, end)
"""
WHERE = {
    "HELD": ("HELD", "HELD.add(1)", "HELD.clear()"),
    "FLAG": ("FLAG.get()", "FLAG.set(1)", "FLAG.reset(token)"),
}
COMMANDS = (
    ("explore", "two.toml", "--no-shrink"),
    ("explore", "two.toml", "--no-shrink", "--strategy", "dpor"),
    ("explore", "two.toml", "--no-shrink", "--jobs", "2", "--strategy", "random"),
    ("explore", "two.toml", "--no-shrink", "--keep-going"),
    ("explore", "two.toml", "--no-shrink", "--against", "v3"),
    ("outcomes", "two.toml"),
    ("stress", "two.toml", "--schedules", "5", "--seeds", "1"),
)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def write(where: str) -> None:
    get, put, back = WHERE[where]
    Path("mine.py").write_text(PATCH.format(get=get, set=put, back=back))
    Path("two.toml").write_text(SCENARIO)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("where", "command"), [*(("HELD", command) for command in COMMANDS), ("FLAG", COMMANDS[0])]
)
def test_refused_whatever_was_found(where: str, command: tuple[str, ...]) -> None:
    write(where)
    result = run(*command, "--patch", "mine.py:Mine")
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"mine.py: {where} was changed by a run and outlives it" in result.stderr
    assert run("run", "two.toml", "--patch", "mine.py:Mine", "--small").exit_code in (0, 1)


def test_refused_in_a_test() -> None:
    write("HELD")
    with pytest.raises(PatchError, match="HELD was changed by a run"):
        check("two.toml", "mine.py:Mine")
    Path("mine.py").write_text(PATCH.format(get="False", set="HELD.add(1)", back="pass"))
    with pytest.raises(PatchError, match="HELD was changed by a run"):
        run_once("two.toml", "mine.py:Mine", schedule=FirstRunnable())
