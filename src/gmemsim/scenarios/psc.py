"""SNP's page state change: a guest buffer of entries, as KVM works it off (arch.md 1.3, "Page State Change").

KVM changes no RMP state: it joins entries to ranges, lets the VMM convert each, and marks what is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..actors.stage2 import PG_LEVEL_2M, PG_LEVEL_4K, level_pages
from ..audit.inplace_events import Hypercall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..engine.task import Task

#: Entries that a buffer holds (VMGEXIT_PSC_MAX_COUNT).
PSC_MAX_COUNT: Final = 253


class PscEntry:
    """One entry; `cur_page` of its pages are done."""

    __slots__ = ("cur_page", "gfn", "level")

    def __init__(self, gfn: int, level: int, cur_page: int = 0) -> None:
        self.gfn = gfn
        self.level = level
        self.cur_page = cur_page

    @property
    def pages(self) -> int:
        return level_pages(self.level)


class PscBuffer:
    """A buffer whose entries all ask for one kind.

    Attributes:
        cur: first entry that is not done; what the guest looks at when the exit comes back.
    """

    def __init__(self, entries: list[PscEntry], private: bool) -> None:
        self.entries = entries
        self.private = private
        self.cur = 0

    @classmethod
    def fill(cls, start: int, end: int, private: bool, level: int, done: int = 0) -> list[PscBuffer]:
        """As many buffers as the range needs, entries of `level` where it has aligned pages of that size.

        `done` pages of the first entry are marked as done before: a guest may come back with such a buffer.
        """
        entries = []
        gfn = start
        while gfn < end:
            large = level == PG_LEVEL_2M and gfn % level_pages(PG_LEVEL_2M) == 0
            size = PG_LEVEL_2M if large and gfn + level_pages(PG_LEVEL_2M) <= end else PG_LEVEL_4K
            entries.append(PscEntry(gfn, size))
            gfn += level_pages(size)
        if entries:
            entries[0].cur_page = min(done, entries[0].pages)
        return [
            cls(entries[first : first + PSC_MAX_COUNT], private)
            for first in range(0, len(entries), PSC_MAX_COUNT)
        ]

    def next_range(self) -> tuple[int, int, int]:
        """(entries in flight, gfn, pages) of the next exit; no entries: all is done.

        Neighbours of one size are joined. What is left of a 2 MiB entry that was begun goes alone, in 4 KiB pages.
        """
        while (
            self.cur < len(self.entries) and self.entries[self.cur].cur_page >= self.entries[self.cur].pages
        ):
            self.cur += 1
        if self.cur == len(self.entries):
            return 0, 0, 0
        entry = self.entries[self.cur]
        gfn, pages = entry.gfn + entry.cur_page, entry.pages - entry.cur_page
        huge = entry.level > PG_LEVEL_4K and not entry.cur_page
        inflight = 1
        for other in self.entries[self.cur + 1 :]:
            if other.gfn != gfn + pages or other.cur_page or (other.level > PG_LEVEL_4K) != huge:
                break
            inflight += 1
            pages += other.pages
        return inflight, gfn, pages

    async def snp_begin_psc(self, t: Task, exit_to_vmm: Callable[[int, int], Awaitable[int]]) -> int:
        """Range after range until all is done: 0, or what the VMM answered; `cur` says how far it came."""
        while True:
            inflight, gfn, pages = self.next_range()
            if not inflight:
                return 0
            if t.rec is not None:
                t.rec(t, Hypercall(gfn, pages, self.private))
            ret = await exit_to_vmm(gfn, gfn + pages)
            if ret:
                return ret
            for entry in self.entries[self.cur : self.cur + inflight]:
                entry.cur_page = entry.pages
            self.cur += inflight
