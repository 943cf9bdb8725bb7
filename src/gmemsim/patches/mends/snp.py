# mypy: disable-error-code="misc,valid-type,no-any-return"
"""Mends of findings about SEV-SNP guests: the launch, the save area, and RMP faults of huge pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...engine.op import Op
from .entry import Mend
from .on_release import on_release

if TYPE_CHECKING:
    from ...actors.fault import Fault
    from ...actors.folio import Folio
    from ...actors.gmem_populate import Source
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...actors.memslot import Memslot
    from ...actors.vm import Vcpu, Vm
    from ...actors.vmsa import Vmsa
    from ...engine.task import Task

_LAUNCH: Final = ("snp-launch-update-after-finish",)
_VMSA: Final = ("snp-vmsa-page-freed-in-use",)
_RMP_FAULT: Final = ("snp-rmp-fault-against-reclaim",)


def launch_state(parent: type[Kernel]) -> type[Kernel]:
    """`snp_launch_update` refuses a launch that is finished; kvm->lock orders the two."""

    class LaunchState(parent):
        def populate_rejects(self, vm: Vm, source: Source | None) -> bool:
            """The ioctl's own -EINVAL, and not one from below it, which would be -EIO."""
            late = vm.finalized and vm.arch.encrypted_state
            return late or bool(super().populate_rejects(vm, source))

    return LaunchState


def fault_shares_lock(parent: type[Kernel]) -> type[Kernel]:
    """get_pfn holds the invalidate lock shared, as with conversion in place, so that populate keeps faults out."""

    class FaultSharesLock(parent):
        async def kvm_gmem_get_file_pfn(
            self, t: Task, vm: Vm, slot: Memslot, gfn: int, index: int
        ) -> tuple[int, Folio | None]:
            file = await self.get_file_active(t, slot.gmem_file)
            if file is None:
                return await super().kvm_gmem_get_file_pfn(t, vm, slot, gfn, index)
            lock = file.inode.invalidate_lock
            await lock.down_read(t)
            found: tuple[int, Folio | None] = await super().kvm_gmem_get_file_pfn(t, vm, slot, gfn, index)
            await lock.up_read(t)
            await self.fput_later(t, file)
            return found

    return FaultSharesLock


def vmsa_reload(parent: type[Kernel]) -> type[Kernel]:
    """What Linux 7.2.13 has: each invalidation asks the vCPU to load its save area again, and waits for it."""
    return on_release(parent, vmsa_reload=True, invalidate_range_hook=True)


def reclaim_leaks(parent: type[Kernel]) -> type[Kernel]:
    """The free hook keeps a frame that RMPUPDATE refused to give back from the allocator (`snp_leak_pages`)."""

    class ReclaimLeaks(parent):
        async def kvm_gmem_free_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
            await super().kvm_gmem_free_folio(t, inode, folio)
            arch: Any = self.inode_vm(inode).arch
            if not arch.encrypted_state:
                return
            for pfn in range(folio.pfn, folio.pfn + folio.pages):
                if arch.rmp.entry(pfn).assigned:
                    arch.snp_leak_page(pfn)

    return ReclaimLeaks


def vmsa_keeps_page(parent: type[Kernel]) -> type[Kernel]:
    """The vCPU keeps the reference of its save area's page until it loads another."""

    class VmsaKeepsPage(parent):
        def kept(self) -> dict[str, Fault]:
            """By vCPU."""
            found: dict[str, Fault] = self.__dict__.setdefault("_kept_vmsa", {})
            return found

        async def sev_snp_reload_vmsa(self, t: Task, vcpu: Vcpu, vmsa: Vmsa, gfn: int) -> None:
            before = self.kept().pop(vcpu.label, None)
            self.__dict__.setdefault("_loading", {})[t] = vcpu.label
            await super().sev_snp_reload_vmsa(t, vcpu, vmsa, gfn)
            del self.__dict__["_loading"][t]
            if before is not None:
                await super().kvm_release_faultin_pfn(t, before)

        async def kvm_release_faultin_pfn(self, t: Task, fault: Fault) -> None:
            label = self.__dict__.get("_loading", {}).get(t)
            if label is None:
                await super().kvm_release_faultin_pfn(t, fault)
            else:
                self.kept()[label] = fault

    return VmsaKeepsPage


def rmp_fault_locks_folio(parent: type[Kernel]) -> type[Kernel]:
    """Look-up and PSMASH under the folio lock, if the folio is still in its file: reclaim always has that lock."""

    class RmpFaultLocksFolio(parent):
        async def sev_psmash(self, t: Task, vcpu: Vcpu, folio: Folio, pfn: int) -> int | None:
            await folio.lock.lock(t)
            code = None if folio.mapping is None else await super().sev_psmash(t, vcpu, folio, pfn)
            await self.folio_unlock(t, folio)
            return code

    return RmpFaultLocksFolio


def rmp_fault_checks_invalidation(parent: type[Kernel]) -> type[Kernel]:
    """Look-up and PSMASH under mmu_lock, if no invalidation of the gfn began since the page was looked up."""

    class RmpFaultChecksInvalidation(parent):
        def begun(self) -> dict[Task, tuple[int, int]]:
            """Sequence before the look-up, and the gfn, of RMP faults under way."""
            found: dict[Task, tuple[int, int]] = self.__dict__.setdefault("_rmp_faults", {})
            return found

        async def sev_handle_rmp_fault(self, t: Task, vcpu: Vcpu, gfn: int) -> int:
            if t.traps:
                await t.point(vcpu.vm.load_seq)
            self.begun()[t] = vcpu.vm.seq, gfn
            ret: int = await super().sev_handle_rmp_fault(t, vcpu, gfn)
            del self.begun()[t]
            return ret

        async def sev_psmash(self, t: Task, vcpu: Vcpu, folio: Folio, pfn: int) -> int | None:
            vm = vcpu.vm
            seq, gfn = self.begun()[t]
            await vm.mmu_lock.read_lock(t)
            stale = self.mmu_invalidate_retry_gfn(vm, seq, gfn)
            code = None if stale else await super().sev_psmash(t, vcpu, folio, pfn)
            await vm.mmu_lock.read_unlock(t)
            return code

    return RmpFaultChecksInvalidation


def rmp_fault_looks_twice(parent: type[Kernel]) -> type[Kernel]:
    """The handler looks right before PSMASH whether the folio is still in its file, and holds nothing."""

    class RmpFaultLooksTwice(parent):
        async def sev_psmash(self, t: Task, vcpu: Vcpu, folio: Folio, pfn: int) -> int | None:
            if t.traps:
                await t.point(
                    Op("load", folio.lock.obj.removesuffix(".folio"), folio.index, folio.index + 1, "r")
                )
            return None if folio.mapping is None else await super().sev_psmash(t, vcpu, folio, pfn)

    return RmpFaultLooksTwice


MENDS: Final = (
    Mend(
        ident="snp-launch-state",
        title="SNP_LAUNCH_UPDATE of a finished launch is refused (-EINVAL)",
        says="what Jethro Beekman posted in January 2026; kvm->lock, which both commands hold, orders them",
        findings=_LAUNCH,
        make=launch_state,
        blind="commands of the firmware besides update and finish",
        meets=("populate",),
        arches=("snp",),
    ),
    Mend(
        ident="fault-shares-lock",
        title="vCPU faults hold the invalidate lock shared in get_pfn, as with conversion in place",
        says="populate, which has it exclusively, keeps faults out. Every fault pays for the lock, and waits for "
        "holes and allocations of the file. It brings a deadlock that the version does not have: a fault that waits "
        "for the folio with the lock, a memory failure that waits for the lock with the folio, and a hole elsewhere "
        "queued between them",
        findings=_LAUNCH,
        make=fault_shares_lock,
        blind="what many readers at once cost on the cache line of one rw-semaphore: the storms have 8 threads",
        meets=("touch", "populate"),
        triples=True,
        # A cell has one page, and its guest either maps it already or has nothing that could fail.
        scenarios=(("snp", "zoo-poison_fault"),),
        arches=("snp",),
    ),
    Mend(
        ident="vmsa-reload",
        title="each invalidation asks the vCPU for a reload of its save area, and waits until it is out of the guest",
        says="what Linux 7.2.13 and 7.3.4 have (sev_gmem_invalidate_range, __sev_snp_reload_vmsa)",
        findings=_VMSA,
        make=vmsa_reload,
        blind="how long a vCPU takes to leave the guest, for which the hole waits",
        meets=("punch",),
        arches=("snp",),
    ),
    Mend(
        ident="reclaim-leaks",
        title="the free hook leaks a frame that RMPUPDATE refused to give back (snp_leak_pages)",
        says="the guest goes on with the page, the host loses it for good: a guest can make the host lose memory",
        findings=_VMSA,
        make=reclaim_leaks,
        blind="how much memory a guest can so take from the host",
        meets=("punch",),
        arches=("snp",),
    ),
    Mend(
        ident="vmsa-keeps-page",
        title="the vCPU keeps a reference of its save area's page",
        says="the frame stays out of the allocator until the vCPU loads another save area",
        findings=_VMSA,
        make=vmsa_keeps_page,
        wrong="the hook runs at the removal from the page cache, whatever references there are, and only then: it is "
        "refused, and nobody takes the frame back when the vCPU lets go",
        meets=("punch",),
        arches=("snp",),
    ),
    Mend(
        ident="rmp-fault-locks-folio",
        title="the RMP fault looks up and splits under the folio lock, if the folio is still in its file",
        says="reclaim always runs under that lock. get_pfn's reference is kept until after PSMASH",
        findings=_RMP_FAULT,
        make=rmp_fault_locks_folio,
        blind="in place get_pfn hands out no reference; the model keeps the folio's object, a kernel needs the "
        "reference",
        meets=("touch",),
        arches=("snp",),
    ),
    Mend(
        ident="rmp-fault-checks-invalidation",
        title="the RMP fault looks up and splits under mmu_lock, if no invalidation of the gfn has begun",
        says="the protocol of the fault path: the sequence is read before get_pfn, and tested under mmu_lock before "
        "PSMASH and not after its failure",
        findings=_RMP_FAULT,
        make=rmp_fault_checks_invalidation,
        blind="how long PSMASH takes with mmu_lock held",
        meets=("touch",),
        arches=("snp",),
    ),
    Mend(
        ident="rmp-fault-looks-twice",
        title="the RMP fault looks right before PSMASH whether the folio is still in its file, without a lock",
        says="the check that comes to mind first",
        findings=_RMP_FAULT,
        make=rmp_fault_looks_twice,
        wrong="reclaim can begin between the look and PSMASH",
        meets=("touch",),
        arches=("snp",),
    ),
)
