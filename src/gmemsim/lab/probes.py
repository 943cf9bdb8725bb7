"""What is probed when a round is traced: the functions that `follow` knows, by the names that it reads."""

from __future__ import annotations

from typing import Final

#: Name in the trace -> function and arguments, at its entry. Registers are those of x86-64's calling convention.
PROBES: Final[dict[str, tuple[str, str]]] = {
    "get_pfn": ("kvm_gmem_get_pfn", "gfn=%dx:x64"),
    "get_folio": ("kvm_gmem_get_folio", "index=%si:x64"),
    "arch_prepare": ("kvm_arch_gmem_prepare", "gfn=%si:x64 pfn=%dx:x64 order=%cx:s32"),
    "make_private": ("kvm_arch_gmem_make_private", ""),
    "arch_reclaim": ("kvm_arch_gmem_reclaim", "pfn=%di:x64"),
    "arch_invalidate": ("kvm_arch_gmem_invalidate", "start=%di:x64 end=%si:x64"),
    "arch_inv_range": ("kvm_arch_gmem_invalidate_range", ""),
    "user_fault": ("kvm_gmem_fault_user_mapping", "index=+16(%di):x64"),
    "fallocate": ("kvm_gmem_fallocate", "mode=%si:x32 off=%dx:x64 len=%cx:x64"),
    "inv_begin": ("kvm_gmem_invalidate_begin", "start=%si:x64 end=%dx:x64"),
    "inv_begin2": ("__kvm_gmem_invalidate_begin", "start=%si:x64 end=%dx:x64"),
    "inv_start": ("kvm_gmem_invalidate_start", "start=%si:x64 end=%dx:x64"),
    "inv_start2": ("__kvm_gmem_invalidate_start", "start=%si:x64 end=%dx:x64"),
    "mmu_inv_begin": ("kvm_mmu_invalidate_begin", ""),
    "mmu_inv_start": ("kvm_mmu_invalidate_start", ""),
    "mmu_inv_end": ("kvm_mmu_invalidate_end", ""),
    "mmu_inv_range": ("kvm_mmu_invalidate_range_add", "start=%si:x64 end=%dx:x64"),
    "unmap_gfn2": ("kvm_unmap_gfn_range", ""),
    "flush_tlbs": ("kvm_flush_remote_tlbs", ""),
    "tdp_fault": ("kvm_tdp_page_fault", ""),
    "faultin": ("kvm_mmu_faultin_pfn", ""),
    "tdp_map": ("kvm_tdp_mmu_map", ""),
    "arch_pre_set_attrs": ("kvm_arch_pre_set_memory_attributes", ""),
    "arch_post_set_attrs": ("kvm_arch_post_set_memory_attributes", ""),
    "memory_failure": ("memory_failure", "pfn=%di:x64"),
    # struct kvm_userspace_memory_region2, which the ioctl has copied from user space.
    "set_region": (
        "kvm_set_memory_region",
        "slot=+0(%si):u32 gpa=+8(%si):x64 size=+16(%si):x64 offset=+32(%si):x64",
    ),
    "prefault_ioctl": ("kvm_arch_vcpu_pre_fault_memory", ""),
    "trunc": ("truncate_inode_pages_range", "mapping=%di:x64 lstart=%si:x64 lend=%dx:x64"),
    "fm_get": ("__filemap_get_folio", "mapping=%di:x64 index=%si:x64 fgp=%dx:x32"),
    "fm_getm": ("__filemap_get_folio_mpol", "mapping=%di:x64 index=%si:x64 fgp=%dx:x32"),
    "fm_add": ("filemap_add_folio", "mapping=%di:x64 folio=%si:x64 index=%dx:x64"),
    "folio_lock_slow": ("__folio_lock", "folio=%di:x64"),
    "io_sched": ("io_schedule", ""),
    "folio_unlock": ("folio_unlock", "folio=%di:x64"),
}

#: The same at the return of the function.
RETURNS: Final[dict[str, tuple[str, str]]] = {
    f"{name}_ret": (PROBES[name][0], fetch)
    for name, fetch in (
        ("get_pfn", "ret=$retval:s32"), ("get_folio", "folio=$retval:x64"), ("arch_prepare", "ret=$retval:s32"),
        ("user_fault", "ret=$retval:x32"), ("fallocate", "ret=$retval:s32"),
        ("memory_failure", "ret=$retval:s32"), ("set_region", "ret=$retval:s32"), ("inv_begin", ""), ("inv_begin2", ""),
        ("inv_start", ""), ("inv_start2", ""), ("unmap_gfn2", "flush=$retval:u8"), ("tdp_fault", "ret=$retval:s32"),
        ("faultin", "ret=$retval:s32"), ("tdp_map", "ret=$retval:s32"), ("trunc", ""), ("fm_get", "folio=$retval:x64"),
        ("fm_getm", "folio=$retval:x64"), ("fm_add", "ret=$retval:s32"), ("folio_lock_slow", ""), ("io_sched", ""),
    )
}  # fmt: skip

#: Tracepoints.
EVENTS: Final = (
    "filemap/mm_filemap_add_to_page_cache",
    "filemap/mm_filemap_delete_from_page_cache",
    "kvm/kvm_page_fault",
    "kvm/kvm_vm_set_mem_attributes",
)


def probe_text() -> str:
    """The lines that the runner reads."""
    lines = [f"p {name} {function} {fetch}" for name, (function, fetch) in PROBES.items()]
    lines += [f"r {name} {function} {fetch}" for name, (function, fetch) in RETURNS.items()]
    lines += [f"e {event} -" for event in EVENTS]
    return "\n".join((*lines, ""))
