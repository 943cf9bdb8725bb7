# mypy: disable-error-code="misc,valid-type"
"""A binding of which only a part could be stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .entry import BEFORE_IN_PLACE, IN_PLACE, Case, Hazard

if TYPE_CHECKING:
    from ...actors.inode import GmemFile
    from ...actors.kernel import Kernel
    from ...actors.memslot import Memslot
    from ...engine.task import Task


def partial_store_kept(parent: type[Kernel]) -> type[Kernel]:
    """xa_store_range stores the first half of the range and fails; bind returns -ENOMEM and leaves the half."""

    class PartialStoreKept(parent):
        async def kvm_gmem_undo_binding(self, t: Task, file: GmemFile, slot: Memslot) -> None:
            """It is not taken back."""

    return PartialStoreKept


SEEDS = {"partial-store-kept": partial_store_kept}

_IGNORED = "a store that fails is ignored there: `bind-ignores-store-error` of the zoo"
_HUGE = "binds as the version below it does"

HAZARDS = (
    Hazard(
        name="16",
        title="xa_store_range fails half-way",
        question="Sean Christopherson, 2026-05-26: the use after free that was reported is a hallucination. Ackerley "
        "Tng, 2026-05-27: a later xas_create can fail after earlier stores. Unresolved in what we read.",
        cases=(
            Case(
                says="as it is: half is stored, and taken back",
                scenario="zoo-bind_fails",
                versions=("mainline-7.3", "inplace"),
                not_for={**dict.fromkeys((*BEFORE_IN_PLACE[:-1], IN_PLACE[0]), _IGNORED), "*": _HUGE},
            ),
            Case(
                says="half is stored, and stays",
                seed="partial-store-kept",
                scenario="zoo-bind_fails",
                versions=("mainline-7.3", "inplace"),
                violated={"*": "I12"},
                not_for={**dict.fromkeys((*BEFORE_IN_PLACE[:-1], IN_PLACE[0]), _IGNORED), "*": _HUGE},
            ),
        ),
        answer="Whether the kernel's xarray can do it is open. Since 7.3 a store that failed is erased again before "
        "the invalidate lock goes (read in 7.3.4), so nothing comes of it; without that the first half stays bound to "
        "a slot that is freed.",
    ),
)
