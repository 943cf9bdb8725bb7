"""What of the model's events a probe of the traced kernel would have shown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..audit import kvm_events as kvm
from ..audit.events import Lock, Unlock
from .probes import Observation
from .thread import kind_of
from .watch import observe

if TYPE_CHECKING:
    from ..audit.base import Event
    from ..engine.task import Task
    from .frames import Frames
    from .thread import Thread
    from .world import Setup


class TraceRecorder:
    """The recorder of an attempt: observations go to the thread, in `shown`."""

    setup: Setup
    frames: Frames
    by_task: dict[Task, Thread]
    table: Any
    probed: frozenset[str]
    locks_shown: set[str]

    def record(self, task: Task, event: Event) -> None:
        """One event of the model."""
        cls = event.__class__
        if cls is kvm.FreePage:
            self.frames.release(event.pfn)  # type: ignore[attr-defined]
            return
        thread = self.by_task[task]
        if cls is kvm.TdpFault:
            thread.gfn = event.gfn  # type: ignore[attr-defined]
            thread.ranges = 0
        elif cls is kvm.TdpFaultRet:
            # The next attempt looks the kind up again, first of all.
            thread.private = None
        elif cls is kvm.FilemapGet:
            thread.looking = True
        elif cls is kvm.FilemapGetRet:
            thread.looking = False
            thread.waits_for_folios = thread.truncating
        elif cls is Unlock and thread.looking:
            # __filemap_get_folio gives up a folio that was truncated meanwhile; its folio_unlock is inlined, both
            # are in mm/filemap.c, so no probe sees it.
            return
        elif cls is kvm.Truncate:
            thread.truncating = True
            thread.waits_for_folios = False
        elif cls is kvm.TruncateRet:
            thread.truncating = False
        elif cls is kvm.Zap:
            thread.zapping = True
        elif cls is kvm.ZapRet:
            thread.zapping = False
        elif cls is kvm.MmuNotifierStart:
            thread.notifying = True
        elif cls is kvm.MmuInvEnd:
            thread.notifying = False
        if thread.call is not None and thread.call.kind == "set_region":
            if cls in (Lock, Unlock) and event.lock == self.setup.vm.slots_lock.label:  # type: ignore[attr-defined]
                self._show_region(thread, entered=cls is Lock)
                return
            if cls in (kvm.Zap, kvm.ZapRet, kvm.TlbFlush) and not self.setup.vm.arch.has_private_memory:
                # All roots go at once (KVM_X86_QUIRK_SLOT_ZAP_ALL), by no function that is probed.
                return
        found = observe(self.table, self.probed, event)
        if found is None:
            return
        if found.name in ("down_read", "down_write", "up_read", "up_write"):
            if kind_of(task.name) not in self.locks_shown:
                return
        elif found.name in ("mmu_inv_start", "tlb_flush") and self._inlined(thread, found.name):
            return
        thread.shown.append(found)

    def _show_region(self, thread: Thread, *, entered: bool) -> None:
        """kvm_set_memory_region is called with slots_lock held, and gives its errno while it is (see `_make_call`)."""
        assert thread.call is not None
        name = "set_region" if entered else "set_region_ret"
        if name in self.probed:
            thread.shown.append(Observation(name, *thread.call.args[:3]) if entered else Observation(name))

    @staticmethod
    def _inlined(thread: Thread, name: str) -> bool:
        """Whether a step is invisible because caller and callee share a file and the compiler merged them.

        kvm_handle_gfn_range and kvm_handle_hva_range, kvm_mmu_invalidate_begin and kvm_flush_remote_tlbs are all in
        virt/kvm/kvm_main.c: a conversion shows neither its start nor its final flush (seen in the recordings), an MMU
        notifier not its flush. Flushes inside the zap come from another file and do show.
        """
        converting = thread.call is not None and thread.call.kind == "set_attributes"
        if name == "mmu_inv_start":
            return converting
        return (converting or thread.notifying) and not thread.zapping
