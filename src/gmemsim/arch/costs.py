"""What each step costs in virtual time: one frozen table with the evidence for each figure (arch.md 6).

Every field is an integer number of nanoseconds and carries an `Evidence`: the plausible range, where the
figure comes from, and how far to trust it. Nothing here was tuned until a result looked right; figures that
are engineering estimates say so (confidence `E`) and are listed in `SWEEPS`, so that a report can show how
much its conclusion depends on them.

Two figures for one thing are kept apart where the sources disagree: a TLB shootdown of N CPUs is 1 + 0.2 N
µs in one source and 1.5 N µs in the other, and the all-in TDX accept is 2.5, 5 or 8 µs depending on who
measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

import attrs


@attrs.frozen
class Evidence:
    """Why a figure is what it is.

    Attributes:
        low, high: the range that the sources allow, in ns; `low <= default <= high`.
        source: the row of docs/spec/arch.md that it is from, or that there is none.
        confidence: `A` published measurement, `B` derived from a published end-to-end figure, `C` a local or
            informal measurement, `E` engineering estimate.
    """

    low: int
    high: int
    source: str
    confidence: str


def ns(default: int, low: int, high: int, source: str, confidence: str) -> int:
    """A field of a cost table."""
    # attrs types a field as its value; the evidence travels in the metadata.
    evidence = Evidence(low, high, source, confidence)
    field: int = attrs.field(default=default, metadata={"evidence": evidence})
    return field


@attrs.frozen
class CostTable:
    """Virtual ns per step. A plain `CostTable()` is the default table; `zero()` makes everything free."""

    # -- common code: exits, system calls, look-ups ------------------------------------------------
    #: System call entry and exit.
    syscall: int = ns(170, 145, 190, "arch.md 6.4 (generic), measured", "C")
    #: Exit + entry of a plain VM, as a hypercall does it.
    exit_entry: int = ns(1255, 1230, 1635, "arch.md 6.2 (SNP): TUM", "A")
    #: Stage-2 fault without the page's own cost: exit + entry + KVM's fault path.
    fault_entry: int = ns(1700, 1600, 2400, "arch.md 6.2 (SNP): TUM, and arch.md 6.3 (TDX) split", "E")
    #: Host page fault without alloc and clear.
    host_fault: int = ns(
        1000, 700, 1700, "arch.md 6.1 (memory): anon fault, measured, less alloc, clear", "C"
    )
    #: One warm look-up in a page cache xarray or an attribute maple tree.
    xarray_lookup: int = ns(40, 20, 130, "arch.md 6.4 (generic)", "E")
    #: get_user_pages_fast on a present page.
    gup: int = ns(200, 100, 500, "no source; two look-ups and an atomic", "E")
    #: Removing one 4K SPTE.
    zap_4k: int = ns(50, 20, 150, "no source; one contended atomic", "E")
    #: Installing one 4K SPTE.
    spte_install: int = ns(50, 20, 150, "no source; one contended atomic", "E")
    #: Exit to userspace for a memory fault, attribute ioctl, re-entry; without zap and flush.
    memory_fault_exit: int = ns(6000, 3000, 10_000, "arch.md 6.4 (generic)", "E")

    # -- memory ------------------------------------------------------------------------------------
    #: Order-0 page alloc + free.
    alloc_4k: int = ns(60, 40, 120, "arch.md 6.1 (memory)", "A")
    #: Order-9 page from a free list.
    alloc_2m: int = ns(600, 300, 1000, "arch.md 6.1 (memory)", "E")
    #: Clearing 4K, cold.
    clear_4k: int = ns(310, 180, 520, "arch.md 6.1 (memory): Arora, Milan 2M/512", "B")
    #: Clearing 2M page by page.
    clear_2m: int = ns(162_000, 77_000, 264_000, "arch.md 6.1 (memory): Arora", "A")
    #: CLFLUSH of 4K, dirty.
    clflush_4k: int = ns(2000, 1000, 3000, "arch.md 6.1 (memory)", "E")

    # -- locks and other CPUs ----------------------------------------------------------------------
    #: Moving one contended cache line to this CPU: what a read-side rwsem acquire pays under load.
    line: int = ns(80, 20, 250, "arch.md 6.4 (generic)", "E")
    #: From a wake-up to the sleeper running.
    wake: int = ns(2000, 2000, 5000, "arch.md 6.4 (generic): folio lock row", "E")
    #: TLB shootdown, part that does not grow.
    shootdown_base: int = ns(1000, 0, 1000, "arch.md 6.4 (generic): unseel.com / onedfrk", "C")
    #: TLB shootdown, per CPU that is interrupted.
    shootdown_per_cpu: int = ns(200, 200, 1500, "arch.md 6.4 (generic): unseel.com / onedfrk", "C")

    # -- SEV-SNP -----------------------------------------------------------------------------------
    #: RMP look-up: two cached reads.
    rmp_lookup: int = ns(6, 4, 20, "arch.md 6.2 (SNP): scan of 512 / 512", "E")
    #: RMPUPDATE, 4K or 2M.
    rmpupdate: int = ns(1000, 500, 1500, "arch.md 6.2 (SNP)", "E")
    #: PSMASH of one 2M entry.
    psmash: int = ns(2500, 1000, 5000, "arch.md 6.2 (SNP)", "E")
    #: PVALIDATE of 4K, by the guest.
    pvalidate: int = ns(300, 100, 500, "arch.md 6.2 (SNP)", "E")
    #: PVALIDATE of 2M, by the guest.
    pvalidate_2m: int = ns(1500, 1000, 2000, "arch.md 6.2 (SNP)", "E")
    #: First 4K RMPUPDATE of a 2M region: splitting the host's direct map, without the flush.
    direct_map_split: int = ns(3000, 1000, 5000, "arch.md 6.2 (SNP): +3 to 20 µs with flush", "E")
    #: SNP_LAUNCH_UPDATE of one page in the security processor. Only a bound is published: a launch phase of 3.18 s, so
    #: 3.1 ms a page with all VMM work in it, if the image has 1,024 pages, which was not checked. A third of that is
    #: the low end; the default is their geometric mean. No figure of a single page was found.
    psp_launch_update: int = ns(
        1_800_000, 1_030_000, 3_100_000, "arch.md 6.2 (SNP): TUM boottime, upper bound", "E"
    )
    #: Any other security processor command.
    psp_command: int = ns(100_000, 30_000, 1_000_000, "no source; mailbox round trip", "E")

    # -- TDX ---------------------------------------------------------------------------------------
    #: Exit + entry of a TD.
    td_exit_entry: int = ns(1200, 1000, 2500, "arch.md 6.3 (TDX): split of 2.54 µs", "E")
    #: The part of a TD's entry in which VP.ENTER holds the epoch lock, so that TRACK is BUSY.
    vp_enter: int = ns(300, 100, 1000, "no source; a share of the entry of arch.md 6.3", "E")
    #: TDH.MEM.SEPT.ADD: one table page.
    sept_add: int = ns(700, 500, 1000, "no source; as BLOCK/REMOVE", "E")
    #: TDH.MEM.PAGE.AUG of 4K.
    aug: int = ns(500, 400, 6000, "arch.md 6.3 (TDX): split of 2.54 µs; high: dstack", "E")
    #: TDG.MEM.PAGE.ACCEPT of 4K, zeroing included.
    accept: int = ns(400, 300, 1000, "arch.md 6.3 (TDX): split of 2.54 µs", "E")
    #: TDH.MEM.PAGE.ADD of 4K.
    page_add: int = ns(1500, 1000, 2000, "arch.md 6.3 (TDX)", "E")
    #: TDH.MR.EXTEND over one 4K page (16 chunks).
    mr_extend: int = ns(32_000, 16_000, 48_000, "arch.md 6.3 (TDX)", "E")
    #: TDH.MEM.RANGE.BLOCK.
    block: int = ns(700, 500, 1000, "arch.md 6.3 (TDX)", "E")
    #: TDH.MEM.TRACK, without the kick.
    track: int = ns(700, 500, 1000, "arch.md 6.3 (TDX)", "E")
    #: TDH.MEM.PAGE.REMOVE.
    remove: int = ns(700, 500, 1000, "arch.md 6.3 (TDX)", "E")
    #: TDH.MEM.PAGE.DEMOTE of 2M.
    demote: int = ns(10_000, 5_000, 20_000, "arch.md 6.3 (TDX): 2M", "E")
    #: TDG.MEM.PAGE.ACCEPT of 2M, for each 4K of it.
    accept_2m_4k: int = ns(300, 250, 400, "arch.md 6.3 (TDX): per 4K of a 2M accept", "E")
    #: TDH.MEM.PAGE.AUG of 2M.
    aug_2m: int = ns(700, 500, 1000, "arch.md 6.3 (TDX)", "E")
    #: TDH.PHYMEM.PAGE.WBINVD of 4K.
    wbinvd: int = ns(2000, 1000, 3000, "arch.md 6.3 (TDX)", "E")
    #: Resetting 4K with 64-byte direct stores.
    reset_4k: int = ns(600, 400, 800, "arch.md 6.1 (memory)", "E")
    #: One more try after OPERAND_BUSY.
    busy_retry: int = ns(500, 300, 1000, "arch.md 6.3 (TDX)", "E")

    def clear(self, pages: int) -> int:
        """Clearing so many pages of 4K."""
        return self.clear_4k * pages

    def tlb_shootdown(self, cpus: int) -> int:
        """Flushing the TLBs of `cpus` other CPUs, in ns; nobody to interrupt costs nothing."""
        return self.shootdown_base + self.shootdown_per_cpu * cpus if cpus else 0

    def replace(self, **changes: int) -> Self:
        """A copy with some entries changed.

        Raises:
            TypeError: no such entry.
            ValueError: a negative cost.
        """
        for name, value in changes.items():
            if value < 0:
                raise ValueError(f"cost {name} is negative: {value}")
        return attrs.evolve(self, **changes)

    @classmethod
    def default(cls, arch: str = "default") -> CostTable:
        """The table of an arch (`ARCH_COSTS`): what is measured for one only differs from the plain VM's."""
        return cls().replace(**ARCH_COSTS.get(arch, {}))

    @classmethod
    def zero(cls) -> CostTable:
        """Everything is free: pure logic, no time."""
        return cls(**dict.fromkeys(cls.names(), 0))

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Every entry, in the order of the table."""
        return tuple(field.name for field in attrs.fields(cls))

    @classmethod
    def evidence(cls, name: str) -> Evidence:
        """Range, source and confidence of an entry.

        Raises:
            KeyError: no such entry.
        """
        found: Evidence = attrs.fields_dict(cls)[name].metadata["evidence"]
        return found

    @classmethod
    def rows(cls) -> list[tuple[str, int, int, int, str, str]]:
        """The whole table as `(name, default, low, high, source, confidence)`, for reports."""
        rows = []
        for field in attrs.fields(cls):
            evidence = field.metadata["evidence"]
            rows.append(
                (field.name, field.default, evidence.low, evidence.high, evidence.source, evidence.confidence)
            )
        return rows


#: Entries of the common code whose value depends on the VM type: an SNP nested fault and a TD exit are not
#: a plain VM's.
ARCH_COSTS: Final[Mapping[str, Mapping[str, int]]] = {
    "snp": {"fault_entry": 1650 + 400},
    # Less `vp_enter`, which the module charges.
    "tdx": {"fault_entry": 1200 - 300 + 400},
}

#: Why, where the plain VM's range is none of theirs: no other figure of it is known.
ARCH_EVIDENCE: Final[Mapping[str, Mapping[str, Evidence]]] = {
    "tdx": {
        "fault_entry": Evidence(
            1300, 1300, "arch.md 6.3 (TDX) split, less vp_enter, which is charged apart", "E"
        )
    },
}

#: Uncertain entries and the alternatives to try, each a set of changes for `CostTable.replace`.
SWEEPS: Final[Mapping[str, tuple[Mapping[str, int], ...]]] = {
    # The two published models of a shootdown, 7× apart at 64 CPUs.
    "shootdown": (
        {"shootdown_base": 1000, "shootdown_per_cpu": 200},
        {"shootdown_base": 0, "shootdown_per_cpu": 1500},
    ),
    # Same core complex, same socket, other socket.
    "line": ({"line": 25}, {"line": 85}, {"line": 200}),
    "wake": ({"wake": 2000}, {"wake": 5000}),
    "rmpupdate": ({"rmpupdate": 500}, {"rmpupdate": 1000}, {"rmpupdate": 1500}),
    "direct_map_split": ({"direct_map_split": 1000}, {"direct_map_split": 3000}, {"direct_map_split": 5000}),
    "clflush": ({"clflush_4k": 1000}, {"clflush_4k": 3000}),
    "psp": (
        {"psp_launch_update": 1_030_000},
        {"psp_launch_update": 1_800_000},
        {"psp_launch_update": 3_100_000},
    ),
    # How often TRACK is BUSY hangs on it.
    "vp_enter": ({"vp_enter": 100}, {"vp_enter": 300}, {"vp_enter": 1000}),
    # All-in accept of 2.5, 5 and 8 µs (arch.md 6.5, known conflict). The split is a guess in any case, so the
    # difference is put where the module works.
    "tdx_accept": ({"aug": 460}, {"aug": 2960}, {"aug": 5960}),
    "tdx_zap": ({"block": 500, "track": 500, "remove": 500}, {"block": 1000, "track": 1000, "remove": 1000}),
}
