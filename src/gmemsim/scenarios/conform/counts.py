"""What `event_count` asks for: events of the log, by page of a file."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from ...audit import kvm_events as kvm
from ...audit.inplace_events import MakeShared

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...actors.inode import GmemInode
    from ...actors.vm import World
    from ...engine.task import Task

#: A page: its inode's label and its index.
Page = tuple[str, int]


class EventCounts:
    """Counts since the setup. Events name frames; a frame is a page of the file it was last added to."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._counts: Counter[tuple[str, Page]] = Counter()
        self._pages: dict[int, Page] = {}
        self._asked: dict[Task, int] = {}

    def of(self, event: str, inode: GmemInode, index: int) -> int:
        """How often it happened to the page."""
        return self._counts[event, (inode.label, index)]

    def before(self, rec: Callable[[Task, Any], None] | None) -> Callable[[Task, Any], None]:
        """What counts each event and passes it on."""

        def both(task: Task, event: Any) -> None:
            self._rec(task, event)
            if rec is not None:
                rec(task, event)

        return both

    def _rec(self, task: Task, event: Any) -> None:
        match event:
            case kvm.PageCacheAdd():
                self._place(event.pfn)
            case kvm.Prepare() | kvm.MakePrivate():
                self._asked[task] = event.pfn
                self._count("arch_prepare_called", event.pfn, 1)
            case kvm.PrepareRet() | kvm.MakePrivateRet() if event.did:
                self._count("rmp_make_private", self._asked[task], 1)
            case MakeShared() | kvm.ArchReclaim():
                self._count("arch_make_shared", event.pfn, event.pages)
            case kvm.ArchInvalidate():
                self._count("arch_make_shared", event.start, event.end - event.start)
            case kvm.Clear():
                self._count("folio_cleared", event.pfn, event.pages)

    def _count(self, name: str, first: int, pages: int) -> None:
        for pfn in range(first, first + pages):
            page = self._pages.get(pfn) or self._place(pfn)
            if page is not None:
                self._counts[name, page] += 1

    def _place(self, pfn: int) -> Page | None:
        """Look the frame up in the files that there are, and remember where it is."""
        for inode in self._world.inodes.values():
            for index, folio in inode.folios.items():
                if folio.pfn <= pfn < folio.pfn + folio.pages:
                    found = inode.label, index + pfn - folio.pfn
                    self._pages[pfn] = found
                    return found
        return None
