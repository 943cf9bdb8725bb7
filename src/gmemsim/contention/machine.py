"""The world of one point: a VM, a file in a slot, and the calls that storms are made of, on one virtual clock.

Phases run one after another on engines of their own, on the same clock, so that what comes before the measured part can
be taken off the statistics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from ..actors.gmem_populate import Source
from ..actors.inode import Process
from ..actors.lock_table import lock_classes
from ..actors.mm_locks import SHORT_LOCKS
from ..actors.release import RELEASES
from ..actors.stage2 import PG_LEVEL_2M
from ..actors.vm import Vcpu, Vm, World
from ..arch.memory import PhysicalMemory
from ..arch.platform_costs import cpus_of
from ..arch.registry import ARCHES
from ..arch.tdx import Tdx
from ..engine import bare
from ..engine.engine import Engine
from ..engine.errors import ModelError
from ..engine.locks.kinds import Made
from ..engine.locks.spinlock import SpinLock
from ..patches.inplace_v8 import InplaceV8
from ..patches.registry import check_instance, load_patch
from .contended import ContentionBook
from .lines import charge_lines, with_file_line
from .lock_book import LOCK_EVENTS, LockBooks
from .point import TDX_MODULES
from .range_locks import POLICIES, RANGE_POLICIES, with_ranges
from .storms import STORMS
from .waste import WASTE_EVENTS, WasteBook

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..actors.kernel import Kernel
    from ..arch.costs import CostTable
    from ..engine.locks.stats import LockClass
    from ..engine.task import Task
    from .point import Point
    from .trace import TraceBook

    Phase = Callable[[Task], Coroutine[Any, Any, None]]

#: First gfn of the slot: aligned to 1 GiB, as huge folios want it.
_GFN: Final = 1 << 18
_PAGE: Final = 4096
#: Folios of the background thread.
_CHUNK: Final = {"4K": 8, "2M": 8, "1G": 1}
_HUGE: Final = {"2M": frozenset({"HUGETLB", "HUGETLB_2M"}), "1G": frozenset({"HUGETLB", "HUGETLB_1G"})}


class StormMachine:
    """One VM with one file. `wrap` makes a variant of the version.

    Attributes:
        made: classes of all locks that were made so far, the version's own included.
        now: virtual ns at which the last phase ended.
        runtime: what drives the tasks; the figures do not depend on it.
        cpus: the CPUs, if the cost table charges what they share.
        flags: of the file, besides those that the point needs.
        cpu_of: number of the CPU of a vCPU's thread.
        slices: first pages of the folios of each vCPU.
        chunk: pages of the background thread, behind all slices.
        books: waits and holds of all locks, in counted phases.
        wasted: retries and calls of the arch hook, in counted phases.
        trace: takes the events of counted phases too, if somebody wants them.
        contended: waits as perf counts them, in counted phases.
        unaccepted_memory_lock: the guest's own, of its `accept_memory`; the host's perf does not see it.
    """

    def __init__(
        self, point: Point, costs: CostTable, wrap: Callable[[type[Kernel]], type[Kernel]] | None = None
    ) -> None:
        self.made = Made()
        self.made.here()
        self.point = point
        self.costs = costs
        self.now = 0
        self.runtime: Callable[[Engine], None] = bare.run
        self.cpus = cpus_of(costs, point.vcpus + 1, point.sockets)
        self.world = World()
        self.storm = STORMS[point.storm]
        self.flags = frozenset[str]()
        memory = PhysicalMemory()
        arch = ARCHES[point.arch](memory, costs)
        if isinstance(arch, Tdx):
            arch.choices = attrs.evolve(arch.choices, exclusive_tree_ops=TDX_MODULES[point.tdx_module])
        self.vm = vm = Vm("vm0", 0, arch)
        # The launch is not a part of any VM's boot that is looked at here, but where it is the storm.
        vm.finalized = not self.storm.launches and not arch.populate_maps
        self.world.vms[vm.label] = vm
        patch = load_patch(point.patch)
        if point.other_lines:
            charge_lines(vm, costs.line)
            patch = with_file_line(patch, costs.line)
        if wrap is not None:
            patch = wrap(patch)
        if point.policy in RANGE_POLICIES:
            patch = with_ranges(patch)
        self.kernel = patch(self.world, memory, RELEASES[point.release or patch.default_release], costs)
        check_instance(self.kernel)
        self.private = True if arch.hardware_private else None
        #: A TD's guest accepts a page before it uses it; an SNP guest's PVALIDATE is its own and not timed.
        self.accepts_first = arch.mirror_root
        self.size = size = point.folio_pages
        each = -(-point.pages // point.vcpus)
        if self.storm.same:
            self.slices = [range(0, point.pages * size, size)] * point.vcpus
        else:
            self.slices = [range(i * each * size, (i + 1) * each * size, size) for i in range(point.vcpus)]
        self.chunk = range(self.slices[-1].stop, self.slices[-1].stop + _CHUNK[point.folio] * size)
        self.pages = self.chunk.stop
        self.process = Process("vmm")
        self.unaccepted_memory_lock = SpinLock("guest.unaccepted_memory_lock", host=False)
        self.books = LockBooks()
        self.wasted = WasteBook()
        self.trace: TraceBook | None = None
        self.contended = ContentionBook()
        for number in range(point.vcpus + 1):
            vm.vcpus.append(Vcpu(vm, number, f"vcpu{number}"))
        self.cpu_of = {vcpu.label: number for number, vcpu in enumerate(vm.vcpus[:-1])}
        if self.cpus is not None:
            self.cpus.guests = set()
            self.cpus.contended = self.contended.short

    # -- phases --------------------------------------------------------------------------------

    def phase(self, *tasks: tuple[str, Phase], count: bool = False) -> None:
        """Run tasks to their end, starting where the last phase stopped."""
        self.made.here()
        if self.cpus is not None:
            self.cpus.idle()
        engine = Engine(rec=self.record if count else None, wake_ns=self.costs.wake, cpus=self.cpus)
        engine.now = self.now
        for name, function in tasks:
            # A vCPU thread stays on its CPU; all others share one.
            engine.spawn(name, function).cpu = self.cpu_of.get(name, self.point.vcpus)
        self.runtime(engine)
        self.now = engine.now
        for lock in self.made.locks:
            # Everybody is through. What is held still would be a lock that the rest of the storm does without.
            if holders := tuple(lock.holders()):
                raise ModelError(f"{', '.join(holders)} ended with {lock.label} held")

    def record(self, t: Task, event: Any) -> None:
        """Everybody's part of an event of a counted phase."""
        kind = event.__class__
        if kind in LOCK_EVENTS:
            self.books.event(t, event)
            self.contended.event(t, event)
        elif kind in WASTE_EVENTS:
            self.wasted.event(t, event)
        if self.trace is not None:
            self.trace.event(t, event)

    def acquisitions(self) -> dict[tuple[str, str], int]:
        """So far, by lock class and mode; those of folios that are new and locked by who made them included."""
        return {
            (row.name, mode): found.acquisitions
            for row in (
                *self.world.lock_statistics(self.made.classes),
                *(cls.statistics() for cls in self.short_locks()),
            )
            for mode, found in (("r", row.read), ("w", row.write))
        }

    def open_books(self) -> None:
        """From now on, note each wait and hold, also of locks that are not made yet."""
        self.books.open((*lock_classes(self.world), *self.made.classes, *self.short_locks()))
        self.made.tell = lambda cls: self.books.open((cls,))

    def short_locks(self) -> list[LockClass]:
        """Classes of the spinlocks of mm (`actors/mm_locks.py`), if the cost table charges them."""
        cpus = self.cpus
        return [] if cpus is None else [cpus.lock_class(name) for name in SHORT_LOCKS]

    @property
    def line_ns(self) -> int:
        """Virtual ns that went into the cache line of the invalidate lock so far; 0 for a policy without one."""
        found: int = getattr(self.file.inode.invalidate_lock, "line_total", 0)
        return 0 if self.cpus is not None else found

    def spins(self) -> dict[str, int]:
        """Virtual ns of waiting so far for what is no lock: hardware (regions of the RMP as one), lines."""
        sums: dict[str, int] = {}
        for wait in (self.vm.mn_wait, *self.vm.arch.spin_waits()):
            name = wait.label.partition("[")[0]
            sums[name] = sums.get(name, 0) + wait.spun_ns
        if self.cpus is not None:
            sums |= {f"cache line of {name}": ns for name, ns in self.cpus.spent.items()}
        return sums

    # -- calls ---------------------------------------------------------------------------------

    async def create(self, t: Task) -> None:
        """File, slot, all of it private where the VM type has private memory."""
        kernel, arch = self.kernel, self.vm.arch
        flags = frozenset[str]() if arch.has_private_memory else frozenset({"MMAP", "INIT_SHARED"})
        flags |= _HUGE.get(self.point.folio, frozenset()) | self.flags
        file = await kernel.kvm_gmem_create(t, self.vm, "gmem0", self.pages * _PAGE, flags)
        assert not isinstance(file, int), file
        self.file = file
        inode = file.inode
        lock = POLICIES[self.point.policy]
        inode.invalidate_lock = lock(
            inode.invalidate_lock.label, inode.invalidate_lock.cls, line_ns=self.costs.line
        )
        inode.i_mmap_rwsem.line_ns = self.costs.line
        ret = await kernel.kvm_set_memory_region(t, self.vm, 0, _GFN, self.pages, file)
        assert ret == 0, ret
        if arch.has_private_memory and not kernel.in_place:
            await self.convert(t, range(self.pages), True)
        if not self.vm.finalized and not self.storm.launches:
            ret = await kernel.launch_finish(t, self.vm)
            assert ret == 0, ret

    def folio_at(self, page: int) -> range:
        """Pages of the folio that begins at `page`."""
        return range(page, page + self.size)

    async def convert(self, t: Task, pages: range, private: bool) -> None:
        """The version's conversion: the file's ioctl, again while somebody holds a page, or the VM's."""
        kernel = self.kernel
        offset, size = pages.start * _PAGE, len(pages) * _PAGE
        if not kernel.in_place:
            address = _GFN * _PAGE + offset
            ret = await kernel.kvm_vm_ioctl_set_mem_attributes(t, self.vm, address, size, private)
        else:
            assert isinstance(kernel, InplaceV8)
            done = await kernel.kvm_gmem_set_attributes(t, self.file, offset, size, private)
            ret = done.ret
        assert ret == 0, ret

    async def punch(self, t: Task, pages: range) -> None:
        """FALLOC_FL_PUNCH_HOLE."""
        ret = await self.kernel.kvm_gmem_fallocate(
            t, self.file, pages.start * _PAGE, len(pages) * _PAGE, True
        )
        assert ret == 0, ret

    async def fail(self, t: Task, page: int) -> None:
        """A memory error of the page at `page`."""
        await self.kernel.memory_failure(t, self.file.inode, page)

    async def populate(self, t: Task, page: int) -> None:
        """The launch ioctl for one page, with the locks that it holds around the common code."""
        vm = self.vm
        await t.spend(self.costs.syscall)
        await vm.lock.lock(t)
        await vm.slots_lock.lock(t)
        ret = await self.kernel.kvm_gmem_populate(t, vm, _GFN + page, 1, Source(self.process, ("image",)))
        await vm.slots_lock.unlock(t)
        await vm.lock.unlock(t)
        await self.kernel.task_work_run(t)
        assert ret == 1, ret

    async def touch(self, t: Task, vcpu: Vcpu, page: int) -> int:
        """One access, to its end; the stage-2 faults that it took.

        Under SNP the first one ends in #VC, as nothing was validated: PVALIDATE is the guest's and not timed. A TD's
        guest accepts the page first.
        """
        faults = 0
        if self.accepts_first:
            faults = await self.accept(t, vcpu, page)
        result = await self.kernel.guest_access(t, vcpu, _GFN + page, self.private, None)
        assert result.kind in ("ok", "exception"), result
        return faults + result.faults

    async def accept(self, t: Task, vcpu: Vcpu, page: int) -> int:
        """PVALIDATE or TDG.MEM.PAGE.ACCEPT of the folio (by 2 MiB, or by page), until hardware is not busy."""
        faults = 0
        level, step = (PG_LEVEL_2M, 512) if self.size > 1 else (1, 1)
        for gfn in range(_GFN + page, _GFN + page + self.size, step):
            faults += await self._accept(t, vcpu, gfn, level)
        return faults

    async def accept_memory(self, t: Task, vcpu: Vcpu, page: int) -> int:
        """The guest's, before Linux 6.6: `accept` under its one spinlock."""
        await self.unaccepted_memory_lock.lock(t)
        faults = await self.accept(t, vcpu, page)
        await self.unaccepted_memory_lock.unlock(t)
        return faults

    async def _accept(self, t: Task, vcpu: Vcpu, gfn: int, level: int) -> int:
        faults = 0
        while True:
            done = await (
                self.kernel.guest_accept(t, vcpu, gfn, level)
                if level > 1
                else self.kernel.guest_accept(t, vcpu, gfn)
            )
            assert done.kind == "ok", done
            faults += done.faults
            if done.value == "size_mismatch":
                for page in range(gfn, gfn + 512):
                    faults += await self._accept(t, vcpu, page, 1)
                return faults
            if done.value != "busy":
                return faults
            await t.spend(self.costs.busy_retry)

    async def prefault(self, t: Task, vcpu: Vcpu, page: int) -> int:
        """KVM_PRE_FAULT_MEMORY of the folio."""
        await t.spend(self.costs.syscall)
        ret, _, left = await self.kernel.kvm_vcpu_pre_fault_memory(
            t, vcpu, (_GFN + page) * _PAGE, self.size * _PAGE
        )
        assert (ret, left) == (0, 0), (ret, left)
        return 1

    async def warm(self, t: Task, vcpu: Vcpu, pages: range) -> None:
        """Touch the folios of `pages` without looking at the clock."""
        for page in range(pages.start, pages.stop, self.size):
            await self.touch(t, vcpu, page)
