"""Physical memory: frames, who may use them, and what is in them.

A frame's content is one token and the key that it was written with. Reading with another key yields
`CIPHER`, as memory encryption does; nothing finer (cache lines, integrity tags) is modelled. Fresh frames
hold `STALE`: whatever the host had there before, which no guest and no user may ever see.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["CIPHER", "FRAMES", "FREE_LIST", "HOST_KEY", "STALE", "ZERO", "PhysicalMemory", "data"]

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


def data(tag: str) -> str:
    """Token for bytes that somebody wrote on purpose."""
    return f"data:{tag}"


class PhysicalMemory:
    """Frame allocator and contents. Frames are numbered from 0x1000; freed ones are reused last-in first-out.

    Attributes:
        value: token per frame that was written since it was allocated; a missing entry reads as `STALE`.
        key: key of the last write where it is not `HOST_KEY`.
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
        "in_use",
        "key",
        "leaked",
        "limit",
        "value",
    )

    def __init__(self, limit: int = 1 << 40) -> None:
        self.value: dict[int, str] = {}
        self.key: dict[int, int] = {}
        self.leaked: set[int] = set()
        self.hardware: dict[str, Any] = {}
        self.in_use = 0
        self.limit = limit
        self._free: list[int] = []
        self._next = 0x1000
        self._free_huge: dict[int, list[int]] = {}
        # Far above the small frames, so that the two never meet; aligned for every order in use.
        self._next_huge = 1 << 36

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

    def free(self, pfn: int) -> None:
        """Give a frame back; its content becomes stale host data for the next user."""
        self.in_use -= 1
        self.value.pop(pfn, None)
        self.key.pop(pfn, None)
        if pfn in self.leaked:
            return
        self._free.append(pfn)

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

    def free_huge(self, pfn: int, order: int) -> None:
        """Give all frames of an `allocate_huge` back at once; a leaked one among them takes the others along."""
        frames = range(pfn, pfn + (1 << order))
        self.in_use -= len(frames)
        for frame in frames:
            self.value.pop(frame, None)
            self.key.pop(frame, None)
        if self.leaked.isdisjoint(frames):
            self._free_huge.setdefault(order, []).append(pfn)

    def leak(self, pfn: int) -> None:
        """Never hand this frame out again (KVM does so when it cannot get a frame back from firmware)."""
        self.leaked.add(pfn)

    def read(self, pfn: int, key: int = HOST_KEY) -> str:
        """What an access with `key` sees."""
        if (key != HOST_KEY or self.key) and self.key.get(pfn, HOST_KEY) != key:
            return CIPHER
        return self.value.get(pfn, STALE)

    def write(self, pfn: int, value: str, key: int = HOST_KEY) -> None:
        """Replace the content of the frame."""
        self.value[pfn] = value
        if key != HOST_KEY:
            self.key[pfn] = key
        elif self.key:
            self.key.pop(pfn, None)
