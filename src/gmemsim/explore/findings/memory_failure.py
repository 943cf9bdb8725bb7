"""Findings about memory_failure: it calls guest_memfd's error hook with the folio locked."""

from __future__ import annotations

from typing import Final

from .finding import Finding, Shown, State
from .groups import ALL_VERSIONS, BY_HOST, BY_VCPU, HUGE, IN_PLACE, LOCKLESS_UNBIND
from .pattern import Pattern, Waits, Who

#: Where no fault marks a page of guest_memfd dirty; baseline on 6.12 alone.
_FAULT_LEAVES_CLEAN: Final = ("baseline", "inplace", "inplace-off", "inplace-content", *HUGE)
_STUCK: Final = frozenset({"deadlock", "livelock"})
_HOOK: Final = Who(does=frozenset({"memory_failure"}), inside="kvm_gmem_error_folio")


def _two(*operations: str) -> Pattern:
    """The hook waits for the invalidate lock that the other has exclusively; that one waits for the folio.

    Where a third task still runs, a vCPU that retries because the invalidation never ends, it is a livelock.
    """
    return Pattern(
        rules=_STUCK,
        parts={"memory failure": _HOOK, "other": Who(does=frozenset(operations))},
        waits=(
            Waits(part="memory failure", lock="invalidate_lock", mode="r", behind="other", held="w"),
            Waits(part="other", lock="folio", mode="w", behind="memory failure", held="w"),
        ),
    )


def _three(operations: frozenset[str]) -> Pattern:
    """The reader has the invalidate lock shared and waits for the folio; a queued writer parts the hook from it."""
    return Pattern(
        rules=_STUCK,
        parts={"memory failure": _HOOK, "reader": Who(does=operations), "writer": Who()},
        waits=(
            Waits(part="memory failure", lock="invalidate_lock", mode="r", behind="writer"),
            Waits(part="writer", lock="invalidate_lock", mode="w", behind="reader", held="r"),
            Waits(part="reader", lock="folio", mode="w", behind="memory failure", held="w"),
        ),
    )


FINDINGS: Final = (
    Finding(
        ident="memory-failure-against-punch",
        title="memory_failure and PUNCH_HOLE of the page wait for each other",
        effect="both tasks hang; mf_mutex stays held, so that no memory error of the whole machine is handled any more",
        versions=ALL_VERSIONS,
        states=(
            State(
                "confirmed",
                ("6.12.117", "6.18.15", "7.2.13", "7.3.4"),
                "stock Debian kernels, by an administrator: within a second, or 37 s with private files of 6.12.117 "
                "and 6.18.15",
            ),
            State("by reading", ("6.12.107", "the in-place series as applied")),
        ),
        patterns=(_two("punch"),),
        shown=(Shown(scenario="zoo-poison_punch", vm_type="sw-protected", schedules=50),),
        library=("memory_failure",),
        reproducer="memory-failure-against-punch",
    ),
    Finding(
        ident="memory-failure-allocation-writer",
        title="memory_failure, fallocate of the page and any queued writer of the file wait for each other",
        effect="as memory-failure-against-punch; a memslot ioctl as the writer holds slots_lock for ever too",
        versions=ALL_VERSIONS,
        states=(
            State(
                "confirmed",
                ("6.18.15", "7.2.13", "7.3.4"),
                "stock Debian kernels, by an administrator, within seconds",
            ),
            State("by reading", ("6.12.107", "the in-place series as applied")),
        ),
        patterns=(_three(frozenset({"allocate"})),),
        shown=(Shown(scenario="zoo-poison_allocate", vm_type="sw-protected"),),
        reproducer="memory-failure-allocation-writer",
    ),
    Finding(
        ident="memory-failure-fault-conversion",
        title="in place: a fault, memory_failure and a queued conversion of the file wait for each other",
        effect="as memory-failure-against-punch, in the path that a confidential guest takes all the time",
        # With conversion in place off, the host's fault alone takes the lock; tracked faults look up under it.
        versions=(*IN_PLACE, "inplace-off", *HUGE, "tracked", "tracked-shared"),
        states=(
            State("by reading", ("the in-place series as applied",), "no kernel with the series was run"),
        ),
        patterns=(_three(BY_VCPU | BY_HOST),),
        shown=(
            Shown(
                scenario="zoo-poison_convert",
                vm_type="sw-protected",
                versions=("inplace-v8", "inplace", *HUGE),
            ),
            Shown(
                scenario="zoo-poison_host_reader",
                vm_type="default",
                versions=(*IN_PLACE, "inplace-off", *HUGE),
            ),
        ),
    ),
    Finding(
        ident="memory-failure-against-populate",
        title="memory_failure and whoever fills the page under the exclusive lock (populate) wait for each other",
        effect="as memory-failure-against-punch; the launch of the VM hangs",
        versions=ALL_VERSIONS,
        states=(State("by reading", ("6.12.107", "7.2.13", "7.3.4", "the in-place series as applied")),),
        # Conversions with content modes zero the page, and `tracked` marks it in the fault, under the exclusive lock.
        patterns=(_two("populate"), _two("convert"), _two(*BY_VCPU)),
        shown=(
            Shown(scenario="zoo-poison_populate", vm_type="snp", schedules=100),
            Shown(scenario="zoo-poison_populate", vm_type="tdx", schedules=100),
            Shown(
                scenario="zoo-poison_convert",
                vm_type="sw-protected",
                schedules=100,
                versions=("inplace-content",),
            ),
        ),
    ),
    Finding(
        ident="unbind-during-memory-failure",
        title="a slot of a dying file is unbound during a memory failure: the invalidation never ends",
        effect="later faults of the VM in the range retry for ever; the hook goes on with a slot that may be freed",
        versions=LOCKLESS_UNBIND,
        states=(
            State(
                "confirmed",
                ("6.18.15", "7.2.13"),
                "user space alone, by an administrator, on stock Debian kernels, about a minute",
            ),
            State("by reading", ("6.12.107",)),
            State(
                "fixed in",
                ("7.3",),
                "unbind always takes the invalidate lock (commit 1f3359c873db); 0 of 540 rounds on 7.3.4",
            ),
        ),
        reported="fixed upstream in 7.3 as a matter of order, without a report of this consequence that we know of",
        patterns=(
            Pattern(
                rules=frozenset({"I15"}),
                parts={
                    "memory failure": Who(does=frozenset({"memory_failure"}), fails=True),
                    "deletion": Who(does=frozenset({"unbind"}), over=True),
                    "release": Who(does=frozenset({"close"}), over=True),
                },
            ),
            # Judged at rest: no step shows it.
            Pattern(
                rules=frozenset({"use_after_free"}),
                parts={
                    "memory failure": Who(does=frozenset({"memory_failure"}), over=True),
                    "deletion": Who(does=frozenset({"unbind"}), over=True),
                    "release": Who(does=frozenset({"close"}), over=True),
                },
            ),
        ),
        shown=(
            Shown(
                scenario="zoo-poison_close", vm_type="sw-protected", strategy="preemption:2", schedules=300
            ),
        ),
        reproducer="unbind-during-memory-failure",
    ),
    Finding(
        ident="host-fault-on-poisoned-page",
        title="in place: a host fault evicts a page that is being poisoned while the guest maps it",
        effect="the guest goes on with a page that the file no longer holds; guest and host no longer share it",
        versions=("inplace", "inplace-off", "inplace-content", *HUGE),
        states=(
            State(
                "refuted",
                ("6.18.15", "7.2.13", "7.3.4"),
                "KVM marks every page that it mapped dirty, and dirty pages are not evicted: tried on 6.18.15 and "
                "7.3.4, read in 7.2.13",
            ),
            State(
                "by reading",
                ("the in-place series as applied",),
                "get_pfn hands out no page, so none is marked",
            ),
        ),
        patterns=(
            Pattern(
                rules=frozenset({"I19"}),
                parts={
                    "memory failure": Who(does=frozenset({"memory_failure"})),
                    "host": Who(does=BY_HOST, fails=True),
                },
            ),
            # Evicted between get_pfn and the mapping: no invalidation tells the fault to retry.
            Pattern(
                rules=frozenset({"I2", "I19"}),
                kinds=frozenset({"MapRet"}),
                details={"evicted": True},
                parts={
                    "memory failure": Who(does=frozenset({"memory_failure"}), over=True),
                    "host": Who(does=BY_HOST, over=True),
                    "guest": Who(does=BY_VCPU, fails=True),
                },
            ),
        ),
        shown=(Shown(scenario="zoo-poison_host_fault", vm_type="default", strategy="random", schedules=200),),
        reproducer="host-fault-on-poisoned-page",
    ),
    Finding(
        ident="soft-offline-evicts-guest-page",
        title="soft offline takes a page out of its file while the guest maps it, and nobody is told",
        effect="the guest goes on with a page that the file no longer has; after the next zap it has zeros instead",
        versions=ALL_VERSIONS,
        # From 6.13 to 7.3 the end of a fault marks the page dirty; baseline's TDX launch goes by a fault, too.
        releases={"baseline": ("6.12",)},
        states=(
            State("by reading", ("6.12.117", "the in-place series as applied")),
            State(
                "by reading",
                ("7.2.12", "7.3.4"),
                "of pages of a TDX launch alone: those that a fault mapped are dirty",
            ),
        ),
        patterns=(
            Pattern(
                rules=frozenset({"I19"}),
                parts={
                    "soft offline": Who(does=frozenset({"soft_offline"}), fails=True),
                    "vCPU": Who(does=BY_VCPU | {"populate"}, over=True),
                },
                versions=_FAULT_LEAVES_CLEAN,
            ),
            # Elsewhere a fault marks the page dirty, so that only a launch leaves a clean one that is mapped.
            Pattern(
                rules=frozenset({"I19"}),
                parts={
                    "soft offline": Who(does=frozenset({"soft_offline"}), fails=True),
                    "vCPU": Who(does=frozenset({"populate"}), over=True),
                },
                vm_types=("tdx",),
            ),
            # Evicted between get_pfn, or the folio's unlock in a launch, and the mapping.
            Pattern(
                rules=frozenset({"I2", "I19"}),
                kinds=frozenset({"MapRet"}),
                details={"evicted": True},
                parts={
                    "soft offline": Who(does=frozenset({"soft_offline"}), over=True),
                    "vCPU": Who(does=BY_VCPU | {"populate"}, fails=True),
                },
                versions=_FAULT_LEAVES_CLEAN,
            ),
        ),
        shown=(
            Shown(scenario="zoo-soft_offline", vm_type="sw-protected", versions=_FAULT_LEAVES_CLEAN),
            Shown(
                scenario="zoo-soft_offline_launch",
                vm_type="tdx",
                versions=tuple(version for version in ALL_VERSIONS if version != "baseline"),
            ),
        ),
    ),
    Finding(
        ident="poisoned-mapping-survives-punch",
        title="PUNCH_HOLE of a poisoned page leaves the host's mapping poisoned",
        effect="a VMM that repairs the page with a hole gets SIGBUS from its old mapping until madvise or munmap",
        versions=(),
        states=(
            State("confirmed", ("7.3.4",), "one stock Debian kernel"),
            State("by reading", ("7.2.13", "the in-place series as applied")),
        ),
        reproducer="poisoned-mapping-survives-punch",
    ),
)
