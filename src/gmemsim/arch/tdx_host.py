"""KVM's side of a TD: calls that may be BUSY, kicks, and the removal of a leaf (arch.md 2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from ..engine.op import Op
from .base import Arch
from .choices import TdxChoices
from .memory import FRAMES, ZERO
from .tdx_module import TdxModule
from .tdx_state import Td, TdxStatus, pages_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from ..engine.task import Task
    from .base import VmIdentity
    from .costs import CostTable
    from .memory import PhysicalMemory
    from .spin import SpinWait
    from .tdx_epoch import TdVcpu

ENOMEM: Final = -12
EBUSY: Final = -16


class TdxHost(Arch):
    """What the hooks of `Tdx` are made of.

    The module belongs to the machine: actors on one `PhysicalMemory` share it, the first one's costs and the
    last choices given included.
    """

    name: ClassVar[str] = "tdx"

    def __init__(
        self, memory: PhysicalMemory, costs: CostTable | None = None, choices: TdxChoices | None = None
    ) -> None:
        super().__init__(memory, costs)
        if "tdx" not in memory.hardware:
            memory.hardware["tdx"] = TdxModule(memory, TdxChoices(), self.costs)
        self.module: TdxModule = memory.hardware["tdx"]
        if choices is not None:
            self.choices = choices

    @property
    def choices(self) -> TdxChoices:
        """The machine's; setting them changes them for every actor on it."""
        return self.module.choices

    @choices.setter
    def choices(self, choices: TdxChoices) -> None:
        self.module.choices = choices
        for td in self.module.tds.values():
            td.sept.choices = choices

    def spin_waits(self) -> Iterable[SpinWait]:
        """The gates and locks of the machine's TDs."""
        for td in self.module.tds.values():
            yield from (td.gate, td.kick, td.tree.wait, td.epochs.lock.wait)

    def td(self, vm: VmIdentity) -> Td:
        """The TD of a VM."""
        found = self.module.tds.get(vm.ident)
        if found is None:
            self.module.tds[vm.ident] = found = Td(vm.ident, vm.label, self.choices)
        return found

    # -- vCPUs ---------------------------------------------------------------------------------

    async def enter_guest(self, t: Task, td: Td, vcpu: TdVcpu) -> None:
        """KVM_RUN's loop: try to enter until the vCPU is inside the guest (or the VM is dead)."""
        while True:
            if vcpu.epoch is not None or td.dead:
                return
            # Tested in the step in which the vCPU counts as inside the module, so that no kick is lost.
            if td.no_vcpus:
                await td.gate.turn(t, self.costs.busy_retry)
            elif not await self.module.vp_enter(t, td, vcpu):
                lock = td.epochs.lock
                if lock.owner is not None:
                    await lock.wait.turn(t, self.costs.busy_retry)
                    continue
                # The step has tried the tree lock exclusively, or released it, so others who share it know.
                if td.tree.owner is not None or td.tree.sharers:
                    await td.tree.wait.turn(t, self.costs.busy_retry)

    async def exit_guest(self, t: Task, td: Td, vcpu: TdVcpu) -> None:
        """The vCPU leaves the guest by itself."""
        if t.traps:
            await t.point(Op("release", td.epochs.lock.label))
        td.epochs.left(vcpu)

    async def kick_vcpus(self, t: Task, td: Td) -> None:
        """Interrupt every vCPU and wait until each has been outside the guest once.

        A vCPU between two instructions leaves at once and repeats the interrupted one later; one inside the
        module finishes its call first.
        """
        if t.traps:
            await t.point(Op("rmw", td.epochs.lock.label))
        vcpus = td.epochs.vcpus
        cpus = t.engine.cpus
        if cpus is not None:
            cpus.interrupt(t, [task.cpu for task in vcpus], self.costs.td_exit_entry)
        await t.spend(self.costs.tlb_shootdown(len(vcpus)))
        for vcpu in list(vcpus.values()):
            if not t.traps and vcpu.epoch is None and not vcpu.in_module:
                # Outside: its next entry would forget the kick.
                continue
            vcpu.kicked = True
            while vcpu.in_module:
                await td.kick.turn(t, self.costs.busy_retry)
            td.epochs.left(vcpu)

    async def do_no_vcpus(self, t: Task, td: Td, call: Callable[[], Awaitable[int]]) -> int:
        """A call that must not stay BUSY: its second and last try has every vCPU kept out of the guest."""
        code = await call()
        if code != TdxStatus.OPERAND_BUSY:
            return code
        td.no_vcpus = True
        await self.kick_vcpus(t, td)
        code = await call()
        td.no_vcpus = False
        td.gate.changed(t)
        return code

    def tdx_bug(self, t: Task, td: Td, pfn: int, flag: str = "KVM_BUG") -> int:
        """`TDX_BUG_ON`: the VM is dead; `flag` says what the module objected to. Returns -EIO."""
        td.dead = True
        td.gate.changed(t)
        self.flag(t, flag, pfn)
        return self.kvm_bug(t, td)

    # -- zap (mmu_lock held for writing) -------------------------------------------------------

    async def remove_leaf(self, t: Task, td: Td, gfn: int, pfn: int, level: int = 1) -> int:
        """BLOCK, TRACK and kick, REMOVE, write back, reset: 0, or -EIO and the VM is dead.

        TRACK and the kick are left out until the TD is runnable. With `page_references` a frame whose
        removal failed is leaked; without it nobody is told. Fault point `tdx_page_remove`.
        """
        ret = await self._remove_leaf(t, td, gfn, pfn, level)
        unflushed = self.module.owner(pfn) is None
        if ret and self.choices.page_references and (self.choices.leak_unflushed or not unflushed):
            pages = pages_of(level)
            for frame in range(pfn, pfn + pages):
                self.memory.leak(frame)
        return ret

    async def _remove_leaf(self, t: Task, td: Td, gfn: int, pfn: int, level: int) -> int:
        module = self.module
        if await self.do_no_vcpus(t, td, lambda: module.range_block(t, td, gfn, level)):
            return self.tdx_bug(t, td, pfn)
        await self.track(t, td)
        if t.fault("tdx_page_remove"):
            # The module fails as the run asks. That KVM gives the VM up is right, so this is no flag of a bug.
            return self.tdx_bug(t, td, pfn, "TDX_FAILED")
        code = await self.do_no_vcpus(t, td, lambda: module.page_remove(t, td, gfn, level))
        if code in (TdxStatus.NOT_BLOCKED, TdxStatus.TRACKING_NOT_DONE):
            return self.tdx_bug(t, td, pfn, "TLB_STALE")
        if code:
            return self.tdx_bug(t, td, pfn)
        if await module.page_wbinvd(t, pfn, level):
            return self.tdx_bug(t, td, pfn, "TDX_FAILED")
        await self._reset(t, pfn, level)
        return 0

    async def split_leaf(self, t: Task, td: Td, gfn: int, pfn: int) -> int:
        """BLOCK, TRACK and kick, DEMOTE of a 2M leaf: 0; -ENOMEM before anything was done; -EIO and the VM is dead.

        The table page, and with Dynamic PAMT two pairs of PAMT pages, come from a cache that was filled before mmu_lock
        was taken; fault point `tdx_pamt_cache`: it could not be.
        """
        if t.fault("tdx_pamt_cache"):
            return ENOMEM
        module = self.module
        if td.runnable:
            if await self.do_no_vcpus(t, td, lambda: module.range_block(t, td, gfn, 2)):
                return self.tdx_bug(t, td, pfn)
            await self.track(t, td)
        while True:
            code = await self.do_no_vcpus(t, td, lambda: module.page_demote(t, td, gfn))
            if code != TdxStatus.INTERRUPTED_RESTARTABLE:
                break
        if code in (TdxStatus.NOT_BLOCKED, TdxStatus.TRACKING_NOT_DONE):
            return self.tdx_bug(t, td, pfn, "TLB_STALE")
        return self.tdx_bug(t, td, pfn) if code else 0

    async def track(self, t: Task, td: Td) -> None:
        """`tdx_track` of a runnable TD: TRACK, then always a kick: afterwards nobody is inside from the epoch before.

        It returns nothing (6.16.1, 7.2.12, 7.3.4): the VM is dead where TRACK fails, and the caller goes on to REMOVE,
        which the module refuses then.
        """
        if not td.runnable:
            return
        if await self.do_no_vcpus(t, td, lambda: self.module.mem_track(t, td)):
            self.tdx_bug(t, td, -1)
        await self.kick_vcpus(t, td)

    async def _reset(self, t: Task, pfn: int, level: int) -> None:
        """Zero the page with 64-byte stores, where the CPU (or the kernel's age) wants it."""
        pages = pages_of(level)
        how = self.choices.reset_removed
        if how == "always" or (how == "erratum" and self.choices.erratum):
            await t.spend(self.costs.reset_4k * pages)
            if t.traps:
                await t.point(Op("store", FRAMES, pfn, pfn + pages))
            for frame in range(pfn, pfn + pages):
                self.memory.write(frame, ZERO)
                self.module.poisoned.discard(frame)
