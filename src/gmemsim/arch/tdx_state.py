"""What the TDX module keeps of a TD and of a frame, and what its calls answer (arch.md 2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ..engine.observed import announces, by_key
from ..engine.op import ALL
from .range_set import RangeSet
from .sept import Sept
from .spin import SpinWait, TryLock
from .tdx_epoch import Epochs

if TYPE_CHECKING:
    from ..engine.task import Task
    from .choices import TdxChoices


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


@announces(
    runnable=lambda td: (td.runnable_label, 0, ALL),
    no_vcpus=lambda td: (td.no_vcpus_label, 0, ALL),
    page_add_src=lambda td: (td.page_add_label, 0, ALL),
    premapped=lambda td: (td.page_add_label, 0, ALL),
    dead=lambda td: (td.dead_label, 0, ALL),
    linking=by_key(lambda td: f"{td.label}.linking"),
    inhibited=by_key(lambda td: td.inhibit_label),
)
class Td:
    """One trust domain.

    Attributes:
        key: memory key of its private pages.
        tree: the S-EPT tree resource.
        busy_since: when a task that maps a page was told OPERAND_BUSY first (timed runs).
        runnable: finalized; before that pages are added, not augmented.
        no_vcpus: KVM lets no vCPU enter (for the retry after BUSY); `gate` is what they spin on.
        page_add_src: content of the page that a launch call is adding (`kvm_tdx->page_add_src`); guarded by slots_lock.
        premapped: `nr_premapped` (to 6.18): pages that the mirror maps and that were not added yet; slots_lock too.
        linking: 2M regions whose table KVM is adding.
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
        self.busy_since: dict[Task, int] = {}
        self.epochs = Epochs(label)
        self.gate = SpinWait(f"{label}.no_vcpus")
        self.kick = SpinWait(f"{label}.kick")
        self.runnable = False
        self.no_vcpus = False
        self.page_add_src: str | None = None
        self.premapped = 0
        self.linking: set[int] = set()
        self.accepted = RangeSet(label=f"{label}.accepted")
        self.inhibited: set[int] = set()
        self.dead = False
        #: Objects of the steps that look at or change these.
        self.runnable_label = f"{label}.runnable"
        self.page_add_label = f"{label}.page_add_src"
        self.dead_label = f"{label}.td_dead"
        self.no_vcpus_label = f"{label}.no_vcpus"
        self.inhibit_label = f"{label}.inhibited"
