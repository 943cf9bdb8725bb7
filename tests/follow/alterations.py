"""Alter a trace in ways that no kernel could have produced, to see that the follower rejects it.

Each alteration takes the lines of a trace and a random source and gives back changed lines, or None when the trace
offers no place for it. An alteration breaks a law of the recordings or of a function's own order; merely swapping
independent events of two threads would often be another possible trace, and is not among them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gmemsim.follow.ftrace import parse_line
from gmemsim.follow.nesting import NESTED
from gmemsim.follow.trace import trace_from_events

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from gmemsim.follow.ftrace import KernelEvent

Lines = list[str]
_CLEAR = re.compile(r"zero_begin_\w+")
_TIME = re.compile(r"(?<=\s)\d+\.\d+(?=: )")


def _events(lines: Lines) -> list[tuple[int, KernelEvent]]:
    found = []
    for number, text in enumerate(lines):
        event = parse_line(text, number)
        if event is not None:
            found.append((number, event))
    return found


def _pick(lines: Lines, random: Random, wanted: Callable[[KernelEvent], bool]) -> int | None:
    places = [number for number, event in _events(lines) if wanted(event)]
    return random.choice(places) if places else None


def _named(*names: str) -> Callable[[KernelEvent], bool]:
    return lambda event: event.name in names or (_CLEAR.match(event.name) is not None and "clear" in names)


def _drop(*names: str) -> Callable[[Lines, Random], Lines | None]:
    def change(lines: Lines, random: Random) -> Lines | None:
        at = _pick(lines, random, _named(*names))
        return None if at is None else lines[:at] + lines[at + 1 :]

    return change


def _double(*names: str) -> Callable[[Lines, Random], Lines | None]:
    def change(lines: Lines, random: Random) -> Lines | None:
        at = _pick(lines, random, _named(*names))
        return None if at is None else [*lines[: at + 1], lines[at], *lines[at + 1 :]]

    return change


def _swap_with_next_of_thread(*names: str) -> Callable[[Lines, Random], Lines | None]:
    """Exchange an event with the next one of its own thread that is a step too."""

    def change(lines: Lines, random: Random) -> Lines | None:
        at = _pick(lines, random, _named(*names))
        if at is None:
            return None
        mine = parse_line(lines[at], at)
        assert mine is not None
        for number in range(at + 1, len(lines)):
            event = parse_line(lines[number], number)
            if (
                event is None
                or event.thread != mine.thread
                or event.name in _NO_STEP
                or event.name == mine.name
            ):
                continue
            changed = list(lines)
            changed[at], changed[number] = changed[number], changed[at]
            return changed
        return None

    return change


#: Events that the follower does not match; swapping with one of them changes nothing.
_NO_STEP = frozenset(
    {"sched_switch", "contention_begin", "contention_end", "kvm_exit", "sev_prepare", "wake_bit", "io_sched",
     "io_sched_ret", "folio_lock_slow", "folio_lock_slow_ret", "unmap_gfn", "tracing_mark_write"}
)  # fmt: skip


def _move_clear_after_map(lines: Lines, random: Random) -> Lines | None:
    """A zeroing that happens after the page is mapped."""
    at = _pick(lines, random, _named("clear"))
    if at is None:
        return None
    mine = parse_line(lines[at], at)
    assert mine is not None
    for number in range(at + 1, len(lines)):
        event = parse_line(lines[number], number)
        if (
            event is not None
            and event.thread == mine.thread
            and event.name in ("tdp_map_ret", "user_fault_ret")
        ):
            return [*lines[:at], *lines[at + 1 : number + 1], lines[at], *lines[number + 1 :]]
    return None


def _add_lock(lines: Lines, random: Random) -> Lines | None:
    """A fault that takes the invalidate lock shared, as these kernels do not."""
    lock = next((e for _, e in _events(lines) if e.name == "down_write" and "lock=" in e.args), None)
    at = _pick(lines, random, _named("get_pfn"))
    if lock is None or at is None:
        return None
    address = lock.args[lock.args.index("lock=") :]
    head = lines[at][: lines[at].index("get_pfn:")]
    return [*lines[: at + 1], f"{head}down_read: (down_read+0x4/0x90) {address}\n", *lines[at + 1 :]]


def _change_result(name: str, pattern: str, replacement: str) -> Callable[[Lines, Random], Lines | None]:
    """Another return value."""

    def change(lines: Lines, random: Random) -> Lines | None:
        at = _pick(lines, random, lambda e: e.name == name and re.search(pattern, e.args) is not None)
        if at is None:
            return None
        changed = list(lines)
        changed[at] = re.sub(pattern, replacement, changed[at], count=1)
        return changed

    return change


def _other_frame(lines: Lines, random: Random) -> Lines | None:
    """The arch is asked about another frame than the one that was inserted."""
    at = _pick(lines, random, _named("arch_prepare", "mm_filemap_delete_from_page_cache"))
    if at is None:
        return None
    changed = list(lines)
    changed[at] = re.sub(r"pfn=0x[0-9a-f]+", "pfn=0x7fffff", changed[at], count=1)
    return changed


def _fixed_in_hole(lines: Lines, random: Random) -> Lines | None:
    """An early retry inside an invalidation that is turned into a success."""
    at = _pick(lines, random, lambda e: e.name == "faultin_ret" and "ret=1" in e.args)
    if at is None:
        return None
    changed = list(lines)
    changed[at] = changed[at].replace("ret=1", "ret=0")
    return changed


ALTERATIONS: dict[str, Callable[[Lines, Random], Lines | None]] = {
    "drop a prepare": _drop("arch_prepare"),
    "double a prepare": _double("arch_prepare"),
    "drop a zeroing": _drop("clear"),
    "double a zeroing": _double("clear"),
    "zero after the map": _move_clear_after_map,
    "swap uptodate with the next step": _swap_with_next_of_thread(
        "uptodate_set_gp0", "uptodate_set_gp1", "uptodate_set_uf0"
    ),
    "swap get_pfn with the next step": _swap_with_next_of_thread("get_pfn"),
    "swap insertion with the next step": _swap_with_next_of_thread("mm_filemap_add_to_page_cache"),
    "drop an insertion": _drop("mm_filemap_add_to_page_cache"),
    "double a deletion": _double("mm_filemap_delete_from_page_cache"),
    "drop a deletion": _drop("mm_filemap_delete_from_page_cache"),
    "drop the end of an invalidation": _drop("mmu_inv_end"),
    "lock in the fault": _add_lock,
    "insertion fails": _change_result("fm_add_ret", r"ret=0\b", "ret=-17"),
    "fault fails": _change_result("get_pfn_ret", r"ret=0\b", "ret=-14"),
    "another frame": _other_frame,
    "no retry inside a hole": _fixed_in_hole,
}


def alter(lines: Lines, name: str, random: Random) -> Lines | None:
    """The lines with alteration `name` made at a random place, or None if there is no place for it."""
    changed = ALTERATIONS[name](lines, random)
    return None if changed is None else in_time(changed)


def in_time(lines: Lines) -> Lines:
    """The lines with the time of the one before where theirs is earlier: that a text is in disorder shows by itself."""
    found: Lines = []
    before, shown = 0, ""
    for number, text in enumerate(lines):
        event = parse_line(text, number)
        if event is None:
            found.append(text)
            continue
        match = _TIME.search(text)
        assert match is not None
        if event.time_us < before:
            found.append(f"{text[: match.start()]}{shown}{text[match.end() :]}")
            continue
        before, shown = event.time_us, match[0]
        found.append(text)
    return found


def places(lines: Lines, metadata: dict[str, object]) -> dict[str, list[int]]:
    """By probe, the lines (from 0) whose events are looked at; those of other files, folios and locks are not."""
    events = [event for _, event in _events(lines)]
    trace = trace_from_events(events, "trace", metadata)
    ours = {step.observation.b for step in trace.steps if step.name == "page_cache_add"}
    steps = {step.line for step in trace.steps if step.name != "folio_unlock" or step.observation.a in ours}
    found: dict[str, list[int]] = {}
    for event in events:
        if event.line in steps or event.name in NESTED:
            found.setdefault(event.name, []).append(event.line)
    return dict(sorted(found.items()))


def alter_at(lines: Lines, place: int, doubled: bool) -> Lines:
    """The lines with one of them twice, or gone."""
    return [*lines[:place], *([lines[place]] * 2 if doubled else []), *lines[place + 1 :]]
