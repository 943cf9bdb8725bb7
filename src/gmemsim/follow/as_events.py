"""A kernel trace in the words of the audit log, so that it can be counted and compared like one of ours.

What a probe does not show is filled in from its thread's last steps: `clear` gets the index of the look-up before it.
A field that nothing tells is -1. Events are named after the observations of `probes`, which are named after the
audit events. The ioctl that makes or deletes the file's slot is a bind or an unbind of slot 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..audit import kvm_events as kvm
from ..audit.events import LockRequest, Unlock
from .probes import HINTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..audit.base import Event
    from .probes import Observation
    from .trace import Trace


class _Context:
    """What a thread did last: the page that its next steps are about."""

    def __init__(self, data_gfn: int) -> None:
        self.data_gfn = data_gfn
        self.gfn = -1
        self.index = -1
        self.pfn = -1
        self.range = (-1, -1)
        #: Pages that a slot is made of, while its ioctl is under way; none: it is deleted.
        self.bound: tuple[int, int] | None = None

    def at_gfn(self, gfn: int) -> None:
        self.gfn = gfn
        self.index = gfn - self.data_gfn

    def at_index(self, index: int) -> None:
        self.index = index


def events_of(trace: Trace) -> Iterator[tuple[str, Event]]:
    """Every matched event of the trace as `(actor, event)`.

    The actor is the thread's name without its pid, which no two recordings share. Of several threads with one name, as
    those of a VMM that names none of them are, each has its number behind it, in the order of their pids.
    """
    contexts: dict[str, _Context] = {}
    frames: dict[int, int] = {}
    actors = _actors(trace)
    for step in trace.steps:
        if step.name in HINTS:
            continue
        context = contexts.get(step.thread)
        if context is None:
            context = contexts[step.thread] = _Context(trace.data_gfn)
        obs = step.observation
        if step.name == "folio_unlock":
            index = frames.get(_n(obs.a))
            if index is None:
                continue
            yield actors[step.thread], Unlock(f"gmem0.folio[{index}]", "w")
            continue
        if step.name == "page_cache_add":
            frames[_n(obs.b)] = _n(obs.a)
        elif step.name == "filemap_get_ret" and _n(obs.a) >= 0:
            # Of a page that was there before the recording no insertion shows.
            frames[_n(obs.a)] = context.index
        elif step.name == "memory_failure":
            context.at_index(frames.get(_n(obs.a), -1))
        yield actors[step.thread], _MAKERS[step.name](obs, context)


def _actors(trace: Trace) -> dict[str, str]:
    """A name for each thread."""
    named: dict[str, list[str]] = {}
    for thread in trace.threads:
        named.setdefault(thread.rpartition("-")[0], []).append(thread)
    found: dict[str, str] = {}
    for name, threads in named.items():
        threads.sort(key=lambda thread: int(thread.rpartition("-")[2]))
        for number, thread in enumerate(threads, 1):
            found[thread] = name if len(threads) == 1 else f"{name}#{number}"
    return found


def _n(value: int | str | None) -> int:
    return value if isinstance(value, int) else -1


def _page_fault(o: Observation, c: _Context) -> Event:
    c.at_gfn(_n(o.a))
    return kvm.PageFault(c.gfn, False)


def _get_pfn(o: Observation, c: _Context) -> Event:
    c.at_gfn(_n(o.a))
    return kvm.GetPfn(c.gfn, c.index)


def _get_folio(o: Observation, c: _Context) -> Event:
    c.at_index(_n(o.a))
    return kvm.GetFolio(c.index)


def _filemap_get(o: Observation, c: _Context) -> Event:
    c.at_index(_n(o.a))
    return kvm.FilemapGet(c.index, bool(o.b))


def _filemap_get_ret(o: Observation, c: _Context) -> Event:
    c.pfn = _n(o.a)
    return kvm.FilemapGetRet(c.pfn)


def _user_fault(o: Observation, c: _Context) -> Event:
    c.at_index(_n(o.a))
    return kvm.UserFault(c.index)


def _fallocate(o: Observation, c: _Context) -> Event:
    c.range = (_n(o.b), _n(o.c))
    return kvm.Fallocate(bool(o.a), *c.range)


def _set_attributes(o: Observation, c: _Context) -> Event:
    c.range = (_n(o.a), _n(o.b))
    return kvm.SetAttributes(*c.range, bool(o.c))


def _inv_start(o: Observation, c: _Context) -> Event:
    shown = isinstance(o.a, int) and isinstance(o.b, int)
    return kvm.InvStart(_n(o.a), _n(o.b)) if shown else kvm.InvStart(*c.range)


def _set_region(o: Observation, c: _Context) -> Event:
    first, pages = _n(o.c), _n(o.b)
    c.bound = (first, first + pages) if pages else None
    return kvm.SlotPublish(0, "invalid") if c.bound is None else kvm.BindPrepare("gmem0", 0, *c.bound, 0)


def _set_region_ret(o: Observation, c: _Context) -> Event:
    if c.bound is not None:
        return kvm.Bind("gmem0", 0, *c.bound, _n(o.a))
    return kvm.SlotPublish(0, "valid") if o.a else kvm.Unbind(0)


def _lock(o: Observation, c: _Context) -> Event:
    mode = "r" if o.name.endswith("read") else "w"
    label = f"gmem0.{o.a}"
    return LockRequest(label, mode) if o.name.startswith("down") else Unlock(label, mode)


#: One for each observation: what had none would be left out of a comparison that says "the same".
_MAKERS: dict[str, Callable[[Observation, _Context], Event]] = {
    "page_fault": _page_fault,
    "tdp_fault": lambda o, c: kvm.TdpFault(c.gfn),
    "tdp_fault_ret": lambda o, c: kvm.TdpFaultRet(_n(o.a)),
    "faultin": lambda o, c: kvm.Faultin(c.gfn),
    "faultin_ret": lambda o, c: kvm.FaultinRet(_n(o.a)),
    "get_pfn": _get_pfn,
    "get_pfn_ret": lambda o, c: kvm.GetPfnRet(_n(o.a), c.pfn),
    "get_folio": _get_folio,
    "get_folio_ret": lambda o, c: kvm.GetFolioRet(_n(o.a)),
    "filemap_get": _filemap_get,
    "filemap_get_ret": _filemap_get_ret,
    "filemap_add": lambda o, c: kvm.FilemapAdd(_n(o.a), _n(o.b)),
    "filemap_add_ret": lambda o, c: kvm.FilemapAddRet(_n(o.a)),
    "page_cache_add": lambda o, c: kvm.PageCacheAdd(_n(o.a), _n(o.b), 0),
    "page_cache_delete": lambda o, c: kvm.PageCacheDelete(_n(o.a), _n(o.b), 0),
    "clear": lambda o, c: kvm.Clear(c.index, c.pfn, 1),
    "set_uptodate": lambda o, c: kvm.SetUptodate(c.index, _n(o.a)),
    "prepare": lambda o, c: kvm.Prepare(_n(o.a), _n(o.b), _n(o.c)),
    "prepare_ret": lambda o, c: kvm.PrepareRet(_n(o.a), False),
    "make_private": lambda o, c: kvm.MakePrivate(_n(o.a), _n(o.b), 1),
    "arch_invalidate": lambda o, c: kvm.ArchInvalidate(_n(o.a), _n(o.b)),
    "arch_reclaim": lambda o, c: kvm.ArchReclaim(_n(o.a), 1),
    "arch_invalidate_range": lambda o, c: kvm.ArchInvalidateRange("vm0", -1, -1),
    "map": lambda o, c: kvm.Map(c.gfn, c.pfn, 1),
    "map_ret": lambda o, c: kvm.MapRet(_n(o.a)),
    "fallocate": _fallocate,
    "fallocate_ret": lambda o, c: kvm.FallocateRet(_n(o.a)),
    "inv_start": _inv_start,
    "inv_start_ret": lambda o, c: kvm.InvStartRet(),
    "mmu_inv_start": lambda o, c: kvm.MmuInvStart("vm0"),
    "mmu_inv_end": lambda o, c: kvm.MmuInvEnd("vm0"),
    "zap": lambda o, c: kvm.Zap("vm0", -1, -1, "both"),
    "zap_ret": lambda o, c: kvm.ZapRet(bool(o.a)),
    "tlb_flush": lambda o, c: kvm.TlbFlush("vm0"),
    "truncate": lambda o, c: kvm.Truncate(_n(o.a), _n(o.b)),
    "truncate_ret": lambda o, c: kvm.TruncateRet(),
    "user_fault": _user_fault,
    "user_fault_ret": lambda o, c: kvm.UserFaultRet(str(o.a)),
    "pre_fault": lambda o, c: kvm.PreFault(-1, 4096),
    "memory_failure": lambda o, c: kvm.MemoryFailure(c.index, _n(o.a)),
    "memory_failure_ret": lambda o, c: kvm.MemoryFailureRet(_n(o.a)),
    "set_region": _set_region,
    "set_region_ret": _set_region_ret,
    "set_attributes": _set_attributes,
    "set_attributes_pre": lambda o, c: kvm.SetAttributesPre(-1),
    "set_attributes_post": lambda o, c: kvm.SetAttributesPost(-1),
    "folio_unlock": lambda o, c: Unlock("", "w"),
    "down_read": _lock,
    "down_write": _lock,
    "up_read": _lock,
    "up_write": _lock,
}
