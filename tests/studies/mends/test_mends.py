"""Candidate mends: the finding is gone with each, and the wrong ones are seen to be wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.model.rig import BASE, Rig, only

from gmemsim.actors.fault import Fault, RetPf
from gmemsim.audit.kvm_events import MapRet, SlotPublish
from gmemsim.explore.findings.table import FINDINGS
from gmemsim.explore.judges.livelock import judge
from gmemsim.explore.program import ScenarioProgram
from gmemsim.explore.search import Limits, SearchResult, search
from gmemsim.explore.strategies import make_strategy
from gmemsim.patches.mends.registry import MENDS, mends_of
from gmemsim.patches.registry import load_patch, versions
from gmemsim.scenarios.catalogue import load_named
from gmemsim.scenarios.scenario import loads
from gmemsim.studies.mends.against import new_failures
from gmemsim.studies.mends.ask import Warned, ask_scenario
from gmemsim.studies.mends.questions import Question, answer, applies
from gmemsim.studies.mends.table import judged
from gmemsim.studies.operations import Cell, scenario_text

if TYPE_CHECKING:
    from gmemsim.actors.folio import Folio
    from gmemsim.actors.inode import GmemInode
    from gmemsim.engine.task import Task


def explore(scenario: str, patch: str, strategy: str, schedules: int) -> SearchResult:
    program = ScenarioProgram(scenario=load_named(scenario), patch=patch, arch="sw-protected")
    limits = Limits(schedules=schedules)
    return search(program, make_strategy(strategy, 0), limits, keep_going=True, judge=judge)


@pytest.mark.parametrize("mend", ["", *(one.ident for one in mends_of("memory-failure-against-punch"))])
def test_the_deadlock_is_there_without_a_mend_and_gone_with_each(mend: str) -> None:
    patch = f"mainline-7.3+{mend}" if mend else "mainline-7.3"
    found = explore("zoo-poison_punch", patch, "pos", 25).found
    assert any(one.failure.rule == "deadlock" for one in found) is not bool(mend)


def test_the_unlocked_folio_does_not_keep_the_inode() -> None:
    found = explore("zoo-poison_close", "mainline-7.3+error-drop-folio-lock", "preemption:1", 60).found
    assert "use_after_free" in {one.failure.rule for one in found}
    assert not explore("zoo-poison_close", "mainline-7.3+error-bindings-lock", "preemption:1", 60).found


@pytest.mark.parametrize("mend", ["", *(one.ident for one in mends_of("unbind-during-memory-failure"))])
def test_an_unbind_of_a_dying_file_waits_for_the_invalidation(mend: str) -> None:
    patch = f"v3+{mend}" if mend else "v3"
    assert bool(explore("zoo-poison_close", patch, "preemption:2", 120).found) is not bool(mend)


def test_an_answer_that_was_cut_short_does_not_say_gone() -> None:
    finding = FINDINGS["memory-failure-against-punch"]
    cut = ask_scenario("zoo-poison_punch", "v3+error-bindings-lock", "sw-protected", states=40)
    assert not cut["complete"]
    row = judged(finding, "error-bindings-lock", cut, cut)
    assert row["gone"] is None
    assert not row["met_without"]
    # Neither what is new nor what is missing is known.
    assert [row[f"{what}_{how}"] for what in ("edges", "cycles") for how in ("added", "removed")] == [
        None
    ] * 4


def test_only_a_complete_search_tells_that_a_lock_order_is_not_there() -> None:
    finding = FINDINGS["memory-failure-against-punch"]
    base = {"scenario": "s", "complete": True, "edges": ["a > b"], "cycles": [], "violations": []}
    cut = base | {"complete": False, "edges": ["a > c"]}
    row = judged(finding, "error-trylock", cut, base)
    assert (row["edges_added"], row["edges_removed"]) == (["a > c"], None)
    row = judged(finding, "error-trylock", base, cut)
    assert (row["edges_added"], row["edges_removed"]) == (None, ["a > c"])


def test_a_row_tells_what_is_new() -> None:
    finding = FINDINGS["memory-failure-against-punch"]
    base = {
        "scenario": "s", "complete": True, "edges": ["a > b"], "cycles": ["a"],
        "violations": [{"rule": "deadlock", "known": finding.ident, "summary": "x"}],
    }  # fmt: skip
    mended = base | {
        "edges": ["a > c"], "cycles": [],
        "violations": [{"rule": "poison", "known": "", "summary": "still maps"}],
    }  # fmt: skip
    row = judged(finding, "error-trylock", mended, base)
    assert (row["gone"], row["broken"]) == (True, {"poison": "still maps"})
    assert (row["edges_added"], row["edges_removed"], row["cycles_removed"]) == (["a > c"], ["a > b"], ["a"])
    assert row["met_without"]
    assert judged(finding, "", base, base)["gone"] is False


def test_a_known_finding_hides_no_other_failure_of_its_rule() -> None:
    known = {"rule": "deadlock", "known": "memory-failure-against-punch", "summary": "two wait"}
    other = known | {"known": "", "summary": "three wait"}
    assert new_failures({"violations": [known, other]}, {"violations": [known]}) == {"deadlock": "three wait"}
    assert new_failures({"violations": [other]}, {"violations": [other]}) == {}
    assert new_failures({"violations": [known, other]}, None) == {"deadlock": "three wait"}


def test_every_mend_is_of_a_finding_and_can_be_asked_for() -> None:
    for mend in MENDS.values():
        assert mend.findings
        assert set(mend.findings) <= set(FINDINGS)
        version = next(name for name in ("mainline-7.3", "v3", "v2", *versions()) if applies(mend, name))
        assert load_patch(f"{version}+{mend.ident}").name == f"{version}+{mend.ident}"


@pytest.mark.parametrize("finding", FINDINGS)
def test_every_finding_has_two_candidates_and_not_all_are_wrong(finding: str) -> None:
    mends = mends_of(finding)
    assert len(mends) >= 2
    assert not all(mend.wrong for mend in mends)


#: Pairs of operations on one page, small enough to be looked at whole: version, VM type, pair; whether the finding, and
#: which rule beside it, is met with each mend.
PAIRS = (
    ("inplace", "default", "host write + memory failure + used", "host-fault-on-poisoned-page",
     {"": True, "fault-dirties": False, "error-references-first": False, "host-fault-refuses": True}),
)  # fmt: skip


@pytest.mark.parametrize(
    ("version", "arch", "pair", "finding", "mend", "met"),
    [(*one[:4], mend, met) for one in PAIRS for mend, met in one[4].items()],
)
def test_a_pair_meets_the_finding_or_not(
    version: str, arch: str, pair: str, finding: str, mend: str, met: bool
) -> None:
    row = answer(Question("pairs", version, mend, arch, pair), 20_000)
    assert row["scope"].startswith("complete:")
    assert {one["known"] for one in row["violations"]} == ({finding} if met else set())


#: Scenario, version, VM type, strategy, schedules, and what is met with each mend.
SAMPLED: tuple[tuple[str, str, str, str, int, dict[str, set[str]]], ...] = (
    ("inplace_competing", "inplace-v8", "sw-protected", "pos", 40,
     {"get-pfn-puts": set(), "convert-looks-again": {"unexpected_outcome"}, "convert-waits-for-faults": {"deadlock"}}),
    ("zoo-huge_look_up", "hugepage", "sw-protected", "pos", 100,
     {"huge-mutex": set(), "huge-look-up-rechecks": set(), "huge-fresh-wakes": {"I41"}}),
    ("zoo-rmp_fault_reuse", "hugepage", "snp", "preemption:2", 30,
     {"rmp-fault-checks-invalidation": set(), "rmp-fault-looks-twice": {"I46"}}),
    ("zoo-poison_repair", "mainline-7.3", "default", "pos", 3,
     {"hole-unmaps": set(), "hole-unmaps-poison": {"I50"}, "truncation-unmaps-poison": {"I50"}}),
    ("zoo-vmsa", "v2", "snp", "preemption:2", 60,
     {"vmsa-reload": set(), "reclaim-leaks": set(), "vmsa-keeps-page": {"I8"}}),
    ("zoo-tdx_fails", "mainline-7.3", "tdx", "random", 25,
     {"": {"I31"}, "tdx-leak-on-failure": set(), "tdx-hole-fails": set()}),
    ("zoo-slot_delete_kind", "inplace", "snp", "random", 40,
     {"": {"I28"}, "get-pfn-checks-kind": set(), "kind-of-fault-slot": set()}),
    ("zoo-huge_poison", "hugepage", "sw-protected", "random", 1,
     {"huge-split-gives-up": set(), "huge-convert-checks": set()}),
    ("zoo-huge_hole", "hugepage", "snp", "random", 10,
     {"huge-hole-whole-pages": set(), "huge-hole-zeroes-shared": set(), "huge-hole-takes-back": set()}),
    ("zoo-launch_late", "v3", "snp", "pos", 50,
     {"": {"I35"}, "snp-launch-state": set(), "fault-shares-lock": set()}),
)  # fmt: skip


@pytest.mark.parametrize(
    ("scenario", "version", "arch", "strategy", "schedules", "mend", "rules"),
    [(*one[:5], mend, rules) for one in SAMPLED for mend, rules in one[5].items()],
)
def test_what_a_sample_of_schedules_meets(
    scenario: str, version: str, arch: str, strategy: str, schedules: int, mend: str, rules: set[str]
) -> None:
    patch = f"{version}+{mend}" if mend else version
    program = ScenarioProgram(scenario=load_named(scenario), patch=patch, arch=arch)
    limits = Limits(schedules=schedules, steps=3_000)
    result = search(program, make_strategy(strategy, 0), limits, keep_going=True, judge=judge)
    assert {one.failure.rule for one in result.found} == rules


@pytest.mark.parametrize("mend", ["", "prefault-eagain", "prefault-gives-up"])
def test_a_prefault_ends(mend: str) -> None:
    patch = f"baseline+{mend}" if mend else "baseline"
    asked = ask_scenario("zoo-prefault_delete", patch, "sw-protected", release="6.12", states=2_000)
    assert asked["complete"]
    assert {one["rule"] for one in asked["violations"]} == (set() if mend else {"livelock"})


def test_a_memory_failure_comes_between_the_look_at_references_and_the_split() -> None:
    cell = Cell(
        ("split", "memory failure"), "hugepage+huge-convert-checks", "sw-protected", "used", huge=True
    )
    program = ScenarioProgram(scenario=loads(scenario_text(cell), "cell"), patch=cell.patch, arch=cell.arch)
    found = search(program, make_strategy("pos", 0), Limits(schedules=60), judge=judge).found
    assert [one.sort[2] for one in found] == ["hugepage-split-waits-for-memory-failure"]


#: The module refuses to give the page back when its file is closed.
CLOSES = """
[scenario]
name = "closes"
summary = "The module refuses to give a page back at the last close"
question = "Is the page freed?"
[[vm]]
id = "vm0"
accept = "tolerant"
on_memory_fault = "stop"
choices = { sept_ve_disable = false }
[[file]]
id = "gmem0"
pages = 1
[[slot]]
file = "gmem0"
gfn = 0x10000
[setup]
ops = [{ op = "touch", write = "guest" }]
[[task]]
role = "vcpu"
ops = [{ op = "sleep", time = 0 }]
[[task]]
name = "vmm"
ops = [{ op = "close", file = "gmem0" }]
[faults]
tdx_page_remove = 1
"""


@pytest.mark.parametrize(("mend", "rules"), [("leak-on-failure", set()), ("hole-fails", {"I31"})])
def test_the_last_close_cannot_fail(mend: str, rules: set[str]) -> None:
    patch = f"mainline-7.3+tdx-{mend}"
    program = ScenarioProgram(scenario=loads(CLOSES, "closes"), patch=patch, arch="tdx")
    found = search(program, make_strategy("random", 0), Limits(schedules=40), judge=judge).found
    assert {one.failure.rule for one in found} == rules


#: A vCPU loads another save area after a hole took the page of its first.
LETS_GO = """
[scenario]
name = "lets_go"
summary = "A vCPU lets go of a save area of which a hole took the page"
question = "Is the page freed while the RMP assigns it?"
[[vm]]
id = "vm0"
accept = "tolerant"
on_memory_fault = "stop"
[[file]]
id = "gmem0"
pages = 3
[[slot]]
file = "gmem0"
gfn = 0x10001
[[task]]
role = "vcpu"
ops = [
    { op = "create_ap", start = 1, count = 1 },
    { op = "touch", start = 0, count = 1 },
    { op = "barrier", barrier = "punched" },
    { op = "create_ap", start = 2, count = 1 },
    { op = "touch", start = 0, count = 1 },
]
[[task]]
name = "vmm"
ops = [{ op = "punch", start = 1, count = 1 }, { op = "barrier", barrier = "punched" }]
"""


@pytest.mark.parametrize(("mend", "rules"), [("vmsa-keeps-page", {"I31"}), ("vmsa-reload", set())])
def test_a_page_that_the_vcpu_kept_leaks_when_it_lets_go(mend: str, rules: set[str]) -> None:
    program = ScenarioProgram(
        scenario=loads(LETS_GO, "lets_go"), patch=f"v2+{mend}", arch="snp", without=frozenset({"I8"})
    )
    found = search(program, make_strategy("preemption:1", 0), Limits(schedules=300), judge=judge).found
    assert {one.failure.rule for one in found} == rules


@pytest.mark.parametrize(("mend", "rules"), [("", set()), ("+fault-shares-lock", {"deadlock"})])
def test_faults_that_share_the_lock_meet_the_memory_failure(mend: str, rules: set[str]) -> None:
    program = ScenarioProgram(
        scenario=load_named("zoo-poison_fault"), patch=f"mainline-7.3{mend}", arch="snp"
    )
    found = search(program, make_strategy("pos", 0), Limits(schedules=120), judge=judge).found
    assert {one.failure.rule for one in found} == rules


def test_a_worker_that_is_under_way_is_no_reference_too_many() -> None:
    question = Question(
        "pairs", "mainline-7.3", "error-trylock-worker", "sw-protected", "memory failure + close + untouched"
    )
    row = answer(question, 5_000)
    assert row["scope"].startswith("complete:")
    assert row["violations"] == []


def test_the_bindings_lock_covers_the_invalidation() -> None:
    class Forgets(load_patch("mainline-7.3+error-bindings-lock")):  # type: ignore[misc]
        async def kvm_gmem_error_folio(self, t: Task, inode: GmemInode, folio: Folio) -> None:
            start, end = folio.index, folio.index + folio.pages
            lock = self.bindings_lock(inode)
            await lock.lock(t)
            await self.kvm_gmem_invalidate_start(t, inode, start, end, self.release_filter(inode))
            await lock.unlock(t)
            await self.kvm_gmem_invalidate_end(t, inode, start, end)

    program = ScenarioProgram(scenario=load_named("zoo-poison_later"), patch=Forgets, arch="sw-protected")
    found = search(program, make_strategy("pos", 0), Limits(schedules=1), judge=judge).found
    assert [one.failure.rule for one in found] == ["I15"]
    assert "bindings_lock" in found[0].failure.summary


@pytest.mark.parametrize(
    ("mend", "expected"),
    [("", RetPf.SPURIOUS), ("mmio-map-retries", RetPf.RETRY), ("mmio-fault-looks-again", RetPf.RETRY)],
)
def test_a_fault_without_a_slot_that_meets_a_leaf(mend: str, expected: int) -> None:
    r = Rig(load_patch(f"mainline-7.3+{mend}" if mend else "mainline-7.3"), "private")
    vcpu = r.vm.vcpus[0]
    assert r.call(lambda t: r.kernel.guest_access(t, vcpu, BASE, True, None)).kind == "ok"
    r.events.clear()
    assert r.call(lambda t: r.kernel.tdp_mmu_map_mmio(t, Fault(vcpu, BASE, True, False))) == expected
    if mend != "mmio-fault-looks-again":
        # The log says what the function returned.
        assert [event.ret for event in only(r.events, MapRet)] == [expected]
    # Of a gfn that has no slot the access is emulated as before.
    beyond = Fault(vcpu, BASE + 40, True, False)
    assert r.call(lambda t: r.kernel.tdp_mmu_map_mmio(t, beyond)) == RetPf.EMULATE


@pytest.mark.parametrize(
    ("mend", "warned"),
    [
        ("", True),
        ("mmio-map-retries", False),
        # The slot comes between the second look and the reading of the entry.
        ("mmio-fault-looks-again", True),
        ("slot-invalid-first", False),
    ],
)
def test_whether_a_fault_without_a_slot_comes_to_a_leaf(mend: str, warned: bool) -> None:
    observer = Warned()
    program = ScenarioProgram(
        scenario=load_named("zoo-slot_create"),
        patch=f"mainline-7.3+{mend}" if mend else "mainline-7.3",
        arch="default",
    )
    found = search(program, make_strategy("preemption:2", 0), Limits(schedules=400), observers=(observer,))
    assert not found.found
    assert observer.found is warned


def test_a_slot_that_comes_invalid_first_is_valid_in_the_end() -> None:
    r = Rig(load_patch("mainline-7.3+slot-invalid-first"), "private")
    assert r.call(lambda t: r.kernel.kvm_set_memory_region(t, r.vm, 5, BASE + 1000, 4)) == 0
    assert [event.state for event in only(r.events, SlotPublish)] == ["invalid", "valid"]
    assert not any(slot.invalid for slot in r.vm.slots)
    assert r.call(lambda t: r.kernel.guest_access(t, r.vm.vcpus[0], BASE, True, None)).kind == "ok"


@pytest.mark.parametrize("version", ["baseline", "mainline-7.3"])
def test_a_late_launch_update_is_refused_by_the_ioctl_itself(version: str) -> None:
    """`snp_launch_update` would say -EIO of what fails below it."""
    row = answer(Question("outcomes", version, "snp-launch-state", "snp", "zoo-launch_late"), 1_000)
    assert row["outcomes"] == ['{"vcpu0":["prefault=ok:1"],"vmm":["populate=EINVAL:0"]}']
