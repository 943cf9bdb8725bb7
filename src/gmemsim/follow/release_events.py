"""Which events of a trace are the release of a guest_memfd file, and of which file.

`kvm_gmem_release` runs where the last reference of the file is dropped: in close, munmap, exit, or in a fault of a
vCPU that had looked the file up (`____fput`, which is task work). It invalidates up to -1ul; then the inode is evicted
(`truncate_inode_pages_final`, up to the last byte there can be). Only the second shows which file it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .probes import INODE, PROBES, arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .ftrace import KernelEvent

_MAX: Final = (1 << 64) - 1
#: What `kvm_gmem_release` shows before it truncates.
_INVALIDATION: Final = frozenset(
    {"inv_start", "inv_start_ret", "mmu_inv_start", "mmu_inv_end", "zap", "zap_ret", "tlb_flush",
     "arch_invalidate_range", "down_write", "up_write"}
)  # fmt: skip
#: Calls in which another invalidation lies, and whose beginning ends what went before.
_CALLS: Final = {
    "fallocate": "fallocate_ret",
    "memory_failure": "memory_failure_ret",
    "set_attributes_pre": "set_attributes_post",
}


class _Release:
    """Positions of the events of one release, and the mapping and inodes that it named."""

    def __init__(self, events: list[int]) -> None:
        self.events = list(events)
        self.mapping: int | None = None
        self.inodes: set[int] = set()
        self.truncates = False
        self.complete = False
        #: Its thread did something else before it was over.
        self.broken = False

    def is_of(self, mapping: int | None, ino: int | None) -> bool | None:
        """Whether it is of that file; None: nothing in it tells."""
        if self.inodes and ino is not None:
            return ino in self.inodes
        if self.mapping is None or mapping is None:
            return None
        return self.mapping == mapping


class Releases:
    """Releases in a trace, and what is to be done with an event of one.

    Attributes:
        ours: positions of events in a release of the followed file, or of one that can be.
        others: positions of events in a release of another file.
        unnamed: positions in `ours` of whole releases that can be of another file as well.
    """

    def __init__(
        self, events: Sequence[KernelEvent] = (), mapping: int | None = None, ino: int | None = None
    ) -> None:
        self.ours: set[int] = set()
        self.others: set[int] = set()
        self.unnamed: set[int] = set()
        finder = _Finder()
        for position, event in enumerate(events):
            kind = PROBES.get(event.name)
            if kind is not None:
                finder.take(position, event, kind)
        whole = not any(release.broken for release in finder.found)
        for release in finder.found:
            of = release.is_of(mapping, ino)
            if of is False:
                self.others.update(release.events)
                continue
            self.ours.update(release.events)
            if of is None and whole:
                self.unnamed.update(release.events)

    def named(self) -> Releases:
        """The same without those that can be of another file."""
        found = Releases()
        found.ours, found.others = self.ours - self.unnamed, self.others | self.unnamed
        return found


class _Finder:
    """One pass over the events; by thread the release that it is in, what can be the beginning of one, and the call."""

    def __init__(self) -> None:
        self.found: list[_Release] = []
        self._current: dict[str, _Release] = {}
        self._before: dict[str, list[int]] = {}
        self._inside: dict[str, str] = {}

    def take(self, position: int, event: KernelEvent, kind: str) -> None:
        """The next event."""
        thread = event.thread
        release = self._current.get(thread)
        if kind in _CALLS:
            self._inside[thread] = _CALLS[kind]
        elif thread in self._inside:
            if kind == self._inside[thread]:
                del self._inside[thread]
        elif release is not None and release.truncates:
            self._truncates(position, event, kind, release)
            return
        elif kind == "truncate" and _is_whole(event, "lstart", "lend"):
            if release is None:
                # Of the invalidation in front of it only the inner steps were probed.
                release = self._begin(thread, self._before.get(thread, []))
            release.events.append(position)
            release.truncates = True
            release.mapping = arguments(event.args).get("mapping")
            return
        elif kind == "inv_start" and _is_whole(event, "start", "end"):
            if release is not None:
                release.broken = True
            self._begin(thread, [position])
            return
        elif kind in _INVALIDATION:
            if release is not None:
                release.events.append(position)
            elif kind == "mmu_inv_start":
                self._before[thread] = [position]
            elif thread in self._before:
                self._before[thread].append(position)
            return
        if release is not None:
            release.broken = True
            del self._current[thread]
        self._before.pop(thread, None)

    def _begin(self, thread: str, events: list[int]) -> _Release:
        release = self._current[thread] = _Release(events)
        self.found.append(release)
        return release

    def _truncates(self, position: int, event: KernelEvent, kind: str, release: _Release) -> None:
        release.events.append(position)
        if kind == "page_cache_delete" and (inode := INODE.search(event.args)):
            release.inodes.add(int(inode[1], 16))
        elif kind == "truncate_ret":
            release.complete = True
            del self._current[event.thread]


def _is_whole(event: KernelEvent, start: str, end: str) -> bool:
    args = arguments(event.args)
    return args.get(start) == 0 and args.get(end, 0) & _MAX == _MAX
