"""A failure is known by its operations, functions, locks and modes on a version that has it, and by nothing less."""

from __future__ import annotations

import attrs
import pytest

from gmemsim.explore.failure import Failure
from gmemsim.explore.findings.table import FINDINGS, known
from gmemsim.explore.judges.deadlock import WaitEdge
from gmemsim.explore.scene import Party, Scene

ERROR = Party(
    task="t0", call=1, operation="memory_failure", functions=("memory_failure", "kvm_gmem_error_folio")
)
PUNCH = Party(task="t1", call=1, operation="punch", functions=("kvm_gmem_punch_hole",))
WAITS = (
    WaitEdge("t0", "gmem0.invalidate_lock", "r", "t1", True, "w"),
    WaitEdge("t1", "gmem0.folio[0]", "w", "t0", True, "w"),
)
ABBA = Scene(version="v3", release="7.2", vm_types=("default",), parties=(ERROR, PUNCH), waits=WAITS)
SPLIT = Party(task="t1", call=1, operation="convert", functions=("folio_ref_freeze",))


def deadlock(scene: Scene, rule: str = "deadlock") -> Failure:
    return Failure(rule, "the text does not matter", scene=scene)


def which(scene: Scene, rule: str = "deadlock") -> str:
    finding = known(deadlock(scene, rule))
    return "" if finding is None else finding.ident


def test_it_is_known() -> None:
    assert which(ABBA) == "memory-failure-against-punch"
    assert which(ABBA, "livelock") == "memory-failure-against-punch"


def test_the_order_of_tasks_does_not_matter() -> None:
    assert which(attrs.evolve(ABBA, parties=(PUNCH, ERROR))) == "memory-failure-against-punch"


@pytest.mark.parametrize(
    "change",
    [
        # Another operation, another function, another lock, another mode, a place in the queue only.
        {"parties": (ERROR, attrs.evolve(PUNCH, operation="close"))},
        {"parties": (ERROR, attrs.evolve(PUNCH, operation="", before=("punch",)))},
        {"parties": (attrs.evolve(ERROR, functions=("memory_failure",)), PUNCH)},
        {"waits": (attrs.evolve(WAITS[0], on="vm0.slots_lock"), WAITS[1])},
        {"waits": (attrs.evolve(WAITS[0], mode="w"), WAITS[1])},
        {"waits": (attrs.evolve(WAITS[0], as_holder=False), WAITS[1])},
        {"waits": (attrs.evolve(WAITS[0], behind_mode="r"), WAITS[1])},
        {"waits": WAITS[:1]},
        {"version": ""},
        {"version": "a version that nobody knows"},
    ],
)
def test_less_is_not(change: dict[str, object]) -> None:
    assert which(attrs.evolve(ABBA, **change)) == ""  # type: ignore[arg-type] # of fields


def test_another_rule_is_not() -> None:
    assert which(ABBA, "I15") == ""


def test_a_failure_that_nobody_looked_at_is_not() -> None:
    assert (
        known(Failure("deadlock", "mce waits for gmem0.invalidate_lock, punch waits for gmem0.folio[0]"))
        is None
    )


def test_bystanders_do_not_matter_but_a_second_circle_does() -> None:
    other = Party(task="t2", call=1, operation="memory_failure", functions=("memory_failure",))
    third = Party(task="t3", call=1, operation="unbind")
    behind = WaitEdge("t2", "mf_mutex", "w", "t0", True, "w")
    scene = attrs.evolve(ABBA, parties=(ERROR, PUNCH, other, third), waits=(*WAITS, behind))
    assert which(scene) == "memory-failure-against-punch"
    circle = (
        WaitEdge("t2", "vm0.slots_lock", "w", "t3", True, "w"),
        WaitEdge("t3", "vm0.srcu", "w", "t2", True, "r"),
    )
    assert which(attrs.evolve(scene, waits=(*WAITS, *circle))) == ""


def test_where_it_is_fixed_or_refuted_it_is_not_known() -> None:
    """The unbinding without the lock: known on v3, and a new failure on 7.3, which takes it."""
    parties = (
        attrs.evolve(ERROR, task="t0"),
        Party(task="t1", before=("close",)),
        Party(task="t2", operation="unbind"),
    )
    failure = Failure("I15", "", "Unlock", task="t0", scene=Scene(version="v3", parties=parties))
    assert known(failure) is FINDINGS["unbind-during-memory-failure"]
    assert failure.scene is not None
    mended = attrs.evolve(failure, scene=attrs.evolve(failure.scene, version="mainline-7.3"))
    assert known(mended) is None
    assert known(attrs.evolve(failure, task="t1")) is None
    freed = attrs.evolve(failure, rule="use_after_free", task="-")
    assert known(freed) is FINDINGS["unbind-during-memory-failure"]
    assert known(attrs.evolve(freed, scene=attrs.evolve(failure.scene, parties=parties[1:]))) is None


def test_a_release_counts() -> None:
    parties = (Party(task="t0", operation="punch"),)
    scene = Scene(version="baseline", release="6.18", vm_types=("tdx",), parties=parties)
    failure = Failure("I31", "", "rest", details={"flag": "SEPT_UAF"}, scene=scene)
    assert known(failure) is None
    later = attrs.evolve(failure, scene=attrs.evolve(scene, release="6.19"))
    assert known(later) is FINDINGS["tdx-removal-failure"]
    assert known(attrs.evolve(later, details={"flag": "RMP_LEAK"})) is None


def test_one_task_may_play_two_parts_only_where_the_pattern_says_so() -> None:
    alone = attrs.evolve(SPLIT, before=("memory_failure",))
    assert which(Scene(version="hugepage", parties=(alone,))) == "hugepage-split-waits-for-memory-failure"
    one_after_the_other = Party(task="t0", operation="memory_failure", before=("close", "unbind"))
    scene = Scene(version="v3", parties=(one_after_the_other,))
    assert known(Failure("I15", "", "Unlock", task="t0", scene=scene)) is None


def test_a_look_up_is_told_from_a_memory_failure() -> None:
    looks = Party(task="t0", call=1, operation="host_write", functions=("filemap_get_folio",))
    scene = Scene(version="hugepage", parties=(looks, SPLIT))
    assert which(scene) == "hugepage-split-waits-for-look-up"
    assert which(attrs.evolve(scene, version="hugepage-mutex")) == ""
    elsewhere = attrs.evolve(looks, functions=("mmap_read_lock",))
    assert which(attrs.evolve(scene, parties=(elsewhere, SPLIT))) == ""


def test_patterns_say_what_they_ask() -> None:
    for one in FINDINGS.values():
        for pattern in one.patterns:
            assert all(rule in pattern.text() for rule in pattern.rules)
            assert all(part in pattern.text() for part in pattern.parts)


def test_a_livelock_of_a_pre_fault_is_known_by_its_root() -> None:
    """One that turns for another reason is new, although nx_huge_pages was written before."""
    parties = (
        Party(
            task="vcpu0",
            call=1,
            operation="prefault",
            functions=("kvm_vcpu_pre_fault_memory",),
            obsolete_root=True,
        ),
        Party(task="root", before=("nx_huge_pages",)),
    )
    scene = Scene(version="mainline-7.3", release="7.3", vm_types=("default",), parties=parties)
    failure = Failure("livelock", "", scene=scene)
    assert known(failure) is FINDINGS["prefault-keeps-obsolete-root"]
    fresh = (attrs.evolve(parties[0], obsolete_root=False), parties[1])
    assert known(attrs.evolve(failure, scene=attrs.evolve(scene, parties=fresh))) is None


@pytest.mark.parametrize(
    ("version", "vm_type", "by", "is_known"),
    [
        ("inplace", "sw-protected", "write", True),
        # There a fault marks the page dirty: that a mapped one is clean is new.
        ("mainline-7.3", "sw-protected", "write", False),
        ("mainline-7.3", "tdx", "write", False),
        ("mainline-7.3", "tdx", "populate", True),
    ],
)
def test_what_soft_offline_evicts_is_known_where_it_is_clean(
    version: str, vm_type: str, by: str, *, is_known: bool
) -> None:
    parties = (
        Party(task="ras", call=1, operation="soft_offline"),
        Party(task="vcpu0", before=(by,)),
    )
    scene = Scene(version=version, vm_types=(vm_type,), parties=parties)
    found = known(Failure("I19", "", "PageCacheDelete", task="ras", scene=scene))
    assert (found is FINDINGS["soft-offline-evicts-guest-page"]) is is_known


@pytest.mark.parametrize(("vm_type", "is_known"), [("default", True), ("sw-protected", False)])
def test_a_deletion_leaves_obsolete_roots_on_a_default_vm_alone(vm_type: str, *, is_known: bool) -> None:
    vcpu = Party(
        task="t0",
        call=1,
        operation="prefault",
        functions=("kvm_vcpu_pre_fault_memory",),
        obsolete_root=True,
    )
    slots = Party(task="t1", call=1, operation="unbind", functions=("kvm_activate_memslot",))
    waits = (WaitEdge("t1", "vm0.srcu", "w", "t0", True, "r"),)
    scene = Scene(version="v3", release="7.2", vm_types=(vm_type,), parties=(vcpu, slots), waits=waits)
    assert (which(scene, "livelock") == "prefault-keeps-obsolete-root") is is_known
