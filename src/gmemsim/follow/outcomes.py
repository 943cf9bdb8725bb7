"""Which outcome a silent step must have, and whether the model would give it now.

`ready` is asked when the thread's next event is due (and of helpers): may this step be taken now? `eager` is asked
right after an event: should it be taken already? A verdict of None means "not with this outcome: ask again when the
object changes".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .outcomes_faults import FaultOutcomes
from .outcomes_page_cache import PageCacheOutcomes
from .outcomes_slots import SlotOutcomes

if TYPE_CHECKING:
    from ..actors.vm import Vm
    from ..engine.op import Op
    from .attempt import Attempt
    from .thread import Thread

#: Waited for by steps whose place the next fault of others tells.
FAULT_ENDS: Final = "tdp_fault_ret"

_OK: tuple[bool, str] = (True, "")


class Outcomes(SlotOutcomes, PageCacheOutcomes, FaultOutcomes):
    """Outcome rules for one attempt."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.vm: Vm = attempt.setup.vm
        self.inode = attempt.setup.gmem.inode
        self.frames = attempt.frames
        inode, vm = self.inode, self.vm
        self._rules = {
            inode.label: self._page_cache,
            inode.lock_label: self._folio_lock,
            f"{inode.label}.mapcount": self._mapcount,
            vm.load_seq.obj: self._sequence,
            vm.attr_label: self._attribute,
            vm.spte_label: self._spte,
            vm.table_label: self._tables,
            vm.mmu_lock.label: self._mmu_lock,
        }
        self.count = attempt.setup.gmem.count
        # Steps of no consequence for the order: references, bindings, SRCU.
        self._free = frozenset(
            {vm.srcu.label, inode.ref_label, f"{attempt.setup.gmem.label}.bindings", vm.slots_arch_lock.label}
        )
        if attempt.last_use >= 0:
            self._rules[self.count.label] = self._file_count
        else:
            self._free |= {self.count.label}
        if "set_region" in attempt.trace.probed:
            self._rules[vm.load_slots.obj] = self._slots
        else:
            self._free |= {vm.load_slots.obj}
        self._lock_events: dict[int, list[tuple[int, str]]] = {}
        for step in attempt.trace.steps:
            if step.name in ("filemap_get_ret", "folio_unlock") and isinstance(step.observation.a, int):
                self._lock_events.setdefault(step.observation.a, []).append((step.position, step.thread))
        self._sleeping = {
            lock.label: lock
            for lock in (inode.invalidate_lock, inode.i_mmap_rwsem, attempt.setup.process.mmap_lock)
        }

    def ready(self, thread: Thread, op: Op) -> tuple[bool, str]:
        """Whether `op` may be taken now, and if not, what stands in the way."""
        rule = self._rules.get(op.obj)
        if rule is not None:
            return rule(thread, op)
        if op.obj == self.vm.srcu.label and op.kind == "wait":
            return self._grace_period(thread)
        lock = self._sleeping.get(op.obj)
        if lock is not None and op.kind == "acquire":
            holders = tuple(lock.holders())
            if not holders or (
                op.mode == "r" and not any(lock.write_held(x.task) for x in self.attempt.threads.values())
            ):
                return _OK
            return False, f"waits for {op.obj}, held by {', '.join(holders)}"
        if op.obj == self.vm.slots_lock.label and op.kind == "acquire":
            return self._slots_lock(thread)
        return _OK

    def _slots_lock(self, thread: Thread) -> tuple[bool, str]:
        holders = tuple(self.vm.slots_lock.holders())
        if holders:
            return False, f"waits for slots_lock, held by {', '.join(holders)}"
        call = thread.call
        if call is None or call.kind != "set_attributes" or len(call.args) != 3:
            return _OK
        start, end, private = call.args
        nothing = all((gfn in self.vm.attributes) == bool(private) for gfn in range(start, end))
        if "set_attributes" in thread.future.probed and nothing == thread.future.name_is_next(
            "set_attributes_pre"
        ):
            return False, "would change nothing here" if nothing else "would change attributes here"
        return _OK

    def _eager_slots_lock(self, thread: Thread) -> bool | None:
        """A conversion that changes nothing shows nothing: it is over as soon as that is so."""
        if (
            thread.call is None
            or thread.call.kind != "set_attributes"
            or thread.future.name_is_next("set_attributes_pre")
        ):
            return False
        return True if self._slots_lock(thread)[0] else None

    def eager(self, thread: Thread, op: Op) -> bool | None:
        """True: take it now; False: put it off; None: not yet, ask again when `op.obj` changes."""
        if op.kind == "call":
            return False
        if op.obj == self.vm.srcu.label and op.kind == "wait":
            return True if self._grace_period(thread)[0] else None
        if op.obj in self._free:
            return True
        if op.obj == self.count.label:
            if self.attempt.can_be_last(thread) and not self.attempt.is_last():
                return None
            return True if self.ready(thread, op)[0] else None
        if op is self.vm.store_slots or self._binds(thread, op):
            return True if self._publishes_early() and self.ready(thread, op)[0] else None
        if op.obj == self.vm.mmu_lock.label:
            return self._eager_mmu_lock(thread, op)
        if op.obj == self.vm.slots_lock.label and op.kind == "acquire":
            return self._eager_slots_lock(thread)
        if op.obj == self.inode.lock_label and op.kind in ("acquire", "release"):
            return self._eager_folio_lock(thread, op)
        if op.kind == "try":
            return True if self.ready(thread, op)[0] else None
        if op.kind != "load":
            return False
        if op.obj == self.vm.attr_label and self._attribute_is_late(thread):
            return False
        if op.obj in (self.vm.spte_label, self.vm.table_label) and not self._reads_entry_early(thread, op):
            return False
        if op.obj not in self._rules:
            return True
        return True if self.ready(thread, op)[0] else None

    def depends_on(self, op: Op) -> tuple[str, ...]:
        """Objects whose change may make `op` ready."""
        if op.obj == self.inode.label:
            return op.obj, self.inode.lock_label
        if op is self.vm.load_slots:
            return op.obj, self.vm.spte_label
        if op.obj == self.vm.slots_lock.label:
            return op.obj, self.vm.attr_label
        if op is self.vm.store_slots or op.kind in ("acquire", "release"):
            return op.obj, FAULT_ENDS
        return (op.obj,)

    def soft(self, thread: Thread, op: Op) -> bool:
        """Whether a step may be taken with the other outcome too, because a later one can still explain the trace."""
        plan = thread.future.plan()
        if op.obj == self.vm.table_label:
            return plan.map_ret == 1
        if op.obj == self.inode.label and thread.waits_for_folios and op.hi - op.lo > 1:
            return True
        if op.obj != self.vm.load_seq.obj or plan.faultin_ret is not None:
            return False
        if thread.ranges == 0:
            # Host memory shows no get_pfn, so what looks like an early retry may be a late one.
            return op is self.vm.load_range and plan.early_retry and thread.private is False
        # Not seen by the unlocked check: the one under mmu_lock will see it.
        return self._late_retry(thread)

    def before(self, thread: Thread, op: Op) -> None:
        """Note what a step about to be taken reads, where a later want depends on it."""
        vm = self.vm
        if op is vm.load_slots:
            thread.generation = vm.root_generation
        elif op.obj == self.count.label:
            thread.has_file = not thread.has_file and self.count.value > 0
        elif op is vm.load_range:
            thread.ranges += 1
        elif op is vm.load_seq and not vm.mmu_lock.read_held(thread.task):
            if thread.ranges == 0:
                thread.snapshot = vm.seq
        elif op.obj == vm.attr_label and op.kind == "load":
            if thread.private is None:
                thread.private = op.lo in vm.attributes
        elif op.kind == "call":
            thread.private = None
            thread.ranges = 0
