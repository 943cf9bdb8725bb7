"""A patch that breaks a storm: one line that names it, exit code 2, and no figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from gmemsim.cli.group import cli

if TYPE_CHECKING:
    from pathlib import Path

HEAD = """\
from gmemsim.patches.v3 import V3


class Mine(V3):
    async def kvm_gmem_make_ready(self, t, vm, inode, folio, gfn):
"""
TAIL = "        return await super().kvm_gmem_make_ready(t, vm, inode, folio, gfn)\n"
ORDERS = """\
        one, two = (vm.slots_lock, vm.lock) if gfn % 2 else (vm.lock, vm.slots_lock)
        await one.lock(t)
        await t.spend(1000)
        await two.lock(t)
        await two.unlock(t)
        await one.unlock(t)
"""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("        await inode.invalidate_lock.down_read(t)\n", "ended with gmem0.invalidate_lock held"),
        ("        await vm.slots_lock.lock(t)\n", "locks vm0.slots_lock twice"),
        (
            "        if vm.slots_lock.owner is None:\n            await vm.slots_lock.lock(t)\n",
            "ended with vm0.slots_lock held",
        ),
        ("        await t.spend(-500)\n", "spends -500 ns"),
        ("        await t.sleep(-500)\n", "sleeps for -500 ns"),
        (ORDERS, "Deadlock: deadlock: vcpu"),
    ],
)
def test_it_is_said(body: str, said: str, tmp_path: Path) -> None:
    jobs = "2" if body == ORDERS else "1"
    path = tmp_path / "mine.py"
    path.write_text(HEAD + body + TAIL)
    arguments = (
        "--patch",
        f"{path}:Mine",
        "--arch",
        "sw-protected",
        "--storm",
        "first-touch",
        "--jobs",
        jobs,
    )
    done = CliRunner().invoke(cli, ["bench", "contention", *arguments, "--vcpus", "3,4", "--pages", "9"])
    assert done.exit_code == 2, done.output
    (line,) = done.output.splitlines()
    assert said in line
    assert "mine.py" in line
    assert "internal error" not in line


def test_it_is_said_of_the_patch_that_broke(tmp_path: Path) -> None:
    """Of several in a sweep: an errno that no guest of a storm can do with shows in the model, and has no line."""
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(HEAD + TAIL)
    bad.write_text(HEAD + "        return -11\n")
    patches = ",".join(("v3", f"{good}:Mine", f"{bad}:Mine"))
    arguments = ("--patch", patches, "--arch", "sw-protected", "--storm", "first-touch", "--vcpus", "1")
    done = CliRunner().invoke(cli, ["bench", "contention", *arguments, "--pages", "1"])
    assert done.exit_code == 2, done.output
    assert f"{bad}:Mine: what it gave to" in done.output
    assert "good.py" not in done.output
