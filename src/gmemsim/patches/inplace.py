"""In-place conversion as applied for Linux 7.4 (v13 of September 2026). Against v8: what review found.

Besides, get_pfn keeps no reference. guest-memfd.md 4.2, 4.3, 4.7, 4.14. What is only posted or queued beside the series
is a switch (`posted`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from ..actors.errno import ENOTTY
from ..actors.gmem_convert import Converted
from ..actors.kernel import Kernel
from . import gmem_arch, gmem_attributes, gmem_bind, gmem_convert
from .inplace_v8 import InplaceV8

if TYPE_CHECKING:
    from ..actors.fault import Fault
    from ..actors.folio import Folio
    from ..actors.gmem_populate import Source
    from ..actors.inode import GmemFile, GmemInode
    from ..actors.memslot import Memslot
    from ..actors.vm import Vm
    from ..engine.task import Task


class Inplace(InplaceV8):
    """The latest in-place conversion."""

    name: ClassVar[str] = "inplace"
    default_release: ClassVar[str] = "7.4"
    get_pfn_puts: ClassVar[bool] = True

    release_end = Kernel.release_end

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
        """No reference to drop: `kvm_gmem_get_pfn` kept none."""

    async def kvm_mmu_finish_page_fault(self, t: Task, fault: Fault, ret: int) -> None:
        """No page was handed out that could be marked dirty."""
        await self.kvm_release_faultin_pfn(t, fault)

    # -- conversion: what v8 had in another way (`gmem_convert`) ---------------------------------------

    folio_is_used = gmem_convert.folio_is_used
    gmem_attr_missing = gmem_attributes.gmem_attr_missing
    convert_filter = gmem_convert.convert_filter
    kvm_gmem_arch_make_shared = gmem_convert.kvm_gmem_arch_make_shared

    # -- of Linux 7.3: binding in two phases (`gmem_bind`), the hook when a folio goes (`gmem_arch`) ---

    kvm_gmem_prepare_memory_region = gmem_bind.kvm_gmem_prepare_memory_region
    kvm_gmem_commit_memory_region = gmem_bind.kvm_gmem_commit_memory_region
    kvm_gmem_undo_binding = gmem_bind.kvm_gmem_undo_binding
    kvm_gmem_bound = gmem_bind.kvm_gmem_bound
    kvm_gmem_unbind = gmem_bind.kvm_gmem_unbind
    kvm_gmem_free_folio = gmem_arch.kvm_gmem_free_folio


class InplaceOff(Inplace):
    """The same kernel with `gmem_in_place_conversion` off: VM attributes, and the call on the file is -ENOTTY."""

    name: ClassVar[str] = "inplace-off"
    in_place: ClassVar[bool] = False

    # -- the VM's attributes, and files without any ----------------------------------------------------

    kvm_mem_is_private = Kernel.kvm_mem_is_private
    gfn_is_private = Kernel.gfn_is_private
    kvm_vm_ioctl_set_mem_attributes = Kernel.kvm_vm_ioctl_set_mem_attributes
    gmem_supported_flags = Kernel.gmem_supported_flags
    kvm_gmem_init_inode = Kernel.kvm_gmem_init_inode
    kvm_gmem_store_binding = Kernel.kvm_gmem_store_binding
    invalidate_filter = Kernel.invalidate_filter

    # -- launch ----------------------------------------------------------------------------------------

    arch_choices = Kernel.arch_choices
    tdx_premaps = Kernel.tdx_premaps

    def populate_rejects(self, vm: Vm, source: Source | None) -> bool:
        """A launch needs a source, as in 7.3."""
        return InplaceV8.populate_rejects(self, vm, source) or (
            source is None and vm.arch.launch_wants_source()
        )

    async def kvm_gmem_wants_private(self, t: Task, vm: Vm, inode: GmemInode, gfn: int, index: int) -> bool:
        """What populate asks (`kvm_is_private_gfn`): the VM's attributes."""
        return await self.kvm_mem_is_private(t, vm, gfn)

    # -- conversion ------------------------------------------------------------------------------------

    def kvm_gmem_check_attributes(
        self, file: GmemFile, offset: int, size: int, private: bool, flags: int
    ) -> Converted:
        """The file has no such call."""
        return Converted(ENOTTY)


def without_conversion(cls: type[Kernel]) -> type[Kernel]:
    """A version in place with `gmem_in_place_conversion` off: what `InplaceOff` puts back, on top of it."""
    own = {
        name: value for name, value in vars(InplaceOff).items() if not name.startswith("_") and name != "name"
    }
    return type(cls.__name__, (cls,), own)
