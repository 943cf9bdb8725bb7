"""Sets of runs by behaviour: rows, their order, noise, renames, and who is responsible."""

from __future__ import annotations

import pytest

from gmemsim.audit.base import Event
from gmemsim.audit.events import Contended, Lock, Unlock
from gmemsim.audit.kvm_events import (
    Clear,
    Fallocate,
    FallocateRet,
    GetPfn,
    GetPfnRet,
    MakePrivate,
    MakePrivateRet,
    Prepare,
    PrepareRet,
    Retry,
    SetUptodate,
    TdpFault,
    TdpFaultRet,
)
from gmemsim.compare.behaviour import Behaviour, Behaviours, behaviours, lock_class
from gmemsim.compare.diff import diff_sets
from gmemsim.compare.rows import Row, ranked
from gmemsim.compare.runs import Steps
from gmemsim.compare.sides import compare_sides
from gmemsim.patches.baseline import Baseline
from gmemsim.patches.v3 import V3

Log = list[tuple[str, Event]]


def fault(*inner: Event, task: str = "vcpu0", gfn: int = 100, ret: int = 5) -> Log:
    events = [TdpFault(gfn), GetPfn(gfn, gfn - 100), *inner, GetPfnRet(0, 500), TdpFaultRet(ret)]
    return [(task, event) for event in events]


def page(pfn: int = 500) -> list[Event]:
    return [Clear(0, pfn, 1), Prepare(100, pfn, 0), PrepareRet(0, True), SetUptodate(0, pfn)]


OLD = page()
NEW = [OLD[0], OLD[3], OLD[1], OLD[2]]


def taken(*logs: Log) -> list[Behaviours]:
    found = []
    for log in logs:
        steps = Steps()
        found.append(behaviours(steps, steps.run(log)))
    return found


def rows(left: list[Log], right: list[Log]) -> tuple[tuple[Row, ...], int]:
    found, noise = compare_sides(taken(*left), taken(*right), [f"seed {n}" for n in range(len(left))])
    return ranked(found), noise


def test_the_change_of_the_series() -> None:
    found, noise = rows([fault(*OLD)] * 4, [fault(*NEW)] * 4)
    assert [(row.kind, row.text, row.certain) for row in found] == [
        ("preparation", "prepare after set_uptodate instead of before", True)
    ]
    assert found[0].left == found[0].right == "in all 4 runs, 4 times"
    assert not noise


def test_the_mirrored_comparison_says_the_mirrored_things() -> None:
    found, _ = rows([fault(*NEW)], [fault(*OLD)])
    assert [row.text for row in found] == ["prepare before set_uptodate instead of after"]


def test_steps_on_different_frames_have_no_order() -> None:
    one = fault(Clear(0, 500, 1), SetUptodate(1, 501))
    other = fault(SetUptodate(1, 501), Clear(0, 500, 1))
    assert rows([one], [other]) == ((), 0)


def test_an_errno_comes_before_a_lock() -> None:
    lock, unlock = Lock("gmem0.invalidate_lock", "r"), Unlock("gmem0.invalidate_lock", "r")
    found, _ = rows([fault(*OLD)], [fault(lock, *OLD, unlock, ret=-14)])
    assert [(row.kind, row.text) for row in found] == [
        ("result", "tdp_fault comes to EFAULT"),
        ("result", "tdp_fault comes to FIXED no more"),
        ("lock", "invalidate_lock:r is held over clear, prepare, set_uptodate"),
        ("lock", "invalidate_lock:r is taken"),
    ]


def test_a_wait_and_a_retry() -> None:
    left = [*fault(*OLD)]
    right = [*fault(Contended("gmem0.folio[0]", "w"), *OLD), ("vcpu0", Retry(100, "late"))]
    assert [(row.kind, row.text) for row in rows([left], [right])[0]] == [
        ("wait", "waits for folio:w"), ("retry", "is retried: late"),
    ]  # fmt: skip


def test_what_differs_between_halves_of_a_side_is_noise() -> None:
    late = [*fault(*OLD), ("vcpu0", Retry(100, "late"))]
    found, noise = rows([fault(*OLD)] * 4, [late, fault(*OLD), late, fault(*OLD)])
    assert found == ()
    assert noise == 1


@pytest.mark.parametrize(("ret", "name"), [(-22, "EINVAL"), (-133, "EHWPOISON"), (-95, "EOPNOTSUPP")])
def test_an_errno_that_the_other_side_never_comes_to_is_no_noise(ret: int, name: str) -> None:
    """The seeds of both sides are the same: that only even ones show it makes it no chance."""
    fails = fault(*OLD, ret=ret)
    found, _ = rows([fault(*OLD)] * 4, [fails, fault(*OLD), fails, fault(*OLD)])
    assert [(row.text, row.certain, row.left, row.right) for row in found] == [
        (f"tdp_fault comes to {name}", False, "in no run", "in 2 of 4 runs, 2 times")
    ]


def test_some_runs_of_both_halves_are_no_noise() -> None:
    late = [*fault(*OLD), ("vcpu0", Retry(100, "late"))]
    found, noise = rows([fault(*OLD)] * 4, [late, late, fault(*OLD), fault(*OLD)])
    assert [(row.text, row.certain, row.right) for row in found] == [
        ("is retried: late", False, "in 2 of 4 runs, 2 times")
    ]
    assert not noise


def test_a_step_more_or_less_often() -> None:
    again = [*fault(*OLD), *fault()]
    always = [*fault(*OLD), *fault(OLD[1], OLD[2])]
    assert [(row.kind, row.text) for row in rows([again], [always])[0]] == [("count", "prepare more often")]


def test_a_new_name_of_a_hook_is_a_rename() -> None:
    renamed: list[Event] = [OLD[0], MakePrivate(100, 500, 1), MakePrivateRet(0, True), OLD[3]]
    found = diff_sets(taken(fault(*OLD)), taken(fault(*renamed)), ["seed 0"], (fault(*OLD), fault(*renamed)))
    assert [(row.kind, row.text) for row in found.changes] == [("rename", "prepare is called make_private")]


def test_functions_and_methods_are_named() -> None:
    logs = fault(*OLD), fault(*NEW)
    found = diff_sets(taken(logs[0]), taken(logs[1]), ["seed 0"], logs, (Baseline, V3))
    (row,) = found.changes
    assert row.function == "kvm_arch_gmem_prepare in kvm_gmem_get_pfn"
    assert row.left_method.partition(" (")[0] == "Baseline.kvm_gmem_make_ready"
    assert row.right_method.partition(" (")[0] == "V1.kvm_gmem_make_ready"


def test_a_lock_is_about_the_method_that_takes_it() -> None:
    begin, end = ("punch", Fallocate(True, 0, 4)), ("punch", FallocateRet(0))
    taken_once: Log = [("punch", LOCK("gmem0.invalidate_lock", "w")) for LOCK in (Lock, Unlock)]
    logs: tuple[Log, Log] = [begin, end], [begin, *taken_once, end]
    found = diff_sets(taken(logs[0]), taken(logs[1]), ["seed 0"], logs, (Baseline, V3))
    (row,) = [row for row in found.changes if row.kind == "lock"]
    method = row.right_method or row.left_method
    assert method.partition(" (")[0].endswith(f".{row.function}")


def test_a_wait_counts_once() -> None:
    (found,) = taken([("punch", Fallocate(True, 0, 4)), ("punch", Contended("gmem0.invalidate_lock", "w"))])
    assert found.counts[Behaviour("wait", "fallocate punch", "invalidate_lock:w")] == 1


def test_operations_of_the_setup_do_not_count() -> None:
    (found,) = taken([("setup", event) for _, event in fault(*OLD)])
    assert not found.counts


def test_an_operation_without_a_return_counts_as_far_as_it_goes() -> None:
    log: Log = [("punch", Fallocate(True, 0, 4)), ("punch", Lock("gmem0.invalidate_lock", "w"))]
    (found,) = taken(log)
    assert found.counts == {
        Behaviour("lock", "fallocate punch", "invalidate_lock:w"): 1,
        Behaviour("step", "fallocate punch", "fallocate"): 1,
        Behaviour("order", "fallocate punch", "fallocate", "lock invalidate_lock:w"): 1,
    }
    (found,) = taken([*log, ("punch", FallocateRet(-4))])
    assert found.counts[Behaviour("result", "fallocate punch", "fallocate", "EINTR")] == 1


@pytest.mark.parametrize(
    ("label", "says"),
    [
        ("gmem0.folio[3]", "folio"),
        ("vm1.mmu_lock", "mmu_lock"),
        ("gmem0@vm1.bindings", "vm1.bindings"),
        ("rmp", "rmp"),
    ],
)
def test_locks_by_class(label: str, says: str) -> None:
    assert lock_class(label) == says
