"""One point of a sweep: a fault storm of N vCPUs on one guest_memfd, in virtual time.

Everything before the measured part (creation, first touch of a re-fault storm, the zap) runs on engines of its own, on
the same clock, and is taken off the lock statistics. Only the patch differs between two points with equal
parameters: the kernel around it is one release.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import attrs

from ..actors.release import RELEASES
from ..actors.vm import Vcpu, Vm, World
from ..arch.costs import CostTable
from ..arch.memory import PhysicalMemory
from ..arch.registry import ARCHES
from ..audit.kvm_events import MakePrivate, Prepare
from ..engine import bare
from ..engine.engine import Engine
from ..engine.locks.policies import LOCK_POLICIES
from ..patches.registry import load_patch
from .lines import charge_lines, with_file_line
from .result import LockFigures, Result, figures, since

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..engine.task import Task

__all__ = ["BACKGROUNDS", "RELEASE", "STORMS", "Point", "PointError", "check", "run"]

#: Storms by name, with what they do.
STORMS: Final[dict[str, str]] = {
    "first-touch": "each vCPU touches its own slice, for the first time",
    "first-touch-same": "all vCPUs touch the same pages, for the first time and in the same order",
    "refault": "each vCPU touches its own slice again after conversion to shared and back zapped it",
}

BACKGROUNDS: Final[dict[str, str]] = {
    "none": "nobody else",
    "punch": "a thread punches a chunk of its own and touches it again",
    "convert": "a thread converts a chunk of its own to shared and back, and touches it again",
}

#: The kernel around every patch.
RELEASE: Final = "7.2"
_GFN: Final = 0x10000
_CHUNK: Final = 8
_PAGE: Final = 4096


class PointError(ValueError):
    """Parameters that make no sense; one line for the user."""


@attrs.frozen
class Point:
    """Parameters of one run.

    Attributes:
        pages: pages touched, over all vCPUs (`first-touch-same`: pages that each touches).
        interval_ns: pause of the background thread between two of its operations.
        policy: lock in the place of the invalidate lock.
        other_lines: charge the lines of f_count and mmu_lock too (`lines`).
    """

    patch: str = "v3"
    arch: str = "snp"
    storm: str = "refault"
    background: str = "none"
    vcpus: int = 1
    pages: int = 512
    interval_ns: int = 20_000
    policy: str = "rwsem"
    other_lines: bool = False


def check(point: Point) -> None:
    """Refuse what cannot be run.

    Raises:
        PointError: with what was expected.
        PatchError: no such patch.
    """
    load_patch(point.patch)
    for what, value, known in (
        ("arch", point.arch, [name for name in ARCHES if name != "tdx"]),
        ("storm", point.storm, STORMS),
        ("background", point.background, BACKGROUNDS),
        ("lock", point.policy, LOCK_POLICIES),
    ):
        if value not in known:
            raise PointError(f"{what} {value!r}: expected one of {', '.join(known)}")
    if not 1 <= point.vcpus <= 1024:
        raise PointError(f"vcpus {point.vcpus}: expected 1 to 1024")
    if point.pages < 1 or point.interval_ns < 1:
        raise PointError("pages and interval must be positive")
    if not ARCHES[point.arch].has_private_memory and "convert" in (_zap_of(point), point.background):
        raise PointError(
            f"arch {point.arch} has no private memory, and {point.storm}/{point.background} converts"
        )


def _zap_of(point: Point) -> str:
    return "convert" if point.storm == "refault" else ""


class _Storm:
    """The world of one point, and its clock."""

    def __init__(self, point: Point, costs: CostTable) -> None:
        self.point = point
        self.costs = costs
        self.now = 0
        self.world = World()
        memory = PhysicalMemory()
        arch = ARCHES[point.arch](memory, costs)
        # Not a part of any VM's boot that is looked at here.
        self.vm = vm = Vm("vm0", 0, arch)
        vm.finalized = True
        self.world.vms[vm.label] = vm
        patch = load_patch(point.patch)
        if point.other_lines:
            charge_lines(vm, costs.line)
            patch = with_file_line(patch, costs.line)
        self.kernel = patch(self.world, memory, RELEASES[RELEASE], costs)
        self.kind = True if arch.hardware_private else None
        each = -(-point.pages // point.vcpus)
        if point.storm == "first-touch-same":
            self.slices = [range(point.pages)] * point.vcpus
        else:
            self.slices = [range(i * each, (i + 1) * each) for i in range(point.vcpus)]
        self.chunk = range(self.slices[-1].stop, self.slices[-1].stop + _CHUNK)
        self.pages = self.chunk.stop
        self.latencies: list[int] = []
        self.attempts = 0
        self.running = 0
        self.operations = 0
        self.prepares = 0
        self.end = 0
        for number in range(point.vcpus + 1):
            vm.vcpus.append(Vcpu(vm, number, f"vcpu{number}"))

    def phase(
        self, *tasks: tuple[str, Callable[[Task], Coroutine[Any, Any, None]]], count: bool = False
    ) -> None:
        """Run tasks to their end, starting where the last phase stopped."""
        engine = Engine(rec=self.record if count else None, wake_ns=self.costs.wake)
        engine.now = self.now
        for name, function in tasks:
            engine.spawn(name, function)
        bare.run(engine)
        self.now = engine.now

    def record(self, t: Task, event: Any) -> None:
        """Count the calls of the arch hook, and nothing else."""
        if event.__class__ is Prepare or event.__class__ is MakePrivate:
            self.prepares += 1

    async def create(self, t: Task) -> None:
        """File, slot, all of it private."""
        arch = self.vm.arch
        flags = frozenset[str]() if arch.has_private_memory else frozenset({"MMAP", "INIT_SHARED"})
        file = await self.kernel.kvm_gmem_create(t, self.vm, "gmem0", self.pages * _PAGE, flags)
        assert not isinstance(file, int), file
        self.file = file
        inode = file.inode
        lock = LOCK_POLICIES[self.point.policy]
        inode.invalidate_lock = lock(  # type: ignore[assignment] # the protocol is all that callers use
            inode.invalidate_lock.label, inode.invalidate_lock.cls, line_ns=self.costs.line
        )
        inode.i_mmap_rwsem.line_ns = self.costs.line
        ret = await self.kernel.kvm_set_memory_region(t, self.vm, 0, _GFN, self.pages, file)
        assert ret == 0, ret
        if arch.has_private_memory:
            await self.convert(t, range(self.pages), True)

    async def convert(self, t: Task, pages: range, private: bool) -> None:
        """KVM_SET_MEMORY_ATTRIBUTES."""
        address, size = (_GFN + pages.start) * _PAGE, len(pages) * _PAGE
        ret = await self.kernel.kvm_vm_ioctl_set_mem_attributes(t, self.vm, address, size, private)
        assert ret == 0, ret

    async def zap(self, t: Task) -> None:
        """Every mapping goes; page cache and arch state stay."""
        everything = range(self.pages)
        await self.convert(t, everything, False)
        await self.convert(t, everything, True)

    async def touch(self, t: Task, vcpu: Vcpu, page: int) -> int:
        """One access, to its end; returns the stage-2 faults that it took.

        Under SNP the first one ends in #VC, as nothing was validated: PVALIDATE is the guest's and not timed.
        """
        result = await self.kernel.guest_access(t, vcpu, _GFN + page, self.kind, None)
        assert result.kind in ("ok", "exception"), result
        return result.faults

    async def warm(self, t: Task, vcpu: Vcpu, pages: range) -> None:
        """Touch pages without looking at the clock."""
        for page in pages:
            await self.touch(t, vcpu, page)

    async def storm(self, t: Task, vcpu: Vcpu, pages: range) -> None:
        """Touch pages, and note how long each access took."""
        engine = t.engine
        for page in pages:
            start = engine.now
            faults = await self.touch(t, vcpu, page)
            if faults:
                self.latencies.append(engine.now - start)
                self.attempts += faults
        self.running -= 1
        self.end = max(self.end, engine.now)

    async def background(self, t: Task) -> None:
        """Work on the chunk as long as a vCPU storms."""
        vcpu = self.vm.vcpus[-1]
        start, size = self.chunk.start * _PAGE, _CHUNK * _PAGE
        while self.running:
            if self.point.background == "punch":
                ret = await self.kernel.kvm_gmem_fallocate(t, self.file, start, size, True)
                assert ret == 0, ret
            else:
                await self.convert(t, self.chunk, False)
                await self.convert(t, self.chunk, True)
            self.operations += 1
            await self.warm(t, vcpu, self.chunk)
            await t.sleep(self.point.interval_ns)

    def forget_maxima(self) -> None:
        """The longest wait and hold of the setup are not those of the storm."""
        inode, vm = self.file.inode, self.vm
        rwsems = (inode.invalidate_lock, inode.i_mmap_rwsem)
        others = (inode.folio_locks, vm.mmu_lock.cls, vm.slots_lock.cls, vm.slots_arch_lock.cls, vm.lock.cls)
        for cls in (*(lock.cls for lock in rwsems), *others):
            for counter in (cls.read, cls.write):
                counter.wait_max = counter.hold_max = 0

    def locks(self) -> dict[str, LockFigures]:
        """Figures so far by lock class and mode."""
        return figures(self.world.lock_statistics())

    def measure(self) -> Result:
        """Set up, storm, sum up."""
        point = self.point
        vcpus = self.vm.vcpus
        self.phase(("setup", self.create))
        self.phase(("setup", partial(self.warm, vcpu=vcpus[-1], pages=self.chunk)))
        if _zap_of(point):
            for vcpu, pages in zip(vcpus, self.slices, strict=False):
                self.phase((vcpu.label, partial(self.warm, vcpu=vcpu, pages=pages)))
            self.phase(("setup", self.zap))
        self.forget_maxima()
        before = self.locks()
        start = self.now
        self.running = point.vcpus
        tasks: list[tuple[str, Callable[[Task], Coroutine[Any, Any, None]]]] = [
            (vcpu.label, partial(self.storm, vcpu=vcpu, pages=pages))
            for vcpu, pages in zip(vcpus, self.slices, strict=False)
        ]
        if point.background != "none":
            tasks.append((point.background, self.background))
        self.phase(*tasks, count=True)
        return Result.of(
            point,
            latencies=self.latencies,
            virtual_ns=self.end - start,
            retries=self.attempts - len(self.latencies),
            prepares=self.prepares,
            background_operations=self.operations,
            locks=since(before, self.locks()),
        )


def run(point: Point, costs: CostTable | None = None) -> Result:
    """Run one point.

    Raises:
        PointError, PatchError: as `check`.
    """
    check(point)
    return _Storm(point, CostTable.default(point.arch) if costs is None else costs).measure()
