"""Laws that held in every recording where they can be checked, asked of any stream of events.

The stream may be a kernel trace (`as_events`) or a log of the model: the same words, so the same laws.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from ..audit import kvm_events as kvm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..audit.base import Event


@attrs.frozen
class Law:
    """One law and what the stream says of it: True, False, or None if the stream cannot tell."""

    number: int
    text: str
    holds: bool | None


@attrs.frozen
class Tally:
    """Counts of a stream.

    Attributes:
        events: by name.
        exists: insertions that lost against another one (-EEXIST).
        guest_clears: zeroings by threads that had called get_pfn, not by host faults or allocation.
        retries: faults given up for now.
        laws: see `Law`.
    """

    events: dict[str, int]
    exists: int
    guest_clears: int
    retries: int
    laws: tuple[Law, ...]

    def count(self, name: str) -> int:
        return self.events.get(name, 0)


class _Reader:
    """One pass over a stream."""

    def __init__(self) -> None:
        self.events: Counter[str] = Counter()
        self.exists = self.guest_clears = self.retries = 0
        self.present: dict[int, int] = {}
        self.alternates = self.once = self.known = True
        self.allocated = False
        self.allocate_clears = 0
        self.doing: dict[str, str] = {}
        self.looking: dict[str, int] = {}
        self.holes: dict[str, tuple[int, int]] = {}
        self.open_holes: dict[str, tuple[int, int]] = {}
        self.fixed_in_hole = 0
        self.mapping: dict[str, int] = {}
        self.base: int | None = None

    def take(self, actor: str, event: Event) -> None:
        cls = event.__class__
        tag = cls.__struct_config__.tag
        self.events[str(tag)] += 1
        handler = _HANDLERS.get(cls)
        if handler is not None:
            handler(self, actor, event)

    def get_pfn(self, actor: str, event: kvm.GetPfn) -> None:
        self.doing[actor] = "guest"
        self.base = event.gfn - event.index

    def user_fault(self, actor: str, event: kvm.UserFault) -> None:
        self.doing[actor] = "host"

    def fallocate(self, actor: str, event: kvm.Fallocate) -> None:
        self.doing[actor] = "punch" if event.punch else "allocate"
        self.allocated |= not event.punch
        self.holes[actor] = (event.start, event.end)

    def looked(self, actor: str, event: kvm.FilemapGet) -> None:
        self.looking[actor] = event.index

    def found(self, actor: str, event: kvm.FilemapGetRet) -> None:
        index = self.looking.get(actor)
        if event.pfn >= 0 and index is not None and index not in self.present:
            # There before the stream began.
            self.present[index] = 0
            self.allocated = True

    def add_ret(self, actor: str, event: kvm.FilemapAddRet) -> None:
        self.exists += event.ret != 0

    def added(self, actor: str, event: kvm.PageCacheAdd) -> None:
        self.alternates &= event.index not in self.present
        self.present[event.index] = 0

    def deleted(self, actor: str, event: kvm.PageCacheDelete) -> None:
        self.alternates &= event.index in self.present or self.allocated
        self.present.pop(event.index, None)

    def cleared(self, actor: str, event: kvm.Clear) -> None:
        self.known &= event.index in self.present
        self.present[event.index] = clears = self.present.get(event.index, 0) + 1
        self.once &= clears == 1
        doing = self.doing.get(actor)
        self.guest_clears += doing == "guest"
        self.allocate_clears += doing == "allocate"

    def hole_begins(self, actor: str, event: Event) -> None:
        if actor in self.holes:
            self.open_holes[actor] = self.holes[actor]

    def hole_ends(self, actor: str, event: Event) -> None:
        self.open_holes.pop(actor, None)

    def fault_ret(self, actor: str, event: kvm.TdpFaultRet) -> None:
        self.retries += event.ret == 1

    def map(self, actor: str, event: kvm.Map) -> None:
        self.mapping[actor] = event.gfn

    def map_ret(self, actor: str, event: kvm.MapRet) -> None:
        gfn = self.mapping.get(actor, -1)
        if event.ret == 5 and self.base is not None:
            index = gfn - self.base
            self.fixed_in_hole += any(start <= index < end for start, end in self.open_holes.values())

    def laws(self) -> tuple[Law, ...]:
        clears, adds = self.events["clear"], self.events["page_cache_add"]
        prepares, pfns = self.events["prepare"], self.events["get_pfn"]
        whole = not self.allocated
        return (
            Law(1, "a page is inserted, removed, inserted, … in turn", self.alternates),
            Law(2, "at most one zeroing a life, and only of a page that is there", self.once and self.known),
            Law(3, "as many zeroings as insertions", clears == adds if whole else None),
            Law(4, "nothing is mapped inside an open hole", self.fixed_in_hole == 0),
            Law(5, "one prepare a zeroing by a vCPU", prepares == self.guest_clears if prepares else None),
            Law(5, "one prepare a get_pfn", prepares == pfns if prepares else None),
            Law(6, "allocation zeroes nothing", self.allocate_clears == 0),
        )


_HANDLERS: dict[type[Event], Callable[[_Reader, str, Any], None]] = {
    kvm.GetPfn: _Reader.get_pfn,
    kvm.UserFault: _Reader.user_fault,
    kvm.Fallocate: _Reader.fallocate,
    kvm.FilemapGet: _Reader.looked,
    kvm.FilemapGetRet: _Reader.found,
    kvm.FilemapAddRet: _Reader.add_ret,
    kvm.PageCacheAdd: _Reader.added,
    kvm.PageCacheDelete: _Reader.deleted,
    kvm.Clear: _Reader.cleared,
    kvm.InvStartRet: _Reader.hole_begins,
    kvm.MmuInvEnd: _Reader.hole_ends,
    kvm.TdpFaultRet: _Reader.fault_ret,
    kvm.Map: _Reader.map,
    kvm.MapRet: _Reader.map_ret,
}


def tally(stream: Iterable[tuple[str, Event]]) -> Tally:
    """Count a stream and ask it for the laws."""
    reader = _Reader()
    for actor, event in stream:
        reader.take(actor, event)
    return Tally(
        dict(sorted(reader.events.items())), reader.exists, reader.guest_clears, reader.retries, reader.laws()
    )
