"""The host kernel's side of the RMP: how it changes who owns a frame (arch.md 1.1, 1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from ..engine.errors import EngineError
from ..engine.observed import announces, by_key
from ..engine.op import ALL, Op
from .base import Arch
from .choices import SnpChoices
from .psp import Psp, PspCommand
from .rmp import REGION_PAGES, Rmp, RmpCode, RmpEntry, head_of, pages_of, region_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..engine.task import Task
    from .base import VmIdentity
    from .costs import CostTable
    from .memory import PhysicalMemory
    from .spin import SpinWait

EFAULT: Final = -14


class Livelock(EngineError):
    """A loop of the kernel without a bound turns for ever; the run cannot go on from here."""


@announces(
    split=by_key(lambda arch: "direct_map"),
    launch_page_type=lambda arch: ("launch_page_type", 0, ALL),
)
class SnpHost(Arch):
    """RMP helpers of the kernel, below the hooks of `Snp`.

    The RMP and the security processor belong to the machine: actors on one `PhysicalMemory` share them, the
    first one's costs and the last choices given included.

    Attributes:
        rmp, psp: the machine's.
        split: 2M regions whose direct-map mapping is split to 4K; they stay so.
        launch_page_type: of the pages that the launch command under way adds, `normal` or `zero`; guarded by
            slots_lock.
        cpus: host CPUs that a direct-map flush interrupts.
    """

    name: ClassVar[str] = "snp"
    host_faults: ClassVar[frozenset[str]] = frozenset({"HOST_RMP_VIOLATION"})

    def __init__(
        self,
        memory: PhysicalMemory,
        costs: CostTable | None = None,
        choices: SnpChoices | None = None,
        cpus: int = 1,
    ) -> None:
        super().__init__(memory, costs)
        self.cpus = cpus
        hardware = memory.hardware
        if "rmp" not in hardware:
            rmp = Rmp(SnpChoices(), self.costs)
            hardware["rmp"] = rmp
            hardware["psp"] = Psp(memory, rmp, self.costs)
            hardware["direct_map.split"] = set()
        self.rmp: Rmp = hardware["rmp"]
        self.psp: Psp = hardware["psp"]
        self.split: set[int] = hardware["direct_map.split"]
        self.launch_page_type = "normal"
        if choices is not None:
            self.choices = choices

    @staticmethod
    def asid(vm: VmIdentity) -> int:
        """The VM's ASID; 0 is the host's."""
        return vm.ident + 1

    @property
    def choices(self) -> SnpChoices:
        """The machine's; setting them changes them for every actor on it."""
        return self.rmp.choices

    @choices.setter
    def choices(self, choices: SnpChoices) -> None:
        self.rmp.choices = choices

    def spin_waits(self) -> Iterable[SpinWait]:
        """The RMP's regions."""
        return self.rmp.spin_waits()

    # -- RMPUPDATE -----------------------------------------------------------------------------

    async def rmp_make_private(
        self, t: Task, pfn: int, gfn: int, level: int, asid: int, immutable: bool = False
    ) -> int:
        """`rmp_make_private`: transitions 1 and 2. 0 or -EFAULT."""
        return await self.rmpupdate(t, pfn, RmpEntry(True, asid, gfn, level, immutable))

    async def rmp_make_shared(self, t: Task, pfn: int, level: int) -> int:
        """`rmp_make_shared`: transition 6. 0 or -EFAULT."""
        return await self.rmpupdate(t, pfn, RmpEntry(level=level))

    async def rmpupdate(self, t: Task, pfn: int, new: RmpEntry) -> int:
        """The kernel's `rmpupdate`: split the direct map for a 4K update, then repeat while OVERLAP.

        Any other failure is logged and becomes -EFAULT.

        Raises:
            Livelock: OVERLAP will never end (see `_overlap_turn`); flag LIVELOCK is set first.
        """
        if not await self.adjust_direct_map(t, pfn, new.level):
            return EFAULT
        turns = 0
        cause: tuple[int, RmpEntry] | None = None
        while True:
            code = await self.rmp.rmpupdate(t, pfn, new)
            if code != RmpCode.OVERLAP:
                return 0 if code == RmpCode.OK else EFAULT
            before = cause
            blocker = self.rmp.overlap(pfn, new.level)
            cause = None if blocker is None else (blocker, self.rmp.entry(blocker))
            turns = turns + 1 if cause == before else 1
            await self._overlap_turn(t, pfn, cause, turns)

    async def _overlap_turn(self, t: Task, pfn: int, cause: tuple[int, RmpEntry] | None, turns: int) -> None:
        """One turn of the spin: another CPU's instruction ends by itself, an entry in the way may not.

        The watchdog is the model's, not the kernel's. It reports LIVELOCK when an entry is in the way and,
        in a timed run, `overlap_watchdog` turns changed nothing, or, in an exploring run, no other task can
        run any more. If others can, the task waits for a change; should they end without one, the engine's
        deadlock report names `rmp.spin`.
        """
        region = region_of(pfn)
        if cause is not None:
            if t.traps:
                for other in t.engine.tasks:
                    other.touch_task("r")
            alone = t.traps and len(t.engine.runnable) == 1
            if alone or (not t.traps and turns > self.choices.overlap_watchdog):
                self.flag(t, "LIVELOCK", pfn)
                blocker, entry = cause
                raise Livelock(
                    f"{t.name} repeats RMPUPDATE of frame {pfn:#x} for ever: "
                    f"frame {blocker:#x} is {entry.state} of ASID {entry.asid}"
                )
            await self.rmp.wait(region).turn(t, self.costs.rmpupdate)
        elif region in self.rmp.busy:
            await self.rmp.wait(region).until_changed(t)

    async def adjust_direct_map(self, t: Task, pfn: int, level: int) -> bool:
        """`adjust_direct_map`: a 4K update splits the host's large mapping of the region, once and for good.

        False: a 2M update is not aligned, or the split failed (fault point `direct_map_split`).
        """
        if level > 1:
            return pfn % pages_of(level) == 0
        region = region_of(pfn)
        if t.traps:
            await t.point(Op("rmw", "direct_map", region, region + 1))
        if region in self.split:
            return True
        if t.fault("direct_map_split"):
            return False
        self.split.add(region)
        cpus = t.engine.cpus
        reached = self.cpus if cpus is None else cpus.interrupt(t, range(cpus.count))
        await t.spend(self.costs.direct_map_split + self.costs.tlb_shootdown(reached))
        return True

    # -- the other instructions ----------------------------------------------------------------

    async def snp_rmptable_psmash(self, t: Task, pfn: int) -> int:
        """KVM's PSMASH: repeated while another CPU is in the region; returns any other code."""
        while True:
            code = await self.rmp.psmash(t, head_of(pfn))
            if code != RmpCode.IN_USE:
                return code
            region = region_of(pfn)
            if region in self.rmp.busy:
                await self.rmp.wait(region).until_changed(t)

    async def snp_page_reclaim(self, t: Task, vm: VmIdentity, pfn: int) -> int:
        """`snp_page_reclaim`: take a page back from the firmware: 0, or -EIO, the page leaked and the VM dead."""
        fail = t.fault("psp_page_reclaim")
        asid = self.asid(vm)
        failed = await self.psp.call(t, PspCommand("SNP_PAGE_RECLAIM", asid, pfn, fail=fail))
        if not failed:
            return await self.kvm_rmp_make_shared(t, vm, pfn)
        self.snp_leak_page(pfn)
        return self.kvm_bug(t, vm)

    async def kvm_rmp_make_shared(self, t: Task, vm: VmIdentity, pfn: int) -> int:
        """`kvm_rmp_make_shared` of one page: 0, or -EIO, the page leaked and the VM dead."""
        if not await self.rmp_make_shared(t, pfn, 1):
            return 0
        self.snp_leak_page(pfn)
        return self.kvm_bug(t, vm)

    def snp_leak_page(self, pfn: int) -> None:
        """`snp_leak_pages`: never let the allocator have the frame again."""
        self.memory.leak(pfn)

    async def region_is_shared(self, t: Task, pfn: int) -> bool:
        """Whether all 512 entries of an aligned region read as unassigned.

        Unlocked look-ups one after another, so the answer may be old when it arrives; an error counts as
        assigned.
        """
        region = region_of(pfn)
        if (
            not t.traps
            and not t.engine.faults
            and pfn + REGION_PAGES <= self.rmp.limit
            and region not in self.rmp.assigned
        ):
            # In timed runs a region that is empty at both ends of the scan is looked at once.
            await t.spend(self.costs.rmp_lookup * REGION_PAGES)
            return region not in self.rmp.assigned
        stride = self.choices.scan_stride
        for frame in range(pfn, pfn + REGION_PAGES):
            if frame % stride == 0:
                entry = await self.rmp.lookup(t, frame)
            else:
                await t.spend(self.costs.rmp_lookup)
                entry = self.rmp.entry(frame)
            if entry is None or entry.assigned:
                return False
        return True
