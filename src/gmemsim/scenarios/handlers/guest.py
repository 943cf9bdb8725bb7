"""Operations of a vCPU: guest accesses, acceptance, pre-fault."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast

from ...actors.errno import EFAULT, EINVAL, errno_name
from ...actors.stage2 import level_pages
from .. import ops
from ..guest import accept_large, accept_page, access
from ..results import Outcome
from ..units import PAGE
from .registry import from_errno, handles, in_bytes, of_pages

if TYPE_CHECKING:
    from ...engine.task import Task
    from ..steps import Step
    from ..thread import Thread


@handles(ops.Touch, ops.Read, ops.Write)
async def guest_access(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.GuestAccess", step.op)
    write = op.write if isinstance(op, ops.Touch) else op.value if isinstance(op, ops.Write) else None
    keep = isinstance(op, ops.Read)
    paces = thread.paces(step.time or thread.session.access_time, t.call)
    outcomes: Counter[str] = Counter()
    values: list[str] = []
    sees = op.sees if isinstance(op, ops.Read) else ()
    done = None
    for gfn in range(lo, hi):
        await t.spend(next(paces))
        value = None if write is None else thread.fill(write, gfn)
        outcome, seen, back = await access(thread, t, gfn, op.private, value)
        outcomes["other_value" if outcome == "ok" and sees and seen not in sees else outcome] += 1
        if outcome != "ok":
            done = back
        if keep:
            values.append(seen if outcome == "ok" else outcome)
        if thread.results.stopped:
            break
    found = of_pages(outcomes, values)
    if done is None:
        return found
    return found._replace(
        facts={"kind": done.kind, "errno": done.errno, "gfn": done.gfn, "private": done.private}
    )


@handles(ops.Accept)
async def accept(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.Accept", step.op)
    outcomes: Counter[str] = Counter()
    gfn = lo
    while gfn < hi:
        pages = level_pages(op.level)
        if op.level > 1 and gfn % pages == 0 and gfn + pages <= hi:
            done = await accept_large(thread, t, gfn)
        else:
            pages = 1
            done = await accept_page(thread, t, gfn, op.level == 1)
        gfn += pages
        if done is None:
            outcomes["ok"] += 1
        else:
            outcomes[errno_name(done.errno) if done.kind == "error" else done.kind] += 1
    return of_pages(outcomes, [])


@handles(ops.CreateAp)
async def create_ap(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    """AP_CREATE with a page of the guest's, which it has accepted before; a refusal of KVM ends KVM_RUN."""
    op = cast("ops.CreateAp", step.op)
    assert thread.vcpu is not None
    if op.target is not None and op.target >= len(thread.vm.vcpus):
        return from_errno(EINVAL)
    target = thread.vcpu if op.target is None else thread.vm.vcpus[op.target]
    outcome, _, _ = await access(thread, t, lo, True, None)
    if outcome == "ok":
        done = await thread.kernel.guest_create_ap(t, thread.vcpu, target, lo)
        outcome = errno_name(done.errno) if done.kind == "error" else done.kind
    return Outcome(outcome)


@handles(ops.Prefault)
async def prefault(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.Prefault", step.op)
    assert thread.vcpu is not None
    if op.bad_pointer:
        return from_errno(EFAULT)
    gpa, size = in_bytes(op, lo, hi)
    ret, reached, left = await thread.kernel.kvm_vcpu_pre_fault_memory(t, thread.vcpu, gpa, size, op.flags)
    facts = {"gpa": reached, "size": left}
    return Outcome("ok" if ret == 0 else errno_name(ret), (str((reached - gpa) // PAGE),), facts=facts)
