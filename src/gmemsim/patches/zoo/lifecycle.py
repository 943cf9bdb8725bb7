# mypy: disable-error-code="misc"
"""Seeded bugs: lifecycle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from ...actors.errno import EHWPOISON
from .entry import Bug

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.inode import GmemFile
    from ...actors.kernel import Kernel
    from ...actors.memslot import Memslot
    from ...engine.task import Task

__all__ = ["BUGS"]


def unbind_skips_dying_file(parent: type[Kernel]) -> type[Kernel]:
    """A slot of a file whose last reference is gone is freed and stays bound (ae431059e75d)."""
    base: Any = parent

    class UnbindSkipsDyingFile(base):
        async def kvm_gmem_unbind(self, t: Task, slot: Memslot) -> None:
            if slot.gmem_file is not None and slot.gmem_file.count.value:
                await super().kvm_gmem_unbind(t, slot)

    return cast("type[Kernel]", UnbindSkipsDyingFile)


def hwpoison_path_leaks_folio(parent: type[Kernel]) -> type[Kernel]:
    """The poisoned exit of get_pfn keeps the folio's reference (c31745d2c508)."""
    base: Any = parent

    class HwpoisonPathLeaksFolio(base):
        async def kvm_gmem_get_checked_folio(
            self, t: Task, file: GmemFile, slot: Memslot, index: int
        ) -> Folio | int:
            folio = file.inode.folios.get(index)
            if folio is not None and folio.poisoned:
                folio.ref += 1
                return EHWPOISON
            return cast("Folio | int", await super().kvm_gmem_get_checked_folio(t, file, slot, index))

    return cast("type[Kernel]", HwpoisonPathLeaksFolio)


BUGS: tuple[Bug, ...] = (
    Bug(
        id="unbind-skips-dying-file",
        title="memslot delete skips unbind because the gmem file is dying",
        origin="shipped-bug",
        family="lifecycle",
        source="commit ae431059e75d (Sean Christopherson, 2025-11-03, Fixes a7800aa80ea4, stable",
        parents=("v3",),
        make=unbind_skips_dying_file,
        arches=("sw-protected",),
        scenario="zoo_lifecycle",
        rules=frozenset({"I12"}),
    ),
    Bug(
        id="toggle-gmem-flag-no-unbind",
        title="KVM_MEM_GUEST_MEMFD toggled on a live memslot leaves a dangling binding",
        origin="shipped-bug",
        family="lifecycle",
        source="KVM fixes for 6.19-rc1 merge 0499add8efd7 ()",
        why_not="no variant yet",
    ),
    Bug(
        id="get-file-without-active-check",
        title='get_pfn takes a plain reference on slot->gmem.file instead of a "not-zero" reference',
        origin="guard-mutant",
        family="lifecycle",
        source="Safety argument in 67b43038ce14 (Yan Zhao 2024-11-04, drops RCU from slot->gmem.file) and",
        why_not="no variant yet",
    ),
    Bug(
        id="bind-ignores-store-error",
        title="kvm_gmem_bind() ignores xa_store_range() failure",
        origin="shipped-bug",
        family="lifecycle",
        source="Sashiko + Ackerley Tng, v2 3/5 (2026-05-22), Fixes a7800aa80ea4",
        why_not="no variant yet",
    ),
    Bug(
        id="hwpoison-path-leaks-folio",
        title="-EHWPOISON return path leaks the folio reference (strong form: the lock)",
        origin="shipped-bug",
        family="lifecycle",
        source="commit c31745d2c508 (Paolo Bonzini 2024-06-11, 6.10-rc)",
        parents=("v3",),
        make=hwpoison_path_leaks_folio,
        arches=("sw-protected",),
        scenario="memory_failure",
        rules=frozenset({"I8"}),
    ),
)
