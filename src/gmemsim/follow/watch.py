"""Model events in the form of trace observations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..audit import events as lock_events
from ..audit import kvm_events as kvm
from .probes import Observation

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..audit.base import Event
    from .frames import Frames

_FOLIO = re.compile(r"\.folio\[(\d+)\]$")


def observers(frames: Frames) -> dict[type[Event], Callable[..., Observation | None]]:
    """One function per event class that a probe can show; frames are translated to the trace's where known."""
    real = frames.real
    return {
        kvm.PageFault: lambda e: Observation("page_fault", e.gfn),
        kvm.TdpFault: lambda e: Observation("tdp_fault"),
        kvm.TdpFaultRet: lambda e: Observation("tdp_fault_ret", e.ret),
        kvm.Faultin: lambda e: Observation("faultin"),
        kvm.FaultinRet: lambda e: Observation("faultin_ret", e.ret),
        kvm.GetPfn: lambda e: Observation("get_pfn", e.gfn),
        kvm.GetPfnRet: lambda e: Observation("get_pfn_ret", e.ret),
        kvm.GetFolio: lambda e: Observation("get_folio", e.index),
        kvm.GetFolioRet: lambda e: Observation("get_folio_ret", real(e.pfn)),
        kvm.FilemapGet: lambda e: Observation("filemap_get", e.index, int(e.create)),
        kvm.FilemapGetRet: lambda e: Observation("filemap_get_ret", real(e.pfn)),
        kvm.FilemapAdd: lambda e: Observation("filemap_add", e.index, frames.pending(e.pfn)),
        kvm.FilemapAddRet: lambda e: Observation("filemap_add_ret", e.ret),
        kvm.PageCacheAdd: lambda e: Observation("page_cache_add", e.index, frames.pending(e.pfn)),
        kvm.PageCacheDelete: lambda e: Observation("page_cache_delete", e.index, real(e.pfn)),
        kvm.Clear: lambda e: Observation("clear"),
        kvm.SetUptodate: lambda e: Observation("set_uptodate", real(e.pfn)),
        kvm.Prepare: lambda e: Observation("prepare", e.gfn, real(e.pfn), e.order),
        kvm.PrepareRet: lambda e: Observation("prepare_ret", e.ret),
        kvm.MakePrivate: lambda e: Observation("make_private", e.gfn, real(e.pfn)),
        kvm.ArchInvalidate: lambda e: Observation(
            "arch_invalidate", real(e.start), frames.end(e.start, e.end)
        ),
        kvm.ArchReclaim: lambda e: Observation("arch_reclaim", real(e.pfn)),
        kvm.ArchInvalidateRange: lambda e: Observation("arch_invalidate_range"),
        kvm.Map: lambda e: Observation("map"),
        kvm.MapRet: lambda e: Observation("map_ret", e.ret),
        kvm.Fallocate: lambda e: Observation("fallocate", int(e.punch), e.start, e.end),
        kvm.FallocateRet: lambda e: Observation("fallocate_ret", e.ret),
        kvm.InvStart: lambda e: Observation("inv_start", e.start, e.end),
        kvm.InvStartRet: lambda e: Observation("inv_start_ret"),
        kvm.MmuInvStart: lambda e: Observation("mmu_inv_start"),
        kvm.MmuInvEnd: lambda e: Observation("mmu_inv_end"),
        kvm.Zap: lambda e: Observation("zap"),
        kvm.ZapRet: lambda e: Observation("zap_ret", int(e.flush)),
        kvm.TlbFlush: lambda e: Observation("tlb_flush"),
        kvm.Truncate: lambda e: Observation("truncate", e.start, e.end),
        kvm.TruncateRet: lambda e: Observation("truncate_ret"),
        kvm.UserFault: lambda e: Observation("user_fault", e.index),
        kvm.UserFaultRet: lambda e: Observation("user_fault_ret", e.result),
        kvm.MemoryFailure: lambda e: Observation("memory_failure", real(e.pfn)),
        kvm.MemoryFailureRet: lambda e: Observation("memory_failure_ret", e.ret),
        kvm.PreFault: lambda e: Observation("pre_fault"),
        kvm.SetAttributes: lambda e: Observation("set_attributes", e.start, e.end, int(e.private)),
        kvm.SetAttributesPre: lambda e: Observation("set_attributes_pre"),
        kvm.SetAttributesPost: lambda e: Observation("set_attributes_post"),
        lock_events.LockRequest: lambda e: _lock("down", e),
        lock_events.Unlock: _unlock,
    }


def _lock(verb: str, event: lock_events.LockRequest | lock_events.Unlock) -> Observation | None:
    for name in ("invalidate_lock", "i_mmap_rwsem"):
        if event.lock.endswith(name):
            return Observation(f"{verb}_{'read' if event.mode == 'r' else 'write'}", name)
    return None


def _unlock(event: lock_events.Unlock) -> Observation | None:
    match = _FOLIO.search(event.lock)
    if match is not None:
        return Observation("folio_unlock", int(match[1]))
    return _lock("up", event)


def observe(
    table: dict[type[Event], Callable[..., Observation | None]], probed: frozenset[str], event: Event
) -> Observation | None:
    """The observation of `event`, or None when no probe of this recording would show it."""
    function = table.get(event.__class__)
    if function is None:
        return None
    found = function(event)
    return found if found is not None and found.name in probed else None
