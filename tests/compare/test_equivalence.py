"""Which logs are equal but for independent steps and names, and which are not: small logs with a known answer."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from gmemsim.audit.base import Event
from gmemsim.audit.events import (
    Access,
    Contended,
    Lock,
    LockRequest,
    Receive,
    Send,
    SignalSent,
    SrcuSync,
    Unlock,
)
from gmemsim.audit.kvm_events import (
    ApCreation,
    ArchInvalidate,
    Faultin,
    FreePage,
    GetPfn,
    GetPfnRet,
    GuestTouch,
    HardwareOp,
    Map,
    MmuInvEnd,
    MmuInvStart,
    PageFault,
    Populate,
    Prepare,
    SlotPublish,
    TdpFault,
    TdpFaultRet,
    TlbFlush,
    Truncate,
    Zap,
)
from gmemsim.compare.diff import diff
from gmemsim.compare.equivalence import compare_runs
from gmemsim.compare.footprint import Footprints
from gmemsim.compare.renaming import Renaming
from gmemsim.compare.runs import Steps
from gmemsim.engine.op import dependent

if TYPE_CHECKING:
    from collections.abc import Callable

Log = list[tuple[str, Event]]


def fault(vcpu: str, gfn: int = 100, pfn: int = 500) -> Log:
    return [
        (vcpu, PageFault(gfn, True)),
        (vcpu, TdpFault(gfn)),
        (vcpu, Faultin(gfn)),
        (vcpu, GetPfn(gfn, gfn - 100)),
        (vcpu, GetPfnRet(0, pfn)),
        (vcpu, Map(gfn, pfn, 1)),
        (vcpu, TdpFaultRet(5)),
    ]


def touch(vcpu: str, gfn: int = 100, pfn: int = 500, write: bool = False) -> tuple[str, Event]:
    return vcpu, GuestTouch("vm0", gfn, True, pfn, write, "x")


def section(task: str, mode: str) -> Log:
    return [(task, event("gmem0.invalidate_lock", mode)) for event in (LockRequest, Lock, Unlock)]


def equal(left: Log, right: Log, *, symmetric: bool = False) -> bool:
    assert diff(left, left).equal
    forth, back = (
        diff(left, right, symmetric=symmetric),
        diff(right, left, symmetric=symmetric),
    )
    assert forth.equal == back.equal
    assert forth.equal == (not forth.changes)
    return forth.equal


PUNCH: Log = [
    ("punch", Zap("vm0", 100, 101, "private")),
    ("punch", TlbFlush("vm0")),
    ("punch", FreePage(500)),
]

#: The part of two tasks that comes first on the left comes last on the right.
EXCHANGED: dict[str, tuple[Log, Log, bool]] = {
    "writer and reader": (section("punch", "w"), section("vcpu0", "r"), False),
    "two writers": (section("punch", "w"), section("conv", "w"), False),
    "two readers": (section("vcpu0", "r"), section("vcpu1", "r"), True),
    "two locks": (section("vcpu0", "w"), [("b", Lock("vm0.mmu_lock", "w"))], True),
    "a wait and the release": ([("a", Contended("l", "w"))], [("b", Unlock("l", "w"))], False),
    "a request": ([("a", LockRequest("l", "w"))], section("b", "w"), True),
    "start of an invalidation and snapshot": ([("p", MmuInvStart("vm0"))], fault("vcpu0")[2:3], False),
    "end of an invalidation and map": ([("p", MmuInvEnd("vm0"))], fault("vcpu0")[5:6], False),
    "touch and flush": ([touch("vcpu0")], [("p", TlbFlush("vm0"))], False),
    "touch and flush of another VM": ([touch("vcpu0"), ("q", TlbFlush("vm0"))], [("p", TlbFlush("vm1"))], True),
    "touch and free": ([touch("vcpu0")], [("p", FreePage(500))], False),
    "touch and free of another frame": ([touch("vcpu0")], [("p", FreePage(501))], True),
    "map and free": (fault("vcpu0")[5:6], [("p", FreePage(500))], False),
    "prepare and invalidate": ([("a", Prepare(100, 500, 0))], [("p", ArchInvalidate(400, 600))], False),
    "two RMP updates": (
        [("a", HardwareOp("RMPUPDATE", 5, 0))], [("b", HardwareOp("RMPUPDATE", 5, 1))], False,
    ),
    "slot and fault": ([("vmm", SlotPublish(0, "invalid"))], fault("vcpu0"), False),
    "grace period and fault": ([("vmm", SrcuSync("vm0.srcu"))], fault("vcpu0"), False),
    "signal and populate": ([("b", SignalSent("a"))], [("a", Populate(100, 4, True))], False),
    "signal and somebody else": ([("b", SignalSent("a"))], [("c", Populate(100, 4, True))], True),
    "zap of 65 pages": ([("p", Zap("vm0", 100, 165, "both"))], fault("vcpu0", 164), False),
    "zap up to the page": ([("p", Zap("vm0", 100, 164, "both"))], fault("vcpu0", 164), True),
    "a terabyte": ([("p", Truncate(0, 1 << 28))], fault("vcpu0"), False),
    "two faults": (fault("vcpu0")[:5], fault("vcpu1")[:5], True),
    "two maps": (fault("vcpu0"), fault("vcpu1"), False),
    "two pages": (fault("vcpu0"), fault("vcpu1", 101, 501), True),
    "two reads": ([touch("vcpu0")], [touch("vcpu1")], True),
    "read and write": ([touch("vcpu0")], [touch("vcpu1", write=True)], False),
}  # fmt: skip


@pytest.mark.parametrize("name", EXCHANGED)
def test_what_two_tasks_do_the_other_way_round(name: str) -> None:
    one, two, same = EXCHANGED[name]
    assert equal([*one, *two], [*two, *one]) is same


@pytest.mark.parametrize("name", EXCHANGED)
def test_two_logs_are_judged_by_the_relation_of_the_explorer(name: str) -> None:
    one, two, same = EXCHANGED[name]
    footprints = Footprints()
    for step in (*one, *two):
        footprints.learn(*step)
    pairs = [(footprints.of(*a), footprints.of(*b)) for a in one for b in two]
    assert same is not any(dependent(a, b) for ours, theirs in pairs for a in ours for b in theirs)


def test_frames_are_renamed_once_and_for_all() -> None:
    log = [*fault("vcpu0"), *fault("vcpu1", 101, 501), touch("vcpu0"), *PUNCH]
    other = [*fault("vcpu0", 100, 7), *fault("vcpu1", 101, 9), touch("vcpu0", pfn=7), *PUNCH[:2]]
    assert equal(log, [*other, ("punch", FreePage(7))])
    assert not equal(log, [*other, ("punch", FreePage(9))])
    assert not equal(log, [*other, ("punch", FreePage(8))])


@pytest.mark.parametrize(
    "right",
    [
        [*fault("vcpu0"), *fault("vcpu1", 100, 501)],
        [
            *fault("vcpu0"),
            *fault("vcpu1", 100, 500)[:-2],
            ("vcpu1", Map(100, 501, 1)),
            ("vcpu1", TdpFaultRet(5)),
        ],
    ],
)
def test_a_second_vcpu_with_another_frame(right: Log) -> None:
    assert not equal([*fault("vcpu0"), *fault("vcpu1")], right)


def test_two_pages_with_one_frame() -> None:
    assert not equal([*fault("a"), *fault("b", 101, 501)], [*fault("a"), *fault("b", 101, 500)])


def test_a_touch_through_a_frame_that_was_never_mapped() -> None:
    assert not equal([*fault("a"), touch("a")], [*fault("a"), touch("a", pfn=777)])


def test_ranges_of_frames_are_renamed_as_ranges() -> None:
    def log(base: int, start: int) -> Log:
        return [("a", Map(512, base, 2)), ("a", GuestTouch("vm0", 515, True, start, False, "x"))]

    assert equal(log(1024, 1027), log(2048, 2051))
    assert not equal(log(1024, 1027), log(2048, 2050))


def messages(*order: int) -> Log:
    return [
        ("vcpu0", Send("snp", 1, "prepare", "gfn=0x64 pfn=0x1f4")),
        ("vcpu1", Send("snp", 2, "prepare", "gfn=0x65 pfn=0x1f5")),
        *(("snp", Receive("snp", number, "prepare")) for number in order),
    ]


def test_requests_are_served_in_another_order() -> None:
    assert not equal(messages(1, 2), messages(2, 1))


def test_numbers_of_messages_do_not_count() -> None:
    renumbered: Log = [
        ("vcpu0", Send("snp", 70, "prepare", "gfn=0x64 pfn=0x9")),
        ("vcpu1", Send("snp", 30, "prepare", "gfn=0x65 pfn=0x8")),
        ("snp", Receive("snp", 70, "prepare")),
        ("snp", Receive("snp", 30, "prepare")),
    ]
    assert equal(messages(1, 2), renumbered)


def test_frames_that_messages_name_are_renamed_once_and_for_all() -> None:
    def asked(*pfns: int) -> Log:
        return [("vcpu0", Send("snp", 1, "prepare", f"gfn=0x64 pfn={pfn:#x}")) for pfn in pfns]

    assert equal(asked(0x1F4, 0x1F5), asked(0x9, 0x8))
    assert not equal(asked(0x1F4, 0x1F5), asked(0x9, 0x9))
    assert not equal(asked(0x1F4, 0x1F5, 0x1F4), asked(0x9, 0x8, 0x8))
    # Also where one name is the same on both sides.
    assert not equal([*fault("vcpu0"), *asked(500)], [*fault("vcpu0", pfn=9), *asked(500)])
    assert equal([*fault("vcpu0"), *asked(500)], [*fault("vcpu0", pfn=9), *asked(9)])


@pytest.mark.parametrize(
    ("end", "says"), [(101, "private:vm0 100"), (102, "private:vm0 100-101"), (-1, "private:vm0")]
)
def test_what_steps_in_another_order_touched(end: int, says: str) -> None:
    """A page is told as one, a range by its first and last page, a whole object by its name."""
    one, two = (
        ("a", Access("store", "private:vm0", 100, end, "w")),
        ("b", Access("load", "private:vm0", 100, end, "r")),
    )
    steps = Steps()
    (found,) = compare_runs(steps, steps.run([one, two]), steps.run([two, one])).inversions
    assert found.object == says


def test_what_identical_threads_touched_is_exchanged_with_them() -> None:
    def log(first: str, second: str) -> Log:
        calls = [(vcpu, Access("store", f"{vcpu}.requests", 0, 1, "w")) for vcpu in (first, second)]
        return [calls[0], *fault(first), calls[1], *fault(second, 101, 501)]

    assert equal(log("vcpu0", "vcpu1"), log("vcpu1", "vcpu0"), symmetric=True)
    assert not equal(log("vcpu0", "vcpu1"), log("vcpu1", "vcpu0"))


@pytest.mark.parametrize(
    "of",
    [
        lambda owner: Lock(f"{owner}.mutex", "w"),
        lambda owner: Access("acquire", f"{owner}.mutex.wait", 0, 1, "w"),
        lambda owner: ApCreation(owner, 100),
        lambda owner: GuestTouch("vm0", 100, True, 500, True, f"data:{owner}"),
        SignalSent,
    ],
)
def test_what_has_a_threads_name_is_exchanged_with_it(of: Callable[[str], Event]) -> None:
    """Its own and another's are two things, whatever number each has."""

    def log(first: str, second: str, owner: str) -> Log:
        return [*fault(first), (first, of(owner)), *fault(second, 101, 501)]

    own, others = log("vcpu0", "vcpu1", "vcpu0"), log("vcpu0", "vcpu1", "vcpu1")
    assert equal(own, log("vcpu1", "vcpu0", "vcpu1"), symmetric=True)
    assert not equal(own, log("vcpu1", "vcpu0", "vcpu0"), symmetric=True)
    assert not equal(own, others, symmetric=True)


def test_identical_threads_may_be_exchanged_if_asked() -> None:
    left = [*fault("vcpu0"), *fault("vcpu1", 101, 501), *PUNCH]
    right = [*fault("vcpu1"), *fault("vcpu0", 101, 501), *PUNCH]
    assert not equal(left, right)
    assert equal(left, right, symmetric=True)
    assert diff(left, right, symmetric=True).exchanged == {"vcpu0": "vcpu1", "vcpu1": "vcpu0"}


def test_only_identical_threads_are_exchanged() -> None:
    left = [*fault("vcpu0"), ("punch0", FreePage(500))]
    right = [*fault("punch0"), ("vcpu0", FreePage(500))]
    assert not equal(left, right, symmetric=True)
    assert not equal(
        [*fault("vcpu0"), *fault("vcpu1")], [*fault("vcpu0"), *fault("vcpu1")[1:]], symmetric=True
    )


@pytest.mark.parametrize("seed", range(6))
def test_an_exchange_among_many_alike_is_found(seed: int) -> None:
    rng = random.Random(seed)
    names = list(range(6))
    rng.shuffle(names)
    left: Log = []
    right: Log = []
    for number, name in enumerate(names):
        # Pairs share a page, so that who belongs to whom matters.
        left += fault(f"vcpu{number}", 100 + number // 2, 500 + number // 2)
        right += fault(f"vcpu{name}", 100 + number // 2, 500 + number // 2)
    assert equal(left, right, symmetric=True)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([
            PageFault(1, True), Map(1, 5, 1), Map(2, 6, 1), Zap("vm0", 0, 9, "both"), FreePage(5), FreePage(6),
            Lock("l", "r"), Lock("l", "w"), Unlock("l", "r"), MmuInvStart("vm0"), Faultin(2), TlbFlush("vm0"),
            GuestTouch("vm0", 1, True, 5, False, "x"), GuestTouch("vm0", 2, True, 6, True, "y"),
        ]),
    ),
    max_size=7,
)  # fmt: skip


def reachable(log: Log) -> set[tuple[tuple[str, Event], ...]]:
    """Every order that swaps of independent neighbours lead to: the definition itself."""
    footprints = Footprints()
    for step in log:
        footprints.learn(*step)

    def commute(one: tuple[str, Event], other: tuple[str, Event]) -> bool:
        if one[0] == other[0]:
            return False
        return not any(dependent(a, b) for a in footprints.of(*one) for b in footprints.of(*other))

    found = {tuple(log)}
    todo = [tuple(log)]
    while todo:
        order = todo.pop()
        for at in range(len(order) - 1):
            if commute(order[at], order[at + 1]):
                swapped = (*order[:at], order[at + 1], order[at], *order[at + 2 :])
                if swapped not in found:
                    found.add(swapped)
                    todo.append(swapped)
    return found


def with_frames(log: Log, names: dict[int, int]) -> tuple[tuple[str, Event], ...]:
    return tuple(
        (task, structs.replace(event, pfn=names[event.pfn]))
        if isinstance(event, (Map, FreePage, GuestTouch))
        else (task, event)
        for task, event in log
    )


@given(STEPS, st.randoms(use_true_random=False))
def test_equal_is_what_swaps_of_independent_neighbours_lead_to(log: Log, rng: random.Random) -> None:
    other = log[:]
    for _ in range(rng.randrange(4)):
        at = rng.randrange(max(len(log) - 1, 1))
        other[at : at + 2] = reversed(other[at : at + 2])
    names = [{5: 5, 6: 6}, {5: 6, 6: 5}]
    orders = reachable(log)
    steps = Steps()
    found = compare_runs(steps, steps.run(log), steps.run(other))
    assert found.equal is any(with_frames(other, renamed) in orders for renamed in names)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(1, 6)), max_size=12))
def test_a_renaming_is_a_bijection(pieces: list[tuple[int, int, int]]) -> None:
    renaming = Renaming()
    there: dict[int, int] = {}
    back: dict[int, int] = {}
    for left, right, pages in pieces:
        fits = all(
            there.get(left + n, right + n) == right + n and back.get(right + n, left + n) == left + n
            for n in range(pages)
        )
        assert renaming.add(left, right, pages) is fits
        if fits:
            for n in range(pages):
                there[left + n], back[right + n] = right + n, left + n
    for number in range(50):
        assert renaming.right_of(number) == there.get(number)
        assert renaming.left_of(number) == back.get(number)


@pytest.mark.parametrize("at", [0, 3, 5000])
def test_the_first_divergence_is_found_under_one_renaming(at: int) -> None:
    left: Log = [touch("a", gfn, gfn) for gfn in range(100, 106)] * 1000
    right = [touch("a", gfn, gfn) for gfn in range(100, 106)] * 1000
    right[at] = touch("a", 100 + at % 6, 9)
    found = diff(left, right).first_divergence
    assert found is not None
    # A frame that was not named before is renamed, until its own name comes.
    assert found.index == (at if at >= 6 else at + 6)
    renamed = [(task, structs.replace(event, pfn=event.pfn + 1)) for task, event in left]  # type: ignore[attr-defined]
    assert diff(left, renamed).first_divergence is None
