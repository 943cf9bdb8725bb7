"""The MMU invalidation protocol: balance (I15), range (I16), sequence (I17), flush under mmu_lock (I21)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..actors.vm import INVALID_GFN
from ..audit.events import Unlock
from ..audit.kvm_events import MmuInvEnd, MmuInvStart, MmuNotifierStart, TlbFlush, Zap, ZapRet
from .ledger import Invalidation
from .watch import Shared, Subject, before, track

if TYPE_CHECKING:
    from ..actors.stage2 import Spte
    from ..actors.vm import Vm
    from ..engine.task import Task

#: Kinds of locks under which bindings stay as they are, of which an invalidation needs one from start to end. The
#: bindings lock is a candidate mend's (`error-bindings-lock`).
_KEEPS_BINDINGS: Final = frozenset({"invalidate_lock", "bindings_lock", "slots_lock"})


class Invalidations(Subject):
    """start, range_add, end."""

    about = "MMU invalidation"

    def __init__(self, oracles: Shared) -> None:
        super().__init__(oracles)
        self.seq = {vm.label: vm.seq for vm in self.world.vms.values()}
        #: Invalidations that were open when the oracles began to look.
        self.adopted = {vm.label: vm.in_progress for vm in self.world.vms.values()}

    # -- bookkeeping -----------------------------------------------------------------------------

    @track(MmuInvStart, MmuNotifierStart)
    def started(self, t: Task, event: MmuInvStart | MmuNotifierStart) -> None:
        """One more in progress."""
        invalidation = Invalidation(event.vm, t)
        self.ledger.in_progress.setdefault(event.vm, []).append(invalidation)
        self.ledger.of(t).invalidations.append(invalidation)

    @track(Zap)
    def zapping(self, t: Task, event: Zap) -> None:
        """The range belongs to the task's latest invalidation of the VM, and awaits a flush."""
        doing = self.ledger.of(t)
        doing.zapping = (event.vm, event.start, event.end)
        for invalidation in reversed(doing.invalidations):
            if invalidation.vm == event.vm:
                invalidation.ranges.append((event.start, event.end))
                break

    @track(ZapRet)
    def zapped(self, t: Task, event: ZapRet) -> None:
        """The zap is over; whether it said that a flush is due is not taken on trust."""
        doing = self.ledger.of(t)
        if doing.zapping is not None:
            doing.zaps.append(doing.zapping)
            doing.zapping = None

    @track(TlbFlush)
    def flushed(self, t: Task, event: TlbFlush) -> None:
        """Everything zapped so far is out of the TLBs; a zap that goes on has to flush again."""
        doing = self.ledger.of(t)
        doing.zaps = [zap for zap in doing.zaps if zap[0] != event.vm]

    # -- balance ---------------------------------------------------------------------------------

    @before("I15", MmuInvEnd)
    def end_has_a_start(self, t: Task, event: MmuInvEnd) -> None:
        """The task ends an invalidation of that VM that it started."""
        if self.adopted.get(event.vm):
            return
        if not any(invalidation.vm == event.vm for invalidation in self.ledger.of(t).invalidations):
            self.fail(
                "I15",
                f"{t.name} ends an invalidation of {event.vm} that it did not start",
                t,
                event,
                vm=event.vm,
            )

    @track(MmuInvEnd)
    def ended(self, t: Task, event: MmuInvEnd) -> None:
        """One less, and the sequence moves."""
        self.seq[event.vm] = self.seq.get(event.vm, 0) + 1
        doing = self.ledger.of(t)
        for invalidation in reversed(doing.invalidations):
            if invalidation.vm == event.vm:
                doing.invalidations.remove(invalidation)
                self.ledger.in_progress[event.vm].remove(invalidation)
                return

    @before("I15", Unlock, locks=sorted(_KEEPS_BINDINGS))
    def ended_under_its_lock(self, t: Task, event: Unlock) -> None:
        """A lock that keeps bindings stable covers start and end: the last of them goes after the end."""
        doing = self.ledger.of(t)
        kind, owner = self.ledger.kind(event.lock)
        if not doing.invalidations or kind not in _KEEPS_BINDINGS:
            return
        # downgrade_write is told as a release and an acquisition, and the task is a reader by then; up_write is told
        # while it is the writer still. The other locks are mutexes.
        inode = self.world.inodes.get(owner) if kind == "invalidate_lock" else None
        if event.mode == "w" and inode is not None and inode.invalidate_lock.read_held(t):
            return
        held = [lock for lock in doing.held if lock != event.lock]
        for vm in dict.fromkeys(invalidation.vm for invalidation in doing.invalidations):
            if self._covered(event.lock, vm) and not any(self._covered(lock, vm) for lock in held):
                self.fail(
                    "I15",
                    f"{t.name} drops {event.lock} and has not ended its invalidation of {vm}",
                    t,
                    event,
                    vm=vm,
                )

    def _covered(self, lock: str, vm: str) -> bool:
        """Whether bindings of `vm` stay as they are under `lock`: any file's lock, or that VM's slots_lock."""
        kind, owner = self.ledger.kind(lock)
        return kind in _KEEPS_BINDINGS and (kind != "slots_lock" or owner == vm)

    # -- what the VM's counters say when mmu_lock goes ---------------------------------------------

    def _at_unlock(self, t: Task, event: Unlock) -> Vm | None:
        """The VM whose mmu_lock the task gives back after writing."""
        if event.mode != "w":
            return None
        kind, owner = self.ledger.kind(event.lock)
        return self.vm(owner) if kind == "mmu_lock" else None

    @before("I15", Unlock, locks=["mmu_lock"])
    def count(self, t: Task, event: Unlock) -> None:
        """in_progress is the number of starts without an end."""
        vm = self._at_unlock(t, event)
        if vm is not None:
            expected = len(self.ledger.in_progress.get(vm.label, ())) + self.adopted.get(vm.label, 0)
            if vm.in_progress != expected:
                self.fail(
                    "I15",
                    f"{vm.label} counts {vm.in_progress} invalidations in progress, there are {expected}",
                    t,
                    event,
                    vm=vm.label,
                )

    @before("I16", Unlock, locks=["mmu_lock"])
    def range_covers(self, t: Task, event: Unlock) -> None:
        """The range is valid and holds the range of every invalidation in progress."""
        vm = self._at_unlock(t, event)
        if vm is None or not vm.in_progress:
            return
        if vm.range_start == INVALID_GFN or vm.range_start >= vm.range_end:
            self.fail(
                "I16", f"{vm.label} has an invalidation in progress and no range", t, event, vm=vm.label
            )
        for invalidation in self.ledger.in_progress.get(vm.label, ()):
            for start, end in invalidation.ranges:
                if start < vm.range_start or vm.range_end < end:
                    self.fail(
                        "I16",
                        f"the range in progress of {vm.label} leaves out what was zapped",
                        t,
                        event,
                        vm=vm.label,
                        zapper=invalidation.task.name,
                        range=[vm.range_start, vm.range_end],
                        zapped=[start, end],
                    )

    @before("I17", Unlock, locks=["mmu_lock"])
    def sequence(self, t: Task, event: Unlock) -> None:
        """The sequence is the number of ends."""
        vm = self._at_unlock(t, event)
        if vm is not None and vm.seq != self.seq.setdefault(vm.label, vm.seq):
            self.fail(
                "I17",
                f"the sequence of {vm.label} is {vm.seq}, not {self.seq[vm.label]}",
                t,
                event,
                vm=vm.label,
            )

    @before("I21", Unlock, locks=["mmu_lock"])
    def flushed_before_unlock(self, t: Task, event: Unlock) -> None:
        """No vCPU caches a translation that the zapper removed."""
        vm = self._at_unlock(t, event)
        doing = self.ledger.of(t)
        if vm is None or not (doing.zaps or doing.zapping):
            return
        # A zap that gives mmu_lock up on its way (tdp_mmu_iter_cond_resched) knows only what it removed itself: of an
        # earlier slot's the flush is still to come, under the lock again, before the invalidation is over.
        for label, start, end in (doing.zapping,) if doing.zapping else doing.zaps:
            if label != vm.label:
                continue
            for vcpu in vm.vcpus:
                for key in cached(vcpu.tlb, start, end):
                    if vm.stage2.find(*key) != vcpu.tlb[key]:
                        self.fail(
                            "I21",
                            f"{t.name} drops mmu_lock while {vcpu.label} caches gfn {key[0]:#x}, zapped",
                            t,
                            event,
                            gfn=key[0],
                            vm=label,
                        )

    @track(Unlock, locks=["mmu_lock"])
    def new_section(self, t: Task, event: Unlock) -> None:
        """Zaps of one mmu_lock section are settled when it ends, unless it ends inside another zap."""
        doing = self.ledger.of(t)
        if event.mode == "w" and self.ledger.kind(event.lock)[0] == "mmu_lock" and doing.zapping is None:
            doing.zaps.clear()


def cached(tlb: dict[tuple[int, bool], Spte], start: int, end: int) -> list[tuple[int, bool]]:
    """Keys of the TLB entries of [start, end), at a cost bounded by the smaller of range and TLB."""
    if end - start < len(tlb):
        return [key for gfn in range(start, end) for key in ((gfn, True), (gfn, False)) if key in tlb]
    return sorted(key for key in tlb if start <= key[0] < end)
