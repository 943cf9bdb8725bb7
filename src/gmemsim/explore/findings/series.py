"""Findings of one series or one release."""

from __future__ import annotations

from typing import Final

from .finding import Finding, Shown, State
from .groups import BY_HOST, BY_VCPU, HUGE, HUGE_WITHOUT_MUTEX, IN_PLACE
from .pattern import Pattern, Waits, Who

_STUCK: Final = frozenset({"deadlock", "livelock"})
#: Who sees a fresh folio locked is not woken (`__folio_clear_locked`).
_NOT_WOKEN: Final = _STUCK | {"lost_wakeup"}
_LOOK_UP: Final = BY_VCPU | BY_HOST | frozenset({"allocate"})
_SPLIT: Final = Who(inside="folio_ref_freeze")

FINDINGS: Final = (
    Finding(
        ident="private-page-mapped-shared-at-slot-deletion",
        title="in place: while its slot is deleted, a private page can be mapped as shared",
        effect="a guest's shared store reaches a private page: on TDX a machine check, on SNP faults until the zap",
        versions=(*IN_PLACE, *HUGE),
        states=(State("by reading", ("the in-place series as applied",)),),
        patterns=(
            Pattern(
                rules=frozenset({"I28"}),
                parts={"vCPU": Who(does=BY_VCPU, fails=True), "deletion": Who(does=frozenset({"unbind"}))},
            ),
        ),
        shown=(
            Shown(scenario="zoo-slot_delete_kind", vm_type="tdx", strategy="random", schedules=150),
            Shown(scenario="zoo-slot_delete_kind", vm_type="snp", strategy="random", schedules=150),
        ),
    ),
    Finding(
        ident="hugepage-split-waits-for-look-up",
        title="huge folios: a look-up between the insertion of a folio and its split",
        effect="the look-up sleeps for good and the split spins for it, or a shared page is found in a huge folio",
        # `hugepage-mutex` has the mutex that was announced for it.
        versions=HUGE_WITHOUT_MUTEX,
        states=(State("by reading", ("HugeTLB RFC v2 (2025)",), "guest_memfd.c of its branch"),),
        reported="the review of RFC v2, and a mutex announced for it",
        patterns=(
            Pattern(
                rules=_NOT_WOKEN,
                parts={"split": _SPLIT, "look-up": Who(does=_LOOK_UP, inside="filemap_get_folio")},
            ),
            Pattern(
                rules=frozenset({"I41"}),
                parts={
                    "split": Who(inside="filemap_create_folio"),
                    "look-up": Who(does=_LOOK_UP, fails=True),
                },
            ),
        ),
        shown=(
            Shown(scenario="zoo-huge_look_up", vm_type="sw-protected", schedules=100),
            Shown(
                scenario="zoo-huge_look_up", vm_type="sw-protected", strategy="preemption:1", schedules=100
            ),
        ),
    ),
    Finding(
        ident="hugepage-split-waits-for-memory-failure",
        title="huge folios: splitting one that has a memory error never ends",
        effect="the split spins with the invalidate lock held exclusively; every fault of the file hangs behind it",
        versions=HUGE,
        states=(State("by reading", ("HugeTLB RFC v2 (2025)",)),),
        patterns=(
            Pattern(
                rules=_NOT_WOKEN,
                parts={
                    "split": _SPLIT,
                    "memory failure": Who(does=frozenset({"memory_failure"}), over=True, also=True),
                },
            ),
        ),
        shown=(Shown(scenario="zoo-huge_poison", vm_type="sw-protected", strategy="random", schedules=1),),
    ),
    Finding(
        ident="prefault-against-slot-deletion",
        title="a pre-fault of a slot that is being deleted retries inside the SRCU section that the deletion waits for",
        effect="the ioctl of the vCPU and the deletion go on until a signal comes",
        versions=("baseline",),
        releases={"baseline": ("6.12",)},
        states=(
            State("by reading", ("6.12.107",)),
            State("fixed in", ("6.18",), "the pre-fault answers -EAGAIN"),
        ),
        reported="fixed upstream",
        patterns=(
            Pattern(
                rules=_STUCK,
                parts={
                    "vCPU": Who(does=frozenset({"prefault"}), inside="kvm_vcpu_pre_fault_memory"),
                    "deletion": Who(does=frozenset({"unbind"}), inside="kvm_invalidate_memslot"),
                },
                waits=(Waits(part="deletion", lock="srcu", behind="vCPU", held="r"),),
            ),
        ),
        shown=(
            Shown(scenario="zoo-prefault_delete", vm_type="sw-protected", strategy="random", schedules=100),
        ),
    ),
    Finding(
        ident="v8-fault-keeps-reference",
        title="in place as posted in v8: a fault on its way keeps a reference, and a conversion answers -EAGAIN",
        effect="userspace must try again; as applied, faults keep none and the conversion waits",
        versions=("inplace-v8",),
        states=(
            State("by reading", ("the in-place series v8",)),
            State(
                "fixed in", ("the in-place series as applied",), "get_pfn drops the reference before the lock"
            ),
        ),
        reported="changed in the series",
        patterns=(
            Pattern(
                rules=frozenset({"unexpected_outcome"}),
                details={"operation": "convert", "outcome": "EAGAIN"},
            ),
        ),
        shown=(Shown(scenario="inplace_competing", vm_type="sw-protected", schedules=20),),
        library=("conv1", "conv1_punch1", "conv1punch", "conv2", "inplace_competing"),
    ),
)
