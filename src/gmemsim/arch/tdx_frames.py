"""Page ownership in the TDX module: the PAMT (arch.md 2.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..audit.kvm_events import HardwareOp
from ..engine.observed import announces, by_key, changes, reads
from .memory import FRAMES
from .sept import PAGES_2M
from .tdx_state import Pamt, TdxStatus, pages_of

if TYPE_CHECKING:
    from ..engine.task import Task
    from .choices import TdxChoices
    from .costs import CostTable
    from .memory import PhysicalMemory
    from .tdx_state import Td

#: Object of the 2M pages that TDs own, by region; those of 4K are part of `FRAMES`.
LARGE_FRAMES: Final = "frame.2m"


def _region(pfn: int) -> tuple[str, int, int]:
    return LARGE_FRAMES, pfn >> 9, (pfn >> 9) + 1


def _ownership(frames: TdxFrames, pfn: int, owner: object, level: int) -> list[tuple[str, int, int]]:
    return [(FRAMES, pfn, pfn + pages_of(level)), *([_region(pfn)] if level > 1 else [])]


def _owned(frames: TdxFrames, pfn: int, level: int = 1) -> list[tuple[str, int, int]]:
    return [(FRAMES, pfn, pfn + pages_of(level)), _region(pfn)]


@announces(
    pamt=by_key(lambda frames: FRAMES),
    small=by_key(lambda frames: FRAMES, lambda region: (region << 9, region + 1 << 9)),
    poisoned=by_key(lambda frames: FRAMES),
    unflushed=by_key(lambda frames: FRAMES),
)
class TdxFrames:
    """The module of one machine: the frames that it owns.

    Attributes:
        pamt: owned frames; a 2M page has one entry, at its first frame. `owner` asks for any frame.
        small: per 2M region of host memory, how many frames are owned at 4K (what Dynamic PAMT needs pages for).
        tds: by VM identity.
        poisoned: frames with a line that the host wrote behind the TD's back.
        unflushed: frames that no TD owns any more and whose lines are not written back: from TDH.MEM.PAGE.REMOVE until
            TDH.PHYMEM.PAGE.WBINVD. Given to anybody in between, they are overwritten when the caches get to it.
        busy: how often each call answered OPERAND_BUSY.
    """

    def __init__(self, memory: PhysicalMemory, choices: TdxChoices, costs: CostTable) -> None:
        self.memory = memory
        self.choices = choices
        self.costs = costs
        self.pamt: dict[int, Pamt] = {}
        self.small: dict[int, int] = {}
        self.tds: dict[int, Td] = {}
        self.poisoned: set[int] = set()
        self.unflushed: set[int] = set()
        self.busy: dict[str, int] = {}

    @reads(_owned)
    def owner(self, pfn: int) -> Pamt | None:
        """Whose frame it is, and at which gfn; None: the host's. No trap."""
        found = self.pamt.get(pfn)
        if found is not None:
            return found
        head = pfn & ~(PAGES_2M - 1)
        large = self.pamt.get(head)
        return None if large is None or large.level == 1 else Pamt(large.td, large.gfn + pfn - head, 2)

    @changes(_ownership)
    def _own(self, pfn: int, owner: Pamt | None, level: int) -> None:
        """Record who owns the page at `pfn`."""
        region = pfn >> 9
        if owner is None:
            del self.pamt[pfn]
        else:
            self.pamt[pfn] = owner
        if level == 1:
            count = self.small.get(region, 0) + (-1 if owner is None else 1)
            if count:
                self.small[region] = count
            else:
                self.small.pop(region, None)

    @reads(_owned)
    def _taken(self, pfn: int, level: int) -> bool:
        """Whether the page, or any part of it, has an owner."""
        if level == 1:
            return self.owner(pfn) is not None
        return pfn in self.pamt or pfn >> 9 in self.small

    def _done(self, t: Task, name: str, pfn: int, code: int) -> int:
        if code == TdxStatus.OPERAND_BUSY:
            self.busy[name] = self.busy.get(name, 0) + 1
        if t.rec is not None:
            t.rec(t, HardwareOp(name, pfn, code))
        return code

    async def page_wbinvd(self, t: Task, pfn: int, level: int = 1) -> int:
        """TDH.PHYMEM.PAGE.WBINVD of each frame of a page that no TD owns; fault point `tdx_wbinvd`."""
        pages = pages_of(level)
        await t.spend(self.costs.wbinvd * pages)
        owned = self.owner(pfn) is not None
        failed = owned or t.fault("tdx_wbinvd")
        if not failed:
            self.unflushed.difference_update(range(pfn, pfn + pages))
        code = TdxStatus.PAGE_METADATA_INCORRECT if failed else TdxStatus.SUCCESS
        return self._done(t, "TDH.PHYMEM.PAGE.WBINVD", pfn, code)
