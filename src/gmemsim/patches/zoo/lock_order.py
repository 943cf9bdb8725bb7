# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs of lock order, and waits that are no locks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ...actors.fault import RetPf
from .entry import bug

if TYPE_CHECKING:
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...actors.release import Release
    from ...actors.vm import Vcpu
    from ...engine.task import Task


def prefault_vs_memslot_delete(parent: type[Kernel]) -> type[Kernel]:
    """A pre-fault of a slot that is being deleted retries inside the SRCU section that the deletion waits for."""

    class PrefaultVsMemslotDelete(parent):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self.release: Release = attrs.evolve(self.release, prefault_invalid_slot_eagain=False)

    return PrefaultVsMemslotDelete


def tdx_local_retry_vs_memslot_delete(parent: type[Kernel]) -> type[Kernel]:
    """The TDX exit handler repeats a RETRY whatever becomes of the slot, inside its SRCU section."""

    class TdxLocalRetryVsMemslotDelete(parent):
        async def handle_ept_violation(self, t: Task, vcpu: Vcpu, gfn: int, private: bool | None) -> int:
            vm = vcpu.vm
            vcpu.root_generation = vm.root_generation
            section = await vm.srcu.read_lock(t)
            while True:
                ret: int = await self.kvm_mmu_do_page_fault(t, vcpu, gfn, private)
                if ret != RetPf.RETRY or not (vm.stage2.mirrored and private) or vm.dead:
                    break
            await vm.srcu.read_unlock(t, section)
            await self.task_work_run(t)
            return ret

    return TdxLocalRetryVsMemslotDelete


def madvise_remove_abba(parent: type[Kernel]) -> type[Kernel]:
    """PUNCH_HOLE comes through madvise(MADV_REMOVE), which holds mmap_lock; population takes the two the other way."""

    class MadviseRemoveAbba(parent):
        async def kvm_gmem_punch_hole(self, t: Task, inode: GmemInode, start: int, end: int) -> int:
            process = self.world.processes.get("vmm")
            if process is not None:
                await process.mmap_lock.down_write(t)
            ret: int = await super().kvm_gmem_punch_hole(t, inode, start, end)
            if process is not None:
                await process.mmap_lock.up_write(t)
            return ret

    return MadviseRemoveAbba


BUGS = (
    bug(
        "prefault-vs-memslot-delete",
        rules="livelock",
        make=prefault_vs_memslot_delete,
        scenario="zoo-prefault_delete",
    ),
    bug(
        "tdx-local-retry-vs-memslot-delete",
        rules="livelock",
        make=tdx_local_retry_vs_memslot_delete,
        vm_types=("tdx",),
        scenario="slot_delete",
    ),
    bug(
        "madvise-remove-abba",
        rules="deadlock",
        make=madvise_remove_abba,
        versions=("baseline",),
        vm_types=("snp",),
        scenario="zoo-launch_mmap",
    ),
)
