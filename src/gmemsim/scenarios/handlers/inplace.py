"""Operations of conversion in place: the call on the file, and the guest's request for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from ...actors.errno import EFAULT, EINVAL, ENOENT, errno_name
from ...audit.inplace_events import Hypercall
from .. import ops
from ..guest import access, convert, run_refused
from ..inplace import convert_file, convert_files
from ..results import Outcome
from .registry import from_errno, handles, in_bytes

if TYPE_CHECKING:
    from ...actors.vm import Vm
    from ...engine.task import Task
    from ..steps import Step
    from ..thread import Thread

#: KVM_MEMORY_ATTRIBUTE_PRIVATE.
PRIVATE: Final = 8


@handles(ops.SetFileAttributes)
async def set_file_attributes(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    """The value, if there is one, is the page that `error_offset` names.

    `attributes` and `reserved` are words of its argument that the model's call does not have: what they may hold is
    checked here, as `kvm_gmem_set_attributes` does before anything else.
    """
    op = cast("ops.SetFileAttributes", step.op)
    assert step.file is not None
    file = thread.machine.descriptors(thread.actor.process).get(step.file.id)
    if file is None:
        return Outcome("EBADF")
    word = PRIVATE * op.private if op.attributes is None else op.attributes
    if thread.kernel.in_place and (op.bad_pointer or word & ~PRIVATE or any(op.reserved)):
        return from_errno(EFAULT if op.bad_pointer else EINVAL)
    offset, size = in_bytes(op, lo, hi)
    done = await convert_file(thread.kernel, t, file, offset, size, bool(word), op.flags, op.attempts)
    where = () if done.error_index < 0 else (str(done.error_index),)
    return Outcome("ok" if done.ret == 0 else errno_name(done.ret), where)


@handles(ops.Hypercall)
async def hypercall(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    """An exit to the VMM, its conversion, and the answer. The guest forgets what it had accepted of the range.

    On pKVM the guest's hypercall has done its part by then; if EL2 refuses it there is no exit.
    """
    op = cast("ops.Hypercall", step.op)
    if refused := await run_refused(thread, t):
        return Outcome(refused)
    thread.results.exits["hypercall"] += 1
    if t.rec is not None:
        t.rec(t, Hypercall(lo, hi - lo, op.private))
    vm = thread.machine.vm(step.vm)
    if vm.arch.guest_converts:
        for gfn in range(lo, hi):
            failed = await guest_converts(thread, t, vm, gfn, op.private)
            if failed:
                return Outcome(failed)
    await t.spend(thread.kernel.costs.memory_fault_exit)
    book = thread.machine.accepted[step.vm]
    book.done.difference_update(range(lo, hi))
    vm.arch.guest_forgets(t, vm, lo, hi)
    if thread.kernel.in_place:
        ret = await convert_files(thread.kernel, t, vm, lo, hi, op.private, op.attempts)
    else:
        ret = await convert(thread.kernel, t, vm, lo, hi, op.private)
    return from_errno(ret)


async def guest_converts(thread: Thread, t: Task, vm: Vm, gfn: int, private: bool) -> str:
    """The guest's hypercall for one page: nothing, or what it came to.

    For a page that it does not have the hypervisor fakes a data abort, so that the host faults it in, and the guest
    calls again: here a load stands for that.
    """
    while True:
        ret = await vm.arch.guest_convert(t, vm, gfn, private)
        if ret != ENOENT:
            return errno_name(ret) if ret else ""
        outcome, _, _ = await access(thread, t, gfn, None, None)
        if outcome != "ok":
            return outcome
