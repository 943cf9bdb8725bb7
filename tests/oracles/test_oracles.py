"""The machinery of the oracles, and checks that need an event no kernel here would emit."""

from __future__ import annotations

import pickle
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from tests.explore.mutants import MUTANTS
from tests.explore.workloads import BASE, Machine, Plan
from tests.oracles.bench import MMU, Bench

from gmemsim.audit.events import Contended, Lock, LockRequest, SrcuSync, Unlock
from gmemsim.audit.kvm_events import (
    Copy,
    FilemapAdd,
    FreePage,
    GuestTouch,
    HostTouch,
    IllegalAccess,
    MapRet,
    MmuInvEnd,
    MmuInvStart,
    PageCacheAdd,
    Populate,
    PopulateCallback,
    PopulateRet,
    Unbind,
)
from gmemsim.engine.locks.mutex import Mutex
from gmemsim.engine.locks.policies import LOCK_POLICIES
from gmemsim.engine.locks.stats import LockClass
from gmemsim.engine.strategy import RandomStrategy
from gmemsim.oracles import RULES, Oracles, Violation, checks_of
from gmemsim.oracles.hardware import FATAL_FLAGS, SOFT_FLAGS
from gmemsim.patches.registry import IN_PLACE, PATCHES

if TYPE_CHECKING:
    from gmemsim.audit.base import Event
    from gmemsim.engine.task import Task


# -- one rule, by hand -----------------------------------------------------------------------------------


def test_order_of_a_folio() -> None:
    assert Bench()(FilemapAdd(0, 0x1000), PageCacheAdd(0, 0x1000, 1)) == {"I6"}


def test_second_folio_at_an_index() -> None:
    bench = Bench(plan=Plan([("fallocate", 0, 0, 1, False)]))
    folio = bench.machine.inode.folios[0]
    folio.pfn += 1
    assert bench(FilemapAdd(0, folio.pfn), PageCacheAdd(0, folio.pfn, 0)) == {"I1"}


@pytest.mark.parametrize(
    "event", [GuestTouch("vm0", BASE, True, 0x1000, False, "stale"), HostTouch(0, False, "stale")]
)
def test_stale_data_read(event: Event) -> None:
    assert Bench()(event) == {"I2"}


def test_free_while_the_host_maps() -> None:
    bench = Bench("shared", plan=Plan([("touch", 0, 0, True)]))
    folio = bench.machine.inode.folios.pop(0)
    bench.oracles.ledger.lives[folio.pfn].cached = False
    assert bench(FreePage(folio.pfn)) == {"I8"}


def test_lost_frame_and_wrong_mapcount() -> None:
    bench = Bench("shared", plan=Plan([("touch", 0, 0, True)]))
    assert bench(FilemapAdd(1, 0x9000)) == set()
    bench.oracles.finish()
    assert [violation.summary for violation in bench.oracles.violations] == [
        "frame 0x9000 was allocated for index 1 and lost"
    ]
    bench = Bench("shared", plan=Plan([("touch", 0, 0, True)]))
    folio = bench.machine.inode.folios[0]
    folio.mapcount += 1
    folio.ref += 1
    bench.oracles.finish()
    assert {violation.rule for violation in bench.oracles.violations} == {"I8"}


def test_end_without_a_start() -> None:
    bench = Bench()
    assert bench(MMU, MmuInvEnd("vm0")) == {"I15"}


def test_a_lock_inside_the_one_that_covers_an_invalidation() -> None:
    """A patch may take a lock of its own over the start alone, whatever it is called: the invalidate lock stays."""
    outer, inner = "gmem0.invalidate_lock", Mutex("gmem0.bindings_lock", LockClass("bindings_lock")).label
    bench = Bench()
    assert bench(Lock(outer, "w"), Lock(inner, "w"), MmuInvStart("vm0"), Unlock(inner, "w")) == set()
    assert bench(Unlock(outer, "w")) == {"I15"}


def test_map_without_mmu_lock() -> None:
    bench = Bench(plan=Plan([("prefault", 0, 0, 0, 1)]))
    bench.oracles.ledger.of(bench.a).fault = (BASE, bench.machine.inode.folios[0].pfn)
    assert bench(MapRet(5)) == {"I18"}


def test_access_through_a_stale_translation() -> None:
    bench = Bench(plan=Plan([("access", 0, 0, 0, False)]))
    pfn = bench.machine.inode.folios[0].pfn
    touch = GuestTouch("vm0", BASE, True, pfn, False, "zero")
    assert bench(touch) == set()
    bench.machine.do(lambda t: bench.machine.fallocate(t, 0, 0, 1, True))
    bench.oracles.ledger.lives[pfn].cached = False
    assert bench(touch) == {"I19"}


@pytest.mark.parametrize("event", [LockRequest, Contended, Lock])
@pytest.mark.parametrize(
    "lock", ["gmem0.invalidate_lock", "vm0.slots_lock", "gmem0.folio[3]", "vmm.mmap_lock"]
)
def test_sleeping_lock_under_mmu_lock(event: type[Lock], lock: str) -> None:
    assert Bench()(Lock("vm0.mmu_lock", "r"), event(lock, "w")) == {"I39"}


def test_spinning_lock_under_mmu_lock() -> None:
    assert Bench()(MMU, Lock("psp.spin", "w"), Unlock("psp.spin", "w"), Unlock("vm0.mmu_lock", "w")) == set()


def test_grace_period_under_mmu_lock() -> None:
    assert Bench()(MMU, SrcuSync("vm0.srcu")) == {"I39"}


@pytest.mark.parametrize(("first", "second"), [("w", "r"), ("r", "w"), ("w", "w")])
def test_exclusion(first: str, second: str) -> None:
    bench = Bench()
    assert bench(Lock("gmem0.invalidate_lock", first)) == set()
    assert bench(Lock("gmem0.invalidate_lock", second), by=bench.b) == {"I40"}


def test_policy_that_does_not_exclude() -> None:
    bench = Bench()
    swapped = LOCK_POLICIES["srcu"]("gmem0.invalidate_lock", None)
    bench.machine.inode.invalidate_lock = swapped  # type: ignore[assignment] # as scenarios swap it
    bench(Lock("gmem0.invalidate_lock", "w"))
    assert bench(Lock("gmem0.invalidate_lock", "r"), by=bench.b) == set()


def test_readers_share() -> None:
    bench = Bench()
    bench(Lock("gmem0.invalidate_lock", "r"))
    assert bench(Lock("gmem0.invalidate_lock", "r"), by=bench.b) == set()


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("slots_lock", "without slots_lock"),
        ("invalidate_lock", "without the invalidate lock"),
        ("", "for shared"),
    ],
)
def test_context_of_populate(missing: str, says: str) -> None:
    bench = Bench("assigned", plan=Plan([("fallocate", 0, 0, 1, False)]))
    for lock in ("vm0.slots_lock", "gmem0.invalidate_lock"):
        if not missing or missing not in lock:
            bench(Lock(lock, "w"))
    if not missing:
        bench.machine.vm.attributes.clear()
    pfn = bench.machine.inode.folios[0].pfn
    assert bench(Populate(BASE, 1, True), Copy(pfn)) == {"I36"}
    assert says in bench.oracles.violations[0].summary


@pytest.mark.parametrize(("pages", "ret"), [(0, 0), (0, 1), (1, 0), (2, 1), (1, -14)])
def test_result_of_populate(pages: int, ret: int) -> None:
    bench = Bench("assigned", plan=Plan([("fallocate", 0, 0, 1, False)]))
    bench(Lock("vm0.slots_lock", "w"), Lock("gmem0.invalidate_lock", "w"), Populate(BASE, 2, True))
    pfn = bench.machine.inode.folios[0].pfn
    bench.machine.memory.write(pfn, "data:x")
    bench(*[PopulateCallback(BASE, pfn, 0)] * pages)
    assert bench(PopulateRet(ret)) == {"I38"}


@pytest.mark.parametrize("flag", sorted(FATAL_FLAGS))
def test_fatal_flag(flag: str) -> None:
    assert Bench()(IllegalAccess(flag, 0x1000)) == {FATAL_FLAGS[flag][0]}


@pytest.mark.parametrize("flag", [*sorted(SOFT_FLAGS), "SOMETHING_NEW"])
def test_soft_flag(flag: str) -> None:
    bench = Bench()
    assert bench(IllegalAccess(flag, 0x1000)) == set()
    assert [note.kind for note in bench.oracles.notes] == [flag]


# -- the machinery ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("patch", sorted(PATCHES | IN_PLACE))
def test_every_rule_has_checks_or_a_reason(patch: str) -> None:
    """Nothing falls between the table and the checks; what is checked is in the table."""
    machine = Machine((PATCHES | IN_PLACE)[patch])
    oracles = Oracles(machine.world, machine.kernel)
    for ident, rule in RULES.items():
        assert checks_of(ident) or rule.needs == "huge_pages", ident
        assert (ident in oracles.rules) != (ident in oracles.skipped)
    assert all(oracles.skipped.values())
    assert ("I37" in oracles.skipped) == (patch == "baseline")
    assert {f"I{number}" for number in range(1, 49)} < set(RULES)


def test_every_applicable_rule_has_a_test() -> None:
    """Mutants, or one of the tests above."""
    # prepare_gfn needs folios larger than a page: tests/studies/test_hazards.py.
    by_hand = {"I6", "I40", "prepare_gfn"}
    machine = Machine(PATCHES["v3"])
    assert Oracles(machine.world, machine.kernel).rules == {mutant.rule for mutant in MUTANTS} | by_hand


def test_raises_and_ends_the_run() -> None:
    """Without `collect` the first violation stops the run where it is."""
    mutant = MUTANTS[1]
    seen: list[Any] = []
    with pytest.raises(Violation, match="I2: gfn 0x100 is mapped to frame") as caught:
        mutant.machine().run(mutant.plan, then=lambda _t, event: seen.append(event))
    violation = caught.value
    assert violation.event is seen[-1]
    assert violation.number == len(seen)
    assert (violation.task, violation.call) == ("t0", 1)
    assert violation.details == {"gfn": 0x100, "pfn": 0x1000}
    assert violation.signature == ("I2", "MapRet")


def test_violation_travels_between_processes() -> None:
    violation = Violation("I2", "text", "t0", Unbind(3), {"pfn": 1}, call=2, number=9, now=5)
    copy = pickle.loads(pickle.dumps(violation))
    assert str(copy) == "I2: text"
    assert vars(copy) == vars(violation)
    assert Violation("I8", "text").signature == ("I8", "rest")


def test_only_wanted_rules() -> None:
    mutant = MUTANTS[1]
    assert mutant.machine().run(mutant.plan, collect=True, rules={"I1", "I8"}).violations == []
    with pytest.raises(ValueError, match="no such rule: I99"):
        mutant.machine().run(mutant.plan, rules={"I1", "I99"})


def test_looking_changes_nothing() -> None:
    """The same events come whether all rules are checked or none."""
    plan = Plan(
        [("access", 0, 0, 0, True), ("prefault", 0, 1, 0, 2)], [("fallocate", 0, 0, 2, True)], [("close", 0)]
    )
    for seed in range(5):
        logs: list[list[tuple[str, Any]]] = []
        for rules in (None, ()):
            log: list[tuple[str, Any]] = []
            logs.append(log)
            recorder = partial(record, log)
            Machine(PATCHES["v3"]).run(plan, RandomStrategy(seed), rules=rules, then=recorder)
        assert logs[0] == logs[1]


def record(log: list[tuple[str, Any]], task: Task, event: Any) -> None:
    """The simplest recorder."""
    log.append((task.name, event))


def test_operation_that_leaves_something() -> None:
    """A lock held, or an invalidation open, when an operation ends."""
    bench = Bench()
    bench.oracles.begin(bench.a)
    bench(Lock("gmem0.invalidate_lock", "r"))
    bench.oracles.end(bench.a)
    assert [violation.rule for violation in bench.oracles.violations] == ["I9"]
    bench.oracles.finish()
    assert len(bench.oracles.violations) == 1


def test_world_that_ran_before() -> None:
    """Oracles that come late know what is mapped and cleared."""
    machine = Machine(PATCHES["baseline"], "private")
    machine.do(lambda t: machine.access(t, 0, 0, 0, True))
    machine.run(Plan([("access", 0, 1, 0, False), ("fallocate", 0, 0, 1, True), ("access", 0, 1, 0, False)]))
