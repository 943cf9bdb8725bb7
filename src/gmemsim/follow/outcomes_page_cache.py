"""Which outcome a silent step on the page cache, a map count or a folio lock must have."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from ..engine.locks.folio_lock import FolioLock
from ..engine.op import ALL
from .thread import kind_of

if TYPE_CHECKING:
    from ..actors.inode import GmemInode
    from ..actors.vm import Vm
    from ..engine.locks.rwsem import RwSem
    from ..engine.op import Op
    from ..engine.task import Task, Waitable
    from .attempt import Attempt
    from .frames import Frames
    from .thread import Thread

_OK: tuple[bool, str] = (True, "")


class PageCacheOutcomes:
    """Look-ups, insertions, removals, and who may have a folio lock."""

    attempt: Attempt
    vm: Vm
    inode: GmemInode
    frames: Frames
    _lock_events: dict[int, list[tuple[int, str]]]
    _sleeping: dict[str, RwSem]

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
        if op.hi == ALL:
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
            if rest not in folios and not thread.future.waits_for_folio():
                # (Before a sleep on a folio that is there, what it removes later need not be.)
                return False, f"does not find index {rest} in the page cache"
            if thread.waits_for_folios:
                coming = set(thread.future.deletions())
                other = min((i for i in folios if op.lo <= i < op.hi and i not in coming), default=None)
                if other is not None:
                    return False, f"finds index {other} to remove"
            return _OK
        if thread.future.name_is_next("truncate_ret"):
            present = min((index for index in folios if op.lo <= index < op.hi), default=None)
            if present is not None:
                return False, f"finds index {present} to remove"
        return _OK

    def _covers_probe(self, thread: Thread) -> bool:
        return "filemap_get" in thread.future.probed

    def _mapcount(self, thread: Thread, op: Op) -> tuple[bool, str]:
        folio = self.inode.folios.get(op.lo)
        if folio is None or kind_of(thread.name) not in self.attempt.locks_shown:
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
        first = bisect_right(shown, (self.attempt.position, "~"))
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
        return [other.task for other in self.attempt.threads.values() if other.task.name in names]

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


def folios_mapped(inode: GmemInode) -> set[int]:
    """Indices whose folio the host has mapped."""
    return {index for index, folio in inode.folios.items() if folio.mapcount}
