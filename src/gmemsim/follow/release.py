"""The end of the file: its descriptor goes, and whoever drops the last reference releases it.

No probe shows `close`, `munmap` or the exit of a process. What shows is `kvm_gmem_release`, in the thread that dropped
the last reference (`____fput`, as task work): the closing one's, or a vCPU's in a fault that had looked the file up.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from ..actors.errno import EBADF
from .thread import Rejected

if TYPE_CHECKING:
    from ..actors.inode import HostMapping
    from ..engine.task import Task
    from .calls import Call
    from .thread import Thread
    from .trace import Trace
    from .world import Setup

#: Events of a look-up in the file: whoever shows them had a reference of it.
_USES = frozenset({"get_folio", "filemap_get", "fallocate", "user_fault"})

_FAULTS = frozenset({"fault", "prefault"})


class Releasing:
    """What an attempt does where the file is released."""

    trace: Trace
    setup: Setup
    kernel: Any
    threads: dict[str, Thread]
    position: int
    #: Position of the last event that shows a reference of the file, outside its release; -1: the file stays open.
    last_use: int

    @abstractmethod
    def drop(self, mapping: HostMapping, index: int) -> None:
        """Let the VMM drop its page-table entry of `index`."""

    @abstractmethod
    def step(self, thread: Thread) -> None:
        """Take one step of the thread's task."""

    @abstractmethod
    def _may_move(self, other: Thread) -> bool:
        """Whether the thread's next step can be taken now."""

    @staticmethod
    def find_last_use(trace: Trace, threads: dict[str, Thread]) -> int:
        """See `last_use`."""
        ours = trace.releases.ours
        if not any(call.kind == "release" for thread in threads.values() for call in thread.calls):
            return -1
        used = (s.position for s in trace.steps if s.name in _USES and s.position not in ours)
        return max(used, default=0)

    def can_be_last(self, thread: Thread) -> bool:
        """Whether the thread releases the file next, with the reference that it has from a fault or a system call.

        If its release finds nothing to flush of what is mapped, it is one of a process that exits (`_exit_mmap`).
        """
        if not (thread.has_file and thread.releases_next) or thread.call is None:
            return False
        mapped = bool(self.setup.vm.stage2.root(private=False) or self.setup.vm.stage2.root(private=True))
        exits = self._flushes_nothing(thread, thread.calls[0]) and (mapped or thread.future.plan().mapped)
        return thread.call.kind != "set_region" and not exits

    def is_last(self) -> bool:
        """Whether a reference that is dropped can be the last: the descriptor's went before, and nobody gets one."""
        return self.setup.gmem.count.value == 2 and self.last_use <= self.position

    def descriptor_goes(self, thread: Thread) -> None:
        """Before the thread drops a reference: if that is what releases the file, it was closed by now."""
        if self.can_be_last(thread) and self.is_last():
            self.unmap_all(thread)
            self.setup.gmem.count.value = 1

    async def fallocate(self, t: Task, thread: Thread, punch: int, start: int, end: int) -> None:
        """The system call: it has the file from its beginning to its end."""
        file = self.setup.gmem
        thread.has_file = self.last_use >= 0
        if (
            await self.kernel.kvm_gmem_fallocate(t, file, start << 12, (end - start) << 12, bool(punch))
            == EBADF
        ):
            raise Rejected(f"the file that {thread.name} works on is closed")

    async def release_file(self, t: Task, thread: Thread) -> None:
        """The last reference goes, and with it the file, unless that was in what the thread did before."""
        kernel, file = self.kernel, self.setup.gmem
        if file.released:
            return
        if t not in kernel.task_works:
            self.unmap_all(thread)
            await kernel.fput_later(t, file)
        if t not in kernel.task_works:
            raise Rejected(f"the model's {thread.name} does not drop the last reference of the file here")
        await kernel.task_work_run(t)

    def unmap_all(self, thread: Thread) -> None:
        """Mappings of the file hold a reference of it: before its release they are all gone.

        Raises:
            Rejected: somebody faults on one later on.
        """
        inode = self.setup.gmem.inode
        for other in self.threads.values():
            call = other.call
            if call is not None and call.kind == "host_fault" and other.future.cursor > call.last:
                # It has shown all; what is left is to give mmap_lock back.
                while other.call is call and self._may_move(other):
                    self.step(other)
            if any(call is not None and call.kind == "host_fault" for call in (other.call, *other.calls)):
                raise Rejected(f"the file is still mapped: {other.name} faults on it later on")
        for mapping in self.setup.mappings.values():
            for index in list(mapping.mapped):
                self.drop(mapping, index)
        inode.mappings.clear()
        self._exit_mmap(thread)

    def _exit_mmap(self, thread: Thread) -> None:
        """A process that exits has no address space any more when its files are closed: the guest has nothing mapped.

        `kvm_mmu_notifier_release` zaps all roots, which no probe shows and nobody flushes. It has happened if the
        release finds nothing to flush, and can have if no vCPU faults any more.
        """
        call = thread.calls[0] if thread.releases_next else thread.call
        assert call is not None
        over = not any(
            coming is not None and coming.kind in _FAULTS and other.future.cursor <= coming.last
            for other in self.threads.values()
            for coming in (other.call, *other.calls)
        )
        if over and self._flushes_nothing(thread, call):
            self.setup.vm.stage2.clear()

    def _flushes_nothing(self, thread: Thread, call: Call) -> bool:
        """Whether the release shows zaps, and none that has to be flushed."""
        steps = self.trace.threads[thread.name][call.first : call.last + 1]
        zaps = [step.observation.a for step in steps if step.name == "zap_ret"]
        return bool(zaps) and not any(zaps)
