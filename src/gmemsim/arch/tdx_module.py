"""The TDX module: page ownership (PAMT), and the calls that work on a TD's S-EPT (spec arch.md §2.1, §2.3).

Every call tries its locks in order, tree then entry, and gives up with OPERAND_BUSY at the first that is
taken; nothing queues. Locks are held for as long as the call takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ..audit.kvm_events import HardwareOp
from ..engine.op import Op
from .memory import FRAMES, ZERO
from .sept import BLOCKED_FORM, PAGES_2M, Sept, SeptEntry, SeptState
from .spin import SpinWait, TryLock
from .tdx_epoch import Epochs

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..engine.task import Task
    from .choices import TdxChoices
    from .costs import CostTable
    from .memory import PhysicalMemory
    from .tdx_epoch import TdVcpu

__all__ = ["Pamt", "Td", "TdxModule", "TdxStatus", "pages_of"]


class TdxStatus:
    """Completion status of a call (numbers of this model; 0 is success)."""

    SUCCESS: Final = 0
    OPERAND_BUSY: Final = 1
    PREVIOUS_TLB_EPOCH_BUSY: Final = 2
    EPT_WALK_FAILED: Final = 3
    ENTRY_STATE_INCORRECT: Final = 4
    ENTRY_NOT_FREE: Final = 5
    ALREADY_BLOCKED: Final = 6
    NOT_BLOCKED: Final = 7
    TRACKING_NOT_DONE: Final = 8
    PAGE_METADATA_INCORRECT: Final = 9
    OP_STATE_INCORRECT: Final = 10
    PAGE_ALREADY_ACCEPTED: Final = 11
    EPT_VIOLATION: Final = 12  # the call does not complete: the TD exits to the VMM
    PAGE_SIZE_MISMATCH: Final = 13
    INTERRUPTED_RESUMABLE: Final = 14
    INTERRUPTED_RESTARTABLE: Final = 15


def pages_of(level: int) -> int:
    """4K pages of a page of that level (1 = 4K, 2 = 2M)."""
    return 1 << 9 * (level - 1)


class Pamt(NamedTuple):
    """Ownership of a TD's frame (page type REG); a frame without an entry is the host's (NDA)."""

    td: int
    gfn: int
    level: int = 1


class Td:
    """One trust domain.

    Attributes:
        key: memory key of its private pages.
        tree: the S-EPT tree resource.
        runnable: finalized; before that pages are added, not augmented.
        no_vcpus: KVM lets no vCPU enter (for the retry after BUSY); `gate` is what they spin on.
        premapped: leaves that KVM mapped and the module does not have yet, gfn to pfn (before finalize).
        linking: 2M regions whose table KVM is adding.
        unmirrored: leaves that populate added although KVM had not mapped them (see `Tdx.populate`).
        accepted: gfns that the guest accepted and has not given back.
        inhibited: 2M regions that KVM maps with 4K pages for good (GUEST_INHIBIT).
        dead: `kvm->vm_bugged`, or killed for an access.
    """

    def __init__(self, ident: int, label: str, choices: TdxChoices) -> None:
        self.ident = ident
        self.label = label
        self.key = ident + 1
        self.sept = Sept(f"{label}.sept", choices)
        self.tree = TryLock(f"{label}.sept_tree")
        self.epochs = Epochs(label)
        self.gate = SpinWait(f"{label}.no_vcpus")
        self.kick = SpinWait(f"{label}.kick")
        self.runnable = False
        self.no_vcpus = False
        self.premapped: dict[int, int] = {}
        self.linking: set[int] = set()
        self.unmirrored: set[int] = set()
        self.accepted: set[int] = set()
        self.inhibited: set[int] = set()
        self.dead = False
        #: Objects of the steps that look at or change these.
        self.runnable_label = f"{label}.runnable"
        self.premapped_label = f"{label}.premapped"
        self.dead_label = f"{label}.td_dead"
        self.no_vcpus_label = f"{label}.no_vcpus"
        self.inhibit_label = f"{label}.inhibited"


class TdxModule:
    """The module of one machine.

    Attributes:
        pamt: owned frames; a 2M page has one entry, at its first frame. `owner` asks for any frame.
        small: per 2M region of host memory, how many frames are owned at 4K (what Dynamic PAMT needs pages for).
        tds: by VM identity.
        poisoned: frames with a line that the host wrote behind the TD's back.
        unflushed: frames that no TD owns any more and whose lines could not be written back.
        busy: how often each call answered OPERAND_BUSY.
    """

    def __init__(self, memory: PhysicalMemory, choices: TdxChoices, costs: CostTable) -> None:
        self.memory = memory
        self.choices = choices
        self.costs = costs
        self.pamt: dict[int, Pamt] = {}
        self.small: dict[int, int] = {}
        self.tds: dict[int, Td] = {}
        self.poisoned: set[int] = set()
        self.unflushed: set[int] = set()
        self.busy: dict[str, int] = {}

    def owner(self, pfn: int) -> Pamt | None:
        """Whose frame it is, and at which gfn; None: the host's. No trap."""
        found = self.pamt.get(pfn)
        if found is not None:
            return found
        head = pfn & ~(PAGES_2M - 1)
        large = self.pamt.get(head)
        return None if large is None or large.level == 1 else Pamt(large.td, large.gfn + pfn - head, 2)

    def _own(self, pfn: int, owner: Pamt | None, level: int) -> None:
        """Record who owns the page at `pfn`."""
        region = pfn >> 9
        if owner is None:
            del self.pamt[pfn]
        else:
            self.pamt[pfn] = owner
        if level == 1:
            count = self.small.get(region, 0) + (-1 if owner is None else 1)
            if count:
                self.small[region] = count
            else:
                self.small.pop(region, None)

    def _taken(self, pfn: int, level: int) -> bool:
        """Whether the page, or any part of it, has an owner."""
        if level == 1:
            return self.owner(pfn) is not None
        return pfn in self.pamt or pfn >> 9 in self.small

    def _done(self, t: Task, name: str, pfn: int, code: int) -> int:
        if code == TdxStatus.OPERAND_BUSY:
            self.busy[name] = self.busy.get(name, 0) + 1
        if t.rec is not None:
            t.rec(t, HardwareOp(name, pfn, code))
        return code

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
        t.saw(td.runnable_label)
        if td.runnable:
            ns = self.costs.aug if level == 1 else self.costs.aug_2m
            code = await self._insert(t, td, gfn, pfn, "AUG", ns, SeptState.PENDING, None, level)
        return self._done(t, "TDH.MEM.PAGE.AUG", pfn, code)

    async def page_add(self, t: Task, td: Td, gfn: int, pfn: int, content: str) -> int:
        """TDH.MEM.PAGE.ADD: FREE to MAPPED before finalize, with `content` copied in and encrypted."""
        code: int = TdxStatus.OP_STATE_INCORRECT
        t.saw(td.runnable_label)
        if not td.runnable:
            ns = self.costs.page_add + (self.costs.mr_extend if self.choices.measure else 0)
            code = await self._insert(t, td, gfn, pfn, "ADD", ns, SeptState.MAPPED, content)
        return self._done(t, "TDH.MEM.PAGE.ADD", pfn, code)

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
        head = pfn & ~(PAGES_2M - 1)

        def own(entry: SeptEntry) -> int:
            t.touch(td.sept.op("load", gfn, 2, "r"))
            if level == 1 and td.sept.state(gfn, 2) != SeptState.NL_MAPPED:
                return TdxStatus.EPT_WALK_FAILED
            if entry.state != SeptState.FREE:
                return TdxStatus.ENTRY_NOT_FREE
            t.saw(FRAMES, head, head + 1)
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
            t.saw(td.epochs.lock.label)
            entry.bepoch = td.epochs.epoch
            return TdxStatus.SUCCESS

        code = await self._on_entry(t, td, gfn, level, "BLOCK", self.costs.block, change)
        return self._done(t, "TDH.MEM.RANGE.BLOCK", -1, code)

    async def range_unblock(self, t: Task, td: Td, gfn: int, level: int = 1) -> int:
        """TDH.MEM.RANGE.UNBLOCK: back to what it was, once tracked."""

        def change(entry: SeptEntry) -> int:
            entry.state = next(plain for plain, blocked in BLOCKED_FORM.items() if blocked == entry.state)
            return TdxStatus.SUCCESS

        before = self._tracked_step(td)
        code = await self._on_entry(t, td, gfn, level, "UNBLOCK", self.costs.block, change, before)
        return self._done(t, "TDH.MEM.RANGE.UNBLOCK", -1, code)

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

        t.saw(td.runnable_label)
        must_track = td.runnable and self.choices.module_checks_tracking
        before = (op, test) if must_track else None
        code = await self._on_entry(t, td, gfn, level, "REMOVE", self.costs.remove, change, before)
        pfn = gone[0] if gone else -1
        if gone:
            if t.traps:
                await t.point(Op("rmw", FRAMES, pfn, pfn + pages_of(level)))
            self._own(pfn, None, level)
        return self._done(t, "TDH.MEM.PAGE.REMOVE", pfn, code)

    async def page_demote(self, t: Task, td: Td, gfn: int) -> int:
        """TDH.MEM.PAGE.DEMOTE of a 2M leaf: 512 leaves of the same kind, unblocked, in a table.

        Fault point `tdx_demote_interrupted`: INTERRUPTED_RESTARTABLE, with nothing changed (older modules).
        """
        head = td.sept.key(gfn, 2)[1]

        def change(entry: SeptEntry) -> int:
            plain = {blocked: state for state, blocked in BLOCKED_FORM.items()}.get(entry.state, entry.state)
            pfn = entry.pfn
            t.changed(FRAMES, pfn, pfn + PAGES_2M)
            self._own(pfn, None, 2)
            entry.state, entry.pfn = SeptState.NL_MAPPED, -1
            for offset in range(PAGES_2M):
                child = SeptEntry()
                child.state, child.pfn = plain, pfn + offset
                td.sept.entries[1, head + offset] = child
                self._own(pfn + offset, Pamt(td.ident, head + offset), 1)
            return TdxStatus.SUCCESS

        op, tracked = self._tracked_step(td)
        t.saw(td.runnable_label)
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
        t.changed(td.epochs.module_label(t))
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
        t.changed(td.epochs.module_label(t))
        vcpu.in_module = False
        td.kick.changed(t)
        if not got:
            self._done(t, "TDH.VP.ENTER", -1, TdxStatus.OPERAND_BUSY)
        return got

    # -- called by the guest -------------------------------------------------------------------

    async def page_accept(self, t: Task, td: Td, gfn: int, level: int = 1, vcpu: TdVcpu | None = None) -> int:
        """TDG.MEM.PAGE.ACCEPT (decision table of §2.1): PENDING to MAPPED, zeroed with the TD's key.

        EPT_VIOLATION stands for the exit that a missing, free, blocked or larger pending entry causes. A 2M request is
        looked at for an interrupt of `vcpu` on the way: INTERRUPTED_RESUMABLE, and the next call goes on from there.
        """
        code = await self._page_accept(t, td, gfn, level, vcpu)
        entry = td.sept.find(gfn, level)
        return self._done(t, "TDG.MEM.PAGE.ACCEPT", -1 if entry is None else entry.pfn, code)

    async def _page_accept(self, t: Task, td: Td, gfn: int, level: int, vcpu: TdVcpu | None) -> int:
        if t.traps:
            await t.point(td.sept.op("load", gfn, level, mode="r"))
        top = td.sept.state(gfn, 2)
        if level == 1 and top != SeptState.NL_MAPPED:
            # Of a 2M page that is mapped every part is accepted; one that is pending is larger than asked for.
            return TdxStatus.PAGE_ALREADY_ACCEPTED if top == SeptState.MAPPED else TdxStatus.EPT_VIOLATION
        if level == 2 and top == SeptState.NL_MAPPED:
            return TdxStatus.PAGE_SIZE_MISMATCH
        free = td.sept.state(gfn, level) == SeptState.FREE
        if free and not self.choices.guest_locks_free:
            return TdxStatus.EPT_VIOLATION
        entry = await td.sept.try_lock(t, gfn, level, guest=True)
        if entry is None:
            return TdxStatus.OPERAND_BUSY
        code: int = TdxStatus.EPT_VIOLATION
        if entry.state == SeptState.PENDING:
            code = await self._zero(t, td, entry, level, vcpu)
        elif entry.state == SeptState.MAPPED:
            code = TdxStatus.PAGE_ALREADY_ACCEPTED
        if t.traps:
            await t.point(td.sept.op("rmw", gfn, level))
        if code == TdxStatus.SUCCESS:
            entry.state = SeptState.MAPPED
            entry.accepted = 0
            td.accepted.update(range(gfn, gfn + pages_of(level)))
        td.sept.unlock(gfn, level)
        return code

    async def _zero(self, t: Task, td: Td, entry: SeptEntry, level: int, vcpu: TdVcpu | None) -> int:
        """Zero what is left of a pending page, with a look for interrupts after each part."""
        pages = pages_of(level)
        part = pages if level == 1 else max(pages // self.choices.accept_checks, 1)
        while entry.accepted < pages:
            first = entry.pfn + entry.accepted
            await t.spend(self.costs.accept if level == 1 else self.costs.accept_2m_4k * part)
            if t.traps:
                await t.point(Op("rmw", FRAMES, first, first + part))
            for pfn in range(first, first + part):
                self.memory.write(pfn, ZERO, td.key)
                self.poisoned.discard(pfn)
            entry.accepted += part
            if vcpu is not None and entry.accepted < pages:
                t.saw(td.epochs.lock.label)
                if vcpu.kicked:
                    return TdxStatus.INTERRUPTED_RESUMABLE
        return TdxStatus.SUCCESS

    # -- frames --------------------------------------------------------------------------------

    async def page_wbinvd(self, t: Task, pfn: int, level: int = 1) -> int:
        """TDH.PHYMEM.PAGE.WBINVD of each frame of a page that no TD owns; fault point `tdx_wbinvd`."""
        pages = pages_of(level)
        await t.spend(self.costs.wbinvd * pages)
        t.saw(FRAMES, pfn, pfn + pages)
        owned = self.owner(pfn) is not None
        failed = owned or t.fault("tdx_wbinvd")
        if failed and not owned:
            t.changed(FRAMES, pfn, pfn + pages)
            self.unflushed.update(range(pfn, pfn + pages))
        code = TdxStatus.PAGE_METADATA_INCORRECT if failed else TdxStatus.SUCCESS
        return self._done(t, "TDH.PHYMEM.PAGE.WBINVD", pfn, code)
