"""Seeded bugs: convert."""

from __future__ import annotations

from .entry import Bug

__all__ = ["BUGS"]


BUGS: tuple[Bug, ...] = (
    Bug(
        id="user-fault-attr-check-outside-il",
        title='User fault checks "shared" before taking IL',
        origin="guard-mutant",
        family="convert",
        source="Guard introduced by v8 01/46 (Sean/Ackerley 2026-06-18",
        why_not="needs in-place conversion (not yet)",
    ),
    Bug(
        id="user-fault-ref-after-il",
        title="User fault drops IL before it holds a folio reference",
        origin="guard-mutant",
        family="convert",
        source="Same guard, second half",
        why_not="needs in-place conversion (not yet)",
    ),
    Bug(
        id="no-refcheck-on-conversion",
        title="Conversion to private ignores outstanding pins",
        origin="guard-mutant",
        family="convert",
        source="v8 14/46 motivation",
        why_not="needs in-place conversion (not yet)",
    ),
    Bug(
        id="drain-recheck-skips-folio",
        title="After draining, the loop advances past the folio instead of re-testing it",
        origin="guard-mutant",
        family="convert",
        source="Review-shaped mutant of v8 18/46",
        why_not="needs in-place conversion (not yet)",
    ),
    Bug(
        id="invalidate-filter-from-creation-flag",
        title="Invalidation filter derived from INIT_SHARED instead of the current attributes",
        origin="review-found",
        family="convert",
        source="v8 20/46 (Ackerley Tng 2026-06-18)",
        why_not="needs in-place conversion (not yet)",
    ),
    Bug(
        id="filter-computed-after-store",
        title="Filter computed from attributes after they were updated (or for the new state only)",
        origin="guard-mutant",
        family="convert",
        source="Adjacent to v8 15/46+20/46 ordering",
        why_not="needs in-place conversion (not yet)",
    ),
    Bug(
        id="prepare-on-shared-fault",
        title="Fault on a *shared* gfn of a CoCo VM runs arch_prepare",
        origin="review-found",
        family="convert",
        source="v8 12/46 (Ackerley/Michael Roth 2026-06-18)",
        why_not="needs in-place conversion (not yet)",
    ),
    Bug(
        id="make-shared-before-zap",
        title="arch_make_shared runs before invalidate_start",
        origin="guard-mutant",
        family="convert",
        source="v8 15/46",
        why_not="needs in-place conversion (not yet)",
    ),
    Bug(
        id="teardown-hook-used-for-conversion",
        title='One hook for "page is being freed" and "page becomes shared"; pKVM needs opposite semantics',
        origin="review-found",
        family="convert",
        source="Fuad Tabba 2026-06-19, Sean 2026-06-22 (), Ackerley 2026-06-24, on v8 15/46",
        why_not="needs in-place conversion (not yet)",
    ),
    Bug(
        id="missing-attr-means-shared",
        title='A hole in the attribute tree is read as "shared"',
        origin="review-found",
        family="convert",
        source="Binbin Wu 2026-06-22, Sean 2026-06-22 (fall back to the INIT state",
        why_not="needs in-place conversion (not yet)",
    ),
    Bug(
        id="early-return-without-lock",
        title='"Already has the requested attributes" fast path evaluated outside IL',
        origin="guard-mutant",
        family="convert",
        source="Mutant of v8 16/46 (checked under IL.w)",
        why_not="needs in-place conversion (not yet)",
    ),
)
