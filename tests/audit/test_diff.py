"""Comparing runs: what is reported, and what is not."""

from __future__ import annotations

import gc
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gmemsim.audit.base import Event
from gmemsim.audit.changes import KINDS, Change
from gmemsim.audit.diff import Diff, diff, diff_logs
from gmemsim.audit.diff_text import render_diff, summary
from gmemsim.audit.errors import LogError
from gmemsim.audit.events import Contended, Lock, Receive, Send, Unlock
from gmemsim.audit.header import Header
from gmemsim.audit.kvm_events import (
    ArchInvalidate,
    Clear,
    Copy,
    Fallocate,
    FallocateRet,
    FilemapGet,
    FilemapGetRet,
    GetPfn,
    GetPfnRet,
    Gup,
    HostTouch,
    InvEnd,
    InvStart,
    InvStartRet,
    Map,
    MapRet,
    PageCacheAdd,
    PageCacheDelete,
    PageFault,
    Populate,
    PopulateRet,
    Prepare,
    PrepareRet,
    Retry,
    SetUptodate,
    TdpFault,
    TdpFaultRet,
)
from gmemsim.audit.render import write_log
from gmemsim.audit.vocabulary import name_of

Steps = list[tuple[str, Event]]


def fault(actor: str, gfn: int, pfn: int, first: bool, *, tracked: bool = True, ident: int = 0) -> Steps:
    """A fault before the series (`tracked`: prepare is done once, and before uptodate) or after it."""
    prepare: list[Event] = [
        Send("snp", ident, "prepare", f"gfn={gfn:#x} pfn={pfn:#x}"),
        Receive("snp", ident, "prepare"),
        Prepare(gfn, pfn, 0),
        PrepareRet(0, True),
        Send(actor, ident, "prepare", "0"),
        Receive(actor, ident, "prepare"),
    ]
    add: list[Event] = [PageCacheAdd(gfn, pfn, 0)] if first else []
    clear: list[Event] = [Clear(gfn, pfn, 1)] if first else []
    uptodate: list[Event] = [SetUptodate(gfn, pfn)] if first else []
    if tracked:
        ready = [*clear, *prepare, *uptodate] if first else []
    else:
        ready = [*clear, *uptodate, *prepare]
    events: list[Event] = [
        PageFault(gfn, True),
        TdpFault(gfn),
        GetPfn(gfn, gfn),
        FilemapGet(gfn, True),
        *add,
        Lock(f"gmem0.folio[{gfn}]", "w"),
        FilemapGetRet(pfn),
        *ready,
        Unlock(f"gmem0.folio[{gfn}]", "w"),
        GetPfnRet(0, pfn),
        Lock("vm0.mmu_lock", "r"),
        Map(gfn, pfn, 1),
        MapRet(5 if first else 6),
        Unlock("vm0.mmu_lock", "r"),
        TdpFaultRet(5 if first else 6),
    ]
    return [(actor, event) for event in events]


def punch(actor: str, start: int, end: int, frames: dict[int, int]) -> Steps:
    events: list[Event] = [
        Fallocate(True, start, end),
        Lock("gmem0.invalidate_lock", "w"),
        InvStart(start, end),
        InvStartRet(),
        *(PageCacheDelete(index, frames[index], 0) for index in range(start, end) if index in frames),
        InvEnd(start, end),
        Unlock("gmem0.invalidate_lock", "w"),
        FallocateRet(0),
    ]
    return [(actor, event) for event in events]


def of(result: Diff, kind: str) -> list[Change]:
    return [change for change in result.changes if change.kind == kind]


def rows(result: Diff, kind: str) -> list[tuple[str, int | str, int | str, int]]:
    return [(change.event, change.left, change.right, change.count) for change in of(result, kind)]


def test_the_series_in_one_line() -> None:
    """64 pages, 8 vCPUs: prepare 64 -> 512, after set_uptodate instead of before."""
    before: Steps = []
    after: Steps = []
    for gfn in range(64):
        for vcpu in range(8):
            before += fault(f"vcpu{vcpu}", gfn, 4096 + gfn, vcpu == 0)
            after += fault(f"vcpu{vcpu}", gfn, 9000 - gfn, vcpu == 0, tracked=False, ident=gfn)
    result = diff(before, after)
    assert result.events["prepare"] == (64, 512)
    assert result.events["clear"] == (64, 64)
    assert of(result, "order") == [
        Change("order", "prepare", "pages 0-63 (64), vcpu0", "before set_uptodate", "after set_uptodate", 64)
    ]
    assert ("prepare", 64, 512, 448) in rows(result, "count")
    assert Change("count", "send prepare", "pages 0-63 (64), 7 tasks", 128, 1024, 896) in result.changes
    assert {change.kind for change in result.changes} == {"count", "order"}
    (line,) = [line for line in summary(result) if line.startswith("prepare:")]
    assert line == (
        "prepare: 64 -> 512 (+448; pages 0-63 (64), 7 tasks); "
        "after set_uptodate instead of before (64 times; pages 0-63 (64), vcpu0)"
    )
    # Messages and returns follow what the events themselves show, so they come last.
    assert [line.partition(":")[0] for line in summary(result)] == [
        "prepare",
        "receive prepare, send prepare",
        "prepare_ret",
    ]
    assert result.first_divergence is not None
    assert result.first_divergence.index == 8
    assert result.first_divergence.left == {
        "actor": "vcpu0",
        "event": "send",
        "to": "snp",
        "id": 0,
        "message": "prepare",
        "detail": "gfn=0x0 pfn=0x1000",
    }
    assert result.first_divergence.right == {
        "actor": "vcpu0",
        "event": "set_uptodate",
        "index": 0,
        "pfn": 9000,
    }


def test_the_mirrored_comparison_says_the_mirrored_things() -> None:
    before = fault("vcpu0", 0, 1, True) + fault("vcpu1", 0, 1, False)
    after = fault("vcpu0", 0, 1, True, tracked=False) + fault("vcpu1", 0, 1, False, tracked=False)
    forth, back = diff(before, after), diff(after, before)
    assert {(c.kind, c.event, c.where, c.left, c.right, c.count) for c in forth.changes} == {
        (c.kind, c.event, c.where, c.right, c.left, c.count) for c in back.changes
    }
    assert back.events == {name: (b, a) for name, (a, b) in forth.events.items()}


def test_equal_streams() -> None:
    steps = fault("vcpu0", 0, 1, True)
    result = diff(steps, list(steps))
    assert result == Diff({name: (n, n) for name, (n, _) in result.events.items()}, None, ())
    assert result.events["lock"] == (2, 2)
    assert diff([], []) == Diff({}, None, ())
    assert render_diff(diff([], [])) == "events: 0 -> 0\nno difference\n"


def test_other_frames_and_message_numbers_are_no_difference() -> None:
    left = fault("vcpu0", 0, 100, True, ident=1) + fault("vcpu1", 1, 101, True, ident=2)
    right = fault("vcpu0", 0, 555, True, ident=7) + fault("vcpu1", 1, 100, True, ident=3)
    assert diff(left, right).first_divergence is None
    # But a frame in two places is not two frames.
    shared = fault("vcpu0", 0, 555, True) + fault("vcpu1", 1, 555, True)
    result = diff(left, shared)
    assert result.first_divergence is not None
    assert result.first_divergence.index == len(fault("vcpu0", 0, 1, True)) + 4, (
        "where the frame is first named"
    )


def test_first_divergence_far_into_the_log() -> None:
    left: Steps = [("vcpu0", PageCacheAdd(number % 7, number % 11, 0)) for number in range(10_000)]
    for at in (0, 4095, 4096, 9_999):
        right = list(left)
        right[at] = ("vcpu1", right[at][1])
        found = diff(left, right).first_divergence
        assert found is not None
        assert found.index == at
    found = diff(left, left[:9_000]).first_divergence
    assert found is not None
    assert (found.index, found.right) == (9_000, None)
    # A frame that is known on one side only.
    again: Steps = [("vcpu0", PageCacheAdd(0, 100, 0)), ("vcpu0", PageCacheAdd(1, 100, 0))]
    fresh: Steps = [again[0], ("vcpu0", PageCacheAdd(1, 555, 0))]
    found = diff(again, fresh).first_divergence
    assert found is not None
    assert found.index == 1
    # Renamed frames first, a real difference later.
    renamed: Steps = [(actor, msgspec.structs.replace(event, pfn=event.pfn + 50)) for actor, event in left]  # type: ignore[attr-defined]
    renamed[7_777] = ("vcpu0", PageCacheAdd(7_777 % 7, 51, 0))
    found = diff(left, renamed).first_divergence
    assert found is not None
    assert found.index == 7_777


def test_a_result_that_changed() -> None:
    left = fault("vcpu0", 0, 1, True) + fault("vcpu1", 0, 1, False)
    right = [
        (actor, MapRet(5) if event == MapRet(6) else TdpFaultRet(5) if event == TdpFaultRet(6) else event)
        for actor, event in left
    ]
    assert rows(diff(left, right), "value") == [
        ("map_ret", "ret=6", "ret=5", 1),
        ("tdp_fault_ret", "ret=6", "ret=5", 1),
    ]
    assert len(diff(left, right).changes) == 2


def test_a_step_that_moved_out_of_a_lock() -> None:
    def populate(inside: bool) -> Steps:
        events: list[Event] = [Populate(0, 2, True)]
        events += [] if inside else [Gup(0, 0)]
        events += [Lock("gmem0.invalidate_lock", "w"), GetPfn(0, 0), GetPfnRet(0, 7)]
        events += [Gup(0, 0)] if inside else []
        events += [Copy(7), Unlock("gmem0.invalidate_lock", "w"), PopulateRet(1)]
        return [("vmm", event) for event in events]

    result = diff(populate(True), populate(False))
    assert rows(result, "order") == [("gup", "after get_pfn", "before lock gmem0.invalidate_lock:w", 1)]
    assert len(result.changes) == 1
    assert summary(result) == ["gup: before lock gmem0.invalidate_lock:w instead of after get_pfn (vmm)"]


def test_steps_that_moved_together_are_one_change() -> None:
    outside: list[Event] = [Gup(0, 0), Copy(7)]
    inside: list[Event] = [Lock("l", "w"), GetPfn(0, 0), GetPfnRet(0, 7), Unlock("l", "w")]
    one: Steps = [("vmm", event) for event in (Populate(0, 2, True), *outside, *inside, PopulateRet(1))]
    two: Steps = [("vmm", event) for event in (Populate(0, 2, True), *inside, *outside, PopulateRet(1))]
    assert rows(diff(one, two), "order") == [("gup", "before lock l:w", "after unlock l:w", 1)]


def test_a_lock_is_not_what_a_swap_is_named_after() -> None:
    left: Steps = [
        ("vmm", event) for event in (Populate(0, 1, True), Lock("l", "w"), Gup(0, 0), PopulateRet(1))
    ]
    right: Steps = [left[0], left[2], left[1], left[3]]
    for one, other, sides in ((left, right, ("after", "before")), (right, left, ("before", "after"))):
        assert rows(diff(one, other), "order") == [("gup", *(f"{side} lock l:w" for side in sides), 1)]


def test_steps_on_different_pages_of_one_operation_may_change_places() -> None:
    frames = {0: 5, 1: 6, 2: 7}
    left = punch("punch0", 0, 3, frames)
    right = list(left)
    right[4], right[6] = right[6], right[4]
    result = diff(left, right)
    assert result.first_divergence is not None
    assert result.changes == ()
    assert render_diff(result).endswith("no changes: only independent steps come in another order\n")


def test_frames_that_a_function_finds_belong_to_its_page() -> None:
    def allocate(*pages: int) -> Steps:
        events: list[Event] = [Fallocate(False, 0, 3)]
        for page in pages:
            events += [FilemapGet(page, True), FilemapGetRet(100 + page)]
        return [("vmm", event) for event in (*events, FallocateRet(0))]

    assert diff(allocate(0, 1, 2), allocate(0, 2, 1)).changes == ()


def test_how_many_frames_at_once() -> None:
    left: Steps = [("punch0", ArchInvalidate(100, 101))]
    right: Steps = [("punch0", ArchInvalidate(300, 302))]
    assert diff(left, [("punch0", ArchInvalidate(300, 301))]).first_divergence is None
    assert rows(diff(left, right), "value") == [("arch_invalidate", "end=+1", "end=+2", 1)]


def test_faults_in_another_order_of_pages() -> None:
    left = [step for gfn in range(9) for step in fault("vcpu0", gfn, 100 + gfn, True)]
    right = [step for gfn in reversed(range(9)) for step in fault("vcpu0", gfn, 100 + gfn, True)]
    assert diff(left, right).changes == ()


def test_operations_on_one_page_in_another_order() -> None:
    touch: Steps = [("host0", HostTouch(3, False, "zero"))]
    other = punch("host0", 3, 4, {})
    result = diff(touch + other, other + touch)
    assert rows(result, "sequence") in (
        [("host_touch", "before fallocate", "after fallocate", 1)],
        [("fallocate", "after host_touch", "before host_touch", 1)],
    )
    assert len(result.changes) == 1


def test_another_task_does_it() -> None:
    left = fault("vcpu0", 3, 1, True) + fault("vcpu1", 3, 1, False)
    right = fault("vcpu1", 3, 1, True) + fault("vcpu0", 3, 1, False)
    result = diff(left, right)
    changes = {change.event: change for change in of(result, "actor")}
    assert changes["clear"] == Change("actor", "clear", "page 3", "vcpu0", "vcpu1", 1)
    assert {"clear", "prepare", "set_uptodate", "page_cache_add"} <= set(changes)
    assert of(result, "count") == []


def test_another_operation_of_the_same_task_does_it() -> None:
    def retried(first: bool) -> Steps:
        one = [step for step in fault("vcpu0", 3, 1, first) if not isinstance(step[1], (Map, MapRet))]
        one[-1] = ("vcpu0", TdpFaultRet(1))
        one.insert(-1, ("vcpu0", Retry(3, "late")))
        two = fault("vcpu0", 3, 1, not first)
        two[-1] = ("vcpu0", TdpFaultRet(5))
        return one + two

    result = diff(retried(True), retried(False))
    assert "clear" in {change.event for change in of(result, "operation")}
    assert of(result, "count") == []


def test_tasks_that_meet_on_a_page_in_another_order() -> None:
    deletion = punch("punch0", 3, 4, {3: 1})
    add = fault("vcpu0", 3, 1, True)
    result = diff(add + deletion, deletion + add)
    (change,) = of(result, "interleaving")
    assert change.where == "page 3, vcpu0, punch0"
    assert len(result.changes) == 1
    # A range that covers the page counts as well, however the page's own events are placed.
    late = [*deletion[:-3], *add, *deletion[-3:]]
    early = [*add, *deletion]
    assert "interleaving" in {change.kind for change in diff(early, late).changes}
    during = [*deletion[:2], ("vcpu0", HostTouch(3, True, "x")), *deletion[2:]]
    before = [("vcpu0", HostTouch(3, True, "x")), *deletion]
    assert rows(diff(before, during), "interleaving") == [
        ("fallocate", "after host_touch", "before host_touch", 1)
    ]


def test_an_additional_step_has_not_moved() -> None:
    touch, clear = ("host0", HostTouch(3, False, "zero")), ("vcpu0", Clear(3, 1, 1))
    result = diff([touch, clear], [clear, touch, clear])
    assert [change.kind for change in result.changes] == ["count"]


def test_the_step_passed_first_is_the_one_that_is_named() -> None:
    steps: Steps = [("a", HostTouch(3, False, "zero")), ("b", Clear(3, 1, 1)), ("c", SetUptodate(3, 1))]
    later = [steps[1], steps[2], steps[0]]
    assert rows(diff(steps, later), "interleaving") == [("clear", "after host_touch", "before host_touch", 1)]
    assert rows(diff(later, steps), "interleaving") == [
        ("host_touch", "after set_uptodate", "before set_uptodate", 1)
    ]


def test_a_step_counts_as_the_same_wherever_its_operation_began() -> None:
    frames = {3: 1}
    left = punch("punch0", 2, 4, frames) + punch("punch1", 3, 4, {})
    right = punch("punch0", 2, 4, {}) + punch("punch1", 3, 4, frames)
    assert diff(left, right).changes == (
        Change("actor", "page_cache_delete", "page 3", "punch0", "punch1", 1),
    )


def test_more_retries_are_more_of_the_same() -> None:
    def spins(count: int) -> Steps:
        early: Steps = [
            ("vcpu0", event) for event in (PageFault(3, True), TdpFault(3), Retry(3, "early"), TdpFaultRet(1))
        ]
        return early * count + fault("vcpu0", 3, 1, True)

    result = diff(spins(20), spins(27))
    assert sorted(rows(result, "count")) == [
        ("page_fault", 21, 28, 7),
        ("retry early", 20, 27, 7),
        ("tdp_fault", 21, 28, 7),
        ("tdp_fault_ret", 21, 28, 7),
    ]
    assert len(result.changes) == 4, "the success is compared with the success"


def test_attempts_are_compared_with_attempts_that_ended_alike() -> None:
    def attempt(reason: str, tracked: bool) -> Steps:
        steps = fault("vcpu0", 3, 1, False, tracked=tracked)[:-6]
        return [*steps, ("vcpu0", Retry(3, reason)), ("vcpu0", TdpFaultRet(1))]

    def run(late: int, lost: int, tracked: bool) -> Steps:
        steps = attempt("late", tracked) * late + attempt("spte", tracked) * lost
        return steps + fault("vcpu0", 3, 1, False, tracked=tracked)

    result = diff(run(0, 2, True), run(3, 2, False))
    assert {change.kind for change in result.changes} == {"count"}
    counts = {change.event: change.count for change in result.changes}
    assert (counts["retry late"], counts["tdp_fault"], counts["prepare"]) == (3, 3, 6)
    assert "retry spte" not in counts
    assert "map" not in counts


def test_a_step_that_an_operation_takes_twice() -> None:
    left: Steps = [("vcpu0", event) for event in (TdpFault(0), *[Copy(1)] * 3, TdpFaultRet(1))]
    right: Steps = [("vcpu0", event) for event in (TdpFault(0), Copy(1), TdpFaultRet(1))]
    assert rows(diff(left, right), "count") == [("copy", 3, 1, 2)]


def test_what_comes_and_goes_in_different_places() -> None:
    left: Steps = [("vcpu0", Clear(page, 1, 1)) for page in (0, 1, 2)]
    right: Steps = [("vcpu0", Clear(page, 1, 1)) for page in (2, 3, 4, 5)]
    result = diff(left, right)
    assert result.changes == (Change("count", "clear", "pages 0-1, 3-5 (5), vcpu0", 3, 4, 5),)
    assert summary(result) == ["clear: 3 -> 4 (+1 = +3 -2; pages 0-1, 3-5 (5), vcpu0)"]


def test_changes_alike_share_a_line_and_long_lists_are_cut() -> None:
    left = fault("vcpu0", 3, 1, True)
    result = diff(left, [*left, ("x", Contended("a", "r")), ("x", Lock("a", "r")), ("x", Unlock("a", "r"))])
    assert summary(result) == ["lock a:r, unlock a:r, contended a:r: 0 -> 1 (+1; x)"]
    many = diff([], [("x", Lock(f"l{number}", "r")) for number in range(9) for _ in range(number + 1)])
    assert render_diff(many, most=3).splitlines()[-4:] == [
        "lock l8:r: 0 -> 9 (+9; x)",
        "lock l7:r: 0 -> 8 (+8; x)",
        "lock l6:r: 0 -> 7 (+7; x)",
        "… and 6 more",
    ]
    assert "  left:  (at its end)\n  right: x lock lock=l0 mode=r\n" in render_diff(many)


def test_json() -> None:
    result = diff(fault("vcpu0", 0, 1, True), fault("vcpu0", 0, 1, True, tracked=False))
    found = msgspec.json.decode(msgspec.json.encode(result))
    assert set(found) == {"events", "first_divergence", "changes"}
    assert found["events"]["prepare"] == [1, 1]
    assert found["changes"] == [
        {
            "kind": "order",
            "event": "set_uptodate",
            "where": "page 0, vcpu0",
            "left": "after prepare",
            "right": "before prepare",
            "count": 1,
        }
    ]
    assert msgspec.json.decode(msgspec.json.encode(result), type=Diff) == result


def test_any_iterable_will_do() -> None:
    steps = fault("vcpu0", 0, 1, True)
    assert diff(iter(steps), (step for step in steps)).first_divergence is None


def test_the_garbage_collector_is_left_as_it_was() -> None:
    for enabled in (True, False):
        (gc.enable if enabled else gc.disable)()
        try:
            diff(fault("vcpu0", 0, 1, True), [])
            assert gc.isenabled() is enabled
        finally:
            gc.enable()


# -- for any run -----------------------------------------------------------------------------------


def workload(seed: int, tracked: bool = True, tasks: int = 3, pages: int = 4) -> Steps:
    """Faults and punches of several tasks, interleaved at random."""
    dice = random.Random(seed)
    queues: list[Steps] = []
    for task in range(tasks):
        queue: Steps = []
        for _ in range(dice.randrange(1, 5)):
            page = dice.randrange(pages)
            if dice.random() < 0.2:
                queue += punch(f"vcpu{task}", page, page + 2, {page: dice.randrange(9)})
            else:
                queue += fault(f"vcpu{task}", page, dice.randrange(50), dice.random() < 0.5, tracked=tracked)
        queues.append(queue)
    steps: Steps = []
    while any(queues):
        queue = dice.choice([queue for queue in queues if queue])
        count = dice.randrange(1, 6)
        steps += queue[:count]
        del queue[:count]
    return steps


def pages_of(event: Event) -> set[int]:
    """Pages that an event names; here a guest frame is the index of the same number."""
    start, end = getattr(event, "start", None), getattr(event, "end", None)
    if start is not None and end is not None:
        return set(range(start, end))
    for name in ("index", "gfn"):
        if hasattr(event, name):
            return {getattr(event, name)}
    lock = getattr(event, "lock", "")
    return {int(lock[lock.index("[") + 1 : -1])} if "[" in lock else set()


@given(st.integers(0, 1 << 32), st.integers(0, 1 << 32))
def test_independent_steps_may_change_places(seed: int, shuffle: int) -> None:
    left = workload(seed)
    right = list(left)
    dice = random.Random(shuffle)
    for _ in range(300):
        at = dice.randrange(len(right) - 1)
        (actor, event), (other, next_event) = right[at], right[at + 1]
        if actor != other and not pages_of(event) & pages_of(next_event):
            right[at], right[at + 1] = right[at + 1], right[at]
    assert diff(left, right).changes == ()


@given(st.integers(0, 1 << 32), st.integers(0, 1 << 32), st.booleans())
def test_numbers_add_up(one: int, other: int, tracked: bool) -> None:
    """Every event that one side has more of is in a count; the counts make up the totals."""
    left, right = workload(one), workload(other, tracked)
    result = diff(left, right)
    lefts, rights = (Counter(name_of(type(event)) for _, event in side) for side in (left, right))
    assert list(result.events.items()) == [
        (name, (lefts[name], rights[name])) for name in sorted({*lefts, *rights})
    ]
    net: Counter[str] = Counter()
    for change in result.changes:
        assert change.kind in KINDS
        assert change.count > 0
        assert change.where
        if change.kind == "count":
            assert isinstance(change.left, int)
            assert isinstance(change.right, int)
            assert abs(change.right - change.left) <= change.count
            assert (change.right - change.left - change.count) % 2 == 0
            net[change.event.partition(" ")[0]] += change.right - change.left
        else:
            assert change.left != change.right
    assert {name: n for name, n in net.items() if n} == {
        name: b - a for name, (a, b) in result.events.items() if a != b
    }
    again = diff(left, right)
    assert again == result


@given(st.integers(0, 1 << 32), st.data())
def test_one_step_that_is_missing_is_found(seed: int, data: st.DataObject) -> None:
    left = workload(seed)
    at = data.draw(st.integers(0, len(left) - 1))
    result = diff(left, left[:at] + left[at + 1 :])
    assert "count" in {change.kind for change in result.changes}


@given(st.integers(0, 1 << 32), st.data())
def test_two_steps_of_a_task_that_change_places_are_found(seed: int, data: st.DataObject) -> None:
    left = workload(seed, tasks=1)
    at = data.draw(st.integers(0, len(left) - 2))
    right = [*left[:at], left[at + 1], left[at], *left[at + 2 :]]
    result = diff(left, right)
    if left[at] == left[at + 1]:
        assert result.changes == ()
    else:
        assert result.changes, (left[at], left[at + 1])


@given(st.integers(0, 1 << 32), st.data())
def test_two_tasks_that_change_places_on_a_page_are_found(seed: int, data: st.DataObject) -> None:
    left = workload(seed, pages=2)
    followers = [
        at
        for at, ((actor, event), (other, following)) in enumerate(pairwise(left))
        if actor != other and pages_of(event) & pages_of(following)
    ]
    if not followers:
        return
    at = data.draw(st.sampled_from(followers))
    right = [*left[:at], left[at + 1], left[at], *left[at + 2 :]]
    assert {change.kind for change in diff(left, right).changes} == {"interleaving"}


# -- files -----------------------------------------------------------------------------------------


def write(path: Path, steps: Steps, patch: str) -> Path:
    write_log(
        path, [(number, actor, event) for number, (actor, event) in enumerate(steps)], Header(patch=patch)
    )
    return path


def test_logs(tmp_path: Path) -> None:
    left, right = fault("vcpu0", 0, 1, True), fault("vcpu0", 0, 1, True, tracked=False)
    one = write(tmp_path / "a.jsonl", left, "baseline")
    other = write(tmp_path / "b.jsonl.zst", right, "v3")
    same = write(tmp_path / "c.jsonl.zst", left, "v1")
    assert diff_logs(one, other) == diff(left, right)
    assert diff_logs(one, same) == diff(left, left)
    with pytest.raises(LogError, match="No such file"):
        diff_logs(one, tmp_path / "d.jsonl")


def test_equal_logs_are_not_compared_event_by_event(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*sides: Steps) -> Diff:
        raise AssertionError("compared")

    monkeypatch.setattr("gmemsim.audit.diff.diff", refuse)
    steps = fault("vcpu0", 0, 1, True)
    one, other = (write(tmp_path / f"{name}.jsonl", steps, name) for name in "ab")
    assert diff_logs(one, other).events["prepare"] == (1, 1)
    changed = write(tmp_path / "c.jsonl", fault("vcpu0", 0, 1, False), "c")
    with pytest.raises(AssertionError, match="compared"):
        diff_logs(one, changed)


def test_equal_logs_must_still_be_logs(tmp_path: Path) -> None:
    one = write(tmp_path / "a.jsonl", fault("vcpu0", 0, 1, True), "v3")
    one.write_bytes(one.read_bytes()[:-5])
    with pytest.raises(LogError, match="truncated"):
        diff_logs(one, one)
