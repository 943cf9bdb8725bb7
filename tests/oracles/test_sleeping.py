"""What may not happen under a lock that spins: a lock says its kind itself, whatever its label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gmemsim.engine.locks.folio_lock import FolioLock, FolioLockClass
from gmemsim.engine.locks.kinds import sleeps
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.rwsem import RwSem
from gmemsim.engine.locks.spinlock import SpinLock
from gmemsim.engine.op import Op
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.patches.v3 import V3
from gmemsim.scenarios.catalogue import load_named

if TYPE_CHECKING:
    from gmemsim.explore.failure import Failure


def _found(patch: Any) -> Failure | None:
    program = ScenarioProgram(scenario=load_named("same"), patch=patch)
    found = search(program, make_strategy("random", 1), Limits(schedules=5)).found
    return found[0].failure if found else None


class Spins(V3):
    """Allocates, takes a lock, or neither, under a spinlock with a name that tells nothing."""

    inner: Any = None

    async def kvm_gmem_get_pfn(self, t: Any, vm: Any, slot: Any, gfn: int) -> Any:
        outer = self.__dict__.setdefault("gate", SpinLock("mine.gate"))
        await outer.lock(t)
        if self.inner is not None:
            other = self.__dict__.setdefault("other", self.inner("mine.other"))
            await other.lock(t)
            await other.unlock(t)
        else:
            t.might_sleep("copy_from_user")
        await outer.unlock(t)
        return await super().kvm_gmem_get_pfn(t, vm, slot, gfn)


class TakesMutex(Spins):
    inner = Mutex


class TakesSpinLock(Spins):
    inner = SpinLock


class Allocates(V3):
    async def kvm_gmem_get_file_pfn(self, t: Any, vm: Any, slot: Any, gfn: int, index: int) -> Any:
        lock = self.__dict__.setdefault("gate", SpinLock("mine.mutex"))  # A name that lies.
        await lock.lock(t)
        found = await self.filemap_create_folio(t, slot.gmem_file.inode, index)
        await lock.unlock(t)
        return found if isinstance(found, int) else 0, None


@pytest.mark.parametrize(
    ("patch", "says"),
    [
        (Spins, "may sleep in copy_from_user under mine.gate"),
        (TakesMutex, "takes mine.other, which sleeps, under mine.gate"),
        (TakesSpinLock, ""),
        (Allocates, "may sleep in filemap_alloc_folio under mine.mutex"),
    ],
)
def test_sleeping_under_a_lock_that_spins(patch: Any, says: str) -> None:
    failure = _found(patch)
    if not says:
        assert failure is None
        return
    assert failure is not None
    assert failure.rule == "I39"
    assert says in failure.summary


def test_a_lock_says_its_kind() -> None:
    Mutex("x.spinlock")
    SpinLock("x.mutex")
    RwSem("x.other")
    FolioLock("x.folio", 3, FolioLockClass("folio_lock"))
    said = [sleeps(label) for label in ("x.spinlock", "x.mutex", "x.other", "x.folio[3]", "x.none")]
    assert said == [True, False, True, True, None]


class OwnSeq(V3):
    async def kvm_gmem_get_pfn(self, t: Any, vm: Any, slot: Any, gfn: int) -> Any:
        if t.traps:
            await t.point(Op("rmw", "mine.seq"))
        return await super().kvm_gmem_get_pfn(t, vm, slot, gfn)


def test_an_object_of_a_patch_s_own_is_no_vm_s() -> None:
    """`.seq` of a VM is guarded by its mmu_lock; who else uses that word promised nothing."""
    assert _found(OwnSeq) is None
