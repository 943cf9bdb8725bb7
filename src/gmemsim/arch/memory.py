"""Physical memory: frames, who may use them, and what is in them.

A frame's content is one token and the key that it was written with. Reading with another key yields
`CIPHER`, as memory encryption does; nothing finer (cache lines, integrity tags) is modelled. Fresh frames
hold `STALE`: whatever the host had there before, which no guest and no user may ever see.
"""

from __future__ import annotations

from typing import Any, Final

from ..engine.observed import announces, by_key, changes, reads, whole
from ..engine.op import ALL
from .huge_contents import HUGE_AREA, HugeContents
from .range_set import RangeSet

STALE: Final = "stale"
ZERO: Final = "zero"
CIPHER: Final = "cipher"

#: Key of ordinary, unencrypted accesses.
HOST_KEY: Final = 0

#: Object label of every step that touches a frame: its content, or what hardware knows about it. One label
#: for both, because a single access depends on both (an RMP check and the load behind it are one step).
#: Ranges are pfns.
FRAMES: Final = "frame"

#: Object label of the frame allocator. Which frame one gets depends on who asked before, fresh or reused.
FREE_LIST: Final = "free_list"


def _frames(memory: PhysicalMemory, pfn: int, *_: Any, **__: Any) -> tuple[str, int, int]:
    """What a method about one frame touches."""
    return FRAMES, pfn, pfn + 1


def _run(memory: PhysicalMemory, pfn: int, pages: int, *_: Any, **__: Any) -> tuple[str, int, int]:
    """What a method about `pages` frames touches."""
    return FRAMES, pfn, pfn + pages


def _allocator(memory: PhysicalMemory, *_: Any) -> tuple[str, int, int]:
    return FREE_LIST, 0, ALL


def data(tag: str) -> str:
    """Token for bytes that somebody wrote on purpose."""
    return f"data:{tag}"


_BY_FRAME: Final = by_key(lambda memory: FRAMES)


@announces(
    in_use=_allocator,
    _free=whole(_allocator),
    _next=_allocator,
    _free_huge=whole(_allocator),
    _next_huge=_allocator,
    leaked=_BY_FRAME,
    value=_BY_FRAME,
    key=_BY_FRAME,
)
class PhysicalMemory:
    """Frame allocator and contents. Frames are numbered from 0x1000; freed ones are reused last-in first-out.

    Attributes:
        in_use: frames that somebody has.
        value: token per small frame that was written since it was allocated; a missing entry reads as `STALE`.
        zero: small frames that were zeroed by an ordinary write, which are most, and in `value` no more.
        key: key of the last write where it is not `HOST_KEY`.
        huge: contents of the frames that huge pages take.
        leaked: frames that were taken out of use for good.
        hardware: tables that the machine has once, whatever the number of VMs (RMP, PAMT, security
            processor), by name; the arch actors of all VMs find each other's state here.
    """

    __slots__ = (
        "_free",
        "_free_huge",
        "_next",
        "_next_huge",
        "hardware",
        "huge",
        "in_use",
        "key",
        "leaked",
        "limit",
        "value",
        "zero",
    )

    def __init__(self, limit: int = 1 << 40) -> None:
        self.value: dict[int, str] = {}
        self.zero = RangeSet(label=FRAMES)
        self.key: dict[int, int] = {}
        self.huge = HugeContents((STALE, HOST_KEY), FRAMES)
        self.leaked: set[int] = set()
        self.hardware: dict[str, Any] = {}
        self.in_use = 0
        self.limit = limit
        self._free: list[int] = []
        self._next = 0x1000
        self._free_huge: dict[int, list[int]] = {}
        # Aligned for every order in use.
        self._next_huge = HUGE_AREA

    @changes(_allocator)
    def allocate(self) -> int | None:
        """A frame with stale content, or None when memory is used up."""
        if self.in_use >= self.limit:
            return None
        self.in_use += 1
        if self._free:
            return self._free.pop()
        pfn = self._next
        self._next = pfn + 1
        return pfn

    @changes(lambda memory, pfn: [_allocator(memory), _frames(memory, pfn)])
    def free(self, pfn: int) -> None:
        """Give a frame back; its content becomes stale host data for the next user."""
        self.in_use -= 1
        if self.value.pop(pfn, None) is None:
            self.zero.discard(pfn)
        self.key.pop(pfn, None)
        if pfn in self.leaked:
            return
        self._free.append(pfn)

    @changes(_allocator)
    def take_off(self, pfn: int) -> bool:
        """Take a free small frame out of use for good (`take_page_off_buddy`): False if somebody has it."""
        if pfn not in self._free:
            return False
        self._free.remove(pfn)
        self.leaked.add(pfn)
        return True

    @changes(_allocator)
    def allocate_huge(self, order: int) -> int | None:
        """The first of 2**order contiguous, aligned frames with stale content, or None when memory is used up."""
        pages = 1 << order
        if self.in_use + pages > self.limit:
            return None
        self.in_use += pages
        free = self._free_huge.get(order)
        if free:
            return free.pop()
        pfn = (self._next_huge + pages - 1) >> order << order
        self._next_huge = pfn + pages
        return pfn

    @changes(lambda memory, pfn, order: [_allocator(memory), _run(memory, pfn, 1 << order)])
    def free_huge(self, pfn: int, order: int) -> None:
        """Give all frames of an `allocate_huge` back at once; a leaked one among them takes the others along."""
        frames = range(pfn, pfn + (1 << order))
        self.in_use -= len(frames)
        self.huge.forget(pfn, len(frames))
        if not any(frame in frames for frame in self.leaked):
            self._free_huge.setdefault(order, []).append(pfn)

    def leak(self, pfn: int) -> None:
        """Never hand this frame out again (KVM does so when it cannot get a frame back from firmware)."""
        self.leaked.add(pfn)

    @reads(_frames)
    def read(self, pfn: int, key: int = HOST_KEY) -> str:
        """What an access with `key` sees."""
        if pfn >= HUGE_AREA:
            value, written = self.huge.read(pfn)
            return value if written == key else CIPHER
        if (key != HOST_KEY or self.key) and self.key.get(pfn, HOST_KEY) != key:
            return CIPHER
        return self._small(pfn)

    @reads(_frames)
    def content(self, pfn: int) -> str:
        """What is in the frame, whatever the key."""
        return self.huge.read(pfn)[0] if pfn >= HUGE_AREA else self._small(pfn)

    def _small(self, pfn: int) -> str:
        found = self.value.get(pfn)
        if found is not None:
            return found
        return ZERO if pfn in self.zero else STALE

    @changes(_frames)
    def write(self, pfn: int, value: str, key: int = HOST_KEY) -> None:
        """Replace the content of the frame."""
        if pfn >= HUGE_AREA:
            self.huge.fill(pfn, 1, (value, key))
            return
        if value == ZERO and key == HOST_KEY:
            self.value.pop(pfn, None)
            self.zero.add(pfn)
        else:
            if pfn not in self.value:
                self.zero.discard(pfn)
            self.value[pfn] = value
        if key != HOST_KEY:
            self.key[pfn] = key
        elif self.key:
            self.key.pop(pfn, None)

    @changes(_run)
    def fill(self, pfn: int, pages: int, value: str, key: int = HOST_KEY) -> None:
        """Replace the content of `pages` frames, of one huge page if they are a huge page's."""
        if pfn >= HUGE_AREA:
            self.huge.fill(pfn, pages, (value, key))
            return
        for frame in range(pfn, pfn + pages):
            self.write(frame, value, key)

    @reads(_run)
    def stale(self, pfn: int, pages: int) -> bool:
        """Whether one of the frames still holds what the host had there before."""
        if pfn >= HUGE_AREA:
            return any(what[0] == STALE for _, _, what in self.huge.ranges(pfn, pages))
        return any(self._small(frame) == STALE for frame in range(pfn, pfn + pages))
