"""fork(2) and exit(2) of a process that maps a guest_memfd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .inode import HostMapping

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..engine.task import Task
    from .inode import GmemFile, Process
    from .kernel import Kernel


def forked_label(self: Kernel, label: str, child: Process) -> str:
    """Name of the child's copy of a mapping."""
    return f"{label}@{child.label}"


async def fork(
    self: Kernel, t: Task, parent: Process, child: Process, files: Mapping[str, GmemFile]
) -> dict[str, GmemFile]:
    """`dup_fd` and `dup_mmap`, in this order (`copy_process`): the child's descriptors, by the parent's names.

    Entries of a shared file mapping are not copied (`vma_needs_copy`): the child faults its pages in. MMU notifiers
    are the parent's: a VM does not watch the child's mappings.
    """
    for file in files.values():
        file.count.value += 1
    await parent.mmap_lock.down_write(t)
    for mapping in [each for each in self.world.mappings.values() if each.process is parent]:
        inode = mapping.inode
        copy = HostMapping(
            self.forked_label(mapping.label, child), child, inode, mapping.start, mapping.pages
        )
        copy.file = mapping.file
        if copy.file is not None:
            copy.file.count.value += 1
        await inode.i_mmap_rwsem.down_write(t)
        inode.mappings.append(copy)
        await inode.i_mmap_rwsem.up_write(t)
        self.world.mappings[copy.label] = copy
    await parent.mmap_lock.up_write(t)
    return dict(files)


async def do_exit(self: Kernel, t: Task, process: Process, files: Iterable[GmemFile]) -> None:
    """`exit_mm`, `exit_files`, `exit_task_work`: mappings go first, then the descriptors; releases come after both."""
    for mapping in [each for each in self.world.mappings.values() if each.process is process]:
        await self.unmap_region(t, mapping)
    for file in list(files):
        await self.fput_later(t, file)
    await self.task_work_run(t)
