"""Which probe stands for which event of the model, and what its arguments are.

An `Observation` is the common form of a trace event and a model event: a name and up to three numbers. Only what
a probe really shows is in it: `tdp_fault` has no argument, so the model's gfn is left out. Frames are compared
through a renaming that grows as the trace hands frames out.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

ENOENT: Final = -2

#: Probe name -> name of the observation. Several kernels call one step by different names.
PROBES: Final[dict[str, str]] = {
    "kvm_page_fault": "page_fault",
    "tdp_fault": "tdp_fault",
    "tdp_fault_ret": "tdp_fault_ret",
    "faultin": "faultin",
    "faultin_ret": "faultin_ret",
    "get_pfn": "get_pfn",
    "get_pfn_ret": "get_pfn_ret",
    "get_folio": "get_folio",
    "get_folio_ret": "get_folio_ret",
    "fm_get": "filemap_get",
    "fm_getm": "filemap_get",
    "fm_get_ret": "filemap_get_ret",
    "fm_getm_ret": "filemap_get_ret",
    "fm_add": "filemap_add",
    "fm_add_ret": "filemap_add_ret",
    "mm_filemap_add_to_page_cache": "page_cache_add",
    "mm_filemap_delete_from_page_cache": "page_cache_delete",
    "zero_begin": "clear",
    "uptodate_set": "set_uptodate",
    "arch_prepare": "prepare",
    "arch_prepare_ret": "prepare_ret",
    "make_private": "make_private",
    "arch_invalidate": "arch_invalidate",
    "arch_reclaim": "arch_reclaim",
    "arch_inv_range": "arch_invalidate_range",
    "folio_unlock": "folio_unlock",
    "tdp_map": "map",
    "tdp_map_ret": "map_ret",
    "fallocate": "fallocate",
    "fallocate_ret": "fallocate_ret",
    "inv_begin": "inv_start",
    "inv_begin2": "inv_start",
    "inv_start": "inv_start",
    "inv_start2": "inv_start",
    "inv_begin_ret": "inv_start_ret",
    "inv_begin2_ret": "inv_start_ret",
    "inv_start_ret": "inv_start_ret",
    "inv_start2_ret": "inv_start_ret",
    "mmu_inv_begin": "mmu_inv_start",
    "mmu_inv_start": "mmu_inv_start",
    "mmu_inv_end": "mmu_inv_end",
    "unmap_gfn2": "zap",
    "unmap_gfn2_ret": "zap_ret",
    "flush_tlbs": "tlb_flush",
    "trunc": "truncate",
    "trunc_ret": "truncate_ret",
    "user_fault": "user_fault",
    "user_fault_ret": "user_fault_ret",
    "prefault_ioctl": "pre_fault",
    "memory_failure": "memory_failure",
    "memory_failure_ret": "memory_failure_ret",
    "set_region": "set_region",
    "set_region_ret": "set_region_ret",
    "kvm_vm_set_mem_attributes": "set_attributes",
    "arch_pre_set_attrs": "set_attributes_pre",
    "arch_post_set_attrs": "set_attributes_post",
    "down_read": "down_read",
    "down_write": "down_write",
    "up_read": "up_read",
    "up_write": "up_write",
}

#: Events that say how long something took or who waited; they steer the search and are not matched themselves.
HINTS: Final = frozenset({"io_sched", "folio_lock_slow"})


class Observation(NamedTuple):
    """What one probe shows: the name and its numbers (None where the probe has none)."""

    name: str
    a: int | str | None = None
    b: int | str | None = None
    c: int | str | None = None

    def __str__(self) -> str:
        shown = ", ".join(
            f"{x:#x}" if isinstance(x, int) and x > 9 else str(x) for x in self[1:] if x is not None
        )
        return f"{self.name}({shown})"


#: Where kvm_page_fault says the address.
ADDRESS: Final = re.compile(r"address (0x[0-9a-f]{1,16})")
#: An event of the page cache's tracepoints, and the inode number in it.
CACHE: Final = re.compile(r"ino ([0-9a-f]{1,16}) pfn=(0x[0-9a-f]{1,16}) ofs=(\d{1,20})")
INODE: Final = re.compile(r"ino ([0-9a-f]{1,16})")
_KEY = re.compile(r"\w+$")
_NUMBER = re.compile(r"0x[0-9a-f]{1,16}|-?\d{1,20}")
_LONGEST_KEY = 40
_MASK = (1 << 64) - 1

#: Observations of guest_memfd's own functions and of its page cache: without any of them a trace says nothing of it.
GUEST_MEMFD: Final = frozenset(
    {
        "get_pfn", "get_folio", "filemap_get", "filemap_add", "page_cache_add", "page_cache_delete", "clear",
        "set_uptodate", "prepare", "make_private", "arch_invalidate", "arch_reclaim", "arch_invalidate_range",
        "fallocate", "inv_start", "truncate", "user_fault",
    }
)  # fmt: skip


def arguments(args: str) -> dict[str, int]:
    """`mode=0x3 off=0x18000` as numbers; the first of two equal keys wins."""
    found: dict[str, int] = {}
    for word in args.split():
        left, equals, right = word.partition("=")
        key = _KEY.search(left[-_LONGEST_KEY:]) if equals else None
        value = _NUMBER.match(right)
        if key and value:
            found.setdefault(key[0], int(value[0], 0) if value[0][:2] == "0x" else int(value[0]))
    return found


def signed(value: int) -> int:
    """A 64-bit register as a signed number (error pointers, negative returns)."""
    value &= _MASK
    return value - (1 << 64) if value >> 63 else value
