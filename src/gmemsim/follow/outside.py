"""Events outside any call that the model makes: which may be there, and which show that a call's beginning is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .probes import HINTS
from .thread import Rejected

if TYPE_CHECKING:
    from .frames import Frames
    from .thread import Thread
    from .trace import Step, Trace
    from .world import Setup

#: What the VMM's other work shows as well: its own locks, MMU notifiers, memslots.
_ANYWHERE: Final = frozenset(
    {
        "down_read",
        "down_write",
        "up_read",
        "up_write",
        "tlb_flush",
        "zap",
        "zap_ret",
        "mmu_inv_start",
        "mmu_inv_end",
    }
)


class Outside:
    """What an attempt does with events that are in no call of their thread."""

    trace: Trace
    setup: Setup
    frames: Frames
    probed: frozenset[str]

    def pass_over(self, thread: Thread, step: Step) -> None:
        """An event outside any modelled call: of the VMM's other work, or of a call that is left out.

        Raises:
            Rejected: it belongs to a call whose beginning is not there.
        """
        if not self.trace.begins or step.name in _ANYWHERE or step.name in HINTS:
            return
        if thread.left_out is not None and step.number <= thread.left_out.last:
            return
        if step.name == "folio_unlock" and self.frames.index_of(step.observation.a) is None:  # type: ignore[arg-type]
            return
        raise Rejected(f"no call of {thread.name} that could show {step.observation}")

    def unlocks_another(self, thread: Thread) -> None:
        """A folio that is not in the file is unlocked within a call.

        Raises:
            Rejected: it is not where faults on other memory do that.
        """
        kind = "memory_failure" if thread.call is None else thread.call.kind
        if kind == "memory_failure" or "page_cache_add" not in self.probed:
            return
        if kind == "fault" and not thread.future.plan().get_pfn:
            return
        raise Rejected(f"the model's {thread.name} does not unlock a folio of another file here")

    def fails_elsewhere(self, thread: Thread, step: Step) -> bool:
        """Whether a memory failure begins of a frame that is not in the file: it is none of ours, and left out."""
        call = thread.calls[0] if thread.call is None and thread.calls else None
        if step.name != "memory_failure" or call is None or call.first != step.number:
            return False
        folios = self.setup.gmem.inode.folios.values()
        return all(self.frames.real(folio.pfn) != step.observation.a for folio in folios)

    @staticmethod
    def in_call(thread: Thread, step: Step) -> bool:
        """Whether the event belongs to a call; teardown and the like are none of ours."""
        # What a call shows last can be there before the trace has it.
        current = thread.made if thread.call is None and thread.shown else thread.call
        if current is not None and current.first <= step.number <= current.last:
            return True
        return any(call.first <= step.number <= call.last for call in list(thread.calls)[:2])
