"""Which outcome a silent step on the array of memslots must have, where the recording shows its changes.

The ioctl shows its entry and its return. In between it publishes arrays, which shows only in what faults find: the slot
(they ask for the page), its INVALID copy (they retry), or nothing (they end in emulation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.fault import RetPf

if TYPE_CHECKING:
    from ..actors.vm import Vm
    from ..engine.op import Op
    from .attempt import Attempt
    from .lookahead import FaultPlan
    from .thread import Thread

_OK: tuple[bool, str] = (True, "")
_FAULTS = ("fault", "prefault")


class SlotOutcomes:
    """Look-ups of slots, and the grace periods of those who change them."""

    attempt: Attempt
    vm: Vm

    def _slots(self, thread: Thread, op: Op) -> tuple[bool, str]:
        """What a fault finds at its gfn, by how it ends in the trace."""
        call = thread.call
        if op.kind != "load" or call is None or call.kind not in _FAULTS:
            return _OK
        plan = thread.future.plan()
        if plan.mapped and self._roots_go():
            return False, "begins with roots that become obsolete before it maps"
        wanted, found = _found(plan), self._state(call.args[0])
        if wanted in ("", found):
            return _OK
        if (
            wanted == "an INVALID slot"
            and found == "a slot"
            and (self.vm.in_progress or not self._changing())
        ):
            # A fault retries for the sake of an invalidation, too.
            return _OK
        return False, f"finds {found} at gfn {call.args[0]:#x}"

    def _binds(self, thread: Thread, op: Op) -> bool:
        """Whether a lock is taken or dropped to bind a new slot, which comes before it is published."""
        call = thread.call
        creates = call is not None and call.kind == "set_region" and call.args[1] > 0
        return creates and op.kind in ("acquire", "release") and op.obj != self.vm.slots_lock.label

    def _state(self, gfn: int) -> str:
        slot = self.vm.slot_of(gfn)
        return "no slot" if slot is None else "an INVALID slot" if slot.invalid else "a slot"

    def _publishes_early(self) -> bool:
        """Whether no fault on the file that is under way, or comes next, shows the array that is to be replaced."""
        first = self.attempt.trace.data_gfn
        for other in self.attempt.threads.values():
            calls = (other.call, *other.calls)
            for call in calls:
                if (
                    call is None
                    or call.kind not in _FAULTS
                    or call.args[0] not in range(first, first + self.attempt.trace.pages)
                ):
                    continue
                if _found(other.future.plan_from(call.first)) == self._state(call.args[0]):
                    return False
                break
        return True

    def _roots_go(self) -> bool:
        """Whether somebody has mmu_lock to make all roots obsolete, so that faults map with new ones only."""
        return any(
            other.call is not None
            and other.call.kind == "set_region"
            and other.task.pending.kind == "rmw"
            and other.task.pending.obj == self.vm.spte_label
            for other in self.attempt.threads.values()
        )

    def _changing(self) -> bool:
        """Whether somebody is in the ioctl."""
        return any(
            other.call is not None and other.call.kind == "set_region"
            for other in self.attempt.threads.values()
        )

    def may_begin(self, op: Op) -> bool:
        """Whether a wait is for a grace period, which others may end, and no sleep on a lock."""
        return op.obj == self.vm.srcu.label

    def _grace_period(self, thread: Thread) -> tuple[bool, str]:
        """`synchronize_srcu` begins at any time, and ends with the last section that was open then."""
        if thread.task.parked_on is None:
            return _OK
        return False, f"waits for the SRCU sections of {', '.join(self.vm.srcu.holders())}"

    def _stale(self, thread: Thread) -> bool:
        """Whether the roots that the fault began with are obsolete (`is_page_fault_stale`)."""
        return thread.generation != self.vm.root_generation


def _found(plan: FaultPlan) -> str:
    """What a fault that ended so had found; empty: the trace does not say."""
    if plan.ret is None:
        return ""
    if plan.get_pfn:
        return "a slot"
    if plan.map_ret == RetPf.EMULATE:
        return "no slot"
    return "an INVALID slot" if plan.early_retry else ""
