"""What the sources leave open: every UNVERIFIED of spec arch.md as a named choice with its default.

A result that depends on one of these is a result about the choice: run it both ways. Hand a changed set to
the arch actor, for instance `Snp(memory, choices=attrs.evolve(SnpChoices(),
rmpupdate_clears_validated=False))`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import attrs
import msgspec

#: A number of things, and what RMPUPDATE answers when it fails.
Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
#: SEAMCALLs on one S-EPT entry.
TreeOp: TypeAlias = Literal["SEPT_ADD", "ADD", "AUG", "MR_EXTEND", "BLOCK", "REMOVE", "DEMOTE"]


@attrs.frozen
class SnpChoices:
    """Open points of SEV-SNP.

    Attributes:
        rmpupdate_clears_validated: an RMPUPDATE that writes the values the entry has already still resets
            the validated bit (arch.md 1.5, 8: believed, not read). False keeps the bit if nothing else changes.
        region_busy_code: what RMPUPDATE answers while another CPU works on another page of the same
            2M region. arch.md 1.5 allows 3 (in use: the fault fails) and 4 (overlap: the caller spins) and says
            that both of two such updates succeed, which only 4 gives.
        entry_busy_code: the same while another CPU works on this very page (address and size).
        smashed_to_shared_code: what RMPUPDATE to shared of a 2M page answers where the entries are assigned 4K ones.
            arch.md 1.1 has the rule for an update to private, and for one to shared only "matching level, else psmash
            first"; 4 (overlap: the caller spins) is inferred; with any other the hook gives up.
        failed_update_state: `firmware` or `pre_guest`: whose the page is between a failed SNP_LAUNCH_UPDATE
            and SNP_PAGE_RECLAIM. Immutable in both, so that a plain RMPUPDATE does not get it back.
        replicate_2m: hardware shows `assigned` in all 512 entries of a 2M page (arch.md 8: KVM relies on it).
        in_place_source: populate may be called without a source and then takes the page itself. None: as the kernel
            has it (conversion in place).
        large_make_private: make_private takes more than one page, as its body could. 7.3.4 refuses that with -EIO; a
            series with huge pages has to change it. None: as the kernel has it (huge folios).
        scan_stride: look-ups between two traps of the 512-entry scan for a 2M level. 1 is hardware; more is
            a coarser model with fewer interleavings.
        overlap_watchdog: turns of the unbounded OVERLAP spin, with the cause unchanged, after which a timed
            run gives up and reports LIVELOCK. Not a limit that the kernel has.
    """

    rmpupdate_clears_validated: bool = True
    region_busy_code: Positive = 4
    entry_busy_code: Positive = 3
    smashed_to_shared_code: Positive = 4
    failed_update_state: Literal["firmware", "pre_guest"] = "firmware"
    replicate_2m: bool = True
    in_place_source: bool | None = None
    large_make_private: bool | None = None
    scan_stride: Positive = 64
    overlap_watchdog: Positive = 1000


@attrs.frozen
class TdxChoices:
    """Open points of TDX, and what differs between module and kernel versions.

    Attributes:
        exclusive_tree_ops: SEAMCALLs that take the S-EPT tree lock exclusively. Module 1.5: RANGE.BLOCK
            (arch.md 2.3); module 1.0 also `AUG`, `REMOVE` (and DEMOTE).
        guest_locks_free: a guest ACCEPT locks a FREE entry before it finds out (newer modules do not, arch.md 2.3).
        host_priority: a host call that loses an entry to the guest leaves a mark that makes the guest's
            next try fail, until a host call had its turn (arch.md 2.1).
        sept_add_mapped_ok: SEPT.ADD over a table that is there succeeds without effect (arch.md 8: meaning of
            NL_MAPPED unknown).
        sept_ve_disable: a guest access to a PENDING page exits and kills the VM; False raises #VE in the
            guest (arch.md 2.6).
        zero_step_threshold: EPT faults without progress after which VP.ENTER takes the tree lock
            exclusively (arch.md 2.3).
        page_references: KVM holds a reference per mapped page and leaks the page if REMOVE or WBINVD fails; without
            it guest_memfd is told nothing. None: as the kernel has it (`Release.tdx_page_references`).
        leak_unflushed: with `page_references`, a frame that was removed and not written back is leaked too. False is
            a bug, reported in April 2026.
        premap: a launch maps the page by a fault of its own and adds it afterwards, as to 6.18. None: as the kernel has
            it (`Release.tdx_premap`).
        erratum: the CPU has the partial-write erratum (SPR, EMR). Only the reset follows from it here: host writes
            of less than a line are not modelled.
        reset_removed: `always` (older kernels), `erratum` or `never`: when KVM zeroes a removed page.
        host_read_value: `cipher` (garbage) or `zero` (a fixed value): what a host read of a TD page returns
            (arch.md 8).
        in_place_source: populate may be called without a source and then takes the page itself. None: as the kernel
            has it.
        measure: PAGE.ADD is followed by MR.EXTEND over the page.
        level_rule: largest level at which KVM maps private memory (arch.md 2.2). `4k`: always 4K (the merged code).
            `vcpu_range`: 2M, or what the vCPU's last accept fault asked for; a 4K request inside a 2M leaf that is
            pending is not served (the series of late 2024). `inhibit`: 2M, until a guest accepts less of a region: then
            the leaf is split, and the region stays 4K for good (the series under review). No table is ever promoted.
        accept_checks: how often in a 2M accept the module looks for an interrupt; every 4K on hardware.
        module_checks_tracking: PAGE.REMOVE refuses a page that is not blocked and tracked. False shows what
            the check is for.
    """

    exclusive_tree_ops: frozenset[TreeOp] = frozenset({"BLOCK"})
    guest_locks_free: bool = False
    host_priority: bool = True
    sept_add_mapped_ok: bool = True
    sept_ve_disable: bool = True
    zero_step_threshold: Positive = 6
    page_references: bool | None = None
    leak_unflushed: bool = True
    premap: bool | None = None
    erratum: bool = False
    reset_removed: Literal["always", "erratum", "never"] = "erratum"
    host_read_value: Literal["cipher", "zero"] = "cipher"
    in_place_source: bool | None = None
    measure: bool = False
    level_rule: Literal["4k", "vcpu_range", "inhibit"] = "inhibit"
    accept_checks: Positive = 4
    module_checks_tracking: bool = True


@attrs.frozen
class PkvmChoices:
    """Open points of pKVM behind guest_memfd. All of it is a projection; these are where the spec is silent.

    Attributes:
        reclaim_alive: a page that leaves the file goes back to the host while its VM lives. Upstream reclaims only once
            teardown has started (arch.md 4.1); then a hole could not be punched. False: the frame is leaked.
        skip_shared: making a page private that its guest has shared at EL2, and not yet at KVM, is skipped like one
            that the guest owns (arch.md 4.2 speaks of pages that the host has no mapping of). False: -EPERM, and any
            vCPU that faults between the guest's hypercall and the VMM's conversion fails.
        lend_shared: a guest fault on shared memory that the guest never owned lends it the page, as a VM that is not
            protected gets all of its pages. False: KVM_RUN fails.
        user_signal: what a host process gets that touches a page of a guest through a mapping of its own (arch.md 4.3).
    """

    reclaim_alive: bool = True
    skip_shared: bool = True
    lend_shared: bool = True
    user_signal: str = "SIGSEGV"
