"""I53: what a hole leaves behind is judged by the pages that were there when it first had the lock."""

from __future__ import annotations

from typing import Any

import pytest

from gmemsim.explore.campaign import Campaign, run_campaign
from gmemsim.explore.program import ScenarioProgram
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.scenario import loads

TEXT = """
[scenario]
name = "hole"
summary = "A hole beside an allocation of the page"
vm_types = ["sw-protected"]

[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"

[setup]
ops = [{ op = "allocate" }]

[[task]]
name = "one"
ops = [{ op = "allocate" }]

[[task]]
name = "other"
ops = [{ op = "punch" }]
"""


class LocksAgain(V3):
    """A page that came in between was not there when the hole began."""

    async def kvm_gmem_punch_hole(self, t: Any, inode: Any, *args: Any, **options: Any) -> Any:
        ret = await super().kvm_gmem_punch_hole(t, inode, *args, **options)
        await inode.invalidate_lock.down_write(t)
        await inode.invalidate_lock.up_write(t)
        return ret


class LocksBefore(V3):
    """What is there when the lock is let go for the first time goes later."""

    async def kvm_gmem_punch_hole(self, t: Any, inode: Any, *args: Any, **options: Any) -> Any:
        await inode.invalidate_lock.down_write(t)
        await inode.invalidate_lock.up_write(t)
        return await super().kvm_gmem_punch_hole(t, inode, *args, **options)


class LeavesIt(V3):
    async def kvm_gmem_punch_hole(self, t: Any, inode: Any, *args: Any, **options: Any) -> Any:
        for _ in range(2):
            await inode.invalidate_lock.down_write(t)
            await inode.invalidate_lock.up_write(t)
        return 0


@pytest.mark.parametrize(
    ("patch", "rules"), [(LocksAgain, []), (LocksBefore, []), (LeavesIt, ["I53"])], ids=str
)
def test_a_hole_may_take_the_lock_more_than_once(patch: type[V3], rules: list[str]) -> None:
    done = run_campaign(Campaign(program=ScenarioProgram(scenario=loads(TEXT), patch=patch))).search
    assert [found.failure.rule for found in done.found] == rules
    assert done.complete is not bool(rules)
