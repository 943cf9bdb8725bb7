"""Which outcome a silent step of a fault must have: sequence, attribute, page tables, mmu_lock."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..actors.inode import GmemInode
    from ..actors.vm import Vm
    from ..engine.op import Op
    from .attempt import Attempt
    from .thread import Thread

_OK: tuple[bool, str] = (True, "")


class FaultOutcomes:
    """Retries and the kinds of memory that faults see."""

    attempt: Attempt
    vm: Vm
    inode: GmemInode

    @abstractmethod
    def _stale(self, thread: Thread) -> bool:
        """Whether the fault's roots are obsolete."""

    def _late_retry(self, thread: Thread) -> bool:
        """Whether the fault is retried after its page was found."""
        plan = thread.future.plan()
        if plan.early_retry and plan.faultin_ret is None:
            return thread.private is False and thread.ranges > 0
        return plan.late_retry

    def _sequence(self, thread: Thread, op: Op) -> tuple[bool, str]:
        vm = self.vm
        if op.kind != "load":
            return _OK
        plan = thread.future.plan()
        if plan.ret is None:
            return _OK
        ranged = bool(vm.in_progress) and vm.range_start <= thread.gfn < vm.range_end
        if vm.mmu_lock.read_held(thread.task):
            retry = self._would_retry(thread)
            if retry == (not plan.mapped):
                return _OK
            return False, "would retry here" if retry else "would not retry here"
        if op is vm.load_seq and thread.ranges == 0:
            if plan.mapped and plan.ends_before is not None and vm.seq < plan.ends_before:
                return False, "reads an invalidation sequence that is too old"
            if ranged and not (plan.early_retry or plan.memory_fault):
                # The check that follows must pass, so the snapshot was taken outside the invalidation of this gfn.
                return False, "would retry here"
            return _OK
        if op is vm.load_range:
            retry = ranged or vm.seq != thread.snapshot
            first = thread.ranges == 0
        else:
            retry = vm.seq != thread.snapshot
            first = thread.ranges == 1
        wanted = self._unsafe_retry_wanted(thread, first)
        if wanted is None or wanted == retry:
            return _OK
        return False, "would retry here" if retry else "would not retry here"

    def _unsafe_retry_wanted(self, thread: Thread, first: bool) -> bool | None:
        plan = thread.future.plan()
        if first:
            if plan.early_retry and not plan.memory_fault:
                return True if thread.private in (None, True) or plan.faultin_ret is None else None
            return False
        if plan.faultin_ret is None:
            # Not probed: a late retry may be seen here or under mmu_lock.
            return self._late_retry(thread)
        return plan.faultin_ret == 1

    def _file_count(self, thread: Thread, op: Op) -> tuple[bool, str]:
        """References of the file: a fault that shows -EFAULT of get_pfn finds none, and a release drops the last."""
        count = self.attempt.setup.gmem.count.value
        if thread.call is not None and thread.call.kind == "release":
            return _OK if count == 1 else (False, "does not drop the last reference of the file")
        plan = thread.future.plan()
        if thread.has_file or thread.call is None or not plan.get_pfn or plan.ret is None:
            return _OK
        if plan.file_gone:
            return _OK if count == 0 else (False, "finds the file open")
        return _OK if count else (False, "finds the file closed")

    def _attribute_is_late(self, thread: Thread) -> bool:
        """Whether the first look-up of the gfn's kind is left to the last moment.

        By default it is for a fault that is retried early, and is not for one that ends in a memory-fault exit: the
        trace shows neither kind.
        """
        plan = thread.future.plan()
        if thread.private is not None or not (plan.early_retry or plan.memory_fault):
            return False
        turned = self._turned(thread)
        return turned == 2 or plan.early_retry != bool(turned)

    def _turned(self, thread: Thread) -> int:
        return 0 if thread.call is None else self.attempt.turned.get((thread.name, thread.call.first), 0)

    def _kind_in_progress(self, gfn: int) -> bool | None:
        """The kind that a conversion under way gives `gfn`, or None."""
        for other in self.attempt.threads.values():
            call = other.call
            if call is not None and call.kind == "set_attributes" and call.args[0] <= gfn < call.args[1]:
                return bool(call.args[2])
        return None

    def suspect(self, thread: Thread, why: str) -> tuple[str, int] | None:
        """The fault to try the other way round, if a misplaced first look-up can be why it does not fit."""
        if not self.attempt.trace.sw_protected or thread.call is None or thread.call.kind != "fault":
            return None
        plan = thread.future.plan()
        if plan.early_retry or plan.memory_fault:
            return thread.name, thread.call.first
        return None

    def _attribute(self, thread: Thread, op: Op) -> tuple[bool, str]:
        if op.kind != "load":
            return _OK
        private = op.lo in self.vm.attributes
        plan = thread.future.plan()
        if thread.private is not None:
            if plan.memory_fault:
                return (True, "") if private != thread.private else (False, "sees no change of kind")
            return (True, "") if private == thread.private else (False, "sees a change of kind")
        if plan.ret is None or plan.early_retry or plan.memory_fault:
            if self._turned(thread) == 2 and self._kind_in_progress(op.lo) not in (None, private):
                return False, "sees a change of kind that is still to come"
            return _OK
        if private == plan.get_pfn:
            return _OK
        return False, f"sees gfn {op.lo:#x} {'private' if private else 'shared'}"

    def _spte(self, thread: Thread, op: Op) -> tuple[bool, str]:
        if not thread.future.name_is_next("map_ret"):
            return _OK
        result = thread.future.plan().map_ret
        present = thread.gfn in self.vm.stage2.root(bool(thread.private))
        if op.kind == "load":
            if result == 6 and not present:
                return False, f"finds gfn {thread.gfn:#x} not mapped"
            if result in (1, 5) and present and self.attempt.release.spurious_if_allowed:
                return False, f"finds gfn {thread.gfn:#x} mapped already"
            return _OK
        if op.kind == "rmw" and result == 1 and not present:
            return False, "wins the race for the entry"
        if op.kind == "rmw" and result == 5 and present:
            return False, "loses the race for the entry"
        return _OK

    def _reads_entry_early(self, thread: Thread, op: Op) -> bool:
        """Whether a read of a page-table entry is taken as soon as it can be, not just before the result shows.

        A fault that lost a race read early. Where two faults on one gfn both end FIXED (before 6.13), the second one
        found the first one's entry, so it read late. At the start of a zap it is not known yet whether it breaks.
        """
        if not thread.future.name_is_next("map_ret"):
            return False
        result = thread.future.plan().map_ret
        if op.obj == self.vm.table_label:
            return result == 1
        return result == 1 or self.attempt.release.spurious_if_allowed

    def _tables(self, thread: Thread, op: Op) -> tuple[bool, str]:
        """A page-table page is linked by whoever does it first; a retry of the map may be the loser's."""
        if not thread.future.name_is_next("map_ret") or op.kind != "rmw":
            return _OK
        lost = any((level, op.lo >> 9 * (level - 1)) in self.vm.stage2.tables(bool(thread.private))
                   for level in (2, 3, 4) if op.hi - op.lo == 1 << 9 * (level - 1))  # fmt: skip
        wanted = thread.future.plan().map_ret == 1
        if wanted == lost:
            return _OK
        return False, f"{'loses' if lost else 'wins'} the race to link a page table for gfn {thread.gfn:#x}"

    def _mmu_lock(self, thread: Thread, op: Op) -> tuple[bool, str]:
        if op.kind != "acquire":
            return _OK
        lock = self.vm.mmu_lock
        holders = tuple(lock.holders())
        if lock.writer is not None or (op.mode == "w" and holders):
            return False, f"waits for mmu_lock, held by {', '.join(holders)}"
        if op.mode == "r":
            plan = thread.future.plan()
            if self._late_retry(thread) and plan.ret is not None and not self._would_retry(thread):
                return False, "would not retry under mmu_lock"
        return _OK

    def _would_retry(self, thread: Thread) -> bool:
        vm = self.vm
        ranged = bool(vm.in_progress) and vm.range_start <= thread.gfn < vm.range_end
        return ranged or vm.seq != thread.snapshot or self._stale(thread)

    def _eager_mmu_lock(self, thread: Thread, op: Op) -> bool | None:
        """A fault that is retried under mmu_lock goes in as soon as it would be; everybody else waits its turn."""
        if op.mode == "r" and op.kind == "acquire":
            plan = thread.future.plan()
            if self._late_retry(thread) and not plan.mapped:
                return True if self._mmu_lock(thread, op)[0] else None
        return False
