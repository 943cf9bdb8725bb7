"""Nested faults of SEV-SNP that the RMP causes although a mapping is there (arch.md 1.3, "RMP fault").

Only versions with huge folios come here: below them every RMP entry is one of 4 KiB, and the handler returns at step 4.
Besides, the other places where a vCPU meets the level of a leaf: accesses, and the exit of an accept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.fault import Fault, RetPf
from ..actors.stage2 import FROZEN, PG_LEVEL_2M, level_pages

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.stage2 import Spte
    from ..actors.vm import Vcpu, Vm
    from ..engine.task import Task
    from .hugepage import Hugepage


async def fast_page_fault(
    self: Hugepage, t: Task, vcpu: Vcpu, gfn: int, private: bool | None, write: bool
) -> bool:
    """Whether the fault is taken as spurious without a look at the pfn.

    So is a write through an entry that is present and allows it, if the kind of the access agrees with KVM's
    idea. Reads take the slow path. PVALIDATE counts as a write (our choice: its error code was not found).
    """
    vm = vcpu.vm
    if private is None or not write or private != await self.kvm_mem_is_private(t, vm, gfn):
        return False
    spte = vm.stage2.find(gfn, private)
    return spte is not None and spte.pfn != FROZEN


async def sev_handle_rmp_fault(self: Hugepage, t: Task, vcpu: Vcpu, gfn: int) -> int:
    """Split the RMP entry behind `gfn` if it is one of 2 MiB, then zap so that the tables follow.

    SRCU is held, and no lock from the look-up to the zap. The result is 0 whatever happens: the guest tries again.
    Where somebody else split the entry, before the look-up or before PSMASH, there is no zap: that is left to them.
    """
    vm = vcpu.vm
    if not await self.kvm_mem_is_private(t, vm, gfn):
        return 0
    if t.traps:
        await t.point(vm.load_slots)
    slot = vm.slot_of(gfn)
    if slot is None or not slot.gmem:
        return 0
    fault = Fault(vcpu, gfn, True, False)
    fault.slot = slot
    ret, fault.folio = await self.kvm_gmem_get_pfn(t, vm, slot, gfn)
    if ret or fault.folio is None:
        return 0
    pfn = fault.folio.pfn + slot.index_of(gfn) - fault.folio.index
    code = await self.sev_psmash(t, vcpu, fault.folio, pfn)
    ret = 0
    if code:
        code = await self.sev_psmash_failed(t, vcpu, pfn, code) or None
    if code is not None:
        ret = await self.sev_after_psmash(t, vcpu, gfn, code)
    await self.kvm_release_faultin_pfn(t, fault)
    return ret


async def sev_psmash(self: Hugepage, t: Task, vcpu: Vcpu, folio: Folio, pfn: int) -> int | None:
    """Look up and split: None if there is nothing to split, else PSMASH's answer. At most a reference is held."""
    return await vcpu.vm.arch.rmp_fault(t, pfn)


async def sev_psmash_failed(self: Hugepage, t: Task, vcpu: Vcpu, pfn: int, code: int) -> int:
    """Look again: 0 if another CPU has split the entry in between; it zaps as well."""
    return await vcpu.vm.arch.rmp_recheck(t, pfn, code)


async def sev_after_psmash(self: Hugepage, t: Task, vcpu: Vcpu, gfn: int, code: int) -> int:
    """Zap 512 gfns from the faulting one on, so part of the next 2 MiB too.

    `code` is PSMASH's, 0 or one that the second look-up did not explain: it is warned of, and changes nothing.
    """
    await self.kvm_zap_gfn_range(t, vcpu.vm, gfn, gfn + level_pages(PG_LEVEL_2M))
    return 0


async def npf_interception(
    self: Hugepage, t: Task, vcpu: Vcpu, gfn: int, private: bool | None, write: bool
) -> int:
    """The exit for a nested fault with the RMP bit: the common fault path, then the RMP's, in one SRCU section."""
    vm = vcpu.vm
    if not vm.arch.rmp_faults:
        return await self.handle_ept_violation(t, vcpu, gfn, private)
    section = await vm.srcu.read_lock(t)
    if await self.fast_page_fault(t, vcpu, gfn, private, write):
        ret: int = RetPf.SPURIOUS
    else:
        ret = await self.kvm_mmu_do_page_fault(t, vcpu, gfn, private)
    if ret > 0:
        failed = await self.sev_handle_rmp_fault(t, vcpu, gfn)
        ret = failed or ret
    await vm.srcu.read_unlock(t, section)
    await self.task_work_run(t)
    return ret


def spte_fits(self: Hugepage, t: Task, vm: Vm, spte: Spte, private: bool) -> bool:
    """Whether hardware takes a leaf of that level: the RMP has an entry of that size, say."""
    return vm.arch.level_fits(t, spte.pfn, private, spte.level)


async def accept_fault(self: Hugepage, t: Task, vcpu: Vcpu, gfn: int, level: int) -> None:
    """The arch notes the level that the guest asks for, and a larger leaf is split if it does so here."""
    vm = vcpu.vm
    await vm.arch.accept_fault(t, vm, vcpu.ident, gfn, level)
    if vm.arch.splits_for_accept:
        await self.split_for_accept(t, vm, gfn, level)
