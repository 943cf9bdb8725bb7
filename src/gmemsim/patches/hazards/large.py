# mypy: disable-error-code="misc,valid-type"
"""Folios of two pages under a version that was written for one: what each version does with the second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors.errno import EEXIST, ENOMEM
from ...actors.folio import Folio
from ...arch.base import HookResult
from ...audit.kvm_events import (
    FilemapAdd,
    FilemapAddRet,
    FreePage,
    MakePrivate,
    MakePrivateRet,
    PageCacheAdd,
    Prepare,
    PrepareRet,
)
from ...engine.op import Op
from .entry import BEFORE_IN_PLACE, HUGE_PAGES, IN_PLACE, Case, Hazard

if TYPE_CHECKING:
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...actors.vm import Vm
    from ...engine.task import Task


class PairCache(dict[int, Folio]):
    """A page cache in which a folio of order 1 is found by both of its indices."""

    def get(self, key: int, default: Any = None, /) -> Any:
        """The folio that covers the index."""
        found = super().get(key)
        if found is not None:
            return found
        pair = super().get(key & ~1)
        return pair if pair is not None and pair.order else default


def large_folios(parent: type[Kernel]) -> type[Kernel]:
    """Look-ups create folios of order 1 wherever two pages fit; the version's own code does the rest.

    What a version says of one page of a folio is its own; what stands for a whole folio goes by the folio. The arch
    prepares the pages one by one, as an SNP guest's 4 KiB entries of the RMP are.
    """

    class LargeFolios(parent):
        async def kvm_gmem_init_inode(self, t: Task, inode: GmemInode) -> None:
            await super().kvm_gmem_init_inode(t, inode)
            inode.folios = PairCache()

        async def filemap_create_folio(self, t: Task, inode: GmemInode, index: int) -> Folio | int:
            base = index & ~1
            if base + 1 >= inode.pages:
                alone: Folio | int = await super().filemap_create_folio(t, inode, index)
                return alone
            if t.fault("alloc_folio"):
                return ENOMEM
            pfn = self.memory.allocate_huge(1)
            if pfn is None:
                return ENOMEM
            folio = Folio(inode, base, pfn, 1)
            folio.lock.take_new(t)
            rec = t.rec
            if rec is not None:
                rec(t, FilemapAdd(base, pfn))
            if t.traps:
                await t.point(Op("rmw", inode.label, base, base + 2))
            if any(at in inode.folios for at in (base, base + 1)):
                if rec is not None:
                    rec(t, FilemapAddRet(EEXIST))
                folio.lock.release(t)
                folio.mapping = None
                self.free_page(t, folio)
                return EEXIST
            inode.folios[base] = folio
            folio.ref = folio.pages + 1
            if rec is not None:
                rec(t, PageCacheAdd(base, pfn, 1))
                rec(t, FilemapAddRet(0))
            return folio

        def free_page(self, t: Task, folio: Folio) -> None:
            if not folio.order:
                super().free_page(t, folio)
                return
            for pfn in range(folio.pfn, folio.pfn + folio.pages):
                for vm in self.world.vms.values():
                    flag = vm.arch.page_freed(t, pfn)
                    if flag is not None:
                        vm.arch.flag(t, flag, pfn)
                        break
            if t.rec is not None:
                t.rec(t, FreePage(folio.pfn))
            self.memory.free_huge(folio.pfn, folio.order)

        async def kvm_gmem_prepare_folio(self, t: Task, vm: Vm, folio: Folio, gfn: int) -> int:
            """The whole folio: index and gfn are aligned down to it (guest-memfd.md 4.7)."""
            slot = vm.slot_of(gfn)
            if not self.gmem_prepare or not folio.order or slot is None:
                alone: int = await super().kvm_gmem_prepare_folio(t, vm, folio, gfn)
                return alone
            first = gfn - (slot.index_of(gfn) - folio.index)
            rec = t.rec
            if rec is not None:
                rec(t, Prepare(first, folio.pfn, folio.order))
            done = await _each_page(t, vm, first, folio.pfn, folio.pages)
            if rec is not None:
                rec(t, PrepareRet(done.ret, done.did))
            return done.ret

        async def kvm_gmem_make_private(
            self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int, index: int
        ) -> int:
            """In place: so many pages as the folio has, but from the page that is asked for on (guest-memfd.md 4.7)."""
            if not folio.order:
                alone: int = await super().kvm_gmem_make_private(t, vm, inode, folio, gfn, index)
                return alone
            if not self.gmem_prepare or not vm.arch.has_private_memory:
                return 0
            if not await self.kvm_gmem_is_private(t, inode, index):
                return 0
            pfn = folio.pfn + index - folio.index
            rec = t.rec
            if rec is not None:
                rec(t, MakePrivate(gfn, pfn, folio.pages))
            done = await _each_page(t, vm, gfn, pfn, folio.pages)
            if rec is not None:
                rec(t, MakePrivateRet(done.ret, done.did))
            return done.ret

    return LargeFolios


async def _each_page(t: Task, vm: Vm, gfn: int, pfn: int, pages: int) -> HookResult:
    did = False
    for page in range(pages):
        done = await vm.arch.prepare(t, vm, gfn + page, pfn + page, 0)
        if done.ret:
            return HookResult(done.ret, did)
        did |= done.did
    return HookResult(0, did)


SEEDS = {"large-folios": large_folios}

_OWN = "has large folios of its own, and is asked without a seed"

HAZARDS = (
    Hazard(
        name="1",
        title="Only page 0 of a folio is cleared",
        question="get_pfn and the host fault clear folio_page(folio, 0) since 8622ef05709f (Kai Huang, 2025-12-18): "
        "what if a folio is larger?",
        cases=(
            Case(
                says="folios of order 1, vCPUs touch both pages",
                seed="large-folios",
                scenario="zoo-neighbours",
                violated={"baseline": "", "v1": "", "*": "I2"},
                not_for={"*": _OWN},
                without=frozenset({"I6"}),
            ),
            Case(
                says="folios of 2 MiB as the version has them, vCPUs read the first and the last page",
                scenario="zoo-neighbours_huge",
                versions=HUGE_PAGES,
            ),
        ),
        answer="Baseline and v1 clear the whole folio, everything from v2 to conversion in place only its first page: "
        "the second reaches the guest with what the host had there. The versions with huge folios clear all of it "
        "again.",
    ),
    Hazard(
        name="2",
        title="The whole folio becomes uptodate when one page was populated",
        question="Yan Zhao, 2025-11-07: the launch fills page 0 of a huge folio and marks the folio; does anybody "
        "clear page 1? And does a prepare of the whole folio prepare page 0 again?",
        cases=(
            Case(
                says="folios of order 1, the launch populates the first page, the guest touches both",
                seed="large-folios",
                scenario="zoo-launch_half",
                vm_types=("snp",),
                violated={"*": "I2"},
                not_for={"*": _OWN},
                without=frozenset({"I6"}),
            ),
            Case(
                says="folios of 2 MiB as the version has them, the launch populates the first page, the guest touches "
                "the last",
                scenario="zoo-launch_half_huge",
                versions=HUGE_PAGES,
                vm_types=("snp",),
                violated={"hugepage-populate": "I2 I47", "hugepage-tracked": "livelock I4"},
            ),
        ),
        answer="It is so in every version of 4 KiB: until v3 because populate marks the folio, in place because the "
        "look-up before it cleared page 0 only. The prepare of the whole folio leaves the populated page alone (I32 "
        "and I35 hold until then). With folios of 2 MiB as the series populates them the last page is stale; where "
        "the flag means prepared as well (`hugepage-tracked`), the last page is never prepared, and its vCPU faults "
        "for ever. `hugepage`, which zeroes all of the folio first and asks the arch every time, holds.",
    ),
    Hazard(
        name="10",
        title="Prepare of guest frames that are not the slot's",
        question="A slot is bound at an odd page of the file, and folios have order 1: prepare aligns the index down, "
        "and the gfn with it (Ackerley Tng, 2025-08-25; WARN_ON in the kernel).",
        cases=(
            Case(
                says="folios of order 1 under a slot that begins at page 1",
                seed="large-folios",
                scenario="zoo-odd_slot",
                versions=BEFORE_IN_PLACE,
                vm_types=("sw-protected", "snp"),
                violated={"baseline": "prepare_gfn", "v1": "prepare_gfn", "*": "prepare_gfn I2"},
                not_for={"*": _OWN, **dict.fromkeys(IN_PLACE, "asked below: make_private does not align")},
                without=frozenset({"I6"}),
            ),
            Case(
                says="the same in place: make_private counts the folio's pages from the page that is asked for",
                seed="large-folios",
                scenario="zoo-odd_slot",
                versions=IN_PLACE,
                vm_types=("sw-protected", "snp"),
                violated={"*": "prepare_gfn I2"},
                not_for={"*": "asked above"},
                without=frozenset({"I6"}),
            ),
            Case(
                says="folios of 2 MiB as the version has them, under a slot that begins at page 1",
                scenario="zoo-odd_slot_huge",
                versions=HUGE_PAGES,
            ),
            Case(
                says="the same where hardware knows what is prepared",
                scenario="zoo-odd_slot_huge",
                versions=HUGE_PAGES,
                vm_types=("snp",),
                violated={"hugepage-tracked": "livelock"},
            ),
        ),
        answer="Up to 7.3 the frame in front of the slot is prepared, in place the one behind it. The versions with "
        "huge folios prepare the page alone where a slot does not allow more; where the flag then says that all of "
        "the folio is prepared (`hugepage-tracked`), the others never are.",
    ),
)
