"""What a thread's own future in the trace says about the choices it makes now.

A silent step (a look-up, a sequence check, a try-lock) happened somewhere between two events of its thread, and its
outcome shows only in later events of the same thread. `Lookahead` answers "which outcome must this step have had",
so that the follower can place the step at a moment when the model gives that outcome.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import attrs

from ..actors.errno import EFAULT
from ..actors.fault import RetPf

if TYPE_CHECKING:
    from .trace import Step, Trace


@attrs.frozen
class FaultPlan:
    """How one attempt of the fault handler ended in the trace.

    Attributes:
        get_pfn: guest_memfd was asked for the page.
        mapped: the attempt reached `kvm_tdp_mmu_map`.
        map_ret: what that returned.
        ret: what the handler returned; None when the trace ends before.
        faultin_ret: what `kvm_mmu_faultin_pfn` returned; None if not probed.
        ends_before: invalidations that had ended when the SPTE was installed (None: unknown).
    """

    get_pfn: bool
    mapped: bool
    map_ret: int | None
    ret: int | None
    faultin_ret: int | None
    ends_before: int | None

    @property
    def early_retry(self) -> bool:
        return (
            self.ret == RetPf.RETRY
            and not self.get_pfn
            and self.faultin_ret in (None, RetPf.RETRY)
            and not self.mapped
        )

    @property
    def late_retry(self) -> bool:
        return self.ret == RetPf.RETRY and not self.mapped and not self.early_retry

    @property
    def memory_fault(self) -> bool:
        return self.ret == EFAULT and not self.get_pfn

    @property
    def file_gone(self) -> bool:
        """guest_memfd was asked and had no file any more."""
        return self.ret == EFAULT and self.get_pfn


class Lookahead:
    """Position of a thread in its own steps, with the questions that the follower asks."""

    __slots__ = ("_ends", "_plan", "_plan_until", "cursor", "probed", "steps")

    def __init__(self, trace: Trace, thread: str, ends: list[int]) -> None:
        self.steps = trace.threads.get(thread, [])
        self.probed = trace.probed
        self.cursor = 0
        self._ends = ends
        self._plan: FaultPlan | None = None
        self._plan_until = -1

    def next(self) -> Step | None:
        """The thread's next event, hints included."""
        return self.steps[self.cursor] if self.cursor < len(self.steps) else None

    def next_event(self) -> Step | None:
        """The thread's next event that is to be matched."""
        for number in range(self.cursor, len(self.steps)):
            step = self.steps[number]
            if step.name not in ("io_sched", "folio_lock_slow"):
                return step
        return None

    def waits_for_folio(self) -> bool:
        """Whether the trace shows the thread asleep on a folio lock next."""
        step = self.next()
        return step is not None and step.name in ("io_sched", "folio_lock_slow")

    def plan(self) -> FaultPlan:
        """The attempt of the fault handler that the thread is in or about to begin."""
        if self._plan is None or self.cursor > self._plan_until:
            self._plan, self._plan_until = self._make_plan(self.cursor)
        return self._plan

    def plan_from(self, number: int) -> FaultPlan:
        """The attempt that begins with the thread's step of this number, or that the thread is in."""
        return self.plan() if number <= self.cursor else self._make_plan(number)[0]

    def _make_plan(self, first: int) -> tuple[FaultPlan, int]:
        get_pfn = mapped = False
        map_ret: int | None = None
        faultin_ret: int | None = None
        ret: int | None = None
        ends: int | None = None
        begun = False
        number = first
        for number in range(first, len(self.steps)):
            step = self.steps[number]
            name = step.name
            if name == "tdp_fault":
                begun = True
            elif name == "get_pfn":
                get_pfn = True
            elif name == "faultin_ret":
                faultin_ret = _int(step)
            elif name == "map":
                mapped = True
                if "mmu_inv_end" in self.probed:
                    ends = bisect_left(self._ends, step.position)
            elif name == "map_ret":
                map_ret = _int(step)
            elif name == "tdp_fault_ret":
                ret = _int(step)
                break
            elif name in ("page_fault", "pre_fault") and begun:
                break
        return FaultPlan(get_pfn, mapped, map_ret, ret, faultin_ret, ends), number

    def lookup(self, create: bool) -> int | None:
        """Outcome of the page-cache look-up that comes next: a pfn, -2 for a miss, None if the trace does not say."""
        for number in range(self.cursor, len(self.steps)):
            step = self.steps[number]
            if step.name == "filemap_add":
                return -2
            if step.name == "filemap_get_ret":
                return _int(step)
            if step.name in ("io_sched", "folio_lock_slow"):
                continue
            # A `folio_unlock`: it was truncated while we waited for its lock, and the look-up found it all the same.
            return None
        return None

    def add_exists(self) -> bool | None:
        """Whether the coming insertion loses against another one (-EEXIST)."""
        step = self.next_event()
        if step is None:
            return None
        if step.name == "page_cache_add":
            return False
        if step.name == "filemap_add_ret":
            return _int(step) != 0
        return None

    def deletions(self) -> list[int]:
        """File indices that the thread removes from the page cache in its present truncation, in order."""
        found = []
        for number in range(self.cursor, len(self.steps)):
            step = self.steps[number]
            if step.name == "page_cache_delete":
                found.append(_int(step))
            elif step.name in ("truncate_ret", "fallocate_ret"):
                break
        return found

    def batch_ahead(self) -> list[int]:
        """As `batch`, but seen from before the unmapping of its folios."""
        for number in range(self.cursor, len(self.steps)):
            if self.steps[number].name == "page_cache_delete":
                return self._run_of_deletions(number)
            if self.steps[number].name == "truncate_ret":
                break
        return []

    def _run_of_deletions(self, number: int) -> list[int]:
        found = []
        while number < len(self.steps) and self.steps[number].name == "page_cache_delete":
            found.append(_int(self.steps[number]))
            number += 1
        return found

    def batch(self) -> list[int]:
        """Indices of the batch that the thread removes next: a run of deletions before anything is unlocked."""
        found = []
        for number in range(self.cursor, len(self.steps)):
            step = self.steps[number]
            if step.name == "page_cache_delete":
                found.append(_int(step))
            elif step.name in (
                "folio_unlock",
                "filemap_get",
                "truncate_ret",
                "io_sched",
                "folio_lock_slow",
            ) or (found and step.name in ("arch_invalidate", "arch_reclaim")):
                break
        return found

    def flush_is_last(self) -> bool:
        """Whether the next flush is the one after the zap, not one inside it."""
        for number in range(self.cursor, len(self.steps)):
            name = self.steps[number].name
            if name != "tlb_flush":
                return name != "zap_ret"
        return True

    def name_is_next(self, *names: str) -> bool:
        """Whether the thread's next event is one of these."""
        step = self.next_event()
        return step is not None and step.name in names


def _int(step: Step) -> int:
    value = step.observation.a
    assert isinstance(value, int)
    return value
