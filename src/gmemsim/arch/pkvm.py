"""pKVM (arm64) behind guest_memfd: a PROJECTION, which no kernel is (arch.md 4).

Upstream pKVM gives protected VMs anonymous memory, page by page at their stage-2 faults. The spec projects guest_memfd
on that: make_private donates, the guest itself shares and unshares before it asks the VMM to convert, and a page that
leaves the file is reclaimed and scrubbed. Only these hooks are pKVM's. The fault path around them is the model's one,
x86's: there is no arm64 page-table code here, and EL2's tables stand beside KVM's own, which gates them. A guest access
needs a leaf of both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from ..engine.op import Op
from .base import Arch, GuestAccess, HookResult
from .choices import PkvmChoices
from .memory import FRAMES
from .pkvm_el2 import El2
from .pkvm_state import El2Vm, PageState

if TYPE_CHECKING:
    from ..engine.task import Task
    from .base import VmIdentity
    from .costs import CostTable
    from .memory import PhysicalMemory

EPERM: Final = -1
EAGAIN: Final = -11
EFAULT: Final = -14
EINVAL: Final = -22


class Pkvm(Arch):
    """PROJECTION: protected VM of pKVM (arm64). No kernel backs one with guest_memfd; hooks only, over x86's MMU code.

    EL2 belongs to the machine: actors on one `PhysicalMemory` share it. Its steps cost no time: no figure is known.

    Flags, by where they come from:

    * the host kernel's accesses: `PKVM_FORCED_RECLAIM` (a guest's page, now zeroed and poison), `PKVM_OOPS` (a page
      that it cannot have back);
    * donations: `PKVM_DOUBLE_DONATE` (EL2 gave a page away that was a guest's), `PKVM_GFN_STALE` (refused: the frame
      is a guest's at another gfn, or this gfn has another frame; also at guest accesses);
    * frames that go back to the allocator: `PKVM_LEAK`, `PKVM_UNSCRUBBED`.
    """

    name: ClassVar[str] = "pkvm"
    has_private_memory: ClassVar[bool] = True
    shared_from_start: ClassVar[bool] = False
    host_stage2: ClassVar[bool] = True
    guest_converts: ClassVar[bool] = True
    host_faults: ClassVar[frozenset[str]] = frozenset({"PKVM_OOPS"})

    #: What a machine without a hypervisor gets.
    el2_class: ClassVar[type[El2]] = El2

    def __init__(
        self, memory: PhysicalMemory, costs: CostTable | None = None, choices: PkvmChoices | None = None
    ) -> None:
        super().__init__(memory, costs)
        if "pkvm" not in memory.hardware:
            memory.hardware["pkvm"] = self.el2_class(memory, PkvmChoices())
        self.el2: El2 = memory.hardware["pkvm"]
        self.el2.blame = self.flag
        if choices is not None:
            self.choices = choices

    @property
    def choices(self) -> PkvmChoices:
        """The machine's; setting them changes them for every actor on it."""
        return self.el2.choices

    @choices.setter
    def choices(self, choices: PkvmChoices) -> None:
        self.el2.choices = choices

    def guest(self, vm: VmIdentity) -> El2Vm:
        """EL2's side of a VM, made when it is first asked for."""
        found = self.el2.vms.get(vm.ident)
        if found is None:
            found = self.el2.vms[vm.ident] = El2Vm(vm.label, vm.ident)
        return found

    # -- hooks of guest_memfd (arch.md 4.2) -----------------------------------------------------------

    async def prepare(self, t: Task, vm: VmIdentity, gfn: int, pfn: int, order: int) -> HookResult:
        """Donate the page, unless its guest has it. Folio lock and invalidate lock (shared) held.

        -EFAULT (the guest lost this page by force: it is poison), else as `host_donate_guest`; -EINVAL also for more
        than a page.
        """
        guest = self.guest(vm)
        if order:
            return HookResult(EINVAL, False)
        if guest.state(gfn) == PageState.POISON:
            return HookResult(EFAULT, False)
        await self._take_back_lent(t, pfn)
        ret = await self.el2.host_donate_guest(t, guest, gfn, pfn)
        if ret == EAGAIN:
            return HookResult(0, False)
        if ret == EPERM:
            self.flag(t, "PKVM_GFN_STALE", pfn)
        return HookResult(ret, ret == 0)

    async def _take_back_lent(self, t: Task, pfn: int) -> None:
        """A page that was lent while it was shared is nobody's but the host's before it is donated or freed."""
        for ident, gfn in self.el2.page(pfn).borrowers:
            await self.el2.host_unshare_guest(t, self.el2.vms[ident], gfn)

    async def invalidate(self, t: Task, start: int, end: int) -> None:
        """Pages [start, end) leave the file: reclaimed from whomever has them, and scrubbed."""
        for pfn in range(start, end):
            await self._take_back_lent(t, pfn)
            page = self.el2.page(pfn)
            if page.owner < 0:
                continue
            ret = await self.el2.host_reclaim_page_guest(t, self.el2.vms[page.owner], page.gfn)
            if ret == EINVAL:
                # Any other error: somebody took the page by force meanwhile, and it is the host's.
                self.memory.leak(pfn)

    async def make_shared(self, t: Task, pfn: int, pages: int) -> None:
        """Nothing: the guest has shared the page before it asked, and its content must stay (guest-memfd.md 4.14)."""

    async def launch_finish(self, t: Task, vm: VmIdentity) -> int:
        """There is no such call."""
        return EINVAL

    # -- guest ---------------------------------------------------------------------------------

    async def guest_convert(self, t: Task, vm: VmIdentity, gfn: int, private: bool) -> int:
        """The guest's hypercall: after it the host has the page, or has it no more, whatever KVM still thinks."""
        guest = self.guest(vm)
        if private:
            return await self.el2.guest_unshare_host(t, guest, gfn)
        return await self.el2.guest_share_host(t, guest, gfn)

    async def guest_access(
        self, t: Task, vm: VmIdentity, gfn: int, pfn: int, private: bool, write: str | None
    ) -> GuestAccess:
        """One load or store through EL2's table, one step with the translation that gave `pfn`.

        A shared leaf whose page the guest does not have yet lends it. That belongs to the map step, which has no hook
        for shared leaves; here it happens at the first access, without the locks: nobody else changes these entries
        while a leaf leads to the page.
        """
        guest = self.guest(vm)
        page = guest.pages.get(gfn)
        if page is None:
            if private:
                return GuestAccess("npf")
            if not self.choices.lend_shared:
                return GuestAccess("error")
            if self.el2.check_share(guest, gfn, pfn):
                return GuestAccess("error", flag="PKVM_GFN_STALE")
            self.el2.lend(t, guest, gfn, pfn)
        elif page.state == PageState.POISON:
            return GuestAccess("error")
        elif page.pfn != pfn:
            return GuestAccess("error", flag="PKVM_GFN_STALE")
        if write is not None:
            self.memory.write(pfn, write)
            return GuestAccess("ok", write)
        return GuestAccess("ok", self.memory.read(pfn))

    # -- host (arch.md 4.3) ---------------------------------------------------------------------------

    async def kernel_touch(self, t: Task, pfn: int) -> None:
        """The abort is injected into the host, whose handler takes the page by force; then the access is repeated."""
        while True:
            if t.traps:
                await t.point(Op("load", FRAMES, pfn, pfn + 1, "r"))
            if self.el2.page(pfn).state != PageState.NOPAGE:
                return
            ret = await self.el2.host_force_reclaim(t, pfn)
            if ret == 0:
                self.flag(t, "PKVM_FORCED_RECLAIM", pfn)
            elif ret != EAGAIN:
                return

    def user_abort(self, t: Task, pfn: int) -> str:
        """`user_signal`: nothing is taken from the guest for a process of the host."""
        return self.choices.user_signal if self.el2.page(pfn).state == PageState.NOPAGE else ""

    def host_access(self, t: Task, pfn: int, write: bool) -> str | None:
        """The kernel's access itself, its aborts dealt with (`kernel_touch`)."""
        return "PKVM_OOPS" if self.el2.page(pfn).state == PageState.NOPAGE else None

    def page_freed(self, t: Task, pfn: int) -> str | None:
        """`PKVM_LEAK` or `PKVM_UNSCRUBBED`, unless the frame was leaked knowingly."""
        if pfn in self.memory.leaked:
            return None
        if self.el2.page(pfn).state != PageState.OWNED:
            return "PKVM_LEAK"
        return "PKVM_UNSCRUBBED" if pfn in self.el2.secret else None
