"""Which events of two tasks depend on each other, by their fields alone: what the comparison is checked by."""

from __future__ import annotations

from typing import Any

from gmemsim.audit import events as engine_events
from gmemsim.audit import inplace_events
from gmemsim.audit import kvm_events as kvm
from gmemsim.audit.base import Event

LOOKS = (
    kvm.PageFault, kvm.TdpFault, kvm.Faultin, kvm.GetPfn, kvm.GetPfnRet, kvm.GetFolio, kvm.GetFolioRet, kvm.FilemapGet,
    kvm.FilemapGetRet, kvm.UserFault, kvm.Sigbus, kvm.ExitMemoryFault, kvm.PreFault, kvm.Gup,
)  # fmt: skip
#: Events of a vCPU that meet the words, tables and sections of its VM without naming them.
FAULT = (
    kvm.TdpFault, kvm.TdpFaultRet, kvm.Faultin, kvm.FaultinRet, kvm.Map, kvm.Retry, kvm.ExitMmio, kvm.PreFault,
    kvm.PreFaultRet, kvm.GuestTouch, kvm.Populate, kvm.SetAttributes, kvm.SetAttributesPre, kvm.SetAttributesPost,
    kvm.InvStart, inplace_events.GmemSetAttributes,
)  # fmt: skip
#: What they meet.
VM_WIDE = (
    kvm.MmuInvStart, kvm.MmuNotifierStart, kvm.MmuInvEnd, kvm.TlbFlush, kvm.SlotPublish, kvm.SlotFree,
    kvm.Bind, kvm.Unbind,
    engine_events.SrcuSync, kvm.LaunchFinish,
)  # fmt: skip


#: More pages than a file has on the small size of a scenario: of a range that goes on (an eviction's, to the end of any
#: mapping) so many are named.
MOST = 4096


def names_of(event: Event) -> set[tuple[str, Any]]:
    """What an event names, one entry a page, frame, lock, …; ranges page by page, for logs are small here."""
    found: set[tuple[str, Any]] = set()
    fields = {name: getattr(event, name) for name in event.__struct_fields__}
    pages = fields.get("pages") or 1 << fields.get("order", 0)
    if isinstance(event, kvm.Map):
        pages = 1 << 9 * (event.level - 1)
    for name in ("index", "gfn", "pfn"):
        first = fields.get(name, -1)
        if first >= 0 and not isinstance(event, (kvm.Create,)):
            found |= {(name, page) for page in range(first, first + max(pages, 1))}
    if "start" in fields:
        space = (
            "gfn"
            if isinstance(event, (kvm.Zap, kvm.SetAttributes, kvm.AttrStore, kvm.ArchInvalidateRange))
            else "index"
        )
        space = "pfn" if isinstance(event, kvm.ArchInvalidate) else space
        first, end = fields["start"], min(fields["end"], fields["start"] + MOST)
        found |= {(space, page) for page in range(first, end)}
    if "gpa" in fields:
        found |= {("gfn", (fields["gpa"] >> 12) + page) for page in range(max(fields["size"] >> 12, 1))}
    for name in ("lock", "vm", "slot", "file", "inode", "id", "target", "page", "point"):
        if name in fields:
            found.add((name, fields[name]))
    return found


def independent(one: tuple[str, Event], other: tuple[str, Event]) -> bool:
    """Whether two steps surely commute: whatever is in doubt counts as dependent."""
    (actor, a), (task, b) = one, other
    if actor == task:
        return False
    for first, second, who in ((a, b, task), (b, a, actor)):
        if isinstance(first, VM_WIDE) and isinstance(second, (*FAULT, *VM_WIDE)):
            return False
        if isinstance(first, engine_events.SignalSent) and first.target == who:
            return False
    if isinstance(a, type(b)) and isinstance(a, (engine_events.FaultInjected, kvm.HardwareOp)):
        return False
    shared = names_of(a) & names_of(b)
    if not shared:
        return not _page_like(a, b)
    return all(isinstance(event, LOOKS) for event in (a, b)) or _both_read_locked(a, b) or _both_read(a, b)


def _page_like(a: Event, b: Event) -> bool:
    """One names an index, the other a guest frame: they may be of one page."""
    kinds = [{name for name, _ in names_of(event)} & {"index", "gfn"} for event in (a, b)]
    return bool(kinds[0] and kinds[1] and kinds[0] != kinds[1])


def _both_read_locked(a: Event, b: Event) -> bool:
    locks = (engine_events.Lock, engine_events.Unlock)
    return isinstance(a, locks) and isinstance(b, locks) and a.mode == b.mode == "r"


def _both_read(a: Event, b: Event) -> bool:
    touches = (kvm.GuestTouch, kvm.HostTouch)
    return isinstance(a, touches) and isinstance(b, touches) and not a.write and not b.write


def dependent(one: tuple[str, Event], other: tuple[str, Event]) -> bool:
    """Whether two steps of different tasks surely do not commute."""
    (actor, a), (task, b) = one, other
    if actor == task:
        return False
    if isinstance(a, engine_events.LockRequest) or isinstance(b, engine_events.LockRequest):
        return False
    if isinstance(a, engine_events.Send | engine_events.Receive) or isinstance(
        b, engine_events.Send | engine_events.Receive
    ):
        return False
    shared = {name for name, _ in names_of(a) & names_of(b)}
    if shared & {"index", "gfn", "pfn"}:
        # A map and a look-up of one frame both take it as it is; on the page, a map changes the entry.
        reads = [isinstance(event, LOOKS) or _reads(event) for event in (a, b)]
        if shared == {"pfn"}:
            reads = [read or isinstance(event, kvm.Map) for read, event in zip(reads, (a, b), strict=True)]
        return not all(reads)
    if (
        "lock" in shared
        and isinstance(a, engine_events.Lock | engine_events.Unlock)
        and isinstance(b, engine_events.Lock | engine_events.Unlock)
    ):
        return "w" in (a.mode, b.mode)
    return False


def _reads(event: Event) -> bool:
    quiet = (kvm.Retry, kvm.MapRet, kvm.ExitMmio, kvm.PreFaultRet)
    return (
        (isinstance(event, (kvm.GuestTouch, kvm.HostTouch)) and not event.write)
        or isinstance(event, quiet)
        or (type(event).__name__ in ("RefCheck", "HugeRefCheck", "Hypercall"))
    )
