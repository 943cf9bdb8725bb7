"""In-place conversion as applied for Linux 7.4 (v13 of September 2026). Against v8: what review found.

Besides, get_pfn keeps no reference. guest-memfd.md 4.2, 4.3, 4.7, 4.14. What is only posted or queued beside the series
is a switch (`posted`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..actors.gmem_arch import ReclaimHook
from ..actors.gmem_bind import TwoPhaseBind
from ..actors.gmem_convert import GmemConversion
from ..actors.truncate import LAST_INDEX
from .inplace_v8 import InplaceV8

if TYPE_CHECKING:
    from ..actors.fault import Fault
    from ..actors.folio import Folio
    from ..actors.gmem_populate import Source
    from ..actors.inode import GmemFile, GmemInode
    from ..actors.memslot import Memslot
    from ..actors.vm import Vm
    from ..engine.task import Task

__all__ = ["Inplace", "InplaceOff"]


class Inplace(TwoPhaseBind, ReclaimHook, InplaceV8):
    """The latest in-place conversion."""

    name: ClassVar[str] = "inplace"
    default_release: ClassVar[str] = "7.4"
    get_pfn_puts: ClassVar[bool] = True

    def release_end(self, inode: GmemInode) -> int:
        return LAST_INDEX

    # -- vCPU fault ------------------------------------------------------------------------------

    async def kvm_gmem_get_locked_pfn(
        self, t: Task, vm: Vm, file: GmemFile, slot: Memslot, gfn: int, index: int
    ) -> tuple[int, Folio | None]:
        """The reference goes before the lock: only the invalidation protocol keeps the frame until it is mapped."""
        ret, folio = await super().kvm_gmem_get_locked_pfn(t, vm, file, slot, gfn, index)
        if folio is not None:
            await self.folio_put(t, file.inode, folio)
        return ret, folio

    async def kvm_release_faultin_pfn(self, t: Task, fault: Fault) -> None:
        """There is none."""

    def populate_rejects(self, vm: Vm, source: Source | None) -> bool:
        """With conversion in place off a TDX launch needs a source, as in 7.3."""
        refused = not self.in_place and vm.arch.populate_maps and source is None
        return super().populate_rejects(vm, source) or refused

    # -- conversion --------------------------------------------------------------------------------

    folio_is_used = GmemConversion.folio_is_used
    gmem_attr_missing = GmemConversion.gmem_attr_missing
    convert_filter = GmemConversion.convert_filter
    kvm_gmem_arch_make_shared = GmemConversion.kvm_gmem_arch_make_shared


class InplaceOff(Inplace):
    """The same kernel with `gmem_in_place_conversion` off: VM attributes, and the call on the file is -ENOTTY."""

    name: ClassVar[str] = "inplace-off"
    in_place: ClassVar[bool] = False
