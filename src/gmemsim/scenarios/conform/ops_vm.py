"""Operations on the VM: attributes, launch, probes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...actors.errno import EFAULT, EINVAL, EIO, ENOTTY, errno_name
from ...actors.gmem_convert import GmemConversion
from ...actors.gmem_populate import Source
from ...arch.snp import Snp
from ...patches.inplace_content import PRESERVE, ZERO, InplaceContent
from ..launch import launch_pages
from ..units import PAGE
from . import arguments
from .content import whole
from .registry import from_errno, op
from .results import Got
from .rig import MAPPED, Unsupported

if TYPE_CHECKING:
    from ...actors.vm import Vm
    from ...engine.task import Task
    from .rig import Rig
    from .vector import Step

__all__: list[str] = []

#: Content modes, by the vectors' names.
_MODES = {"zero": ZERO, "preserve": PRESERVE, "unspecified": 0}

#: KVM_TDX_MEASURE_MEMORY_REGION, which extends the measurement and is nothing to the memory.
_TDX_MEASURE = 1

#: Page types of SNP_LAUNCH_UPDATE; guest_memfd only asks whether there is a source.
_SNP_PAGE_TYPES = ("normal", "zero", "unmeasured", "secrets", "cpuid")

#: KVM_MEMORY_ATTRIBUTE_PRIVATE.
_PRIVATE = 8


@op(arguments.SetAttributes)
async def set_attributes(rig: Rig, t: Task, step: Step, args: arguments.SetAttributes) -> Got:
    names = set(args.attributes)
    if names - {"PRIVATE"}:
        return from_errno(EINVAL)
    rig.bounded(args.len)
    ret = await rig.kernel.kvm_vm_ioctl_set_mem_attributes(
        t, rig.vm(step.actor), args.gpa, args.len, "PRIVATE" in names, args.flags
    )
    return from_errno(ret)


@op(arguments.LaunchFinish)
async def launch_finish(rig: Rig, t: Task, step: Step, args: arguments.LaunchFinish) -> Got:
    return from_errno(await rig.kernel.launch_finish(t, rig.vm(step.actor)))


@op(arguments.Populate)
async def populate(rig: Rig, t: Task, step: Step, args: arguments.Populate) -> Got:
    """The launch command around kvm_gmem_populate: KVM_SEV_SNP_LAUNCH_UPDATE or KVM_TDX_INIT_MEM_REGION."""
    if args.bad_argument_pointer:
        return from_errno(EFAULT)
    vm = rig.vm("host")
    if vm.arch.name not in ("snp", "tdx"):
        raise Unsupported(f"populate on VM type {vm.arch.name}")
    if args.len % PAGE or args.gpa % PAGE or args.len <= 0 or args.gpa < 0 or args.gpa + args.len >= 1 << 64:
        return from_errno(EINVAL)
    if args.flags & ~(_TDX_MEASURE if vm.stage2.mirrored else 0) or (
        isinstance(vm.arch, Snp) and args.type not in _SNP_PAGE_TYPES
    ):
        return from_errno(EINVAL)
    rig.bounded(args.len)
    page_type = "zero" if args.type == "zero" else "normal"
    pages = args.len // PAGE
    source: Source | None = None
    if args.source is not None:
        offset = PAGE // 2 if args.source_misaligned else 0
        contents = tuple(whole(args.source) for _ in range(pages + bool(offset)))
        source = Source(rig.process("host"), contents, offset)
    if ret := await rig.kernel.launch_update_lock(t, vm):
        return from_errno(ret)
    uninitialized = vm.stage2.mirrored and not rig.setup.vcpu_initialized
    if vm.finalized or not rig.launch_started or uninitialized:
        await rig.kernel.launch_update_unlock(t, vm)
        return from_errno(EINVAL)
    if isinstance(vm.arch, Snp):
        vm.arch.launch_page_type = page_type
        got = await _snp(rig, t, vm, args.gpa // PAGE, pages, None if page_type == "zero" else source)
        vm.arch.launch_page_type = "normal"
    else:
        got = await _tdx(rig, t, vm, args.gpa // PAGE, pages, source)
    await rig.kernel.launch_update_unlock(t, vm)
    return got


async def _snp(rig: Rig, t: Task, vm: Vm, gfn: int, pages: int, source: Source | None) -> Got:
    """`snp_launch_update`: one call for all pages; any error below it becomes -EIO; a short count is no error."""
    slot = vm.slot_of(gfn)
    if slot is None or not slot.gmem or rig.kernel.populate_rejects(vm, source):
        return from_errno(EINVAL)
    ret, done = await launch_pages(rig.kernel, t, vm, gfn, pages, source)
    more = _left(gfn, pages, done)
    if ret < 0:
        return Got(errno_name(EIO), None, {**more, "inner_errno": errno_name(ret)})
    return Got("ok", None, more)


async def _tdx(rig: Rig, t: Task, vm: Vm, gfn: int, pages: int, source: Source | None) -> Got:
    """`tdx_vcpu_init_mem_region`: page by page; the error comes through as it is."""
    if source is not None and source.offset:
        return from_errno(EINVAL)
    ret, done = await launch_pages(rig.kernel, t, vm, gfn, pages, source)
    more = _left(gfn, pages, done)
    if done == pages:
        return Got("ok", None, more)
    return Got(errno_name(ret if ret < 0 else EIO), None, more)


def _left(gfn: int, pages: int, done: int) -> dict[str, Any]:
    """What the command writes back into its argument."""
    return {"remaining_len": (pages - done) * PAGE, "processed": done, "remaining_gpa": (gfn + done) * PAGE}


@op(arguments.ZapStage2)
async def zap_stage2(rig: Rig, t: Task, step: Step, args: arguments.ZapStage2) -> Got:
    """Drop the guest's mappings of a range, as an invalidation of unrelated cause would."""
    vm = rig.vm(step.actor)
    first, end = args.gpa // PAGE, (args.gpa + args.len) // PAGE
    await vm.mmu_lock.write_lock(t)
    if await rig.kernel.kvm_unmap_gfn_range(t, vm, first, end, "both"):
        await rig.kernel.kvm_flush_remote_tlbs(t, vm)
    await vm.mmu_lock.write_unlock(t)
    return Got("ok")


@op(arguments.Stage2Mapped)
async def stage2_mapped(rig: Rig, t: Task, step: Step, args: arguments.Stage2Mapped) -> Got:
    vm = rig.vm(step.actor)
    gfn = args.gpa // PAGE
    found = [vm.stage2.find(gfn, kind) for kind in (True, False)]
    return Got("value", any(spte is not None and spte.pfn >= 0 for spte in found))


@op(arguments.EventCount)
async def event_count(rig: Rig, t: Task, step: Step, args: arguments.EventCount) -> Got:
    """By guest address, where a slot is, or by offset of a file."""
    if (args.gpa is None) == (args.offset is None):
        raise Unsupported("event_count needs gpa, or offset of a file")
    if args.offset is not None:
        inode = rig.inodes.get(args.gmem) if args.gmem else rig.only_inode()
        if inode is None:
            raise Unsupported(f"event_count: no file {args.gmem!r}")
        return Got("value", rig.counts.of(args.event, inode, args.offset // PAGE))
    assert args.gpa is not None
    gfn = args.gpa // PAGE
    slot = rig.vm(step.actor).slot_of(gfn)
    if slot is None or slot.gmem_file is None:
        raise Unsupported(f"no slot with a file at gpa {args.gpa:#x}")
    return Got("value", rig.counts.of(args.event, slot.gmem_file.inode, slot.index_of(gfn)))


@op(arguments.Convert)
async def convert(rig: Rig, t: Task, step: Step, args: arguments.Convert) -> Got:
    """The conversion call on the file: an ioctl that a file without in-place conversion does not have.

    `raw_attributes` and `reserved` are words of its argument that the model's call does not have: what they may
    hold is checked here, as `kvm_gmem_set_attributes` does before anything else.
    """
    kernel: Any = rig.kernel
    if not isinstance(kernel, GmemConversion) or not kernel.in_place:
        return from_errno(ENOTTY)
    if args.bad_argument_pointer:
        return from_errno(EFAULT)
    private = args.to == "private"
    if args.raw_attributes is not None:
        if args.raw_attributes & ~_PRIVATE:
            return from_errno(EINVAL)
        private = bool(args.raw_attributes & _PRIVATE)
    if any(args.reserved):
        return from_errno(EINVAL)
    file = rig.file(args.gmem, step.actor)
    offset, size = args.offset, args.len
    rig.bounded(min(size, file.inode.pages * PAGE), MAPPED)
    flags = args.flags
    if args.mode:
        names = args.mode.split("+")
        if not isinstance(kernel, InplaceContent) or set(names) - set(_MODES):
            raise Unsupported(f"mode {args.mode!r}")
        flags |= sum(_MODES[name] for name in names)
    done = await kernel.kvm_gmem_set_attributes(t, file, offset, size, private, flags)
    more = {} if done.error_index < 0 else {"error_offset": done.error_index * PAGE}
    return Got(from_errno(done.ret).result, None, more)


@op(arguments.GetState)
async def get_state(rig: Rig, t: Task, step: Step, args: arguments.GetState) -> Got:
    """Whether a range is private or shared, or mixed: a probe of the map, not a call."""
    kernel = rig.kernel
    if not isinstance(kernel, GmemConversion) or not kernel.in_place:
        raise Unsupported("state of a file without conversion in place")
    inode = rig.file(args.gmem, step.actor).inode
    first, end = args.offset // PAGE, (args.offset + args.len) // PAGE
    found = {kernel.gmem_attr_value(inode, index) for index in range(first, end)}
    return Got(
        "value", None, {"state": "mixed" if len(found) > 1 else "private" if found.pop() else "shared"}
    )
