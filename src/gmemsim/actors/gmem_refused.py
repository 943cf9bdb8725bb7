"""What guest_memfd refuses: read(2), write(2), ftruncate(2), unknown ioctls, migration and collapse of its folios.

Calls all the same, so that a patch that allows one can be tried with the scenarios that ask for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errno import EBADF, EINVAL, ENOTTY, ESPIPE

if TYPE_CHECKING:
    from ..engine.task import Task
    from .inode import GmemFile, GmemInode, HostMapping
    from .kernel import Kernel


async def vfs_read(self: Kernel, t: Task, file: GmemFile, offset: int, length: int) -> int:
    """read(2): -EINVAL, since the file has no read method (FMODE_CAN_READ is not set)."""
    return EINVAL if self.fd_is_open(t, file) else EBADF


async def ksys_pread64(self: Kernel, t: Task, file: GmemFile, offset: int, length: int) -> int:
    """pread(2): -EINVAL for a negative offset, else -ESPIPE: a file made without open(2) lacks FMODE_PREAD."""
    if offset < 0:
        return EINVAL
    return ESPIPE if self.fd_is_open(t, file) else EBADF


async def ksys_pwrite64(self: Kernel, t: Task, file: GmemFile, offset: int, length: int) -> int:
    """pwrite(2): as pread(2), for want of FMODE_PWRITE."""
    return await self.ksys_pread64(t, file, offset, length)


async def do_ftruncate(self: Kernel, t: Task, file: GmemFile, size: int) -> int:
    """ftruncate(2): -EINVAL; the size is fixed at creation (`kvm_gmem_setattr`), and a negative one is none."""
    return EINVAL if size < 0 or self.fd_is_open(t, file) else EBADF


async def vfs_ioctl(self: Kernel, t: Task, file: GmemFile) -> int:
    """An ioctl that is no conversion: -ENOTTY, from the VFS or from `kvm_gmem_ioctl`."""
    return ENOTTY if self.fd_is_open(t, file) else EBADF


def fd_is_open(self: Kernel, t: Task, file: GmemFile) -> bool:
    """Whether the descriptor still names the file; a call that changes nothing keeps no reference."""
    return file.count.value > 0


async def kvm_gmem_write(self: Kernel, t: Task, file: GmemFile, start: int, contents: tuple[str, ...]) -> int:
    """write(2) of whole pages, the file position at index `start`: pages written, or an errno if none was."""
    if not self.fdget(t, file):
        return EBADF
    ret = await self.kvm_gmem_write_pages(t, file.inode, start, contents)
    await self.fput(t, file)
    return ret


async def kvm_gmem_write_pages(
    self: Kernel, t: Task, inode: GmemInode, start: int, contents: tuple[str, ...]
) -> int:
    """The file has no write method: the VFS answers."""
    return EINVAL


async def kvm_gmem_migrate_folio(self: Kernel, t: Task, inode: GmemInode, index: int) -> int:
    """`kvm_gmem_migrate_folio`: WARN; the mapping is unmovable, so the core should never ask.

    See guest-memfd.md 4.12.
    """
    return EINVAL


async def collapse_file(self: Kernel, t: Task, mapping: HostMapping, start: int, end: int) -> int:
    """MADV_COLLAPSE and khugepaged on indices [start, end): none for files on anonymous inodes (dd085fe9a8eb)."""
    return self.madvise_collapse(mapping)
