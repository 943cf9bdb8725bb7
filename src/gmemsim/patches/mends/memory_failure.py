# mypy: disable-error-code="misc,valid-type,no-any-return"
"""Mends of memory_failure's lock inversion: the hook has the folio locked and asks for the invalidate lock.

`kvm_gmem_error_folio` of 7.3.4 takes the invalidate lock shared for one reason: the bindings, and the list of files,
must be the same at the start and the end of its invalidation. The page cache is none of its business; it truncates
nothing.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from ...actors.errno import EHWPOISON
from ...engine.locks.mutex import Mutex
from ...engine.locks.stats import LockClass
from ...engine.op import Op
from .entry import Mend

if TYPE_CHECKING:
    from ...actors.folio import Folio
    from ...actors.inode import GmemFile, GmemInode
    from ...actors.kernel import Kernel
    from ...actors.memslot import Memslot
    from ...actors.vm import Vm
    from ...arch.base import Content
    from ...engine.task import Task

#: Object of the steps on the queue of the worker below.
_QUEUE: Final = "gmem.error_work"

_INVERSION: Final = (
    "memory-failure-against-punch",
    "memory-failure-allocation-writer",
    "memory-failure-fault-conversion",
    "memory-failure-against-populate",
)

_WORKER_BLIND: Final = (
    "the allocation of the work in the hook, and the VM, whose last reference may be dropped by the worker"
)


def trylock(parent: type[Kernel]) -> type[Kernel]:
    """The hook takes the invalidate lock if it is free; else it answers "delayed", and nothing is zapped."""

    class ErrorTrylock(parent):
        async def kvm_gmem_error_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
            start, end = folio.index, folio.index + folio.pages
            if not await inode.invalidate_lock.down_read_trylock(t):
                return
            await self.kvm_gmem_invalidate_start(t, inode, start, end, self.release_filter(inode))
            await self.kvm_gmem_invalidate_end(t, inode, start, end)
            await inode.invalidate_lock.up_read(t)

    return ErrorTrylock


def bindings_lock(parent: type[Kernel]) -> type[Kernel]:
    """Bindings and the list of files have a mutex of the inode, which is all that the hook takes.

    The order is invalidate lock, folio lock, bindings lock, mmu_lock. Who changes bindings holds both the invalidate
    lock (as before: holes and conversions count on it) and the new one.

    Populate counts on the invalidate lock for more: `kvm_tdp_mmu_map_private_pfn` looks for no invalidation, and
    TDH.MR.EXTEND needs the mapping that was made (TDX of 7.2 and 7.3). So populate holds the new lock over its
    callback, and looks once more whether the page is poisoned. It cannot where the callback faults the page in, as TDX
    to 6.18 does: a fault locks the folio, which the hook has locked while it waits. There the launch stays exposed.
    """

    class BindingsLock(parent):
        def bindings_lock(self, inode: GmemInode) -> Mutex:
            locks: dict[str, Mutex] | None = getattr(self, "_bindings_locks", None)
            if locks is None:
                locks = {}
                self._bindings_locks = locks
            return locks.setdefault(
                inode.label, Mutex(f"{inode.label}.bindings_lock", LockClass("bindings_lock"))
            )

        async def kvm_gmem_error_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
            start, end = folio.index, folio.index + folio.pages
            lock = self.bindings_lock(inode)
            await lock.lock(t)
            await self.kvm_gmem_invalidate_start(t, inode, start, end, self.release_filter(inode))
            await self.kvm_gmem_invalidate_end(t, inode, start, end)
            await lock.unlock(t)

        async def kvm_gmem_store_binding(
            self, t: Task, file: GmemFile, slot: Memslot, start: int, end: int
        ) -> None:
            lock = self.bindings_lock(file.inode)
            await lock.lock(t)
            await super().kvm_gmem_store_binding(t, file, slot, start, end)
            await lock.unlock(t)

        async def kvm_gmem_erase_binding(self, t: Task, file: GmemFile, slot: Memslot) -> None:
            lock = self.bindings_lock(file.inode)
            await lock.lock(t)
            await super().kvm_gmem_erase_binding(t, file, slot)
            await lock.unlock(t)

        async def kvm_gmem_del_file(self, t: Task, file: GmemFile) -> None:
            lock = self.bindings_lock(file.inode)
            await lock.lock(t)
            await super().kvm_gmem_del_file(t, file)
            await lock.unlock(t)

        async def post_populate(self, t: Task, vm: Vm, gfn: int, folio: Folio, content: Content) -> int:
            inode = folio.mapping
            if vm.arch.populate_premaps or inode is None:
                ret: int = await super().post_populate(t, vm, gfn, folio, content)
                return ret
            lock = self.bindings_lock(inode)
            await lock.lock(t)
            # memory_failure sets the bit before it calls the hook, which waits for this lock.
            if t.traps:
                await t.point(Op("load", folio.poison_label, folio.index, folio.index + folio.pages, "r"))
            ret = EHWPOISON if folio.poisoned else await super().post_populate(t, vm, gfn, folio, content)
            await lock.unlock(t)
            return ret

    return BindingsLock


class _Queue:
    """What is handed to the worker: ranges of inodes that it keeps from eviction (`igrab`)."""

    def __init__(self) -> None:
        self.ranges: deque[tuple[GmemInode, int, int]] = deque()
        self.running = False
        self.evicted: dict[str, Vm] = {}
        #: References of inodes, by label.
        self.grabbed: dict[str, int] = {}
        #: Inodes whose eviction has begun (I_FREEING): `igrab` of them fails.
        self.freeing: set[str] = set()


def _with_worker(parent: type[Kernel], *, tries_first: bool) -> type[Kernel]:
    """The invalidation as work of a system workqueue: the lock is taken there, with no folio locked."""

    class ErrorWorker(parent):
        def error_queue(self) -> _Queue:
            queue: _Queue | None = getattr(self, "_error_queue", None)
            if queue is None:
                queue = self._error_queue = _Queue()
            return queue

        async def kvm_gmem_error_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
            start, end = folio.index, folio.index + folio.pages
            if tries_first and await inode.invalidate_lock.down_read_trylock(t):
                await self.kvm_gmem_invalidate_start(t, inode, start, end, self.release_filter(inode))
                await self.kvm_gmem_invalidate_end(t, inode, start, end)
                await inode.invalidate_lock.up_read(t)
                return
            queue = self.error_queue()
            if t.traps:
                await t.point(Op("rmw", _QUEUE))
            # The folio is locked and in the file, so that its inode is there still. If its eviction waits for the
            # folio, igrab fails: the releases of all files have zapped everything, and nothing is left to do.
            if inode.label in queue.freeing:
                return
            queue.grabbed[inode.label] = queue.grabbed.get(inode.label, 0) + 1
            queue.ranges.append((inode, start, end))
            if not queue.running:
                queue.running = True
                t.engine.spawn_worker("error_work", self._error_work)

        async def _error_work(self, t: Task) -> None:
            queue = self.error_queue()
            while True:
                if t.traps:
                    await t.point(Op("rmw", _QUEUE))
                if not queue.ranges:
                    queue.running = False
                    return
                inode, start, end = queue.ranges.popleft()
                await inode.invalidate_lock.down_read(t)
                await self.kvm_gmem_invalidate_start(t, inode, start, end, self.release_filter(inode))
                await self.kvm_gmem_invalidate_end(t, inode, start, end)
                await inode.invalidate_lock.up_read(t)
                await self._iput(t, inode)

        async def _iput(self, t: Task, inode: GmemInode) -> None:
            queue = self.error_queue()
            if t.traps:
                await t.point(Op("rmw", _QUEUE))
            queue.grabbed[inode.label] -= 1
            if not queue.grabbed[inode.label]:
                del queue.grabbed[inode.label]
                vm = queue.evicted.pop(inode.label, None)
                if vm is not None:
                    await self._evict(t, inode, vm)

        async def evict_inode(self, t: Task, inode: GmemInode, vm: Vm) -> None:
            if t.traps:
                await t.point(Op("rmw", _QUEUE))
            queue = self.error_queue()
            if inode.label in queue.grabbed:
                # The worker's is the last reference then.
                queue.evicted[inode.label] = vm
                return
            await self._evict(t, inode, vm)

        async def _evict(self, t: Task, inode: GmemInode, vm: Vm) -> None:
            freeing = self.error_queue().freeing
            freeing.add(inode.label)
            await super().evict_inode(t, inode, vm)
            freeing.discard(inode.label)

    return ErrorWorker


def worker(parent: type[Kernel]) -> type[Kernel]:
    """The hook hands the invalidation to a worker and answers "delayed"."""
    return _with_worker(parent, tries_first=False)


def trylock_worker(parent: type[Kernel]) -> type[Kernel]:
    """A trylock; only where it fails the invalidation is handed to a worker."""
    return _with_worker(parent, tries_first=True)


def drop_folio_lock(parent: type[Kernel]) -> type[Kernel]:
    """memory_failure unlocks the folio around the hook; nothing else pins the file meanwhile."""

    class DropFolioLock(parent):
        async def kvm_gmem_error_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
            await self.folio_unlock(t, folio)
            await super().kvm_gmem_error_folio(t, inode, folio)
            await folio.lock.lock(t)

    return DropFolioLock


MENDS: Final = (
    Mend(
        ident="error-bindings-lock",
        title="a lock of the bindings below the folio lock, which is all that the hook takes",
        says="a mutex of the inode; bind, unbind and the removal of a file from the inode's list hold it inside the "
        "exclusive invalidate lock; the hook holds it over its invalidation and takes no invalidate lock; populate "
        "holds the mutex over its callback, which maps the page on TDX and tests for no invalidation, and looks at the "
        "poison bit before",
        findings=(*_INVERSION, "unbind-during-memory-failure"),
        make=bindings_lock,
        blind="xa_store_range allocates with GFP_KERNEL under the mutex while memory_failure may hold a folio lock and "
        "wait for it: reclaim trylocks folios, and these are unevictable, so that no circle is seen by reading; "
        "the model has no reclaim",
        triples=True,
    ),
    Mend(
        ident="error-trylock",
        title="a trylock in the hook, with the failure passed on as delayed",
        says="where the lock is busy nothing is zapped and memory_failure answers as it always does. Nothing tries "
        "again: a later memory_failure of the page finds it poisoned and never calls the hook",
        findings=_INVERSION,
        make=trylock,
        blind="the machine check that a guest gets when it reads the poisoned frame",
        triples=True,
    ),
    Mend(
        ident="error-trylock-worker",
        title="a trylock in the hook; where it fails a worker invalidates later",
        says="delayed then means: the mapping survives until the worker has the lock. The work holds a reference of "
        "the inode (igrab), whose eviction can so become the worker's",
        findings=_INVERSION,
        make=trylock_worker,
        blind=_WORKER_BLIND,
        triples=True,
    ),
    Mend(
        ident="error-worker",
        title="the invalidation handed to a worker always",
        says="as error-trylock-worker, without the try",
        findings=_INVERSION,
        make=worker,
        blind=_WORKER_BLIND,
        triples=True,
    ),
    Mend(
        ident="error-drop-folio-lock",
        title="the folio unlocked before the hook and locked again after it",
        says="the reference of the folio stays; nothing pins the file",
        findings=_INVERSION,
        make=drop_folio_lock,
        wrong="nothing keeps the inode: the file can be closed and evicted while the hook waits for a lock in it",
        blind="what me_pagecache_clean does with the folio after the hook",
        triples=True,
    ),
)
