# mypy: disable-error-code="misc,valid-type,no-any-return"
"""Mends of faults against the deletion or the creation of their slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ...actors.errno import EAGAIN, EFAULT, EINTR, EIO, ENOENT
from ...actors.fault import RetPf
from .entry import Mend
from .on_release import on_release

if TYPE_CHECKING:
    from ...actors.fault import Fault
    from ...actors.folio import Folio
    from ...actors.inode import GmemFile
    from ...actors.kernel import Kernel
    from ...actors.memslot import Memslot
    from ...actors.vm import Vcpu, Vm
    from ...engine.task import Task

_KIND: Final = ("private-page-mapped-shared-at-slot-deletion",)
_PREFAULT: Final = ("prefault-against-slot-deletion",)
_OBSOLETE: Final = ("prefault-keeps-obsolete-root",)
_AFTER: Final = ("prefault-after-slot-deletion",)
_CREATION: Final = ("fault-against-slot-creation",)
#: One finds no slot, the other maps the page.
_TWO_FAULTS: Final = (("touch", "touch", "make slot"),)


def get_pfn_checks_kind(parent: type[Kernel]) -> type[Kernel]:
    """get_pfn is told what the fault asked for, and compares it with the attribute, under the invalidate lock."""

    class GetPfnChecksKind(parent):
        async def kvm_mmu_faultin_pfn_of_kind(self, t: Task, fault: Fault, slot: Memslot) -> int:
            asked: dict[Task, bool] = self.__dict__.setdefault("_asked", {})
            asked[t] = fault.private
            ret: int = await super().kvm_mmu_faultin_pfn_of_kind(t, fault, slot)
            del asked[t]
            return ret

        async def kvm_gmem_get_locked_pfn(
            self, t: Task, vm: Vm, file: GmemFile, slot: Memslot, gfn: int, index: int
        ) -> tuple[int, Folio | None]:
            asked = self.__dict__.get("_asked", {}).get(t)
            if asked is None or not (vm.arch.has_private_memory and self.in_place):
                return await super().kvm_gmem_get_locked_pfn(t, vm, file, slot, gfn, index)
            # The lock is held, so that it stays what it is.
            if await self.kvm_gmem_is_private(t, file.inode, index) != asked:
                return EFAULT, None
            return await super().kvm_gmem_get_locked_pfn(t, vm, file, slot, gfn, index)

    return GetPfnChecksKind


def kind_of_fault_slot(parent: type[Kernel]) -> type[Kernel]:
    """`kvm_mmu_faultin_pfn` asks for the kind by the slot that the fault found, and not by the gfn once more."""

    class KindOfFaultSlot(parent):
        async def _faultin(self, t: Task, fault: Fault) -> int:
            found: dict[Task, Memslot | None] = self.__dict__.setdefault("_fault_slots", {})
            found[t] = fault.slot
            ret: int = await super()._faultin(t, fault)
            found.pop(t, None)
            return ret

        async def kvm_mem_is_private(self, t: Task, vm: Vm, gfn: int) -> bool:
            # The first question of the fault; later ones are of others.
            slot = self.__dict__.get("_fault_slots", {}).pop(t, None)
            if slot is None or not slot.gmem or not (self.in_place and vm.arch.has_private_memory):
                return await super().kvm_mem_is_private(t, vm, gfn)
            file = slot.gmem_file
            if file is None:
                return False
            return bool(file.count.value) and await self.kvm_gmem_is_private(
                t, file.inode, slot.index_of(gfn)
            )

    return KindOfFaultSlot


def prefault_eagain(parent: type[Kernel]) -> type[Kernel]:
    """A pre-fault of a slot that is being deleted answers -EAGAIN, as since 6.18."""
    return on_release(parent, prefault_invalid_slot_eagain=True)


def prefault_reloads(parent: type[Kernel]) -> type[Kernel]:
    """A pre-fault frees an obsolete root and loads a new one before each try, not once for each page."""

    class PrefaultReloads(parent):
        async def kvm_mmu_do_page_fault(
            self, t: Task, vcpu: Vcpu, gfn: int, private: bool | None, prefetch: bool = False
        ) -> int:
            if prefetch:
                vcpu.root_generation = vcpu.vm.root_generation
            ret: int = await super().kvm_mmu_do_page_fault(t, vcpu, gfn, private, prefetch)
            return ret

    return PrefaultReloads


def prefault_root_eagain(parent: type[Kernel]) -> type[Kernel]:
    """A pre-fault whose fault is to be retried answers -EAGAIN if its root has become obsolete."""

    class PrefaultRootEagain(parent):
        async def kvm_mmu_do_page_fault(
            self, t: Task, vcpu: Vcpu, gfn: int, private: bool | None, prefetch: bool = False
        ) -> int:
            ret: int = await super().kvm_mmu_do_page_fault(t, vcpu, gfn, private, prefetch)
            if prefetch and ret == RetPf.RETRY and vcpu.root_generation != vcpu.vm.root_generation:
                return EAGAIN
            return ret

    return PrefaultRootEagain


def reload_frees_roots(parent: type[Kernel]) -> type[Kernel]:
    """`kvm_mmu_reload` frees an obsolete root, as since 20a6cff3b283."""
    return on_release(parent, reload_frees_roots=True)


def prefault_gives_up(parent: type[Kernel]) -> type[Kernel]:
    """A pre-fault answers -EAGAIN whenever the fault says RETRY, and leaves the loop to userspace."""

    class PrefaultGivesUp(parent):
        async def kvm_tdp_map_page(self, t: Task, vcpu: Vcpu, gfn: int, private: bool) -> int:
            if t.signalled():
                return EINTR
            ret: int = await self.kvm_mmu_do_page_fault(t, vcpu, gfn, private, prefetch=True)
            if ret == RetPf.RETRY:
                return EIO if vcpu.vm.dead else EAGAIN
            return ENOENT if ret == RetPf.EMULATE else min(ret, 0)

    return PrefaultGivesUp


def mmio_map_retries(parent: type[Kernel]) -> type[Kernel]:
    """`kvm_tdp_mmu_map` of a fault without a slot that meets a leaf: a retry in place of the warning."""

    class MmioMapRetries(parent):
        def noslot_over_leaf(self, t: Task, fault: Fault) -> int:
            return self.retry(t, fault, "spte")

    return MmioMapRetries


def mmio_fault_looks_again(parent: type[Kernel]) -> type[Kernel]:
    """A fault that found no slot looks once more under mmu_lock, and is retried if there is one by now."""

    class MmioFaultLooksAgain(parent):
        async def tdp_mmu_map_mmio(self, t: Task, fault: Fault) -> int:
            vm = fault.vcpu.vm
            if t.traps:
                await t.point(vm.load_slots)
            if vm.slot_of(fault.gfn) is not None:
                return self.retry(t, fault, "slot")
            ret: int = await super().tdp_mmu_map_mmio(t, fault)
            return ret

    return MmioFaultLooksAgain


def slot_invalid_first(parent: type[Kernel]) -> type[Kernel]:
    """`kvm_set_memslot` of a new slot publishes an INVALID copy and waits for SRCU before it publishes the slot."""

    class SlotInvalidFirst(parent):
        async def swap_active_memslots(
            self, t: Task, vm: Vm, slots: tuple[Memslot, ...], slot: Memslot, state: str
        ) -> None:
            if state != "valid":
                await super().swap_active_memslots(t, vm, slots, slot, state)
                return
            copy = slot.invalid_copy()
            with_copy = tuple(copy if other is slot else other for other in slots)
            await super().swap_active_memslots(t, vm, with_copy, slot, "invalid")
            await vm.slots_arch_lock.lock(t)
            await super().swap_active_memslots(t, vm, slots, slot, state)
            copy.freed = True

    return SlotInvalidFirst


MENDS: Final = (
    Mend(
        ident="mmio-map-retries",
        title="a fault without a slot that meets a leaf is retried, and nothing warns",
        says="in tdp_mmu_map_handle_target_level, where the frame is compared: only faults with a slot have one to "
        "compare. Userspace sees no change: the guest's access is tried again, as it is today",
        findings=_CREATION,
        make=mmio_map_retries,
        blind="whether another comparison of kvm_tdp_mmu_map warns of such a fault",
        meets=("make slot",),
        three=_TWO_FAULTS,
    ),
    Mend(
        ident="mmio-fault-looks-again",
        title="a fault that found no slot looks again under mmu_lock, and is retried if there is one by now",
        says="the check of stale faults (is_page_fault_stale) then has something for faults without a slot. The slot "
        "is published without mmu_lock, and faults hold it shared",
        findings=_CREATION,
        make=mmio_fault_looks_again,
        wrong="the slot can be published, and its page mapped by another vCPU, between the second look and the "
        "reading of the entry: the window is smaller, and there",
        blind="what a look-up of the slot costs under mmu_lock at every access to MMIO whose entry is not cached",
        meets=("make slot",),
        three=_TWO_FAULTS,
    ),
    Mend(
        ident="slot-invalid-first",
        title="a new slot is published as INVALID, and as valid after a grace period of SRCU",
        says="as a deletion does. A fault that found no slot is over before another can map a page; faults in between "
        "are retried, and pre-faults answer -EAGAIN. One more grace period at each creation of a slot",
        findings=_CREATION,
        make=slot_invalid_first,
        blind="what another grace period costs a VMM that makes many slots at its start",
        meets=("make slot",),
        three=_TWO_FAULTS,
    ),
    Mend(
        ident="get-pfn-checks-kind",
        title="get_pfn compares the kind that the fault asked for with the attribute, under the invalidate lock",
        says="it reads the attribute there anyway, to know whether to prepare the page. -EFAULT with a memory-fault "
        "exit, as where the kinds differ earlier",
        findings=_KIND,
        make=get_pfn_checks_kind,
        blind="what a VMM does with a memory-fault exit in a slot that it is deleting itself",
        meets=("delete slot",),
    ),
    Mend(
        ident="kind-of-fault-slot",
        title="the fault asks for the kind by the slot that it found, not by gfn in the array that is published now",
        says="one look-up of the slot for all of a fault; a conversion in between is met by the sequence as ever",
        findings=_KIND,
        make=kind_of_fault_slot,
        blind="other callers of kvm_mem_is_private, which still ask by gfn",
        meets=("delete slot",),
    ),
    Mend(
        ident="prefault-eagain",
        title="a pre-fault of a slot that is being deleted answers -EAGAIN",
        says="what Linux has since 6.18",
        findings=_PREFAULT,
        make=prefault_eagain,
        blind="what a VMM does with the error. On a default VM, prefault-keeps-obsolete-root is there all the same",
        meets=("pre-fault",),
        arches=("sw-protected",),
    ),
    Mend(
        ident="prefault-reloads",
        title="a pre-fault frees an obsolete root and loads a new one before each try",
        says="the loop of kvm_tdp_page_prefault calls kvm_mmu_reload, as KVM_RUN does between any two faults. The "
        "SRCU section is kept; userspace sees no change. To 6.12 kvm_mmu_reload has to free obsolete roots, too",
        findings=(*_OBSOLETE, *_AFTER),
        make=prefault_reloads,
        blind="that a root cannot be loaded (-ENOMEM), and requests other than that of obsolete roots",
        meets=("pre-fault",),
    ),
    Mend(
        ident="prefault-root-eagain",
        title="a pre-fault answers -EAGAIN if its root has become obsolete",
        says="what it answers for an INVALID slot since 6.18; userspace calls again, which loads a new root",
        findings=_OBSOLETE,
        make=prefault_root_eagain,
        blind="what a VMM does with the error, which a deletion or a parameter that it did not ask for now causes",
        meets=("pre-fault",),
    ),
    Mend(
        ident="reload-frees-roots",
        title="kvm_mmu_reload frees obsolete roots before it looks whether there is one",
        says="what Linux has since 20a6cff3b283 (2025)",
        findings=_AFTER,
        make=reload_frees_roots,
        blind="what the look costs at each entry of the guest. prefault-keeps-obsolete-root is there all the same",
        meets=("pre-fault",),
        arches=("default",),
    ),
    Mend(
        ident="prefault-gives-up",
        title="a pre-fault answers -EAGAIN whenever its fault is to be retried",
        says="no loop under SRCU at all; every race with an invalidation then shows in userspace",
        findings=(*_PREFAULT, *_OBSOLETE),
        make=prefault_gives_up,
        blind="what a VMM does with an error that every invalidation can cause",
        meets=("pre-fault",),
        arches=("sw-protected", "default"),
    ),
)
