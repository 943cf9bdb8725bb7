"""Seeded bugs: arch."""

from __future__ import annotations

from .entry import Bug

__all__ = ["BUGS"]


BUGS: tuple[Bug, ...] = (
    Bug(
        id="launch-finish-vcpu-unlocked",
        title="SNP_LAUNCH_FINISH synchronises and encrypts VMSAs without holding vcpu->mutex",
        origin="shipped-bug",
        family="arch",
        source="CVE-2026-31591",
        why_not="no variant yet",
    ),
    Bug(
        id="launch-finish-repeated",
        title="Second LAUNCH_FINISH (or late vCPU creation) writes an already private VMSA",
        origin="shipped-bug",
        family="arch",
        source="Jethro Beekman (2026-01-19",
        why_not="no variant yet",
    ),
    Bug(
        id="psmash-race-not-rechecked",
        title="Concurrent PSMASH: the loser must re-look-up the entry",
        origin="guard-mutant",
        family="arch",
        source="sev_handle_rmp_fault() comment (torvalds 0097f9df996f)",
        why_not="no variant yet",
    ),
    Bug(
        id="sev-flag-toctou",
        title="SEV/SNP type flags read without kvm->lock while init sets and resets them",
        origin="review-found",
        family="arch",
        source="commit ba903f738249 (Sean 2026-03-10)",
        why_not="no variant yet",
    ),
    Bug(
        id="tdx-seamcall-ioctl-contention",
        title="TD-scoped SEAMCALLs from two ioctls contend; BUSY is treated as impossible",
        origin="shipped-bug",
        family="arch",
        source="commit 15945e9ec195all\\ (Sean v4 26/28 2025-10-30",
        why_not="no variant yet",
    ),
    Bug(
        id="tdx-unmap-failure-frees-page",
        title="S-EPT removal fails but the folio is freed",
        origin="review-found",
        family="arch",
        source="Yan Zhao 2025-06-10 (proposal in the 1G/TDX hugepage thread)",
        why_not="no variant yet",
    ),
    Bug(
        id="tdx-wbinvd-failure-reuse",
        title="PAGE.REMOVE succeeds, WBINVD fails: page belongs to nobody and is never reset",
        origin="review-found",
        family="arch",
        source="Report (2026-04-01)",
        why_not="no variant yet",
    ),
    Bug(
        id="zap-drops-whole-huge-leaf",
        title="Private->shared of one page zaps the enclosing 2M leaf; neighbours lose accepted content",
        origin="review-found",
        family="arch",
        source="Yan Zhao TDX huge page v1..v3 (2025-04..2026-01-06) kvm_split_cross_boundary_leafs",
        why_not="no variant yet",
    ),
    Bug(
        id="direct-map-flag-not-cleared",
        title='folio_free restores the direct map but leaves the "already zapped" flag set',
        origin="review-found",
        family="arch",
        source="Vlastimil Babka 2025-12-08 on v8 (fixed in v9)",
        why_not="no variant yet",
    ),
)
