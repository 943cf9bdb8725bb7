"""What docs/generate_mends.py says of mends in words: which is recommended, and what new violations are."""

from __future__ import annotations

_LOCK = (
    "`error-bindings-lock`. It takes the edge from the folio lock to the invalidate lock away, adds none that closes a "
    "circle, and keeps what memory_failure promises when it returns. Populate has to hold the new lock over its "
    "callback, which counted on the invalidate lock that the hook no longer takes: without that a launch on TDX maps "
    "the poisoned page, which a search showed after the mend had been called right. On TDX to 6.18 the callback faults "
    "the page in, so that it cannot: there this mend is none for the launch. A trylock alone leaves mappings for good; "
    "with a worker they go later, which needs an allocation in the hook and references of inode and VM. Without the "
    "folio lock nothing keeps the inode."
)
_KIND = (
    "`get-pfn-checks-kind`: the attribute is read there anyway, under the lock that conversions hold, so that it also "
    "stands against look-ups that are still to come. `kind-of-fault-slot` is as good in the model and smaller."
)
_ENTRIES = (
    "None; the VMM's MADV_DONTNEED, or a new mapping, after the hole. Each candidate that takes the entry away also "
    "takes from every other process the one thing that told it of the loss (rule I50). To be decided by maintainers; "
    "the call without even_cows changes nothing."
)
RECOMMENDED = {
    "memory-failure-against-punch": _LOCK,
    "memory-failure-allocation-writer": _LOCK,
    "memory-failure-fault-conversion": _LOCK,
    "memory-failure-against-populate": _LOCK,
    "unbind-during-memory-failure": "`unbind-locks`, which is upstream in 7.3, for trees before it; "
    "`error-bindings-lock` mends this and the deadlocks of memory_failure at once.",
    "host-fault-on-poisoned-page": "`fault-dirties`: it restores what kept the page to 7.3, in the one place that "
    "knows that KVM may write to it. `error-references-first` mends it for every file system and is a change of mm/. "
    "The look in guest_memfd's own handler does not mend it.",
    "soft-offline-evicts-guest-page": "`fault-dirties`: it marks at the look-up what to 7.3 the end of a fault "
    "marks, and the pages of a launch as well. `look-up-dirties` marks every page from its first moment in the file, "
    "and `eviction-refuses` says it once, in mm/; both end it in the same scenarios, and less was asked of them.",
    "poisoned-mapping-survives-punch": _ENTRIES,
    "tdx-removal-failure": "`tdx-leak-on-failure`. The VM is dead by then, so a leaked page is the least of it; an "
    "error of PUNCH_HOLE does not help the last close.",
    "tdx-shared-page-survives-hole": "`mapped-files-zap-both`: what decides whether guest_memfd serves shared accesses "
    "is the flag MMAP, so that it has to decide what is zapped. To refuse the flag to TDX is as safe, and takes from "
    "userspace what 6.18 gave.",
    "tdx-fault-keeps-obsolete-root": "`tdx-retry-goes-back`: the loop is there to spare the guest entries without "
    "progress, and has to end for what only an entry does. `tdx-retry-reloads` ends it as well, and frees and loads "
    "roots in the middle of an exit.",
    "snp-launch-update-after-finish": "`snp-launch-state`, as posted. The invalidate lock in every fault mends it "
    "too, and brings the deadlock of memory failures to faults.",
    "snp-vmsa-page-freed-in-use": "`vmsa-reload`, which is upstream. `reclaim-leaks` is a net below it: it loses "
    "memory. A reference of the vCPU only puts it off until the vCPU loads another save area.",
    "snp-rmp-fault-against-reclaim": "`rmp-fault-checks-invalidation`: the protocol that the fault path has, with no "
    "sleeping lock and no reference that outlives get_pfn. A look without a lock mends nothing.",
    "hugepage-hole-zeroes-private-pages": "`huge-hole-whole-pages`, as review asked: the others either leave data that "
    "userspace wanted gone, or take validated pages from a guest.",
    "private-page-mapped-shared-at-slot-deletion": _KIND,
    "hugepage-split-waits-for-look-up": "`huge-mutex`, as announced. A wake-up alone ends the hang and not the shared "
    "page in a huge folio.",
    "hugepage-split-waits-for-memory-failure": "`huge-split-gives-up`. A look at the references before the split "
    "leaves the race with a memory failure that is on its way.",
    "fault-against-slot-creation": "`mmio-map-retries`: it looks after the entry was read, so that nothing can come in "
    "between; one branch in a path that is not taken otherwise, and userspace sees no change. A second look at the "
    "slots before the entry is read (`mmio-fault-looks-again`) does not mend it: the model still comes to the warning. "
    "`slot-invalid-first` takes the cause away by its steps, for one more grace period at each creation of a slot; its "
    "search did not come to the warning before it was cut short. A "
    "stock 7.3.4 with the first in kvm.ko ended 60 rounds without the warning that it has within eight; the others "
    "were built into no kernel.",
    "prefault-against-slot-deletion": "`prefault-eagain`, which is upstream in 6.18. On a default VM it leaves "
    "[the same hang with an obsolete root](prefault-keeps-obsolete-root.md).",
    "prefault-keeps-obsolete-root": "`prefault-reloads`: the root is what is wrong, and KVM_RUN loads it anew "
    "between any two faults; userspace sees nothing. `prefault-root-eagain` makes the pre-faults of a VMM fail that "
    "has done nothing to their slot, and `prefault-gives-up` any that meets an invalidation.",
    "prefault-after-slot-deletion": "`reload-frees-roots`, which is upstream.",
    "v8-fault-keeps-reference": "`get-pfn-puts`, as the series was applied. A grace period under the invalidate lock "
    "is a deadlock, and a second look is none.",
}

#: How it is known that a mend is wrong where the searches of bench/mends.py do not show it.
SEEN_WRONG = {
    "tdx-hole-fails": "The tables do not show it: their scenario has a hole, and no last close. In a scenario with "
    "one the page is freed all the same (rule I31; `test_the_last_close_cannot_fail` of "
    "`tests/studies/mends/test_mends.py`).",
    "vmsa-keeps-page": "The tables do not show it: in their scenario no vCPU lets go of its page, and rule I8 only "
    "meets the reference that the mend keeps. Where the vCPU loads another save area after the hole, the frame is "
    "freed while the RMP assigns it (rule I31; `test_a_page_that_the_vcpu_kept_leaks_when_it_lets_go` of "
    "`tests/studies/mends/test_mends.py`).",
    "rmp-fault-looks-twice": "The tables do not show it: no search of all states comes so far, with the mend or "
    "without. Drawn schedules do: `gmemsim explore zoo-rmp_fault_reuse --patch hugepage+rmp-fault-looks-twice --arch "
    "snp --strategy preemption:2` meets the finding (rule I46).",
    "convert-looks-again": "The tables do not show it: no search of all states comes so far, with the mend or "
    "without. Drawn schedules do: `gmemsim explore inplace_competing --patch inplace-v8+convert-looks-again --arch "
    "sw-protected --strategy pos` meets the finding.",
    "convert-waits-for-faults": "The tables do not show it: no search of all states comes so far, with the mend or "
    "without. Drawn schedules do: `gmemsim explore inplace_competing --patch inplace-v8+convert-waits-for-faults "
    "--arch sw-protected --strategy pos` meets a deadlock of the conversion with a fault.",
    "hole-unmaps": "The tables show it in the last column: what userspace can see stays as before, the SIGBUS at the "
    "old address included.",
}

#: Violations under a mend that the version does not have without it, decided from the sources.
DECIDED = {
    (
        "vmsa-keeps-page",
        "I8",
    ): "the reference that the vCPU keeps by the mend's own design, which nothing but the vCPU's next save area "
    "drops. A cost of the mend, beside what is wrong with it",
    (
        "error-trylock",
        "poison",
    ): "the hook found the lock taken and zapped nothing, so that memory_failure returns with "
    "the page mapped in the guest. Here the hole, or the close, that has the lock zaps it a moment later. Where the "
    "lock is held for another range (a hole elsewhere, a bind) nobody does: `kvm_gmem_error_folio` answers MF_DELAYED "
    "whatever it did, and a second memory_failure of a page that is poisoned returns before the hook (7.3.4). An error "
    "of the mend",
    (
        "error-trylock-worker",
        "poison",
    ): "memory_failure returns before the worker has run, and the page is mapped until "
    "then. This is what *delayed* announces; once the worker has run no mapping is left. The guest can read the "
    "poisoned frame meanwhile. A cost of the mend, and no error of it",
    (
        "error-worker",
        "poison",
    ): "as with `error-trylock-worker`, and at every memory failure: until the worker runs the "
    "page stays mapped, and a fault that had looked the page up before can map it still. A cost of the mend",
    (
        "error-drop-folio-lock",
        "use_after_free",
    ): "the last close evicts the inode while the hook waits for the lock in "
    "it. The reference of memory_failure keeps the page and not its mapping; only the folio lock kept truncation, and "
    "so eviction, from going on (7.3.4). An error of the mend",
    (
        "hole-unmaps-poison",
        "I50",
    ): "what the mend is for: the hole takes the entry away, and the next touch finds a fresh page. Here the process "
    "that touches it has punched the hole itself and knows; one that has not would read zeroes where its data was. "
    "The rule makes no difference between them (`docs/oracles.md`). The price of the mend, and why it is not "
    "recommended",
    ("truncation-unmaps-poison", "I50"): "as with `hole-unmaps-poison`",
    (
        "fault-shares-lock",
        "deadlock",
    ): "the fault waits for the folio and holds the invalidate lock shared, the memory failure waits for the lock and "
    "holds the folio, and a writer (a hole elsewhere in the file) is queued between them: what versions in place have "
    "as memory-failure-fault-conversion. An error of the mend, unless memory_failure is mended as well",
}
