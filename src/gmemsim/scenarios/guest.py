"""Guest accesses, and what the VMM and the guest's own handlers do about those that do not go through."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ..actors.errno import EAGAIN, EFAULT, EINTR, EINVAL, errno_name
from ..actors.stage2 import PG_LEVEL_2M, level_pages
from ..actors.vcpu_run import GuestResult
from ..arch.memory import ZERO
from ..patches.inplace_v8 import InplaceV8
from .inplace import convert_files
from .units import PAGE

if TYPE_CHECKING:
    from ..actors.kernel import Kernel
    from ..actors.vm import Vm
    from ..engine.task import Task
    from .thread import Thread

#: So many exits of one access in a row, and it is given up: whatever the VMM does, it does not help.
EXIT_LIMIT: Final = 64


class Accessed(NamedTuple):
    """How a guest access ended.

    Attributes:
        outcome, value: `ok` and what was read or written; or why it was given up.
        done: how it came back the last time.
    """

    outcome: str
    value: str
    done: GuestResult


async def access(thread: Thread, t: Task, gfn: int, private: bool | None, write: str | None) -> Accessed:
    """One guest load (`write` None) or store until it completes or is given up.

    A memory-fault exit goes to the VMM, which acts on its policy. An exception goes to the guest, which accepts the
    page if it does so then, or again if it is of the tolerant kind.
    """
    vcpu = thread.vcpu
    assert vcpu is not None
    if refused := _refused(thread, t):
        return Accessed(errno_name(refused), "", GuestResult("error", errno=refused))
    done: GuestResult | None = None
    again = False
    for _ in range(EXIT_LIMIT):
        kind = guest_kind(thread, t, gfn, private)
        if kind and (again or thread.must_accept(gfn)):
            done = await accept_page(thread, t, gfn, again)
            again = False
            if done is None:
                continue
        else:
            done = await thread.kernel.guest_access(t, vcpu, gfn, kind, write)
            thread.results.faults += done.faults
            if done.kind == "ok":
                return Accessed("ok", done.value, done)
            if done.kind == "exception" and thread.vmm.accept in ("tolerant", "on_exception"):
                thread.results.exits["exception"] += 1
                again = thread.vmm.accept == "tolerant"
                if again:
                    continue
                done = await accept_met(thread, t, gfn, kind)
                if done is None:
                    continue
        if done.kind == "exit_memory_fault":
            thread.results.exits["memory_fault"] += 1
            if await answer_exit(thread, t, gfn, done.private, done.errno):
                continue
            outcome = "exit_memory_fault" if done.errno == EFAULT else errno_name(done.errno)
            return Accessed(outcome, "", done)
        thread.results.exits[done.kind.removeprefix("exit_")] += 1
        if done.kind in ("dead", "error", "exit_fail_entry"):
            thread.results.stopped = done.kind
        return Accessed(errno_name(done.errno) if done.kind == "error" else done.kind, "", done)
    return Accessed("exit_loop", "", done or GuestResult("exit_loop"))


def _refused(thread: Thread, t: Task) -> int:
    """What KVM_RUN says before it enters the guest at all: 0 or an errno."""
    if t.signal_pending:
        return EINTR
    # tdx_vcpu_pre_run
    return EINVAL if thread.vm.stage2.mirrored and not thread.vmm.vcpus_initialized else 0


async def run_refused(thread: Thread, t: Task) -> str:
    """How KVM_RUN ends before the guest can execute what leaves to the VMM by itself (a hypercall): empty if it can."""
    vcpu, kernel = thread.vcpu, thread.kernel
    if vcpu is None:
        return ""
    if refused := _refused(thread, t):
        return errno_name(refused)
    locked = await kernel.vcpu_ioctl_lock(t, vcpu)
    early = GuestResult("dead") if vcpu.vm.dead else kernel.kvm_x86_vcpu_pre_run(vcpu)
    if locked:
        await vcpu.mutex.unlock(t)
    if early is None:
        return ""
    thread.results.stopped = early.kind
    return errno_name(early.errno) if early.kind == "error" else early.kind


async def accept_met(thread: Thread, t: Task, gfn: int, kind: bool | None) -> GuestResult | None:
    """A page that hardware says is not accepted: the guest does it, and clears the page: None, or what prevented it.

    PVALIDATE leaves what is there, which the host wrote with another key. TDX zeroes the page itself.
    """
    assert thread.vcpu is not None
    done = await ask_hardware(thread, t, gfn, 1)
    if done.kind == "ok" and thread.vm.arch.rmp_faults:
        done = await thread.kernel.guest_access(t, thread.vcpu, gfn, kind, ZERO)
    return None if done.kind == "ok" else done


async def accept_page(thread: Thread, t: Task, gfn: int, again: bool) -> GuestResult | None:
    """Make a private page usable, unless another vCPU is at it: None, or the result that prevented it."""
    assert thread.vcpu is not None
    book = thread.session.machine.accepted[thread.actor.vm]
    if not await book.claim(t, gfn, again):
        return None
    done = await ask_hardware(thread, t, gfn, 1)
    book.settle(t, gfn, done.kind == "ok")
    return None if done.kind == "ok" else done


async def ask_hardware(thread: Thread, t: Task, gfn: int, level: int) -> GuestResult:
    """PVALIDATE or ACCEPT until it is not busy."""
    assert thread.vcpu is not None
    while True:
        done = await (
            thread.kernel.guest_accept(t, thread.vcpu, gfn, level)
            if level > 1
            else thread.kernel.guest_accept(t, thread.vcpu, gfn)
        )
        thread.results.faults += done.faults
        if done.kind != "ok" or done.value != "busy":
            return done
        await t.spend(thread.kernel.costs.busy_retry)


async def accept_large(thread: Thread, t: Task, start: int) -> GuestResult | None:
    """The same for the 2 MiB at `start`: at once if nobody has any of it and hardware has it whole, else by page."""
    book = thread.session.machine.accepted[thread.actor.vm]
    end = start + level_pages(PG_LEVEL_2M)
    if await book.claim_all(t, start, end):
        done = await ask_hardware(thread, t, start, PG_LEVEL_2M)
        whole = done.kind == "ok" and done.value != "size_mismatch"
        for gfn in range(start, end):
            book.settle(t, gfn, whole)
        if whole:
            return None
        if done.kind != "ok":
            return done
    for gfn in range(start, end):
        failed = await accept_page(thread, t, gfn, False)
        if failed is not None:
            return failed
    return None


def guest_kind(thread: Thread, t: Task, gfn: int, private: bool | None) -> bool | None:
    """The kind of an access: None where hardware has no bit for it, else as asked, else what the guest knows.

    The guest is taken to know the present state: how it learns of conversions is outside the model. Of memslots it
    knows nothing: while one is away, its memory is of the kind that it was.
    """
    if not thread.vm.arch.hardware_private:
        return None
    if private is not None:
        return private
    kernel = thread.kernel
    if kernel.in_place and isinstance(kernel, InplaceV8):
        for slot in thread.machine.workload.tables.slots.values():
            file = None if slot.file is None else thread.machine.files.get(slot.file)
            if slot.vm == thread.vm.label and slot.gfn <= gfn < slot.gfn + slot.pages and file is not None:
                return kernel.gmem_attr_value(file.inode, gfn - slot.gfn + slot.start)
    return kernel.gfn_is_private(thread.vm, gfn)


async def answer_exit(thread: Thread, t: Task, gfn: int, private: bool, errno: int) -> bool:
    """KVM_EXIT_MEMORY_FAULT in the VMM, on the vCPU's own thread: whether to re-enter the guest.

    Errors other than -EFAULT are nothing that a conversion could help: the access is given up.
    """
    policy = thread.vmm.on_memory_fault
    if policy == "stop":
        thread.results.stopped = "memory_fault"
        return False
    if errno != EFAULT:
        return False
    await t.spend(thread.kernel.costs.syscall)
    if policy == "convert" and thread.kernel.gfn_is_private(thread.vm, gfn) != private:
        # Somebody uses the page (in place only): the guest comes back, and so does the exit.
        return await convert(thread.kernel, t, thread.vm, gfn, gfn + 1, private) in (0, EAGAIN)
    return True


async def convert(kernel: Kernel, t: Task, vm: Vm, start: int, end: int, private: bool) -> int:
    """Make guest frames [start, end) private or shared, with the call that the patch version has for it."""
    if kernel.in_place:
        return await convert_files(kernel, t, vm, start, end, private)
    return await kernel.kvm_vm_ioctl_set_mem_attributes(t, vm, start * PAGE, (end - start) * PAGE, private)
