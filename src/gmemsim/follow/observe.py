"""Kernel events as observations: which of ours an event is, and what it shows in the model's terms."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from .probes import ADDRESS, CACHE, HINTS, PROBES, Observation, arguments, signed

if TYPE_CHECKING:
    from .ftrace import KernelEvent

_ATTRIBUTES = re.compile(r"(0x[0-9a-f]{1,16}) -- (0x[0-9a-f]{1,16}) \[(0x[0-9a-f]{1,16})\]")
_ERROR_CODE = re.compile(r"error_code (0x[0-9a-f]{1,16})")
_PAGE_SHIFT: Final = 12
#: PFERR_RSVD_MASK: the entry that was met has reserved bits, as those of guest frames without a slot do.
_RSVD: Final = 8


class Observer:
    """State while events are turned into observations."""

    def __init__(self, ino: int | None, data_gfn: int, pages: int) -> None:
        self.ino = ino
        self.data_gfn = data_gfn
        self.pages = pages
        self.mapping: int | None = None
        self.invalidate_lock: int | None = None
        self.i_mmap_lock: int | None = None
        self.vmemmap: int | None = None
        self.lookups: dict[str, list[bool]] = {}
        self.adds: dict[str, list[bool]] = {}
        self.truncations: dict[str, list[bool]] = {}
        self.in_fallocate: dict[str, bool] = {}
        #: The event lies in a release of the file (`closing`).
        self.releasing = False
        self.last_add: dict[str, int] = {}
        #: The file's slot, as soon as it is made or deleted, and threads in the ioctl for it, or for another slot.
        self.slot: int | None = None
        self.in_region: set[str] = set()
        self.in_other_region: set[str] = set()
        #: Threads in memory_failure before its first section under the folio lock, which does nothing but ask
        #: hwpoison_filter, and which the model leaves out (mm/memory-failure.c of 6.12.107, 7.2.13, 7.3.4).
        self.unfiltered: set[str] = set()

    def pfn(self, folio: int) -> int:
        """Frame of a `struct page` address, or a negative errno."""
        number = signed(folio)
        if number > -4096 and number < 0 and folio >> 63:
            return number
        base = 0xFFFFEA0000000000 if self.vmemmap is None else self.vmemmap
        return (folio - base) >> 6

    def observe(self, event: KernelEvent) -> Observation | str:
        """The observation, or why the event is left out.

        Raises:
            ValueError: a field that the probe shows is missing.
        """
        name = event.name
        if name.startswith(("zero_begin", "uptodate_set")):
            # The instruction probes have one name per inlined copy: zero_begin_gp0, zero_begin_uf0, …
            name = name[: name.rindex("_")]
        elif name in HINTS:
            return Observation(name)
        kind = PROBES.get(name)
        if kind is None:
            return "not a step"
        handler = getattr(self, f"_{kind}", None)
        if handler is None:
            return Observation(kind)
        try:
            result: Observation | str = handler(event, kind)
        except KeyError as error:
            raise ValueError(f"{name} without its field {error.args[0]}") from None
        return result

    def _ours(self, event: KernelEvent) -> tuple[bool, dict[str, int]]:
        args = arguments(event.args)
        mapping = args.get("mapping")
        if self.mapping is None and (self.releasing or self.in_fallocate.get(event.thread)):
            self.mapping = mapping
        return mapping is not None and mapping == self.mapping, args

    def _page_fault(self, event: KernelEvent, kind: str) -> Observation:
        match = ADDRESS.search(event.args)
        if match is None:
            raise KeyError("address")
        return Observation(kind, int(match[1], 16) >> _PAGE_SHIFT)

    def _ret(self, event: KernelEvent, kind: str) -> Observation:
        return Observation(kind, signed(arguments(event.args)["ret"]))

    _tdp_fault_ret = _faultin_ret = _get_pfn_ret = _prepare_ret = _map_ret = _fallocate_ret = _ret

    def _get_pfn(self, event: KernelEvent, kind: str) -> Observation:
        return Observation(kind, arguments(event.args)["gfn"])

    def _get_folio(self, event: KernelEvent, kind: str) -> Observation:
        return Observation(kind, arguments(event.args)["index"])

    def _get_folio_ret(self, event: KernelEvent, kind: str) -> Observation:
        return Observation(kind, self.pfn(arguments(event.args)["folio"]))

    def _filemap_get(self, event: KernelEvent, kind: str) -> Observation | str:
        ours, args = self._ours(event)
        self.lookups.setdefault(event.thread, []).append(ours)
        return Observation(kind, args["index"], args["fgp"] >> 2 & 1) if ours else "other file"

    def _filemap_get_ret(self, event: KernelEvent, kind: str) -> Observation | str:
        stack = self.lookups.get(event.thread)
        if not stack or not stack.pop():
            return "other file"
        return Observation(kind, self.pfn(arguments(event.args)["folio"]))

    def _filemap_add(self, event: KernelEvent, kind: str) -> Observation | str:
        ours, args = self._ours(event)
        self.adds.setdefault(event.thread, []).append(ours)
        if not ours:
            return "other file"
        self.last_add[event.thread] = args["folio"]
        return Observation(kind, args["index"], self.pfn(args["folio"]))

    def _filemap_add_ret(self, event: KernelEvent, kind: str) -> Observation | str:
        stack = self.adds.get(event.thread)
        if not stack or not stack.pop():
            return "other file"
        return self._ret(event, kind)

    def _cache(self, event: KernelEvent, kind: str) -> Observation | str:
        match = CACHE.search(event.args)
        if match is None:
            raise KeyError("ino, pfn or ofs")
        if int(match[1], 16) != self.ino:
            return "other file"
        return Observation(kind, int(match[3]) >> _PAGE_SHIFT, int(match[2], 16))

    _page_cache_add = _page_cache_delete = _cache

    def _set_uptodate(self, event: KernelEvent, kind: str) -> Observation:
        return Observation(kind, self.pfn(arguments(event.args)["folio"]))

    def _folio_unlock(self, event: KernelEvent, kind: str) -> Observation | str:
        if event.thread in self.unfiltered:
            self.unfiltered.discard(event.thread)
            return "memory_failure asks hwpoison_filter"
        return self._set_uptodate(event, kind)

    def _prepare(self, event: KernelEvent, kind: str) -> Observation:
        args = arguments(event.args)
        return Observation(kind, args["gfn"], args["pfn"], args["order"])

    def _make_private(self, event: KernelEvent, kind: str) -> Observation:
        args = arguments(event.args)
        return Observation(kind, args.get("gfn"), args.get("pfn"))

    def _arch_invalidate(self, event: KernelEvent, kind: str) -> Observation:
        args = arguments(event.args)
        return Observation(kind, args["start"], args["end"])

    def _arch_invalidate_range(self, event: KernelEvent, kind: str) -> Observation | str:
        return "other slot" if event.thread in self.in_other_region else Observation(kind)

    def _arch_reclaim(self, event: KernelEvent, kind: str) -> Observation:
        return Observation(kind, arguments(event.args)["pfn"])

    def _memory_failure(self, event: KernelEvent, kind: str) -> Observation:
        self.unfiltered.add(event.thread)
        return self._arch_reclaim(event, kind)

    def _memory_failure_ret(self, event: KernelEvent, kind: str) -> Observation:
        self.unfiltered.discard(event.thread)
        return self._ret(event, kind)

    def _set_region(self, event: KernelEvent, kind: str) -> Observation | str:
        """First gfn, pages (0: deletion), index; of the file's slot only."""
        args = arguments(event.args)
        first, pages = args["gpa"] >> _PAGE_SHIFT, args["size"] >> _PAGE_SHIFT
        if self.slot is None and (
            not pages or (first < self.data_gfn + self.pages and self.data_gfn < first + pages)
        ):
            self.slot = args["slot"]
        if args["slot"] != self.slot:
            self.in_other_region.add(event.thread)
            return "other slot"
        self.in_region.add(event.thread)
        if not pages:
            # The rest of the argument is not looked at.
            return Observation(kind, 0, 0, 0)
        return Observation(kind, first, pages, args["offset"] >> _PAGE_SHIFT)

    def _set_region_ret(self, event: KernelEvent, kind: str) -> Observation | str:
        if event.thread not in self.in_region:
            self.in_other_region.discard(event.thread)
            return "other slot"
        self.in_region.discard(event.thread)
        return self._ret(event, kind)

    def _fallocate(self, event: KernelEvent, kind: str) -> Observation:
        args = arguments(event.args)
        self.in_fallocate[event.thread] = True
        start = args["off"] >> _PAGE_SHIFT
        return Observation(kind, args["mode"] >> 1 & 1, start, start + (args["len"] >> _PAGE_SHIFT))

    def _inv_start(self, event: KernelEvent, kind: str) -> Observation:
        args = arguments(event.args)
        return Observation(kind, args["start"], args["end"])

    def _zap_ret(self, event: KernelEvent, kind: str) -> Observation:
        return Observation(kind, arguments(event.args)["flush"] & 1)

    def _truncate(self, event: KernelEvent, kind: str) -> Observation | str:
        ours, args = self._ours(event)
        self.truncations.setdefault(event.thread, []).append(ours)
        if not ours:
            return "other file"
        return Observation(kind, args["lstart"] >> _PAGE_SHIFT, (args["lend"] + 1) >> _PAGE_SHIFT)

    def _truncate_ret(self, event: KernelEvent, kind: str) -> Observation | str:
        stack = self.truncations.get(event.thread)
        return Observation(kind) if not stack or stack.pop() else "other file"

    def _user_fault(self, event: KernelEvent, kind: str) -> Observation:
        return Observation(kind, arguments(event.args)["index"])

    def _user_fault_ret(self, event: KernelEvent, kind: str) -> Observation:
        code = arguments(event.args)["ret"]
        return Observation(
            kind, {0x200: "locked", 0x2: "SIGBUS", 0x1: "oom", 0x400: "retry"}.get(code, f"{code:#x}")
        )

    def _set_attributes(self, event: KernelEvent, kind: str) -> Observation:
        match = _ATTRIBUTES.search(event.args)
        if match is None:
            raise KeyError("range")
        return Observation(kind, int(match[1], 16), int(match[2], 16), int(match[3], 16) >> 3 & 1)

    def _lock(self, event: KernelEvent, kind: str) -> Observation | str:
        address = arguments(event.args)["lock"]
        if kind == "down_write" and self.invalidate_lock is None and self.in_fallocate.get(event.thread):
            self.invalidate_lock = address
        elif kind == "down_read" and self.in_fallocate.get(event.thread) and address != self.invalidate_lock:
            if self.invalidate_lock is None:
                self.invalidate_lock = address
            elif self.i_mmap_lock is None and self.mapping is not None and 0 < address - self.mapping < 0x400:
                self.i_mmap_lock = address
        if address == self.invalidate_lock:
            return Observation(kind, "invalidate_lock")
        if address == self.i_mmap_lock:
            return Observation(kind, "i_mmap_rwsem")
        return "other lock"

    _down_read = _down_write = _up_read = _up_write = _lock


def from_mmio_entries(events: list[KernelEvent]) -> set[int]:
    """Positions of faults that were emulated from an MMIO entry: the fault handler is not called.

    The model keeps no such entries. An entry of an older generation of the slots is no good, and the handler is called.
    """
    found: set[int] = set()
    last: dict[str, int] = {}
    for position, event in enumerate(events):
        before = last.get(event.thread)
        if before is not None and event.name != "tdp_fault":
            found.add(before)
        last.pop(event.thread, None)
        code = _ERROR_CODE.search(event.args) if event.name == "kvm_page_fault" else None
        if code is not None and int(code[1], 16) & _RSVD:
            last[event.thread] = position
    return found | set(last.values())
