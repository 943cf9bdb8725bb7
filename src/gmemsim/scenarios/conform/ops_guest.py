"""Operations of vCPUs: guest accesses, pre-fault, and exits that userspace answers with later steps."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from ...actors.errno import EINTR, EINVAL, errno_name
from ...actors.vcpu_run import GuestResult
from ...arch.memory import ZERO
from ..units import PAGE
from . import arguments
from .content import read_bytes, write_bytes
from .ops_host import pieces
from .registry import from_errno, op
from .results import Got
from .rig import Unsupported

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...actors.vm import Vcpu
    from ...engine.task import Task
    from .rig import Rig
    from .vector import Step

__all__: list[str] = []

#: Reads of a loop in a row; then it waits until another branch has finished a step, since nothing else can change.
_UNDISTURBED: Final = 2

#: Attempts of an access whose page has to be accepted first.
_ATTEMPTS: Final = 100


def _kind(rig: Rig, vcpu: Vcpu, gfn: int, access: str) -> bool | None:
    """The kind bit of an access: None where hardware has none."""
    if not vcpu.vm.arch.hardware_private:
        return None
    if access in ("private", "auto_private"):
        return True
    if access == "shared":
        return False
    return rig.kernel.gfn_is_private(vcpu.vm, gfn)


async def _touch(rig: Rig, t: Task, vcpu: Vcpu, gfn: int, access: str, write: str | None) -> GuestResult:
    """One access to one page by a guest that accepts memory when it must, and clears it then."""
    if t.signal_pending:
        # KVM_RUN looks before it enters the guest.
        return GuestResult("error", errno=EINTR)
    if vcpu.vm.stage2.mirrored and not rig.setup.vcpu_initialized:
        # tdx_vcpu_pre_run
        return GuestResult("error", errno=EINVAL)
    for _ in range(_ATTEMPTS):
        kind = _kind(rig, vcpu, gfn, access)
        done = await rig.kernel.guest_access(t, vcpu, gfn, kind, write)
        if done.kind != "exception":
            return done
        accepted = await rig.kernel.guest_accept(t, vcpu, gfn)
        if accepted.kind == "ok" and vcpu.vm.arch.rmp_faults:
            # PVALIDATE leaves what is there, which the host wrote with another key. TDX zeroes the page itself.
            accepted = await rig.kernel.guest_access(t, vcpu, gfn, kind, ZERO)
        if accepted.kind != "ok":
            return accepted
    raise Unsupported(f"gfn {gfn:#x} cannot be accepted")


def _exit(done: GuestResult, gpa: int, length: int, write: bool) -> Got:
    """How an access that did not complete came back to userspace."""
    if done.kind == "exit_memory_fault":
        more = {
            "errno": errno_name(done.errno),
            "flags": ["PRIVATE"] if done.private else [],
            "gpa": done.gfn * PAGE,
            "size": PAGE,
        }
        return Got("exit_memory_fault", None, more)
    if done.kind == "exit_mmio":
        return Got("exit_mmio", None, {"phys_addr": gpa, "len": length, "is_write": write})
    return Got(errno_name(done.errno) if done.kind == "error" else done.kind)


async def _read(rig: Rig, t: Task, vcpu: Vcpu, gpa: int, length: int, access: str) -> Got:
    found: set[int | None] = set()
    for gfn, start, end in pieces(gpa, length):
        done = await _touch(rig, t, vcpu, gfn, access, None)
        if done.kind != "ok":
            at = max(gpa, gfn * PAGE)
            rig.pending[vcpu.label] = partial(
                _read, rig, t, vcpu=vcpu, gpa=at, length=gpa + length - at, access=access
            )
            return _exit(done, gfn * PAGE + start, end - start, False)
        found |= read_bytes(done.value, start, end)
    return Got("value", found)


async def _write(rig: Rig, t: Task, vcpu: Vcpu, gpa: int, length: int, access: str, value: int) -> Got:
    for gfn, start, end in pieces(gpa, length):
        token = ""
        done: GuestResult | None = None
        if end - start < PAGE:
            # Part of a page: what the rest of it holds must not change.
            done = await _touch(rig, t, vcpu, gfn, access, None)
            token = done.value
        if done is None or done.kind == "ok":
            done = await _touch(rig, t, vcpu, gfn, access, write_bytes(token, start, end, value))
        if done.kind != "ok":
            at = max(gpa, gfn * PAGE)
            rig.pending[vcpu.label] = partial(
                _write, rig, t, vcpu=vcpu, gpa=at, length=gpa + length - at, access=access, value=value
            )
            return _exit(done, gfn * PAGE + start, end - start, True)
    return Got("ok")


@op(arguments.GuestRead)
async def guest_read(rig: Rig, t: Task, step: Step, args: arguments.GuestRead) -> Got:
    return await _read(rig, t, rig.vcpu(step.actor), args.gpa, args.len, args.access)


@op(arguments.GuestWrite)
async def guest_write(rig: Rig, t: Task, step: Step, args: arguments.GuestWrite) -> Got:
    vcpu = rig.vcpu(step.actor)
    return await _write(rig, t, vcpu, args.gpa, args.len, args.access, args.value)


@op(arguments.GuestReadLoop)
async def guest_read_loop(rig: Rig, t: Task, step: Step, args: arguments.GuestReadLoop) -> Got:
    vcpu = rig.vcpu(step.actor)
    once = partial(_read, rig, t, vcpu, args.gpa, args.len, args.access)
    return await _loop(rig, t, once, args.count, "reading")


@op(arguments.GuestWriteLoop)
async def guest_write_loop(rig: Rig, t: Task, step: Step, args: arguments.GuestWriteLoop) -> Got:
    once = partial(_write, rig, t, rig.vcpu(step.actor), args.gpa, args.len, args.access, args.value)
    return await _loop(rig, t, once, args.count, "writing")


async def _loop(rig: Rig, t: Task, once: Callable[[], Awaitable[Got]], count: int | None, doing: str) -> Got:
    """Until an access leaves the guest; a loop without a count that is never disturbed is cut off and says so."""
    rounds = 0
    while True:
        for _ in range(_UNDISTURBED):
            got = await once()
            rounds += 1
            if rounds == 1:
                rig.others.went_round(t)
            if got.result not in ("value", "ok") or rounds == count:
                return got
        if count is None and not await rig.others.progress(t):
            return Got(f"still {doing}")


@op(arguments.Resume)
async def resume(rig: Rig, t: Task, step: Step, args: arguments.Resume) -> Got:
    access = rig.pending.pop(step.actor, None)
    if access is None:
        raise Unsupported(f"{step.actor} left no access to complete")
    got = await access()
    # The access completes inside the guest: that it read something is all that userspace learns.
    return Got("ok", None, got.more) if got.result == "value" else got


@op(arguments.MapGpa)
async def map_gpa(rig: Rig, t: Task, step: Step, args: arguments.MapGpa) -> Got:
    """KVM_HC_MAP_GPA_RANGE: leaves to userspace as it is; converting is a step of its own."""
    return Got("exit_hypercall", None, {"gpa": args.gpa, "len": args.len, "to": args.to})


@op(arguments.PreFault)
async def pre_fault(rig: Rig, t: Task, step: Step, args: arguments.PreFault) -> Got:
    if args.bad_argument_pointer:
        return Got("EFAULT")
    vcpu = rig.vcpu(step.actor)
    gpa, size = args.gpa, args.size
    rig.bounded(size if size % PAGE == 0 else 0)
    until_done = step.expect.get("loop_until") == "done"
    while True:
        ret, gpa_now, left = await rig.kernel.kvm_vcpu_pre_fault_memory(t, vcpu, gpa, size, args.flags)
        shrank = left < size
        gpa, size = gpa_now, left
        if not (until_done and size and (ret == 0 or ret in (-4, -11))):
            break
    more = {"remaining_size": size, "remaining_gpa": gpa, "shrank": shrank}
    return Got(from_errno(ret).result, None, more)
