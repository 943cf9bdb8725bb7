"""The TDX module: the calls of the host that work on a TD's S-EPT (arch.md 2.1, 2.3).

Every call tries its locks in order, tree then entry, and gives up with OPERAND_BUSY at the first that is
taken; nothing queues. Locks are held for as long as the call takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..engine.op import Op
from .memory import FRAMES
from .sept import BLOCKED_FORM, PAGES_2M, SeptEntry, SeptState
from .tdx_accept import TdxAccept
from .tdx_state import Pamt, TdxStatus, pages_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.task import Task
    from .tdx_epoch import TdVcpu
    from .tdx_state import Td


class TdxModule(TdxAccept):
    """The module of one machine, with the calls that the host makes."""

    # -- S-EPT, called by the host -------------------------------------------------------------

    async def _on_entry(
        self,
        t: Task,
        td: Td,
        gfn: int,
        level: int,
        short: str,
        ns: int,
        change: Callable[[SeptEntry], int],
        before: tuple[Op, Callable[[SeptEntry], int]] | None = None,
    ) -> int:
        """A host call on one entry: tree lock, entry lock, then `change` in one step of the entry.

        `before` is a step on something else (the frame, the epoch) that comes first, under the locks, and
        may refuse.
        """
        exclusive = short in self.choices.exclusive_tree_ops
        if not await td.tree.try_lock(t, exclusive):
            return TdxStatus.OPERAND_BUSY
        code: int = TdxStatus.OPERAND_BUSY
        entry = await td.sept.try_lock(t, gfn, level, guest=False)
        if entry is not None:
            await t.spend(ns)
            code = TdxStatus.SUCCESS
            if before is not None:
                if t.traps:
                    await t.point(before[0])
                code = before[1](entry)
            if t.traps:
                await t.point(td.sept.op("rmw", gfn, level))
            if code == TdxStatus.SUCCESS:
                code = change(entry)
            td.sept.unlock(gfn, level)
        await td.tree.unlock(t, exclusive)
        return code

    async def sept_add(self, t: Task, td: Td, gfn: int) -> int:
        """TDH.MEM.SEPT.ADD: a table for the 2M region of `gfn`."""

        def change(entry: SeptEntry) -> int:
            if entry.state == SeptState.NL_MAPPED and self.choices.sept_add_mapped_ok:
                return TdxStatus.SUCCESS
            if entry.state != SeptState.FREE:
                return TdxStatus.ENTRY_STATE_INCORRECT
            entry.state = SeptState.NL_MAPPED
            return TdxStatus.SUCCESS

        code = await self._on_entry(t, td, gfn, 2, "SEPT_ADD", self.costs.sept_add, change)
        return self._done(t, "TDH.MEM.SEPT.ADD", -1, code)

    async def page_aug(self, t: Task, td: Td, gfn: int, pfn: int, level: int = 1) -> int:
        """TDH.MEM.PAGE.AUG of 4K or 2M: FREE to PENDING; the page becomes the TD's, its content is not touched."""
        code: int = TdxStatus.OP_STATE_INCORRECT
        if td.runnable:
            ns = self.costs.aug if level == 1 else self.costs.aug_2m
            code = await self._insert(t, td, gfn, pfn, "AUG", ns, SeptState.PENDING, None, level)
        return self._done(t, "TDH.MEM.PAGE.AUG", pfn, code)

    async def page_add(self, t: Task, td: Td, gfn: int, pfn: int, content: str) -> int:
        """TDH.MEM.PAGE.ADD: FREE to MAPPED before finalize, with `content` copied in and encrypted."""
        code: int = TdxStatus.OP_STATE_INCORRECT
        if not td.runnable:
            code = await self._insert(t, td, gfn, pfn, "ADD", self.costs.page_add, SeptState.MAPPED, content)
        return self._done(t, "TDH.MEM.PAGE.ADD", pfn, code)

    async def mr_extend(self, t: Task, td: Td, gfn: int, pfn: int) -> int:
        """TDH.MR.EXTEND over a page, its calls as one: it has to be MAPPED still, before finalize."""

        def change(entry: SeptEntry) -> int:
            mapped = entry.state == SeptState.MAPPED
            return TdxStatus.SUCCESS if mapped else TdxStatus.ENTRY_STATE_INCORRECT

        code: int = TdxStatus.OP_STATE_INCORRECT
        if not td.runnable:
            code = await self._on_entry(t, td, gfn, 1, "MR_EXTEND", self.costs.mr_extend, change)
        return self._done(t, "TDH.MR.EXTEND", pfn, code)

    async def _insert(
        self,
        t: Task,
        td: Td,
        gfn: int,
        pfn: int,
        short: str,
        ns: int,
        state: str,
        content: str | None,
        level: int = 1,
    ) -> int:
        def own(entry: SeptEntry) -> int:
            if level == 1 and td.sept.state(gfn, 2) != SeptState.NL_MAPPED:
                return TdxStatus.EPT_WALK_FAILED
            if entry.state != SeptState.FREE:
                return TdxStatus.ENTRY_NOT_FREE
            if self._taken(pfn, level):
                return TdxStatus.PAGE_METADATA_INCORRECT
            self._own(pfn, Pamt(td.ident, gfn, level), level)
            if content is not None:
                self.memory.write(pfn, content, td.key)
                self.poisoned.discard(pfn)
            return TdxStatus.SUCCESS

        def publish(entry: SeptEntry) -> int:
            entry.state = state
            entry.pfn = pfn
            return TdxStatus.SUCCESS

        frames = Op("rmw", FRAMES, pfn, pfn + pages_of(level))
        return await self._on_entry(t, td, gfn, level, short, ns, publish, (frames, own))

    async def range_block(self, t: Task, td: Td, gfn: int, level: int = 1) -> int:
        """TDH.MEM.RANGE.BLOCK: no new translations of the entry from now on."""

        def change(entry: SeptEntry) -> int:
            if entry.blocked:
                return TdxStatus.ALREADY_BLOCKED
            if entry.state not in BLOCKED_FORM:
                return TdxStatus.ENTRY_STATE_INCORRECT
            entry.state = BLOCKED_FORM[entry.state]
            entry.accepted = 0
            entry.bepoch = td.epochs.epoch
            return TdxStatus.SUCCESS

        code = await self._on_entry(t, td, gfn, level, "BLOCK", self.costs.block, change)
        return self._done(t, "TDH.MEM.RANGE.BLOCK", -1, code)

    @staticmethod
    def _tracked_step(td: Td) -> tuple[Op, Callable[[SeptEntry], int]]:
        """Test that an entry is blocked and tracked; it races with vCPUs that leave the guest."""

        def test(entry: SeptEntry) -> int:
            if not entry.blocked:
                return TdxStatus.NOT_BLOCKED
            return TdxStatus.SUCCESS if td.epochs.tracked(entry.bepoch) else TdxStatus.TRACKING_NOT_DONE

        return Op("load", td.epochs.lock.label, mode="r"), test

    async def page_remove(self, t: Task, td: Td, gfn: int, level: int = 1) -> int:
        """TDH.MEM.PAGE.REMOVE of a leaf: to FREE, and the page is the host's again; its content stays."""
        gone: list[int] = []

        def change(entry: SeptEntry) -> int:
            if not entry.leaf:
                return TdxStatus.ENTRY_STATE_INCORRECT
            gone.append(entry.pfn)
            entry.state = SeptState.FREE
            entry.pfn = -1
            return TdxStatus.SUCCESS

        op, tracked = self._tracked_step(td)

        def test(entry: SeptEntry) -> int:
            return tracked(entry) if entry.leaf else TdxStatus.ENTRY_STATE_INCORRECT

        must_track = td.runnable and self.choices.module_checks_tracking
        before = (op, test) if must_track else None
        code = await self._on_entry(t, td, gfn, level, "REMOVE", self.costs.remove, change, before)
        pfn = gone[0] if gone else -1
        if gone:
            if t.traps:
                await t.point(Op("rmw", FRAMES, pfn, pfn + pages_of(level)))
            self._own(pfn, None, level)
            self.unflushed.update(range(pfn, pfn + pages_of(level)))
        return self._done(t, "TDH.MEM.PAGE.REMOVE", pfn, code)

    async def page_demote(self, t: Task, td: Td, gfn: int) -> int:
        """TDH.MEM.PAGE.DEMOTE of a 2M leaf: 512 leaves of the same kind, unblocked, in a table.

        Fault point `tdx_demote_interrupted`: INTERRUPTED_RESTARTABLE, with nothing changed (older modules).
        """
        head = td.sept.key(gfn, 2)[1]

        def change(entry: SeptEntry) -> int:
            plain = {blocked: state for state, blocked in BLOCKED_FORM.items()}.get(entry.state, entry.state)
            pfn = entry.pfn
            self._own(pfn, None, 2)
            entry.state, entry.pfn = SeptState.NL_MAPPED, -1
            for offset in range(PAGES_2M):
                child = td.sept.made((1, head + offset))
                child.state, child.pfn = plain, pfn + offset
                self._own(pfn + offset, Pamt(td.ident, head + offset), 1)
            return TdxStatus.SUCCESS

        op, tracked = self._tracked_step(td)
        must_track = td.runnable and self.choices.module_checks_tracking

        def test(entry: SeptEntry) -> int:
            if not entry.leaf:
                return TdxStatus.ENTRY_STATE_INCORRECT
            if t.fault("tdx_demote_interrupted"):
                return TdxStatus.INTERRUPTED_RESTARTABLE
            return tracked(entry) if must_track else TdxStatus.SUCCESS

        code = await self._on_entry(t, td, gfn, 2, "DEMOTE", self.costs.demote, change, (op, test))
        return self._done(t, "TDH.MEM.PAGE.DEMOTE", -1, code)

    # -- epochs --------------------------------------------------------------------------------

    async def mem_track(self, t: Task, td: Td) -> int:
        """TDH.MEM.TRACK: start a new epoch, if nobody is left of the one before the current."""
        epochs = td.epochs
        code: int = TdxStatus.OPERAND_BUSY
        if await epochs.lock.try_lock(t, True):
            await t.spend(self.costs.track)
            if epochs.previous_busy():
                code = TdxStatus.PREVIOUS_TLB_EPOCH_BUSY
            else:
                epochs.epoch += 1
                code = TdxStatus.SUCCESS
            await epochs.lock.unlock(t, True)
        return self._done(t, "TDH.MEM.TRACK", -1, code)

    async def vp_enter(self, t: Task, td: Td, vcpu: TdVcpu) -> bool:
        """TDH.VP.ENTER: into the guest, in the current epoch; False: OPERAND_BUSY.

        After `zero_step_threshold` EPT faults without progress the entry takes the tree lock exclusively.
        """
        vcpu.in_module = True
        armed = vcpu.faults >= self.choices.zero_step_threshold
        got = False
        if not armed or await td.tree.try_lock(t, True):
            got = await td.epochs.lock.try_lock(t, False)
            if got:
                td.epochs.entered(vcpu)
                await t.spend(self.costs.vp_enter)
                await td.epochs.lock.unlock(t, False)
            if armed:
                await td.tree.unlock(t, True)
        vcpu.in_module = False
        td.kick.changed(t)
        if not got:
            self._done(t, "TDH.VP.ENTER", -1, TdxStatus.OPERAND_BUSY)
        return got
