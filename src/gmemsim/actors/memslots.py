"""KVM_SET_USER_MEMORY_REGION2: create and delete memslots (guest-memfd.md 4.2, 4.3).

Moving slots and dirty logging are outside the model; a slot bound to a guest_memfd cannot do either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..audit.kvm_events import SlotFree, SlotPublish, UseAfterFree
from .errno import EBADF, EEXIST, EINVAL, EIO, ENOMEM
from .memslot import Memslot

if TYPE_CHECKING:
    from ..engine.task import Task
    from .inode import GmemFile, HostMapping
    from .kernel import Kernel
    from .memslot import UserMemory
    from .vm import Vm

#: Slots that userspace may number on x86: SHRT_MAX less the three that KVM keeps.
KVM_USER_MEM_SLOTS: Final = 32764
#: `kvm_mmu_max_gfn` of a machine with 52 bits of physical address, the most that there are.
MAX_GFN: Final = (1 << 40) - 1


async def kvm_set_memory_region(
    self: Kernel,
    t: Task,
    vm: Vm,
    ident: int,
    base_gfn: int,
    pages: int,
    file: GmemFile | None = None,
    offset: int = 0,
    user: UserMemory | None = None,
    user_offset: int = 0,
    gmem: bool = False,
    hva: HostMapping | None = None,
) -> int:
    """Create slot `ident` (`pages` > 0), or delete it (`pages` == 0). `offset` is in bytes.

    `gmem` asks for KVM_MEM_GUEST_MEMFD; with `file` None its descriptor is bad. `hva` is the mapping of a
    guest_memfd that the slot's userspace address lies in. Returns 0, -EINVAL, -EEXIST
    (guest frames overlap), -ENOMEM, -EIO (the VM is dead), or an error of the bind.
    """
    if vm.dead:
        return EIO
    await vm.slots_lock.lock(t)
    ret = await self._set_region(t, vm, ident, base_gfn, pages, file, offset, user, user_offset, gmem, hva)
    await vm.slots_lock.unlock(t)
    await self.task_work_run(t)
    return ret


async def _set_region(
    self: Kernel,
    t: Task,
    vm: Vm,
    ident: int,
    base_gfn: int,
    pages: int,
    file: GmemFile | None,
    offset: int,
    user: UserMemory | None,
    user_offset: int,
    gmem: bool,
    hva: HostMapping | None,
) -> int:
    old = next((slot for slot in vm.slots if slot.ident == ident), None)
    if pages == 0:
        return EINVAL if old is None else await self.kvm_delete_memslot(t, vm, old)
    if base_gfn < 0 or pages < 0 or not 0 <= ident < KVM_USER_MEM_SLOTS:
        return EINVAL
    if base_gfn + pages >= 1 << 52:
        # gpa + size does not fit 64 bits.
        return EINVAL
    if old is not None:
        # A slot with guest_memfd cannot be changed; the same again of another is no change. No more is modelled.
        same = (base_gfn, pages, user, user_offset) == (
            old.base_gfn, old.pages, old.user, old.user_offset,
        )  # fmt: skip
        return 0 if same and not (gmem or file is not None or old.gmem) else EINVAL
    if any(slot.base_gfn < base_gfn + pages and base_gfn < slot.base_gfn + slot.pages for slot in vm.slots):
        return EEXIST
    if t.fault("alloc_memslot"):
        return ENOMEM
    slot = Memslot(ident, base_gfn, pages, user, user_offset)
    slot.hva = hva
    if hva is not None and vm not in hva.vms:
        hva.vms.append(vm)
    if gmem or file is not None:
        if file is None:
            return EBADF
        slot.gmem = True
        ret = await self.kvm_gmem_prepare_memory_region(t, vm, slot, file, offset)
        if ret:
            return ret
        ret = await self.kvm_create_memslot(t, vm, slot)
        await self.kvm_gmem_bound(t, slot, file, ret)
    else:
        ret = await self.kvm_create_memslot(t, vm, slot)
    if ret:
        self.kvm_free_memslot(t, slot)
    return ret


async def kvm_create_memslot(self: Kernel, t: Task, vm: Vm, slot: Memslot) -> int:
    """`kvm_set_memslot` of a new slot: 0, or the errno of what it does before it publishes the slot."""
    await vm.slots_arch_lock.lock(t)
    ret = self.kvm_arch_prepare_memory_region(t, vm, slot)
    if ret == 0 and slot.gmem:
        ret = await self.kvm_gmem_commit_memory_region(t, slot)
    if ret:
        await vm.slots_arch_lock.unlock(t)
        return ret
    await self.swap_active_memslots(t, vm, (*vm.slots, slot), slot, "valid")
    return 0


def kvm_arch_prepare_memory_region(self: Kernel, t: Task, vm: Vm, slot: Memslot) -> int:
    """Of a new slot: 0, -EINVAL (it ends above what the MMU can map, or where TDX has shared addresses), -ENOMEM
    (`kvm_alloc_memslot_metadata`).
    """
    last = slot.base_gfn + slot.pages - 1
    if last > MAX_GFN or last & vm.arch.gfn_direct_bits:
        return EINVAL
    if t.fault("alloc_memslot_metadata"):
        return ENOMEM
    if vm.arch.has_private_memory:
        self.kvm_mmu_init_memslot_memory_attributes(vm, slot)
    return 0


async def kvm_delete_memslot(self: Kernel, t: Task, vm: Vm, slot: Memslot) -> int:
    """`kvm_set_memslot` of a deletion: INVALID, removal, unbind, with a grace period after each of the first two."""
    await vm.slots_arch_lock.lock(t)
    if t.fault("alloc_memslot"):
        await vm.slots_arch_lock.unlock(t)
        return ENOMEM
    copy = slot.invalid_copy()
    await self.kvm_invalidate_memslot(t, vm, slot, copy)
    await self.kvm_activate_memslot(t, vm, slot, copy)
    await self.kvm_gmem_unbind(t, slot)
    self.kvm_free_memslot(t, slot)
    self.kvm_free_memslot(t, copy)
    return 0


async def kvm_invalidate_memslot(self: Kernel, t: Task, vm: Vm, slot: Memslot, copy: Memslot) -> None:
    """Publish the INVALID copy in the slot's place, and zap what the slot mapped; slots_arch_lock is held again."""
    with_copy = tuple(copy if other is slot else other for other in vm.slots)
    await self.swap_active_memslots(t, vm, with_copy, slot, "invalid")
    await self.kvm_arch_flush_shadow_memslot(t, vm, slot)
    await vm.slots_arch_lock.lock(t)


async def kvm_activate_memslot(self: Kernel, t: Task, vm: Vm, slot: Memslot, copy: Memslot) -> None:
    """Of a deletion (`kvm_delete_memslot`): publish the slots without the INVALID copy."""
    without = tuple(other for other in vm.slots if other is not copy)
    await self.swap_active_memslots(t, vm, without, slot, "gone")


def kvm_free_memslot(self: Kernel, t: Task, slot: Memslot) -> None:
    """`kfree(slot)`, in the present step: nobody may use it any more (`use_memslot`)."""
    slot.freed = True
    if t.rec is not None:
        t.rec(t, SlotFree(slot.ident))


def use_memslot(self: Kernel, t: Task, slot: Memslot) -> None:
    """The present step reads or writes the slot: a use after free if `kvm_free_memslot` has run."""
    if slot.freed and t.rec is not None:
        t.rec(t, UseAfterFree("memslot", slot.ident))


async def swap_active_memslots(
    self: Kernel, t: Task, vm: Vm, slots: tuple[Memslot, ...], slot: Memslot, state: str
) -> None:
    """Publish a slot array and wait until no vCPU can still see the old one; drops slots_arch_lock in between.

    Not while an MMU notifier is between its start and its end, which must see the same slots (guest-memfd.md 4.3
    step 2).
    """
    if t.traps:
        await t.point(vm.store_slots)
    while vm.mn_active:
        await vm.mn_wait.turn(t, self.costs.wake)
    vm.slots = slots
    if t.rec is not None:
        t.rec(t, SlotPublish(slot.ident, state))
    await vm.slots_arch_lock.unlock(t)
    await vm.srcu.synchronize(t)


async def kvm_arch_flush_shadow_memslot(self: Kernel, t: Task, vm: Vm, slot: Memslot) -> None:
    """Zap what the slot mapped; `seq` does not move (a fault that started earlier cannot exist any more).

    Since 7.2 the arch hears of it before the zap, if the slot has a file.

    The default VM type has the quirk SLOT_ZAP_ALL on: every root becomes obsolete and every mapping of the VM
    goes. The other types zap the leaves of this slot, of both kinds.
    """
    await vm.mmu_lock.write_lock(t)
    if slot.gmem_file is not None:
        await self.kvm_arch_gmem_invalidate_range(t, vm, slot.base_gfn, slot.base_gfn + slot.pages)
    if vm.arch.has_private_memory:
        if await self.kvm_unmap_gfn_range(t, vm, slot.base_gfn, slot.base_gfn + slot.pages, "both"):
            await self.kvm_flush_remote_tlbs(t, vm)
    else:
        await self.kvm_mmu_zap_all_fast_front_half(t, vm)
    await vm.mmu_lock.write_unlock(t)
