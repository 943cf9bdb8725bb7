"""Which outcome a silent step must have, and whether the model would give it now.

`ready` is asked when the thread's next event is due (and of helpers): may this step be taken now? `eager` is asked
right after an event: should it be taken already? A verdict of None means "not with this outcome: ask again when the
object changes".
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from ..engine.locks.folio_lock import FolioLock

if TYPE_CHECKING:
    from ..actors.inode import GmemInode
    from ..actors.vm import Vm
    from ..engine.op import Op
    from ..engine.task import Task, Waitable
    from .follower import Follower, Thread

__all__ = ["Wants"]

_OK: tuple[bool, str] = (True, "")


class Wants:
    """Outcome rules for one follower."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.vm: Vm = follower.setup.vm
        self.inode = follower.setup.gmem.inode
        self.frames = follower.frames
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
        # Steps of no consequence for the order: references, slot look-ups, SRCU.
        self._free = frozenset(
            {vm.load_slots.obj, vm.srcu.label, inode.ref_label, f"{follower.setup.gmem.label}.f_count",
             f"{follower.setup.gmem.label}.bindings"}
        )  # fmt: skip
        self._lock_events: dict[int, list[tuple[int, str]]] = {}
        for step in follower.trace.steps:
            if step.name in ("filemap_get_ret", "folio_unlock") and isinstance(step.observation.a, int):
                self._lock_events.setdefault(step.observation.a, []).append((step.position, step.thread))
        self._sleeping = {
            lock.label: lock
            for lock in (inode.invalidate_lock, inode.i_mmap_rwsem, follower.setup.process.mmap_lock)
        }

    def ready(self, thread: Thread, op: Op) -> tuple[bool, str]:
        """Whether `op` may be taken now, and if not, what stands in the way."""
        rule = self._rules.get(op.obj)
        if rule is not None:
            return rule(thread, op)
        lock = self._sleeping.get(op.obj)
        if lock is not None and op.kind == "acquire":
            holders = tuple(lock.holders())
            if not holders or (
                op.mode == "r" and not any(lock.write_held(x.task) for x in self.follower.threads.values())
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
        if op.obj in self._free:
            return True
        if op.obj == self.vm.mmu_lock.label:
            return self._eager_mmu_lock(thread, op)
        if op.obj == self.vm.slots_lock.label and op.kind == "acquire":
            return self._eager_slots_lock(thread)
        if op.obj == self.inode.lock_label and op.kind in ("acquire", "release"):
            return self._eager_folio_lock(thread, op)
        if op.kind != "load":
            return (
                True
                if op.kind == "try" and self.ready(thread, op)[0]
                else (None if op.kind == "try" else False)
            )
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
        if op.obj == self.vm.slots_lock.label:
            return op.obj, self.vm.attr_label
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

    def _late_retry(self, thread: Thread) -> bool:
        """Whether the fault is retried after its page was found."""
        plan = thread.future.plan()
        if plan.early_retry and plan.faultin_ret is None:
            return thread.private is False and thread.ranges > 0
        return plan.late_retry

    def before(self, thread: Thread, op: Op) -> None:
        """Note what a step about to be taken reads, where a later want depends on it."""
        vm = self.vm
        if op is vm.load_range:
            thread.ranges += 1
        elif op is vm.load_seq and not vm.mmu_lock.read_held(thread.task):
            if thread.ranges == 0:
                thread.snapshot = vm.seq
        elif op.obj == vm.attr_label and op.kind == "load":
            if thread.private is None:
                thread.private = op.lo in vm.attributes
        elif op.kind == "call" or (op is vm.load_slots):
            thread.private = None
            thread.ranges = 0

    # -- page cache ----------------------------------------------------------------------------

    def _page_cache(self, thread: Thread, op: Op) -> tuple[bool, str]:
        folios = self.inode.folios
        if op.kind == "rmw":
            if op.hi - op.lo == 1 and thread.future.name_is_next("page_cache_add", "filemap_add_ret"):
                exists = thread.future.add_exists()
                present = op.lo in folios
                if exists is None or exists == present:
                    return _OK
                return False, f"finds index {op.lo} {'taken' if present else 'free'} when it inserts"
            return _OK
        if (thread.truncating and op.hi - op.lo != 1) or self._is_scan(thread):
            return self._scan(thread, op)
        wanted = thread.future.lookup(create=False)
        folio = folios.get(op.lo)
        if thread.future.waits_for_folio():
            ok = folio is not None and folio.lock.owner not in (None, thread.task)
            return (True, "") if ok else (False, f"finds index {op.lo} not locked by anybody")
        if wanted is None:
            return _OK
        if wanted < 0:
            return (True, "") if folio is None else (False, f"finds index {op.lo} in the page cache")
        if folio is None:
            return False, f"does not find index {op.lo} in the page cache"
        if self.frames.real(folio.pfn) != wanted:
            return False, f"finds another folio at index {op.lo}"
        return _OK

    def _is_scan(self, thread: Thread) -> bool:
        """Truncation's own look-ups of the edges are preceded by a filemap_get event; its scans are not."""
        if not thread.truncating:
            return False
        future = thread.future
        last = future.steps[future.cursor - 1] if future.cursor else None
        while last is not None and last.name in ("io_sched", "folio_lock_slow") and last.number:
            last = future.steps[last.number - 1]
        return last is None or last.name != "filemap_get"

    def _scan(self, thread: Thread, op: Op) -> tuple[bool, str]:
        folios = self.inode.folios
        if op.lo == 0 and op.hi > self.inode.pages:
            # `mapping_empty` at the start: nothing follows but the return.
            empty = thread.future.name_is_next("truncate_ret")
            if empty == (not folios) or (empty and not self._covers_probe(thread)):
                return _OK
            return False, f"finds the page cache {'not ' if folios else ''}empty"
        # A present folio that is not to be removed is a matter of its lock: the try-lock that follows must fail.
        if thread.future.name_is_next("filemap_get"):
            # The last scan of pass 1: whatever it finds must be locked by others.
            return _OK
        wanted = thread.future.batch() or thread.future.deletions()
        rest = next((index for index in wanted if op.lo <= index < op.hi), None)
        if rest is not None:
            if rest not in folios:
                return False, f"does not find index {rest} in the page cache"
            if thread.waits_for_folios:
                coming = set(thread.future.deletions())
                other = next((i for i in range(op.lo, op.hi) if i in folios and i not in coming), None)
                if other is not None:
                    return False, f"finds index {other} to remove"
            return _OK
        if thread.future.name_is_next("truncate_ret"):
            present = next((index for index in range(op.lo, op.hi) if index in folios), None)
            if present is not None:
                return False, f"finds index {present} to remove"
        return _OK

    def _covers_probe(self, thread: Thread) -> bool:
        return "filemap_get" in thread.future.probed

    def _mapcount(self, thread: Thread, op: Op) -> tuple[bool, str]:
        folio = self.inode.folios.get(op.lo)
        if folio is None or _kind_of(thread.name) not in self.follower.locks_shown:
            return _OK
        unmaps = thread.future.name_is_next("down_read")
        if folio.mapcount:
            return _OK if unmaps else (False, f"finds index {op.lo} mapped by the host")
        # An unmap that is to come may be of a later folio of the batch.
        if not unmaps or any(
            i > op.lo and i in folios_mapped(self.inode) for i in thread.future.batch_ahead()
        ):
            return _OK
        return False, f"finds index {op.lo} not mapped by the host"

    def _folio_lock(self, thread: Thread, op: Op) -> tuple[bool, str]:
        folio = self.inode.folios.get(op.lo)
        if op.kind == "acquire":
            lock = self._folio_lock_of(thread)
            if lock is None:
                return _OK
            if lock.owner is not None:
                return False, f"waits for the folio lock of index {op.lo}, held by {lock.owner.name}"
            if (
                folio is not None
                and folio.lock is lock
                and self._locked_by_others_until_due(thread, folio.pfn)
            ):
                return False, f"takes the folio lock of index {op.lo} that others still have"
            return _OK
        if op.kind == "try" and folio is not None:
            wanted = op.lo in thread.future.batch()
            if wanted == (folio.lock.owner is None):
                if wanted and self._locked_by_others_until_due(thread, folio.pfn):
                    return False, f"takes the folio lock of index {op.lo} that others still have"
                return _OK
            return False, f"finds the folio of index {op.lo} {'locked' if wanted else 'unlocked'}"
        return _OK

    def _eager_folio_lock(self, thread: Thread, op: Op) -> bool | None:
        """A folio that left the page cache while we waited for it is given up at once, and looked up anew."""
        lock = self._folio_lock_of(thread)
        folio = self.inode.folios.get(op.lo)
        if lock is None or (folio is not None and folio.lock is lock):
            return None if op.kind == "acquire" else False
        if not thread.looking:
            return False
        return True if op.kind == "release" or lock.owner is None else None

    def _locked_by_others_until_due(self, thread: Thread, pfn: int) -> bool:
        """Whether another thread shows that it holds the folio's lock before `thread` shows anything again."""
        due = thread.future.next_event()
        if due is None:
            return False
        shown = self._lock_events.get(self.frames.real(pfn), [])
        first = bisect_right(shown, (self.follower.position, "~"))
        return any(name != thread.name for position, name in shown[first:] if position < due.position)

    def holders(self, thread: Thread, op: Op) -> list[Task]:
        """Tasks that hold the lock which `op` is about to take."""
        if op.obj == self.inode.lock_label:
            lock = self._folio_lock_of(thread)
            return [] if lock is None or lock.owner is None else [lock.owner]
        locks: dict[str, Waitable] = {**self._sleeping}
        for lock_of_vm in (self.vm.mmu_lock, self.vm.slots_lock):
            locks[lock_of_vm.label] = lock_of_vm
        found = locks.get(op.obj)
        names = set(found.holders()) if found is not None else set()
        return [other.task for other in self.follower.threads.values() if other.task.name in names]

    @staticmethod
    def _folio_lock_of(thread: Thread) -> FolioLock | None:
        """The lock that the task is about to take. Its folio may have left the page cache, so the task is asked."""
        coro = thread.task.handle
        while coro is not None:
            frame = getattr(coro, "cr_frame", None)
            lock = None if frame is None else frame.f_locals.get("self")
            if isinstance(lock, FolioLock):
                return lock
            coro = getattr(coro, "cr_await", None)
        return None

    # -- faults --------------------------------------------------------------------------------

    def _sequence(self, thread: Thread, op: Op) -> tuple[bool, str]:
        vm = self.vm
        if op.kind != "load":
            return _OK
        plan = thread.future.plan()
        if plan.ret is None:
            return _OK
        ranged = bool(vm.in_progress) and vm.range_start <= thread.gfn < vm.range_end
        if vm.mmu_lock.read_held(thread.task):
            retry = ranged or vm.seq != thread.snapshot
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
        return 0 if thread.call is None else self.follower.turned.get((thread.name, thread.call.first), 0)

    def _kind_in_progress(self, gfn: int) -> bool | None:
        """The kind that a conversion under way gives `gfn`, or None."""
        for other in self.follower.threads.values():
            call = other.call
            if call is not None and call.kind == "set_attributes" and call.args[0] <= gfn < call.args[1]:
                return bool(call.args[2])
        return None

    def suspect(self, thread: Thread, why: str) -> tuple[str, int] | None:
        """The fault to try the other way round, if a misplaced first look-up can be why it does not fit."""
        if not self.follower.trace.sw_protected or thread.call is None or thread.call.kind != "fault":
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
            if result in (1, 5) and present and self.follower.release.spurious_if_allowed:
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
        return result == 1 or self.follower.release.spurious_if_allowed

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

    # -- mmu_lock ------------------------------------------------------------------------------

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
        return ranged or vm.seq != thread.snapshot

    def _eager_mmu_lock(self, thread: Thread, op: Op) -> bool | None:
        """A fault that is retried under mmu_lock goes in as soon as it would be; everybody else waits its turn."""
        if op.mode == "r" and op.kind == "acquire":
            plan = thread.future.plan()
            if self._late_retry(thread) and not plan.mapped:
                return True if self._mmu_lock(thread, op)[0] else None
        return False


def folios_mapped(inode: GmemInode) -> set[int]:
    """Indices whose folio the host has mapped."""
    return {index for index, folio in inode.folios.items() if folio.mapcount}


def _kind_of(thread: str) -> str:
    return thread.rpartition("-")[0].rstrip("0123456789")
