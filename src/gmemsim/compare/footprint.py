"""What an event touches, as the explorer's operations: one dependence relation for logs and for schedules.

The explorer knows what each step of the model touches (`engine.op.Op`) and swaps neighbours that do not depend on each
other (`engine.op.dependent`). A log has events, not steps; here each event gets the operations of the access that it
stands for, and the same `dependent` decides. So: pages by file index and by guest frame, host frames (contents, RMP,
page tables of the TDX module), locks by mode, each VM's invalidation word and TLB, memslots, files, messages, signals,
fault points. Reads of one thing commute; steps of one task never do.

Choices where an event leaves open what exactly it touches:

* The entry of a function that looks something up (`page_fault`, `get_pfn`, `filemap_get`, …) reads what it names; the
  entry of one that changes something (`fallocate`, `zap`, `populate`, …) counts as a change of all that it names, since
  nothing says where inside the change happens. Returns touch the frame that they give out, if any.
* What is done to a guest frame with a known file index (`get_pfn` names both) depends on changes of that index, and a
  store of the guest on what the host loads there.
* Events that name an index or a guest frame but no file or VM share one space of pages. That finds too much dependent
  in workloads with several files, never too little.
* In an exploring run others may come between an event and the access that it stands for, so logs of such runs say what
  each step touches (`access`, made by `explore.accesses` from the explorer's own operations). Where they do, only that
  counts, and two logs are equal exactly if the explorer takes their schedules for one.
* `lock_request` touches nothing: a request that nobody has seen yet. `contended` changes the lock's queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from ..arch.memory import FRAMES
from ..audit import events, huge_events, inplace_events
from ..audit import kvm_events as kvm
from ..engine.op import ALL, Op

if TYPE_CHECKING:
    from ..audit.base import Event
    from ..engine.op import Mode

#: Objects of operations, beside those that the explorer has, too.
MESSAGES: Final = "messages"
#: What the events of users' files are about, beside the pages that they name: nobody knows, so their order counts.
_OWN: Final = "events of users' files"
_OURS: Final = f"{__name__.partition('.')[0]}."
_INDEX: Final = "index"
_GUEST: Final = "gfn"
_BEHIND: Final = "index behind a gfn"
#: Of a folio: 1 GiB is 18.
_LARGEST_ORDER: Final = 30

#: Events that only look at what they name.
_READS: Final[frozenset[type[Event]]] = frozenset({
    kvm.PageFault, kvm.TdpFault, kvm.TdpFaultRet, kvm.Faultin, kvm.FaultinRet, kvm.MapRet, kvm.Retry,
    kvm.ExitMemoryFault, kvm.ExitMmio, kvm.PreFault, kvm.PreFaultRet, kvm.GetPfn, kvm.GetPfnRet, kvm.GetFolio,
    kvm.GetFolioRet, kvm.FilemapGet, kvm.FilemapGetRet, kvm.UserFault, kvm.UserFaultRet, kvm.Sigbus, kvm.Gup,
    inplace_events.RefCheck, inplace_events.Hypercall, huge_events.HugeRefCheck,
})  # fmt: skip

#: Look at the invalidation word of their VM: the snapshot, the early, the late and the last check.
_SEQ_READERS: Final = (kvm.Faultin, kvm.FaultinRet, kvm.Map, kvm.Retry)
_SEQ_WRITERS: Final = (kvm.MmuInvStart, kvm.MmuNotifierStart, kvm.MmuInvEnd)
#: Look memslots up.
_SLOT_READERS: Final = (
    kvm.TdpFault, kvm.Faultin, kvm.Retry, kvm.ExitMmio, kvm.PreFault, kvm.Populate, kvm.SetAttributes, kvm.InvStart,
    inplace_events.GmemSetAttributes,
)  # fmt: skip
#: Begin and end of what a vCPU does within an SRCU read section.
_SRCU_READERS: Final = (kvm.TdpFault, kvm.TdpFaultRet, kvm.PreFault, kvm.PreFaultRet)
#: Are refused before the launch is over, or after it.
_LAUNCH_READERS: Final = (kvm.Populate, kvm.PreFault)


def is_read(event: Event) -> bool:
    """Whether `event` only looks at the pages, frames and slots that it names."""
    if isinstance(event, (kvm.GuestTouch, kvm.HostTouch)):
        return not event.write
    return event.__class__ in _READS


def level_frames(level: int) -> int:
    """Frames under an entry of a page-table level. A log comes from anybody: levels are 1 to 5."""
    return 1 << 9 * min(max(level - 1, 0), 4)


def order_of(event: Event) -> int:
    """The event's folio order; 0 for one that no folio has."""
    order: int = getattr(event, "order", 0)
    return order if 0 <= order <= _LARGEST_ORDER else 0


def frames_of(event: Event) -> tuple[int, int] | None:
    """First host frame and number of frames that `event` names; None if it names none, or an errno instead."""
    if isinstance(event, events.Access):
        return (event.lo, event.hi - event.lo) if event.obj == FRAMES and 0 <= event.lo < event.hi else None
    if isinstance(event, kvm.ArchInvalidate):
        return (event.start, max(event.end - event.start, 1)) if event.start >= 0 else None
    first = getattr(event, "pfn", -1)
    if not isinstance(first, int) or first < 0:
        return None
    if isinstance(event, kvm.Map):
        pages = level_frames(event.level)
        return first - event.gfn % pages, pages
    order = order_of(event)
    if order:
        return first >> order << order, 1 << order
    pages = getattr(event, "pages", 1)
    if isinstance(event, (huge_events.HugeRefCheck, huge_events.PageCacheDeleteRange)):
        pages = event.end - event.start
    return first, max(pages, 1)


class Footprints:
    """Footprints of the events of two logs. Show it every distinct event with `learn` first, then ask `of`."""

    def __init__(self) -> None:
        self._vms: dict[str, int] = {}
        self._vm_of: dict[str, set[str]] = {}
        self._targets: set[str] = set()
        #: Guest frame minus index, with the lowest and highest guest frame for which it is known.
        self._offsets: dict[int, list[int]] = {}
        self._accesses = False

    def learn(self, actor: str, event: Event) -> None:
        """Take in which VM an actor belongs to, which index is behind a guest frame, and who is signalled."""
        vm = getattr(event, "vm", None)
        if vm is not None:
            self._vms.setdefault(vm, len(self._vms))
            if isinstance(event, kvm.GuestTouch):
                self._vm_of.setdefault(actor, set()).add(vm)
        if isinstance(event, kvm.GetPfn):
            known = self._offsets.setdefault(event.gfn - event.index, [event.gfn, event.gfn])
            known[0], known[1] = min(known[0], event.gfn), max(known[1], event.gfn)
        elif isinstance(event, events.SignalSent):
            self._targets.add(event.target)
        elif isinstance(event, events.Access):
            self._accesses = True

    def of(self, actor: str, event: Event) -> tuple[Op, ...]:
        """What `event` touches, apart from the number of a message."""
        if isinstance(event, events.Access):
            high = ALL if event.hi < 0 else event.hi
            found = [Op("step", event.obj, event.lo, high, "r" if event.mode == "r" else "w")]
            return tuple(found) if event.lo < high else ()
        if self._accesses:
            return ()
        found = []
        mode: Mode = "r" if is_read(event) else "w"
        for obj, low, high in self._places(event):
            found.append(Op("step", obj, low, high, mode))
            if obj == _GUEST:
                for offset, (first, last) in self._offsets.items():
                    start, end = max(low, first), min(high, last + 1)
                    if start < end:
                        # A store changes the page itself; a zap, say, only what is known of it.
                        behind: Mode = "w" if isinstance(event, kvm.GuestTouch) and event.write else "r"
                        found.append(Op("step", _BEHIND, start - offset, end - offset, behind))
            elif obj == _INDEX and (mode == "w" or isinstance(event, kvm.HostTouch)):
                found.append(Op("step", _BEHIND, low, high, mode))
        frames = frames_of(event)
        if frames is not None:
            # What is mapped or read is the frame as it is; the rest changes it, or may.
            reads = isinstance(event, kvm.Map) or mode == "r"
            found.append(Op("step", FRAMES, frames[0], frames[0] + frames[1], "r" if reads else "w"))
        found += self._locks(event)
        found += self._vm_state(actor, event)
        if not event.__class__.__module__.startswith(_OURS):
            found.append(Op("step", _OWN))
        if actor in self._targets:
            found.append(Op("step", f"signal {actor}", mode="r"))
        return tuple(dict.fromkeys(found))

    @staticmethod
    def _places(event: Event) -> list[tuple[str, int, int]]:
        """Pages and guest frames that the event names."""
        found: list[tuple[str, int, int]] = []
        fields = event.__struct_fields__
        if "index" in fields:
            index: int = event.index  # type: ignore[attr-defined] # as just established
            order = order_of(event)
            pages = 1 << order if order else getattr(event, "pages", 1)
            low = index >> order << order
            found.append((_INDEX, low, low + max(pages, 1)))
        if "gfn" in fields:
            gfn: int = event.gfn  # type: ignore[attr-defined] # as just established
            pages = getattr(event, "pages", 1)
            if isinstance(event, kvm.Map):
                pages = level_frames(event.level)
                gfn -= gfn % pages
            found.append((_GUEST, gfn, gfn + max(pages, 1)))
        if isinstance(event, kvm.PreFault):
            first = event.gpa >> 12
            found.append((_GUEST, first, first + max(event.size >> 12, 1)))
        if "start" in fields and "end" in fields and not isinstance(event, kvm.ArchInvalidate):
            start: int = event.start  # type: ignore[attr-defined] # as just established
            end: int = event.end  # type: ignore[attr-defined] # as just established
            found.append((_GUEST if event.range_of == "gfn" else _INDEX, start, max(end, start + 1)))
        if isinstance(event, kvm.Gup):
            found.append(("source", event.page, event.page + 1))
        return found

    @staticmethod
    def _locks(event: Event) -> list[Op]:
        if isinstance(event, (events.Lock, events.Unlock)):
            return [Op("step", event.lock, mode="r" if event.mode == "r" else "w")]
        if isinstance(event, (events.Contended, events.SrcuSync)):
            return [Op("step", event.lock)]
        return []

    def _vm_state(self, actor: str, event: Event) -> list[Op]:
        """Invalidation word, TLB, memslots, files, launch, signals, fault points."""
        found: list[Op] = []
        cls = event.__class__
        low, high = self._vm_range(actor, event)
        if cls in _SEQ_READERS or cls in _SEQ_WRITERS:
            found.append(Op("step", "seq", low, high, "r" if cls in _SEQ_READERS else "w"))
        if isinstance(event, kvm.GuestTouch):
            found.append(Op("step", "tlb", low, high, "r"))
        elif isinstance(event, kvm.TlbFlush):
            found.append(Op("step", "tlb", low, high))
        if cls in _SLOT_READERS:
            found.append(Op("step", "memslots", mode="r"))
        slot = getattr(event, "slot", None)
        if slot is not None:
            reads = isinstance(event, (kvm.SetAttributesPre, kvm.SetAttributesPost))
            found.append(Op("step", "memslots", slot, slot + 1, "r" if reads else "w"))
        if cls in _SRCU_READERS:
            found.append(Op("step", "srcu", mode="r"))
        elif isinstance(event, events.SrcuSync):
            found.append(Op("step", "srcu"))
        if cls in _LAUNCH_READERS or isinstance(event, kvm.LaunchFinish):
            found.append(Op("step", "launch", mode="w" if isinstance(event, kvm.LaunchFinish) else "r"))
        file = getattr(event, "file", None)
        if file is not None:
            found.append(Op("step", f"file {file}"))
        if isinstance(event, events.SignalSent):
            found.append(Op("step", f"signal {event.target}"))
        elif isinstance(event, events.FaultInjected):
            found.append(Op("step", f"fault.{event.point}"))
        elif isinstance(event, inplace_events.LruDrain):
            found.append(Op("step", "lru"))
        return found

    def _vm_range(self, actor: str, event: Event) -> tuple[int, int]:
        """The VM that the event is about, as a range of numbers; every VM if it does not say."""
        vm: Any = getattr(event, "vm", None)
        if vm is None:
            known = self._vm_of.get(actor, ())
            if len(known) == 1:
                (vm,) = known
        number = self._vms.get(vm, -1) if isinstance(vm, str) else -1
        return (number, number + 1) if number >= 0 else (0, ALL)
