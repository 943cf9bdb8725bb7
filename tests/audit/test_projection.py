"""Taking a log apart: operations with relative places, and the streams of pages."""

from __future__ import annotations

import pytest

from gmemsim.audit.base import Event
from gmemsim.audit.events import Contended, Lock, Receive, Send, Unlock
from gmemsim.audit.identity import Coder
from gmemsim.audit.kvm_events import (
    ArchInvalidate,
    Clear,
    Fallocate,
    FallocateRet,
    FilemapGet,
    FilemapGetRet,
    FreePage,
    GetFolio,
    GetFolioRet,
    GetPfn,
    GetPfnRet,
    InvEnd,
    InvStart,
    InvStartRet,
    Map,
    MapRet,
    PageCacheDelete,
    PageFault,
    PreFault,
    PreFaultRet,
    Prepare,
    PrepareRet,
    TdpFault,
    TdpFaultRet,
    Zap,
    ZapRet,
)
from gmemsim.audit.projection import ACTOR, Projection, Projector, page_name

Steps = list[tuple[str, Event]]


def project(*sides: Steps) -> tuple[Projector, list[Projection]]:
    projector = Projector(Coder(), sides)
    return projector, [projector.project(side) for side in sides]


def operations(projector: Projector, side: Projection) -> list[list[str]]:
    """Texts of the steps of all operations, by group."""
    codes = projector.coder.codes
    return [
        [codes[code].text for code in projector.contents[content]]
        for contents in side.groups.values()
        for content in contents
    ]


def fault(actor: str, gfn: int, index: int, pfn: int, ident: int = 1) -> Steps:
    events: list[Event] = [
        TdpFault(gfn),
        Send("gmem0", ident, "get_pfn", f"gfn={gfn:#x} pfn={pfn:#x}"),
        Receive("gmem0", ident, "get_pfn"),
        GetPfn(gfn, index),
        GetFolio(index),
        GetFolioRet(pfn),
        Lock(f"gmem0.folio[{index}]", "w"),
        Clear(index, pfn, 1),
        Prepare(gfn, pfn, 0),
        PrepareRet(0, True),
        GetPfnRet(0, pfn),
        Send(actor, ident, "get_pfn", "0"),
        Receive(actor, ident, "get_pfn"),
        Lock("vm0.mmu_lock", "r"),
        Map(gfn, pfn, 1),
        MapRet(5),
        Unlock("vm0.mmu_lock", "r"),
        TdpFaultRet(5),
    ]
    return [(actor, event) for event in events]


def test_the_same_fault_elsewhere_has_the_same_codes() -> None:
    projector, _ = project(
        fault("vcpu0", 3, 19, 4096),
        fault("vcpu1", 7, 40, 5000, ident=99),
        fault("vcpu0", 3, 19, 4097),
    )
    assert len(projector.contents) == 1
    assert len(projector.groups) == 2


@pytest.mark.parametrize(
    ("position", "other"),
    [
        (3, GetPfn(3, 20)),
        (7, Clear(19, 4096, 2)),
        (7, Clear(19, 9999, 1)),
        (8, Prepare(4, 4096, 0)),
        (9, PrepareRet(-16, True)),
        (6, Lock("gmem0.folio[20]", "w")),
        (6, Lock("gmem1.folio[19]", "w")),
        (13, Lock("vm0.mmu_lock", "w")),
        (1, Send("gmem1", 1, "get_pfn", "gfn=0x3 pfn=0x1000")),
        (11, Send("vcpu7", 1, "get_pfn", "0")),
        (11, Send("vcpu0", 1, "get_pfn", "-16")),
        (5, GetFolioRet(-12)),
    ],
)
def test_what_makes_a_difference(position: int, other: Event) -> None:
    changed = fault("vcpu0", 3, 19, 4096)
    changed[position] = ("vcpu0", other)
    # The place that the first index gives is what everything counts from: the look-up itself looks the same.
    projector, _ = project(fault("vcpu0", 3, 19, 4096), changed)
    assert len(projector.contents) == 2


def test_operations_of_tasks_that_take_turns() -> None:
    one, two = fault("vcpu0", 3, 3, 10), fault("vcpu1", 4, 4, 11)
    mixed = [step for both in zip(one, two, strict=True) for step in both]
    _, (apart, together) = project(one + two, mixed)
    assert apart.groups == together.groups
    assert apart.sequence == together.sequence
    assert apart.pages == together.pages


def test_events_outside_of_operations_stand_for_themselves() -> None:
    projector, (side,) = project(
        [("vcpu0", PageFault(3, True)), ("vcpu0", Lock("vm0.slots_lock", "w")), ("vcpu0", PageFault(9, True))]
    )
    assert operations(projector, side) == [["page_fault"], ["lock vm0.slots_lock:w"], ["page_fault"]]


def test_inner_functions_belong_to_the_outermost() -> None:
    punch: Steps = [
        ("punch0", event)
        for event in (
            Fallocate(True, 8, 16),
            InvStart(8, 16),
            Zap("vm0", 8, 16, "both"),
            ZapRet(True),
            InvStartRet(),
            PageCacheDelete(9, 77, 0),
            ArchInvalidate(77, 78),
            FreePage(77),
            InvEnd(8, 16),
            FallocateRet(0),
        )
    ]
    projector, (side,) = project(punch)
    assert [len(steps) for steps in operations(projector, side)] == [10]


def test_a_call_that_never_returns_ends_where_it_is_made_again() -> None:
    steps: Steps = [
        ("vcpu0", event)
        for event in (
            PreFault(0, 8192),
            TdpFault(0),
            TdpFaultRet(5),
            PreFault(4096, 4096),
            TdpFault(1),
            TdpFaultRet(5),
            PreFaultRet(0, 8192, 0),
        )
    ]
    projector, (side,) = project(steps)
    assert [len(texts) for texts in operations(projector, side)] == [3, 4]
    # The same inside of another function; what comes after belongs to the outer one.
    inner: Steps = [("vcpu0", event) for event in (TdpFault(0), GetFolio(0), GetFolio(1), TdpFaultRet(1))]
    projector, (side,) = project(inner)
    assert [len(texts) for texts in operations(projector, side)] == [4]


def test_a_log_may_end_inside_an_operation() -> None:
    projector, (side,) = project([("vcpu0", TdpFault(0)), ("vcpu0", GetFolio(0))])
    assert operations(projector, side) == [["tdp_fault", "get_folio"]]


def test_a_return_without_its_call() -> None:
    projector, (side,) = project([("vcpu0", MapRet(5)), ("vcpu0", TdpFault(0)), ("vcpu0", TdpFaultRet(5))])
    assert operations(projector, side) == [["map_ret"], ["tdp_fault", "tdp_fault_ret"]]


def stream(projector: Projector, side: Projection, page: int) -> list[tuple[str, str]]:
    codes, anywhere = projector.coder.codes, projector.coder.anywhere
    return [
        (projector.actors[item // ACTOR], codes[anywhere[item % ACTOR]].text)
        for item in side.pages.get(page, [])
    ]


def test_a_page_s_stream() -> None:
    steps: Steps = [
        ("vcpu0", PageFault(103, True)),
        *fault("vcpu0", 103, 3, 10),
        ("vcpu1", Contended("gmem0.folio[3]", "w")),
        ("punch0", Fallocate(True, 2, 4)),
        ("punch0", PageCacheDelete(3, 10, 0)),
        ("punch0", FallocateRet(0)),
        ("host0", Lock("gmem0.folio[4]", "w")),
    ]
    projector, (side,) = project(steps)
    assert stream(projector, side, 3) == [
        # The guest frame is known to be index 3, from the first event that names both.
        ("vcpu0", "page_fault"),
        ("vcpu0", "tdp_fault"),
        ("vcpu0", "get_pfn"),
        ("vcpu0", "get_folio"),
        ("vcpu0", "lock gmem0.folio[.]:w"),
        ("vcpu0", "clear"),
        ("vcpu0", "prepare"),
        ("vcpu0", "map"),
        ("punch0", "fallocate"),
        ("punch0", "page_cache_delete"),
    ]
    assert stream(projector, side, 2) == [("punch0", "fallocate")]
    assert sorted(side.pages) == [2, 3, 4]


def test_ranges_of_guest_frames_are_the_pages_behind_them() -> None:
    steps: Steps = [
        *fault("vcpu0", 103, 3, 10),
        ("vmm", Zap("vm0", 102, 104, "both")),
        ("vmm", ZapRet(True)),
        ("punch0", Fallocate(True, 102, 104)),
        ("punch0", FallocateRet(0)),
    ]
    projector, (side,) = project(steps)
    assert ("vmm", "zap") in stream(projector, side, 3)
    assert stream(projector, side, -1 - 102) == [("vmm", "zap")]
    assert stream(projector, side, 103) == [("punch0", "fallocate")]


def test_wide_ranges_are_in_no_page_s_stream() -> None:
    for pages, streams in ((0, 0), (64, 64), (65, 0), (1 << 40, 0)):
        projector, (side,) = project([("vmm", Zap("vm0", 7, 7 + pages, "both")), ("vmm", ZapRet(True))])
        assert len(side.pages) == streams
        assert len(projector.contents) == 1


def test_guest_frames_without_index_are_pages_of_their_own() -> None:
    _, (side,) = project([("vcpu0", PageFault(0, False)), ("vcpu0", PageFault(5, False))])
    assert sorted(map(page_name, side.pages)) == ["gfn 0", "gfn 5"]


def test_a_look_up_by_another_task_is_the_same_step_on_the_page() -> None:
    steps: Steps = [
        ("vcpu0", FilemapGet(3, True)),
        ("vcpu0", FilemapGetRet(10)),
        ("host0", FilemapGet(3, True)),
        ("host0", FilemapGetRet(10)),
    ]
    _, (side,) = project(steps)
    assert len({item % ACTOR for item in side.pages[3]}) == 1
    assert len({item // ACTOR for item in side.pages[3]}) == 2
