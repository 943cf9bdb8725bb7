# mypy: disable-error-code="misc,valid-type"
"""A binding of which only a part could be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...actors.errno import EEXIST, ENOMEM
from .entry import A_TO_D, IN_PLACE, Case, Hazard

if TYPE_CHECKING:
    from ...actors.inode import GmemFile
    from ...actors.kernel import Kernel
    from ...actors.memslot import Memslot
    from ...engine.task import Task

__all__ = ["HAZARDS", "SEEDS"]


def _partial(parent: type[Kernel], *, clear: bool) -> type[Kernel]:
    class PartialStore(parent):
        async def kvm_gmem_commit_bind(self, t: Task, slot: Memslot, file: GmemFile) -> int:
            lock = file.inode.invalidate_lock
            start, end = slot.pgoff, slot.pgoff + slot.pages
            await lock.down_write(t)
            ret = 0
            if file.slots_in(start, end):
                ret = EEXIST
            elif t.fault("alloc_binding"):
                ret = ENOMEM
                await self.kvm_gmem_store_binding(t, file, slot, start, start + max(slot.pages // 2, 1))
                if clear:
                    await self.kvm_gmem_clear_binding(t, file, slot)
            else:
                await self.kvm_gmem_store_binding(t, file, slot, start, end)
            if ret:
                if t.traps:
                    t.changed(slot.file_label)
                slot.gmem_file = None
            await lock.up_write(t)
            return ret

    name = "PartialStoreRolledBack" if clear else "PartialStoreKept"
    PartialStore.__name__ = PartialStore.__qualname__ = name
    return PartialStore


def partial_store_kept(parent: type[Kernel]) -> type[Kernel]:
    """xa_store_range stores the first half of the range and fails; bind returns -ENOMEM and leaves the half."""
    return _partial(parent, clear=False)


def partial_store_rolled_back(parent: type[Kernel]) -> type[Kernel]:
    """The same, and bind takes the half back before it returns."""
    return _partial(parent, clear=True)


SEEDS = {"partial-store-kept": partial_store_kept, "partial-store-rolled-back": partial_store_rolled_back}

_IGNORED = "a store that fails is ignored there: `bind-ignores-store-error` of the zoo"
_HUGE = "binds as the version below it does"

HAZARDS = (
    Hazard(
        number=16,
        title="xa_store_range fails half-way",
        question="Sean Christopherson, 2026-05-26: the use after free that was reported is a hallucination. Ackerley "
        "Tng, 2026-05-27: a later xas_create can fail after earlier stores. Unresolved in what we read.",
        cases=(
            Case(
                says="as it is: the store does nothing and fails",
                scenario="zoo-bind_fails",
                versions=("inplace",),
                not_for={**dict.fromkeys((*A_TO_D, IN_PLACE[0]), _IGNORED), "*": _HUGE},
            ),
            Case(
                says="half is stored, and taken back",
                seed="partial-store-rolled-back",
                scenario="zoo-bind_fails",
                versions=("inplace",),
                not_for={**dict.fromkeys((*A_TO_D, IN_PLACE[0]), _IGNORED), "*": _HUGE},
            ),
            Case(
                says="half is stored, and stays",
                seed="partial-store-kept",
                scenario="zoo-bind_fails",
                versions=("inplace",),
                violated={"*": "I12"},
                not_for={**dict.fromkeys((*A_TO_D, IN_PLACE[0]), _IGNORED), "*": _HUGE},
            ),
        ),
        answer="Whether the kernel's xarray can do it is open. If it can, a bind that only clears its pointer leaves "
        "the first half bound to a slot that is freed.",
    ),
)
