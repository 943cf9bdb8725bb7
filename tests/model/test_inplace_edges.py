"""Conversion in place at its edges: LRU batches, two-phase bind, populate in place, self-deadlocks, hardware."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.model.inplace_rig import InplaceRig
from tests.model.rig import BASE, names, only

from gmemsim.actors.errno import EAGAIN, EEXIST, EFAULT, ENOMEM
from gmemsim.actors.gmem_convert import Converted
from gmemsim.actors.gmem_populate import Source
from gmemsim.arch.memory import data
from gmemsim.audit.events import Lock
from gmemsim.audit.inplace_events import LruDrain, MakeShared, RefCheck
from gmemsim.audit.kvm_events import Bind, BindPrepare, Clear, HardwareOp, PopulateCallback, PopulateRet
from gmemsim.engine.errors import Deadlock
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.patches.inplace import Inplace
from gmemsim.patches.inplace_v8 import InplaceV8

if TYPE_CHECKING:
    from gmemsim.actors.folio import Folio
    from gmemsim.actors.inode import GmemFile
    from gmemsim.actors.memslot import Memslot
    from gmemsim.actors.vm import Vm
    from gmemsim.arch.base import Content
    from gmemsim.engine.task import Task

both = pytest.mark.parametrize("patch", [InplaceV8, Inplace])


# -- batches ---------------------------------------------------------------------------------------


@both
def test_batches_are_drained_once_each(patch: type[Inplace]) -> None:
    """Pages that other tasks made: this CPU's batch, then all, once for the whole request; then they are free."""
    r = InplaceRig(patch, shared=True)
    for index in range(3):
        r.call(r.op("touch", 0, index, True))
    folio = r.inode.folios[0]
    assert r.inplace.lru_references(folio) == 1
    assert r.to(True) == Converted(0)
    assert [drain.everywhere for drain in only(r.events, LruDrain)] == [False, True]
    assert [check.ok for check in only(r.events, RefCheck)] == [False, False, True, True, True]
    assert r.inplace.lru_references(folio) == 0
    assert folio.ref == 1


def test_no_drain_without_need() -> None:
    """Nobody drains while the counts are right."""
    r = InplaceRig(shared=True)
    r.call(r.op("touch", 0, 0, True))
    r.call(r.inplace.lru_add_drain_all)
    assert r.to(True) == Converted(0)
    assert not only(r.events, LruDrain)


def test_a_full_batch_empties_itself() -> None:
    """After `lru_batch` folios of one task."""
    kernel = type("Small", (Inplace,), {"lru_batch": 2})
    r = InplaceRig(kernel, shared=True)
    r.call(r.op("fallocate", 0, 0, 3, False))
    assert [r.inplace.lru_references(folio) for folio in r.inode.folios.values()] == [0, 0, 1]


def test_a_punched_page_is_freed_by_the_drain() -> None:
    """The batch keeps the frame, not the hook: it goes back to the allocator when the batch lets go."""
    r = InplaceRig(shared=True)
    r.call(r.op("touch", 0, 0, True))
    r.call(r.op("fallocate", 0, 0, 1, True))
    assert r.memory.in_use == 1
    r.call(r.inplace.lru_add_drain_all)
    assert r.memory.in_use == 0


def test_a_poisoned_page_cannot_become_private() -> None:
    """guest-memfd.md 4.11: its extra reference stays, so -EAGAIN each time."""
    r = InplaceRig(shared=True)
    r.call(r.op("touch", 0, 1, True))
    r.call(r.op("fail", 0, 1))
    for _ in range(2):
        assert r.to(True) == Converted(EAGAIN, 1)


# -- bind ------------------------------------------------------------------------------------------


def test_bind_in_two_phases() -> None:
    """Checks without the lock, the binding under it; an overlap or no memory leaves no trace of the slot."""
    r = InplaceRig(shared=True)

    def bind(slot: int, gfn: int) -> Any:
        return lambda t: r.kernel.kvm_set_memory_region(t, r.vm, slot, gfn, 1, r.files[0], 0, gmem=True)

    assert r.call(bind(1, 0x900)) == EEXIST
    assert [event.ret for event in only(r.events, BindPrepare, Bind)] == [0, EEXIST]
    r.call(r.op("delete", 0, 0))
    assert r.call(bind(1, 0x900), faults={"alloc_binding": 1}) == ENOMEM
    assert r.files[0].bindings == {}
    assert len(r.vm.slots) == 0
    assert r.call(bind(1, 0x900)) == 0
    found = names(r.events, BindPrepare, Lock, Bind)
    assert found.index("BindPrepare") < found.index("Bind")


# -- populate --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["snp", "tdx"])
@both
def test_populate_takes_the_page_itself(patch: type[Inplace], kind: str) -> None:
    """The image is written while the page is shared, and measured where it is; nothing is cleared or copied."""
    r = InplaceRig(patch, kind, shared=True, finalized=False)
    r.call(r.host(0, data("image")))
    assert r.to(True).ret == 0

    async def populate(t: Task) -> int:
        await r.vm.slots_lock.lock(t)
        ret = await r.kernel.kvm_gmem_populate(t, r.vm, BASE, 1, None)
        await r.vm.slots_lock.unlock(t)
        return ret

    assert r.call(populate) == 1
    assert not only(r.events, Clear)
    assert r.call(lambda t: r.kernel.launch_finish(t, r.vm)) == 0
    seen = r.call(lambda t: r.kernel.guest_access(t, r.vm.vcpus[0], BASE, True, None))
    assert (seen.kind, seen.value) == ("ok", data("image"))


@both
def test_populate_clears_a_fresh_page(patch: type[Inplace]) -> None:
    """guest-memfd.md 5 row 6: the look-up clears, also for populate."""
    r = InplaceRig(patch, "assigned", finalized=False)
    r.call(r.op("populate", 0, 0, 1))
    found = names(r.events, Clear, PopulateCallback)
    assert found == ["Clear", "PopulateCallback"]
    assert [event.ret for event in only(r.events, PopulateRet)] == [1]


# -- self-deadlocks from the mailing list ------------------------------------------------------------


class FaultsInCallback(Inplace):
    """The populate callback asks for the page by get_pfn: the lock shared inside the lock exclusive."""

    async def post_populate(self, t: Task, vm: Vm, gfn: int, folio: Folio, content: Content) -> int:
        slot = vm.slot_of(gfn)
        assert slot is not None
        await self.kvm_gmem_get_pfn(t, vm, slot, gfn)
        return await super().post_populate(t, vm, gfn, folio, content)


class PopulatesShared(FaultsInCallback):
    """The same with the outer lock shared too: fine until a writer queues in between."""

    async def kvm_gmem_populate_pages(
        self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, pages: int, source: Source | None
    ) -> int:
        content = None if source is None else source.contents[0]
        await file.inode.invalidate_lock.down_read(t)
        ret = await self.kvm_gmem_populate_one(t, vm, slot, file, gfn, content)
        await file.inode.invalidate_lock.up_read(t)
        return ret or 1


def test_population_that_faults_its_own_page_locks_itself_up() -> None:
    """Alone, in every schedule: the task waits for the lock that it holds exclusively."""
    r = InplaceRig(FaultsInCallback, "assigned", finalized=False)
    with pytest.raises(Deadlock):
        r.call(r.op("populate", 0, 0, 1))
    sound = InplaceRig(Inplace, "assigned", finalized=False)
    sound.call(sound.op("populate", 0, 0, 1))


def test_recursive_shared_lock_needs_a_writer_in_the_queue() -> None:
    """Alone it passes; with two readers and a writer that queues between them some schedules lock up."""
    alone = InplaceRig(PopulatesShared, "assigned", finalized=False)
    alone.call(alone.op("populate", 0, 0, 1))
    ended = {"passed": 0, "deadlock": 0}
    for seed in range(200):
        r = InplaceRig(PopulatesShared, "assigned", finalized=False)
        try:
            r.run_all(
                r.op("populate", 0, 0, 1), r.op("fallocate", 0, 0, 1, True), strategy=RandomStrategy(seed)
            )
            ended["passed"] += 1
        except Deadlock:
            ended["deadlock"] += 1
    assert ended["passed"]
    assert ended["deadlock"]


def test_source_in_the_same_file_is_not_read_under_the_lock() -> None:
    """guest-memfd.md 4.9: a private source of the same file is -EFAULT by way of SIGBUS, before the lock is taken."""

    class OwnSource(Inplace):
        async def get_user_pages_fast(self, t: Task, source: Source, page: int) -> str | int:
            seen = await self.host_access(t, self.world.mappings["map0"], page, None)
            return EFAULT if seen == "SIGBUS" else seen

    r = InplaceRig(OwnSource, "assigned", finalized=False)
    r.call(r.op("populate", 0, 0, 1))
    assert [event.ret for event in only(r.events, PopulateRet)] == [EFAULT]


# -- hardware --------------------------------------------------------------------------------------


def test_snp_pages_change_hands() -> None:
    """To-shared takes the RMP entry away; the next private fault assigns it again."""
    r = InplaceRig(Inplace, "snp")
    r.call(r.op("access", 0, 0, 0, True))
    pfn = r.inode.folios[0].pfn
    assert r.arch.rmp.entry(pfn).assigned
    assert r.to(False).ret == 0
    assert [event.pfn for event in only(r.events, MakeShared)] == [pfn]
    assert not r.arch.rmp.entry(pfn).assigned
    assert only(r.events, HardwareOp)
    assert r.to(True).ret == 0
    r.call(r.op("access", 0, 0, 0, True))
    assert r.arch.rmp.entry(pfn).assigned


@pytest.mark.parametrize(("patch", "kept"), [(InplaceV8, False), (Inplace, True)])
def test_tdx_mixed_range(patch: type[Inplace], kept: bool) -> None:
    """guest-memfd.md 5 row 23: v8 zaps pages that were private already, and with the leaf their content."""
    r = InplaceRig(patch, "tdx")
    r.call(r.op("access", 0, 0, 0, True))
    assert r.to(False, 1, 2).ret == 0
    assert r.to(True).ret == 0
    assert (r.vm.stage2.find(BASE, True) is not None) == kept


def test_second_file_of_the_inode_sees_the_conversion() -> None:
    """The map is the inode's: a conversion through one file zaps the VM of the other."""
    r = InplaceRig(shared=True)
    other = r.add_vm("vm1", "private", 1, share=r.inode)
    access = partial(r.kernel.guest_access, vcpu=other.vcpus[0], gfn=BASE, private=None, write=None)
    assert r.call(access).kind == "ok"
    r.call(r.inplace.lru_add_drain_all)
    assert r.to(True).ret == 0
    assert other.stage2.find(BASE, False) is None
    assert r.kernel.gfn_is_private(other, BASE)
