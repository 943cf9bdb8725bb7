"""What guest_memfd refuses: write(2), migration of its folios, collapsing them into huge ones.

Calls all the same, so that a patch that allows one can be tried with the scenarios that ask for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errno import EBADF, EINVAL
from .mempolicy import Mempolicy

if TYPE_CHECKING:
    from ..engine.task import Task
    from .inode import GmemFile, GmemInode, HostMapping

__all__ = ["GmemRefused"]


class GmemRefused(Mempolicy):
    """-EINVAL from each, and nothing changed."""

    async def kvm_gmem_write(self, t: Task, file: GmemFile, start: int, contents: tuple[str, ...]) -> int:
        """pwrite(2) of whole pages from index `start` on: pages written, or an errno if none was."""
        if not self.fdget(t, file):
            return EBADF
        ret = await self.kvm_gmem_write_pages(t, file.inode, start, contents)
        await self.fput(t, file)
        return ret

    async def kvm_gmem_write_pages(
        self, t: Task, inode: GmemInode, start: int, contents: tuple[str, ...]
    ) -> int:
        """The file has no write method: the VFS answers."""
        return EINVAL

    async def kvm_gmem_migrate_folio(self, t: Task, inode: GmemInode, index: int) -> int:
        """`kvm_gmem_migrate_folio`: WARN; the mapping is unmovable, so the core should never ask (spec §4.12)."""
        return EINVAL

    async def collapse_file(self, t: Task, mapping: HostMapping, start: int, end: int) -> int:
        """MADV_COLLAPSE and khugepaged on indices [start, end): none for files on anonymous inodes (dd085fe9a8eb)."""
        return self.madvise_collapse(mapping)
