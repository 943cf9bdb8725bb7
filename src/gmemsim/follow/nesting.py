"""How events of one thread lie within each other, whatever the version: what a function calls first, what returns.

Some probes are on functions that the model does not have as a step: the vendor's hook inside the arch hook, the wait
for a folio lock. They tell nothing about a version, but a trace in which they are doubled or missing is no kernel's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .result import Rejection, Window

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from .ftrace import KernelEvent

#: What is the next event of the thread, where both are recorded: kvm_arch_gmem_prepare and kvm_mmu_unmap_gfn_range do
#: nothing else before, and who is in io_schedule does nothing at all. Held in each of the recordings.
_NEXT: Final = {"arch_prepare": "sev_prepare", "unmap_gfn": "unmap_gfn2", "io_sched": "io_sched_ret"}
#: What is only ever there.
_ONLY: Final = {"sev_prepare": "arch_prepare", "io_sched_ret": "io_sched"}
#: A wait, and all that its thread does meanwhile.
_WAIT: Final = "folio_lock_slow"
_ASLEEP: Final = frozenset({"io_sched", "io_sched_ret", "folio_lock_slow_ret"})
#: guest_memfd's invalidation, in another file than what it calls, so that no compiler leaves a call of it out.
_INVALIDATIONS: Final = frozenset({"inv_begin", "inv_begin2", "inv_start", "inv_start2"})
_BEGINNINGS: Final = frozenset({"mmu_inv_begin", "mmu_inv_start"})
#: Events of a thread that are tried as a window.
_MOST: Final = 64
#: Events of interrupts and of the scheduler, which fall between any two.
_BETWEEN: Final = frozenset({"sched_switch", "contention_begin", "contention_end", "wake_bit"})

#: Events that are not in the model and are looked at here.
NESTED: Final = frozenset(
    {"sev_prepare", "unmap_gfn", "io_sched", "io_sched_ret", "folio_lock_slow", "folio_lock_slow_ret"}
)


class _Nesting:
    """The events of all threads so far."""

    def __init__(self, recorded: Set[str]) -> None:
        self.following = {name: then for name, then in _NEXT.items() if name in recorded and then in recorded}
        self.only = {name: before for name, before in _ONLY.items() if before in self.following}
        self.called = {f"{name}_ret": name for name in recorded if f"{name}_ret" in recorded}
        self.unmaps = "unmap_gfn" in recorded
        self.last: dict[str, str] = {}
        self.depth: dict[tuple[str, str], int] = {}
        #: Threads that did something beside waiting.
        self.awake: set[str] = set()

    def flaw(self, thread: str, name: str) -> str:
        """Why the event cannot be the thread's next, or an empty string."""
        if name not in _ASLEEP:
            if self.depth.get((thread, _WAIT)):
                return f"{thread} is in {_WAIT}"
            self.awake.add(thread)
        before = self.last.get(thread)
        self.last[thread] = name
        function = self.called.get(name, name)
        depth = self.depth.get((thread, function))
        if function != name:
            # Of a function that the thread entered before the trace began only the return shows.
            if depth == 0 or (depth is None and function == _WAIT and thread in self.awake):
                return f"{thread} is not in {function}"
            self.depth[thread, function] = max(0, (depth or 0) - 1)
        elif f"{name}_ret" in self.called:
            self.depth[thread, name] = (depth or 0) + 1
        if before is None:
            return ""
        if before in self.following and self.following[before] != name:
            return f"{self.following[before]} is what follows {before}"
        if name in self.only and before != self.only[name]:
            return f"it follows {before}; it can follow {self.only[name]} only"
        if name == "unmap_gfn2" and self.unmaps and before in _BEGINNINGS:
            for invalidation in _INVALIDATIONS:
                if self.depth.get((thread, invalidation)):
                    return f"in {invalidation} it follows unmap_gfn"
        return ""


def first_flaw(events: Sequence[KernelEvent], recorded: Set[str]) -> Rejection | None:
    """The first event that cannot be where it is in its thread; `recorded` are the events of the trace by name."""
    nesting = _Nesting(recorded)
    for position, event in enumerate(events):
        if event.name not in _BETWEEN:
            reason = nesting.flaw(event.thread, event.name)
            if reason:
                shown = f"{event.name}: {event.args}"
                window = _window(events[: position + 1], recorded, reason)
                return Rejection(position, event.line, shown, reason, event.thread, window=window)
    return None


def _window(events: Sequence[KernelEvent], recorded: Set[str], reason: str) -> Window:
    """As few of the thread's last events as cannot follow each other for that reason, or the last `_MOST`."""
    thread = events[-1].thread
    mine = [event for event in events if event.thread == thread and event.name not in _BETWEEN][-_MOST:]
    least = next((n for n in range(1, len(mine)) if _flawed_at_end(mine[-n:], recorded, reason)), len(mine))
    shown = tuple((event.line, thread, f"{event.name}: {event.args}") for event in mine[-least:])
    return Window(shown[0][0], shown[-1][0], 1, (thread,), shown, whole=least == _MOST)


def _flawed_at_end(events: Sequence[KernelEvent], recorded: Set[str], reason: str) -> bool:
    nesting = _Nesting(recorded)
    found = [nesting.flaw(event.thread, event.name) for event in events]
    return found[-1] == reason and not any(found[:-1])
