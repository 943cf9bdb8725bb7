"""Kernels with one thing wrong, each with the workload that shows it and the rule that it breaks.

A mutant is a function from a patch version to a subclass of it; what it overrides is the bug.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs
from tests.explore.workloads import BASE, PAGE, AssigningArch, Machine, Plan

from gmemsim.actors.errno import EFAULT, EHWPOISON, ENOMEM
from gmemsim.actors.kernel import Kernel
from gmemsim.arch.base import HookResult
from gmemsim.audit.kvm_events import Close
from gmemsim.patches.baseline import Baseline
from gmemsim.patches.mainline_7_3 import Mainline73
from gmemsim.patches.v3 import V3

if TYPE_CHECKING:
    from collections.abc import Callable

    from gmemsim.actors.fault import Fault
    from gmemsim.actors.folio import Folio
    from gmemsim.actors.gmem_populate import Source
    from gmemsim.actors.inode import GmemFile, GmemInode
    from gmemsim.actors.memslot import Memslot
    from gmemsim.actors.vm import Vm
    from gmemsim.arch.base import Content
    from gmemsim.engine.task import Task

__all__ = ["MUTANTS", "Mutant"]


@attrs.frozen
class Mutant:
    """One bug.

    Attributes:
        name: what is wrong, in a few words.
        rule: the invariant that it breaks, and no other.
        kernel: the mutated version.
        plan: what the threads do.
        kind: of the VM.
        seeds: schedules to try until it shows.
        options: for `Machine`.
        prepare: changes to the machine before the run.
        also: rules that its consequences break.
    """

    name: str
    rule: str
    kernel: type[Kernel]
    plan: Plan
    kind: str = "private"
    seeds: int = 1
    options: dict[str, Any] = attrs.field(factory=dict)
    prepare: Callable[[Machine], object] | None = None
    also: frozenset[str] = frozenset()

    def machine(self) -> Machine:
        """A fresh machine to run the plan on."""
        machine = Machine(self.kernel, self.kind, **self.options)
        if self.prepare is not None:
            self.prepare(machine)
        return machine


# -- page cache and contents ---------------------------------------------------------------------------


class AllocatesBeyondEnd(V3):
    """fallocate does not check the size."""

    async def kvm_gmem_allocate(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        pages, inode.pages = inode.pages, end
        await inode.invalidate_lock.down_read(t)
        inode.pages = pages
        folio = cast("Folio", await self.kvm_gmem_get_folio(t, inode, end - 1))
        await self.folio_unlock(t, folio)
        await self.folio_put(t, inode, folio)
        await inode.invalidate_lock.up_read(t)
        return 0


class ClearsNothing(V3):
    """The loop over the folio's pages ends before it begins."""

    async def kvm_gmem_clear_folio(self, t: Task, inode: GmemInode, folio: Folio, pages: int) -> None:
        await super().kvm_gmem_clear_folio(t, inode, folio, 0)


class PunchForgetsNeighbour(V3):
    """PUNCH_HOLE takes uptodate from the page behind the hole."""

    async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        if end in inode.folios:
            inode.folios[end].uptodate = False
        return await super().kvm_gmem_punch_hole(t, inode, start, end)


class UptodateBeforeClear(V3):
    """The folio is marked first and cleared after."""

    async def kvm_gmem_make_ready(self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int) -> int:
        if not folio.uptodate:
            await self.kvm_gmem_mark_uptodate(t, inode, folio)
            await self.kvm_gmem_clear_folio(t, inode, folio, 1)
        return await self.kvm_gmem_prepare_folio(t, vm, folio, gfn)


class UptodateBeforePrepare(Baseline):
    """Real (d04c77d23122): in baseline the folio is marked although prepare failed."""

    async def kvm_gmem_make_ready(self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int) -> int:
        if folio.uptodate:
            return 0
        await self.kvm_gmem_clear_folio(t, inode, folio, 1)
        await self.kvm_gmem_mark_uptodate(t, inode, folio)
        return await self.kvm_gmem_prepare_folio(t, vm, folio, gfn)


class ClearsAlways(V3):
    """The uptodate test is gone: every fault wipes the page."""

    async def kvm_gmem_make_ready(self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int) -> int:
        folio_was = folio.uptodate
        await self.kvm_gmem_clear_folio(t, inode, folio, 1)
        if not folio_was:
            await self.kvm_gmem_mark_uptodate(t, inode, folio)
        return 0


class PunchSkipsBusy(V3):
    """PUNCH_HOLE leaves the first page alone."""

    async def truncate_inode_pages_range(self, t: Task, inode: GmemInode, start: int, end: int) -> None:
        await super().truncate_inode_pages_range(t, inode, start + 1, end)


class PunchSharesLock(V3):
    """PUNCH_HOLE takes the invalidate lock shared."""

    async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        await inode.invalidate_lock.down_read(t)
        await self.kvm_gmem_invalidate_start(t, inode, start, end, self.invalidate_filter(inode))
        await self.truncate_inode_pages_range(t, inode, start, end)
        await self.kvm_gmem_invalidate_end(t, inode, start, end)
        await inode.invalidate_lock.up_read(t)
        return 0


class KeepsFile(V3):
    """get_pfn does not give the file back."""

    async def fput_later(self, t: Task, file: GmemFile) -> None:
        pass


class SpuriousWithoutLeaf(V3):
    """The fault finds an empty entry good enough."""

    async def tdp_mmu_set_spte_atomic(self, t: Task, fault: Any, root: Any, old: Any, new: Any) -> int:
        return 6


class PunchShrinks(V3):
    """PUNCH_HOLE at the end of the file truncates it."""

    async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        ret = await super().kvm_gmem_punch_hole(t, inode, start, end)
        if end == inode.pages:
            inode.pages = start
        return ret


# -- references and locks ------------------------------------------------------------------------------


class PoisonLeaksReference(V3):
    """Real (c31745d2c508): the poisoned exit of get_pfn does not drop the reference."""

    async def kvm_gmem_get_checked_folio(
        self, t: Task, file: GmemFile, slot: Memslot, index: int
    ) -> Folio | int:
        folio = file.inode.folios.get(index)
        if folio is not None and folio.poisoned:
            folio.ref += 1
            return EHWPOISON
        return await super().kvm_gmem_get_checked_folio(t, file, slot, index)


class PutsTwice(V3):
    """The fault drops a reference more than it took."""

    async def kvm_release_faultin_pfn(self, t: Task, fault: Any) -> None:
        await super().kvm_release_faultin_pfn(t, fault)
        await super().kvm_release_faultin_pfn(t, fault)


class PrepareErrorKeepsLock(V3):
    """A failing prepare leaves with the folio locked."""

    async def kvm_gmem_get_file_pfn(
        self, t: Task, vm: Vm, slot: Memslot, gfn: int, index: int
    ) -> tuple[int, Folio | None]:
        file = cast("GmemFile", slot.gmem_file)
        folio = cast("Folio", await self.kvm_gmem_get_checked_folio(t, file, slot, index))
        ret = await self.kvm_gmem_make_ready(t, vm, file.inode, folio, gfn)
        if ret:
            await self.folio_put(t, file.inode, folio)
            return ret, None
        await self.folio_unlock(t, folio)
        return 0, folio


class SleepsInZap(V3):
    """The zap takes a mutex under mmu_lock."""

    async def kvm_unmap_gfn_range(self, t: Task, vm: Vm, start: int, end: int, kinds: str) -> bool:
        await vm.slots_arch_lock.lock(t)
        flush = await super().kvm_unmap_gfn_range(t, vm, start, end, kinds)
        await vm.slots_arch_lock.unlock(t)
        return flush


class ReleasesInFault(V3):
    """The last reference of a file is dropped inside the fault, and release runs right there."""

    async def fput_later(self, t: Task, file: GmemFile) -> None:
        await super().fput_later(t, file)
        await self.task_work_run(t)


# -- bindings ------------------------------------------------------------------------------------------


class ReleaseKeepsPointers(V3):
    """release does not tell the slots that their file is gone."""

    async def kvm_gmem_release(self, t: Task, file: GmemFile) -> None:
        inode, vm = file.inode, file.vm
        if t.rec is not None:
            t.rec(t, Close(file.label))
        await vm.slots_lock.lock(t)
        await inode.invalidate_lock.down_write(t)
        await self.kvm_gmem_file_invalidate_start(t, file, 0, inode.pages, "both")
        await self.kvm_gmem_file_invalidate_end(t, file, 0, inode.pages)
        inode.files.remove(file)
        await inode.invalidate_lock.up_write(t)
        await vm.slots_lock.unlock(t)
        file.bindings.clear()
        file.released = True
        vm.files.pop(inode.label, None)


class BindsTwice(V3):
    """The overlap test of bind is gone."""

    async def _bind(self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, offset: int) -> int:
        lock = file.inode.invalidate_lock
        await lock.down_write(t)
        slot.gmem_file, slot.pgoff = file, offset // PAGE
        await self.kvm_gmem_store_binding(t, file, slot, slot.pgoff, slot.pgoff + slot.pages)
        await lock.up_write(t)
        return 0


class UnbindSkipsDyingFile(V3):
    """Real (ae431059e75d): a slot of a dying file is freed and stays bound."""

    async def kvm_gmem_unbind(self, t: Task, slot: Memslot) -> None:
        if slot.gmem_file is not None and slot.gmem_file.count.value:
            await super().kvm_gmem_unbind(t, slot)


class FreesBeforeGracePeriod(V3):
    """A slot is freed as soon as its INVALID copy is published; faults that found it go on with it."""

    async def swap_active_memslots(
        self, t: Task, vm: Vm, slots: tuple[Memslot, ...], slot: Memslot, state: str
    ) -> None:
        if state == "invalid":
            self.kvm_free_memslot(t, slot)
        await super().swap_active_memslots(t, vm, slots, slot, state)


class BindsUnlocked(V3):
    """bind stores without the invalidate lock."""

    async def _bind(self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, offset: int) -> int:
        slot.gmem_file, slot.pgoff = file, offset // PAGE
        await self.kvm_gmem_store_binding(t, file, slot, slot.pgoff, slot.pgoff + slot.pages)
        return 0


# -- MMU invalidation ----------------------------------------------------------------------------------


class TwoSnapshots(V3):
    """The fault takes the sequence anew after the attribute check and the first test."""

    async def kvm_mmu_faultin_pfn_of_kind(self, t: Task, fault: Fault, slot: Memslot) -> int:
        if t.traps:
            await t.point(fault.vcpu.vm.load_seq)
        fault.seq = fault.vcpu.vm.seq
        return await super().kvm_mmu_faultin_pfn_of_kind(t, fault, slot)


class EndForgotten(V3):
    """PUNCH_HOLE of an empty range returns without ending the invalidation."""

    async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        await inode.invalidate_lock.down_write(t)
        await self.kvm_gmem_invalidate_start(t, inode, start, end, "both")
        if self.indices(inode, start, end):
            await self.truncate_inode_pages_range(t, inode, start, end)
            await self.kvm_gmem_invalidate_end(t, inode, start, end)
        await inode.invalidate_lock.up_write(t)
        return 0


class RangeOverwritten(V3):
    """Review of 2023 [KI]: a second invalidation replaces the range of the first."""

    async def kvm_mmu_invalidate_range_add(self, t: Task, vm: Vm, start: int, end: int) -> None:
        vm.range_start, vm.range_end = start, end


class SequenceForgotten(V3):
    """The end does not move the sequence."""

    async def kvm_mmu_invalidate_end(self, t: Task, vm: Vm) -> None:
        await super().kvm_mmu_invalidate_end(t, vm)
        vm.seq -= 1


class NoRecheck(V3):
    """The fault maps what it found, whatever happened meanwhile."""

    def mmu_invalidate_retry_gfn(self, vm: Vm, seq: int, gfn: int) -> bool:
        return False

    async def mmu_invalidate_retry_gfn_unsafe(self, t: Task, vm: Vm, seq: int, gfn: int) -> bool:
        return False


class ZapsNothing(V3):
    """The zap finds no leaf."""

    async def kvm_unmap_gfn_range(self, t: Task, vm: Vm, start: int, end: int, kinds: str) -> bool:
        return await super().kvm_unmap_gfn_range(t, vm, start, start, kinds)


class NeverFlushes(V3):
    """TLBs keep what was zapped."""

    async def kvm_flush_remote_tlbs(self, t: Task, vm: Vm) -> None:
        pass


class PoisonStaysMapped(V3):
    """The error hook does not invalidate."""

    async def kvm_gmem_error_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
        pass


class MapsClean(V3):
    """The fault drops its page and does not mark it."""

    def folio_mark_dirty(self, t: Task, folio: Folio) -> None:
        pass


class UnmapsWithoutPoison(V3):
    """memory_failure unmaps as truncation does."""

    async def unmap_poisoned_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
        await inode.i_mmap_rwsem.down_read(t)
        await self._unmap(t, inode, folio, poison=True)
        for mapping in inode.mappings:
            mapping.hwpoison.clear()
        await inode.i_mmap_rwsem.up_read(t)


class PoisonNotTested(V3):
    """get_pfn hands out a page that hardware reported."""

    async def kvm_gmem_get_checked_folio(
        self, t: Task, file: GmemFile, slot: Memslot, index: int
    ) -> Folio | int:
        return await self.kvm_gmem_get_folio(t, file.inode, index)


class DeletesWithoutZap(V3):
    """The slot goes, its mappings stay."""

    async def kvm_arch_flush_shadow_memslot(self, t: Task, vm: Vm, slot: Memslot) -> None:
        pass


# -- private and shared --------------------------------------------------------------------------------


class ConvertsWithoutZap(V3):
    """An attribute change announces the range and zaps nothing."""

    async def kvm_pre_set_memory_attributes(
        self, t: Task, vm: Vm, slot: Memslot, start: int, end: int, private: bool
    ) -> bool:
        await self.kvm_mmu_invalidate_range_add(t, vm, start, end)
        return False


class StoresThenFails(V3):
    """Memory runs out in the middle of the store, and the ioctl leaves it at that."""

    async def kvm_vm_set_mem_attributes(self, t: Task, vm: Vm, start: int, end: int, private: bool) -> int:
        from gmemsim.audit.kvm_events import SetAttributes, SetAttributesRet

        rec = cast("Callable[[Task, Any], None]", t.rec)
        rec(t, SetAttributes(start, end, private))
        await vm.slots_lock.lock(t)
        await self.kvm_store_attributes(t, vm, start, start + 1, private)
        await vm.slots_lock.unlock(t)
        rec(t, SetAttributesRet(ENOMEM))
        return ENOMEM


class PunchMakesShared(V3):
    """PUNCH_HOLE resets the attributes of the range."""

    async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
        ret = await super().kvm_gmem_punch_hole(t, inode, start, end)
        await self.kvm_store_attributes(t, inode.files[0].vm, BASE + start, BASE + end, False)
        return ret


# -- preparation ---------------------------------------------------------------------------------------


class FreesWithoutHook(V3):
    """A folio leaves the page cache and the arch is not told."""

    async def kvm_gmem_free_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
        pass


class ReassigningArch(AssigningArch):
    """Prepare does not look whether the page is assigned."""

    async def prepare(self, t: Task, vm: Any, gfn: int, pfn: int, order: int) -> HookResult:
        self.assigned.add(pfn)
        return HookResult(0, True)


class PreparesUnlocked(V3):
    """The folio lock is dropped around prepare."""

    async def kvm_gmem_prepare_folio(self, t: Task, vm: Vm, folio: Folio, gfn: int) -> int:
        await self.folio_unlock(t, folio)
        ret = await super().kvm_gmem_prepare_folio(t, vm, folio, gfn)
        await folio.lock.lock(t)
        return ret


class MakesSharedPrivate(Mainline73):
    """make_private is called for everything."""

    async def kvm_gmem_make_ready(self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int) -> int:
        await self.kvm_gmem_clear_once(t, inode, folio)
        return await self.kvm_gmem_prepare_folio(t, vm, folio, gfn)


class PreparesBeforeClear(V3):
    """The page is given to the guest and cleared after."""

    async def kvm_gmem_make_ready(self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int) -> int:
        ret = await self.kvm_gmem_prepare_folio(t, vm, folio, gfn)
        if not folio.uptodate:
            await self.kvm_gmem_clear_folio(t, inode, folio, 1)
            await self.kvm_gmem_mark_uptodate(t, inode, folio)
        return ret


# -- populate ------------------------------------------------------------------------------------------


class PopulatesUnlocked(V3):
    """Real (review of 2025): the invalidate lock covers the look-up only."""

    async def post_populate(self, t: Task, vm: Vm, gfn: int, folio: Folio, content: Content) -> int:
        lock = self.world.inodes["gmem0"].invalidate_lock
        await lock.up_write(t)
        ret = await super().post_populate(t, vm, gfn, folio, content)
        await lock.down_write(t)
        return ret


class CopiesUnderLock(V3):
    """The copy from user memory is back inside the lock, as in baseline."""

    kvm_gmem_populate_pages = Baseline.kvm_gmem_populate_pages


class HidesProgress(V3):
    """populate returns the error although pages were done."""

    async def kvm_gmem_populate_pages(
        self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, pages: int, source: Source | None
    ) -> int:
        done = await super().kvm_gmem_populate_pages(t, vm, slot, file, gfn, pages, source)
        return EFAULT if 0 < done < pages else done


class MeasuresStale(AssigningArch):
    """A missing source is taken to mean the page itself, whatever is in it."""

    async def populate(
        self, t: Task, vm: Any, gfn: int, pfn: int, source: Content, map_private_pfn: Any = None
    ) -> int:
        self.assigned.add(pfn)
        return 0


def _arch(cls: type[AssigningArch]) -> Callable[[Machine], None]:
    def replace(machine: Machine) -> None:
        machine.vm.arch = cls(machine.memory)
        machine.vm.finalized = False

    return replace


def _two(machine: Machine) -> None:
    machine.add_vm("vm1", "private", 1)


def _launched(machine: Machine) -> None:
    machine.vm.finalized = True


def _reassigning(machine: Machine) -> None:
    _arch(ReassigningArch)(machine)
    machine.vm.finalized = True


#: Gfn offset of slots beside slot 0.
FAR = 8

MUTANTS: tuple[Mutant, ...] = (
    Mutant("allocates-beyond-end", "I1", AllocatesBeyondEnd, Plan([("fallocate", 0, 0, 4, False)])),
    Mutant("clears-nothing", "I2", ClearsNothing, Plan([("access", 0, 0, 0, False)])),
    Mutant("clears-nothing-host", "I2", ClearsNothing, Plan([("touch", 0, 0, False)]), "shared"),
    Mutant(
        "measures-stale", "I2", V3, Plan([("populate", 0, 0, 1)]), "assigned", prepare=_arch(MeasuresStale)
    ),
    Mutant(
        "punch-forgets-neighbour", "I3", PunchForgetsNeighbour,
        Plan([("prefault", 0, 0, 1, 1), ("fallocate", 0, 0, 1, True), ("fallocate", 0, 1, 2, False)]),
    ),
    Mutant("uptodate-before-clear", "I4", UptodateBeforeClear, Plan([("access", 0, 0, 0, False)])),
    Mutant(
        "uptodate-before-prepare", "I4", UptodateBeforePrepare,
        Plan([("access", 0, 0, 0, False)], faults={"prepare": 1}), "assigned", 8, prepare=_launched,
    ),
    Mutant("clears-always", "I5", ClearsAlways,
           Plan([("prefault", 0, 0, 0, 1), ("delete", 0, 0), ("create", 0, 0, 0, 3, 0), ("prefault", 0, 0, 0, 1)])),
    Mutant("punch-shrinks", "I7", PunchShrinks, Plan([("fallocate", 0, 2, 3, True)])),
    Mutant(
        "poison-leaks-reference", "I8", PoisonLeaksReference,
        Plan([("fallocate", 0, 0, 1, False), ("fail", 0, 0), ("access", 0, 0, 0, False)]),
    ),
    Mutant("puts-twice", "I8", PutsTwice, Plan([("prefault", 0, 0, 0, 1)])),
    Mutant(
        "prepare-error-keeps-lock", "I9", PrepareErrorKeepsLock,
        Plan([("access", 0, 0, 0, False)], faults={"prepare": 1}), "assigned", 8, prepare=_launched,
    ),
    Mutant("release-keeps-pointers", "I11", ReleaseKeepsPointers, Plan([("close", 0)])),
    Mutant("binds-twice", "I12", BindsTwice, Plan([("create", 0, 1, FAR, FAR + 2, 1)])),
    Mutant(
        "unbind-skips-dying-file", "I12", UnbindSkipsDyingFile, Plan([("close", 0)], [("delete", 0, 0)]), seeds=200,
        also=frozenset({"use_after_free"}),
    ),
    Mutant(
        "frees-before-grace-period", "use_after_free", FreesBeforeGracePeriod,
        Plan([("prefault", 0, 0, 0, 1)], [("delete", 0, 0)]), seeds=200,
    ),
    Mutant("binds-unlocked", "I13", BindsUnlocked, Plan([("delete", 0, 0), ("create", 0, 1, FAR, FAR + 2, 0)])),
    Mutant(
        "binds-foreign-file", "I14", BindsTwice, Plan([("delete", 0, 0), ("bind_other", 1, 0)]), prepare=_two
    ),
    Mutant("end-forgotten", "I15", EndForgotten, Plan([("fallocate", 0, 0, 1, True)])),
    Mutant(
        "range-overwritten", "I16", RangeOverwritten,
        Plan([("fallocate", 0, 0, 1, True)], [("convert", 0, 2, 3, False)]), seeds=200,
    ),
    Mutant("sequence-forgotten", "I17", SequenceForgotten, Plan([("fallocate", 0, 0, 1, True)])),
    Mutant(
        "no-recheck", "I18", NoRecheck, Plan([("prefault", 0, 0, 0, 1)], [("fallocate", 0, 1, 2, True)]), seeds=200
    ),
    Mutant("zaps-nothing", "I19", ZapsNothing, Plan([("prefault", 0, 0, 0, 1), ("fallocate", 0, 0, 1, True)])),
    Mutant("converts-without-zap", "I20", ConvertsWithoutZap,
           Plan([("prefault", 0, 0, 0, 1), ("convert", 0, 0, 1, False)])),
    Mutant("never-flushes", "I21", NeverFlushes, Plan([("access", 0, 0, 0, False), ("fallocate", 0, 0, 1, True)])),
    Mutant("stores-then-fails", "I27", StoresThenFails, Plan([("convert", 0, 0, 2, False)])),
    Mutant("punch-makes-shared", "I27", PunchMakesShared, Plan([("fallocate", 0, 0, 1, True)])),
    Mutant(
        "two-snapshots", "I28", TwoSnapshots,
        Plan([("prefault", 0, 0, 0, 1)], [("convert", 0, 0, 1, False), ("delete", 0, 0)]),
        seeds=2000, options={"pages": 1},
    ),
    Mutant(
        "frees-without-hook", "I31", FreesWithoutHook,
        Plan([("prefault", 0, 0, 0, 1), ("fallocate", 0, 0, 1, True)]), "assigned", prepare=_launched,
    ),
    Mutant(
        "prepares-again", "I32", V3, Plan([("prefault", 0, 0, 0, 1)], [("prefault", 0, 1, 0, 1)]), "assigned",
        prepare=_reassigning,
    ),
    Mutant("prepares-unlocked", "I33", PreparesUnlocked, Plan([("access", 0, 0, 0, False)])),
    Mutant("makes-shared-private", "I34", MakesSharedPrivate, Plan([("prefault", 0, 0, 0, 1)]), "shared"),
    Mutant(
        "prepares-before-clear", "I35", PreparesBeforeClear, Plan([("prefault", 0, 0, 0, 1)]), "assigned",
        prepare=_launched,
    ),
    Mutant("populates-unlocked", "I36", PopulatesUnlocked, Plan([("populate", 0, 0, 1)]), "assigned"),
    Mutant("copies-under-lock", "I37", CopiesUnderLock, Plan([("populate", 0, 0, 1)]), "assigned"),
    Mutant(
        "hides-progress", "I38", HidesProgress, Plan([("populate", 0, 0, 2)], faults={"populate": 1}), "assigned", 20
    ),
    Mutant("sleeps-in-zap", "I39", SleepsInZap, Plan([("fallocate", 0, 0, 1, True)])),
    Mutant("releases-in-fault", "I39", ReleasesInFault, Plan([("prefault", 0, 0, 0, 1)], [("close", 0)]), seeds=200),
    Mutant(
        "poison-stays-mapped", "poison", PoisonStaysMapped, Plan([("prefault", 0, 0, 0, 1), ("fail", 0, 0)])
    ),
    Mutant(
        "poison-mapped-later", "poison", PoisonNotTested,
        Plan([("fallocate", 0, 0, 1, False), ("fail", 0, 0), ("access", 0, 0, 0, False)]),
    ),
    Mutant(
        "punch-skips-busy", "I53", PunchSkipsBusy,
        Plan([("fallocate", 0, 0, 2, False), ("fallocate", 0, 0, 2, True)]),
    ),
    Mutant(
        "punch-shares-lock", "I54", PunchSharesLock,
        Plan([("fallocate", 0, 0, 2, False), ("fallocate", 0, 0, 2, True)]),
    ),
    Mutant("keeps-file", "I55", KeepsFile, Plan([("prefault", 0, 0, 0, 1), ("prefault", 0, 0, 1, 1)])),
    Mutant("spurious-without-leaf", "I56", SpuriousWithoutLeaf, Plan([("prefault", 0, 0, 0, 1)])),
    Mutant("maps-clean", "I49", MapsClean, Plan([("prefault", 0, 0, 0, 1)])),
    Mutant(
        "unmaps-without-poison", "I50", UnmapsWithoutPoison,
        Plan([("touch", 0, 0, True), ("fail", 0, 0), ("fallocate", 0, 0, 1, True), ("touch", 0, 0, False)]), "shared",
    ),
    Mutant(
        "deletes-without-zap", "I52", DeletesWithoutZap,
        Plan([("access", 0, 0, 0, False), ("delete", 0, 0), ("access", 0, 0, 0, False), ("create", 0, 0, 0, 3, 0)]),
    ),
)  # fmt: skip
