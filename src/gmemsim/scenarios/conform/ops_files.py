"""Operations on files and slots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...actors.errno import EINVAL, EOPNOTSUPP
from ...actors.huge_pool import order_of
from ..units import PAGE
from . import arguments
from .content import whole
from .registry import from_errno, op
from .results import Got
from .rig import MAPPED, WALKED, Unsupported

if TYPE_CHECKING:
    from ...actors.memory_region import MemoryRegion
    from ...engine.task import Task
    from .rig import Rig
    from .vector import Step

__all__: list[str] = []

#: Bits of the flags word that have a name.
_FLAG_BITS: Final = {1: "MMAP", 2: "INIT_SHARED"}


@op(arguments.Create)
async def create(rig: Rig, t: Task, step: Step, args: arguments.Create) -> Got:
    flags: set[str] = set(args.flags)
    bits = args.raw_flags or 0
    while bits:
        bit = bits & -bits
        flags.add(_FLAG_BITS.get(bit, f"{bit:#x}"))
        bits ^= bit
    vm = rig.vm(step.actor)
    return from_errno(await rig.create(t, vm, args.made, args.size, frozenset(flags)))


@op(arguments.Close)
async def close(rig: Rig, t: Task, step: Step, args: arguments.Close) -> Got:
    file = rig.file(args.gmem, step.actor)
    del rig.descriptors(step.actor)[args.gmem]
    await rig.kernel.fput(t, file)
    return Got("ok")


@op(arguments.VmClose)
async def vm_close(rig: Rig, t: Task, step: Step, args: arguments.VmClose) -> Got:
    """The VM's descriptor is closed; a file keeps the VM alive, so nothing happens to open ones."""
    if not rig.files:
        raise Unsupported("closing the last reference of a VM")
    return Got("ok")


@op(arguments.Stat)
async def stat(rig: Rig, t: Task, step: Step, args: arguments.Stat) -> Got:
    inode = rig.file(args.gmem, step.actor).inode
    facts: dict[str, Any] = {
        "st_size": inode.pages * PAGE,
        # HugeTLB's superblock has the huge page's size.
        "st_blksize": PAGE << max(order_of(inode.flags), 0),
        "ino": rig.number(inode),
    }
    return Got("value", None, facts)


@op(arguments.CheckCap)
async def check_cap(rig: Rig, t: Task, step: Step, args: arguments.CheckCap) -> Got:
    vm = rig.vm(step.actor)
    kernel = rig.kernel
    private = ["PRIVATE"] if vm.arch.has_private_memory else []
    match args.cap:
        case "GUEST_MEMFD_FLAGS":
            return Got("value", sorted(kernel.gmem_supported_flags(vm)))
        case "GUEST_MEMFD":
            return Got("value", int(kernel.check_memory_region_flags(vm, frozenset({"GUEST_MEMFD"})) == 0))
        case "MEMORY_ATTRIBUTES":
            return Got("value", [] if kernel.in_place else private)
    return Got("value", private if kernel.in_place else [])


@op(arguments.Fallocate)
async def fallocate(rig: Rig, t: Task, step: Step, args: arguments.Fallocate) -> Got:
    mode = set(args.mode)
    if mode - {"KEEP_SIZE", "PUNCH_HOLE"}:
        # Whatever they are, guest_memfd has only these two (kvm_gmem_fallocate).
        return from_errno(EOPNOTSUPP)
    punch, keep_size = "PUNCH_HOLE" in mode, "KEEP_SIZE" in mode
    return await _fallocate(rig, t, step, args, punch=punch, keep_size=keep_size)


@op(arguments.PunchHole)
async def punch_hole(rig: Rig, t: Task, step: Step, args: arguments.PunchHole) -> Got:
    return await _fallocate(rig, t, step, args, punch=True, keep_size=True)


async def _fallocate(
    rig: Rig,
    t: Task,
    step: Step,
    args: arguments.Fallocate | arguments.PunchHole,
    *,
    punch: bool,
    keep_size: bool,
) -> Got:
    file = rig.file(args.gmem, step.actor)
    if args.offset < 0 or args.len <= 0:
        # vfs_fallocate, before any file system.
        return from_errno(EINVAL)
    rig.bounded(min(args.len, file.inode.pages * PAGE), MAPPED if punch else WALKED)
    ret = await rig.kernel.kvm_gmem_fallocate(t, file, args.offset, args.len, punch, keep_size)
    return from_errno(ret)


@op(arguments.Read)
async def read(rig: Rig, t: Task, step: Step, args: arguments.Read) -> Got:
    file = rig.file(args.gmem, step.actor)
    return from_errno(await rig.kernel.vfs_read(t, file, args.offset, args.len))


@op(arguments.Pread)
async def pread(rig: Rig, t: Task, step: Step, args: arguments.Pread) -> Got:
    file = rig.file(args.gmem, step.actor)
    return from_errno(await rig.kernel.ksys_pread64(t, file, args.offset, args.len))


@op(arguments.Pwrite)
async def pwrite(rig: Rig, t: Task, step: Step, args: arguments.Pwrite) -> Got:
    file = rig.file(args.gmem, step.actor)
    return from_errno(await rig.kernel.ksys_pwrite64(t, file, args.offset, args.len))


@op(arguments.Write)
async def write(rig: Rig, t: Task, step: Step, args: arguments.Write) -> Got:
    """Whole pages where a version has the call; all others refuse any range."""
    file = rig.file(args.gmem, step.actor)
    pages = min(max(-(-args.len // PAGE), 1), file.inode.pages)
    done = await rig.kernel.kvm_gmem_write(t, file, args.offset // PAGE, (whole(args.value),) * pages)
    if done < 0:
        return from_errno(done)
    if args.offset % PAGE or args.len % PAGE:
        raise Unsupported("write of parts of pages")
    return Got("ok", None, {"processed": done * PAGE})


@op(arguments.Ftruncate)
async def ftruncate(rig: Rig, t: Task, step: Step, args: arguments.Ftruncate) -> Got:
    return from_errno(await rig.kernel.do_ftruncate(t, rig.file(args.gmem, step.actor), args.size))


@op(arguments.Ioctl)
async def ioctl(rig: Rig, t: Task, step: Step, args: arguments.Ioctl) -> Got:
    return from_errno(await rig.kernel.vfs_ioctl(t, rig.file(args.gmem, step.actor)))


@op(arguments.Bind)
async def bind(rig: Rig, t: Task, step: Step, args: arguments.Bind) -> Got:
    if args.size == 0:
        return await _set_region(rig, t, step, rig.region(args.slot, args.gpa, 0, args.flags))
    userspace = args.userspace_addr
    shows = f"user{args.slot}" if isinstance(userspace, int) and userspace else userspace or "none"
    return from_errno(
        await rig.bind(
            t,
            rig.vm(step.actor),
            rig.region(args.slot, args.gpa, args.size, args.flags, args.gmem_offset, userspace),
            args.gmem,
            str(shows),
        )
    )


@op(arguments.BindV1)
async def bind_v1(rig: Rig, t: Task, step: Step, args: arguments.BindV1) -> Got:
    """KVM_SET_USER_MEMORY_REGION knows neither the flag nor the file."""
    if "GUEST_MEMFD" in args.flags:
        return from_errno(EINVAL)
    region = rig.region(args.slot, args.gpa, args.size, args.flags, 0, args.userspace_addr)
    if args.size == 0:
        return await _set_region(rig, t, step, region)
    return from_errno(await rig.bind(t, rig.vm(step.actor), region, None, f"user{region.slot}"))


@op(arguments.Unbind)
async def unbind(rig: Rig, t: Task, step: Step, args: arguments.Unbind) -> Got:
    return await _set_region(rig, t, step, rig.region(args.slot, 0, 0, ()))


async def _set_region(rig: Rig, t: Task, step: Step, region: MemoryRegion) -> Got:
    return from_errno(await rig.kernel.kvm_vm_ioctl_set_memory_region(t, rig.vm(step.actor), region))
