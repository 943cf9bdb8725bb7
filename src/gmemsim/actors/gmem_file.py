"""guest_memfd files: create, bind, unbind, release (guest-memfd.md 4.1 to 4.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from ..audit.kvm_events import Bind, Close, Create, Unbind, UseAfterFree
from ..engine.op import Op
from .errno import EBADF, EINVAL, EIO, EMFILE, ENOMEM
from .inode import GmemFile, GmemInode
from .truncate import END_OF_MAPPING, LAST_INDEX

if TYPE_CHECKING:
    from ..engine.task import Task
    from .kernel import Kernel
    from .memslot import Memslot
    from .vm import Vm


def gmem_supported_flags(self: Kernel, vm: Vm) -> frozenset[str]:
    """Flags that KVM_CREATE_GUEST_MEMFD accepts: INIT_SHARED only for VM types without private memory."""
    if not self.release.host_mmap:
        return frozenset()
    return frozenset({"MMAP", "INIT_SHARED"} if vm.arch.shared_from_start else {"MMAP"})


def gmem_known_flags(self: Kernel, vm: Vm) -> frozenset[str]:
    """Flags that create accepts, which can be more than the capability names."""
    return self.gmem_supported_flags(vm)


def tdx_premaps(self: Kernel) -> bool:
    """Whether a TDX launch maps by a fault."""
    return self.release.tdx_premap


def arch_choices(self: Kernel) -> dict[str, object]:
    """What an arch actor must know of this kernel, by the name of the choice that is None there."""
    return {
        "in_place_source": False,
        "large_make_private": False,
        "page_references": self.release.tdx_page_references,
        "premap": self.tdx_premaps(),
    }


def tell_arch(self: Kernel, vm: Vm) -> None:
    """Fill in the choices of the VM's arch actor that are the kernel's, unless the workload made them."""
    choices: Any = getattr(vm.arch, "choices", None)
    if choices is None:
        return
    open_points = {
        name: value for name, value in self.arch_choices().items() if getattr(choices, name, value) is None
    }
    if open_points:
        vm.arch.choices = attrs.evolve(choices, **open_points)  # type: ignore[attr-defined]


async def kvm_gmem_create(
    self: Kernel, t: Task, vm: Vm, label: str, size: int, flags: frozenset[str] = frozenset()
) -> GmemFile | int:
    """`kvm_gmem_create` with `size` in bytes: the open file, or -EINVAL, -EMFILE, -ENOMEM, -EIO (a dead VM)."""
    self.tell_arch(vm)
    ret = 0
    if vm.dead:
        ret = EIO
    elif flags - self.gmem_known_flags(vm) or not 0 < size < 1 << 63 or size % 4096:
        # `loff_t size`: the upper half of the argument's 64 bits is negative.
        ret = EINVAL
    elif t.fault("fd"):
        ret = EMFILE
    elif t.fault("alloc_inode"):
        ret = ENOMEM
    file: GmemFile | None = None
    while label in self.world.inodes:
        # A mapping keeps a file alive that was closed; labels of locks and events must tell the two apart.
        label += "'"
    if ret == 0:
        inode = GmemInode(label, size // 4096, flags)
        inode.creator = vm
        await self.kvm_gmem_init_inode(t, inode)
        file = GmemFile(f"{label}@{vm.label}", inode, vm)
        inode.files.append(file)
        self.world.inodes[label] = inode
        vm.files[label] = file
    if t.rec is not None:
        t.rec(t, Create(label, size // 4096, ",".join(sorted(flags)), ret))
    return ret if file is None else file


async def kvm_gmem_init_inode(self: Kernel, t: Task, inode: GmemInode) -> None:
    """State of a new inode beyond its size and flags: none in these versions."""


async def get_file_active(self: Kernel, t: Task, file: GmemFile | None) -> GmemFile | None:
    """`get_file_active`: a counted reference, or None when there is no file or it is dying."""
    if file is None:
        return None
    if t.engine.cpus is not None:
        await self.move_f_count(t, file)
    if not await file.count.inc_not_zero(t):
        return None
    return file


async def move_f_count(self: Kernel, t: Task, file: GmemFile) -> None:
    """The line of the file's reference count, which every fault of every vCPU moves twice (timed runs)."""
    cpus = t.engine.cpus
    assert cpus is not None
    await t.spend(cpus.reach(t, file.line_state, "f_count", cpus.costs.atomic))


def fdget(self: Kernel, t: Task, file: GmemFile) -> bool:
    """`fdget`: a system call keeps the file that it works on; False (-EBADF) if it is closed.

    One step with what the call does first, since only a close could tell.
    """
    if file.count.value == 0:
        return False
    file.count.value += 1
    return True


async def fput(self: Kernel, t: Task, file: GmemFile) -> None:
    """`fput` at the end of a system call (close, munmap): the last reference releases the file at once."""
    await self.fput_later(t, file)
    await self.task_work_run(t)


async def fput_later(self: Kernel, t: Task, file: GmemFile) -> None:
    """`fput` inside the kernel: a release waits until the task leaves it (`____fput` as task work).

    Release takes slots_lock, which the caller may hold, or whose holder may wait for the caller's SRCU section.
    """
    if t.engine.cpus is not None:
        await self.move_f_count(t, file)
    if await file.count.dec_and_test(t):
        self.task_works.setdefault(t, []).append(file)


async def task_work_run(self: Kernel, t: Task) -> None:
    """`task_work_run`, on the way to user mode or into the guest: the releases that `t` put off, the last first."""
    works = self.task_works
    while t in works:
        for file in reversed(works.pop(t)):
            await self.kvm_gmem_release(t, file)


async def kvm_gmem_prepare_memory_region(
    self: Kernel, t: Task, vm: Vm, slot: Memslot, file: GmemFile, offset: int
) -> int:
    """What happens to a new slot before `kvm_set_memslot`: to 7.2 the whole bind."""
    return await self.kvm_gmem_bind(t, vm, slot, file, offset)


async def kvm_gmem_bind(self: Kernel, t: Task, vm: Vm, slot: Memslot, file: GmemFile, offset: int) -> int:
    """`kvm_gmem_bind` with `offset` in bytes: 0, -EBADF, -EINVAL, -ENOMEM, or the release's errno for an overlap."""
    if not await file.count.inc_not_zero(t):
        return EBADF
    ret = await self._bind(t, vm, slot, file, offset)
    if t.rec is not None:
        start = offset // 4096
        t.rec(t, Bind(file.label, slot.ident, start, start + slot.pages, ret))
    await self.fput_later(t, file)
    return ret


async def _bind(self: Kernel, t: Task, vm: Vm, slot: Memslot, file: GmemFile, offset: int) -> int:
    inode = file.inode
    if file.vm is not vm or not 0 <= offset < 1 << 63 or offset % 4096:
        return EINVAL
    start = offset // 4096
    end = start + slot.pages
    if end > inode.pages and not (self.release.bind_end_wraps and end * 4096 >= 1 << 63):
        return EINVAL
    lock = inode.invalidate_lock
    await lock.down_write(t)
    if file.slots_in(start, end):
        await lock.up_write(t)
        return self.release.bind_overlap
    slot.gmem_file = file
    slot.pgoff = start
    slot.gmem_only = "MMAP" in inode.flags
    ret = 0
    if self.release.bind_store_error and t.fault("alloc_binding"):
        # xa_store_range has no memory left half-way. What it stored is taken back before the lock goes, and the file.
        await self.kvm_gmem_store_binding(t, file, slot, start, start + max(slot.pages // 2, 1))
        await self.kvm_gmem_clear_binding(t, file, slot)
        slot.pgoff = 0
        ret = ENOMEM
    else:
        await self.kvm_gmem_store_binding(t, file, slot, start, end)
    await lock.up_write(t)
    return ret


async def kvm_gmem_commit_memory_region(self: Kernel, t: Task, slot: Memslot) -> int:
    """A new slot is about to be published, slots_arch_lock held: to 7.2 it was bound before (`kvm_gmem_bind`)."""
    return 0


async def kvm_gmem_bound(self: Kernel, t: Task, slot: Memslot, file: GmemFile, ret: int) -> None:
    """The slot was published, or `ret` says why not: to 7.2 it is unbound then (`kvm_set_memory_region`)."""
    if ret:
        await self.kvm_gmem_unbind(t, slot)


async def kvm_gmem_store_binding(
    self: Kernel, t: Task, file: GmemFile, slot: Memslot, start: int, end: int
) -> None:
    """`xa_store_range(&f->bindings)`; 6.18 to 7.2 ignore a store that fails, and none does here."""
    if t.traps:
        await t.point(Op("rmw", f"{file.label}.bindings", start, end))
    file.store(slot, start, end)


async def kvm_gmem_unbind(self: Kernel, t: Task, slot: Memslot) -> None:
    """`kvm_gmem_unbind`: slots_lock held, no vCPU can see the slot any more. Does not zap."""
    pointer = slot.gmem_file
    if pointer is None:
        return
    if t.rec is not None:
        t.rec(t, Unbind(slot.ident))
    file = await self.get_file_active(t, pointer)
    if file is None:
        # The file is dying, and its release waits for slots_lock, which we hold: no lock needed.
        await self.kvm_gmem_clear_binding(t, pointer, slot)
        return
    lock = file.inode.invalidate_lock
    await lock.down_write(t)
    await self.kvm_gmem_clear_binding(t, file, slot)
    await lock.up_write(t)
    await self.fput_later(t, file)


async def kvm_gmem_clear_binding(self: Kernel, t: Task, file: GmemFile, slot: Memslot) -> None:
    """Forget the range and the pointer."""
    await self.kvm_gmem_erase_binding(t, file, slot)
    slot.gmem_file = None


async def kvm_gmem_erase_binding(self: Kernel, t: Task, file: GmemFile, slot: Memslot) -> None:
    """`xa_store_range(&f->bindings, ..., NULL)`."""
    if t.traps:
        await t.point(Op("rmw", f"{file.label}.bindings", slot.bound_start, slot.bound_end))
    file.erase(slot)


async def kvm_gmem_release(self: Kernel, t: Task, file: GmemFile) -> None:
    """`kvm_gmem_release`: zap everything bound through this file. Memory stays: it is the inode's."""
    inode = file.inode
    vm = file.vm
    if t.rec is not None:
        t.rec(t, Close(file.label))
    await vm.slots_lock.lock(t)
    await inode.invalidate_lock.down_write(t)
    for slot in list(file.bindings.values()):
        if t.traps:
            await t.point(Op("store", f"{file.label}.bindings", slot.bound_start, slot.bound_end))
        self.use_memslot(t, slot)
        slot.gmem_file = None
    kinds, end = self.release_filter(inode), self.release_end(inode)
    await self.kvm_gmem_file_invalidate_start(t, file, 0, end, kinds)
    await self.kvm_gmem_file_invalidate_end(t, file, 0, end)
    await self.kvm_gmem_del_file(t, file)
    await inode.invalidate_lock.up_write(t)
    await vm.slots_lock.unlock(t)
    file.bindings.clear()
    file.released = True
    vm.files.pop(inode.label, None)
    if not inode.files and not inode.mappings:
        await self.evict_inode(t, inode, vm)


async def kvm_gmem_del_file(self: Kernel, t: Task, file: GmemFile) -> None:
    """`list_del(&f->entry)`: from here on nobody who goes through the inode's files meets it."""
    inode = file.inode
    inode.files.remove(file)


def release_filter(self: Kernel, inode: GmemInode) -> str:
    """Kinds that a release zaps."""
    return self.invalidate_filter(inode)


def release_end(self: Kernel, inode: GmemInode) -> int:
    """Where the invalidation of a release ends: at -1ul, however large the file is (6.12 to 7.3)."""
    return LAST_INDEX


async def evict_inode(self: Kernel, t: Task, inode: GmemInode, vm: Vm) -> None:
    """The last user is gone: `truncate_inode_pages_final`. The invalidate lock is not held.

    It truncates to the end of any mapping, not to that of the file: `lend` is -1.
    """
    await self.truncate_inode_pages_range(t, inode, 0, END_OF_MAPPING)
    inode.evicted = True
    self.world.inodes.pop(inode.label, None)


def use_inode(self: Kernel, t: Task, inode: GmemInode) -> None:
    """The present step reads or writes the inode: a use after free if `evict_inode` has run.

    Uses of the locks in it are seen without this.
    """
    if inode.evicted and t.rec is not None:
        t.rec(t, UseAfterFree(f"the inode of {inode.label}", -1))


def use_file(self: Kernel, t: Task, file: GmemFile) -> None:
    """The present step reads or writes `struct gmem_file`: a use after free if `kvm_gmem_release` has freed it."""
    if file.released and t.rec is not None:
        t.rec(t, UseAfterFree(f"the file {file.label}", -1))
