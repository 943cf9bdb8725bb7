"""No verdict depends on how a lock, an object or a step is called."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from gmemsim.actors.vm import Vm
from gmemsim.engine.locks.kinds import class_of, sleeps
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.locks.spinlock import QueuedRwLock, SpinLock
from gmemsim.engine.locks.stats import LockClass
from gmemsim.engine.op import Op
from gmemsim.oracles.roles import Roles
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.session import build
from gmemsim.testing import ScheduleFailure, check
from gmemsim.testing.checking import NeverRan


def renamed(parent: type[V3]) -> type[V3]:
    """The version with every lock of files and VMs called otherwise, some of them as another is called."""

    class Renamed(parent):  # type: ignore[misc,valid-type] # made of an argument
        def vm_locks(self, vm: Vm) -> None:
            if vm.mmu_lock.label.endswith("mmu_lock"):
                vm.mmu_lock = QueuedRwLock(f"odd.{vm.label}", LockClass("mmu_lock"))
                vm.slots_lock = Mutex(f"{vm.label}.mmu_lock", LockClass("slots_lock"))

        async def kvm_gmem_init_inode(self, t: Any, inode: Any) -> None:
            await super().kvm_gmem_init_inode(t, inode)
            for vm in self.world.vms.values():
                self.vm_locks(vm)
            inode.invalidate_lock = RwSem(f"{inode.label}.lock", LockClass("invalidate_lock"))

    return Renamed


class NoLock(V3):
    """A hole without its lock."""

    async def kvm_gmem_punch_hole(self, t: Any, inode: Any, start: int, end: int) -> int:
        await self.kvm_gmem_invalidate_start(t, inode, start, end, self.invalidate_filter(inode))
        await self.truncate_inode_pages_range(t, inode, start, end)
        await self.kvm_gmem_invalidate_end(t, inode, start, end)
        return 0


class NoPrepareLock(V3):
    """Prepare with the folio unlocked."""

    async def kvm_gmem_prepare_folio(self, t: Any, vm: Any, folio: Any, gfn: int) -> int:
        await self.folio_unlock(t, folio)
        ret: int = await super().kvm_gmem_prepare_folio(t, vm, folio, gfn)
        await folio.lock.lock(t)
        return ret


@pytest.mark.parametrize("patch", [V3, NoLock, NoPrepareLock])
@pytest.mark.parametrize("scenario", ["punch", "conv2"])
def test_the_same_verdict_under_other_names(patch: type[V3], scenario: str) -> None:
    found = []
    for cls in (patch, renamed(patch)):
        try:
            # Some of the functions are of the other scenario.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", NeverRan)
                check(scenario, cls, "sw-protected", strategy="random", schedules=40)
            found.append("")
        except ScheduleFailure as error:
            found.append(error.found.failure.rule)
    assert found[0] == found[1]
    assert bool(found[0]) == (patch is not V3 and (scenario == "punch" or patch is NoPrepareLock))


class LikeTheirs(V3):
    """Locks and objects of its own that are called as the kernel's are."""

    async def kvm_gmem_get_pfn(self, t: Any, vm: Any, slot: Any, gfn: int) -> Any:
        if not hasattr(self, "mine"):
            self.mine = (
                Mutex("a.mmu_lock", LockClass("mine")),
                SpinLock("a.invalidate_lock", LockClass("mine_too")),
                RwSem("a.slots_lock[1]", LockClass("mine_as_well")),
            )
        mutex, spin, sem = self.mine
        await mutex.lock(t)
        await sem.down_read(t)
        for word in ("seq", "attributes", "memslots", "spte", "content"):
            await t.point(Op("store", f"{vm.label}.x.{word}"))
            await t.point(Op("store", f"mine.{word}"))
        await sem.up_read(t)
        await mutex.unlock(t)
        await spin.lock(t)
        await spin.unlock(t)
        return await super().kvm_gmem_get_pfn(t, vm, slot, gfn)


def test_locks_of_a_patch_s_own_are_no_kernel_s() -> None:
    check("punch", LikeTheirs, "sw-protected", strategy="random", schedules=15)


def test_roles_and_classes() -> None:
    session = build(load_named("punch"), V3, "sw-protected", small=True)
    world = session.machine.world
    roles = Roles(world)
    assert roles.lock("vm0.mmu_lock")[:2] == ("mmu_lock", "vm0")
    assert roles.lock("gmem0.folio[3]").kind == "folio"
    assert roles.lock("x.mmu_lock")[:2] == ("x.mmu_lock", "")
    assert roles.lock("x.folio[3]")[:2] == ("x.folio[3]", "")
    world.vms["vm0"].mmu_lock = QueuedRwLock("x.mmu_lock", LockClass("mmu_lock"))
    assert Roles(world).lock("x.mmu_lock")[:2] == ("mmu_lock", "vm0")
    assert (class_of("gmem0.folio[3]"), class_of("vm0.lock"), class_of("vm0.srcu")) == (
        "folio",
        "kvm_lock",
        "srcu",
    )
    assert (sleeps("gmem0.folio[3]"), sleeps("vm0.mmu_lock"), sleeps("vm0.srcu")) == (True, False, None)
    Mutex("a.b.c", LockClass("named"))
    Mutex("a.b.d")
    assert (class_of("a.b.c"), class_of("a.b.d"), class_of("no.such")) == ("named", "d", "such")
