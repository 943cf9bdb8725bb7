# mypy: disable-error-code="misc,valid-type"
"""Prepare: at every fault, and outside the folio lock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...engine.locks.rwsem import RwSem
from ...engine.locks.stats import LockClass
from ..zoo.prepare import prepare_outside_folio_lock
from .entry import BEFORE_IN_PLACE, HUGE_PAGES, IN_PLACE, Case, Hazard

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.inode import GmemInode
    from ...actors.kernel import Kernel
    from ...actors.vm import Vm
    from ...engine.task import Task


def make_private_outside_folio_lock(parent: type[Kernel]) -> type[Kernel]:
    """The same in place, where the hook is make_private and the invalidate lock is held shared."""

    class MakePrivateOutsideFolioLock(parent):
        async def kvm_gmem_make_private(
            self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int, index: int
        ) -> int:
            await self.folio_unlock(t, folio)
            ret: int = await super().kvm_gmem_make_private(t, vm, inode, folio, gfn, index)
            await folio.lock.lock(t)
            return ret

    return MakePrivateOutsideFolioLock


def prepare_rwsem(parent: type[Kernel]) -> type[Kernel]:
    """Preparedness has an rw-semaphore of its own: shared in place of the folio lock to prepare, exclusive to undo.

    Our reading of a proposal (Michael Roth, 2025-06-13) that was never merged; what it wanted the folio lock for
    besides is not in the text that we read.
    """

    class PrepareRwsem(parent):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            self._prepare_sem = RwSem("gmem.prepare_sem", LockClass("prepare_sem"))

        async def kvm_gmem_prepare_folio(self, t: Task, vm: Vm, folio: Folio, gfn: int) -> int:
            await self._prepare_sem.down_read(t)
            await self.folio_unlock(t, folio)
            ret: int = await super().kvm_gmem_prepare_folio(t, vm, folio, gfn)
            await self._prepare_sem.up_read(t)
            await folio.lock.lock(t)
            return ret

        async def kvm_gmem_free_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
            await self._prepare_sem.down_write(t)
            await super().kvm_gmem_free_folio(t, inode, folio)
            await self._prepare_sem.up_write(t)

    return PrepareRwsem


SEEDS = {
    "make-private-outside-folio-lock": make_private_outside_folio_lock,
    "prepare-outside-folio-lock": prepare_outside_folio_lock,
    "prepare-rwsem": prepare_rwsem,
}

_OTHER_HOOK = "the hook is make_private there: asked in another case"
_PREPARE_THERE = "the hook is prepare there: asked above"
_SMALL_ONLY = "asked of folios of one page"
_PREPARE = {"calls": "prepare", "changed hardware": "prepare_ret:did"}
_MAKE_PRIVATE = {"calls": "make_private", "changed hardware": "make_private_ret:did"}

HAZARDS = (
    Hazard(
        name="4",
        title="Prepare at every fault",
        question="Without tracking the hook is called at each fault. Is it idempotent, and how often is it called for "
        "nothing?",
        cases=(
            Case(
                says="two vCPUs fault on one page, 4 KiB",
                scenario="zoo-prepare_again",
                versions=BEFORE_IN_PLACE[:-1],
                vm_types=("snp",),
                not_for={"*": _OTHER_HOOK},
                counts=_PREPARE,
            ),
            Case(
                says="the same, where the hook is make_private",
                scenario="zoo-prepare_again",
                versions=("mainline-7.3", *IN_PLACE),
                vm_types=("snp",),
                not_for={**dict.fromkeys(HUGE_PAGES, _SMALL_ONLY), "*": _PREPARE_THERE},
                counts=_MAKE_PRIVATE,
            ),
            Case(
                says="two vCPUs fault on both pages of folios of order 1, the whole folio prepared each time",
                seed="large-folios",
                scenario="zoo-prepare_again",
                versions=("baseline", "v1"),
                vm_types=("snp",),
                not_for={
                    **dict.fromkeys(
                        BEFORE_IN_PLACE[2:],
                        "a folio of that order shows its second page uncleared first (hazard 1)",
                    ),
                    "*": _OTHER_HOOK,
                },
                without=frozenset({"I6"}),
                counts=_PREPARE,
            ),
            Case(
                says="two vCPUs fault on two pages of a folio of 2 MiB",
                scenario="zoo-prepare_again_huge",
                versions=HUGE_PAGES,
                vm_types=("snp",),
                counts=_MAKE_PRIVATE,
            ),
        ),
        answer="It is idempotent (I32): hardware changes once a frame, at every other call nothing happens. Version A "
        "asks once a frame, and so does `hugepage-tracked` a folio, every later one once a fault: with 16 vCPUs on 32 "
        "pages that are punched (`bench/prepare_cost.py`, virtual time) 3,087 calls in place of 504, each a look-up "
        "of a few ns beside microseconds of zeroing. The folio lock is held hardly longer for it, and no punch waits. "
        "Keeping track under the invalidate lock costs more: exclusive, faults wait for each other.",
    ),
    Hazard(
        name="14",
        title="Prepare outside the folio lock",
        question="Michael Roth, 2025-06-13: an rw-semaphore for preparedness in place of the folio lock.",
        cases=(
            Case(
                says="no folio lock around prepare, and nothing instead (I33 not looked at)",
                seed="prepare-outside-folio-lock",
                scenario="zoo-prepare_punch",
                versions=BEFORE_IN_PLACE,
                vm_types=("snp",),
                violated={"baseline": "I4 I5", "*": "I31 I32"},
                not_for={"*": _OTHER_HOOK},
                without=frozenset({"I33"}),
            ),
            Case(
                says="an rw-semaphore, shared to prepare and exclusive to undo (I33 not looked at)",
                seed="prepare-rwsem",
                scenario="zoo-prepare_punch",
                versions=BEFORE_IN_PLACE,
                vm_types=("snp",),
                violated={"baseline": "I4 I5", "*": "I32"},
                not_for={"*": _OTHER_HOOK},
                without=frozenset({"I33"}),
            ),
            Case(
                says="in place, where the invalidate lock is held shared around it (I33 not looked at)",
                seed="make-private-outside-folio-lock",
                scenario="zoo-prepare_punch",
                versions=IN_PLACE,
                vm_types=("snp",),
                violated={"*": "I32"},
                not_for={**dict.fromkeys(HUGE_PAGES, _SMALL_ONLY), "*": _PREPARE_THERE},
                without=frozenset({"I33"}),
            ),
        ),
        answer="The semaphore keeps the punch out, which the bare version does not (I31), but not a second fault: two "
        "vCPUs look a frame up, both find it unassigned, and both change hardware. Version A clears the page twice "
        "besides. The invalidate lock held shared is no better in place. The folio lock does more than its name says.",
    ),
)
