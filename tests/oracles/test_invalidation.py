"""I15 where the invalidate lock is downgraded, and I21 where a zap of several slots gives mmu_lock up."""

from __future__ import annotations

from typing import Any

import pytest
from tests.explore.workloads import BASE, Machine, Plan

from gmemsim.engine.locks.policies import LOCK_POLICIES
from gmemsim.engine.strategy import FirstRunnable
from gmemsim.explore.campaign import Campaign, run_campaign
from gmemsim.explore.measure import attempt
from gmemsim.explore.program import ScenarioProgram
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.scenario import loads

TEXT = """
[scenario]
name = "hole"
summary = "A hole beside a fault"
vm_types = ["sw-protected"]

[[file]]
id = "gmem0"
pages = 1

[[slot]]
file = "gmem0"

[[task]]
role = "vcpu"
ops = [{ op = "touch" }]

[[task]]
name = "other"
ops = [{ op = "punch" }]
"""


class _Holes(V3):
    """PUNCH_HOLE as in v3, up to the end of the invalidation."""

    async def kvm_gmem_punch_hole(self, t: Any, inode: Any, start: int, end: int) -> int:
        await inode.invalidate_lock.down_write(t)
        await self.kvm_gmem_invalidate_start(t, inode, start, end, self.invalidate_filter(inode))
        await self.truncate_inode_pages_range(t, inode, start, end)
        await self.ends(t, inode, start, end)
        return 0

    async def ends(self, t: Any, inode: Any, start: int, end: int) -> None:
        raise NotImplementedError


class Downgrades(_Holes):
    """The end comes while the lock is held shared: bindings are stored by writers only."""

    async def ends(self, t: Any, inode: Any, start: int, end: int) -> None:
        await inode.invalidate_lock.downgrade_write(t)
        await self.kvm_gmem_invalidate_end(t, inode, start, end)
        await inode.invalidate_lock.up_read(t)


class LetsGo(_Holes):
    async def ends(self, t: Any, inode: Any, start: int, end: int) -> None:
        await inode.invalidate_lock.up_write(t)
        await inode.invalidate_lock.down_read(t)
        await self.kvm_gmem_invalidate_end(t, inode, start, end)
        await inode.invalidate_lock.up_read(t)


class DowngradesAndLetsGo(_Holes):
    async def ends(self, t: Any, inode: Any, start: int, end: int) -> None:
        await inode.invalidate_lock.downgrade_write(t)
        await inode.invalidate_lock.up_read(t)
        await self.kvm_gmem_invalidate_end(t, inode, start, end)


@pytest.mark.parametrize(
    ("patch", "rules"),
    [(Downgrades, []), (LetsGo, ["I15"]), (DowngradesAndLetsGo, ["I15"])],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_lock_that_is_downgraded_still_covers_the_invalidation(patch: type[V3], rules: list[str]) -> None:
    done = run_campaign(Campaign(program=ScenarioProgram(scenario=loads(TEXT), patch=patch))).search
    assert [found.failure.rule for found in done.found] == rules
    assert done.complete is not bool(rules)


@pytest.mark.parametrize("policy", sorted(LOCK_POLICIES.keys() - {"none"}))
def test_of_each_lock(policy: str) -> None:
    for patch, rule in ((Downgrades, None), (LetsGo, "I15"), (DowngradesAndLetsGo, "I15")):
        program = ScenarioProgram(scenario=loads(TEXT), patch=patch, policy=policy)
        failure = attempt(program, FirstRunnable()).failure
        assert (failure and failure.rule) == rule


# -- a hole over two slots -------------------------------------------------------------------------------


class Reschedules(V3):
    """Each zap gives mmu_lock up where it may, and counts how often."""

    times = 0

    def tdp_mmu_iter_need_resched(self, t: Any, vm: Any, flush: bool) -> bool:
        return True

    async def tdp_mmu_iter_cond_resched(self, t: Any, vm: Any, flush: bool) -> None:
        self.times += 1
        await super().tdp_mmu_iter_cond_resched(t, vm, flush)


class ForgetsTheFirst(Reschedules):
    """`flush = ` in place of `flush |= `: what the first slot needs is lost."""

    async def kvm_unmap_gfn_range(self, t: Any, vm: Any, start: int, end: int, kinds: str) -> bool:
        flush = await super().kvm_unmap_gfn_range(t, vm, start, end, kinds)
        return flush and start != BASE


class ForgetsTheLast(Reschedules):
    async def kvm_unmap_gfn_range(self, t: Any, vm: Any, start: int, end: int, kinds: str) -> bool:
        flush = await super().kvm_unmap_gfn_range(t, vm, start, end, kinds)
        return flush and start == BASE


class DropsUnflushed(Reschedules):
    """What the zap itself removed is not flushed before others have mmu_lock."""

    async def tdp_mmu_iter_cond_resched(self, t: Any, vm: Any, flush: bool) -> None:
        await super().tdp_mmu_iter_cond_resched(t, vm, False)


@pytest.mark.parametrize(
    ("kernel", "mapped", "stale"),
    [
        # The second slot's zap drops mmu_lock before its leaf and has nothing to flush yet; the first slot's is due.
        (Reschedules, (0, 2), None),
        (Reschedules, (0, 1, 2), None),
        # It meets no leaf at all, and drops mmu_lock behind the last entry.
        (Reschedules, (0,), None),
        (ForgetsTheFirst, (0,), 0),
        (ForgetsTheLast, (2,), 2),
        (DropsUnflushed, (0, 1), 1),
    ],
)
def test_a_flush_of_two_slots(kernel: type[Reschedules], mapped: tuple[int, ...], stale: int | None) -> None:
    slots = [("delete", 0, 0), ("create", 0, 0, 0, 1, 0), ("create", 0, 1, 1, 3, 1)]
    touches = [("access", 0, 0, page, False) for page in mapped]
    machine = Machine(kernel, "private")
    machine.run(Plan([*slots, *touches]))
    machine.kernel.times = 0  # type: ignore[attr-defined]
    oracles = machine.run(Plan([("fallocate", 0, 0, 3, True)]), collect=True)
    assert machine.kernel.times  # type: ignore[attr-defined]
    found = [(each.rule, each.details["gfn"]) for each in oracles.violations]
    assert found == ([] if stale is None else [("I21", BASE + stale)])
