# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs of population and launch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..baseline import Baseline
from .entry import bug, missing

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...actors.vm import Vm
    from ...engine.task import Task


def populate_without_il(parent: type[Kernel]) -> type[Kernel]:
    """The invalidate lock covers the look-up only, not the callback."""

    class PopulateWithoutIl(parent):
        async def post_populate(self, t: Task, vm: Vm, gfn: int, folio: Folio, content: str | None) -> int:
            assert folio.mapping is not None
            lock = folio.mapping.invalidate_lock
            await lock.up_write(t)
            ret: int = await super().post_populate(t, vm, gfn, folio, content)
            await lock.down_write(t)
            return ret

    return PopulateWithoutIl


def prefault_before_launch_finish(parent: type[Kernel]) -> type[Kernel]:
    """KVM_PRE_FAULT_MEMORY does not ask whether the launch is finished."""

    class PrefaultBeforeLaunchFinish(parent):
        def pre_fault_allowed(self, vm: Vm) -> bool:
            return True

    return PrefaultBeforeLaunchFinish


def prepare_at_fallocate(parent: type[Kernel]) -> type[Kernel]:
    """fallocate prepares what it allocates: an SNP page is assigned before the launch populates it."""

    class PrepareAtFallocate(parent):
        async def kvm_gmem_allocate(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
            ret: int = await super().kvm_gmem_allocate(t, inode, start, end)
            for file in inode.files:
                for slot in file.slots_in(start, end):
                    for index in range(max(start, slot.pgoff), min(end, slot.pgoff + slot.pages)):
                        folio = await self.kvm_gmem_get_folio(t, inode, index)
                        if isinstance(folio, int):
                            continue
                        await self.kvm_gmem_prepare_folio(
                            t, file.vm, folio, slot.base_gfn + index - slot.pgoff
                        )
                        await self.folio_unlock(t, folio)
                        await self.folio_put(t, inode, folio)
            return ret

    return PrepareAtFallocate


def populate_nested_invalidate_lock(parent: type[Kernel]) -> type[Kernel]:
    """The TDX callback faults the page in through the ordinary path, under the lock that this path takes shared."""

    class PopulateNestedInvalidateLock(parent):
        async def post_populate(self, t: Task, vm: Vm, gfn: int, folio: Folio, content: str | None) -> int:
            if vm.vcpus and folio.mapping is not None:
                lock = folio.mapping.invalidate_lock
                await lock.down_read(t)
                await lock.up_read(t)
            ret: int = await super().post_populate(t, vm, gfn, folio, content)
            return ret

    return PopulateNestedInvalidateLock


def populate_mmap_lock_abba(parent: type[Kernel]) -> type[Kernel]:
    """Population reads user memory under the invalidate lock, which host faults take under mmap_lock."""

    class PopulateMmapLockAbba(parent):
        gup_under_invalidate_lock = True
        kvm_gmem_populate_pages = Baseline.kvm_gmem_populate_pages
        kvm_gmem_populate_page = Baseline.kvm_gmem_populate_page
        kvm_gmem_populate_copy = Baseline.kvm_gmem_populate_copy
        copy_from_user = Baseline.copy_from_user

        async def kvm_gmem_user_fault_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | str:
            await inode.invalidate_lock.down_read(t)
            found: Folio | str = await super().kvm_gmem_user_fault_folio(t, inode, index)
            await inode.invalidate_lock.up_read(t)
            return found

    return PopulateMmapLockAbba


BUGS = (
    bug(
        "populate-nested-invalidate-lock",
        rules="deadlock",
        make=populate_nested_invalidate_lock,
        vm_types=("tdx",),
        scenario="zoo-launch",
    ),
    bug(
        "populate-mmap-lock-abba",
        rules="deadlock",
        make=populate_mmap_lock_abba,
        vm_types=("snp",),
        scenario="zoo-launch_mmap",
    ),
    bug(
        "populate-without-il", rules="I36", make=populate_without_il, vm_types=("snp",), scenario="zoo-launch"
    ),
    bug(
        "prefault-before-launch-finish",
        rules="unexpected_outcome I5 I35 I36 I2",
        make=prefault_before_launch_finish,
        vm_types=("snp",),
        scenario="zoo-launch",
    ),
    bug(
        "prepare-at-fallocate",
        rules="unexpected_outcome I33 I35 I5",
        make=prepare_at_fallocate,
        vm_types=("snp",),
        scenario="zoo-launch",
    ),
    missing(
        "cpuid-writeback-to-readonly-pin", "the CPUID page, which the firmware corrects, is not modelled"
    ),
)
