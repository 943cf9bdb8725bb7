# mypy: disable-error-code="misc,valid-type"
"""Seeded bugs of files, slots and bindings, and of the poisoned exit."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ...actors.errno import EHWPOISON
from ...actors.memslot import Memslot
from .entry import bug

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.inode import GmemFile, HostMapping
    from ...actors.kernel import Kernel
    from ...actors.memslot import UserMemory
    from ...actors.vm import Vm
    from ...engine.task import Task


def unbind_skips_dying_file(parent: type[Kernel]) -> type[Kernel]:
    """A slot of a file whose last reference is gone is freed and stays bound (ae431059e75d)."""

    class UnbindSkipsDyingFile(parent):
        async def kvm_gmem_unbind(self, t: Task, slot: Memslot) -> None:
            if slot.gmem_file is not None and slot.gmem_file.count.value:
                await super().kvm_gmem_unbind(t, slot)

    return UnbindSkipsDyingFile


def toggle_gmem_flag_no_unbind(parent: type[Kernel]) -> type[Kernel]:
    """A second KVM_SET_USER_MEMORY_REGION2 of a live slot is taken as a change of flags: the new slot object has no
    file, the old one is freed and stays bound (0499add8efd7).
    """

    class ToggleGmemFlagNoUnbind(parent):
        async def _set_region(
            self,
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
            if old is None or pages == 0:
                args = (ident, base_gfn, pages, file, offset, user, user_offset, gmem, hva)
                return cast("int", await super()._set_region(t, vm, *args))
            changed = Memslot(ident, base_gfn, pages, user, user_offset)
            slots = tuple(changed if slot is old else slot for slot in vm.slots)
            await vm.slots_arch_lock.lock(t)
            await self.swap_active_memslots(t, vm, slots, changed, "valid")
            return 0

    return ToggleGmemFlagNoUnbind


def get_file_without_active_check(parent: type[Kernel]) -> type[Kernel]:
    """The slot's file is referenced by a read and an increment of their own: a dead file comes back to life."""

    class GetFileWithoutActiveCheck(parent):
        async def get_file_active(self, t: Task, file: GmemFile | None) -> GmemFile | None:
            if file is None:
                return None
            if t.traps:
                await t.point(file.count._rmw)
            file.count.value += 1
            return file

    return GetFileWithoutActiveCheck


def bind_ignores_store_error(parent: type[Kernel]) -> type[Kernel]:
    """xa_store_range fails for want of memory, and bind returns 0 (Fixes a7800aa80ea4)."""

    class BindIgnoresStoreError(parent):
        async def kvm_gmem_store_binding(
            self, t: Task, file: GmemFile, slot: Memslot, start: int, end: int
        ) -> None:
            if not t.draw("zoo.store", 2):
                await super().kvm_gmem_store_binding(t, file, slot, start, end)

    return BindIgnoresStoreError


def hwpoison_path_leaks_folio(parent: type[Kernel]) -> type[Kernel]:
    """The poisoned exit of get_pfn keeps the folio's reference (c31745d2c508)."""

    class HwpoisonPathLeaksFolio(parent):
        async def kvm_gmem_get_checked_folio(
            self, t: Task, file: GmemFile, slot: Memslot, index: int
        ) -> Folio | int:
            found: Folio | int = await super().kvm_gmem_get_checked_folio(t, file, slot, index)
            folio = file.inode.folios.get(index)
            if found == EHWPOISON and folio is not None:
                folio.ref += 1
            return found

    return HwpoisonPathLeaksFolio


BUGS = (
    bug("unbind-skips-dying-file", rules="I12", make=unbind_skips_dying_file, scenario="zoo-lifecycle"),
    bug(
        "toggle-gmem-flag-no-unbind", rules="I12 I11", make=toggle_gmem_flag_no_unbind, scenario="zoo-rebind"
    ),
    bug(
        "get-file-without-active-check",
        rules="I8 I11 I12 I13 I15 I19 model_error crash use_after_free",
        make=get_file_without_active_check,
        scenario="zoo-lifecycle",
    ),
    bug("bind-ignores-store-error", rules="I12", make=bind_ignores_store_error, scenario="zoo-rebind"),
    bug("hwpoison-path-leaks-folio", rules="I8", make=hwpoison_path_leaks_folio, scenario="zoo-poison"),
)
