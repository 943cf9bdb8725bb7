"""Operations on the VM: memslots, attributes, launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ...actors.errno import EOPNOTSUPP, errno_name
from ...actors.gmem_populate import Source
from .. import ops
from ..guest import convert
from ..launch import launch_pages
from ..results import Outcome
from ..units import PAGE
from .registry import from_errno, handles

if TYPE_CHECKING:
    from ...engine.task import Task
    from ..steps import Step
    from ..thread import Thread

__all__: list[str] = []


@handles(ops.Bind)
async def bind(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    assert step.slot is not None
    return Outcome(await thread.machine.bind(t, step.slot))


@handles(ops.Unbind)
async def unbind(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    assert step.slot is not None
    return Outcome(await thread.machine.unbind(t, step.slot))


@handles(ops.SetAttributes)
async def set_attributes(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.SetAttributes", step.op)
    address, size = lo * PAGE, (hi - lo) * PAGE
    if op.address is not None and op.size is not None:
        address, size = op.address, op.size
    vm = thread.machine.vm(step.vm)
    return from_errno(await thread.kernel.kvm_vm_ioctl_set_mem_attributes(t, vm, address, size, op.private))


@handles(ops.Convert)
async def convert_range(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.Convert", step.op)
    return from_errno(await convert(thread.kernel, t, thread.machine.vm(step.vm), lo, hi, op.private))


@handles(ops.Populate)
async def populate(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    """Both launch ioctls hold slots_lock around it; TDX asks for one page at a time, SNP for all at once."""
    op = cast("ops.Populate", step.op)
    vm = thread.machine.vm(step.vm)
    if not vm.arch.needs_launch:
        return from_errno(EOPNOTSUPP)
    source: Source | None = None
    if op.source is not None:
        # A source that begins inside a page ends in one more.
        pages = range(hi - lo + (1 if op.offset else 0))
        contents = tuple(None if page in op.unmapped else thread.fill(op.source, page) for page in pages)
        source = Source(thread.machine.process(op.process), contents, op.offset)
    if ret := await thread.kernel.launch_update_lock(t, vm):
        return from_errno(ret)
    ret, done = await launch_pages(thread.kernel, t, vm, lo, hi - lo, source)
    await thread.kernel.launch_update_unlock(t, vm)
    # What is measured at launch is the guest's already.
    t.changed(thread.machine.accepted[step.vm].label, lo, lo + done)
    thread.machine.accepted[step.vm].done.update(range(lo, lo + done))
    outcome = "ok" if done == hi - lo else errno_name(ret) if ret < 0 else "short"
    return Outcome(outcome, (str(done),))


@handles(ops.LaunchFinish)
async def launch_finish(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    return from_errno(await thread.kernel.launch_finish(t, thread.machine.vm(step.vm)))
