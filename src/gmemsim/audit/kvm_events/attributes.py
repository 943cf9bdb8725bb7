"""The attributes of a VM. Units as in the package."""

from __future__ import annotations

from typing import ClassVar

from ..base import Event

__all__ = [
    "AttrStore",
    "SetAttributes",
    "SetAttributesPost",
    "SetAttributesPre",
    "SetAttributesRet",
]


class _AttrEvent(Event, frozen=True, gc=False):
    family: ClassVar[str] = "attributes"


class SetAttributes(_AttrEvent, frozen=True, gc=False):
    """KVM_SET_MEMORY_ATTRIBUTES for gfns [start, end)."""

    mirrors: ClassVar[str] = "tracepoint kvm_vm_set_mem_attributes"
    range_of = "gfn"
    start: int
    end: int
    private: bool


class SetAttributesPre(_AttrEvent, frozen=True, gc=False):
    """mmu_lock held: the range is about to be invalidated."""

    mirrors: ClassVar[str] = "kvm_arch_pre_set_memory_attributes"
    slot: int


class SetAttributesPost(_AttrEvent, frozen=True, gc=False):
    """mmu_lock held, after the end of the invalidation."""

    mirrors: ClassVar[str] = "kvm_arch_post_set_memory_attributes"
    slot: int


class SetAttributesRet(_AttrEvent, frozen=True, gc=False):
    """0 or a negative errno."""

    mirrors: ClassVar[str] = "return of KVM_SET_MEMORY_ATTRIBUTES"
    ret: int


class AttrStore(_AttrEvent, frozen=True, gc=False):
    """One gfn (per-VM map) or range (per-file map) changes kind."""

    mirrors: ClassVar[str] = "xa_store in kvm_vm_set_mem_attributes"
    range_of = "gfn"
    start: int
    end: int
    private: bool
