"""What differs between kernel releases around guest_memfd, beside the patch series itself.

A patch version has a default release; `--release` picks another one (the recordings of Linux 6.12 run the
`baseline` patch on release 6.12). Every field names the step that it changes and the place in the spec.
"""

from __future__ import annotations

import attrs

from .errno import EEXIST, EINVAL


@attrs.frozen
class Release:
    """Steps outside the series that depend on the kernel's age.

    Attributes:
        name: `6.12`, `6.18`, …
        spurious_if_allowed: a vCPU that finds an adequate SPTE returns SPURIOUS; before 6.13 it compared whole
            entries, so accessed bits set by hardware made it FIXED again (seen in the recordings).
        zap_filter: the zap looks at the kind of mapping (6.14; guest-memfd.md 1.3).
        put_under_mmu_lock: the page reference is dropped before mmu_lock (6.13; guest-memfd.md 4.6 step 13).
        zap_dirties: a page is marked dirty when its entry goes (`handle_changed_spte` of 6.12.117), and not when a
            fault ends (6.13).
        prefault_invalid_slot_eagain: pre-fault of a slot being deleted gets -EAGAIN (6.18; guest-memfd.md 4.6 step 4).
        host_mmap: guest_memfd supports MMAP and INIT_SHARED (6.18).
        lookup_first: find the folio without creating first, then create (NUMA policy; seen in the recordings).
        bind_overlap: errno for binding a file range twice (guest-memfd.md 4.2).
        bind_store_error: `kvm_gmem_bind` takes back a store that failed, and returns -ENOMEM. In 6.12.117, not in
            7.2.12, which ignores it (read in each). The fix was posted in May 2026: 6.18 and 6.19 are taken to ignore
            it. Since 7.3 the commit of a binding does the same (`patches/gmem_bind.py`).
        invalidate_range_hook: the arch hook after each slot's zap (guest-memfd.md 1.3; in the 7.2 recordings).
        vmsa_reload: an SNP vCPU gives up its save area when the page goes, and loads it again; the body of that hook.
            In 7.2.13 and 7.3.4, not in 6.12.107 (read in each); between them inferred from the date of "KVM: SEV:
            Forcefully invalidate SNP VMSA if its backing gmem page is zapped" (June 2026).
        reserve_for_clear: attribute entries are reserved even to store 0 (guest-memfd.md 4.13 step 4).
        bind_end_wraps: end of a bind range is a signed sum, so that a huge offset passes the size check (to 7.1).
        truncate_signed: `lend` of `truncate_inode_pages_range` is signed, so that its last index for -1 is -1 as well,
            and not that of the last byte (seen in recordings of 6.18.15, not in those of 7.2.13 and 7.3.4).
        prefault: KVM_PRE_FAULT_MEMORY exists (6.11).
        prefault_vm_dead: its loop looks for KVM_REQ_VM_DEAD (in 7.2.12 and 7.3.4, not in 6.12.117; it came for TDX, so
            that 6.18 is taken to have it).
        reload_frees_roots: `kvm_mmu_reload` looks for KVM_REQ_MMU_FREE_OBSOLETE_ROOTS. In 7.2.12 and 7.3.4, not in
            6.12.117 (read in each): there only KVM_RUN does, and a root that is loaded stays. It came with "KVM:
            x86/mmu: Check and free obsolete roots in kvm_mmu_reload()" (20a6cff3b283, 2025), taken to be in 6.18.
        tdx_page_references: KVM holds a reference of each page that the S-EPT maps. Gone in 7.2.13 and 7.3.4 (read
            there); that it went with 6.19 is an inference from the dates of "KVM: TDX: Drop superfluous page pinning
            in S-EPT management" (November 2025).
        tdx_premap: a TDX launch maps each page by the fault path, counts it, and adds it afterwards; it goes with the
            same series (read in a stored tree of that age).
        snp_finish_locks_vcpus: `snp_launch_update_vmsa` holds each vcpu->mutex. In 7.2.12 and 7.3.4, not in 6.12.117
            (read in each). It came with cb923ee6a80f "KVM: SEV: Lock all vCPUs when synchronzing VMSAs for SNP launch
            finish" (March 2026): 6.18 and 6.19 are taken to be without.
        tdx_launch_all_locks: `tdx_acquire_vm_state_locks`: each TDX ioctl of the launch holds kvm->lock, each
            vcpu->mutex and slots_lock (read in 7.2.12 and 7.3.4); since 15945e9ec195 (6.19). In a stored 6.16.1
            KVM_TDX_FINALIZE_VM holds kvm->lock and slots_lock, KVM_TDX_INIT_MEM_REGION the mutex of its own vCPU and
            slots_lock.
    """

    name: str
    spurious_if_allowed: bool = True
    zap_filter: bool = True
    put_under_mmu_lock: bool = True
    zap_dirties: bool = False
    prefault_invalid_slot_eagain: bool = True
    host_mmap: bool = True
    lookup_first: bool = True
    bind_overlap: int = EINVAL
    bind_store_error: bool = False
    invalidate_range_hook: bool = False
    vmsa_reload: bool = False
    reserve_for_clear: bool = True
    bind_end_wraps: bool = True
    truncate_signed: bool = True
    prefault: bool = True
    prefault_vm_dead: bool = True
    reload_frees_roots: bool = True
    tdx_page_references: bool = False
    tdx_premap: bool = False
    snp_finish_locks_vcpus: bool = True
    tdx_launch_all_locks: bool = True


_7_2 = Release(
    "7.2",
    bind_overlap=EEXIST,
    invalidate_range_hook=True,
    vmsa_reload=True,
    bind_end_wraps=False,
    truncate_signed=False,
)
_7_3 = attrs.evolve(_7_2, name="7.3", reserve_for_clear=False)

RELEASES: dict[str, Release] = {
    release.name: release
    for release in (
        Release(
            "6.12",
            spurious_if_allowed=False,
            zap_filter=False,
            put_under_mmu_lock=False,
            zap_dirties=True,
            prefault_invalid_slot_eagain=False,
            prefault_vm_dead=False,
            reload_frees_roots=False,
            host_mmap=False,
            lookup_first=False,
            bind_store_error=True,
            tdx_page_references=True,
            tdx_premap=True,
            snp_finish_locks_vcpus=False,
            tdx_launch_all_locks=False,
        ),
        Release(
            "6.18",
            lookup_first=False,
            tdx_page_references=True,
            tdx_premap=True,
            snp_finish_locks_vcpus=False,
            tdx_launch_all_locks=False,
        ),
        Release("6.19", snp_finish_locks_vcpus=False),
        _7_2,
        _7_3,
        attrs.evolve(_7_3, name="7.4"),
    )
}
