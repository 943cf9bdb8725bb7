"""Operations on the VM: memslots, attributes, launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ...actors.errno import EFAULT, EINVAL, EIO, ENOENT, ENOTTY, errno_name
from ...actors.gmem_populate import Source
from ...arch.snp import Snp
from .. import ops
from ..guest import convert
from ..launch import launch_pages
from ..results import Outcome
from ..units import PAGE
from .inplace import PRIVATE
from .registry import OK, from_errno, handles, in_bytes, vm_ioctl

if TYPE_CHECKING:
    from ...actors.vm import Vm
    from ...engine.task import Task
    from ..steps import Step
    from ..thread import Thread


@handles(ops.Bind)
@vm_ioctl
async def bind(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    assert step.slot is not None
    return Outcome(await thread.machine.bind(t, step.slot, cast("ops.Bind", step.op).raw))


@handles(ops.Unbind)
@vm_ioctl
async def unbind(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    assert step.slot is not None
    return Outcome(await thread.machine.unbind(t, step.slot))


@handles(ops.SetAttributes)
@vm_ioctl
async def set_attributes(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.SetAttributes", step.op)
    address, size = in_bytes(op, lo, hi)
    word = PRIVATE * op.private if op.attributes is None else op.attributes
    if word & ~PRIVATE:
        return from_errno(EINVAL)
    vm = thread.machine.vm(step.vm)
    return from_errno(
        await thread.kernel.kvm_vm_ioctl_set_mem_attributes(t, vm, address, size, bool(word), op.flags)
    )


async def _convert(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.Convert", step.op)
    return from_errno(await convert(thread.kernel, t, thread.machine.vm(step.vm), lo, hi, op.private))


_convert_by_vm = vm_ioctl(_convert)


@handles(ops.Convert)
async def convert_range(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    """In place it is the file's call, else the VM's."""
    call = _convert if thread.kernel.in_place else _convert_by_vm
    return await call(thread, t, step, lo, hi)


@handles(ops.Populate)
@vm_ioctl
async def populate(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    """Both launch ioctls hold slots_lock around it; TDX asks for one page at a time, SNP for all at once.

    A VM without a launch: what SNP_LAUNCH_UPDATE answers on a host with SEV (`sev_mem_enc_ioctl` of 6.12.117 to 7.3.4;
    without SEV and on Intel's it is -ENOTTY).
    """
    op = cast("ops.Populate", step.op)
    vm = thread.machine.vm(step.vm)
    if not vm.arch.needs_launch:
        return from_errno(EIO if vm.dead else EINVAL)
    table = thread.session.workload.tables.vms[step.vm]
    address, size = in_bytes(op, lo, hi)
    no_launch = not table.launch_started or (vm.stage2.mirrored and not table.vcpus_initialized)
    if no_launch or op.bad_pointer or _refused_launch(op, vm, address, size):
        errno = EINVAL if no_launch or not op.bad_pointer else EFAULT
        return from_errno(await thread.kernel.launch_update_lock(t, vm, errno))
    lo, hi = address // PAGE, (address + size) // PAGE
    source: Source | None = None
    if op.source is not None and op.type != "zero":
        # A source that begins inside a page ends in one more.
        pages = range(hi - lo + (1 if op.offset else 0))
        contents = tuple(None if page in op.unmapped else thread.fill(op.source, page) for page in pages)
        source = Source(thread.machine.process(op.process), contents, op.offset)
    if ret := await thread.kernel.launch_update_lock(t, vm):
        return from_errno(ret)
    if isinstance(vm.arch, Snp):
        vm.arch.launch_page_type = "zero" if op.type == "zero" else "normal"
    refused = thread.kernel.populate_rejects(vm, source)
    ret, done = await launch_pages(thread.kernel, t, vm, lo, hi - lo, source)
    if isinstance(vm.arch, Snp):
        vm.arch.launch_page_type = "normal"
    await thread.kernel.launch_update_unlock(t, vm)
    # What is measured at launch is the guest's already.
    thread.machine.accepted[step.vm].done.update(range(lo, lo + done))
    inner: tuple[str, ...] = ()
    if vm.stage2.mirrored and ret == 0:
        ret = EIO  # tdx_vcpu_init_mem_region wants its one page
    elif ret < 0 and isinstance(vm.arch, Snp):
        # snp_launch_update looks at the source's address and at the slot itself; whatever else fails below it is -EIO.
        slot = vm.slot_of(lo)
        if not (refused or slot is None or not slot.gmem):
            ret, inner = EIO, (errno_name(ret),)
    outcome = "ok" if done == hi - lo else errno_name(ret) if ret < 0 else "short"
    return Outcome(outcome, (str(done), *inner), facts={"done": done})


def _refused_launch(op: ops.Populate, vm: Vm, address: int, size: int) -> bool:
    """What the launch commands say is -EINVAL before they look at memory."""
    tdx = vm.stage2.mirrored
    if any(gfn & vm.arch.gfn_direct_bits for gfn in (address // PAGE, (address + size - 1) // PAGE)):
        return True
    if tdx and op.source is not None and op.offset:
        return True
    if address % PAGE or size % PAGE or size <= 0 or address < 0 or address + size >= 1 << 64:
        return True
    # KVM_TDX_MEASURE_MEMORY_REGION extends the measurement and is nothing to the memory.
    return bool(op.flags & ~int(tdx)) or (not tdx and op.type in ("vmsa", "bogus"))


@handles(ops.Zap)
async def zap(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    """As the MMU notifier of a mapping would, but for both kinds."""
    vm = thread.machine.vm(step.vm)
    await vm.mmu_lock.write_lock(t)
    if await thread.kernel.kvm_unmap_gfn_range(t, vm, lo, hi, "both"):
        await thread.kernel.kvm_flush_remote_tlbs(t, vm)
    await vm.mmu_lock.write_unlock(t)
    return OK


@handles(ops.NxHugePages)
async def nx_huge_pages(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    """A write of the parameter in sysfs, which arm64 has not."""
    if thread.machine.vm(step.vm).arch.name == "pkvm":
        return from_errno(ENOENT)
    await thread.kernel.set_nx_huge_pages(t)
    return OK


@handles(ops.CheckExtension)
@vm_ioctl
async def check_extension(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    vm, kernel = thread.vm, thread.kernel
    match cast("ops.CheckExtension", step.op).extension:
        case "GUEST_MEMFD":
            there = int(kernel.check_memory_region_flags(vm, frozenset({"GUEST_MEMFD"})) == 0)
            return Outcome("ok", (str(there),), facts={"value": there})
        case "GUEST_MEMFD_FLAGS":
            names = sorted(kernel.gmem_supported_flags(vm))
        case kind:
            here = kernel.in_place == (kind == "GUEST_MEMFD_MEMORY_ATTRIBUTES")
            names = ["PRIVATE"] if here and vm.arch.has_private_memory else []
    return Outcome("ok", tuple(names), facts={"value": names})


@handles(ops.LaunchFinish)
@vm_ioctl
async def launch_finish(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    vm = thread.machine.vm(step.vm)
    if not vm.arch.needs_launch:
        # snp_launch_finish and vt_mem_enc_ioctl agree; arm64 has no such ioctl, and says -EINVAL.
        return from_errno(EIO if vm.dead else EINVAL if vm.arch.name == "pkvm" else ENOTTY)
    return from_errno(await thread.kernel.launch_finish(t, vm))
