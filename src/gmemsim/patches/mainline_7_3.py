"""Linux 7.3: v3, binding in two phases, the arch hooks renamed, make_private as the file says.

Read in the source of 7.3.4 (virt/kvm/guest_memfd.c, virt/kvm/kvm_main.c, arch/x86/kvm/vmx/tdx.c). The recordings of
7.3.4 show no arch call at all for INIT_SHARED memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from . import gmem_arch, gmem_bind
from .v3 import V3

if TYPE_CHECKING:
    from ..actors.folio import Folio
    from ..actors.gmem_populate import Source
    from ..actors.inode import GmemInode
    from ..actors.vm import Vm
    from ..engine.task import Task


class Mainline73(V3):
    """v3 as Linux 7.3 has it."""

    name: ClassVar[str] = "mainline-7.3"
    default_release: ClassVar[str] = "7.3"

    # -- binding in two phases (`gmem_bind`) -----------------------------------------------------------

    kvm_gmem_prepare_memory_region = gmem_bind.kvm_gmem_prepare_memory_region
    kvm_gmem_commit_memory_region = gmem_bind.kvm_gmem_commit_memory_region
    kvm_gmem_undo_binding = gmem_bind.kvm_gmem_undo_binding
    kvm_gmem_bound = gmem_bind.kvm_gmem_bound
    kvm_gmem_unbind = gmem_bind.kvm_gmem_unbind

    # -- the arch hooks under their new names (`gmem_arch`) --------------------------------------------

    kvm_arch_gmem_make_private = gmem_arch.kvm_arch_gmem_make_private
    kvm_gmem_free_folio = gmem_arch.kvm_gmem_free_folio

    async def kvm_gmem_make_ready(self, t: Task, vm: Vm, inode: GmemInode, folio: Folio, gfn: int) -> int:
        """Clear, then `kvm_arch_gmem_make_private` if the file lacks INIT_SHARED (`kvm_gmem_is_private_mem`).

        The attributes of the VM have no say: a gfn that is shared there, in a slot that guest_memfd serves alone, is
        made private all the same.
        """
        await self.kvm_gmem_clear_once(t, inode, folio)
        return 0 if inode.init_shared else await self.kvm_gmem_prepare_folio(t, vm, folio, gfn)

    async def kvm_gmem_prepare_folio(self, t: Task, vm: Vm, folio: Folio, gfn: int) -> int:
        """The hook is make_private; 7.3 has no function around the call."""
        return await self.kvm_arch_gmem_make_private(t, vm, gfn, folio.pfn, folio.pages)

    def populate_rejects(self, vm: Vm, source: Source | None) -> bool:
        """`tdx_vcpu_init_mem_region` and `snp_launch_update` of 7.3.4 refuse a source address of 0 before any lock.

        To 7.2 the callbacks do, with the page looked up: -EOPNOTSUPP on TDX, -EINVAL on SNP.
        """
        return super().populate_rejects(vm, source) or (source is None and vm.arch.launch_wants_source())
