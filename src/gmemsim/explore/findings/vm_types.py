"""Findings of SNP and TDX guests."""

from __future__ import annotations

from typing import Final

from .finding import Finding, Shown, State
from .groups import ALL_VERSIONS, ATTRIBUTES, BY_VCPU, HUGE, HUGE_WITHOUT_MUTEX, IN_PLACE
from .pattern import Pattern, Who

_RECLAIM: Final = frozenset({"punch", "close"})


FINDINGS: Final = (
    Finding(
        ident="tdx-removal-failure",
        title="TDX: a page that the module did not give back is freed all the same",
        effect="the host gets a frame that the S-EPT still maps, or with lines of the TD in the caches",
        versions=(*ATTRIBUTES, *IN_PLACE, "inplace-off", *HUGE),
        # The reference that KVM kept of every mapped page went in 6.19 (commit ce7b5695397b).
        releases={"baseline": ("6.19", "7.2", "7.3", "7.4")},
        vm_types=("tdx",),
        states=(
            State("by reading", ("7.2.13", "7.3.4", "the in-place series as applied")),
            State("refuted", ("6.16 to 6.18",), "KVM holds a reference of every mapped page, and leaks it"),
        ),
        reported="the same omission in 2025, with a repair proposed in June (zoo: tdx-unmap-failure-frees-page)",
        patterns=tuple(
            Pattern(rules=frozenset({"I31"}), details={"flag": flag})
            for flag in ("SEPT_UAF", "TDX_UNFLUSHED")
        ),
        shown=(Shown(scenario="zoo-tdx_fails", vm_type="tdx", strategy="random", schedules=100),),
    ),
    Finding(
        ident="tdx-shared-page-survives-hole",
        title="TDX: a hole frees a page that a guest uses as shared memory, in a file that was made with MMAP alone",
        effect="the guest goes on reading and writing a frame that belongs to somebody else",
        versions=(*ATTRIBUTES, "inplace-off"),
        # To 6.12 there are no flags.
        releases={"baseline": ("6.18", "6.19", "7.2", "7.3", "7.4")},
        vm_types=("tdx",),
        states=(
            State(
                "by reading",
                ("7.2.12", "7.3.4", "the in-place series as applied"),
                "of the series with in-place conversion off; with it on both kinds are zapped",
            ),
        ),
        patterns=(
            Pattern(
                rules=frozenset({"I19"}),
                details={"private": False},
                parts={
                    "vCPU": Who(does=BY_VCPU, over=True),
                    "reclaim": Who(does=_RECLAIM, fails=True),
                },
            ),
            Pattern(
                rules=frozenset({"poison"}),
                details={"private": False},
                parts={
                    "vCPU": Who(does=BY_VCPU, over=True),
                    "failure": Who(does=frozenset({"memory_failure"}), fails=True),
                },
            ),
        ),
        shown=(Shown(scenario="zoo-tdx_mapped_file", vm_type="tdx", schedules=60),),
    ),
    Finding(
        ident="tdx-fault-keeps-obsolete-root",
        title="TDX: a private fault keeps the root that a write of nx_huge_pages made obsolete, and is tried for ever",
        effect="the vCPU turns inside its exit handler until an interrupt or a signal; changes of slots wait for it",
        versions=ALL_VERSIONS,
        vm_types=("tdx",),
        states=(State("by reading", ("7.2.12", "7.3.4")),),
        patterns=(
            Pattern(
                rules=frozenset({"livelock"}),
                parts={
                    "vCPU": Who(
                        does=BY_VCPU - {"prefault"}, inside="handle_ept_violation", obsolete_root=True
                    ),
                    "writer": Who(does=frozenset({"nx_huge_pages"}), over=True),
                },
            ),
        ),
        shown=(Shown(scenario="zoo-tdx_fault_nx_huge_pages", vm_type="tdx", schedules=200),),
    ),
    Finding(
        ident="snp-launch-update-after-finish",
        title="SNP: launch pages can be added after the launch is finished",
        effect="a vCPU fault clears a page that is assigned already: an RMP violation of the host",
        # In the others faults wait for the invalidate lock that populate holds.
        versions=("baseline", "v1", "v2", "v3", "mainline-7.3"),
        vm_types=("snp",),
        states=(State("by reading", ("7.2.13", "7.3.4")),),
        reported="Jethro Beekman, January 2026, with a check of the launch state (not in 7.3.4)",
        patterns=(
            Pattern(
                rules=frozenset({"I35"}),
                details={"flag": "HOST_RMP_VIOLATION"},
                parts={"vCPU": Who(does=BY_VCPU, fails=True), "launch": Who(does=frozenset({"populate"}))},
            ),
            # The fault assigned the page first.
            Pattern(
                rules=frozenset({"I35"}),
                details={"flag": "HOST_RMP_VIOLATION"},
                parts={
                    "vCPU": Who(does=BY_VCPU, over=True),
                    "launch": Who(does=frozenset({"populate"}), fails=True),
                },
            ),
        ),
        shown=(Shown(scenario="zoo-launch_late", vm_type="snp", schedules=300),),
    ),
    Finding(
        ident="snp-vmsa-page-freed-in-use",
        title="SNP: a hole frees the page of a save area (VMSA) on which a vCPU runs",
        effect="RMPUPDATE is refused (in use), and the frame goes back to the allocator while the RMP assigns it",
        versions=("baseline", "v1", "v2"),
        # The reload came in June 2026; that 6.18 and 6.19 are without it is an inference from that date.
        releases=dict.fromkeys(("baseline", "v1", "v2"), ("6.18", "6.12", "6.19")),
        vm_types=("snp",),
        states=(
            State("by reading", ("6.12.107",)),
            State(
                "refuted",
                ("7.2.13", "7.3.4"),
                "read: the hole has the vCPU give the save area up, and load it again; the first release that has it "
                "was not looked up",
            ),
        ),
        reported="Sean Christopherson, 25 June 2026, with a trace from hardware and the repair",
        patterns=(
            Pattern(
                rules=frozenset({"I31"}),
                details={"flag": "RMP_LEAK"},
                parts={
                    "reclaim": Who(does=_RECLAIM, fails=True),
                    "vCPU": Who(does=frozenset({"create_ap"}), over=True),
                },
            ),
        ),
        shown=(Shown(scenario="zoo-vmsa", vm_type="snp", strategy="preemption:2", schedules=100),),
    ),
    Finding(
        ident="snp-rmp-fault-against-reclaim",
        title="huge folios on SNP: an RMP fault splits an entry that a hole resets, or that has a new owner",
        effect="a hole that never ends, a frame freed while assigned, or another guest's fault without end",
        versions=HUGE,
        vm_types=("snp",),
        states=(
            State(
                "by reading",
                ("7.3.4",),
                "the handler and the hook; out of reach there, since every RMP entry of a guest_memfd page is 4 KiB",
            ),
        ),
        reported="races of the handler are treated by commits queued for 7.4, whose bodies were not read",
        patterns=(
            Pattern(
                rules=frozenset({"livelock", "arch:LIVELOCK"}),
                parts={
                    "reclaim": Who(does=_RECLAIM, inside="rmpupdate"),
                    "vCPU": Who(does=BY_VCPU, over=True),
                },
            ),
            Pattern(
                rules=frozenset({"I31"}),
                details={"flag": "RMP_LEAK"},
                parts={"reclaim": Who(does=_RECLAIM, over=True), "vCPU": Who(does=BY_VCPU, over=True)},
            ),
            Pattern(
                rules=frozenset({"I46"}),
                parts={
                    "vCPU": Who(does=BY_VCPU, over=True),
                    "reclaim": Who(does=_RECLAIM, over=True),
                },
            ),
        ),
        shown=(
            Shown(scenario="zoo-rmp_fault_hole", vm_type="snp", strategy="preemption:2", schedules=80),
            # Where get_pfn hands out a reference the frame is nobody else's.
            Shown(
                scenario="zoo-rmp_fault_reuse",
                vm_type="snp",
                strategy="preemption:2",
                schedules=40,
                versions=tuple(version for version in HUGE if version != "hugepage-tracked"),
            ),
        ),
    ),
    Finding(
        ident="hugepage-hole-zeroes-private-pages",
        title="huge folios on SNP: a hole smaller than a huge page zeroes pages of the guest",
        effect="the host writes to a page that the RMP assigns to the guest",
        versions=HUGE_WITHOUT_MUTEX,
        vm_types=("snp",),
        states=(
            State("by reading", ("HugeTLB RFC v2 (2025)",), "a reason for the refusal that review asked for"),
        ),
        reported="review of RFC v2 asked for a refusal of such holes",
        patterns=(
            Pattern(
                rules=frozenset({"I35"}),
                details={"flag": "HOST_RMP_VIOLATION"},
                parts={"hole": Who(does=frozenset({"punch"}), fails=True)},
            ),
        ),
        shown=(Shown(scenario="zoo-huge_hole", vm_type="snp", strategy="random", schedules=40),),
    ),
)
