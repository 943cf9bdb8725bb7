"""Findings about memslots, whatever backs them."""

from __future__ import annotations

from typing import Final

from .finding import Finding, Shown, State
from .groups import ALL_VERSIONS
from .pattern import Pattern, Waits, Who

_PREFAULT: Final = Who(does=frozenset({"prefault"}), inside="kvm_vcpu_pre_fault_memory", obsolete_root=True)

FINDINGS: Final = (
    Finding(
        ident="fault-against-slot-creation",
        title="a fault that found no slot meets a page that was mapped since: KVM warns",
        effect="WARN_ON_ONCE in kvm_tdp_mmu_map, which a host with panic_on_warn does not survive; the guest goes on",
        # A warning is no failure of the model, which takes the step as the kernel does.
        versions=(),
        states=(
            State("confirmed", ("6.18.15", "7.2.13", "7.3.4"), "stock Debian kernels, within eight rounds"),
            State("refuted", ("6.12.107",), "compares no frames: the MMIO entry is written over the leaf"),
        ),
    ),
    Finding(
        ident="prefault-keeps-obsolete-root",
        title="a pre-fault keeps the root that the deletion of a slot has made obsolete, and the deletion waits for it",
        effect="the ioctl of the vCPU turns for ever, and the deletion holds slots_lock, until a signal comes",
        versions=ALL_VERSIONS,
        # A deletion makes every root obsolete on a default VM only (KVM_X86_QUIRK_SLOT_ZAP_ALL), nx_huge_pages on any.
        states=(
            State("confirmed", ("7.2.12", "7.3.4"), "stock Debian kernels, in the first round"),
            # The reproducer hangs there as well, for which prefault-after-slot-deletion is enough.
            State("by reading", ("6.12.117",)),
        ),
        patterns=(
            Pattern(
                rules=frozenset({"livelock"}),
                parts={
                    "vCPU": _PREFAULT,
                    "deletion": Who(does=frozenset({"unbind"}), inside="kvm_activate_memslot"),
                },
                waits=(Waits(part="deletion", lock="srcu", behind="vCPU", held="r"),),
                vm_types=("default",),
            ),
            # Nobody has to wait for it. To 6.12 a write before the pre-fault is enough, and is told as this, too.
            Pattern(
                rules=frozenset({"livelock"}),
                parts={"vCPU": _PREFAULT, "writer": Who(does=frozenset({"nx_huge_pages"}), over=True)},
            ),
        ),
        shown=(
            Shown(scenario="zoo-prefault_other_slot", vm_type="default", strategy="random", schedules=200),
            Shown(scenario="zoo-prefault_nx_huge_pages", vm_type="default", strategy="random", schedules=200),
        ),
        reproducer="prefault-keeps-obsolete-root",
    ),
    Finding(
        ident="prefault-after-slot-deletion",
        title="a pre-fault after the deletion of a slot, with no KVM_RUN between them, finds an obsolete root for ever",
        effect="the ioctl of the vCPU turns until a signal comes; whoever changes slots then waits for it",
        versions=("baseline",),
        releases={"baseline": ("6.12",)},
        vm_types=("default",),
        states=(
            State("confirmed", ("6.12.117",), "a stock Debian kernel, each time"),
            State(
                "fixed in", ("7.2.12",), "kvm_mmu_reload frees obsolete roots (20a6cff3b283, February 2025)"
            ),
        ),
        reported="Yan Zhao, February 2025, with the change",
        patterns=(
            Pattern(
                rules=frozenset({"livelock"}),
                parts={"vCPU": _PREFAULT, "deletion": Who(does=frozenset({"unbind"}), over=True)},
            ),
        ),
        shown=(
            Shown(scenario="zoo-prefault_after_deletion", vm_type="default", strategy="random", schedules=1),
        ),
        reproducer="prefault-after-slot-deletion",
    ),
)
