"""fallocate on a guest_memfd: allocation and PUNCH_HOLE (guest-memfd.md 4.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..audit.kvm_events import Fallocate, FallocateRet
from .errno import EBADF, EFBIG, EINTR, EINVAL, EOPNOTSUPP

if TYPE_CHECKING:
    from ..engine.task import Task
    from .inode import GmemFile, GmemInode
    from .kernel import Kernel

#: `s_maxbytes` of guest_memfd's file system.
MAX_LFS_FILESIZE: Final = (1 << 63) - 1


async def kvm_gmem_fallocate(
    self: Kernel, t: Task, file: GmemFile, offset: int, length: int, punch: bool, keep_size: bool = True
) -> int:
    """fallocate(2), offset and length in bytes: 0, -EBADF, -EOPNOTSUPP, -EINVAL, -EFBIG, -EINTR or -ENOMEM."""
    if not self.fdget(t, file):
        return EBADF
    ret = await self._fallocate(t, file.inode, offset, length, punch, keep_size)
    await self.fput(t, file)
    return ret


async def _fallocate(
    self: Kernel, t: Task, inode: GmemInode, offset: int, length: int, punch: bool, keep_size: bool
) -> int:
    """`kvm_gmem_fallocate`."""
    rec = t.rec
    ident = self.request(t, inode.label, "fallocate", "punch" if punch else "allocate") if rec else 0
    if rec is not None:
        rec(t, Fallocate(punch, offset // 4096, (offset + length) // 4096))
    await t.spend(self.costs.syscall)
    if offset < 0 or length <= 0:
        # vfs_fallocate looks at these, and at the end of the range, before the file system is asked.
        ret = EINVAL
    elif punch and not keep_size:
        ret = EOPNOTSUPP
    elif offset + length > MAX_LFS_FILESIZE:
        ret = EFBIG
    elif not keep_size:
        ret = EOPNOTSUPP
    elif offset % 4096 or length % 4096:
        ret = EINVAL
    elif punch:
        ret = await self.kvm_gmem_punch_hole(t, inode, offset // 4096, (offset + length) // 4096)
    else:
        ret = await self.kvm_gmem_allocate(t, inode, offset // 4096, (offset + length) // 4096)
    if rec is not None:
        rec(t, FallocateRet(ret))
        self.answer(t, ident, "fallocate", str(ret))
    return ret


async def kvm_gmem_punch_hole(self: Kernel, t: Task, inode: GmemInode, start: int, end: int) -> int:
    """Remove [start, end): invalidate lock exclusive around zap, truncation and the end of the zap.

    The file's size has no say (`kvm_gmem_punch_hole` from 6.8 to 7.3.4): a hole that reaches beyond the end is one of
    that many indices, and its last edge is there.
    """
    await inode.invalidate_lock.down_write(t)
    await self.kvm_gmem_invalidate_start(t, inode, start, end, self.invalidate_filter(inode))
    await self.truncate_inode_pages_range(t, inode, start, end)
    await self.kvm_gmem_invalidate_end(t, inode, start, end)
    await inode.invalidate_lock.up_write(t)
    return 0


async def kvm_gmem_allocate(self: Kernel, t: Task, inode: GmemInode, start: int, end: int) -> int:
    """Make every index of [start, end) present: neither cleared nor prepared; partial progress stays."""
    if end > inode.pages:
        return EINVAL
    ret = 0
    await inode.invalidate_lock.down_read(t)
    for index in range(start, end):
        if t.signalled():
            ret = EINTR
            break
        folio = await self.kvm_gmem_get_folio(t, inode, index)
        if isinstance(folio, int):
            ret = folio
            break
        await self.folio_unlock(t, folio)
        await self.folio_put(t, inode, folio)
    await inode.invalidate_lock.up_read(t)
    return ret
