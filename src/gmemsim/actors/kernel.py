"""The modelled kernel without the functions that differ between patch versions: one class, a line for each function.

The functions are the kernel's, under the kernel's names, in modules by subject (`page_cache`, `truncate`, `tdp_fault`);
they take the kernel as `self`. State is in plain objects (`Vm`, `GmemInode`, `Folio`) that are passed in, as in C.
A patch version subclasses `Kernel` and overrides the functions that the patch touches (`patches`); so does a seeded
bug, and so does a user's own patch. Functions call each other through `self`, so every caller sees an override.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from ..arch.costs import CostTable
from ..engine.observed import announces, by_key
from . import (
    attributes,
    gmem_fallocate,
    gmem_file,
    gmem_folio,
    gmem_invalidate,
    gmem_populate,
    gmem_refused,
    gmem_user_fault,
    launch,
    lru,
    memory_region,
    mempolicy,
    memslots,
    messages,
    mmu_invalidate,
    page_cache,
    prefault,
    snp_vmsa,
    split_leafs,
    tdp_fault,
    tdp_large,
    truncate,
    vcpu_run,
    vmsa,
    zap_all,
)  # fmt: skip # isort: skip
from . import fork as fork_exit
from . import memory_failure as hwpoison
from .release import RELEASES, Release

if TYPE_CHECKING:
    from ..arch.memory import PhysicalMemory
    from ..engine.locks.mutex import Mutex
    from ..engine.task import Task
    from .folio import Folio
    from .gmem_populate import Source
    from .inode import GmemFile, GmemInode
    from .memslot import Memslot
    from .vm import Vm, World


@announces(_nodes=by_key(lambda kernel: "frame.node"))
class Kernel:
    """Every subject in one object.

    Attributes:
        name: the patch version's name on the command line.
        default_release: the kernel release that the version belongs to.
        uptodate_means: what the uptodate flag promises of a folio: `cleared`, or `prepared` (cleared *and* made
            ready by the arch). Populated folios have it in both. `uptodate_promises` says it of one file.
        gup_under_invalidate_lock: populate reads user memory while it holds the invalidate lock.
        in_place: private or shared is an attribute of the file's index, converted in place.
        huge_pages: folios may be larger than 4 KiB.
        get_pfn_puts: `kvm_gmem_get_pfn` drops its reference itself instead of handing it out.
    """

    name: ClassVar[str] = ""
    default_release: ClassVar[str] = "6.18"
    uptodate_means: ClassVar[str] = "cleared"
    gup_under_invalidate_lock: ClassVar[bool] = False
    in_place: ClassVar[bool] = False
    huge_pages: ClassVar[bool] = False
    get_pfn_puts: ClassVar[bool] = False

    def __init__(
        self,
        world: World,
        memory: PhysicalMemory,
        release: Release | None = None,
        costs: CostTable | None = None,
        gmem_prepare: bool = True,
    ) -> None:
        """No file, no mapping, no batch.

        Args:
            world: the VMs and files to work on.
            memory: frames and their contents.
            release: steps outside the series; default: the version's own.
            costs: virtual ns per operation; default: everything is free.
            gmem_prepare: CONFIG_HAVE_KVM_ARCH_GMEM_PREPARE, which KVM_AMD_SEV selects.
        """
        self.world = world
        self.memory = memory
        self.release: Release = RELEASES[self.default_release] if release is None else release
        self.costs = CostTable.zero() if costs is None else costs
        self.gmem_prepare = gmem_prepare
        #: Files whose release each task has put off (`task_struct.task_works`).
        self.task_works: dict[Task, list[GmemFile]] = {}
        #: The node of a frame that a file has or had, where it is not 0.
        self._nodes: dict[int, int] = {}
        #: One for the system, made by the first memory failure.
        self._mf_mutex: Mutex | None = None

    def uptodate_promises(self, inode: GmemInode | None) -> str:
        """`uptodate_means` for the folios of one file."""
        return self.uptodate_means

    # -- what every version has in its own way --------------------------------------------------------

    @abstractmethod
    async def kvm_gmem_get_pfn(self, t: Task, vm: Vm, slot: Memslot, gfn: int) -> tuple[int, Folio | None]:
        """`kvm_gmem_get_pfn`: 0 and the folio with a reference, or an errno and None. The patch series' subject."""

    @abstractmethod
    async def kvm_gmem_populate_pages(
        self, t: Task, vm: Vm, slot: Memslot, file: GmemFile, gfn: int, pages: int, source: Source | None
    ) -> int:
        """The loop of `kvm_gmem_populate` over pages, with the locks of the version."""

    # -- guest_memfd: its files, folios and calls ----------------------------------------------------

    gmem_supported_flags = gmem_file.gmem_supported_flags
    gmem_known_flags = gmem_file.gmem_known_flags
    tdx_premaps = gmem_file.tdx_premaps
    arch_choices = gmem_file.arch_choices
    tell_arch = gmem_file.tell_arch
    kvm_gmem_create = gmem_file.kvm_gmem_create
    kvm_gmem_init_inode = gmem_file.kvm_gmem_init_inode
    get_file_active = gmem_file.get_file_active
    move_f_count = gmem_file.move_f_count
    fdget = gmem_file.fdget
    fput = gmem_file.fput
    fput_later = gmem_file.fput_later
    task_work_run = gmem_file.task_work_run
    kvm_gmem_prepare_memory_region = gmem_file.kvm_gmem_prepare_memory_region
    kvm_gmem_bind = gmem_file.kvm_gmem_bind
    _bind = gmem_file._bind
    kvm_gmem_commit_memory_region = gmem_file.kvm_gmem_commit_memory_region
    kvm_gmem_bound = gmem_file.kvm_gmem_bound
    kvm_gmem_store_binding = gmem_file.kvm_gmem_store_binding
    kvm_gmem_unbind = gmem_file.kvm_gmem_unbind
    kvm_gmem_clear_binding = gmem_file.kvm_gmem_clear_binding
    kvm_gmem_erase_binding = gmem_file.kvm_gmem_erase_binding
    kvm_gmem_release = gmem_file.kvm_gmem_release
    kvm_gmem_del_file = gmem_file.kvm_gmem_del_file
    release_end = gmem_file.release_end
    release_filter = gmem_file.release_filter
    evict_inode = gmem_file.evict_inode
    look_at_bindings = gmem_invalidate.look_at_bindings
    use_inode = gmem_file.use_inode
    use_file = gmem_file.use_file

    kvm_gmem_get_folio = gmem_folio.kvm_gmem_get_folio
    kvm_gmem_get_checked_folio = gmem_folio.kvm_gmem_get_checked_folio
    kvm_gmem_clear_folio = gmem_folio.kvm_gmem_clear_folio
    kvm_gmem_mark_uptodate = gmem_folio.kvm_gmem_mark_uptodate

    kvm_gmem_fallocate = gmem_fallocate.kvm_gmem_fallocate
    _fallocate = gmem_fallocate._fallocate
    kvm_gmem_punch_hole = gmem_fallocate.kvm_gmem_punch_hole
    kvm_gmem_allocate = gmem_fallocate.kvm_gmem_allocate

    invalidate_filter = gmem_invalidate.invalidate_filter
    kvm_gmem_split_private = gmem_invalidate.kvm_gmem_split_private
    kvm_gmem_invalidate_start = gmem_invalidate.kvm_gmem_invalidate_start
    kvm_gmem_file_invalidate_start = gmem_invalidate.kvm_gmem_file_invalidate_start
    kvm_arch_gmem_invalidate_range = gmem_invalidate.kvm_arch_gmem_invalidate_range
    kvm_gmem_invalidate_end = gmem_invalidate.kvm_gmem_invalidate_end
    kvm_gmem_file_invalidate_end = gmem_invalidate.kvm_gmem_file_invalidate_end

    kvm_gmem_populate = gmem_populate.kvm_gmem_populate
    _checked_populate = gmem_populate._checked_populate
    populate_rejects = gmem_populate.populate_rejects
    get_user_pages_fast = gmem_populate.get_user_pages_fast
    post_populate = gmem_populate.post_populate
    kvm_tdp_map_launch_page = gmem_populate.kvm_tdp_map_launch_page
    kvm_tdp_mmu_map_private_pfn = gmem_populate.kvm_tdp_mmu_map_private_pfn
    gmem_page_pfn = staticmethod(gmem_populate.gmem_page_pfn)
    gfn_is_private = gmem_populate.gfn_is_private

    kvm_gmem_mmap = gmem_user_fault.kvm_gmem_mmap
    munmap = gmem_user_fault.munmap
    unmap_region = gmem_user_fault.unmap_region
    madvise_dontneed = gmem_user_fault.madvise_dontneed
    _discard = gmem_user_fault._discard
    host_access = gmem_user_fault.host_access
    host_fault = gmem_user_fault.host_fault
    host_fault_poisoned = gmem_user_fault.host_fault_poisoned
    kvm_gmem_fault_user_mapping = gmem_user_fault.kvm_gmem_fault_user_mapping
    _user_fault = gmem_user_fault._user_fault
    kvm_gmem_user_fault_folio = gmem_user_fault.kvm_gmem_user_fault_folio
    pin_user_page = gmem_user_fault.pin_user_page
    unpin_user_page = gmem_user_fault.unpin_user_page

    vfs_read = gmem_refused.vfs_read
    ksys_pread64 = gmem_refused.ksys_pread64
    ksys_pwrite64 = gmem_refused.ksys_pwrite64
    do_ftruncate = gmem_refused.do_ftruncate
    vfs_ioctl = gmem_refused.vfs_ioctl
    fd_is_open = gmem_refused.fd_is_open
    kvm_gmem_write = gmem_refused.kvm_gmem_write
    kvm_gmem_write_pages = gmem_refused.kvm_gmem_write_pages
    kvm_gmem_migrate_folio = gmem_refused.kvm_gmem_migrate_folio
    collapse_file = gmem_refused.collapse_file

    # -- mm: page cache, truncation, LRU, policies, memory errors, processes -------------------------

    filemap_get_folio = page_cache.filemap_get_folio
    filemap_create_folio = page_cache.filemap_create_folio
    filemap_insert_folio = page_cache.filemap_insert_folio
    folio_unlock = page_cache.folio_unlock
    folio_put = page_cache.folio_put
    move_folio_line = page_cache.move_folio_line
    folio_drop = page_cache.folio_drop
    free_page = page_cache.free_page
    folio_mark_dirty = page_cache.folio_mark_dirty
    unmap_mapping_folio = page_cache.unmap_mapping_folio
    unmap_poisoned_folio = page_cache.unmap_poisoned_folio
    _unmap = page_cache._unmap
    folio_mapped = page_cache.folio_mapped

    truncate_inode_pages_range = truncate.truncate_inode_pages_range
    _truncate = truncate._truncate
    indices = truncate.indices
    first_index = truncate.first_index
    find_lock_entries = truncate.find_lock_entries
    find_get_entries = truncate.find_get_entries
    delete_from_page_cache_batch = truncate.delete_from_page_cache_batch
    truncate_inode_folio = truncate.truncate_inode_folio
    mapping_evict_folio = truncate.mapping_evict_folio
    _still_evictable = staticmethod(truncate._still_evictable)
    _remove = truncate._remove
    filemap_free_folio = truncate.filemap_free_folio
    kvm_gmem_free_folio = truncate.kvm_gmem_free_folio
    inode_vm = truncate.inode_vm

    lru_references = lru.lru_references
    folios_in_batches = lru.folios_in_batches
    folio_in_lru_batch = lru.folio_in_lru_batch
    shake_folio = lru.shake_folio
    folio_add_lru = lru.folio_add_lru
    lru_add_drain_all = lru.lru_add_drain_all

    note_node = mempolicy.note_node
    _node = mempolicy._node
    page_node = mempolicy.page_node
    mbind = mempolicy.mbind
    get_mempolicy = mempolicy.get_mempolicy
    madvise_collapse = mempolicy.madvise_collapse

    mf_mutex = hwpoison.mf_mutex
    memory_failure = hwpoison.memory_failure
    _page_folio = staticmethod(hwpoison._page_folio)
    _frame_owner = hwpoison._frame_owner
    _handle = hwpoison._handle
    soft_offline_page = hwpoison.soft_offline_page
    _soft_offline = hwpoison._soft_offline
    action_result = hwpoison.action_result
    kvm_gmem_error_folio = hwpoison.kvm_gmem_error_folio

    forked_label = fork_exit.forked_label
    fork = fork_exit.fork
    do_exit = fork_exit.do_exit

    # -- the log ---------------------------------------------------------------------------------

    request = messages.request
    answer = messages.answer

    # -- KVM: memslots, memory attributes, launch ----------------------------------------------------

    kvm_vm_ioctl_set_memory_region = memory_region.kvm_vm_ioctl_set_memory_region
    check_memory_region_flags = memory_region.check_memory_region_flags
    check_memory_region = memory_region.check_memory_region

    kvm_set_memory_region = memslots.kvm_set_memory_region
    _set_region = memslots._set_region
    kvm_create_memslot = memslots.kvm_create_memslot
    kvm_arch_prepare_memory_region = memslots.kvm_arch_prepare_memory_region
    kvm_delete_memslot = memslots.kvm_delete_memslot
    kvm_free_memslot = memslots.kvm_free_memslot
    use_memslot = memslots.use_memslot
    kvm_invalidate_memslot = memslots.kvm_invalidate_memslot
    kvm_activate_memslot = memslots.kvm_activate_memslot
    swap_active_memslots = memslots.swap_active_memslots
    kvm_arch_flush_shadow_memslot = memslots.kvm_arch_flush_shadow_memslot

    kvm_mem_is_private = attributes.kvm_mem_is_private
    kvm_vm_ioctl_set_mem_attributes = attributes.kvm_vm_ioctl_set_mem_attributes
    kvm_vm_set_mem_attributes = attributes.kvm_vm_set_mem_attributes
    _change = attributes._change
    kvm_pre_set_memory_attributes = attributes.kvm_pre_set_memory_attributes
    kvm_arch_pre_set_memory_attributes = attributes.kvm_arch_pre_set_memory_attributes
    kvm_arch_post_set_memory_attributes = attributes.kvm_arch_post_set_memory_attributes
    kvm_mmu_init_memslot_memory_attributes = attributes.kvm_mmu_init_memslot_memory_attributes
    kvm_store_attributes = attributes.kvm_store_attributes

    kvm_lock_all_vcpus = launch.kvm_lock_all_vcpus
    kvm_unlock_all_vcpus = launch.kvm_unlock_all_vcpus
    vcpu_ioctl_lock = launch.vcpu_ioctl_lock
    launch_update_lock = launch.launch_update_lock
    launch_update_unlock = launch.launch_update_unlock
    launch_finish = launch.launch_finish
    _launch_finish = launch._launch_finish
    snp_launch_update_vmsa = launch.snp_launch_update_vmsa
    sev_es_sync_vmsa = launch.sev_es_sync_vmsa

    # -- KVM: MMU invalidation, stage-2 faults -------------------------------------------------------

    kvm_mmu_invalidate_start = mmu_invalidate.kvm_mmu_invalidate_start
    kvm_mmu_invalidate_range_add = mmu_invalidate.kvm_mmu_invalidate_range_add
    kvm_mmu_invalidate_end = mmu_invalidate.kvm_mmu_invalidate_end
    mmu_invalidate_retry_gfn = mmu_invalidate.mmu_invalidate_retry_gfn
    mmu_invalidate_retry_gfn_unsafe = mmu_invalidate.mmu_invalidate_retry_gfn_unsafe
    kvm_mmu_zap_all_fast_front_half = zap_all.kvm_mmu_zap_all_fast_front_half
    kvm_mmu_zap_all_fast = zap_all.kvm_mmu_zap_all_fast
    set_nx_huge_pages = zap_all.set_nx_huge_pages
    kvm_unmap_gfn_range = mmu_invalidate.kvm_unmap_gfn_range
    kvm_set_pfn_dirty = mmu_invalidate.kvm_set_pfn_dirty
    kvm_zap_gfn_range = mmu_invalidate.kvm_zap_gfn_range
    move_spte_line = mmu_invalidate.move_spte_line
    leaves_of = staticmethod(mmu_invalidate.leaves_of)
    tdp_mmu_iter_cond_resched = mmu_invalidate.tdp_mmu_iter_cond_resched
    tdp_mmu_iter_need_resched = mmu_invalidate.tdp_mmu_iter_need_resched
    kvm_flush_remote_tlbs = mmu_invalidate.kvm_flush_remote_tlbs
    mmu_notifier_invalidate_start = mmu_invalidate.mmu_notifier_invalidate_start
    mmu_notifier_invalidate_end = mmu_invalidate.mmu_notifier_invalidate_end
    mmu_notifier_slots = mmu_invalidate.mmu_notifier_slots
    hva_ranges = mmu_invalidate.hva_ranges

    tdp_mmu_write_split = split_leafs.tdp_mmu_write_split
    split_for_accept = split_leafs.split_for_accept
    kvm_split_cross_boundary_leafs = split_leafs.kvm_split_cross_boundary_leafs

    kvm_mmu_do_page_fault = tdp_fault.kvm_mmu_do_page_fault
    kvm_tdp_map_page = tdp_fault.kvm_tdp_map_page
    kvm_tdp_page_fault = tdp_fault.kvm_tdp_page_fault
    kvm_mmu_finish_page_fault = tdp_fault.kvm_mmu_finish_page_fault
    tdp_mmu_map_mmio = tdp_fault.tdp_mmu_map_mmio
    noslot_over_leaf = tdp_fault.noslot_over_leaf
    kvm_release_faultin_pfn = tdp_fault.kvm_release_faultin_pfn
    retry = tdp_fault.retry
    kvm_mmu_faultin_pfn = tdp_fault.kvm_mmu_faultin_pfn
    _faultin = tdp_fault._faultin
    kvm_mmu_faultin_pfn_of_kind = tdp_fault.kvm_mmu_faultin_pfn_of_kind
    gmem_label = staticmethod(tdp_fault.gmem_label)
    kvm_faultin_hva = tdp_fault.kvm_faultin_hva
    memory_fault_exit = tdp_fault.memory_fault_exit
    kvm_tdp_mmu_map = tdp_fault.kvm_tdp_mmu_map
    rewrite_spte = tdp_fault.rewrite_spte
    tdp_mmu_link_tables = tdp_fault.tdp_mmu_link_tables
    tdp_mmu_set_spte_atomic = tdp_fault.tdp_mmu_set_spte_atomic

    lpage_allowed = tdp_large.lpage_allowed
    kvm_gmem_max_order = tdp_large.kvm_gmem_max_order
    kvm_mmu_hugepage_adjust = tdp_large.kvm_mmu_hugepage_adjust
    tdp_mmu_map_level = tdp_large.tdp_mmu_map_level
    tdp_mmu_link_sp = tdp_large.tdp_mmu_link_sp
    tdp_mmu_split_huge_page = tdp_large.tdp_mmu_split_huge_page
    tdp_mmu_map_handle_target_level = tdp_large.tdp_mmu_map_handle_target_level
    entry_of = staticmethod(tdp_large.entry_of)
    remove_below = staticmethod(tdp_large.remove_below)
    publish_through_arch = tdp_large.publish_through_arch

    kvm_vcpu_pre_fault_memory = prefault.kvm_vcpu_pre_fault_memory
    _pre_fault = prefault._pre_fault
    pre_fault_allowed = prefault.pre_fault_allowed
    kvm_mmu_reload = prefault.kvm_mmu_reload
    kvm_arch_vcpu_pre_fault_memory = prefault.kvm_arch_vcpu_pre_fault_memory

    # -- KVM: the vCPU, SEV-SNP ----------------------------------------------------------------------

    guest_access = vcpu_run.guest_access
    kvm_arch_vcpu_ioctl_run = vcpu_run.kvm_arch_vcpu_ioctl_run
    kvm_x86_vcpu_pre_run = vcpu_run.kvm_x86_vcpu_pre_run
    guest_touch = vcpu_run.guest_touch
    handle_ept_violation = vcpu_run.handle_ept_violation
    retry_goes_back = vcpu_run.retry_goes_back
    npf_interception = vcpu_run.npf_interception
    spte_fits = vcpu_run.spte_fits
    accept_fault = vcpu_run.accept_fault
    guest_create_ap = vcpu_run.guest_create_ap
    guest_accept = vcpu_run.guest_accept
    guest_accept_mapped = vcpu_run.guest_accept_mapped

    sev_snp_ap_creation = snp_vmsa.sev_snp_ap_creation
    vcpu_enter_guest = snp_vmsa.vcpu_enter_guest
    vcpu_exit_guest = snp_vmsa.vcpu_exit_guest
    vcpu_vmsa_requests = snp_vmsa.vcpu_vmsa_requests
    sev_snp_reload_vmsa = snp_vmsa.sev_snp_reload_vmsa
    sev_vmsa_mmu_lock = snp_vmsa.sev_vmsa_mmu_lock

    sev_gmem_invalidate_range = vmsa.sev_gmem_invalidate_range
    kvm_vcpu_kick = vmsa.kvm_vcpu_kick
