"""Pages that were in the file before the trace began, read off their first event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from .trace import Trace

__all__ = ["InitialPage", "initial_pages", "unseen_pages"]

#: Pages of a file that are thought to be there although nothing shows them, at most.
_MOST: Final = 4096


class InitialPage(NamedTuple):
    """Frame number in the trace, and whether the page was already zeroed."""

    pfn: int
    uptodate: bool


def initial_pages(trace: Trace) -> dict[int, InitialPage]:
    """By file index. A page whose first event is a hit or a deletion, not an insertion, was there before.

    It was uptodate unless it is zeroed later in that life (folios that fallocate made are not).
    """
    found: dict[int, int] = {}
    seen: set[int] = set()
    zeroed: set[int] = set()
    looking: dict[str, int] = {}
    for step in trace.steps:
        name, obs = step.name, step.observation
        if name == "filemap_get" and isinstance(obs.a, int):
            looking[step.thread] = obs.a
        elif name == "filemap_get_ret" and isinstance(obs.a, int):
            index = looking.get(step.thread)
            if index is not None and obs.a >= 0 and index not in seen:
                seen.add(index)
                found[index] = obs.a
        elif name == "page_cache_add" and isinstance(obs.a, int):
            seen.add(obs.a)
        elif name == "page_cache_delete" and isinstance(obs.a, int) and isinstance(obs.b, int):
            if obs.a not in seen:
                found[obs.a] = obs.b
            seen.add(obs.a)
        elif name == "set_uptodate" and isinstance(obs.a, int):
            zeroed.add(obs.a)
    return {index: InitialPage(pfn, pfn not in zeroed) for index, pfn in found.items()}


def unseen_pages(trace: Trace) -> set[int]:
    """Indices that the trace says nothing of, where it shows insertions: their pages can have been there all along."""
    if "page_cache_add" not in trace.probed:
        return set()
    inserted = {step.observation.a for step in trace.steps if step.name == "page_cache_add"}
    return {index for index in range(min(trace.pages, _MOST)) if index not in inserted}
