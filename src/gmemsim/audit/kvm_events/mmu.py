"""Invalidations, zaps and flushes of the stage-2 tables. Units as in the package."""

from __future__ import annotations

from typing import ClassVar

from ..base import Event

__all__ = [
    "MmuInvEnd",
    "MmuInvStart",
    "MmuNotifierStart",
    "TlbFlush",
    "Zap",
    "ZapRet",
]


class _MmuEvent(Event, frozen=True, gc=False):
    family: ClassVar[str] = "MMU invalidation"


class MmuInvStart(_MmuEvent, frozen=True, gc=False):
    """One more invalidation in progress in this VM (mmu_lock held for writing)."""

    mirrors: ClassVar[str] = "kvm_mmu_invalidate_begin (7.x: _start)"
    vm: str


class MmuNotifierStart(_MmuEvent, frozen=True, gc=False):
    """As `mmu_inv_start`, but begun by an MMU notifier of host memory: host entries are about to go."""

    mirrors: ClassVar[str] = "kvm_mmu_notifier_invalidate_range_start"
    vm: str


class MmuInvEnd(_MmuEvent, frozen=True, gc=False):
    """The sequence count moves, one invalidation less."""

    mirrors: ClassVar[str] = "kvm_mmu_invalidate_end"
    vm: str


class Zap(_MmuEvent, frozen=True, gc=False):
    """Remove the SPTEs of gfns [start, end) whose kind is in `filter` (private, shared, both)."""

    mirrors: ClassVar[str] = "kvm_mmu_unmap_gfn_range, kvm_unmap_gfn_range"
    range_of = "gfn"
    vm: str
    start: int
    end: int
    filter: str


class ZapRet(_MmuEvent, frozen=True, gc=False):
    """Whether the caller has to flush the TLBs."""

    mirrors: ClassVar[str] = "return of kvm_unmap_gfn_range"
    flush: bool


class TlbFlush(_MmuEvent, frozen=True, gc=False):
    """No vCPU of the VM holds a stale translation any more."""

    mirrors: ClassVar[str] = "kvm_flush_remote_tlbs"
    vm: str
