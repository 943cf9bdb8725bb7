"""A trace as the follower needs it: events of our threads as observations, plus what the metadata says.

Only one guest_memfd file is followed: the one whose inode the start marker names, else the first one truncated,
faulted or filled. Events of other files, folios and locks are left out, and counted.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from .ftrace import TraceError, read_trace
from .probes import HINTS, PROBES, Observation, arguments, signed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .ftrace import KernelEvent

__all__ = ["Step", "Trace", "load_trace", "trace_from_events"]

_MARK = re.compile(r"GMEM start name=(\S+) vcpus=(\d+) pages=(\d+) ino=(\d+) data_gfn=(0x[0-9a-f]+)")
_CACHE = re.compile(r"ino ([0-9a-f]+) pfn=(0x[0-9a-f]+) ofs=(\d+)")
_ATTRIBUTES = re.compile(r"(0x[0-9a-f]+) -- (0x[0-9a-f]+) \[(0x[0-9a-f]+)\]")
_ADDRESS = re.compile(r"address (0x[0-9a-f]+)")
_PAGE_SHIFT: Final = 12
#: KVM_MEMORY_ATTRIBUTE_PRIVATE.
_PRIVATE: Final = 8


class Step:
    """One event that is to be matched (or, for a hint, heeded): where, by whom, and what it shows."""

    __slots__ = ("kernel_name", "line", "name", "number", "observation", "position", "thread")

    def __init__(
        self, position: int, number: int, line: int, thread: str, kernel_name: str, obs: Observation
    ) -> None:
        self.position = position
        self.number = number
        self.line = line
        self.thread = thread
        self.kernel_name = kernel_name
        self.observation = obs
        self.name = obs.name


@attrs.define
class Trace:
    """A parsed trace.

    Attributes:
        steps: the events to match or heed, in order; `number` counts within the thread.
        threads: steps of each thread, by its name.
        events: events in the file, including those left out.
        ignored: left-out events by name and reason.
        probed: observation names that the recording could show.
        absent: arch hooks that the recorded kernel does not have: not to be probed although others were.
        probes_from: `metadata` or `trace` (inferred).
        sw_protected, pages, data_gfn, release: the VM and the kernel.
        conversions: arguments of conversions whose call was not probed, by thread name without pid, as another
            recording of the same workload shows them.
    """

    path: str
    steps: list[Step]
    threads: dict[str, list[Step]]
    events: int
    ignored: dict[str, int]
    probed: frozenset[str]
    absent: frozenset[str]
    probes_from: str
    sw_protected: bool
    pages: int
    data_gfn: int
    release: str | None
    scenario: str = ""
    gmem_prepare: bool = False
    metadata: dict[str, object] = attrs.field(factory=dict)
    conversions: dict[str, list[tuple[int, int, int]]] = attrs.field(factory=dict)

    def take_conversions(self, other: Trace) -> None:
        """Use the conversions of `other`, a recording of the same program with the same seed."""
        for thread, steps in other.threads.items():
            found = [s.observation[1:] for s in steps if s.name == "set_attributes"]
            if found:
                self.conversions[thread.rpartition("-")[0]] = found  # type: ignore[assignment] # three numbers each


class _Reader:
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
        self.in_fallocate: dict[str, bool] = {}
        self.last_add: dict[str, int] = {}

    def pfn(self, folio: int) -> int:
        """Frame of a `struct page` address, or a negative errno."""
        number = signed(folio)
        if number > -4096 and number < 0 and folio >> 63:
            return number
        base = 0xFFFFEA0000000000 if self.vmemmap is None else self.vmemmap
        return (folio - base) >> 6

    def observe(self, event: KernelEvent) -> Observation | str:
        """The observation, or why the event is left out."""
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
        result: Observation | str = handler(event, kind)
        return result

    def _ours(self, event: KernelEvent) -> tuple[bool, dict[str, int]]:
        args = arguments(event.args)
        mapping = args.get("mapping")
        if self.mapping is None and mapping is not None and self.in_fallocate.get(event.thread):
            self.mapping = mapping
        return mapping == self.mapping, args

    def _page_fault(self, event: KernelEvent, kind: str) -> Observation | str:
        match = _ADDRESS.search(event.args)
        return Observation(kind, int(match[1], 16) >> _PAGE_SHIFT) if match else "no address"

    def _ret(self, event: KernelEvent, kind: str) -> Observation:
        return Observation(kind, signed(arguments(event.args).get("ret", 0)))

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
        match = _CACHE.search(event.args)
        if match is None or int(match[1], 16) != self.ino:
            return "other file"
        return Observation(kind, int(match[3]) >> _PAGE_SHIFT, int(match[2], 16))

    _page_cache_add = _page_cache_delete = _cache

    def _set_uptodate(self, event: KernelEvent, kind: str) -> Observation:
        return Observation(kind, self.pfn(arguments(event.args)["folio"]))

    _folio_unlock = _set_uptodate

    def _prepare(self, event: KernelEvent, kind: str) -> Observation:
        args = arguments(event.args)
        return Observation(kind, args["gfn"], args["pfn"], args.get("order"))

    def _make_private(self, event: KernelEvent, kind: str) -> Observation:
        args = arguments(event.args)
        return Observation(kind, args.get("gfn"), args.get("pfn"))

    def _arch_invalidate(self, event: KernelEvent, kind: str) -> Observation:
        args = arguments(event.args)
        return Observation(kind, args["start"], args["end"])

    def _arch_reclaim(self, event: KernelEvent, kind: str) -> Observation:
        return Observation(kind, arguments(event.args)["pfn"])

    def _fallocate(self, event: KernelEvent, kind: str) -> Observation:
        args = arguments(event.args)
        self.in_fallocate[event.thread] = True
        start = args["off"] >> _PAGE_SHIFT
        return Observation(kind, args["mode"] >> 1 & 1, start, start + (args["len"] >> _PAGE_SHIFT))

    def _inv_start(self, event: KernelEvent, kind: str) -> Observation:
        args = arguments(event.args)
        return Observation(kind, args.get("start"), args.get("end"))

    def _zap_ret(self, event: KernelEvent, kind: str) -> Observation:
        return Observation(kind, arguments(event.args).get("flush", 0) & 1)

    def _truncate(self, event: KernelEvent, kind: str) -> Observation | str:
        ours, args = self._ours(event)
        if not ours:
            return "other file"
        return Observation(kind, args["lstart"] >> _PAGE_SHIFT, (args["lend"] + 1) >> _PAGE_SHIFT)

    def _user_fault(self, event: KernelEvent, kind: str) -> Observation:
        return Observation(kind, arguments(event.args)["index"])

    def _user_fault_ret(self, event: KernelEvent, kind: str) -> Observation:
        code = arguments(event.args)["ret"]
        return Observation(
            kind, {0x200: "locked", 0x2: "SIGBUS", 0x1: "oom", 0x400: "retry"}.get(code, f"{code:#x}")
        )

    def _set_attributes(self, event: KernelEvent, kind: str) -> Observation | str:
        match = _ATTRIBUTES.search(event.args)
        if match is None:
            return "no range"
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


def _first_scan(events: list[KernelEvent]) -> tuple[int | None, int | None, int | None]:
    """What must be known before the first event: our mapping, vmemmap's base, the inode seen in use."""
    mapping: int | None = None
    base: int | None = None
    ino: int | None = None
    adding: dict[str, int] = {}
    fault_thread: dict[str, bool] = {}
    for event in events:
        name = event.name
        if name in ("get_pfn", "user_fault", "fallocate"):
            fault_thread[event.thread] = True
        elif name in ("get_pfn_ret", "user_fault_ret", "fallocate_ret"):
            fault_thread[event.thread] = False
        elif name in ("fm_get", "fm_getm", "trunc", "fm_add") and fault_thread.get(event.thread):
            args = arguments(event.args)
            if mapping is None:
                mapping = args.get("mapping")
            if name == "fm_add":
                adding[event.thread] = args["folio"]
        elif name == "mm_filemap_add_to_page_cache" and event.thread in adding:
            match = _CACHE.search(event.args)
            folio = adding.pop(event.thread)
            if match and base is None:
                base = folio - (int(match[2], 16) << 6)
                ino = int(match[1], 16)
        if mapping is not None and base is not None:
            break
    return mapping, base, ino


def trace_from_events(
    events: Iterable[KernelEvent], path: str, metadata: dict[str, object] | None = None
) -> Trace:
    """Turn kernel events into steps.

    Raises:
        TraceError: no event concerns a guest_memfd.
    """
    listed = list(events)
    meta = metadata or {}
    mark = next((m for e in listed if e.name == "tracing_mark_write" and (m := _MARK.search(e.args))), None)
    mapping, base, seen_ino = _first_scan(listed)
    ino = int(mark[4]) if mark else seen_ino
    gfns = [arguments(e.args)["gfn"] for e in listed if e.name == "get_pfn"]
    data_gfn = int(mark[5], 16) if mark else min(gfns, default=0x10000)
    pages = int(mark[3]) if mark else max((gfn - data_gfn + 1 for gfn in gfns), default=1)
    reader = _Reader(ino, data_gfn, pages)
    reader.mapping, reader.vmemmap = mapping, base
    steps: list[Step] = []
    threads: dict[str, list[Step]] = {}
    ignored: dict[str, int] = {}
    for position, event in enumerate(listed):
        found = reader.observe(event)
        if isinstance(found, str):
            key = event.name if found == "not a step" else f"{event.name} ({found})"
            ignored[key] = ignored.get(key, 0) + 1
            continue
        mine = threads.setdefault(event.thread, [])
        step = Step(position, len(mine), event.line, event.thread, event.name, found)
        mine.append(step)
        steps.append(step)
    if not steps:
        raise TraceError(f"{path}: no event of a guest_memfd in it")
    probed, probes_from = _probed(meta, listed)
    names = {event.name for event in listed}
    return Trace(
        path=path,
        steps=steps,
        threads=threads,
        events=len(listed),
        ignored=dict(sorted(ignored.items())),
        probed=probed,
        absent=_absent(meta, probed),
        probes_from=probes_from,
        sw_protected=bool(meta.get("vm_type") == "KVM_X86_SW_PROTECTED_VM" or "arch_pre_set_attrs" in names),
        pages=pages,
        data_gfn=data_gfn,
        release=_release(meta),
        scenario=mark[1] if mark else str(meta.get("scenario", "")),
        gmem_prepare=bool(probed & {"prepare", "make_private", "arch_invalidate", "arch_reclaim"}),
        metadata=meta,
    )


def _release(meta: dict[str, object]) -> str | None:
    match = re.search(r"Linux \S+ (\d+\.\d+)", str(meta.get("uname", "")))
    return match[1] if match else None


_PROBE = re.compile(r"^(?:OFF|PROBE|RET|TP) (\S+).* ok$")


def _probed(meta: dict[str, object], events: list[KernelEvent]) -> tuple[frozenset[str], str]:
    """Observation names the recording could show, from the metadata's probe list or from what is in the trace."""
    listed = meta.get("probes")
    if isinstance(listed, list):
        names = {
            match[1].rpartition("/")[2].rstrip() for line in listed if (match := _PROBE.match(str(line)))
        }
        source = "metadata"
    else:
        names = {event.name for event in events}
        source = "trace"
    kinds = set()
    for name in names:
        instruction = name.startswith(("zero_begin", "uptodate_set"))
        kind = PROBES.get(name[: name.rindex("_")] if instruction else name)
        if kind:
            kinds.add(kind)
    return frozenset(kinds), source


#: The kernel's hook behind each observation. They are called across modules, so a missing symbol is no inlined one.
_HOOKS = {
    "prepare": "kvm_arch_gmem_prepare",
    "make_private": "kvm_arch_gmem_make_private",
    "arch_invalidate": "kvm_arch_gmem_invalidate",
    "arch_reclaim": "kvm_arch_gmem_reclaim",
}


def _absent(meta: dict[str, object], probed: frozenset[str]) -> frozenset[str]:
    """Hooks whose symbol the recorder looked for in vain in a kernel that has others of them."""
    unavailable = meta.get("probes_unavailable")
    if not isinstance(unavailable, list) or not probed & set(_HOOKS):
        return frozenset()
    missing = [
        f"{line} " for line in map(str, unavailable) if line.startswith("PROBE ") and "missing" in line
    ]
    return frozenset(
        name
        for name, symbol in _HOOKS.items()
        if name not in probed and any(f"PROBE {symbol} " in line for line in missing)
    )


def load_trace(path: Path, metadata: Path | None = None) -> Trace:
    """Read a trace and the metadata beside it (`NAME.json` for `NAME.trace.gz`), if there is any.

    Raises:
        TraceError: unreadable trace or metadata.
    """
    beside = path.with_name(path.name.split(".trace")[0] + ".json")
    source = metadata or (beside if beside.exists() and beside != path else None)
    meta: dict[str, object] = {}
    if source is not None:
        try:
            loaded = json.loads(source.read_text())
        except (OSError, ValueError) as error:
            raise TraceError(f"{source}: {error}") from None
        if not isinstance(loaded, dict):
            raise TraceError(f"{source}: expected a JSON object")
        meta = loaded
    if not path.is_file():
        raise TraceError(f"{path}: no such file")
    return trace_from_events(read_trace(path), str(path), meta)
