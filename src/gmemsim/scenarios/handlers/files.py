"""Operations on files, and the hardware errors of their memory."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, cast

from ...actors.errno import EINVAL, EOPNOTSUPP, errno_name
from ...actors.huge_pool import order_of
from .. import ops
from ..results import Outcome
from ..units import PAGE
from .registry import from_errno, handles, in_bytes, of_pages, vm_ioctl

if TYPE_CHECKING:
    from ...actors.inode import GmemFile
    from ...engine.task import Task
    from ..steps import Step
    from ..thread import Thread


def _file(thread: Thread, t: Task, step: Step) -> GmemFile | None:
    assert step.file is not None
    return thread.machine.descriptors(thread.actor.process).get(step.file.id)


@handles(ops.Create)
@vm_ioctl
async def create(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.Create", step.op)
    assert step.file is not None
    return Outcome(await thread.machine.create(t, step.file, op.size, thread.actor.process))


@handles(ops.Close)
async def close(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    assert step.file is not None
    return Outcome(await thread.machine.close(t, step.file, thread.actor.process))


@handles(ops.Stat)
async def stat(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    file = _file(thread, t, step)
    if file is None:
        return Outcome("EBADF")
    inode = file.inode
    facts = {
        "st_size": inode.pages * PAGE,
        # HugeTLB's superblock has the huge page's size.
        "st_blksize": PAGE << max(order_of(inode.flags), 0),
        "ino": thread.machine.inodes.index(inode) + 1,
    }
    return Outcome("ok", tuple(map(str, facts.values())), facts=facts)


@handles(ops.Allocate, ops.Punch)
async def fallocate(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.Allocate | ops.Punch", step.op)
    file = _file(thread, t, step)
    if file is None:
        return Outcome("EBADF")
    offset, length = in_bytes(op, lo, hi)
    if op.modes:
        # vfs_fallocate looks at the range first; the file system has only these two modes.
        return from_errno(EINVAL if offset < 0 or length <= 0 else EOPNOTSUPP)
    punch = isinstance(op, ops.Punch)
    return from_errno(await thread.kernel.kvm_gmem_fallocate(t, file, offset, length, punch, op.keep_size))


@handles(ops.FileWrite)
async def file_write(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.FileWrite", step.op)
    file = _file(thread, t, step)
    if file is None:
        return Outcome("EBADF")
    offset, length = in_bytes(op, lo, hi)
    if op.positioned:
        return from_errno(await thread.kernel.ksys_pwrite64(t, file, offset, length))
    lo = offset // PAGE
    hi = lo + min(max(-(-length // PAGE), 1), file.inode.pages)
    contents = tuple(thread.fill(op.value, page) for page in range(lo, hi))
    ret = await thread.kernel.kvm_gmem_write(t, file, lo, contents)
    return Outcome("ok" if ret == hi - lo else "short" if ret >= 0 else errno_name(ret), (str(max(ret, 0)),))


@handles(ops.FileRead)
async def file_read(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.FileRead", step.op)
    file = _file(thread, t, step)
    if file is None:
        return Outcome("EBADF")
    read = thread.kernel.ksys_pread64 if op.positioned else thread.kernel.vfs_read
    return from_errno(await read(t, file, *in_bytes(op, lo, hi)))


@handles(ops.Ftruncate)
async def ftruncate(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    op = cast("ops.Ftruncate", step.op)
    file = _file(thread, t, step)
    return (
        Outcome("EBADF") if file is None else from_errno(await thread.kernel.do_ftruncate(t, file, op.size))
    )


@handles(ops.FileIoctl)
async def file_ioctl(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    file = _file(thread, t, step)
    return Outcome("EBADF") if file is None else from_errno(await thread.kernel.vfs_ioctl(t, file))


@handles(ops.Migrate)
async def migrate(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    file = _file(thread, t, step)
    if file is None:
        return Outcome("EBADF")
    outcomes: Counter[str] = Counter()
    for index in range(lo, hi):
        ret = await thread.kernel.kvm_gmem_migrate_folio(t, file.inode, index)
        outcomes["ok" if ret == 0 else errno_name(ret)] += 1
    return of_pages(outcomes, [])


@handles(ops.MemoryFailure, ops.SoftOffline)
async def memory_failure(thread: Thread, t: Task, step: Step, lo: int, hi: int) -> Outcome:
    file = _file(thread, t, step)
    if file is None:
        return Outcome("EBADF")
    kernel = thread.kernel
    call = kernel.soft_offline_page if isinstance(step.op, ops.SoftOffline) else kernel.memory_failure
    outcomes: Counter[str] = Counter()
    for index in range(lo, hi):
        ret = await call(t, file.inode, index)
        outcomes["ok" if ret == 0 else errno_name(ret)] += 1
    return of_pages(outcomes, [])
