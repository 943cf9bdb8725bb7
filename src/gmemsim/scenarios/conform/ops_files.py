"""Operations on files and slots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ...actors.errno import EBADF, EINVAL, EOPNOTSUPP
from ...actors.huge_pool import order_of
from ...actors.memslots import KVM_USER_MEM_SLOTS
from ..units import PAGE
from .registry import from_errno, op
from .results import Got
from .rig import Unsupported

if TYPE_CHECKING:
    from ...engine.task import Task
    from .rig import Rig
    from .vector import Step

__all__: list[str] = []

#: Bits of the flags word that have a name.
_FLAG_BITS: Final = {1: "MMAP", 2: "INIT_SHARED"}


@op("create", "size", "flags", "as", "raw_flags")
async def create(rig: Rig, t: Task, step: Step) -> Got:
    flags = set(step.args["flags"])
    bits = step.args.get("raw_flags") or 0
    while bits:
        bit = bits & -bits
        flags.add(_FLAG_BITS.get(bit, f"{bit:#x}"))
        bits ^= bit
    vm = rig.vm(step.actor)
    return from_errno(await rig.create(t, vm, step.args["as"], step.args["size"], frozenset(flags)))


@op("close", "gmem")
async def close(rig: Rig, t: Task, step: Step) -> Got:
    file = rig.files.pop(step.args["gmem"], None)
    if file is None:
        return from_errno(EBADF)
    await rig.kernel.fput(t, file)
    return Got("ok")


@op("vm_close")
async def vm_close(rig: Rig, t: Task, step: Step) -> Got:
    """The VM's descriptor is closed; a file keeps the VM alive, so nothing happens to open ones."""
    if not rig.files:
        raise Unsupported("closing the last reference of a VM")
    return Got("ok")


@op("stat", "gmem")
async def stat(rig: Rig, t: Task, step: Step) -> Got:
    inode = rig.file(step.args["gmem"]).inode
    facts: dict[str, Any] = {
        "st_size": inode.pages * PAGE,
        # HugeTLB's superblock has the huge page's size.
        "st_blksize": PAGE << max(order_of(inode.flags), 0),
        "ino": rig.number(inode),
    }
    return Got("value", None, facts)


@op("check_cap", "cap")
async def check_cap(rig: Rig, t: Task, step: Step) -> Got:
    vm = rig.vm(step.actor)
    kernel = rig.kernel
    private = ["PRIVATE"] if vm.arch.has_private_memory else []
    match step.args["cap"]:
        case "GUEST_MEMFD_FLAGS":
            return Got("value", sorted(kernel.gmem_supported_flags(vm)))
        case "MEMORY_ATTRIBUTES":
            return Got("value", [] if kernel.in_place else private)
        case "GUEST_MEMFD_MEMORY_ATTRIBUTES":
            return Got("value", private if kernel.in_place else [])
    raise Unsupported(f"capability {step.args['cap']!r}")


@op("fallocate", "gmem", "offset", "len", "mode")
async def fallocate(rig: Rig, t: Task, step: Step) -> Got:
    mode = set(step.args["mode"])
    if mode - {"KEEP_SIZE", "PUNCH_HOLE"}:
        # Whatever they are, guest_memfd has only these two (kvm_gmem_fallocate).
        return from_errno(EOPNOTSUPP)
    return await _fallocate(rig, t, step, punch="PUNCH_HOLE" in mode, keep_size="KEEP_SIZE" in mode)


@op("punch_hole", "gmem", "offset", "len")
async def punch_hole(rig: Rig, t: Task, step: Step) -> Got:
    return await _fallocate(rig, t, step, punch=True, keep_size=True)


async def _fallocate(rig: Rig, t: Task, step: Step, *, punch: bool, keep_size: bool) -> Got:
    file = rig.file(step.args["gmem"])
    if step.args["offset"] < 0 or step.args["len"] <= 0:
        # vfs_fallocate, before any file system.
        return from_errno(EINVAL)
    ret = await rig.kernel.kvm_gmem_fallocate(
        t, file, step.args["offset"], step.args["len"], punch, keep_size
    )
    return from_errno(ret)


@op("bind", "slot", "gpa", "size", "gmem", "gmem_offset", "flags", "userspace_addr")
async def bind(rig: Rig, t: Task, step: Step) -> Got:
    args = step.args
    if _bad_slot_flags(args["flags"]):
        return from_errno(EINVAL)
    private = "GUEST_MEMFD" in args["flags"]
    vm = rig.vm(step.actor)
    if args["size"] == 0:
        return from_errno(await rig.kernel.kvm_set_memory_region(t, vm, args["slot"], 0, 0))
    offset = args["gmem_offset"]
    userspace = args["userspace_addr"]
    shows = "none" if not userspace else userspace if isinstance(userspace, str) else f"user{args['slot']}"
    gmem = args["gmem"] if private else None
    ret = await rig.bind(t, vm, args["slot"], args["gpa"], args["size"], gmem, offset, shows, private)
    return from_errno(ret)


@op("bind_v1", "slot", "gpa", "size", "flags", "userspace_addr")
async def bind_v1(rig: Rig, t: Task, step: Step) -> Got:
    """KVM_SET_USER_MEMORY_REGION knows neither the flag nor the file."""
    args = step.args
    if "GUEST_MEMFD" in args["flags"] or _bad_slot_flags(args["flags"]):
        return from_errno(EINVAL)
    vm = rig.vm(step.actor)
    slot = KVM_USER_MEM_SLOTS if args["slot"] == "max_slots" else args["slot"]
    if args["size"] == 0:
        return from_errno(await rig.kernel.kvm_set_memory_region(t, vm, slot, 0, 0))
    ret = await rig.bind(t, vm, slot, args["gpa"], args["size"], None, 0, f"user{slot}", False)
    return from_errno(ret)


def _bad_slot_flags(flags: list[str]) -> bool:
    """`check_memory_region_flags`: bits without a name; read-only and dirty-logged slots are not modelled."""
    names = set(flags) - {"GUEST_MEMFD"}
    known = names & {"LOG_DIRTY_PAGES", "READONLY"}
    if known:
        raise Unsupported(f"slot flags {', '.join(sorted(known))}")
    return bool(names)


@op("unbind", "slot")
async def unbind(rig: Rig, t: Task, step: Step) -> Got:
    return from_errno(await rig.kernel.kvm_set_memory_region(t, rig.vm(step.actor), step.args["slot"], 0, 0))
