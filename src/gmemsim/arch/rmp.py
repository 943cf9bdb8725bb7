"""The reverse map table of SEV-SNP and the instructions that change it (arch.md 1.1).

One table per machine. An entry says who owns a 4K frame; a 2M page is an entry of level 2 at the head of
its region. Instructions lock a 2M region for as long as they take, and answer with a code when they meet
somebody else's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..audit.kvm_events import HardwareOp
from ..engine.observed import announces, by_key, changes, reads
from ..engine.observed_containers import keys_within
from ..engine.op import Op
from .memory import FRAMES
from .rmp_entries import RmpEntries, RmpEntry
from .spin import SpinWait

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..engine.task import Task
    from .choices import SnpChoices
    from .costs import CostTable

__all__ = ["HYPERVISOR", "REGION_PAGES", "Rmp", "RmpCode", "RmpEntry", "head_of", "pages_of", "region_of"]

#: 4K frames of a 2M region.
REGION_PAGES: Final = 512


class RmpCode:
    """What RMPUPDATE, PSMASH and PVALIDATE leave in EAX (the last two values: PVALIDATE only)."""

    OK: Final = 0
    BAD_INPUT: Final = 1
    PERMISSION: Final = 2
    IN_USE: Final = 3
    OVERLAP: Final = 4
    BAD_PAGE: Final = 7
    SIZE_MISMATCH: Final = 6
    NO_CHANGE: Final = 255  # software's name for "carry flag set"


#: The entry of a frame that belongs to the host.
HYPERVISOR: Final = RmpEntry()


def region_of(pfn: int) -> int:
    """Number of the 2M region."""
    return pfn >> 9


def head_of(pfn: int) -> int:
    """First frame of the 2M region."""
    return pfn & ~(REGION_PAGES - 1)


def pages_of(level: int) -> int:
    """4K frames of a page of that level (1 = 4K, 2 = 2M)."""
    return 1 << (9 * (level - 1))


def _region(region: int) -> tuple[int, int]:
    """Frames of a region."""
    return region * REGION_PAGES, (region + 1) * REGION_PAGES


def _frames_of(rmp: Rmp, pfn: int, level: int) -> tuple[str, int, int]:
    """What an update of that level has to look at: one of 4K may meet a 2M page at the head of its region."""
    head = head_of(pfn)
    return FRAMES, head, head + (1 if level == 1 else REGION_PAGES)


@announces(
    assigned=by_key(lambda rmp: FRAMES, _region),
    busy=by_key(lambda rmp: "rmp.region"),
    _waits=by_key(lambda rmp: "rmp.region"),
    vmsas=by_key(lambda rmp: FRAMES),
    in_use=by_key(lambda rmp: FRAMES),
)
class Rmp:
    """The table.

    Attributes:
        entries: by pfn; a frame without an entry belongs to the host (`rmp_entries.py`: one record for a 2M page).
        assigned: number of assigned entries per region that has any.
        busy: per region, the frames [lo, hi) that an instruction works on now.
        limit: first frame that the table does not cover.
        vmsas: frames that a guest made a VMSA; any change of the entry ends that.
        in_use: VMSAs of vCPUs that are in guest mode: RMPUPDATE answers IN_USE.
    """

    def __init__(self, choices: SnpChoices, costs: CostTable, limit: int = 1 << 40) -> None:
        self.choices = choices
        self.costs = costs
        self.limit = limit
        self.entries = RmpEntries()
        self.assigned: dict[int, int] = {}
        self.busy: dict[int, tuple[int, int]] = {}
        self.vmsas: set[int] = set()
        self.in_use: set[int] = set()
        self._waits: dict[int, SpinWait] = {}

    # -- reads ---------------------------------------------------------------------------------

    @reads(lambda rmp, pfn: (FRAMES, pfn, pfn + 1))
    def entry(self, pfn: int) -> RmpEntry:
        """The entry of a frame as memory holds it; no trap."""
        found: RmpEntry = self.entries.get(pfn, HYPERVISOR)
        return found

    async def lookup(self, t: Task, pfn: int) -> RmpEntry | None:
        """The host's look-up: the frame's own entry, then the level from the head of the region.

        Two reads without a lock (arch.md 7 item 2), so a concurrent change can be seen by halves. None: the table
        has no entry for the frame, or fault point `rmp_lookup` fired.
        """
        if t.traps:
            await t.point(Op("load", FRAMES, pfn, pfn + 1, "r"))
        await t.spend(self.costs.rmp_lookup)
        if pfn >= self.limit or t.fault("rmp_lookup"):
            return None
        own = self.entry(pfn)
        head = head_of(pfn)
        if t.traps:
            await t.point(Op("load", FRAMES, head, head + 1, "r"))
        return own._replace(level=self.entry(head).level)

    @reads(lambda rmp, region: (FRAMES, *_region(region)))
    def whole(self, region: int) -> RmpEntry | None:
        """The head's entry of a region that is one 2M page and was entered as such, else None; no trap."""
        return self.entries.whole(region)

    @reads(_frames_of)
    def overlap(self, pfn: int, level: int) -> int | None:
        """A frame whose entry stands in the way of an update at that level, or None."""
        head = head_of(pfn)
        if level == 1:
            return head if self.entry(head).level > 1 else None
        if self.entry(head).level > 1 or not self.assigned.get(region_of(pfn)):
            return None
        return next(frame for frame in range(head, head + REGION_PAGES) if self.entry(frame).assigned)

    def wait(self, region: int) -> SpinWait:
        """For tasks that spin on a region."""
        found = self._waits.get(region)
        if found is None:

            def owners() -> Iterable[str]:
                head = region * REGION_PAGES
                asids = {
                    self.entry(pfn).asid for pfn in range(head, head + REGION_PAGES) if pfn in self.entries
                }
                return tuple(f"ASID {asid}" for asid in sorted(asids))

            self._waits[region] = found = SpinWait(f"rmp.spin[{region:#x}]", owners)
        return found

    def spin_waits(self) -> Iterable[SpinWait]:
        """Of all regions that somebody spun on."""
        return self._waits.values()

    # -- writes --------------------------------------------------------------------------------

    @changes(lambda rmp, pfn, entry: (FRAMES, pfn, pfn + 1))
    def write(self, pfn: int, entry: RmpEntry) -> None:
        """Store one entry; no trap."""
        self.vmsas.discard(pfn)
        region = region_of(pfn)
        count = self.assigned.get(region, 0) + entry.assigned - self.entry(pfn).assigned
        if count:
            self.assigned[region] = count
        else:
            self.assigned.pop(region, None)
        if entry == HYPERVISOR:
            self.entries.pop(pfn, None)
        else:
            self.entries[pfn] = entry

    @changes(lambda rmp, head, entry: (FRAMES, head, head + REGION_PAGES))
    def write_region(self, head: int, entry: RmpEntry) -> None:
        """Store an entry, and its like at level 1 in the 511 frames behind; no trap."""
        region = region_of(head)
        if self.vmsas:
            self.vmsas.difference_update(range(head, head + REGION_PAGES))
        if entry.assigned:
            self.assigned[region] = REGION_PAGES
        else:
            self.assigned.pop(region, None)
        self.entries.set_region(region, None if entry == HYPERVISOR else entry)

    async def rmpupdate(self, t: Task, pfn: int, new: RmpEntry, current_asid: int = 0) -> int:
        """RMPUPDATE once: the page at `pfn` (4K or 2M by `new.level`) becomes `new`, `validated` aside.

        The region is locked from the first step to the last, so two updates in one region meet (arch.md 7 item 4).
        `current_asid` is that of the CPU that executes it: the instruction is the hypervisor's.

        Returns:
            BAD_INPUT (frame not covered, or unaligned), IN_USE or OVERLAP (`SnpChoices`), PERMISSION
            (executed by a guest, or the entry is immutable), OVERLAP (4K and 2M), or OK.
        """
        code = await self._rmpupdate(t, pfn, new, current_asid)
        if t.rec is not None:
            t.rec(t, HardwareOp("RMPUPDATE", pfn, code))
        return code

    async def _rmpupdate(self, t: Task, pfn: int, new: RmpEntry, current_asid: int) -> int:
        pages = pages_of(new.level)
        if pfn % pages or pfn + pages > self.limit:
            return RmpCode.BAD_INPUT
        region = region_of(pfn)
        if t.traps:
            await t.point(Op("try", "rmp.region", region, region + 1))
        meets = self.busy.get(region)
        if meets is not None:
            same = meets == (pfn, pfn + pages)
            return self.choices.entry_busy_code if same else self.choices.region_busy_code
        if self.overlap(pfn, new.level) is not None:
            # Told at once, so that a caller who spins leaves the region to the others between its turns.
            smashed = new.level > 1 and not new.assigned
            return self.choices.smashed_to_shared_code if smashed else RmpCode.OVERLAP
        self.busy[region] = (pfn, pfn + pages)
        await t.spend(self.costs.rmpupdate)
        if t.traps:
            await t.point(Op("rmw", FRAMES, pfn, pfn + pages))
        old = self.entry(pfn)
        if current_asid or old.immutable:
            code = RmpCode.PERMISSION
        elif keys_within(self.in_use, pfn, pfn + pages):
            code = RmpCode.IN_USE
        else:
            code = RmpCode.OK
            self._store(pfn, old, new)
        await self._release(t, region)
        return code

    def _store(self, pfn: int, old: RmpEntry, new: RmpEntry) -> None:
        validated = old.validated and not self.choices.rmpupdate_clears_validated
        validated = validated and old._replace(validated=False) == new._replace(validated=False)
        new = new._replace(validated=validated)
        if not new.assigned:
            new = HYPERVISOR
        pages = pages_of(max(new.level, old.level))
        if pages > 1 and (self.choices.replicate_2m or not new.assigned):
            # Only the head carries the level; arch.md 1.3 step 2 reads it there.
            self.write_region(pfn, new)
            return
        self.write(pfn, new)

    async def _release(self, t: Task, region: int) -> None:
        if t.traps:
            await t.point(Op("release", "rmp.region", region, region + 1))
        del self.busy[region]
        if region in self._waits:
            self._waits[region].changed(t)

    async def psmash(self, t: Task, pfn: int) -> int:
        """PSMASH once: a 2M entry becomes 512 4K entries with the same owner and the same validated bit.

        Returns:
            BAD_INPUT (unaligned or not covered), IN_USE, PERMISSION (immutable), BAD_PAGE (no 2M entry), or
            OK.
        """
        code = await self._psmash(t, pfn)
        if t.rec is not None:
            t.rec(t, HardwareOp("PSMASH", pfn, code))
        return code

    async def _psmash(self, t: Task, pfn: int) -> int:
        if pfn % REGION_PAGES or pfn + REGION_PAGES > self.limit:
            return RmpCode.BAD_INPUT
        region = region_of(pfn)
        if t.traps:
            await t.point(Op("try", "rmp.region", region, region + 1))
        if region in self.busy:
            return RmpCode.IN_USE
        self.busy[region] = (pfn, pfn + REGION_PAGES)
        await t.spend(self.costs.psmash)
        if t.traps:
            await t.point(Op("rmw", FRAMES, pfn, pfn + REGION_PAGES))
        old = self.entry(pfn)
        if old.immutable:
            code = RmpCode.PERMISSION
        elif not old.assigned or old.level == 1:
            code = RmpCode.BAD_PAGE
        else:
            code = RmpCode.OK
            self.write_region(pfn, old._replace(level=1))
        await self._release(t, region)
        return code

    # -- guest ---------------------------------------------------------------------------------

    def owner_flag(self, pfn: int, asid: int, gfn: int) -> str:
        """Why a private access of `asid` at `gfn` to an assigned frame faults; "" if they agree (arch.md 1.6).

        `RMP_ASID_STALE`: the frame is another guest's. `RMP_GPA_STALE`: it is the guest's, at another
        address.
        """
        entry = self.entry(pfn)
        if entry.asid != asid:
            return "RMP_ASID_STALE"
        return "" if entry.gfn == gfn else "RMP_GPA_STALE"

    async def pvalidate(
        self, t: Task, pfn: int, validate: bool, asid: int, gfn: int, level: int = 1
    ) -> int | None:
        """PVALIDATE by the guest through a mapping of `gfn` to `pfn`; None: a nested fault.

        Returns:
            SIZE_MISMATCH (the guest asks for 2M of a 4K entry), NO_CHANGE, or OK. A 4K request on a 2M
            entry faults.
        """
        # One step with the translation that gave `pfn` (see `Snp.guest_access`).
        await t.spend(self.costs.pvalidate if level == 1 else self.costs.pvalidate_2m)
        entry = self.entry(pfn)
        actual = self.entry(head_of(pfn)).level
        if not entry.assigned or self.owner_flag(pfn, asid, gfn) or level < actual:
            return None
        if level > actual:
            code = RmpCode.SIZE_MISMATCH
        elif entry.validated == validate:
            code = RmpCode.NO_CHANGE
        else:
            code = RmpCode.OK
            whole = self.whole(region_of(pfn)) if level > 1 else None
            if whole is not None:
                self.write_region(pfn, whole._replace(validated=validate))
            else:
                for frame in range(pfn, pfn + pages_of(level)):
                    self.write(frame, self.entry(frame)._replace(validated=validate))
        if t.rec is not None:
            t.rec(t, HardwareOp("PVALIDATE", pfn, code))
        return code
