# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs of the MMU's invalidation protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors.fault import RetPf
from ...audit.kvm_events import ExitMmio
from ...engine.errors import ModelError
from ...engine.op import Op
from .entry import bug

if TYPE_CHECKING:
    from ...actors.fault import Fault
    from ...actors.kernel import Kernel
    from ...actors.memslot import Memslot
    from ...actors.vm import Vm
    from ...engine.task import Task


def seq_snapshot_after_lookup(parent: type[Kernel]) -> type[Kernel]:
    """The sequence is read when the pfn is known already; that path has no early test either (arm64, RISC-V)."""

    class SeqSnapshotAfterLookup(parent):
        async def mmu_invalidate_retry_gfn_unsafe(self, t: Task, vm: Vm, seq: int, gfn: int) -> bool:
            return False

        async def kvm_mmu_faultin_pfn(self, t: Task, fault: Fault) -> int:
            ret: int = await super().kvm_mmu_faultin_pfn(t, fault)
            vm = fault.vcpu.vm
            if t.traps:
                await t.point(vm.load_seq)
            fault.seq = vm.seq
            return ret

    return SeqSnapshotAfterLookup


def retry_ignores_in_progress(parent: type[Kernel]) -> type[Kernel]:
    """Only the sequence is compared: an invalidation that has begun and not ended does not count."""

    class RetryIgnoresInProgress(parent):
        def mmu_invalidate_retry_gfn(self, vm: Vm, seq: int, gfn: int) -> bool:
            return vm.seq != seq

        async def mmu_invalidate_retry_gfn_unsafe(self, t: Task, vm: Vm, seq: int, gfn: int) -> bool:
            if t.traps:
                await t.point(vm.load_seq)
            return vm.seq != seq

    return RetryIgnoresInProgress


def range_overwritten(parent: type[Kernel]) -> type[Kernel]:
    """A second invalidation replaces the range of the first, which is still in progress."""

    class RangeOverwritten(parent):
        async def kvm_mmu_invalidate_range_add(self, t: Task, vm: Vm, start: int, end: int) -> None:
            vm.range_start, vm.range_end = start, end

    return RangeOverwritten


def unbalanced_invalidate_end(parent: type[Kernel]) -> type[Kernel]:
    """Unbind clears the binding without the invalidate lock: a punch begins with the slot and ends without."""

    class UnbalancedInvalidateEnd(parent):
        async def kvm_gmem_unbind(self, t: Task, slot: Memslot) -> None:
            if slot.gmem_file is not None:
                await self.kvm_gmem_clear_binding(t, slot.gmem_file, slot)

    return UnbalancedInvalidateEnd


def invalid_slot_treated_as_mmio(parent: type[Kernel]) -> type[Kernel]:
    """A slot that is being deleted is taken for no slot: an MMIO SPTE is installed (before e0c378684b65).

    Its leaves are zapped after the slot was marked invalid, so one can still stand there: BUG() in
    `__handle_changed_spte`, here a model error.
    """

    class InvalidSlotTreatedAsMmio(parent):
        async def _faultin(self, t: Task, fault: Fault) -> int:
            slot = fault.slot
            vm = fault.vcpu.vm
            if slot is None or not slot.invalid or fault.private:
                ret: int = await super()._faultin(t, fault)
                return ret
            await vm.mmu_lock.read_lock(t)
            if t.traps:
                await t.point(Op("rmw", vm.spte_label, fault.gfn, fault.gfn + 1))
            if vm.stage2.find(fault.gfn, False) is not None:
                raise ModelError(f"{t.name} puts an MMIO SPTE in place of the leaf of gfn {fault.gfn:#x}")
            await vm.mmu_lock.read_unlock(t)
            if t.rec is not None:
                t.rec(t, ExitMmio(fault.gfn))
            return RetPf.EMULATE

    return InvalidSlotTreatedAsMmio


BUGS = (
    bug(
        "invalid-slot-treated-as-mmio",
        rules="model_error",
        make=invalid_slot_treated_as_mmio,
        vm_types=("default",),
        scenario="zoo-two_delete",
    ),
    bug("seq-snapshot-after-lookup", rules="I18 I19", make=seq_snapshot_after_lookup, scenario="punch_tight"),
    bug("retry-ignores-in-progress", rules="I18 I19", make=retry_ignores_in_progress, scenario="punch_tight"),
    bug(
        "range-overwritten-by-second-invalidation",
        rules="I16 I18 I19",
        make=range_overwritten,
        scenario="zoo-convert_punch",
    ),
    bug(
        "unbalanced-invalidate-end", rules="I13 I15", make=unbalanced_invalidate_end, scenario="zoo-lifecycle"
    ),
)
