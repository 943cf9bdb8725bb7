"""Seeded bugs: mmu-retry."""

from __future__ import annotations

from .entry import Bug

__all__ = ["BUGS"]


BUGS: tuple[Bug, ...] = (
    Bug(
        id="seq-snapshot-after-lookup",
        title="Invalidation sequence sampled after the lookup it must validate",
        origin="shipped-bug",
        family="mmu-retry",
        source="commit 13ec9308a857 (hash from memory",
        why_not="no variant yet",
    ),
    Bug(
        id="retry-ignores-in-progress",
        title="Retry checks only the sequence number, not mmu_invalidate_in_progress",
        origin="guard-mutant",
        family="mmu-retry",
        source="Canonical mmu_notifier contract (seq bumped at *end*)",
        why_not="no variant yet",
    ),
    Bug(
        id="range-overwritten-by-second-invalidation",
        title="Two overlapping invalidations: second begin() overwrites the tracked range",
        origin="guard-mutant",
        family="mmu-retry",
        source="Range-tracking rule in kvm_mmu_invalidate_range_add (union while in_progress > 1). Mutant",
        why_not="no variant yet",
    ),
    Bug(
        id="unbalanced-invalidate-end",
        title="begin() counted but end() skipped because bindings changed in between",
        origin="guard-mutant",
        family="mmu-retry",
        source="Comment in kvm_gmem_punch_hole",
        why_not="no variant yet",
    ),
    Bug(
        id="invalid-slot-treated-as-mmio",
        title='Fault in the INVALID window handled as "no memslot"',
        origin="shipped-bug",
        family="mmu-retry",
        source="commit e0c378684b65 (Sean 2021-02-25). Same question returned for per-gmem attributes",
        why_not="no variant yet",
    ),
)
