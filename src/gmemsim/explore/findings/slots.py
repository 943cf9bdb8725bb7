"""Findings about memslots, whatever backs them."""

from __future__ import annotations

from typing import Final

from .finding import Finding, State

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
)
