"""What happened before or beside a recording and does not show in it, where that can explain what was refused.

Such a trace is undecided: it can be one of the version, and the recording does not say.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ..actors.fault import RetPf
from .calls import calls_of

if TYPE_CHECKING:
    from .result import FollowResult
    from .trace import Trace

LATE: Final = (
    "the recording has no start line, and what it does not show from before its first event can explain the event that "
    "was refused"
)
DISORDER: Final = "the text is not in the order in which things happened"
_SLOTS: Final = (
    "the file's slot was made or deleted while it was recorded, which does not show: record set_region and "
    "set_region_ret, too"
)
_FILES: Final = (
    "another guest_memfd file is in use in it, and what is done to that one can explain the event that was refused: "
    "record one file at a time"
)
#: What depends on invalidations, on slots and on what is mapped: on others' calls as much as on the thread's own.
_SHARED: Final = frozenset(
    {"faultin_ret", "tdp_fault_ret", "map", "map_ret", "get_pfn", "inv_start_ret", "mmu_inv_start", "mmu_inv_end",
     "zap_ret", "tlb_flush", "arch_invalidate_range", "set_region_ret", "set_attributes_pre", "set_attributes_post"}
)  # fmt: skip
#: An error, which can come of a page or a file that somebody made so before.
_FAILED: Final = re.compile(r"(?:get_pfn_ret|user_fault_ret)\((?:-|SIGBUS|0x)")
#: Events of calls that change what others see.
_CHANGES: Final = frozenset(
    {"inv_start_ret", "mmu_inv_start", "mmu_inv_end", "zap", "zap_ret", "tlb_flush", "truncate", "truncate_ret",
     "page_cache_add", "page_cache_delete", "folio_unlock", "set_attributes_pre", "set_attributes_post",
     "fallocate_ret", "memory_failure_ret", "set_region_ret", "arch_invalidate_range"}
)  # fmt: skip


def not_shown(trace: Trace, result: FollowResult) -> str:
    """Why the rejection says nothing; an empty string if it stands."""
    at = result.rejected_at
    assert at is not None
    shown = at.event.partition(": ")[2]
    shared = shown.partition("(")[0] in _SHARED
    if "set_region" not in trace.probed and _slots_changed(trace):
        return _SLOTS
    if not trace.alone and shared:
        return _FILES
    if trace.begins:
        return ""
    window = at.window
    assert window is not None  # see LATE
    if shared or _FAILED.match(shown) or at.index in trace.releases.ours:
        return LATE
    if len(window.threads) > 1 and _began_before(trace) >= window.first:
        return LATE
    return ""


def _slots_changed(trace: Trace) -> bool:
    """Whether there was no slot for a while: a fault on the file's memory found none, or the hook of its end shows."""
    ours = range(trace.data_gfn, trace.data_gfn + trace.pages)
    for thread, steps in trace.threads.items():
        inside: set[int] = set()
        for call in calls_of(trace, thread)[0]:
            inside.update(range(call.first, call.last + 1))
            names = {step.name for step in steps[call.first : call.last + 1]}
            found = {s.observation.a for s in steps[call.first : call.last + 1] if s.name == "map_ret"}
            faults = call.kind in ("fault", "prefault") and call.args[0] in ours
            if faults and "get_pfn" not in names and RetPf.EMULATE in found:
                return True
        invalidates = False
        for step in steps:
            # A deletion calls the hook by itself, an invalidation between its start and its return.
            invalidates = step.name == "inv_start" or (invalidates and step.name != "inv_start_ret")
            if step.name == "arch_invalidate_range" and not invalidates and step.number not in inside:
                return True
    return False


def _began_before(trace: Trace) -> int:
    """Line of the last event of a call that had begun before the recording and changes what others see; 0: none."""
    skipped = ((steps, calls_of(trace, thread)[1]) for thread, steps in trace.threads.items())
    return max((s.line for steps, count in skipped for s in steps[:count] if s.name in _CHANGES), default=0)
