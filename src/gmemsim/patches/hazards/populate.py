# mypy: disable-error-code="misc,valid-type"
"""Population: who notices a second one, what a fault beside it may see, and what is cleared before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors.errno import EINVAL, EIO
from ...arch.psp import PspCommand
from ...arch.snp import Snp
from ..zoo.populate import populate_without_il, prefault_before_launch_finish
from .entry import BEFORE_IN_PLACE, HUGE_PAGES, IN_PLACE, Case, Hazard

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.inode import GmemFile
    from ...actors.kernel import Kernel
    from ...actors.memslot import Memslot
    from ...actors.vm import Vm
    from ...arch.base import VmIdentity
    from ...engine.task import Task


def no_arch_lookup(parent: type[Kernel]) -> type[Kernel]:
    """The SNP callback does not look the frame up in the RMP before it fills and measures it."""

    class NoArchLookup(parent):
        async def post_populate(self, t: Task, vm: Vm, gfn: int, folio: Folio, content: str | None) -> int:
            arch: Any = vm.arch
            if isinstance(arch, Snp) and "populate" not in vars(arch):

                async def populate(
                    t: Task, vm: Vm, gfn: int, pfn: int, source: str | None, page_type: str = ""
                ) -> int:
                    return await _populate_unasked(arch, t, vm, gfn, pfn, source)

                arch.populate = populate  # type: ignore[assignment,method-assign] # this machine's actor alone
            ret: int = await super().post_populate(t, vm, gfn, folio, content)
            return ret

    return NoArchLookup


async def _populate_unasked(
    arch: Snp, t: Task, vm: VmIdentity, gfn: int, pfn: int, source: str | None
) -> int:
    """`Snp.populate` of a normal page, the look-up left out."""
    if source is not None:
        arch.host_write(t, pfn, source)
    ret = await arch.rmp_make_private(t, pfn, gfn, 1, arch.asid(vm), immutable=True)
    if ret:
        return ret
    command = PspCommand("SNP_LAUNCH_UPDATE", arch.asid(vm), pfn, gfn)
    if await arch.psp.call(t, command):
        await arch.snp_page_reclaim(t, vm, pfn)
        return EIO
    return 0


def no_slots_lock(parent: type[Kernel]) -> type[Kernel]:
    """The launch ioctl does not hold slots_lock while it populates."""

    class NoSlotsLock(parent):
        async def launch_update_lock(self, t: Task, vm: Vm) -> int:
            # Nor the others: kvm->lock would order two of them as well.
            return EIO if vm.dead else 0

        async def launch_update_unlock(self, t: Task, vm: Vm) -> None:
            await self.task_work_run(t)

    return NoSlotsLock


def populate_always_clears(parent: type[Kernel]) -> type[Kernel]:
    """Populate zeroes the page before it fills it, whatever the page holds."""

    class PopulateAlwaysClears(parent):
        async def kvm_gmem_populate_one(
            self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, content: str | None
        ) -> int:
            index = slot.index_of(gfn)
            present = file.inode.folios.get(index)
            held = present is not None and present.uptodate
            folio = await self.kvm_gmem_get_checked_folio(t, file, slot, index)
            if isinstance(folio, int):
                return folio
            if held:
                await self.kvm_gmem_clear_folio(t, file.inode, folio, 1)
            await self.folio_unlock(t, folio)
            private = await self.kvm_gmem_wants_private(t, vm, file.inode, gfn, index)
            ret: int = await self.post_populate(t, vm, gfn, folio, content) if private else EINVAL
            await self.folio_put(t, file.inode, folio)
            return ret

    return PopulateAlwaysClears


def populate_rejects_uncleared(parent: type[Kernel]) -> type[Kernel]:
    """Populate clears nothing, and refuses a page without a source that nobody has written."""

    class PopulateRejectsUncleared(parent):
        async def kvm_gmem_populate_one(
            self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, content: str | None
        ) -> int:
            present = file.inode.folios.get(slot.index_of(gfn))
            if content is None and (present is None or not present.uptodate):
                return EINVAL
            ret: int = await super().kvm_gmem_populate_one(t, vm, slot, file, gfn, content)
            return ret

    return PopulateRejectsUncleared


SEEDS = {
    "no-arch-lookup": no_arch_lookup,
    "no-slots-lock": no_slots_lock,
    "populate-always-clears": populate_always_clears,
    "populate-rejects-uncleared": populate_rejects_uncleared,
    "populate-without-il": populate_without_il,
    "prefault-before-launch-finish": prefault_before_launch_finish,
}

_NO_SOURCE = "populate without a source needs conversion in place; a NULL source is refused"
_ORDER_9 = "asked of 4 KiB folios"

HAZARDS = (
    Hazard(
        name="3",
        title="The -EEXIST check that populate dropped",
        question="8622ef05709f took `is_prepared -> -EEXIST` out of common code. Who notices a second population of a "
        "page?",
        cases=(
            Case(
                says="two vCPU threads populate the same page",
                scenario="zoo-populate_race",
                vm_types=("snp", "tdx"),
            ),
            Case(
                says="the SNP callback does not ask the RMP either",
                seed="no-arch-lookup",
                scenario="zoo-populate_race",
                vm_types=("snp",),
                violated={"baseline": "", "*": "I35"},
            ),
            Case(
                says="the launch ioctl without slots_lock and kvm->lock (I36 not looked at)",
                seed="no-slots-lock",
                scenario="zoo-populate_race",
                vm_types=("snp", "tdx"),
                without=frozenset({"I36"}),
            ),
            Case(
                says="nor the invalidate lock around the callback (I36 not looked at)",
                seed="no-slots-lock+populate-without-il",
                scenario="zoo-populate_race",
                vm_types=("snp",),
                violated={"*": "I35"},
                without=frozenset({"I36"}),
            ),
            Case(
                says="the same where the TDX module's own state is left (I36 not looked at)",
                seed="no-slots-lock+populate-without-il",
                scenario="zoo-populate_race",
                vm_types=("tdx",),
                without=frozenset({"I36"}),
            ),
            Case(
                says="two vCPU threads populate the same page of a folio of 2 MiB (I4, I36, I47 not looked at: hazard "
                "2)",
                scenario="zoo-populate_race_huge",
                versions=HUGE_PAGES,
                vm_types=("snp",),
                without=frozenset({"I4", "I36", "I47"}),
            ),
        ),
        answer="The arch does: the RMP look-up, the S-EPT's state. Without the look-up the second population writes "
        "to a page of the guest; baseline alone still refuses, in common code. slots_lock is not what keeps two "
        "populations apart: the invalidate lock is, and only without both do they meet between look-up and RMPUPDATE. "
        "On TDX not even then: the leaf is installed once, and who finds it there is refused.",
    ),
    Hazard(
        name="5",
        title="Population against a vCPU fault",
        question="Populate gives the folio lock up before the callback, and get_pfn up to v3 takes no invalidate "
        "lock: does only the order of a launch (no vCPU runs before it is finished) keep them apart?",
        cases=(
            Case(
                says="a vCPU pre-faults while the launch is under way",
                scenario="zoo-launch_prefault",
                vm_types=("snp", "tdx"),
            ),
            Case(
                says="pre-fault does not ask whether the launch is finished",
                seed="prefault-before-launch-finish",
                scenario="zoo-launch_prefault",
                vm_types=("snp",),
                violated={"inplace-v8": "", "inplace": "", "*": "I35 I36 I5 I2"},
            ),
            Case(
                says="pre-fault of a TD does not ask whether the launch is finished",
                seed="prefault-before-launch-finish",
                scenario="zoo-launch_prefault",
                vm_types=("tdx",),
                violated={"baseline": "", "*": "arch:KVM_BUG"},
            ),
            Case(
                says="folios of 2 MiB, a vCPU pre-faults while the launch is under way (I4, I36, I47 not looked at: "
                "hazard 2)",
                scenario="zoo-launch_prefault_huge",
                versions=HUGE_PAGES,
                vm_types=("snp",),
                without=frozenset({"I4", "I36", "I47"}),
            ),
            Case(
                says="folios of 2 MiB, and pre-fault does not ask whether the launch is finished (I4, I36, I47 not "
                "looked at: hazard 2)",
                seed="prefault-before-launch-finish",
                scenario="zoo-launch_prefault_huge",
                versions=HUGE_PAGES,
                vm_types=("snp",),
                violated={"hugepage-populate": "I35 deadlock"},
                without=frozenset({"I4", "I36", "I47"}),
            ),
        ),
        answer="Yes, from baseline to v3. A TD has no entry to augment before its launch is finished: since 6.19 KVM "
        "bugs the VM, and to 6.18 the count of pages mapped and not added makes the end of the launch -EINVAL. With "
        "the invalidate lock in get_pfn (in place) the two exclude each other. "
        "Populate "
        "as the huge page series has it holds that lock around the look-up only, and gives this away: beside a fault "
        "that prepares 2 MiB the launch writes to a page that is the guest's, or the fault meets a launch page of 4 "
        "KiB and repeats its RMPUPDATE for ever (OVERLAP; a deadlock on rmp.spin here, if I35 does not end the run "
        "before).",
    ),
    Hazard(
        name="6",
        title="What populate clears before it writes the page",
        question="Ackerley Tng, Yan Zhao, Sean Christopherson, 2026-06-22: zero what was never written, zero always, "
        "or refuse what was never written?",
        cases=(
            Case(
                says="as it is: zero what was never written",
                scenario="zoo-inplace_launch",
                versions=IN_PLACE,
                vm_types=("snp", "tdx"),
                not_for={**dict.fromkeys(BEFORE_IN_PLACE, _NO_SOURCE), "*": _ORDER_9},
            ),
            Case(
                says="zero always",
                seed="populate-always-clears",
                scenario="zoo-inplace_launch",
                versions=IN_PLACE,
                vm_types=("snp", "tdx"),
                violated={"*": "I5"},
                not_for={**dict.fromkeys(BEFORE_IN_PLACE, _NO_SOURCE), "*": _ORDER_9},
            ),
            Case(
                says="refuse what was never written",
                seed="populate-rejects-uncleared",
                scenario="zoo-inplace_launch",
                versions=IN_PLACE,
                vm_types=("snp", "tdx"),
                not_for={**dict.fromkeys(BEFORE_IN_PLACE, _NO_SOURCE), "*": _ORDER_9},
            ),
        ),
        answer="Zeroing always wipes what the host wrote before the conversion (the page is cleared a second time). "
        "The other two are both sound; refusing costs a VMM that counts on zero pages its launch.",
    ),
    Hazard(
        name="15",
        title="TDH.MEM.PAGE.ADD with source and destination the same page",
        question="Reported as a bug by a reviewing program (Fuad Tabba, 2026-06-19); the TDX specification allows it "
        "(Yan Zhao, 2026-06-22). An oracle must say nothing.",
        cases=(
            Case(
                says="the launch takes the pages in place",
                scenario="zoo-inplace_launch",
                versions=IN_PLACE,
                vm_types=("tdx",),
                not_for={**dict.fromkeys(BEFORE_IN_PLACE, _NO_SOURCE), "*": _ORDER_9},
                counts={"pages added in place": "populate_callback:ret=0"},
            ),
        ),
        answer="Nothing is reported.",
    ),
)
