"""Private or shared as an attribute of the file's index: creation, look-up, store (guest-memfd.md 2, 4.6 step 3, 4.14).

Written under the invalidate lock, exclusive; read without any lock. With the mode off (`gmem_in_place_conversion`,
fixed at module load: `InplaceOff`) the VM's attributes rule as before (guest-memfd.md 4.13).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.attribute_map import AttributeMap
from ..actors.errno import EINVAL, EIO
from ..audit.inplace_events import GmemAttrStore
from ..engine.op import Op

if TYPE_CHECKING:
    from ..actors.inode import GmemInode
    from ..actors.vm import Vm
    from ..engine.task import Task
    from .inplace_v8 import InplaceV8


def gmem_supported_flags(self: InplaceV8, vm: Vm) -> frozenset[str]:
    """INIT_SHARED for VM types with private memory too, if their memory can be converted in place."""
    return frozenset({"MMAP", "INIT_SHARED"}) if self.release.host_mmap else frozenset()


async def kvm_gmem_init_inode(self: InplaceV8, t: Task, inode: GmemInode) -> None:
    """The whole file in one range, as its flags say; the lock is a formality, nobody knows the inode yet."""
    await inode.invalidate_lock.down_write(t)
    inode.attributes = AttributeMap(inode.pages, not inode.init_shared, inode.attributes_label)
    if t.rec is not None:
        t.rec(t, GmemAttrStore(inode.label, 0, inode.pages, not inode.init_shared))
    await inode.invalidate_lock.up_write(t)


def gmem_attr_label(inode: GmemInode) -> str:
    """Object of the steps that read or change the map."""
    return inode.attributes_label


def gmem_attr_missing(self: InplaceV8, inode: GmemInode) -> bool:
    """Whether an index without an entry (WARN in the kernel) counts as private: as the inode began."""
    return not inode.init_shared


def gmem_attr_value(self: InplaceV8, inode: GmemInode, index: int) -> bool:
    """Whether the index is private, without a step."""
    found = None if inode.attributes is None else inode.attributes.get(index)
    return self.gmem_attr_missing(inode) if found is None else found


async def kvm_gmem_is_private(self: InplaceV8, t: Task, inode: GmemInode, index: int) -> bool:
    """A point look-up in the map, under RCU alone."""
    if t.traps:
        await t.point(Op("load", self.gmem_attr_label(inode), index, index + 1, "r"))
    await t.spend(self.costs.xarray_lookup)
    return self.gmem_attr_value(inode, index)


async def kvm_mem_is_private(self: InplaceV8, t: Task, vm: Vm, gfn: int) -> bool:
    """KVM's idea of a gfn: the map of the file behind its slot; no slot, or no live file, is "shared".

    The INVALID copy of a slot that is being deleted has no file, so it is "shared" as well (guest-memfd.md 4.3).
    """
    if not vm.arch.has_private_memory:
        return False
    slot = vm.slot_of(gfn)
    if slot is None or not slot.gmem or slot.invalid:
        return False
    file = slot.gmem_file
    if file is None:
        return False
    if file.count.value == 0:
        return False
    return await self.kvm_gmem_is_private(t, file.inode, slot.index_of(gfn))


def gfn_is_private(self: InplaceV8, vm: Vm, gfn: int) -> bool:
    """The same without a step, for those who know what they hold."""
    slot = vm.slot_of(gfn) if vm.arch.has_private_memory else None
    if slot is None or slot.gmem_file is None or slot.gmem_file.count.value == 0:
        return False
    return self.gmem_attr_value(slot.gmem_file.inode, slot.index_of(gfn))


async def kvm_gmem_store_attributes(
    self: InplaceV8, t: Task, inode: GmemInode, start: int, end: int, private: bool
) -> None:
    """One range in one step, from preallocated nodes: it cannot fail."""
    if t.traps:
        await t.point(Op("store", self.gmem_attr_label(inode), start, end))
    assert inode.attributes is not None
    inode.attributes.store(start, end, private)
    if t.rec is not None:
        t.rec(t, GmemAttrStore(inode.label, start, end, private))
    await t.spend(self.costs.xarray_lookup)


async def kvm_vm_ioctl_set_mem_attributes(
    self: InplaceV8, t: Task, vm: Vm, address: int, size: int, private: bool, flags: int = 0
) -> int:
    """KVM_SET_MEMORY_ATTRIBUTES on the VM: with this mode on it supports no attribute, so -EINVAL or nothing."""
    await t.spend(self.costs.syscall)
    if vm.dead:
        return EIO
    bad = flags or size <= 0 or address < 0 or address % 4096 or size % 4096 or address + size >= 1 << 64
    return EINVAL if bad or private else 0
