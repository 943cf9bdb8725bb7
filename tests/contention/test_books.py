"""What the books of a run count, by hand-made runs whose answer is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gmemsim.arch.costs import CostTable
from gmemsim.audit.kvm_events import Faultin, MakePrivateRet, MmuInvEnd, MmuInvStart, PrepareRet, Retry, Zap
from gmemsim.contention.lock_book import LockBooks, class_of
from gmemsim.contention.machine import StormMachine
from gmemsim.contention.point import Point
from gmemsim.contention.storm import measure
from gmemsim.contention.waste import Waste, WasteBook
from gmemsim.engine import bare
from gmemsim.engine.engine import Engine
from gmemsim.engine.locks.spinlock import QueuedRwLock
from gmemsim.engine.locks.stats import LockClass

if TYPE_CHECKING:
    from gmemsim.engine.locks.stats import ModeStatistics
    from gmemsim.engine.task import Task


def test_waits_holds_queue_and_convoy() -> None:
    """Three writers at 0, 10 and 20 ns hold 100 ns each; a reader waits from 30 on; one more twice, later."""
    books = LockBooks()
    lock = QueuedRwLock("vm0.mmu_lock", LockClass("mmu_lock"))
    books.open([lock.cls])
    engine = Engine(rec=books.event)

    async def writer(t: Task, start: int) -> None:
        await t.spend(start)
        for _ in range(2 if start == 1000 else 1):
            await lock.write_lock(t)
            await t.spend(100)
            await lock.write_unlock(t)

    async def reader(t: Task) -> None:
        await t.spend(30)
        await lock.read_lock(t)
        await t.spend(7)
        await lock.read_unlock(t)

    for start in (0, 10, 20, 1000):
        engine.spawn(f"w{start}", writer, start)
    engine.spawn("r", reader)
    bare.run(engine)
    write, read = books.modes["mmu_lock", "w"], books.modes["mmu_lock", "r"]
    assert sorted(write.waits) == [90, 180]
    assert list(read.waits) == [270]
    assert list(write.holds) == [100] * 5
    assert list(read.holds) == [7]
    convoy = books.convoy("mmu_lock")
    assert (convoy.queue_max, convoy.length, convoy.ns) == (3, 3, 290)
    assert books.queueing("mmu_lock", "w").acq_bounces == 4
    assert books.queueing("mmu_lock", "w").own == 0
    assert books.queueing("mmu_lock", "r").overtaken == 2
    assert {(site.mode, site.caller, site.waits, site.holds) for site in books.sites()} == {
        ("w", "writer", 2, 5),
        ("r", "reader", 1, 1),
    }


def test_the_books_agree_with_the_locks_own_counters() -> None:
    """Over a storm with all kinds of locks: each wait and hold that the counters sum up is one of the books."""
    point = Point("inplace", "snp", "refault", "convert", 16, 256)
    machine = StormMachine(point, CostTable.default("snp"))
    before: dict[tuple[str, str], ModeStatistics] = {}

    def counters() -> dict[tuple[str, str], ModeStatistics]:
        rows = machine.world.lock_statistics()
        return {
            (row.name, mode): getattr(row, kind)
            for row in rows
            for mode, kind in (("r", "read"), ("w", "write"))
        }

    opened = machine.open_books
    machine.open_books = lambda: (before.update(counters()), opened())[1]  # type: ignore[method-assign]
    result = measure(machine)
    after = counters()
    for name, found in result.locks.items():
        lock, _, mode = name.rpartition(":")
        new, old = after[lock, mode], before[lock, mode]
        mine = [site for site in result.sites if (site.lock, site.mode) == (lock, mode)]
        assert sum(site.waits for site in mine) == found.contentions == new.contentions - old.contentions
        assert sum(site.wait_total for site in mine) == found.wait_total == new.wait_total - old.wait_total
        assert sum(site.holds for site in mine) == found.acquisitions == new.acquisitions - old.acquisitions
        assert sum(site.hold_total for site in mine) == found.hold_total == new.hold_total - old.hold_total
        assert found.wait_min <= found.wait_p50 <= found.wait_p99 <= found.wait_max
        assert found.con_bounces <= found.contentions
        assert found.acq_bounces <= found.acquisitions
    assert result.lock("invalidate_lock:r").contentions
    assert result.lock("invalidate_lock:w").overtaken


def test_label_to_class() -> None:
    assert [class_of(name) for name in ("gmem0.folio[17]", "vm0.mmu_lock", "vm0.lock")] == [
        "folio_lock",
        "mmu_lock",
        "kvm_lock",
    ]


class _Task:
    def __init__(self, ident: int) -> None:
        self.ident = ident


def test_a_retry_is_false_when_no_zapped_range_holds_the_gfn() -> None:
    book, vmm, vcpu = WasteBook(), _Task(1), _Task(2)

    def say(task: _Task, *events: Any) -> None:
        for event in events:
            book.event(task, event)  # type: ignore[arg-type] # the number of the task is all that is looked at

    say(vcpu, Faultin(7))
    say(vmm, MmuInvStart("vm0"), Zap("vm0", 0, 4, "private"), MmuInvEnd("vm0"))
    say(vcpu, Retry(7, "late"))
    assert book.waste() == Waste({"late": 1}, 1)
    say(vmm, MmuInvStart("vm0"), Zap("vm0", 4, 8, "private"))
    say(vcpu, Faultin(7), Retry(7, "early"), Faultin(3), Retry(3, "early"))
    say(vmm, MmuInvEnd("vm0"))
    assert book.waste() == Waste({"early": 2, "late": 1}, 2)
    # All over before the snapshot: who retries now has no reason in any range.
    say(vcpu, Faultin(7), Retry(7, "late"), Faultin(7), Retry(7, "invalid_slot"))
    assert book.waste() == Waste({"early": 2, "invalid_slot": 1, "late": 2}, 3)
    # Begun and over between snapshot and test: its gfn was zapped.
    say(vcpu, Faultin(3))
    say(vmm, MmuInvStart("vm0"), Zap("vm0", 0, 4, "private"), MmuInvEnd("vm0"))
    say(vcpu, Retry(3, "late"))
    assert book.waste() == Waste({"early": 2, "invalid_slot": 1, "late": 3}, 3)
    say(vcpu, PrepareRet(0, did=True), MakePrivateRet(0, did=False))
    found = book.waste()
    assert (found.prepares, found.no_ops, found.all_retries) == (2, 1, 6)
