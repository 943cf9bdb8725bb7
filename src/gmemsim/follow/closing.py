"""Which events of a trace are the release of a guest_memfd file, and of which file.

`kvm_gmem_release` runs where the last reference of the file is dropped: in close, munmap, exit, or in a fault of a
vCPU that had looked the file up (`____fput`, which is task work). It invalidates up to -1ul; then the inode is evicted
(`truncate_inode_pages_final`, up to the last byte there can be). Only the second shows which file it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .probes import INODE, PROBES, arguments

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .ftrace import KernelEvent

__all__ = ["Releases"]

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
    """Events of one release: the thread's events from `first` on, the `mapping` and inodes that it named."""

    def __init__(self, first: int) -> None:
        self.events = [first]
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
        found = _find(events)
        whole = not any(release.broken for release in found)
        for release in found:
            of = release.is_of(mapping, ino)
            if of is False:
                self.others.update(release.events)
                continue
            self.ours.update(release.events)
            if of is None and release.complete and whole:
                self.unnamed.update(release.events)

    def named(self) -> Releases:
        """The same without those that can be of another file."""
        found = Releases()
        found.ours, found.others = self.ours - self.unnamed, self.others | self.unnamed
        return found


def _find(events: Iterable[KernelEvent]) -> list[_Release]:
    found: list[_Release] = []
    #: By thread: the release that it is in; events that can be the beginning of one; the call that it is in.
    current: dict[str, _Release] = {}
    before: dict[str, list[int]] = {}
    inside: dict[str, str] = {}
    for position, event in enumerate(events):
        kind = PROBES.get(event.name)
        if kind is None:
            continue
        thread = event.thread
        release = current.get(thread)
        if kind in _CALLS:
            inside[thread] = _CALLS[kind]
        elif kind == inside.get(thread):
            del inside[thread]
        elif thread in inside:
            pass
        elif release is not None and release.truncates:
            release.events.append(position)
            if kind == "page_cache_delete" and (inode := INODE.search(event.args)):
                release.inodes.add(int(inode[1], 16))
            elif kind == "truncate_ret":
                release.complete = True
                del current[thread]
            continue
        elif kind == "truncate" and _is_whole(event, "lstart", "lend"):
            if release is None:
                # Of the invalidation in front of it only the inner steps were probed.
                release = _Release(position)
                release.events = [*before.get(thread, ()), position]
                found.append(release)
            else:
                release.events.append(position)
            release.truncates = True
            release.mapping = arguments(event.args).get("mapping")
            current[thread] = release
            continue
        elif kind == "inv_start" and _is_whole(event, "start", "end"):
            if release is not None:
                release.broken = True
            current[thread] = release = _Release(position)
            found.append(release)
            continue
        elif kind in _INVALIDATION:
            if release is not None:
                release.events.append(position)
            elif kind == "mmu_inv_start":
                before[thread] = [position]
            elif thread in before:
                before[thread].append(position)
            continue
        if release is not None:
            release.broken = True
            del current[thread]
        before.pop(thread, None)
    return found


def _is_whole(event: KernelEvent, start: str, end: str) -> bool:
    args = arguments(event.args)
    return args.get(start) == 0 and args.get(end, 0) & _MAX == _MAX
