"""SEV-SNP: KVM's hooks over the RMP, and accesses as the RMP judges them (arch.md 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from ..engine.op import Op
from .base import EIO, GuestAccess, HookResult
from .memory import FRAMES, HOST_KEY
from .psp import PspCommand
from .rmp import REGION_PAGES, RmpCode, head_of, pages_of, region_of
from .snp_host import SnpHost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..engine.task import Task
    from .base import Content, VmIdentity

ENOENT: Final = -2
EEXIST: Final = -17
EINVAL: Final = -22

#: Folio order of a 2M page.
ORDER_2M: Final = 9


class Snp(SnpHost):
    """An SEV-SNP VM: RMP entries, the firmware, memory keys.

    Frames carry the guest's ASID as memory key once the guest or the firmware has written them, so a host
    read of a private page, and a guest read of a page that it never wrote, see ciphertext.

    Flags, by where they come from:

    * host accesses: `HOST_RMP_VIOLATION` (a write; faults), `HOST_READ_CIPHERTEXT`;
    * frames that go back to the allocator: `RMP_LEAK`; that become shared in place: `RMP_NOT_SHARED`;
    * guest accesses: `RMP_GPA_STALE`, `RMP_ASID_STALE` (private access, entry of another address or guest:
      the guest faults for ever), `RMP_SHARED_STALE` (shared access to a frame that is still assigned),
      `DOUBLE_VALIDATE`;
    * the kernel's own loop: `LIVELOCK`.
    """

    has_private_memory: ClassVar[bool] = True
    hardware_private: ClassVar[bool] = True
    needs_launch: ClassVar[bool] = True
    shared_from_start: ClassVar[bool] = False
    rmp_faults: ClassVar[bool] = True
    encrypted_state: ClassVar[bool] = True
    populate_looks_first: ClassVar[bool] = True

    def guest_key(self, vm: VmIdentity, private: bool) -> int:
        return self.asid(vm) if private else HOST_KEY

    # -- hooks of guest_memfd (arch.md 1.3) -----------------------------------------------------------

    async def prepare(self, t: Task, vm: VmIdentity, gfn: int, pfn: int, order: int) -> HookResult:
        """`sev_gmem_prepare`: assign the frame to the guest unless it is assigned already, to whomever.

        Idempotence rests on the assigned bit alone; neither ASID, address nor level is compared. Content is
        not touched. -ENOENT (look-up), -EINVAL (RMPUPDATE).
        """
        entry = await self.rmp.lookup(t, pfn)
        if entry is None:
            return HookResult(ENOENT, False)
        if entry.assigned:
            return HookResult(0, False)
        level = 1
        if order >= ORDER_2M and await self.region_is_shared(t, head_of(pfn)):
            level = 2
            # The gfn is taken to be congruent; nothing checks it (arch.md 5.1 B15).
            pfn = head_of(pfn)
            gfn = head_of(gfn)
        if await self.rmp_make_private(t, pfn, gfn, level, self.asid(vm)):
            return HookResult(EINVAL, False)
        return HookResult(0, True)

    async def invalidate(self, t: Task, start: int, end: int) -> None:
        """`sev_gmem_invalidate`: frames [start, end) leave the page cache and become the host's again.

        A frame whose RMPUPDATE fails stays private and goes back to the allocator all the same (`RMP_LEAK`).
        """
        await self._take_back(t, start, end)

    async def _take_back(self, t: Task, start: int, end: int) -> list[int]:
        """RMPUPDATE of frames [start, end) to shared: those for which it failed."""
        failed = []
        pfn = start
        while pfn < end:
            pages, ok = await self._take_back_one(t, pfn, end)
            if not ok:
                failed.append(pfn)
            pfn += pages
        return failed

    async def _take_back_one(self, t: Task, pfn: int, end: int) -> tuple[int, bool]:
        """Pages that the step is over, and whether it came out well."""
        entry = await self.rmp.lookup(t, pfn)
        if entry is None or not entry.assigned:
            return 1, True
        level = 1
        if entry.level > 1:
            if pfn % REGION_PAGES == 0 and pfn + REGION_PAGES <= end:
                level = 2
            else:
                # A failure is reported, and the update below tried all the same.
                await self.snp_rmptable_psmash(t, pfn)
        pages = pages_of(level)
        if await self.rmp_make_shared(t, pfn, level):
            return pages, False
        # Dirty lines of the guest carry its key; nothing else would write them back.
        await t.spend(self.costs.clflush_4k * pages)
        return pages, True

    async def make_private(self, t: Task, vm: VmIdentity, gfn: int, pfn: int, pages: int) -> HookResult:
        """`sev_gmem_make_private`: prepare, for one page only (-EIO and a WARN otherwise, read in 7.3.4)."""
        if pages != 1 and not self.choices.large_make_private:
            return HookResult(EIO, False)
        return await super().make_private(t, vm, gfn, pfn, pages)

    async def make_shared(self, t: Task, pfn: int, pages: int) -> None:
        """`sev_gmem_make_shared` of 7.3.4: the body of what was invalidate; reclaim is the same function there.

        Frames that stay in the page cache and that it failed to take back are flagged here, as freed ones are where
        they are freed.
        """
        for frame in await self._take_back(t, pfn, pfn + pages):
            self.flag(t, "RMP_NOT_SHARED", frame)

    # -- launch (arch.md 1.3 populate) ----------------------------------------------------------------

    def launch_wants_source(self) -> bool:
        """All types of pages but ZERO, which the firmware clears."""
        return self.launch_page_type != "zero"

    async def populate(
        self,
        t: Task,
        vm: VmIdentity,
        gfn: int,
        pfn: int,
        source: Content,
        map_private_pfn: Callable[[], Awaitable[int]] | None = None,
        page_type: str = "",
    ) -> int:
        """`sev_gmem_post_populate` for one page: copy, assign as immutable, have it measured and encrypted.

        `page_type` is `normal` or `zero` (no source, the firmware zeroes); empty: that of the launch command
        under way, which holds slots_lock (`launch_page_type`).

        Returns:
            0; -EINVAL (no source, or no look-up); -EEXIST (assigned); -EFAULT (RMPUPDATE); -EIO (firmware, or
            fault point `psp_launch_update`), after the page was taken back or, failing that, leaked and the VM
            given up.
        """
        zero = (page_type or self.launch_page_type) == "zero"
        if source is None and not zero and not self.choices.in_place_source:
            return EINVAL
        entry = await self.rmp.lookup(t, pfn)
        if entry is None:
            return EINVAL
        if entry.assigned:
            return EEXIST
        if source is not None and not isinstance(source, str):
            found = await source()
            if isinstance(found, int):
                return found
            source = found
        if source is not None and not zero:
            if t.traps:
                await t.point(Op("store", FRAMES, pfn, pfn + 1))
            self.host_write(t, pfn, source)
        asid = self.asid(vm)
        ret = await self.rmp_make_private(t, pfn, gfn, 1, asid, immutable=True)
        if ret:
            return ret
        command = PspCommand("SNP_LAUNCH_UPDATE", asid, pfn, gfn, zero, t.fault("psp_launch_update"))
        if await self.psp.call(t, command):
            await self.snp_page_reclaim(t, vm, pfn)
            return EIO
        return 0

    async def launch_finish(self, t: Task, vm: VmIdentity) -> int:
        """The firmware's part of `snp_launch_finish`: 0, or -EIO (a second time; fault point `psp_launch_finish`)."""
        fail = t.fault("psp_launch_finish")
        command = PspCommand("SNP_LAUNCH_FINISH", self.asid(vm), fail=fail)
        return EIO if await self.psp.call(t, command) else 0

    # -- MMU -----------------------------------------------------------------------------------

    def max_level(self, pfn: int, private: bool) -> int:
        """`sev_gmem_max_mapping_level`: never larger than the RMP entry; no opinion on shared memory."""
        if not private:
            return 0
        if not self.rmp.entry(pfn).assigned:
            return 1
        return self.rmp.entry(head_of(pfn)).level

    async def max_mapping_level(
        self, t: Task, vm: VmIdentity, gfn: int, pfn: int, private: bool, prefetch: bool
    ) -> int:
        """`sev_gmem_max_mapping_level` as a fault asks it: a look-up of its own, 4K if that fails."""
        if not private:
            return 0
        entry = await self.rmp.lookup(t, pfn)
        return 1 if entry is None or not entry.assigned else entry.level

    async def rmp_fault(self, t: Task, pfn: int) -> int | None:
        """The middle of `sev_handle_rmp_fault`: None if there is no 2M entry, else what PSMASH answered."""
        entry = await self.rmp.lookup(t, pfn)
        if entry is None or not entry.assigned or entry.level == 1:
            return None
        return await self.snp_rmptable_psmash(t, pfn)

    async def rmp_recheck(self, t: Task, pfn: int, code: int) -> int:
        """`code`, or 0 if the entry is one of 4K now."""
        entry = await self.rmp.lookup(t, pfn)
        return 0 if entry is not None and entry.assigned and entry.level == 1 else code

    async def rmp_assigned(self, t: Task, pfn: int) -> bool:
        """The entry's assigned bit; a failed look-up counts as assigned."""
        entry = await self.rmp.lookup(t, pfn)
        return entry is None or entry.assigned

    def level_fits(self, t: Task, pfn: int, private: bool, level: int) -> bool:
        """A private mapping must have the size of the RMP entry: smaller and larger ones fault.

        Judged at each access, as all of the RMP is here; hardware does it when it fills the TLB.
        """
        if not private or not self.rmp.entry(pfn).assigned:
            return True
        head = head_of(pfn)
        return self.rmp.entry(head).level == min(level, 2)

    # -- guest (arch.md 1.6) --------------------------------------------------------------------------

    async def guest_access(
        self, t: Task, vm: VmIdentity, gfn: int, pfn: int, private: bool, write: str | None
    ) -> GuestAccess:
        """One load or store; the RMP check and the access are one step, as the hardware makes them.

        So is the translation that gave `pfn`: a TLB flush waits until the vCPU has left the guest, so no access
        straddles it. Hence no trap here; the caller's stands for all of it.

        Private: `npf` if the frame is the host's or somebody else's, #VC if it is not validated. Shared:
        `npf` for a write to an assigned frame; a read is not checked and sees ciphertext.
        """
        entry = self.rmp.entry(pfn)
        key = self.guest_key(vm, private)
        flag = ""
        if private:
            if not entry.assigned:
                return GuestAccess("npf")
            flag = self.rmp.owner_flag(pfn, key, gfn)
            if flag:
                return GuestAccess("npf", flag=flag)
            if not entry.validated:
                return GuestAccess("exception", "#VC")
        elif entry.assigned:
            flag = "RMP_SHARED_STALE"
            if write is not None:
                return GuestAccess("npf", flag=flag)
        if write is not None:
            self.memory.write(pfn, write, key)
            return GuestAccess("ok", write, flag)
        return GuestAccess("ok", self.memory.read(pfn, key), flag)

    async def pvalidate(
        self, t: Task, vm: VmIdentity, gfn: int, pfn: int, validate: bool, level: int = 1
    ) -> GuestAccess:
        """PVALIDATE of the page behind `gfn`: transitions 4 and 5.

        `ok` with value `validated`, `rescinded`, `no_change` (flag DOUBLE_VALIDATE) or `size_mismatch`; or
        `npf`.
        """
        code = await self.rmp.pvalidate(t, pfn, validate, self.asid(vm), gfn, level)
        if code is None:
            entry = self.rmp.entry(pfn)
            return GuestAccess(
                "npf", flag=self.rmp.owner_flag(pfn, self.asid(vm), gfn) if entry.assigned else ""
            )
        if code == RmpCode.NO_CHANGE:
            return GuestAccess("ok", "no_change", "DOUBLE_VALIDATE")
        if code == RmpCode.SIZE_MISMATCH:
            return GuestAccess("ok", "size_mismatch")
        return GuestAccess("ok", "validated" if validate else "rescinded")

    async def rmpadjust_vmsa(self, t: Task, vm: VmIdentity, gfn: int, pfn: int) -> bool:
        """RMPADJUST: the guest makes a page of its own a VMSA; False if the page is not its own, or not validated."""
        if t.traps:
            await t.point(Op("rmw", FRAMES, pfn, pfn + 1))
        entry = self.rmp.entry(pfn)
        if not entry.validated or self.rmp.owner_flag(pfn, self.asid(vm), gfn):
            return False
        self.rmp.vmsas.add(pfn)
        return True

    def vmrun(self, t: Task, vm: VmIdentity, pfn: int) -> bool:
        """The page must be a VMSA of this guest; until the exit its entry is in use."""
        if pfn not in self.rmp.vmsas or self.rmp.entry(pfn).asid != self.asid(vm):
            return False
        self.rmp.in_use.add(pfn)
        return True

    def vmexit(self, t: Task, pfn: int) -> None:
        self.rmp.in_use.discard(pfn)

    async def guest_accept(self, t: Task, vm: VmIdentity, gfn: int, pfn: int, level: int = 1) -> GuestAccess:
        """PVALIDATE(1) as the common code asks for it; flags are recorded here."""
        result = await self.pvalidate(t, vm, gfn, pfn, True, level)
        if result.flag:
            self.flag(t, result.flag, pfn)
        return result

    # -- host (arch.md 1.6) ---------------------------------------------------------------------------

    def host_access(self, t: Task, pfn: int, write: bool) -> str | None:
        """A write faults on an assigned frame, and through a large mapping of a region that holds one."""
        if not self.rmp.entry(pfn).assigned:
            region = region_of(pfn)
            if write and region not in self.split and self.rmp.assigned.get(region):
                return "HOST_RMP_VIOLATION"
            return None
        return "HOST_RMP_VIOLATION" if write else "HOST_READ_CIPHERTEXT"

    def passes(self, t: Task, pfn: int, pages: int) -> bool:
        """Timed runs: no region of the range has an assigned frame."""
        if t.traps or not self._plain_host_access(Snp):
            return False
        return not any(
            region in self.rmp.assigned for region in range(region_of(pfn), region_of(pfn + pages - 1) + 1)
        )

    def page_freed(self, t: Task, pfn: int) -> str | None:
        """`RMP_LEAK`, unless the kernel leaked the frame knowingly."""
        if self.rmp.entry(pfn).assigned and pfn not in self.memory.leaked:
            return "RMP_LEAK"
        return None
