# mypy: disable-error-code="misc,valid-type,no-any-return"
"""Mends of a conversion in place (v8) that meets the reference of a fault on its way."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from .entry import Mend

if TYPE_CHECKING:
    from ...actors.fault import Fault
    from ...actors.folio import Folio
    from ...actors.inode import GmemFile, GmemInode
    from ...actors.kernel import Kernel
    from ...actors.memslot import Memslot
    from ...actors.vm import Vm
    from ...engine.task import Task

_KEPT: Final = ("v8-fault-keeps-reference",)


def get_pfn_puts(parent: type[Kernel]) -> type[Kernel]:
    """get_pfn drops its reference before the invalidate lock, as in the series as applied."""

    class GetPfnPuts(parent):
        get_pfn_puts: ClassVar[bool] = True

        async def kvm_gmem_get_locked_pfn(
            self, t: Task, vm: Vm, file: GmemFile, slot: Memslot, gfn: int, index: int
        ) -> tuple[int, Folio | None]:
            ret, folio = await super().kvm_gmem_get_locked_pfn(t, vm, file, slot, gfn, index)
            if folio is not None:
                await self.folio_put(t, file.inode, folio)
            return ret, folio

        async def kvm_release_faultin_pfn(self, t: Task, fault: Fault) -> None:
            """There is none."""

        async def kvm_mmu_finish_page_fault(self, t: Task, fault: Fault, ret: int) -> None:
            """No page was handed out that could be marked dirty."""
            await self.kvm_release_faultin_pfn(t, fault)

    return GetPfnPuts


def convert_looks_again(parent: type[Kernel]) -> type[Kernel]:
    """A conversion that finds a reference passes through mmu_lock, under which faults put theirs, and looks again."""

    class ConvertLooksAgain(parent):
        async def kvm_gmem_outside_reference(
            self, t: Task, inode: GmemInode, start: int, end: int
        ) -> Folio | None:
            found: Folio | None = await super().kvm_gmem_outside_reference(t, inode, start, end)
            if found is None:
                return None
            # Faults wait for the invalidate lock, which is held: who has a reference had it before.
            for file in list(inode.files):
                await file.vm.mmu_lock.write_lock(t)
                await file.vm.mmu_lock.write_unlock(t)
            return await super().kvm_gmem_outside_reference(t, inode, start, end)

    return ConvertLooksAgain


def convert_waits_for_faults(parent: type[Kernel]) -> type[Kernel]:
    """A conversion that finds a reference waits for kvm->srcu, in which every fault runs, and looks again."""

    class ConvertWaitsForFaults(parent):
        async def kvm_gmem_outside_reference(
            self, t: Task, inode: GmemInode, start: int, end: int
        ) -> Folio | None:
            found: Folio | None = await super().kvm_gmem_outside_reference(t, inode, start, end)
            if found is None:
                return None
            for file in list(inode.files):
                await file.vm.srcu.synchronize(t)
            return await super().kvm_gmem_outside_reference(t, inode, start, end)

    return ConvertWaitsForFaults


MENDS: Final = (
    Mend(
        ident="get-pfn-puts",
        title="get_pfn drops its reference before it drops the invalidate lock",
        says="as in the series as applied: the invalidation protocol alone keeps the frame until it is mapped",
        findings=_KEPT,
        make=get_pfn_puts,
        blind="callers that count on the reference after get_pfn, as the handler of RMP faults to 7.3 does",
        meets=("to private",),
    ),
    Mend(
        ident="convert-looks-again",
        title="a conversion that finds a reference passes through mmu_lock and looks once more",
        says="faults that are past get_pfn have the lock shared while they map and put; one that has not come to it "
        "yet keeps its reference",
        findings=_KEPT,
        make=convert_looks_again,
        wrong="a fault between get_pfn and mmu_lock is not waited for, so that -EAGAIN becomes rarer and stays "
        "possible",
        meets=("to private",),
    ),
    Mend(
        ident="convert-waits-for-faults",
        title="a conversion that finds a reference waits for a grace period of kvm->srcu and looks again",
        says="every fault runs in such a section, so that none is under way afterwards",
        findings=_KEPT,
        make=convert_waits_for_faults,
        wrong="the conversion has the invalidate lock, and a fault that waits for it is in an SRCU section",
        meets=("to private",),
    ),
)
