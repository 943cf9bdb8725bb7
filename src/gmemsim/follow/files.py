"""Which of the guest_memfd files in a trace is followed, where it lies, and which events are of another one's.

What a fault, a host's fault or an fallocate looks up shows a mapping, and what it adds an inode. A call that looks up
in another mapping only is another file's. So is every call of a vCPU thread that finds another file at gfns of ours: it
runs another VM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .probes import ADDRESS, CACHE, arguments

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .ftrace import KernelEvent

_INSIDE: Final = frozenset({"get_pfn", "user_fault", "fallocate"})
_OUTSIDE: Final = frozenset({f"{name}_ret" for name in _INSIDE})
_LOOKS_UP: Final = frozenset({"fm_get", "fm_getm", "fm_add", "trunc"})
_ADDED, _DELETED = "mm_filemap_add_to_page_cache", "mm_filemap_delete_from_page_cache"
_SCANNED: Final = _INSIDE | _OUTSIDE | _LOOKS_UP | {_ADDED, _DELETED}
#: FALLOC_FL_PUNCH_HOLE: of a hole that reaches behind the end of the file only what lies in it is punched.
_PUNCH: Final = 2
_SHIFT: Final = 12
_FAULTS: Final = frozenset({"kvm_page_fault", "prefault_ioctl"})
#: What begins a call that is looked at here, and what begins another one.
_CALLS: Final = _FAULTS | {"user_fault", "fallocate"}
_ELSE: Final = frozenset({"set_region", "memory_failure", "kvm_vm_set_mem_attributes", "arch_pre_set_attrs"})
#: Begins the release of a file, outside fallocate.
_RELEASES: Final = frozenset({"inv_begin", "inv_begin2", "inv_start", "inv_start2", "trunc"})
#: What ends a call; of KVM_PRE_FAULT_MEMORY a retry can follow.
_RETURNS: Final = {
    "kvm_page_fault": "tdp_fault_ret",
    "user_fault": "user_fault_ret",
    "fallocate": "fallocate_ret",
}
_END: Final = 1 << 62


class Files:
    """The files in use.

    Attributes:
        inodes: of each mapping that shows in a call of guest_memfd, in order; None: nothing was added or deleted.
        vmemmap: where `struct page` of frame 0 would be; None: nothing was added.
    """

    def __init__(self) -> None:
        self.inodes: dict[int, int | None] = {}
        self.vmemmap: int | None = None

    def mapping_of(self, ino: int | None) -> int | None:
        """Of the file with that inode, of one that can have it, or of the first in use where no inode is known.

        Raises:
            LookupError: all are other files.
        """
        found = [mapping for mapping, seen in self.inodes.items() if ino is None or seen in (ino, None)]
        if not found and self.inodes:
            raise LookupError
        exact = [mapping for mapping in found if ino is not None and self.inodes[mapping] == ino]
        return next(iter(exact or found), None)


def scan(events: Iterable[KernelEvent]) -> Files:
    """What must be known before the first event is looked at."""
    files = Files()
    inside: set[str] = set()
    using: dict[str, int] = {}
    adding: dict[str, int] = {}
    for event in events:
        name, thread = event.name, event.thread
        if name not in _SCANNED:
            continue
        if name in _INSIDE:
            inside.add(thread)
        elif name in _OUTSIDE:
            inside.discard(thread)
        elif name in _LOOKS_UP:
            args = arguments(event.args)
            mapping = args.get("mapping")
            if thread not in inside or mapping is None:
                continue
            files.inodes.setdefault(mapping, None)
            using[thread] = mapping
            if name == "fm_add" and "folio" in args:
                adding[thread] = args["folio"]
        elif thread in using and thread in inside and (match := CACHE.search(event.args)):
            folio = adding.pop(thread, None)
            if name == _ADDED and folio is not None and files.vmemmap is None:
                files.vmemmap = folio - (int(match[2], 16) << 6)
            if files.inodes[using[thread]] is None and (name == _DELETED or folio is not None):
                files.inodes[using[thread]] = int(match[1], 16)
    return files


def geometry(events: Iterable[KernelEvent], mapping: int | None, alone: bool) -> tuple[int, int]:
    """First gfn and pages of the file, where no start line says them; `alone`: no other file is in use.

    A fault asks for a gfn and then looks an index up, so their difference is the first gfn; if none shows, it is the
    lowest gfn that is asked for. The end is behind all that is used of it.
    """
    asked: dict[str, int] = {}
    hosts: set[str] = set()
    gfns: set[int] = set()
    every: set[int] = set()
    first: int | None = None
    end = 1
    for event in events:
        name, thread = event.name, event.thread
        if name in ("get_pfn_ret", "user_fault_ret"):
            asked.pop(thread, None)
            hosts.discard(thread)
            continue
        if name not in ("get_pfn", "user_fault", "fallocate", "fm_get", "fm_getm", "get_folio"):
            continue
        args = arguments(event.args)
        index = args.get("index", 0)
        if name == "get_pfn" and "gfn" in args:
            asked[thread] = args["gfn"]
            every.add(args["gfn"])
        elif name == "user_fault":
            hosts.add(thread)
            end = max(end, index + 1 if alone else 1)
        elif name == "fallocate":
            if alone and not args.get("mode", 0) & _PUNCH:
                end = max(end, (args.get("off", 0) + args.get("len", 0)) >> _SHIFT)
        elif name == "get_folio" and not alone:
            continue
        elif (thread in asked or thread in hosts) and args.get("mapping", mapping) == mapping:
            end = max(end, index + 1)
            if thread in asked:
                gfns.add(asked[thread])
                first = max(0, asked[thread] - index) if first is None else first
    gfns = every if alone else gfns or every
    if first is None:
        first = min(gfns, default=0x10000)
    return first, max(end, *(gfn - first + 1 for gfn in gfns), 1)


class _Call:
    """A call that is under way: where it began, at which gfn, and in which mappings it looked something up."""

    __slots__ = ("began", "gfn", "kind", "mappings", "returned")

    def __init__(self, kind: str, began: int, gfn: int | None) -> None:
        self.kind, self.began, self.gfn = kind, began, gfn
        self.mappings: set[int] = set()
        self.returned = False


class Others:
    """Events of other files: of each thread the ranges of positions."""

    def __init__(self) -> None:
        self._ranges: dict[str, list[tuple[int, int]]] = {}

    def add(self, thread: str, began: int, end: int) -> None:
        """Positions from `began` to before `end`, behind those that were added."""
        self._ranges.setdefault(thread, []).append((began, end))

    def __contains__(self, place: tuple[str, int]) -> bool:
        """Whether a thread's event is another file's; asked in the order of the trace."""
        ranges = self._ranges.get(place[0], [])
        while ranges and ranges[0][1] <= place[1]:
            ranges.pop(0)
        return bool(ranges) and ranges[0][0] <= place[1]

    def __bool__(self) -> bool:
        return bool(self._ranges)


def others(events: Sequence[KernelEvent], mapping: int | None, ours: range) -> Others:
    """Calls of other files than that of `mapping`, which lies at the gfns `ours`."""
    found = Others()
    calls = list(_calls(events))
    foreign: set[str] = set()
    elsewhere: set[int] = set()
    local = {thread for thread, call, _ in calls if mapping in call.mappings}
    for thread, call, _ in calls:
        if call.mappings and mapping not in call.mappings and call.gfn is not None:
            if call.gfn not in ours:
                elsewhere.add(call.gfn)
            elif thread not in local:
                foreign.add(thread)
    for thread, call, end in calls:
        if mapping in call.mappings:
            continue
        fault = call.kind in _FAULTS
        if call.mappings or (
            fault and (thread in foreign or (call.gfn in elsewhere and call.gfn not in ours))
        ):
            found.add(thread, call.began, end)
    return found


def _calls(events: Sequence[KernelEvent]) -> Iterable[tuple[str, _Call, int]]:
    """Each call with its thread and the position behind it, in each thread's order."""
    current: dict[str, _Call] = {}
    for position, event in enumerate(events):
        name, thread = event.name, event.thread
        call = current.get(thread)
        begins = name in _CALLS or name in _ELSE
        if begins or _is_over(call, name):
            if call is not None:
                yield thread, current.pop(thread), position
            if name in _CALLS:
                address = ADDRESS.search(event.args) if name == "kvm_page_fault" else None
                gfn = None if address is None else int(address[1], 16) >> _SHIFT
                current[thread] = _Call(name, position, gfn)
        elif call is None:
            continue
        elif name == "get_pfn":
            call.gfn = arguments(event.args).get("gfn")
        elif name in _LOOKS_UP and (seen := arguments(event.args).get("mapping")) is not None:
            call.mappings.add(seen)
        elif name == _RETURNS.get(call.kind):
            call.returned = True
    for thread, call in current.items():
        yield thread, call, _END


def _is_over(call: _Call | None, name: str) -> bool:
    """Whether the event is behind the call that its thread made; the core unlocks the folio of a host's fault there."""
    if call is None or name == "folio_unlock":
        return False
    return call.returned or (name in _RELEASES and call.kind != "fallocate")
