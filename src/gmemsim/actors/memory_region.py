"""`struct kvm_userspace_memory_region2`, and what KVM_SET_USER_MEMORY_REGION2 checks before it looks at any slot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

from .errno import EINVAL
from .memslots import KVM_USER_MEM_SLOTS

if TYPE_CHECKING:
    from ..engine.task import Task
    from .inode import GmemFile, HostMapping
    from .kernel import Kernel
    from .memslot import UserMemory
    from .vm import Vm

#: Pages of a slot at most, for the sake of dirty bitmaps.
KVM_MEM_MAX_NR_PAGES: Final = (1 << 31) - 1

_U64: Final = (1 << 64) - 1
#: End of the address space of a 64-bit process with four levels of tables.
_TASK_SIZE: Final = (1 << 47) - 4096


@attrs.frozen
class MemoryRegion:
    """The argument of the ioctl, with what its numbers stand for.

    Attributes:
        slot, gpa, size, userspace_addr, offset: as passed in; bytes. Negative numbers are what a C program would pass
            as their two's complement.
        flags: names without KVM_MEM_; bits without a name have another.
        file: what the descriptor names, or None.
        user, user_offset, hva: the memory at the userspace address (see `Memslot`).
    """

    slot: int
    gpa: int
    size: int
    flags: frozenset[str] = frozenset()
    userspace_addr: int = 0
    file: GmemFile | None = None
    offset: int = 0
    user: UserMemory | None = None
    user_offset: int = 0
    hva: HostMapping | None = None


async def kvm_vm_ioctl_set_memory_region(self: Kernel, t: Task, vm: Vm, region: MemoryRegion) -> int:
    """0 or a negative errno; size 0 deletes the slot."""
    bad = self.check_memory_region_flags(vm, region.flags) or self.check_memory_region(region)
    if bad:
        return bad
    return await self.kvm_set_memory_region(
        t,
        vm,
        region.slot & 0xFFFF,
        region.gpa // 4096,
        region.size // 4096,
        region.file,
        region.offset,
        region.user,
        region.user_offset,
        "GUEST_MEMFD" in region.flags,
        region.hva,
    )


def check_memory_region_flags(self: Kernel, vm: Vm, flags: frozenset[str]) -> int:
    """`check_memory_region_flags`: 0 or -EINVAL.

    GUEST_MEMFD excludes dirty logging, and read-only slots (from 6.8 on): a write to one is emulated MMIO, which
    private memory does not have. A VM whose registers are protected has no read-only slots at all
    (`kvm_arch_has_readonly_mem`). In 6.12 only VMs with private memory have GUEST_MEMFD; later releases give it
    to the default type with the mmap support that serves its shared memory.
    """
    gmem_here = vm.arch.has_private_memory or self.release.host_mmap
    valid = {"GUEST_MEMFD"} if gmem_here else set()
    if "GUEST_MEMFD" not in flags:
        valid |= {"LOG_DIRTY_PAGES"} if vm.arch.hardware_private else {"LOG_DIRTY_PAGES", "READONLY"}
    return EINVAL if flags - valid else 0


def check_memory_region(self: Kernel, region: MemoryRegion) -> int:
    """The sanity checks of `kvm_set_memory_region`, on the bytes of the argument: 0 or -EINVAL."""
    size, gpa, address = region.size & _U64, region.gpa & _U64, region.userspace_addr & _U64
    if size % 4096 or gpa % 4096 or address % 4096 or address + size > _TASK_SIZE:
        return EINVAL
    if "GUEST_MEMFD" in region.flags and (region.offset % 4096 or (region.offset & _U64) + size > _U64):
        return EINVAL
    if not 0 <= region.slot < KVM_USER_MEM_SLOTS or gpa + size > _U64 or size // 4096 > KVM_MEM_MAX_NR_PAGES:
        return EINVAL
    return 0
