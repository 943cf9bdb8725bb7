"""Conversion in place: -EAGAIN has a cause (I51)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..actors.errno import EAGAIN
from ..audit.events import Unlock
from ..audit.inplace_events import GmemSetAttributes, GmemSetAttributesRet, RefCheck
from ..audit.kvm_events import UnmapHost, UserFault
from .watch import Shared, Subject, before, track

if TYPE_CHECKING:
    from ..engine.task import Task


class Causes(Subject):
    """Who made a conversion fail."""

    about = "causes of -EAGAIN"

    def __init__(self, oracles: Shared) -> None:
        super().__init__(oracles)
        #: The index that each task faults in for the host.
        self.faulting: dict[Task, int] = {}
        #: Indices that the host may have mapped since a conversion unmapped its range.
        self.disturbed: dict[Task, set[int]] = {}
        #: What the conversion's last check that said no found: the folio's indices, and whether somebody was to blame.
        self.blamed: dict[Task, tuple[range, bool]] = {}

    @track(GmemSetAttributes)
    def begins(self, t: Task, event: GmemSetAttributes) -> None:
        """A conversion is under way, and whoever faults now may map after it unmaps."""
        self.disturbed[t] = set(self.faulting.values())
        self.blamed.pop(t, None)

    @track(UnmapHost)
    def unmaps(self, t: Task, event: UnmapHost) -> None:
        """What was mapped until now is no excuse."""
        if t in self.disturbed:
            self.disturbed[t] = set(self.faulting.values())

    @track(UserFault)
    def host_faults(self, t: Task, event: UserFault) -> None:
        """Until the fault gives mmap_lock back."""
        self.faulting[t] = event.index
        for indices in self.disturbed.values():
            indices.add(event.index)

    @track(Unlock, locks=["mmap_lock"])
    def host_faulted(self, t: Task, event: Unlock) -> None:
        """It has mapped what it was going to."""
        self.faulting.pop(t, None)

    @track(RefCheck)
    def checked(self, t: Task, event: RefCheck) -> None:
        """A pin, poison, a reference in use, or an entry made since the range was unmapped."""
        converting = self.ledger.of(t).converting
        if converting is None:
            return
        if event.ok:
            self.blamed.pop(t, None)
            return
        folio = converting[0].inode.folios.get(event.index)
        if folio is None:
            return
        # The check holds one itself, and a batch is drained before it is believed.
        known = folio.pages + folio.mapcount + self.kernel.lru_references(folio) + 1
        others = folio.ref > known
        mapped = folio.mapcount > 0 and event.index in self.disturbed.get(t, ())
        indices = range(event.index, event.index + folio.pages)
        self.blamed[t] = indices, bool(folio.pins or folio.poisoned or others or mapped)

    @before("I51", GmemSetAttributesRet)
    def somebody_is_to_blame(self, t: Task, event: GmemSetAttributesRet) -> None:
        """-EAGAIN tells the VMM to wait for somebody: there has to be somebody who goes away."""
        indices, blamed = self.blamed.get(t, (None, True))
        if event.ret == EAGAIN and indices is not None and event.error_index not in indices:
            self.fail(
                "I51",
                f"a conversion answers -EAGAIN for index {event.error_index}; it found index {indices.start} in use",
                t,
                event,
                index=event.error_index,
            )
        elif event.ret == EAGAIN and not blamed:
            self.fail(
                "I51",
                f"a conversion answers -EAGAIN for index {event.error_index}, which nobody uses",
                t,
                event,
                index=event.error_index,
            )

    @track(GmemSetAttributesRet)
    def ends(self, t: Task, event: GmemSetAttributesRet) -> None:
        """The call is over."""
        self.disturbed.pop(t, None)
        self.blamed.pop(t, None)
