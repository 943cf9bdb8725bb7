"""The invariants of the spec (guest-memfd.md 7), what each says and where it comes from.

A rule is about *harm*, or it restates a *choice* of lock or order that versions made so that no harm comes. A patch
may choose otherwise: a search goes on past a broken choice and looks for harm (`explore.past_choices`). Only what
other rules would punish is a choice. The lock rules I9, I39 and I40 are none: they are laws of locks, not ways to
use one. Neither are I15 to I18, the retry protocol of every MMU notifier, nor I5, I47 and I49, which stand for
content that no other rule follows on all VM types.

An invariant that no check implements says why: the version that it speaks of does not exist here
yet. `Rule.needs` names the kernel attribute that has to be true (`in_place`, `huge_pages`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import attrs

if TYPE_CHECKING:
    from ..actors.kernel import Kernel

Kind = Literal["harm", "choice"]


@attrs.frozen
class Rule:
    """One invariant.

    Attributes:
        ident: id in the spec, or `arch:FLAG` for an access that hardware punishes.
        says: the invariant in one sentence.
        source: kernel function, commit or document that it was read from, in plain words; see docs/spec/sources.md.
        needs: attribute of the kernel without which the invariant speaks of nothing.
        unless: attribute of the kernel that makes it void, with `why`.
        why: the reason given when it does not apply.
        kind: about harm, or the choice of a lock or an order.
    """

    ident: str
    says: str
    source: str
    needs: str = ""
    unless: str = ""
    why: str = ""
    kind: Kind = "harm"

    def void(self, kernel: Kernel | type[Kernel]) -> str:
        """Why the invariant does not apply to this version; empty if it does."""
        if self.needs and not getattr(kernel, self.needs, False):
            return self.why or f"speaks of versions that have {self.needs}"
        if self.unless and getattr(kernel, self.unless, False):
            return self.why
        return ""


_ATTRIBUTES: Final = "attributes of the inode and conversion in place"
_LARGE: Final = "folios larger than 4 KiB"


def _rule(ident: str, says: str, source: str, **rest: str) -> Rule:
    return Rule(ident, says, source, **rest)  # type: ignore[arg-type] # `rest` has texts only


def _choice(ident: str, says: str, source: str, **rest: str) -> Rule:
    return Rule(ident, says, source, kind="choice", **rest)


def _in_place(ident: str, says: str, source: str) -> Rule:
    return Rule(ident, says, source, needs="in_place", why=_ATTRIBUTES)


def _huge(ident: str, says: str, source: str) -> Rule:
    return Rule(ident, says, source, needs="huge_pages", why=_LARGE)


RULES: Final[dict[str, Rule]] = {
    rule.ident: rule
    for rule in (
        _rule(
            "I1",
            "at most one folio per index, and the index lies in the file",
            "filemap_add_folio (Linux 7.0)",
        ),
        _rule(
            "I2",
            "no page is mapped to host or guest, read, or measured before it was cleared or populated",
            "kvm_gmem_get_pfn, kvm_gmem_fault_user_mapping: clear_highpage if !uptodate (Linux 7.0)",
        ),
        _rule("I3", "uptodate is lost only with the folio", "PG_uptodate is never cleared (Linux 7.0)"),
        # Which of cleared and prepared the flag stands for. What comes of it: I2, I35, or a fault that never succeeds.
        _choice(
            "I4",
            "uptodate is set only on what the version means by it, and get_pfn hands out nothing else",
            "kvm_gmem_prepare_folio (baseline), kvm_gmem_get_pfn (v1 and later)",
        ),
        _rule(
            "I5",
            "a folio is cleared once in its life; before the series again after prepare failed",
            "in-place v8, patch 21; seen in the recordings",
        ),
        # No version before HugeTLB makes others; what comes of one: I2, I19, I31.
        _choice(
            "I6",
            "every folio has order 0",
            "v2 1/5, WARN_ON_ONCE(folio_order(folio))",
            unless="huge_pages",
            why=_LARGE,
        ),
        _rule("I7", "the file never changes its size", "kvm_gmem_setattr: -EINVAL (Linux 7.0)"),
        _rule(
            "I8",
            "at rest REF = page cache + one a host mapping, a pin, an LRU batch + one if poisoned",
            "folio_ref_count; memory_failure keeps one (in-place v13; 1G page RFC v2; mm/memory-failure.c)",
        ),
        _rule(
            "I9",
            "every path that takes a lock releases it on every exit",
            "kvm_gmem_get_pfn and callers (Linux 7.0)",
        ),
        # Who drops the reference, and when. What comes of it: I8, I51.
        _choice(
            "I10",
            "no vCPU owns a reference at the map step",
            "kvm_gmem_get_pfn; commit 89fbe3de (in-place v13)",
            needs="get_pfn_puts",
            why="get_pfn hands its page out with a reference (baseline to v3, inplace-v8)",
        ),
        _rule("I11", "a slot points only to a file that is not released", "kvm_gmem_release (Linux 7.0)"),
        _rule(
            "I12",
            "bindings of a file are disjoint, and are exactly the ranges of the published slots",
            "kvm_gmem_bind, kvm_gmem_unbind; commit ae431059e75d (Linux 7.0)",
        ),
        # Which lock. What comes of it: I12, I15, use_after_free.
        _choice(
            "I13",
            "bindings change only under the invalidate lock, exclusive (a dying file: under slots_lock)",
            "kvm_gmem_bind, kvm_gmem_unbind (Linux 7.0)",
        ),
        _rule("I14", "a file belongs to one VM", "kvm_gmem_bind: file->kvm != kvm is -EINVAL (Linux 7.0)"),
        _rule(
            "I15",
            "every invalidation that was started is ended once, by the same task, for the same VMs",
            "__kvm_gmem_invalidate_start/_end; commit b25ab9cae30f (Linux 7.0; kvm_main.c)",
        ),
        _rule(
            "I16",
            "while an invalidation is in progress and mmu_lock is free, the range covers all of it",
            "kvm_mmu_invalidate_range_add; mmu_invalidate_retry_gfn_unsafe (kvm_main.c)",
        ),
        _rule(
            "I17",
            "the sequence grows by one with every end, and only then",
            "kvm_mmu_invalidate_end (kvm_main.c)",
        ),
        _rule(
            "I18",
            "no SPTE is installed inside a range in progress, nor from a pfn older than the last end",
            "is_page_fault_stale under mmu_lock (mmu.c)",
        ),
        _rule(
            "I19",
            "no SPTE, no cached translation and no host mapping leads to a folio that left the page cache",
            "consequence of I18 and the zap; filemap_unaccount_folio: VM_BUG_ON_FOLIO(folio_mapped); checked at map, "
            "at removal and at every access",
        ),
        _rule(
            "I20",
            "after a conversion no SPTE of the old kind is left in the range, nor when hardware is told of it",
            "kvm_arch_pre_set_memory_attributes for the VM's attributes (kvm_main.c); the conversion in place (v13)",
        ),
        # Before mmu_lock is dropped, or later but before the frame is freed. What comes of it: I19, arch:TLB_STALE.
        _choice(
            "I21",
            "the zapper flushes the TLBs before it drops mmu_lock",
            "__kvm_gmem_invalidate_start (Linux 7.0)",
        ),
        _in_place(
            "I22",
            "the attribute map covers the file without holes, and neighbours differ",
            "kvm_gmem_set_attributes (in-place v13)",
        ),
        # Which lock. What comes of it: I22, I24, I28.
        _choice(
            "I23",
            "the attribute map is written only under the invalidate lock, exclusive",
            "mt_set_external_lock on the invalidate lock (in-place v13)",
            needs="in_place",
            why=_ATTRIBUTES,
        ),
        _in_place(
            "I24",
            "a private index is in no host page table",
            "kvm_gmem_fault_user_mapping (in-place v8, cover)",
        ),
        _in_place(
            "I25",
            "to-private is stored only while nobody outside holds, maps or pins a page of the range",
            "the reference check of kvm_gmem_set_attributes (in-place v4 to v7; in-place v13)",
        ),
        _in_place(
            "I26",
            "references that appear after the check are tolerated: a conversion that began to zap is finished",
            "kvm_gmem_set_attributes; mail-archive msg17492",
        ),
        _rule(
            "I27",
            "only the attributes ioctl changes attributes, and a failed one changes none",
            "kvm_vm_set_mem_attributes, kvm_gmem_set_attributes; selftest title (kvm_main.c; in-place v13)",
        ),
        _rule(
            "I28",
            "an access of one kind never maps memory of the other: it exits",
            "kvm_mmu_faultin_pfn: fault->is_private != kvm_mem_is_private (mmu.c)",
        ),
        _in_place(
            "I29",
            "with attributes of files no VM attribute is ever stored",
            "kvm_supported_mem_attributes; gmem_in_place_conversion (in-place v8, patches 10 and 24)",
        ),
        _in_place(
            "I30",
            "a private and a shared SPTE of one gfn do not coexist at rest",
            "inferred from I20 with a mirror root (INFERENCE)",
        ),
        _rule(
            "I31",
            "a frame assigned to a guest is in a page cache; leaving it takes the assignment away",
            "kvm_gmem_free_folio: kvm_arch_gmem_invalidate (Linux 7.0; mm/truncate.c)",
        ),
        _rule(
            "I32",
            "prepare of a prepared page does nothing",
            "sev_gmem_prepare: assigned (v2, patch 2; review of RFC v1)",
        ),
        # Which lock, and before or after the insertion. What comes of it: I31, I32.
        _choice(
            "I33",
            "prepare is called with the folio locked and in the page cache",
            "kvm_gmem_get_pfn (Linux 7.0; in-place v13)",
        ),
        _rule(
            "I34",
            "make_private is called for private memory only",
            "kvm_arch_gmem_make_private (Linux 7.2); in the recordings never for INIT_SHARED",
        ),
        _rule("I35", "the host does not touch a page that hardware assigned to a guest", "arch.md 1.6, 2.6"),
        # Which locks; out of the page cache or for shared memory, what comes of it is I31, I35.
        _choice(
            "I36",
            "the populate callback runs with slots_lock and the invalidate lock held, the folio in the page "
            "cache and not locked by the caller, the gfn private",
            "kvm_gmem_populate (Linux 7.0)",
        ),
        # Which order of the two locks. What comes of it: a deadlock.
        _choice(
            "I37",
            "user memory is never read under the invalidate lock",
            "commit 2a62345b3052 (pull for 7.0)",
            unless="gup_under_invalidate_lock",
            why="baseline does so, and is what the series repaired",
        ),
        _rule(
            "I38",
            "populate returns the number of pages done, or an error if none was",
            "kvm_gmem_populate (Linux 7.0)",
        ),
        _rule(
            "I39",
            "no sleeping lock under mmu_lock, no slots_lock inside an SRCU section that slots_lock waits for",
            "Documentation/virt/kvm/locking.rst; cycles are the lock graph's part",
        ),
        _rule("I40", "writers exclude everybody, a folio has one owner", "docs/spec/rwsem.md 8"),
        _huge("I41", "a huge folio has no shared page", "1G page RFC v2, split and merge"),
        # Which lock. What comes of it: I41, I43, I44.
        _choice(
            "I42",
            "split and merge happen under the invalidate lock or right after insertion",
            "1G page RFC v2, split and merge",
            needs="huge_pages",
            why=_LARGE,
        ),
        _huge(
            "I43",
            "around split and merge only the page cache has references",
            "1G page RFC v2, split and merge",
        ),
        _huge(
            "I44", "a split set and its stash entry exist together", "1G page RFC v2, mm/guestmem_hugetlb.c"
        ),
        _huge("I45", "allocated huge pages do not exceed the subpool", "1G page RFC v2, cover"),
        _huge(
            "I46",
            "the mapping level exceeds neither folio, nor arch, nor attribute border",
            "mmu.c; 1G page RFC v2",
        ),
        _huge("I47", "all pages of a split folio had the same clear state", "review of RFC v1"),
        _huge(
            "I48",
            "to-private merges only when the whole huge range is private",
            "1G page RFC v2, split and merge",
        ),
        _rule(
            "I49",
            "a page that KVM mapped or the host wrote to is dirty before it is let go of, until truncation, and never "
            "evicted; nor is one that somebody uses",
            "kvm_release_faultin_page (6.13 and later, where get_pfn hands out a page), mapping_evict_folio",
        ),
        # Of every entry, also that of the process that punched the hole: who was told of the loss is not modelled.
        _rule(
            "I50",
            "a host entry that was lost to a memory failure stays poison until MADV_DONTNEED or munmap",
            "try_to_unmap_one: TTU_HWPOISON; zap_nonpresent_ptes: should_zap_cows",
        ),
        _in_place(
            "I51",
            "a conversion answers -EAGAIN only if somebody outside uses a page of the range",
            "the reference check of kvm_gmem_set_attributes, after unmap_mapping_pages and the drains (in-place v13)",
        ),
        _rule(
            "I52",
            "what a guest reaches is what the published slot of the gfn has there",
            "kvm_set_memslot: INVALID, grace period, zap, grace period; kvm_gmem_unbind",
        ),
        _rule(
            "I53",
            "a PUNCH_HOLE that succeeds removes every page that was there when it got the invalidate lock",
            "truncate_inode_pages_range: pass 2 waits for locked folios",
        ),
        # Which lock. What comes of it: I19, I31.
        _choice(
            "I54",
            "a hole removes pages only under the invalidate lock, exclusive",
            "kvm_gmem_punch_hole: filemap_invalidate_lock",
        ),
        _rule(
            "I55",
            "at rest a file has a reference of its descriptor and one a mapping, and no other",
            "kvm_gmem_bind, kvm_gmem_get_pfn, kvm_gmem_prepare_memory_region: fput on every exit",
        ),
        _rule(
            "I56",
            "a fault that is called spurious finds a present leaf",
            "tdp_mmu_map_handle_target_level: RET_PF_SPURIOUS; is_frozen_spte",
        ),
        _rule(
            "prepare_gfn",
            "prepare names no guest frame of another slot than the one that is faulted on",
            "kvm_gmem_prepare_folio: WARN_ON(!IS_ALIGNED(slot->gmem.pgoff, folio size)); mail of 2025-08-25",
        ),
        _rule(
            "use_after_free",
            "no memslot, file or inode, nor a lock in an inode, is used after it was freed",
            "kvm_free_memslot; kvm_gmem_release and struct kvm_gfn_range keep pointers of slots [7.2.13, 7.3.4]; "
            "kvm_gmem_release: kfree of struct gmem_file; evict: destroy_inode",
        ),
        _rule(
            "poison",
            "once memory_failure returned, no SPTE and no host entry of the poisoned page is there, made or used",
            "kvm_gmem_error_folio, __kvm_gmem_get_pfn: -EHWPOISON (Linux 7.0; mm/memory-failure.c)",
        ),
    )
}
