"""Lock statistics of a whole world, one row a lock class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.locks.stats import LockStatistics, ModeStatistics

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..engine.locks.stats import LockClass
    from .vm import World


def collect(world: World, made: Iterable[LockClass] = ()) -> list[LockStatistics]:
    """Rows of all lock classes that were ever taken, in order of name.

    Args:
        made: classes besides the world's own, such as those of a version's locks.
    """
    rows: dict[str, LockStatistics] = {}
    for cls in dict.fromkeys((*lock_classes(world), *made)):
        row = cls.statistics()
        old = rows.get(cls.name)
        rows[cls.name] = row if old is None else _sum(old, row)
    used = (row for row in rows.values() if row.read.acquisitions or row.write.acquisitions)
    return sorted(used, key=lambda row: row.name)


def lock_classes(world: World) -> Iterator[LockClass]:
    """Of every lock that the world has now."""
    for inode in world.inodes.values():
        yield from (inode.invalidate_lock.cls, inode.i_mmap_rwsem.cls, inode.folio_locks)
    for vm in world.vms.values():
        yield from (vm.mmu_lock.cls, vm.slots_lock.cls, vm.slots_arch_lock.cls, vm.lock.cls)
        for vcpu in vm.vcpus:
            yield vcpu.mutex.cls
            if vcpu.vmsa is not None:
                yield vcpu.vmsa.mutex.cls
    for process in world.processes.values():
        yield process.mmap_lock.cls


def _sum(a: LockStatistics, b: LockStatistics) -> LockStatistics:
    return LockStatistics(a.name, _sum_mode(a.read, b.read), _sum_mode(a.write, b.write))


def _sum_mode(a: ModeStatistics, b: ModeStatistics) -> ModeStatistics:
    return ModeStatistics(
        a.acquisitions + b.acquisitions,
        a.contentions + b.contentions,
        a.wait_total + b.wait_total,
        max(a.wait_max, b.wait_max),
        a.hold_total + b.hold_total,
        max(a.hold_max, b.hold_max),
    )
