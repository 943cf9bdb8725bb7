"""TDX: KVM's hooks over the module's S-EPT, and the guest's and host's accesses (arch.md 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from ..engine.op import Op
from .base import EIO, GuestAccess
from .memory import FRAMES, HOST_KEY, ZERO
from .sept import SeptState
from .tdx_host import EBUSY, TdxHost
from .tdx_state import TdxStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..engine.task import Task
    from .base import Content, VmIdentity
    from .tdx_state import Td

EINVAL: Final = -22
EOPNOTSUPP: Final = -95


class Tdx(TdxHost):
    """A TDX guest (TD): S-EPT and the TDX module, pages of 4K and 2M.

    Preparing a page does nothing; a private leaf becomes the guest's when it is augmented, which happens
    under mmu_lock held for reading and may be BUSY. Zapping a leaf destroys its content, so a 2M leaf of which
    part is to go is split first (DEMOTE), under mmu_lock held for writing; nothing is promoted again.

    Flags, by where they come from:

    * host accesses: `TDX_POISON_WRITE` (a write; nothing happens yet), `TDX_HOST_READ` (soft);
    * guest accesses: `TDX_MCE` (read of a poisoned line: the TD dies), `TDX_LOST_PAGE` (an accepted page
      came back pending: the TD dies), `TLB_STALE` (a translation outlived its page);
    * the module's refusals, each of which kills the VM: `PAMT_DOUBLE_MAP` (a frame that has an owner),
      `TLB_STALE` (REMOVE of a page that was not blocked and tracked), `KVM_BUG` (anything else, BUSY twice
      included);
    * frames that go back to the allocator: `SEPT_UAF`, `TDX_UNFLUSHED` (also when the host uses one).
    """

    has_private_memory: ClassVar[bool] = True
    hardware_private: ClassVar[bool] = True
    mirror_root: ClassVar[bool] = True
    needs_launch: ClassVar[bool] = True
    shared_from_start: ClassVar[bool] = False
    populate_maps: ClassVar[bool] = True
    #: TDX_SHARED_BIT_PWL_4: the TD has guest physical addresses of 48 bits.
    gfn_direct_bits: ClassVar[int] = 1 << 35

    def guest_key(self, vm: VmIdentity, private: bool) -> int:
        return self.td(vm).key if private else HOST_KEY

    # -- hooks of guest_memfd: prepare, invalidate and make_shared do nothing ------------------

    def launch_wants_source(self) -> bool:
        """Always."""
        return True

    @property
    def populate_premaps(self) -> bool:
        return bool(self.choices.premap)

    async def populate(
        self,
        t: Task,
        vm: VmIdentity,
        gfn: int,
        pfn: int,
        source: Content,
        map_private_pfn: Callable[[], Awaitable[int]] | None = None,
    ) -> int:
        """`tdx_gmem_post_populate` of 7.2 and 7.3: KVM maps the page, and `set_spte` adds it from the source kept here.

        To 6.18 (`TdxChoices.premap`) KVM maps the page by a fault, which `set_spte` counts, and it is added afterwards.

        Returns:
            0; -EOPNOTSUPP (no source); else what `map_private_pfn` answers: -EIO (the page is there already, or the
            module refuses it), -EINTR; with `premap` also the errno of a fault, and -EBUSY of the module.
        """
        assert not callable(source)
        td = self.td(vm)
        if source is None and not self.choices.in_place_source:
            return EOPNOTSUPP
        assert map_private_pfn is not None
        if self.choices.premap and source is not None:
            ret = await self._add_premapped(t, td, gfn, pfn, source, map_private_pfn)
            if ret == 0 and self.choices.measure and await self.module.mr_extend(t, td, gfn, pfn):
                return EIO
            return ret
        td.page_add_src = self.memory.read(pfn) if source is None else source
        ret = await map_private_pfn()
        td.page_add_src = None
        if ret == 0 and self.choices.measure and await self.module.mr_extend(t, td, gfn, pfn):
            # TDX_BUG_ON_2: what kept the mapping is the invalidate lock.
            return self.tdx_bug(t, td, pfn)
        return ret

    async def _add_premapped(
        self, t: Task, td: Td, gfn: int, pfn: int, source: str, map_page: Callable[[], Awaitable[int]]
    ) -> int:
        """The order of 6.16 to 6.18: the mirror has the leaf, and `nr_premapped` one more, until PAGE.ADD."""
        ret = await map_page()
        if ret:
            return ret
        code = await self.module.page_add(t, td, gfn, pfn, source)
        if code:
            return EBUSY if code == TdxStatus.OPERAND_BUSY else EIO
        td.premapped -= 1
        return 0

    async def launch_finish(self, t: Task, vm: VmIdentity) -> int:
        """`tdx_td_finalize`: 0, or -EINVAL (finalized already; with `premap` also a page that was not added)."""
        td = self.td(vm)
        if td.runnable or td.premapped:
            return EINVAL
        if t.traps:
            await t.point(Op("rmw", td.sept.label))
        td.runnable = True
        return 0

    # -- hooks of the MMU ----------------------------------------------------------------------

    async def set_spte(
        self, t: Task, vm: VmIdentity, gfn: int, pfn: int, private: bool, level: int = 1
    ) -> int:
        """`tdx_sept_map_leaf_spte`, the mirror entry frozen: AUG once the TD is runnable, ADD before.

        Returns:
            0; -EBUSY (a try-lock was taken: the fault is retried); -EIO (the VM is dead).
        """
        if not private:
            return 0
        td = self.td(vm)
        if td.dead:
            return EIO
        ret = await self._link_table(t, td, gfn) if level == 1 else 0
        if ret:
            return ret
        began = t.engine.now
        if td.runnable:
            code = await self.module.page_aug(t, td, gfn, pfn, level)
        else:
            if self.choices.premap:
                td.premapped += 1
                return 0
            if td.page_add_src is None:
                return self.tdx_bug(t, td, pfn)
            code = await self.module.page_add(t, td, gfn, pfn, td.page_add_src)
        if code == TdxStatus.OPERAND_BUSY:
            if not t.traps:
                td.busy_since.setdefault(t, began)
            await t.spend(self.costs.busy_retry)
            return EBUSY
        since = td.busy_since.pop(t, None)
        if since is not None:
            # The faults that were given up in between count: they are how KVM waits for the module's locks.
            td.tree.wait.turns += 1
            td.tree.wait.spun_ns += began - since
        if code == TdxStatus.PAGE_METADATA_INCORRECT:
            return self.tdx_bug(t, td, pfn, "PAMT_DOUBLE_MAP")
        return self.tdx_bug(t, td, pfn) if code else 0

    async def _link_table(self, t: Task, td: Td, gfn: int) -> int:
        """The S-EPT table above a leaf: 0, -EBUSY or -EIO."""
        if t.traps:
            await t.point(td.sept.op("load", gfn, 2, "r"))
        if td.sept.state(gfn, 2) == SeptState.NL_MAPPED:
            return 0
        # KVM freezes the mirror's own entry for the table; whoever meets that, or finds it there, retries.
        region = td.sept.key(gfn, 2)[1]
        if t.traps:
            await t.point(td.sept.op("rmw", gfn, 2))
        if region in td.linking or td.sept.state(gfn, 2) == SeptState.NL_MAPPED:
            return EBUSY
        td.linking.add(region)
        code = await self.module.sept_add(t, td, gfn)
        td.linking.discard(region)
        if code == TdxStatus.OPERAND_BUSY:
            await t.spend(self.costs.busy_retry)
            return EBUSY
        return self.tdx_bug(t, td, -1) if code else 0

    async def remove_sptes(
        self, t: Task, vm: VmIdentity, leaves: list[tuple[int, int]], level: int = 1
    ) -> None:
        """Leaves were zapped from the mirror: BLOCK, TRACK and kick, REMOVE for each (`remove_leaf`)."""
        td = self.td(vm)
        for gfn, pfn in leaves:
            await self.remove_leaf(t, td, gfn, pfn, level)

    async def split_spte(self, t: Task, vm: VmIdentity, gfn: int, pfn: int, level: int) -> int:
        """A 2M leaf becomes 512 of 4K, with their content (`split_leaf`)."""
        td = self.td(vm)
        return EIO if td.dead else await self.split_leaf(t, td, gfn, pfn)

    def max_level(self, pfn: int, private: bool) -> int:
        """At most 2M for private memory, no opinion on shared; a fault asks `max_mapping_level`."""
        return 0 if not private else 1 if self.choices.level_rule == "4k" else 2

    async def max_mapping_level(
        self, t: Task, vm: VmIdentity, gfn: int, pfn: int, private: bool, prefetch: bool
    ) -> int:
        """4K before the TD runs, for a pre-fault, and below a table; else as `TdxChoices.level_rule` says."""
        if not private:
            return 0
        td = self.td(vm)
        rule = self.choices.level_rule
        if rule == "4k" or not td.runnable or prefetch or td.sept.state(gfn, 2) == SeptState.NL_MAPPED:
            return 1
        region = td.sept.key(gfn, 2)[1]
        if rule == "inhibit":
            return 1 if region in td.inhibited else 2
        noted = td.epochs.vcpu(t).accepting
        return 2 if noted is None or td.sept.key(noted[0], 2)[1] != region else noted[1]

    @property
    def splits_for_accept(self) -> bool:
        """Whether KVM splits a leaf larger than what the guest accepts, and keeps the region small."""
        return self.choices.level_rule == "inhibit"

    async def accept_fault(self, t: Task, vm: VmIdentity, vcpu: int, gfn: int, level: int) -> None:
        """The exit of an accept carries its level: noted for the vCPU, and a 4K one inhibits 2M in its region."""
        td = self.td(vm)
        td.epochs.vcpu(t).accepting = gfn, level
        if level == 1 and self.splits_for_accept:
            region = td.sept.key(gfn, 2)[1]
            td.inhibited.add(region)

    # -- guest ---------------------------------------------------------------------------------

    async def guest_access(
        self, t: Task, vm: VmIdentity, gfn: int, pfn: int, private: bool, write: str | None
    ) -> GuestAccess:
        """One load or store. A private one goes by the vCPU's own TLB and the S-EPT, not by `pfn`.

        Private: `npf` without a usable leaf; `dead` (or #VE, `sept_ve_disable`) on a pending one. A vCPU
        that is kicked in the middle repeats the access.
        """
        td = self.td(vm)
        if not private:
            return await self._shared_access(t, pfn, write)
        vcpu = td.epochs.vcpu(t)
        while True:
            await self.enter_guest(t, td, vcpu)
            if td.dead:
                return GuestAccess("dead")
            frame = vcpu.tlb.get(gfn)
            if frame is None:
                if t.traps:
                    await t.point(td.sept.op("load", gfn, mode="r"))
                entry = td.sept.walk(gfn)
                if entry is None or entry.state not in (SeptState.PENDING, SeptState.MAPPED):
                    vcpu.faults = min(vcpu.faults + 1, self.choices.zero_step_threshold)
                    await self.exit_guest(t, td, vcpu)
                    return GuestAccess("npf")
                if entry.state == SeptState.PENDING:
                    return self._pending(td, gfn)
                vcpu.tlb[gfn] = frame = td.sept.frame(gfn, entry)
            if t.traps:
                read = write is None
                await t.point(Op("load" if read else "store", FRAMES, frame, frame + 1, "r" if read else "w"))
            if vcpu.epoch is None:
                continue
            vcpu.faults = 0
            return self._private_access(td, gfn, frame, write)

    def _pending(self, td: Td, gfn: int) -> GuestAccess:
        """Access before accept; a page that the guest had accepted was taken from it in between."""
        if not self.choices.sept_ve_disable:
            return GuestAccess("exception", "#VE")
        td.dead = True
        return GuestAccess("dead", flag="TDX_LOST_PAGE" if gfn in td.accepted else "")

    def _private_access(self, td: Td, gfn: int, pfn: int, write: str | None) -> GuestAccess:
        owner = self.module.owner(pfn)
        flag = "" if owner is not None and (owner.td, owner.gfn) == (td.ident, gfn) else "TLB_STALE"
        if write is not None:
            self.memory.write(pfn, write, td.key)
            return GuestAccess("ok", write, flag)
        if pfn in self.module.poisoned and not flag:
            td.dead = True
            return GuestAccess("dead", flag="TDX_MCE")
        return GuestAccess("ok", self.memory.read(pfn, td.key), flag)

    async def _shared_access(self, t: Task, pfn: int, write: str | None) -> GuestAccess:
        """Through the shared EPT: the same as a host access, in one step with the translation that gave `pfn`."""
        flag = self.host_access(t, pfn, write is not None) or ""
        if write is not None:
            self.memory.write(pfn, write)
            return GuestAccess("ok", write, flag)
        return GuestAccess("ok", self.memory.read(pfn), flag)

    async def accept(self, t: Task, vm: VmIdentity, gfn: int, level: int = 1) -> GuestAccess:
        """TDG.MEM.PAGE.ACCEPT: `ok` (value `accepted`, `already_accepted`, `size_mismatch`, `busy`), `npf`, `dead`.

        An interrupt in the middle of 2M is served, and the accept goes on where it was.
        """
        td = self.td(vm)
        vcpu = td.epochs.vcpu(t)
        while True:
            await self.enter_guest(t, td, vcpu)
            if td.dead:
                return GuestAccess("dead")
            if vcpu.epoch is not None:
                break
        vcpu.in_module = True
        code = await self.module.page_accept(t, td, gfn, level, vcpu)
        vcpu.in_module = False
        td.kick.changed(t)
        if code == TdxStatus.INTERRUPTED_RESUMABLE:
            await self.exit_guest(t, td, vcpu)
            return await self.accept(t, vm, gfn, level)
        if code == TdxStatus.EPT_VIOLATION:
            vcpu.faults = min(vcpu.faults + 1, self.choices.zero_step_threshold)
            await self.exit_guest(t, td, vcpu)
            return GuestAccess("npf")
        if code == TdxStatus.OPERAND_BUSY:
            return GuestAccess("ok", "busy")
        vcpu.faults = 0
        vcpu.accepting = None
        if code == TdxStatus.PAGE_SIZE_MISMATCH:
            return GuestAccess("ok", "size_mismatch")
        return GuestAccess("ok", "accepted" if code == TdxStatus.SUCCESS else "already_accepted")

    async def guest_accept(self, t: Task, vm: VmIdentity, gfn: int, pfn: int, level: int = 1) -> GuestAccess:
        """`accept`, as the common code asks for it."""
        return await self.accept(t, vm, gfn, level)

    def guest_forgets(self, t: Task, vm: VmIdentity, start: int, end: int) -> None:
        """MapGPA: a page that the guest finds pending later was not taken from it."""
        td = self.td(vm)
        td.accepted.difference_update(range(start, end))

    # -- host ----------------------------------------------------------------------------------

    def host_access(self, t: Task, pfn: int, write: bool) -> str | None:
        """A write to a TD's page poisons it, which the TD's next read notices; a read sees garbage.

        A page that was removed and not written back is nobody's, and not fit for use (`TDX_UNFLUSHED`).
        """
        module = self.module
        if module.owner(pfn) is None:
            if write:
                module.poisoned.discard(pfn)
            return "TDX_UNFLUSHED" if pfn in module.unflushed else None
        if not write:
            return "TDX_HOST_READ"
        module.poisoned.add(pfn)
        return "TDX_POISON_WRITE"

    def passes(self, t: Task, pfn: int, pages: int) -> bool:
        """Timed runs: no frame of the range is a TD's, or remembered as one."""
        if t.traps or not self._plain_host_access(Tdx):
            return False
        module = self.module
        if module.poisoned or module.unflushed:
            return False
        regions = range(pfn >> 9, (pfn + pages - 1 >> 9) + 1)
        return not any(region in module.small or region << 9 in module.pamt for region in regions)

    def host_read(self, t: Task, pfn: int) -> str:
        value = super().host_read(t, pfn)
        return ZERO if self.choices.host_read_value == "zero" and self.module.owner(pfn) else value

    def page_freed(self, t: Task, pfn: int) -> str | None:
        """`SEPT_UAF` or `TDX_UNFLUSHED`, unless KVM kept its reference and the frame is leaked."""
        if pfn in self.memory.leaked:
            return None
        if self.module.owner(pfn) is not None:
            return "SEPT_UAF"
        return "TDX_UNFLUSHED" if pfn in self.module.unflushed else None
