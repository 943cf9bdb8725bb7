# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs that let work go on for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .entry import bug, missing

if TYPE_CHECKING:
    from ...actors.fault import Fault
    from ...actors.inode import GmemFile
    from ...actors.kernel import Kernel
    from ...actors.memslot import Memslot
    from ...actors.vm import Vm
    from ...engine.task import Task


def retry_invalidates_itself(parent: type[Kernel]) -> type[Kernel]:
    """What the retry loop does to get at the page is itself an invalidation of it: the second half of the entry.

    The first half, a retry while any invalidation runs, needs a stream of them without end.
    """

    class RetryInvalidatesItself(parent):
        async def kvm_mmu_faultin_pfn_of_kind(self, t: Task, fault: Fault, slot: Memslot) -> int:
            ret: int = await super().kvm_mmu_faultin_pfn_of_kind(t, fault, slot)
            vm = fault.vcpu.vm
            await vm.mmu_lock.write_lock(t)
            await self.kvm_mmu_invalidate_start(t, vm, notifier=True)
            await self.kvm_mmu_invalidate_range_add(t, vm, fault.gfn, fault.gfn + 1)
            await self.kvm_mmu_invalidate_end(t, vm)
            await vm.mmu_lock.write_unlock(t)
            return ret

    return RetryInvalidatesItself


def rmpupdate_overlap_spin(parent: type[Kernel]) -> type[Kernel]:
    """A 2 MiB RMPUPDATE without a look at the 512 entries, or with one that is old: 4 KiB ones stand in its way.

    The loop around RMPUPDATE has no end, and its caller holds the folio lock and the invalidate lock.
    """

    class RmpupdateOverlapSpin(parent):
        async def kvm_gmem_create(
            self, t: Task, vm: Vm, label: str, size: int, flags: frozenset[str] = frozenset()
        ) -> GmemFile | int:
            arch: Any = vm.arch

            async def region_is_shared(t: Task, pfn: int) -> bool:
                return True

            arch.region_is_shared = region_is_shared
            return cast("GmemFile | int", await super().kvm_gmem_create(t, vm, label, size, flags))

    return RmpupdateOverlapSpin


BUGS = (
    bug(
        "pfn-cache-retry-livelock",
        rules="livelock",
        make=retry_invalidates_itself,
        vm_types=("default",),
        scenario="same",
    ),
    missing(
        "punch-starved-by-faults",
        "an invalidation in progress keeps faults out of the range that is punched; where that is taken away (tried), "
        "a page that left the file stays mapped (I19) before anything starves",
    ),
    bug(
        "rmpupdate-overlap-spin",
        rules="arch:LIVELOCK LIVELOCK livelock",
        make=rmpupdate_overlap_spin,
        versions=("hugepage-mutex",),
        vm_types=("snp",),
        scenario="zoo-huge_accept",
    ),
)
