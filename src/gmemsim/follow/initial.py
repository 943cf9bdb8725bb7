"""Pages that were in the file before the trace began, read off their first event."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from ..actors.fault import RetPf
from .calls import calls_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .trace import Trace

#: Pages of a file that are thought to be there although nothing shows them, at most.
_MOST: Final = 4096


class InitialPage(NamedTuple):
    """Frame number in the trace, and whether the page was already zeroed."""

    pfn: int
    uptodate: bool


def initial_pages(trace: Trace) -> dict[int, InitialPage]:
    """By file index. A page whose first event is a hit or a deletion, not an insertion, was there before.

    It was uptodate unless it is zeroed later in that life (folios that fallocate made are not). What calls insert that
    had begun before the recording is taken to be there, and what they delete to be gone.
    """
    before = {} if trace.begins else {thread: calls_of(trace, thread)[1] for thread in trace.threads}
    found: dict[int, int] = {}
    seen: set[int] = set()
    zeroed: set[int] = set()
    looking: dict[str, int] = {}
    for step in trace.steps:
        name, obs = step.name, step.observation
        if step.number < before.get(step.thread, 0):
            if (
                name == "page_cache_add"
                and isinstance(obs.a, int)
                and isinstance(obs.b, int)
                and obs.a not in seen
            ):
                found[obs.a] = obs.b
            if name in ("page_cache_add", "page_cache_delete") and isinstance(obs.a, int):
                seen.add(obs.a)
            continue
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


def mapped_before(trace: Trace) -> Iterator[frozenset[int] | None]:
    """What the guest can have had mapped when the recording began (indices; None: each page that can be there).

    Nothing, as a start line says. Where there is none: also all, or all whose first fault did not have to map it.
    """
    yield frozenset()
    if trace.begins:
        return
    yield None
    faults: dict[str, int] = {}
    seen: dict[int, bool] = {}
    for step in trace.steps:
        name, value = step.name, step.observation.a
        if name == "page_fault" and isinstance(value, int):
            faults[step.thread] = value - trace.data_gfn
        elif name == "zap":
            # What is mapped anew behind it may have been there before.
            break
        elif name == "map_ret" and step.thread in faults:
            seen.setdefault(faults[step.thread], value != RetPf.FIXED)
    missing = {index for index, mapped in seen.items() if not mapped}
    if missing:
        yield frozenset(unseen_pages(trace) | initial_pages(trace).keys()) - missing
