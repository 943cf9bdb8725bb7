"""The guest's page state change (SNP)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from ...actors.errno import EOPNOTSUPP, errno_name
from .. import ops
from ..guest import convert, run_refused
from ..inplace import convert_files
from ..psc import PscBuffer
from ..results import Outcome
from .registry import from_errno, handles

if TYPE_CHECKING:
    from ...engine.task import Task
    from ..steps import Step
    from ..thread import Thread


@handles(ops.PageStateChange)
async def page_state_change(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    """Buffer after buffer; the value is the number of pages that changed. What was accepted of them is forgotten.

    An error ends it (`VMGEXIT_PSC_ERROR_GENERIC`), with what was done before it done.
    """
    op = cast("ops.PageStateChange", step.op)
    vm = thread.machine.vm(step.vm)
    if not vm.arch.rmp_faults:
        return from_errno(EOPNOTSUPP)
    if refused := await run_refused(thread, t):
        return Outcome(refused)
    book = thread.machine.accepted[step.vm]
    done = 0

    async def exit_to_vmm(start: int, end: int) -> int:
        nonlocal done
        thread.results.exits["hypercall"] += 1
        await t.spend(thread.kernel.costs.memory_fault_exit)
        book.done.difference_update(range(start, end))
        if thread.kernel.in_place:
            ret = await convert_files(thread.kernel, t, vm, start, end, op.private, op.attempts)
        else:
            ret = await convert(thread.kernel, t, vm, start, end, op.private)
        done += 0 if ret else end - start
        return ret

    for buffer in PscBuffer.fill(lo, hi, op.private, op.level, op.done):
        ret = await buffer.snp_begin_psc(t, exit_to_vmm)
        if ret:
            return Outcome(errno_name(ret), (str(done),))
    return Outcome("ok", (str(done),))
